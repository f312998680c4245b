//! A store and a state folder of an older version: today's server goes on with all that stands in them.
//!
//! `rows.sql` is what a server of fa4c159 had stored when it was killed; each `schema-*.sql` is the schema that a
//! version since then had.

use crate::building::{Builder, fake_agent};
use crate::failing_store::SmallDisk;
use crate::reading::{answer, artifact_text, message_in, message_to, state, words};
use crate::webhook::Webhook;
use crate::world::{OWNER, World};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;

/// Version and schema.
const SCHEMAS: [(&str, &str); 9] = [
    ("fa4c159", include_str!("upgrades/schema-05.sql")),
    ("66f2372", include_str!("upgrades/schema-06.sql")),
    ("dd04eab", include_str!("upgrades/schema-07.sql")),
    ("3a55cca", include_str!("upgrades/schema-08.sql")),
    ("16d008b", include_str!("upgrades/schema-09.sql")),
    ("2a3ddf6", include_str!("upgrades/schema-09-later.sql")),
    ("80d1b32", include_str!("upgrades/schema-10-earlier.sql")),
    ("5f158e5", include_str!("upgrades/schema-10.sql")),
    ("384b08a", include_str!("upgrades/schema-11.sql")),
];
const ROWS: &str = include_str!("upgrades/rows.sql");

const DONE: &str = "01a22cb7-2c83-7556-8058-ebde7b1d974e";
const QUESTION: &str = "01a22cb7-2c9d-7438-b602-8d9279491bf6";
const PERMISSION: &str = "01a22cb7-2ca5-7748-93d0-34c0f80b0b7d";
const WORKING: &str = "01a22cb7-2cab-74bf-95f1-86a641f4a21b";
const WAITING: [&str; 3] = [
    "01a22cb7-3098-7409-be1f-e0fe4acac917",
    "01a22cb7-309e-76ba-865a-7d078d105c25",
    "01a22cb7-309f-7691-bbbb-950a8bfdbca2",
];
/// The session whose agent has counted to one.
const COUNTED: &str = "01a22cb7-2c95-72ab-9f33-5c63dfdcadf0";

/// The database of a killed server: its rows stand in the write-ahead log.
fn make_store(file: &Path, schema: &str, hook: &Webhook) {
    let store = Connection::open(file).unwrap();
    store.pragma_update(None, "journal_mode", "WAL").unwrap();
    store.execute_batch(schema).unwrap();
    store.execute_batch(&ROWS.replace("http://127.0.0.1:9/hook", &hook.url("/hook"))).unwrap();
    store.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
}

/// A world whose state folder is that of a killed server of this schema.
fn left_behind(schema: &str, hook: &Webhook) -> Builder {
    let builder = World::describe().config(json!({
        "store": {"retention": {"age": "36500d"}},
        "sessions": {"retention": {"age": "36500d"}},
        "push": {"allow": ["127.0.0.1"]},
        "agents": {"asking": {
            "driver": "acp", "program": fake_agent(), "args": ["--acp", "asks"], "asks": "ask",
        }},
    }));
    for folder in ["state/sessions", "work"] {
        let session = builder.path(folder).join(COUNTED);
        fs::create_dir_all(&session).unwrap();
        fs::set_permissions(session, PermissionsExt::from_mode(0o700)).unwrap();
    }
    fs::set_permissions(builder.path("work"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(builder.path("work").join(COUNTED).join(".fake-agent-count"), "1").unwrap();
    let state = builder.path("state");
    fs::write(state.join("lock"), "process 1 on 127.0.0.1:2222").unwrap();
    fs::write(state.join("server.json"), r#"{"url":"http://127.0.0.1:1","pid":1}"#).unwrap();
    make_store(&state.join("pilothouse.db"), schema, hook);
    builder
}

/// Finished tasks are read, running ones have failed, waiting ones run in order, open asks are answered, webhooks
/// are told.
fn everything_goes_on(world: &World, hook: &Webhook, version: &str) {
    let done = world.task(DONE);
    assert_eq!(
        (answer(&done).as_str(), artifact_text(&done, "n").as_str()),
        ("ad", "c"),
        "{version}"
    );
    let again = json!({
        "message": {"messageId": "again", "role": "ROLE_USER", "contextId": "done",
                    "parts": [{"text": "say a; status b; artifact n c; usage 1 2 0.5; say d"}]},
        "configuration": {"returnImmediately": false},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": again});
    let authorization = format!("Bearer {OWNER}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("A2A-Version", "1.0"),
        ("Idempotency-Key", "key-one"),
    ];
    let repeated = world.post("/", &headers, body.to_string().as_bytes()).json();
    assert_eq!(repeated["result"]["task"]["id"], DONE, "{version}: {repeated:#}");
    let aliased = world.rpc("tasks/get", json!({"id": "my-id"}));
    assert_eq!(aliased["status"]["state"], "completed", "{version}: {aliased:#}");
    assert_eq!(answer(&world.send(message_in("counted", "count"))), "2", "{version}");

    let working = world.task(WORKING);
    assert_eq!(state(&working), "FAILED", "{version}: {working:#}");
    assert!(words(&working).contains("server ended"), "{version}: {}", words(&working));
    let told = hook.await_until("its end", |told| told.iter().any(|one| one.said() == "FAILED"));
    assert!(
        told.iter().all(|one| one.header("x-a2a-notification-token") == Some("secret-of-the-hook"))
    );
    for (id, count) in WAITING.iter().zip(["1", "2", "3"]) {
        let task = world.await_state(id, &["COMPLETED", "FAILED"]);
        assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", count), "{version}");
    }

    let asks = world.get("/api/v1/asks", &headers[..1]).json()["asks"].take();
    let asks: Vec<_> = asks.as_array().unwrap().iter().map(|ask| ask["taskId"].clone()).collect();
    assert_eq!(asks, [QUESTION, PERMISSION], "{version}");
    let answered = world.send(message_to(QUESTION, "say green"));
    assert_eq!((state(&answered), answer(&answered).as_str()), ("COMPLETED", "green"), "{version}");
    let mut allow = message_to(PERMISSION, "allow");
    allow["tenant"] = json!("asking");
    let allowed = world.send(allow);
    assert!(answer(&allowed).contains("this-once"), "{version}: {allowed:#}");

    // The eight of the older server, and the one that counted to two.
    let completed = |status: Value| {
        let page = world.rpc("ListTasks", status);
        (page["totalSize"].clone(), page["tasks"].as_array().unwrap().len())
    };
    assert_eq!(completed(json!({})), (json!(9), 9), "{version}");
    let all = json!({"status": "TASK_STATE_COMPLETED"});
    assert_eq!(completed(all), (json!(8), 8), "{version}");
}

fn version_of(file: &Path) -> i64 {
    let store = Connection::open(file).unwrap();
    store.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_server_goes_on_with_the_store_of_every_version_and_keeps_a_copy_from_before() {
    thread::scope(|scope| {
        for (version, schema) in SCHEMAS {
            scope.spawn(move || {
                let hook = Webhook::start();
                let world = left_behind(schema, &hook).start();
                everything_goes_on(&world, &hook, version);
                let copy = world.path("state").join("pilothouse.db.before-upgrade");
                let says = world.stderr().contains("the store was upgraded from schema");
                assert!(says && copy.exists(), "{version}: {}", world.stderr());
                let mode = fs::metadata(&copy).unwrap().permissions().mode() & 0o777;
                let wanted = format!("user_version = {};", version_of(&copy));
                assert!(mode == 0o600 && schema.contains(&wanted), "{version}: {mode:o}");
                let tasks = "SELECT count(*) FROM tasks WHERE state = 1";
                let copied = Connection::open(&copy).unwrap();
                assert_eq!(copied.query_row(tasks, [], |row| row.get::<_, i64>(0)), Ok(3));
            });
        }
    });
}

#[test]
fn a_store_of_this_version_is_not_upgraded() {
    let mut world = World::start();
    world.restart();
    assert!(!world.path("state").join("pilothouse.db.before-upgrade").exists());
    assert!(!world.stderr().contains("upgraded"), "{}", world.stderr());
}

#[test]
fn no_copy_is_kept_where_the_operator_wants_none() {
    let hook = Webhook::start();
    let world = left_behind(SCHEMAS[0].1, &hook);
    let world = world.config(json!({"store": {"copy_before_upgrade": false}})).start();
    let files = fs::read_dir(world.path("state")).unwrap().map(|file| file.unwrap().file_name());
    let copies = files.filter(|name| name.to_string_lossy().contains("before-upgrade"));
    assert_eq!(copies.count(), 0);
}

// === an upgrade that is cut off ===

/// The server counts its writes in a file, and dies by SIGKILL before the one of this number.
fn killed_before(world: Builder, write: usize) -> Builder {
    let library = world.path("kills.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/upgrades/kills.c");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.unwrap().success());
    let count = world.path("writes");
    let _ = fs::remove_file(&count);
    world
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("TEST_WRITES", count.to_str().unwrap())
        .env("TEST_KILL_BEFORE", &write.to_string())
}

#[test]
fn a_server_that_is_killed_in_an_upgrade_loses_nothing() {
    const KILLS: usize = 10;
    let hook = Webhook::start();
    let schema = SCHEMAS[0].1;
    // A server that ends when its store is open writes nothing but the upgrade.
    let no_log = json!({"audit": "/dev/null/audit.jsonl"});
    let opened = killed_before(left_behind(schema, &hook).config(no_log), usize::MAX);
    let said = opened.fails().stderr;
    assert!(version_of(&opened.path("state").join("pilothouse.db")) > 5, "{said}");
    let writes = fs::metadata(opened.path("writes")).unwrap().len() as usize;
    assert!(writes > 2 * KILLS, "{writes} writes");
    thread::scope(|scope| {
        for kill in 0..KILLS {
            scope.spawn(move || {
                let hook = Webhook::start();
                let write = 1 + kill * writes / KILLS;
                let builder = killed_before(left_behind(schema, &hook), write);
                let killed = builder.fails();
                assert_eq!(killed.code, None, "{}", killed.stderr);
                let world = builder.env("TEST_KILL_BEFORE", "0").start();
                everything_goes_on(
                    &world,
                    &hook,
                    &format!("killed before write {write} of {writes}"),
                );
            });
        }
    });
}

#[test]
fn an_upgrade_on_a_full_disk_changes_nothing_and_says_who_can_make_room() {
    let hook = Webhook::start();
    let builder = left_behind(SCHEMAS[0].1, &hook);
    let folder = builder.path("disk");
    fs::create_dir(&folder).unwrap();
    let disk = SmallDisk::at(&folder);
    // The log gives no room back: the last server ended in order.
    let file = builder.path("state").join("pilothouse.db");
    Connection::open(&file).unwrap().execute_batch("DELETE FROM meta WHERE 0").unwrap();
    fs::rename(&file, builder.path("pilothouse.db")).unwrap();
    fs::copy(builder.path("pilothouse.db"), disk.path.join("pilothouse.db")).unwrap();
    let store = json!({"store": {"path": folder.join("pilothouse.db")}});
    let builder = disk.enter(builder.config(store));
    let (mut no_copy, mut no_upgrade) = (0, 0);
    let size = fs::metadata(builder.path("pilothouse.db")).unwrap().len();
    // More room each time, until the copy fits and the upgrade does not.
    for room in std::iter::once(0).chain((size..).step_by(4096)) {
        fs::write(builder.path("stderr"), "").unwrap();
        disk.fill();
        disk.give_back(room);
        let said = builder.fails().stderr;
        disk.make_room();
        no_copy += usize::from(said.contains("`store.copy_before_upgrade: false`"));
        no_upgrade += usize::from(said.contains("could not be upgraded from schema 5"));
        assert!(said.contains("room"), "{said}");
        if no_upgrade > 0 {
            break;
        }
    }
    assert!(no_copy > 0, "the upgrade failed before the copy did");
    let world = builder.start();
    everything_goes_on(&world, &hook, "after a full disk");
}
