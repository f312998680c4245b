//! The agent as a program; the library plays.

use std::process::ExitCode;

fn main() -> ExitCode {
    fake_agent::main()
}
