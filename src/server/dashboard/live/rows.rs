//! The rows of a live stream: all of them at its beginning, then those that change.

use super::super::super::admin::rows::render_sessions;
use super::frames::Frames;
use super::{LiveStream, Room};
use crate::asks::render;
use crate::changes::{Change, Since};
use crate::clock;
use crate::store::{AskState, SessionPlace};
use bytes::Bytes;
use pilothouse_a2a::error::Error;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// For so long changes are gathered.
const GATHER: Duration = Duration::from_millis(250);

/// Rows that are read and sent together.
const ROWS: usize = 50;

/// The asks that a page is told of.
const OPEN: &[AskState] = &[AskState::Open, AskState::Claimed, AskState::Deferred];

/// How far a stream is.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// The page is to drop what it has.
    Reset,
    /// The asks after this one are to be told.
    Asks(Option<Arc<str>>),
    /// The sessions with the agent of this number behind this place are to be told.
    Sessions { agent: usize, from: Option<SessionPlace>, shown: usize, total: u64 },
    /// The page has what it had before; what has changed since is to be told.
    Resumed,
    /// Everything is told; changes are.
    Live,
}

/// Rows of one kind on their way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    /// The version up to which everything is told.
    pub(super) seen: u64,
    /// When what has changed is told; none where nothing has.
    pub(super) due: Option<Instant>,
    /// Nothing is told before this.
    pub(super) rests_until: Instant,
}

impl Lane {
    /// One of which everything up to a version is told.
    pub(super) fn new(seen: u64) -> Self {
        Self { seen, due: None, rests_until: Instant::now() }
    }

    /// When something of this lane is due.
    pub(super) fn due_of(lane: &Option<Self>) -> Option<Instant> {
        lane.as_ref().and_then(|lane| lane.due)
    }
}

impl LiveStream {
    /// Whether it is noted for all kinds of rows that something has changed.
    pub(super) fn is_noted(&self) -> bool {
        [&self.asks, &self.sessions].into_iter().flatten().all(|lane| lane.due.is_some())
    }

    /// Notes that something has changed, which is told when more has gathered.
    pub(super) fn note_change(&mut self) {
        let due = Instant::now() + GATHER;
        for lane in [&mut self.asks, &mut self.sessions].into_iter().flatten() {
            lane.due.get_or_insert(due.max(lane.rests_until));
        }
    }

    /// The next frames of the beginning; none where they cannot be made.
    pub(super) async fn begin(&mut self) -> Option<Bytes> {
        match self.stage.clone() {
            Stage::Reset => {
                let version = self.changes.version();
                for lane in [&mut self.asks, &mut self.sessions].into_iter().flatten() {
                    *lane = Lane::new(version);
                }
                self.known.clear();
                self.is_whole = true;
                self.stage = Stage::Asks(None);
                let mut frames = Frames::default();
                frames.add("reset", None, &json!({}));
                Some(Bytes::from(frames.into_bytes()))
            }
            Stage::Asks(after) => self.begin_asks(after.as_deref()).await,
            Stage::Sessions { agent, from, shown, total } => {
                self.begin_sessions((agent, from), (shown, total)).await
            }
            Stage::Resumed => {
                self.stage = Stage::Live;
                for lane in [&mut self.asks, &mut self.sessions].into_iter().flatten() {
                    lane.due = Some(Instant::now());
                }
                let mut frames = Frames::default();
                frames.add("full", None, &json!({"resumed": true}));
                Some(Bytes::from(frames.into_bytes()))
            }
            Stage::Live => None,
        }
    }

    async fn begin_asks(&mut self, after: Option<&str>) -> Option<Bytes> {
        let first = Stage::Sessions { agent: 0, from: None, shown: 0, total: 0 };
        if self.asks.is_none() {
            self.stage = first;
            return Some(Bytes::new());
        }
        let room = self.room(self.doors.config.limits.response.as_usize()).await?;
        let page = self.doors.service.asks(&self.clients, OPEN, after, ROWS);
        let now = clock::now();
        let rows = page.rows.iter().map(|row| render(row, now)).collect();
        self.known.extend(page.rows.iter().map(|row| row.id.clone()));
        self.stage = page.next.map_or(first, |next| Stage::Asks(Some(next)));
        let mut frames = Frames::default();
        // No cursor before all rows are told: who came back with it would never get the rest.
        frames.add_rows("asks", None, rows, Vec::new());
        Some(room.hold(frames.into_bytes()))
    }

    async fn begin_sessions(
        &mut self,
        (agent, from): (usize, Option<SessionPlace>),
        (shown, total): (usize, u64),
    ) -> Option<Bytes> {
        let left = self.doors.config.streams.live_rows.saturating_sub(shown);
        let client = self.clients.get(agent).cloned();
        let (true, Some(client), true) = (self.sessions.is_some(), client, left > 0) else {
            self.stage = Stage::Live;
            let mut frames = Frames::default();
            let cursor = self.cursor(self.told().unwrap_or_else(|| self.changes.version()));
            frames.add(
                "full",
                Some(&cursor),
                &json!({"sessions": {"shown": shown, "total": total}}),
            );
            return Some(Bytes::from(frames.into_bytes()));
        };
        let room = self.room(self.doors.config.limits.event.as_usize()).await?;
        let (listed, key) = (&client.caller.listed, &client.agent.key);
        let is_first = from.is_none();
        let page = self.doors.store.sessions(listed, key, from, left.min(ROWS)).await;
        let page = page.inspect_err(Self::log_failure).ok()?;
        let rows = render_sessions(&self.doors, &page.rows).await;
        let rows = rows.inspect_err(Self::log_failure).ok()?;
        self.known.extend(page.rows.iter().map(|row| row.id.clone()));
        let shown = shown + rows.len();
        let total = if is_first { total + page.total } else { total };
        self.stage = match page.rows.last().filter(|_| page.has_more) {
            Some(last) => {
                Stage::Sessions { agent, from: Some(SessionPlace::of(last)), shown, total }
            }
            None => Stage::Sessions { agent: agent + 1, from: None, shown, total },
        };
        let mut frames = Frames::default();
        frames.add_rows("sessions", None, rows, Vec::new());
        Some(room.hold(frames.into_bytes()))
    }

    /// The asks that have changed.
    pub(super) async fn tell_asks(&mut self) -> Option<Bytes> {
        let Some(lane) = self.asks else { return Some(Bytes::new()) };
        let Some(mut since) = self.take_changes(lane.seen) else { return Some(Bytes::new()) };
        let most = self.doors.config.limits.event.as_usize();
        let room = self.room(most).await?;
        let (mut rows, mut gone, now) = (Vec::new(), Vec::new(), clock::now());
        let (mut size, mut rest) = (0, None);
        for (at, (_, change)) in since.changes.iter().enumerate() {
            let Change::Ask(id, scope) = change else { continue };
            let Some(client) = self.clients.iter().find(|client| *client.agent.key == *scope.agent)
            else {
                continue;
            };
            if !client.caller.lists(scope) {
                continue;
            }
            match self.doors.service.listed_ask(&client.caller, id) {
                Some(row) => {
                    let row = render(&row, now);
                    size += row.to_string().len();
                    if size > most && !rows.is_empty() {
                        rest = Some(at);
                        break;
                    }
                    self.known.insert(id.clone());
                    rows.push(row);
                }
                None => {
                    let was_known = self.known.remove(id);
                    if was_known || !self.is_whole {
                        gone.push(json!(id));
                    }
                }
            }
        }
        if let Some(at) = rest {
            since.cut(at);
        }
        self.asks = Some(Self::next_of(&since, GATHER));
        let mut frames = Frames::default();
        frames.add_rows("asks", Some(&self.cursor_now()), rows, gone);
        Some(room.hold(frames.into_bytes()))
    }

    /// The sessions that have changed. The next ones wait as long as these take at `streams.live_rate`.
    pub(super) async fn tell_sessions(&mut self) -> Option<Bytes> {
        let Some(lane) = self.sessions else { return Some(Bytes::new()) };
        let Some(since) = self.take_changes(lane.seen) else { return Some(Bytes::new()) };
        let room = self.room(self.doors.config.limits.event.as_usize()).await?;
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        for (_, change) in &since.changes {
            match change {
                Change::Session(scope, context) => {
                    let agents = &self.clients;
                    let client = agents.iter().find(|client| *client.agent.key == *scope.agent);
                    if !client.is_some_and(|client| client.caller.lists(scope)) {
                        continue;
                    }
                    let row = self.doors.store.session(scope, context).await;
                    if let Some(row) = row.inspect_err(Self::log_failure).ok()? {
                        self.known.insert(row.id.clone());
                        rows.push(row);
                    }
                }
                Change::SessionGone(id) if self.known.remove(id) => gone.push(json!(id)),
                // Of whom it was is not known any more.
                Change::SessionGone(_) if !self.is_whole => {
                    self.stage = Stage::Reset;
                    return Some(Bytes::new());
                }
                Change::SessionGone(_) | Change::Ask(..) => {}
            }
        }
        let rows = render_sessions(&self.doors, &rows).await;
        let rows = rows.inspect_err(Self::log_failure).ok()?;
        let mut frames = Frames::default();
        self.sessions = Some(Self::next_of(&since, GATHER));
        frames.add_rows("sessions", Some(&self.cursor_now()), rows, gone);
        let rate = self.doors.config.streams.live_rate.get().max(1);
        let pause = Duration::from_millis(frames.len() as u64 * 1000 / rate).max(GATHER);
        self.sessions = Some(Self::next_of(&since, pause));
        Some(room.hold(frames.into_bytes()))
    }

    /// What has changed since a version; none where that is not known any more, and the page has to begin anew.
    fn take_changes(&mut self, seen: u64) -> Option<Since> {
        let since = self.changes.since(seen, ROWS);
        if since.is_none() {
            self.stage = Stage::Reset;
        }
        since
    }

    /// A lane of which these changes are told; further ones come after this pause.
    fn next_of(since: &Since, pause: Duration) -> Lane {
        let rests_until = Instant::now() + pause;
        Lane { seen: since.version, due: since.has_more.then_some(rests_until), rests_until }
    }

    /// Room for frames of at most so many bytes.
    fn room(&self, most: usize) -> impl Future<Output = Option<Room>> + use<> {
        let caller = self.clients.first().map(|client| client.caller.name.clone());
        let doors = self.doors.clone();
        async move {
            let room = doors.answers.reserve_piece(&caller?, most).await;
            let log = |error: &Error| tracing::warn!("a live stream ends: {}", error.message);
            room.inspect_err(log).ok()
        }
    }

    fn log_failure(error: &crate::store::Error) {
        tracing::error!(%error, "a live stream ends: the store could not be read");
    }

    fn cursor(&self, version: u64) -> String {
        self.changes.cursor(version)
    }

    /// The version up to which all kinds of rows are told; none where the page wants none.
    pub(super) fn told(&self) -> Option<u64> {
        [self.asks, self.sessions].into_iter().flatten().map(|lane| lane.seen).min()
    }

    /// The cursor of what is told of all kinds.
    fn cursor_now(&self) -> String {
        self.cursor(self.told().unwrap_or_default())
    }
}
