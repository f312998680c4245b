//! Chaos: callers that hang up anywhere, agents that misbehave, a server that is killed; then laws.
//!
//! What happens is chosen by dice. The seed is a constant and is printed; `PILOTHOUSE_CHAOS_SEED` takes
//! another one. `PILOTHOUSE_CHAOS_HANG_UPS` and `PILOTHOUSE_CHAOS_KILLS` say how much happens, and
//! `PILOTHOUSE_CHAOS_BIN` which server it happens to: `make soak` runs the full numbers on a release build.

mod dice;
mod hang_up;
mod laws;
mod requests;

use crate::bindings::Binding;
use crate::building::Builder;
use crate::processes::{Process, await_some};
use crate::reading::{at_once, message, state};
use crate::world::{PATIENCE, World};
use dice::Dice;
use hang_up::{Manner, hang_up};
use laws::Level;
use parking_lot::Mutex;
use pilothouse_a2a::operation::Operation;
use requests::Requests;
use serde_json::json;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

/// The seed of the dice.
const SEED: u64 = 20_251_129;
/// Callers at a time.
const CALLERS: u64 = 8;
/// Hang-ups of `make test`.
const HANG_UPS: u64 = 300;
/// Kills of `make test`.
const KILLS: u64 = 5;
/// Hang-ups between two looks at the laws.
const ROUND: u64 = 1000;

/// What callers have learned, and what they have tried to change.
#[derive(Default)]
struct Ledger {
    /// Every id of a task that an answer named.
    acknowledged: Mutex<HashSet<String>>,
    /// Those that an answer to their own sender named.
    sent: Mutex<HashSet<String>>,
    /// Some ids to ask about: the ones that were learned last.
    recent: Mutex<Vec<String>>,
    /// The tasks that a further message was sent to.
    continued: Mutex<HashSet<String>>,
    /// How often a caller hung up before the answer was whole.
    hang_ups: AtomicU64,
}

impl Ledger {
    /// Notes the tasks that an answer names.
    fn learn(&self, ids: Vec<String>) {
        let mut recent = self.recent.lock();
        recent.extend(ids.iter().cloned());
        let old = recent.len().saturating_sub(64);
        recent.drain(..old);
        self.acknowledged.lock().extend(ids);
    }
}

/// A number that the environment may change.
pub(crate) fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().unwrap())
}

fn seed() -> u64 {
    let seed = number("PILOTHOUSE_CHAOS_SEED", SEED);
    println!("PILOTHOUSE_CHAOS_SEED={seed}");
    seed
}

/// A server with two agents: one that plays scripts, and a shell.
fn described() -> Builder {
    let mut builder = World::describe().config(json!({
        "limits": {"rate": 0},
        "timeouts": {"turn": "2s", "terminate": "200ms", "interrupt": "500ms"},
        "processes": {"max": 16},
        "push": {"allow": ["127.0.0.0/8"], "pending": 100_000},
        // A message without a task would answer the one that waits in its context, and the ledger of what was
        // continued could not know.
        "asks": {"by_context": false},
    }));
    let mut shell = builder.config["agents"]["fake"].clone();
    shell["program"] = json!("/bin/sh");
    shell["args"] = json!(["-c"]);
    shell["format"] = json!("text");
    builder.config["agents"]["shell"] = shell;
    program(builder)
}

/// The same with the server that the environment names.
pub(crate) fn program(builder: Builder) -> Builder {
    match std::env::var("PILOTHOUSE_CHAOS_BIN") {
        Ok(program) => builder.program(&program),
        Err(_) => builder,
    }
}

/// One caller does one thing and leaves.
fn call_and_leave(address: SocketAddr, ledger: &Ledger, dice: &mut Dice, requests: &Requests) {
    let request = requests.next(address, ledger, dice);
    let manner = Manner::by(dice);
    let answer = hang_up(address, &request, &manner);
    let tasks = request.tasks_in(&answer);
    if request.sends {
        ledger.sent.lock().extend(tasks.iter().cloned());
    }
    ledger.learn(tasks);
    ledger.hang_ups.fetch_add(1, Ordering::Relaxed);
}

/// Callers that leave, so many in all.
fn many_leave(world: &World, ledger: &Ledger, count: u64, seed: u64) {
    let address = world.address();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || {
                let requests = Requests::new(&format!("{seed}-{caller}"));
                let mut dice = Dice::new(seed.wrapping_add(caller));
                for _ in 0..count / CALLERS {
                    call_and_leave(address, ledger, &mut dice, &requests);
                }
            });
        }
    });
}

#[test]
fn whoever_hangs_up_and_whatever_agents_do_the_laws_hold() {
    let (seed, count) = (seed(), number("PILOTHOUSE_CHAOS_HANG_UPS", HANG_UPS));
    // Without a sandbox an agent can kill its own supervisor; here some try.
    let sandbox =
        json!({"isolation": {"backend": "landlock", "require": ["env", "fs.write", "kill-tree"]}});
    let world = described().config(sandbox).start();
    let ledger = Ledger::default();
    // Buffers and caches that are filled once are no growth.
    many_leave(&world, &ledger, HANG_UPS / 3, !seed);
    laws::settle(&world);
    laws::hold(&world, &ledger);
    let level = Level::of(&world);
    let mut left = count;
    while left > 0 {
        let now = left.min(ROUND);
        many_leave(&world, &ledger, now, seed.wrapping_mul(left));
        laws::settle(&world);
        let tasks = laws::hold(&world, &ledger);
        level.is_kept(&world);
        left -= now;
        let (hang_ups, memory) = (ledger.hang_ups.load(Ordering::Relaxed), laws::resident(&world));
        println!("{hang_ups} hang-ups, {tasks} tasks, {memory} MiB: 0 failures");
    }
}

#[test]
fn a_task_is_canceled_though_its_agent_has_killed_its_supervisor() {
    let world = described().start();
    let shell = world.through(Binding::JsonRpc).agent("shell");
    let params = at_once(message("kill -9 $PPID; exec sleep 3600"));
    let task = shell.well(Operation::SendMessage, &params)["task"].take();
    let reply = shell.call(Operation::CancelTask, &json!({"id": task["id"]}));
    let task = reply.unwrap_or_else(|_| shell.well(Operation::GetTask, &json!({"id": task["id"]})));
    assert!(["CANCELED", "FAILED"].contains(&state(&task)), "{task:#}");
    // Without a sandbox nobody can end what has no supervisor.
    world.agents().iter().for_each(Process::kill);
}

#[test]
fn a_task_is_canceled_though_its_agent_kills_its_supervisor_and_leaves_its_pipes_open() {
    let world = described().config(json!({"timeouts": {"turn": "1h"}})).start();
    let shell = world.through(Binding::JsonRpc).agent("shell");
    // Asked to end, it kills its supervisor; a child that ignores SIGTERM keeps its pipes open.
    let script = "trap '' TERM; sleep 3600 & trap 'kill -9 $PPID' TERM; echo first; wait";
    let params = at_once(message(script));
    let id = shell.well(Operation::SendMessage, &params)["task"]["id"].take();
    await_some("its first word", PATIENCE, || {
        let task = shell.well(Operation::GetTask, &json!({"id": id}));
        task["artifacts"].to_string().contains("first").then_some(())
    });
    let task = shell.well(Operation::CancelTask, &json!({"id": id}));
    assert_eq!(state(&task), "CANCELED");
    // Without a sandbox nobody can end what has no supervisor.
    world.agents().iter().for_each(Process::kill);
}

#[test]
fn a_server_that_is_killed_at_any_moment_loses_no_acknowledged_task() {
    let (seed, kills) = (seed(), number("PILOTHOUSE_CHAOS_KILLS", KILLS));
    let mut world = described().start();
    let ledger = Ledger::default();
    let mut moment = Dice::new(seed);
    for kill in 0..kills {
        let (address, over) = (world.address(), AtomicBool::new(false));
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (ledger, over) = (&ledger, &over);
                scope.spawn(move || {
                    let name = format!("{seed}-{kill}-{caller}");
                    let requests = Requests::new(&name).sparing_parents();
                    let mut dice = Dice::new(seed ^ (kill << 8) ^ caller);
                    while !over.load(Ordering::Relaxed) {
                        call_and_leave(address, ledger, &mut dice, &requests);
                    }
                });
            }
            // Not to wait for anything: so that each kill finds the server at another moment.
            sleep(Duration::from_millis(20 + moment.below(180)));
            world.kill9();
            over.store(true, Ordering::Relaxed);
        });
        world.nothing_is_left();
        world.restart();
        laws::nothing_is_lost(&world, &ledger);
        if kill % 10 == 9 {
            laws::settle(&world);
        }
        if kill % 50 == 49 {
            let acknowledged = ledger.acknowledged.lock().len();
            println!("{} kills, {acknowledged} acknowledged tasks: 0 lost", kill + 1);
        }
    }
    laws::settle(&world);
    let tasks = laws::hold_after_kills(&world, &ledger);
    let acknowledged = ledger.acknowledged.lock().len();
    println!("{kills} kills, {tasks} tasks, {acknowledged} acknowledged: 0 lost, 0 processes left");
}
