//! Starts of many servers at a time: none of them takes another one, or chance, for an attack that succeeded.

use super::Walls;
use crate::chaos::{number, program};
use std::thread;

/// Servers that start at a time.
const AT_A_TIME: u64 = 8;
/// Starts of `make test`; `PILOTHOUSE_STARTS` asks for others.
const STARTS: u64 = 16;

#[test]
fn of_many_servers_that_start_at_a_time_none_raises_a_false_alarm() {
    let starts = number("PILOTHOUSE_STARTS", STARTS);
    thread::scope(|scope| {
        for starter in 0..AT_A_TIME {
            scope.spawn(move || {
                for start in 0..starts / AT_A_TIME {
                    let sandbox = Walls::HERE[(starter % 2) as usize];
                    let builder = program(sandbox.described());
                    let builder = if start % 2 == 0 { builder } else { builder.ordinary() };
                    // It panics, and shows what the server said, where the server does not start.
                    builder.start();
                }
            });
        }
    });
    println!("{starts} starts, {AT_A_TIME} at a time");
}
