//! The live console: `→` a request, `<` what the agent does, `←` the response; one line each, cut to
//! the terminal. A terminal that is slow loses lines, never the server its time; how many is said.

use super::is_unshowable;
use crate::config::Color;
use anstyle::{AnsiColor, Style};
use parking_lot::Mutex;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::task::TaskState;
use pilothouse_agents::event::{Event, Usage};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines that may wait for a slow terminal.
const QUEUE: usize = 1024;

/// Width where standard output is not a terminal.
const PLAIN_WIDTH: usize = 160;

const REQUEST: Style = AnsiColor::Cyan.on_default();
const AGENT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WAITS: Style = AnsiColor::Yellow.on_default();

/// The console, or none.
pub struct Console {
    lines: Mutex<Option<SyncSender<String>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    skipped: Arc<AtomicUsize>,
    on: bool,
    colour: bool,
    terminal: bool,
}

impl Console {
    /// A console that says nothing.
    pub fn off() -> Self {
        Self {
            lines: Mutex::new(None),
            writer: Mutex::new(None),
            skipped: Arc::default(),
            on: false,
            colour: false,
            terminal: false,
        }
    }

    /// A console on standard output.
    pub fn stdout(color: Color) -> Self {
        let terminal = io::stdout().is_terminal();
        let (lines, waiting) = sync_channel(QUEUE);
        let skipped = Arc::new(AtomicUsize::new(0));
        let counted = skipped.clone();
        let writer = std::thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || print(&waiting, &counted));
        Self {
            on: writer.is_ok(),
            lines: Mutex::new(Some(lines)),
            writer: Mutex::new(writer.ok()),
            skipped,
            colour: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => terminal,
            },
            terminal,
        }
    }

    /// A request came.
    pub fn request(&self, method: &str, caller: &str, task: Option<&TaskId>) {
        if self.on {
            let task = task.map(short).unwrap_or_default();
            self.line(REQUEST, &format!("→ {task:>6} {method} from {caller}"));
        }
    }

    /// The agent said something.
    pub fn agent(&self, task: &TaskId, event: &Event) {
        if !self.on {
            return;
        }
        let (kind, preview) = match event {
            Event::Text(text) => ("text", text.clone()),
            Event::Thought(text) => ("thought", text.clone()),
            Event::Status { text, .. } => ("status", text.clone()),
            Event::Problem(problem) => ("problem", problem.text.clone()),
            Event::ToolCall { name, input, .. } => ("tool", format!("{name} {input}")),
            Event::ToolResult { content, is_error: false, .. } => ("result", content.clone()),
            Event::ToolResult { content, is_error: true, .. } => ("refused", content.clone()),
            Event::ToolFile { media_type, .. } => ("file", media_type.clone().unwrap_or_default()),
            Event::Plan(plan) => ("plan", plan.to_string()),
            Event::Artifact(artifact) => ("artifact", artifact.name.clone().unwrap_or_default()),
            Event::Message(text) => ("message", text.clone()),
            Event::Usage(_) => return,
            Event::Raw(value) => ("other", value.to_string()),
        };
        let head: String = preview.chars().take(400).collect();
        self.line(AGENT, &format!("< {:>6} {kind}: {}", short(task), one_line(&head)));
    }

    /// A turn is over.
    pub fn response(&self, task: &TaskId, state: TaskState, usage: Option<&Usage>, took: Duration) {
        if !self.on {
            return;
        }
        let word = state.word();
        let mut line = format!("← {:>6} {word} in {:.2} s", short(task), took.as_secs_f64());
        if let Some(usage) = usage {
            if let (Some(input), Some(output)) = (usage.input_tokens, usage.output_tokens) {
                let _ = write!(line, ", {input} → {output} tokens");
            }
            if let Some(cost) = usage.cost_usd {
                let _ = write!(line, ", ${cost:.4}");
            }
        }
        let style = match state {
            TaskState::Completed => GOOD,
            TaskState::Failed | TaskState::Rejected => BAD,
            TaskState::Unspecified
            | TaskState::Submitted
            | TaskState::Working
            | TaskState::Canceled
            | TaskState::InputRequired
            | TaskState::AuthRequired => WAITS,
        };
        self.line(style, &line);
    }

    fn line(&self, style: Style, text: &str) {
        let width = if self.terminal { width() } else { PLAIN_WIDTH };
        let text = cut(&text.replace(is_unshowable, " "), width);
        let line =
            if self.colour { format!("{style}{text}{style:#}\n") } else { format!("{text}\n") };
        let lines = self.lines.lock();
        if let Some(lines) = &*lines
            && lines.try_send(line).is_err()
        {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Prints what waits, for a moment; a terminal that is stuck does not keep the server.
    pub fn close(&self) {
        self.lines.lock().take();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let began = std::time::Instant::now();
            while !writer.is_finished() && began.elapsed() < Duration::from_millis(500) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

fn print(waiting: &Receiver<String>, skipped: &AtomicUsize) {
    let mut out = io::stdout().lock();
    while let Ok(line) = waiting.recv() {
        let lost = skipped.swap(0, Ordering::Relaxed);
        let said = if lost > 0 {
            out.write_all(format!("  … {lost} lines skipped\n").as_bytes())
        } else {
            Ok(())
        };
        if said.and_then(|()| out.write_all(line.as_bytes())).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// The last characters of an id tell tasks of one minute apart.
fn short(task: &TaskId) -> &str {
    let id = task.as_str();
    id.get(id.len().saturating_sub(6)..).unwrap_or(id)
}

fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split(|character: char| character.is_whitespace() || is_unshowable(character))
    {
        if !word.is_empty() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    line
}

fn width() -> usize {
    let columns =
        rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { 80 } else { columns }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_width_and_control_characters_never_reach_the_terminal() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(one_line("a\u{1b}[31m\n\tb"), "a [31m b");
        assert_eq!(one_line("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{2028}f"), "a b c d e f");
    }
}
