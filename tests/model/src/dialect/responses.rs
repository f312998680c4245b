//! The `OpenAI` Responses API: a request as a conversation, a reply as a response or as events.

use super::{Sent, flat, id, list, said, tokens};
use crate::script::{Beat, Conversation, Item, Reply, ToolCall, spoken};
use serde_json::{Value, json};

/// Reads a request.
pub(crate) fn conversation(body: &Value) -> Conversation {
    let mut conversation = Conversation::default();
    for tool in list(&body["tools"]) {
        // A namespace holds tools of its own.
        let inner = match tool["type"].as_str() {
            Some("namespace") => list(&tool["tools"]),
            _ => std::slice::from_ref(tool),
        };
        for tool in inner {
            if let Some(name) = tool["name"].as_str() {
                let shape = tool["parameters"].clone();
                conversation.tools.insert(name.to_owned(), shape);
            }
        }
    }
    if let Some(text) = body["input"].as_str() {
        said(&mut conversation.items, false, text);
    }
    for item in list(&body["input"]) {
        let kind = item["type"].as_str().unwrap_or("message");
        let items = &mut conversation.items;
        match (kind, item["role"].as_str()) {
            ("message", Some("assistant")) => said(items, true, &flat(&item["content"])),
            ("message", Some("user")) => said(items, false, &flat(&item["content"])),
            (kind, _) if kind.ends_with("_output") => {
                items.push(Item::Result(flat(&item["output"])));
            }
            (kind, _) if kind.ends_with("_call") => items.push(Item::Call),
            _ => {}
        }
    }
    conversation
}

fn message(text: &str) -> Value {
    json!({
        "type": "message", "id": id("msg"), "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    })
}

fn call(call: &ToolCall) -> Value {
    json!({
        "type": "function_call", "id": id("fc"), "call_id": id("call"), "status": "completed",
        "name": call.name, "arguments": call.input.to_string(),
    })
}

/// The items of a reply: its calls, or its one message behind what it thinks.
fn items(reply: &Reply) -> Vec<Value> {
    match reply {
        Reply::Text { thinking, beats } => {
            let thought = thinking.iter().map(|text| {
                let summary = json!([{"type": "summary_text", "text": text}]);
                json!({"type": "reasoning", "id": id("rs"), "summary": summary})
            });
            thought.chain([message(&spoken(beats))]).collect()
        }
        Reply::Calls(calls) => calls.iter().map(call).collect(),
        Reply::Error { .. } => Vec::new(),
    }
}

/// A reply as one response.
pub(crate) fn response(model: &str, input_tokens: usize, reply: &Reply) -> Value {
    of_items(model, input_tokens, tokens(reply), items(reply))
}

fn of_items(model: &str, input: usize, output: usize, items: Vec<Value>) -> Value {
    json!({
        "id": id("resp"), "object": "response", "created_at": 1_750_000_000, "status": "completed",
        "model": model, "output": items,
        "usage": {
            "input_tokens": input, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input + output,
        },
    })
}

/// A reply as the events of a stream.
pub(crate) fn stream<'a>(model: &str, input_tokens: usize, reply: &'a Reply) -> Vec<Sent<'a>> {
    let items = items(reply);
    let whole = of_items(model, input_tokens, tokens(reply), items.clone());
    let mut begun = whole.clone();
    begun["status"] = json!("in_progress");
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    let mut sent = Vec::new();
    let mut number = 0;
    let mut event = |kind: &str, mut fields: Value| {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(number);
        number += 1;
        Sent::Event(fields)
    };
    sent.push(event("response.created", json!({"response": begun})));
    for (index, item) in items.iter().enumerate() {
        let is_message = item["type"] == "message";
        let mut opened = item.clone();
        if is_message {
            opened["content"] = json!([]);
            opened["status"] = json!("in_progress");
        }
        let added = json!({"output_index": index, "item": opened});
        sent.push(event("response.output_item.added", added));
        if let (true, Reply::Text { beats, .. }) = (is_message, reply) {
            let place = json!({"item_id": item["id"], "output_index": index, "content_index": 0});
            let with = |name: &str, value: Value| {
                let mut fields = place.clone();
                fields[name] = value;
                fields
            };
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            sent.push(event("response.content_part.added", with("part", part)));
            for beat in beats {
                sent.push(match beat {
                    Beat::Say(text) => {
                        event("response.output_text.delta", with("delta", json!(text)))
                    }
                    Beat::Pause(_) | Beat::Cue(_) | Beat::Cut => Sent::Beat(beat),
                });
            }
            let part = item["content"][0].clone();
            let text = part["text"].clone();
            sent.push(event("response.output_text.done", with("text", text)));
            sent.push(event("response.content_part.done", with("part", part)));
        }
        let done = json!({"output_index": index, "item": item});
        sent.push(event("response.output_item.done", done));
    }
    sent.push(event("response.completed", json!({"response": whole})));
    sent
}

#[cfg(test)]
mod tests {
    use super::super::tests::pieces;
    use super::*;

    #[test]
    fn the_client_s_shell_is_called_then_its_result_counts() {
        let user = |text: &str| json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
        let mut input = vec![
            user("<environment_context>say no</environment_context>"),
            user("bash: ls\nsay the end"),
        ];
        let shape = json!({"type": "object", "properties": {"cmd": {"type": "string"}}});
        let tools = json!([{"type": "function", "name": "exec_command", "parameters": shape}]);
        let reply =
            |input: &[Value]| conversation(&json!({"input": input, "tools": tools})).reply();
        let call = response("m", 1, &reply(&input))["output"][0].clone();
        assert_eq!(
            (&call["name"], &call["arguments"]),
            (&json!("exec_command"), &json!("{\"cmd\":\"ls\"}"))
        );
        input.push(call);
        input.push(json!({"type": "function_call_output", "output": "a.txt"}));
        assert_eq!(reply(&input).describe(), "text \"the end\"");
    }

    #[test]
    fn the_pieces_of_a_stream_are_the_text_of_the_response() {
        let reply = conversation(&json!({"input": "say héllo"})).reply();
        let sent = stream("m", 1, &reply);
        assert_eq!(pieces(&sent, |event| event["delta"].as_str()), "héllo");
        let done = pieces(&sent, |event| event["response"]["status"].as_str());
        assert_eq!(done, "in_progresscompleted");
    }
}
