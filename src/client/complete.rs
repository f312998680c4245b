//! What a shell completes: ids of tasks, sessions, asks, grants and tokens, names of agents, keys. The server is asked that the
//! command with its options finds; where there is none, nothing is completed.

use super::failure::Failure;
use super::list::read_list;
use super::local::{Server, ServerArgs};
use super::names::{newest_tasks, shorten};
use super::tasks::Ask;
use super::terminal::{clean_line, cut};
use crate::config::{Config, Environment, keys_of};
use clap::{Args, Command, FromArgMatches};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use pilothouse_a2a::task::TaskState;
use serde_json::Value;
use std::ffi::OsString;
use std::time::Duration;

/// How long a person who has pressed Tab waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// Candidates of each agent.
const MOST: usize = 20;
/// Columns of the words beside a candidate.
const ABOUT: usize = 50;

/// Tasks, the latest first.
pub(crate) fn tasks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask_server(async |server| {
            let mut found = vec![candidate("last", "the newest task")];
            for (name, agent) in server.each_agent().await {
                let tasks = newest_tasks(&agent, MOST).await?;
                found.extend(tasks.iter().map(|task| {
                    let about = format!("{name} {}", task.status.state.word());
                    candidate(shorten(task.id.as_str()), &about)
                }));
            }
            Ok(found)
        })
    })
}

/// Sessions by their contexts, the last used ones first.
pub(crate) fn sessions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask_server(async |server| {
            let mut found = vec![candidate("last", "the newest session")];
            for (_, agent) in server.each_agent().await {
                let list = read_list(&agent, ("/api/v1/sessions", "sessions"), MOST).await?;
                found.extend(list.entries.iter().map(|session| {
                    let text = |name: &str| session[name].as_str().unwrap_or_default();
                    candidate(shorten(text("contextId")), text("agent"))
                }));
            }
            Ok(found)
        })
    })
}

/// Open asks, the oldest first.
pub(crate) fn asks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask_server(async |server| {
            let list = read_list(server, ("/api/v1/asks", "asks"), MOST).await?;
            let asks = list.entries.iter().map(Ask::of_data);
            Ok(asks.filter_map(|ask| Some(candidate(&ask.handle()?, &ask.describe()))).collect())
        })
    })
}

/// Grants that can still be used, the oldest first.
pub(crate) fn grants() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask_server(async |server| list(server, ("grants", "shortId", "words")).await)
    })
}

/// Tokens of callers.
pub(crate) fn tokens() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask_server(async |server| list(server, ("tokens", "id", "caller")).await)
    })
}

/// The entries of a list by one member, with another one beside it.
async fn list(
    server: &Server,
    (name, id, about): (&str, &str, &str),
) -> Result<Vec<CompletionCandidate>, Failure> {
    let list = read_list(server, (&format!("/api/v1/{name}"), name), MOST).await?;
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let each = |entry: &Value| candidate(&text(entry, id), &text(entry, about));
    Ok(list.entries.iter().map(each).collect())
}

/// Keys of the configuration that hold a value, as they are by default.
pub(crate) fn keys() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let config = serde_json::to_value(Config::default()).unwrap_or_default();
        let keys = keys_of(&config).into_iter();
        keys.map(|(key, _)| CompletionCandidate::new(key)).collect()
    })
}

/// Agents of the server.
pub(crate) fn agents() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask_server(async |server| {
            let names = server.names().await;
            Ok(names.iter().map(|name| candidate(name, "")).collect())
        })
    })
}

/// States of a task.
pub(crate) fn states() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let words = TaskState::ALL.into_iter().skip(1).map(TaskState::word);
        words.map(CompletionCandidate::new).collect()
    })
}

fn candidate(text: &str, about: &str) -> CompletionCandidate {
    let about = cut(&clean_line(about), ABOUT);
    CompletionCandidate::new(text).help((!about.is_empty()).then(|| about.into()))
}

/// The server that these words name. They are no whole command yet, so the options that lead to a server are read alone.
fn named_server(words: impl IntoIterator<Item = OsString>) -> ServerArgs {
    let command = ServerArgs::augment_args(Command::new("pilothouse"));
    let names = command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?)));
    let names: Vec<String> = names.collect();
    let (mut words, mut options) = (words.into_iter(), vec![OsString::from("pilothouse")]);
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        let (name, has_value) =
            text.split_once('=').map_or((&*text, false), |(name, _)| (name, true));
        if names.iter().any(|known| known == name) {
            let value = if has_value { None } else { words.next() };
            options.push(word);
            options.extend(value);
        }
    }
    let read = command.try_get_matches_from(options).ok();
    read.and_then(|read| ServerArgs::from_arg_matches(&read).ok()).unwrap_or_default()
}

/// What the server of the command line, of this user or of `PILOTHOUSE_URL` says in time; nothing where it says nothing.
fn ask_server(
    question: impl AsyncFnOnce(&Server) -> Result<Vec<CompletionCandidate>, Failure>,
) -> Vec<CompletionCandidate> {
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let environment = Environment::of_process();
        let cwd = std::env::current_dir().ok()?;
        let server = Server::find(&named_server(std::env::args_os()), &environment, &cwd).ok()?;
        let answer = async { tokio::time::timeout(PATIENCE, question(&server)).await };
        let answer = runtime.block_on(answer);
        runtime.shutdown_background();
        answer.ok()?.ok()
    };
    ask().unwrap_or_default()
}
