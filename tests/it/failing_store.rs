//! A store that fails: a full disk, a file that cannot be read, a lock that somebody else holds.
//!
//! The small disk is a tmpfs in a mount namespace of its own. A holder makes both and stays in them, so that
//! the test reaches the disk through `/proc`; the server enters by `nsenter`. Root needs nothing for that, an
//! ordinary user a user namespace.

use crate::activity::await_activity;
use crate::building::Builder;
use crate::reading::{answer, message, message_in, state, text_of, words};
use crate::world::{OWNER, World, await_true};
use rusqlite::Connection;
use rustix::process::geteuid;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// What the small disk holds.
const SIZE: &str = "4m";
/// How long a full disk is watched.
const WATCHED: Duration = Duration::from_secs(3);
/// What a server may write to standard error in that time.
const LINES: usize = 40;

/// A disk that is soon full; it is gone with its holder.
pub(crate) struct SmallDisk {
    holder: Child,
    /// It, seen from outside.
    pub(crate) path: PathBuf,
}

impl SmallDisk {
    /// Makes one at this folder.
    pub(crate) fn at(folder: &Path) -> Self {
        let namespaces: &[&str] = if geteuid().is_root() {
            &["--mount"]
        } else {
            &["--user", "--map-root-user", "--mount"]
        };
        let script = "mount -t tmpfs -o size=$1 small \"$2\" && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", script, "sh", SIZE])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "a tmpfs could not be mounted in a namespace of its own");
        let inside = folder.strip_prefix("/").unwrap();
        let path = PathBuf::from(format!("/proc/{}/root", holder.id())).join(inside);
        Self { holder, path }
    }

    /// The server runs where the disk is.
    pub(crate) fn enter(&self, builder: Builder) -> Builder {
        let (pid, cwd) = (self.holder.id().to_string(), builder.cwd());
        let cwd = cwd.to_str().unwrap();
        let script = "cd \"$0\" && exec \"$@\"";
        if geteuid().is_root() {
            builder.through(["nsenter", "--target", &pid, "--mount", "sh", "-c", script, cwd])
        } else {
            let user = "--preserve-credentials";
            builder.through([
                "nsenter", "--target", &pid, "--user", user, "--mount", "sh", "-c", script, cwd,
            ])
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Fills it to its last byte.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room for so many bytes.
    pub(crate) fn give_back(&self, room: u64) {
        let ballast = File::options().write(true).open(self.ballast()).unwrap();
        ballast.set_len(ballast.metadata().unwrap().len() - room).unwrap();
    }

    /// Makes room again.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A world whose store lies on a small disk.
fn on_a_small_disk(more: Value) -> (World, SmallDisk) {
    let builder = World::describe();
    let folder = builder.path("disk");
    fs::create_dir(&folder).unwrap();
    let disk = SmallDisk::at(&folder);
    let store = json!({"store": {"path": folder.join("pilothouse.db")}});
    let world = disk.enter(builder.config(store).config(more)).start();
    (world, disk)
}

fn is_ready(world: &World) -> bool {
    world.get("/ready", &[]).status == 200
}

fn await_ready(world: &World, wanted: bool) {
    let so = await_true(world.patience(), || is_ready(world) == wanted);
    assert!(so, "/ready says {}", world.get("/ready", &[]).text());
}

fn is_over(task: &Value) -> bool {
    ["COMPLETED", "FAILED", "CANCELED", "REJECTED"].contains(&state(task))
}

#[test]
fn a_full_disk_refuses_sends_and_everything_goes_on_when_there_is_room() {
    let (world, disk) = on_a_small_disk(json!({}));
    let before = world.say("say before");
    let running = world.begin_waiting("cue go; say end", "go");
    disk.fill();
    for _ in 0..3 {
        let error = world.error("SendMessage", message("say x"));
        let said = text_of(&error, "message");
        assert!(said.contains("the server's disk is full; tell its operator"), "{said}");
    }
    // Of the sessions that were not begun nothing is left.
    let folders = |place: &str| fs::read_dir(world.path(place)).unwrap().count();
    let kept = || (folders("work"), folders("state/sessions"));
    assert!(await_true(world.patience(), || kept() == (2, 2)), "{:?}", kept());
    // What is stored is read, by many at once.
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                assert_eq!(world.task(text_of(&before, "id")), before);
                world.rpc("ListTasks", json!({}));
            });
        }
    });
    await_ready(&world, false);
    // Its end cannot be stored, so nobody is told that it has completed and then finds that it has not.
    world.cue("go");
    world.await_no_agents();
    let shown = state(&world.task(&running)).to_owned();
    disk.make_room();
    await_ready(&world, true);
    assert_eq!(answer(&world.say("say after")), "after");
    let task = world.await_task(&running, "an end that is stored", is_over);
    assert!(shown == "WORKING" || shown == state(&task), "{shown} was shown, then {task:#}");
    if state(&task) == "FAILED" {
        assert!(!words(&task).is_empty(), "{task:#}");
    }
}

#[test]
fn a_task_whose_end_could_not_be_stored_is_canceled_or_ended_later() {
    let (world, disk) = on_a_small_disk(json!({}));
    let running = world.begin_waiting("cue never", "never");
    disk.fill();
    let reply = world.call(OWNER, "CancelTask", &json!({"id": running})).json();
    assert!(reply["error"].is_object(), "a cancel that cannot be stored is acknowledged: {reply}");
    disk.make_room();
    let again = world.call(OWNER, "CancelTask", &json!({"id": running})).json();
    let reason = &again["error"]["data"][0]["reason"];
    assert!(again["error"].is_null() || reason == "TASK_NOT_CANCELABLE", "{again}");
    world.await_task(&running, "an end that is stored", is_over);
}

#[test]
fn a_session_is_broken_until_the_end_of_its_turn_is_stored() {
    let (world, disk) = on_a_small_disk(json!({}));
    let task = world.begin_with(message_in("one", "cue go"));
    world.await_words(&task, "waiting go");
    disk.fill();
    world.error("SendMessage", message("say x"));
    world.cue("go");
    let broken = await_activity(&world, "one", ["broken", ""]);
    assert_eq!(broken["taskId"], json!(task));
    disk.make_room();
    await_activity(&world, "one", ["idle", ""]);
    assert!(is_over(&world.task(&task)));
}

/// An agent of the Agent Client Protocol that behaves like this.
fn acp(mode: &str) -> Value {
    let agent = json!({"driver": "acp", "args": ["--acp", mode], "format": null, "asks": "ask"});
    json!({"agents": {"fake": agent}})
}

/// A task whose agent asks a question while the disk is filled.
fn asks_on_a_full_disk(mode: &str) -> (World, SmallDisk, String) {
    let (world, disk) = on_a_small_disk(acp(mode));
    let task = world.begin_with(message_in("one", "go"));
    world.await_state(&task, &["INPUT_REQUIRED"]);
    disk.fill();
    world.error("SendMessage", message("say x"));
    (world, disk, task)
}

fn open_asks(world: &World) -> Value {
    let authorization = format!("Bearer {OWNER}");
    world.get("/api/v1/asks", &[("Authorization", &authorization)]).json()["asks"].take()
}

#[test]
fn a_task_whose_agent_died_while_it_asked_fails_where_its_last_words_cannot_be_stored() {
    let (world, disk, task) = asks_on_a_full_disk("asks-and-dies");
    world.cue("die");
    await_activity(&world, "one", ["broken", ""]);
    assert_eq!(open_asks(&world), json!([]));
    disk.make_room();
    world.await_state(&task, &["FAILED"]);
}

#[test]
fn a_session_has_no_process_while_the_end_of_its_turn_cannot_be_stored() {
    let (world, disk, task) = asks_on_a_full_disk("asks-and-ends");
    world.cue("end");
    await_activity(&world, "one", ["broken", ""]);
    world.await_no_agents();
    disk.make_room();
    await_activity(&world, "one", ["idle", ""]);
    assert_eq!(state(&world.task(&task)), "FAILED");
}

#[test]
fn a_question_that_ends_its_turn_is_not_open_where_that_end_cannot_be_stored() {
    let (world, disk) = on_a_small_disk(json!({}));
    let task = world.begin_with(message_in("one", "cue go; ask which? | red | green"));
    world.await_words(&task, "waiting go");
    disk.fill();
    world.error("SendMessage", message("say x"));
    world.cue("go");
    await_activity(&world, "one", ["broken", ""]);
    assert_eq!(open_asks(&world), json!([]));
    disk.make_room();
    world.await_state(&task, &["FAILED"]);
}

#[test]
fn what_cannot_be_stored_is_tried_again_with_pauses() {
    let (world, disk) = on_a_small_disk(json!({"asks": {"timeout": "1s"}}));
    let asked = world.say("ask which? | red | green");
    let running = world.begin_waiting("cue go; repeat 200 5 line {i}; say end", "go");
    disk.fill();
    await_ready(&world, false);
    world.cue("go");
    let before = (world.stderr().lines().count(), processor_time(world.pid()));
    // Not to wait for anything: to see what it does meanwhile.
    thread::sleep(WATCHED);
    let lines = world.stderr().lines().count() - before.0;
    let busy = processor_time(world.pid()) - before.1;
    assert!(lines < LINES, "{lines} lines in {WATCHED:?}:\n{}", world.stderr());
    assert!(busy < WATCHED.as_millis() as u64 / 2, "{busy} ms of the processor in {WATCHED:?}");
    disk.make_room();
    await_ready(&world, true);
    let id = text_of(&asked, "id");
    world.await_task(id, "the end of its ask", |task| state(task) != "INPUT_REQUIRED");
    world.await_task(&running, "its end", is_over);
}

/// What a process has computed, in milliseconds.
fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    ticks * 10
}

#[test]
fn a_server_that_is_killed_with_a_full_disk_starts_again_with_room() {
    let (mut world, disk) = on_a_small_disk(json!({}));
    let done = world.say("say kept");
    let running = world.begin_waiting("cue never", "never");
    disk.fill();
    world.error("SendMessage", message("say x"));
    world.kill9();
    world.nothing_is_left();
    disk.make_room();
    world.restart();
    assert_eq!(world.task(text_of(&done, "id")), done);
    assert_eq!(state(&world.task(&running)), "FAILED");
    assert_eq!(answer(&world.say("say after")), "after");
}

// === reads that fail ===

#[test]
fn a_store_that_cannot_be_read_ends_nothing_and_is_read_again_later() {
    let mut world = World::start();
    let tasks: Vec<Value> =
        (0..20).map(|n| world.say(&format!("repeat 200 0 {n} {{i}}"))).collect();
    world.stop();
    let file = world.path("state").join("pilothouse.db");
    world.restart();
    let bytes = fs::read(&file).unwrap();
    // The head stays, so that it still is a database.
    fs::write(&file, [&bytes[..4096], &vec![0xa5; bytes.len() - 4096]].concat()).unwrap();
    thread::scope(|scope| {
        for task in &tasks {
            let world = &world;
            scope.spawn(move || {
                let reply = world.call(OWNER, "GetTask", &json!({"id": task["id"]})).json();
                assert_eq!(reply["error"]["code"], -32603, "{reply}");
                let said = text_of(&reply["error"], "message");
                assert!(said.contains("incident") && !said.contains("malformed"), "{said}");
            });
        }
    });
    assert_eq!(world.get("/health", &[]).status, 200);
    fs::write(&file, bytes).unwrap();
    // A write makes the readers forget the pages that they hold.
    assert_eq!(answer(&world.say("say x")), "x");
    for task in &tasks {
        assert_eq!(world.task(text_of(task, "id")), *task);
    }
}

// === writes that wait ===

#[test]
fn while_a_write_waits_reads_are_answered_and_then_everything_is_stored() {
    let world = World::start();
    let before = world.say("say before");
    let running = world.begin_waiting("cue go; say end", "go");
    let file = world.path("state").join("pilothouse.db");
    let lock = Connection::open(file).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let sends: Vec<_> = (0..8)
            .map(|n| {
                let params = message_in(&format!("c{n}"), &format!("say {n}"));
                scope.spawn(|| world.send(params))
            })
            .collect();
        world.cue("go");
        for _ in 0..24 {
            assert_eq!(world.task(text_of(&before, "id")), before);
        }
        assert_eq!(world.get("/health", &[]).status, 200);
        lock.execute_batch("COMMIT").unwrap();
        for (n, send) in sends.into_iter().enumerate() {
            assert_eq!(answer(&send.join().unwrap()), n.to_string());
        }
    });
    assert_eq!(answer(&world.await_state(&running, &["COMPLETED"])), "end");
}
