//! What a shell is told that could stand next, and the man pages.

use crate::cli_asks::url;
use crate::world::{OWNER, World};
use std::process::{Command, Output};

/// What bash is told about the last of these words, with the server in variables.
fn completed(world: &World, words: &[&str]) -> String {
    let url = url(world.address());
    completed_with(&[("PILOTHOUSE_URL", &url), ("PILOTHOUSE_TOKEN", OWNER)], words)
}

fn completed_with(variables: &[(&str, &str)], words: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let index = words.len() - 1;
    let output: Output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .arg("--")
        .args(words)
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("_PILOTHOUSE_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", index.to_string())
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "true")
        .env("_CLAP_IFS", "\n")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_shell_completes_ids_agents_and_states_that_the_server_knows() {
    let world = World::start();
    let task = world.say("say x");
    let short = |name: &str| {
        let id = task[name].as_str().unwrap();
        id[id.len() - 8..].to_owned()
    };
    let tasks = completed(&world, &["pilothouse", "tasks", "watch", ""]);
    assert!(tasks.contains(&short("id")) && tasks.contains("last"), "{tasks}");
    let sessions = completed(&world, &["pilothouse", "send", "-c", ""]);
    assert!(sessions.contains(&short("contextId")), "{sessions}");
    let agents = completed(&world, &["pilothouse", "send", "--agent", ""]);
    assert!(agents.contains("fake"), "{agents}");
    let states = completed(&world, &["pilothouse", "tasks", "list", "--state", "inp"]);
    assert_eq!(states.trim(), "input-required");
    let backends = completed(&world, &["pilothouse", "serve", "--isolation", ""]);
    assert!(backends.contains("bubblewrap") && backends.contains("landlock"), "{backends}");
    let keys = completed(&world, &["pilothouse", "config", "show", "limits.ra"]);
    assert!(keys.lines().any(|key| key.trim() == "limits.rate"), "{keys}");
}

#[test]
fn a_shell_completes_from_the_server_that_the_options_before_name() {
    let world = World::start();
    world.say("say x");
    let url = url(world.address());
    let with_equals = format!("--url={url}");
    for server in [&["--url", &url][..], &[&with_equals]] {
        let words = ["pilothouse", "tasks", "watch", "--token", OWNER, ""];
        let words = [&words[..3], server, &words[3..]].concat();
        let tasks = completed_with(&[], &words);
        assert!(tasks.contains("last"), "{server:?}: {tasks}");
    }
    assert!(!completed_with(&[], &["pilothouse", "tasks", "watch", ""]).contains("last"));
}

#[test]
fn each_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .arg("man")
        .arg(folder.path())
        .env_clear()
        .status()
        .unwrap();
    assert!(made.success());
    for page in ["pilothouse.1", "pilothouse-send.1", "pilothouse-tasks-watch.1"] {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
}
