//! Codex, through `codex-acp`: what it does beside the rest.

use super::{Agent, asks, completed, decide, workspace};
use crate::building::Builder;
use crate::reading::{message_in, state, words};
use fake_model::Model;
use serde_json::json;

const CODEX: Agent = Agent {
    preset: "codex",
    program: "codex-acp",
    process: "codex-acp",
    world: |agent, model, key| {
        let builder: Builder = agent.bare();
        let url = &model.url;
        let script = format!(
            "#!/bin/sh\nmkdir -p \"$HOME/.codex\"\ncat > \"$HOME/.codex/config.toml\" <<'TOML'\n\
             model = \"fake\"\nmodel_provider = \"fake\"\n[model_providers.fake]\n\
             name = \"fake\"\nbase_url = \"{url}/v1\"\nenv_key = \"OPENAI_API_KEY\"\n\
             wire_api = \"responses\"\nTOML\n"
        );
        builder
            .file(".init-session.sh", 0o755, &script)
            .env("OPENAI_API_KEY", key)
    },
};

super::of!(CODEX);

#[test]
fn after_a_restart_of_the_server_the_conversation_goes_on() {
    let model = Model::start();
    let mut world = CODEX.with(&model).start();
    world.send(message_in("kept", "say remember the ship"));
    world.restart();
    let told = completed(&world.send(message_in("kept", "history")));
    assert!(
        told.contains("turns=2") && told.contains("remember the ship"),
        "{told}"
    );
}

/// A call that wants to leave the sandbox; where it runs it leaves a line.
const ESCALATED: &str = "tool exec_command {\"cmd\": \"echo yes >> ran\", \
    \"sandbox_permissions\": \"require_escalated\", \"justification\": \"to see\"}";

/// A world in which Codex may only read without asking.
fn read_only(model: &Model) -> Builder {
    CODEX
        .with(model)
        .config(json!({"agents": {"codex": {"mode": "read-only"}}}))
}

#[test]
fn a_call_that_wants_to_leave_the_sandbox_makes_the_task_wait_and_runs_once_it_is_allowed() {
    let model = Model::start();
    let world = read_only(&model).start();
    let task = asks(&world, "c", &format!("{ESCALATED}\nsay the end"));
    assert!(words(&task).contains("echo yes >> ran"), "{}", words(&task));
    let ran = workspace(&world, "c").join("ran");
    assert!(!ran.exists());
    let told = completed(&decide(&world, &task, "allow"));
    assert!(told.ends_with("the end"), "{told}");
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "yes\n");
}

#[test]
fn a_call_that_is_denied_does_not_run() {
    let model = Model::start();
    let world = read_only(&model).start();
    let task = asks(&world, "c", ESCALATED);
    let task = decide(&world, &task, "deny");
    assert_ne!(state(&task), "INPUT_REQUIRED", "{task:#}");
    assert!(!workspace(&world, "c").join("ran").exists());
}

#[test]
fn with_full_access_a_command_runs_and_nobody_is_asked() {
    let model = Model::start();
    let mode = json!({"agents": {"codex": {"mode": "agent-full-access"}}});
    let world = CODEX.with(&model).config(mode).start();
    let task = world.send(message_in("c", "bash: echo yes >> ran\nsay the end"));
    assert!(completed(&task).ends_with("the end"), "{task:#}");
    let ran = workspace(&world, "c").join("ran");
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "yes\n");
}
