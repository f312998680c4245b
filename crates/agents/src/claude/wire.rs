//! The lines of Claude Code as types that borrow from the line: only what the driver reads.
//!
//! A line is read in one pass with its inner objects left raw; the one that matters is then read as
//! what its `type` says. So a text delta costs no tree of values.

use crate::LONGEST_ID;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

/// A string that is borrowed where it has no escapes, also inside an `Option`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// An id or a name; none where it is longer than an id may be.
fn short<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text<'a>>, D::Error> {
    let text = Option::<Text<'a>>::deserialize(deserializer)?;
    Ok(text.filter(|text| text.len() <= LONGEST_ID))
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

/// The envelope of every line.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct OutputLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Text<'a>,
    pub(super) subtype: Option<Text<'a>>,
    /// The tool call within which a sub-agent speaks; none for the agent itself.
    pub(super) parent_tool_use_id: Option<Text<'a>>,
    pub(super) event: Option<&'a RawValue>,
    pub(super) message: Option<&'a RawValue>,
    pub(super) request_id: Option<Text<'a>>,
    pub(super) request: Option<&'a RawValue>,
    pub(super) response: Option<&'a RawValue>,
    pub(super) rate_limit_info: Option<&'a RawValue>,
    /// An error of the model API that the CLI dresses up as words of the assistant.
    pub(super) is_api_error_message: Option<bool>,
    /// The messages of ours that a line answers, where we gave them ids.
    pub(super) user_message_uuids: Option<Vec<Text<'a>>>,
    pub(super) command_uuid: Option<Text<'a>>,
    pub(super) state: Option<Text<'a>>,
}

/// A `stream_event`: an event of the model API, as it comes.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct StreamEvent<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Text<'a>,
    pub(super) delta: Option<Delta<'a>>,
    pub(super) message: Option<MessageHead<'a>>,
    /// What its message has used so far.
    pub(super) usage: Option<Tokens>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Delta<'a> {
    pub(super) text: Option<Text<'a>>,
    pub(super) thinking: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct MessageHead<'a> {
    #[serde(default, deserialize_with = "short")]
    pub(super) id: Option<Text<'a>>,
    pub(super) usage: Option<Tokens>,
}

/// The message of an `assistant` or `user` line.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Message<'a> {
    #[serde(default, deserialize_with = "short")]
    pub(super) id: Option<Text<'a>>,
    pub(super) content: Option<&'a RawValue>,
    pub(super) usage: Option<Tokens>,
}

/// A block of a message, or of a tool's result.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Block<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Text<'a>,
    pub(super) text: Option<Text<'a>>,
    pub(super) thinking: Option<Text<'a>>,
    #[serde(default, deserialize_with = "short")]
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    pub(super) input: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "short")]
    pub(super) tool_use_id: Option<Text<'a>>,
    pub(super) content: Option<&'a RawValue>,
    pub(super) is_error: Option<bool>,
    /// Of a picture or a document.
    pub(super) source: Option<&'a RawValue>,
}

/// The file in a block.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Source<'a> {
    pub(super) media_type: Option<Text<'a>>,
    pub(super) data: Option<Text<'a>>,
}

/// A `control_request` of the CLI to its host.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Control<'a> {
    pub(super) subtype: Text<'a>,
    pub(super) tool_name: Option<Text<'a>>,
    pub(super) input: Option<Value>,
    pub(super) description: Option<Text<'a>>,
    pub(super) decision_reason: Option<Text<'a>>,
    /// Who wants it to be asked: `hook`, a rule, a mode.
    pub(super) decision_reason_type: Option<Text<'a>>,
    #[serde(default, deserialize_with = "short")]
    pub(super) tool_use_id: Option<Text<'a>>,
    pub(super) mcp_server_name: Option<Text<'a>>,
    pub(super) message: Option<Text<'a>>,
    pub(super) mode: Option<Text<'a>>,
    pub(super) url: Option<Text<'a>>,
    pub(super) elicitation_id: Option<Text<'a>>,
    pub(super) requested_schema: Option<Value>,
}

/// The answer to a `control_request` of ours.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct ControlResponse<'a> {
    pub(super) request_id: Text<'a>,
    pub(super) response: Option<&'a RawValue>,
}

/// The answer to `mcp_status`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct ServerStates<'a> {
    pub(super) mcp_servers: Option<Vec<McpServer<'a>>>,
}

/// An MCP server as the CLI sees it; `init` gives no `error`.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct McpServer<'a> {
    pub(super) name: Text<'a>,
    pub(super) status: Text<'a>,
    pub(super) error: Option<Text<'a>>,
}

/// A `system` line; its fields belong to different subtypes.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct System<'a> {
    #[serde(default, deserialize_with = "short")]
    pub(super) session_id: Option<Text<'a>>,
    #[serde(default, deserialize_with = "short")]
    pub(super) model: Option<Text<'a>>,
    pub(super) status: Option<Text<'a>>,
    pub(super) attempt: Option<u64>,
    pub(super) max_retries: Option<u64>,
    pub(super) retry_delay_ms: Option<f64>,
    pub(super) error_status: Option<u64>,
    pub(super) error: Option<Text<'a>>,
    pub(super) tool_name: Option<Text<'a>>,
    #[serde(default, deserialize_with = "short")]
    pub(super) tool_use_id: Option<Text<'a>>,
    pub(super) message: Option<Text<'a>>,
    pub(super) mcp_servers: Option<&'a RawValue>,
    pub(super) mcp_server_name: Option<Text<'a>>,
}

/// A `hook_started` or `hook_response` line.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct HookLine<'a> {
    pub(super) hook_id: Text<'a>,
    /// The event, with the tool where it is about one.
    pub(super) hook_name: Text<'a>,
    pub(super) stdout: Option<Text<'a>>,
    pub(super) stderr: Option<Text<'a>>,
    pub(super) exit_code: Option<i64>,
    /// `success`, `error` or `cancelled`.
    pub(super) outcome: Option<Text<'a>>,
}

/// An `informational` line (`content`, `level`) or a `notification` (`text`, `priority`).
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Notice<'a> {
    pub(super) content: Option<Text<'a>>,
    pub(super) level: Option<Text<'a>>,
    pub(super) text: Option<Text<'a>>,
    pub(super) priority: Option<Text<'a>>,
    pub(super) tag: Option<Text<'a>>,
    pub(super) key: Option<Text<'a>>,
    pub(super) prevent_continuation: Option<bool>,
    pub(super) prompt_submit_outcome: Option<PromptOutcome<'a>>,
}

/// What hooks made of a prompt.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct PromptOutcome<'a> {
    pub(super) kind: Option<Text<'a>>,
    pub(super) reason: Option<Text<'a>>,
}

/// What a `rate_limit_event` says of the account.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct RateLimits<'a> {
    /// `allowed`, `allowed_warning` or `rejected`.
    pub(super) status: Text<'a>,
    pub(super) rate_limit_type: Option<Text<'a>>,
    /// Seconds since 1970.
    pub(super) resets_at: Option<i64>,
    /// From 0 to 1.
    pub(super) utilization: Option<f64>,
    pub(super) is_using_overage: Option<bool>,
}

/// The `result` line that ends a turn. A field that cannot be read costs no other one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TurnResult {
    #[serde(deserialize_with = "if_readable")]
    pub(super) subtype: Option<String>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) is_error: Option<bool>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) result: Option<String>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) errors: Option<Vec<Value>>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) num_turns: Option<u64>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) terminal_reason: Option<String>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) api_error_status: Option<u64>,
    /// Cumulative over the life of the process.
    #[serde(deserialize_with = "if_readable")]
    pub(super) total_cost_usd: Option<f64>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) usage: Option<Tokens>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) model_usage_since_last_result: Option<BTreeMap<String, ModelTokens>>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) permission_denials: Option<Vec<Denial>>,
    #[serde(deserialize_with = "if_readable")]
    pub(super) structured_output: Option<Value>,
}

/// A field, or none where it is not what is known of it.
fn if_readable<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let field = Option::<&RawValue>::deserialize(deserializer)?;
    Ok(field.and_then(|field| serde_json::from_str(field.get()).ok()))
}

/// Tokens of one message or of one turn.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Tokens {
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) cache_creation_input_tokens: Option<u64>,
}

/// Tokens of one model.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ModelTokens {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
}

/// A tool call that was not permitted.
#[derive(Debug, Deserialize)]
pub(super) struct Denial {
    pub(super) tool_name: String,
    pub(super) tool_use_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_read_without_copying_its_text() {
        let line = br#"{"event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}},"type":"stream_event"}"#;
        let line: OutputLine<'_> = serde_json::from_slice(line).unwrap();
        let event: StreamEvent<'_> = serde_json::from_str(line.event.unwrap().get()).unwrap();
        let text = event.delta.unwrap().text.unwrap();
        assert!(matches!(text.0, Cow::Borrowed("hi")));
    }

    #[test]
    fn escapes_and_null_are_read() {
        let line: OutputLine<'_> =
            serde_json::from_slice(br#"{"type":"a\nb","subtype":null,"parent_tool_use_id":"x"}"#)
                .unwrap();
        assert_eq!((&*line.kind, line.subtype), ("a\nb", None));
        assert_eq!(line.parent_tool_use_id.as_deref(), Some("x"));
    }
}
