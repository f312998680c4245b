//! An ask as people and programs see it: one object for the store, the API, the data part of a status and webhooks.

use super::diff;
use crate::store::{AskRow, AskState};
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::{AskKind, InputForm};
use serde_json::{Value, json};

/// Characters of one field of a tool's input in the words for people; the data part has it all.
const SHOWN: usize = 4000;

/// The `inputForm` of an ask of the Agent Client Protocol.
const ACP: &str = "acp";

/// Where the arguments of the call are in the `input` of an ask.
pub(super) fn form(ask: &Value) -> InputForm {
    if ask["inputForm"] == ACP { InputForm::Acp } else { InputForm::Plain }
}

/// An ask as data: what is stored, shown to callers, and compared when the agent asks again.
pub fn data(kind: AskKind) -> Value {
    match kind {
        AskKind::Permission { tool, input, form, description } => {
            let mut ask = json!({"kind": "permission", "tool": tool, "input": input});
            if form == InputForm::Acp {
                ask["inputForm"] = ACP.into();
            }
            if let Some(description) = description {
                ask["title"] = description.into();
            }
            ask["options"] = json!([
                {"id": "allow", "name": "Allow once"},
                {"id": "allow_session", "name": "Allow this tool for the session"},
                {"id": "deny", "name": "Deny"},
            ]);
            ask
        }
        AskKind::Question { text, options, input } => {
            let options: Vec<_> =
                options.iter().map(|option| json!({"id": option, "name": option})).collect();
            json!({"kind": "question", "text": text, "input": input, "options": options})
        }
    }
}

/// A connection to a host that no rule permits, as an ask.
pub fn host_data(host: &str, port: u16) -> Value {
    json!({
        "kind": "host",
        "text": format!("May the agent reach {host}:{port}?"),
        "host": host,
        "port": port,
        "options": [
            {"id": "allow", "name": "Allow once"},
            {"id": "allow_session", "name": "Allow this host for the session"},
            {"id": "allow_always", "name": "Allow this host for every session with this agent"},
            {"id": "deny", "name": "Deny"},
        ],
    })
}

/// Whether two asks ask for the same; the number that an agent gives to each call is not part of it.
pub fn same(one: &Value, other: &Value) -> bool {
    // One that an older version has stored does not say its form; its agent is the same.
    let is_acp = [one, other].iter().any(|ask| form(ask) == InputForm::Acp);
    let input = |ask: &Value| {
        let mut input = ask.get("input").cloned();
        if let Some(Value::Object(input)) = input.as_mut().filter(|_| is_acp) {
            input.remove("toolCallId");
        }
        input
    };
    let plain = ["kind", "tool", "text", "host", "port"]
        .iter()
        .all(|field| one.get(field) == other.get(field));
    plain && input(one) == input(other)
}

/// An ask in words for people.
pub fn words(ask: &Value) -> String {
    describe(ask, SHOWN)
}

/// The same with all that the ask holds, for whoever reads nothing else before they decide.
pub fn whole_words(ask: &Value) -> String {
    describe(ask, usize::MAX)
}

fn describe(ask: &Value, most: usize) -> String {
    let text = |field: &str| ask.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("kind") == "question" {
        let mut words = text("text").to_owned();
        for option in ask.get("options").and_then(Value::as_array).into_iter().flatten() {
            let name = option.get("name").and_then(Value::as_str);
            words.push_str("\n- ");
            words.push_str(name.or(option.as_str()).unwrap_or_default());
        }
        return words;
    }
    if matches!(text("kind"), "host" | "push") {
        return format!("{}\nAnswer `allow`, or `deny: why`.", text("text"));
    }
    let mut words = format!("May {} be used?", text("tool"));
    if !text("title").is_empty() {
        words.push('\n');
        words.push_str(text("title"));
    }
    match ask.get("input") {
        Some(Value::Object(input)) => {
            let shown = |name: &&String| !matches!(name.as_str(), "options" | "toolCallId");
            for (name, value) in input.iter().filter(|(name, _)| shown(name)) {
                let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                let shown: String = value.chars().take(most).collect();
                let more = if shown.len() < value.len() { " ..." } else { "" };
                words.push_str(&format!("\n{name}: {shown}{more}"));
            }
        }
        Some(Value::Null) | None => {}
        Some(other) => words.push_str(&format!("\n{other}")),
    }
    words.push_str("\nAnswer `allow`, or `deny: why`.");
    words
}

/// Members of an ask that the server says; an agent's own data does not replace them.
pub const OURS: [&str; 15] = [
    "askId",
    "shortId",
    "taskId",
    "contextId",
    "agent",
    "caller",
    "created",
    "deadline",
    "state",
    "mayAnswer",
    "why",
    "folder",
    "proposal",
    "inputForm",
    "diff",
];

/// The ask as a program reads it, as it stands at this time.
pub fn render(row: &AskRow, now: Timestamp) -> Value {
    let mut ask = match &row.ask {
        Value::Object(_) => row.ask.clone(),
        _ => json!({}),
    };
    let state = row.state_at(now);
    ask["askId"] = (*row.id).into();
    ask["shortId"] = (*row.short).into();
    ask["taskId"] = json!(row.task);
    ask["contextId"] = json!(row.context_id);
    ask["agent"] = (*row.scope.agent).into();
    ask["caller"] = (*row.scope.caller).into();
    ask["created"] = json!(row.created);
    ask["deadline"] = json!(row.deadline);
    ask["state"] = state.word().into();
    ask["mayAnswer"] = json!([row.scope.caller]);
    if let Some(diff) = diff::of_input(ask.get("input")) {
        ask["diff"] = diff.into();
    }
    let Some(mut act) = row.act.as_deref().map(|act| json!(act)) else {
        return with_end(ask, row, state);
    };
    if let Some(until) = row.until {
        act["until"] = json!(until);
    }
    match state {
        AskState::Claimed => ask["claim"] = act,
        AskState::Deferred => ask["deferral"] = act,
        AskState::Answered | AskState::Expired => ask["answer"] = act,
        AskState::Open | AskState::Withdrawn | AskState::Failed => {}
    }
    with_end(ask, row, state)
}

/// The same, with its end, and what to do next where it cannot be answered any more.
fn with_end(mut ask: Value, row: &AskRow, state: AskState) -> Value {
    if !state.is_open() {
        ask["ended"] = json!(row.ended);
        ask["next"] = next_step(row).into();
    }
    ask
}

/// What to do about an ask that cannot be answered any more.
pub fn next_step(row: &AskRow) -> String {
    let task = &row.task;
    match row.state {
        AskState::Open | AskState::Claimed | AskState::Deferred => {
            format!("answer it at /api/v1/asks/{}", row.short)
        }
        AskState::Answered => {
            format!("its task goes on; to say something else, send a message to task {task}")
        }
        AskState::Expired => format!(
            "nobody answered in time; read task {task} to see how it went on, and send a message to it or to its context"
        ),
        AskState::Withdrawn => {
            format!("its agent needs no answer any more; read task {task} to see why")
        }
        AskState::Failed => {
            format!(
                "its task failed; read task {task}, and send the message again in the same context"
            )
        }
    }
}

/// An ask that cannot be answered any more, in words: how it ended, who answered what, when and from where.
pub fn describe_end(row: &AskRow) -> String {
    let act = row.act.as_deref().filter(|_| row.state == AskState::Answered);
    let Some(act) = act else {
        return format!("this ask is not open any more: it is {}", row.state.word());
    };
    let what = |name: &str| act.what.get(name).and_then(Value::as_str);
    let mut words =
        format!("this ask was answered already: {}", what("decision").unwrap_or("answer"));
    if let Some(reason) = what("reason") {
        words.push_str(&format!(" ({reason})"));
    }
    words.push_str(&format!(" by {} at {}", act.by, act.at));
    let source = [&act.source.client, &act.source.binding, &act.source.address];
    let source: Vec<&str> = source.into_iter().flatten().map(|part| &**part).collect();
    if !source.is_empty() {
        words.push_str(&format!(" from {}", source.join(", ")));
    }
    words
}
