//! A request that is served: until when its answer is made, and how much of it its client has not taken.

use super::{Bounds, Connection};
use crate::access::{Denied, Grant};
use crate::server::listen::requests::UnderWay;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// As much of a body is handed to the connection at a time: what its client has not taken stays here,
/// where it is counted. What was handed over is in memory besides, for each request.
pub(super) const PIECE: usize = 16 * 1024;

/// A request that is served; dropping it ends it.
pub(in crate::server::listen) struct Served {
    connection: Arc<Connection>,
    number: u64,
    production: Option<Arc<Production>>,
    unread: u64,
}

/// The making of an answer, from the request until the answer is there, or until its caller waits for
/// an agent.
pub(in crate::server) struct Production {
    connection: Arc<Connection>,
    is_over: AtomicBool,
}

impl Production {
    /// Lets another request of its connection begin.
    pub(in crate::server) fn end(&self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            self.connection.activity.lock().producing -= 1;
            self.connection.room.notify_waiters();
        }
    }
}

impl Drop for Production {
    fn drop(&mut self) {
        self.end();
    }
}

impl Served {
    /// The request of this number on a connection, whose head has come.
    pub(super) fn new(connection: Arc<Connection>, number: u64) -> Self {
        Self { connection, number, production: None, unread: 0 }
    }

    /// Waits until this request may be served; none where it must be refused.
    pub(in crate::server::listen) async fn begin(&mut self) -> Option<Arc<Production>> {
        loop {
            let connection = self.connection.clone();
            let room = connection.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let Bounds { streams, unread, .. } = connection.bounds;
                let mut activity = connection.activity.lock();
                if activity.is_left {
                    return None;
                }
                let is_known = connection.is_known();
                let is_roomy = activity.producing < streams && activity.unread <= unread;
                if activity.served < streams || (is_known && is_roomy) {
                    activity.served += 1;
                    activity.producing += 1;
                    let connection = connection.clone();
                    let production = Production { connection, is_over: AtomicBool::new(false) };
                    self.production = Some(Arc::new(production));
                    return self.production.clone();
                }
                if !is_known {
                    return None;
                }
            }
            room.await;
        }
    }

    /// The body of the answer; the request ends with it. It breaks off where this grant ends.
    pub(in crate::server::listen) fn answer(
        mut self,
        body: axum::body::Body,
        grant: Option<Arc<Grant>>,
        place: Option<UnderWay>,
    ) -> ServedBody {
        let size = body.size_hint().lower();
        let mut activity = self.connection.activity.lock();
        activity.unread += size;
        activity.stuck.insert(self.number, Instant::now());
        drop(activity);
        self.unread = size;
        if let Some(production) = &self.production {
            production.end();
        }
        let grant = grant.map(BodyGrant::new);
        ServedBody { served: self, body, rest: Bytes::new(), grant, _place: place }
    }

    /// Notes that the client took all that was handed out.
    fn note_taken(&self) {
        self.connection.activity.lock().stuck.remove(&self.number);
    }

    /// Notes that so much is here, which was not announced where the answer is a stream.
    fn note_made(&mut self, size: usize) {
        let more = (size as u64).saturating_sub(self.unread);
        self.unread += more;
        self.connection.activity.lock().unread += more;
    }

    /// Notes that a piece was handed out.
    fn note_handed(&mut self, size: usize) {
        let size = self.unread.min(size as u64);
        self.unread -= size;
        let mut activity = self.connection.activity.lock();
        activity.unread -= size;
        activity.stuck.insert(self.number, Instant::now());
        drop(activity);
        self.connection.room.notify_waiters();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut activity = self.connection.activity.lock();
        activity.requests -= 1;
        activity.served -= usize::from(self.production.is_some());
        activity.unread -= self.unread;
        activity.stuck.remove(&self.number);
        activity.idle_since = Instant::now();
        drop(activity);
        self.connection.room.notify_waiters();
    }
}

/// The body of an answer, handed out in pieces as the client takes them.
pub(in crate::server::listen) struct ServedBody {
    served: Served,
    body: axum::body::Body,
    rest: Bytes,
    /// What the caller's token allows, where a body that is under way ends with it.
    grant: Option<BodyGrant>,
    _place: Option<UnderWay>,
}

/// The grant that a body ends with.
struct BodyGrant {
    grant: Arc<Grant>,
    /// Whether anything of the body is handed out: an answer of one piece is whole before anything can end it.
    is_begun: bool,
    /// The end of the grant, once the body has been waited for.
    ended: Option<Pin<Box<dyn Future<Output = Denied> + Send>>>,
}

impl BodyGrant {
    fn new(grant: Arc<Grant>) -> Self {
        Self { grant, is_begun: false, ended: None }
    }

    /// Refuses the next piece of a body where the grant has ended.
    fn check(&self) -> Result<(), Denied> {
        if self.is_begun { self.grant.check() } else { Ok(()) }
    }

    /// Waits until the grant ends.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Denied> {
        let grant = &self.grant;
        let ended = self.ended.get_or_insert_with(|| {
            let grant = grant.clone();
            Box::pin(async move { grant.ended().await })
        });
        ended.as_mut().poll(context)
    }

    /// The error that a body ends with, so that no client takes its beginning for the whole.
    fn break_off(&self, denied: Denied) -> axum::Error {
        let id = &self.grant.id;
        tracing::info!("an answer to the token `{id}` broke off: {denied}");
        axum::Error::new(denied)
    }
}

impl Body for ServedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.served.note_taken();
        if let Some(grant) = &this.grant
            && let Err(denied) = grant.check()
        {
            return Poll::Ready(Some(Err(grant.break_off(denied))));
        }
        if this.rest.is_empty() {
            let next = Pin::new(&mut this.body).poll_frame(context);
            if next.is_pending()
                && let Some(grant) = &mut this.grant
            {
                let denied = ready!(grant.poll_ended(context));
                return Poll::Ready(Some(Err(grant.break_off(denied))));
            }
            match ready!(next) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        this.served.note_made(data.len());
                        this.rest = data;
                    }
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.served.note_handed(piece.len());
        if let Some(grant) = &mut this.grant {
            grant.is_begun = true;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
