//! What a message chooses for its turn (the extension `urn:pilothouse:wishes:v1`), within what callers may choose.

use crate::bindings::BINDINGS;
use crate::building::Builder;
use crate::cli_asks::{pilothouse, url};
use crate::reading::{answer, artifact, message, message_in, state, words};
use crate::repositories::{commit, git, repository};
use crate::world::{OWNER, World};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};
use std::fs;

const WISHES: &str = "urn:pilothouse:wishes:v1";

/// Speaks as Claude Code does, notes its arguments, and writes a file for each prompt.
const CLI: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> "$NOTES/argv"
notes=${CLAUDE_CONFIG_DIR:-$HOME/.claude}/projects/x
mkdir -p "$notes" && touch "$notes/11111111-1111-4111-8111-111111111111.jsonl"
say() { printf '%s\n' "$1"; }
while read -r line; do
    case $line in
    *'"control_request"'*)
        id=$(printf '%s' "$line" | sed -n 's/.*"request_id":"\([^"]*\)".*/\1/p')
        say '{"type":"control_response","response":{"subtype":"error","request_id":"'"$id"'","error":"unsupported"}}';;
    *'"type":"user"'*)
        date +%N > notes.md
        say '{"type":"system","subtype":"init","session_id":"11111111-1111-4111-8111-111111111111","model":"none"}'
        say '{"type":"result","subtype":"success","is_error":false,"result":"done"}';;
    esac
done
"#;

fn described() -> Builder {
    let builder = World::describe().file("cli.sh", 0o755, CLI);
    let marker = builder.marker().split_once('=').unwrap().1.to_owned();
    let folder = builder.cwd();
    builder.env("ANTHROPIC_API_KEY", "x").config(json!({
        "agent": "claude",
        // It does not know of MCP servers.
        "timeouts": {"mcp": "1ms"},
        "agents": {"fake": null, "claude": {
            "driver": "claude",
            "skills_source": "files",
            "program": folder.join("cli.sh"),
            "model": "haiku",
            "env": {"set": {"PILOTHOUSE_TEST_WORLD": marker, "NOTES": folder}},
            "caller_may": {"models": ["opus"], "efforts": ["high"], "permissions": ["plan"]},
        }},
    }))
}

/// Params of a send in this context with these wishes.
fn wishing(context: &str, wishes: &Value) -> Value {
    let mut params = message_in(context, "go on");
    params["message"]["metadata"] = json!({WISHES: wishes});
    params
}

/// The arguments of each process that was started.
fn argv(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.path("cwd").join("argv")).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn what_a_message_chooses_reaches_its_turn_alone_and_is_said_with_the_task() {
    let world = described().start();
    let wishes = json!({
        "model": "opus", "effort": "high", "permission": "plan", "results": ["*.md"], "budget": {"costUsd": 2.5},
    });
    let task = world.send(wishing("one", &wishes));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    assert_eq!(task["metadata"][WISHES], wishes);
    assert!(artifact(&task, "notes.md")["parts"][0]["filename"] == "notes.md", "{task:#}");
    let started = argv(&world);
    assert_eq!(started.len(), 1, "{started:?}");
    for option in ["--model opus", "--effort high", "--permission-mode plan"] {
        assert!(started[0].contains(option), "{option}: {started:?}");
    }
    // The same again goes on in the same process; without wishes it is as configured.
    world.send(wishing("one", &wishes));
    assert_eq!(argv(&world).len(), 1);
    let task = world.send(message_in("one", "go on"));
    assert!(task["metadata"].get(WISHES).is_none(), "{task:#}");
    let started = argv(&world);
    assert_eq!(started.len(), 2, "{started:?}");
    assert!(
        started[1].contains("--model haiku") && started[1].contains("acceptEdits"),
        "{started:?}"
    );
    assert!(started[1].contains("--resume") && !started[1].contains("--effort"), "{started:?}");
}

#[test]
fn a_wish_that_is_not_permitted_is_refused_by_its_name_and_nothing_begins() {
    let world = described().start();
    for (wishes, name, key) in [
        (json!({"model": "sonnet"}), "`model`", "caller_may.models"),
        (json!({"effort": "max"}), "`effort`", "caller_may.efforts"),
        (json!({"permission": "bypassPermissions"}), "`permission`", "caller_may.permissions"),
        (json!({"push": true}), "`push`", "caller_may.push"),
        (json!({"ref": "main"}), "`ref`", "no repository"),
        (json!({"repository": "shop"}), "`repository`", "no repository"),
        (json!({"temperature": 1}), "`temperature`", WISHES),
        (json!({"model": 1}), "string", WISHES),
        (json!({"budget": {"costUsd": 0}}), "budget.costUsd", "more than nothing"),
        (json!({"schema": {"pattern": "x"}}), "/pattern", WISHES),
    ] {
        for binding in BINDINGS {
            let told =
                world.through(binding).error(Operation::SendMessage, &wishing("one", &wishes));
            assert_eq!(told.kind, ErrorKind::InvalidParams, "{wishes} {told:?}");
            let all = format!("{told:?}");
            assert!(all.contains(name) && all.contains(key), "{wishes}: {all}");
        }
    }
    assert_eq!(argv(&world), Vec::<String>::new());
}

#[test]
fn the_card_says_what_may_be_chosen_and_an_answer_names_the_extension_where_it_is_asked_for() {
    let world = described().start();
    let card = world.get("/.well-known/agent-card.json", &[]).json();
    let extensions = card["capabilities"]["extensions"].as_array().unwrap();
    let ours = extensions.iter().find(|one| one["uri"] == WISHES).unwrap();
    assert_eq!(ours["params"]["callerMay"]["models"], json!(["opus"]), "{ours:#}");
    assert_eq!(ours["params"]["schema"]["properties"]["model"]["type"], "string");
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str()), ("a2a-extensions", WISHES)];
    let body = wishing("one", &json!({"model": "opus"})).to_string();
    let reply = world.post("/message:send", &headers, body.as_bytes());
    assert_eq!((reply.status, reply.header("a2a-extensions")), (200, Some(WISHES)));
}

#[test]
fn options_of_send_choose_and_the_choice_is_refused_by_its_name() {
    let world = described().start();
    let address = url(world.address());
    let said = pilothouse(&address, &["send", "--model", "opus", "--effort", "high", "hello"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(argv(&world)[0].contains("--model opus --effort high"), "{:?}", argv(&world));
    let said = pilothouse(&address, &["send", "--model", "sonnet", "hello"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("the wish `model` is refused: `sonnet`"), "{}", said.err);
}

#[test]
fn a_new_session_begins_at_the_ref_that_its_message_names_and_keeps_it() {
    let shell = json!({
        "program": "/bin/bash", "args": ["-c"], "format": "text", "caller_may": {"refs": ["next", "none*"]},
    });
    let described = World::describe().agent(shell);
    let shop = repository(&described, "shop");
    git(&shop, &["checkout", "-q", "-b", "next"]);
    commit(&shop, "README", "of the branch");
    git(&shop, &["checkout", "-q", "main"]);
    let config = json!({"workspace": {"mode": "repository", "repository": {"url": shop}}});
    let world = described.config(config).start();
    let at = |context: &str, reference: &str| {
        let mut params = wishing(context, &json!({"ref": reference, "repository": "shop"}));
        params["message"]["parts"] = message("cat README")["message"]["parts"].clone();
        params
    };
    assert_eq!(answer(&world.send(at("one", "next"))), "of the branch");
    assert_eq!(answer(&world.send(message_in("two", "cat README"))), "first");
    let error = world.error("SendMessage", at("one", "next")).to_string();
    assert!(error.contains("the wish `ref` is refused: a session keeps the ref"), "{error}");
    let error = world.error("SendMessage", at("three", "main")).to_string();
    assert!(error.contains("`main` is not permitted, callers may choose next, none*"), "{error}");
    let task = world.send(at("four", "none-such"));
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("has no branch, tag or commit `none-such`"), "{task:#}");
    let other = wishing("five", &json!({"repository": "https://example.com/other"}));
    let error = world.error("SendMessage", other).to_string();
    assert!(error.contains("the wish `repository` is refused"), "{error}");
}
