//! `pilothouse tasks`: list, read, watch and cancel the caller's tasks, and answer what they ask.

mod answer;
mod ask;
mod pattern;
mod prompt;
mod trace;

pub(super) use ask::{Ask, render_question_on};
pub(super) use prompt::{ask_person, read_line};

use super::complete;
use super::failure::Failure;
use super::follow::{End, FollowUntil, Interrupt, Show, follow, json_safe};
use super::link::link_addresses;
use super::list::{List, ListArgs};
use super::local::Server;
use super::names::{find_context, find_task, shorten};
use super::outcome::{ago, closing_lines, last_message, state_of, summary, text_of, words};
use super::send::{InputArgs, conclude, converse, how_to_answer, left_or};
use super::table::table;
use super::terminal::{Screen, clean_line, cut};
pub(crate) use answer::{
    AnswerArgs, AnswerCommand, ApproveArgs, DenyArgs, carry_out as answer_ask,
};
use clap::{Args, Subcommand};
use pilothouse_a2a::client::Client;
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::message::Role;
use pilothouse_a2a::operation::ListTasksRequest;
use pilothouse_a2a::task::{Task, TaskState};
use pilothouse_a2a::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::io::Write;

/// Tasks that a page may have (specification 3.1.4).
const PAGE: usize = 100;
/// Columns of a message in a list.
const MESSAGE: usize = 48;
/// Messages of the history that a list shows something of.
const HISTORY: i32 = 4;

/// What to do with tasks.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TasksCommand {
    /// Your tasks, the latest first: those of all agents, or of one (`--agent`)
    List {
        /// Only those of this conversation: its id, the beginning or the end of it, or `last`
        #[arg(long, value_name = "ID", add = complete::sessions())]
        context: Option<String>,
        /// Only those in this state (working, input-required, ...)
        #[arg(long, value_parser = state_of, add = complete::states())]
        state: Option<TaskState>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// One task and its answer
    Get {
        /// The task: its id, the beginning or the end of it, or `last`
        #[arg(add = complete::tasks())]
        id: String,
        /// Print the task as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a task from its beginning, whether it is over or not, and on as it goes; exit codes as those of `send`
    #[command(after_help = super::send::EXIT_CODES)]
    Watch(WatchArgs),
    /// The same as a transcript on standard output: what was said, each tool and its result, what was asked and answered
    #[command(after_help = super::send::EXIT_CODES)]
    Log(WatchArgs),
    /// Where the time of a task went: each request, turn, tool and wait as a bar
    Trace(trace::TraceArgs),
    /// End a task before its end
    Cancel {
        /// The task: its id, the beginning or the end of it, or `last`
        #[arg(add = complete::tasks())]
        id: String,
    },
    /// What waits for your answer, in all your tasks, or in those of one agent (`--agent`)
    Asks {
        #[command(flatten)]
        list: ListArgs,
    },
    #[command(flatten)]
    Answer(AnswerCommand),
}

/// Which task to watch.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// The task: its id, the beginning or the end of it, or `last`
    #[arg(add = complete::tasks())]
    id: String,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    input: InputArgs,
}

impl WatchArgs {
    /// The task of this id, as people read it.
    pub(super) fn of(id: String) -> Self {
        Self { id, json: false, input: InputArgs::default() }
    }
}

/// Carries out the command; the exit code.
pub(crate) async fn run(
    command: TasksCommand,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let mut out = std::io::stdout();
    match command {
        TasksCommand::Asks { list } => {
            answer::list(server, &list, screen, &mut out).await?;
            Ok(0)
        }
        TasksCommand::Answer(command) => answer_ask(&command, server, screen).await,
        TasksCommand::List { context, state, list } => {
            let (server, context_id) = match context {
                Some(text) => {
                    let (server, context) = find_context(server, &text).await?;
                    (server, Some(context))
                }
                None => (server.clone(), None),
            };
            let request = ListTasksRequest {
                context_id,
                status: state.unwrap_or_default(),
                history_length: Some(HISTORY),
                ..ListTasksRequest::default()
            };
            let tasks = read_all(&server, &request, list.limit as usize).await?;
            if list.json {
                print_json(
                    &mut out,
                    &tasks.entries.iter().map(ListedTask::json).collect::<Vec<_>>(),
                )?;
            } else {
                write!(out, "{}", listed(&tasks.entries, screen.width))?;
            }
            tasks.tell_left_out();
            Ok(0)
        }
        TasksCommand::Get { id, json } => {
            let (server, id) = &find_task(server, &id).await?;
            let task = server.client().await?.get(id, None).await;
            let task = task.map_err(|error| server.failure(&error))?;
            if json {
                print_json(&mut out, &task)?;
            } else {
                let mut show = Show::new(out, screen, false, server.options());
                print_task(&task, &mut show, screen)?;
                for line in how_to_answer(&task, server.options()) {
                    eprintln!("{line}");
                }
            }
            Ok(0)
        }
        TasksCommand::Watch(args) => watch(&args, false, server, screen).await,
        TasksCommand::Log(args) => watch(&args, true, server, screen).await,
        TasksCommand::Trace(args) => {
            trace::run(&args, server, screen, &mut out).await?;
            Ok(0)
        }
        TasksCommand::Cancel { id } => {
            let (server, id) = &find_task(server, &id).await?;
            let task = server.client().await?.cancel(id).await;
            let task = task.map_err(|error| server.failure(&error))?;
            writeln!(out, "{}", summary(&task, None, (screen.styled, screen.terminal)))?;
            Ok(0)
        }
    }
}

/// Shows a task from its first event; the exit code of the outcome.
async fn watch(
    args: &WatchArgs,
    whole: bool,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let (server, id) = &find_task(server, &args.id).await?;
    let client = server.client().await?;
    let task = client.get(id, None).await.map_err(|error| server.failure(&error))?;
    let to = (args.input.restrict(screen), args.json);
    let mut show = Show::new(std::io::stdout(), to.0, args.json, server.options());
    if whole {
        show = show.into_transcript(&task);
    }
    let until = FollowUntil::AskSince(task.status.timestamp);
    let mut end = match client.subscribe(id, Some(0)).await {
        Ok(events) => follow(&client, events, &mut show, Interrupt::Leaves, until).await?,
        Err(error) if error.kind() == Some(ErrorKind::UnsupportedOperation) => End::NoStream,
        Err(error) => return Err(server.failure(&error)),
    };
    if end == End::NoStream {
        // A server that keeps no events has the task alone.
        show.take(&StreamResponse::Task(task))?;
        show.finish()?;
        end = End::Settled;
    }
    if let Some(task) = show.task().filter(|_| end == End::Settled)
        && let Some(answer) = conclude(task, (end, None), to, server)?
    {
        return converse(&client, answer, to, server).await;
    }
    Ok(left_or(end, show.task(), show.code()))
}

/// A task of a list, and the name of its agent where there are several.
#[derive(Debug)]
struct ListedTask {
    agent: String,
    task: Task,
}

impl ListedTask {
    /// The task as JSON, with its agent where there are several.
    fn json(&self) -> Value {
        let mut task = serde_json::to_value(&self.task).unwrap_or_default();
        if !self.agent.is_empty() {
            task["agent"] = self.agent.as_str().into();
        }
        task
    }
}

/// The tasks of the named agent, or of all agents, the latest first.
async fn read_all(
    server: &Server,
    request: &ListTasksRequest,
    limit: usize,
) -> Result<List<ListedTask>, Failure> {
    let mut all = List { entries: Vec::new(), total: 0 };
    for (name, agent) in server.each_agent().await {
        let list = read_pages(&agent.client().await?, &agent, request.clone(), limit).await?;
        all.total += list.total;
        let tasks = list.entries.into_iter();
        all.entries.extend(tasks.map(|task| ListedTask { agent: name.clone(), task }));
    }
    all.entries.sort_by_key(|listed| std::cmp::Reverse(listed.task.status.timestamp));
    all.entries.truncate(limit);
    Ok(all)
}

/// As many tasks as are wanted, and how many there are.
async fn read_pages(
    client: &Client,
    server: &Server,
    mut request: ListTasksRequest,
    limit: usize,
) -> Result<List<Task>, Failure> {
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        let missing = (limit - tasks.len()).min(PAGE);
        request.page_size = i32::try_from(missing).ok();
        let page = client.list(&request).await.map_err(|error| server.failure(&error))?;
        let empty = page.tasks.is_empty();
        tasks.extend(page.tasks);
        tasks.truncate(limit);
        if empty || page.next_page_token.is_empty() || tasks.len() == limit {
            let total = usize::try_from(page.total_size).unwrap_or(0);
            return Ok(List { entries: tasks, total });
        }
        request.page_token = Some(page.next_page_token);
    }
}

/// Tasks as a table.
fn listed(tasks: &[ListedTask], width: Option<usize>) -> String {
    if tasks.is_empty() {
        return "no tasks\n".to_owned();
    }
    let now = Timestamp::now();
    // Whoever has a terminal types ids; whoever has none may keep them.
    let shown = |id: &str| if width.is_some() { shorten(id).to_owned() } else { id.to_owned() };
    let rows = tasks.iter().map(|ListedTask { agent, task }| {
        let caller = task.metadata.as_ref().and_then(|metadata| metadata.get("pilothouse.caller"));
        let caller = caller.and_then(|caller| caller.as_str().map(ToOwned::to_owned));
        let state = task.status.state.word().to_owned();
        let message = cut(&clean_line(&shown_message(task)), MESSAGE);
        let age = ago(task.status.timestamp, now);
        let (id, context) = (shown(task.id.as_str()), shown(task.context_id.as_str()));
        vec![id, agent.clone(), caller.unwrap_or_default(), state, age, message, context]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(&["TASK", "AGENT", "CALLER", "STATE", "WHEN", "MESSAGE", "CONTEXT"], &rows, width)
}

/// What a task is about: what it asks, else what it was asked.
fn shown_message(task: &Task) -> String {
    if task.status.state.is_interrupted()
        && let Some(words) = words(task)
    {
        return words;
    }
    let asked = task.history.iter().find(|message| message.role == Role::User);
    asked.map(pilothouse_a2a::message::Message::text_content).unwrap_or_default()
}

fn print_task<W: Write>(task: &Task, show: &mut Show<W>, screen: Screen) -> Result<(), Failure> {
    eprintln!("{}", summary(task, None, (screen.styled_errors, screen.lively)));
    if !task.status.state.is_terminal()
        && !task.status.state.is_interrupted()
        && let Some(words) = words(task)
    {
        eprintln!("{}", super::terminal::clean(&words));
    }
    let has_text = task.artifacts.iter().any(|artifact| !text_of(artifact).is_empty());
    show.take(&StreamResponse::Task(task.clone()))?;
    show.finish()?;
    if !has_text
        && task.status.state == TaskState::Failed
        && words(task).is_none()
        && let Some(words) = last_message(task)
    {
        eprintln!("{}", super::terminal::clean(&words));
    }
    for line in closing_lines(task).iter().chain(&super::outcome::files(task)) {
        eprintln!("{}", link_addresses(line, screen.links));
    }
    Ok(())
}

/// Prints a value as JSON for people and programs.
pub(crate) fn print_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    writeln!(out, "{}", json_safe(&text))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::message::Message;
    use pilothouse_a2a::task::TaskStatus;

    fn task(id: &str, state: TaskState, asked: &str, said: Option<&str>) -> Task {
        let message = said.map(Message::agent_text);
        let mut task =
            Task::new(id.into(), "ctx-1".into(), TaskStatus { state, message, timestamp: None });
        task.history.push(Message::user_text(asked));
        task
    }

    #[test]
    fn a_list_shows_what_was_asked_or_what_is_asked_back() {
        let tasks = [
            task("t-1", TaskState::Completed, "write a poem\nabout the sea", None),
            task("t-2", TaskState::InputRequired, "paint it", Some("Which \u{1b}[31mcolour?")),
        ];
        let tasks = tasks.map(|task| ListedTask { agent: String::new(), task });
        insta::assert_snapshot!(listed(&tasks, None), @r"
TASK  STATE           WHEN  MESSAGE                     CONTEXT
t-1   completed       -     write a poem about the sea  ctx-1
t-2   input-required  -     Which colour?               ctx-1
");
        assert_eq!(listed(&[], None), "no tasks\n");
    }
}
