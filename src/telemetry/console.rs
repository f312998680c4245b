//! The live console: what agents are told, what they do and say, whom they wait for, and what comes of it. A line
//! begins with the time, a mark, and the end of the task's id, by which client commands find it.
//!
//! Words that come in pieces become whole lines. Lines are cut to the terminal. A terminal that is slow loses lines,
//! never the server its time; how many is said.

mod said;

use super::is_unshowable;
use crate::config::Color;
use anstyle::{AnsiColor, Style};
use parking_lot::Mutex;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::task::TaskState;
use pilothouse_agents::event::{Event, Usage};
use said::Said;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines that may wait for a slow terminal.
const QUEUE: usize = 1024;

/// Turns whose words are joined to lines at a time; those of further ones are not shown until they end.
const TURNS: usize = 4096;

/// Width where standard output is not a terminal.
const PLAIN_WIDTH: usize = 160;

/// Characters of a line at most, before it is cut to the terminal.
const LONGEST: usize = 400;

/// Columns of a task's line before its text: the time, the mark and the id.
const TASK_BEGIN: usize = 16;

/// A tool that took less is not worth a second line.
const LONG_TOOL: Duration = Duration::from_secs(1);

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
    turns: Mutex<HashMap<TaskId, Said>>,
    on: bool,
    colour: bool,
    terminal: bool,
}

/// What came of a turn.
#[derive(Clone, Copy)]
pub struct TurnEnd<'a> {
    /// The task's state.
    pub state: TaskState,
    /// What was used, where it is known.
    pub usage: Option<&'a Usage>,
    /// How long it took.
    pub took: Duration,
    /// How much of that a person was waited for.
    pub waited: Duration,
    /// Why it failed, as a code.
    pub failure: Option<&'static str>,
    /// What its end says beside the answer: what still runs, what does not work.
    pub remark: &'a str,
    /// The agent's last words, or why it failed.
    pub words: &'a str,
    /// Whether its CLI sends telemetry of its own.
    pub is_native: bool,
}

impl Console {
    /// A console that says nothing.
    pub fn off() -> Self {
        Self {
            lines: Mutex::new(None),
            writer: Mutex::new(None),
            skipped: Arc::default(),
            turns: Mutex::default(),
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
            ..Self::off()
        }
    }

    /// A turn begins with this prompt.
    pub fn begin_turn(&self, task: &TaskId, agent: &str, caller: &str, prompt: &str) {
        if self.on {
            let prompt = head(prompt);
            self.line(REQUEST, &format!("▶ {agent} · {caller} · {}  \"{prompt}\"", short(task)));
        }
    }

    /// The agent did or said something.
    pub fn agent(&self, task: &TaskId, event: &Event) {
        if !self.on {
            return;
        }
        let lines = self.with(task, |said| said.hear(event)).unwrap_or_default();
        for (is_bad, line) in lines {
            let (style, mark) = if is_bad { (BAD, '!') } else { (AGENT, ' ') };
            self.task_line(style, mark, task, &line);
        }
    }

    /// A person has to answer; the command that does it, and names the ask, stands behind what is asked.
    pub fn ask(&self, task: &TaskId, caller: &str, words: &str, command: &str) {
        if !self.on {
            return;
        }
        self.flush(task);
        let asked = format!("waits for {caller}: {}", head(words));
        let hint = format!("  pilothouse {command}");
        let room = self.width().saturating_sub(TASK_BEGIN);
        self.task_line(WAITS, '?', task, &join(&asked, &hint, room));
    }

    /// A person has answered.
    pub fn answer(&self, task: &TaskId, caller: &str, decision: &str) {
        self.task_line(REQUEST, ' ', task, &format!("{caller} answers: {decision}"));
    }

    /// The agent was refused a host; said once a turn for each.
    pub fn refuse(&self, task: &TaskId, host: &str, advice: &str) {
        if self.on && self.with(task, |said| said.note_refusal(host)) == Some(true) {
            self.task_line(BAD, '!', task, &format!("not reached: {}", head(advice)));
        }
    }

    /// A turn is over.
    pub fn end_turn(&self, task: &TaskId, end: TurnEnd<'_>) {
        if !self.on {
            return;
        }
        self.flush(task);
        let said = self.turns.lock().remove(task);
        let (style, mark) = match end.state {
            TaskState::Completed => (GOOD, '✓'),
            TaskState::Failed | TaskState::Rejected => (BAD, '✗'),
            TaskState::Canceled => (WAITS, '■'),
            TaskState::AuthRequired => (WAITS, '?'),
            // Whom it waits for was said when it asked.
            TaskState::InputRequired | TaskState::Unspecified => return,
            // The server stops, and the turn runs at its next start.
            TaskState::Submitted | TaskState::Working => return,
        };
        let mut text = format!("{:.1} s", end.took.as_secs_f64());
        if end.waited >= Duration::from_millis(100) {
            let _ = write!(text, " ({:.1} s waiting)", end.waited.as_secs_f64());
        }
        if let Some(usage) = end.usage {
            if let (Some(input), Some(output)) = (usage.input_tokens, usage.output_tokens) {
                let _ = write!(text, " · {input}→{output} tok");
            }
            if let Some(cost) = usage.cost_usd.filter(|cost| *cost > 0.0) {
                let _ = write!(text, " · ${cost:.4}");
            }
        }
        if !end.remark.is_empty() {
            let _ = write!(text, " · {}", head(end.remark));
        }
        let last = said.as_ref().map_or("", Said::last_words);
        match (end.words, last) {
            ("", "") => {}
            ("", words) => drop(write!(text, "  \"{}\"", head(words))),
            (words, _) if mark == '✓' => drop(write!(text, "  \"{}\"", head(words))),
            (words, _) => drop(write!(text, "  {}", head(words))),
        }
        self.task_line(style, mark, task, &text);
    }

    /// What is known of a turn's words; none where too many turns are.
    fn with<T>(&self, task: &TaskId, use_it: impl FnOnce(&mut Said) -> T) -> Option<T> {
        let mut turns = self.turns.lock();
        if !turns.contains_key(task) {
            if turns.len() >= TURNS {
                return None;
            }
            turns.insert(task.clone(), Said::default());
        }
        turns.get_mut(task).map(use_it)
    }

    /// Shows the words that have come without the end of their line.
    fn flush(&self, task: &TaskId) {
        let line = self.turns.lock().get_mut(task).and_then(Said::flush);
        if let Some(line) = line {
            self.task_line(AGENT, ' ', task, &line);
        }
    }

    fn task_line(&self, style: Style, mark: char, task: &TaskId, text: &str) {
        self.line(style, &format!("{mark} {} {text}", short(task)));
    }

    fn line(&self, style: Style, text: &str) {
        if !self.on {
            return;
        }
        let time = jiff::Zoned::now().strftime("%H:%M:%S");
        let text = cut(&format!("{time} {}", text.replace(is_unshowable, " ")), self.width());
        let line =
            if self.colour { format!("{style}{text}{style:#}\n") } else { format!("{text}\n") };
        let lines = self.lines.lock();
        if let Some(lines) = &*lines
            && lines.try_send(line).is_err()
        {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn width(&self) -> usize {
        if self.terminal { width() } else { PLAIN_WIDTH }
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

/// A call of a tool in few words.
pub(super) fn call(tool: &str, input: &Value) -> String {
    head(&format!("{tool} {}", said::tell(input)))
}

/// The end of an id tells tasks of one minute apart; client commands take it for the whole.
fn short(task: &TaskId) -> &str {
    let id = task.as_str();
    id.get(id.len().saturating_sub(4)..).unwrap_or(id)
}

/// The beginning of a text as one line.
fn head(text: &str) -> String {
    let beginning: String = text.chars().take(LONGEST).collect();
    let mut line = String::with_capacity(beginning.len());
    let is_gap = |character: char| character.is_whitespace() || is_unshowable(character);
    for word in beginning.split(is_gap).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
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

/// Two texts on one line; only the first is shortened.
fn join(text: &str, end: &str, width: usize) -> String {
    cut(text, width.saturating_sub(end.chars().count())) + end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a console of this width writes.
    fn written(console: impl FnOnce(&Console)) -> String {
        let (lines, written) = sync_channel(QUEUE);
        let shown = Console { lines: Mutex::new(Some(lines)), on: true, ..Console::off() };
        console(&shown);
        drop(shown);
        written.iter().collect()
    }

    #[test]
    fn the_command_that_answers_is_never_cut_off() {
        let hint = "  pilothouse approve ab12";
        let line = join(&"x".repeat(200), hint, 80 - TASK_BEGIN);
        assert!(line.chars().count() == 80 - TASK_BEGIN && line.ends_with(hint), "{line}");
        let task = TaskId::new("01a1faa5-948e-736e-845a-de8107228c16");
        let line =
            written(|console| console.ask(&task, "ann", &"x ".repeat(200), "approve k7m3p2"));
        assert_eq!(line.trim_end().chars().count(), PLAIN_WIDTH);
        assert!(line.ends_with("…  pilothouse approve k7m3p2\n"), "{line}");
    }

    #[test]
    fn the_end_of_a_turn_says_what_still_runs() {
        let end = TurnEnd {
            is_native: false,
            failure: None,
            state: TaskState::Completed,
            usage: None,
            took: Duration::from_secs(1),
            waited: Duration::ZERO,
            remark: "background: still running: sleep 60",
            words: "done",
        };
        let line = written(|console| console.end_turn(&TaskId::new("t-01"), end));
        let wanted = "✓ t-01 1.0 s · background: still running: sleep 60  \"done\"\n";
        assert!(line.ends_with(wanted), "{line}");
    }

    #[test]
    fn a_tool_without_input_is_its_name_alone() {
        assert_eq!(call("ExitPlanMode", &Value::Null), "ExitPlanMode");
        assert_eq!(call("ExitPlanMode", &serde_json::json!({})), "ExitPlanMode");
    }

    #[test]
    fn a_line_is_cut_to_the_width_and_control_characters_never_reach_the_terminal() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(head("a\u{1b}[31m\n\tb"), "a [31m b");
        assert_eq!(head("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{2028}f"), "a b c d e f");
    }
}
