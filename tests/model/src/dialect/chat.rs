//! `OpenAI`'s chat completions: a request as a conversation, a reply as a completion or as chunks.

use super::{Sent, flat, id, list, said, tokens};
use crate::script::{Beat, Conversation, Item, Reply, spoken};
use serde_json::{Value, json};

/// Reads a request.
pub(crate) fn conversation(body: &Value) -> Conversation {
    let tools = list(&body["tools"]).iter().filter_map(|tool| {
        let function = &tool["function"];
        let name = function["name"].as_str()?.to_owned();
        Some((name, function["parameters"].clone()))
    });
    let mut conversation = Conversation { tools: tools.collect(), items: Vec::new() };
    let items = &mut conversation.items;
    for message in list(&body["messages"]) {
        let text = flat(&message["content"]);
        match message["role"].as_str() {
            Some("tool") => items.push(Item::Result(text)),
            Some("user") => said(items, false, &text),
            Some("assistant") => {
                said(items, true, &text);
                items.extend(list(&message["tool_calls"]).iter().map(|_| Item::Call));
            }
            _ => {}
        }
    }
    conversation
}

fn calls(reply: &Reply) -> Vec<Value> {
    let Reply::Calls(calls) = reply else {
        return Vec::new();
    };
    let calls = calls.iter().enumerate().map(|(index, call)| {
        let function = json!({"name": call.name, "arguments": call.input.to_string()});
        json!({"index": index, "id": id("call"), "type": "function", "function": function})
    });
    calls.collect()
}

fn ending(reply: &Reply) -> &'static str {
    match reply {
        Reply::Calls(_) => "tool_calls",
        Reply::Text { .. } | Reply::Error { .. } => "stop",
    }
}

fn usage(input: usize, reply: &Reply) -> Value {
    let output = tokens(reply);
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

/// A reply as one completion.
pub(crate) fn completion(model: &str, input_tokens: usize, reply: &Reply) -> Value {
    let mut message = json!({"role": "assistant", "content": null});
    if let Reply::Text { beats, .. } = reply {
        message["content"] = json!(spoken(beats));
    }
    let calls = calls(reply);
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    json!({
        "id": id("chatcmpl"), "object": "chat.completion", "created": 1_750_000_000, "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": ending(reply)}],
        "usage": usage(input_tokens, reply),
    })
}

/// A reply as the chunks of a stream, usage behind them.
pub(crate) fn stream<'a>(model: &str, input_tokens: usize, reply: &'a Reply) -> Vec<Sent<'a>> {
    let id = id("chatcmpl");
    let chunk = |choices: Value| {
        json!({
            "id": id, "object": "chat.completion.chunk", "created": 1_750_000_000, "model": model,
            "choices": choices,
        })
    };
    let delta = |delta: Value, ending: Option<&str>| {
        Sent::Event(chunk(json!([{"index": 0, "delta": delta, "finish_reason": ending}])))
    };
    let mut sent = vec![delta(json!({"role": "assistant", "content": ""}), None)];
    if let Reply::Text { beats, .. } = reply {
        sent.extend(beats.iter().map(|beat| match beat {
            Beat::Say(text) => delta(json!({"content": text}), None),
            Beat::Pause(_) | Beat::Cue(_) | Beat::Cut => Sent::Beat(beat),
        }));
    }
    let calls = calls(reply);
    if !calls.is_empty() {
        sent.push(delta(json!({"tool_calls": calls}), None));
    }
    sent.push(delta(json!({}), Some(ending(reply))));
    let mut last = chunk(json!([]));
    last["usage"] = usage(input_tokens, reply);
    sent.push(Sent::Event(last));
    sent.push(Sent::Event(json!("[DONE]")));
    sent
}

#[cfg(test)]
mod tests {
    use super::super::tests::pieces;
    use super::*;

    #[test]
    fn the_client_s_shell_is_called_then_its_result_counts() {
        let shape = json!({"type": "object", "properties": {"command": {"type": "string"}}});
        let tools =
            json!([{"type": "function", "function": {"name": "bash", "parameters": shape}}]);
        let mut messages = vec![json!({"role": "user", "content": "bash: ls\nsay the end"})];
        let reply = |messages: &[Value]| {
            conversation(&json!({"messages": messages, "tools": tools})).reply()
        };
        let message = completion("m", 1, &reply(&messages))["choices"][0]["message"].clone();
        let call = &message["tool_calls"][0]["function"];
        assert_eq!(
            (&call["name"], &call["arguments"]),
            (&json!("bash"), &json!("{\"command\":\"ls\"}"))
        );
        messages.push(message);
        messages.push(json!({"role": "tool", "content": "a.txt"}));
        assert_eq!(reply(&messages).describe(), "text \"the end\"");
    }

    #[test]
    fn a_stream_ends_with_its_usage_and_a_word() {
        let reply = conversation(&json!({"messages": [{"role": "user", "content": "say héllo"}]}));
        let reply = reply.reply();
        let sent = stream("m", 1, &reply);
        let text = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::len);
        let length: usize = sent
            .iter()
            .filter_map(|sent| match sent {
                Sent::Event(event) => text(event),
                Sent::Beat(_) => None,
            })
            .sum();
        assert_eq!(length, "héllo".len());
        assert_eq!(pieces(&sent[sent.len() - 1..], Value::as_str), "[DONE]");
    }
}
