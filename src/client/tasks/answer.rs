//! Answering what a task asks: `approve`, `deny`, `answer`, and the list of what waits.

use super::ask::{Ask, Decision};
use super::print_json;
use crate::client::complete;
use crate::client::failure::Failure;
use crate::client::list::{ListArgs, read_list};
use crate::client::local::Server;
use crate::client::names::{FoundAsk, find_ask, names_ask, shorten};
use crate::client::outcome::ago;
use crate::client::results::ResultArgs;
use crate::client::send::{EXIT_CODES, InputArgs, OutgoingMessage, hold_turn_and_keep};
use crate::client::table::table;
use crate::client::terminal::{Screen, clean_line};
use clap::{Args, Subcommand};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::operation::SendMessageRequest;
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
    #[command(flatten)]
    results: ResultArgs,
    #[command(flatten)]
    input: InputArgs,
}

/// Allow what is asked for.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApproveArgs {
    /// The ask, its task or its context: an id, the beginning or the end of one, or `last`; none for the only open ask
    #[arg(add = complete::asks())]
    id: Option<String>,
    /// Allow this tool for the rest of the session
    #[arg(long)]
    session: bool,
    /// Allow what the ask proposes (`proposal`): commands that begin alike, or the same file, so often and so long
    #[arg(long, conflicts_with_all = ["session", "input"])]
    pattern: bool,
    /// Let the tool run with this input instead: a JSON object, the whole input
    #[arg(long, value_name = "JSON", value_parser = input)]
    input: Option<ToolInput>,
    #[command(flatten)]
    reply: ReplyArgs,
}

/// Deny what is asked for.
#[derive(Debug, Clone, Args)]
pub(crate) struct DenyArgs {
    /// The ask (as for `approve`; none for the only open one), and why: the agent is told. A single text with spaces is the reason
    #[arg(value_names = ["ID", "REASON"], num_args = 0..=2, add = complete::asks())]
    words: Vec<String>,
    #[command(flatten)]
    reply: ReplyArgs,
}

/// Answer what is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct AnswerArgs {
    /// The ask (as for `approve`), and the answer: one of the options, or free text; several where it asks several questions. A
    /// single text answers the only open ask
    #[arg(value_name = "ID] [TEXT", num_args = 1.., required = true, add = complete::asks())]
    words: Vec<String>,
    #[command(flatten)]
    reply: ReplyArgs,
}

/// An answer to an ask.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AnswerCommand {
    /// Allow what an agent asks for, and show how its task goes on; exit codes as those of `send`
    #[command(after_help = EXIT_CODES)]
    Approve(ApproveArgs),
    /// Deny what an agent asks for, and show how its task goes on; exit codes as those of `send`
    #[command(after_help = EXIT_CODES)]
    Deny(DenyArgs),
    /// Answer the question of an agent, and show how its task goes on; exit codes as those of `send`
    #[command(after_help = EXIT_CODES)]
    Answer(AnswerArgs),
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
    /// Let the tool run, and further calls as the ask proposes.
    AllowPattern,
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

/// Answers an ask and shows how its task goes on; the exit code of the outcome.
pub(super) async fn run(
    id: Option<&str>,
    said: &PersonAnswer,
    reply: &ReplyArgs,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let FoundAsk { server, task: id, listed } = find_ask(server, id).await?;
    let ask = match &listed {
        Some(data) => Ask::of_data(data),
        None => {
            let task = server.client().await?.get(&id, None).await;
            let task = task.map_err(|error| server.failure(&error))?;
            Ask::of(&task).ok_or_else(|| {
                let state = task.status.state.word();
                Failure::usage(format!("the task asks nothing: it is {state}"))
            })?
        }
    };
    let request = answer_request(&ask, said, &id, reply.ask.as_deref()).map_err(Failure::usage)?;
    let message =
        OutgoingMessage { request, decided: describe_decision(&ask, said, reply.ask.as_deref()) };
    reply.results.check()?;
    let client = server.client().await?;
    let to = (reply.input.restrict(screen), reply.json);
    hold_turn_and_keep(&client, message, to, &server, &reply.results).await
}

/// The message that answers an ask of a task.
pub(super) fn answer_request(
    ask: &Ask,
    said: &PersonAnswer,
    task: &TaskId,
    named: Option<&str>,
) -> Result<SendMessageRequest, String> {
    let mut message = Message::new(Role::User, vec![part(ask, said, named)?]);
    message.task_id = Some(task.clone());
    Ok(SendMessageRequest { tenant: None, message, configuration: None, metadata: None })
}

impl DenyArgs {
    /// The ask that is named, and why it is denied: a single text with spaces is a reason.
    fn read(&self) -> (Option<&str>, Option<&str>) {
        match &self.words[..] {
            [] => (None, None),
            [one] if one.contains(char::is_whitespace) => (None, Some(one)),
            [id] => (Some(id), None),
            [id, reason, ..] => (Some(id), Some(reason)),
        }
    }
}

impl AnswerArgs {
    /// The ask that is named, and the answers: a single text is the answer to the only open ask.
    fn read(&self) -> (Option<&str>, &[String]) {
        match &self.words[..] {
            [id, texts @ ..] if !texts.is_empty() => (Some(id), texts),
            texts => (None, texts),
        }
    }
}

/// Carries out `approve`, `deny` or `answer`.
pub(crate) async fn carry_out(
    command: &AnswerCommand,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let (id, said, reply) = match command {
        AnswerCommand::Approve(ApproveArgs { id, pattern: true, reply, .. }) => {
            (id.as_deref(), PersonAnswer::AllowPattern, reply)
        }
        AnswerCommand::Approve(ApproveArgs { id, session, input, reply, .. }) => {
            (id.as_deref(), PersonAnswer::Allow { session: *session, input: input.clone() }, reply)
        }
        AnswerCommand::Deny(args) => {
            let (id, reason) = args.read();
            (id, PersonAnswer::Deny(reason.map(ToOwned::to_owned)), &args.reply)
        }
        AnswerCommand::Answer(args) => {
            let (id, texts) = args.read();
            if let [text] = texts
                && id.is_none()
                && names_ask(server, text).await?
            {
                return Err(Failure::usage(format!(
                    "`{text}` is an open ask; what is the answer to it?"
                )));
            }
            (id, PersonAnswer::Words(texts.to_vec()), &args.reply)
        }
    };
    run(id, &said, reply, server, screen).await
}

/// The answer as a part of a message: data where the server tells its asks apart, else plain words.
fn part(ask: &Ask, said: &PersonAnswer, named: Option<&str>) -> Result<Part, String> {
    let which = named.or(ask.id.as_deref());
    // An ask that is named, but is not the one that the task shows: the server knows what it asks.
    let unseen = named.is_some() && named != ask.id.as_deref();
    let permission = Ask::of_data(&serde_json::json!({"kind": "permission"}));
    let ask = match said {
        PersonAnswer::Allow { .. } | PersonAnswer::AllowPattern | PersonAnswer::Deny(_)
            if unseen =>
        {
            &permission
        }
        _ => ask,
    };
    let mut data = match said {
        PersonAnswer::Allow { session, input } => {
            let decision = if *session { Decision::AllowSession } else { Decision::Allow };
            let input = input.clone().map(|input| Value::Object(input.0));
            ask.decided(decision, input)?
        }
        PersonAnswer::AllowPattern => serde_json::json!({"decision": "allow_pattern"}),
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
        PersonAnswer::AllowPattern => {
            Err("this agent is answered in words, which can allow no pattern".to_owned())
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

/// What is decided now, for a person who reads the terminal again.
pub(super) fn describe_decision(
    ask: &Ask,
    said: &PersonAnswer,
    named: Option<&str>,
) -> Option<String> {
    let verb = match said {
        PersonAnswer::Allow { session: true, .. } => "allowed for the session",
        PersonAnswer::Allow { input: Some(_), .. } => "allowed with another input",
        PersonAnswer::Allow { .. } => "allowed",
        PersonAnswer::AllowPattern => "allowed, and further calls as it proposes",
        PersonAnswer::Deny(_) => "denied",
        PersonAnswer::Words(_) => return None,
    };
    match named.filter(|named| Some(*named) != ask.id.as_deref()) {
        Some(named) => Some(format!("{verb}: ask {}", clean_line(named))),
        None => Some(format!("{verb}: {}", ask.describe())),
    }
}

/// Prints what waits for an answer.
pub(super) async fn list(
    server: &Server,
    args: &ListArgs,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let most = args.limit as usize;
    let mut asks = read_list(server, ("/api/v1/asks", "asks"), most).await?;
    let deferred = read_list(server, ("/api/v1/asks?state=deferred", "asks"), most).await?;
    // A server that knows no states lists the open ones again.
    let is_deferred = |ask: &Value| ask.get("state").and_then(Value::as_str) == Some("deferred");
    if deferred.entries.iter().all(is_deferred) {
        asks.total += deferred.total;
        asks.entries.extend(deferred.entries);
    }
    asks.entries.truncate(most);
    if args.json {
        print_json(out, &asks.entries)?;
    } else {
        write!(out, "{}", listed(&asks.entries, Timestamp::now(), screen.width))?;
        if !asks.entries.is_empty() {
            let options = server.options();
            eprintln!(
                "answer with: pilothouse approve{options} ASK, deny{options} ASK \"why\", or answer{options} ASK \"...\""
            );
        }
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
            let id = text(if data.get("askId").is_some() { "askId" } else { "taskId" });
            let id = if width.is_some() { shorten(&id) } else { &id };
            vec![id.to_owned(), text("state"), text("agent"), ask.tool(), age, ask.headline()]
        })
        .collect();
    table(&["ASK", "STATE", "AGENT", "TOOL", "ASKED", "WHAT"], &rows, width)
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
    fn a_single_word_is_the_id_to_deny_and_a_single_text_the_reason() {
        let read = |words: &[&str]| {
            let words = words.iter().map(|&word| word.to_owned()).collect();
            let args = DenyArgs {
                words,
                reply: ReplyArgs {
                    ask: None,
                    json: false,
                    results: ResultArgs::default(),
                    input: InputArgs::default(),
                },
            };
            let (id, reason) = args.read();
            (id.map(ToOwned::to_owned), reason.map(ToOwned::to_owned))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read(&[]), (None, None));
        assert_eq!(read(&["ba38"]), (text("ba38"), None));
        assert_eq!(read(&["not on a Friday"]), (None, text("not on a Friday")));
        assert_eq!(read(&["ba38", "no"]), (text("ba38"), text("no")));
    }

    #[test]
    fn the_list_tells_ask_agent_tool_age_and_what() {
        let asks = [
            json!({"askId": "a", "taskId": "t-1", "agent": "claude", "kind": "permission", "tool": "Bash", "input": {"command": "rm -r \u{1b}[8mbuild\nsecond line"}, "state": "deferred", "created": "2026-01-01T00:00:00.000Z"}),
            json!({"askId": "b", "taskId": "t-2", "agent": "bot", "kind": "question", "text": "Which colour?", "state": "open", "created": "2026-01-01T00:01:30.000Z"}),
        ];
        let now = Timestamp::parse("2026-01-01T00:02:00Z").unwrap();
        insta::assert_snapshot!(listed(&asks, now, None), @r"
ASK  STATE     AGENT   TOOL        ASKED      WHAT
a    deferred  claude  Bash        2 min ago  rm -r \u{1b}[8mbuild
b    open      bot     (question)  30 s ago   Which colour?
");
        assert_eq!(listed(&[], now, None), "nothing waits for an answer\n");
    }
}
