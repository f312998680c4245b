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
    operate_in(world, "cwd", args)
}

fn operate_in(world: &World, folder: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(args)
        .arg("--trust-folder")
        .current_dir(world.path(folder))
        .env_clear()
        .env("HOME", world.path("home"))
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The names in an archive.
fn list_names(archive: &Path) -> String {
    let listed = Command::new("tar").arg("-tf").arg(archive).output().unwrap();
    assert!(listed.status.success(), "{}", words(&listed));
    words(&listed)
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
    let said = words(&again);
    assert_eq!(again.status.code(), Some(2), "{said}");
    assert!(said.contains("exists, and a backup replaces nothing"), "{said}");
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
        (whole[..whole.len() / 2].to_vec(), "no backup, or not whole"),
        (whole[..whole.len() - 2048].to_vec(), "no end"),
        (b"no archive".to_vec(), "no backup, or not whole"),
    ] {
        fs::write(&file, &bytes).unwrap();
        let output = operate(&world, &["restore", &name]);
        assert!(!output.status.success() && words(&output).contains(why), "{}", words(&output));
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

#[test]
fn a_backup_from_another_folder_has_the_workspaces_of_the_server_and_a_restore_names_them() {
    let mut world = World::start();
    world.say("write kept.txt inside");
    world.stop();
    let file = world.path("backup.tar");
    let (name, state) = (file.to_str().unwrap(), world.path("state"));
    let backup = ["backup", name, "--state-dir", state.to_str().unwrap()];
    let output = operate_in(&world, "home", &backup);
    let (work, said) = (world.path("work"), words(&output));
    assert!(said.contains(&format!("1 workspaces in {}\n", work.display())), "{said}");
    assert!(list_names(&file).contains("/kept.txt\n"));
    let new = world.path("new");
    fs::write(
        world.path("home/pilothouse.yaml"),
        "agents: {fake: {driver: command, program: /bin/true}}\n",
    )
    .unwrap();
    let output =
        operate_in(&world, "home", &["restore", name, "--state-dir", new.to_str().unwrap()]);
    let said = words(&output);
    assert!(said.contains(&format!("they were in {}", work.display())), "{said}");
    // Where the sessions of the store have none, the backup says so.
    fs::rename(&work, world.path("work.lost")).unwrap();
    fs::remove_file(&file).unwrap();
    let said = words(&operate_in(&world, "home", &backup));
    assert!(said.contains("1 sessions have none there"), "{said}");
}

#[test]
fn a_store_by_a_whole_path_is_kept_once_and_a_restore_replaces_none_and_no_log_of_one() {
    let described = World::describe();
    let store = described.path("state").join("own.db");
    let mut world = described.config(json!({"store": {"path": store}})).start();
    world.say("say kept");
    let file = world.path("backup.tar");
    let name = file.to_str().unwrap();
    assert!(operate(&world, &["backup", name]).status.success());
    let names = list_names(&file);
    assert!(names.contains("store.db") && !names.contains("own.db"), "{names}");
    world.stop();
    lose(&world);
    let elsewhere = world.path("elsewhere");
    let store = elsewhere.join("own.db");
    fs::create_dir(&elsewhere).unwrap();
    world.rewrite(json!({"store": {"path": store}}));
    for left in ["own.db", "own.db-wal"] {
        fs::write(elsewhere.join(left), "of another").unwrap();
        let said = words(&operate(&world, &["restore", name]));
        assert!(said.contains(&format!("{left} exists")), "{said}");
        assert_eq!(fs::read_to_string(elsewhere.join(left)).unwrap(), "of another");
        fs::remove_file(elsewhere.join(left)).unwrap();
    }
    let output = operate(&world, &["restore", name]);
    assert!(output.status.success(), "{}", words(&output));
    let left: Vec<_> =
        fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["own.db"]);
    world.restart();
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 1);
}
