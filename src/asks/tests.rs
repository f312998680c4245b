//! Open asks in memory.

use super::*;
use crate::store::Stored;
use pilothouse_a2a::id::TaskId;
use serde_json::json;

fn row(context: &str, text: &str) -> AskRow {
    let now = Timestamp::now();
    AskRow {
        short: Arc::from(""),
        state: AskState::Open,
        until: None,
        ended: None,
        act: None,
        stored: Stored::default(),
        id: Arc::from(uuid::Uuid::now_v7().to_string()),
        n: 1,
        task: TaskId::new("task"),
        scope: Scope { caller: Arc::from("owner"), agent: Arc::from("fake") },
        context_id: ContextId::new(context),
        ask: json!({"kind": "question", "text": text}),
        ends_turn: true,
        created: now,
        deadline: now,
    }
}

fn bounded(change: impl FnOnce(&mut config::Asks)) -> Asks {
    let mut config = Config::default();
    change(&mut config.asks);
    Asks::new(&config)
}

#[test]
fn a_session_has_so_many_open_asks_and_another_one_its_own() {
    let asks = bounded(|bounds| bounds.per_session = 2);
    let first = asks.add(row("one", "a")).unwrap();
    asks.add(row("one", "b")).unwrap();
    let full = asks.add(row("one", "c")).unwrap_err();
    assert_eq!(full.key(), "asks.per_session");
    asks.add(row("two", "d")).unwrap();
    asks.remove(&first.id).unwrap();
    asks.add(row("one", "e")).unwrap();
}

#[test]
fn the_open_asks_of_a_session_and_of_all_have_so_many_bytes() {
    let large = "x".repeat(3000);
    let asks = bounded(|bounds| {
        bounds.bytes = Bytes::new(5000);
        bounds.total = Bytes::new(9000);
    });
    asks.add(row("one", &large)).unwrap();
    assert_eq!(asks.add(row("one", &large)).unwrap_err().key(), "asks.bytes");
    asks.add(row("two", &large)).unwrap();
    assert_eq!(asks.add(row("three", &large)).unwrap_err().key(), "asks.total");
}

#[test]
fn an_ask_that_is_too_large_alone_is_told_with_its_size_and_not_to_answer_others() {
    let asks = bounded(|bounds| bounds.bytes = Bytes::new(2048));
    let full = asks.add(row("one", &"x".repeat(3000))).unwrap_err();
    assert!(matches!(&full, Full::Alone { key: "asks.bytes", size, .. } if size.get() > 3000));
    assert!(full.to_string().ends_with("more than 2KiB"), "{full}");
    assert_eq!(full.hint(), "the server's operator can raise `asks.bytes`");
}

#[test]
fn what_is_taken_and_forgotten_is_counted_no_more() {
    let asks = bounded(|_| ());
    let (one, two) = (row("one", "a"), row("one", "b"));
    let [one, two, _] = [&one, &two, &one].map(|row| asks.add(row.clone()).unwrap());
    assert_eq!(asks.open().all.count, 2);
    asks.remove(&one.id).unwrap();
    assert!(asks.remove(&one.id).is_none());
    assert_eq!(asks.forget(two.n), [two]);
    let open = asks.open();
    assert_eq!((open.all, open.sessions.len(), open.short.len()), (Amount::default(), 0, 0));
}

#[test]
fn pages_are_bounded_in_number_and_bytes_and_none_is_empty() {
    let asks = bounded(|_| ());
    let rows = ["a", "b", "c", "d"].map(|text| row("one", &text.repeat(1000)));
    let rows = rows.map(|row| asks.add(row).unwrap());
    rows.iter().for_each(|row| row.stored.note());
    let scopes = [rows[0].scope.clone()];
    let walk = |most, bytes| {
        let (mut after, mut sizes, mut seen) = (None, Vec::new(), Vec::new());
        loop {
            let is_listed = |scope: &Scope| scopes.contains(scope);
            let states = [AskState::Open];
            let page = asks.page(is_listed, &states, after.as_deref(), (most, bytes));
            assert_eq!(page.total, 4);
            sizes.push(page.rows.len());
            seen.extend(page.rows);
            after = page.next;
            if after.is_none() {
                assert_eq!(seen, rows);
                return sizes;
            }
        }
    };
    assert_eq!(walk(3, usize::MAX), [3, 1]);
    assert_eq!(walk(4, usize::MAX), [4]);
    assert_eq!(walk(4, 1), [1, 1, 1, 1]);
}

#[test]
fn an_ask_is_listed_once_the_store_holds_it() {
    let asks = bounded(|_| ());
    let row = asks.add(row("one", "a")).unwrap();
    let count = || asks.page(|_| true, &[AskState::Open], None, (1, usize::MAX)).total;
    assert_eq!(count(), 0);
    row.stored.note();
    assert_eq!(count(), 1);
}

#[test]
fn an_open_ask_has_a_short_id_of_its_own_that_finds_it_until_its_end() {
    let asks = bounded(|_| ());
    let [one, two] = ["a", "b"].map(|text| asks.add(row("one", text)).unwrap());
    assert_ne!(one.short, two.short);
    assert_eq!(asks.get(&one.short), Some(one.clone()));
    assert_eq!(asks.find(one.n, Some(&two.short)), Some(two));
    asks.remove(&one.id).unwrap();
    assert_eq!(asks.get(&one.short), None);
}

#[tokio::test]
async fn an_ask_that_is_being_answered_is_nobody_elses_and_is_open_again_where_that_fails() {
    let asks = bounded(|_| ());
    let row = asks.add(row("one", "a")).unwrap();
    let answering = asks.begin_answer(&row.id).unwrap();
    assert!(asks.begin_answer(&row.id).is_none() && asks.get(&row.id).is_none());
    assert!(!asks.update(row.clone()) && asks.get(&row.id).is_none());
    let waiting = asks.await_answer(&row.id);
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(answering);
    waiting.await;
    asks.begin_answer(&row.id).unwrap().settle();
    assert!(asks.get(&row.id).is_none());
}

#[test]
fn an_ask_that_is_void_while_its_answer_fails_to_be_stored_is_not_open_again() {
    let asks = bounded(|_| ());
    let row = asks.add(row("one", "a")).unwrap();
    let answering = asks.begin_answer(&row.id).unwrap();
    assert!(asks.remove(&row.id).is_none());
    drop(answering);
    assert!(asks.get(&row.id).is_none());
}

#[test]
fn an_ask_whose_task_ends_while_its_answer_is_stored_is_not_open_again() {
    let asks = bounded(|_| ());
    let row = asks.add(row("one", "a")).unwrap();
    let answering = asks.begin_answer(&row.id).unwrap();
    assert_eq!(asks.forget(row.n), []);
    drop(answering);
    assert!(asks.get(&row.id).is_none());
}
