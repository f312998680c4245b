//! What leaves of messages that a CLI has sent.

use super::*;
use crate::store::SpanId;
use opentelemetry_proto::tonic::metrics::v1::{
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Status};
use pilothouse_a2a::id::{ContextId, TaskId};

fn turn(began: u64, trace: u8, sampled: bool) -> NativeTurn {
    NativeTurn {
        began,
        trace: TraceId([trace; 16]),
        request: SpanId([trace; 8]),
        sampled,
        task: TaskId::random(),
        context: ContextId::random(),
    }
}

fn labels(content: Option<Content>) -> Labels {
    let secrets = vec!["sk-secret".to_owned()].into();
    Labels { conventions: Conventions::Latest, content, secrets, resource: Vec::new() }
}

fn span(name: &str, began: u64, attributes: &[(&str, &str)]) -> Span {
    let mut span = Span {
        name: name.to_owned(),
        trace_id: vec![9; 16],
        start_time_unix_nano: began,
        status: Some(Status { message: "words".to_owned(), ..Status::default() }),
        ..Span::default()
    };
    attributes.iter().for_each(|(name, value)| set(&mut span.attributes, name, value));
    span
}

/// What leaves of these spans.
fn leave(labels: &Labels, turns: &[NativeTurn], spans: Vec<Span>) -> Vec<Span> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let samples = |_: TraceId, sampled: bool| sampled;
    let process = NativeProcess {
        agent: "claude",
        instance: "one",
        turns,
        admits: &|_, _| true,
        samples: &samples,
    };
    let (bytes, count) = labels.traces(&process, &bytes).unwrap();
    let mut message = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let spans = message.resource_spans.remove(0).scope_spans.remove(0).spans;
    assert_eq!(count, spans.len() as u64);
    spans
}

fn text<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[test]
fn a_span_has_the_trace_and_the_task_of_the_turn_in_which_it_began() {
    let turns = [turn(100, 1, true), turn(200, 2, true), turn(300, 3, false)];
    let began = [50, 150, 250, 350];
    let spans = began.map(|began| span("claude_code.tool", began, &[])).into();
    let left = leave(&labels(None), &turns, spans);
    // That of the last turn is in no trace that leaves.
    let traces: Vec<_> = left.iter().map(|span| span.trace_id[0]).collect();
    assert_eq!(traces, [1, 1, 2]);
    assert_eq!(text(&left[2], "a2a.task.id"), Some(turns[1].task.as_str()));
    assert_eq!(left[2].parent_span_id, [2; 8]);
}

#[test]
fn what_is_in_no_list_does_not_leave_whoever_made_it() {
    let attributes = [
        ("model", "the-model sk-secret"),
        ("user.email", "a@example.com"),
        ("organization.id", "o"),
        ("prompt", "words"),
        ("tool_name", &"x".repeat(1000)),
    ];
    let spans = vec![
        span("claude_code.tool", 100, &attributes),
        span("claude_code.tool words of a prompt", 100, &[]),
        span("of another program", 100, &[]),
    ];
    let left = leave(&labels(None), &[turn(1, 1, true)], spans);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(text(&left[0], "model"), Some("the-model ***"));
    assert_eq!(text(&left[0], "tool_name").unwrap().len(), LONGEST_WORD);
    for name in ["user.email", "organization.id", "prompt"] {
        assert_eq!(text(&left[0], name), None, "{name}");
    }
    assert_eq!(left[0].status.as_ref().unwrap().message, "");
}

#[test]
fn what_was_said_leaves_where_it_is_asked_for_and_accounts_never() {
    let secrets = vec!["sk-secret".to_owned()].into();
    let labels = labels(Some(Content { most: 20, secrets }));
    let attributes = [("prompt", "words and sk-secret and more"), ("user.id", "u")];
    let spans = vec![span("claude_code.tool", 100, &attributes)];
    let left = leave(&labels, &[turn(1, 1, true)], spans);
    assert_eq!(text(&left[0], "prompt"), Some("words and *** and mo… [cut]"));
    assert_eq!(text(&left[0], "user.id"), None);
}

#[test]
fn bytes_of_another_form_are_no_message() {
    let samples = |_: TraceId, _: bool| true;
    let process = NativeProcess {
        agent: "a",
        instance: "i",
        turns: &[],
        admits: &|_, _| true,
        samples: &samples,
    };
    assert!(labels(None).traces(&process, b"{\"resourceSpans\":[]}").is_none());
}

#[test]
fn points_of_metrics_have_words_alone_and_no_more_of_them_than_are_admitted() {
    let point = |model: &str| {
        let mut point = NumberDataPoint::default();
        for (name, value) in [("model", model), ("prompt.id", "p"), ("user.id", "u")] {
            set(&mut point.attributes, name, value);
        }
        point
    };
    let data_points = vec![point("known"), point("new")];
    let data = Some(metric::Data::Sum(Sum { data_points, ..Sum::default() }));
    let metrics = ["claude_code.token.usage", "mine"].map(|name| Metric {
        name: name.to_owned(),
        data: data.clone(),
        ..Metric::default()
    });
    let scope_metrics = vec![ScopeMetrics { metrics: metrics.into(), ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
    let bytes = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
    let process = NativeProcess {
        agent: "claude",
        instance: "one",
        turns: &[],
        admits: &|_, value| value == "known",
        samples: &|_, _| true,
    };
    let (bytes, count) = labels(None).metrics(&process, &bytes).unwrap();
    assert_eq!(count, 2);
    let text = format!("{:?}", ExportMetricsServiceRequest::decode(&*bytes).unwrap());
    for word in ["mine", "prompt.id", "user.id", "\"new\""] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    assert!(text.contains("\"known\"") && text.contains(OTHER), "{text}");
}
