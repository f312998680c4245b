//! Pilothouse: any CLI coding agent as an isolated, self-hosted, observable A2A agent.
//!
//! The story of the process: what was asked, what is configured, do it, end with a code that means
//! something.

/// Writes a line to standard error. Nobody may read it any more, which ends nothing; std's macro panics then.
macro_rules! eprintln {
    ($($told:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($told)*);
    }};
}

pub mod access;
pub mod agent;
pub mod allocator;
pub mod app;
pub mod asks;
pub mod backoff;
pub mod budget;
mod changes;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod limited;
pub mod plain_file;
pub mod push;
pub mod queue;
pub mod repository;
pub mod server;
pub mod service;
pub mod session;
pub mod signing;
pub mod skills;
pub mod store;
pub mod sweep;
pub mod task;
pub mod telemetry;

#[cfg(test)]
#[path = "../fuzz/src/targets.rs"]
mod fuzz_targets;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::keep_little();
    cli::run()
}
