//! The JSON-RPC binding: all three dialects at one address, told apart by the method's name.

use super::{Doors, authority, denial, json_response, note, peer, stream, with_advice};
use crate::access::Caller;
use crate::task::TaskLog;
use crate::telemetry::Entry;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use pilothouse_a2a::dialect::{self, Decoded, Dialect};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::jsonrpc::{self, Id};
use pilothouse_a2a::operation::{Call, Operation, Reply, SendMessageRequest};
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;
use std::time::Instant;

/// What is known of a call for its answer and its audit entry, growing as it is understood.
struct Heard {
    id: Id,
    dialect: Dialect,
    method: Option<String>,
    task: Option<Arc<TaskLog>>,
}

/// A successful answer.
enum Answer {
    Json(Vec<u8>),
    Stream(Body),
}

/// `POST /` and `POST /a2a`.
pub(super) async fn call(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let began = Instant::now();
    let time = Timestamp::now();
    let peer = peer(&request);
    let mut heard = Heard {
        id: Id::Null,
        dialect: Dialect::V1_0,
        method: None,
        task: None,
    };
    let admitted = doors
        .access
        .admit(request.headers(), authority(&request).as_deref(), peer);
    let caller = admitted.as_ref().ok().map(|caller| caller.name.to_string());
    let outcome = match admitted {
        Ok(caller) => {
            let (parts, body) = request.into_parts();
            match read_body(&doors, &parts.headers, body).await {
                Ok(body) => answer(&doors, &caller, &parts.headers, &body, &mut heard).await,
                Err(error) => Err(error),
            }
        }
        Err(denied) => Err(denial(&denied).1),
    };
    let (response, reason) = match outcome {
        Ok(Answer::Json(body)) => (json_response(StatusCode::OK, body), "ok"),
        Ok(Answer::Stream(body)) => (stream::response(body), "ok"),
        Err(error) => {
            let body = jsonrpc::failure(&heard.id, &error, heard.dialect);
            (
                with_advice(json_response(status(error.kind), body), &error),
                error.kind.codes().reason,
            )
        }
    };
    let entry = Entry {
        time,
        caller,
        peer: peer.to_string(),
        action: heard.method.unwrap_or_else(|| "POST".to_owned()),
        task: heard.task.as_ref().map(|log| log.id.to_string()),
        context: heard.task.as_ref().map(|log| log.context_id.to_string()),
        outcome: reason,
        status: response.status().as_u16(),
        duration_ms: (began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
    };
    note(&doors, entry).await;
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

async fn read_body(doors: &Doors, headers: &HeaderMap, body: Body) -> Result<Bytes, Error> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if media_type != "application/json"
        && !(media_type.starts_with("application/") && media_type.ends_with("+json"))
    {
        return Err(Error::new(
            ErrorKind::ContentTypeNotSupported,
            format!("a JSON-RPC request has the content type application/json, not `{media_type}`"),
        ));
    }
    let limit = doors.config.limits.body.as_usize();
    let too_large = || {
        Error::new(
            ErrorKind::TooLarge,
            format!("the body is larger than {limit} bytes (`limits.body`)"),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let reading = tokio::time::timeout(
        doors.config.timeouts.body.get(),
        Limited::new(body, limit).collect(),
    );
    match reading.await {
        Err(_) => Err(Error::new(
            ErrorKind::InvalidRequest,
            "the body did not come in time (`timeouts.body`)",
        )),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Error::new(ErrorKind::InvalidRequest, "the body broke off")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

async fn answer(
    doors: &Arc<Doors>,
    caller: &Caller,
    headers: &HeaderMap,
    body: &[u8],
    heard: &mut Heard,
) -> Result<Answer, Error> {
    let request = jsonrpc::parse(body).map_err(|(id, error)| {
        heard.id = id;
        error
    })?;
    heard.id = request.id;
    heard.method = Some(known_part(&request.method));
    let method = dialect::method(&request.method).ok_or_else(|| {
        Error::new(
            ErrorKind::MethodNotFound,
            format!(
                "no method `{}` in any dialect of A2A",
                known_part(&request.method)
            ),
        )
    })?;
    heard.dialect = method.dialect;
    check_version(headers, method.dialect)?;
    let decoded = method.dialect.decode(method.operation, request.params)?;
    doors
        .telemetry
        .console()
        .request(&request.method, &caller.name, None);
    perform(doors, caller, headers, method, decoded, heard).await
}

async fn perform(
    doors: &Arc<Doors>,
    caller: &Caller,
    headers: &HeaderMap,
    method: dialect::Method,
    decoded: Decoded,
    heard: &mut Heard,
) -> Result<Answer, Error> {
    let service = &doors.service;
    let operation = method.operation;
    let Decoded {
        call,
        client_task_id,
        blocking,
    } = decoded;
    match call {
        Call::SendMessage(request) => {
            let history = request
                .configuration
                .as_ref()
                .and_then(|configuration| configuration.history_length);
            let wait = waits(doors, heard.dialect, &request, blocking);
            let (log, _) = send(doors, caller, request, client_task_id.as_deref(), heard).await?;
            let task = if wait {
                service.settle(&log, history).await?
            } else {
                service.show(&log, history).await?
            };
            Ok(reply(
                heard,
                operation,
                &Reply::Task(task),
                client_task_id.as_deref(),
            ))
        }
        Call::SendStreamingMessage(request) => {
            let (log, before) =
                send(doors, caller, request, client_task_id.as_deref(), heard).await?;
            let stream = service.follow(&log, before).await?;
            let ends = stream::Ends::WhenItAsks;
            Ok(Answer::Stream(stream::body(
                doors,
                stream,
                &heard.id,
                heard.dialect,
                client_task_id,
                ends,
            )))
        }
        Call::GetTask(request) => {
            let (log, alias) = find(doors, caller, &request.id, method, heard).await?;
            let task = service.get(&log, &request).await?;
            Ok(reply(
                heard,
                operation,
                &Reply::Task(task),
                alias.as_deref(),
            ))
        }
        Call::CancelTask(request) => {
            let (log, alias) = find(doors, caller, &request.id, method, heard).await?;
            let task = service.cancel(&log, &request).await?;
            Ok(reply(
                heard,
                operation,
                &Reply::Task(task),
                alias.as_deref(),
            ))
        }
        Call::SubscribeToTask(request) => {
            let (log, alias) = find(doors, caller, &request.id, method, heard).await?;
            let stream = service.subscribe(&log, last_event(headers)?).await?;
            let ends = match heard.dialect {
                Dialect::V1_0 => stream::Ends::WhenOver,
                // Their clients close at `final: true`, which an asking task is.
                Dialect::V0_3 | Dialect::V0_1 => stream::Ends::WhenItAsks,
            };
            Ok(Answer::Stream(stream::body(
                doors,
                stream,
                &heard.id,
                heard.dialect,
                alias,
                ends,
            )))
        }
        Call::ListTasks(request) => {
            let tasks = service.list(caller, request).await?;
            Ok(reply(heard, operation, &Reply::Tasks(tasks), None))
        }
        Call::CreateTaskPushNotificationConfig(_)
        | Call::GetTaskPushNotificationConfig(_)
        | Call::ListTaskPushNotificationConfigs(_)
        | Call::DeleteTaskPushNotificationConfig(_) => Err(service.push()),
        Call::GetExtendedAgentCard(_) => Err(Error::new(
            ErrorKind::UnsupportedOperation,
            "this agent has no extended card; its public card is whole",
        )),
    }
}

async fn send(
    doors: &Doors,
    caller: &Caller,
    request: SendMessageRequest,
    alias: Option<&str>,
    heard: &mut Heard,
) -> Result<(Arc<TaskLog>, Option<u64>), Error> {
    if let Err(seconds) = doors.access.count_send(caller) {
        let limit = doors.config.limits.rate;
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("more than {limit} messages a minute from one caller (`limits.rate`); try again in {seconds} s"),
        )
        .retry_after(seconds));
    }
    let (log, before) = doors.service.accept(caller, request, alias).await?;
    heard.task = Some(log.clone());
    Ok((log, before))
}

/// The task, and the id by which a v0.1 client knows it; then the answer is in that dialect.
async fn find(
    doors: &Doors,
    caller: &Caller,
    id: &TaskId,
    method: dialect::Method,
    heard: &mut Heard,
) -> Result<(Arc<TaskLog>, Option<String>), Error> {
    let legacy = method.shared || method.dialect == Dialect::V0_1;
    let (log, by_alias) = doors.service.find(caller, id, legacy).await?;
    heard.task = Some(log.clone());
    let alias = by_alias.then(|| id.to_string());
    if by_alias {
        heard.dialect = Dialect::V0_1;
    }
    Ok((log, alias))
}

fn waits(
    doors: &Doors,
    dialect: Dialect,
    request: &SendMessageRequest,
    blocking: Option<bool>,
) -> bool {
    match dialect {
        Dialect::V1_0 => !request
            .configuration
            .as_ref()
            .is_some_and(|configuration| configuration.return_immediately),
        Dialect::V0_3 => blocking.unwrap_or(doors.config.compat.v03.blocking_default),
        Dialect::V0_1 => true,
    }
}

fn reply(heard: &Heard, operation: Operation, reply: &Reply, alias: Option<&str>) -> Answer {
    let json = heard.dialect.encode_reply(operation, reply, alias);
    Answer::Json(jsonrpc::result(&heard.id, json))
}

/// The `A2A-Version` header against the dialect that the method's name speaks (specification 3.6).
fn check_version(headers: &HeaderMap, spoken: Dialect) -> Result<(), Error> {
    let Some(version) = headers
        .get("a2a-version")
        .and_then(|version| version.to_str().ok())
    else {
        return Ok(());
    };
    if version.trim().is_empty() {
        return Ok(());
    }
    let asked = Dialect::from_version(version);
    let fits = match (asked, spoken) {
        (None, _) => false,
        (Some(asked), Dialect::V1_0) => asked == Dialect::V1_0,
        // An older method says itself what it is; a newer header beside it does no harm.
        (Some(_), Dialect::V0_3 | Dialect::V0_1) => true,
    };
    if fits {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::VersionNotSupported,
        format!("A2A-Version {version} is not served for this method; this server speaks 1.0, 0.3 and 0.1"),
    )
    .with("supported", "1.0, 0.3, 0.1"))
}

/// `Last-Event-ID`, where a client resumes a stream.
fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|value| value.trim().parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Error::invalid("Last-Event-ID", "not an event id of this server"))
}

/// A method's name for logs and errors: bounded, and nothing that a terminal would obey.
fn known_part(method: &str) -> String {
    method
        .chars()
        .filter(|character| !character.is_control())
        .take(64)
        .collect()
}
