//! The tool calls of an agent: what is known of each, and when it is told.
//!
//! An agent announces a call, often before it knows the input, and updates it later. It is told
//! once, when there is something to tell; its result once, when it has ended.

use super::wire::ToolCall;
use crate::Event;
use crate::exit::bounded;
use crate::memory_of;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How much of a tool's result is told, in bytes.
const TOOL_RESULT: usize = 16 * 1024;

/// How much is kept of what a tool prints piece by piece, in bytes.
const PRINTED: usize = 64 * 1024;

/// Calls of one turn that are remembered, and what they may take in memory together. Beyond that one that has
/// ended is forgotten, else the first.
const REMEMBERED: usize = 256;
const REMEMBERED_BYTES: usize = 256 * 1024;

/// The tool calls of one turn.
#[derive(Debug, Default)]
pub(super) struct Tools {
    known: BTreeMap<String, Tool>,
    bytes: usize,
}

impl Tools {
    /// Changes what is known of a call; with what it makes, and calls that are told before they are forgotten.
    pub(super) fn change<T>(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut Tool) -> T,
    ) -> (T, Vec<Event>) {
        let tool = self.known.entry(id.to_owned()).or_default();
        let before = tool.bytes();
        let made = change(tool);
        self.bytes = self.bytes - before + tool.bytes();
        (made, self.forget(id))
    }

    /// Forgets others than this call until the rest has room.
    fn forget(&mut self, id: &str) -> Vec<Event> {
        let mut told = Vec::new();
        while self.known.len() > REMEMBERED || self.bytes > REMEMBERED_BYTES {
            let others = || self.known.iter().filter(|(other, _)| *other != id);
            let found = others().find(|(_, tool)| tool.ended).or_else(|| others().next());
            let Some(other) = found.map(|(other, _)| other.clone()) else {
                if let Some(tool) = self.known.get_mut(id) {
                    tool.forget_details();
                    self.bytes = tool.bytes();
                }
                break;
            };
            if let Some(mut tool) = self.known.remove(&other) {
                self.bytes -= tool.bytes();
                told.extend(tool.tell(&other));
            }
        }
        told
    }

    /// The calls that were never told.
    pub(super) fn untold(self) -> Vec<Event> {
        let calls = self.known.into_iter();
        calls.filter_map(|(id, mut tool)| tool.tell(&id)).collect()
    }
}

/// A tool call, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Tool {
    name: Option<String>,
    title: Option<String>,
    kind: Option<String>,
    input: Option<Value>,
    content: Vec<Value>,
    locations: Vec<Value>,
    /// What it printed, where the agent tells it piece by piece.
    output: String,
    /// What input, content and locations take in memory.
    sizes: [usize; 3],
    /// Whether the call was told, and whether its result was.
    told: bool,
    ended: bool,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Pending,
    Running,
    Completed,
    Failed,
}

impl Tool {
    /// Takes in what is new of a call.
    fn learn(&mut self, news: &ToolCall) {
        let meta = news.meta.as_ref();
        let set = |known: &mut Option<String>, new: Option<&str>| {
            if let Some(new) = new.filter(|new| !new.is_empty()) {
                *known = Some(new.to_owned());
            }
        };
        set(&mut self.name, news.name.as_deref().or_else(|| meta.and_then(tool_name)));
        set(&mut self.title, news.title.as_deref());
        set(&mut self.kind, news.kind.as_deref());
        if let Some(input) = news.raw_input.as_ref().filter(|input| !is_empty(input)) {
            self.input = Some(input.clone());
            self.sizes[0] = memory_of(input);
        }
        if let Some(content) = &news.content {
            self.content.clone_from(content);
            self.sizes[1] = content.iter().map(memory_of).sum();
        }
        if let Some(locations) = &news.locations {
            self.locations.clone_from(locations);
            self.sizes[2] = locations.iter().map(memory_of).sum();
        }
        let printed = meta.and_then(|meta| meta["terminal_output_delta"]["data"].as_str());
        if let Some(printed) = printed {
            let room = PRINTED.saturating_sub(self.output.len());
            self.output.push_str(&printed[..printed.floor_char_boundary(room)]);
        }
    }

    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        let texts = [&self.name, &self.title, &self.kind];
        let texts: usize = texts.iter().map(|text| text.as_ref().map_or(0, String::len)).sum();
        texts + self.output.len() + self.sizes.iter().sum::<usize>()
    }

    /// Keeps what names it alone.
    fn forget_details(&mut self) {
        *self = Self { told: self.told, ended: self.ended, ..Self::default() };
    }

    /// The name: what the agent calls the tool, or at least its kind.
    fn name(&self) -> String {
        let kind = self.kind.as_ref().filter(|kind| *kind != "other");
        let name = self.name.as_ref().or(kind).or(self.title.as_ref());
        name.cloned().unwrap_or_else(|| "tool".to_owned())
    }

    /// The event that tells the call.
    pub(super) fn call(&self, id: &str) -> Event {
        let input = self.input.clone().unwrap_or_else(|| {
            let mut told = Map::new();
            if let Some(title) = &self.title {
                told.insert("title".to_owned(), title.as_str().into());
            }
            if !self.locations.is_empty() {
                told.insert("locations".to_owned(), self.locations.clone().into());
            }
            Value::Object(told)
        });
        Event::ToolCall { id: id.to_owned(), name: self.name(), input }
    }

    /// All that somebody who decides on it wants to see.
    pub(super) fn to_decide(&self, id: &str, options: Value) -> (String, Value, Option<String>) {
        let input = json!({
            "title": self.title,
            "kind": self.kind,
            "rawInput": self.input,
            "content": self.content,
            "locations": self.locations,
            "toolCallId": id,
            "options": options,
        });
        (self.name(), input, self.title.clone())
    }

    /// The event that tells it, if there is something to tell and it was not told yet.
    pub(super) fn tell(&mut self, id: &str) -> Option<Event> {
        (!std::mem::replace(&mut self.told, true)).then(|| self.call(id))
    }

    /// What is new of a call, as events.
    pub(super) fn update(&mut self, id: &str, news: &ToolCall, is_first: bool) -> Vec<Event> {
        self.learn(news);
        let status = match news.status.as_deref() {
            Some("in_progress") => Some(Status::Running),
            Some("completed") => Some(Status::Completed),
            Some("failed") => Some(Status::Failed),
            Some(_) => Some(Status::Pending),
            None => None,
        };
        let speaks = self.input.as_ref().is_some_and(says_what);
        let runs = matches!(status, Some(Status::Running | Status::Completed | Status::Failed));
        let mut events = Vec::new();
        if speaks || runs || (!is_first && news.raw_input.is_some()) {
            events.extend(self.tell(id));
        }
        let ends = matches!(status, Some(Status::Completed | Status::Failed));
        if ends && !std::mem::replace(&mut self.ended, true) {
            events.push(Event::ToolResult {
                id: id.to_owned(),
                content: bounded(self.result(news), TOOL_RESULT),
                is_error: status == Some(Status::Failed),
            });
            events.extend(files(id, news.content.as_deref().unwrap_or(&self.content)));
        }
        events
    }

    /// What it returned: content of the last update, its raw output, or what was printed before.
    fn result(&self, last: &ToolCall) -> String {
        let content = last.content.as_deref().map(texts).unwrap_or_default();
        let raw = || last.raw_output.as_ref().map(spoken).unwrap_or_default();
        let earlier = || match self.output.as_str() {
            "" if last.content.is_none() && last.raw_input.is_none() => texts(&self.content),
            output => output.to_owned(),
        };
        [content]
            .into_iter()
            .chain([raw(), earlier()])
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }
}

/// The tool's name where an agent gives it beside the protocol.
fn tool_name(meta: &Value) -> Option<&str> {
    let nested = || meta.as_object()?.values().find_map(|value| value.get("toolName"));
    meta.get("toolName").or_else(nested)?.as_str()
}

fn is_empty(input: &Value) -> bool {
    match input {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Whether an input says what is to be done, not only where.
fn says_what(input: &Value) -> bool {
    input.as_object().is_none_or(|fields| fields.keys().any(|key| key != "cwd"))
}

/// Raw output as text: its text where it has one, JSON otherwise.
fn spoken(output: &Value) -> String {
    match output {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        output => ["output", "content", "formatted_output", "message", "error"]
            .iter()
            .find_map(|&key| output.get(key).and_then(Value::as_str))
            .map_or_else(|| output.to_string(), ToOwned::to_owned),
    }
}

/// The content of a tool call as text: blocks by line, changes of files as a diff.
fn texts(content: &[Value]) -> String {
    let words = content.iter().filter_map(|item| {
        let text = match item["type"].as_str().unwrap_or_default() {
            "content" => block_text(&item["content"]),
            "diff" => diff(
                item["path"].as_str().unwrap_or_default(),
                item["oldText"].as_str().unwrap_or_default(),
                item["newText"].as_str().unwrap_or_default(),
            ),
            // A terminal of the agent's own: what it printed comes by another way.
            "terminal" => String::new(),
            other => format!("[{other}]"),
        };
        (!text.is_empty()).then_some(text)
    });
    words.collect::<Vec<_>>().join("\n")
}

/// Pictures, sounds and other files in the content of a tool call.
fn files(id: &str, content: &[Value]) -> Vec<Event> {
    let blocks = content.iter().filter(|item| item["type"] == "content");
    let files = blocks.filter_map(|item| {
        let block = &item["content"];
        let (base64, media_type) = match block["type"].as_str()? {
            "image" | "audio" => (&block["data"], &block["mimeType"]),
            "resource" => (&block["resource"]["blob"], &block["resource"]["mimeType"]),
            _ => return None,
        };
        Some(Event::ToolFile {
            id: id.to_owned(),
            base64: base64.as_str()?.to_owned(),
            media_type: media_type.as_str().map(ToOwned::to_owned),
        })
    });
    files.collect()
}

fn block_text(block: &Value) -> String {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    text(&block["text"])
        .or_else(|| text(&block["resource"]["text"]))
        .or_else(|| text(&block["uri"]))
        .unwrap_or_else(|| format!("[{}]", block["type"].as_str().unwrap_or("content")))
}

/// What changed of a file, in the form of `diff -U0`: the lines that differ, as one hunk.
fn diff(path: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| {
        pairs.take_while(|(old, new)| old == new).count()
    };
    let before = same(&mut old.iter().zip(&new));
    let after = same(&mut old[before..].iter().rev().zip(new[before..].iter().rev()));
    let (gone, come) = (&old[before..old.len() - after], &new[before..new.len() - after]);
    if gone.is_empty() && come.is_empty() {
        return format!("{path}: unchanged");
    }
    let start = |lines: &[&str]| before + usize::from(!lines.is_empty());
    let mut text = format!(
        "--- {path}\n+++ {path}\n@@ -{},{} +{},{} @@",
        start(gone),
        gone.len(),
        start(come),
        come.len()
    );
    for (mark, lines) in [('-', gone), ('+', come)] {
        for line in lines {
            write!(text, "\n{mark}{line}").expect("a string takes all");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_without_end_are_forgotten_and_told_before() {
        let mut tools = Tools::default();
        let pending = news(json!({"status": "pending", "kind": "execute"}));
        let mut told = 0;
        for n in 0..2 * REMEMBERED {
            let (events, forgotten) =
                tools.change(&n.to_string(), |tool| tool.update("t", &pending, true));
            assert_eq!(events, []);
            told += forgotten.len();
        }
        assert_eq!((tools.known.len(), told), (REMEMBERED, REMEMBERED));
        assert_eq!(tools.untold().len(), REMEMBERED);
    }

    #[test]
    fn what_calls_take_in_memory_is_bounded() {
        let mut tools = Tools::default();
        let large = news(json!({"rawInput": {"text": "x".repeat(REMEMBERED_BYTES / 3)}}));
        for n in 0..9 {
            tools.change(&n.to_string(), |tool| tool.update("t", &large, true));
            assert!(tools.bytes <= REMEMBERED_BYTES && tools.known.len() <= 3, "{n}");
        }
        let huge = news(json!({"rawInput": {"text": "x".repeat(REMEMBERED_BYTES)}}));
        let (events, _) = tools.change("huge", |tool| tool.update("t", &huge, true));
        assert_eq!((events.len(), tools.known.len()), (1, 1));
        assert!(tools.bytes < 100);
    }

    fn news(value: Value) -> ToolCall {
        serde_json::from_value(value).unwrap()
    }

    fn result(events: &[Event]) -> &str {
        match events.last() {
            Some(Event::ToolResult { content, .. }) => content,
            other => panic!("no result: {other:?}"),
        }
    }

    #[test]
    fn a_call_without_input_is_told_when_the_input_is_known() {
        let mut tool = Tool::default();
        let pending = news(json!({ "status": "pending", "kind": "execute", "rawInput": {} }));
        assert_eq!(tool.update("t", &pending, true), []);
        let known = news(json!({ "rawInput": { "command": "ls" } }));
        let told = Event::ToolCall {
            id: "t".to_owned(),
            name: "execute".to_owned(),
            input: json!({ "command": "ls" }),
        };
        assert_eq!(tool.update("t", &known, false), [told]);
        assert_eq!(tool.update("t", &known, false), []);
    }

    #[test]
    fn a_result_is_told_once() {
        let mut tool = Tool::default();
        let done = news(json!({ "status": "completed", "rawOutput": "42" }));
        assert_eq!(result(&tool.update("t", &done, true)), "42");
        assert_eq!(tool.update("t", &done, false), []);
    }

    #[test]
    fn output_that_came_in_pieces_is_the_result() {
        let mut tool = Tool::default();
        let terminal = json!([{ "type": "terminal", "terminalId": "x" }]);
        tool.update("t", &news(json!({ "status": "in_progress", "content": terminal })), true);
        let piece = json!({ "_meta": { "terminal_output_delta": { "data": "4" } } });
        tool.update("t", &news(piece.clone()), false);
        tool.update("t", &news(piece), false);
        let done = news(json!({ "status": "completed" }));
        assert_eq!(result(&tool.update("t", &done, false)), "44");
    }

    #[test]
    fn a_change_of_a_file_is_a_diff() {
        assert_eq!(
            diff("/w/a", "1\n2\n3\n", "1\nx\ny\n3\n"),
            "--- /w/a\n+++ /w/a\n@@ -2,1 +2,2 @@\n-2\n+x\n+y"
        );
        assert_eq!(diff("/w/a", "", "1\n"), "--- /w/a\n+++ /w/a\n@@ -0,0 +1,1 @@\n+1");
        assert_eq!(diff("/w/a", "1", "1\n"), "/w/a: unchanged");
    }

    #[test]
    fn a_tool_is_named_by_the_agent_its_kind_or_its_title() {
        let name = |value| {
            let mut tool = Tool::default();
            tool.learn(&news(value));
            tool.name()
        };
        assert_eq!(name(json!({ "name": "Bash", "kind": "execute" })), "Bash");
        assert_eq!(
            name(json!({ "_meta": { "x": { "toolName": "run" } }, "kind": "execute" })),
            "run"
        );
        assert_eq!(name(json!({ "kind": "execute", "title": "ls" })), "execute");
        assert_eq!(name(json!({ "kind": "other", "title": "Asking" })), "Asking");
    }
}
