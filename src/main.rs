//! Pilothouse: any CLI coding agent as an isolated, self-hosted, observable A2A agent.
//!
//! The story of the process: who am I this time (launcher, server, client), what is configured, do it,
//! end with a code that means something.

mod access;
mod agent;
mod app;
mod cli;
mod config;
mod process;
mod server;
mod service;
mod session;
mod store;
mod supervisor;
mod task;
mod telemetry;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The launcher comes before everything else: one thread, little memory, no configuration.
    if std::env::args_os().nth(1).is_some_and(|word| word == supervisor::launcher::ARGUMENT) {
        return match supervisor::launcher::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    cli::run()
}
