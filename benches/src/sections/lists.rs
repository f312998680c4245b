//! What reading costs when the store holds many tasks: pages of lists, and the start.

use crate::client::message;
use crate::server::{Input, Server};
use crate::stats::{Times, show};
use crate::{Bench, Outcome};
use rusqlite::{Connection, params};
use std::time::Instant;

/// Tasks of one conversation.
const PER_CONTEXT: i64 = 20;

/// What is read, and by which path.
const READS: [(&str, &str); 5] = [
    ("all tasks", "/tasks?pageSize=50"),
    ("tasks of a state", "/tasks?pageSize=50&status=TASK_STATE_FAILED"),
    ("tasks of a context", "/tasks?pageSize=50&contextId=context-77"),
    ("open asks", "/api/v1/asks"),
    ("sessions", "/api/v1/sessions"),
];

/// Lists over stores of two sizes.
pub(super) fn lists(bench: &mut Bench) -> Outcome {
    let sizes = bench.pick([100_000_i64, 1_000_000], [10_000, 20_000]);
    for size in sizes {
        let server = bench.house.fresh(Input::Argument)?;
        server.client()?.complete(&message("SendMessage", "one", None))?;
        let file = server.store_file();
        drop(server);
        multiply(&file, size)?;
        let server = bench.house.again()?;
        let started = server.started_in.as_secs_f64() * 1000.0;
        let figure = format!("start with {}", show(size as f64, "tasks"));
        bench.table.at_most(&figure, 50.0, started, "ms", "to the first healthy answer");
        for (what, path) in READS {
            let times = read(&server, path)?;
            let figure = format!("a page of {what}, of {}", show(size as f64, "tasks"));
            bench.table.at_most(&figure, 2.0, times.median(), "ms", &times.spread());
        }
    }
    Ok(())
}

fn read(server: &Server, path: &str) -> std::io::Result<Times> {
    let mut client = server.client()?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        let reply = client.get(path)?;
        times.push(began.elapsed());
        if reply.status != 200 {
            return Err(std::io::Error::other(format!("{path} is answered {}", reply.status)));
        }
    }
    Ok(Times::new(times))
}

/// Copies the newest task of a store that no server holds, with its events, so often; one of ten failed. Each
/// context has a session.
fn multiply(file: &std::path::Path, copies: i64) -> rusqlite::Result<()> {
    let store = Connection::open(file)?;
    store.pragma_update(None, "synchronous", "OFF")?;
    let wanted = params![copies, PER_CONTEXT];
    let numbers =
        "WITH RECURSIVE copies(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM copies WHERE k < ?1),
        task AS (SELECT * FROM tasks ORDER BY n DESC LIMIT 1)";
    store.execute_batch("BEGIN")?;
    store.execute(
        &format!(
            "{numbers} INSERT INTO events SELECT ((n + k) << 32) | (key & 0xffffffff), kind,
             CAST(replace(replace(replace(CAST(body AS TEXT), id, 'copy-' || k), context_id, 'context-' || (k / ?2)),
             CASE WHEN k % 10 = 0 THEN 'TASK_STATE_COMPLETED' ELSE '' END, 'TASK_STATE_FAILED') AS BLOB)
             FROM copies, task, events WHERE key >> 32 = n"
        ),
        wanted,
    )?;
    store.execute(
        &format!(
            "{numbers} INSERT INTO sessions SELECT 'session-' || k, caller, agent, 'context-' || (k / ?2), NULL, 1,
             created_ms, created_ms - k FROM copies, task WHERE k % ?2 = 0"
        ),
        wanted,
    )?;
    store.execute(
        &format!(
            "{numbers} INSERT INTO tasks SELECT n + k, 'copy-' || k, caller, agent, 'context-' || (k / ?2), session, NULL,
             CASE WHEN k % 10 = 0 THEN 4 ELSE state END, status_ms - ?1 + k, created_ms, head, bytes, NULL
             FROM copies, task"
        ),
        wanted,
    )?;
    // The server's writer counts what it writes.
    store.execute_batch(
        "DELETE FROM task_counts;
         INSERT INTO task_counts SELECT caller, agent, state, count(*) FROM tasks
         WHERE state > 2 AND state != 6 AND state != 8 GROUP BY 1, 2, 3",
    )?;
    store.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
}
