//! Agents that ask without end, and read no answer: they have to wait, and the server stays small.

use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{message_in, state, text_of, words};
use crate::world::{OWNER, PATIENCE, World};
use serde_json::{Value, json};

/// What the server may take in memory at most, whatever its agents do.
const MOST_KIB: u64 = 100 * 1024;

/// A session of Claude Code that opens and then asks for permissions without end.
pub(crate) const CLAUDE: &str = r#"#!/bin/sh
read prompt
echo '{"type":"system","subtype":"init","session_id":"the-session"}'
exec seq -f '{"type":"control_request","request_id":"%.0f","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"ls"}}}' 1 1000000000
"#;

/// The beginning of an agent of the Agent Client Protocol, up to its first prompt.
pub(crate) const ACP: &str = r#"#!/bin/sh
read initialize
echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}'
read session
echo '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"the-session"}}'
read prompt
"#;

pub(crate) const ACP_ASKS: &str = r#"exec seq -f '{"jsonrpc":"2.0","id":"%.0f","method":"session/request_permission","params":{"sessionId":"the-session","toolCall":{"toolCallId":"call","title":"ls","kind":"execute"},"options":[{"optionId":"yes","name":"yes","kind":"allow_once"}]}}' 1 1000000000
"#;

const ACP_FORMS: &str = r#"exec seq -f '{"jsonrpc":"2.0","id":"%.0f","method":"elicitation/create","params":{"mode":"form","message":"Which?","requestedSchema":{"type":"object","properties":{"a":{"type":"string"}}}}}' 1 1000000000
"#;

const ACP_REQUESTS: &str = r#"exec seq -f '{"jsonrpc":"2.0","id":"%.0f","method":"fs/read_text_file","params":{}}' 1 1000000000
"#;

pub(crate) const ACP_TOOLS: &str = r#"exec seq -f '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"the-session","update":{"sessionUpdate":"tool_call","toolCallId":"%.0f","status":"pending","title":"ls","kind":"other"}}}' 1 1000000000
"#;

/// A world whose agent is this script, spoken with as this driver does.
pub(crate) fn scripted(driver: &str, script: &str) -> Builder {
    // It does not know of MCP servers.
    let builder = World::describe().config(json!({"timeouts": {"mcp": "1ms"}}));
    let program = builder.cwd().join("agent");
    builder
        .file("agent", 0o755, script)
        .agent(json!({"driver": driver, "program": program, "args": null, "format": null}))
}

/// The most that the server has taken so far, in KiB.
fn most_memory(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

pub(crate) fn stays_small(world: &World) {
    let most = most_memory(world);
    assert!(most < MOST_KIB, "the server has taken {most} KiB");
}

fn asks(world: &World, query: &str) -> Value {
    let token = format!("Bearer {OWNER}");
    let reply = world.get(&format!("/api/v1/asks{query}"), &[("Authorization", &token)]);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// As many asks are open as one turn may have, and no more; an answer makes room for the next.
fn waits_for_answers(world: &World) {
    let id = world.begin("go");
    world.await_state(&id, &["INPUT_REQUIRED"]);
    await_some("the asks of one turn", PATIENCE, || {
        (asks(world, "")["totalSize"].as_u64()? >= 5).then_some(())
    });
    let page = asks(world, "");
    assert_eq!(page["totalSize"], 5);
    let last = text_of(&page["asks"][4], "askId").to_owned();
    let first = text_of(&page["asks"][0], "askId");
    let token = format!("Bearer {OWNER}");
    let answer = json!({"decision": "deny", "answer": "none"}).to_string();
    let path = format!("/api/v1/asks/{first}");
    let reply = world.post(&path, &[("Authorization", &token)], answer.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    await_some("the next ask", PATIENCE, || {
        let page = asks(world, "");
        let next =
            page["asks"].as_array().unwrap().last().map(|ask| text_of(ask, "askId") > &*last);
        (page["totalSize"] == 5 && next == Some(true)).then_some(())
    });
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!(asks(world, "")["totalSize"], 0);
    stays_small(world);
    world.await_no_agents();
}

fn few() -> Value {
    json!({"asks": {"per_turn": 5}, "timeouts": {"interrupt": "200ms"}})
}

#[test]
fn permission_requests_of_claude_without_end_wait_for_answers() {
    waits_for_answers(&scripted("claude", CLAUDE).config(few()).start());
}

#[test]
fn permission_requests_of_the_agent_client_protocol_without_end_wait_for_answers() {
    waits_for_answers(&scripted("acp", &format!("{ACP}{ACP_ASKS}")).config(few()).start());
}

#[test]
fn forms_of_the_agent_client_protocol_without_end_wait_for_answers() {
    waits_for_answers(&scripted("acp", &format!("{ACP}{ACP_FORMS}")).config(few()).start());
}

/// A turn whose agent reads none of the answers to its requests ends by its deadline.
fn waits_for_its_reader(builder: Builder) {
    let times = json!({"timeouts": {"turn": "1s", "interrupt": "200ms"}});
    let world = builder.config(times).start();
    let task = world.say("go");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("timeouts.turn"), "{}", words(&task));
    stays_small(&world);
    world.await_no_agents();
}

#[test]
fn answers_by_policy_that_claude_does_not_read_are_bounded() {
    waits_for_its_reader(scripted("claude", CLAUDE).agent(json!({"asks": "deny"})));
}

#[test]
fn answers_by_policy_that_an_agent_of_the_protocol_does_not_read_are_bounded() {
    let script = format!("{ACP}{ACP_ASKS}");
    waits_for_its_reader(scripted("acp", &script).agent(json!({"asks": "allow"})));
}

#[test]
fn refusals_of_requests_that_are_not_served_are_bounded() {
    waits_for_its_reader(scripted("acp", &format!("{ACP}{ACP_REQUESTS}")));
}

#[test]
fn tool_calls_without_end_are_not_all_remembered() {
    waits_for_its_reader(scripted("acp", &format!("{ACP}{ACP_TOOLS}")));
}

#[test]
fn a_session_whose_questions_are_too_large_together_fails_and_says_who_can_do_what() {
    let script = "#!/bin/sh\nprintf '{\"type\":\"ask\",\"text\":\"'\nhead -c 1000000 /dev/zero | tr '\\0' x\necho '\"}'\n";
    let described = scripted("command", script).agent(json!({"format": "events"}));
    // A further message is a further task, not an answer.
    let world = described.config(json!({"asks": {"by_context": false}})).start();
    let states: Vec<String> =
        (0..7).map(|_| state(&world.send(message_in("one", "go"))).to_owned()).collect();
    assert_eq!(states[..6], ["INPUT_REQUIRED"; 6]);
    assert_eq!(states[6], "FAILED");
    let task = world.send(message_in("one", "go"));
    assert!(words(&task).contains("`asks.bytes`"), "{}", words(&task));
    // Another conversation has room of its own.
    assert_eq!(state(&world.send(message_in("two", "go"))), "INPUT_REQUIRED");
    stays_small(&world);
}

#[test]
fn what_an_agent_says_beside_a_question_is_bounded() {
    // One question, then words without end.
    let script = CLAUDE.replace("exec seq", "seq").replace("1 1000000000", "1 1")
        + "exec yes '{\"type\":\"assistant\",\"message\":{\"id\":\"m\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\"}]}}'\n";
    let times = json!({"timeouts": {"interrupt": "200ms"}});
    let world = scripted("claude", &script).config(times).start();
    let id = world.begin("go");
    world.await_state(&id, &["INPUT_REQUIRED"]);
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    stays_small(&world);
    world.await_no_agents();
}

#[test]
fn open_asks_are_listed_in_pages() {
    let world = World::start();
    let tasks: Vec<Value> = (0..3).map(|_| world.say("ask Which colour? | red")).collect();
    let first = asks(&world, "?pageSize=2");
    assert_eq!((&first["pageSize"], &first["totalSize"]), (&json!(2), &json!(3)));
    let second =
        asks(&world, &format!("?pageSize=2&pageToken={}", text_of(&first, "nextPageToken")));
    assert_eq!(second["nextPageToken"], "");
    let listed = [&first, &second].map(|page| page["asks"].as_array().unwrap().clone()).concat();
    let ids =
        |all: &[Value], name: &str| all.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&listed, "taskId"), ids(&tasks, "id"));
    for wrong in ["?pageSize=0", "?pageSize=101", "?pageSize=x", "?pageToken=x"] {
        let token = format!("Bearer {OWNER}");
        let reply = world.get(&format!("/api/v1/asks{wrong}"), &[("Authorization", &token)]);
        assert_eq!(reply.status, 400, "{wrong}: {}", reply.text());
    }
}
