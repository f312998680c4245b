//! The spans of turns for a collector: each turn once, and each event of a task read once as long as its task is known.

use super::derive::{Derivation, derive};
use super::{Content, MOST_ROWS, Span, TracedTask, read_part};
use crate::store::{Error, Store};
use pilothouse_a2a::time::Timestamp;
use std::collections::VecDeque;

/// Tasks that are known, at most: of one beyond these the log is read from its beginning.
const MOST_TASKS: usize = 64;

/// Where the spans of tasks that go on were left.
#[derive(Default)]
pub(in crate::telemetry) struct TurnExports(VecDeque<Left>);

/// A task whose last turn was exported.
struct Left {
    n: i64,
    /// The last event that was read.
    seq: u64,
    /// Turns that have left.
    exported: usize,
    derivation: Derivation,
}

/// The spans of turns that have ended.
pub(in crate::telemetry) struct EndedTurns {
    /// Those that leave now.
    pub(in crate::telemetry) spans: Vec<Span>,
    /// How many were left out, since a turn has too many.
    pub(in crate::telemetry) left_out: u64,
}

impl TurnExports {
    /// The spans of the turns of a task that have ended up to an event and a moment and have not left. Of a task that is
    /// not known, these are those of its last turn.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub(in crate::telemetry) async fn take(
        &mut self,
        store: &Store,
        task: &TracedTask,
        (upto, until): (u64, Timestamp),
        content: Option<&Content>,
    ) -> Result<EndedTurns, Error> {
        let place = self.0.iter().position(|left| left.n == task.n);
        let known = place.and_then(|place| self.0.remove(place));
        let exported = known.as_ref().map(|left| left.exported);
        let (mut after, mut derivation) = match known {
            Some(left) => (left.seq, left.derivation),
            None => (0, derive(task, content.cloned())),
        };
        let behind = derivation.notes();
        derivation.hear_notes(store.trace_notes(task.n, (behind, MOST_ROWS)).await?);
        while after < upto {
            after = read_part(store, task, &mut derivation, (after, upto)).await?;
            let last = derivation.ended().saturating_sub(1);
            derivation.forget_before(exported.unwrap_or(last));
        }
        let asks = store.asks_of_task(task.n, MOST_ROWS).await?;
        let finished = derivation.clone().finish(&asks, until);
        let from = exported.unwrap_or_else(|| finished.ended.saturating_sub(1));
        let left_out = derivation.take_left_out().max(finished.left_out);
        if !derivation.is_over() {
            derivation.forget_before(finished.ended.min(derivation.ended()));
            if self.0.len() >= MOST_TASKS {
                self.0.pop_front();
            }
            let exported = from.max(finished.ended);
            self.0.push_back(Left { n: task.n, seq: after, exported, derivation });
        }
        let spans = finished
            .spans
            .into_iter()
            .filter(|span| span.ended.is_some() && span.turn >= from && span.turn < finished.ended);
        Ok(EndedTurns { spans: spans.collect(), left_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{self, Durability, Scope, TaskRow};
    use crate::task::{Record, TaskLog, Tasks};
    use pilothouse_a2a::event::TaskStatusUpdateEvent;
    use pilothouse_a2a::id::{ContextId, TaskId};
    use pilothouse_a2a::message::{Message, Part, Role};
    use pilothouse_a2a::task::{Task, TaskState, TaskStatus};
    use serde_json::{Map, Value, json};
    use std::sync::Arc;

    async fn accept(store: &Store) -> Arc<TaskLog> {
        let (id, context_id) = (TaskId::random(), ContextId::random());
        let row = TaskRow {
            n: store.new_task_number(),
            id: id.clone(),
            scope: Scope { caller: "alice".into(), agent: "echo".into() },
            context_id: context_id.clone(),
            session: "session".into(),
            alias: None,
            state: TaskState::Working,
            status_at: Timestamp::now(),
            created: Timestamp::now(),
            head: 0,
            print: None,
        };
        let task = Task::new(id, context_id, TaskStatus::now(TaskState::Working));
        let tasks = Tasks::new(store.clone());
        tasks.accept(row, task, Vec::new(), Vec::new(), false).await.unwrap()
    }

    fn status(log: &TaskLog, data: Option<Value>) -> TaskStatusUpdateEvent {
        let message = data.map(|data| Message::new(Role::Agent, vec![Part::data(data)]));
        let status = TaskStatus { message, ..TaskStatus::now(TaskState::Working) };
        TaskStatusUpdateEvent::new(log.id.clone(), log.context_id.clone(), status)
    }

    /// A turn of so many tools, after which the task goes on.
    async fn run_turn(store: &Store, log: &Arc<TaskLog>, tools: usize) {
        let call = |at: usize| json!({"kind": "tool-call", "id": at.to_string(), "name": "Bash"});
        let mut updates: Vec<_> = (0..tools).map(|at| status(log, Some(call(at)))).collect();
        let mut end = status(log, None);
        end.metadata = Some(Map::from_iter([("durationMs".to_owned(), json!(1))]).into());
        updates.push(end);
        let records = updates.into_iter().map(Record::Status).collect();
        assert!(log.record(store, records, Durability::Written).await.unwrap());
    }

    async fn take(turns: &mut TurnExports, store: &Store, log: &TaskLog) -> EndedTurns {
        let end = (log.head(), Timestamp::now());
        turns.take(store, &TracedTask::from(log), end, None).await.unwrap()
    }

    #[tokio::test]
    async fn each_turn_leaves_once_also_behind_one_with_too_many_spans() {
        let store = store::in_memory();
        let log = accept(&store).await;
        log.record(&store, vec![Record::Status(status(&log, None))], Durability::Written)
            .await
            .unwrap();
        let mut turns = TurnExports::default();
        let mut segments = Vec::new();
        for (tools, left_out) in [(3, false), (super::super::MOST_SPANS + 1, true), (3, false)] {
            run_turn(&store, &log, tools).await;
            let ended = take(&mut turns, &store, &log).await;
            assert_eq!(ended.left_out > 0, left_out, "{tools}");
            let count =
                |name: &str| ended.spans.iter().filter(|span| span.name.starts_with(name)).count();
            assert_eq!(count("invoke_agent "), 1, "{tools}");
            assert!(left_out || count("execute_tool ") == tools, "{tools}");
            let segment = ended.spans.iter().find(|span| span.name.starts_with("invoke_agent "));
            segments.extend(segment.map(|span| span.id));
            assert!(take(&mut turns, &store, &log).await.spans.is_empty());
            assert_eq!(turns.0[0].seq, log.head());
        }
        segments.dedup();
        assert_eq!(segments.len(), 3);
        // A task that is not known is read from its beginning: the span of its last turn has the same id.
        let cold = take(&mut TurnExports::default(), &store, &log).await;
        assert!(cold.spans.iter().any(|span| span.id == segments[2]));
    }
}
