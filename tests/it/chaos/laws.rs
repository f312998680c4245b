//! What holds after whatever happened: the store and the view agree, nothing acknowledged is lost, the audit
//! log has each operation once, reads work, and what was borrowed is given back.

use super::Ledger;
use crate::reading::{state, text_of};
use crate::world::{OWNER, World, await_true};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::thread;

/// States by their number in the specification.
const STATES: [&str; 9] = [
    "UNSPECIFIED",
    "SUBMITTED",
    "WORKING",
    "COMPLETED",
    "FAILED",
    "CANCELED",
    "INPUT_REQUIRED",
    "REJECTED",
    "AUTH_REQUIRED",
];
/// Readers at a time.
const READERS: usize = 24;
/// How much the server may grow, in MiB, and how many descriptors it may hold besides.
const GROWTH: (u64, usize) = (64, 16);

/// A task as the store has it.
struct Row {
    id: String,
    agent: String,
    caller: String,
    alias: Option<String>,
    state: &'static str,
    /// The state that its last event shows.
    shown: String,
}

impl Row {
    /// What its agent answers to an operation on it.
    fn call(&self, world: &World, method: &str) -> Value {
        let params = json!({"id": self.id});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let authorization = format!("Bearer {OWNER}");
        let headers = [("Authorization", authorization.as_str())];
        let path = format!("/agents/{}/", self.agent);
        world.post(&path, &headers, body.to_string().as_bytes()).json()
    }

    /// Its id, and the one that a v0.1 client made.
    fn names(&self) -> impl Iterator<Item = &str> {
        [Some(self.id.as_str()), self.alias.as_deref()].into_iter().flatten()
    }

    fn is_over(&self) -> bool {
        ["COMPLETED", "FAILED", "CANCELED", "REJECTED"].contains(&self.state)
    }
}

/// The tasks in the database file, read beside the server, without those of the caller who may be erased meanwhile.
fn rows(world: &World) -> Vec<Row> {
    all_rows(world).into_iter().filter(|row| row.caller != "bob").collect()
}

fn all_rows(world: &World) -> Vec<Row> {
    let file = world.path("state").join("pilothouse.db");
    let store = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    store.busy_timeout(world.patience()).unwrap();
    let mut query = store
        .prepare(
            "SELECT id, alias, state, (SELECT body FROM events WHERE kind IN (0, 1)
             AND key BETWEEN n << 32 AND (n << 32) + 4294967295 ORDER BY key DESC LIMIT 1), agent, caller FROM tasks",
        )
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let event: Value = serde_json::from_slice(&row.get::<_, Vec<u8>>(3)?).unwrap();
        let status = event.pointer("/statusUpdate/status").or(event.pointer("/task/status"));
        let shown = status.unwrap()["state"].as_str().unwrap();
        Ok(Row {
            id: row.get(0)?,
            agent: row.get(4)?,
            caller: row.get(5)?,
            alias: row.get(1)?,
            state: STATES[usize::from(row.get::<_, u8>(2)?)],
            shown: shown.trim_start_matches("TASK_STATE_").to_owned(),
        })
    };
    let rows = query.query_map([], row).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Ends what still waits or runs, and waits until all of it is over.
pub(super) fn settle(world: &World) {
    let mut open = String::new();
    let settled = await_true(world.patience() * 2, || {
        let open_now: Vec<Row> = all_rows(world).into_iter().filter(|row| !row.is_over()).collect();
        for row in &open_now {
            let reply = row.call(world, "CancelTask");
            // One that has ended by itself meanwhile cannot be canceled.
            let reason = &reply["error"]["data"][0]["reason"];
            let is_erased = row.caller == "bob" && reason == "TASK_NOT_FOUND";
            assert!(
                reply["error"].is_null() || reason == "TASK_NOT_CANCELABLE" || is_erased,
                "cancel of {} ({}): {reply}",
                row.id,
                row.state
            );
        }
        open = open_now.iter().map(|row| format!("{} {}\n", row.id, row.state)).collect();
        open.is_empty()
    });
    assert!(settled, "these tasks do not end:\n{open}");
    world.await_no_agents();
    // No ask outlives its task.
    let authorization = format!("Bearer {OWNER}");
    let asks = || world.get("/api/v1/asks?caller=*", &[("Authorization", &authorization)]).json();
    let is_none_open = || asks()["totalSize"] == 0;
    assert!(await_true(world.patience(), is_none_open), "open: {:#}", asks());
}

/// Every acknowledged task is in the store; the number of tasks there.
pub(super) fn nothing_is_lost(world: &World, ledger: &Ledger) -> usize {
    let rows = rows(world);
    let stored: HashSet<&str> = rows.iter().flat_map(Row::names).collect();
    let acknowledged = ledger.acknowledged.lock();
    let lost: Vec<&String> =
        acknowledged.iter().filter(|id| !stored.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    rows.len()
}

/// All laws that a server keeps while it lives; the number of tasks.
pub(super) fn hold(world: &World, ledger: &Ledger) -> usize {
    each_task_is_in_one_state(world);
    // Every task has the entry of the operation that made it.
    await_true(world.patience(), || missing_in_audit(world).is_empty());
    assert_eq!(missing_in_audit(world), Vec::<String>::new(), "in no line of the audit log");
    assert_eq!(repeated_in_audit(world, ledger), Vec::<String>::new(), "in several lines");
    nothing_is_lost(world, ledger)
}

/// The same after kills: an operation that was cut off may have no entry, one that was answered has.
pub(super) fn hold_after_kills(world: &World, ledger: &Ledger) -> usize {
    each_task_is_in_one_state(world);
    let sent = ledger.sent.lock();
    let (rows, sends) = (rows(world), sends(world));
    let missing = rows.iter().filter(|row| row.names().any(|id| sent.contains(id)));
    let missing: Vec<&str> =
        missing.map(|row| &*row.id).filter(|id| !sends.contains_key(*id)).collect();
    assert!(missing.is_empty(), "answered and in no line of the audit log: {missing:?}");
    assert_eq!(repeated_in_audit(world, ledger), Vec::<String>::new(), "in several lines");
    nothing_is_lost(world, ledger)
}

/// Row, last event and view agree; many readers at once are answered; the server is ready.
fn each_task_is_in_one_state(world: &World) {
    let rows = rows(world);
    let differ: Vec<String> = rows
        .iter()
        .filter(|row| row.state != row.shown)
        .map(|row| format!("{}: {} in its row, {} in its last event", row.id, row.state, row.shown))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
    thread::scope(|scope| {
        for share in rows.chunks(rows.len().div_ceil(READERS).max(1)) {
            scope.spawn(move || {
                let page = world.rpc("ListTasks", json!({"pageSize": 100}));
                assert_eq!(page["tasks"].as_array().map(Vec::len), Some(rows_of_a_page(&page)));
                for row in share {
                    let mut reply = row.call(world, "GetTask");
                    assert!(reply["error"].is_null(), "{}: {reply}", row.id);
                    assert_eq!(state(&reply["result"].take()), row.state, "{}", row.id);
                }
            });
        }
    });
    let ready = world.get("/ready", &[]);
    assert_eq!((ready.status, text_of(&ready.json(), "status")), (200, "ready"));
}

fn rows_of_a_page(page: &Value) -> usize {
    usize::try_from(page["totalSize"].as_u64().unwrap()).unwrap().min(100)
}

// === the audit log ===

/// How many sends the audit log has for each task.
fn sends(world: &World) -> HashMap<String, u64> {
    let mut sends = HashMap::new();
    for line in fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default().lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        let Some(action) = entry["action"].as_str() else { continue };
        let is_send = action.to_ascii_lowercase().contains("send") || action == "message/stream";
        // One whose caller hung up was carried out all the same.
        let is_done = ["ok", "CALLER_LEFT"].contains(&text_of(&entry, "outcome"));
        if let Some(task) = entry["task"].as_str().filter(|_| is_send && is_done) {
            *sends.entry(task.to_owned()).or_default() += 1;
        }
    }
    sends
}

fn missing_in_audit(world: &World) -> Vec<String> {
    let sends = sends(world);
    let ids = rows(world).into_iter().map(|row| row.id);
    ids.filter(|id| !sends.contains_key(id)).collect()
}

/// The tasks with more than one send, without those that more than one message was sent to.
fn repeated_in_audit(world: &World, ledger: &Ledger) -> Vec<String> {
    let continued = ledger.continued.lock();
    let several =
        sends(world).into_iter().filter(|(id, count)| *count > 1 && !continued.contains(id));
    several.map(|(id, _)| id).collect()
}

// === what was borrowed ===

/// What the server held at a moment when nothing was going on.
pub(super) struct Level {
    memory: u64,
    descriptors: usize,
}

/// The resident memory of the server, in MiB.
pub(super) fn resident(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn descriptors(world: &World) -> usize {
    fs::read_dir(format!("/proc/{}/fd", world.pid())).unwrap().count()
}

impl Level {
    pub(super) fn of(world: &World) -> Self {
        Self { memory: resident(world), descriptors: descriptors(world) }
    }

    /// Waits until memory and descriptors are back.
    pub(super) fn is_kept(&self, world: &World) {
        let (memory, more) = GROWTH;
        let kept = await_true(world.patience(), || {
            resident(world) <= self.memory + memory && descriptors(world) <= self.descriptors + more
        });
        assert!(
            kept,
            "{} MiB and {} descriptors; before {} MiB and {}",
            resident(world),
            descriptors(world),
            self.memory,
            self.descriptors
        );
    }
}
