//! A log whose writers are given up in the middle.

use super::*;
use crate::store;
use pilothouse_a2a::task::TaskStatus;
use pilothouse_a2a::time::Timestamp;
use std::task::{Context, Poll, Waker};

async fn working() -> (Store, Arc<TaskLog>) {
    let store = store::in_memory();
    let (id, context_id) = (TaskId::random(), ContextId::random());
    let row = TaskRow {
        n: store.new_task_number(),
        id: id.clone(),
        scope: Scope { caller: "alice".into(), agent: "echo".into() },
        context_id: context_id.clone(),
        session: "session".into(),
        alias: None,
        state: TaskState::Submitted,
        status_at: Timestamp::now(),
        created: Timestamp::now(),
        head: 0,
        print: None,
    };
    let task = Task::new(id, context_id, TaskStatus::now(TaskState::Submitted));
    let tasks = Tasks::new(store.clone());
    let log = tasks.accept(row, task, Vec::new(), Vec::new(), false).await.unwrap();
    (store, log)
}

fn canceled(log: &TaskLog) -> Vec<Record> {
    let (id, context) = (log.id.clone(), log.context_id.clone());
    let status = TaskStatus::now(TaskState::Canceled);
    vec![Record::Status(TaskStatusUpdateEvent::new(id, context, status))]
}

/// Begins to wait for a future while the store is kept busy, and gives it up: it cannot be over at once.
async fn begin_and_drop<T>(store: &Store, future: impl Future<Output = T>) {
    let busy = store.keep_busy().await;
    let mut future = Box::pin(future);
    let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending), "it was over at once");
    drop(future);
    drop(busy);
}

#[tokio::test]
async fn a_write_that_is_given_up_once_it_is_on_its_way_is_shown_when_it_is_stored() {
    let (store, log) = working().await;
    begin_and_drop(&store, log.record(&store, canceled(&log), Durability::Synced)).await;
    // The writer takes batches in their order, so after this one the other has been stored.
    store.commit(vec![Write::Probe], Durability::Written).await.unwrap();
    let stored = store.task(&log.scope, &log.id).await.unwrap().unwrap();
    assert_eq!((stored.state, log.state()), (TaskState::Canceled, TaskState::Canceled));
    assert_eq!(stored.head, log.head());
}

#[tokio::test]
async fn after_a_write_that_was_given_up_the_log_can_be_written_again() {
    let (store, log) = working().await;
    begin_and_drop(&store, log.record(&store, canceled(&log), Durability::Synced)).await;
    let again = log.record(&store, canceled(&log), Durability::Synced).await;
    assert!(!again.unwrap(), "nothing follows the end of a task");
}

#[tokio::test]
async fn a_read_that_is_given_up_keeps_no_connection() {
    let (store, log) = working().await;
    for _ in 0..100 {
        begin_and_drop(&store, store.task(&log.scope, &log.id)).await;
    }
    assert!(store.task(&log.scope, &log.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_message_of_the_caller_leaves_its_task_at_the_generation_that_is_expected() {
    let (store, log) = working().await;
    let said = || vec![Record::Message(Message::user_text("more"))];
    let known = log.generation(&store, log.head()).await.unwrap();
    log.record(&store, said(), Durability::Written).await.unwrap();
    let expected = (Vec::new(), Some(known));
    assert!(log.take_message(&store, expected, |_| said()).await.unwrap());
    let (id, context) = (log.id.clone(), log.context_id.clone());
    let works = TaskStatusUpdateEvent::new(id, context, TaskStatus::now(TaskState::Working));
    log.record(&store, vec![Record::Status(works)], Durability::Written).await.unwrap();
    let expected = (Vec::new(), Some(known));
    assert!(!log.take_message(&store, expected, |_| said()).await.unwrap());
}

#[tokio::test]
async fn a_generation_is_the_same_from_memory_and_from_the_store() {
    let (store, log) = working().await;
    let said = Record::Message(Message::user_text("more"));
    let records = std::iter::once(said).chain(canceled(&log)).collect();
    log.record(&store, records, Durability::Written).await.unwrap();
    let row = store.task(&log.scope, &log.id).await.unwrap().unwrap();
    let cold = Tasks::new(store.clone()).hold(&row);
    for (seq, generation) in [(2, 1), (3, 2), (1, 1), (3, 2)] {
        assert_eq!(log.generation(&store, seq).await.unwrap(), generation, "{seq}");
        assert_eq!(cold.generation(&store, seq).await.unwrap(), generation, "{seq}");
    }
    cold.jump(10);
    assert_eq!(cold.generation(&store, cold.head()).await.unwrap(), 2);
}
