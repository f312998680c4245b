//! Asks in the words of kagent's clients: the extension for approvals, as request and as answer.

use pilothouse_a2a::Json;
use pilothouse_a2a::error::Error;
use pilothouse_a2a::message::Message;
use serde_json::{Value, json};

/// The extension by which kagent's clients approve tools and answer questions.
pub const APPROVALS: &str = "https://kagent.dev/extensions/hitl/v1";

/// What an ask (as data of a status) is in the extension's words; `hint` is what people read.
pub fn render_request(ask: &Value, hint: &str) -> Option<Value> {
    let id = ask.get("askId")?;
    if ask.get("kind").and_then(Value::as_str) == Some("permission") {
        let arguments = ask.get("input").filter(|input| input.is_object());
        return Some(json!({
            "type": "tool_approval_request",
            "hint": hint,
            "tools": [{
                "id": id,
                "call_id": id,
                "name": ask.get("tool"),
                "args": arguments.cloned().unwrap_or_else(|| json!({})),
            }],
        }));
    }
    let own = ask.pointer("/input/questions").and_then(Value::as_array);
    let questions = match own {
        Some(questions) => questions.iter().map(render_question).collect(),
        None => {
            let options = ask.get("options").and_then(Value::as_array).into_iter().flatten();
            let names: Vec<_> =
                options.map(|option| option.get("name").unwrap_or(option)).collect();
            json!([{"question": ask.get("text"), "choices": names, "multiple": false}])
        }
    };
    Some(json!({"type": "ask_user_request", "hint": hint, "id": id, "questions": questions}))
}

/// A question of a form with several.
fn render_question(question: &Value) -> Value {
    let options = question.get("options").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<_> = options.map(|option| option.get("label").unwrap_or(option)).collect();
    let multiple = question.get("multiSelect").and_then(Value::as_bool).unwrap_or(false);
    json!({"question": question.get("question"), "choices": names, "multiple": multiple})
}

/// The answer that a message brings in the extension's words, as the data that an answer of our own has.
///
/// # Errors
///
/// An answer to several asks, or one that cannot be read.
pub(super) fn answer_in(message: &Message) -> Result<Option<Json>, Error> {
    let Some(given) = message.metadata.as_ref().and_then(|all| all.as_json().member(APPROVALS))
    else {
        return Ok(None);
    };
    super::check_size(&given)?;
    let given = given.to_value();
    let wrong = |what: &str| Error::invalid(format!("message.metadata.{APPROVALS}"), what);
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match given.get("type").and_then(Value::as_str) {
        Some("tool_approval_response") => {
            let approvals = given.get("approvals").and_then(Value::as_array);
            let [approval] = approvals.map(Vec::as_slice).unwrap_or_default() else {
                return Err(wrong(
                    "needs one approval: each ask is answered by a message of its own",
                ));
            };
            let id = text(approval, "id").ok_or_else(|| wrong("an approval needs an `id`"))?;
            let approved = approval.get("approved").and_then(Value::as_bool);
            let approved = approved.ok_or_else(|| wrong("an approval needs `approved`"))?;
            let mut data =
                json!({"askId": id, "decision": if approved { "allow" } else { "deny" }});
            if let Some(reason) = text(approval, "rejection_reason").filter(|_| !approved) {
                data["reason"] = reason.into();
            }
            Ok(Some(data.into()))
        }
        Some("ask_user_response") => {
            let id = text(&given, "id").ok_or_else(|| wrong("needs the `id` of the request"))?;
            let answers = given.get("answers").and_then(Value::as_array);
            let answers = answers.map(|answers| answers.iter().map(read_words).collect::<Vec<_>>());
            match answers.unwrap_or_default().as_slice() {
                [] => Err(wrong("needs `answers`")),
                [answer] => Ok(Some(json!({"askId": id, "answer": answer}).into())),
                several => Ok(Some(json!({"askId": id, "answers": several}).into())),
            }
        }
        _ => Err(wrong("is neither a tool_approval_response nor an ask_user_response")),
    }
}

/// The words of one answer: a list of texts, alone or as a member.
fn read_words(answer: &Value) -> String {
    let list = match answer {
        Value::Object(members) => members.values().find_map(Value::as_array),
        other => other.as_array(),
    };
    match list {
        Some(list) => {
            let texts: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            texts.join(", ")
        }
        None => answer.as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::message::Role;

    fn answer(given: Value) -> Result<Option<Value>, Error> {
        let mut message = Message::new(Role::User, Vec::new());
        message.metadata = Some(serde_json::from_value(json!({APPROVALS: given})).unwrap());
        answer_in(&message).map(|data| data.map(|data| data.to_value()))
    }

    #[test]
    fn a_permission_is_a_tool_that_waits_for_approval() {
        let ask = json!({"askId": "a-1", "kind": "permission", "tool": "Bash", "input": {"command": "ls"}});
        let expected = json!({
            "type": "tool_approval_request",
            "hint": "May Bash be used?",
            "tools": [{"id": "a-1", "call_id": "a-1", "name": "Bash", "args": {"command": "ls"}}],
        });
        assert_eq!(render_request(&ask, "May Bash be used?"), Some(expected));
    }

    #[test]
    fn an_approval_and_a_rejection_are_decisions() {
        let given = |approval| json!({"type": "tool_approval_response", "approvals": [approval]});
        assert_eq!(
            answer(given(json!({"id": "a-1", "approved": true}))).unwrap(),
            Some(json!({"askId": "a-1", "decision": "allow"}))
        );
        assert_eq!(
            answer(given(json!({"id": "a-1", "approved": false, "rejection_reason": "no"})))
                .unwrap(),
            Some(json!({"askId": "a-1", "decision": "deny", "reason": "no"}))
        );
        assert!(answer(json!({"type": "tool_approval_response", "approvals": []})).is_err());
        assert!(answer(given(json!({"id": "a-1"}))).is_err());
    }

    #[test]
    fn answers_to_questions_are_words() {
        let given = |answers| json!({"type": "ask_user_response", "id": "a-1", "answers": answers});
        let one = answer(given(json!([{"answer": ["red"]}]))).unwrap();
        assert_eq!(one, Some(json!({"askId": "a-1", "answer": "red"})));
        let two = answer(given(json!([{"answer": ["a", "b"]}, ["c"]]))).unwrap();
        assert_eq!(two, Some(json!({"askId": "a-1", "answers": ["a, b", "c"]})));
    }
}
