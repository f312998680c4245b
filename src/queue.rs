//! A fair queue for places: callers take turns, and the oldest request of a caller comes first.
//!
//! # How it works
//!
//! Each caller that waits has a line of its own. A place that becomes free goes to the oldest request of
//! the first caller; if that caller has more requests, it goes to the end of the round. So a caller
//! with one request waits for at most one request of each other caller, however many these have. A caller
//! with a higher priority comes before all callers with a lower one.
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
pub struct FairQueue(Arc<Inner>);

struct Inner {
    /// Places of one caller at most.
    per_caller: usize,
    /// Callers without an entry have priority 0.
    priorities: BTreeMap<String, u8>,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// How many places each caller has.
    held: HashMap<Arc<str>, usize>,
    /// By priority: callers in the order in which they are next.
    rounds: BTreeMap<Reverse<u8>, VecDeque<Line>>,
    next_id: u64,
}

/// The requests of one caller, oldest first.
struct Line {
    caller: Arc<str>,
    requests: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A place of a caller; it goes to the next request when it is dropped.
pub struct Place {
    queue: Arc<Inner>,
    caller: Arc<str>,
}

/// A request that waits for its place.
pub struct Request {
    queue: Arc<Inner>,
    caller: Arc<str>,
    id: u64,
    granted: oneshot::Receiver<()>,
    is_taken: bool,
}

impl FairQueue {
    /// So many places; of these, `per_caller` for one caller at most (0: no such limit).
    pub fn new(places: usize, per_caller: usize, priorities: &BTreeMap<String, u8>) -> Self {
        let state =
            State { free: places, held: HashMap::new(), rounds: BTreeMap::new(), next_id: 0 };
        Self(Arc::new(Inner {
            per_caller: if per_caller == 0 { usize::MAX } else { per_caller },
            priorities: priorities.clone(),
            state: Mutex::new(state),
        }))
    }

    /// A place, if one is free now.
    pub fn try_take(&self, caller: &Arc<str>) -> Option<Place> {
        let mut state = self.0.state.lock();
        // A place is free only while every request that waits is of a caller at its limit.
        if state.free == 0 || !self.0.has_room(&state, caller) {
            return None;
        }
        state.hold(caller);
        Some(Place { queue: self.0.clone(), caller: caller.clone() })
    }

    /// Enters the queue.
    pub fn request(&self, caller: &Arc<str>) -> Request {
        let (grant, granted) = oneshot::channel();
        let priority = self.0.priorities.get(&**caller).copied().unwrap_or(0);
        let mut state = self.0.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let round = state.rounds.entry(Reverse(priority)).or_default();
        match round.iter_mut().find(|line| line.caller == *caller) {
            Some(line) => line.requests.push_back((id, grant)),
            None => round.push_back(Line {
                caller: caller.clone(),
                requests: VecDeque::from([(id, grant)]),
            }),
        }
        self.0.grant(&mut state);
        Request { queue: self.0.clone(), caller: caller.clone(), id, granted, is_taken: false }
    }

    /// Places that are free.
    pub fn free(&self) -> usize {
        self.0.state.lock().free
    }

    /// Whether any request waits.
    pub fn is_wanted(&self) -> bool {
        !self.0.state.lock().rounds.is_empty()
    }
}

impl Request {
    /// Waits for the place. Cancel-safe: a request that is dropped leaves the queue.
    pub async fn place(mut self) -> Place {
        // The sender is dropped unsent only together with this request.
        let _ = (&mut self.granted).await;
        self.is_taken = true;
        Place { queue: self.queue.clone(), caller: self.caller.clone() }
    }
}

impl Inner {
    fn has_room(&self, state: &State, caller: &Arc<str>) -> bool {
        state.held.get(caller).copied().unwrap_or(0) < self.per_caller
    }

    /// Gives free places to the requests that are next.
    fn grant(&self, state: &mut State) {
        while state.free > 0 {
            let next = state.rounds.iter().find_map(|(&priority, round)| {
                let first = round.iter().position(|line| self.has_room(state, &line.caller))?;
                Some((priority, first))
            });
            let Some((priority, first)) = next else { return };
            let round = state.rounds.get_mut(&priority).expect("just found");
            let mut line = round.remove(first).expect("just found");
            let (_, grant) = line.requests.pop_front().expect("a line is never empty");
            let caller = line.caller.clone();
            if !line.requests.is_empty() {
                round.push_back(line);
            } else if round.is_empty() {
                state.rounds.remove(&priority);
            }
            state.hold(&caller);
            // Its receiver is there: a request that is dropped has left its line before.
            let _ = grant.send(());
        }
    }

    fn release(&self, caller: &Arc<str>) {
        let mut state = self.state.lock();
        state.free += 1;
        if let Some(held) = state.held.get_mut(caller) {
            *held -= 1;
            if *held == 0 {
                state.held.remove(caller);
            }
        }
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
                    line.requests.retain(|(request, _)| *request != id);
                    found |= line.requests.len() < before;
                }
                !line.requests.is_empty()
            });
            !round.is_empty()
        });
        found
    }
}

impl State {
    fn hold(&mut self, caller: &Arc<str>) {
        self.free -= 1;
        *self.held.entry(caller.clone()).or_default() += 1;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.release(&self.caller);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.is_taken && !self.queue.withdraw(&self.caller, self.id) {
            self.queue.release(&self.caller);
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
            taken = Place { queue: request.queue.clone(), caller: request.caller.clone() };
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
}
