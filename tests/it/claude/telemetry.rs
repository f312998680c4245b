//! What the real CLI says of itself, at the operator's collector.

use super::claude;
use super::walls::behind;
use crate::building::Builder;
use crate::collector::{Collector, Manner, find, named};
use crate::reading::{message, state};
use crate::trace::send_in;
use crate::world::{OWNER, World};
use fake_model::Model;
use serde_json::json;

const TRACES: [&str; 2] = ["4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4737"];

/// A world that sends what Claude Code says of itself to this collector.
fn telling(model: &Model, collector: &Collector, what: &str) -> Builder {
    let bash = json!({"agents": {"claude": {"args": ["--allowedTools", "Bash"]}}});
    behind(model, "bubblewrap")
        .config(bash)
        .config(json!({"telemetry": {"claude": what}}))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One turn, under a trace of its caller's.
fn turn(world: &World, trace: &str, text: &str) -> String {
    let task = send_in(world, trace, message(text));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    task["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_claude_code_says_of_itself_comes_with_task_and_context_and_without_account_and_words() {
    let (model, collector) = (Model::start(), Collector::start(Manner::Takes));
    let mut world = telling(&model, &collector, "native").start();
    let task = turn(&world, TRACES[0], "bash: echo marker-of-input");
    let native = ["claude_code.interaction", "claude_code.llm_request", "claude_code.tool"];
    // What it has not sent yet it sends at its end.
    world.stop();
    let spans = collector.await_spans(&native);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACES[0]), "{spans:#?}");
    let (request, interaction) = (named(&spans, "SendMessage"), named(&spans, native[0]));
    assert_eq!(interaction.parent_span_id, request.span_id);
    assert_eq!(find(&interaction.attributes, "a2a.task.id").as_deref(), Some(&*task));
    // Its own spans stand in the place of the derived ones.
    assert!(!spans.iter().any(|span| span.name.starts_with("execute_tool")), "{spans:#?}");
    let event = collector.await_event("claude_code.api_request");
    assert_eq!(find(&event.attributes, "a2a.task.id").as_deref(), Some(&*task));
    let (resource, _) = collector.await_metric("claude_code.token.usage");
    assert_eq!(find(&resource, "gen_ai.agent.name").as_deref(), Some("claude"));
    assert!(find(&resource, "service.instance.id").is_some(), "{resource:?}");
    let sent = collector.text();
    for word in ["marker-of", "sk-ant", "user.id", "user.email", "organization", OWNER] {
        assert!(!sent.contains(word), "{word} in {sent}");
    }
}

#[test]
fn a_warm_process_tells_each_turn_under_the_trace_of_its_own_caller() {
    let (model, collector) = (Model::start(), Collector::start(Manner::Takes));
    let mut world = telling(&model, &collector, "both").start();
    let first = send_in(&world, TRACES[0], message("say one"));
    let mut again = message("say two");
    again["message"]["contextId"] = first["contextId"].clone();
    let second = send_in(&world, TRACES[1], again);
    assert_eq!(state(&second), "COMPLETED");
    world.stop();
    let spans = collector.await_spans(&["claude_code.interaction", "invoke_agent claude"]);
    let mut traces: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "claude_code.interaction")
        .map(|span| hex(&span.trace_id))
        .collect();
    traces.sort();
    assert_eq!(traces, TRACES);
}

#[test]
fn a_tool_a_wait_for_a_person_and_a_restart_are_one_trace_at_the_collector() {
    let (model, collector) = (Model::start(), Collector::start(Manner::Takes));
    let mut world = claude(&model)
        .config(json!({"agents": {"claude": {"asks": "ask"}}}))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .start();
    // No permission mode but the widest allows it by itself.
    let script = "bash: curl -s http://127.0.0.1:9/ || echo one\nsay the end";
    let asked = send_in(&world, TRACES[0], message(script));
    assert_eq!(state(&asked), "INPUT_REQUIRED", "{asked:#}");
    world.restart();
    let mut answer = message("allow");
    answer["message"]["taskId"] = asked["id"].clone();
    let done = send_in(&world, TRACES[0], answer);
    assert_eq!(state(&done), "COMPLETED", "{done:#}");
    world.stop();
    let names = ["SendMessage", "execute_tool Bash", "ask permission", "start_process"];
    let spans = collector.await_spans(&names);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACES[0]), "{spans:#?}");
    assert!(spans.iter().any(|span| span.name.starts_with("chat ")), "{spans:#?}");
    let mut segments: Vec<_> =
        spans.iter().filter(|span| span.name == "invoke_agent claude").collect();
    segments.sort_by_key(|span| span.start_time_unix_nano);
    let [first, second] = segments[..] else { panic!("{spans:#?}") };
    assert_eq!(second.links[0].span_id, first.span_id);
    let ask = named(&spans, "ask permission");
    assert_eq!(ask.parent_span_id, first.span_id);
    assert_eq!(find(&ask.attributes, "pilothouse.ask.outcome").as_deref(), Some("allow"));
}
