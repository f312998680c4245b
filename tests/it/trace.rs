//! Where the time of a task went: its spans, read from the store.

use crate::asks::ASKS_ONCE;
use crate::floods::scripted;
use crate::reading::{message, message_to, state, text_of};
use crate::world::{BOB, OWNER, World, await_true};
use serde_json::{Value, json};

/// A trace of a caller of ours, and the span in it that calls.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn trace_of(world: &World, task: &Value) -> Value {
    let path = format!("/api/v1/tasks/{}/trace", text_of(task, "id"));
    let bearer = format!("Bearer {OWNER}");
    world.ask("GET", &path, &[("Authorization", &bearer)], b"").whole().json()
}

fn span<'a>(trace: &'a Value, name: &str) -> &'a Value {
    let spans = trace["spans"].as_array().unwrap().iter();
    let mut found = spans.filter(|span| span["name"] == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name} in {trace:#}"));
    assert!(found.next().is_none(), "several spans {name} in {trace:#}");
    span
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    &span["attributes"][name]
}

/// Sends a message in the caller's trace.
pub(crate) fn send_in(world: &World, trace: &str, params: Value) -> Value {
    let parent = format!("00-{trace}-{SPAN}-01");
    let headers = [("Authorization", &*format!("Bearer {OWNER}")), ("traceparent", &*parent)];
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
    let reply = world.post("/", &headers, call.to_string().as_bytes()).json();
    reply["result"]["task"].clone()
}

#[test]
fn a_task_has_its_request_its_turn_and_its_tools_as_spans_in_the_callers_trace() {
    let world = World::start();
    let script =
        "tool Bash {\"command\":\"secret-of-the-prompt\"}; result fine; usage 12 5 0.25; say done";
    let task = send_in(&world, TRACE, message(script));
    assert_eq!(state(&task), "COMPLETED");
    let trace = trace_of(&world, &task);
    assert_eq!(trace["traceId"], TRACE);
    assert!(trace["spans"].as_array().unwrap().iter().all(|span| span["traceId"] == TRACE));
    let request = span(&trace, "SendMessage");
    assert_eq!((&request["parentSpanId"], &request["kind"]), (&json!(SPAN), &json!("server")));
    let turn = span(&trace, "invoke_agent fake");
    assert_eq!(turn["parentSpanId"], request["spanId"]);
    let said = [
        ("gen_ai.operation.name", json!("invoke_agent")),
        ("gen_ai.conversation.id", task["contextId"].clone()),
        ("session.id", task["contextId"].clone()),
        ("a2a.task.id", task["id"].clone()),
        ("a2a.task.state", json!("TASK_STATE_COMPLETED")),
        ("gen_ai.usage.input_tokens", json!(12)),
        ("gen_ai.usage.output_tokens", json!(5)),
        ("gen_ai.usage.cost", json!(0.25)),
        ("pilothouse.turn.disposition", json!("ended")),
    ];
    for (name, value) in said {
        assert_eq!(*attribute(turn, name), value, "{name}");
    }
    for name in ["execute_tool Bash", "start_process"] {
        let part = span(&trace, name);
        assert_eq!(part["parentSpanId"], turn["spanId"], "{name}");
        let (began, ended) = (text_of(part, "start"), text_of(part, "end"));
        assert!(text_of(turn, "start") <= began && began <= ended, "{part}");
        assert!(ended <= text_of(turn, "end"), "{part}");
    }
    assert!(!trace.to_string().contains("secret-of-the-prompt"), "{trace:#}");
    let bearer = format!("Bearer {BOB}");
    let path = format!("/api/v1/tasks/{}/trace", text_of(&task, "id"));
    assert_eq!(world.ask("GET", &path, &[("Authorization", &bearer)], b"").whole().status, 404);
}

#[test]
fn a_failed_turn_and_a_failed_tool_say_so_and_a_further_message_has_a_request_of_its_own() {
    let world = World::start();
    let asking = world.say("tool Bash; line {\"type\":\"toolResult\",\"id\":\"tool-1\",\"text\":\"no\",\"isError\":true}; ask Which? | a | b");
    assert_eq!(state(&asking), "INPUT_REQUIRED");
    let other = "5cf92f3577b34da6a3ce929d0e0e4736";
    let params = message_to(text_of(&asking, "id"), "exit 3");
    let task = send_in(&world, other, params);
    assert_eq!(state(&task), "FAILED", "{task:#}");
    let trace = trace_of(&world, &task);
    let spans: Vec<&Value> = trace["spans"].as_array().unwrap().iter().collect();
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    let (requests, turns) = (named("SendMessage"), named("invoke_agent fake"));
    assert_eq!((requests.len(), turns.len()), (2, 2), "{trace:#}");
    // Without a trace of the caller's the task's own id is one.
    assert_eq!(trace["traceId"], text_of(&task, "id").replace('-', ""));
    assert_eq!((&requests[1]["traceId"], &turns[1]["traceId"]), (&json!(other), &json!(other)));
    assert_eq!(turns[1]["parentSpanId"], requests[1]["spanId"]);
    assert_eq!(turns[1]["error"], "AGENT_FAILED");
    let ask = span(&trace, "ask question");
    assert_eq!(ask["parentSpanId"], turns[0]["spanId"]);
    assert_eq!(attribute(ask, "pilothouse.ask.by"), "owner");
    assert!(ask["end"].is_string(), "{trace:#}");
}

#[test]
fn a_conversation_that_goes_on_after_its_process_left_is_a_segment_linked_to_the_one_before() {
    let files = json!({"agents": {"fake": {"skills_source": "files"}}});
    let world = scripted("claude", ASKS_ONCE).config(files).start();
    let id = world.begin("go");
    let task = world.await_state(&id, &["INPUT_REQUIRED"]);
    let ask = text_of(&task["status"]["message"]["parts"][1]["data"], "askId").to_owned();
    let bearer = format!("Bearer {OWNER}");
    let headers = [("Authorization", &*bearer)];
    let answer = |body: &str| {
        let reply = world.post(&format!("/api/v1/asks/{ask}"), &headers, body.as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    answer(r#"{"decision": "defer", "for": "2h"}"#);
    let is_parked = await_true(world.patience(), || {
        world.get("/ready", &headers).json()["processes"]["live"] == 0
    });
    assert!(is_parked, "the process still waits for the answer");
    answer(r#"{"decision": "allow"}"#);
    let task = world.await_state(&id, &["COMPLETED"]);
    let trace = trace_of(&world, &task);
    let spans = trace["spans"].as_array().unwrap().iter();
    let turns: Vec<&Value> =
        spans.filter(|span| text_of(span, "name").starts_with("invoke_agent ")).collect();
    let [first, second] = turns[..] else { panic!("{trace:#}") };
    let how = "pilothouse.turn.disposition";
    assert_eq!(
        (attribute(first, how), attribute(second, how)),
        (&json!("parked"), &json!("ended"))
    );
    assert_eq!(second["links"][0]["spanId"], first["spanId"]);
    let ask = span(&trace, "ask permission");
    assert_eq!(ask["parentSpanId"], first["spanId"]);
    let said = ["pilothouse.ask.tool", "pilothouse.ask.outcome", "pilothouse.ask.by"];
    assert_eq!(said.map(|name| attribute(ask, name)), ["Bash", "allow", "owner"]);
    assert!(text_of(ask, "end") > text_of(first, "end"), "{trace:#}");
}

/// Calls a tool between two calls of the model, and tells what each has used.
const CALLS_TWICE: &str = r#"#!/bin/sh
read prompt
echo '{"type":"system","subtype":"init","session_id":"the-session","model":"the-model"}'
echo '{"type":"stream_event","event":{"type":"message_start","message":{"id":"m1","usage":{"input_tokens":10,"output_tokens":1,"cache_read_input_tokens":5}}}}'
echo '{"type":"assistant","message":{"id":"m1","content":[{"type":"tool_use","id":"t1","name":"Read","input":{}}]},"parent_tool_use_id":null}'
echo '{"type":"stream_event","event":{"type":"message_delta","usage":{"output_tokens":7}}}'
echo '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":"ok"}]},"parent_tool_use_id":null}'
echo '{"type":"stream_event","event":{"type":"message_start","message":{"id":"m2","usage":{"input_tokens":20,"output_tokens":2}}}}'
echo '{"type":"result","subtype":"success","is_error":false,"result":"done","total_cost_usd":0.5,"usage":{"input_tokens":30,"output_tokens":9}}'
read more
"#;

#[test]
fn each_call_of_the_model_that_claude_code_tells_of_is_a_span_with_its_tokens() {
    let files = json!({"timeouts": {"mcp": "1ms"}, "agents": {"fake": {"skills_source": "files"}}});
    let world = scripted("claude", CALLS_TWICE).config(files).start();
    let task = world.say("go");
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    let trace = trace_of(&world, &task);
    let spans = trace["spans"].as_array().unwrap().iter();
    let calls: Vec<&Value> = spans.filter(|span| span["name"] == "chat the-model").collect();
    let tokens = |kind: &str| {
        let name = format!("gen_ai.usage.{kind}");
        calls.iter().map(|call| attribute(call, &name).clone()).collect::<Vec<_>>()
    };
    // What came from a cache is input too.
    assert_eq!(tokens("input_tokens"), [json!(15), json!(20)], "{trace:#}");
    assert_eq!(tokens("output_tokens"), [json!(7), json!(2)], "{trace:#}");
    assert_eq!(attribute(calls[0], "gen_ai.provider.name"), "anthropic");
    assert_eq!(calls[0]["kind"], "client");
    let tool = span(&trace, "execute_tool Read");
    assert!(text_of(calls[1], "start") >= text_of(tool, "start"), "{trace:#}");
}
