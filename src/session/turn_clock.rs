//! The clock of one turn. It stands still while a person is asked, up to a bound for all asks together: an agent
//! that asks and withdraws without end would otherwise run for ever.

use std::time::Duration;
use tokio::time::Instant;

/// When a turn has taken too long.
#[derive(Debug, Clone)]
pub(super) struct TurnClock {
    deadline: Instant,
    /// How much longer it may stand still.
    pause_left: Duration,
    paused_since: Option<Instant>,
    /// How long it stood still.
    waited: Duration,
}

impl TurnClock {
    /// Begins to count.
    pub(super) fn start(now: Instant, longest: Duration, pause: Duration) -> Self {
        Self {
            deadline: now + longest,
            pause_left: pause,
            paused_since: None,
            waited: Duration::ZERO,
        }
    }

    /// The same clock, for which so much time does not count.
    pub(super) fn without(mut self, time: Duration) -> Self {
        self.deadline += time;
        self
    }

    /// A person is asked from now on.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_since.get_or_insert(now);
    }

    /// Nobody is asked any more; whether somebody was.
    pub(super) fn resume(&mut self, now: Instant) -> bool {
        let Some(since) = self.paused_since.take() else { return false };
        let waited = now.saturating_duration_since(since);
        self.waited += waited;
        let paused = waited.min(self.pause_left);
        self.deadline += paused;
        self.pause_left -= paused;
        true
    }

    /// How long a person was waited for.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// When the turn has taken too long; while a person is asked, as if that went on.
    pub(super) fn deadline(&self) -> Instant {
        match self.paused_since {
            Some(_) => self.deadline + self.pause_left,
            None => self.deadline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_clock_stands_still_while_a_person_is_asked() {
        let start = Instant::now();
        let mut clock = TurnClock::start(start, seconds(10), seconds(100));
        clock.pause(start + seconds(4));
        clock.resume(start + seconds(34));
        assert_eq!(clock.deadline(), start + seconds(40));
        // A second ask beside an open one does not begin the pause anew.
        clock.pause(start + seconds(35));
        clock.pause(start + seconds(38));
        clock.resume(start + seconds(39));
        assert_eq!(clock.deadline(), start + seconds(44));
    }

    #[test]
    fn all_pauses_of_a_turn_together_have_a_bound() {
        let start = Instant::now();
        let mut clock = TurnClock::start(start, seconds(10), seconds(5));
        for n in 0..100 {
            clock.pause(start + seconds(n));
            assert!(clock.deadline() <= start + seconds(15), "{n}");
            clock.resume(start + seconds(n + 1));
        }
        assert_eq!(clock.deadline(), start + seconds(15));
    }
}
