//! The way to the sessions: places for turns, and orders to the actors.

use super::activity::{Activity, SessionState};
use super::actor::Actor;
use super::inquiry;
use super::live::{ActorHandle, LiveSessions, Removal};
use super::pool::WarmProcess;
use super::records::status_with_words;
use super::resources::SessionResources;
use super::{
    Answer, Attach, Delivery, EndGuard, File, Order, Origin, SessionDeps, SessionKey, Turn,
    TurnPlaces,
};
use crate::agent::Agent;
use crate::asks::Decision;
use crate::store::{self, Durability, Scope, SessionRow, Write};
use crate::task::TaskLog;
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::Turn as Prompt;
use pilothouse_sandbox::supervisor::Spec;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// The longest wait for a change of a session before all are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// All sessions of the server.
#[derive(Clone)]
pub struct Sessions {
    pub(super) deps: Arc<SessionDeps>,
    pub(super) live: Arc<LiveSessions>,
}

/// A reserved place in a session's queue.
pub struct Admission {
    deps: Arc<SessionDeps>,
    live: Arc<LiveSessions>,
    key: SessionKey,
    orders: mpsc::UnboundedSender<Order>,
    /// The session; see [`Admission::write`].
    pub session: SessionRow,
    /// Whether the session is new.
    new: bool,
    places: TurnPlaces,
    submitted: bool,
}

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// The queue is full.
    #[error(
        "the queue is full: {waiting} tasks wait already; try again later; the server's operator can raise `processes.queue`"
    )]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// The caller has its share of the queue.
    #[error(
        "your part of the queue is full: {waiting} of your tasks wait already; try again later; the server's operator can \
         raise `limits.queue_per_caller`"
    )]
    FullForCaller {
        /// How many of the caller's tasks wait.
        waiting: usize,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The agent is served no more.
    #[error("the agent `{0}` is not served")]
    NoAgent(Arc<str>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Sessions {
    /// No sessions yet.
    pub fn new(deps: SessionDeps) -> Self {
        let live = Arc::new(LiveSessions::new(&deps));
        Self { deps: Arc::new(deps), live }
    }

    /// Waits until nothing of the sessions is left, once the server stops.
    pub async fn closed(&self) {
        self.deps.actors.close();
        self.deps.actors.wait().await;
        self.deps.isolation.clear().await;
        self.deps.egress.ended().await;
    }

    /// Ends a task as failed where this is dropped before a turn of it begins.
    pub fn end_guard(&self, log: Arc<TaskLog>) -> EndGuard {
        EndGuard::new(self.deps.clone(), log)
    }

    /// Tasks that wait for a process or for their session's turn.
    pub fn waiting(&self) -> usize {
        self.live.waiting.count()
    }

    /// How many sessions have a turn that runs or is on its way, of those that are held in memory.
    pub fn running(&self) -> (usize, usize) {
        self.live.running()
    }

    /// Waits until no turn runs or waits. One that waits for a person's answer is kept over the end of the server, so it
    /// is not waited for.
    pub async fn until_quiet(&self) {
        loop {
            let busy = {
                let map = self.live.map.lock();
                map.values().find(|handle| handle.is_busy()).map(|handle| handle.activity.clone())
            };
            match busy {
                None if self.waiting() == 0 => return,
                None => tokio::time::sleep(LOOK_AGAIN).await,
                // A turn that was admitted and comes to nothing changes nothing.
                Some(mut activity) => {
                    activity.mark_unchanged();
                    let _ = tokio::time::timeout(LOOK_AGAIN, activity.changed()).await;
                }
            }
        }
    }

    /// Ends what lives of a session that has no turn; whether it has ended.
    pub async fn end_session(&self, id: &str) -> bool {
        let until = Instant::now() + self.deps.config.timeouts.shutdown.get();
        loop {
            let mut activity = {
                let map = self.live.map.lock();
                let Some(handle) = map.values().find(|handle| *handle.session.id == *id) else {
                    return true;
                };
                let _ = handle.orders.send(Order::Leave);
                handle.activity.clone()
            };
            if Instant::now() >= until {
                return false;
            }
            activity.mark_unchanged();
            let _ = tokio::time::timeout(LOOK_AGAIN, activity.changed()).await;
        }
    }

    /// Which number the newest waiting task of a caller has in the order in which places are given.
    pub fn position(&self, caller: &str) -> usize {
        self.live.waiting.position(caller)
    }

    /// LiveSessions processes, and how many there may be.
    pub fn processes(&self) -> (usize, usize) {
        let max = self.deps.config.processes.max;
        (max.saturating_sub(self.live.places.free()), max)
    }

    /// Whether a session has an actor.
    pub fn is_live(&self, session: &str) -> bool {
        self.live.map.lock().values().any(|handle| *handle.session.id == *session)
    }

    /// What a session does now. A person may be asked by one that has no actor.
    pub fn activity(&self, row: &SessionRow) -> Activity {
        let key = SessionKey::of(row);
        let live = {
            let map = self.live.map.lock();
            let handle = map.get(&key).filter(|handle| handle.session.id == row.id);
            handle.map(|handle| handle.activity.borrow().clone())
        };
        let activity = live.unwrap_or_else(|| Activity::idle(self.live.last_use(row)));
        if activity.state != SessionState::Idle {
            return activity;
        }
        match self.deps.asks.first_of(&key.scope, &key.context_id) {
            Some(ask) => activity.asking(&ask),
            None => activity,
        }
    }

    /// Keeps a session for its removal; none while it is in use. A message to its context begins a new one.
    pub fn begin_removal(&self, session: &Arc<str>) -> Option<Removal> {
        let map = self.live.map.lock();
        let is_live = map.values().any(|handle| handle.session.id == *session);
        if is_live || self.deps.tasks.holds_session(session) {
            return None;
        }
        let is_first = self.live.removals.lock().running.insert(session.clone());
        is_first.then(|| Removal { live: self.live.clone(), session: session.clone() })
    }

    /// Reserves a place in the session of a context; `known` says that the context may already exist.
    ///
    /// # Errors
    ///
    /// When the queue is full, the server stops, or the store fails.
    pub async fn admit(
        &self,
        scope: &Scope,
        context_id: ContextId,
        known: bool,
    ) -> Result<Admission, NotAdmitted> {
        let agent = self.deps.agents.get(&scope.agent).cloned();
        let agent = agent.ok_or_else(|| NotAdmitted::NoAgent(scope.agent.clone()))?;
        let key = SessionKey { scope: scope.clone(), context_id };
        loop {
            if self.deps.stop.is_cancelled() {
                return Err(NotAdmitted::Stopping);
            }
            if let Some(admission) = self.admit_live(&key)? {
                return Ok(admission);
            }
            let removed = self.live.removals.lock().ended;
            let stored = match self.live.take_left(&key) {
                None if known => self.deps.store.session(scope, &key.context_id).await?,
                left => left,
            };
            if let Some(admission) = self.begin_session(&agent, &key, stored, removed)? {
                return Ok(admission);
            }
        }
    }

    /// Begins the actor of a session; none where another request of the same context was quicker, or where the
    /// stored row may be gone since it was read (`removed` sessions had been removed by then).
    fn begin_session(
        &self,
        agent: &Arc<Agent>,
        key: &SessionKey,
        stored: Option<SessionRow>,
        removed: u64,
    ) -> Result<Option<Admission>, NotAdmitted> {
        let mut map = self.live.map.lock();
        if map.contains_key(key) {
            return Ok(None);
        }
        let stored = {
            let removals = self.live.removals.lock();
            if stored.is_some() && removals.ended != removed {
                return Ok(None);
            }
            stored.filter(|row| !removals.running.contains(&row.id))
        };
        let new = stored.is_none();
        let mut session = stored.unwrap_or_else(|| new_session(agent, key));
        // A session with a script is set up by it first, so nothing can run ahead of it.
        let (places, ahead) = self.take_places(agent, &key.scope.caller, new && session.ready)?;
        let warm = ahead.map(|ahead| {
            session.id = ahead.session;
            ahead.running
        });
        let (orders, inbox) = mpsc::unbounded_channel();
        let (deps, live) = (self.deps.clone(), self.live.clone());
        let row = session.clone();
        let resources = SessionResources::new(deps, live, agent.clone(), row, inbox, warm, new);
        let handle = map.entry(key.clone()).or_insert(ActorHandle {
            activity: resources.activity.subscribe(),
            orders: orders.clone(),
            session,
            new,
            reserved: 0,
            shares: agent.shared_turns.is_some(),
            warm: false,
        });
        let admission = self.reserve(key, handle, places);
        drop(map);
        let actor = Box::new(Actor::new(resources, orders.downgrade(), new));
        self.deps.actors.spawn(actor.run(admission.places.process.is_some()));
        Ok(Some(admission))
    }

    /// The places that are free for the first turn of a session, and a process that was started ahead where the
    /// session is `fresh`.
    fn take_places(
        &self,
        agent: &Agent,
        caller: &Arc<str>,
        fresh: bool,
    ) -> Result<(TurnPlaces, Option<WarmProcess>), NotAdmitted> {
        let live = &self.live;
        let mut places = TurnPlaces::default();
        if agent.shared_turns.is_none() {
            places.turn = live.turns.try_take(caller);
        }
        if places.turn.is_none() {
            places.waiting = Some(live.waiting.enter(caller)?);
        }
        let ahead = if fresh { live.pool.take(&self.deps, agent) } else { None };
        if places.turn.is_some() && ahead.is_none() {
            places.process = live.places.try_take(caller);
            if places.process.is_none() {
                places.turn = None;
                places.waiting = Some(live.waiting.enter(caller)?);
            }
        }
        Ok((places, ahead))
    }

    fn admit_live(&self, key: &SessionKey) -> Result<Option<Admission>, NotAdmitted> {
        let mut map = self.live.map.lock();
        let Some(handle) = map.get_mut(key) else {
            return Ok(None);
        };
        let (live, caller) = (&self.live, &key.scope.caller);
        let mut places = TurnPlaces::default();
        if handle.warm && handle.reserved == 0 && !handle.shares {
            places.turn = live.turns.try_take(caller);
        }
        if places.turn.is_none() {
            places.waiting = Some(live.waiting.enter(caller)?);
        }
        handle.warm = false;
        Ok(Some(self.reserve(key, handle, places)))
    }

    fn reserve(&self, key: &SessionKey, handle: &mut ActorHandle, places: TurnPlaces) -> Admission {
        handle.reserved += 1;
        Admission {
            deps: self.deps.clone(),
            live: self.live.clone(),
            key: key.clone(),
            orders: handle.orders.clone(),
            session: handle.session.clone(),
            new: handle.new,
            places,
            submitted: false,
        }
    }

    /// The way to the actor of a task's session, where it has one.
    fn orders_of(&self, log: &TaskLog) -> Option<mpsc::UnboundedSender<Order>> {
        let key = SessionKey { scope: log.scope.clone(), context_id: log.context_id.clone() };
        self.live.map.lock().get(&key).map(|handle| handle.orders.clone())
    }

    /// Interrupts the running turn of a task whose next turn is there already.
    pub fn steer(&self, log: &TaskLog) {
        if let Some(orders) = self.orders_of(log) {
            let _ = orders.send(Order::Steer(log.id.clone()));
        }
    }

    /// Has the process that waits for an answer to this task's ask ended; the answer resumes its conversation.
    pub fn park(&self, log: &TaskLog) {
        if let Some(orders) = self.orders_of(log) {
            let _ = orders.send(Order::Park(log.id.clone()));
        }
    }

    /// Lends a session's conversation to a person at a terminal: how to start the CLI, until `left`.
    ///
    /// # Errors
    ///
    /// Why not, for people.
    pub async fn attach(
        &self,
        row: &SessionRow,
        left: oneshot::Receiver<()>,
    ) -> Result<Spec, String> {
        let admission = self.admit(&row.scope, row.context_id.clone(), true).await;
        let mut admission = admission.map_err(|refused| refused.to_string())?;
        let (ready, answer) = oneshot::channel();
        admission.places = TurnPlaces::default();
        let order = Order::Attach(Attach { ready, left });
        let sent = admission.orders.send(order).is_ok();
        let gone = || "the session is busy; try again".to_owned();
        let answer = if sent { answer.await.ok() } else { None };
        drop(admission);
        answer.ok_or_else(gone)?
    }

    /// Hands an answer to the process that asked.
    pub(crate) async fn answer(
        &self,
        log: &TaskLog,
        ask: &Arc<str>,
        decision: &Decision,
    ) -> Delivery {
        let Some(orders) = self.orders_of(log) else { return Delivery::Gone };
        let (done, answer) = oneshot::channel();
        let answer_order = Answer { ask: ask.clone(), decision: decision.clone(), done };
        let order = Order::Answer(log.id.clone(), Box::new(answer_order));
        match orders.send(order) {
            Ok(()) => answer.await.unwrap_or(Delivery::Gone),
            Err(_) => Delivery::Gone,
        }
    }

    /// Keeps processes ready for new sessions, until the server stops.
    pub async fn keep_warm(&self) {
        let live = &self.live;
        let nobody = Arc::from("");
        live.pool.keep_full(&self.deps, &live.starting, || live.places.try_take(&nobody)).await;
    }

    /// Asks the CLIs that can say it what they offer.
    pub async fn ask_clis(&self) {
        let live = &self.live;
        inquiry::ask_all(&self.deps, &live.starting, &live.places).await;
    }

    /// Cancels a task and waits until it is over. False when there was nothing to cancel any more.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn cancel(&self, log: &Arc<TaskLog>) -> Result<bool, store::Error> {
        let orders = self.orders_of(log);
        if let Some(orders) = &orders {
            let (done, answer) = oneshot::channel();
            if orders.send(Order::Cancel(log.id.clone(), done)).is_ok()
                && let Ok(true) = answer.await
            {
                return Ok(true);
            }
        }
        // No turn of it runs or waits: it asked, and nobody will answer; or its turn is still on its way.
        let record =
            status_with_words(log, TaskState::Canceled, "canceled before it was continued");
        let taken = log.record(&self.deps.store, vec![record], Durability::Synced).await?;
        if let (true, Some(orders)) = (taken, orders) {
            // A turn that arrived meanwhile finds its task over; one that has just begun is ended by this.
            let _ = orders.send(Order::Cancel(log.id.clone(), oneshot::channel().0));
        }
        Ok(taken)
    }
}

// === Admission ===

impl Admission {
    /// Whether the turn can start at once.
    pub fn starts_now(&self) -> bool {
        self.places.waiting.is_none()
    }

    /// What is to be stored before the turn is submitted: the session, where it is new. That of a task that is
    /// there already may be new too, where the one before it was removed. Of several first messages each
    /// stores it, because one that is refused stores nothing.
    pub fn write(&self) -> Option<Write> {
        self.new.then(|| Write::Session(Box::new(self.session.clone())))
    }

    /// The task is stored as waiting, whatever place was free: its actor will say when it begins.
    pub fn not_yet_started(&mut self) {
        let (live, caller) = (&self.live, &self.key.scope.caller);
        self.places.waiting.get_or_insert_with(|| live.waiting.enter_over_limit(caller));
    }

    /// The turn waits for more than places, so that its task is stored as waiting.
    ///
    /// # Errors
    ///
    /// When too many turns wait.
    pub fn wait(&mut self) -> Result<(), NotAdmitted> {
        if self.places.waiting.is_none() {
            self.places.waiting = Some(self.live.waiting.enter(&self.key.scope.caller)?);
        }
        Ok(())
    }

    /// Hands the turn to the session's actor.
    pub fn submit(mut self, log: Arc<TaskLog>, prompt: Prompt, files: Vec<File>, origin: Origin) {
        self.submitted = true;
        let guard = EndGuard::new(self.deps.clone(), log.clone());
        let places = std::mem::take(&mut self.places);
        let turn = Turn { log, prompt, files, origin, places, guard };
        // Sent under the reservation, so the actor cannot have left; where it has failed, the task ends.
        drop(self.live.submit(&self.key, &self.orders, Order::Turn(Box::new(turn))));
    }
}

/// A session that begins now.
fn new_session(agent: &Agent, key: &SessionKey) -> SessionRow {
    let now = Timestamp::now();
    SessionRow {
        id: Arc::from(uuid::Uuid::now_v7().to_string()),
        scope: key.scope.clone(),
        context_id: key.context_id.clone(),
        conversation: None,
        ready: !agent.needs_setup(),
        checkout: None,
        setup: agent.choose_setup(),
        created: now,
        used: now,
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.submitted {
            drop(self.live.submit(&self.key, &self.orders, Order::Nudge));
        }
    }
}
