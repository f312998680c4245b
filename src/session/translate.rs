//! What an agent says, as A2A reads it: events of one turn become records of its task.
//!
//! All text of a turn streams into one artifact, `answer`; everything else is a `WORKING` status with a
//! line for people and a data part. Adjacent pieces of text become one update, up to [`PIECE`] bytes.

mod answer;
mod artifacts;
mod output;

use super::bounded::{self, PREVIEW, one_line};
use super::facts::TurnFacts;
use super::records::{decode_base64, status};
use crate::asks;
use crate::clock;
use crate::config::Config;
use crate::store::AskRow;
use crate::task::{ANSWER, Record, TaskLog, answer_id};
use answer::Gather;
use pilothouse_a2a::event::TaskArtifactUpdateEvent;
use pilothouse_a2a::id::{ArtifactId, MessageId};
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::task::{Artifact, TaskState};
use pilothouse_agents::event::{Event, Usage};
use pilothouse_agents::lines::is_shortened;
use pilothouse_agents::setup::SetupEvidence;
use pilothouse_agents::{AskKind, Outcome, Problem};
use pilothouse_egress::Refusal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Text of one artifact update at most, in bytes.
const PIECE: usize = 32 * 1024;

/// Bytes of an event of the answer beside its text, about.
const FRAME: usize = 512;

/// Pieces of an answer that are stored at once, however short they are. Later ones gather until they are as long
/// as what is stored beside them, so that an answer of single words takes up not much more than its text.
const SHORT_PIECES: u64 = 65_536;

/// Streamed text that is remembered for comparison with what the CLI says its answer is.
const COMPARED: usize = 256 * 1024;

/// Problems that stand in the metadata of a task.
const MOST_PROBLEMS: usize = 32;

/// What the end of a turn says in which the agent gave no answer.
const NO_ANSWER: &str = "the agent ended its turn without an answer";

/// Translates one turn.
pub(super) struct Translator {
    log: Arc<TaskLog>,
    began: Instant,
    text: String,
    thought: String,
    /// Text streamed so far, where the driver names an answer of its own at the end.
    streamed: Option<String>,
    streamed_bytes: usize,
    answer_begun: bool,
    gather: Gather,
    /// Artifacts of which more may come.
    unfinished: Vec<ArtifactId>,
    /// Whether an artifact or a message was told beside the answer.
    told_more: bool,
    /// Something came between two pieces of text: they are paragraphs.
    new_paragraph: bool,
    usage: Option<Usage>,
    out: Vec<Record>,
    /// Bytes of these, without those of the answer.
    gathered_bytes: usize,
    /// Pieces of the answer so far.
    pieces: u64,
    /// Bytes of all records so far, without those of the answer.
    stored_bytes: usize,
    unknown: u64,
    /// What of the agent's set-up does not work.
    problems: Vec<Value>,
    setup: Vec<SetupEvidence>,
    /// What the end of the turn says beside the answer.
    remark: String,
    /// The limit of the account that has failed the turn.
    limit: Option<Value>,
    event_limit: usize,
    line_limit: usize,
    /// Files of tools so far, and bytes that further ones may have.
    tool_files: u64,
    tool_file_room: usize,
    /// Whether the agent has called a tool.
    has_called_tools: bool,
    /// What the turn has left in its workspace.
    results: Vec<Artifact>,
}

impl Translator {
    /// A translator for a turn that begins now. `compares` says that the driver states the whole answer
    /// at the end, so that the streamed text must be remembered.
    pub(super) fn new(log: Arc<TaskLog>, compares: bool, config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            log,
            began: Instant::now(),
            text: String::new(),
            thought: String::new(),
            streamed: compares.then(String::new),
            streamed_bytes: 0,
            answer_begun: false,
            gather: Gather::new(Duration::from_millis(config.streams.gather_ms)),
            unfinished: Vec::new(),
            told_more: false,
            new_paragraph: false,
            usage: None,
            out: Vec::new(),
            gathered_bytes: 0,
            pieces: 0,
            stored_bytes: 0,
            unknown: 0,
            problems: Vec::new(),
            setup: Vec::new(),
            remark: String::new(),
            limit: None,
            event_limit: limits.event.as_usize(),
            line_limit: config.streams.line.as_usize(),
            tool_files: 0,
            tool_file_room: limits.tool_files.as_usize(),
            has_called_tools: false,
            results: Vec::new(),
        }
    }

    /// Bytes of answer so far.
    pub(super) fn answer_bytes(&self) -> usize {
        self.streamed_bytes
    }

    /// Bytes of events so far, without those of the answer.
    pub(super) fn stored_bytes(&self) -> usize {
        self.stored_bytes
    }

    /// What the turn has used.
    pub(super) fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// How long the turn runs.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes in one event.
    pub(super) fn say(&mut self, event: Event) {
        match event {
            Event::Text(text) => {
                self.report_cut(&text);
                self.take_text(text);
            }
            Event::Thought(text) => {
                self.flush_text();
                self.push_thought(&text);
            }
            Event::Status { text, data } => self.status(&text, data),
            Event::ToolCall { id, name, input } => {
                let line = bounded::call(&name, &input);
                (self.new_paragraph, self.has_called_tools) = (true, true);
                self.status(
                    &line,
                    Some(json!({"kind": "tool-call", "id": id, "name": name, "input": input})),
                );
            }
            Event::ToolResult { id, content, is_error } => {
                let line = format!("{} {}", if is_error { "✗" } else { "✓" }, one_line(&content));
                let data = json!({"kind": "tool-result", "id": id, "output": content, "isError": is_error});
                self.status(&line, Some(data));
            }
            Event::ToolFile { id, base64, media_type } => self.tool_file(&id, base64, media_type),
            Event::Plan(plan) => self.status("plan", Some(json!({"kind": "plan", "plan": plan}))),
            Event::Artifact(artifact) => self.artifact(artifact),
            Event::Message(text) => {
                self.report_cut(&text);
                self.flush();
                let mut message = self.message(text, None);
                message.message_id = MessageId::random();
                self.told_more = true;
                self.push(Record::Message(message));
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Problem(problem) => self.report_problem(problem),
            Event::Setup(evidence) => self.setup = evidence,
            Event::Raw(_) => self.unknown += 1,
        }
    }

    /// Says that the end of a text was left out, and who can change that.
    fn report_cut(&mut self, text: &str) {
        if is_shortened(text) {
            let line = "a text was cut, because the agent wrote a longer line than is kept; the server's operator can \
                        raise `limits.line`";
            self.status(line, Some(json!({"kind": "cut"})));
        }
    }

    /// A long thought becomes several updates, because an event has a bound.
    fn push_thought(&mut self, mut text: &str) {
        // A control character takes six bytes on the wire, and a piece is never empty.
        let piece = PIECE.min(self.data_limit() / 6).max(64);
        while self.thought.len() + text.len() > piece {
            let cut = text.floor_char_boundary(piece - self.thought.len());
            self.thought.push_str(&text[..cut]);
            text = &text[cut..];
            self.flush_thought();
        }
        self.thought.push_str(text);
    }

    /// How many records have gathered, and their bytes, without those of the answer.
    pub(super) fn gathered(&self) -> (usize, usize) {
        (self.out.len(), self.gathered_bytes)
    }

    /// What has gathered, to be recorded now; a short piece of a long answer gathers further.
    pub(super) fn take(&mut self) -> Vec<Record> {
        self.flush_thought();
        let is_long = self.text.len() >= FRAME;
        if is_long || self.pieces < SHORT_PIECES && self.gathers_until().is_none() {
            self.flush_text();
        }
        self.gathered_bytes = 0;
        std::mem::take(&mut self.out)
    }

    /// All that has gathered, because nothing follows it.
    pub(super) fn take_all(&mut self) -> Vec<Record> {
        self.flush();
        std::mem::take(&mut self.out)
    }

    /// Records that were taken and are not stored yet; they come first.
    pub(super) fn put_back(&mut self, records: Vec<Record>) {
        self.out.splice(0..0, records);
    }

    fn flush(&mut self) {
        self.flush_text();
        self.flush_thought();
    }

    fn flush_thought(&mut self) {
        if !self.thought.is_empty() {
            let thought = std::mem::take(&mut self.thought);
            let line = format!("thinking: {}", one_line(&thought));
            let record = self.status_record(
                TaskState::Working,
                &line,
                Some(json!({"kind": "thought", "text": thought})),
            );
            self.push(record);
        }
    }

    fn push_artifact(&mut self, artifact: Artifact, append: bool, last: bool) {
        self.note_piece(&artifact.artifact_id, last);
        let update = self.artifact_update(artifact, append, last);
        self.told_more = true;
        self.push(update);
    }

    fn push(&mut self, record: Record) {
        let size = match &record {
            Record::Status(update) => bounded::size(update),
            Record::Artifact(update) => bounded::size(update),
            Record::Message(message) => bounded::size(message),
        };
        self.stored_bytes = self.stored_bytes.saturating_add(size);
        self.gathered_bytes += size;
        self.out.push(record);
    }

    fn artifact_update(&self, artifact: Artifact, append: bool, last: bool) -> Record {
        let mut update = TaskArtifactUpdateEvent::new(
            self.log.id.clone(),
            self.log.context_id.clone(),
            artifact,
        );
        update.append = append;
        update.last_chunk = last;
        Record::Artifact(update)
    }

    /// Text of one artifact update at most: even wholly escaped it stays under an event's limit.
    fn piece_limit(&self) -> usize {
        PIECE.min(self.event_limit.saturating_sub(2 * FRAME) / 6).max(64)
    }

    /// Room for data in one event, beside its frame and its line for people.
    fn data_limit(&self) -> usize {
        self.event_limit.saturating_sub(6 * PREVIEW + 4096) / 2
    }

    /// A request of the agent did not get out of the sandbox.
    pub(super) fn report_refusal(&mut self, refusal: &Refusal) {
        let data = json!({
            "kind": "egress-refused",
            "host": refusal.host,
            "port": refusal.port,
            "reason": refusal.reason.word(),
        });
        self.status(&format!("not reached: {}", refusal.advice), Some(data));
    }

    /// Whether the agent has called a tool in this turn.
    pub(super) fn has_called_tools(&self) -> bool {
        self.has_called_tools
    }

    /// What the turn has left in its workspace; it comes behind the answer.
    pub(super) fn add_results(&mut self, results: Vec<Artifact>) {
        self.results.extend(results);
    }

    /// The limit of the account that has failed the turn; it stands with the failure.
    pub(super) fn set_limit(&mut self, limit: Option<Value>) {
        self.limit = limit;
    }

    /// Something of the agent's set-up does not work, or works again.
    fn report_problem(&mut self, problem: Problem) {
        let Problem { kind, subject, state, detail, text, is_solved } = problem;
        let data = json!({"kind": kind, "subject": subject, "state": state, "detail": detail});
        self.problems.retain(|known| known["kind"] != kind || known["subject"] != data["subject"]);
        if !is_solved && self.problems.len() < MOST_PROBLEMS {
            self.problems.push(bounded::value(data.clone(), PREVIEW));
        }
        self.status(&text, Some(data));
    }

    /// A `WORKING` status with a line for people and, if there is more, a data part.
    pub(super) fn status(&mut self, line: &str, data: Option<Value>) {
        self.flush();
        let record = self.status_record(TaskState::Working, line, data);
        self.push(record);
    }

    /// The question that the caller is to answer, as the task's status.
    pub(super) fn pose(&mut self, ask: &AskRow) {
        self.flush();
        let data = asks::render(ask, clock::now());
        let record =
            self.status_record(TaskState::InputRequired, &asks::words(&ask.ask), Some(data));
        self.push(record);
    }

    fn status_record(&mut self, state: TaskState, line: &str, data: Option<Value>) -> Record {
        let message = Some(self.message(line.to_owned(), data));
        status(&self.log, state, message, None)
    }

    fn message(&mut self, text: String, data: Option<Value>) -> Message {
        let limit = self.data_limit();
        // A control character takes six bytes on the wire.
        let mut parts = vec![Part::text(bounded::text(text, limit / 6))];
        parts.extend(data.map(|data| Part::data(bounded::value(data, limit))));
        let mut message = Message::new(Role::Agent, parts);
        message.task_id = Some(self.log.id.clone());
        message.context_id = Some(self.log.context_id.clone());
        message
    }

    /// A policy answered an ask in the place of a person.
    pub(super) fn report_policy(&mut self, kind: &AskKind, allowed: bool) {
        let decision = if allowed { "allowed" } else { "denied" };
        let (line, data) = match kind {
            AskKind::Permission { tool, input, .. } => (
                format!("{decision} by policy: {}", bounded::call(tool, input)),
                json!({"kind": "permission", "tool": tool, "input": input, "decision": decision, "by": "policy"}),
            ),
            AskKind::Question { text, options, .. } => (
                format!("not answered: {}", one_line(text)),
                json!({"kind": "question", "text": text, "options": options, "decision": decision, "by": "policy"}),
            ),
        };
        self.status(&line, Some(data));
    }

    /// A grant answered an ask in the place of a person.
    pub(super) fn report_grant(&mut self, kind: &AskKind, words: &str) {
        let AskKind::Permission { tool, input, .. } = kind else { return };
        let line = format!("allowed before: {}", bounded::call(tool, input));
        let data = json!({"kind": "permission", "tool": tool, "input": input, "decision": "allowed", "by": "grant", "grant": words});
        self.status(&line, Some(data));
    }

    /// The end of the turn: what is left, and the final status. `ask` is that of a turn which ends with a question.
    pub(super) fn finish(
        &mut self,
        outcome: Outcome,
        facts: &TurnFacts,
        ask: Option<&AskRow>,
    ) -> Vec<Record> {
        if let Outcome::Completed { answer: Some(answer) } = &outcome {
            self.replace_if_different(answer);
        }
        if let Outcome::Replied { text } = &outcome
            && !self.answer_begun
        {
            self.replace_if_different(text);
        }
        self.flush_thought();
        self.close_artifacts();
        let (state, words) = match outcome {
            Outcome::Completed { .. } if !facts.background.is_empty() => {
                let tasks = &facts.background;
                let text = format!("background: still running: {}", tasks.join(", "));
                let data = json!({"kind": "background", "state": "running", "tasks": tasks});
                (TaskState::Completed, Some((text, Some(data))))
            }
            Outcome::Completed { .. } => {
                let is_silent = !self.answer_begun && !self.told_more;
                let words = || (NO_ANSWER.to_owned(), Some(json!({"kind": "no-answer"})));
                (TaskState::Completed, is_silent.then(words))
            }
            // There is a task already, so the reply is its answer, or a remark beside it.
            Outcome::Replied { text } => {
                let remark = self.streamed.as_deref() != Some(&*text);
                (TaskState::Completed, remark.then_some((text, None)))
            }
            Outcome::InputRequired { question, data } => {
                let data = match (data, ask) {
                    (data @ (None | Some(Value::Object(_))), Some(ask)) => {
                        let mut whole = asks::render(ask, clock::now());
                        // The agent's own data is shown as it is, except for what the server says of the ask.
                        for (name, value) in data.iter().filter_map(Value::as_object).flatten() {
                            if !asks::OURS.contains(&name.as_str()) {
                                whole[name] = value.clone();
                            }
                        }
                        Some(whole)
                    }
                    (data, _) => data,
                };
                (TaskState::InputRequired, Some((question, data)))
            }
            Outcome::AuthRequired { message } => (TaskState::AuthRequired, Some((message, None))),
            Outcome::Rejected { message } => (TaskState::Rejected, Some((message, None))),
            Outcome::Canceled => (TaskState::Canceled, None),
            Outcome::Failed { message, hint } => {
                let words =
                    hint.map_or_else(|| message.clone(), |hint| format!("{message}\n{hint}"));
                (TaskState::Failed, Some((words, self.limit.clone())))
            }
            Outcome::ConversationLost => {
                let words = "the agent lost the conversation".to_owned();
                (TaskState::Failed, Some((words, None)))
            }
        };
        self.remark = self.beside_answer(state, words.as_ref());
        let message = words.map(|(text, data)| self.message(text, data));
        let used = (self.usage.as_ref(), self.began.elapsed());
        let mut metadata = facts.metadata(used, self.unknown, &self.setup);
        if let (TaskState::Failed, Some(limit)) = (state, self.limit.take()) {
            metadata.insert("limit".to_owned(), limit);
        }
        if !self.problems.is_empty() {
            metadata.insert("problems".to_owned(), std::mem::take(&mut self.problems).into());
        }
        for result in std::mem::take(&mut self.results) {
            self.out.push(self.artifact_update(result, false, true));
        }
        self.out.push(status(&self.log, state, message, Some(metadata)));
        std::mem::take(&mut self.out)
    }

    /// What the end of a turn says beside the answer, in one line for the console.
    fn beside_answer(&self, state: TaskState, words: Option<&(String, Option<Value>)>) -> String {
        let words = match words {
            Some((text, Some(_))) if state == TaskState::Completed => Some(text.clone()),
            _ => None,
        };
        let problems = self.problems.iter().map(|problem| {
            let field = |name: &str| problem[name].as_str().unwrap_or_default();
            format!("problem: {} {}: {}", field("kind"), field("subject"), field("state"))
        });
        words.into_iter().chain(problems).collect::<Vec<_>>().join(" · ")
    }

    /// What the end of the turn said beside the answer.
    pub(super) fn remark(&self) -> &str {
        &self.remark
    }
}

/// There is one answer: an artifact of the agent's own does not take its name.
fn named(mut artifact: Artifact, name: Option<String>, description: Option<String>) -> Artifact {
    artifact.name = name.filter(|name| !name.is_empty() && name != ANSWER);
    artifact.description = description;
    artifact
}

#[cfg(test)]
mod tests;
