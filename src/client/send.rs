//! `pilothouse send`: say something to an agent and show its answer as it comes.

mod file;
mod wishes;

use super::failure::Failure;
use super::follow::{End, FollowUntil, Interrupt, Show, follow, json_safe};
use super::link::link_addresses;
use super::local::{AgentArgs, Server};
use super::names::{find_context, find_task, shorten};
use super::outcome::{closing_lines, files, summary};
use super::program::program;
use super::results::ResultArgs;
use super::tasks::{Ask, ask_person, read_line};
use super::terminal::{BAD, Screen, clean, clean_line, styled};
use super::{complete, exit};
use clap::Args;
use file::{MAX_FILE, file_part};
use pilothouse_a2a::client::{Client, ClientError};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::operation::{
    SendMessageConfiguration, SendMessageRequest, SendMessageResponse,
};
use pilothouse_a2a::task::{Task, TaskState};
use pilothouse_a2a::time::Timestamp;
use serde_json::{Map, Value, json};
use std::io::{Read, Stdout, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use wishes::WishArgs;

/// What every exit code means, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  completed             1  the agent failed      2  wrong use
    3  canceled              4  input required        5  rejected
    6  authentication required by the agent
   69  no server             75  refused for now: the caller or the server has too much to do
   77  not authorised        78  configuration
  130  left by Ctrl-D, and the task goes on; or by Ctrl-C (the first one cancels the task and waits)";

/// What to say, and to whom.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct SendArgs {
    /// What to say; `-`, or none behind a pipe, reads it from standard input; none at a terminal begins a chat
    #[arg(allow_hyphen_values = false)]
    text: Option<String>,
    /// Run this command or skill of the agent; the text is what it is told
    #[arg(long, value_name = "NAME")]
    command: Option<String>,
    /// Go on with this conversation: its id (on the last line of an answer), the beginning or the end of it, or `last`
    #[arg(short, long, value_name = "ID", add = complete::sessions())]
    context: Option<String>,
    /// Begin a conversation of this name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["context", "task"])]
    new_context: Option<String>,
    /// Answer this task, which asked for something: its id, the beginning or the end of it, or `last`
    #[arg(short, long, value_name = "ID", add = complete::tasks())]
    task: Option<String>,
    /// Send a file, too: text or an image (may be repeated)
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Print the task's id and do not wait for the answer
    #[arg(long)]
    no_wait: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
    /// Want an answer that fits the JSON schema in this file
    #[arg(long, value_name = "PATH")]
    schema: Option<PathBuf>,
    #[command(flatten)]
    wishes: WishArgs,
    #[command(flatten)]
    results: ResultArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

/// A message, and the line that tells what it decided once the server has accepted it.
pub(super) struct OutgoingMessage {
    pub(super) request: SendMessageRequest,
    pub(super) decided: Option<String>,
}

impl From<SendMessageRequest> for OutgoingMessage {
    fn from(request: SendMessageRequest) -> Self {
        Self { request, decided: None }
    }
}

/// Whether a person is asked.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct InputArgs {
    /// Ask nothing at the terminal: what the agent asks is left open
    #[arg(long)]
    no_input: bool,
}

impl InputArgs {
    /// The screen, at which nothing is asked where that is not wanted.
    pub(super) fn restrict(&self, screen: Screen) -> Screen {
        Screen { asks: screen.asks && !self.no_input, ..screen }
    }
}

/// Sends and shows; the exit code of the outcome.
pub(crate) async fn run(
    mut args: SendArgs,
    server: &Server,
    screen: Screen,
    input: &mut impl Read,
) -> Result<u8, Failure> {
    args.results.check()?;
    let screen = args.input.restrict(screen);
    let says_nothing = args.text.is_none() && args.file.is_empty() && args.command.is_none();
    let is_chat = says_nothing && screen.asks && !args.json && !args.no_wait;
    if says_nothing && !is_chat {
        args.text = Some("-".to_owned());
    }
    let (mut found, mut context, mut task) =
        (server.clone(), args.new_context.as_deref().map(ContextId::new), None);
    if let Some(text) = &args.context {
        let (server, id) = find_context(server, text).await?;
        (found, context) = (server, Some(id));
    }
    if let Some(text) = &args.task {
        let (server, id) = find_task(server, text).await?;
        (found, task) = (server, Some(id));
    }
    let server = &found;
    let client = server.client().await?;
    if is_chat {
        return chat(args, &client, (context, task), screen, server).await;
    }
    let mut request = request(&args, input)?;
    (request.message.context_id, request.message.task_id) = (context, task);
    if args.no_wait {
        let response = client.send(&request).await.map_err(|error| server.failure(&error))?;
        return print_accepted(
            response,
            (screen, args.json),
            server.options(),
            &mut std::io::stdout().lock(),
        );
    }
    hold_turn_and_keep(&client, request.into(), (screen, args.json), server, &args.results).await
}

/// A conversation at the terminal: each line is a message. It ends with Ctrl-D, and the last outcome is its exit code.
async fn chat(
    mut args: SendArgs,
    client: &Client,
    (mut context, mut task): (Option<ContextId>, Option<TaskId>),
    screen: Screen,
    server: &Server,
) -> Result<u8, Failure> {
    eprintln!("each line is a message; Ctrl-D ends the conversation");
    let mut code = 0;
    while let Some(text) = read_line("› ")? {
        if text.is_empty() {
            continue;
        }
        args.text = Some(text);
        args.results.check()?;
        let mut request = request(&args, &mut std::io::empty())?;
        (request.message.context_id, request.message.task_id) = (context.clone(), task.take());
        let last;
        (code, last) = hold_turn(client, request.into(), (screen, false), server).await?;
        if let Some(task) = &last {
            args.results.keep(task, server, screen).await?;
        }
        context = last.map(|task| task.context_id).or(context);
    }
    if let Some(context) = context.filter(|context| !context.as_str().is_empty()) {
        let context = shell_words::quote(shorten(context.as_str())).into_owned();
        let (program, options) = (program(), server.options());
        eprintln!("go on with: {program} send{options} -c {}", clean_line(&context));
    }
    Ok(code)
}

/// Sends a message and shows its task until that is over, or asks what nobody at this terminal answers; the exit code of
/// the outcome.
pub(super) async fn converse(
    client: &Client,
    message: impl Into<OutgoingMessage>,
    to: (Screen, bool),
    server: &Server,
) -> Result<u8, Failure> {
    Ok(hold_turn(client, message.into(), to, server).await?.0)
}

/// The same, and keeps what the task has left.
pub(super) async fn hold_turn_and_keep(
    client: &Client,
    message: OutgoingMessage,
    to: (Screen, bool),
    server: &Server,
    results: &ResultArgs,
) -> Result<u8, Failure> {
    let (code, task) = hold_turn(client, message, to, server).await?;
    if let Some(task) = task {
        results.keep(&task, server, to.0).await?;
    }
    Ok(code)
}

/// The same, with the task.
async fn hold_turn(
    client: &Client,
    mut message: OutgoingMessage,
    to: (Screen, bool),
    server: &Server,
) -> Result<(u8, Option<Task>), Failure> {
    loop {
        let (end, show) = send_once(client, &message, to, server).await?;
        let code = left_or(end, show.task(), show.code());
        let Some(task) = show.task() else { return Ok((code, None)) };
        match conclude(task, (end, Some(show.began())), to, server)? {
            Some(answer) => message = answer,
            None => return Ok((code, Some(task.clone()))),
        }
    }
}

/// Sends a message and shows its task until that is over, or asks.
async fn send_once(
    client: &Client,
    OutgoingMessage { request, decided }: &OutgoingMessage,
    (screen, json): (Screen, bool),
    server: &Server,
) -> Result<(End, Show<Stdout>), Failure> {
    let failure = |error: ClientError| server.failure(&error);
    let mut show = Show::new(std::io::stdout(), screen, json, server.options());
    show.decided.clone_from(decided);
    let end = match client.stream(request).await {
        Ok(events) => {
            follow(client, events, &mut show, Interrupt::Cancels, FollowUntil::NextAsk).await?
        }
        Err(error) if error.kind() == Some(ErrorKind::UnsupportedOperation) => End::NoStream,
        Err(error) => return Err(failure(error)),
    };
    if end == End::NoStream {
        // An agent that does not stream answers once.
        let event = event(client.send(request).await.map_err(failure)?);
        show.take(&event)?;
        show.finish()?;
        return Ok((End::Settled, show));
    }
    Ok((end, show))
}

/// Tells how a task stands. What it asks is asked the person at the terminal; the message that answers, if there is one.
pub(super) fn conclude(
    task: &Task,
    (end, began): (End, Option<Instant>),
    (screen, json): (Screen, bool),
    server: &Server,
) -> Result<Option<OutgoingMessage>, Failure> {
    tell(task, began, screen);
    let asked = Ask::of(task).filter(|_| screen.asks && !json && end == End::Settled);
    let answer = asked.map(|ask| ask_person(task, &ask)).transpose()?.flatten();
    if answer.is_none() {
        for line in how_to_answer(task, server.options()) {
            eprintln!("{line}");
        }
    }
    Ok(answer)
}

/// The code of a task that was followed: Ctrl-C has its own, unless the task ended well all the same.
pub(super) fn left_or(end: End, task: Option<&Task>, code: u8) -> u8 {
    let completed = task.is_some_and(|task| task.status.state == TaskState::Completed);
    match end {
        End::Left if !completed => exit::INTERRUPTED,
        End::Left | End::Settled | End::NoStream => code,
    }
}

/// The last lines, on standard error: what was made beside text, and how it ended.
fn tell(task: &Task, began: Option<Instant>, screen: Screen) {
    for line in files(task) {
        eprintln!("{}", link_addresses(&line, screen.links));
    }
    let is_bad = matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
    for line in closing_lines(task) {
        let line = link_addresses(&line, screen.links);
        eprintln!("{}", styled(&line, BAD, screen.styled_errors && is_bad));
    }
    let elapsed = began.map(|began| began.elapsed());
    eprintln!("{}", summary(task, elapsed, (screen.styled_errors, screen.lively)));
}

/// How a task that asks is answered. `options` stand in each command.
pub(super) fn how_to_answer(task: &Task, options: &str) -> Vec<String> {
    if let Some(ask) = Ask::of(task) {
        return ask.how_to_answer(task.id.as_str(), options, Timestamp::now());
    }
    if task.status.state != TaskState::AuthRequired {
        return Vec::new();
    }
    vec![
        "the agent waits for credentials; they are given outside of this conversation".to_owned(),
        format!("watch it with: {}", watch_command(&task.id, options, false)),
    ]
}

/// The command that shows a task as it goes. Its id is short for a person at a terminal, as in all that stands there.
pub(super) fn watch_command(task: &TaskId, options: &str, is_terminal: bool) -> String {
    let id = clean_line(if is_terminal { shorten(task.as_str()) } else { task.as_str() });
    format!("{} tasks watch{options} {}", program(), shell_words::quote(&id))
}

fn print_accepted(
    response: SendMessageResponse,
    (screen, json): (Screen, bool),
    options: &str,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let event = event(response);
    if json {
        let line = serde_json::to_string(&event).map_err(std::io::Error::from)?;
        writeln!(out, "{}", json_safe(&line))?;
        return Ok(0);
    }
    match event {
        StreamResponse::Task(task) => {
            let id = task.id.as_str();
            writeln!(out, "{}", clean_line(if screen.terminal { shorten(id) } else { id }))?;
            eprintln!("watch it with: {}", watch_command(&task.id, options, screen.terminal));
        }
        StreamResponse::Message(message) => writeln!(out, "{}", clean(&message.text_content()))?,
        StreamResponse::StatusUpdate(_) | StreamResponse::ArtifactUpdate(_) => {}
    }
    Ok(0)
}

fn event(response: SendMessageResponse) -> StreamResponse {
    match response {
        SendMessageResponse::Task(task) => StreamResponse::Task(task),
        SendMessageResponse::Message(message) => StreamResponse::Message(message),
    }
}

// === the message ===

fn request(args: &SendArgs, input: &mut impl Read) -> Result<SendMessageRequest, Failure> {
    let mut parts = Vec::new();
    match args.text.as_deref() {
        Some("-") => {
            let mut text = String::new();
            input.take(MAX_FILE).read_to_string(&mut text).map_err(|error| {
                Failure::usage(format!("cannot read the text from standard input: {error}"))
            })?;
            parts.push(Part::text(text.trim_end_matches('\n')));
        }
        Some(text) => parts.push(Part::text(text)),
        None => {}
    }
    if parts.iter().all(|part| part.as_text().is_some_and(|text| text.trim().is_empty()))
        && args.file.is_empty()
        && args.command.is_none()
    {
        return Err(Failure::usage("there is nothing to say: the text is empty"));
    }
    for path in &args.file {
        parts.push(file_part(path)?);
    }
    // Without its slash, as the server lists it.
    let command = args.command.as_deref().map(|name| name.strip_prefix('/').unwrap_or(name));
    if let Some(command) = command
        && parts.is_empty()
    {
        parts.push(Part::data(json!({"command": command})));
    }
    let mut message = Message::new(Role::User, parts);
    let command = command.map(|command| ("command".to_owned(), json!(command)));
    let schema = args.schema.as_deref().map(read_schema).transpose()?;
    let schema = schema.map(|schema| ("schema".to_owned(), schema));
    let members = command.into_iter().chain(schema).chain(args.wishes.to_metadata()?);
    let members: Map<String, Value> = members.collect();
    message.metadata = (!members.is_empty()).then(|| members.into());
    let configuration =
        SendMessageConfiguration { return_immediately: args.no_wait, ..Default::default() };
    Ok(SendMessageRequest {
        tenant: None,
        message,
        configuration: Some(configuration),
        metadata: None,
    })
}

fn read_schema(path: &Path) -> Result<Value, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot use the schema {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use pilothouse_a2a::message::PartContent;
    use pilothouse_a2a::task::TaskStatus;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        send: SendArgs,
    }

    fn parsed(line: &[&str]) -> SendArgs {
        Line::try_parse_from([&["send"], line].concat()).unwrap().send
    }

    #[test]
    fn a_command_stands_in_the_metadata_and_needs_no_text() {
        let request = request(&parsed(&["--command", "/review"]), &mut &b""[..]).unwrap();
        let message = serde_json::to_value(request.message).unwrap();
        assert_eq!(message["metadata"], json!({"command": "review"}));
        assert_eq!(message["parts"], json!([{"data": {"command": "review"}}]));
    }

    #[test]
    fn a_dash_reads_the_text_from_standard_input() {
        let request = request(&parsed(&["-"]), &mut &b"from a pipe\n"[..]).unwrap();
        assert_eq!(request.message.text_content(), "from a pipe");
    }

    #[test]
    fn nothing_to_say_is_wrong_use() {
        assert_eq!(request(&parsed(&[" "]), &mut &b""[..]).unwrap_err().code, 2);
    }

    #[test]
    fn a_file_is_sent_with_its_name_and_media_type() {
        let folder = tempfile::tempdir().unwrap();
        let types = [("a.PNG", "image/png"), ("b.rs", "text/plain"), ("c.md", "text/markdown")]
            .map(|(name, kind)| {
                let path = folder.path().join(name);
                std::fs::write(&path, "x").unwrap();
                let request =
                    request(&parsed(&["--file", path.to_str().unwrap()]), &mut &b""[..]).unwrap();
                let part = &request.message.parts[0];
                assert_eq!(
                    (part.filename.as_deref(), &part.content),
                    (Some(name), &PartContent::Raw(b"x".to_vec()))
                );
                (part.media_type.clone().unwrap(), kind)
            });
        assert!(types.iter().all(|(found, wanted)| found == wanted));
        assert_eq!(file_part(&folder.path().join("none")).unwrap_err().code, 2);
    }

    #[test]
    fn a_question_comes_with_the_way_to_answer() {
        let mut message = Message::agent_text("Which?");
        message.parts.push(Part::data(json!({"options": ["red", {"label": "blue"}]})));
        let status =
            TaskStatus { state: TaskState::InputRequired, message: Some(message), timestamp: None };
        let task = Task::new("t-1".into(), "c-1".into(), status);
        insta::assert_snapshot!(how_to_answer(&task, "").join("\n"), @r#"
answer with: pilothouse answer t-1 "..."
"#);
        let told = how_to_answer(&task, " --url http://x --agent two").pop().unwrap();
        assert!(told.contains("pilothouse answer --url http://x --agent two t-1"));
    }

    #[test]
    fn a_canceled_task_and_an_interrupt_have_different_codes() {
        let task = |state| {
            Task::new("t".into(), "c".into(), TaskStatus { state, message: None, timestamp: None })
        };
        assert_eq!(left_or(End::Settled, Some(&task(TaskState::Canceled)), 3), 3);
        assert_eq!(left_or(End::Left, Some(&task(TaskState::Canceled)), 3), 130);
        assert_eq!(left_or(End::Left, Some(&task(TaskState::Completed)), 0), 0);
    }
}
