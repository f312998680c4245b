//! What a session does now, so that it can be asked: its actor says it, everybody may look.

use super::SessionKey;
use crate::changes::{Change, Changes};
use crate::store::AskRow;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::time::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

/// What a session does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// What it does.
    #[serde(flatten)]
    pub state: SessionState,
    /// When it began to do that; of one that is idle, when its last turn ended.
    pub since: Timestamp,
    /// The task whose turn it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Whether a process of its agent is there.
    #[serde(skip)]
    pub has_process: bool,
}

/// The states of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "waitsFor")]
pub enum SessionState {
    /// Nothing is to be done.
    Idle,
    /// A turn is on its way to its agent: the folder, the script, the process.
    Starting,
    /// The agent works on a turn.
    Running,
    /// A turn, or a person at a terminal, is waited for.
    Waiting(WaitsFor),
    /// A turn or a process is being ended.
    Ending,
    /// The end of the last turn cannot be stored; that is tried again until it is.
    Broken,
}

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WaitsFor {
    /// A person's answer to an ask.
    Answer,
    /// Other turns of the same caller (`limits.turns_per_caller`).
    TurnsOfCaller,
    /// Other turns in the same shared folder.
    SharedFolder,
    /// A place among the live processes (`processes.max`).
    Process,
    /// Other turns that wait for the same repository (`limits.fetches`).
    Repository,
    /// Processes of others that are starting (`processes.starting`).
    Start,
    /// A model API that was overloaded.
    ModelApi,
    /// The set-up of its agent, which is being built (`agents.*.setup`).
    Setup,
    /// A person at a terminal (`pilothouse sessions attach`).
    Terminal,
}

/// Where an actor says what its session does; clones share it.
#[derive(Clone)]
pub(super) struct ActivitySender {
    activity: watch::Sender<Activity>,
    changes: Changes,
    key: SessionKey,
}

/// Says that a process of a session is there, as long as this lives.
pub(super) struct ProcessMark(ActivitySender);

impl Drop for ProcessMark {
    fn drop(&mut self) {
        self.0.change(|activity| activity.has_process = false);
    }
}

impl Activity {
    /// A session that does nothing.
    pub(super) fn idle(since: Timestamp) -> Self {
        Self { state: SessionState::Idle, since, task_id: None, has_process: false }
    }

    /// The same session without a turn, where its agent has asked.
    pub(super) fn asking(self, ask: &AskRow) -> Self {
        let state = SessionState::Waiting(WaitsFor::Answer);
        Self { state, since: ask.created, task_id: Some(ask.task.clone()), ..self }
    }
}

impl ActivitySender {
    /// Nothing is done yet in a session that was last used then.
    pub(super) fn new(used: Timestamp, changes: Changes, key: SessionKey) -> Self {
        Self { activity: watch::Sender::new(Activity::idle(used)), changes, key }
    }

    fn change(&self, change: impl FnOnce(&mut Activity)) {
        self.activity.send_modify(change);
        self.note();
    }

    /// Has the session's row read again by those who show it.
    fn note(&self) {
        let SessionKey { scope, context_id } = self.key.clone();
        self.changes.note(Change::Session(scope, context_id));
    }

    /// A process of the session is there, until the mark is dropped.
    pub(super) fn mark_process(&self) -> ProcessMark {
        self.change(|activity| activity.has_process = true);
        ProcessMark(self.clone())
    }

    /// Where everybody may look.
    pub(super) fn subscribe(&self) -> watch::Receiver<Activity> {
        self.activity.subscribe()
    }

    /// A turn of this task begins.
    pub(super) fn begin_turn(&self, task: TaskId) {
        self.change(|activity| {
            activity.state = SessionState::Starting;
            activity.since = Timestamp::now();
            activity.task_id = Some(task);
        });
    }

    /// There is no turn since the last one, which ended then.
    pub(super) fn end_turn(&self, ended: Timestamp) {
        self.change(|activity| {
            *activity = Activity { has_process: activity.has_process, ..Activity::idle(ended) };
        });
    }

    /// The session does this from now on, where it does not do it already.
    pub(super) fn enter(&self, state: SessionState) {
        let has_changed = self.activity.send_if_modified(|activity| {
            if activity.state == state {
                return false;
            }
            activity.state = state;
            activity.since = Timestamp::now();
            true
        });
        if has_changed {
            self.note();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scope;
    use pilothouse_a2a::id::ContextId;
    use serde_json::json;

    fn sender(used: Timestamp) -> ActivitySender {
        let scope = Scope { caller: "a".into(), agent: "b".into() };
        let key = SessionKey { scope, context_id: ContextId::new("c") };
        ActivitySender::new(used, Changes::new(8), key)
    }

    #[test]
    fn the_time_of_a_state_stays_as_long_as_the_state_and_the_task_until_it_is_idle() {
        let used = Timestamp::parse("2026-01-01T00:00:00.000Z").unwrap();
        let sender = sender(used);
        let receiver = sender.subscribe();
        let task = TaskId::random();
        sender.begin_turn(task.clone());
        sender.enter(SessionState::Waiting(WaitsFor::Answer));
        let first = receiver.borrow().clone();
        assert_eq!(first.task_id, Some(task));
        sender.enter(SessionState::Waiting(WaitsFor::Answer));
        assert_eq!(*receiver.borrow(), first);
        sender.end_turn(used);
        assert_eq!(*receiver.borrow(), Activity::idle(used));
    }

    #[test]
    fn a_process_is_there_until_its_mark_is_dropped_whatever_the_session_does() {
        let sender = sender(Timestamp::now());
        let receiver = sender.subscribe();
        let mark = sender.mark_process();
        sender.begin_turn(TaskId::random());
        sender.enter(SessionState::Ending);
        sender.end_turn(Timestamp::now());
        assert!(receiver.borrow().has_process);
        drop(mark);
        assert!(!receiver.borrow().has_process);
    }

    #[test]
    fn an_activity_says_its_state_and_for_what_it_waits() {
        let since = Timestamp::parse("2026-01-01T00:00:00.000Z").unwrap();
        let (state, task_id) =
            (SessionState::Waiting(WaitsFor::ModelApi), Some(TaskId::new("t-1".to_owned())));
        let waits = Activity { state, since, task_id, has_process: true };
        let waits = serde_json::to_value(waits).unwrap();
        let expected = json!({"state": "waiting", "waitsFor": "modelApi", "since": "2026-01-01T00:00:00.000Z", "taskId": "t-1"});
        assert_eq!(waits, expected);
        let idle = serde_json::to_value(Activity::idle(since)).unwrap();
        assert_eq!(idle, json!({"state": "idle", "since": "2026-01-01T00:00:00.000Z"}));
    }
}
