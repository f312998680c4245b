//! The model APIs that are spoken: one request and one reply in each of their words.

use crate::messages;
use crate::script::{Beat, Conversation, Item, Reply, plain, spoken};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) mod chat;
pub(crate) mod gemini;
pub(crate) mod responses;

/// Ids given so far; they only need to differ.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// A model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Anthropic's Messages.
    Messages,
    /// `OpenAI`'s Responses.
    Responses,
    /// `OpenAI`'s chat completions.
    Chat,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    Gemini {
        /// Which of the two.
        streams: bool,
    },
}

/// One step of a stream.
#[derive(Debug)]
pub(crate) enum Sent<'a> {
    /// An event for the client; a string is sent as it is.
    Event(Value),
    /// A beat that is no text: a wait, or the end of the connection.
    Beat(&'a Beat),
}

impl Dialect {
    /// The API that is served at this path, for a `POST`.
    pub(crate) fn at(path: &str) -> Option<Self> {
        match path {
            "/v1/messages" => Some(Self::Messages),
            "/v1/responses" => Some(Self::Responses),
            "/v1/chat/completions" => Some(Self::Chat),
            _ => match gemini::method(path)?.1 {
                "generateContent" => Some(Self::Gemini { streams: false }),
                "streamGenerateContent" => Some(Self::Gemini { streams: true }),
                _ => None,
            },
        }
    }

    /// The model that a request is for.
    pub(crate) fn model<'a>(self, path: &'a str, body: &'a Value) -> &'a str {
        match self {
            Self::Gemini { .. } => gemini::method(path).map(|(model, _)| model),
            Self::Messages | Self::Responses | Self::Chat => body["model"].as_str(),
        }
        .unwrap_or("fake")
    }

    /// Whether a request wants its answer as a stream.
    pub(crate) fn streams(self, body: &Value) -> bool {
        match self {
            Self::Gemini { streams } => streams,
            Self::Messages | Self::Responses | Self::Chat => body["stream"] == true,
        }
    }

    /// How many entries of a conversation a request carries.
    pub(crate) fn entries(self, body: &Value) -> usize {
        let entries = match self {
            Self::Messages | Self::Chat => &body["messages"],
            Self::Responses => &body["input"],
            Self::Gemini { .. } => &body["contents"],
        };
        list(entries).len()
    }

    /// Reads a request. What it does not know is left out; a client may send more than we need.
    pub(crate) fn conversation(self, body: &Value) -> Conversation {
        match self {
            Self::Messages => messages::conversation(body),
            Self::Responses => responses::conversation(body),
            Self::Chat => chat::conversation(body),
            Self::Gemini { .. } => gemini::conversation(body),
        }
    }

    /// The shape that a client's side question wants its answer in; such a question offers no tools.
    pub(crate) fn shape(self, body: &Value) -> Option<&Value> {
        let shapes = match self {
            Self::Messages => [&body["output_config"]["format"]["schema"], &Value::Null],
            Self::Responses => [&body["text"]["format"]["schema"], &Value::Null],
            Self::Chat => [&body["response_format"]["json_schema"]["schema"], &Value::Null],
            Self::Gemini { .. } => {
                ["responseJsonSchema", "responseSchema"].map(|name| &body["generationConfig"][name])
            }
        };
        shapes.into_iter().find(|shape| shape.is_object())
    }

    /// A reply as one message.
    pub(crate) fn whole(self, model: &str, input_tokens: usize, reply: &Reply) -> Value {
        match self {
            Self::Messages => messages::message(model, input_tokens, reply),
            Self::Responses => responses::response(model, input_tokens, reply),
            Self::Chat => chat::completion(model, input_tokens, reply),
            Self::Gemini { .. } => gemini::content(model, input_tokens, reply),
        }
    }

    /// A reply as the events of a stream.
    pub(crate) fn stream<'a>(
        self,
        model: &str,
        input_tokens: usize,
        reply: &'a Reply,
    ) -> Vec<Sent<'a>> {
        match self {
            Self::Messages => messages::stream(model, input_tokens, reply),
            Self::Responses => responses::stream(model, input_tokens, reply),
            Self::Chat => chat::stream(model, input_tokens, reply),
            Self::Gemini { .. } => gemini::stream(model, input_tokens, reply),
        }
    }

    /// The status and the body of an HTTP error.
    pub(crate) fn error(self, code: u16) -> (u16, Value) {
        let told = messages::error(code);
        let (kind, message) = (&told["error"]["type"], &told["error"]["message"]);
        // The APIs themselves report a prompt that is too long as a bad request.
        let too_long = code == 413;
        let status = if too_long { 400 } else { code };
        let body = match self {
            Self::Messages if too_long => {
                let mut told = told;
                told["error"]["type"] = json!("invalid_request_error");
                told
            }
            Self::Messages => told,
            Self::Responses | Self::Chat => {
                let code = if too_long { &json!("context_length_exceeded") } else { kind };
                json!({"error": {"message": message, "type": kind, "code": code, "param": null}})
            }
            Self::Gemini { .. } => gemini::error(status, message),
        };
        (status, body)
    }

    /// The event of a stream whose cue was never released.
    pub(crate) fn cue_timed_out(self) -> Value {
        match self {
            Self::Messages => messages::cue_timed_out(),
            Self::Responses | Self::Chat | Self::Gemini { .. } => {
                json!({"error": {"code": 500, "message": "the cue was not released in time"}})
            }
        }
    }
}

/// The smallest value of a JSON schema, enough for a client's side question.
pub(crate) fn example(shape: &Value) -> Value {
    if let Some(first) = list(&shape["enum"]).first() {
        return first.clone();
    }
    // Gemini writes its types in capitals.
    let kind = shape["type"].as_str().unwrap_or("string").to_lowercase();
    match kind.as_str() {
        "object" => {
            let required = list(&shape["required"]);
            let fields = shape["properties"].as_object().into_iter().flatten();
            let wanted = fields.filter(|(name, _)| {
                required.is_empty() || required.iter().any(|wanted| wanted == name.as_str())
            });
            wanted.map(|(name, shape)| (name.clone(), example(shape))).collect()
        }
        "array" => json!([]),
        "number" | "integer" => json!(1),
        "boolean" => json!(true),
        _ => json!("fake"),
    }
}

/// An id that no other answer has.
pub(crate) fn id(prefix: &str) -> String {
    let n = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
    format!("{prefix}_fake{n:06}")
}

/// About as many tokens as a model would count in a reply.
pub(crate) fn tokens(reply: &Reply) -> usize {
    match reply {
        Reply::Text { beats, .. } => (spoken(beats).len() / 4).max(1),
        Reply::Calls(_) | Reply::Error { .. } => 1,
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text of a string, of an object with one, or of a list of such, a line each.
pub(crate) fn flat(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().map(flat).filter(|text| !text.is_empty());
            texts.collect::<Vec<_>>().join("\n")
        }
        Value::Object(fields) => {
            let inner = fields.get("text").or_else(|| fields.get("content"));
            inner.map(flat).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// What a user or the assistant said; what holds nothing but the client's own words is no turn.
pub(crate) fn said(items: &mut Vec<Item>, by_model: bool, text: &str) {
    let text = plain(text);
    if text.is_empty() {
        return;
    }
    items.push(if by_model { Item::Assistant } else { Item::User(text) });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The text pieces of a stream and what follows them, as some field holds them.
    pub(crate) fn pieces(sent: &[Sent<'_>], text: impl Fn(&Value) -> Option<&str>) -> String {
        let events = sent.iter().filter_map(|sent| match sent {
            Sent::Event(event) => text(event),
            Sent::Beat(_) => None,
        });
        events.collect()
    }

    #[test]
    fn a_path_names_its_api() {
        let gemini = |streams| Some(Dialect::Gemini { streams });
        for (path, dialect) in [
            ("/v1/messages", Some(Dialect::Messages)),
            ("/v1/responses", Some(Dialect::Responses)),
            ("/v1/chat/completions", Some(Dialect::Chat)),
            ("/v1beta/models/m-1:generateContent", gemini(false)),
            ("/v1beta/models/m-1:streamGenerateContent", gemini(true)),
            ("/v1beta/models/m-1:countTokens", None),
            ("/v1/models", None),
        ] {
            assert_eq!(Dialect::at(path), dialect, "{path}");
        }
    }

    #[test]
    fn an_example_has_every_required_field_and_no_other() {
        let shape = json!({"type": "OBJECT", "required": ["choice", "score"], "properties": {
            "choice": {"type": "STRING", "enum": ["flash", "pro"]},
            "score": {"type": "INTEGER"}, "note": {"type": "STRING"}}});
        assert_eq!(example(&shape), json!({"choice": "flash", "score": 1}));
    }

    #[test]
    fn a_prompt_that_is_too_long_is_a_bad_request_everywhere() {
        for path in ["/v1/messages", "/v1/responses", "/v1/chat/completions"] {
            let (status, body) = Dialect::at(path).unwrap().error(413);
            let text = body["error"]["message"].as_str().unwrap();
            assert!(status == 400 && text.contains("too long"), "{path}: {body}");
        }
    }
}
