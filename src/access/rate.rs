//! A sliding window per key: two buckets of a minute, the older one weighted by what of it is left.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The window.
const WINDOW: Duration = Duration::from_secs(60);

/// Counters by key, a bounded number of them.
pub(super) struct Windows<K> {
    limit: u32,
    keys: usize,
    counts: Mutex<HashMap<K, Counts>>,
}

#[derive(Clone, Copy)]
struct Counts {
    began: Instant,
    now: u32,
    before: u32,
}

impl Counts {
    fn roll(&mut self, at: Instant) {
        let passed = at.duration_since(self.began);
        if passed >= WINDOW * 2 {
            *self = Self { began: at, now: 0, before: 0 };
        } else if passed >= WINDOW {
            *self = Self { began: self.began + WINDOW, now: 0, before: self.now };
        }
    }

    fn weight(&self, at: Instant) -> f64 {
        let share = at.duration_since(self.began).as_secs_f64() / WINDOW.as_secs_f64();
        f64::from(self.now) + f64::from(self.before) * (1.0 - share.min(1.0))
    }

    fn check(&mut self, limit: u32, at: Instant) -> Result<(), u64> {
        self.roll(at);
        let is_full = self.weight(at) + 1.0 > f64::from(limit);
        if is_full { Err(self.seconds_left(at)) } else { Ok(()) }
    }

    fn seconds_left(&self, at: Instant) -> u64 {
        (WINDOW.saturating_sub(at.duration_since(self.began))).as_secs().max(1)
    }
}

impl<K: Eq + Hash + Clone> Windows<K> {
    /// A limit a minute for each key; 0 is no limit.
    pub(super) fn new(limit: u32, keys: usize) -> Self {
        Self { limit, keys: keys.max(1), counts: Mutex::default() }
    }

    /// Counts one; the seconds to wait when it is one too many (then it is not counted).
    pub(super) fn take(&self, key: K) -> Result<(), u64> {
        self.take_at(key, Instant::now())
    }

    /// Whether one more would be counted; else the seconds to wait.
    pub(super) fn check(&self, key: &K) -> Result<(), u64> {
        let at = Instant::now();
        match self.counts.lock().get_mut(key) {
            Some(counts) if self.limit > 0 => counts.check(self.limit, at),
            Some(_) | None => Ok(()),
        }
    }

    /// How many of a key were counted in this minute and the one before.
    pub(super) fn count(&self, key: &K) -> u32 {
        let at = Instant::now();
        let mut all = self.counts.lock();
        all.get_mut(key).map_or(0, |counts| {
            counts.roll(at);
            counts.now.saturating_add(counts.before)
        })
    }

    fn take_at(&self, key: K, at: Instant) -> Result<(), u64> {
        if self.limit == 0 {
            return Ok(());
        }
        let mut all = self.counts.lock();
        if all.len() >= self.keys && !all.contains_key(&key) {
            all.retain(|_, counts| at.duration_since(counts.began) < WINDOW * 2);
            // Still full: somebody who came by many addresses costs the oldest its memory, not ours.
            if all.len() >= self.keys
                && let Some(oldest) =
                    all.iter().min_by_key(|(_, counts)| counts.began).map(|(key, _)| key.clone())
            {
                all.remove(&oldest);
            }
        }
        let counts = all.entry(key).or_insert(Counts { began: at, now: 0, before: 0 });
        counts.check(self.limit, at)?;
        counts.now += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides_and_does_not_open_all_at_once() {
        let windows = Windows::new(10, 4);
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(windows.take_at("a", start), Ok(()));
        }
        assert!(windows.take_at("a", start).is_err());
        let half = start + WINDOW + WINDOW / 2;
        let granted = (0..10).filter(|_| windows.take_at("a", half).is_ok()).count();
        assert_eq!(granted, 5);
    }

    #[test]
    fn one_key_does_not_use_up_another_and_their_number_is_bounded() {
        let windows = Windows::new(1, 2);
        let start = Instant::now();
        for key in 0..100 {
            assert_eq!(windows.take_at(key, start), Ok(()));
        }
        assert!(windows.counts.lock().len() <= 2);
        assert!(windows.take_at(99, start).is_err());
    }
}
