//! What an agent says in one turn, as lines for the console.

use super::{LONG_TOOL, LONGEST, head};
use pilothouse_agents::event::Event;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Instant;

/// Tool calls of a turn that are under way and remembered.
const TOOLS: usize = 64;

/// Hosts of a turn that were refused and are remembered.
const REFUSED: usize = 32;

/// The member of a tool's input that says most about a call, in this order.
const TELLING: [&str; 9] =
    ["command", "file_path", "path", "pattern", "url", "query", "description", "prompt", "skill"];

/// The words of a turn that are not shown yet, and what is known of its tools.
#[derive(Default)]
pub(super) struct Said {
    /// The end of the text so far, since its last line end.
    line: String,
    /// Whether that is thinking.
    thinks: bool,
    /// The beginning of the last message.
    last: String,
    /// Whether the next words begin a message.
    is_over: bool,
    /// Calls that have no result yet: id, name, begin.
    tools: VecDeque<(String, String, Instant)>,
    refused: Vec<String>,
}

/// Whether it is bad news, and the line.
type ConsoleLine = (bool, String);

impl Said {
    /// The lines that are complete by this event.
    pub(super) fn hear(&mut self, event: &Event) -> Vec<ConsoleLine> {
        match event {
            Event::Text(text) => return self.hear_words(text, false),
            Event::Thought(text) => return self.hear_words(text, true),
            Event::Usage(_) | Event::Setup(_) | Event::Raw(_) => return Vec::new(),
            _ => {}
        }
        let mut lines: Vec<ConsoleLine> =
            self.flush().map(|line| (false, line)).into_iter().collect();
        self.is_over = true;
        match event {
            Event::Status { text, .. } => lines.push((false, head(text))),
            Event::Problem(problem) => lines.push((true, head(&problem.text))),
            Event::ToolCall { id, name, input } => {
                if self.tools.len() >= TOOLS {
                    self.tools.pop_front();
                }
                self.tools.push_back((id.clone(), name.clone(), Instant::now()));
                lines.push((false, super::call(name, input)));
            }
            Event::ToolResult { id, content, is_error } => {
                let place = self.tools.iter().position(|(known, ..)| known == id);
                let tool = place.and_then(|place| self.tools.remove(place));
                let (name, took) = tool.map_or(("a tool".to_owned(), None), |(_, name, at)| {
                    (name, Some(at.elapsed()))
                });
                let took = took.filter(|took| *took >= LONG_TOOL);
                let time = took.map(|took| format!(" after {:.1} s", took.as_secs_f64()));
                let time = time.unwrap_or_default();
                match is_error {
                    true => lines.push((true, head(&format!("{name} failed{time}: {content}")))),
                    false if took.is_some() => lines.push((false, format!("{name} ended{time}"))),
                    false => {}
                }
            }
            Event::Plan(plan) => lines.push((false, head(&format!("plan {}", tell(plan))))),
            Event::ToolFile { media_type, .. } => {
                let kind = media_type.as_deref().unwrap_or("of an unknown type");
                lines.push((false, head(&format!("file {kind}"))));
            }
            Event::Artifact(artifact) => {
                let name = artifact.name.as_deref().or(artifact.id.as_deref()).unwrap_or_default();
                lines.push((false, head(&format!("artifact {name}"))));
            }
            Event::Message(text) => lines.push((false, head(text))),
            Event::Text(_)
            | Event::Thought(_)
            | Event::Usage(_)
            | Event::Setup(_)
            | Event::Raw(_) => {}
        }
        lines
    }

    /// The words that have come without the end of their line.
    pub(super) fn flush(&mut self) -> Option<String> {
        let line = head(&std::mem::take(&mut self.line));
        let mark = if self.thinks { "… " } else { "" };
        (!line.is_empty()).then(|| format!("{mark}{line}"))
    }

    /// The beginning of the last message.
    pub(super) fn last_words(&self) -> &str {
        &self.last
    }

    /// Whether this host was not refused before in this turn.
    pub(super) fn note_refusal(&mut self, host: &str) -> bool {
        let is_new =
            self.refused.len() < REFUSED && !self.refused.iter().any(|known| known == host);
        if is_new {
            self.refused.push(host.to_owned());
        }
        is_new
    }

    fn hear_words(&mut self, text: &str, thinks: bool) -> Vec<ConsoleLine> {
        let mut lines = Vec::new();
        if thinks != self.thinks {
            lines.extend(self.flush().map(|line| (false, line)));
            self.thinks = thinks;
        }
        if !thinks {
            if std::mem::take(&mut self.is_over) {
                self.last.clear();
            }
            if self.last.len() < LONGEST {
                self.last.extend(text.chars().take(LONGEST));
            }
        }
        for piece in text.split_inclusive('\n') {
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend(piece.chars().take(room));
            if piece.ends_with('\n') {
                lines.extend(self.flush().map(|line| (false, line)));
            }
        }
        lines
    }
}

/// What a tool is called with, in few words.
pub(super) fn tell(input: &Value) -> String {
    let telling = TELLING.iter().find_map(|member| input.get(member)?.as_str());
    let telling = telling.or_else(|| only_text(input));
    match telling {
        Some(words) => words.to_owned(),
        None if input.is_null() || input.as_object().is_some_and(serde_json::Map::is_empty) => {
            String::new()
        }
        None => input.to_string(),
    }
}

/// The text of an input that has no other member.
fn only_text(input: &Value) -> Option<&str> {
    let mut members = input.as_object()?.values();
    members.next().filter(|_| members.next().is_none())?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(text: &str) -> Event {
        Event::Text(text.to_owned())
    }

    fn call(id: &str, name: &str, input: Value) -> Event {
        Event::ToolCall { id: id.to_owned(), name: name.to_owned(), input }
    }

    fn lines(said: &mut Said, events: &[Event]) -> Vec<String> {
        events.iter().flat_map(|event| said.hear(event)).map(|(_, line)| line).collect()
    }

    #[test]
    fn words_in_pieces_become_whole_lines() {
        let mut said = Said::default();
        let shown = lines(&mut said, &[text("Here are the fi"), text("rst\nten "), text("primes")]);
        assert_eq!(shown, ["Here are the first"]);
        assert_eq!(said.flush().as_deref(), Some("ten primes"));
        assert_eq!(said.flush(), None);
    }

    #[test]
    fn the_last_message_begins_behind_the_last_tool() {
        let mut said = Said::default();
        let run = call("1", "Bash", json!({"command": "ls -l"}));
        let shown = lines(&mut said, &[text("I look."), run, text("It is "), text("done.")]);
        assert_eq!(shown, ["I look.", "Bash ls -l"]);
        assert_eq!(said.last_words(), "It is done.");
    }

    #[test]
    fn a_tool_that_failed_is_bad_news_with_its_words() {
        let mut said = Said::default();
        said.hear(&call("1", "Read", json!({"file_path": "/x"})));
        let failed = Event::ToolResult {
            id: "1".to_owned(),
            content: "no such file".to_owned(),
            is_error: true,
        };
        assert_eq!(said.hear(&failed), [(true, "Read failed: no such file".to_owned())]);
    }

    #[test]
    fn what_is_not_shown_yet_stays_small() {
        let mut said = Said::default();
        for _ in 0..10_000 {
            said.hear(&text("0123456789"));
            said.hear(&call("x", "T", json!({})));
        }
        said.hear(&text(&"ä".repeat(100_000)));
        assert!(said.line.len() <= 4 * LONGEST && said.last.len() <= 8 * LONGEST);
        assert_eq!(said.tools.len(), TOOLS);
    }

    #[test]
    fn a_host_that_was_refused_is_said_once() {
        let mut said = Said::default();
        assert!(said.note_refusal("a:443"));
        assert!(!said.note_refusal("a:443"));
    }
}
