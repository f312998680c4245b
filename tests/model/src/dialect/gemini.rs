//! The Gemini API: a request as a conversation, a reply as a content or as a stream of them.

use super::{Sent, id, list, said, tokens};
use crate::script::{Beat, Conversation, Item, Reply, spoken};
use serde_json::{Value, json};

/// The model and the method of a path: `/v1beta/models/MODEL:METHOD`.
pub(crate) fn method(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/v1beta/models/")?.split_once(':')
}

/// Reads a request.
pub(crate) fn conversation(body: &Value) -> Conversation {
    let declared = list(&body["tools"]).iter().flat_map(|tool| list(&tool["functionDeclarations"]));
    let mut conversation = Conversation {
        tools: declared
            .filter_map(|function| {
                let shapes = ["parametersJsonSchema", "parameters"].map(|name| &function[name]);
                let shape = shapes.into_iter().find(|shape| shape.is_object());
                let name = function["name"].as_str()?.to_owned();
                Some((name, shape.cloned().unwrap_or_default()))
            })
            .collect(),
        items: Vec::new(),
    };
    for content in list(&body["contents"]) {
        let mut texts = Vec::new();
        for part in list(&content["parts"]) {
            if part.get("functionCall").is_some() {
                conversation.items.push(Item::Call);
            } else if let Some(answer) = part.get("functionResponse") {
                let answer = &answer["response"];
                let text = ["output", "error"].iter().find_map(|&name| answer[name].as_str());
                let text = text.map_or_else(|| answer.to_string(), ToOwned::to_owned);
                conversation.items.push(Item::Result(text));
            } else if part["thought"] != true {
                texts.extend(part["text"].as_str());
            }
        }
        let by_model = content["role"] == "model";
        said(&mut conversation.items, by_model, &texts.join("\n"));
    }
    conversation
}

fn candidate(model: &str, input: usize, output: usize, parts: &[Value], ends: bool) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if ends {
        candidate["finishReason"] = json!("STOP");
    }
    json!({
        "candidates": [candidate], "modelVersion": model, "responseId": id("response"),
        "usageMetadata": {
            "promptTokenCount": input, "candidatesTokenCount": output,
            "totalTokenCount": input + output,
        },
    })
}

/// What stands in a reply before and instead of its text.
fn parts(reply: &Reply) -> Vec<Value> {
    match reply {
        Reply::Text { thinking, .. } => {
            let thought = |text: &String| json!({"text": text, "thought": true});
            thinking.iter().map(thought).collect()
        }
        Reply::Calls(calls) => calls
            .iter()
            .map(|call| json!({"functionCall": {"id": id("call"), "name": call.name, "args": call.input}}))
            .collect(),
        Reply::Error { .. } => Vec::new(),
    }
}

/// A reply as one content.
pub(crate) fn content(model: &str, input_tokens: usize, reply: &Reply) -> Value {
    let mut parts = parts(reply);
    if let Reply::Text { beats, .. } = reply {
        parts.push(json!({"text": spoken(beats)}));
    }
    candidate(model, input_tokens, tokens(reply), &parts, true)
}

/// A reply as the contents of a stream; the last one ends it.
pub(crate) fn stream<'a>(model: &str, input_tokens: usize, reply: &'a Reply) -> Vec<Sent<'a>> {
    let event = |parts: &[Value], ends| {
        Sent::Event(candidate(model, input_tokens, tokens(reply), parts, ends))
    };
    let first = parts(reply);
    let Reply::Text { beats, .. } = reply else {
        return vec![event(&first, true)];
    };
    let mut sent = Vec::new();
    if !first.is_empty() {
        sent.push(event(&first, false));
    }
    let last = beats.iter().rposition(|beat| matches!(beat, Beat::Say(_)));
    for (at, beat) in beats.iter().enumerate() {
        sent.push(match beat {
            Beat::Say(text) => event(&[json!({"text": text})], Some(at) == last),
            Beat::Pause(_) | Beat::Cue(_) | Beat::Cut => Sent::Beat(beat),
        });
    }
    sent
}

/// The body of an HTTP error.
pub(crate) fn error(code: u16, message: &Value) -> Value {
    let status = match code {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        _ => "UNAVAILABLE",
    };
    json!({"error": {"code": code, "message": message, "status": status}})
}

#[cfg(test)]
mod tests {
    use super::super::tests::pieces;
    use super::*;

    fn body(results: usize) -> Value {
        let mut contents = vec![
            json!({"role": "user", "parts": [{"text": "<session_context>say no</session_context>"}]}),
            json!({"role": "user", "parts": [{"text": "bash: ls\nsay the end"}]}),
        ];
        for _ in 0..results {
            contents.push(json!({"role": "model", "parts": [{"functionCall": {"name": "run_shell_command"}}]}));
            let answer = json!({"name": "run_shell_command", "response": {"output": "a.txt"}});
            contents.push(json!({"role": "user", "parts": [{"functionResponse": answer}]}));
        }
        let shape = json!({"type": "object", "properties": {"command": {"type": "string"}}});
        json!({"contents": contents, "tools": [{"functionDeclarations": [
            {"name": "run_shell_command", "parametersJsonSchema": shape}]}]})
    }

    #[test]
    fn the_client_s_shell_is_called_then_its_result_counts() {
        let call = content("m", 1, &conversation(&body(0)).reply());
        let call = &call["candidates"][0]["content"]["parts"][0]["functionCall"];
        assert_eq!(
            (&call["name"], &call["args"]),
            (&json!("run_shell_command"), &json!({"command": "ls"}))
        );
        let end = conversation(&body(1)).reply();
        assert_eq!(end.describe(), "text \"the end\"");
    }

    #[test]
    fn a_stream_ends_with_a_reason_after_its_last_piece() {
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "say héllo"}]}]});
        let reply = conversation(&body).reply();
        let sent = stream("m", 1, &reply);
        let text = |event: &Value| {
            let parts = event.pointer("/candidates/0/content/parts/0/text");
            parts.map(|text| text.as_str().unwrap().to_owned())
        };
        let all: String = sent
            .iter()
            .filter_map(|sent| match sent {
                Sent::Event(event) => text(event),
                Sent::Beat(_) => None,
            })
            .collect();
        assert_eq!(all, "héllo");
        let reasons = pieces(&sent, |event| event["candidates"][0]["finishReason"].as_str());
        assert_eq!(reasons, "STOP");
    }
}
