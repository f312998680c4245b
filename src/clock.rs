//! The time for deadlines: the wall clock as it was at the start, and the time that has passed since.
//!
//! Deadlines are stored and shown as points in time, because they outlive a restart. While the server runs
//! they are counted by the monotonic clock, so nothing ends sooner or later when the wall clock is moved.

use pilothouse_a2a::time::Timestamp;
use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));

/// The present, for deadlines.
pub fn now() -> Timestamp {
    let (wall, since) = *START;
    let passed = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(wall.as_millisecond().saturating_add(passed))
}
