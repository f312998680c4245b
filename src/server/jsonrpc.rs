//! The JSON-RPC binding: all three dialects at one address, told apart by the method's name.

use super::call::{Done, Heard, Named, Setting, check_version, known_part};
use super::stream::{self, Envelope, Reader};
use super::{Doors, RequestBody, Visit, is_json, json_response, with_advice};
use crate::access::Caller;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::dialect::{self, Dialect};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::jsonrpc::{self, Id};
use pilothouse_a2a::sse;
use std::sync::Arc;

/// `POST /` and `POST /a2a`.
pub(super) async fn call(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let visit = Visit::begin(&doors, &request);
    let mut heard = Heard::new(Dialect::V1_0);
    let mut id = Id::Null;
    let base = doors.base_url(&request);
    let (parts, body) = request.into_parts();
    let outcome = match visit.caller() {
        Ok(caller) => match read_body(&doors, &parts.headers, body).await {
            Ok(RequestBody { bytes, place }) => {
                heard.place = place;
                answer(&doors, caller, &base, &parts, bytes, &mut id, &mut heard).await
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    let caller_known = visit.caller().is_ok();
    let (response, reason) = match outcome {
        Ok(response) => (response, "ok"),
        // Clients of v0.3 read the answer to a subscription as a stream, whatever it is.
        Err(error) if heard.action.as_deref() == Some("tasks/resubscribe") && caller_known => {
            let body = jsonrpc::failure(&id, &error, heard.dialect);
            let frame = sse::frame(None, body);
            (stream::response(Body::from(frame)), error.kind.codes().reason)
        }
        Err(error) => {
            let body = jsonrpc::failure(&id, &error, heard.dialect);
            (
                with_advice(json_response(status(error.kind), body), &error),
                error.kind.codes().reason,
            )
        }
    };
    let response = doors.with_extensions(response, &parts);
    visit.end(&heard, reason, response.status()).await;
    response
}

/// Errors of an operation are answers and come with 200; what the door refuses has its own status.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Unauthenticated
        | ErrorKind::PermissionDenied
        | ErrorKind::ResourceExhausted
        | ErrorKind::Unavailable
        | ErrorKind::TooLarge => {
            StatusCode::from_u16(kind.codes().http).unwrap_or(StatusCode::BAD_REQUEST)
        }
        _ => StatusCode::OK,
    }
}

async fn read_body(doors: &Doors, headers: &HeaderMap, body: Body) -> Result<RequestBody, Error> {
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
    doors.read_body(headers, body).await
}

async fn answer(
    doors: &Doors,
    caller: &Caller,
    base: &str,
    parts: &Parts,
    body: Bytes,
    id: &mut Id,
    heard: &mut Heard,
) -> Result<Response, Error> {
    let request = jsonrpc::parse(&body).map_err(|(theirs, error)| {
        *id = theirs;
        error
    })?;
    *id = request.id;
    heard.action = Some(known_part(&request.method));
    let method = dialect::method(&request.method).ok_or_else(|| {
        Error::new(
            ErrorKind::MethodNotFound,
            format!("no method `{}` in any dialect of A2A", known_part(&request.method)),
        )
    })?;
    heard.dialect = method.dialect;
    check_version(parts, method.dialect)?;
    if let Some(params) = request.params {
        doors.bounds().check_json(params.get())?;
    }
    let decoded = method.dialect.decode(method.operation, request.params)?;
    doors.telemetry.console().request(&request.method, &caller.name, None);
    // What follows may take as long as a turn.
    drop(body);
    let setting =
        Setting { caller, headers: &parts.headers, named: parts.extensions.get::<Named>(), base };
    let done = doors.perform(&setting, method, decoded, heard).await?;
    let alias = heard.alias.take();
    Ok(match done {
        Done::Reply(reply) => {
            let json = heard.dialect.encode_reply(method.operation, &reply, alias.as_deref());
            json_response(StatusCode::OK, jsonrpc::result(id, json))
        }
        Done::Stream(stream, ends) => {
            let reader = Reader::new(doors, stream, heard.dialect, ends);
            let envelope = Envelope::json_rpc(id, heard.dialect, alias);
            stream::response(stream::body(reader, envelope))
        }
    })
}
