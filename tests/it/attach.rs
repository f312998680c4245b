//! A session lent to a person at a terminal: who gets it, what runs there, and what waits meanwhile.

use crate::building::Builder;
use crate::reading::{answer, at_once, message_in, state, text_of};
use crate::tokens::{revoke, token};
use crate::world::{BOB, OWNER, World, await_true};
use serde_json::json;
use std::process::{Child, Command, Output, Stdio};

/// Plays Claude Code: turns on standard input with `-p`, else a terminal that waits for a cue.
const CLI: &str = r#"#!/bin/sh
if [ "$1" = -p ]; then
  while read -r line; do
    echo '{"type":"system","subtype":"init","session_id":"11111111-2222-4333-8444-555555555555","model":"none","tools":[]}'
    echo '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"11111111-2222-4333-8444-555555555555"}'
  done
  exit
fi
echo "runs $*" > "$CUES/runs"
while [ ! -e "$CUES/leave" ]; do sleep 0.01; done
echo "$*"; pwd; echo "$HOME"; echo "$TERM"; grep -o '"approved":[^]]*' "$HOME/.claude/.claude.json"; echo "${SECRET_OF_THE_PERSON-none}"
exit 5
"#;

fn described() -> Builder {
    let described = World::describe().file("cli.sh", 0o755, CLI);
    let marker = described.marker().split_once('=').unwrap().1.to_owned();
    let (program, cues) = (described.cwd().join("cli.sh"), described.path("cues"));
    described
        .config(json!({
            "agent": "claude",
            // It does not know of MCP servers.
            "timeouts": {"mcp": "1ms"},
            "agents": {"fake": null, "claude": {
                "driver": "claude",
                "skills_source": "files",
                "program": program,
                "env": {"set": {"PILOTHOUSE_TEST_WORLD": marker, "CUES": cues}},
            }},
        }))
        .env("ANTHROPIC_API_KEY", "sk-ant-a-key-of-the-servers-owner")
}

/// A world with one session that has spoken.
fn world() -> World {
    let world = described().start();
    let task = world.send(message_in("talk", "hello"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "done"));
    world
}

/// Begins `pilothouse sessions attach`, and waits until the agent's terminal runs.
fn attach(world: &World) -> Child {
    let child = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(["sessions", "attach", "talk", "--token", OWNER, "--url"])
        .arg(format!("http://{}", world.address()))
        .current_dir(world.path("home"))
        .env_clear()
        .env("HOME", world.path("home"))
        .env("TERM", "xterm-test")
        .env("SECRET_OF_THE_PERSON", "hidden")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let runs = world.path("cues").join("runs");
    if !await_true(world.patience(), || runs.exists()) {
        panic!("it does not run: {:?}", ended(child));
    }
    child
}

/// What it said, once it is ended.
fn ended(mut child: Child) -> Output {
    child.kill().unwrap();
    child.wait_with_output().unwrap()
}

fn leave(world: &World, child: Child) -> Output {
    world.cue("leave");
    child.wait_with_output().unwrap()
}

/// The status that answers a request to attach, and why.
fn asked(world: &World, session: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let path = format!("/api/v1/sessions/{session}/attach");
    let reply = world.post(&path, headers, b"{}");
    let said = text_of(&reply.json()["error"], "message").to_owned();
    (reply.status, said)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn the_agents_own_terminal_resumes_the_conversation_in_its_workspace_and_home() {
    let world = world();
    let output = leave(&world, attach(&world));
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(lines[0].contains("--resume 11111111-2222-4333-8444-555555555555"), "{said}");
    let session = world.get("/api/v1/sessions/talk", &[("Authorization", &bearer(OWNER))]).json();
    let workspace = std::fs::canonicalize(text_of(&session, "workspace")).unwrap();
    assert_eq!(lines[1], workspace.to_str().unwrap());
    assert!(lines[2].ends_with(text_of(&session, "id")), "{said}");
    assert_eq!(lines[3..], ["xterm-test", r#""approved":["of-the-servers-owner""#, "none"]);
    // No set-up stands before the conversation; that the folder is trusted is for the person to say.
    let known = std::fs::read_to_string(format!("{}/.claude/.claude.json", lines[2])).unwrap();
    assert!(known.contains("hasCompletedOnboarding") && !known.contains("Trust"), "{known}");
    // Nothing of the key is left behind for the agent.
    assert!(await_true(world.patience(), || {
        let known = std::fs::read_to_string(format!("{}/.claude/.claude.json", lines[2]));
        !known.unwrap().contains("approved")
    }));
}

#[test]
fn what_is_sent_meanwhile_waits_and_runs_when_the_person_has_left() {
    let world = world();
    let child = attach(&world);
    let waiting = world.send(at_once(message_in("talk", "more")));
    assert_eq!(state(&waiting), "SUBMITTED");
    leave(&world, child);
    world.await_state(text_of(&waiting, "id"), &["COMPLETED"]);
}

#[test]
fn a_task_that_waits_behind_a_person_can_be_canceled() {
    let world = world();
    let child = attach(&world);
    let waiting = world.send(at_once(message_in("talk", "more")));
    let canceled = world.rpc("CancelTask", json!({"id": waiting["id"]}));
    assert_eq!(state(&canceled), "CANCELED");
    leave(&world, child);
}

#[test]
fn a_server_that_stops_takes_the_session_back_and_the_person_goes_on() {
    let mut world = world();
    let child = attach(&world);
    world.sigterm();
    world.ended();
    let output = leave(&world, child);
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the server went away"), "{said}");
}

#[test]
fn nobody_but_the_owner_attaches() {
    let world = world();
    assert_eq!(asked(&world, "talk", &[]).0, 401);
    let (status, said) = asked(&world, "talk", &[("Authorization", &bearer(BOB))]);
    assert_eq!(status, 403);
    assert!(said.contains("owner"), "{said}");
}

#[test]
fn nobody_attaches_through_a_proxy() {
    let world = world();
    let owner = bearer(OWNER);
    let headers = [("Authorization", owner.as_str()), ("X-Forwarded-For", "127.0.0.1")];
    assert_eq!(asked(&world, "talk", &headers).0, 403);
}

#[test]
fn a_session_that_is_not_there_is_not_attached_to() {
    let world = world();
    assert_eq!(asked(&world, "other", &[("Authorization", &bearer(OWNER))]).0, 404);
}

#[test]
fn an_agent_without_a_terminal_says_so() {
    let world = World::start();
    world.send(message_in("talk", "say hello"));
    let (status, said) = asked(&world, "talk", &[("Authorization", &bearer(OWNER))]);
    assert_eq!((status, said.is_empty()), (409, false));
}

#[test]
fn attaching_stands_in_the_audit_log() {
    let world = world();
    leave(&world, attach(&world));
    let log = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert!(
        log.lines().any(|line| line.contains("AttachSession") && line.contains("\"ok\"")),
        "{log}"
    );
}

#[test]
fn an_agent_without_a_terminal_says_so_and_how_to_go_on() {
    let world = World::start();
    world.send(message_in("talk", "say hello"));
    let (status, said) = asked(&world, "talk", &[("Authorization", &bearer(OWNER))]);
    assert_eq!(status, 409, "{said}");
    assert!(
        said.contains("no terminal of its own; go on with `pilothouse send -c CONTEXT`"),
        "{said}"
    );
}

#[test]
fn a_session_is_lent_until_the_token_ends_that_it_was_lent_to() {
    let world = world();
    let (id, secret) = token(&world, &json!({"caller": "owner", "scopes": ["admin"]}));
    let headers = [("Authorization", bearer(&secret)), ("Content-Type", "application/json".into())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut lent = world.ask("POST", "/api/v1/sessions/talk/attach", &headers, b"{}");
    assert_eq!(lent.status, 200);
    let waiting = world.send(at_once(message_in("talk", "more")));
    assert_eq!(state(&waiting), "SUBMITTED");
    assert_eq!(revoke(&world, &id).status, 200);
    assert!(std::io::copy(&mut lent.body, &mut std::io::sink()).is_err());
    world.await_state(text_of(&waiting, "id"), &["COMPLETED"]);
}
