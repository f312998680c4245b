//! Starts that must not succeed, and what they tell the operator.

use crate::building::Failure;
use crate::reading::text_of;
use crate::world::{World, await_end};
use serde_json::json;
use std::net::TcpListener;

/// A configuration that cannot be used, after `sysexits.h`.
const CONFIG: Option<i32> = Some(78);
/// Something outside failed.
const UNAVAILABLE: Option<i32> = Some(69);

fn told(failure: &Failure, words: &[&str]) {
    for word in words {
        assert!(failure.stderr.contains(word), "no `{word}` in: {}", failure.stderr);
    }
}

#[test]
fn doctor_shows_the_place_in_a_wrong_file_as_config_check_does() {
    let said = |args: [&str; 1], more: [&str; 1]| {
        let builder = World::describe().config_text("server:\n  prot: 1\n");
        let builder = builder.args(args).args(more).args(["--config", "pilothouse.yaml"]);
        builder.fails();
        std::fs::read_to_string(builder.path("stdout")).unwrap()
    };
    let (doctor, check) = (said(["doctor"], ["--trust-folder"]), said(["config"], ["check"]));
    let lines: Vec<&str> = check.lines().collect();
    assert!(lines.len() > 3, "{check}");
    let gap = " ".repeat("✗ configuration  ".chars().count());
    let shown = format!("✗ configuration  {}\n", lines.join(&format!("\n{gap}")));
    assert!(doctor.contains(&shown), "{shown}\n{doctor}");
    let command =
        format!("{gap}→ then check it: `pilothouse config check --config pilothouse.yaml`\n");
    assert!(doctor.contains(&command), "{command}\n{doctor}");
}

#[test]
fn doctor_says_once_what_to_do_about_a_file_that_is_not_there() {
    let builder = World::describe().args(["doctor", "--config", "no-such.yaml"]);
    builder.fails();
    let said = std::fs::read_to_string(builder.path("stdout")).unwrap();
    assert!(said.contains("correct the name or the permissions\n"), "{said}");
}

fn text(text: &str) -> Failure {
    World::describe().config_text(text).fails()
}

#[test]
fn a_missing_program_is_named_with_the_key_that_sets_it() {
    let failure = World::describe().agent(json!({"program": "no-such-program"})).fails();
    assert_eq!(failure.code, UNAVAILABLE);
    told(&failure, &["no-such-program", "agents.fake.program"]);
}

#[test]
fn a_command_agent_without_a_program_is_refused() {
    let failure = World::describe().agent(json!({"program": null})).fails();
    assert!([UNAVAILABLE, CONFIG].contains(&failure.code), "{:?}", failure.code);
    told(&failure, &["agents.fake.program"]);
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let failure = World::describe().config(json!({"server": {"port": port}})).fails();
    assert_eq!(failure.code, UNAVAILABLE);
    told(&failure, &[&port.to_string(), "--port"]);
}

#[test]
fn a_workspace_that_is_a_file_is_named_with_its_key() {
    let failure = World::describe()
        .file("work", 0o600, "")
        .config(json!({"workspace": {"path": "work"}}))
        .fails();
    assert_eq!(failure.code, UNAVAILABLE);
    told(&failure, &["workspace.path"]);
}

#[test]
fn a_workspace_that_cannot_be_written_is_named_with_its_key() {
    // Also true for root, who may write anywhere else.
    let failure = World::describe().config(json!({"workspace": {"path": "/proc/work"}})).fails();
    assert_eq!(failure.code, UNAVAILABLE);
    told(&failure, &["/proc/work", "workspace.path"]);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_named_with_its_key() {
    let failure = World::describe().config(json!({"state_dir": "/proc/state"})).fails();
    assert_eq!(failure.code, UNAVAILABLE);
    told(&failure, &["/proc/state", "state_dir"]);
}

#[test]
fn a_database_that_is_none_is_named() {
    let builder = World::describe();
    std::fs::create_dir(builder.path("state")).unwrap();
    std::fs::write(
        builder.path("state").join("pilothouse.db"),
        "not a database, but long enough to be looked at".repeat(50),
    )
    .unwrap();
    let failure = builder.fails();
    assert_eq!(failure.code, UNAVAILABLE);
    told(&failure, &["pilothouse.db"]);
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_the_nearest_known_one() {
    let failure = text("server:\n  prot: 2222\n");
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["pilothouse.yaml:2", "prot", "port"]);
}

#[test]
fn a_doubled_key_is_named_with_its_line() {
    let failure = text("server:\n  port: 1\n  port: 2\n");
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["pilothouse.yaml:3", "port"]);
}

#[test]
fn a_wrong_type_is_named_with_its_line() {
    let failure = text("server:\n  port: many\n");
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["pilothouse.yaml:2", "port"]);
}

#[test]
fn yaml_that_is_none_is_named_with_its_line() {
    let failure = text("server:\n  port: [1\n");
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["pilothouse.yaml:"]);
}

#[test]
fn a_bound_that_lets_nothing_through_is_refused() {
    let failure = World::describe().config(json!({"limits": {"body": 0}})).fails();
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["limits.body"]);
}

#[test]
fn bounds_that_contradict_each_other_are_both_named() {
    let failure =
        World::describe().config(json!({"limits": {"body": "1KiB", "prompt": "1MiB"}})).fails();
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["limits.body", "limits.prompt"]);
}

#[test]
fn an_unknown_agent_is_named_with_the_nearest_known_one() {
    let failure = World::describe().config(json!({"agent": "fkae"})).fails();
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["fkae", "fake"]);
}

#[test]
fn a_named_configuration_file_that_is_missing_stops_the_start() {
    let failure = World::describe().args(["--config", "nowhere.yaml"]).fails();
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["nowhere.yaml", "--config"]);
}

#[test]
fn an_unknown_option_stops_the_start() {
    let failure = World::describe().args(["--prot", "1"]).fails();
    assert_eq!(failure.code, Some(2));
    told(&failure, &["--prot", "--port"]);
}

#[test]
fn a_variable_with_a_wrong_value_is_named() {
    let failure = World::describe().env("PORT", "many").fails();
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["PORT", "many"]);
}

#[test]
fn a_named_session_script_that_is_missing_stops_the_start() {
    let failure = World::describe().args(["--init-session", "nowhere.sh"]).fails();
    assert_eq!(failure.code, UNAVAILABLE);
    told(&failure, &["nowhere.sh", "sessions.init"]);
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    let failure = World::describe().args(["--log-level", "pilothouse=loudest"]).fails();
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["log.level"]);
    let config = json!({"log": {"level": "pilothouse=loudest"}});
    let checked = World::describe().config(config).args(["config", "check"]).fails();
    assert_eq!((failure.code, checked.code), (CONFIG, CONFIG));
}

#[test]
fn a_token_of_two_callers_is_refused_and_not_printed() {
    let failure =
        World::describe().config(json!({"auth": {"tokens": {"eve": crate::world::BOB}}})).fails();
    assert_eq!(failure.code, CONFIG);
    told(&failure, &["auth.tokens.eve"]);
    assert!(!failure.stderr.contains(crate::world::BOB), "{}", failure.stderr);
}

#[test]
fn without_any_configuration_the_demo_agent_serves() {
    let builder = World::describe();
    let state = builder.path("state").to_str().unwrap().to_owned();
    let world = builder.config_text("").args(["--port", "0", "--state-dir", &state]).start();
    let card = world.get("/.well-known/agent-card.json", &[]).json();
    assert!(text_of(&card, "description").contains("demonstration"), "{card}");
    let told = world.stderr();
    assert!(told.contains("demo agent") && told.contains("serving"), "{told}");
    let token = std::fs::read_to_string(world.path("state").join("token")).unwrap();
    let mut task = world.rpc_as(token.trim(), "SendMessage", crate::reading::message("two words"));
    let answer = crate::reading::answer(&task["task"].take());
    assert!(answer.starts_with("You said: two words"), "{answer}");
}

#[test]
fn doctor_finds_that_a_process_ends_with_all_that_it_started() {
    let described = World::describe().args(["doctor"]);
    let mut child = described.spawn();
    assert!(await_end(&mut child, described.patience).is_some());
    let said = std::fs::read_to_string(described.path("stdout")).unwrap();
    assert!(said.contains("starts a process and ends its whole tree"), "{said}");
}

#[test]
fn doctor_starts_no_program_of_the_driver_command_outside_of_the_sandbox() {
    let described = World::describe().file("agent.sh", 0o755, "#!/bin/sh\ntouch was-started\n");
    let program = described.cwd().join("agent.sh");
    let described = described.agent(json!({"program": program})).args(["doctor"]);
    let mut child = described.spawn();
    assert!(await_end(&mut child, described.patience).is_some());
    let said = std::fs::read_to_string(described.path("stdout")).unwrap();
    assert!(said.contains("not started before its first turn"), "{said}");
    assert!(!described.cwd().join("was-started").exists());
}
