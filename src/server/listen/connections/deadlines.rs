//! What happens on a connection, and when it is overdue.

use super::{Bounds, Connection, Served};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server::listen) enum Overdue {
    /// The head of a request did not come in time.
    Head,
    /// There was no request for a while.
    Idle,
    /// The client does not take its answer.
    Stuck,
}

/// Notes that the client of a connection has left, when this is dropped.
pub(in crate::server::listen) struct Leaving(Arc<Connection>);

/// A request whose answer was not asked for yet; its answer is once this is dropped.
pub(in crate::server::listen) struct Arriving(Arc<Connection>);

impl Connection {
    /// Notes that bytes have come.
    pub(in crate::server::listen) fn note_read(&self) {
        let mut activity = self.activity.lock();
        if activity.requests == 0 && !activity.is_http2 && activity.head_since.is_none() {
            activity.head_since = Some(Instant::now());
        }
    }

    /// Notes that its client has left: requests that wait do not begin any more.
    pub(in crate::server::listen) fn note_left(&self) {
        self.activity.lock().is_left = true;
        self.room.notify_waiters();
    }

    /// Notes that its client has left when the connection is no longer served.
    pub(in crate::server::listen) fn leaves(self: Arc<Self>) -> Leaving {
        Leaving(self)
    }

    /// Whether it has no request under way.
    pub(in crate::server::listen) fn has_no_request(&self) -> bool {
        self.activity.lock().requests == 0
    }

    /// Notes that it was told to end; from now on it may be idle once more, then it is overdue. While the
    /// server stops, a client that takes nothing of its answers is waited for less long.
    pub(in crate::server::listen) fn note_closing(&self, is_stopping: bool) {
        let mut activity = self.activity.lock();
        activity.idle_since = Instant::now();
        activity.is_stopping = is_stopping;
    }

    /// Whether requests were read whose answers were not asked for yet.
    pub(in crate::server::listen) fn has_arriving(&self) -> bool {
        self.activity.lock().arriving > 0
    }

    /// Notes that a request was read.
    pub(in crate::server::listen) fn read_request(self: &Arc<Self>) -> Arriving {
        self.activity.lock().arriving += 1;
        Arriving(self.clone())
    }

    /// Notes that the head of a request has come.
    pub(in crate::server::listen) fn arrive(self: &Arc<Self>, is_http2: bool) -> Served {
        let mut activity = self.activity.lock();
        activity.requests += 1;
        activity.next += 1;
        activity.head_since = None;
        activity.is_http2 = is_http2;
        let number = activity.next;
        Served::new(self.clone(), number)
    }

    /// When it has to end because of a deadline.
    pub(in crate::server::listen) async fn overdue(&self) -> Overdue {
        loop {
            match self.look_at(Instant::now()) {
                Ok(overdue) => return overdue,
                Err(next) => tokio::time::sleep_until(next).await,
            }
        }
    }

    /// What is overdue at this moment, or when to look again.
    pub(super) fn look_at(&self, now: Instant) -> Result<Overdue, Instant> {
        let Bounds { head, idle, mut write, write_at_stop, .. } = self.bounds;
        let activity = self.activity.lock();
        if activity.is_stopping {
            write = write.min(write_at_stop);
        }
        // What begins after this moment is due after the shortest of the three at the earliest.
        let mut next = now + head.min(idle).min(write);
        let mut is_due = |since: Option<Instant>, limit: Duration| {
            let Some(due) = since.map(|since| since + limit) else { return false };
            if due > now {
                next = next.min(due);
            }
            due <= now
        };
        if is_due(activity.head_since, head) {
            return Ok(Overdue::Head);
        }
        if is_due(activity.stuck.values().min().copied(), write) {
            return Ok(Overdue::Stuck);
        }
        if is_due((activity.requests == 0).then_some(activity.idle_since), idle) {
            return Ok(Overdue::Idle);
        }
        Err(next)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.note_left();
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.activity.lock().arriving -= 1;
    }
}
