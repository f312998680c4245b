//! The time for deadlines: the wall clock as it was at the start, and the time that has passed since.
//!
//! Deadlines are stored and shown as points in time, because they outlive a restart. While the server runs
//! they are counted by a monotonic clock, so nothing ends sooner or later when the wall clock is moved. That
//! clock also counts the time in which the machine is suspended, which `std::time::Instant` does not: people
//! wait for an answer by the calendar. A turn (`timeouts.turn`) is suspended together with its agent, so it is
//! counted by `Instant`.

use pilothouse_a2a::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::sync::LazyLock;
use std::time::Duration;

static START: LazyLock<(Timestamp, i64)> = LazyLock::new(|| (Timestamp::now(), since_boot()));

/// The present, for deadlines.
pub fn now() -> Timestamp {
    let (wall, start) = *START;
    let passed = since_boot().saturating_sub(start);
    Timestamp::from_millisecond(wall.as_millisecond().saturating_add(passed))
}

/// So long after a point in time.
pub fn after(at: Timestamp, length: Duration) -> Timestamp {
    let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 2);
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(length))
}

/// Milliseconds since the machine was started, suspended or not.
fn since_boot() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}
