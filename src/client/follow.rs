//! Following a task: its events are shown as they come, until it is over or asks for something.
//!
//! # How it works
//!
//! On a terminal the answer is printed while it streams, with a line below that says what the agent
//! does now. Anything else gets the answer once and exactly, at the end: what streamed may be replaced
//! by then. With `--json` each event is a line.

use super::failure::Failure;
use super::markdown::Printer;
use super::outcome::{last_message, text_of, words};
use super::send::watch_command;
use super::tasks::render_question;
use super::terminal::{DIM, Filter, Screen, Spinner, clean, clean_line, shows, styled};
use super::{exit, outcome};
use pilothouse_a2a::client::{Client, ClientError, EventStream};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::event::{StreamResponse, TaskArtifactUpdateEvent};
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::task::{Artifact, Task, TaskState};
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

const FRAME: Duration = Duration::from_millis(100);
const WIDTH: usize = 80;

/// What Ctrl-C means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The first cancels the task, the second leaves.
    Cancels,
    /// The task goes on without us.
    Leaves,
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
            printer: screen.styled.then(|| Printer::new(screen.width.unwrap_or(WIDTH))),
            spinner: Spinner::new(&screen),
            task: None,
            message: false,
            answers: Vec::new(),
            current: None,
            doing: "waiting for the agent".to_owned(),
            at_start: true,
            said: false,
        }
    }

    /// The task as it stands.
    pub(super) fn task(&self) -> Option<&Task> {
        self.task.as_ref()
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
                task.artifacts.iter().try_for_each(|artifact| self.whole(artifact))
            }
            StreamResponse::StatusUpdate(update) => {
                let said = update
                    .status
                    .message
                    .as_ref()
                    .map(pilothouse_a2a::message::Message::text_content);
                self.note_status(update.status.state, said.as_deref());
                Ok(())
            }
            StreamResponse::ArtifactUpdate(update) => self.update(update),
            StreamResponse::Message(message) => {
                self.message = true;
                self.emit(&message.text_content())
            }
        }
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
        if self.screen.terminal { self.speak(id, text) } else { Ok(()) }
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
            if self.screen.terminal && !shown.trim_end().ends_with(text.trim()) {
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
        if !self.screen.terminal {
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
            let columns = self.screen.width;
            if let Some(text) = render_question(task, columns) {
                // Behind its bars as it is: no markup may hide a piece of a command.
                if self.said {
                    self.out.write_all(b"\n")?;
                }
                self.write(&text)?;
                return self.out.flush();
            }
            let told = if state == TaskState::Completed && !self.said {
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
        self.out.write_all(text.as_bytes())?;
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

/// Shows events until the task is over, asks, or Ctrl-C says otherwise. `asked` says that a task which
/// asks already at the beginning is the end, too (it is not where we have just answered).
pub(super) async fn follow<W: Write>(
    client: &Client,
    mut events: EventStream,
    show: &mut Show<W>,
    on_interrupt: Interrupt,
    asked: bool,
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
                _ = frames.tick(), if show.screen.lively => show.tick(),
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
        let state = event.status().map(|status| status.state);
        let asks =
            state.is_some_and(TaskState::is_interrupted) && (asked || !first || !is_task(&event));
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
            let command = watch_command(&task.id, &self.options);
            eprintln!("pilothouse: left; the task goes on: {command}");
        }
        Ok(End::Left)
    }
}

#[cfg(test)]
mod tests;
