//! A store with webhooks, without a server around it, for tests.

use super::super::*;
use super::hook::PATIENCE;
use crate::config::TokenScope;
use crate::store::{Scope, TaskRow};
use crate::task::Record;
use pilothouse_a2a::event::{TaskArtifactUpdateEvent, TaskStatusUpdateEvent};
use pilothouse_a2a::id::{ArtifactId, ContextId, TaskId};
use pilothouse_a2a::message::Part;
use pilothouse_a2a::task::{Artifact, Task, TaskState, TaskStatus};
use pilothouse_egress::guard::{Lookup, LookupResult};
use std::net::IpAddr;

/// Resolves `canary.example.com` and the like to loopback.
struct Loopback;

impl Lookup for Loopback {
    fn lookup(&self, _name: &str) -> LookupResult {
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    }
}

/// A store with webhooks, without a server around it.
pub(super) struct Fixture {
    pub(super) push: Push,
    pub(super) store: Store,
    pub(super) tasks: Tasks,
    pub(super) stop: CancellationToken,
}

impl Fixture {
    pub(super) fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.store.path = "memory".into();
        let store = store::open(&config, "a test").unwrap();
        Self::on(store, change)
    }

    pub(super) fn on(store: Store, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.push.allow = vec!["127.0.0.1".to_owned()];
        config.push.backoff = "20ms".parse().unwrap();
        config.push.backoff_max = "40ms".parse().unwrap();
        config.push.events = config::PushEvents::All;
        change(&mut config);
        let allow =
            config.push.allow.iter().filter_map(|network| config::network(network)).collect();
        let tasks = Tasks::new(store.clone());
        let stop = CancellationToken::new();
        let guard = Guard::new(allow, Arc::new(Loopback));
        let push = Push::guarded(&config, store.clone(), tasks.clone(), guard, stop.clone());
        Self { push, store, tasks, stop }
    }

    pub(super) async fn task(&self) -> Arc<TaskLog> {
        self.accept(false).await
    }

    /// A task of alice; `withheld` until its agent's first word.
    pub(super) async fn accept(&self, withheld: bool) -> Arc<TaskLog> {
        let (id, context_id) = (TaskId::random(), ContextId::random());
        let row = TaskRow {
            n: self.store.new_task_number(),
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
        self.tasks.accept(row, task, Vec::new(), Vec::new(), withheld).await.unwrap()
    }

    pub(super) async fn say(&self, log: &Arc<TaskLog>, record: Record) {
        log.record(&self.store, vec![record], Durability::Written).await.unwrap();
    }

    pub(super) async fn reaches(&self, log: &Arc<TaskLog>, state: TaskState) {
        let (id, context) = (log.id.clone(), log.context_id.clone());
        let update = TaskStatusUpdateEvent::new(id, context, TaskStatus::now(state));
        self.say(log, Record::Status(update)).await;
    }

    pub(super) async fn answers(&self, log: &Arc<TaskLog>, text: &str) {
        let (id, context) = (log.id.clone(), log.context_id.clone());
        let artifact = Artifact::new(ArtifactId::new("a"), "answer", vec![Part::text(text)]);
        let mut update = TaskArtifactUpdateEvent::new(id, context, artifact);
        update.append = true;
        self.say(log, Record::Artifact(update)).await;
    }

    pub(super) async fn attach(&self, log: &Arc<TaskLog>, url: String, dialect: Dialect) {
        let checked = self.push.check(&caller("owner"), config(url)).await.unwrap();
        self.push.attach(log, checked, dialect, None, 0).await.unwrap();
    }

    /// How the only config of a task stands, when it is at its end.
    pub(super) async fn end(&self, log: &Arc<TaskLog>) -> (PushState, u64) {
        let ended = async {
            loop {
                let rows = self.store.push_configs(&log.scope, log.n, 0, 1).await;
                let row = rows.unwrap().remove(0);
                if row.state != PushState::Active {
                    return (row.state, row.sent);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("waited for the end of a config")
    }
}

/// Somebody whose token is as that of everybody where none is asked for.
pub(super) fn caller(name: &str) -> Caller {
    Caller::new(name.into(), Arc::new(Grant::of("none", &TokenScope::USUAL)))
}

/// A guard that asks for no token.
pub(super) fn anybody() -> Access {
    let mut config = Config::default();
    config.auth.required = false;
    Access::new(&config, "", &[])
}

pub(super) fn config(url: String) -> TaskPushNotificationConfig {
    TaskPushNotificationConfig {
        tenant: None,
        id: None,
        task_id: None,
        url,
        token: None,
        authentication: None,
    }
}

pub(super) fn named(url: String, id: &str) -> TaskPushNotificationConfig {
    TaskPushNotificationConfig { id: Some(id.to_owned()), ..config(url) }
}
