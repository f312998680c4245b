//! `pilothouse tasks trace`: the spans of a task as a waterfall, from the server's store alone.

use super::super::complete;
use super::super::failure::Failure;
use super::super::local::{Server, escape};
use super::super::names::find_task;
use super::super::terminal::{BAD, Screen, WAITS, clean_line, cut, padded, styled, width};
use super::print_json;
use clap::Args;
use pilothouse_a2a::time::Timestamp;
use reqwest::Method;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write;

/// Columns of a name before it is cut.
const NAME: usize = 34;
/// Columns of a bar: at least, at most, and where the output is no terminal.
const BAR: (usize, usize, usize) = (10, 60, 40);
/// Columns beside the name and the bar: two times, and the gaps.
const TIMES: usize = 24;

/// Which task.
#[derive(Debug, Clone, Args)]
pub(crate) struct TraceArgs {
    /// The task: its id, the beginning or the end of it, or `last`
    #[arg(add = complete::tasks())]
    id: String,
    /// Print the spans as JSON
    #[arg(long)]
    json: bool,
}

/// Reads and prints the trace.
pub(super) async fn run(
    args: &TraceArgs,
    server: &Server,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (server, id) = &find_task(server, &args.id).await?;
    let path = format!("/api/v1/tasks/{}/trace", escape(id.as_str()));
    let trace = server.call(Method::GET, &path, None).await?;
    if args.json {
        return print_json(out, &trace);
    }
    let now = Timestamp::now().as_millisecond();
    write!(out, "{}", render(&trace, now, (screen.width, screen.styled)))?;
    Ok(())
}

/// A span, as far as it is drawn.
struct Row<'a> {
    span: &'a Value,
    depth: usize,
    began: i64,
    ended: i64,
}

fn render(trace: &Value, now: i64, (columns, is_styled): (Option<usize>, bool)) -> String {
    let rows = rows(trace, now);
    let Some(first) = rows.iter().map(|row| row.began).min() else {
        return "the task has no turn yet\n".to_owned();
    };
    let last = rows.iter().map(|row| row.ended).max().unwrap_or(first);
    let whole = (last - first).max(1);
    let names: Vec<String> = rows.iter().map(name).collect();
    let named = names.iter().map(|name| width(name)).max().unwrap_or(0).min(NAME);
    let room = columns.map_or(BAR.2, |all| all.saturating_sub(named + TIMES)).clamp(BAR.0, BAR.1);
    let id = trace["traceId"].as_str().unwrap_or_default();
    let mut text = format!("trace {} · {}\n", clean_line(id), duration(last - first));
    for (row, name) in rows.iter().zip(&names) {
        let is_open = row.span["end"].is_null();
        let took = duration(row.ended - row.began);
        let took = if is_open { format!("{took}+") } else { took };
        let bar = bar((row.began - first, row.ended - first), whole, room);
        let style = match (row.span["error"].is_null(), name.trim_start().starts_with("ask ")) {
            (false, _) => Some(BAD),
            (true, true) => Some(WAITS),
            (true, false) => None,
        };
        let bar = padded(&bar, room);
        let bar = style.map_or_else(|| bar.clone(), |style| styled(&bar, style, is_styled));
        let begin = duration(row.began - first);
        let line = format!("{}  {begin:>8}  {took:>9}  {bar}", padded(&cut(name, named), named));
        let said = remarks(row.span);
        let line = if said.is_empty() { line } else { format!("{line}  {said}") };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if trace["truncated"] == true {
        text.push_str("there are more spans than are shown\n");
    }
    text
}

/// The spans, each behind the one that it is a part of.
fn rows(trace: &Value, now: i64) -> Vec<Row<'_>> {
    let spans: Vec<&Value> = trace["spans"].as_array().into_iter().flatten().collect();
    let time = |of: &Value| of.as_str().and_then(Timestamp::parse).map(Timestamp::as_millisecond);
    let ids: HashMap<&str, usize> = spans
        .iter()
        .enumerate()
        .filter_map(|(at, span)| Some((span["spanId"].as_str()?, at)))
        .collect();
    let mut parts: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (at, span) in spans.iter().enumerate() {
        let parent = span["parentSpanId"].as_str().and_then(|parent| ids.get(parent)).copied();
        parts.entry(parent.filter(|parent| *parent != at)).or_default().push(at);
    }
    let mut rows = Vec::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    let push = |open: &mut Vec<(usize, usize)>, parts: Option<Vec<usize>>, depth| {
        open.extend(parts.into_iter().flatten().rev().map(|at| (at, depth)));
    };
    push(&mut open, parts.remove(&None), 0);
    while let Some((at, depth)) = open.pop() {
        let began = time(&spans[at]["start"]).unwrap_or(now);
        let ended = time(&spans[at]["end"]).unwrap_or(now).max(began);
        rows.push(Row { span: spans[at], depth, began, ended });
        push(&mut open, parts.remove(&Some(at)), depth + 1);
    }
    rows
}

fn name(row: &Row<'_>) -> String {
    let name = clean_line(row.span["name"].as_str().unwrap_or_default());
    format!("{}{name}", "  ".repeat(row.depth))
}

/// What a span measured beside its time, in a few words.
fn remarks(span: &Value) -> String {
    let of = &span["attributes"];
    let text = |name: &str| of[name].as_str().map(clean_line);
    let count = |name: &str, word: &str| {
        of[name].as_u64().filter(|count| *count > 0).map(|count| format!("{count} {word}"))
    };
    let answered = text("pilothouse.ask.by").map(|by| format!("by {by}"));
    let words = [
        span["error"].as_str().map(|code| format!("failed: {}", clean_line(code))),
        text("pilothouse.ask.tool"),
        text("pilothouse.ask.outcome"),
        answered,
        text("pilothouse.turn.disposition").filter(|how| how != "ended"),
        count("gen_ai.usage.input_tokens", "in"),
        count("gen_ai.usage.output_tokens", "out"),
        of["gen_ai.usage.cost"].as_f64().map(|cost| format!("${cost:.4}")),
    ];
    let events = span["events"].as_array().into_iter().flatten();
    let events = events.filter_map(|event| event["name"].as_str()).map(clean_line);
    words.into_iter().flatten().chain(events).collect::<Vec<_>>().join(" · ")
}

/// A bar in its place; what took hardly any time is a thin line.
fn bar((began, ended): (i64, i64), whole: i64, room: usize) -> String {
    let column = |time: i64| {
        let scaled = i128::from(time) * room as i128 / i128::from(whole);
        usize::try_from(scaled).unwrap_or(0).min(room)
    };
    let (from, to) = (column(began).min(room - 1), column(ended));
    let drawn = if to > from { "█".repeat(to - from) } else { "▏".to_owned() };
    format!("{}{drawn}", " ".repeat(from))
}

/// A time of people's size.
fn duration(milliseconds: i64) -> String {
    match milliseconds {
        ..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{:.2} s", milliseconds as f64 / 1000.0),
        60_000.. => format!("{} m {:02} s", milliseconds / 60_000, milliseconds / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trace() -> Value {
        json!({"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "truncated": false, "spans": [
            {"spanId": "a", "name": "SendMessage", "start": "2027-01-31T10:00:00.000Z", "end": "2027-01-31T10:00:04.000Z", "attributes": {}},
            {"spanId": "b", "parentSpanId": "a", "name": "invoke_agent fake", "start": "2027-01-31T10:00:00.100Z", "end": "2027-01-31T10:00:04.000Z",
             "attributes": {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 5, "gen_ai.usage.cost": 0.25},
             "events": [{"name": "egress.refused"}]},
            {"spanId": "c", "parentSpanId": "b", "name": "execute_tool Ba\u{1b}[31msh", "start": "2027-01-31T10:00:01.000Z", "end": "2027-01-31T10:00:03.000Z",
             "error": "_OTHER", "attributes": {}},
            {"spanId": "d", "parentSpanId": "b", "name": "ask permission", "start": "2027-01-31T10:00:03.000Z",
             "attributes": {"pilothouse.ask.tool": "Bash", "pilothouse.ask.outcome": "allow", "pilothouse.ask.by": "owner"}},
        ]})
    }

    #[test]
    fn a_trace_is_a_waterfall_with_what_each_span_measured() {
        let now = Timestamp::parse("2027-01-31T10:00:03.500Z").unwrap().as_millisecond();
        insta::assert_snapshot!(render(&trace(), now, (Some(80), false)), @r"
trace 4bf92f3577b34da6a3ce929d0e0e4736 · 4.00 s
SendMessage                0 ms     4.00 s  ███████████████████████████████████
  invoke_agent fake      100 ms     3.90 s  ███████████████████████████████████  12 in · 5 out · $0.2500 · egress.refused
    execute_tool Bash    1.00 s     2.00 s          ██████████████████           failed: _OTHER
    ask permission       3.00 s    500 ms+                            ████       Bash · allow · by owner
");
        assert_eq!(render(&json!({"spans": []}), now, (None, false)), "the task has no turn yet\n");
    }
}
