//! Answering what a task asks: `approve`, `deny`, `answer`, and the list of what waits.

use super::ask::{Ask, Decision};
use super::print_json;
use crate::client::failure::Failure;
use crate::client::list::{ListArgs, read_list};
use crate::client::local::Server;
use crate::client::outcome::ago;
use crate::client::send::converse;
use crate::client::table::table;
use crate::client::terminal::{Screen, clean_line};
use clap::Args;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::operation::SendMessageRequest;
use pilothouse_a2a::task::Task;
use pilothouse_a2a::time::Timestamp;
use serde_json::{Map, Value};
use std::io::Write;

/// What every answer may say beside its words.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplyArgs {
    /// This one of the task's asks, and no other
    #[arg(long, value_name = "ID")]
    ask: Option<String>,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
}

/// The input that a tool is to run with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolInput(Map<String, Value>);

/// What a person says to an ask.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PersonAnswer {
    /// Let the tool run.
    Allow {
        /// For the rest of the session.
        session: bool,
        /// With another input.
        input: Option<ToolInput>,
    },
    /// Do not; why.
    Deny(Option<String>),
    /// The answer to a question, or to several.
    Words(Vec<String>),
}

/// Reads an input of the command line.
pub(in crate::client) fn input(text: &str) -> Result<ToolInput, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(ToolInput(fields)),
        Ok(_) => Err("must be a JSON object".to_owned()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

/// Answers a task and shows how it goes on; the exit code of the outcome.
pub(super) async fn run(
    id: &str,
    said: &PersonAnswer,
    reply: &ReplyArgs,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let client = server.client().await?;
    let id = TaskId::new(id);
    let task = client.get(&id, None).await.map_err(|error| server.failure(&error))?;
    let ask = Ask::of(&task).ok_or_else(|| {
        Failure::usage(format!("the task asks nothing: it is {}", task.status.state.word()))
    })?;
    let part = part(&ask, said, reply.ask.as_deref()).map_err(Failure::usage)?;
    if let Some(line) = decided(&ask, said, &task, reply.ask.as_deref()) {
        eprintln!("{line}");
    }
    let mut message = Message::new(Role::User, vec![part]);
    message.task_id = Some(id);
    let request = SendMessageRequest { tenant: None, message, configuration: None, metadata: None };
    converse(&client, &request, (screen, reply.json), server).await
}

/// The answer as a part of a message: data where the server tells its asks apart, else plain words.
fn part(ask: &Ask, said: &PersonAnswer, named: Option<&str>) -> Result<Part, String> {
    let which = named.or(ask.id.as_deref());
    // An ask that is named, but is not the one that the task shows: the server knows what it asks.
    let unseen = named.is_some() && named != ask.id.as_deref();
    let permission = Ask::of_data(&serde_json::json!({"kind": "permission"}));
    let ask = match said {
        PersonAnswer::Allow { .. } | PersonAnswer::Deny(_) if unseen => &permission,
        _ => ask,
    };
    let mut data = match said {
        PersonAnswer::Allow { session, input } => {
            let decision = if *session { Decision::AllowSession } else { Decision::Allow };
            let input = input.clone().map(|input| Value::Object(input.0));
            ask.decided(decision, input)?
        }
        PersonAnswer::Deny(reason) => ask.decided(Decision::Deny(reason.as_deref()), None)?,
        PersonAnswer::Words(texts) if unseen => match texts.as_slice() {
            [text] => serde_json::json!({"answer": text}),
            _ => {
                return Err("of another ask than the one shown, one answer can be given".to_owned());
            }
        },
        PersonAnswer::Words(texts) => ask.answered(texts)?,
    };
    match which {
        Some(id) => {
            data["askId"] = id.into();
            Ok(Part::data(data))
        }
        None => plain(said, &data).map(Part::text),
    }
}

/// The same in words, for an agent that is simply told.
fn plain(said: &PersonAnswer, data: &Value) -> Result<String, String> {
    match said {
        PersonAnswer::Allow { input: Some(_), .. } => {
            Err("this agent is answered in words, which can change no input".to_owned())
        }
        PersonAnswer::Allow { session: true, .. } => Ok("allow for this session".to_owned()),
        PersonAnswer::Allow { .. } => Ok("allow".to_owned()),
        PersonAnswer::Deny(Some(reason)) => Ok(format!("deny: {reason}")),
        PersonAnswer::Deny(None) => Ok("deny".to_owned()),
        PersonAnswer::Words(texts) => Ok(match data.get("answer").and_then(Value::as_str) {
            Some(answer) => answer.to_owned(),
            None => texts.join("\n"),
        }),
    }
}

/// What is decided now, for whoever reads his terminal again.
fn decided(ask: &Ask, said: &PersonAnswer, task: &Task, named: Option<&str>) -> Option<String> {
    let verb = match said {
        PersonAnswer::Allow { session: true, .. } => "allowed for the session",
        PersonAnswer::Allow { input: Some(_), .. } => "allowed with another input",
        PersonAnswer::Allow { .. } => "allowed",
        PersonAnswer::Deny(_) => "denied",
        PersonAnswer::Words(_) => return None,
    };
    if named.is_some() && named != ask.id.as_deref() {
        return Some(format!("{verb}: ask {}", clean_line(named.unwrap_or_default())));
    }
    Some(format!("{verb}: {}", ask.named(task)))
}

/// Prints what waits for an answer.
pub(super) async fn list(
    server: &Server,
    args: &ListArgs,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let asks = read_list(server, ("/api/v1/asks", "asks"), args.limit as usize).await?;
    if args.json {
        print_json(out, &asks.entries)?;
    } else {
        write!(out, "{}", listed(&asks.entries, Timestamp::now(), screen.width))?;
    }
    asks.tell_left_out();
    Ok(())
}

/// Asks as a table.
fn listed(asks: &[Value], now: Timestamp, width: Option<usize>) -> String {
    if asks.is_empty() {
        return "nothing waits for an answer\n".to_owned();
    }
    let rows: Vec<Vec<String>> = asks
        .iter()
        .map(|data| {
            let text =
                |name: &str| data.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let ask = Ask::of_data(data);
            let age = ago(Timestamp::parse(&text("created")), now);
            vec![text("taskId"), text("agent"), ask.tool(), age, ask.headline()]
        })
        .collect();
    table(&["TASK", "AGENT", "TOOL", "ASKED", "WHAT"], &rows, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::message::PartContent;
    use serde_json::json;

    fn ask(id: Option<&str>) -> Ask {
        let mut data = json!({"kind": "permission", "tool": "Bash", "input": {"command": "ls"}});
        if let Some(id) = id {
            data["askId"] = id.into();
        }
        Ask::of_data(&data)
    }

    fn allow() -> PersonAnswer {
        PersonAnswer::Allow { session: false, input: None }
    }

    fn data(part: Result<Part, String>) -> Value {
        match part.unwrap().content {
            PartContent::Data(data) => data.to_value(),
            other => panic!("no data: {other:?}"),
        }
    }

    #[test]
    fn a_decision_names_the_ask_that_was_shown() {
        assert_eq!(
            data(part(&ask(Some("a1")), &allow(), None)),
            json!({"askId": "a1", "decision": "allow"})
        );
        let said = PersonAnswer::Allow {
            session: true,
            input: Some(input(r#"{"command": "pwd"}"#).unwrap()),
        };
        assert_eq!(
            data(part(&ask(Some("a1")), &said, None)),
            json!({"askId": "a1", "decision": "allow_session", "input": {"command": "pwd"}})
        );
        let denied = PersonAnswer::Deny(Some("not now".to_owned()));
        assert_eq!(
            data(part(&ask(Some("a1")), &denied, None)),
            json!({"askId": "a1", "decision": "deny", "reason": "not now"})
        );
    }

    #[test]
    fn an_ask_that_is_named_is_the_one_that_is_answered_whatever_is_asked_by_now() {
        let named = part(&ask(Some("newer")), &allow(), Some("older"));
        assert_eq!(data(named)["askId"], "older");
    }

    #[test]
    fn an_agent_without_ids_is_answered_in_words() {
        let said = |said| part(&ask(None), &said, None).unwrap();
        assert_eq!(said(allow()).as_text(), Some("allow"));
        assert_eq!(said(PersonAnswer::Deny(Some("no".to_owned()))).as_text(), Some("deny: no"));
        let question = Ask::of_data(&json!({"options": ["Red"]}));
        let words = PersonAnswer::Words(vec!["red".to_owned()]);
        assert_eq!(part(&question, &words, None).unwrap().as_text(), Some("Red"));
    }

    #[test]
    fn an_input_must_be_an_object() {
        assert!(input("[]").is_err() && input("{").is_err() && input("{}").is_ok());
    }

    #[test]
    fn the_list_tells_task_agent_tool_age_and_what() {
        let asks = [
            json!({"askId": "a", "taskId": "t-1", "agent": "claude", "kind": "permission", "tool": "Bash", "input": {"command": "rm -r \u{1b}[8mbuild\nsecond line"}, "created": "2026-01-01T00:00:00.000Z"}),
            json!({"askId": "b", "taskId": "t-2", "agent": "bot", "kind": "question", "text": "Which colour?", "created": "2026-01-01T00:01:30.000Z"}),
        ];
        let now = Timestamp::parse("2026-01-01T00:02:00Z").unwrap();
        insta::assert_snapshot!(listed(&asks, now, None), @r"
TASK  AGENT   TOOL        ASKED      WHAT
t-1   claude  Bash        2 min ago  rm -r \u{1b}[8mbuild
t-2   bot     (question)  30 s ago   Which colour?
");
        assert_eq!(listed(&[], now, None), "nothing waits for an answer\n");
    }
}
