//! Following a task: its events are shown as they come, until it is over or asks for something.
//!
//! # How it works
//!
//! On a terminal the answer is printed while it streams, with a line below that says what the agent
//! does now. Anything else gets the answer once and exactly, at the end: what streamed may be replaced
//! by then. Each tool leaves a line on standard error. A transcript has these lines, the questions and what was
//! answered on standard output, in their order. With `--json` each event is a line.

use super::failure::Failure;
use super::markdown::Printer;
use super::outcome::{last_message, remark, text_of, words};
use super::send::watch_command;
use super::tasks::{Ask, render_question_on};
use super::terminal::{DIM, Filter, Screen, Spinner, WAITS, clean, clean_line, cut, shows, styled};
use super::{exit, outcome};
use anstream::adapter::strip_str;
use pilothouse_a2a::client::{Client, ClientError, EventStream};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::event::{StreamResponse, TaskArtifactUpdateEvent};
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::message::{Message, PartContent, Role};
use pilothouse_a2a::task::{Artifact, Task, TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

const FRAME: Duration = Duration::from_millis(100);
const WIDTH: usize = 80;
/// Columns of a line about a step, where no terminal tells its own.
const STEP: usize = 200;

/// What Ctrl-C means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The first cancels the task, the second leaves.
    Cancels,
    /// The task goes on without us.
    Leaves,
}

/// Where following stops before the task is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FollowUntil {
    /// At a question that comes after the first event: the one before was just answered.
    NextAsk,
    /// At a question whose status is not older than this one; those before were answered.
    AskSince(Option<Timestamp>),
}

impl FollowUntil {
    fn is_at(self, event: &StreamResponse, first: bool) -> bool {
        let Some(status) = event.status().filter(|status| status.state.is_interrupted()) else {
            return false;
        };
        match self {
            Self::NextAsk => !first || !is_task(event),
            Self::AskSince(since) => status.timestamp >= since,
        }
    }
}

/// A cancel on its way.
type Canceling<'a> = Pin<Box<dyn Future<Output = Result<Task, ClientError>> + 'a>>;

/// How following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The task is over, or asks.
    Settled,
    /// We left by Ctrl-C.
    Left,
    /// The server refused to stream with its first word; nothing was shown.
    NoStream,
}

/// Shows the events of one task.
#[derive(Debug)]
pub(super) struct Show<W> {
    out: W,
    screen: Screen,
    json: bool,
    /// The options that lead a further command to the same server and agent.
    options: String,
    filter: Filter,
    printer: Option<Printer>,
    spinner: Spinner,
    /// The task as it stands.
    task: Option<Task>,
    /// The agent answered without a task.
    message: bool,
    answers: Vec<ArtifactText>,
    /// Which answer was printed last.
    current: Option<ArtifactId>,
    doing: String,
    at_start: bool,
    said: bool,
    began: Instant,
    /// The user's messages that are still to be shown, where all that happened is.
    transcript: Option<VecDeque<Message>>,
    /// What the message decided; it is told with the first event, which shows that the server took it.
    pub(super) decided: Option<String>,
    /// A line about a step came between two pieces of text.
    begins_anew: bool,
}

/// The text of one artifact as it was taken in.
#[derive(Debug)]
struct ArtifactText {
    id: ArtifactId,
    text: String,
    /// What will stand in its place, as far as it is known.
    replacing: Option<String>,
}

impl<W: Write> Show<W> {
    /// Shows on `out`; as JSON lines where that is asked for. `options` stand in each command that it names.
    pub(super) fn new(out: W, screen: Screen, json: bool, options: &str) -> Self {
        Self {
            out,
            screen,
            json,
            options: options.to_owned(),
            filter: Filter::default(),
            printer: (screen.styled || screen.terminal)
                .then(|| Printer::new(screen.width.unwrap_or(WIDTH))),
            spinner: Spinner::new(&screen),
            task: None,
            message: false,
            answers: Vec::new(),
            current: None,
            doing: "waiting for the agent".to_owned(),
            at_start: true,
            said: false,
            began: Instant::now(),
            transcript: None,
            decided: None,
            begins_anew: false,
        }
    }

    /// Shows all that happened, as it happened; `known` has what the user said.
    pub(super) fn into_transcript(mut self, known: &Task) -> Self {
        let said = known.history.iter().filter(|message| message.role == Role::User);
        self.transcript = Some(said.cloned().collect());
        self
    }

    /// Whether text is shown as it comes.
    fn streams(&self) -> bool {
        self.screen.terminal || self.transcript.is_some()
    }

    /// The task as it stands.
    pub(super) fn task(&self) -> Option<&Task> {
        self.task.as_ref()
    }

    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The exit code that tells how the task stands.
    pub(super) fn code(&self) -> u8 {
        match &self.task {
            Some(task) => outcome::code(task.status.state),
            None if self.message => 0,
            None => exit::UNAVAILABLE,
        }
    }

    /// Takes in an event.
    pub(super) fn take(&mut self, event: &StreamResponse) -> io::Result<()> {
        self.decided.take().iter().for_each(|line| eprintln!("{line}"));
        let asked = self.task.as_ref().is_some_and(|task| task.status.state.is_interrupted());
        let is_first = self.task.is_none();
        let refused = self.task.as_ref().and_then(|task| refusal_line(task, event));
        match (&mut self.task, event) {
            (Some(task), event) => task.apply(event),
            (None, StreamResponse::Task(task)) => self.task = Some(task.clone()),
            (None, _) => {}
        }
        if self.json {
            return self.json_line(event);
        }
        match event {
            StreamResponse::Task(task) => {
                self.note_status(task.status.state, words(task).as_deref());
                if is_first {
                    self.show_message("▶")?;
                }
                task.artifacts.iter().try_for_each(|artifact| self.whole(artifact))
            }
            StreamResponse::StatusUpdate(update) => {
                let said = update.status.message.as_ref().map(Message::text_content);
                self.note_status(update.status.state, said.as_deref());
                if asked && !update.status.state.is_interrupted() {
                    self.show_message("◀")?;
                }
                if let Some(line) = refused {
                    self.show_step(&line)?;
                }
                if let Some(line) = step_line(&update.status, self.transcript.is_some()) {
                    self.show_step(&line)?;
                }
                self.show_ask()
            }
            StreamResponse::ArtifactUpdate(update) => self.update(update),
            StreamResponse::Message(message) => {
                self.message = true;
                self.emit(&message.text_content())
            }
        }
    }

    /// The next message of the user, in a transcript.
    fn show_message(&mut self, mark: &str) -> io::Result<()> {
        let Some(message) = self.transcript.as_mut().and_then(VecDeque::pop_front) else {
            return Ok(());
        };
        let line = format!("{mark} {}", said_line(&message));
        self.end_text()?;
        self.begins_anew = true;
        let line =
            styled(&cut(&line, self.screen.width.unwrap_or(STEP)), WAITS, self.screen.styled);
        self.write(&format!("{line}\n"))
    }

    /// A line about what the agent did.
    fn show_step(&mut self, line: &str) -> io::Result<()> {
        let line = cut(line, self.screen.width.unwrap_or(STEP).saturating_sub(2));
        if self.streams() {
            self.end_text()?;
            self.begins_anew = true;
        }
        if self.transcript.is_some() {
            let line = styled(&line, DIM, self.screen.styled);
            return self.write(&format!("  {line}\n"));
        }
        self.spinner.clear();
        eprintln!("  {}", styled(&line, DIM, self.screen.styled_errors));
        Ok(())
    }

    /// What the task asks, in a transcript; elsewhere it stands at the end.
    fn show_ask(&mut self) -> io::Result<()> {
        let task = self.task.as_ref().filter(|_| self.transcript.is_some());
        let Some(text) = task.and_then(|task| render_question_on(task, &self.screen)) else {
            return Ok(());
        };
        self.end_text()?;
        self.begins_anew = true;
        self.write(&text)
    }

    fn note_status(&mut self, state: TaskState, said: Option<&str>) {
        let line = clean_line(said.and_then(|said| said.lines().next()).unwrap_or_default());
        self.doing = match (state, line) {
            (TaskState::Submitted, _) => "waiting for its turn".to_owned(),
            (_, line) if line.is_empty() => "working".to_owned(),
            (_, line) => line,
        };
    }

    /// An artifact as it stands: after a broken connection, or at the begin of a later one.
    fn whole(&mut self, artifact: &Artifact) -> io::Result<()> {
        let text = text_of(artifact);
        let Some(answer) = self.answers.iter_mut().find(|answer| answer.id == artifact.artifact_id)
        else {
            return self.append(&artifact.artifact_id, &text);
        };
        match (&mut answer.replacing, text.strip_prefix(&answer.text)) {
            (Some(replacing), _) => *replacing = text,
            (None, None) => answer.replacing = Some(text),
            (None, Some("")) => {}
            (None, Some(rest)) => {
                let rest = rest.to_owned();
                return self.append(&artifact.artifact_id, &rest);
            }
        }
        Ok(())
    }

    fn update(&mut self, update: &TaskArtifactUpdateEvent) -> io::Result<()> {
        let (id, text) = (&update.artifact.artifact_id, text_of(&update.artifact));
        match self.answers.iter_mut().find(|answer| answer.id == *id) {
            Some(answer) if !update.append && !answer.text.is_empty() => {
                answer.replacing = Some(text);
            }
            Some(ArtifactText { replacing: Some(replacing), .. }) => replacing.push_str(&text),
            Some(_) | None => return self.append(id, &text),
        }
        if update.last_chunk { self.settle() } else { Ok(()) }
    }

    /// More text of an answer.
    fn append(&mut self, id: &ArtifactId, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        match self.answers.iter_mut().find(|answer| answer.id == *id) {
            Some(answer) => answer.text.push_str(text),
            None => {
                self.answers.push(ArtifactText {
                    id: id.clone(),
                    text: text.to_owned(),
                    replacing: None,
                });
            }
        }
        if self.streams() { self.speak(id, text) } else { Ok(()) }
    }

    fn speak(&mut self, id: &ArtifactId, text: &str) -> io::Result<()> {
        if self.current.as_ref() != Some(id) && self.current.replace(id.clone()).is_some() {
            self.end_text()?;
            self.out.write_all(b"\n")?;
        }
        self.emit(text)
    }

    /// What was to be replaced is: nothing is printed twice where the end of it is the answer.
    fn settle(&mut self) -> io::Result<()> {
        for at in 0..self.answers.len() {
            let answer = &mut self.answers[at];
            let Some(text) = answer.replacing.take() else {
                continue;
            };
            let shown = std::mem::replace(&mut answer.text, text.clone());
            if self.streams() && !shown.trim_end().ends_with(text.trim()) {
                self.end_text()?;
                let rule = styled("── the answer ──", DIM, self.screen.styled);
                writeln!(self.out, "\n{rule}\n")?;
                self.emit(&text)?;
            }
        }
        Ok(())
    }

    /// Prints what is left, and what the task says at its end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.spinner.clear();
        if self.json {
            return self.out.flush();
        }
        self.settle()?;
        if !self.streams() {
            let texts: Vec<_> = self
                .answers
                .iter()
                .map(|answer| (answer.id.clone(), answer.text.clone()))
                .collect();
            for (id, text) in texts {
                self.speak(&id, &text)?;
            }
        }
        self.end_text()?;
        if let Some(task) = &self.task {
            let state = task.status.state;
            if self.transcript.is_some() && state.is_interrupted() {
                return self.out.flush();
            }
            if let Some(text) = render_question_on(task, &self.screen) {
                // Behind its bars as it is: no markup may hide a piece of a command.
                if self.said {
                    self.out.write_all(b"\n")?;
                }
                self.write(&text)?;
                return self.out.flush();
            }
            let is_answer = !self.said && remark(task).is_none();
            let told = if state == TaskState::Completed && is_answer {
                words(task).or_else(|| last_message(task))
            } else {
                None
            };
            if let Some(told) = told {
                if self.said {
                    self.out.write_all(b"\n")?;
                }
                self.emit(&told)?;
                self.end_text()?;
            }
        }
        self.out.flush()
    }

    fn emit(&mut self, text: &str) -> io::Result<()> {
        // Behind a line of its own a paragraph begins anyway.
        let text = if self.begins_anew { text.trim_start_matches('\n') } else { text };
        if text.is_empty() {
            return Ok(());
        }
        self.begins_anew = false;
        let text = self.filter.push(text);
        let text = match &mut self.printer {
            Some(printer) => printer.push(&text),
            None => text,
        };
        self.said = true;
        self.write(&text)
    }

    /// What is held back of the text so far, and the end of its line.
    fn end_text(&mut self) -> io::Result<()> {
        self.filter = Filter::default();
        let rest = self.printer.as_mut().map(Printer::finish).unwrap_or_default();
        self.write(&rest)?;
        if !self.at_start { self.write("\n") } else { Ok(()) }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.spinner.clear();
        self.at_start = text.ends_with('\n');
        // The layout stays where styles are not wanted.
        match self.printer.is_some() && !self.screen.styled {
            true => write!(self.out, "{}", strip_str(text))?,
            false => self.out.write_all(text.as_bytes())?,
        }
        self.out.flush()
    }

    fn json_line(&mut self, event: &StreamResponse) -> io::Result<()> {
        let line = serde_json::to_string(event).map_err(io::Error::from)?;
        self.write(&format!("{}\n", json_safe(&line)))
    }

    /// The next frame of the moving line, where the cursor is free for one.
    fn tick(&mut self) {
        if self.json || !self.at_start {
            return;
        }
        let tail = self.printer.as_ref().map(Printer::tail).unwrap_or_default();
        let doing = if tail.trim().is_empty() { self.doing.clone() } else { last_words(tail) };
        self.spinner.draw(&doing);
    }
}

/// The end of a line that is too long, for one who waits.
fn last_words(line: &str) -> String {
    let count = line.chars().count();
    let skipped = count.saturating_sub(60);
    let kept: String = line.chars().skip(skipped).collect();
    if skipped > 0 { format!("…{kept}") } else { kept }
}

/// JSON with everything escaped that a terminal would not show; the encoder leaves what is above ASCII as it is.
pub(super) fn json_safe(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if shows(character) || character == '\n' {
            out.push(character);
        } else {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    out
}

/// Shows events until the task is over, asks, or Ctrl-C says otherwise. Ctrl-D leaves, and the task goes on.
pub(super) async fn follow<W: Write>(
    client: &Client,
    mut events: EventStream,
    show: &mut Show<W>,
    on_interrupt: Interrupt,
    until: FollowUntil,
) -> Result<End, Failure> {
    let mut interrupts = signal(SignalKind::interrupt()).map_err(|error| {
        Failure::new(exit::UNAVAILABLE, format!("cannot listen for Ctrl-C: {error}"))
    })?;
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut canceling: Option<Canceling<'_>> = None;
    let mut canceled = false;
    let mut first = true;
    loop {
        let mut next = pin!(events.next());
        let event = loop {
            tokio::select! {
                event = next.as_mut() => break event,
                _ = frames.tick(), if show.screen.lively => {
                    show.tick();
                    if show.screen.asks && is_left() {
                        return show.leave();
                    }
                }
                _ = interrupts.recv() => {
                    let task = show.task().map(|task| task.id.clone());
                    match task {
                        Some(id) if on_interrupt == Interrupt::Cancels && !canceled => {
                            canceled = true;
                            show.say("canceling the task; Ctrl-C again leaves it");
                            canceling = Some(Box::pin(async move { client.cancel(&id).await }));
                        }
                        _ => return show.leave(),
                    }
                }
                answer = async { canceling.as_mut().expect("guarded").await }, if canceling.is_some() => {
                    canceling = None;
                    match answer {
                        Ok(task) => break Some(Ok((None, StreamResponse::Task(task)))),
                        Err(error) => show.say(&format!("could not cancel it: {error}")),
                    }
                }
            }
        };
        let event = match event {
            None => break,
            Some(Ok((_, event))) => event,
            Some(Err(error)) if first && error.kind() == Some(ErrorKind::UnsupportedOperation) => {
                show.spinner.clear();
                return Ok(End::NoStream);
            }
            Some(Err(error)) => {
                show.finish()?;
                return Err(Failure::of_client(&error, client.endpoint()));
            }
        };
        show.take(&event)?;
        let asks = until.is_at(&event, first);
        first = false;
        if event.ends_stream() || asks {
            break;
        }
    }
    show.finish()?;
    Ok(if canceled { End::Left } else { End::Settled })
}

fn is_task(event: &StreamResponse) -> bool {
    matches!(event, StreamResponse::Task(_))
}

/// A line about a step of the agent; where not all of them are wanted, none about what merely went well.
/// What a message has denied that was no answer to the open permission in form: the server says how it took the words.
fn refusal_line(task: &Task, event: &StreamResponse) -> Option<String> {
    let StreamResponse::StatusUpdate(update) = event else { return None };
    let ask = Ask::of(task).filter(Ask::is_permission)?;
    let message = update.status.message.as_ref()?;
    message.metadata.as_ref()?.get("decision").filter(|decision| decision == "deny")?;
    let said = clean_line(&message.text_content());
    Some(format!(
        "denied: {}; {said}; `pilothouse approve` permits what is still asked",
        ask.describe()
    ))
}

fn step_line(status: &TaskStatus, all: bool) -> Option<String> {
    let message = status.message.as_ref().filter(|_| status.state == TaskState::Working)?;
    let data = message.parts.iter().find_map(|part| match &part.content {
        PartContent::Data(data) => Some(data.to_value()),
        PartContent::Text(_) | PartContent::Raw(_) | PartContent::Url(_) => None,
    });
    let kind = data.as_ref().and_then(|data| data.get("kind")?.as_str()).unwrap_or_default();
    let failed = || data.as_ref().is_some_and(|data| data["isError"] == true);
    let is_wanted = match kind {
        "tool-call" | "permission" | "question" | "egress-refused" | "mcp-server" | "setup" => true,
        "tool-result" => all || failed(),
        // It stands in the answer.
        "narration" => false,
        _ => all,
    };
    let text = message.text_content();
    let line = clean_line(text.lines().find(|line| !line.trim().is_empty())?);
    (is_wanted && !line.is_empty()).then_some(line)
}

/// What a user said, in one line: words, or a decision.
fn said_line(message: &Message) -> String {
    let text = message.text_content();
    let decisions = message.parts.iter().filter_map(|part| match &part.content {
        PartContent::Data(data) => {
            let data = data.to_value();
            let field = |name: &str| data.get(name)?.as_str().map(ToOwned::to_owned);
            let said = field("decision").or_else(|| field("answer")).or_else(|| field("optionId"));
            let said = said.unwrap_or_else(|| data.to_string());
            Some(field("reason").map_or_else(|| said.clone(), |reason| format!("{said}: {reason}")))
        }
        PartContent::Text(_) => None,
        PartContent::Raw(_) | PartContent::Url(_) => Some("(a file)".to_owned()),
    });
    let words = Some(text).filter(|text| !text.trim().is_empty());
    clean_line(&words.into_iter().chain(decisions).collect::<Vec<_>>().join(" "))
}

/// Whether the person at the terminal typed Ctrl-D; what else was typed counts for nothing.
fn is_left() -> bool {
    let stdin = io::stdin();
    while has_input(&stdin) {
        let mut line = [0; 4096];
        if matches!(rustix::io::read(&stdin, &mut line[..]), Ok(0) | Err(_)) {
            return true;
        }
    }
    false
}

/// Whether there is something to be read, and it is ours: a process in the background would be stopped.
fn has_input(stdin: &io::Stdin) -> bool {
    let is_ours =
        rustix::termios::tcgetpgrp(stdin).is_ok_and(|group| group == rustix::process::getpgrp());
    let mut fds = [PollFd::new(stdin, PollFlags::IN)];
    is_ours && rustix::event::poll(&mut fds, Some(&Timespec::default())) == Ok(1)
}

impl<W: Write> Show<W> {
    /// A line on standard error.
    fn say(&mut self, text: &str) {
        self.spinner.clear();
        eprintln!("pilothouse: {}", clean(text));
        self.doing = clean_line(text);
    }

    fn leave(&mut self) -> Result<End, Failure> {
        self.finish()?;
        if let Some(task) = &self.task {
            let command = watch_command(&task.id, &self.options, self.screen.lively);
            eprintln!("pilothouse: left; the task goes on: {command}");
        }
        Ok(End::Left)
    }
}

#[cfg(test)]
mod tests;
