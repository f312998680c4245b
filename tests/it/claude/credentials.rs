//! Credentials that change, and those of other services.

use super::walls::behind;
use super::{claude, clis, with_key};
use crate::building::Builder;
use crate::reading::{answer, at_once, message, message_in, state, text_of, words};
use fake_model::Model;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program outside of all folders of agents, and what it has counted.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("print-key");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// Claude Code whose key a command prints.
fn with_command(model: &Model, script: &Path) -> Builder {
    behind(model, "bubblewrap")
        .env("ANTHROPIC_API_KEY", "")
        .config(json!({"agents": {"claude": {"key_command": [script]}}}))
}

#[test]
fn a_key_that_the_model_refuses_is_renewed_by_its_command_within_the_turn() {
    let model = Model::start();
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let text = format!(
        "echo run >> {0}; case $(wc -l < {0}) in 1) echo sk-bad-0001;; *) echo sk-good-0002;; esac",
        runs.display()
    );
    let world = with_command(&model, &script(folder.path(), &text)).start();
    let task = world.say("say hello");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "hello"), "{task:#}");
    assert_eq!(answer(&world.say("say again")), "again");
    assert_eq!(fs::read_to_string(&runs).unwrap(), "run\nrun\n");
    let keys: Vec<_> = model.requests().into_iter().map(|seen| seen.key).collect();
    assert_eq!(keys.last().unwrap(), "0002", "{keys:?}");
    assert!(!world.stderr().contains("0002"), "{}", world.stderr());
}

#[test]
fn a_command_that_prints_no_key_fails_the_task_with_the_key_to_correct() {
    let model = Model::start();
    let folder = tempfile::tempdir().unwrap();
    let script = script(folder.path(), "echo a secret >&2; echo sk-half; exit 3");
    let world = with_command(&model, &script).start();
    let task = world.say("say hello");
    let said = words(&task);
    assert_eq!(state(&task), "FAILED", "{task:#}");
    assert!(said.contains("`agents.claude.key_command`: it ended with exit code 3"), "{said}");
    let all = format!("{task} {}", world.stderr());
    assert!(!all.contains("sk-half") && !all.contains("a secret"), "{all}");
}

#[test]
fn a_command_that_agents_may_change_is_refused_at_the_start() {
    let model = Model::start();
    let builder = claude(&model);
    let shared = tempfile::tempdir().unwrap();
    let script = script(shared.path(), "echo sk");
    let failure = builder
        .config(json!({
            "isolation": {"backend": "auto"},
            "workspace": {"mode": "shared", "path": shared.path()},
            "agents": {"claude": {"key_command": [script]}},
        }))
        .fails();
    assert!(failure.stderr.contains("agents.claude.key_command"), "{}", failure.stderr);
    assert!(failure.stderr.contains("agents may change"), "{}", failure.stderr);
}

#[test]
fn a_key_that_changes_in_the_environment_file_is_used_without_a_restart() {
    for wall in ["bubblewrap", "none"] {
        let model = Model::start();
        let builder = match wall {
            "none" => claude(&model),
            _ => behind(&model, wall),
        };
        let env_file = builder.cwd().join(".env");
        let set = |text: &str| fs::write(&env_file, format!("{text}\n")).unwrap();
        set("ANTHROPIC_API_KEY=sk-good-0001");
        let world = builder.config(json!({"env_file": {"override": true}})).start();
        let last_key = || model.requests().pop().unwrap().key;
        let say = |text: &str| answer(&world.send(message_in("one", text)));
        assert_eq!((say("say one").as_str(), last_key().as_str()), ("one", "0001"), "{wall}");
        let before = clis(&world)[0].pid;
        set("ANTHROPIC_API_KEY=sk-good-0002");
        assert_eq!((say("say two").as_str(), last_key().as_str()), ("two", "0002"), "{wall}");
        // Behind a sandbox the process holds a stand-in for the key, so that it goes on.
        assert_eq!(clis(&world)[0].pid == before, wall != "none", "{wall}");
        set("this is no such file");
        assert_eq!((say("say three").as_str(), last_key().as_str()), ("three", "0002"), "{wall}");
        let told = world.stderr();
        assert!(told.contains("has changed and is not used"), "{told}");
        assert!(!told.contains("sk-good"), "{told}");
    }
}

#[test]
fn a_turn_that_goes_on_uses_the_changed_key_too() {
    let model = Model::start();
    let builder = behind(&model, "bubblewrap");
    let env_file = builder.cwd().join(".env");
    fs::write(&env_file, "ANTHROPIC_API_KEY=sk-good-0001\n").unwrap();
    let world = builder.config(json!({"env_file": {"override": true}})).start();
    let task = world.say("bash: curl -s http://127.0.0.1:9/ || echo hello");
    assert_eq!(state(&task), "INPUT_REQUIRED", "{task:#}");
    fs::write(&env_file, "ANTHROPIC_API_KEY=sk-good-0002\n").unwrap();
    let mut allow = message("allow");
    allow["message"]["taskId"] = task["id"].clone();
    let task = world.send(allow);
    assert_eq!(answer(&task), "done: hello", "{task:#}");
    assert_eq!(model.requests().pop().unwrap().key, "0002");
}

#[test]
fn a_command_for_keys_is_run_once_for_all_who_wait_and_ends_with_all_that_it_started() {
    let model = Model::start();
    let folder = tempfile::tempdir().unwrap();
    let (runs, child) = (folder.path().join("runs"), folder.path().join("child"));
    // Its child keeps standard output open.
    let text = format!(
        "echo run >> {}; sleep 600 & echo $! > {}; echo sk-good-0001",
        runs.display(),
        child.display()
    );
    let world = with_command(&model, &script(folder.path(), &text)).start();
    let both = ["one", "two"].map(|context| at_once(message_in(context, "say hello")));
    let tasks = both.map(|message| text_of(&world.send(message), "id").to_owned());
    for task in tasks {
        assert_eq!(answer(&world.await_state(&task, &["COMPLETED"])), "hello");
    }
    let pid: u32 = fs::read_to_string(&child).unwrap().trim().parse().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "its child goes on");
    assert_eq!(fs::read_to_string(&runs).unwrap(), "run\n");
}

#[test]
fn claude_in_microsoft_foundry_is_reached_with_a_key_that_stays_outside() {
    let model = Model::start();
    let world = with_key(&model, "")
        .config(json!({"isolation": {"backend": "bubblewrap"}}))
        .env("CLAUDE_CODE_USE_FOUNDRY", "1")
        .env("ANTHROPIC_FOUNDRY_BASE_URL", &model.url)
        .env("ANTHROPIC_FOUNDRY_API_KEY", "foundry-key-real")
        .start();
    let task = world.say("say hello from foundry");
    assert_eq!(answer(&task), "hello from foundry", "{task:#}");
    let keys: Vec<_> = model.requests().into_iter().map(|seen| seen.key).collect();
    assert!(keys.iter().all(|key| key == "real"), "{keys:?}");
}
