//! The JSON-RPC binding: all three dialects at one address, told apart by the method's name.

use super::call::{Done, check_version, known_part};
use super::door::{AuditEntry, CallContext};
use super::stream::{self, Envelope, Reader};
use super::{Doors, RequestBody, arrival, is_json, json_response, under_way, with_advice};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use pilothouse_a2a::dialect::{self, Dialect};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::jsonrpc::{self, Id};
use pilothouse_a2a::sse;
use std::sync::Arc;

/// `POST /` and `POST /a2a`.
pub(super) async fn call(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let (entry, admitted) = AuditEntry::begin(
        &doors,
        request.headers(),
        arrival(&request),
        (under_way(&request), "JSONRPC"),
    )
    .await;
    let base = doors.base_url(&request);
    let (parts, body) = request.into_parts();
    let mut said = Said { id: Id::Null, dialect: Dialect::V1_0, alias: None };
    let known = admitted.is_ok();
    let (outcome, context) = match admitted {
        Ok(caller) => {
            let context = Arc::new(CallContext::new(caller, parts, base));
            let outcome = match read_body(&doors, &context, body, &entry).await {
                Ok(body) => answer(&doors, &context, body, &entry, &mut said).await,
                Err(error) => Err(error),
            };
            (outcome, Ok(context))
        }
        Err(error) => (Err(error), Err(parts)),
    };
    let (response, reason) = match outcome {
        Ok(response) => (response, "ok"),
        // Clients of v0.3 read the answer to what streams as a stream, whatever it is, and hide any other.
        Err(error) if known && reads_stream(&entry, context.as_ref().ok()) => {
            let body = jsonrpc::failure(&said.id, &error, said.dialect);
            let frame = sse::frame(None, body);
            (stream::response(Body::from(frame)), error.kind.codes().reason)
        }
        Err(error) => {
            let body = jsonrpc::failure(&said.id, &error, said.dialect);
            (
                with_advice(json_response(status(error.kind), body), &error),
                error.kind.codes().reason,
            )
        }
    };
    let parts = context.as_ref().map_or_else(|parts| parts, |context| &context.parts);
    let response = doors.with_extensions(response, parts);
    entry.write(reason, response.status()).await;
    response
}

/// Whether the caller of a method of v0.3 reads its answer as a stream.
fn reads_stream(entry: &AuditEntry, context: Option<&Arc<CallContext>>) -> bool {
    let accepts = |context: &Arc<CallContext>| {
        let accepted = context.headers().get_all(header::ACCEPT).into_iter();
        accepted
            .filter_map(|kinds| kinds.to_str().ok())
            .any(|kinds| kinds.contains("text/event-stream"))
    };
    entry.is_action("tasks/resubscribe")
        || entry.is_action("message/stream") && context.is_some_and(accepts)
}

/// What is known of the envelope and the dialect to answer in.
struct Said {
    id: Id,
    dialect: Dialect,
    alias: Option<String>,
}

/// Errors of an operation are answers and come with 200; what the door refuses has its own status.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Unauthenticated
        | ErrorKind::PermissionDenied
        | ErrorKind::ResourceExhausted
        | ErrorKind::Unavailable
        | ErrorKind::TooLarge
        | ErrorKind::TooSlow => {
            StatusCode::from_u16(kind.codes().http).unwrap_or(StatusCode::BAD_REQUEST)
        }
        _ => StatusCode::OK,
    }
}

async fn read_body(
    doors: &Doors,
    context: &CallContext,
    body: Body,
    entry: &AuditEntry,
) -> Result<RequestBody, Error> {
    let headers = context.headers();
    if !is_json(headers) {
        let given = headers.get(header::CONTENT_TYPE);
        let given = given.and_then(|given| given.to_str().ok()).map(known_part);
        return Err(Error::new(
            ErrorKind::ContentTypeNotSupported,
            format!(
                "a JSON-RPC request has the content type application/json, not `{}`",
                given.unwrap_or_default()
            ),
        ));
    }
    doors.read_body(&context.caller.name, headers, body, entry).await
}

async fn answer(
    doors: &Arc<Doors>,
    context: &Arc<CallContext>,
    body: RequestBody,
    entry: &AuditEntry,
    said: &mut Said,
) -> Result<Response, Error> {
    let RequestBody { bytes, place } = body;
    let request = jsonrpc::parse(&bytes).map_err(|(theirs, error)| {
        said.id = theirs;
        error
    })?;
    said.id = request.id;
    entry.set_action(known_part(&request.method));
    let method = dialect::method(&request.method).ok_or_else(|| {
        Error::new(
            ErrorKind::MethodNotFound,
            format!("no method `{}` in any dialect of A2A", known_part(&request.method)),
        )
    })?;
    said.dialect = method.dialect;
    check_version(&context.parts, method.dialect)?;
    if let Some(params) = request.params {
        doors.bounds().check_json(params.get())?;
    }
    let decoded = method.dialect.decode(method.operation, request.params)?;
    // What follows may take as long as a turn.
    drop(bytes);
    let performed = doors.perform(context, method, decoded, place, entry).await;
    (said.dialect, said.alias) = (performed.dialect, performed.alias);
    Ok(match performed.outcome? {
        Done::Reply(reply, room) => {
            let json = said.dialect.encode_reply(method.operation, &reply, said.alias.as_deref());
            drop(reply);
            doors.answer_json(context, jsonrpc::result(&said.id, json), room).await
        }
        Done::Stream(stream, manner, room) => {
            let parts = (stream, manner, room);
            let reader = Reader::new(doors, &context.caller, parts, said.dialect);
            let envelope = Envelope::json_rpc(&said.id, said.dialect, said.alias.take());
            stream::response(stream::body(reader, envelope))
        }
    })
}
