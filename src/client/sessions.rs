//! `pilothouse sessions`: the caller's sessions, by the house's own API.

mod attach;
mod files;
mod pull;
mod push;
mod review;

use super::complete;
use super::failure::Failure;
use super::list::{List, ListArgs, read_list};
use super::local::{Server, escape};
use super::names::{find_session, shorten};
use super::outcome::ago;
use super::send::{InputArgs, converse};
use super::table::table;
use super::tasks::print_json;
use super::terminal::{Screen, clean_line, padded};
use clap::Subcommand;
use pilothouse_a2a::message::Message;
use pilothouse_a2a::operation::SendMessageRequest;
use pilothouse_a2a::time::Timestamp;
pub(super) use push::count_commits;
use serde_json::{Value, json};
use std::io::Write;

/// What to do with sessions.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Your sessions, last used first: those of all agents, or of one (`--agent`)
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// One session, by its id or its context
    Show {
        /// The session or its context: an id, the beginning or the end of one, or `last`
        #[arg(add = complete::sessions())]
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// The agent's own terminal on a session, where the server runs; its other messages wait meanwhile
    Attach {
        /// The session or its context: an id, the beginning or the end of one, or `last`
        #[arg(add = complete::sessions())]
        id: String,
    },
    /// Bring what a session has committed into the repository that you are in, as a branch of its name
    Pull {
        /// The session or its context: an id, the beginning or the end of one, or `last`
        #[arg(add = complete::sessions())]
        id: String,
    },
    /// Have the server push the session's branch and open a pull request; what is not committed is committed first
    Push(push::PushArgs),
    /// Remove a session with its folder; its tasks stay
    Remove {
        /// The session or its context: an id, the beginning or the end of one, or `last`
        #[arg(add = complete::sessions())]
        id: String,
        /// Also where its clone has changes or commits that are nowhere else
        #[arg(long)]
        force: bool,
    },
    /// What is in the workspace of a session
    Files(files::FilesArgs),
    /// One file of the workspace, on standard output or in a file (`--output`)
    Get(files::GetArgs),
    /// The whole workspace as a tar archive
    Archive(files::ArchiveArgs),
    /// What a session has changed, as a patch on standard output
    Diff(files::DiffArgs),
    /// Apply the patch of a session to the git checkout here; it must have no changes of its own
    Apply(files::DiffArgs),
    /// Review what a session has changed: an editor (VISUAL, EDITOR) opens on the patch; lines that begin with `>` are
    /// comments, which go to the agent as one message; exit codes as those of `send`
    #[command(after_help = super::send::EXIT_CODES)]
    Review(review::ReviewArgs),
    /// Go on in a new conversation that begins as a copy of this one; exit codes as those of `send`
    #[command(after_help = super::send::EXIT_CODES)]
    Fork {
        /// The session or its context: an id, the beginning or the end of one, or `last`
        #[arg(add = complete::sessions())]
        id: String,
        /// What to say there first
        #[arg(default_value = FIRST_WORDS, hide_default_value = true)]
        text: String,
        /// Print each event as a line of JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        input: InputArgs,
    },
}

/// What a fork is told where nothing is said: a turn makes it, and this one changes nothing.
const FIRST_WORDS: &str = "Say in one sentence where we stand. Do nothing else.";

/// Carries out the command; the exit code.
pub(crate) async fn run(
    command: SessionsCommand,
    server: &Server,
    screen: Screen,
    (term, editor): (Option<&str>, Option<&str>),
) -> Result<u8, Failure> {
    let mut out = std::io::stdout();
    match command {
        SessionsCommand::List { list } => {
            let sessions = read_all(server, list.limit as usize).await?;
            if list.json {
                print_json(&mut out, &sessions.entries)?;
            } else {
                let (now, with_callers) = (Timestamp::now(), server.lists_callers());
                let text = listed(&sessions.entries, now, screen.width, with_callers);
                write!(out, "{text}")?;
            }
            sessions.tell_left_out();
        }
        SessionsCommand::Show { id, json } => {
            let (_, session) = find_session(server, &id).await?;
            if json {
                print_json(&mut out, &session)?;
            } else {
                write!(out, "{}", shown(&session))?;
            }
        }
        SessionsCommand::Pull { id } => return pull::run(&id, server).await,
        SessionsCommand::Push(args) => return push::run(&args, server, screen).await,
        SessionsCommand::Remove { id, force } => {
            let (server, session) = &find_session(server, &id).await?;
            let id = session.get("id").and_then(Value::as_str).unwrap_or(&id);
            let path = format!("/api/v1/sessions/{}/remove", escape(id));
            server.open(&path, &json!({"force": force})).await?;
            writeln!(out, "removed {}", clean_line(id))?;
        }
        SessionsCommand::Files(args) => files::list(&args, server, screen).await?,
        SessionsCommand::Get(args) => files::get(&args, server).await?,
        SessionsCommand::Archive(args) => files::archive(&args, server).await?,
        SessionsCommand::Diff(args) => files::diff(&args, server).await?,
        SessionsCommand::Apply(args) => files::apply(&args, server).await?,
        SessionsCommand::Review(args) => {
            return review::run(&args, server, screen, editor).await;
        }
        SessionsCommand::Attach { id } => return attach::run(&id, term, server).await,
        SessionsCommand::Fork { id, text, json, input } => {
            let (server, session) = &find_session(server, &id).await?;
            let context = session.get("contextId").and_then(Value::as_str);
            let request = fork(context.unwrap_or(&id), &text);
            let client = server.client().await?;
            return converse(&client, request, (input.restrict(screen), json), server).await;
        }
    }
    Ok(0)
}

/// The sessions of the named agent, or of all agents, last used first.
async fn read_all(server: &Server, limit: usize) -> Result<List<Value>, Failure> {
    let mut all = List { entries: Vec::new(), total: 0 };
    for (_, agent) in server.each_agent().await {
        let list = read_list(&agent, ("/api/v1/sessions", "sessions"), limit).await?;
        all.total += list.total;
        all.entries.extend(list.entries);
    }
    let used =
        |session: &Value| session.get("used").and_then(Value::as_str).and_then(Timestamp::parse);
    all.entries.sort_by_key(|session| std::cmp::Reverse(used(session)));
    all.entries.truncate(limit);
    Ok(all)
}

/// The first message of a new context that begins as a copy of this one.
fn fork(context: &str, text: &str) -> SendMessageRequest {
    let mut message = Message::user_text(text);
    let from = json!({"contextId": context});
    message.metadata = Some([("fork".to_owned(), from)].into_iter().collect());
    SendMessageRequest { tenant: None, message, configuration: None, metadata: None }
}

/// Sessions as a table.
fn listed(sessions: &[Value], now: Timestamp, width: Option<usize>, with_callers: bool) -> String {
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|session| {
            let text =
                |name: &str| session.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let ago = |time: &str| ago(Timestamp::parse(time), now);
            let (mut state, since) = doing(session);
            if let Some(reason) = session.get("kept").and_then(Value::as_str) {
                state = format!("kept: {}", clean_line(reason));
            }
            let context = text("contextId");
            // Whoever has a terminal types ids; whoever has none may keep them.
            let shown = if width.is_some() { shorten(&context) } else { &context };
            vec![
                shown.to_owned(),
                state,
                ago(since),
                ago(&text("used")),
                text("agent"),
                if with_callers { text("caller") } else { String::new() },
                text("workspace"),
            ]
        })
        .collect();
    table(&["CONTEXT", "STATE", "SINCE", "USED", "AGENT", "CALLER", "WORKSPACE"], &rows, width)
}

/// What a session does, and since when; an older server says only whether it is live.
fn doing(session: &Value) -> (String, &str) {
    let live = session.get("live").and_then(Value::as_bool) == Some(true);
    let activity =
        |name: &str| session.pointer(&format!("/activity/{name}")).and_then(Value::as_str);
    let state = activity("state").unwrap_or(if live { "live" } else { "idle" });
    let reason = activity("waitsFor").map(|reason| format!(": {reason}")).unwrap_or_default();
    (format!("{state}{reason}"), activity("since").unwrap_or_default())
}

/// A session, a fact a line.
fn shown(session: &Value) -> String {
    let facts = session.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let line = |(name, value): (&String, &Value)| {
        format!("{} {}\n", padded(&clean_line(name), 14), clean_line(&in_words(value)))
    };
    facts.map(line).collect()
}

/// A value as people read it: members of an object are a name and a value each.
fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| format!("{name} {}", in_words(value)));
            each.collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_what_each_session_does_and_since_when() {
        let sessions = [
            json!({"id": "s1", "contextId": "ctx-1", "agent": "claude", "live": true, "used": "2026-01-01T00:00:00.000Z", "workspace": "/w/s1"}),
            json!({"id": "s2", "contextId": "ctx-2", "agent": "claude", "live": false, "used": "2025-12-31T00:00:00.000Z", "workspace": "/w/s2"}),
            json!({"id": "s3", "contextId": "ctx-3", "agent": "claude", "live": true, "used": "2026-01-01T00:00:00.000Z", "workspace": "/w/s3",
                   "activity": {"state": "waiting", "waitsFor": "answer", "since": "2026-01-01T00:01:00.000Z", "taskId": "t"}}),
            json!({"id": "s4", "contextId": "ctx-4", "agent": "claude", "live": true, "used": "2026-01-01T00:00:00.000Z", "workspace": "/w/s4",
                   "activity": {"state": "idle", "since": "2026-01-01T00:00:30.000Z"}}),
            json!({"id": "s5", "contextId": "ctx-5", "agent": "claude", "live": false, "used": "2026-01-01T00:00:00.000Z", "workspace": "/w/s5",
                   "kept": "unsaved work"}),
        ];
        let now = Timestamp::parse("2026-01-01T00:02:00Z").unwrap();
        insta::assert_snapshot!(listed(&sessions, now, None, false), @r"
CONTEXT  STATE               SINCE      USED       AGENT   WORKSPACE
ctx-1    live                -          2 min ago  claude  /w/s1
ctx-2    idle                -          1 d ago    claude  /w/s2
ctx-3    waiting: answer     1 min ago  2 min ago  claude  /w/s3
ctx-4    idle                1 min ago  2 min ago  claude  /w/s4
ctx-5    kept: unsaved work  -          2 min ago  claude  /w/s5
");
    }

    #[test]
    fn one_session_is_shown_a_fact_a_line() {
        let activity = json!({"state": "idle", "since": "2026-01-01T00:00:00Z"});
        let session = json!({"id": "s1", "contextId": "c", "conversation": null, "live": false, "activity": activity});
        insta::assert_snapshot!(shown(&session), @r"
id             s1
contextId      c
live           false
activity       state idle, since 2026-01-01T00:00:00Z
");
    }

    #[test]
    fn a_fork_is_a_new_context_that_names_the_old_one() {
        let message = fork("ctx-1", "go on").message;
        assert_eq!(message.context_id, None);
        assert_eq!(
            Value::Object(message.metadata.unwrap().to_map()),
            json!({"fork": {"contextId": "ctx-1"}})
        );
    }
}
