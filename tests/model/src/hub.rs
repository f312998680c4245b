//! What the model has seen and what it waits for: records, cues, open lines, one condition for all.

use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Records kept; older ones are forgotten.
const RECORDS: usize = 2000;
/// Connections open at once.
const LINES: usize = 512;
/// How long a cue waits for its release.
const CUE_LIMIT: Duration = Duration::from_secs(60);

/// Something a test can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request for a message has come in.
    Request,
    /// A client went away before its answer was complete.
    ClientClosed,
    /// A `cue` step has begun to wait.
    Cue,
}

/// One request for a message, and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Counts the requests, from 1.
    pub n: u64,
    /// The model that was asked for.
    pub model: String,
    /// The last user text without the client's own reminders; its first 160 characters.
    pub user: String,
    /// How it was answered: `text "…"`, `call NAME`, `cue NAME`, `drop` or `error CODE`.
    pub reply: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Entries of the conversation that came with it.
    pub messages: usize,
    /// Tools offered.
    pub tools: usize,
    /// The last 4 characters of the API key.
    pub key: String,
    /// The whole request, as it came.
    pub body: String,
    /// Whether the client went away before the answer was complete.
    pub client_closed: bool,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The time has passed, or the cue came.
    Over,
    /// The cue did not come in time.
    TimedOut,
    /// The client is gone, or the model ends.
    Gone,
}

/// One open connection; leaves the hub when dropped.
#[derive(Debug)]
pub(crate) struct Line {
    id: u64,
    hub: Arc<Hub>,
    /// Whether somebody listens already for the leaving of the client of this request.
    watched: AtomicBool,
    gone: Arc<AtomicBool>,
}

/// The shared state.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Seen>,
    requests: u64,
    closed: u64,
    cued: u64,
    /// Releases that no `cue` has used yet.
    releases: HashMap<String, u32>,
    /// How often a limited `error` step was played.
    errors: HashMap<String, u32>,
    lines: HashMap<u64, TcpStream>,
    last_line: u64,
    stopped: bool,
}

impl Event {
    /// The event of this name, as the waiting door spells it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "request" => Some(Self::Request),
            "client_closed" => Some(Self::ClientClosed),
            "cue" => Some(Self::Cue),
            _ => None,
        }
    }
}

impl Seen {
    /// The record as the test's door shows it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "n": self.n, "model": self.model, "user": self.user, "reply": self.reply,
            "stream": self.stream, "messages": self.messages, "tools": self.tools,
            "key": self.key, "client_closed": self.client_closed,
        })
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// Registers a connection; none where too many are open or the model ends.
    pub(crate) fn enter(self: &Arc<Self>, stream: &TcpStream) -> Option<Line> {
        let copy = stream.try_clone().ok()?;
        let mut state = self.state();
        if state.stopped || state.lines.len() >= LINES {
            return None;
        }
        state.last_line += 1;
        let id = state.last_line;
        state.lines.insert(id, copy);
        Some(Line {
            id,
            hub: Arc::clone(self),
            watched: AtomicBool::new(false),
            gone: Arc::default(),
        })
    }

    /// Ends every wait and closes every connection.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        for stream in state.lines.values() {
            // A peer that has gone already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    /// Whether the model ends.
    pub(crate) fn stopped(&self) -> bool {
        self.state().stopped
    }

    /// Records a request and returns its number.
    pub(crate) fn record(&self, mut seen: Seen) -> u64 {
        let mut state = self.state();
        state.requests += 1;
        seen.n = state.requests;
        if state.records.len() == RECORDS {
            state.records.pop_front();
        }
        let n = seen.n;
        state.records.push_back(seen);
        self.changed.notify_all();
        n
    }

    /// Notes that the client of request `n` left early.
    pub(crate) fn closed_early(&self, n: u64) {
        let mut state = self.state();
        state.closed += 1;
        if let Some(seen) = state.records.iter_mut().find(|seen| seen.n == n) {
            seen.client_closed = true;
        }
        self.changed.notify_all();
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.state().records.iter().cloned().collect()
    }

    /// Waits for `count` such events, at most `limit`; returns how many there were.
    pub(crate) fn wait(&self, event: Event, count: u64, limit: Duration) -> u64 {
        let so_far = |state: &State| match event {
            Event::Request => state.requests,
            Event::ClientClosed => state.closed,
            Event::Cue => state.cued,
        };
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), limit, |state| {
                so_far(state) < count && !state.stopped
            })
            .expect("nothing panics under this lock");
        so_far(&state)
    }

    /// Lets one cue of this name go on.
    pub(crate) fn release(&self, cue: &str) {
        *self.state().releases.entry(cue.to_owned()).or_default() += 1;
        self.changed.notify_all();
    }

    /// Whether a step that fails only `times` times has done so; counts this time.
    pub(crate) fn failed_enough(&self, step: &str, times: u32) -> bool {
        let mut state = self.state();
        let played = state.errors.entry(step.to_owned()).or_default();
        let enough = *played >= times;
        *played += u32::from(!enough);
        enough
    }
}

impl Line {
    /// A new request has come in on this connection.
    pub(crate) fn begin(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// Lets time pass, unless the client goes away before.
    pub(crate) fn pause(&self, stream: &TcpStream, time: Duration) -> Waited {
        self.watch(stream);
        let until = Instant::now() + time;
        let mut state = self.hub.state();
        loop {
            if self.is_gone(&state) {
                return Waited::Gone;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::Over;
            }
            state = self.sleep(state, left);
        }
    }

    /// Waits for the release of a cue.
    pub(crate) fn cue(&self, stream: &TcpStream, name: &str) -> Waited {
        self.watch(stream);
        let until = Instant::now() + CUE_LIMIT;
        let mut state = self.hub.state();
        state.cued += 1;
        self.hub.changed.notify_all();
        loop {
            if self.is_gone(&state) {
                return Waited::Gone;
            }
            if let Some(left) = state.releases.get_mut(name).filter(|left| **left > 0) {
                *left -= 1;
                return Waited::Over;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::TimedOut;
            }
            state = self.sleep(state, left);
        }
    }

    fn is_gone(&self, state: &State) -> bool {
        state.stopped || self.gone.load(Ordering::Relaxed)
    }

    fn sleep<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.hub.changed.wait_timeout(state, time);
        waited.expect("nothing panics under this lock").0
    }

    /// Listens for the client's leaving while nothing is written. The listener ends with the
    /// connection or with its next request, whichever comes first.
    fn watch(&self, stream: &TcpStream) {
        if self.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream.try_clone() else {
            return;
        };
        let (hub, gone) = (Arc::clone(&self.hub), Arc::clone(&self.gone));
        // Without a thread the leaving shows at the next write.
        let _ = thread::Builder::new().spawn(move || {
            if !matches!(stream.peek(&mut [0]), Ok(1..)) {
                gone.store(true, Ordering::Relaxed);
                // Under the lock, so that no waiter looks before and sleeps after.
                let _state = hub.state();
                hub.changed.notify_all();
            }
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.hub.state().lines.remove(&self.id);
    }
}
