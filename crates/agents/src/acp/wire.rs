//! The Agent Client Protocol on the wire: JSON-RPC 2.0, an object a line; only what the driver reads.

use crate::Step;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// JSON-RPC: a method that is not there.
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: parameters that make no sense.
pub(super) const INVALID_PARAMS: i64 = -32602;
/// The protocol's own: the agent wants `authenticate` first.
pub(super) const AUTH_REQUIRED: i64 = -32000;
/// The protocol's own: a session (or a file) that is not there.
pub(super) const NOT_FOUND: i64 = -32002;
/// The protocol's own: the request was withdrawn.
pub(super) const REQUEST_CANCELLED: i64 = -32800;

/// The envelope of every line. A `null` counts as absent.
#[derive(Debug, Deserialize)]
pub(super) struct RpcMessage<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// An error response.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: Option<String>,
    pub(super) data: Option<Value>,
}

/// The answer to `initialize`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Initialized {
    pub(super) protocol_version: Option<Value>,
    pub(super) agent_capabilities: Option<Capabilities>,
    pub(super) agent_info: Option<Info>,
    pub(super) auth_methods: Option<Vec<AuthMethod>>,
}

/// What the agent can do.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Capabilities {
    pub(super) load_session: Option<bool>,
    pub(super) prompt_capabilities: Option<PromptCapabilities>,
    pub(super) session_capabilities: Option<SessionCapabilities>,
    pub(super) mcp_capabilities: Option<McpCapabilities>,
}

/// How the agent can reach MCP servers beside starting them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct McpCapabilities {
    pub(super) http: Option<bool>,
    pub(super) sse: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PromptCapabilities {
    pub(super) image: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SessionCapabilities {
    pub(super) resume: Option<Value>,
    pub(super) fork: Option<Value>,
}

/// Who the agent is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) name: Option<String>,
}

/// A way to sign in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthMethod {
    pub(super) id: String,
}

/// The answer to `session/new`, `session/resume` and `session/load`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Opened {
    pub(super) session_id: Option<String>,
    pub(super) modes: Option<Modes>,
    pub(super) models: Option<Models>,
    pub(super) config_options: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Modes {
    pub(super) current_mode_id: Option<String>,
    pub(super) available_modes: Option<Vec<Mode>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Mode {
    pub(super) id: String,
    pub(super) name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Models {
    pub(super) current_model_id: Option<String>,
    pub(super) available_models: Option<Vec<Model>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Model {
    pub(super) model_id: String,
    pub(super) name: Option<String>,
}

/// A `session/update`, with what is inside left raw.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notification<'a> {
    #[serde(borrow)]
    pub(super) session_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) update: &'a RawValue,
}

/// The head of an update, and what a piece of a message holds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update<'a> {
    #[serde(borrow)]
    pub(super) session_update: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    pub(super) meta: Option<&'a RawValue>,
}

/// A block of content; its fields belong to different types.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
    pub(super) data: Option<String>,
    pub(super) mime_type: Option<String>,
    pub(super) uri: Option<String>,
    pub(super) name: Option<String>,
    pub(super) resource: Option<Resource>,
}

/// An embedded resource.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Resource {
    pub(super) uri: Option<String>,
    pub(super) text: Option<String>,
    pub(super) blob: Option<String>,
    pub(super) mime_type: Option<String>,
}

/// A tool call, whole or what changed of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ToolCall {
    pub(super) tool_call_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) title: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) status: Option<String>,
    pub(super) content: Option<Vec<Value>>,
    pub(super) locations: Option<Vec<Value>>,
    pub(super) raw_input: Option<Value>,
    pub(super) raw_output: Option<Value>,
    #[serde(rename = "_meta")]
    pub(super) meta: Option<Value>,
}

/// The parameters of `session/request_permission`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PermissionRequest {
    pub(super) session_id: Option<String>,
    pub(super) tool_call: ToolCall,
    pub(super) options: Vec<PermissionOption>,
}

/// One way to answer a permission request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PermissionOption {
    pub(super) option_id: String,
    pub(super) name: String,
    pub(super) kind: String,
}

/// The answer to `session/prompt`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Prompted {
    pub(super) stop_reason: Option<String>,
    pub(super) usage: Option<Value>,
    #[serde(rename = "_meta")]
    pub(super) meta: Option<Value>,
}

/// A message as a line on standard input.
fn write(mut message: Map<String, Value>) -> Step {
    message.insert("jsonrpc".to_owned(), "2.0".into());
    Step::Write(format!("{}\n", Value::Object(message)).into_bytes())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A request of ours.
pub(super) fn request(id: u64, method: &str, params: &Value) -> Step {
    write(object(json!({ "id": id, "method": method, "params": params })))
}

/// A notification of ours.
pub(super) fn notify(method: &str, params: &Value) -> Step {
    write(object(json!({ "method": method, "params": params })))
}

/// The answer to a request of the agent.
pub(super) fn respond(id: &Value, result: &Value) -> Step {
    write(object(json!({ "id": id, "result": result })))
}

/// The refusal of a request of the agent.
pub(super) fn refuse(id: &Value, code: i64, message: &str) -> Step {
    write(object(json!({ "id": id, "error": { "code": code, "message": message } })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_text_is_read_without_copying_it() {
        let update = r#"{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"hi"},"messageId":null}"#;
        let update: Update<'_> = serde_json::from_str(update).unwrap();
        let block: Block<'_> = serde_json::from_str(update.content.unwrap().get()).unwrap();
        assert!(matches!(update.session_update, Cow::Borrowed(_)));
        assert_eq!(block.text.as_deref(), Some("hi"));
    }

    #[test]
    fn null_counts_as_absent() {
        let line: RpcMessage<'_> =
            serde_json::from_str(r#"{"id":1,"result":null,"error":null}"#).unwrap();
        assert!(line.result.is_none() && line.error.is_none() && line.method.is_none());
    }

    #[test]
    fn a_message_is_one_line() {
        let Step::Write(bytes) = notify("a/b", &json!({ "text": "x\ny" })) else {
            panic!("not written")
        };
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }
}
