//! A fair queue for places: callers take turns, and the oldest request of a caller comes first.
//!
//! # How it works
//!
//! Each caller that waits has a line of its own. A place that becomes free goes to the oldest request of
//! the first caller; if that caller has more requests, it goes to the end of the round. So a caller
//! with one request waits for at most one request of each other caller, however many these have. A caller
//! with a higher priority comes before all callers with a lower one.
//!
//! A request may be for several places at once, such as bytes. It is granted as a whole, and while it is
//! next and too few places are free, nobody passes it.
//!
//! # Pitfalls
//!
//! A future that waits may be dropped at any moment: [`Request`] leaves its line in `Drop`, or passes on
//! the place that it was given and has not taken.

use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Places and the requests that wait for them; clones share both.
#[derive(Clone)]
pub struct FairQueue(Arc<SharedQueue>);

struct SharedQueue {
    places: usize,
    /// Places of one caller at most, beside a single request for more.
    per_caller: usize,
    /// Callers without an entry have priority 0.
    priorities: BTreeMap<String, u8>,
    state: Mutex<QueueState>,
}

struct QueueState {
    /// Negative while places that were taken have grown over the last free one.
    free: isize,
    /// How many places each caller has.
    held: HashMap<Arc<str>, usize>,
    /// By priority: callers in the order in which they are next.
    rounds: BTreeMap<Reverse<u8>, VecDeque<CallerQueue>>,
    next_id: u64,
}

/// The requests of one caller, oldest first.
struct CallerQueue {
    caller: Arc<str>,
    requests: VecDeque<Waiting>,
}

/// A request in its line.
struct Waiting {
    id: u64,
    size: usize,
    grant: oneshot::Sender<()>,
}

/// A place of a caller, or several that were taken together; they go to the next requests when this is
/// dropped.
pub struct Place {
    queue: Arc<SharedQueue>,
    caller: Arc<str>,
    size: usize,
}

/// A request that waits for its place.
pub struct Request {
    queue: Arc<SharedQueue>,
    caller: Arc<str>,
    size: usize,
    id: u64,
    granted: oneshot::Receiver<()>,
    is_taken: bool,
}

impl FairQueue {
    /// So many places; of these, `per_caller` for one caller at most (0: no such limit).
    pub fn new(places: usize, per_caller: usize, priorities: &BTreeMap<String, u8>) -> Self {
        let state = QueueState {
            free: isize::try_from(places).unwrap_or(isize::MAX),
            held: HashMap::new(),
            rounds: BTreeMap::new(),
            next_id: 0,
        };
        Self(Arc::new(SharedQueue {
            places,
            per_caller: if per_caller == 0 { usize::MAX } else { per_caller },
            priorities: priorities.clone(),
            state: Mutex::new(state),
        }))
    }

    /// A place, if one is free now.
    pub fn try_take(&self, caller: &Arc<str>) -> Option<Place> {
        self.try_take_many(caller, 1)
    }

    /// So many places at once, if they are free now; all of them where there are fewer.
    pub fn try_take_many(&self, caller: &Arc<str>, size: usize) -> Option<Place> {
        let size = size.min(self.0.places);
        let mut state = self.0.state.lock();
        let is_free = isize::try_from(size).is_ok_and(|size| size <= state.free)
            && self.0.has_room(&state, caller, size);
        if !is_free || self.0.next(&state).is_some() {
            return None;
        }
        state.hold(caller, size);
        Some(Place { queue: self.0.clone(), caller: caller.clone(), size })
    }

    /// So many places at once, whether or not they are free.
    pub fn overdraw(&self, caller: &Arc<str>, size: usize) -> Place {
        self.0.state.lock().hold(caller, size);
        Place { queue: self.0.clone(), caller: caller.clone(), size }
    }

    /// Enters the queue for one place.
    pub fn request(&self, caller: &Arc<str>) -> Request {
        self.request_many(caller, 1)
    }

    /// Enters the queue for so many places at once; for all of them where there are fewer.
    pub fn request_many(&self, caller: &Arc<str>, size: usize) -> Request {
        let size = size.min(self.0.places);
        let (grant, granted) = oneshot::channel();
        let priority = self.0.priorities.get(&**caller).copied().unwrap_or(0);
        let mut state = self.0.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let round = state.rounds.entry(Reverse(priority)).or_default();
        match round.iter_mut().find(|line| line.caller == *caller) {
            Some(line) => line.requests.push_back(Waiting { id, size, grant }),
            None => round.push_back(CallerQueue {
                caller: caller.clone(),
                requests: VecDeque::from([Waiting { id, size, grant }]),
            }),
        }
        self.0.grant(&mut state);
        let (queue, caller) = (self.0.clone(), caller.clone());
        Request { queue, caller, size, id, granted, is_taken: false }
    }

    /// Places that are free.
    pub fn free(&self) -> usize {
        usize::try_from(self.0.state.lock().free).unwrap_or(0)
    }

    /// How many requests wait, and how many of them are this caller's.
    pub fn count_waiting(&self, caller: &Arc<str>) -> (usize, usize) {
        let state = self.0.state.lock();
        let lines = state.rounds.values().flatten();
        lines.fold((0, 0), |(all, own), line| {
            let here = line.requests.len();
            (all + here, own + if line.caller == *caller { here } else { 0 })
        })
    }

    /// Whether any request waits.
    pub fn is_wanted(&self) -> bool {
        !self.0.state.lock().rounds.is_empty()
    }
}

impl Request {
    /// Waits for the place. Cancel-safe: a request that is dropped leaves the queue.
    pub async fn place(mut self) -> Place {
        self.take().await
    }

    /// Waits for the place; there is only one. Cancel-safe: the request stays where it is in the queue.
    pub async fn take(&mut self) -> Place {
        // The sender is dropped unsent only together with this request.
        let _ = (&mut self.granted).await;
        self.is_taken = true;
        Place { queue: self.queue.clone(), caller: self.caller.clone(), size: self.size }
    }
}

impl Place {
    /// Gives places back, or takes more, whether or not they are free.
    pub fn resize(&mut self, size: usize) {
        let mut state = self.queue.state.lock();
        state.release(&self.caller, self.size);
        state.hold(&self.caller, size);
        self.size = size;
        self.queue.grant(&mut state);
    }
}

impl SharedQueue {
    /// Whether a caller may have so many places more: up to its limit, or any number where it has none.
    fn has_room(&self, state: &QueueState, caller: &Arc<str>, size: usize) -> bool {
        let held = state.held.get(caller).copied().unwrap_or(0);
        held == 0 || held.saturating_add(size) <= self.per_caller
    }

    /// The request that is next: its priority, its line, and how many places it is for.
    fn next(&self, state: &QueueState) -> Option<(Reverse<u8>, usize, usize)> {
        state.rounds.iter().find_map(|(&priority, round)| {
            let mut lines = round.iter().enumerate();
            lines.find_map(|(place, line)| {
                let size = line.requests.front()?.size;
                self.has_room(state, &line.caller, size).then_some((priority, place, size))
            })
        })
    }

    /// Gives free places to the requests that are next.
    fn grant(&self, state: &mut QueueState) {
        while let Some((priority, first, size)) = self.next(state)
            && isize::try_from(size).is_ok_and(|size| size <= state.free)
        {
            let round = state.rounds.get_mut(&priority).expect("just found");
            let mut line = round.remove(first).expect("just found");
            let Waiting { grant, .. } = line.requests.pop_front().expect("a line is never empty");
            let caller = line.caller.clone();
            if !line.requests.is_empty() {
                round.push_back(line);
            } else if round.is_empty() {
                state.rounds.remove(&priority);
            }
            state.hold(&caller, size);
            // Its receiver is there: a request that is dropped has left its line before.
            let _ = grant.send(());
        }
    }

    fn release(&self, caller: &Arc<str>, size: usize) {
        let mut state = self.state.lock();
        state.release(caller, size);
        self.grant(&mut state);
    }

    /// Takes a request out of its line; false when it was granted already.
    fn withdraw(&self, caller: &Arc<str>, id: u64) -> bool {
        let mut state = self.state.lock();
        let mut found = false;
        state.rounds.retain(|_, round| {
            round.retain_mut(|line| {
                if line.caller == *caller {
                    let before = line.requests.len();
                    line.requests.retain(|request| request.id != id);
                    found |= line.requests.len() < before;
                }
                !line.requests.is_empty()
            });
            !round.is_empty()
        });
        // It may have been next, with too few places for it but enough for another.
        self.grant(&mut state);
        found
    }
}

impl QueueState {
    fn hold(&mut self, caller: &Arc<str>, size: usize) {
        self.free = self.free.saturating_sub_unsigned(size);
        *self.held.entry(caller.clone()).or_default() += size;
    }

    fn release(&mut self, caller: &Arc<str>, size: usize) {
        self.free = self.free.saturating_add_unsigned(size);
        if let Some(held) = self.held.get_mut(caller) {
            *held -= size;
            if *held == 0 {
                self.held.remove(caller);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.release(&self.caller, self.size);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.is_taken && !self.queue.withdraw(&self.caller, self.id) {
            self.queue.release(&self.caller, self.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn caller(name: &str) -> Arc<str> {
        name.into()
    }

    fn queue(places: usize, per_caller: usize) -> FairQueue {
        FairQueue::new(places, per_caller, &BTreeMap::from([("vip".to_owned(), 1)]))
    }

    /// Requests of these callers, with their names and numbers; they wait for `taken` to be dropped.
    fn requests(queue: &FairQueue, callers: &[&str]) -> Vec<(String, Request)> {
        let numbered = callers.iter().enumerate();
        numbered.map(|(n, name)| (format!("{name}{n}"), queue.request(&caller(name)))).collect()
    }

    /// Drops the place again and again; who gets it, in order.
    fn order(mut taken: Place, mut waiting: Vec<(String, Request)>) -> Vec<String> {
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(taken);
            let granted = |request: &mut Request| (&mut request.granted).now_or_never().is_some();
            let next: Vec<_> = waiting.extract_if(.., |(_, request)| granted(request)).collect();
            assert_eq!(next.len(), 1, "one place goes to one request");
            let (name, mut request) = next.into_iter().next().unwrap();
            request.is_taken = true;
            let (queue, caller) = (request.queue.clone(), request.caller.clone());
            taken = Place { queue, caller, size: request.size };
            order.push(name);
        }
        order
    }

    #[test]
    fn callers_take_turns_and_the_oldest_request_of_each_comes_first() {
        let queue = queue(1, 0);
        let taken = queue.try_take(&caller("a")).unwrap();
        let waiting = requests(&queue, &["a", "a", "a", "b", "c", "b"]);
        assert_eq!(order(taken, waiting), ["a0", "b3", "c4", "a1", "b5", "a2"]);
        assert_eq!((queue.free(), queue.is_wanted()), (1, false));
    }

    #[test]
    fn a_higher_priority_comes_first() {
        let queue = queue(1, 0);
        let taken = queue.try_take(&caller("a")).unwrap();
        let waiting = requests(&queue, &["a", "b", "vip", "vip"]);
        assert_eq!(order(taken, waiting), ["vip2", "vip3", "a0", "b1"]);
    }

    #[test]
    fn nobody_takes_a_place_before_those_that_wait() {
        let queue = queue(1, 0);
        let taken = queue.try_take(&caller("a")).unwrap();
        let request = queue.request(&caller("b"));
        drop(taken);
        assert!(queue.try_take(&caller("c")).is_none());
        drop(request);
        assert!(queue.try_take(&caller("c")).is_some());
    }

    #[test]
    fn a_request_that_is_dropped_leaves_the_queue() {
        let queue = queue(1, 0);
        let taken = queue.try_take(&caller("a")).unwrap();
        let mut waiting = requests(&queue, &["a", "b", "b"]);
        drop(waiting.remove(1));
        assert_eq!(order(taken, waiting), ["a0", "b2"]);
    }

    #[test]
    fn a_place_that_was_given_to_a_dropped_request_goes_to_the_next() {
        let queue = queue(1, 0);
        let taken = queue.try_take(&caller("a")).unwrap();
        let mut waiting = requests(&queue, &["b", "c"]);
        drop(taken);
        drop(waiting.remove(0));
        let place = waiting.remove(0).1.place().now_or_never();
        assert!(place.is_some());
        drop(place);
        assert_eq!(queue.free(), 1);
    }

    #[test]
    fn a_wait_that_is_dropped_gives_its_place_back() {
        let queue = queue(1, 0);
        let taken = queue.try_take(&caller("a")).unwrap();
        let mut wait = Box::pin(queue.request(&caller("b")).place());
        assert!((&mut wait).now_or_never().is_none());
        drop(taken);
        drop(wait);
        assert_eq!((queue.free(), queue.is_wanted()), (1, false));
    }

    #[test]
    fn a_caller_at_its_limit_lets_others_pass() {
        let queue = queue(3, 1);
        let taken = queue.try_take(&caller("a")).unwrap();
        assert!(queue.try_take(&caller("a")).is_none());
        let waiting = queue.request(&caller("a"));
        assert!(queue.try_take(&caller("b")).is_some());
        assert!(queue.request(&caller("c")).place().now_or_never().is_some());
        drop(taken);
        assert!(waiting.place().now_or_never().is_some());
        assert_eq!(queue.free(), 3);
        assert!(queue.0.state.lock().held.is_empty());
    }

    fn is_granted(request: &mut Request) -> bool {
        let granted = (&mut request.granted).now_or_never().is_some();
        request.is_taken |= granted;
        granted
    }

    #[test]
    fn a_large_request_waits_for_all_of_its_places_and_nobody_passes_it() {
        let queue = queue(10, 0);
        let small = queue.request_many(&caller("a"), 4).place().now_or_never().unwrap();
        let large = queue.request_many(&caller("b"), 8);
        let behind = queue.request_many(&caller("c"), 2);
        assert_eq!((queue.free(), queue.count_waiting(&caller("b"))), (6, (2, 1)));
        assert!(queue.try_take(&caller("d")).is_none());
        drop(small);
        let large = large.place().now_or_never().unwrap();
        let behind = behind.place().now_or_never().unwrap();
        assert_eq!(queue.free(), 0);
        drop((large, behind));
        assert_eq!(queue.free(), 10);
    }

    #[test]
    fn those_behind_a_large_request_that_is_dropped_are_granted() {
        let queue = queue(10, 0);
        let small = queue.request_many(&caller("a"), 4).place().now_or_never().unwrap();
        let large = queue.request_many(&caller("b"), 8);
        let mut behind = queue.request_many(&caller("c"), 2);
        assert!(!is_granted(&mut behind));
        drop(large);
        assert!(is_granted(&mut behind));
        drop(small);
    }

    #[test]
    fn a_caller_has_its_share_and_a_single_request_for_more() {
        let queue = queue(10, 5);
        let half = queue.request_many(&caller("a"), 5).place().now_or_never().unwrap();
        let mut more = queue.request_many(&caller("a"), 1);
        assert!(!is_granted(&mut more));
        let other = queue.request_many(&caller("b"), 5).place().now_or_never().unwrap();
        drop((half, other));
        assert!(is_granted(&mut more));
        drop(Place { queue: queue.0.clone(), caller: caller("a"), size: 1 });
        let all = queue.request_many(&caller("a"), 11).place().now_or_never().unwrap();
        assert_eq!((all.size, queue.free()), (10, 0));
    }

    #[test]
    fn a_place_that_shrinks_makes_room_and_one_that_grows_takes_it() {
        let queue = queue(10, 0);
        let mut place = queue.request_many(&caller("a"), 8).place().now_or_never().unwrap();
        let mut waiting = queue.request_many(&caller("b"), 6);
        place.resize(4);
        assert!(is_granted(&mut waiting));
        place.resize(7);
        let over = queue.overdraw(&caller("c"), 2);
        drop(over);
        assert_eq!(queue.free(), 0);
        place.resize(1);
        assert_eq!(queue.free(), 3);
    }
}
