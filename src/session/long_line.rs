//! Long lines of agents: how many are in memory at a time, and how much may be in one.
//!
//! # How it works
//!
//! An agent may write a line of `limits.line`, and many agents run at a time. The first [`SHORT`] bytes of a
//! line are read in any case. For more, the session takes a place for the whole line (`limits.lines` has few),
//! and gives it back when the line has been heard and stored. Without a place the agent is not read, so it waits.

use crate::config::Config;
use pilothouse_a2a::json::count_values;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes of a line that need no place.
pub(super) const SHORT: usize = 64 * 1024;

/// A unit of the semaphore, in bytes.
const UNIT: u64 = 1024;

/// The places for long lines of all agents.
#[derive(Debug, Clone)]
pub struct LineRoom {
    free: Arc<Semaphore>,
    /// Units that one line takes.
    each: u32,
}

/// The place of one long line.
#[derive(Debug)]
pub(super) struct LongLine {
    _place: OwnedSemaphorePermit,
    /// When it has to be whole.
    pub(super) until: Instant,
}

impl LineRoom {
    /// As many places as the configuration allows.
    pub fn new(config: &Config) -> Self {
        let units = |bytes: u64| u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let all = units(config.limits.lines.get());
        let each = units(config.limits.line.get()).min(all);
        Self { free: Arc::new(Semaphore::new(all as usize)), each }
    }

    /// Waits for a place. Cancel-safe, but the turn in the queue is lost.
    pub(super) async fn take(&self, config: &Config) -> LongLine {
        match self.free.clone().acquire_many_owned(self.each).await {
            Ok(place) => {
                let until = Instant::now() + config.timeouts.line.get();
                LongLine { _place: place, until }
            }
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Why a line is not heard, and what can be done; none where it is.
pub(super) fn fault(line: &[u8], config: &Config) -> Option<(String, String)> {
    let most = config.limits.line_values;
    // A value takes a byte at least.
    (line.len() > most && count_values(line) > most).then(|| {
        let message = format!("the agent wrote a line of more than {most} JSON values");
        (message, "the server's operator can raise `limits.line_values`".to_owned())
    })
}
