//! What holds for every store, whichever database it is.

mod grants;

use super::{
    AnswerSource, AskAct, AskRow, AskState, CallerFilter, Conflict, Durability, Error, Event,
    Filter, GrantRow, GrantWrite, Kind, Scope, SessionRow, Store, Stored, TaskRow, TokenRow,
    UsageOf, Used, Write, sqlite,
};
use crate::config::TokenScope;
use bytes::Bytes;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::task::TaskState::{self, Canceled, Completed, InputRequired, Working};
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;

/// Each store that there is, empty.
async fn each(law: impl AsyncFn(Store)) {
    law(super::in_memory()).await;
    let folder = tempfile::tempdir().unwrap();
    let lock = sqlite::lock(folder.path(), "a test").unwrap();
    let file = folder.path().join("store.db");
    law(Store::in_folder(folder.path(), &file, lock, 2, true).unwrap()).await;
}

fn scope(caller: &str) -> Scope {
    Scope { caller: Arc::from(caller), agent: Arc::from("fake") }
}

fn task(n: i64, scope: Scope) -> TaskRow {
    TaskRow {
        n,
        id: TaskId::new(format!("task-{n}")),
        scope,
        context_id: ContextId::new("context"),
        session: Arc::from("session"),
        alias: Some(Arc::from("alias")),
        state: Working,
        status_at: Timestamp::from_millisecond(1000),
        created: Timestamp::from_millisecond(1000),
        head: 1,
        print: None,
    }
}

fn made(n: i64) -> Write {
    Write::Task(Box::new(task(n, scope("owner"))), 0)
}

fn head(n: i64, expected: u64, state: Option<TaskState>) -> Write {
    let status = state.map(|state| (state, Timestamp::from_millisecond(2000)));
    Write::Head { n, expected, seq: expected + 1, bytes: 1, status }
}

fn event(n: i64, seq: u64) -> Write {
    Write::Event { n, event: Event { seq, kind: Kind::Status, body: Bytes::from_static(b"{}") } }
}

fn key(n: i64) -> Write {
    Write::Key { scope: scope("owner"), key: "key".to_owned(), print: [7; 32], n }
}

fn ask(n: i64) -> Arc<AskRow> {
    let task = task(n, scope("owner"));
    Arc::new(AskRow {
        id: Arc::from("ask"),
        short: Arc::from("short"),
        n,
        task: task.id,
        scope: task.scope,
        context_id: task.context_id,
        ask: serde_json::json!({"kind": "question"}),
        ends_turn: true,
        created: Timestamp::from_millisecond(1000),
        deadline: Timestamp::from_millisecond(9000),
        state: AskState::Open,
        until: None,
        ended: None,
        act: None,
        stored: Stored::default(),
    })
}

async fn write<const N: usize>(store: &Store, writes: [Write; N]) -> Result<(), Error> {
    store.commit(writes.into(), Durability::Written).await
}

async fn refused<const N: usize>(store: &Store, writes: [Write; N], why: Conflict) {
    let outcome = write(store, writes).await;
    assert!(matches!(outcome, Err(Error::Refused(refusal)) if refusal == why), "{outcome:?}");
}

async fn row(store: &Store, n: i64) -> Option<TaskRow> {
    store.task(&scope("owner"), &TaskId::new(format!("task-{n}"))).await.unwrap()
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    each(async |store| {
        write(&store, [made(1)]).await.unwrap();
        refused(&store, [made(2), event(1, 2), head(1, 7, None)], Conflict::Moved).await;
        assert!(row(&store, 2).await.is_none());
        assert!(store.events(1, 0, 9, 1000).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_refused_batch_takes_no_other_one_with_it() {
    each(async |store| {
        write(&store, [made(1)]).await.unwrap();
        // All are on their way before the first one is answered, so they may be written together.
        let good = |n: i64| write(&store, [made(n)]);
        let bad = || write(&store, [made(9), head(1, 7, None)]);
        let outcomes = tokio::join!(good(2), bad(), good(3), bad(), good(4));
        assert!(outcomes.0.is_ok() && outcomes.2.is_ok() && outcomes.4.is_ok());
        assert!(outcomes.1.is_err() && outcomes.3.is_err());
        for (n, there) in [(2, true), (3, true), (4, true), (9, false)] {
            assert_eq!(row(&store, n).await.is_some(), there, "task {n}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_stored_is_read_at_once() {
    each(async |store| {
        write(&store, [made(1), event(1, 1), event(1, 2), head(1, 1, Some(InputRequired))])
            .await
            .unwrap();
        let found = row(&store, 1).await.unwrap();
        assert_eq!((found.head, found.state), (2, InputRequired));
        let seqs = store.events(1, 0, 2, 1000).await.unwrap();
        assert_eq!(seqs.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn an_append_that_names_another_head_than_the_logs_is_refused() {
    each(async |store| {
        write(&store, [made(1)]).await.unwrap();
        write(&store, [event(1, 2), head(1, 1, None)]).await.unwrap();
        refused(&store, [head(1, 1, None)], Conflict::Moved).await;
        refused(&store, [head(1, 3, None)], Conflict::Moved).await;
        refused(&store, [head(5, 1, None)], Conflict::Moved).await;
        // Numbers may be left out: nobody was shown them.
        let later = Write::Head { n: 1, expected: 2, seq: 1003, bytes: 0, status: None };
        write(&store, [later]).await.unwrap();
        assert_eq!(row(&store, 1).await.unwrap().head, 1003);
    })
    .await;
}

#[tokio::test]
async fn a_number_of_a_log_is_given_once() {
    each(async |store| {
        write(&store, [made(1), event(1, 2)]).await.unwrap();
        assert!(write(&store, [event(1, 2)]).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn nothing_follows_the_end_of_a_task() {
    each(async |store| {
        write(&store, [made(1), made(2)]).await.unwrap();
        write(&store, [head(1, 1, Some(Completed)), head(2, 1, Some(Canceled))]).await.unwrap();
        refused(&store, [head(1, 2, Some(Working))], Conflict::Moved).await;
        refused(&store, [head(2, 2, None)], Conflict::Moved).await;
    })
    .await;
}

#[tokio::test]
async fn an_ask_is_answered_once_and_the_batch_of_the_second_answer_is_refused() {
    each(async |store| {
        write(&store, [made(1), head(1, 1, Some(InputRequired)), Write::Ask(ask(1))])
            .await
            .unwrap();
        assert_eq!(store.asks().await.unwrap(), [(*ask(1)).clone()]);
        let act = || Arc::new(act("owner"));
        let taken = || Write::AskTaken {
            id: Arc::from("ask"),
            state: AskState::Answered,
            act: Some(act()),
        };
        write(&store, [taken(), head(1, 2, None)]).await.unwrap();
        refused(&store, [head(1, 3, Some(Working)), taken()], Conflict::Taken).await;
        assert_eq!(row(&store, 1).await.unwrap().state, InputRequired);
        write(&store, [gone("ask")]).await.unwrap();
        let row = store.ask("ask").await.unwrap().unwrap();
        assert_eq!((row.state, row.act), (AskState::Answered, Some(act())));
        assert!(store.asks().await.unwrap().is_empty());
    })
    .await;
}

fn act(by: &str) -> AskAct {
    let at = Timestamp::from_millisecond(3000);
    AskAct { by: by.into(), source: AnswerSource::default(), at, what: serde_json::Map::new() }
}

fn gone(id: &str) -> Write {
    Write::AskGone { id: Arc::from(id), state: AskState::Withdrawn, act: None }
}

/// The state of the ask, by its short id.
async fn ask_state(store: &Store) -> AskState {
    store.ask("short").await.unwrap().unwrap().state
}

#[tokio::test]
async fn the_end_of_a_task_ends_its_asks_and_says_how() {
    each(async |store| {
        for (n, end, wanted) in [
            (1, TaskState::Failed, AskState::Failed),
            (2, Canceled, AskState::Withdrawn),
            (3, Completed, AskState::Withdrawn),
        ] {
            write(&store, [made(n), Write::Ask(ask(n))]).await.unwrap();
            assert_eq!(ask_state(&store).await, AskState::Open);
            write(&store, [head(n, 1, Some(end))]).await.unwrap();
            assert_eq!(ask_state(&store).await, wanted);
        }
    })
    .await;
}

#[tokio::test]
async fn an_ask_that_has_ended_is_neither_claimed_nor_deferred() {
    each(async |store| {
        write(&store, [made(1), Write::Ask(ask(1))]).await.unwrap();
        let claimed = |state| {
            let until = Some(Timestamp::from_millisecond(5000));
            let row =
                AskRow { state, until, act: Some(Arc::new(act("owner"))), ..(*ask(1)).clone() };
            Write::AskMarked(Arc::new(row))
        };
        write(&store, [claimed(AskState::Claimed)]).await.unwrap();
        write(&store, [claimed(AskState::Deferred)]).await.unwrap();
        assert_eq!(ask_state(&store).await, AskState::Deferred);
        write(&store, [gone("ask")]).await.unwrap();
        refused(&store, [claimed(AskState::Claimed)], Conflict::Taken).await;
        assert_eq!(ask_state(&store).await, AskState::Withdrawn);
    })
    .await;
}

#[tokio::test]
async fn ended_asks_are_kept_up_to_a_number_and_a_size_the_newest_first() {
    each(async |store| {
        let named = |id: &str| Write::Ask(Arc::new(AskRow { id: id.into(), ..(*ask(1)).clone() }));
        write(&store, [made(1), named("a"), named("b"), named("c"), named("open")]).await.unwrap();
        write(&store, [gone("a"), gone("b"), gone("c")]).await.unwrap();
        let kept = async |count, bytes| {
            write(&store, [Write::AsksSwept { count, bytes }]).await.unwrap();
            let caller = CallerFilter::One(scope("owner").caller);
            let page = store.ended_asks(&caller, Vec::new(), None, None, 9).await.unwrap();
            page.rows.into_iter().map(|row| row.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(kept(9, 1000).await, ["c", "b", "a"]);
        // Asks of agents that a token does not name are neither on its pages nor counted.
        let of_agent = async |agent: &str| {
            let agents = vec!["unknown".to_owned(), agent.to_owned()];
            let page = store.ended_asks(&CallerFilter::All, agents, None, None, 1).await.unwrap();
            (page.rows.len(), page.has_more, page.total)
        };
        assert_eq!(of_agent(&scope("owner").agent).await, (1, true, 3));
        assert_eq!(of_agent("other").await, (0, false, 0));
        assert_eq!(kept(2, 1000).await, ["c", "b"]);
        assert_eq!(kept(2, 30).await, ["c"]);
        assert_eq!(ask_state(&store).await, AskState::Open);
    })
    .await;
}

#[tokio::test]
async fn a_key_is_of_one_task_and_the_batch_of_the_second_is_refused() {
    each(async |store| {
        write(&store, [made(1), key(1)]).await.unwrap();
        refused(&store, [made(2), key(2)], Conflict::Exists).await;
        let (print, found) = store.task_by_key(&scope("owner"), "key").await.unwrap().unwrap();
        assert_eq!((print, found.n), ([7; 32], 1));
        assert!(row(&store, 2).await.is_none());
        write(&store, [Write::TaskGone { n: 1 }]).await.unwrap();
        write(&store, [made(3), key(3)]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_read_in_a_scope_finds_nothing_of_another_one() {
    each(async |store| {
        let (owner, bob) = (scope("owner"), scope("bob"));
        let session = SessionRow {
            id: Arc::from("session"),
            scope: owner.clone(),
            context_id: ContextId::new("context"),
            conversation: None,
            ready: true,
            checkout: None,
            setup: None,
            created: Timestamp::from_millisecond(1000),
            used: Timestamp::from_millisecond(1000),
        };
        write(&store, [Write::Session(Box::new(session)), made(1), key(1)]).await.unwrap();
        for (scope, there) in [(&owner, true), (&bob, false)] {
            let context = ContextId::new("context");
            let task = store.task(scope, &TaskId::new("task-1")).await.unwrap();
            let alias = store.task_by_alias(scope, "alias").await.unwrap();
            let key = store.task_by_key(scope, "key").await.unwrap();
            let session = store.session(scope, &context).await.unwrap();
            let named = store.session_named(scope, "session").await.unwrap();
            let sessions = store
                .sessions(&CallerFilter::One(scope.caller.clone()), &scope.agent, None, 9)
                .await
                .unwrap();
            let listed = scope.clone();
            let list =
                store.read_together(move |reads| reads.list(&listed, &Filter::default(), None, 9));
            let found = [
                task.is_some(),
                alias.is_some(),
                key.is_some(),
                session.is_some(),
                named.is_some(),
                sessions.total == 1 && sessions.rows.len() == 1,
                list.await.unwrap().total == 1,
            ];
            assert_eq!(found, [there; 7], "{scope:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_follows_a_batch_is_told_its_outcome_though_nobody_waits_for_it() {
    each(async |store| {
        let (told, outcome) = std::sync::mpsc::channel();
        let then = move |outcome: Result<(), Error>| told.send(outcome.is_ok()).unwrap();
        let mut commit = Box::pin(store.commit_then(vec![made(1)], Durability::Synced, then));
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(commit.as_mut().poll(context).is_pending())
        });
        polled.await;
        drop(commit);
        // The writer works in order.
        write(&store, [made(2)]).await.unwrap();
        assert_eq!(outcome.try_recv(), Ok(true));
    })
    .await;
}

fn token(id: &str, created: i64) -> TokenRow {
    TokenRow {
        id: Arc::from(id),
        hash: [u8::try_from(id.len()).unwrap(); 32],
        caller: Arc::from("ann"),
        scopes: vec![TokenScope::Send, TokenScope::Read],
        agents: vec!["fake".to_owned()],
        created: Timestamp::from_millisecond(created),
        expires: None,
        revoked: None,
    }
}

#[tokio::test]
async fn a_token_is_read_as_it_was_stored_and_is_revoked_once() {
    each(async |store| {
        let put = |row: TokenRow| Write::Token(Box::new(row), 9);
        write(&store, [put(token("a", 1))]).await.unwrap();
        assert_eq!(store.tokens().await.unwrap(), [token("a", 1)]);
        let at = Timestamp::from_millisecond(5);
        let revoked = || Write::TokenRevoked { id: Arc::from("a"), at };
        write(&store, [revoked()]).await.unwrap();
        refused(&store, [revoked()], Conflict::Gone).await;
        assert_eq!(store.tokens().await.unwrap()[0].revoked, Some(at));
    })
    .await;
}

#[tokio::test]
async fn a_full_table_of_tokens_gives_up_those_that_are_revoked_and_refuses_where_there_are_none() {
    each(async |store| {
        let put = |row: TokenRow| Write::Token(Box::new(row), 2);
        write(&store, [put(token("a", 1)), put(token("bb", 2))]).await.unwrap();
        refused(&store, [put(token("ccc", 3))], Conflict::Full).await;
        let at = Timestamp::from_millisecond(5);
        write(&store, [Write::TokenRevoked { id: Arc::from("a"), at }]).await.unwrap();
        write(&store, [put(token("ccc", 3))]).await.unwrap();
        let ids = store.tokens().await.unwrap().into_iter().map(|row| row.id.to_string());
        assert_eq!(ids.collect::<Vec<_>>(), ["bb", "ccc"]);
    })
    .await;
}

#[tokio::test]
async fn a_report_sums_up_by_day_agent_and_caller_and_outlives_the_tasks() {
    each(async |store| {
        let used = [Used { cost: 5, tokens: 7 }; 4];
        let usage = |n, caller: &str, day| Write::Usage {
            n,
            session: Arc::from("session"),
            caller: Arc::from(caller),
            day,
            used,
        };
        let usages = [usage(1, "owner", 100), usage(1, "owner", 101), usage(2, "bob", 101)];
        write(&store, [made(1), made(2)]).await.unwrap();
        write(&store, usages).await.unwrap();
        write(&store, [Write::TaskGone { n: 1 }, Write::TaskGone { n: 2 }]).await.unwrap();
        let numbers = |rows: Vec<UsageOf>| -> Vec<(String, u64, u64)> {
            rows.into_iter().map(|row| (row.name, row.usage.turns, row.usage.used.tokens)).collect()
        };
        let all = store.usage_report(&CallerFilter::All, 100, 101).await.unwrap();
        let row = |name: &str, turns, tokens| (name.to_owned(), turns, tokens);
        assert_eq!(numbers(all.days), [row("100", 1, 7), row("101", 2, 14)]);
        assert_eq!(numbers(all.agents), [row("fake", 3, 21)]);
        let bob = CallerFilter::One(Arc::from("bob"));
        let bob = store.usage_report(&bob, 0, 100_000).await.unwrap();
        assert_eq!(numbers(bob.callers), [row("bob", 1, 7)]);
    })
    .await;
}

#[tokio::test]
async fn a_list_of_all_callers_is_in_the_order_of_time_over_its_pages_and_counts_them() {
    each(async |store| {
        for n in 1..=6 {
            let scope = scope(if n % 2 == 0 { "owner" } else { "bob" });
            let row =
                TaskRow { status_at: Timestamp::from_millisecond(1000 + n), ..task(n, scope) };
            write(&store, [Write::Task(Box::new(row), 0)]).await.unwrap();
        }
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let agent = Arc::from("fake");
            let page = store.read_together(move |reads| {
                reads.list_of(&CallerFilter::All, &agent, &Filter::default(), from, 4)
            });
            let page = page.await.unwrap();
            assert_eq!(page.total, 6);
            found.extend(page.rows.iter().map(|row| row.n));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found, [6, 5, 4, 3, 2, 1]);
    })
    .await;
}
