//! From a task's events, notes and asks to its spans. It reads no clock and no store: the same input gives the same spans.

mod keep;
mod steps;
mod text;

use super::{Content, Span, SpanAttribute, SpanKind, TracedTask};
use crate::store::{
    AskRow, AskState, Event, Kind, ModelCall, SpanId, TraceContext, TraceId, TraceNote, TraceRow,
};
use crate::task::answer_id;
use pilothouse_a2a::event::{StreamResponse, TaskStatusUpdateEvent};
use pilothouse_a2a::message::{Message, PartContent, Role};
use pilothouse_a2a::task::{TaskState, TaskStatus};
use pilothouse_a2a::time::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use steps::StatusData;
pub(in crate::telemetry) use text::cut;
use text::{bound_name, cut_to, messages};

/// What a derivation has made.
pub(super) struct Finished {
    /// The trace of the first message.
    pub(super) id: TraceId,
    /// In the order of their beginnings.
    pub(super) spans: Vec<Span>,
    /// Spans that were left out, since there are too many.
    pub(super) left_out: u64,
    /// Turns that have ended.
    pub(super) ended: usize,
}

/// Spans in the making.
#[derive(Clone)]
pub(super) struct Derivation {
    task: TracedTask,
    /// The trace of the first message.
    id: TraceId,
    content: Option<Content>,
    spans: Vec<Span>,
    /// Spans that were left out, since there are too many.
    left_out: u64,
    /// Notes of the task that were heard.
    notes: u32,
    /// The messages whose turns are to come.
    messages: VecDeque<(Timestamp, TraceContext)>,
    /// Notes of processes that left and of conversations that went on.
    breaks: VecDeque<TraceRow>,
    calls: Vec<ModelCall>,
    /// The request whose turn it is, by its place among the spans.
    request: Option<usize>,
    /// Since when a turn waits for its beginning.
    waiting: Option<Timestamp>,
    turn: Option<OpenTurn>,
    /// The last segment.
    last: Option<(TraceId, SpanId)>,
    /// Whether the next segment goes on with it.
    goes_on: bool,
    /// Whether that has left its process, which is noted before it goes on.
    is_parked: bool,
    /// Turns that have ended.
    ended: usize,
    /// Whether the task is over.
    is_over: bool,
    /// When the last event came.
    now: Timestamp,
    /// When the task last began to ask.
    asked: Option<Timestamp>,
    /// What the caller said last, where content is wanted.
    said: Option<String>,
}

/// A segment of the agent's work.
#[derive(Clone)]
struct OpenTurn {
    at: usize,
    /// Where the last step of its beginning ended.
    step: Timestamp,
    /// Its tools that have not answered, by the agent's ids.
    tools: HashMap<String, usize>,
    /// The answer so far, where content is wanted.
    answer: String,
}

/// A derivation that has seen no event yet.
pub(super) fn derive(task: &TracedTask, content: Option<Content>) -> Derivation {
    Derivation {
        task: task.clone(),
        id: trace_of_task(task.id.as_str()),
        content,
        spans: Vec::new(),
        left_out: 0,
        notes: 0,
        messages: VecDeque::new(),
        breaks: VecDeque::new(),
        calls: Vec::new(),
        request: None,
        waiting: None,
        turn: None,
        last: None,
        goes_on: false,
        is_parked: false,
        ended: 0,
        is_over: false,
        now: Timestamp::from_millisecond(0),
        asked: None,
        said: None,
    }
}

/// The trace of a task whose caller names none: the task's own id, which is random.
pub(in crate::telemetry) fn trace_of_task(task: &str) -> TraceId {
    let id = uuid::Uuid::parse_str(task).map(uuid::Uuid::into_bytes);
    let id = id.unwrap_or_else(|_| first_bytes(&Sha256::digest(task)));
    TraceId(id)
}

fn first_bytes<const N: usize>(digest: &[u8]) -> [u8; N] {
    digest.first_chunk().copied().unwrap_or([1; N])
}

impl Derivation {
    /// Takes in the next event.
    pub(super) fn add(&mut self, event: &Event) {
        if event.kind == Kind::Message {
            if let Ok(message) = serde_json::from_slice::<Message>(&event.body) {
                self.hear_caller(&message);
            }
            return;
        }
        match serde_json::from_slice(&event.body) {
            Ok(StreamResponse::Task(task)) => {
                self.waiting = task.status.timestamp;
                task.history.iter().for_each(|message| self.hear_caller(message));
            }
            Ok(StreamResponse::StatusUpdate(update)) => self.add_status(event.seq, &update),
            Ok(StreamResponse::ArtifactUpdate(update)) => {
                if let Some(turn) = &mut self.turn
                    && let Some(content) = &self.content
                    && update.artifact.artifact_id == answer_id(&self.task.id)
                    && (turn.answer.len() <= content.most || !update.append)
                {
                    if !update.append {
                        turn.answer.clear();
                    }
                    update.artifact.parts.iter().filter_map(|part| part.as_text()).for_each(
                        |text| turn.answer.push_str(cut_to(text, content.most.saturating_add(1))),
                    );
                }
            }
            Ok(StreamResponse::Message(_)) | Err(_) => {}
        }
    }

    fn hear_caller(&mut self, message: &Message) {
        if self.content.is_some() && message.role == Role::User {
            self.said = Some(message.text_content());
        }
    }

    fn add_status(&mut self, seq: u64, update: &TaskStatusUpdateEvent) {
        let TaskStatus { state, message, timestamp } = &update.status;
        let at = timestamp.unwrap_or(self.now).max(self.now);
        self.apply_breaks(at);
        self.now = at;
        self.is_over |= state.is_terminal();
        match state {
            TaskState::Submitted if self.turn.is_none() => self.waiting = Some(at),
            TaskState::Working if self.turn.is_none() => self.begin_turn(at),
            TaskState::InputRequired => self.asked = Some(at),
            _ => {}
        }
        for part in message.iter().flat_map(|message| &message.parts) {
            if let PartContent::Data(data) = &part.content
                && let Ok(data) = serde_json::from_str::<StatusData>(data.text())
            {
                self.add_data((seq, at), data);
            }
        }
        let metadata = update.metadata.as_ref().map(|metadata| metadata.to_map());
        let metadata = metadata.filter(|metadata| metadata.contains_key("durationMs"));
        if metadata.is_some() || state.is_terminal() {
            self.end_turn(at, *state, &metadata.unwrap_or_default(), "ended");
            if *state == TaskState::Working {
                // The caller has said more meanwhile.
                self.begin_turn(at);
            }
        }
    }

    /// What no event tells: a process left, or a conversation went on without its process.
    fn apply_breaks(&mut self, until: Timestamp) {
        while let Some(row) = pop_if(&mut self.breaks, |row| row.at <= until) {
            match row.note {
                TraceNote::Parked => {
                    self.end_turn(row.at, TaskState::InputRequired, &Map::new(), "parked");
                    self.now = self.now.max(row.at);
                    (self.goes_on, self.is_parked) = (true, true);
                }
                TraceNote::Resumed if std::mem::take(&mut self.is_parked) => {}
                TraceNote::Resumed => {
                    // The server was killed while the task asked: nobody could note the end of its process.
                    let ended = self.asked.unwrap_or(row.at).min(row.at);
                    self.end_turn(ended, TaskState::InputRequired, &Map::new(), "interrupted");
                    self.goes_on = true;
                    self.begin_turn(row.at);
                }
                TraceNote::Message(_) | TraceNote::Calls { .. } => {}
            }
        }
    }

    // === a request and its turn ===

    fn begin_turn(&mut self, at: Timestamp) {
        let request = match self.request.filter(|_| self.goes_on) {
            Some(request) => request,
            None => self.begin_request(at),
        };
        let (trace, parent) = (self.spans[request].trace, self.spans[request].id);
        let number = self.ended;
        if let Some(waiting) = self.waiting.take().filter(|waiting| *waiting < at) {
            let mut span = self.span("queue", number, (trace, Some(parent)), SpanKind::Wait);
            (span.name, span.began, span.ended) = ("queue".to_owned(), waiting, Some(at));
            self.push(span);
        }
        let agent = &*self.task.scope.agent;
        let mut span = self.span("turn", number, (trace, Some(parent)), SpanKind::Work);
        (span.name, span.began) = (format!("invoke_agent {agent}"), at);
        span.continues = self.last.filter(|_| self.goes_on);
        span.set(SpanAttribute::Operation, "invoke_agent");
        span.set(SpanAttribute::SpanKind, "AGENT");
        if let (Some(content), Some(said)) = (&self.content, &self.said) {
            span.set(SpanAttribute::InputMessages, messages("user", said, content));
        }
        self.goes_on = false;
        self.last = Some((trace, span.id));
        let turn = OpenTurn {
            at: self.spans.len(),
            step: at,
            tools: HashMap::new(),
            answer: String::new(),
        };
        self.turn = Some(turn);
        self.spans.push(span);
    }

    /// The request that a turn is for.
    fn begin_request(&mut self, at: Timestamp) -> usize {
        // A message that came later than this turn begins is for a later one.
        let known = pop_if(&mut self.messages, |(came, _)| *came <= at);
        let (came, context) = known.map_or((None, None), |(at, context)| (Some(at), Some(context)));
        let parent = context.and_then(|context| context.parent);
        if self.request.is_none() && parent.is_none() {
            // A later message may have one.
            self.id = trace_of_task(self.task.id.as_str());
        }
        let trace = parent.map_or(self.id, |parent| parent.trace);
        let place = (trace, parent.map(|parent| parent.span));
        let mut span = self.span("request", self.ended, place, SpanKind::Request);
        span.id = context.map_or(span.id, |context| context.span);
        span.has_remote_parent = parent.is_some();
        span.sampled = parent.is_none_or(|parent| parent.sampled);
        "SendMessage".clone_into(&mut span.name);
        span.began = came.or(self.waiting).unwrap_or(at).min(at);
        span.set(SpanAttribute::Method, "SendMessage");
        span.set(SpanAttribute::SpanKind, "CHAIN");
        self.request = Some(self.spans.len());
        self.spans.push(span);
        self.spans.len() - 1
    }

    fn end_turn(
        &mut self,
        at: Timestamp,
        state: TaskState,
        metadata: &Map<String, Value>,
        disposition: &str,
    ) {
        let Some(turn) = self.turn.take() else {
            return self.end_without_turn(at, state);
        };
        let (id, trace) = (self.spans[turn.at].id, self.spans[turn.at].trace);
        self.note_start(&turn, (at, metadata));
        self.add_calls((trace, id), at);
        for tool in turn.tools.into_values() {
            self.spans[tool].ended = Some(at);
            self.spans[tool].fail("_OTHER");
        }
        // A turn that goes on with the caller's next words was completed.
        let shown = if state == TaskState::Working { TaskState::Completed } else { state };
        let answer = self.content.as_ref().filter(|_| !turn.answer.is_empty());
        let answer = answer.map(|content| messages("assistant", &turn.answer, content));
        let span = &mut self.spans[turn.at];
        span.ended = Some(at);
        span.set(SpanAttribute::TaskState, shown.name());
        span.set(SpanAttribute::Disposition, disposition);
        if let Some(answer) = answer {
            span.set(SpanAttribute::OutputMessages, answer);
        }
        add_usage(span, metadata);
        let failure = metadata.get("failure").and_then(Value::as_str);
        if matches!(shown, TaskState::Failed | TaskState::Rejected) {
            span.fail(failure.unwrap_or("_OTHER"));
        }
        self.end_request(at, shown);
        self.ended += 1;
    }

    /// A task that ends before its turn has begun.
    fn end_without_turn(&mut self, at: Timestamp, state: TaskState) {
        if !state.is_terminal() || self.waiting.is_none() {
            return;
        }
        let request = self.begin_request(at);
        let (trace, parent) = (self.spans[request].trace, self.spans[request].id);
        if let Some(waiting) = self.waiting.take() {
            let mut span = self.span("queue", self.ended, (trace, Some(parent)), SpanKind::Wait);
            (span.name, span.began, span.ended) = ("queue".to_owned(), waiting, Some(at));
            self.push(span);
        }
        self.end_request(at, state);
        self.ended += 1;
    }

    fn end_request(&mut self, at: Timestamp, state: TaskState) {
        if let Some(request) = self.request {
            let span = &mut self.spans[request];
            if span.ended.is_none() {
                span.ended = Some(at);
                span.set(SpanAttribute::TaskState, state.name());
            }
        }
    }

    /// How long the start of the process took.
    fn note_start(&mut self, turn: &OpenTurn, (at, metadata): (Timestamp, &Map<String, Value>)) {
        let number = |name: &str| metadata.get(name).and_then(Value::as_i64);
        let (Some(took), Some(start)) = (number("durationMs"), number("startMs")) else { return };
        let began = at.as_millisecond().saturating_sub(took);
        let ready = Timestamp::from_millisecond(began.saturating_add(start)).min(at);
        self.add_step(turn.at, turn.step, ready, "start_process");
    }

    /// A step between the beginning of a turn and its agent.
    fn add_step(&mut self, turn: usize, began: Timestamp, ended: Timestamp, name: &'static str) {
        let (trace, parent) = (self.spans[turn].trace, self.spans[turn].id);
        let mut span = self.span(name, self.ended, (trace, Some(parent)), SpanKind::Wait);
        (span.name, span.began, span.ended) = (name.to_owned(), began.min(ended), Some(ended));
        self.push(span);
    }

    // === the end ===

    /// The spans, when all events are there.
    pub(super) fn finish(mut self, asks: &[AskRow], until: Timestamp) -> Finished {
        self.apply_breaks(until);
        asks.iter().for_each(|ask| self.add_ask(ask));
        self.spans.sort_by_key(|span| span.began);
        let Self { id, spans, left_out, ended, .. } = self;
        Finished { id, spans, left_out, ended }
    }

    /// A wait for a person, as a part of the segment that asked.
    fn add_ask(&mut self, ask: &AskRow) {
        let is_segment = |span: &&Span| span.is_segment();
        let asked = self.spans.iter().filter(is_segment).rfind(|span| span.began <= ask.created);
        let Some((trace, parent)) = asked.map(|span| (span.trace, span.id)) else { return };
        let ended = match ask.ended {
            // Answered behind the last event of this trace: it is open here.
            Some(ended) if ended > self.now && ask.state == AskState::Answered => None,
            ended => ended.map(|ended| ended.min(self.now)),
        };
        // It leaves with the turn in which it ended, or with that of its answer.
        let turn = match ended {
            Some(ended) => {
                let later = self.spans.iter().filter(is_segment);
                let later = later.filter(|span| span.ended.is_none_or(|end| end >= ended));
                later.map(|span| span.turn).min().unwrap_or(self.ended.saturating_sub(1))
            }
            None => self.ended,
        };
        let kind = ask.ask.get("kind").and_then(Value::as_str).unwrap_or("question");
        let kind = if kind == "permission" { "permission" } else { "question" };
        let mut span = self.span("ask", &*ask.id, (trace, Some(parent)), SpanKind::Wait);
        (span.name, span.began, span.ended) = (format!("ask {kind}"), ask.created, ended);
        span.turn = turn;
        span.set(SpanAttribute::SpanKind, "CHAIN");
        span.set(SpanAttribute::AskKind, kind);
        if let Some(tool) = ask.ask.get("tool").and_then(Value::as_str) {
            span.set(SpanAttribute::AskTool, bound_name(tool));
        }
        let act = ask.act.as_deref().filter(|_| ask.state == AskState::Answered);
        let decision = act.and_then(|act| act.what.get("decision")).and_then(Value::as_str);
        span.set(SpanAttribute::AskOutcome, decision.map_or(ask.state.word(), bound_name));
        if let Some(act) = act {
            span.set(SpanAttribute::AskBy, &*act.by);
        }
        self.push(span);
    }

    /// A span of this task without a name and times, with the id of what it measures.
    fn span(
        &self,
        what: &str,
        number: impl std::fmt::Display,
        (trace, parent): (TraceId, Option<SpanId>),
        kind: SpanKind,
    ) -> Span {
        let place = format!("{} {what} {number}", self.task.id);
        let context = self.task.context_id.as_str();
        let mut span = Span {
            trace,
            id: SpanId(first_bytes(&Sha256::digest(place))),
            parent,
            has_remote_parent: false,
            sampled: self.request.is_none_or(|request| self.spans[request].sampled),
            name: String::new(),
            kind,
            began: self.now,
            ended: None,
            error: None,
            attributes: Vec::new(),
            events: Vec::new(),
            continues: None,
            turn: self.ended,
        };
        span.set(SpanAttribute::Agent, &*self.task.scope.agent);
        span.set(SpanAttribute::Task, self.task.id.as_str());
        span.set(SpanAttribute::Conversation, context);
        span.set(SpanAttribute::Session, context);
        span
    }
}

impl Span {
    /// Whether it is a segment of the agent's work.
    fn is_segment(&self) -> bool {
        self.kind == SpanKind::Work && self.name.starts_with("invoke_agent ")
    }

    /// Whether a CLI with telemetry of its own tells this as well: a call of a model, a tool.
    pub(in crate::telemetry) fn is_of_the_cli(&self) -> bool {
        self.kind == SpanKind::ModelCall || self.name.starts_with("execute_tool ")
    }

    fn set(&mut self, attribute: SpanAttribute, value: impl Into<Value>) {
        self.attributes.push((attribute, value.into()));
    }

    fn fail(&mut self, code: &str) {
        self.error = Some(code.to_owned());
        self.set(SpanAttribute::ErrorType, code);
    }

    /// Input without caches, output, read from and written to caches.
    fn set_tokens(&mut self, [input, output, read, written]: [Option<u64>; 4]) {
        // The conventions count what came from caches as input.
        let all = [input, read, written].into_iter().flatten().reduce(u64::saturating_add);
        let counts = [
            (SpanAttribute::InputTokens, input.and(all)),
            (SpanAttribute::OutputTokens, output),
            (SpanAttribute::CacheReadTokens, read),
            (SpanAttribute::CacheWriteTokens, written),
        ];
        for (attribute, count) in counts {
            if let Some(count) = count {
                self.set(attribute, count);
            }
        }
    }
}

/// What a turn used, by the metadata of its end.
fn add_usage(span: &mut Span, metadata: &Map<String, Value>) {
    let usage = metadata.get("usage");
    let tokens = |name: &str| usage.and_then(|usage| usage.get(name)).and_then(Value::as_u64);
    let names = ["inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens"];
    span.set_tokens(names.map(tokens));
    if let Some(cost) = metadata.get("costUsd").and_then(Value::as_f64) {
        span.set(SpanAttribute::Cost, cost);
    }
    if let Some(model) = metadata.get("model").and_then(Value::as_str) {
        span.set(SpanAttribute::ResponseModel, bound_name(model));
    }
}

/// The first of them, where that is so.
fn pop_if<T>(queue: &mut VecDeque<T>, is_wanted: impl FnOnce(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(is_wanted) { queue.pop_front() } else { None }
}
