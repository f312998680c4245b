//! The map of live sessions and the places for processes.

use super::pool::Pool;
use super::{Attach, Ending, File, Fork, House, Key, Order, Turn, actor};
use crate::asks::{Decision, Pass};
use crate::store::{self, Durability, Scope, SessionRow};
use crate::supervisor::Spec;
use crate::task::TaskLog;
use parking_lot::Mutex;
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::time::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// All sessions of the server.
#[derive(Clone)]
pub struct Sessions {
    house: Arc<House>,
    live: Arc<Live>,
}

/// The live sessions and the places they compete for.
pub(super) struct Live {
    map: Mutex<HashMap<Key, Handle>>,
    pub(super) slots: Slots,
    pool: Pool,
    waiting: AtomicUsize,
    /// Locked inside of the map's lock, never the other way round.
    removals: Mutex<Removals>,
}

/// Sessions that are being removed: nobody takes them up again.
#[derive(Default)]
struct Removals {
    running: HashSet<Arc<str>>,
    /// How many have come to their end.
    ended: u64,
}

/// A session that is being removed, until this is dropped.
pub struct Removal {
    live: Arc<Live>,
    session: Arc<str>,
}

struct Handle {
    orders: mpsc::UnboundedSender<Order>,
    session: Arc<str>,
    reserved: usize,
    /// It waits for its turn in a shared folder each time.
    shares: bool,
    /// Nothing to do, and a process that waits for the next turn.
    warm: bool,
}

/// Places for live processes; who idles longest gives way.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    idle: Mutex<BTreeMap<u64, mpsc::UnboundedSender<Order>>>,
    clock: AtomicUsize,
    wanted: AtomicUsize,
}

/// A reserved place in a session's queue.
pub struct Admission {
    house: Arc<House>,
    live: Arc<Live>,
    key: Key,
    orders: mpsc::UnboundedSender<Order>,
    /// The session; to be stored with the task where it is new.
    pub session: SessionRow,
    /// Whether the session is new.
    pub new: bool,
    /// Whether the turn can start at once.
    pub now: bool,
    slot: Option<OwnedSemaphorePermit>,
    submitted: bool,
}

/// Where a turn comes from, where that is not a message alone.
#[derive(Debug, Default)]
pub struct Origin {
    /// What was decided about an ask of the task while its process was gone.
    pub pass: Option<Pass>,
    /// The session that this turn's new one begins as a copy of.
    pub fork: Option<Fork>,
}

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The queue is full.
    #[error("{waiting} tasks are waiting already (`processes.queue`); try again later")]
    Full {
        /// How many wait.
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
    pub fn new(house: Arc<House>) -> Self {
        let live = Live {
            map: Mutex::default(),
            slots: Slots::new(house.config.processes.max),
            pool: Pool::default(),
            waiting: AtomicUsize::new(0),
            removals: Mutex::default(),
        };
        Self { house, live: Arc::new(live) }
    }

    /// What all sessions share.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// Tasks that wait for a process or for their session's turn.
    pub fn waiting(&self) -> usize {
        self.live.waiting.load(Ordering::Relaxed)
    }

    /// Live processes, and how many there may be.
    pub fn processes(&self) -> (usize, usize) {
        let max = self.house.config.processes.max;
        (max.saturating_sub(self.live.slots.free.available_permits()), max)
    }

    /// Whether a session has an actor.
    pub fn is_live(&self, session: &str) -> bool {
        self.live.map().values().any(|handle| &*handle.session == session)
    }

    /// Keeps a session for its removal; none while it is in use. A message to its context begins a new one.
    pub fn begin_removal(&self, session: &Arc<str>) -> Option<Removal> {
        let map = self.live.map();
        let is_live = map.values().any(|handle| handle.session == *session);
        if is_live || self.house.tasks.holds_session(session) {
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
    ) -> Result<Admission, Refused> {
        if self.house.stop.is_cancelled() {
            return Err(Refused::Stopping);
        }
        let agent = self.house.agents.get(&scope.agent).cloned();
        let agent = agent.ok_or_else(|| Refused::NoAgent(scope.agent.clone()))?;
        let key = Key { scope: scope.clone(), context_id };
        if let Some(admission) = self.admit_live(&key)? {
            return Ok(admission);
        }
        let removed = self.live.removals.lock().ended;
        let stored =
            if known { self.house.store.session(scope, &key.context_id).await? } else { None };
        let (orders, inbox) = mpsc::unbounded_channel();
        let placed = 'locked: {
            let mut map = self.live.map();
            if map.contains_key(&key) {
                drop(map);
                // Another request of the same context was quicker.
                return self.admit_live(&key)?.ok_or(Refused::Stopping);
            }
            let stored = {
                let removals = self.live.removals.lock();
                if stored.is_some() && removals.ended != removed {
                    // The row may be gone since it was read.
                    break 'locked None;
                }
                stored.filter(|row| !removals.running.contains(&row.id))
            };
            let new = stored.is_none();
            let mut session = stored.unwrap_or_else(|| {
                let now = Timestamp::now();
                SessionRow {
                    id: Arc::from(uuid::Uuid::now_v7().to_string()),
                    scope: key.scope.clone(),
                    context_id: key.context_id.clone(),
                    conversation: None,
                    // Without a script there is nothing to be done but folders, which are made where they miss.
                    ready: agent.workspaces.script().is_none(),
                    created: now,
                    used: now,
                }
            });
            // A session with a script is set up by it first, so nothing can run ahead of it.
            let fresh = new && session.ready;
            let ahead = fresh.then(|| self.live.pool.take(&self.house, &agent)).flatten();
            let warm = ahead.map(|ahead| {
                session.id = ahead.session;
                ahead.running
            });
            let slot = if warm.is_none() { self.live.slots.try_take() } else { None };
            let now = (slot.is_some() || warm.is_some()) && agent.shared_turns.is_none();
            if !now {
                self.count_one_waiting()?;
            }
            let handle = Handle {
                orders: orders.clone(),
                session: session.id.clone(),
                reserved: 1,
                shares: agent.shared_turns.is_some(),
                warm: false,
            };
            map.insert(key.clone(), handle);
            Some((session, new, slot, warm, now))
        };
        let Some((session, new, slot, warm, now)) = placed else {
            return Box::pin(self.admit(scope, key.context_id, known)).await;
        };
        let actor = actor::Actor::new(
            self.house.clone(),
            self.live.clone(),
            agent,
            session.clone(),
            inbox,
            orders.downgrade(),
            warm,
        );
        self.house.actors.spawn(actor.run(slot.is_some()));
        Ok(Admission {
            house: self.house.clone(),
            live: self.live.clone(),
            key,
            orders,
            session,
            new,
            now,
            slot,
            submitted: false,
        })
    }

    fn admit_live(&self, key: &Key) -> Result<Option<Admission>, Refused> {
        let mut map = self.live.map();
        let Some(handle) = map.get_mut(key) else {
            return Ok(None);
        };
        let now = handle.warm && handle.reserved == 0 && !handle.shares;
        if !now {
            self.count_one_waiting()?;
        }
        handle.reserved += 1;
        handle.warm = false;
        let timestamp = Timestamp::now();
        // The actor knows its session better; this row only tells the task where it belongs.
        let session = SessionRow {
            id: handle.session.clone(),
            scope: key.scope.clone(),
            context_id: key.context_id.clone(),
            conversation: None,
            ready: true,
            created: timestamp,
            used: timestamp,
        };
        Ok(Some(Admission {
            house: self.house.clone(),
            live: self.live.clone(),
            key: key.clone(),
            orders: handle.orders.clone(),
            session,
            new: false,
            now,
            slot: None,
            submitted: false,
        }))
    }

    fn count_one_waiting(&self) -> Result<(), Refused> {
        let limit = self.house.config.processes.queue;
        let waiting = self.live.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= limit {
            self.live.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Full { waiting });
        }
        Ok(())
    }

    /// Interrupts the running turn of a task whose next turn is there already.
    pub fn steer(&self, log: &TaskLog) {
        let key = Key { scope: log.scope.clone(), context_id: log.context_id.clone() };
        if let Some(handle) = self.live.map().get(&key) {
            let _ = handle.orders.send(Order::Steer(log.id.clone()));
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
        admission.slot = None;
        let order = Order::Attach(Attach { ready, left });
        let sent = admission.orders.send(order).is_ok();
        let gone = || "the session is busy; try again".to_owned();
        let answer = if sent { answer.await.ok() } else { None };
        drop(admission);
        answer.ok_or_else(gone)?
    }

    /// Hands an answer to the process that asked. False when it is gone.
    pub async fn answer(&self, log: &TaskLog, ask: &Arc<str>, decision: &Decision) -> bool {
        let key = Key { scope: log.scope.clone(), context_id: log.context_id.clone() };
        let orders = {
            let map = self.live.map();
            map.get(&key).map(|handle| handle.orders.clone())
        };
        let Some(orders) = orders else { return false };
        let (done, answer) = oneshot::channel();
        let order = Order::Answer(log.id.clone(), ask.clone(), decision.clone(), done);
        orders.send(order).is_ok() && answer.await.unwrap_or(false)
    }

    /// Keeps processes ready for new sessions, until the server stops.
    pub async fn keep_warm(&self) {
        let live = &self.live;
        live.pool.keep_full(&self.house, || live.slots.try_take()).await;
    }

    /// Cancels a task and waits until it is over. False when there was nothing to cancel any more.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn cancel(&self, log: &Arc<TaskLog>) -> Result<bool, store::Error> {
        let key = Key { scope: log.scope.clone(), context_id: log.context_id.clone() };
        let orders = self.live.map().get(&key).map(|handle| handle.orders.clone());
        if let Some(orders) = &orders {
            let (done, answer) = oneshot::channel();
            if orders.send(Order::Cancel(log.id.clone(), done)).is_ok()
                && let Ok(true) = answer.await
            {
                return Ok(true);
            }
        }
        // No turn of it runs or waits: it asked, and nobody will answer; or its turn is still on its way.
        let record = actor::canceled(log, "canceled before it was continued");
        let taken = log.record(&self.house.store, vec![record], Durability::Synced).await?;
        if let (true, Some(orders)) = (taken, orders) {
            // A turn that arrived meanwhile finds its task over; one that has just begun is ended by this.
            let _ = orders.send(Order::Cancel(log.id.clone(), oneshot::channel().0));
        }
        Ok(taken)
    }
}

// === Live ===

impl Live {
    fn map(&self) -> parking_lot::MutexGuard<'_, HashMap<Key, Handle>> {
        self.map.lock()
    }

    /// A turn needs a place: where none is free and nobody idles, a warm process gives up its own.
    pub(super) fn make_room(&self, house: &House) {
        if self.slots.free.available_permits() == 0 && self.slots.idle_ones().is_empty() {
            self.pool.give_up(house);
        }
    }

    /// A waiting turn begins, or is gone.
    pub(super) fn one_less_waiting(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// The actor has a process and nothing to do. False when work is on its way.
    pub(super) fn idle(&self, key: &Key) -> bool {
        let mut map = self.map();
        let Some(handle) = map.get_mut(key) else {
            return false;
        };
        handle.warm = handle.reserved == 0;
        handle.warm
    }

    /// The actor's process is gone while it waited.
    pub(super) fn cold(&self, key: &Key) {
        if let Some(handle) = self.map().get_mut(key) {
            handle.warm = false;
        }
    }

    /// The actor wants to leave; true when nobody needs it and it is out of the map.
    pub(super) fn leave(&self, key: &Key, inbox: &mpsc::UnboundedReceiver<Order>) -> bool {
        let mut map = self.map();
        let free = map.get(key).is_none_or(|handle| handle.reserved == 0) && inbox.is_empty();
        if free {
            map.remove(key);
        }
        free
    }

    /// The actor is gone without having left.
    pub(super) fn forget(&self, key: &Key, orders: &mpsc::UnboundedSender<Order>) {
        let mut map = self.map();
        if map.get(key).is_some_and(|handle| handle.orders.same_channel(orders)) {
            map.remove(key);
        }
    }

    fn unreserve(&self, key: &Key, orders: &mpsc::UnboundedSender<Order>) {
        let mut map = self.map();
        if let Some(handle) = map.get_mut(key).filter(|handle| handle.orders.same_channel(orders)) {
            handle.reserved = handle.reserved.saturating_sub(1);
        }
    }
}

// === Removal ===

impl Drop for Removal {
    fn drop(&mut self) {
        let mut removals = self.live.removals.lock();
        removals.running.remove(&self.session);
        removals.ended += 1;
    }
}

// === Admission ===

impl Admission {
    /// The task is stored as waiting, whatever place was free: its actor will say when it begins.
    pub fn not_yet_started(&mut self) {
        if std::mem::replace(&mut self.now, false) {
            self.live.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands the turn to the session's actor.
    pub fn submit(self, log: Arc<TaskLog>, prompt: pilothouse_agents::Turn, files: Vec<File>) {
        self.submit_with(log, prompt, files, Origin::default());
    }

    /// The same, with what it comes from.
    pub fn submit_with(
        mut self,
        log: Arc<TaskLog>,
        prompt: pilothouse_agents::Turn,
        files: Vec<File>,
        origin: Origin,
    ) {
        self.submitted = true;
        let ending = Ending::new(self.house.clone(), log.clone());
        let turn = Turn {
            log,
            prompt,
            files,
            pass: origin.pass,
            fork: origin.fork,
            slot: self.slot.take(),
            started: self.now,
            ending,
        };
        // Sent under the reservation, so the actor cannot have left; where it has failed, the task ends.
        let _ = self.orders.send(Order::Turn(turn));
        self.live.unreserve(&self.key, &self.orders);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.submitted {
            if !self.now {
                self.live.one_less_waiting();
            }
            self.live.unreserve(&self.key, &self.orders);
            let _ = self.orders.send(Order::Nudge);
        }
    }
}

// === Slots ===

impl Slots {
    fn new(max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max)),
            idle: Mutex::default(),
            clock: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
        }
    }

    fn idle_ones(
        &self,
    ) -> parking_lot::MutexGuard<'_, BTreeMap<u64, mpsc::UnboundedSender<Order>>> {
        self.idle.lock()
    }

    /// A place, if one is free and nobody waits for it.
    fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        if self.wanted.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.free.clone().try_acquire_owned().ok()
    }

    /// A place; the longest-idle session gives up its own for it.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return permit;
        }
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let wanted = Wanted(&self.wanted);
        if let Some((_, orders)) = self.idle_ones().pop_first() {
            let _ = orders.send(Order::Evict);
        }
        let permit = self.free.clone().acquire_owned().await.expect("the places are never closed");
        drop(wanted);
        permit
    }

    /// Whether somebody waits for a place.
    pub(super) fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Notes that a session idles; the number takes it off the list again.
    pub(super) fn idles(&self, orders: mpsc::UnboundedSender<Order>) -> u64 {
        let tick = self.clock.fetch_add(1, Ordering::Relaxed) as u64;
        self.idle_ones().insert(tick, orders);
        tick
    }

    /// The session works again, or its process is gone.
    pub(super) fn works(&self, tick: u64) {
        self.idle_ones().remove(&tick);
    }
}

/// Counts a waiter for as long as it waits, also when it gives up.
struct Wanted<'a>(&'a AtomicUsize);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
