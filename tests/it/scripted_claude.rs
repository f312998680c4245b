//! A program that speaks as Claude Code does and plays what a test wrote: lines that the real one writes seldom.

mod broken;
mod endings;
mod files;
mod long;

use crate::building::Builder;
use crate::http::Event;
use crate::reading::message;
use crate::world::World;
use serde_json::{Value, json};

/// Plays a piece of shell for each prompt, in the folder of the world's plays.
const CLI: &str = r#"#!/bin/sh
say() { printf '%s\n' "$1"; }
while read -r line; do
    case $line in *'"control_request"'*)
        id=$(printf '%s' "$line" | sed -n 's/.*"request_id":"\([^"]*\)".*/\1/p')
        say '{"type":"control_response","response":{"subtype":"error","request_id":"'"$id"'","error":"unsupported"}}'
        continue;;
    esac
    name=$(printf '%s' "$line" | sed -n 's/.*"play \([a-z0-9-]*\)".*/\1/p')
    [ -n "$name" ] || continue
    say '{"type":"system","subtype":"init","session_id":"11111111-1111-4111-8111-111111111111","model":"none"}'
    . "$PLAYS/play-$name.sh"
done
"#;

/// A world whose agent plays these pieces of shell; `play NAME` as a prompt plays one.
fn described(plays: &[(&str, &str)]) -> Builder {
    let mut builder = World::describe().file("cli.sh", 0o755, CLI);
    for (name, play) in plays {
        builder = builder.file(&format!("play-{name}.sh"), 0o644, play);
    }
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
            "env": {"set": {"PILOTHOUSE_TEST_WORLD": marker, "PLAYS": folder}},
        }},
    }))
}

/// A piece of shell that writes these lines.
fn writes(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("cat <<'END'\n{line}\nEND\n")).collect()
}

/// The line that ends a turn well, with these fields.
fn result(fields: Value) -> Value {
    let mut line = json!({"type": "result", "subtype": "success", "is_error": false, "result": ""});
    line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    line
}

/// What the model says in one piece.
fn delta(text: &str) -> Value {
    let delta = json!({"type": "text_delta", "text": text});
    json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": delta}})
}

/// Plays a piece: its events, and the task at its end.
fn play(world: &World, name: &str) -> (Vec<Event>, Value) {
    let events = world.stream("SendStreamingMessage", message(&format!("play {name}"))).rest();
    let task = world.task(events[0].task_id());
    (events, task)
}

/// The data of the first status of this kind.
fn data<'a>(events: &'a [Event], kind: &str) -> &'a Value {
    let found = events.iter().filter_map(Event::data).find(|data| data["kind"] == kind);
    found.unwrap_or_else(|| panic!("no status of the kind `{kind}` in {events:?}"))
}
