//! Laws of grants, and of decisions that are remembered.

use super::*;

fn grant(id: &str, context: Option<&str>, uses: u64) -> Arc<GrantRow> {
    let act = Arc::new(act("owner"));
    Arc::new(GrantRow {
        id: id.into(),
        short: id.into(),
        scope: scope("owner"),
        context_id: context.map(ContextId::new),
        pattern: serde_json::json!({"tool": "Bash"}),
        words: "Bash".to_owned(),
        act,
        created: Timestamp::from_millisecond(1000),
        until: Timestamp::from_millisecond(9000),
        uses,
        left: uses,
    })
}

fn used(id: &str, ms: i64) -> Write {
    Write::Grant(GrantWrite::Used { id: id.into(), at: Timestamp::from_millisecond(ms) })
}

#[tokio::test]
async fn a_grant_is_used_no_more_often_than_it_says_and_not_after_its_end() {
    each(async |store| {
        let grants = [grant("twice", None, 2), grant("late", None, 2), grant("revoked", None, 2)];
        for grant in grants {
            write(&store, [Write::Grant(GrantWrite::New(grant, 9))]).await.unwrap();
        }
        // All are on their way before the first one is answered.
        let once = || write(&store, [used("twice", 2000)]);
        let (one, two, three) = tokio::join!(once(), once(), once());
        let done = [one, two, three].into_iter().filter(Result::is_ok).count();
        assert_eq!(done, 2);
        write(&store, [used("late", 8999)]).await.unwrap();
        refused(&store, [used("late", 9000)], Conflict::Spent).await;
        write(&store, [Write::Grant(GrantWrite::Revoked { id: "revoked".into() })]).await.unwrap();
        refused(&store, [used("revoked", 2000)], Conflict::Spent).await;
        // An answer that was taken back may be given again, and its grant with it.
        let again = Write::Grant(GrantWrite::New(grant("revoked", None, 1), 9));
        write(&store, [again, used("revoked", 2000)]).await.unwrap();
        let at = Timestamp::from_millisecond(3000);
        let left = store.grants_of(&CallerFilter::One(scope("owner").caller), at).await.unwrap();
        assert_eq!(left.iter().map(|one| (&*one.id, one.left)).collect::<Vec<_>>(), [("late", 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_use_that_is_refused_takes_its_whole_batch_with_it() {
    each(async |store| {
        write(&store, [Write::Grant(GrantWrite::New(grant("once", None, 1), 9))]).await.unwrap();
        write(&store, [used("once", 2000)]).await.unwrap();
        refused(&store, [made(1), used("once", 2000)], Conflict::Spent).await;
        assert!(row(&store, 1).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_caller_has_so_many_grants_with_an_agent_and_those_that_are_spent_do_not_count() {
    each(async |store| {
        write(&store, [Write::Grant(GrantWrite::New(grant("a", None, 1), 2))]).await.unwrap();
        write(&store, [Write::Grant(GrantWrite::New(grant("b", None, 1), 2))]).await.unwrap();
        refused(
            &store,
            [Write::Grant(GrantWrite::New(grant("c", None, 1), 2))],
            Conflict::GrantsFull,
        )
        .await;
        write(&store, [used("a", 2000)]).await.unwrap();
        write(&store, [Write::Grant(GrantWrite::New(grant("c", None, 1), 2))]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_grant_of_a_session_is_seen_in_its_context_alone_and_goes_with_the_session() {
    each(async |store| {
        let session = SessionRow {
            id: Arc::from("session"),
            scope: scope("owner"),
            context_id: ContextId::new("context"),
            conversation: None,
            ready: true,
            checkout: None,
            setup: None,
            created: Timestamp::from_millisecond(1000),
            used: Timestamp::from_millisecond(1000),
        };
        write(&store, [Write::Session(Box::new(session))]).await.unwrap();
        write(&store, [Write::Grant(GrantWrite::New(grant("here", Some("context"), 9), 9))])
            .await
            .unwrap();
        write(&store, [Write::Grant(GrantWrite::New(grant("all", None, 9), 9))]).await.unwrap();
        let seen = async |caller: &str, context: &str| {
            let (scope, context) = (scope(caller), ContextId::new(context));
            let at = Timestamp::from_millisecond(2000);
            let rows = store.grants_in(&scope, &context, at).await.unwrap();
            rows.into_iter().map(|row| row.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(seen("owner", "context").await, ["all", "here"]);
        assert_eq!(seen("owner", "other").await, ["all"]);
        assert!(seen("bob", "context").await.is_empty());
        write(&store, [Write::SessionGone { id: Arc::from("session") }]).await.unwrap();
        assert_eq!(seen("owner", "context").await, ["all"]);
    })
    .await;
}

#[tokio::test]
async fn a_remembered_decision_is_used_once() {
    each(async |store| {
        write(&store, [made(1), Write::Ask(ask(1))]).await.unwrap();
        let spent = || Write::AskSpent { id: Arc::from("ask") };
        refused(&store, [spent()], Conflict::Spent).await;
        let taken = Write::AskTaken {
            id: Arc::from("ask"),
            state: AskState::Answered,
            act: Some(Arc::new(act("owner"))),
        };
        write(&store, [taken]).await.unwrap();
        write(&store, [spent()]).await.unwrap();
        refused(&store, [spent()], Conflict::Spent).await;
    })
    .await;
}
