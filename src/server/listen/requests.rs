//! Requests under way: how many there may be, and of whom.
//!
//! # How it works
//!
//! A request is under way until its answer has left or its client is gone; a stream and a call that waits are
//! under way as long as they last. Each takes some kilobytes whether or not its client reads, so all of them
//! share [`Requests`]: a caller has at most half of the places, all strangers together a quarter, and health
//! over HTTP/2 an eighth of its own. A further request is refused. Each stream of HTTP/2 costs memory before it
//! can be refused, so little is read at a time then, and before a token was seen, and nothing of a caller's connection that has no
//! request under way.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Who a request counts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// A caller, by its name.
    Caller(Arc<str>),
    /// All requests without a valid token.
    Strangers,
    /// Questions after the server's health.
    Health,
}

/// All requests under way.
#[derive(Debug)]
pub(super) struct Requests {
    most: usize,
    open: Mutex<Open>,
    /// Wakes connections that wait for a place.
    left: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Open {
    /// Without those of health.
    count: usize,
    by_class: HashMap<Class, usize>,
}

/// A place among the requests under way; dropping the last clone of it makes room.
#[derive(Debug, Clone)]
pub(in super::super) struct UnderWay {
    _place: Arc<RequestPlace>,
}

#[derive(Debug)]
struct RequestPlace {
    requests: Arc<Requests>,
    class: Class,
}

impl Requests {
    /// None yet, and so many at a time.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default(), left: Arc::default() })
    }

    fn share(&self, class: &Class) -> usize {
        let share = match class {
            Class::Caller(_) => self.most / 2,
            Class::Strangers => self.most / 4,
            Class::Health => self.most / 8,
        };
        share.max(1)
    }

    /// Whether a further request of this class would find no place.
    pub(super) fn are_full(&self, class: &Class) -> bool {
        let open = self.open.lock();
        open.count >= self.most
            || open.by_class.get(class).is_some_and(|own| *own >= self.share(class))
    }

    /// Wakes when a place is free, counted from now.
    pub(super) fn place_left(&self) -> OwnedNotified {
        self.left.clone().notified_owned()
    }

    /// A place, if there is one.
    pub(super) fn enter(self: &Arc<Self>, class: Class) -> Option<UnderWay> {
        let share = self.share(&class);
        let is_counted = class != Class::Health;
        let mut open = self.open.lock();
        if is_counted && open.count >= self.most {
            return None;
        }
        let own = open.by_class.entry(class.clone()).or_default();
        if *own >= share {
            return None;
        }
        *own += 1;
        open.count += usize::from(is_counted);
        drop(open);
        let place = RequestPlace { requests: self.clone(), class };
        Some(UnderWay { _place: Arc::new(place) })
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        let mut open = self.requests.open.lock();
        open.count -= usize::from(self.class != Class::Health);
        if let Some(own) = open.by_class.get_mut(&self.class) {
            *own -= 1;
            if *own == 0 {
                open.by_class.remove(&self.class);
            }
        }
        drop(open);
        self.requests.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(requests: &Arc<Requests>, class: &Class) -> Vec<UnderWay> {
        std::iter::from_fn(|| requests.enter(class.clone())).collect()
    }

    #[test]
    fn each_class_has_its_share_and_a_place_comes_back_when_it_is_dropped() {
        let requests = Requests::new(16);
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| Class::Caller(name.into()));
        let mut strangers = fill(&requests, &Class::Strangers);
        let of_alice = fill(&requests, &alice);
        assert_eq!((strangers.len(), of_alice.len()), (4, 8));
        // What is left of all.
        assert_eq!(fill(&requests, &bob).len(), 4);
        let of_bob = fill(&requests, &bob);
        assert!(requests.enter(carol.clone()).is_none());
        assert_eq!(fill(&requests, &Class::Health).len(), 2);
        drop(of_bob);
        assert!(requests.enter(carol).is_some());
        strangers.pop();
        assert!(requests.enter(Class::Strangers).is_some());
        drop((strangers, of_alice));
        assert_eq!(requests.open.lock().count, 0);
        assert!(requests.open.lock().by_class.is_empty());
    }
}
