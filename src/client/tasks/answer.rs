//! Answering what a task asks: `approve`, `deny`, `answer`, and the list of what waits.

use super::ask::{Ask, Decision};
use super::pattern::{PatternChanges, Proposal};
use super::print_json;
use crate::client::complete;
use crate::client::failure::Failure;
use crate::client::list::{ListArgs, read_list};
use crate::client::local::Server;
use crate::client::names::{FoundAsk, find_ask, names_ask};
use crate::client::outcome::ago;
use crate::client::program::program;
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
    /// Allow what the ask proposes: commands that begin alike, or the same file, so often and so long; with WORDS,
    /// commands that begin with these
    #[arg(long, value_name = "WORDS", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with_all = ["session", "input"])]
    pattern: Option<String>,
    #[command(flatten)]
    changes: PatternChanges,
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
    /// Let the tool run, and further calls: as shown to the person, or as the ask proposes.
    AllowPattern(Option<Proposal>),
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
    let (server, id, ask) = read_ask(server, id).await?;
    send_answer(&ask, (&id, said), reply, &server, screen).await
}

/// The ask that is named, its task and the server that leads to its agent.
async fn read_ask(server: &Server, id: Option<&str>) -> Result<(Server, TaskId, Ask), Failure> {
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
    Ok((server, id, ask))
}

/// Allows further calls, too. What is not said in the command is shown to the person at the terminal before it is given.
async fn approve_pattern(
    id: Option<&str>,
    (words, changes): (&str, &PatternChanges),
    reply: &ReplyArgs,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let (server, id, ask) = read_ask(server, id).await?;
    let is_seen = reply.ask.is_none() || reply.ask == ask.id;
    let mut pattern = ask.proposal().filter(|_| is_seen).cloned();
    if let Some(proposal) = &mut pattern {
        if !words.is_empty() {
            proposal.begin_with(words, &ask).map_err(Failure::usage)?;
        }
        proposal.change(changes);
    } else if !(words.is_empty() && changes.is_empty()) {
        return Err(Failure::usage("this ask proposes no pattern that could be changed"));
    }
    let asks = reply.input.restrict(screen).asks && !reply.json;
    if asks && words.is_empty() && changes.is_empty() {
        let shown = pattern.map(|proposal| proposal.confirm(&ask)).transpose()?;
        pattern = match shown {
            Some(None) => return Err(Failure::usage("nothing is allowed; the ask is still open")),
            Some(shown) => shown,
            None => None,
        };
    }
    let said = PersonAnswer::AllowPattern(pattern);
    send_answer(&ask, (&id, &said), reply, &server, screen).await
}

/// Sends an answer and shows how its task goes on; the exit code of the outcome.
async fn send_answer(
    ask: &Ask,
    (id, said): (&TaskId, &PersonAnswer),
    reply: &ReplyArgs,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let request = answer_request(ask, said, id, reply.ask.as_deref()).map_err(Failure::usage)?;
    let message =
        OutgoingMessage { request, decided: describe_decision(ask, said, reply.ask.as_deref()) };
    reply.results.check()?;
    let client = server.client().await?;
    let to = (reply.input.restrict(screen), reply.json);
    hold_turn_and_keep(&client, message, to, server, &reply.results).await
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
        AnswerCommand::Approve(ApproveArgs {
            id, pattern: Some(words), changes, reply, ..
        }) => {
            return approve_pattern(id.as_deref(), (words, changes), reply, server, screen).await;
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
        PersonAnswer::Allow { .. } | PersonAnswer::AllowPattern(_) | PersonAnswer::Deny(_)
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
        PersonAnswer::AllowPattern(Some(pattern)) => pattern.decision(),
        PersonAnswer::AllowPattern(None) => serde_json::json!({"decision": "allow_pattern"}),
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
        PersonAnswer::AllowPattern(_) => {
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
        PersonAnswer::AllowPattern(Some(pattern)) => {
            return Some(format!("allowed: {}", pattern.describe()));
        }
        PersonAnswer::AllowPattern(None) => "allowed, and further calls as it proposes",
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
        let (now, with_callers) = (Timestamp::now(), server.lists_callers());
        write!(out, "{}", listed(&asks.entries, now, screen.width, with_callers))?;
        if !asks.entries.is_empty() {
            let options = server.options();
            eprintln!(
                "answer with: {} approve{options} ASK, deny{options} ASK \"why\", or answer{options} ASK \"...\"",
                program()
            );
        }
    }
    asks.tell_left_out();
    Ok(())
}

/// Asks as a table.
fn listed(asks: &[Value], now: Timestamp, width: Option<usize>, with_callers: bool) -> String {
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
            let id = ask.handle().unwrap_or_else(|| text("taskId"));
            let caller = if with_callers { text("caller") } else { String::new() };
            let (state, agent) = (text("state"), text("agent"));
            vec![id, state, agent, caller, ask.tool(), age, ask.headline()]
        })
        .collect();
    table(&["ASK", "STATE", "AGENT", "CALLER", "TOOL", "ASKED", "WHAT"], &rows, width)
}

#[cfg(test)]
mod tests;
