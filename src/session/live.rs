//! The map of live sessions, the places they compete for, and sessions that are being removed.

use super::activity::{Activity, SessionState, WaitsFor};
use super::disk::DiskWatches;
use super::long_line::LineRoom;
use super::places::ProcessPlaces;
use super::pool::Pool;
use super::unsaved::KeptSessions;
use super::waiting::WaitingTurns;
use super::{Order, SessionDeps, SessionKey};
use crate::changes::{Change, Changes};
use crate::queue::FairQueue;
use crate::store::{Scope, SessionRow};
use crate::task::TaskLog;
use parking_lot::Mutex;
use pilothouse_a2a::time::Timestamp;
use pilothouse_egress::Refusal;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Semaphore, mpsc, watch};

/// Refusals that wait for a full audit log at most.
const MOST_REFUSALS: usize = 256;

/// Sessions without an actor whose rows are kept in memory.
const LEFT: usize = 256;

/// The live sessions and the places they compete for.
pub(super) struct LiveSessions {
    pub(super) map: Mutex<HashMap<SessionKey, ActorHandle>>,
    /// Rows of stored sessions whose actors have left: the next turn does not read them. Locked inside of the
    /// map's lock.
    left: Mutex<HashMap<SessionKey, SessionRow>>,
    /// For live processes.
    pub(super) places: ProcessPlaces,
    /// For running turns: no limit over all, `limits.turns_per_caller` for one caller.
    pub(super) turns: FairQueue,
    pub(super) pool: Pool,
    /// Process starts at a time.
    pub(super) starting: Arc<Semaphore>,
    /// Long lines of agents at a time.
    pub(super) lines: LineRoom,
    /// Refusals of agents' requests that wait for a full audit log.
    refusals: Arc<Semaphore>,
    /// Over the folders of sessions.
    pub(super) disk: DiskWatches,
    pub(super) waiting: WaitingTurns,
    /// Locked inside of the map's lock, never the other way round.
    pub(super) removals: Mutex<Removals>,
    /// What the last sweep has kept.
    pub(super) kept: Mutex<KeptSessions>,
    /// Sessions of which git makes a bundle.
    pub(super) bundled: Mutex<HashSet<Arc<str>>>,
    /// Bundles at a time.
    pub(super) bundles: FairQueue,
    /// Looks for unsaved work at a time.
    pub(super) looks: Arc<Semaphore>,
    /// Where changes of sessions are noted.
    pub(super) changes: Changes,
}

/// Sessions that are being removed: nobody takes them up again.
#[derive(Default)]
pub(super) struct Removals {
    pub(super) running: HashSet<Arc<str>>,
    /// How many have come to their end.
    pub(super) ended: u64,
}

/// A session that is being removed, until this is dropped.
pub struct Removal {
    pub(super) live: Arc<LiveSessions>,
    pub(super) session: Arc<str>,
}

pub(super) struct ActorHandle {
    /// What the session does now.
    pub(super) activity: watch::Receiver<Activity>,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// As it was when the actor began; the actor knows its session better.
    pub(super) session: SessionRow,
    /// Whether no turn of a session that was new has been submitted, so that it may not be stored.
    pub(super) new: bool,
    pub(super) reserved: usize,
    /// It waits for its turn in a shared folder each time.
    pub(super) shares: bool,
    /// Nothing to do, and a process that waits for the next turn.
    pub(super) warm: bool,
}

impl ActorHandle {
    /// Whether a turn runs or is on its way.
    pub(super) fn is_busy(&self) -> bool {
        let is_idle = match self.activity.borrow().state {
            SessionState::Idle
            | SessionState::Broken
            | SessionState::Waiting(WaitsFor::Answer | WaitsFor::Terminal) => true,
            SessionState::Starting
            | SessionState::Running
            | SessionState::Ending
            | SessionState::Waiting(_) => false,
        };
        self.reserved > 0 || !is_idle
    }
}

// === LiveSessions ===

impl LiveSessions {
    /// How many have a turn that runs or is on its way, and how many there are.
    pub(super) fn running(&self) -> (usize, usize) {
        let held = self.map.lock();
        (held.values().filter(|handle| handle.is_busy()).count(), held.len())
    }

    pub(super) fn new(deps: &SessionDeps) -> Self {
        let config = &deps.config;
        let priorities = &config.auth.priorities;
        Self {
            map: Mutex::default(),
            left: Mutex::default(),
            places: ProcessPlaces::new(FairQueue::new(config.processes.max, 0, priorities)),
            turns: FairQueue::new(usize::MAX, config.limits.turns_per_caller, priorities),
            pool: Pool::default(),
            starting: Arc::new(Semaphore::new(config.processes.starting)),
            lines: LineRoom::new(config),
            refusals: Arc::new(Semaphore::new(MOST_REFUSALS)),
            disk: DiskWatches::new(deps),
            waiting: WaitingTurns::new(config.processes.queue, config.limits.queue_per_caller),
            removals: Mutex::default(),
            kept: Mutex::default(),
            bundled: Mutex::default(),
            bundles: FairQueue::new(config.limits.gits, config.limits.gits.div_ceil(2), priorities),
            looks: Arc::new(Semaphore::new(config.limits.gits)),
            changes: deps.asks.changes(),
        }
    }

    /// A turn needs a place: where none is free and nobody idles, a warm process gives up its own.
    pub(super) fn make_room(&self, deps: &SessionDeps) {
        if self.places.is_full() {
            self.pool.give_up(deps);
        }
    }

    /// Notes in the audit log that an agent's request was refused. The turn does not wait for a log that nobody
    /// reads; where many refusals do, this one stands in its task alone.
    pub(super) fn note_refusal(
        &self,
        deps: &SessionDeps,
        log: Option<&TaskLog>,
        scope: &Scope,
        refusal: &Refusal,
    ) {
        if let Err(unsent) = deps.telemetry.egress_refused(log, scope, refusal)
            && let Ok(permit) = self.refusals.clone().try_acquire_owned()
        {
            deps.actors.spawn(async move {
                unsent.send().await;
                drop(permit);
            });
        }
    }

    /// The actor has a process and nothing to do. False when work is on its way.
    pub(super) fn mark_idle(&self, key: &SessionKey) -> bool {
        let mut map = self.map.lock();
        let Some(handle) = map.get_mut(key) else {
            return false;
        };
        handle.warm = handle.reserved == 0;
        handle.warm
    }

    /// The actor's process is gone while it waited.
    pub(super) fn mark_busy(&self, key: &SessionKey) {
        if let Some(handle) = self.map.lock().get_mut(key) {
            handle.warm = false;
        }
    }

    /// The actor wants to leave; true when nobody needs it and it is out of the map. `row` is the session's, where
    /// it is stored.
    pub(super) fn leave(
        &self,
        key: &SessionKey,
        inbox: &mpsc::UnboundedReceiver<Order>,
        row: Option<&SessionRow>,
    ) -> bool {
        let mut map = self.map.lock();
        let free = map.get(key).is_none_or(|handle| handle.reserved == 0) && inbox.is_empty();
        if free {
            map.remove(key);
            if let Some(row) = row {
                let mut left = self.left.lock();
                if left.len() >= LEFT
                    && let Some(other) = left.keys().next().cloned()
                {
                    left.remove(&other);
                }
                left.insert(key.clone(), row.clone());
            }
        }
        free
    }

    /// The row of a session whose actor has left, where it is still in memory.
    pub(super) fn take_left(&self, key: &SessionKey) -> Option<SessionRow> {
        self.left.lock().remove(key)
    }

    /// When a session without an actor was used last: its row may have been read before its end was stored.
    pub(super) fn last_use(&self, row: &SessionRow) -> Timestamp {
        let left = self.left.lock();
        let left = left.get(&SessionKey::of(row)).filter(|left| left.id == row.id);
        left.map_or(row.used, |left| left.used.max(row.used))
    }

    /// The actor is gone without having left.
    pub(super) fn forget(&self, key: &SessionKey, orders: &mpsc::UnboundedSender<Order>) {
        let mut map = self.map.lock();
        if map.get(key).is_some_and(|handle| handle.orders.same_channel(orders)) {
            map.remove(key);
        }
    }

    /// Gives the reservation up for an order. Both are one step for the actor, which would otherwise take the
    /// order, come to its end, and find itself reserved for nothing. The order where the actor has failed.
    pub(super) fn submit(
        &self,
        key: &SessionKey,
        orders: &mpsc::UnboundedSender<Order>,
        order: Order,
    ) -> Result<(), Box<SendError<Order>>> {
        let mut map = self.map.lock();
        if let Some(handle) = map.get_mut(key).filter(|handle| handle.orders.same_channel(orders)) {
            handle.reserved = handle.reserved.saturating_sub(1);
            handle.new &= !matches!(order, Order::Turn(_));
        }
        self.changes.note(Change::Session(key.scope.clone(), key.context_id.clone()));
        orders.send(order).map_err(Box::new)
    }
}

// === Removal ===

impl Drop for Removal {
    fn drop(&mut self) {
        self.live.disk.forget(&self.session);
        self.live.left.lock().retain(|_, row| row.id != self.session);
        let mut removals = self.live.removals.lock();
        removals.running.remove(&self.session);
        removals.ended += 1;
        drop(removals);
        self.live.changes.note(Change::SessionGone(self.session.clone()));
    }
}
