//! The messages of Claude Code: text and thoughts as they come or in blocks, tool calls and results.

use super::Claude;
use super::wire::{Block, Message, OutputLine, Source, StreamEvent, Text};
use crate::exit::bounded;
use crate::reading::{Heard, Unreadable};
use crate::{Event, Step};
use serde_json::Value;
use serde_json::value::RawValue;
use std::mem;

/// How much of a tool's result is told, in bytes.
const TOOL_RESULT: usize = 16 * 1024;

impl Claude {
    pub(super) fn is_new_message(&self, line: &OutputLine<'_>) -> Result<bool, Unreadable> {
        let event: StreamEvent<'_> = serde_json::from_str(line.event.ok_or(Unreadable)?.get())?;
        Ok(line.parent_tool_use_id.is_none() && &*event.kind == "message_start")
    }

    /// A piece of the model's message, as it comes. What sub-agents write is not the answer.
    pub(super) fn delta(&mut self, line: &OutputLine<'_>) -> Heard {
        if line.parent_tool_use_id.is_some() {
            return Ok(Vec::new());
        }
        let event: StreamEvent<'_> = serde_json::from_str(line.event.ok_or(Unreadable)?.get())?;
        match (&*event.kind, event.delta) {
            ("message_start", _) => {
                let (id, tokens) =
                    event.message.map_or((None, None), |message| (message.id, message.usage));
                self.new_message(id.as_deref());
                Ok(self.used(id.as_deref(), tokens))
            }
            ("message_delta", _) => {
                let id = self.turn.message.clone();
                Ok(self.used(id.as_deref(), event.usage))
            }
            ("content_block_delta", Some(delta)) => {
                self.turn.streamed |= delta.text.is_some() || delta.thinking.is_some();
                Ok(self.words(delta.text, delta.thinking))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn new_message(&mut self, id: Option<&str>) {
        if self.turn.message.is_none() || self.turn.message.as_deref() != id {
            self.turn.message = id.map(ToOwned::to_owned);
            self.turn.streamed = false;
            self.turn.fresh = true;
        }
    }

    /// Text and thoughts; the text of a further message begins a paragraph of its own.
    fn words(&mut self, text: Option<Text<'_>>, thinking: Option<Text<'_>>) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(thought) = thinking.filter(|thought| !thought.is_empty()) {
            steps.push(Step::Say(Event::Thought(thought.into_owned())));
        }
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let fresh = mem::take(&mut self.turn.fresh);
            let said = mem::replace(&mut self.turn.said, true);
            let text = if fresh && said { format!("\n\n{}", &*text) } else { text.into_owned() };
            steps.push(Step::Say(Event::Text(text)));
        }
        steps
    }

    /// A finished block of the model's message: text that has not streamed, or tool calls.
    pub(super) fn assistant(&mut self, line: &OutputLine<'_>) -> Heard {
        if line.is_api_error_message == Some(true) {
            // The result says it again, as the failure that it is, as a rule.
            let message: Message<'_> = serde_json::from_str(line.message.ok_or(Unreadable)?.get())?;
            return Ok(self.keep_api_error(&message));
        }
        let message: Message<'_> = serde_json::from_str(line.message.ok_or(Unreadable)?.get())?;
        let blocks: Vec<Block<'_>> =
            serde_json::from_str(message.content.ok_or(Unreadable)?.get())?;
        let own = line.parent_tool_use_id.is_none();
        if own {
            self.new_message(message.id.as_deref());
        }
        let mut steps = self.used(message.id.as_deref(), message.usage);
        for block in blocks {
            match &*block.kind {
                "text" | "thinking" if own && !self.turn.streamed => {
                    steps.extend(self.words(block.text, block.thinking));
                }
                "tool_use" | "server_tool_use" => {
                    let calls = tool_call(block);
                    if let Some(Step::Say(Event::ToolCall { id, input, .. })) = calls.first() {
                        self.background.note_call(id, input);
                    }
                    steps.extend(calls);
                }
                _ => {}
            }
        }
        Ok(steps)
    }

    pub(super) fn tool_results(&mut self, line: &OutputLine<'_>) -> Heard {
        let message: Message<'_> = serde_json::from_str(line.message.ok_or(Unreadable)?.get())?;
        let Some(Ok(blocks)) =
            message.content.map(|content| serde_json::from_str::<Vec<Block<'_>>>(content.get()))
        else {
            // Words that the CLI puts into the person's mouth (a summary, an echo).
            return Ok(Vec::new());
        };
        let results = || blocks.iter().filter(|block| &*block.kind == "tool_result");
        let failed = results().any(|block| block.is_error == Some(true));
        let check = self.check_servers(failed);
        let results = blocks.into_iter().filter(|block| &*block.kind == "tool_result");
        Ok(results.flat_map(tool_result).chain(check).collect())
    }
}

impl Message<'_> {
    /// Its text.
    pub(super) fn words(&self) -> String {
        self.content.map(flattened).unwrap_or_default()
    }
}

/// A tool's result as text, and the files that came with it.
fn tool_result(block: Block<'_>) -> Vec<Step> {
    let id = block.tool_use_id.map(Text::into_owned).unwrap_or_default();
    let is_error = block.is_error.unwrap_or(false);
    let text = block.content.map(flattened).unwrap_or_default();
    let result =
        Event::ToolResult { id: id.clone(), content: bounded(text, TOOL_RESULT), is_error };
    let files = block.content.map(|content| files(&id, content)).unwrap_or_default();
    [result].into_iter().chain(files).map(Step::Say).collect()
}

/// The pictures and documents in a tool's result.
fn files(id: &str, content: &RawValue) -> Vec<Event> {
    let blocks: Vec<Block<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
    let sources = blocks.into_iter().filter_map(|block| block.source);
    let files = sources.filter_map(|source| {
        let source: Source<'_> = serde_json::from_str(source.get()).ok()?;
        Some(Event::ToolFile {
            id: id.to_owned(),
            base64: source.data?.into_owned(),
            media_type: source.media_type.map(Text::into_owned),
        })
    });
    files.collect()
}

fn tool_call(block: Block<'_>) -> Vec<Step> {
    let name = block.name.map(Text::into_owned).unwrap_or_default();
    let input: Value =
        block.input.and_then(|input| serde_json::from_str(input.get()).ok()).unwrap_or_default();
    let plan = (name == "TodoWrite").then(|| input.get("todos").cloned()).flatten();
    let id = block.id.map(Text::into_owned).unwrap_or_default();
    [Some(Event::ToolCall { id, name, input }), plan.map(Event::Plan)]
        .into_iter()
        .flatten()
        .map(Step::Say)
        .collect()
}

/// The content of a tool's result as text: blocks by line, what is not text by its kind.
fn flattened(content: &RawValue) -> String {
    if let Ok(text) = serde_json::from_str::<String>(content.get()) {
        return text;
    }
    let Ok(blocks) = serde_json::from_str::<Vec<Block<'_>>>(content.get()) else {
        return content.get().to_owned();
    };
    let words = |block: &Block<'_>| match &block.text {
        Some(text) => (**text).to_owned(),
        None => format!("[{}]", &*block.kind),
    };
    blocks.iter().map(words).collect::<Vec<_>>().join("\n")
}
