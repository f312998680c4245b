//! The HTTP+JSON binding: v1.0 at the root, v0.3 under `/v1`. Every path that no other door has comes here.

use super::call::{Done, check_version, version, word};
use super::door::{AuditEntry, CallContext};
use super::grpc::{self, is_grpc};
use super::stream::{self, Envelope, Reader};
use super::{Doors, RequestBody, admin, arrival, is_json, json_response, under_way, with_advice};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use pilothouse_a2a::Method;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::rest::{self, Form, NoRoute, Route};
use std::sync::Arc;

/// The media type of the specification (11.2); what everybody reads is `application/json`.
const A2A_JSON: &str = "application/a2a+json";

/// Any path of the binding, or none at all.
pub(super) async fn call(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    if is_grpc(request.headers()) {
        return grpc::unimplemented();
    }
    let mut route = match rest::route(request.method().as_str(), request.uri().path()) {
        Ok(route) => route,
        Err(NoRoute::NotFound) => return admin::not_found(request).await,
        Err(NoRoute::Method(allowed)) => return admin::wrong_method(&request, &allowed.join(", ")),
    };
    let (entry, admitted) = AuditEntry::begin(
        &doors,
        request.headers(),
        arrival(&request),
        (under_way(&request), "HTTP+JSON"),
    )
    .await;
    entry.set_action(word(route.operation));
    let base = doors.base_url(&request);
    let (parts, body) = request.into_parts();
    // A client whose base address ends in /v1 by its own choice says by the header what it speaks.
    if version(&parts).and_then(|version| Dialect::from_version(&version)) == Some(Dialect::V1_0) {
        route.dialect = Dialect::V1_0;
    }
    let mut form = if route.dialect == Dialect::V1_0 { Form::Model } else { Form::Kind };
    let (outcome, context) = match admitted {
        Ok(caller) => {
            let context = Arc::new(CallContext::new(caller, parts, base));
            let (caller, headers) = (&context.caller.name, context.headers());
            let outcome = match doors.read_body(caller, headers, body, &entry).await {
                Ok(body) => answer(&doors, &context, &route, body, &entry, &mut form).await,
                Err(error) => {
                    let is_of_no_use = error.kind == ErrorKind::ContentTypeNotSupported;
                    Err((is_of_no_use.then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE), error))
                }
            };
            (outcome, Ok(context))
        }
        Err(error) => (Err((None, error)), Err(parts)),
    };
    let parts = context.as_ref().map_or_else(|parts| parts, |context| &context.parts);
    let (mut response, reason) = match outcome {
        Ok(response) => (response, "ok"),
        Err((status, error)) => {
            let codes = error.kind.codes();
            let status = status.or_else(|| StatusCode::from_u16(codes.http).ok());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = error_body(form, &error, status);
            (with_advice(json_response(status, body), &error), codes.reason)
        }
    };
    if wants_a2a_json(&parts.headers) {
        let json = response.headers().get(header::CONTENT_TYPE);
        if json.is_some_and(|kind| kind == "application/json") {
            let kind = HeaderValue::from_static(A2A_JSON);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
    }
    let response = doors.with_extensions(response, parts);
    entry.write(reason, response.status()).await;
    response
}

async fn answer(
    doors: &Arc<Doors>,
    context: &Arc<CallContext>,
    route: &Route,
    body: RequestBody,
    entry: &AuditEntry,
    form: &mut Form,
) -> Result<Response, (Option<StatusCode>, Error)> {
    let RequestBody { bytes: body, place } = body;
    let parts = &context.parts;
    if !body.is_empty() && !is_json(&parts.headers) {
        let error = Error::new(
            ErrorKind::ContentTypeNotSupported,
            "the body of a request is JSON: send it as application/json or application/a2a+json",
        );
        return Err((Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), error));
    }
    let plain = |error| (None, error);
    check_version(parts, route.dialect).map_err(plain)?;
    if let Ok(text) = std::str::from_utf8(&body)
        && !text.is_empty()
    {
        doors.bounds().check_json(text).map_err(plain)?;
    }
    let request = route.decode(parts.uri.query(), &body).map_err(plain)?;
    // What follows may take as long as a turn.
    drop(body);
    *form = request.form;
    let method = Method { operation: route.operation, dialect: route.dialect, shared: false };
    let performed = doors.perform(context, method, request.decoded, place, entry).await;
    Ok(match performed.outcome.map_err(plain)? {
        Done::Reply(reply, room) => {
            let body = rest::encode_reply(*form, route.operation, &reply);
            doors.answer_json(context, body, room).await
        }
        Done::Stream(stream, manner, room) => {
            let parts = (stream, manner, room);
            let reader = Reader::new(doors, &context.caller, parts, route.dialect);
            stream::response(stream::body(reader, Envelope::Rest(*form)))
        }
    })
}

/// The body of an error that is answered with this status.
fn error_body(form: Form, error: &Error, status: StatusCode) -> String {
    let body = rest::error_body(form, error);
    if form != Form::Model || error.kind.codes().http == status.as_u16() {
        return body;
    }
    let mut object: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    object["error"]["code"] = status.as_u16().into();
    object.to_string()
}

/// Whether the client speaks the media type of the specification and so wants to hear it.
fn wants_a2a_json(headers: &HeaderMap) -> bool {
    [header::ACCEPT, header::CONTENT_TYPE]
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains(A2A_JSON))
}
