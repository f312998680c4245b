//! Spans at the operator's collector: what leaves, when, and what never does.

use crate::building::Builder;
use crate::collector::{Collector, Manner, find, named};
use crate::processes::await_some;
use crate::reading::{message, state, text_of};
use crate::trace::send_in;
use crate::world::{OWNER, PATIENCE, World};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use serde_json::json;
use std::time::{Duration, Instant};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// A secret of the environment of the server, and one that it gives to the collector.
const KEY: &str = "sk-secret-of-the-server";
const PASSWORD: &str = "password-at-the-collector";
const SCRIPT: &str = "tool Bash {\"command\":\"marker-of-input\"}; result marker-of-result sk-secret-of-the-server; usage 12 5 0.25; say marker-of-answer";

/// A world that sends spans to this collector.
fn exporting(collector: &Collector) -> Builder {
    World::describe()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{PASSWORD}"))
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "2000")
        .env("OTEL_SERVICE_NAME", "the-service")
        .env("ANTHROPIC_API_KEY", KEY)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A counter of the metrics.
fn counted(world: &World, name: &str) -> u64 {
    let reply = world.get("/metrics", &[("Authorization", &format!("Bearer {OWNER}"))]);
    let text = reply.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[test]
fn the_spans_of_a_turn_are_at_the_collector_soon_after_its_end_and_hold_no_word_of_it() {
    let collector = Collector::start(Manner::Takes);
    let world = exporting(&collector).start();
    let task = send_in(&world, TRACE, message(SCRIPT));
    let ended = Instant::now();
    assert_eq!(state(&task), "COMPLETED");
    let names = ["SendMessage", "invoke_agent fake", "execute_tool Bash", "start_process"];
    let spans = collector.await_spans(&names);
    assert!(ended.elapsed() < Duration::from_secs(3), "{:?}", ended.elapsed());
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    let (request, turn) = (named(&spans, "SendMessage"), named(&spans, "invoke_agent fake"));
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(turn.parent_span_id, request.span_id);
    assert_eq!(named(&spans, "execute_tool Bash").parent_span_id, turn.span_id);
    let attribute = |name| find(&turn.attributes, name);
    assert_eq!(attribute("gen_ai.usage.input_tokens").as_deref(), Some("12"));
    assert_eq!(attribute("gen_ai.conversation.id").as_deref(), task["contextId"].as_str());
    assert_eq!(find(&request.attributes, "a2a.task.id").as_deref(), task["id"].as_str());
    assert_eq!(collector.service("service.name").as_deref(), Some("the-service"));
    let head = &collector.heads()[0];
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    assert!(head.contains(&format!("Bearer {PASSWORD}")), "{head}");
    let sent = collector.text();
    for word in ["marker-of", "sk-secret", PASSWORD, OWNER, "127.0.0.1"] {
        assert!(!sent.contains(word), "{word} in {sent}");
    }
    await_some("the count of the spans", PATIENCE, || {
        (counted(&world, "pilothouse_spans_sent_total") >= 4).then_some(())
    });
    // No agent gets what is the server's.
    let seen = world.say("env OTEL_EXPORTER_OTLP_ENDPOINT; env OTEL_EXPORTER_OTLP_HEADERS");
    assert_eq!(crate::reading::answer(&seen), "unsetunset");
}

#[test]
fn the_metrics_go_to_the_collector_too_and_once_more_at_the_end() {
    let collector = Collector::start(Manner::Takes);
    let mut world = exporting(&collector).start();
    assert_eq!(state(&world.say(SCRIPT)), "COMPLETED");
    world.stop();
    let (resource, turns) = collector.await_metric("pilothouse_turns");
    assert_eq!(find(&resource, "service.name").as_deref(), Some("the-service"));
    let Some(Data::Sum(sum)) = turns.data else { panic!("{turns:?}") };
    assert!(sum.is_monotonic && sum.data_points.len() == 1, "{sum:?}");
    let attributes = &sum.data_points[0].attributes;
    assert_eq!(find(attributes, "outcome").as_deref(), Some("completed"));
    let (_, duration) = collector.await_metric("gen_ai.client.operation.duration");
    assert!(matches!(duration.data, Some(Data::Histogram(_))), "{duration:?}");
}

#[test]
fn spans_and_metrics_go_by_grpc_where_the_operator_says_so() {
    let collector = Collector::start_grpc();
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let mut world = exporting(&collector).env(protocol.0, protocol.1).start();
    assert_eq!(state(&world.say(SCRIPT)), "COMPLETED");
    collector.await_spans(&["SendMessage", "invoke_agent fake"]);
    await_some("what was sent", PATIENCE, || {
        (counted(&world, "pilothouse_spans_sent_total") > 0).then_some(())
    });
    assert_eq!(counted(&world, "pilothouse_spans_dropped_total"), 0);
    world.stop();
    collector.await_metric("pilothouse_turns");
    let head = &collector.heads()[0];
    let path = "POST /opentelemetry.proto.collector.trace.v1.TraceService/Export\r\n";
    assert!(head.starts_with(path) && head.contains("application/grpc"), "{head}");
    assert!(head.contains(&format!("Bearer {PASSWORD}")), "{head}");
}

#[test]
fn what_was_said_is_sent_where_the_operator_asks_for_it_and_known_secrets_are_masked() {
    let collector = Collector::start(Manner::Takes);
    let content = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
    let config = json!({"telemetry": {"content": 300}});
    let world = exporting(&collector).env(content, "span_only").config(config).start();
    world.say(&format!("{SCRIPT}; say {}", "x".repeat(400)));
    let spans = collector.await_spans(&["invoke_agent fake", "execute_tool Bash"]);
    let tool = &named(&spans, "execute_tool Bash").attributes;
    assert!(find(tool, "gen_ai.tool.call.arguments").unwrap().contains("marker-of-input"));
    assert_eq!(find(tool, "gen_ai.tool.call.result").unwrap(), "marker-of-result ***");
    let turn = &named(&spans, "invoke_agent fake").attributes;
    let answer = find(turn, "gen_ai.output.messages").unwrap();
    assert!(answer.contains("marker-of-answer") && answer.contains("[cut]"), "{answer}");
    assert!(answer.len() < 500, "{answer}");
    assert!(!collector.text().contains("sk-secret"));
}

#[test]
fn a_collector_that_is_silent_or_hostile_holds_up_no_turn_and_what_is_left_out_is_counted() {
    for manner in [Manner::Silent, Manner::Hostile] {
        let collector = Collector::start(manner);
        let config = json!({"telemetry": {"queue": 1, "flush": "200ms"}});
        let mut world = exporting(&collector).config(config).start();
        for _ in 0..8 {
            assert_eq!(state(&world.say("say x")), "COMPLETED");
        }
        await_some("what was left out", PATIENCE, || {
            (counted(&world, "pilothouse_spans_dropped_total") > 0).then_some(())
        });
        assert!(collector.count() > 0);
        assert!(world.stop().success(), "{manner:?}");
    }
}

#[test]
fn the_spans_of_the_last_turn_leave_before_the_server_ends() {
    let collector = Collector::start(Manner::Takes);
    let mut world = exporting(&collector).start();
    let task = world.say("say x");
    world.stop();
    let spans = collector.await_spans(&["SendMessage", "invoke_agent fake"]);
    // Without a trace of the caller's the task's own id is one.
    let own = text_of(&task, "id").replace('-', "");
    assert_eq!(hex(&named(&spans, "invoke_agent fake").trace_id), own);
    assert_eq!(hex(&named(&spans, "SendMessage").trace_id), own);
    assert!(!world.stderr().contains("spans of the last turns"), "{}", world.stderr());
}

#[test]
fn a_caller_that_does_not_record_its_trace_has_none_here() {
    let collector = Collector::start(Manner::Takes);
    let world = exporting(&collector).start();
    let params =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("say x")});
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let headers = [("Authorization", &*format!("Bearer {OWNER}")), ("traceparent", &*parent)];
    world.post("/", &headers, params.to_string().as_bytes());
    world.say("say y");
    let spans = collector.await_spans(&["SendMessage", "invoke_agent fake"]);
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE), "{spans:#?}");
}

#[test]
fn telemetry_of_claude_code_that_cannot_be_sent_is_named_at_the_start() {
    let collector = Collector::start(Manner::Takes);
    let native = json!({"telemetry": {"claude": "native"}});
    for (described, why) in
        [(World::describe(), "names no collector"), (exporting(&collector), "without a sandbox")]
    {
        let world = described.config(native.clone()).start();
        assert!(world.stderr().contains(why), "{}", world.stderr());
    }
    let world = exporting(&collector).start();
    assert!(!world.stderr().contains("telemetry.claude"), "{}", world.stderr());
}

#[test]
fn variables_that_ask_for_what_cannot_be_done_are_named_at_the_start() {
    let collector = Collector::start(Manner::Takes);
    let world = exporting(&collector).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json").start();
    assert_eq!(state(&world.say("say x")), "COMPLETED");
    assert!(world.stderr().contains("spans are not sent: "), "{}", world.stderr());
    assert_eq!(collector.count(), 0);
}
