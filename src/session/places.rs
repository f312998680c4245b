//! Places for live processes, and the idle ones that give theirs up.

use crate::queue::{FairQueue, Place};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Places for live processes; the process that idles longest gives way to a turn that waits.
#[derive(Clone)]
pub(super) struct ProcessPlaces(Arc<SharedPlaces>);

struct SharedPlaces {
    queue: FairQueue,
    idle: Mutex<IdleProcesses>,
}

/// Processes that may be ended: those that do nothing before those that work in the background, longest idle first.
#[derive(Default)]
struct IdleProcesses {
    by_age: BTreeMap<(bool, u64), Arc<Notify>>,
    next: u64,
}

/// A process that may be ended for a turn that waits; until it is dropped. Where it was chosen and does
/// something else instead, the next one is chosen.
pub(super) struct Offer {
    places: ProcessPlaces,
    number: (bool, u64),
    wanted: Arc<Notify>,
    /// Whether its owner has heard that it must give way.
    heard: AtomicBool,
}

impl ProcessPlaces {
    pub(super) fn new(queue: FairQueue) -> Self {
        Self(Arc::new(SharedPlaces { queue, idle: Mutex::default() }))
    }

    /// A place, if one is free now.
    pub(super) fn try_take(&self, caller: &Arc<str>) -> Option<Place> {
        self.0.queue.try_take(caller)
    }

    /// A place; the process that idles longest gives up its own for it. Cancel-safe.
    pub(super) async fn take(&self, caller: &Arc<str>) -> Place {
        // In the queue first: whoever becomes idle from now on sees this request.
        let mut request = self.0.queue.request(caller);
        if let Some(place) = request.take().now_or_never() {
            return place;
        }
        self.0.idle.lock().choose();
        request.take().await
    }

    /// Offers the caller's process, which may work in the background; if a turn waits already, it is wanted at once.
    pub(super) fn offer(&self, works: bool) -> Offer {
        let wanted = Arc::new(Notify::new());
        let number = {
            let mut idle = self.0.idle.lock();
            let number = (works, idle.next);
            idle.next += 1;
            if self.is_wanted() {
                // Chosen, so that the next request chooses another one.
                wanted.notify_one();
            } else {
                idle.by_age.insert(number, wanted.clone());
            }
            number
        };
        Offer { places: self.clone(), number, wanted, heard: AtomicBool::new(false) }
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

impl IdleProcesses {
    /// The process that idles longest must give way.
    fn choose(&mut self) {
        if let Some((_, wanted)) = self.by_age.pop_first() {
            wanted.notify_one();
        }
    }
}

impl Offer {
    /// Waits until the process must give up its place. Cancel-safe.
    pub(super) async fn await_wanted(&self) {
        self.wanted.notified().await;
        self.heard.store(true, Ordering::Relaxed);
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let mut idle = self.places.0.idle.lock();
        let was_chosen = idle.by_age.remove(&self.number).is_none();
        if was_chosen && !self.heard.load(Ordering::Relaxed) && self.places.is_wanted() {
            idle.choose();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_process_that_was_chosen_and_begins_a_turn_passes_the_request_on_to_the_next() {
        let (places, ann) =
            (ProcessPlaces::new(FairQueue::new(1, 0, &BTreeMap::new())), Arc::from("ann"));
        let held = places.try_take(&ann).unwrap();
        let (oldest, newest) = (places.offer(false), places.offer(false));
        let mut waiting = std::pin::pin!(places.take(&ann));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(newest.await_wanted().now_or_never().is_none());
        drop(oldest);
        assert!(newest.await_wanted().now_or_never().is_some());
        drop(held);
        assert!(waiting.now_or_never().is_some());
    }

    #[test]
    fn a_process_that_works_in_the_background_gives_way_last() {
        let (places, ann) =
            (ProcessPlaces::new(FairQueue::new(1, 0, &BTreeMap::new())), Arc::from("ann"));
        let _held = places.try_take(&ann).unwrap();
        let (works, idle) = (places.offer(true), places.offer(false));
        let mut waiting = std::pin::pin!(places.take(&ann));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(works.await_wanted().now_or_never().is_none());
        assert!(idle.await_wanted().now_or_never().is_some());
    }

    #[test]
    fn no_process_gives_way_where_a_place_is_free() {
        let (places, ann) =
            (ProcessPlaces::new(FairQueue::new(1, 0, &BTreeMap::new())), Arc::from("ann"));
        let idle = places.offer(false);
        assert!(places.take(&ann).now_or_never().is_some());
        assert!(idle.await_wanted().now_or_never().is_none());
    }

    #[test]
    fn a_process_that_gives_way_wakes_no_other_and_two_requests_choose_two() {
        let (places, ann) =
            (ProcessPlaces::new(FairQueue::new(1, 0, &BTreeMap::new())), Arc::from("ann"));
        let _held = places.try_take(&ann).unwrap();
        let mut first = std::pin::pin!(places.take(&ann));
        assert!(first.as_mut().now_or_never().is_none());
        let chosen = places.offer(false);
        let mut second = std::pin::pin!(places.take(&ann));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(chosen.await_wanted().now_or_never().is_some());
        // The second request waits as well, so the next process gives way to it.
        let next = places.offer(false);
        assert!(next.await_wanted().now_or_never().is_some());
        drop(chosen);
    }
}
