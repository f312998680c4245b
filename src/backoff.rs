//! A pause that grows while something fails again and again.

use std::time::Duration;

/// The pauses of one loop: each is twice the one before, up to the longest.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `first`, ends with `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait after one more failure.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        pause
    }

    /// It worked: the next failure is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(5));
        let mut pauses = || std::array::from_fn(|_| backoff.pause().as_secs());
        assert_eq!(pauses(), [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.pause(), seconds(1));
    }
}
