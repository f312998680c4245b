//! Webhooks: each config of a task is told the task's events, in their order, until they are taken.
//!
//! # How it works
//!
//! A config is a row of the store that says how far it has been delivered. While there is something to
//! deliver, or may be, a worker of its own (`delivery`) follows the task's log from there like any other
//! reader: the log is the queue, so a slow webhook costs neither memory nor anybody's time. It posts
//! (`post`) an event, stores that it was taken, and goes on to the next. After a start
//! [`Push::resume`] takes up what is not at its end; what was posted and could not be noted any more
//! is posted again, and nothing is left out.
//!
//! Where a webhook may be is decided by [`Guard`] alone: when the config is created, so that its caller
//! learns of it, and again at every attempt.

mod delivery;
mod notify;
mod post;
mod workers;

pub use notify::Links;

use crate::access::{Access, Caller, Grant};
use crate::config::{self, Config};
use crate::queue::{FairQueue, Place};
use crate::store::{self, Durability, PushRow, PushState, Store, Write};
use crate::task::{TaskLog, Tasks};
use crate::telemetry::Telemetry;
use parking_lot::Mutex;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::operation::ListTaskPushNotificationConfigsResponse;
use pilothouse_a2a::push::TaskPushNotificationConfig;
use pilothouse_a2a::time::Timestamp;
use pilothouse_egress::guard::{AddressRefusal, Guard, System};
use post::{Poster, Target};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use workers::find_grant;

/// Longest id that a client may give a config, in bytes.
const ID_BYTES: usize = 256;

/// Configs on a page where the caller names no number, and at most.
const PAGE: (u32, u32) = (50, 100);

/// Rows that are read at a time after a start.
const RESUMED: u32 = 256;

/// Seconds after which a bound is worth another try.
const RETRY_SECONDS: u64 = 30;

/// How long a caller waits for the name of its webhook; it is looked up again at every attempt.
const NAME_PATIENCE: Duration = Duration::from_secs(3);

/// Changes of different tasks that go on side by side.
const STRIPES: usize = 64;

/// The id of a config that came without one: older dialects know one config of a task, without a name.
pub fn default_id(dialect: Dialect) -> Option<String> {
    (dialect != Dialect::V1_0).then(|| "default".to_owned())
}

/// The webhooks of all tasks; clones share them.
#[derive(Clone)]
pub struct Push(Arc<SharedPush>);

struct SharedPush {
    enabled: bool,
    settings: config::Push,
    limits: config::Limits,
    /// Whether events carry their generation (`compat.v11`).
    tells_generations: bool,
    store: Store,
    tasks: Tasks,
    guard: Guard,
    poster: Poster,
    /// Configs that have events to deliver, or may have.
    pending: Arc<Semaphore>,
    /// The bytes of these configs.
    bytes: FairQueue,
    /// Posts at a time.
    posts: Semaphore,
    /// Who counts them.
    telemetry: OnceLock<Telemetry>,
    live: Mutex<HashMap<Key, Live>>,
    /// A config is created, replaced and removed by one at a time.
    changing: [tokio::sync::Mutex<()>; STRIPES],
    workers: TaskTracker,
    stop: CancellationToken,
}

/// The task's number and the config's id.
type Key = (i64, Arc<str>);

/// The way to a worker.
struct Live {
    /// Tells it to leave at once.
    quit: CancellationToken,
    /// Cancelled when it has left.
    left: CancellationToken,
    /// What it ends with.
    grant: Option<Arc<Grant>>,
}

/// A config that may be stored, with its place among those that are pending.
pub struct Checked {
    config: TaskPushNotificationConfig,
    place: PushPlace,
    /// What the token of whoever registers it allows.
    grant: Arc<Grant>,
}

/// A config's place among those that are pending, and that of its bytes. After a restart there may be too few.
type PushPlace = (Option<OwnedSemaphorePermit>, Place);

impl Push {
    /// The webhooks of the tasks in this store. Nothing is delivered before [`Push::resume`] or a new config.
    pub fn new(config: &Config, store: Store, tasks: Tasks, stop: CancellationToken) -> Self {
        let allow =
            config.push.allow.iter().filter_map(|network| config::network(network)).collect();
        let lookup = System::new(config.push.concurrent);
        let guard = Guard::new(allow, Arc::new(lookup));
        Self::guarded(config, store, tasks, guard, stop)
    }

    /// Has this count what becomes of posts; once.
    pub fn count_with(&self, telemetry: Telemetry) {
        let _ = self.0.telemetry.set(telemetry);
    }

    fn guarded(
        config: &Config,
        store: Store,
        tasks: Tasks,
        guard: Guard,
        stop: CancellationToken,
    ) -> Self {
        let settings = config.push.clone();
        Self(Arc::new(SharedPush {
            enabled: settings.enabled,
            limits: config.limits.clone(),
            tells_generations: config.compat.v11,
            poster: Poster::new(guard.clone(), settings.timeout.get()),
            pending: Arc::new(Semaphore::new(settings.pending.min(Semaphore::MAX_PERMITS))),
            bytes: FairQueue::new(
                settings.bytes.as_usize(),
                settings.bytes.as_usize().div_ceil(2),
                &BTreeMap::new(),
            ),
            telemetry: OnceLock::new(),
            posts: Semaphore::new(settings.concurrent.clamp(1, Semaphore::MAX_PERMITS)),
            settings,
            store,
            tasks,
            guard,
            live: Mutex::default(),
            changing: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            workers: TaskTracker::new(),
            stop,
        }))
    }

    // === operations ===

    /// Whether the config inside of a message could be stored; to be asked before its task is accepted.
    /// The answer holds its place until [`Push::attach`].
    ///
    /// # Errors
    ///
    /// `PushNotificationNotSupported` where they are off, `InvalidParams` naming what is wrong with the
    /// config, `ResourceExhausted` when too many are pending.
    pub async fn check(
        &self,
        caller: &Caller,
        config: TaskPushNotificationConfig,
    ) -> Result<Checked, Error> {
        let place = "configuration.taskPushNotificationConfig.";
        self.check_at(place, (&caller.name, &caller.grant), config).await
    }

    /// Stores a checked config and begins to deliver what comes after the sequence number `after`: 0 for
    /// a new task (the first event is the task itself), the head before it for one that was continued.
    /// Answers the config as it is stored.
    ///
    /// # Errors
    ///
    /// `ResourceExhausted` when the task has too many; when the store fails.
    pub async fn attach(
        &self,
        log: &Arc<TaskLog>,
        checked: Checked,
        dialect: Dialect,
        alias: Option<&str>,
        after: u64,
    ) -> Result<TaskPushNotificationConfig, Error> {
        self.0.attach(log, checked, dialect, alias.map(Arc::from), after).await
    }

    /// `CreateTaskPushNotificationConfig` (specification 3.1.7); one with the same id is replaced and goes
    /// on where that one was. It is told what happens from now on: a task that is over has no more to tell.
    pub async fn create(
        &self,
        caller: &Caller,
        log: &Arc<TaskLog>,
        config: TaskPushNotificationConfig,
        dialect: Dialect,
        alias: Option<&str>,
    ) -> Result<TaskPushNotificationConfig, Error> {
        let after = log.head();
        let checked = self.check_at("", (&log.scope.caller, &caller.grant), config).await?;
        self.attach(log, checked, dialect, alias, after).await
    }

    /// `GetTaskPushNotificationConfig` (specification 3.1.8). Older dialects may leave the id empty and
    /// mean the first one.
    ///
    /// # Errors
    ///
    /// `TaskNotFound`, the specification's word for a config that does not exist; when the store fails.
    pub async fn get(
        &self,
        log: &Arc<TaskLog>,
        id: &str,
    ) -> Result<TaskPushNotificationConfig, Error> {
        let inner = self.offered()?;
        let found = if id.is_empty() {
            let first = inner.store.push_configs(&log.scope, log.n, 0, 1).await;
            first.map_err(store::Error::incident)?.into_iter().next()
        } else {
            let found = inner.store.push_config(&log.scope, log.n, id).await;
            found.map_err(store::Error::incident)?
        };
        found.map(|row| decode(&row)).transpose()?.ok_or_else(|| not_found(log, id))
    }

    /// `ListTaskPushNotificationConfigs` (specification 3.1.9), in the order of their creation.
    pub async fn list(
        &self,
        log: &Arc<TaskLog>,
        page_size: Option<i32>,
        page_token: Option<&str>,
    ) -> Result<ListTaskPushNotificationConfigsResponse, Error> {
        let inner = self.offered()?;
        let after = match page_token.filter(|token| !token.is_empty()) {
            None => 0,
            Some(token) => i64::from_str_radix(token, 16).map_err(|_| {
                Error::invalid("pageToken", "not a token of this server; begin without one")
            })?,
        };
        let size = match page_size.and_then(|size| u32::try_from(size).ok()) {
            None | Some(0) => PAGE.0,
            Some(size) => size.min(PAGE.1),
        };
        let mut rows = inner
            .store
            .push_configs(&log.scope, log.n, after, size + 1)
            .await
            .map_err(store::Error::incident)?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next = rows.last().filter(|_| more);
        Ok(ListTaskPushNotificationConfigsResponse {
            next_page_token: next.map(|row| format!("{:x}", row.key)),
            configs: rows.iter().map(decode).collect::<Result<_, _>>()?,
        })
    }

    /// `DeleteTaskPushNotificationConfig` (specification 3.1.10): nothing more is sent; one that does not
    /// exist is as good as deleted.
    pub async fn delete(&self, log: &Arc<TaskLog>, id: &str) -> Result<(), Error> {
        let inner = self.offered()?;
        inner.delete((log.n, Arc::from(id))).await.map_err(store::Error::incident)
    }

    // === the server's start and end ===

    /// After a start, when the tasks are recovered: takes up every delivery that is not at its end, unless the token
    /// that registered it no longer holds. Answers how many.
    pub async fn resume(&self, access: &Access) -> Result<usize, store::Error> {
        let inner = &self.0;
        if !inner.enabled {
            return Ok(0);
        }
        let (mut resumed, mut after) = (0, 0);
        loop {
            let rows = inner.store.push_active(after, RESUMED).await?;
            let Some(last) = rows.last() else { break };
            after = last.key;
            for row in rows {
                let _one_at_a_time = inner.changing(row.n).lock().await;
                // A caller may have been quicker. The worker first: it notes its end before it leaves.
                if inner.is_live(&(row.n, row.id.clone())) {
                    continue;
                }
                let now = inner.store.push_config(&row.scope, row.n, &row.id).await?;
                let Some(row) = now.filter(|now| now.state == PushState::Active) else {
                    continue;
                };
                let grant = row.token.as_ref().map(|mark| find_grant(access, mark, &row));
                if let Some(None) = grant {
                    inner.end_with_token(&row, "it does not hold after the restart").await;
                    continue;
                }
                if let Some(log) = inner.tasks.find(&row.scope, &row.task).await? {
                    // What was accepted once is delivered, also where the bound is lower by now.
                    let place = inner.pending.clone().try_acquire_owned().ok();
                    let bytes = inner.bytes.overdraw(&row.scope.caller, row.config.len());
                    inner.start(log, row, (place, bytes), grant.flatten());
                    resumed += 1;
                }
            }
        }
        Ok(resumed)
    }

    /// After `stop`: waits until the attempts under way are over and noted.
    pub async fn closed(&self) {
        self.0.workers.close();
        self.0.workers.wait().await;
    }

    fn offered(&self) -> Result<&Arc<SharedPush>, Error> {
        if self.0.enabled {
            return Ok(&self.0);
        }
        Err(Error::new(
            ErrorKind::PushNotificationNotSupported,
            "this server sends no push notifications (`push.enabled`); subscribe instead",
        ))
    }

    async fn check_at(
        &self,
        place: &str,
        (caller, grant): (&Arc<str>, &Arc<Grant>),
        mut config: TaskPushNotificationConfig,
    ) -> Result<Checked, Error> {
        let inner = self.offered()?;
        let wrong = |field: &str, what: String| Error::invalid(format!("{place}{field}"), what);
        config.id = config.id.filter(|id| !id.is_empty());
        if config
            .id
            .as_ref()
            .is_some_and(|id| id.len() > ID_BYTES || id.chars().any(char::is_control))
        {
            let what = format!("must have at most {ID_BYTES} bytes and no control characters");
            return Err(wrong("id", what));
        }
        Target::of(&config, Dialect::V1_0).map_err(|(field, what)| wrong(field, what))?;
        // A name that has no address at this moment may have one when there is something to tell.
        let admitted = tokio::time::timeout(NAME_PATIENCE, inner.guard.admit(&config.url)).await;
        if let Ok(Err(refusal)) = admitted
            && !matches!(refusal, AddressRefusal::Unresolved(_))
        {
            return Err(wrong("url", refusal.to_string()));
        }
        let place = inner.pending.clone().try_acquire_owned().map_err(|_| {
            Error::new(
                ErrorKind::ResourceExhausted,
                "too many push notification configs are pending (`push.pending`); try again later, or subscribe",
            )
            .retry_after(RETRY_SECONDS)
        })?;
        let encoded = serde_json::to_string(&config).map_or(0, |encoded| encoded.len());
        let bytes = inner.bytes.try_take_many(caller, encoded).ok_or_else(|| {
            Error::new(
                ErrorKind::ResourceExhausted,
                "the push notification configs that are pending fill their room, of which one caller has half (`push.bytes`); \
                 try again later, send shorter tokens, or subscribe",
            )
            .retry_after(RETRY_SECONDS)
        })?;
        Ok(Checked { config, place: (Some(place), bytes), grant: grant.clone() })
    }
}

impl SharedPush {
    async fn attach(
        self: &Arc<Self>,
        log: &Arc<TaskLog>,
        checked: Checked,
        dialect: Dialect,
        alias: Option<Arc<str>>,
        after: u64,
    ) -> Result<TaskPushNotificationConfig, Error> {
        let Checked { mut config, place, grant } = checked;
        let given = config.id.take();
        let id: Arc<str> = given.map_or_else(|| uuid::Uuid::now_v7().to_string().into(), Arc::from);
        config.id = Some(id.to_string());
        config.task_id = Some(log.id.clone());
        let key = (log.n, id.clone());
        let _one_at_a_time = self.changing(log.n).lock().await;
        let old_grant = self.quit(&key).await;
        let old = self.store.push_config(&log.scope, log.n, &id).await;
        let old = old.map_err(store::Error::incident)?;
        if old.is_none() {
            let (count, most) = (
                self.store.push_count(log.n).await.map_err(store::Error::incident)?,
                self.settings.per_task,
            );
            if count >= most {
                let message = format!(
                    "task `{}` has {count} push notification configs; this server keeps {most} (`push.per_task`). Delete one",
                    log.id
                );
                return Err(Error::new(ErrorKind::ResourceExhausted, message)
                    .with("taskId", log.id.as_str()));
            }
        }
        let active = old.filter(|row| row.state == PushState::Active);
        let sent = active.as_ref().map_or(after, |row| row.sent);
        let over = log.state().is_terminal() && log.head() <= sent;
        let encoded = serde_json::to_string(&config).expect("a config has no maps");
        let row = PushRow {
            key: 0,
            n: log.n,
            task: log.id.clone(),
            id,
            scope: log.scope.clone(),
            dialect,
            alias,
            config: encoded.into(),
            token: Some(grant.mark.clone()),
            sent,
            failing: None,
            created: Timestamp::now(),
            state: if over { PushState::Done } else { PushState::Active },
        };
        let write = Write::Push(Box::new(row.clone()));
        if let Err(error) = self.store.commit(vec![write], Durability::Synced).await {
            // A token without a grant has ended: its config was left without a worker.
            let may_start = |row: &PushRow| old_grant.is_some() || row.token.is_none();
            if let Some(active) = active.filter(may_start) {
                self.start(log.clone(), active, place, old_grant);
            }
            return Err(error.incident());
        }
        if !over {
            self.start(log.clone(), row, place, Some(grant));
        }
        Ok(config)
    }

    async fn delete(self: &Arc<Self>, key: Key) -> Result<(), store::Error> {
        let _one_at_a_time = self.changing(key.0).lock().await;
        self.quit(&key).await;
        let (n, id) = key;
        let write = Write::PushGone { n, id };
        self.store.commit(vec![write], Durability::Synced).await
    }

    fn changing(&self, n: i64) -> &tokio::sync::Mutex<()> {
        &self.changing[usize::try_from(n).unwrap_or(0) % STRIPES]
    }
}

fn decode(row: &PushRow) -> Result<TaskPushNotificationConfig, Error> {
    serde_json::from_str(&row.config).map_err(|error| {
        // Where it broke is said by line and column alone; what stands there may be a secret.
        let (line, column) = (error.line(), error.column());
        tracing::error!(task.id = %row.task, push.id = %row.id, line, column, "a stored push notification config cannot be read");
        Error::new(ErrorKind::Internal, "the stored config cannot be read; delete it and create it again")
    })
}

// === errors ===

fn not_found(log: &TaskLog, id: &str) -> Error {
    let id: String = id.chars().take(ID_BYTES).collect();
    let message = if id.is_empty() {
        format!("task `{}` has no push notification config", log.id)
    } else {
        format!("task `{}` has no push notification config `{id}`", log.id)
    };
    Error::new(ErrorKind::TaskNotFound, message)
        .with("taskId", log.id.as_str())
        .with("configId", id)
}

#[cfg(test)]
mod tests;
