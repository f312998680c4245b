//! A task's events on their way to a reader, and their form as server-sent events. A v1.0 event goes out
//! as it stands in the log: encoded once, shared by all its readers, with each reader's own envelope
//! around it.

mod generations;
mod lines;

use super::Doors;
use super::answers::{Room, SMALL_ANSWER};
use super::extensions::Activated;
use crate::access::Caller;
use crate::config::{AnswerForm, FileForm};
use crate::service::{Stream, stopped_before_it_began};
use crate::store::{Error as StoreError, Event, Kind};
use crate::task::pieces::{Addressed, address_file};
use crate::task::{Ahead, CATCH_UP_BYTES, Cursor, TaskLog, is_last, is_last_piece, is_of_answer};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use generations::Generations;
use lines::Lines;
use pilothouse_a2a::dialect::{Dialect, Encoder};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::jsonrpc::{self, Id, SUFFIX};
use pilothouse_a2a::rest::{self, Form};
use pilothouse_a2a::sse;
use pilothouse_a2a::task::TaskState;
use std::collections::VecDeque;
use std::sync::Arc;

/// When a stream ends, beside at its task's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Only then.
    WhenOver,
    /// Also when the task asks for something (specification 3.1.2).
    WhenItAsks,
}

/// How a stream ends, and how it ends artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// When it ends.
    pub(super) ends: Ends,
    /// The form of artifacts that come in pieces.
    pub(super) answers: AnswerForm,
    /// What is added to statuses.
    pub(super) activated: Activated,
}

/// A reader of a task's events, in any binding.
pub(super) struct Reader {
    doors: Arc<Doors>,
    caller: Caller,
    stream: Stream,
    /// For the first event.
    room: Room,
    dialect: Dialect,
    manner: Manner,
    /// Bytes of an event with a whole artifact at most.
    largest: usize,
    /// What the reader is told of generations.
    generations: Generations,
    /// Events that were taken and wait for the one before them to be made whole.
    later: VecDeque<Event>,
    over: bool,
    /// That the stream is open.
    _open: Arc<()>,
}

/// What a reader gets next.
pub(super) enum Next {
    /// Events, at least one, and the room for their encoding.
    Events(Vec<Event>, Room),
    /// Nothing for a while.
    Idle,
    /// The server cannot go on; the last that it gets.
    Broken(Error),
}

/// The envelope of events in a binding of server-sent events.
pub(super) enum Envelope {
    /// A JSON-RPC response for each event.
    JsonRpc(JsonRpc),
    /// The bare event.
    Rest(Form),
}

/// What JSON-RPC needs around an event.
pub(super) struct JsonRpc {
    id: Id,
    prefix: Vec<u8>,
    encoder: Option<Encoder>,
    dialect: Dialect,
}

/// The response around a stream's body.
pub(super) fn response(body: Body) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        .header("x-accel-buffering", HeaderValue::from_static("no"))
        .body(body)
        .expect("constant headers are valid")
}

/// About how much these events take with their envelopes.
fn size_of_frames(events: &[Event]) -> usize {
    events.iter().map(|event| event.body.len() + 160).sum()
}

/// The body of a stream of server-sent events.
pub(super) fn body(mut reader: Reader, envelope: Envelope) -> Body {
    let lines = Lines::of(&reader.doors.config.streams, reader.manner.answers);
    // An answer that is whole but longer than a line would come in pieces again.
    if reader.manner.answers == AnswerForm::Closed {
        reader.largest = reader.largest.min(lines.room(envelope.size()));
    }
    Body::from_stream(unfold((reader, envelope), move |(mut reader, mut envelope)| async move {
        loop {
            let chunk = match reader.next().await? {
                Next::Events(events, room) => room.hold(envelope.frames(&events, lines)),
                Next::Idle => Bytes::from_static(sse::KEEP_ALIVE),
                Next::Broken(error) => envelope.error(&error),
            };
            if !chunk.is_empty() {
                return Some((Ok::<_, std::convert::Infallible>(chunk), (reader, envelope)));
            }
        }
    }))
}

impl Reader {
    /// A reader in this dialect.
    pub(super) fn new(
        doors: &Arc<Doors>,
        caller: &Caller,
        (stream, manner, room): (Stream, Manner, Room),
        dialect: Dialect,
    ) -> Self {
        let (doors, caller) = (doors.clone(), caller.clone());
        let (later, largest) = (VecDeque::new(), doors.config.limits.event.as_usize());
        let is_told = dialect == Dialect::V1_0 && doors.config.compat.v11;
        let generations = Generations::of(is_told);
        let (over, open) = (false, doors.streams.clone());
        Self {
            doors,
            caller,
            stream,
            room,
            dialect,
            manner,
            largest,
            generations,
            later,
            over,
            _open: open,
        }
    }

    /// What comes next; none at the end.
    pub(super) async fn next(&mut self) -> Option<Next> {
        let mut next = self.next_in_form().await?;
        if let Next::Events(events, _) = &mut next {
            for event in events {
                if let Some(body) = self.manner.activated.extend_event(&event.body) {
                    event.body = body.into();
                }
                self.generations.tell(event);
            }
        }
        Some(next)
    }

    async fn next_in_form(&mut self) -> Option<Next> {
        loop {
            if let Some(event) = self.later.pop_front() {
                return Some(self.next_later(event).await.unwrap_or_else(Next::Broken));
            }
            match self.next_of_log().await? {
                Next::Events(mut events, room) => {
                    if let Err(error) = self.count(&events).await {
                        return Some(Next::Broken(error));
                    }
                    self.hold_back(&mut events);
                    if !events.is_empty() {
                        return Some(Next::Events(events, room));
                    }
                }
                other => return Some(other),
            }
        }
    }

    /// Counts the changes that these events are.
    async fn count(&mut self, events: &[Event]) -> Result<(), Error> {
        let (Some(first), Some(cursor)) = (events.first(), &self.stream.cursor) else {
            return Ok(());
        };
        if self.generations.needs_beginning() {
            let log = cursor.shared_log();
            let with_first = log.generation(&self.doors.store, first.seq).await;
            let with_first = with_first.map_err(|error| self.broken(&error))?;
            self.generations.begin(with_first - 1);
        }
        self.generations.count(events);
        Ok(())
    }

    /// Takes out of these events what has another form here: pieces that are not shown, and from the last piece of an
    /// artifact on what comes after it is made whole.
    fn hold_back(&mut self, events: &mut Vec<Event>) {
        if self.doors.config.streams.files == FileForm::Address {
            events.retain_mut(|event| match address_file(event) {
                Addressed::AsItIs => true,
                Addressed::Hidden => false,
                Addressed::Address(addressed) => {
                    *event = addressed;
                    true
                }
            });
        }
        if self.manner.answers == AnswerForm::Pieces {
            return;
        }
        if self.manner.answers == AnswerForm::Whole {
            events.retain(|event| event.kind != Kind::Artifact || is_last(event));
        }
        if let Some(at) = events.iter().position(|event| self.is_made_whole(event)) {
            self.later.extend(events.drain(at..));
        }
    }

    /// Whether this is the last piece of an artifact that the reader gets whole. What an agent itself hands over in
    /// pieces stays in pieces where the reader gets any.
    fn is_made_whole(&self, event: &Event) -> bool {
        let is_last = is_last_piece(event);
        match self.manner.answers {
            AnswerForm::Pieces => false,
            AnswerForm::Closed => is_last && is_of_answer(event),
            AnswerForm::Whole => is_last,
        }
    }

    /// What comes next of those that were held back, this one first.
    async fn next_later(&mut self, event: Event) -> Result<Next, Error> {
        let mut events = vec![event];
        if !self.is_made_whole(&events[0]) {
            let next = self.later.iter().position(|event| self.is_made_whole(event));
            let until = next.unwrap_or(self.later.len());
            events.extend(self.later.drain(..until));
            let room = self.reserve(size_of_frames(&events)).await?;
            return Ok(Next::Events(events, room));
        }
        let Some(log) = self.stream.cursor.as_ref().map(Cursor::shared_log) else {
            return Ok(Next::Events(events, Room::default()));
        };
        // What is at hand is small and takes the room that it needs; room for all else comes before it is read.
        let room = if log.is_at_hand() {
            self.make_whole(&log, &mut events[0]).await?;
            self.reserve(size_of_frames(&events)).await?
        } else {
            let room = self.reserve(self.doors.config.limits.event.as_usize()).await?;
            self.make_whole(&log, &mut events[0]).await?;
            room
        };
        Ok(Next::Events(events, room))
    }

    /// Room for so many bytes; none is needed for few. An error ends the stream.
    async fn reserve(&mut self, size: usize) -> Result<Room, Error> {
        if size <= SMALL_ANSWER {
            return Ok(Room::default());
        }
        let room = self.doors.answers.reserve_piece(&self.caller.name, size).await;
        room.inspect_err(|_| self.end())
    }

    /// Puts the whole artifact in the place of its last piece, as far as the form of the reader has it.
    async fn make_whole(&mut self, log: &TaskLog, event: &mut Event) -> Result<(), Error> {
        match log.whole_artifact(&self.doors.store, event, self.largest).await {
            Ok(whole) if whole.is_cut && self.manner.answers == AnswerForm::Closed => {}
            Ok(whole) => *event = whole.event,
            Err(error) => return Err(self.broken(&error)),
        }
        Ok(())
    }

    /// Nothing more follows.
    fn end(&mut self) {
        self.over = true;
        self.later.clear();
    }

    async fn next_of_log(&mut self) -> Option<Next> {
        if self.over {
            return None;
        }
        if let Some((seq, body)) = self.stream.first.take() {
            let (kind, room) = (Kind::Task, std::mem::take(&mut self.room));
            return Some(Next::Events(vec![Event { seq, kind, body }], room));
        }
        // It was for the first event.
        self.room = Room::default();
        let limits = &self.doors.config.limits;
        let patience = self.doors.config.timeouts.keep_alive.get();
        let most = CATCH_UP_BYTES + limits.event.as_usize();
        let cursor = self.stream.cursor.as_mut()?;
        let log = cursor.shared_log();
        let grant = self.caller.grant.clone();
        let (mut events, room) = loop {
            let ahead = tokio::select! {
                biased;
                denied = grant.ended() => {
                    self.over = true;
                    return Some(Next::Broken(denied.into()));
                }
                ahead = cursor.look() => ahead,
                () = tokio::time::sleep(patience) => return Some(Next::Idle),
                // A turn that runs is ended and says so; one that does not run says nothing more.
                () = stopped_before_it_began(&self.doors.stop, &log) => return None,
            };
            let (events, most) = match ahead {
                Ok(Ahead::Events(events)) => {
                    let size = size_of_frames(&events);
                    (Some(events), size)
                }
                Ok(Ahead::Stored) => (None, most),
                Ok(Ahead::End) => return None,
                Err(error) => return Some(Next::Broken(self.broken(&error))),
            };
            let room = match most <= SMALL_ANSWER {
                true => Ok(Room::default()),
                false => self.doors.answers.reserve_piece(&self.caller.name, most).await,
            };
            let room = match room {
                Ok(room) => room,
                Err(error) => {
                    self.over = true;
                    return Some(Next::Broken(error));
                }
            };
            if let Some(events) = events {
                break (events, room);
            }
            match cursor.read().await {
                Ok(Some(events)) => break (events, room),
                // Nothing that a client is shown.
                Ok(None) => {}
                Err(error) => return Some(Next::Broken(self.broken(&error))),
            }
        };
        if let Some(last) = events.iter().position(|event| self.asks(&event.body)) {
            self.over = true;
            events.truncate(last + 1);
        }
        Some(Next::Events(events, room))
    }

    /// Whether this event says that the task asks, and the stream ends there.
    fn asks(&self, body: &Bytes) -> bool {
        if self.manner.ends == Ends::WhenOver || !body.starts_with(b"{\"statusUpdate\"") {
            return false;
        }
        match serde_json::from_slice::<StreamResponse>(body) {
            Ok(StreamResponse::StatusUpdate(update)) => {
                let state = update.status.state;
                // A v1.0 stream stays open for credentials that come out of band (specification 7.6.1).
                match self.dialect {
                    Dialect::V1_0 => state == TaskState::InputRequired,
                    Dialect::V0_3 | Dialect::V0_1 => state.is_interrupted(),
                }
            }
            _ => false,
        }
    }

    /// An error after the first event is the last thing that a reader gets.
    fn broken(&mut self, error: &StoreError) -> Error {
        self.end();
        tracing::error!(%error, "a stream could not be continued");
        Error::new(
            ErrorKind::Internal,
            "the server could not read on; subscribe again with Last-Event-ID",
        )
    }
}

impl Envelope {
    /// The envelope of a JSON-RPC stream.
    pub(super) fn json_rpc(id: &Id, dialect: Dialect, alias: Option<String>) -> Self {
        Self::JsonRpc(JsonRpc {
            id: id.clone(),
            prefix: jsonrpc::prefix(id),
            encoder: (dialect != Dialect::V1_0).then(|| Encoder::new(dialect, alias)),
            dialect,
        })
    }

    /// Bytes of it around an event.
    fn size(&self) -> usize {
        match self {
            Self::JsonRpc(rpc) => rpc.prefix.len() + SUFFIX.len(),
            Self::Rest(_) => 0,
        }
    }

    fn frames(&mut self, events: &[Event], lines: Lines) -> Vec<u8> {
        let mut out = Vec::with_capacity(size_of_frames(events));
        for event in events {
            self.frame(&mut out, event, lines);
        }
        out
    }

    /// An event in one line, or in several where that would be too long: only the last of these has its number, so that
    /// whoever resumes in between gets all of them again.
    fn frame(&mut self, out: &mut Vec<u8>, event: &Event, lines: Lines) {
        let parse = || serde_json::from_slice::<StreamResponse>(&event.body).ok();
        let encoded = match self {
            Self::JsonRpc(JsonRpc { encoder: None, .. }) | Self::Rest(Form::Model) => None,
            Self::JsonRpc(_) | Self::Rest(_) => match parse().and_then(|event| self.encode(&event))
            {
                Some(encoded) => Some(encoded),
                // The dialect has no word for it.
                None => return,
            },
        };
        let data = encoded.as_ref().map_or(&event.body[..], String::as_bytes);
        let begin = out.len();
        let size = self.write(out, Some(event.seq), data);
        if !lines.is_too_long(size) {
            return;
        }
        let Some(whole) = parse() else { return };
        out.truncate(begin);
        let parts = lines.divide(whole, event.seq, self.size());
        for (at, part) in parts.iter().enumerate() {
            if let Some(encoded) = self.encode(part) {
                let id = (at + 1 == parts.len()).then_some(event.seq);
                self.write(out, id, encoded.as_bytes());
            }
        }
    }

    /// An event in the form of the reader; none where its dialect has no word for it.
    fn encode(&mut self, event: &StreamResponse) -> Option<String> {
        match self {
            Self::JsonRpc(JsonRpc { encoder: Some(encoder), .. }) => encoder.encode(event),
            Self::JsonRpc(JsonRpc { encoder: None, dialect, .. }) => {
                dialect.encode_event(event, None)
            }
            Self::Rest(form) => Some(rest::encode_event(*form, event)),
        }
    }

    /// Writes an event; says how long its line is.
    fn write(&self, out: &mut Vec<u8>, id: Option<u64>, data: &[u8]) -> usize {
        sse::begin(out, id);
        let begin = out.len();
        if let Self::JsonRpc(rpc) = self {
            sse::push_json(out, &rpc.prefix);
            sse::push_json(out, data);
            out.extend_from_slice(SUFFIX);
        } else {
            sse::push_json(out, data);
        }
        let size = out.len() - begin;
        out.extend_from_slice(sse::END);
        size
    }

    fn error(&self, error: &Error) -> Bytes {
        match self {
            Self::JsonRpc(rpc) => {
                let body = jsonrpc::failure(&rpc.id, error, rpc.dialect);
                Bytes::from(sse::frame(None, body))
            }
            // Without an envelope only the event's name tells an error from an event.
            Self::Rest(form) => {
                let mut out = b"event: error\n".to_vec();
                out.extend_from_slice(&sse::frame(None, rest::error_body(*form, error)));
                Bytes::from(out)
            }
        }
    }
}
