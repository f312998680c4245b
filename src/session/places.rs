//! Places for live processes, and the idle ones that give theirs up.

use crate::queue::{FairQueue, Place};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Places for live processes; the process that idles longest gives way to a turn that waits.
#[derive(Clone)]
pub(super) struct Places(Arc<Inner>);

struct Inner {
    queue: FairQueue,
    idle: Mutex<Idle>,
}

/// Processes that may be ended, longest idle first.
#[derive(Default)]
struct Idle {
    by_age: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

/// A process that may be ended for a turn that waits; until it is dropped.
pub(super) struct Offer {
    places: Places,
    number: u64,
    wanted: Arc<Notify>,
}

impl Places {
    pub(super) fn new(queue: FairQueue) -> Self {
        Self(Arc::new(Inner { queue, idle: Mutex::default() }))
    }

    /// A place, if one is free now.
    pub(super) fn try_take(&self, caller: &Arc<str>) -> Option<Place> {
        self.0.queue.try_take(caller)
    }

    /// A place; the process that idles longest gives up its own for it. Cancel-safe.
    pub(super) async fn take(&self, caller: &Arc<str>) -> Place {
        if let Some(place) = self.try_take(caller) {
            return place;
        }
        // In the queue first: whoever becomes idle from now on sees this request.
        let request = self.0.queue.request(caller);
        if let Some((_, wanted)) = self.0.idle.lock().by_age.pop_first() {
            wanted.notify_one();
        }
        request.place().await
    }

    /// Offers the caller's process; if a turn waits already, it is wanted at once.
    pub(super) fn offer(&self) -> Offer {
        let wanted = Arc::new(Notify::new());
        let number = {
            let mut idle = self.0.idle.lock();
            let number = idle.next;
            idle.next += 1;
            idle.by_age.insert(number, wanted.clone());
            number
        };
        if self.is_wanted() {
            wanted.notify_one();
        }
        Offer { places: self.clone(), number, wanted }
    }

    /// Whether a turn waits for a place.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.queue.is_wanted()
    }

    /// Whether a turn that comes now would have to wait, and no idle process would give way.
    pub(super) fn is_full(&self) -> bool {
        self.free() == 0 && self.0.idle.lock().by_age.is_empty()
    }

    /// Places that are free.
    pub(super) fn free(&self) -> usize {
        self.0.queue.free()
    }
}

impl Offer {
    /// Waits until the process must give up its place. Cancel-safe.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.places.0.idle.lock().by_age.remove(&self.number);
    }
}
