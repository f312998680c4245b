//! What is answered to a caller: bounds, refusals, pages.

use super::super::*;
use super::fixture::{Fixture, caller, config, named};
use super::hook::{Hook, OK};
use pilothouse_a2a::task::TaskState;
use pilothouse_egress::guard::{Lookup, LookupResult};

#[tokio::test]
async fn bounds_are_told_and_a_place_is_free_again_when_its_config_is_at_its_end() {
    let fixture = Fixture::start(|config| {
        config.push.per_task = 2;
        config.push.pending = 2;
    });
    let hook = Hook::start().await;
    let (log, other) = (fixture.task().await, fixture.task().await);
    let create = |log: &Arc<TaskLog>| {
        let (push, log, url) = (fixture.push.clone(), log.clone(), hook.url("/"));
        async move { push.create(&caller("alice"), &log, config(url), Dialect::V1_0, None).await }
    };
    create(&log).await.unwrap();
    create(&log).await.unwrap();
    let full = create(&other).await.unwrap_err();
    assert_eq!(full.kind, ErrorKind::ResourceExhausted);
    assert!(full.message.contains("push.pending"), "{full}");
    let first = fixture.push.get(&log, "").await.unwrap().id.unwrap();
    fixture.push.delete(&log, &first).await.unwrap();
    create(&log).await.unwrap();
    let second = fixture.push.get(&log, "").await.unwrap().id.unwrap();
    fixture.reaches(&log, TaskState::Working).await;
    hook.answer(2, "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n");
    fixture.end(&log).await;
    assert_eq!(fixture.push.get(&log, "").await.unwrap().id.unwrap(), second);
    let full = loop {
        // The other place is free as soon as its worker has left.
        match create(&log).await {
            Err(error) if error.message.contains("push.pending") => tokio::task::yield_now().await,
            other => break other.unwrap_err(),
        }
    };
    assert!(full.message.contains("push.per_task"), "{full}");
}

#[tokio::test]
async fn the_configs_of_one_caller_have_half_of_the_room_and_give_it_back() {
    let fixture = Fixture::start(|config| config.push.bytes = config::Bytes::new(500));
    let hook = Hook::start().await;
    let log = fixture.task().await;
    let alice = caller("alice");
    let create = || fixture.push.create(&alice, &log, config(hook.url("/")), Dialect::V1_0, None);
    let mut made = 0;
    let full = loop {
        match create().await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind, ErrorKind::ResourceExhausted);
    assert!(made > 1 && full.message.contains("push.bytes"), "{made}: {full}");
    fixture.push.check(&caller("bob"), config(hook.url("/"))).await.unwrap();
    let first = fixture.push.get(&log, "").await.unwrap().id.unwrap();
    fixture.push.delete(&log, &first).await.unwrap();
    while let Err(error) = create().await {
        // Its room is free as soon as its worker has left.
        assert!(error.message.contains("push.bytes"), "{error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn wrong_configs_are_refused_by_the_field() {
    let fixture = Fixture::start(|_| {});
    let log = fixture.task().await;
    for url in [
        "http://10.0.0.1/",
        "ftp://example.com/",
        "https://[::1]/",
        "https://u:p@example.com/",
        "x",
    ] {
        let refused = fixture
            .push
            .create(&caller("alice"), &log, config(url.to_owned()), Dialect::V1_0, None)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidParams);
        assert_eq!(refused.violations[0].field, "url");
    }
    let long = named("https://1.1.1.1/".to_owned(), &"x".repeat(257));
    let Err(refused) = fixture.push.check(&caller("owner"), long).await else {
        panic!("taken");
    };
    assert_eq!(refused.violations[0].field, "configuration.taskPushNotificationConfig.id");
    assert!(fixture.push.list(&log, None, None).await.unwrap().configs.is_empty());
}

#[tokio::test]
async fn a_name_that_has_no_address_yet_is_taken_and_waited_for() {
    /// Knows nobody.
    struct Nobody;
    impl Lookup for Nobody {
        fn lookup(&self, _name: &str) -> LookupResult {
            Box::pin(async { Err(std::io::Error::other("no such name")) })
        }
    }
    let mut fixture = Fixture::start(|_| {});
    let mut settings = Config::default();
    settings.push.give_up = "1ms".parse().unwrap();
    let guard = Guard::new(Vec::new(), Arc::new(Nobody));
    let (store, tasks, stop) = (fixture.store.clone(), fixture.tasks.clone(), fixture.stop.clone());
    fixture.push = Push::guarded(&settings, store, tasks, guard, stop);
    let log = fixture.task().await;
    let url = "http://soon.example.com/".to_owned();
    fixture.attach(&log, url, Dialect::V1_0).await;
    let (state, _) = fixture.end(&log).await;
    assert!(matches!(state, PushState::GivenUp(reason) if reason.contains("cannot be resolved")));
}

#[tokio::test]
async fn pages_of_configs_lead_to_one_another() {
    let (fixture, hook) = (Fixture::start(|_| {}), Hook::start().await);
    let log = fixture.task().await;
    for id in ["c", "a", "b"] {
        let config = named(hook.url("/"), id);
        fixture.push.create(&caller("alice"), &log, config, Dialect::V1_0, None).await.unwrap();
    }
    let first = fixture.push.list(&log, Some(2), None).await.unwrap();
    let token = first.next_page_token.unwrap();
    let second = fixture.push.list(&log, Some(2), Some(&token)).await.unwrap();
    let ids = first.configs.iter().chain(&second.configs);
    let ids: Vec<_> = ids.map(|config| config.id.as_deref().unwrap()).collect();
    assert_eq!((ids, second.next_page_token), (vec!["c", "a", "b"], None));
    assert!(fixture.push.list(&log, None, Some("?")).await.is_err());
}

#[tokio::test]
async fn what_is_off_is_not_supported() {
    let fixture = Fixture::start(|config| config.push.enabled = false);
    let log = fixture.task().await;
    let url = "https://1.1.1.1/".to_owned();
    let push = &fixture.push;
    let refused = [
        push.create(&caller("alice"), &log, config(url), Dialect::V1_0, None).await.err(),
        push.get(&log, "x").await.err(),
        push.list(&log, None, None).await.err(),
        push.delete(&log, "x").await.err(),
    ];
    for error in refused {
        assert_eq!(error.unwrap().kind, ErrorKind::PushNotificationNotSupported);
    }
}

#[tokio::test]
async fn a_task_that_turns_out_to_be_a_bare_message_is_not_told_of() {
    let (fixture, mut hook) = (Fixture::start(|_| {}), Hook::start().await);
    hook.answer(9, OK);
    let log = fixture.accept(true).await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    log.reply(&fixture.store, "hello", Vec::new()).await.unwrap();
    fixture.push.closed().await;
    assert!(hook.requests.try_recv().is_err());
    assert_eq!(fixture.store.push_count(log.n).await.unwrap(), 0);
    // One that comes too late leaves nothing behind.
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    assert_eq!(fixture.store.push_count(log.n).await.unwrap(), 0);
}

#[tokio::test]
async fn a_swept_task_takes_its_configs_with_it() {
    let (fixture, hook) = (Fixture::start(|_| {}), Hook::start().await);
    let log = fixture.task().await;
    fixture.attach(&log, hook.url("/"), Dialect::V1_0).await;
    fixture.store.remove_tasks(&[log.n]).await.unwrap();
    assert_eq!(fixture.store.push_count(log.n).await.unwrap(), 0);
}
