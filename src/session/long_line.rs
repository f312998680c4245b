//! Long lines of agents: how many are in memory at a time, and how much may be in one.
//!
//! # How it works
//!
//! Of a line up to `limits.line` is kept (`pilothouse_agents::lines` shortens a longer one), and many agents run at
//! a time. The first [`SHORT`] bytes of a line are read in any case. For more, the session requests a place for the
//! whole line (`limits.lines` has few), and gives it back when the line has been heard and stored. Without a place
//! the agent is not read, so it waits.
//!
//! Callers take turns, and the agents of one caller have half of the places at most: an agent may take up to
//! `timeouts.line` for a line, and begin the next one at once. A session keeps its request, and with it its place
//! in the queue, whatever else it hears meanwhile.

use super::ending::{Cause, fault_with};
use crate::config::Config;
use crate::queue::{FairQueue, Place, Request};
use pilothouse_a2a::json::count_values;
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes of a line that need no place.
pub(super) const SHORT: usize = 64 * 1024;

/// The room for long lines of all agents.
pub(super) struct LineRoom {
    /// Its places are bytes.
    queue: FairQueue,
    /// Bytes of one line.
    each: usize,
}

/// What a session has of that room.
#[derive(Default)]
pub(super) enum LinePlace {
    /// Nothing: its line is short.
    #[default]
    None,
    /// Its line is not read on before it has a place.
    Requested(Request),
    /// Up to `limits.line` of its line is kept.
    Taken {
        /// Given back when this is dropped.
        _place: Place,
        /// When the line has to be whole.
        until: Instant,
    },
}

/// When a line has to be whole that is read on from now.
fn until(config: &Config) -> Instant {
    Instant::now() + config.timeouts.line.get()
}

impl LineRoom {
    /// As many places as the configuration allows.
    pub(super) fn new(config: &Config) -> Self {
        let all = config.limits.lines.as_usize();
        let queue = FairQueue::new(all, (all / 2).max(1), &config.auth.priorities);
        Self { queue, each: config.limits.line.as_usize() }
    }
}

impl LinePlace {
    /// Requests a place where the line has become long, and gives it back where the line was heard.
    pub(super) fn update(&mut self, line_bytes: usize, room: &LineRoom, caller: &Arc<str>) {
        // A pipe brings so many at a time: an agent that waits holds one such piece, not two.
        if line_bytes < SHORT {
            *self = Self::None;
        } else if matches!(self, Self::None) {
            *self = Self::Requested(room.queue.request_many(caller, room.each));
        }
    }

    /// Whether the line has to wait for a place.
    pub(super) fn is_requested(&self) -> bool {
        matches!(self, Self::Requested(_))
    }

    /// When the line has to be whole; none before it has a place.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Taken { until, .. } => Some(*until),
            Self::None | Self::Requested(_) => None,
        }
    }

    /// Waits until the request is granted; for ever where there is none. Cancel-safe: the request is kept.
    pub(super) async fn take(&mut self, config: &Config) {
        let Self::Requested(request) = self else {
            return std::future::pending().await;
        };
        let place = request.take().await;
        *self = Self::Taken { _place: place, until: until(config) };
    }

    /// The agent is not read for now, which costs it none of its time.
    pub(super) fn pause(&mut self, config: &Config) {
        if let Self::Taken { until: end, .. } = self {
            *end = until(config);
        }
    }
}

/// Why a line is not heard; none where it is.
pub(super) fn fault(line: &[u8], config: &Config) -> Option<Cause> {
    let most = config.limits.line_values;
    // A value takes a byte at least.
    (line.len() > most && count_values(line) > most).then(|| {
        let message = format!("the agent wrote a line of more than {most} JSON values");
        fault_with(&message, "the server's operator can raise `limits.line_values`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bytes;
    use futures_util::FutureExt;

    /// A configuration with room for so many lines.
    fn config(lines: u64) -> Config {
        let mut config = Config::default();
        config.limits.lines = Bytes::new(config.limits.line.get() * lines);
        config
    }

    /// A session of this caller whose line has become long.
    fn long(room: &LineRoom, caller: &str) -> LinePlace {
        let mut place = LinePlace::default();
        place.update(SHORT + 1, room, &caller.into());
        place
    }

    fn is_granted(place: &mut LinePlace, config: &Config) -> bool {
        place.take(config).now_or_never().is_some()
    }

    #[test]
    fn a_line_waits_for_a_place_before_more_than_the_first_bytes_are_read() {
        let room = LineRoom::new(&config(1));
        let (mut place, caller) = (LinePlace::default(), Arc::from("a"));
        place.update(SHORT - 1, &room, &caller);
        assert!(!place.is_requested());
        place.update(SHORT, &room, &caller);
        assert!(place.is_requested());
    }

    #[test]
    fn the_agents_of_one_caller_leave_half_of_the_room_to_others() {
        let config = config(4);
        let room = LineRoom::new(&config);
        let mut greedy: Vec<_> = (0..4).map(|_| long(&room, "greedy")).collect();
        let granted = greedy.iter_mut().filter_map(|place| place.take(&config).now_or_never());
        assert_eq!(granted.count(), 2);
        assert!(is_granted(&mut long(&room, "other"), &config));
        // A line that was heard makes room for the next one.
        greedy[0].update(0, &room, &"greedy".into());
        assert!(is_granted(&mut greedy[2], &config));
        assert!(greedy[2].until().is_some() && !greedy[2].is_requested());
    }

    #[test]
    fn a_session_that_hears_something_else_keeps_its_place_in_the_queue() {
        let config = config(1);
        let room = LineRoom::new(&config);
        let mut held = long(&room, "a");
        assert!(is_granted(&mut held, &config));
        let (mut first, mut second) = (long(&room, "b"), long(&room, "c"));
        for _ in 0..3 {
            assert!(!is_granted(&mut first, &config));
            first.update(SHORT + 1, &room, &"b".into());
            assert!(!is_granted(&mut second, &config));
        }
        drop(held);
        assert!(!is_granted(&mut second, &config));
        assert!(is_granted(&mut first, &config));
    }
}
