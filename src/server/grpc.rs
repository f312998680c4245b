//! The gRPC binding: `lf.a2a.v1.A2AService` and `a2a.v1.A2AService`, and the standard health service
//! beside them. Framing and statuses are tonic's; messages are read and written by `pilothouse_a2a::pb`.

use super::call::{Done, check_version, word};
use super::door::{AuditEntry, CallContext};
use super::stream::{Next, Reader};
use super::{Doors, RequestBody, arrival};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::{Buf, BufMut, Bytes};
use futures_util::stream::unfold;
use http_body_util::Full;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::{Method, pb};
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
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
    let packed = request.headers().get("grpc-encoding");
    if packed.is_some_and(|packed| packed != "identity") {
        let mut response = Status::unimplemented("messages are taken uncompressed").into_http();
        let accepted = HeaderValue::from_static("identity");
        response.headers_mut().insert("grpc-accept-encoding", accepted);
        return response;
    }
    let (entry, admitted) = AuditEntry::begin(&doors, request.headers(), arrival(&request)).await;
    let base = doors.base_url(&request);
    let (parts, body) = request.into_parts();
    let method = pb::method(parts.uri.path());
    if let Some(method) = method {
        entry.set_action(word(method.operation));
    }
    let (outcome, context) = match admitted {
        Ok(caller) => {
            let context = Arc::new(CallContext { caller, parts, base });
            let outcome = match method {
                None => {
                    Err(Error::new(ErrorKind::MethodNotFound, "no such method in this service"))
                }
                Some(method) => match doors.read_body(context.headers(), body).await {
                    Ok(body) => answer(&doors, &context, method, body, &entry).await,
                    Err(error) => Err(error),
                },
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
    entry: &AuditEntry,
) -> Result<Response, Error> {
    let RequestBody { bytes, place } = body;
    check_version(&context.parts, method.dialect)?;
    let message = unframed(&bytes)?;
    pb::check_bounds(&doors.bounds(), method.dialect, method.operation, message)?;
    let decoded = pb::decode(method.dialect, method.operation, message)?;
    // What follows may take as long as a turn.
    drop(bytes);
    doors.telemetry.console().request(word(method.operation), &context.caller.name, None);
    let performed = doors.perform(context, method, decoded, place, entry).await;
    Ok(match performed.outcome? {
        Done::Reply(reply) => {
            let message = pb::encode_reply(performed.dialect, method.operation, &reply);
            unary(Bytes::from(message)).await
        }
        Done::Stream(stream, ends) => {
            let reader = Reader::new(doors, stream, performed.dialect, ends);
            streaming(reader, performed.dialect).await
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

/// Messages as the bytes that they are.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// The one message of a request: a byte that says whether it is compressed, its length, itself.
fn unframed(body: &[u8]) -> Result<&[u8], Error> {
    let broken = |what| Error::new(ErrorKind::InvalidRequest, what);
    let Some((head, message)) = body.split_at_checked(5) else {
        return Err(broken("the request holds no message"));
    };
    let announced = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    match (head[0], message.len()) {
        (0, size) if size == announced => Ok(message),
        (0, size) if size < announced => Err(broken("the message broke off")),
        (0, _) => Err(broken("the request holds more than one message")),
        _ => Err(broken("messages are taken uncompressed")),
    }
}

struct Once(Option<Bytes>);

impl UnaryService<Bytes> for Once {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.0.take().unwrap_or_default())))
    }
}

async fn unary(message: Bytes) -> Response {
    let response = Grpc::new(Raw).unary(Once(Some(message)), answered()).await;
    response.map(Body::new)
}

type Messages = Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, Status>> + Send>>;

struct Many(Option<Messages>);

impl ServerStreamingService<Bytes> for Many {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Ready<Result<tonic::Response<Messages>, Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        let messages = self.0.take();
        ready(messages.map(tonic::Response::new).ok_or_else(|| Status::internal("called twice")))
    }
}

async fn streaming(reader: Reader, dialect: Dialect) -> Response {
    let events =
        unfold((reader, Vec::new().into_iter()), move |(mut reader, mut ready)| async move {
            loop {
                if let Some(message) = ready.next() {
                    return Some((Ok(message), (reader, ready)));
                }
                match reader.next().await? {
                    Next::Events(events) => {
                        let encoded: Vec<_> = events
                            .iter()
                            .filter_map(|event| {
                                serde_json::from_slice::<StreamResponse>(&event.body).ok()
                            })
                            .map(|event| Bytes::from(pb::encode_event(dialect, &event)))
                            .collect();
                        ready = encoded.into_iter();
                    }
                    // HTTP/2 has pings of its own.
                    Next::Idle => {}
                    Next::Broken(error) => return Some((Err(status(&error)), (reader, ready))),
                }
            }
        });
    let many = Many(Some(Box::pin(events)));
    let response = Grpc::new(Raw).server_streaming(many, answered()).await;
    response.map(Body::new)
}

/// The request has been read; what tonic reads again is one empty message.
fn answered() -> axum::http::Request<Full<Bytes>> {
    axum::http::Request::new(Full::new(Bytes::from_static(&[0; 5])))
}
