//! The Anthropic Messages API: a request as a conversation, a reply as a message or as events.

use crate::dialect::{Sent, id, list};
use crate::script::{Beat, Reply};
use crate::script::{Conversation, Item, plain, spoken};
use serde_json::{Map, Value, json};

/// Reads a request. What it does not know is left out; a client may send more than we need.
pub(crate) fn conversation(body: &Value) -> Conversation {
    let tools = list(&body["tools"]).iter().filter_map(|tool| {
        let name = tool["name"].as_str()?.to_owned();
        Some((name, tool["input_schema"].clone()))
    });
    let mut conversation = Conversation { tools: tools.collect::<Map<_, _>>(), items: Vec::new() };
    for message in list(&body["messages"]) {
        let (role, content) = (&message["role"], &message["content"]);
        let mut texts = Vec::new();
        if let Some(text) = content.as_str() {
            texts.push(text);
        }
        for block in list(content) {
            match block["type"].as_str() {
                Some("tool_use") => conversation.items.push(Item::Call),
                Some("tool_result") => {
                    let text = flat(&block["content"]);
                    conversation.items.push(Item::Result(text));
                }
                Some("text") => texts.extend(block["text"].as_str()),
                _ => {}
            }
        }
        let text = plain(&texts.join("\n"));
        match role.as_str() {
            Some("user") => said(&mut conversation.items, &text),
            Some("assistant") if !text.is_empty() => conversation.items.push(Item::Assistant),
            _ => {}
        }
    }
    conversation
}

/// What a user message says. After an interrupt a client may send the old prompt and the new one
/// as one message; one that holds nothing but the client's reminders is no turn.
fn said(items: &mut Vec<Item>, text: &str) {
    for (at, part) in text.split("[Request interrupted by user").enumerate() {
        // The marker ends with `]` or ` for tool use]`.
        let part = match at {
            0 => part,
            _ => part.split_once(']').map_or("", |(_, after)| after),
        };
        if at > 0 {
            items.push(Item::Assistant);
        }
        if !part.trim().is_empty() {
            items.push(Item::User(part.trim().to_owned()));
        }
    }
}

/// The text of a tool result: a string, or the text blocks of a list.
fn flat(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        _ => {
            let texts = list(content).iter();
            let texts = texts.filter_map(|block| block["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
    }
}

/// A reply as one message.
pub(crate) fn message(model: &str, input_tokens: usize, reply: &Reply) -> Value {
    let mut content = Vec::new();
    let mut output_tokens = 1;
    let mut stop_reason = "end_turn";
    match reply {
        Reply::Text { thinking, beats } => {
            if let Some(thinking) = thinking {
                content.push(
                    json!({"type": "thinking", "thinking": thinking, "signature": "ZmFrZQ=="}),
                );
            }
            let text = spoken(beats);
            output_tokens = (text.len() / 4).max(1);
            content.push(json!({"type": "text", "text": text}));
        }
        Reply::Calls(calls) => {
            stop_reason = "tool_use";
            content.extend(calls.iter().map(|call| {
                json!({"type": "tool_use", "id": id("toolu"), "name": call.name, "input": call.input})
            }));
        }
        Reply::Error { .. } => {}
    }
    json!({
        "id": id("msg"), "type": "message", "role": "assistant", "model": model,
        "content": content, "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {
            "input_tokens": input_tokens, "output_tokens": output_tokens,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        },
    })
}

/// A reply as the events of a stream.
pub(crate) fn stream<'a>(model: &str, input_tokens: usize, reply: &'a Reply) -> Vec<Sent<'a>> {
    let whole = message(model, input_tokens, reply);
    let mut start = whole.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"]["output_tokens"] = json!(1);
    let mut sent = vec![Sent::Event(json!({"type": "message_start", "message": start}))];
    let mut event = |event| sent.push(event);
    for (index, block) in list(&whole["content"]).iter().enumerate() {
        let delta = |delta: Value| {
            Sent::Event(json!({"type": "content_block_delta", "index": index, "delta": delta}))
        };
        let begin = |block: Value| {
            let kind = "content_block_start";
            Sent::Event(json!({"type": kind, "index": index, "content_block": block}))
        };
        match block["type"].as_str() {
            Some("thinking") => {
                event(begin(json!({"type": "thinking", "thinking": "", "signature": ""})));
                event(delta(json!({"type": "thinking_delta", "thinking": block["thinking"]})));
                event(delta(json!({"type": "signature_delta", "signature": block["signature"]})));
            }
            Some("tool_use") => {
                let mut empty = block.clone();
                empty["input"] = json!({});
                let input = block["input"].to_string();
                event(begin(empty));
                event(delta(json!({"type": "input_json_delta", "partial_json": input})));
            }
            _ => {
                event(begin(json!({"type": "text", "text": ""})));
                let Reply::Text { beats, .. } = reply else {
                    continue;
                };
                for beat in beats {
                    event(match beat {
                        Beat::Say(text) => delta(json!({"type": "text_delta", "text": text})),
                        Beat::Pause(_) | Beat::Cue(_) | Beat::Cut => Sent::Beat(beat),
                    });
                }
            }
        }
        event(Sent::Event(json!({"type": "content_block_stop", "index": index})));
    }
    event(Sent::Event(json!({
        "type": "message_delta",
        "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": null},
        "usage": {"output_tokens": whole["usage"]["output_tokens"]},
    })));
    event(Sent::Event(json!({"type": "message_stop"})));
    sent
}

/// The text that a stream shows when its cue was never released.
pub(crate) fn cue_timed_out() -> Value {
    json!({"type": "error", "error": {"type": "api_error", "message": "the cue was not released in time"}})
}

/// The body of an HTTP error.
pub(crate) fn error(code: u16) -> Value {
    let kind = match code {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let message = match code {
        401 => "invalid x-api-key".to_owned(),
        413 => "prompt is too long: 250000 tokens > 200000 maximum".to_owned(),
        _ => format!("the fake model answers {kind} ({code})"),
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": id("req")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_result_counts_after_the_text_that_began_the_turn() {
        let body = json!({
            "tools": [{"name": "Bash", "input_schema": {}}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "<system-reminder>x</system-reminder>"},
                    {"type": "text", "text": "bash: ls\nsay end"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "name": "Bash"}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "content": [{"type": "text", "text": "a"}]},
                    {"type": "text", "text": "<system-reminder>y</system-reminder>"}]},
            ],
        });
        let reply = conversation(&body).reply();
        assert_eq!(reply.describe(), "text \"end\"");
    }

    #[test]
    fn what_was_interrupted_is_over() {
        let merged = "slow 9\n\n[Request interrupted by user]\n\nthanks";
        let body = json!({"messages": [{"role": "user", "content": merged}]});
        let conversation = conversation(&body);
        assert_eq!(conversation.user(), "thanks");
        assert_eq!(conversation.reply().describe(), "text \"ok: thanks\"");
    }

    #[test]
    fn the_pieces_of_a_stream_are_the_text_of_the_message() {
        let body = json!({"messages": [{"role": "user", "content": "say héllo"}]});
        let reply = conversation(&body).reply();
        let pieces = stream("m", 1, &reply);
        let text = pieces.iter().filter_map(|sent| match sent {
            Sent::Event(event) => event["delta"]["text"].as_str(),
            Sent::Beat(_) => None,
        });
        assert_eq!(text.collect::<String>(), "héllo");
        assert_eq!(message("m", 1, &reply)["content"][0]["text"], "héllo");
    }
}
