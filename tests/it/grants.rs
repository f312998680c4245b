//! What persons allow beyond one call: within a pattern, for a session; and what was decided while no process was there.

use crate::building::Builder;
use crate::cli_asks::{pilothouse, url};
use crate::floods::scripted;
use crate::http::Reply;
use crate::reading::{answer, message_in, state, text_of};
use crate::world::{BOB, OWNER, World, await_true};
use serde_json::{Value, json};

/// Asks for each prompt whether it may be run as a command, and says how that was answered.
const RUNS_PROMPTS: &str = r#"#!/bin/sh
n=0
echo '{"type":"system","subtype":"init","session_id":"the-session"}'
while read -r line; do
    case $line in *'"type":"user"'*) ;; *) continue;; esac
    command=$(printf '%s' "$line" | sed 's/.*"content":"//; s/".*//')
    n=$((n + 1))
    printf '%s\n' '{"type":"control_request","request_id":"'$n'","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"'"$command"'"}}}'
    while read -r line; do
        case $line in
        *'"behavior":"allow"'*) said=allowed; break;;
        *'"behavior":"deny"'*) said=denied; break;;
        esac
    done
    echo '{"type":"result","subtype":"success","is_error":false,"result":"'$said'"}'
done
"#;

/// Asks for a command, and once it runs again for others: one that differs, and then the first one twice.
const DECIDES_ANEW: &str = r#"#!/bin/sh
echo '{"type":"system","subtype":"init","session_id":"the-session"}'
read -r prompt
ask() {
    echo '{"type":"control_request","request_id":"'"$1"'","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"'"$2"'"}}}'
    while read -r line; do
        case $line in
        *'"behavior":"allow"'*) said="$said $1:allowed"; break;;
        *'"behavior":"deny"'*) said="$said $1:denied"; break;;
        esac
    done
}
if [ -e "$HOME/begun" ]; then
    ask other 'rm -r build'
    ask same 'npm test'
    ask again 'npm test'
else
    : > "$HOME/begun"
    ask first 'npm test'
fi
echo '{"type":"result","subtype":"success","is_error":false,"result":"'"$said"'"}'
read more
"#;

fn runs_prompts() -> Builder {
    described(RUNS_PROMPTS)
}

/// The script is not asked what it offers.
fn described(script: &str) -> Builder {
    scripted("claude", script).config(json!({"agents": {"fake": {"skills_source": "files"}}}))
}

fn authorized(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

fn get(world: &World, token: &str, path: &str) -> Value {
    let (name, value) = authorized(token);
    let reply = world.get(path, &[(name, &value)]);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The one ask that is open.
fn open_ask(world: &World) -> Value {
    let mut asks = get(world, OWNER, "/api/v1/asks")["asks"].take();
    let asks = asks.as_array_mut().unwrap();
    assert_eq!(asks.len(), 1, "{asks:#?}");
    asks.remove(0)
}

fn decide(world: &World, ask: &Value, decision: Value) -> Reply {
    let (name, value) = authorized(OWNER);
    let path = format!("/api/v1/asks/{}", text_of(ask, "askId"));
    world.post(&path, &[(name, &value)], decision.to_string().as_bytes())
}

fn decided(world: &World, ask: &Value, decision: Value) {
    let reply = decide(world, ask, decision);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Has a command run in a context: how it was answered, or the ask that is open.
fn run(world: &World, context: &str, command: &str) -> Result<String, Value> {
    let task = world.send(message_in(context, command));
    match state(&task) {
        "COMPLETED" => Ok(answer(&task)),
        "INPUT_REQUIRED" => Err(open_ask(world)),
        _ => panic!("{task:#}"),
    }
}

fn allowed() -> Result<String, Value> {
    Ok("allowed".to_owned())
}

/// Answers an ask and waits for the end of its task.
fn settle(world: &World, ask: &Value, decision: Value) -> String {
    decided(world, ask, decision);
    answer(&world.await_state(text_of(ask, "taskId"), &["COMPLETED"]))
}

fn deny() -> Value {
    json!({"decision": "deny"})
}

#[test]
fn a_pattern_covers_the_commands_that_it_shows_and_no_more_often_than_it_says() {
    let world = runs_prompts().start();
    let ask = run(&world, "c", "npm test").unwrap_err();
    let shown =
        "Bash commands that begin with `npm test`, in this session, at most 20 times, for 1h";
    assert_eq!(ask["proposal"]["words"], shown, "{ask:#}");
    let pattern = json!({"words": ["npm", "test"], "uses": 2, "ttl": "1h"});
    assert_eq!(settle(&world, &ask, json!({"decision": "allow", "pattern": pattern})), "allowed");
    assert_eq!(run(&world, "c", "npm test --watch"), allowed());
    for other in ["npm testing", "npm test; rm x", "npm run test"] {
        let ask = run(&world, "c", other).unwrap_err();
        assert_eq!(ask["input"]["command"], other);
        assert_eq!(settle(&world, &ask, deny()), "denied");
    }
    let elsewhere = run(&world, "d", "npm test").unwrap_err();
    settle(&world, &elsewhere, deny());
    let grants = get(&world, OWNER, "/api/v1/grants");
    let grant = &grants["grants"][0];
    assert_eq!(
        (&grants["totalSize"], &grant["left"], &grant["shortId"]),
        (&json!(1), &json!(1), &ask["shortId"])
    );
    assert_eq!(run(&world, "c", "npm test"), allowed());
    assert_eq!(get(&world, OWNER, "/api/v1/grants")["totalSize"], 0);
    let again = run(&world, "c", "npm test").unwrap_err();
    settle(&world, &again, deny());
}

#[test]
fn a_grant_that_is_revoked_is_used_no_more_and_is_nobody_elses() {
    let world = runs_prompts().start();
    let ask = run(&world, "c", "git status").unwrap_err();
    assert_eq!(settle(&world, &ask, json!({"decision": "allow_pattern"})), "allowed");
    assert_eq!(run(&world, "c", "git status -s"), allowed());
    assert_eq!(get(&world, BOB, "/api/v1/grants")["totalSize"], 0);
    let url = url(world.address());
    let listed = pilothouse(&url, &["grants", "list"]).out;
    assert!(listed.contains("Bash commands that begin with `git status`"), "{listed}");
    let revoked = pilothouse(&url, &["grants", "revoke", text_of(&ask, "shortId")]);
    assert_eq!(revoked.code, Some(0), "{}", revoked.err);
    let ask = run(&world, "c", "git status").unwrap_err();
    settle(&world, &ask, deny());
}

#[test]
fn a_tool_that_is_allowed_for_the_session_stays_so_over_a_restart_and_nowhere_else() {
    let mut world = runs_prompts().start();
    let ask = run(&world, "c", "rm -r build").unwrap_err();
    assert_eq!(settle(&world, &ask, json!({"decision": "allow_session"})), "allowed");
    world.restart();
    assert_eq!(run(&world, "c", "anything; at all"), allowed());
    let ask = run(&world, "d", "rm -r build").unwrap_err();
    settle(&world, &ask, deny());
}

#[test]
fn a_rule_that_denies_counts_more_than_what_was_allowed_for_the_session() {
    let rules = json!([{"tool": "Bash(git push*)", "policy": "deny"}]);
    let world = runs_prompts().config(json!({"agents": {"fake": {"ask_rules": rules}}})).start();
    let ask = run(&world, "c", "git status").unwrap_err();
    settle(&world, &ask, json!({"decision": "allow_session"}));
    assert_eq!(run(&world, "c", "git push"), Ok("denied".to_owned()));
}

#[test]
fn a_pattern_that_does_not_cover_the_call_or_says_too_much_is_refused_and_the_ask_stays() {
    let world = runs_prompts().start();
    let ask = run(&world, "c", "npm test").unwrap_err();
    for (pattern, why) in [
        (json!({"words": ["npm", "run"]}), "does not cover"),
        (json!({"tool": "Write"}), "does not cover"),
        (json!({"words": []}), "allow_session"),
        (json!({}), "allow_session"),
        (json!({"words": ["npm"], "uses": 0}), "above 0"),
        (json!({"words": ["npm"], "uses": 1_000_000}), "asks.grant_uses"),
        (json!({"words": ["npm"], "ttl": "9999d"}), "asks.grant_ttl"),
        (json!({"word": "npm"}), "unknown field"),
    ] {
        let reply = decide(&world, &ask, json!({"decision": "allow", "pattern": pattern}));
        assert!(reply.status == 400 && reply.text().contains(why), "{}", reply.text());
    }
    let always = decide(&world, &ask, json!({"decision": "allow_always"}));
    assert_eq!(always.status, 400, "{}", always.text());
    assert_eq!(open_ask(&world)["askId"], ask["askId"]);
    settle(&world, &ask, deny());
}

#[test]
fn there_are_so_many_grants_and_a_further_one_says_how_to_make_room() {
    let world = runs_prompts().config(json!({"asks": {"grants": 1}})).start();
    let ask = run(&world, "c", "npm test").unwrap_err();
    settle(&world, &ask, json!({"decision": "allow_pattern"}));
    let ask = run(&world, "c", "git status").unwrap_err();
    let full = decide(&world, &ask, json!({"decision": "allow_pattern"}));
    assert!(full.status == 429 && full.text().contains("asks.grants"), "{}", full.text());
    assert_eq!(settle(&world, &ask, json!({"decision": "allow"})), "allowed");
}

#[test]
fn a_remembered_decision_runs_the_call_that_was_decided_once_and_no_other() {
    let world = described(DECIDES_ANEW).start();
    let id = world.begin("go");
    world.await_state(&id, &["INPUT_REQUIRED"]);
    let first = open_ask(&world);
    decided(&world, &first, json!({"decision": "defer"}));
    let (name, value) = authorized(OWNER);
    let is_gone = await_true(world.patience(), || {
        world.get("/ready", &[(name, &value)]).json()["processes"]["live"] == 0
    });
    assert!(is_gone, "the process still waits");
    decided(&world, &first, json!({"decision": "allow"}));
    for (command, decision) in [("rm -r build", "deny"), ("npm test", "deny")] {
        let task = world.await_task(&id, "another ask", |task| {
            let asks = get(&world, OWNER, "/api/v1/asks");
            state(task) == "INPUT_REQUIRED" && asks["asks"][0]["input"]["command"] == command
        });
        assert_eq!(state(&task), "INPUT_REQUIRED");
        decided(&world, &open_ask(&world), json!({"decision": decision}));
    }
    let task = world.await_state(&id, &["COMPLETED"]);
    assert_eq!(answer(&task).trim(), "other:denied same:allowed again:denied");
}
