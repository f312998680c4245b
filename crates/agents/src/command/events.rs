//! The language of events: one JSON object a line, by which a program says more than text.
//!
//! | `type` | fields | means |
//! |---|---|---|
//! | `text` | `text` | a piece of the answer, as it comes |
//! | `thought` | `text` | a piece of the program's thinking |
//! | `status` | `text`, `data`?, `state`? | what it is doing; a `state` other than `working` ends the turn |
//! | `message` | `text` | a whole message beside the answer |
//! | `artifact` | one of `text`, `raw` (base64), `url`, `data`; `id`?, `name`?, `description`?, `filename`?, `mediaType`?, `append`?, `last`? | a result beside the answer; a text with a `filename` is a file |
//! | `ask` | `text`, `options`?, `data`? | a question to the caller; ends the turn, the answer is the next message of the same task |
//! | `reply` | `text` | the whole answer is this message; ends the turn, and needs no task where it is the first line |
//! | `tool` | `name`, `id`?, `input`? | a tool is called |
//! | `toolResult` | `text`, `id`?, `isError`? | a tool answered |
//! | `plan` | `data` | a plan or to-do list |
//! | `usage` | `inputTokens`?, `outputTokens`?, `cacheReadTokens`?, `cacheWriteTokens`?, `costUsd`?, `model`? | what the turn has used so far |
//!
//! `state` is one of `working`, `completed`, `failed`, `rejected`, `input-required`,
//! `auth-required`, `canceled`. Without one the exit code decides: 0 is completed, all else failed.
//! Keys may be written in camelCase or snake_case; unknown keys are ignored. A line that is not such
//! an object becomes [`Event::Raw`]: counted, never shown to a caller.

use crate::event::{Artifact, Content};
use crate::lines::is_shortened;
use crate::{Event, Outcome, Usage};
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// Something to be told.
    Event(Event),
    /// Nothing that anybody needs to hear.
    Nothing,
    /// The turn is over.
    End(Outcome),
}

/// Every field of every type; which ones count is decided by `kind`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EventLine {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    data: Option<Value>,
    state: Option<String>,
    id: Option<String>,
    name: Option<String>,
    description: Option<String>,
    raw: Option<String>,
    url: Option<String>,
    filename: Option<String>,
    #[serde(alias = "media_type")]
    media_type: Option<String>,
    append: Option<bool>,
    last: Option<bool>,
    options: Option<Vec<String>>,
    input: Option<Value>,
    #[serde(alias = "is_error")]
    is_error: Option<bool>,
    #[serde(alias = "input_tokens")]
    input_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    output_tokens: Option<u64>,
    #[serde(alias = "cache_read_tokens")]
    cache_read_tokens: Option<u64>,
    #[serde(alias = "cache_write_tokens")]
    cache_write_tokens: Option<u64>,
    #[serde(alias = "cost_usd")]
    cost_usd: Option<f64>,
    model: Option<String>,
}

/// Reads one line.
pub(super) fn hear(line: &[u8]) -> Heard {
    serde_json::from_slice::<EventLine>(line).ok().and_then(EventLine::heard).unwrap_or_else(|| {
        let raw = serde_json::from_slice(line)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(line).into_owned()));
        Heard::Event(Event::Raw(raw))
    })
}

impl EventLine {
    /// None where the type is unknown or a field is missing.
    fn heard(self) -> Option<Heard> {
        let event = match self.kind.as_str() {
            "text" => Event::Text(self.text?),
            "thought" => Event::Thought(self.text?),
            "message" => Event::Message(self.text?),
            "plan" => Event::Plan(self.data?),
            "tool" => Event::ToolCall {
                id: self.id.unwrap_or_default(),
                name: self.name?,
                input: self.input.unwrap_or_else(|| json!({})),
            },
            "toolResult" | "tool_result" => Event::ToolResult {
                id: self.id.unwrap_or_default(),
                content: self.text?,
                is_error: self.is_error.unwrap_or(false),
            },
            "usage" => Event::Usage(Usage {
                input_tokens: self.input_tokens,
                output_tokens: self.output_tokens,
                cache_read_tokens: self.cache_read_tokens,
                cache_write_tokens: self.cache_write_tokens,
                cost_usd: self.cost_usd,
                model: self.model,
                turns: None,
            }),
            "artifact" => Event::Artifact(self.artifact()?),
            "reply" => return Some(Heard::End(Outcome::Replied { text: self.text? })),
            "ask" => {
                let data = self.options.map(|options| json!({ "options": options })).or(self.data);
                return Some(Heard::End(Outcome::InputRequired { question: self.text?, data }));
            }
            "status" => return self.status(),
            _ => return None,
        };
        Some(Heard::Event(event))
    }

    fn status(self) -> Option<Heard> {
        let state =
            self.state.as_deref().unwrap_or("working").to_ascii_lowercase().replace('_', "-");
        let words = |otherwise: &str| self.text.clone().unwrap_or_else(|| otherwise.to_owned());
        let outcome = match state.strip_prefix("task-state-").unwrap_or(&state) {
            "submitted" | "working" => {
                return Some(match (self.text, self.data) {
                    (None, None) => Heard::Nothing,
                    (text, data) => {
                        Heard::Event(Event::Status { text: text.unwrap_or_default(), data })
                    }
                });
            }
            "completed" => Outcome::Completed { answer: self.text },
            "failed" => {
                Outcome::Failed { message: words("the agent says that it failed"), hint: None }
            }
            "rejected" => Outcome::Rejected { message: words("the agent refuses this work") },
            "input-required" => Outcome::InputRequired {
                question: words("the agent waits for input"),
                data: self.data,
            },
            "auth-required" => {
                Outcome::AuthRequired { message: words("the agent needs credentials") }
            }
            "canceled" | "cancelled" => Outcome::Canceled,
            _ => return None,
        };
        Some(Heard::End(outcome))
    }

    fn artifact(self) -> Option<Artifact> {
        let (filename, media_type, is_raw) = (self.filename, self.media_type, self.raw.is_some());
        let content = match (self.text, self.raw, self.url, self.data) {
            // Whoever takes it in sees that its end is missing.
            (Some(cut), None, None, None) | (None, Some(cut), None, None)
                if is_shortened(&cut) && (filename.is_some() || is_raw) =>
            {
                Content::Raw { base64: cut, filename, media_type }
            }
            (Some(text), None, None, None) if filename.is_some() => {
                let media_type = media_type.or_else(|| Some("text/plain".to_owned()));
                Content::Raw { base64: BASE64_STANDARD.encode(text), filename, media_type }
            }
            (Some(text), None, None, None) => Content::Text(text),
            (None, Some(raw), None, None) => {
                Content::Raw { base64: standard_base64(&raw)?, filename, media_type }
            }
            (None, None, Some(url), None) => Content::Url { url, filename, media_type },
            (None, None, None, Some(data)) => Content::Data(data),
            _ => return None,
        };
        Some(Artifact {
            id: self.id,
            name: self.name,
            description: self.description,
            content,
            append: self.append.unwrap_or(false),
            // An artifact said in one line is whole; who says it in pieces says which is the last.
            last: self.last.unwrap_or(self.append.is_none()),
        })
    }
}

/// Any usual base64 (URL-safe, unpadded, wrapped) in the standard alphabet with padding.
fn standard_base64(text: &str) -> Option<String> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let standard: String = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    Some(BASE64_STANDARD.encode(LENIENT.decode(standard).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(line: &str) -> Event {
        match hear(line.as_bytes()) {
            Heard::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    fn artifact(line: &str) -> Artifact {
        match event(line) {
            Event::Artifact(artifact) => artifact,
            other => panic!("no artifact: {other:?}"),
        }
    }

    #[test]
    fn a_line_that_is_not_json_is_kept_as_raw_text() {
        assert_eq!(event("Loading model…"), Event::Raw(json!("Loading model…")));
    }

    #[test]
    fn an_unknown_type_or_a_missing_field_is_raw() {
        for line in [
            r#"{"type":"dance"}"#,
            r#"{"type":"text"}"#,
            r#"{"type":"text","text":1}"#,
            "[1]",
            "{}",
        ] {
            assert_eq!(event(line), Event::Raw(serde_json::from_str(line).unwrap()));
        }
    }

    #[test]
    fn a_working_status_without_words_says_nothing() {
        assert_eq!(hear(br#"{"type":"status","state":"working"}"#), Heard::Nothing);
    }

    #[test]
    fn states_may_be_spelled_as_in_the_protocol() {
        let outcome =
            hear(br#"{"type":"status","state":"TASK_STATE_INPUT_REQUIRED","text":"which?"}"#);
        assert_eq!(
            outcome,
            Heard::End(Outcome::InputRequired { question: "which?".to_owned(), data: None })
        );
    }

    #[test]
    fn an_ask_ends_the_turn_with_its_options() {
        let outcome = hear(br#"{"type":"ask","text":"which?","options":["a","b"]}"#);
        let data = Some(json!({ "options": ["a", "b"] }));
        assert_eq!(
            outcome,
            Heard::End(Outcome::InputRequired { question: "which?".to_owned(), data })
        );
    }

    #[test]
    fn an_artifact_in_one_line_is_whole() {
        let artifact = artifact(r#"{"type":"artifact","name":"n","data":{"a":1}}"#);
        assert_eq!((artifact.append, artifact.last), (false, true));
        assert_eq!(artifact.content, Content::Data(json!({ "a": 1 })));
    }

    #[test]
    fn an_artifact_in_pieces_ends_where_it_says_so() {
        let flags = |line| (artifact(line).append, artifact(line).last);
        assert_eq!(
            flags(r#"{"type":"artifact","id":"x","text":"1","last":false}"#),
            (false, false)
        );
        assert_eq!(
            flags(r#"{"type":"artifact","id":"x","text":"2","append":true}"#),
            (true, false)
        );
        assert_eq!(
            flags(r#"{"type":"artifact","id":"x","text":"3","append":true,"last":true}"#),
            (true, true)
        );
    }

    #[test]
    fn a_text_with_a_filename_is_a_file() {
        let artifact = artifact(
            r#"{"type":"artifact","text":"hi","filename":"a.md","media_type":"text/markdown"}"#,
        );
        let base64 = "aGk=".to_owned();
        let (filename, media_type) = (Some("a.md".to_owned()), Some("text/markdown".to_owned()));
        assert_eq!(artifact.content, Content::Raw { base64, filename, media_type });
    }

    #[test]
    fn base64_of_any_kind_is_taken_and_nonsense_is_not() {
        assert_eq!(standard_base64("_-8").as_deref(), Some("/+8="));
        assert_eq!(standard_base64("aGVs\nbG8=").as_deref(), Some("aGVsbG8="));
        assert_eq!(standard_base64("a%"), None);
    }

    #[test]
    fn an_artifact_with_two_contents_is_raw() {
        assert!(matches!(event(r#"{"type":"artifact","text":"a","url":"b"}"#), Event::Raw(_)));
    }

    #[test]
    fn usage_is_read_in_either_spelling() {
        let usage = Usage { input_tokens: Some(3), cost_usd: Some(0.5), ..Usage::default() };
        assert_eq!(
            event(r#"{"type":"usage","input_tokens":3,"costUsd":0.5}"#),
            Event::Usage(usage)
        );
    }
}
