//! How long a turn waits before it is tried again, when an overloaded model API refused it before
//! anything was done, and how often.

use crate::backoff::Backoff;
use crate::config::Config;
use std::time::Duration;

/// The tries of one turn.
#[derive(Debug)]
pub(super) struct Again {
    left: u32,
    backoff: Backoff,
}

impl Again {
    /// As the operator has it: `limits.retries`, `timeouts.retry`, `timeouts.retry_max`.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            left: config.limits.retries,
            backoff: Backoff::new(config.timeouts.retry.get(), config.timeouts.retry_max.get()),
        }
    }

    /// How long to wait for the next try; none when it was the last one.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        let mut noise = [0];
        // Without noise the pause is the plain one.
        let _ = getrandom::fill(&mut noise);
        self.pause_with(noise[0])
    }

    /// The pause is up to a quarter longer by noise, so that sessions that were refused together do not
    /// come back together.
    fn pause_with(&mut self, noise: u8) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = self.backoff.pause();
        Some(pause + pause * u32::from(noise) / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Age;

    fn pauses(retries: u32, noise: u8) -> Vec<u128> {
        let mut config = Config::default();
        config.limits.retries = retries;
        config.timeouts.retry = Age::from_secs(5).unwrap();
        config.timeouts.retry_max = Age::from_secs(15).unwrap();
        let mut again = Again::new(&config);
        std::iter::from_fn(|| again.pause_with(noise)).map(|pause| pause.as_millis()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_come_to_an_end() {
        assert_eq!(pauses(4, 0), [5000, 10_000, 15_000, 15_000]);
    }

    #[test]
    fn no_retries_are_none() {
        assert_eq!(pauses(0, 0), Vec::<u128>::new());
    }

    #[test]
    fn noise_makes_a_pause_up_to_a_quarter_longer() {
        assert_eq!(pauses(1, 128), [5625]);
        assert!(pauses(1, 255)[0] < 6250);
    }
}
