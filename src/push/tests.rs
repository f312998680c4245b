mod fixture;
mod hook;
mod operations;

use super::*;
use crate::task::Record;
use fixture::{Fixture, anybody, caller, config, named};
use hook::{Hook, OK};
use pilothouse_a2a::message::Message;
use pilothouse_a2a::push::AuthenticationInfo;
use pilothouse_a2a::task::TaskState;
use pilothouse_egress::guard::{Lookup, LookupResult};
use serde_json::Value;
use std::net::IpAddr;

#[tokio::test]
async fn events_are_delivered_in_order_from_the_task_on_as_they_stand_in_the_log() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(9, OK);
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    fixture.reaches(&log, TaskState::Working).await;
    fixture.answers(&log, "one").await;
    fixture.say(&log, Record::Message(Message::user_text("more"))).await;
    fixture.answers(&log, "two").await;
    fixture.reaches(&log, TaskState::Completed).await;
    let stored = fixture.store.events(log.n, 0, 99, usize::MAX).await.unwrap();
    for event in stored.iter().filter(|event| event.kind != store::Kind::Message) {
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(hook.next().await.body, body);
    }
    assert_eq!(fixture.end(&log).await, (PushState::Done, log.head()));
}

#[tokio::test]
async fn headers_are_what_was_asked_for_and_nothing_shows_the_secrets() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(1, OK);
    let log = fixture.task().await;
    let mut wanted = config(hook.url("/path?key=in-the-query"));
    wanted.token = Some("the-token".to_owned());
    wanted.authentication = Some(AuthenticationInfo {
        scheme: "Bearer".to_owned(),
        credentials: Some("the-credentials".to_owned()),
    });
    let checked = fixture.push.check(&caller("owner"), wanted).await.unwrap();
    let attached = fixture.push.attach(&log, checked, Dialect::V1_0, None, 0).await.unwrap();
    let head = hook.next().await.head;
    for line in [
        "POST /path?key=in-the-query HTTP/1.1",
        "authorization: Bearer the-credentials",
        "x-a2a-notification-token: the-token",
        "content-type: application/a2a+json",
        "a2a-version: 1.0",
    ] {
        assert!(head.lines().any(|is| is == line), "{line} in\n{head}");
    }
    assert!(head.contains("user-agent: pilothouse/"));
    let id = attached.id.clone().unwrap();
    assert_eq!(fixture.push.get(&log, &id).await.unwrap(), attached);
    assert_eq!(fixture.push.get(&log, "").await.unwrap(), attached);
    let row = fixture.store.push_config(&log.scope, log.n, &id).await;
    let shown = format!("{row:?}");
    assert!(!shown.contains("the-") && !shown.contains("query"), "{shown}");
}

#[tokio::test]
async fn an_event_is_tried_until_it_is_taken_and_the_next_one_waits_for_it() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(2, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 0\r\n\r\n");
    hook.answer(1, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    hook.answer(9, OK);
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    fixture.reaches(&log, TaskState::Completed).await;
    for expected in ["SUBMITTED", "SUBMITTED", "SUBMITTED", "SUBMITTED", "COMPLETED"] {
        assert_eq!(hook.next_said().await, expected);
    }
    assert_eq!(fixture.end(&log).await.0, PushState::Done);
}

#[tokio::test]
async fn a_slow_webhook_does_not_hold_up_its_task() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    assert_eq!(hook.next_said().await, "SUBMITTED");
    for _ in 0..500 {
        fixture.answers(&log, "x").await;
    }
    fixture.reaches(&log, TaskState::Completed).await;
    hook.answer(502, OK);
    for _ in 0..500 {
        assert_eq!(hook.next_said().await, "x");
    }
    assert_eq!(hook.next_said().await, "COMPLETED");
}

#[tokio::test]
async fn a_webhook_that_is_gone_ends_its_config_at_once() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(1, "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n");
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    hook.next().await;
    let gone = PushState::GivenUp("it answers 410, gone".to_owned());
    assert_eq!(fixture.end(&log).await, (gone, 0));
}

#[tokio::test]
async fn what_is_never_taken_is_given_up_after_its_time() {
    let fixture = Fixture::start(|config| config.push.give_up = "100ms".parse().unwrap());
    let hook = Hook::start().await;
    hook.answer(99, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    let (state, sent) = fixture.end(&log).await;
    let PushState::GivenUp(reason) = state else {
        panic!("{state:?}");
    };
    assert_eq!((reason.as_str(), sent), ("not taken for 100ms: it answers 500", 0));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let fixture = Fixture::start(|config| config.push.give_up = "1ms".parse().unwrap());
    let (mut hook, mut canary) = (Hook::start().await, Hook::start().await);
    let inward = format!(
        "HTTP/1.1 307 Elsewhere\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        canary.url("/")
    );
    hook.answer(9, &inward);
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    hook.next().await;
    let (state, _) = fixture.end(&log).await;
    assert!(matches!(state, PushState::GivenUp(reason) if reason.contains("307")));
    assert!(canary.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_name_that_leads_inward_by_the_time_of_the_attempt_is_not_posted_to() {
    /// Leads to a place that is allowed when it is asked first, and to one that is not from then on.
    struct Rebinding(std::sync::atomic::AtomicBool);
    impl Lookup for Rebinding {
        fn lookup(&self, _name: &str) -> LookupResult {
            let again = self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
            let address = if again { [127, 0, 0, 1] } else { [127, 0, 0, 9] };
            Box::pin(async move { Ok(vec![IpAddr::from(address)]) })
        }
    }
    let mut fixture = Fixture::start(|_| {});
    let mut canary = Hook::start().await;
    let mut settings = Config::default();
    settings.push.give_up = "1ms".parse().unwrap();
    let guard =
        Guard::new(vec!["127.0.0.9/32".parse().unwrap()], Arc::new(Rebinding(false.into())));
    let (store, tasks, stop) = (fixture.store.clone(), fixture.tasks.clone(), fixture.stop.clone());
    fixture.push = Push::guarded(&settings, store, tasks, guard, stop);
    let log = fixture.task().await;
    let url = format!("http://canary.example.com:{}/", canary.address.port());
    fixture.attach(&log, url, Dialect::V1_0).await;
    let (state, _) = fixture.end(&log).await;
    assert!(matches!(state, PushState::GivenUp(reason) if reason.contains("push.allow")));
    assert!(canary.requests.try_recv().is_err());
}

#[tokio::test]
async fn older_dialects_are_told_the_task_once_for_each_state() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(99, OK);
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V0_3).await;
    fixture.reaches(&log, TaskState::Working).await;
    fixture.reaches(&log, TaskState::Working).await;
    fixture.answers(&log, "one").await;
    fixture.reaches(&log, TaskState::Completed).await;
    for state in ["submitted", "working", "completed"] {
        let request = hook.next().await;
        assert_eq!(request.body["kind"], "task");
        assert_eq!(request.body["status"]["state"], state);
        assert!(request.head.contains("content-type: application/json\r\n"));
        assert_eq!(request.body["artifacts"].is_array(), state == "completed");
    }
    assert_eq!(fixture.end(&log).await.0, PushState::Done);
    assert!(hook.requests.try_recv().is_err());
}

#[tokio::test]
async fn the_oldest_dialect_is_told_the_task_under_the_id_of_its_client() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(9, OK);
    let log = fixture.task().await;
    let checked = fixture.push.check(&caller("owner"), config(hook.url("/"))).await.unwrap();
    fixture.push.attach(&log, checked, Dialect::V0_1, Some("mine"), 0).await.unwrap();
    let body = hook.next().await.body;
    assert_eq!((&body["id"], &body["status"]["state"]), (&"mine".into(), &"submitted".into()));
}

#[tokio::test]
async fn a_config_of_a_running_task_is_told_what_comes_after_it() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(9, OK);
    let log = fixture.task().await;
    fixture.reaches(&log, TaskState::Working).await;
    let created = fixture
        .push
        .create(&caller("alice"), &log, config(hook.url("/")), Dialect::V1_0, None)
        .await
        .unwrap();
    assert_eq!(created.task_id.as_ref(), Some(&log.id));
    fixture.reaches(&log, TaskState::InputRequired).await;
    assert_eq!(hook.next_said().await, "INPUT_REQUIRED");
}

#[tokio::test]
async fn a_config_of_a_task_that_is_over_is_kept_and_sends_nothing() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    let log = fixture.task().await;
    fixture.reaches(&log, TaskState::Completed).await;
    fixture
        .push
        .create(&caller("alice"), &log, named(hook.url("/"), "mine"), Dialect::V1_0, None)
        .await
        .unwrap();
    assert_eq!(fixture.push.list(&log, None, None).await.unwrap().configs.len(), 1);
    assert_eq!(fixture.end(&log).await.0, PushState::Done);
    fixture.push.closed().await;
    assert!(hook.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_deleted_config_is_told_nothing_more_and_deleting_it_again_is_the_same() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    let log = fixture.task().await;
    let url = hook.url("/");
    fixture
        .push
        .create(&caller("alice"), &log, named(url, "mine"), Dialect::V1_0, None)
        .await
        .unwrap();
    fixture.reaches(&log, TaskState::Working).await;
    hook.next().await;
    fixture.push.delete(&log, "mine").await.unwrap();
    fixture.push.delete(&log, "mine").await.unwrap();
    hook.answer(9, OK);
    fixture.reaches(&log, TaskState::Completed).await;
    fixture.push.closed().await;
    assert!(hook.requests.try_recv().is_err());
    let missing = fixture.push.get(&log, "mine").await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::TaskNotFound);
}

#[tokio::test]
async fn a_replaced_config_goes_on_where_the_old_one_was() {
    let fixture = Fixture::start(|_| {});
    let (mut old, mut new) = (Hook::start().await, Hook::start().await);
    let log = fixture.task().await;
    let alice = caller("alice");
    let create =
        |url: String| fixture.push.create(&alice, &log, named(url, "mine"), Dialect::V1_0, None);
    create(old.url("/")).await.unwrap();
    old.answer(1, OK);
    fixture.reaches(&log, TaskState::Working).await;
    assert_eq!(old.next_said().await, "WORKING");
    fixture.answers(&log, "one").await;
    assert_eq!(old.next_said().await, "one");
    new.answer(9, OK);
    create(new.url("/")).await.unwrap();
    assert_eq!(new.next_said().await, "one");
    fixture.reaches(&log, TaskState::Completed).await;
    assert_eq!(new.next_said().await, "COMPLETED");
    assert_eq!(fixture.push.list(&log, None, None).await.unwrap().configs.len(), 1);
}

#[tokio::test]
async fn after_a_start_delivery_goes_on_with_the_first_event_that_was_not_taken() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    let log = fixture.task().await;
    hook.answer(1, OK);
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    assert_eq!(hook.next_said().await, "SUBMITTED");
    fixture.answers(&log, "one").await;
    fixture.reaches(&log, TaskState::Completed).await;
    assert_eq!(hook.next_said().await, "one");
    // The server ends while the webhook thinks; it has not taken this one.
    fixture.stop.cancel();
    hook.answer(1, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    fixture.push.closed().await;
    drop(log);
    let next = Fixture::on(fixture.store.clone(), |_| {});
    hook.answer(9, OK);
    assert_eq!(next.push.resume(&anybody()).await.unwrap(), 1);
    assert_eq!(next.push.resume(&anybody()).await.unwrap(), 0);
    assert_eq!(hook.next_said().await, "one");
    assert_eq!(hook.next_said().await, "COMPLETED");
}

#[tokio::test]
async fn the_time_of_an_event_is_counted_from_its_first_attempt_across_starts() {
    let fixture = Fixture::start(|_| {});
    let hook = Hook::start().await;
    hook.answer(99, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    let id = fixture.push.get(&log, "").await.unwrap().id.unwrap();
    fixture.stop.cancel();
    fixture.push.closed().await;
    let long_ago = Timestamp::from_millisecond(Timestamp::now().as_millisecond() - 90_000_000);
    let write = Write::PushFailing { n: log.n, id: id.into(), since: long_ago };
    fixture.store.commit(vec![write], Durability::Written).await.unwrap();
    let next = Fixture::on(fixture.store.clone(), |_| {});
    next.push.resume(&anybody()).await.unwrap();
    assert!(matches!(next.end(&log).await.0, PushState::GivenUp(_)));
}

#[tokio::test]
async fn a_webhook_ends_with_the_token_that_registered_it_and_a_restart_does_not_bring_it_back() {
    let (fixture, hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(9, OK);
    let log = fixture.task().await;
    let holder = caller("alice");
    let config = named(hook.url("/"), "revoked");
    fixture.push.create(&holder, &log, config, Dialect::V1_0, None).await.unwrap();
    holder.grant.revoke();
    let (state, _) = fixture.end(&log).await;
    assert!(matches!(&state, PushState::GivenUp(why) if why.contains("revoked")), "{state:?}");
    fixture.answers(&log, "nobody is told").await;
    // A second one, whose token is asked for only after the restart.
    fixture.push.delete(&log, "revoked").await.unwrap();
    let config = named(hook.url("/"), "kept");
    fixture.push.create(&caller("alice"), &log, config, Dialect::V1_0, None).await.unwrap();
    fixture.stop.cancel();
    fixture.push.closed().await;
    let next = Fixture::on(fixture.store.clone(), |_| {});
    let access = Access::new(&Config::default(), "owner's", &[]);
    assert_eq!(next.push.resume(&access).await.unwrap(), 0);
    assert!(matches!(next.end(&log).await.0, PushState::GivenUp(_)));
    assert!(hook.requests.is_empty());
}

#[tokio::test]
async fn a_webhook_whose_end_could_not_be_noted_does_not_go_on_where_it_cannot_be_replaced_either()
{
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pilothouse.db");
    let mut settings = Config { state_dir: folder.path().to_owned(), ..Config::default() };
    settings.store.path = path.to_str().unwrap().into();
    let fixture = Fixture::on(store::open(&settings, "a test").unwrap(), |_| {});
    let hook = Hook::start().await;
    let log = fixture.task().await;
    let holder = caller("alice");
    let wanted = || named(hook.url("/"), "one");
    fixture.push.create(&holder, &log, wanted(), Dialect::V1_0, None).await.unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    let fail = "BEGIN SELECT RAISE(ABORT, 'full'); END;";
    let triggers = format!(
        "CREATE TRIGGER a BEFORE INSERT ON push {fail} CREATE TRIGGER b BEFORE UPDATE ON push {fail}"
    );
    database.execute_batch(&triggers).unwrap();
    holder.grant.revoke();
    let key: Key = (log.n, "one".into());
    fixture.push.0.quit(&key).await;
    let replaced = fixture.push.create(&caller("alice"), &log, wanted(), Dialect::V1_0, None).await;
    assert!(replaced.is_err() && !fixture.push.0.is_live(&key));
    let row = fixture.store.push_config(&log.scope, log.n, "one").await.unwrap().unwrap();
    assert_eq!(row.state, PushState::Active);
}
