//! Tokens that can be guessed: which they are, and what a try costs an address that has tried wrong ones.
//!
//! # How it works
//!
//! A token of enough bits is compared at once, whatever an address has tried before. Where one of the tokens has
//! fewer, a try from an address with wrong tries waits before it is compared, right or wrong, twice as long for
//! each wrong one; few wait at a time, and further tries are refused without being compared.

use std::time::Duration;
use tokio::sync::Semaphore;

/// Nobody guesses a token of so many bits.
const ENOUGH: f64 = 128.0;

/// The wait after the first wrong try.
const FIRST: Duration = Duration::from_millis(100);

/// Seconds after which a try that found no place to wait may come again.
const RETRY_SECONDS: u64 = 1;

/// The tries that wait.
pub(super) struct Guesses {
    places: Semaphore,
    longest: Duration,
}

impl Guesses {
    /// So many tries may wait at a time, each at most so long.
    pub(super) fn new(places: usize, longest: Duration) -> Self {
        Self { places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)), longest }
    }

    /// Waits as long as an address has to that has tried so many wrong tokens.
    ///
    /// # Errors
    ///
    /// The seconds after which it may try again, where no place is free.
    pub(super) async fn wait(&self, wrong: u32) -> Result<(), u64> {
        if wrong > 0 {
            let _place = self.places.try_acquire().map_err(|_| RETRY_SECONDS)?;
            tokio::time::sleep(delay(wrong, self.longest)).await;
        }
        Ok(())
    }
}

fn delay(wrong: u32, longest: Duration) -> Duration {
    let doubled = 1_u32.checked_shl(wrong.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(doubled).min(longest)
}

/// Whether a token may be guessed, by its length and the kinds of characters in it.
pub(super) fn is_weak(token: &str) -> bool {
    let has = |kind: fn(&char) -> bool| token.chars().any(|character| kind(&character));
    let is_hex = token.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        || token.chars().all(|c| matches!(c, '0'..='9' | 'A'..='F'));
    let kinds = [
        (26, has(char::is_ascii_lowercase)),
        (26, has(char::is_ascii_uppercase)),
        (10, has(char::is_ascii_digit)),
        (33, has(|c| !c.is_ascii_alphanumeric())),
    ];
    let alphabet = match is_hex {
        true => 16,
        false => kinds.iter().filter(|(_, found)| *found).map(|(size, _)| size).sum(),
    };
    let length = u32::try_from(token.chars().count()).unwrap_or(u32::MAX);
    f64::from(length) * f64::from(alphabet.max(1)).log2() < ENOUGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_weak_below_128_bits() {
        for weak in ["team-secret", "correct horse battery", "0123456789abcdef0123456789abcde", ""]
        {
            assert!(is_weak(weak), "{weak}");
        }
        for strong in
            ["0123456789abcdef0123456789abcdef", "pZ8sWq2LtV5nXc7bRj4mKd", &"z".repeat(28)]
        {
            assert!(!is_weak(strong), "{strong}");
        }
    }

    #[test]
    fn the_wait_doubles_with_each_wrong_try_up_to_the_longest() {
        let waits = [1, 2, 3, 6, 7, 33, u32::MAX].map(|wrong| delay(wrong, Duration::from_secs(5)));
        let expected = [100, 200, 400, 3200, 5000, 5000, 5000].map(Duration::from_millis);
        assert_eq!(waits, expected);
    }

    #[tokio::test]
    async fn no_more_tries_wait_than_there_are_places() {
        let guesses = Guesses::new(0, Duration::from_secs(5));
        assert_eq!(guesses.wait(0).await, Ok(()));
        assert_eq!(guesses.wait(1).await, Err(RETRY_SECONDS));
    }
}
