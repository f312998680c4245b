//! Requests under way: how many there may be, and of whom.
//!
//! # How it works
//!
//! A request is under way until its answer has left or its client is gone; a stream and a call that waits are
//! under way as long as they last. Each takes some kilobytes whether or not its client reads, so all of them
//! share [`Requests`]: a caller has at most half of the places, all strangers together a quarter, and health
//! over HTTP/2 an eighth of its own.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

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
}

#[derive(Debug, Default)]
struct Open {
    /// Without those of health.
    count: usize,
    by_class: HashMap<Class, usize>,
}

/// A place among the requests under way; dropping it makes room.
#[derive(Debug)]
pub(super) struct RequestPlace {
    requests: Arc<Requests>,
    class: Class,
}

impl Requests {
    /// None yet, and so many at a time.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place, if there is one.
    pub(super) fn enter(self: &Arc<Self>, class: Class) -> Option<RequestPlace> {
        let share = match class {
            Class::Caller(_) => self.most / 2,
            Class::Strangers => self.most / 4,
            Class::Health => self.most / 8,
        };
        let is_counted = class != Class::Health;
        let mut open = self.open.lock();
        if is_counted && open.count >= self.most {
            return None;
        }
        let own = open.by_class.entry(class.clone()).or_default();
        if *own >= share.max(1) {
            return None;
        }
        *own += 1;
        open.count += usize::from(is_counted);
        drop(open);
        Some(RequestPlace { requests: self.clone(), class })
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(requests: &Arc<Requests>, class: &Class) -> Vec<RequestPlace> {
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
