//! A backup that is made under load, and a server on what it brought back.

use crate::reading::{answer, message, text_of};
use crate::world::{OWNER, PATIENCE, World, await_true};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A command of the operator's, in the server's folder.
fn operate(world: &World, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(args)
        .arg("--trust-folder")
        .current_dir(world.path("cwd"))
        .env_clear()
        .env("HOME", world.path("home"))
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// What the server keeps is moved away.
fn lose(world: &World) {
    for name in ["state", "work"] {
        fs::rename(world.path(name), world.path(&format!("{name}.lost"))).unwrap();
    }
}

#[test]
fn a_server_on_a_backup_made_under_load_has_every_task_acknowledged_before_and_asks_go_on() {
    let mut world = World::start();
    let file = world.path("backup.tar");
    let name = file.to_str().unwrap().to_owned();
    let asked = world.send(message("write kept.txt inside; ask which?"));
    let (stop, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let ended = AtomicUsize::new(0);
    let acknowledged = std::thread::scope(|scope| {
        let load = (0..3).map(|_| {
            scope.spawn(|| {
                let mut before = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let task = world.say("say one; say two");
                    ended.fetch_add(1, Ordering::SeqCst);
                    if !begun.load(Ordering::SeqCst) {
                        before.push(text_of(&task, "id").to_owned());
                    }
                }
                before
            })
        });
        let load: Vec<_> = load.collect();
        let is_loaded = await_true(PATIENCE, || ended.load(Ordering::SeqCst) >= 6);
        let done = world.say("say warm");
        begun.store(true, Ordering::SeqCst);
        let output = operate(&world, &["backup", &name]);
        stop.store(true, Ordering::SeqCst);
        assert!(is_loaded);
        assert!(output.status.success(), "{}", words(&output));
        let mut acknowledged: Vec<_> =
            load.into_iter().flat_map(|load| load.join().unwrap()).collect();
        acknowledged.push(text_of(&done, "id").to_owned());
        acknowledged
    });
    assert!(acknowledged.len() > 3, "{acknowledged:?}");
    let before: Value = world.task(text_of(&asked, "id"));
    world.stop();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    lose(&world);
    let output = operate(&world, &["restore", &name]);
    assert!(output.status.success(), "{}", words(&output));
    let left = ["state", "work"].map(|name| world.path(name).join("restoring").exists());
    assert_eq!(left, [false, false]);
    world.restart();
    for id in &acknowledged {
        assert_eq!(world.task(id)["id"], json!(id));
    }
    assert_eq!(world.task(text_of(&asked, "id"))["status"]["state"], before["status"]["state"]);
    let ask = &before["status"]["message"]["metadata"];
    let asks = world.get("/api/v1/asks", &[("Authorization", &format!("Bearer {OWNER}"))]).json();
    assert_eq!(asks["asks"].as_array().unwrap().len(), 1, "{asks} {ask}");
    let id = text_of(&asks["asks"][0], "askId").to_owned();
    let reply = world.post(
        &format!("/api/v1/asks/{id}"),
        &[("Authorization", &format!("Bearer {OWNER}"))],
        br#"{"answer": "read kept.txt"}"#,
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    let task = world.await_state(text_of(&asked, "id"), &["COMPLETED"]);
    assert!(answer(&task).contains("inside"), "{task}");
}

#[test]
fn a_restore_refuses_a_folder_that_is_used_and_a_file_that_is_not_whole() {
    let mut world = World::start();
    world.say("say kept");
    let file = world.path("backup.tar");
    let name = file.to_str().unwrap().to_owned();
    assert!(operate(&world, &["backup", &name]).status.success());
    let again = operate(&world, &["backup", &name]);
    assert!(!again.status.success() && words(&again).contains("exists"), "{}", words(&again));
    let refused = |world: &World, why: &str| {
        let output = operate(world, &["restore", &name]);
        assert!(!output.status.success() && words(&output).contains(why), "{}", words(&output));
    };
    refused(&world, "is not empty");
    let whole = fs::read(&file).unwrap();
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let kept = whole.windows(4).position(|bytes| bytes == b"kept").unwrap();
    for (bytes, why) in [
        (changed(kept), "its digest differs"),
        (whole[..whole.len() / 2].to_vec(), "cannot be"),
        (whole[..whole.len() - 2048].to_vec(), "no end"),
        (b"no archive".to_vec(), ""),
    ] {
        fs::write(&file, &bytes).unwrap();
        let output = operate(&world, &["restore", &name]);
        assert!(!output.status.success(), "{why}: {}", words(&output));
    }
    world.stop();
    lose(&world);
    fs::write(&file, changed(kept)).unwrap();
    refused(&world, "its digest differs");
    assert!(!Path::new(&world.path("state")).exists());
    fs::write(&file, &whole).unwrap();
    let output = operate(&world, &["restore", &name]);
    assert!(output.status.success(), "{}", words(&output));
    world.restart();
    let tasks = world.rpc("ListTasks", json!({}));
    assert_eq!(tasks["totalSize"], 1, "{tasks}");
}
