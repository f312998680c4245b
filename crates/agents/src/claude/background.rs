//! Work that goes on after the model has ended its turn: subagents, and commands in the background.
//!
//! # How it works
//!
//! The CLI lists what runs in the background whenever that changes (`background_tasks_changed`), and it says
//! when it has nothing left to do (`session_state_changed`). A `result` ends our turn at once where nothing has
//! run in the background. Otherwise it is held until the CLI is idle: what a subagent brings arrives in a further
//! turn that the CLI begins by itself, with a result of its own.
//!
//! Commands do not keep the CLI from being idle. A command that the CLI itself moved to the background, because
//! it took too long, reports like a subagent and is waited for. A command that the model started there (a
//! server, say) may run for ever: it gets [`super::ClaudeOptions::background_grace`].
//!
//! # Pitfalls
//!
//! - A subagent in the foreground sends `task_notification` too, and no turn follows. So only the list counts.
//! - Between the end of a command and the turn that reports it the CLI is idle for a moment.
//! - An interrupt ends subagents, without a `result` where the model's own turn is over, and leaves commands
//!   running.
//! - A command that ends between two of our turns makes the CLI begin a turn that nobody waits for and no budget
//!   counts. It is interrupted; the model reads the report at the beginning of our next turn.

use super::wire::Text;
use super::{Claude, ClaudeOptions, Phase};
use crate::exit::bounded;
use crate::reading::Heard;
use crate::{Event, LONGEST_ID, Outcome, Step, Timer, Usage};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::mem;

/// Tasks and tool calls of the CLI that are remembered.
const REMEMBERED: usize = 256;

/// Bytes of a command or a description that are kept and shown.
const SHOWN: usize = 300;

/// Bytes of a report that are shown beside the end of its task; the follow-up turn tells the rest.
const REPORT: usize = 2048;

/// Bytes of the answers of one turn that are joined; beyond, what was streamed is the answer.
const ANSWERS: usize = 8 << 20;

/// What is done with commands that still run in the background when a turn is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackgroundEnd {
    /// They go on running beside the idle process.
    Keep,
    /// They are stopped.
    Kill,
}

/// What one process runs beside its turns.
#[derive(Debug, Default)]
pub(super) struct Background {
    tasks: VecDeque<Task>,
    /// Commands that the model called lately.
    calls: VecDeque<ToolCall>,
    /// Whether the CLI has nothing to do beside background commands; none before it has said so.
    is_idle: Option<bool>,
}

/// A command that the model called.
#[derive(Debug)]
struct ToolCall {
    id: String,
    command: String,
    in_background: bool,
}

/// A subagent, a command or another task of the CLI.
#[derive(Debug, Default)]
struct Task {
    id: String,
    /// The CLI's name of its kind.
    kind: String,
    /// The command, or the task's description.
    what: String,
    /// Whether the model started it in the background and the CLI does not wait for it.
    is_detached: bool,
    in_background: bool,
    /// Whether it stands in the CLI's list of what runs in the background.
    is_listed: bool,
    has_ended: bool,
    /// Whether it was left running by an earlier turn.
    is_earlier: bool,
}

/// What a turn has come to that waits for work in the background.
#[derive(Debug)]
pub(super) struct HeldResult {
    outcome: Outcome,
    /// Whether the time of what is not waited for without end is over.
    is_late: bool,
    /// Whether commands were told to stop.
    stops: bool,
    /// Whether a task has ended whose report has not begun.
    owes_report: bool,
}

/// A `system` line about a task.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct TaskLine<'a> {
    task_id: Text<'a>,
    tool_use_id: Option<Text<'a>>,
    task_type: Option<Text<'a>>,
    description: Option<Text<'a>>,
    is_backgrounded: Option<bool>,
    skip_transcript: Option<bool>,
    last_tool_name: Option<Text<'a>>,
    status: Option<Text<'a>>,
    summary: Option<Text<'a>>,
    usage: Option<TaskUsage>,
    patch: Option<Patch>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct TaskUsage {
    total_tokens: Option<u64>,
    tool_uses: Option<u64>,
    duration_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Patch {
    is_backgrounded: Option<bool>,
}

/// A `background_tasks_changed` line.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct ListLine<'a> {
    tasks: Vec<Listed<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Listed<'a> {
    task_id: Text<'a>,
    task_type: Text<'a>,
    description: Option<Text<'a>>,
    /// Not activity: a watcher, or the CLI's own housekeeping.
    ambient: Option<bool>,
}

/// A `session_state_changed` line.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct StateLine<'a> {
    state: Text<'a>,
}

impl Background {
    /// The model calls a tool; a command is remembered.
    pub(super) fn note_call(&mut self, id: &str, input: &Value) {
        let Some(command) = input.get("command").and_then(Value::as_str) else {
            return;
        };
        if id.len() > LONGEST_ID {
            return;
        }
        if self.calls.len() >= REMEMBERED {
            self.calls.pop_front();
        }
        self.calls.push_back(ToolCall {
            id: id.to_owned(),
            command: brief(command),
            in_background: input.get("run_in_background") == Some(&Value::Bool(true)),
        });
    }

    /// A turn begins: what runs already belongs to earlier ones.
    pub(super) fn begin_turn(&mut self) {
        for task in &mut self.tasks {
            task.is_earlier = true;
        }
    }

    /// What runs in the background, in words.
    pub(super) fn running(&self) -> Vec<String> {
        self.listed().map(|task| task.what.clone()).collect()
    }

    /// Whether anything runs in the background.
    pub(super) fn is_running(&self) -> bool {
        self.listed().next().is_some()
    }

    fn listed(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.is_listed)
    }

    /// What the present turn has started, and still runs.
    fn own(&self) -> impl Iterator<Item = &Task> {
        self.listed().filter(|task| !task.is_earlier)
    }

    /// The task of this id, made where it is new. None where the id is too long to be remembered.
    fn task(&mut self, id: &str) -> Option<&mut Task> {
        let place = match self.tasks.iter().position(|task| task.id == id) {
            Some(place) => place,
            None if id.len() > LONGEST_ID => return None,
            None => {
                if self.tasks.len() >= REMEMBERED {
                    let gone = self.tasks.iter().position(|task| !task.is_listed).unwrap_or(0);
                    self.tasks.remove(gone);
                }
                self.tasks.push_back(Task { id: id.to_owned(), ..Task::default() });
                self.tasks.len() - 1
            }
        };
        self.tasks.get_mut(place)
    }

    /// Takes in the list of what runs in the background. Whether something has left it.
    fn take_list(&mut self, list: &ListLine<'_>) -> bool {
        let before = self.listed().count();
        let mut stay = 0;
        for task in &mut self.tasks {
            let is_listed = list.tasks.iter().any(|listed| *listed.task_id == *task.id);
            stay += usize::from(task.is_listed && is_listed);
            task.is_listed = false;
        }
        let active = list.tasks.iter().filter(|listed| listed.ambient != Some(true));
        for listed in active.take(REMEMBERED) {
            let Some(task) = self.task(&listed.task_id) else { continue };
            (task.is_listed, task.in_background) = (true, true);
            if task.what.is_empty() {
                task.kind = brief(&listed.task_type);
                task.what = brief(listed.description.as_deref().unwrap_or("a task"));
            }
        }
        self.tasks.retain(|task| task.is_listed || !task.has_ended);
        stay < before
    }
}

impl Task {
    /// Whether its end is followed by a turn that must be waited for, though the CLI is idle beside it. The CLI
    /// is not idle beside subagents.
    fn reports(&self) -> bool {
        !self.is_detached && matches!(self.kind.as_str(), "local_bash" | "mcp_task")
    }

    /// The kind, as a caller reads it.
    fn kind(&self) -> &str {
        match self.kind.as_str() {
            "local_agent" => "agent",
            "local_bash" => "command",
            other => other.strip_prefix("local_").unwrap_or(other),
        }
    }

    fn status(&self, state: &str, text: String, line: &TaskLine<'_>) -> Step {
        let mut data = json!({
            "kind": "background",
            "id": self.id,
            "state": state,
            "type": self.kind(),
            "what": self.what,
            "foreground": !self.in_background,
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                data[name] = value;
            }
        };
        set("toolCallId", line.tool_use_id.as_deref().map(Value::from));
        set("tool", line.last_tool_name.as_deref().map(Value::from));
        if let Some(usage) = line.usage {
            set("tokens", usage.total_tokens.map(Value::from));
            set("toolCalls", usage.tool_uses.map(Value::from));
            set("durationMs", usage.duration_ms.map(Value::from));
        }
        let summary = line.summary.as_deref().filter(|_| line.status.is_some());
        set("report", summary.map(|summary| bounded(summary.to_owned(), REPORT).into()));
        Step::Say(Event::Status { text, data: Some(data) })
    }
}

impl Claude {
    /// A line about a task: begun, going on, or ended.
    pub(super) fn task_line(&mut self, subtype: &str, bytes: &[u8]) -> Heard {
        let line: TaskLine<'_> = serde_json::from_slice(bytes)?;
        let call = line.tool_use_id.as_deref().and_then(|id| {
            self.background.calls.iter().find(|call| call.id == id).map(|call| {
                let ToolCall { command, in_background, .. } = call;
                (command.clone(), *in_background)
            })
        });
        let shows = self.phase != Phase::Idle && line.skip_transcript != Some(true);
        let Some(task) = self.background.task(&line.task_id) else {
            return Ok(Vec::new());
        };
        let mut steps = Vec::new();
        match subtype {
            "task_started" => {
                // One that is resumed keeps its id.
                (task.is_earlier, task.has_ended) = (false, false);
                task.in_background |= line.is_backgrounded == Some(true);
                task.kind = brief(line.task_type.as_deref().unwrap_or_default());
                task.what = brief(line.description.as_deref().unwrap_or("a task"));
                if let Some((command, in_background)) = call {
                    (task.what, task.is_detached) = (command, in_background);
                }
                if task.in_background {
                    let text = format!("in the background: {}", task.what);
                    steps.push(task.status("started", text, &line));
                }
            }
            "task_updated" => {
                let moved = line.patch.as_ref().and_then(|patch| patch.is_backgrounded);
                if moved == Some(true) && !mem::replace(&mut task.in_background, true) {
                    let text = format!("moved to the background: {}", task.what);
                    steps.push(task.status("started", text, &line));
                }
            }
            "task_progress" => {
                let now = line.description.as_deref().unwrap_or(&task.what);
                let mut text = format!("{}: {}", task.what, brief(now));
                if let Some(tokens) = line.usage.and_then(|usage| usage.total_tokens) {
                    text.push_str(&format!(" ({tokens} tokens)"));
                }
                steps.push(task.status("running", text, &line));
            }
            _ => {
                task.has_ended = true;
                let state = line.status.as_deref().unwrap_or("completed");
                if task.in_background {
                    let text = format!("in the background: {}: {state}", task.what);
                    steps.push(task.status(state, text, &line));
                }
                self.background.tasks.retain(|task| task.is_listed || !task.has_ended);
            }
        }
        if !shows {
            steps.clear();
        }
        Ok(steps)
    }

    /// The list of what runs in the background.
    pub(super) fn task_list(&mut self, bytes: &[u8]) -> Heard {
        let has_left = self.background.take_list(&serde_json::from_slice(bytes)?);
        self.turn.has_background |= self.background.is_running();
        if let Some(held) = &mut self.turn.held
            && has_left
            && self.background.is_idle == Some(true)
        {
            // A CLI that is not idle reports before it is.
            (held.owes_report, held.is_late) = (true, false);
        }
        Ok(self.settle())
    }

    /// The CLI has begun to do something, waits for an answer, or has nothing left to do.
    pub(super) fn state_line(&mut self, bytes: &[u8]) -> Heard {
        let line: StateLine<'_> = serde_json::from_slice(bytes)?;
        let is_idle = &*line.state == "idle";
        self.background.is_idle = Some(is_idle);
        if let Some(held) = &mut self.turn.held
            && !is_idle
        {
            // The report has begun, and what it starts gets its own time.
            (held.owes_report, held.is_late) = (false, false);
        }
        Ok(self.settle())
    }

    /// Whether a turn that has come to a result may go on in the background.
    pub(super) fn may_go_on(&self, outcome: &Outcome) -> bool {
        let can_report = self.background.is_idle.is_some() && self.turn.has_background;
        let has_ended = matches!(outcome, Outcome::Completed { .. } | Outcome::Failed { .. });
        can_report && has_ended && !self.turn.interrupted
    }

    /// Holds what the turn has come to so far until the CLI is idle.
    pub(super) fn hold(&mut self, outcome: Outcome) -> Vec<Step> {
        let mut steps = Vec::new();
        let outcome = match (self.turn.held.take(), outcome) {
            (Some(held), Outcome::Completed { answer: more }) => {
                let answer = match held.outcome {
                    Outcome::Completed { answer } => join(answer, more),
                    _ => more,
                };
                Outcome::Completed { answer }
            }
            (_, outcome) => outcome,
        };
        let own: Vec<_> = self.background.own().map(|task| task.what.as_str()).collect();
        if !own.is_empty() {
            if let Outcome::Failed { message, .. } = &outcome {
                // It is the outcome of the task unless a further turn of the CLI has another one.
                steps.push(Step::Say(Event::Status { text: message.clone(), data: None }));
            }
            let text = format!("waiting for work in the background: {}", own.join(", "));
            let data = json!({ "kind": "background", "state": "waiting", "tasks": own });
            steps.push(Step::Say(Event::Status { text, data: Some(data) }));
        }
        let held = HeldResult { outcome, is_late: false, stops: false, owes_report: false };
        self.turn.held = Some(held);
        self.turn.begin_reply();
        steps.extend(self.settle());
        steps
    }

    /// Ends a held turn where nothing of it is left to wait for.
    pub(super) fn settle(&mut self) -> Vec<Step> {
        let Some(held) = &self.turn.held else {
            return Vec::new();
        };
        if self.background.is_idle != Some(true) {
            return Vec::new();
        }
        let is_interrupted = self.turn.interrupted;
        let waits = self.background.own().any(Task::reports) && !held.stops;
        let is_open = self.background.own().next().is_some() || held.owes_report && !held.stops;
        if is_interrupted || !waits && (!is_open || held.is_late) {
            return self.end_held();
        }
        let ClaudeOptions { background_grace, background_patience, .. } = self.options;
        let patience = match held.stops || held.owes_report {
            true => background_patience.max(background_grace),
            false => background_grace,
        };
        if waits { Vec::new() } else { vec![Step::Wake(Timer::Background, patience)] }
    }

    /// The time of what is not waited for without end is over.
    pub(super) fn grace_ends(&mut self) -> Vec<Step> {
        let is_idle = self.background.is_idle == Some(true);
        let Some(held) = self.turn.held.as_mut().filter(|_| is_idle) else {
            return Vec::new();
        };
        let own: Vec<_> = self.background.own().map(|task| task.id.clone()).collect();
        if self.options.background_end == BackgroundEnd::Keep || own.is_empty() || held.stops {
            held.is_late = true;
            return self.settle();
        }
        held.stops = true;
        let mut steps: Vec<_> = own.iter().map(|id| self.stop_request(id)).collect();
        steps.push(Step::Wake(Timer::Background, self.options.background_patience));
        steps
    }

    fn stop_request(&mut self, task: &str) -> Step {
        self.control_request("stop", &json!({ "subtype": "stop_task", "task_id": task }))
    }

    fn end_held(&mut self) -> Vec<Step> {
        let Some(held) = self.turn.held.take() else {
            return Vec::new();
        };
        self.end(held.outcome)
    }

    /// The turn is interrupted while it waits for work in the background: that work is given up.
    pub(super) fn give_up_held(&mut self) {
        if let Some(held) = &mut self.turn.held {
            held.outcome = Outcome::Canceled;
        }
    }
}

/// The first line of a text, or as much of it as is shown.
fn brief(text: &str) -> String {
    let text = text.trim();
    let line = text.lines().next().unwrap_or_default();
    let shown = &line[..line.floor_char_boundary(SHOWN.min(line.len()))];
    if shown.len() < text.len() { format!("{shown} ...") } else { shown.to_owned() }
}

/// The answers of two turns of the CLI, as paragraphs of one; none, which means what was streamed, where either is not
/// known or they are too long together.
fn join(first: Option<String>, more: Option<String>) -> Option<String> {
    let (first, more) = first.zip(more)?;
    (first.len() + more.len() <= ANSWERS).then(|| format!("{first}\n\n{more}"))
}

/// What two turns of the CLI have used together.
pub(super) fn add(sum: Usage, more: Usage) -> Usage {
    let tokens = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    let cost =
        sum.cost_usd.zip(more.cost_usd).map(|(one, other)| ((one + other) * 1e9).round() / 1e9);
    Usage {
        input_tokens: tokens(sum.input_tokens, more.input_tokens),
        output_tokens: tokens(sum.output_tokens, more.output_tokens),
        cache_read_tokens: tokens(sum.cache_read_tokens, more.cache_read_tokens),
        cache_write_tokens: tokens(sum.cache_write_tokens, more.cache_write_tokens),
        cost_usd: cost.or(sum.cost_usd).or(more.cost_usd),
        model: more.model.or(sum.model),
        turns: tokens(sum.turns, more.turns),
    }
}

#[cfg(test)]
mod tests;
