//! `POST /api/v1/sessions/{id}/attach`: lends a session to a person at a terminal of this machine.
//!
//! # How it works
//!
//! The answer's first line is how the agent's own program is started: program, arguments, folder and its
//! whole environment, keys included. Then the answer stays open, with an empty line now and then; the
//! session is lent for as long as somebody reads it, and its other messages wait. So it is for the owner
//! alone, who could read all of this on the disk, and never leaves the machine.

use super::super::{Doors, peer};
use super::{Answered, carry_out, entry_of, failed, not_there, store_failed};
use crate::access::Caller;
use crate::config::OWNER;
use crate::store::SessionRow;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use pilothouse_a2a::error::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The longest name of a terminal, in bytes.
const MAX_TERM: usize = 64;

/// Headers by which a proxy says that it speaks for somebody else.
const FORWARDING: [&str; 5] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// What the person's side tells of itself.
#[derive(Debug, Default, Deserialize)]
struct Given {
    /// Its `TERM`.
    term: Option<String>,
}

/// How the agent's own program is started.
#[derive(Serialize)]
struct Place {
    program: String,
    args: Vec<String>,
    /// Of a name that was set twice the later one.
    env: BTreeMap<String, String>,
    cwd: String,
}

/// Lends the session until the answer is closed.
pub(in super::super) async fn attach(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    carry_out(&doors, request, ("AttachSession", 0), async move |doors, client, request| {
        lend(&doors, &client.caller, &id, request).await
    })
    .await
}

async fn lend(doors: &Arc<Doors>, caller: &Caller, id: &str, request: Request<Bytes>) -> Answered {
    let refused = |error: Error| Box::new(failed(&error));
    if !peer(&request).is_loopback() || is_forwarded(request.headers()) {
        let message = "a session is attached to on the machine of its server, and through no proxy";
        return Err(refused(Error::new(ErrorKind::PermissionDenied, message)));
    }
    if *caller.name != *OWNER || !caller.is_admin() {
        let message =
            "only the owner attaches to a session: the caller who holds the server's own token";
        return Err(refused(Error::new(ErrorKind::PermissionDenied, message)));
    }
    let row = find(doors, caller, id).await?;
    entry_of(request.extensions()).set_context(&row.context_id);
    let given: Given = match &request.body()[..] {
        [] => Given::default(),
        body => serde_json::from_slice(body)
            .map_err(|_| refused(Error::new(ErrorKind::Parse, "the body is no JSON object")))?,
    };
    let (held, left) = oneshot::channel();
    let sessions = doors.service.sessions();
    let spec = sessions
        .attach(&row, left)
        .await
        .map_err(|why| refused(Error::new(ErrorKind::SessionInUse, why)))?;
    tracing::info!(session.id = %row.id, "the session {} is lent to a terminal", row.id);
    let place = Place {
        program: spec.program,
        args: spec.args,
        env: spec.env.into_iter().collect(),
        cwd: spec.cwd,
    };
    Ok(open(doors, place.first_line(given.term), held))
}

/// The owner's session of this id or context, with any agent.
async fn find(doors: &Doors, caller: &Caller, id: &str) -> Result<SessionRow, Box<Response>> {
    for agent in doors.agents.iter() {
        let row = doors.store.session_named(&caller.scope(&agent.key), id).await;
        if let Some(row) = row.map_err(store_failed)? {
            return Ok(row);
        }
    }
    Err(Box::new(not_there(&format!("no session `{id}`"))))
}

impl Place {
    /// How the program is started, as one line; at the person's own terminal where its name is one.
    fn first_line(mut self, term: Option<String>) -> Bytes {
        let fits = |term: &String| {
            (1..=MAX_TERM).contains(&term.len()) && term.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if let Some(term) = term.filter(fits) {
            self.env.insert("TERM".to_owned(), term);
        }
        let line = serde_json::to_string(&self).expect("texts are JSON");
        Bytes::from(format!("{line}\n"))
    }
}

/// The answer that stays open; `held` goes with it.
fn open(doors: &Arc<Doors>, first: Bytes, held: oneshot::Sender<()>) -> Response {
    let (stop, patience) = (doors.stop.clone(), doors.config.timeouts.keep_alive.get());
    let lines = unfold((Some(first), held), move |(first, mut held)| {
        let stop = stop.clone();
        async move {
            let line = match first {
                Some(first) => first,
                None => tokio::select! {
                    biased;
                    () = stop.cancelled() => return None,
                    // The session has been taken back.
                    () = held.closed() => return None,
                    // A reader who is gone without a word is found out by this.
                    () = tokio::time::sleep(patience) => Bytes::from_static(b"\n"),
                },
            };
            Some((Ok::<_, std::convert::Infallible>(line), (None, held)))
        }
    });
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/x-ndjson");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDING.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn term_of(given: Option<&str>) -> Value {
        let place = Place {
            program: "/bin/agent".to_owned(),
            args: vec!["--resume".to_owned(), "c".to_owned()],
            env: [("TERM".to_owned(), "dumb".to_owned())].into(),
            cwd: "/w".to_owned(),
        };
        let line = place.first_line(given.map(ToOwned::to_owned));
        assert_eq!(line.last(), Some(&b'\n'));
        let place: Value = serde_json::from_slice(&line).unwrap();
        place["env"]["TERM"].clone()
    }

    #[test]
    fn the_terminal_is_the_persons_own_where_its_name_is_one() {
        assert_eq!(term_of(Some("xterm-256color")), "xterm-256color");
        for wrong in [None, Some(""), Some("a b"), Some("x\n"), Some(&*"x".repeat(65))] {
            assert_eq!(term_of(wrong), "dumb");
        }
    }

    #[test]
    fn what_a_proxy_forwards_is_told_by_its_headers() {
        let mut headers = HeaderMap::new();
        assert!(!is_forwarded(&headers));
        headers.insert("X-Forwarded-For", HeaderValue::from_static("127.0.0.1"));
        assert!(is_forwarded(&headers));
    }
}
