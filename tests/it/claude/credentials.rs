//! Credentials that change, and those of other services.

use super::walls::behind;
use super::{claude, with_key};
use crate::building::Builder;
use crate::reading::{answer, state, words};
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
