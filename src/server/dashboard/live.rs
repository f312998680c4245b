//! `POST /api/v1/live`: one stream for a whole page. It has the asks and the sessions that a caller sees, row by row as they change,
//! and the events of the tasks that are open on it.
//!
//! # How it works
//!
//! The stream waits for [`Changes`], gathers them for a moment, and reads again what has changed. So a page that looks at a
//! quiet server costs nothing, and no list is read twice. `id` is the version up to which its reader has everything: who
//! comes back with it gets what has changed since, or `reset` and all rows where that is not known any more.

mod frames;
mod rows;

use super::super::admin::asks::every_agent;
use super::super::admin::{any_task, carry_out, failed};
use super::super::call::Named;
use super::super::extensions::Activated;
use super::super::stream::{self, Ends, Manner, Next, Reader};
use super::super::{Doors, answers::Room};
use crate::changes::Changes;
use crate::config::AnswerForm;
use crate::queue::{FairQueue, Place};
use crate::service::{Client, Stream};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use frames::Frames;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll, once, unfold};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use rows::{Lane, Stage};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Seconds after which a stream for which there was no place is worth another try.
const RETRY_SECONDS: u64 = 5;

/// What a page wants to be told.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wants {
    /// The asks that can be answered.
    asks: bool,
    /// The sessions.
    sessions: bool,
    /// Tasks whose events it shows.
    tasks: Vec<Followed>,
    /// What it has: the last `id` of an earlier stream.
    cursor: Option<String>,
}

/// A task whose events a page shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Followed {
    id: TaskId,
    /// The last event that it has.
    #[serde(default)]
    after: u64,
}

/// A stream on its way to its page.
struct LiveStream {
    doors: Arc<Doors>,
    /// The caller with each agent whose rows it is told.
    clients: Vec<Client>,
    changes: Changes,
    versions: watch::Receiver<u64>,
    stage: Stage,
    asks: Option<Lane>,
    sessions: Option<Lane>,
    /// The rows that the page has of this stream.
    known: HashSet<Arc<str>>,
    /// Whether the page has what it has of this stream alone.
    is_whole: bool,
    tasks: SelectAll<BoxStream<'static, (TaskId, Next)>>,
    /// When something is said even where nothing has changed.
    keep_alive: Instant,
    _place: Place,
}

/// `POST /api/v1/live`: what changes on a page, as it changes.
pub(in super::super) async fn live(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    carry_out(&doors, request, ("Live", 0), async move |doors, client, request: Request<Bytes>| {
        let named = request.extensions().get::<Named>().is_some();
        let opened = open(&doors, client, named, request.body()).await;
        let stream = opened.map_err(|error| Box::new(failed(&error)))?;
        Ok(stream::response(stream.into_body()))
    })
    .await
}

async fn open(
    doors: &Arc<Doors>,
    client: Client,
    named: bool,
    body: &[u8],
) -> Result<LiveStream, Error> {
    let wants: Wants = serde_json::from_slice(body).map_err(|error| {
        Error::new(ErrorKind::Parse, format!("the body does not say what is to be told: {error}"))
    })?;
    let streams = &doors.config.streams;
    if wants.tasks.len() > streams.live_tasks {
        let words = format!(
            "names more than {} tasks; the server's operator can raise `streams.live_tasks`",
            streams.live_tasks
        );
        return Err(Error::invalid("tasks", words));
    }
    let most = streams.live.max(1);
    let places =
        doors.live.get_or_init(|| FairQueue::new(most, most.div_ceil(2), &BTreeMap::new()));
    let place = places.try_take(&client.caller.name).ok_or_else(|| {
        let words = "too many live streams are open, of this caller or of all together; close a page; the server's operator can \
                     raise `streams.live`, of which one caller has half";
        Error::new(ErrorKind::Unavailable, words).retry_after(RETRY_SECONDS)
    })?;
    // Of a task that is named several times, the events that none of them has.
    let mut followed = BTreeMap::new();
    for Followed { id, after } in wants.tasks {
        let least = followed.entry(id).or_insert(after);
        *least = after.min(*least);
    }
    let mut tasks = SelectAll::new();
    for (id, after) in followed {
        let events = follow(doors, &client, (id.clone(), after)).await;
        tasks.push(events.unwrap_or_else(|error| once(ready((id, Next::Broken(error)))).boxed()));
    }
    let changes = doors.service.changes();
    let versions = changes.subscribe();
    let version = wants.cursor.as_deref().and_then(|cursor| changes.read_cursor(cursor));
    let is_known = version.is_some_and(|version| changes.since(version, 0).is_some());
    let stage = if is_known { Stage::Resumed } else { Stage::Reset };
    let seen = version.filter(|_| is_known).unwrap_or_default();
    let lane = |is_wanted: bool| is_wanted.then(|| Lane::new(seen));
    Ok(LiveStream {
        clients: if named { vec![client] } else { every_agent(doors, &client) },
        asks: lane(wants.asks),
        sessions: lane(wants.sessions),
        doors: doors.clone(),
        changes,
        versions,
        stage,
        known: HashSet::new(),
        is_whole: !is_known,
        tasks,
        keep_alive: Instant::now(),
        _place: place,
    })
}

/// The events of a task after the last one that the page has.
async fn follow(
    doors: &Arc<Doors>,
    client: &Client,
    (id, after): (TaskId, u64),
) -> Result<BoxStream<'static, (TaskId, Next)>, Error> {
    let log = any_task(doors, client.clone(), &id).await?;
    if log.is_withheld() {
        return Err(Error::task_not_found(id.as_str()));
    }
    let cursor = Some(log.follow(&doors.store, after.min(log.head())));
    // The page adds pieces to what it has.
    let manner = Manner {
        ends: Ends::WhenOver,
        answers: AnswerForm::Pieces,
        activated: Activated::default(),
    };
    let stream = (Stream { cursor, first: None }, manner, Room::default());
    let reader = Reader::new(doors, &client.caller, stream, Dialect::V1_0);
    let events = unfold(reader, move |mut reader| {
        let id = log.id.clone();
        async move { reader.next().await.map(|next| ((id, next), reader)) }
    });
    Ok(events.boxed())
}

impl LiveStream {
    fn into_body(self) -> Body {
        Body::from_stream(unfold(self, |mut stream| async move {
            let chunk = stream.next().await?;
            Some((Ok::<_, Infallible>(chunk), stream))
        }))
    }

    /// What comes next; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let grant = self.clients.first().map(|client| client.caller.grant.clone());
        let stop = self.doors.stop.clone();
        let ended = async {
            match grant {
                Some(grant) => drop(grant.ended().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended => None,
            () = stop.cancelled() => None,
            chunk = self.advance() => {
                self.keep_alive = Instant::now() + self.doors.config.timeouts.keep_alive.get();
                chunk
            }
        }
    }

    async fn advance(&mut self) -> Option<Bytes> {
        loop {
            if !matches!(self.stage, Stage::Live) {
                match self.begin().await? {
                    frames if frames.is_empty() => continue,
                    frames => return Some(frames),
                }
            }
            let [asks, sessions] = [&self.asks, &self.sessions].map(Lane::due_of);
            let is_noted = self.is_noted();
            tokio::select! {
                biased;
                // First, so that changes of others do not keep it off.
                () = sleep_until(self.keep_alive) => return Some(self.keep_alive_frame()),
                () = wait_until(asks) => match self.tell_asks().await? {
                    frames if frames.is_empty() => {}
                    frames => return Some(frames),
                },
                () = wait_until(sessions) => match self.tell_sessions().await? {
                    frames if frames.is_empty() => {}
                    frames => return Some(frames),
                },
                changed = self.versions.changed(), if !is_noted => match changed {
                    Ok(()) => self.note_change(),
                    Err(_) => return None,
                },
                Some((task, next)) = self.tasks.next(), if !self.tasks.is_empty() => {
                    if let Some(chunk) = tell_task(&task, next) {
                        return Some(chunk);
                    }
                }
            }
        }
    }

    /// A comment, and the newest cursor: changes of others alone do not leave its reader behind.
    fn keep_alive_frame(&self) -> Bytes {
        let mut frames = Frames::default();
        frames.add_keep_alive(self.told().map(|version| self.changes.cursor(version)));
        Bytes::from(frames.into_bytes())
    }
}

/// The frames of what a task's reader got.
fn tell_task(task: &TaskId, next: Next) -> Option<Bytes> {
    let mut frames = Frames::default();
    match next {
        Next::Events(events, room) => {
            events.iter().for_each(|event| frames.add_event(task, event));
            Some(room.hold(frames.into_bytes()))
        }
        Next::Idle => None,
        Next::Broken(error) => {
            frames.add_broken(task, &error);
            Some(Bytes::from(frames.into_bytes()))
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
