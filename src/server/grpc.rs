//! The gRPC binding: `lf.a2a.v1.A2AService` and `a2a.v1.A2AService`, and the standard health service
//! beside them. Statuses are tonic's; messages are read and written by `pilothouse_a2a::pb`, and framed here,
//! so that an answer stays the one block of memory that its room is bound to.

use super::admin::end_with;
use super::call::{Done, check_version, word};
use super::door::{AuditEntry, CallContext};
use super::packed::{LARGE, is_packed};
use super::stream::{Next, Reader};
use super::{Doors, RequestBody, arrival, under_way};
use crate::store::Event;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use http_body::{Frame, SizeHint};
use http_body_util::StreamBody;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::{Method, pb};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

/// The two services, as the health service names them.
pub(super) const SERVICES: [&str; 2] = ["lf.a2a.v1.A2AService", "a2a.v1.A2AService"];

/// `POST /lf.a2a.v1.A2AService/...` and `POST /a2a.v1.A2AService/...`.
pub(super) async fn call(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    if !is_grpc(request.headers()) {
        let mut response = Response::new(Body::from("gRPC is spoken here\n"));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    if let Err(error) = is_packed(request.headers()) {
        let mut response = Status::unimplemented(error.message).into_http();
        let accepted = HeaderValue::from_static("identity,gzip");
        response.headers_mut().insert("grpc-accept-encoding", accepted);
        return response;
    }
    let deadline = read_timeout(request.headers()).map(|timeout| Instant::now() + timeout);
    let (entry, admitted) = AuditEntry::begin(
        &doors,
        request.headers(),
        arrival(&request),
        (under_way(&request), "GRPC"),
    )
    .await;
    let base = doors.base_url(&request);
    let (parts, body) = request.into_parts();
    let method = pb::method(parts.uri.path());
    if let Some(method) = method {
        entry.set_action(word(method.operation));
    }
    let (outcome, context) = match admitted {
        Ok(caller) => {
            let context = Arc::new(CallContext::new(caller, parts, base));
            let outcome = match method {
                None => {
                    Err(Error::new(ErrorKind::MethodNotFound, "no such method in this service"))
                }
                Some(method) => {
                    let (caller, headers) = (&context.caller.name, context.headers());
                    match doors.read_body(caller, headers, body, &entry).await {
                        Ok(body) => {
                            let answer = answer(&doors, &context, method, body, deadline, &entry);
                            match deadline {
                                Some(deadline) => timeout_at(deadline, answer)
                                    .await
                                    .unwrap_or_else(|_| Err(too_late())),
                                None => answer.await,
                            }
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            (outcome, Ok(context))
        }
        Err(error) => (Err(error), Err(parts)),
    };
    let (response, reason) = match outcome {
        Ok(response) => (response, "ok"),
        Err(error) => (status(&error).into_http(), error.kind.codes().reason),
    };
    let parts = context.as_ref().map_or_else(|parts| parts, |context| &context.parts);
    let response = doors.with_extensions(response, parts);
    entry.write(reason, response.status()).await;
    response
}

/// Whether a request says that it is gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let rest = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// What a call of a service that is not there is answered.
pub(super) fn unimplemented() -> Response {
    Status::unimplemented("no such service here").into_http()
}

async fn answer(
    doors: &Arc<Doors>,
    context: &Arc<CallContext>,
    method: Method,
    body: RequestBody,
    deadline: Option<Instant>,
    entry: &AuditEntry,
) -> Result<Response, Error> {
    check_version(&context.parts, method.dialect)?;
    let (packed, message) = unframe(&body.bytes)?;
    let message = RequestBody { bytes: body.bytes.slice_ref(message), place: body.place };
    let RequestBody { bytes, place } = match packed {
        false => message,
        true if is_packed(context.headers())? => {
            doors.unpack(&context.caller.name, message).await?
        }
        true => {
            let what = "the message is marked as compressed, and no `grpc-encoding` says how";
            return Err(Error::new(ErrorKind::InvalidRequest, what));
        }
    };
    pb::check_bounds(&doors.bounds(), method.dialect, method.operation, &bytes)?;
    let decoded = pb::decode(method.dialect, method.operation, &bytes)?;
    // What follows may take as long as a turn.
    drop((bytes, body.bytes));
    let performed = doors.perform(context, method, decoded, place, entry).await;
    Ok(match performed.outcome? {
        Done::Reply(reply, room) => {
            let message = pb::encode_reply(performed.dialect, method.operation, &reply);
            match message.len() < LARGE {
                true => unary(room.hold(message)),
                false => end_with(context.caller.grant.clone(), unary(room.hold(message))),
            }
        }
        Done::Stream(stream, manner, room) => {
            let parts = (stream, manner, room);
            streaming(
                Reader::new(doors, &context.caller, parts, performed.dialect),
                performed.dialect,
                deadline,
            )
        }
    })
}

/// An error in gRPC: status, message and `google.rpc.Status` with its details (specification 10.6).
fn status(error: &Error) -> Status {
    let code = Code::from_i32(error.kind.codes().grpc_number);
    let details = Bytes::from(pb::status_details(error));
    Status::with_details(code, error.message.clone(), details)
}

// === framing ===

/// How long a call may take, by `grpc-timeout`: up to eight digits and a unit.
fn read_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<u32>().ok().filter(|_| number.len() <= 8)?;
    let unit = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    Some(unit * number)
}

/// The time that the caller gave is over. What was begun goes on.
fn too_late() -> Error {
    let message = "the time of `grpc-timeout` is over; what was begun goes on: look with GetTask";
    Error::new(ErrorKind::TooSlow, message)
}

/// The one message of a request: a byte that says whether it is compressed, its length, itself.
fn unframe(body: &[u8]) -> Result<(bool, &[u8]), Error> {
    let broken = |what| Error::new(ErrorKind::InvalidRequest, what);
    let Some((head, message)) = body.split_at_checked(5) else {
        return Err(broken("the request holds no message"));
    };
    let announced = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    match (head[0], message.len()) {
        (packed @ (0 | 1), size) if size == announced => Ok((packed == 1, message)),
        (0 | 1, size) if size < announced => Err(broken("the message broke off")),
        (0 | 1, _) => Err(broken("the request holds more than one message")),
        _ => Err(broken("the request holds no message")),
    }
}

/// The head of a message that is not compressed.
fn head(size: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// The trailers of an answer that ended so.
fn trailers(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Its message holds what no header can.
        trailers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    Frame::trailers(trailers)
}

/// The frames of an answer that is whole. It tells its size as the least one: an exact one would become a
/// `content-length`, which answers with trailers do not have.
struct Frames(std::array::IntoIter<Frame<Bytes>, 3>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.0.as_slice().iter().filter_map(Frame::data_ref);
        let mut hint = SizeHint::new();
        hint.set_lower(data.map(|data| data.len() as u64).sum());
        hint
    }
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn unary(message: Bytes) -> Response {
    let head = Bytes::copy_from_slice(&head(message.len()));
    let end = trailers(&Status::new(Code::Ok, ""));
    response(Body::new(Frames([Frame::data(head), Frame::data(message), end].into_iter())))
}

fn streaming(reader: Reader, dialect: Dialect, deadline: Option<Instant>) -> Response {
    let frames = unfold(Some(reader), move |reader| async move {
        let mut reader = reader?;
        loop {
            let next = match deadline {
                Some(deadline) => timeout_at(deadline, reader.next())
                    .await
                    .unwrap_or_else(|_| Some(Next::Broken(too_late()))),
                None => reader.next().await,
            };
            let end = match next {
                Some(Next::Events(events, room)) => {
                    let messages = encode_events(dialect, &events);
                    if messages.is_empty() {
                        continue;
                    }
                    return Some((Frame::data(room.hold(messages)), Some(reader)));
                }
                // HTTP/2 has pings of its own.
                Some(Next::Idle) => continue,
                Some(Next::Broken(error)) => status(&error),
                None => Status::new(Code::Ok, ""),
            };
            return Some((trailers(&end), None));
        }
    });
    response(Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>))))
}

/// Events as messages, each behind its head.
fn encode_events(dialect: Dialect, events: &[Event]) -> Vec<u8> {
    let mut messages = Vec::new();
    for event in events {
        if let Ok(event) = serde_json::from_slice::<StreamResponse>(&event.body) {
            let message = pb::encode_event(dialect, &event);
            messages.extend_from_slice(&head(message.len()));
            messages.extend_from_slice(&message);
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn an_answer_tells_its_size_and_has_no_content_length() {
        let body = unary(Bytes::from_static(b"1234")).into_body();
        assert_eq!((body.size_hint().lower(), body.size_hint().exact()), (9, None));
        let whole = body.collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(whole.to_bytes(), &b"\0\0\0\0\x041234"[..]);
    }
}
