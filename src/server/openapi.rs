//! `GET /openapi.json`: the HTTP+JSON binding and our own doors as an OpenAPI 3.1 document.
//!
//! # How it works
//! Paths, methods, errors and states come from the tables that the server itself answers by
//! (`OPERATIONS`, `ERRORS`, `TaskState`); what the tables do not know, sentences and members, is
//! written here and held against real answers by `tests/it/openapi.rs`.

mod card;
mod error;
mod paths;
mod schema;
mod work;

use super::call::Named;
use super::{Doors, json_response, refuse_host};
use crate::config::Config;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use pilothouse_a2a::error::ERRORS;
use pilothouse_a2a::task::TaskState;
use schema::of;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::sync::Arc;

/// The name of the one security scheme.
const BEARER: &str = "bearer";

/// The media types of the binding's answers: the second where the request names it.
const BINDING: &[&str] = &["application/json", "application/a2a+json"];

/// The media type of everything else.
const JSON: &[&str] = &["application/json"];

/// The document without the addresses that it is served at, which each request names by its own.
#[derive(Debug)]
pub struct Document {
    before: Bytes,
    after: Bytes,
    digest: Sha256,
}

impl Document {
    fn new(config: &Config) -> Self {
        const PLACE: &str = "\u{1f4cd}";
        let whole = build(config, json!(PLACE)).to_string();
        let (before, after) =
            whole.split_once(&format!("\"{PLACE}\"")).expect("the document has its servers");
        let digest = Sha256::new_with_prefix(&whole);
        let shared = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Self { before: shared(before), after: shared(after), digest }
    }

    /// The document in three pieces, the large ones shared by all readers: strangers may ask for it as
    /// often as they have connections, and leave it unread.
    fn with(&self, servers: String) -> Body {
        let pieces = [self.before.clone(), Bytes::from(servers), self.after.clone()];
        Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)))
    }

    fn tag(&self, servers: &str) -> String {
        let digest = self.digest.clone().chain_update(servers).finalize();
        let tag: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"{tag}\"")
    }
}

/// `GET /openapi.json`; public like the card.
pub(super) async fn document(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    if let Some(refused) = refuse_host(&doors, &request) {
        return refused;
    }
    let base = doors.base_url(&request);
    let agents = &doors.service.sessions().house().agents;
    let servers = match request.extensions().get::<Named>() {
        Some(Named(name)) => json!([{"url": format!("{base}/agents/{name}")}]),
        None => {
            let names: Vec<&str> = agents.iter().map(|agent| &*agent.key).collect();
            servers(&base, &names, &agents.default_one().key)
        }
    };
    let document = doors.openapi.get_or_init(|| Document::new(&doors.config));
    let servers = servers.to_string();
    let tag = document.tag(&servers);
    let mut response = if is_known(request.headers(), &tag) {
        let mut response = json_response(StatusCode::NOT_MODIFIED, "");
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    } else {
        json_response(StatusCode::OK, document.with(servers))
    };
    let max_age = doors.config.card.max_age.get().as_secs();
    let headers = response.headers_mut();
    for (name, value) in
        [(header::ETAG, tag), (header::CACHE_CONTROL, format!("public, max-age={max_age}"))]
    {
        let value = HeaderValue::try_from(value).expect("hex and numbers are a header's value");
        headers.insert(name, value);
    }
    if let Some(names) = vary(&doors.config) {
        headers.insert(header::VARY, HeaderValue::from_static(names));
    }
    response
}

/// The headers that the base URL hangs on, where it is not configured.
fn vary(config: &Config) -> Option<&'static str> {
    let server = &config.server;
    match (&server.public_url, server.trusted_proxies.is_empty()) {
        (Some(_), _) => None,
        (None, true) => Some("Host"),
        (None, false) => Some(
            "Host, Forwarded, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, X-Forwarded-Prefix",
        ),
    }
}

/// Whether the client has the document of this tag.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

fn servers(base: &str, agents: &[&str], default: &str) -> Value {
    json!([
        {"url": base, "description": "The default agent."},
        {
            "url": format!("{base}/agents/{{agent}}"),
            "description": "An agent by its name.",
            "variables": {"agent": {"enum": agents, "default": default}},
        },
    ])
}

/// The document, for a configuration and the addresses that it is served at.
fn build(config: &Config, servers: Value) -> Value {
    let limits = &config.limits;
    let description = format!(
        "A CLI agent as an A2A agent. The same operations are reached by JSON-RPC at `POST /` and by gRPC at the same \
         port. `A2A-Version: 1.0` or no version is v1.0 at these paths. Answers are `application/a2a+json` where \
         `Accept` or `Content-Type` names it. A body has at most {}, its text at most {}.",
        limits.body, limits.prompt
    );
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pilothouse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": description,
            "license": {"name": "MIT OR Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "servers": servers,
        "tags": [
            {"name": "A2A", "description": "The HTTP+JSON binding of A2A v1.0."},
            {"name": "A2A v0.3", "description": "The same for clients of v0.3, which the card names too."},
            {"name": "JSON-RPC", "description": "The JSON-RPC binding, all versions."},
            {"name": "Cards", "description": "What the agent is; public."},
            {"name": "Server", "description": "What A2A has no operation for."},
        ],
        "paths": paths::all(config),
        "components": {
            "schemas": schemas(),
            "parameters": parameters(),
            "responses": responses(config),
        },
    });
    if config.auth.required {
        document["security"] = json!([{BEARER: []}]);
        document["components"]["securitySchemes"] = json!({BEARER: {
            "type": "http",
            "scheme": "bearer",
            "description": "The token that the server printed at its start, or one of `auth.tokens`.",
        }});
    }
    document
}

fn schemas() -> Map<String, Value> {
    let mut all = Map::new();
    let mut add = |name: &str, schema: Value| {
        all.insert(name.to_owned(), schema);
    };
    work::add(&mut add);
    card::add(&mut add);
    error::add(&mut add);
    all
}

fn parameters() -> Value {
    let parameter = |name: &str, place: &str, schema: Value, description: &str| json!({"name": name, "in": place, "required": place == "path", "schema": schema, "description": description});
    let text = || json!({"type": "string"});
    let states = || {
        let known = TaskState::ALL.iter();
        known.map(|state| state.name()).collect::<Vec<_>>()
    };
    let page = |most: Option<i32>| match most {
        Some(most) => json!({"type": "integer", "minimum": 1, "maximum": most, "default": 50}),
        None => json!({"type": "integer", "minimum": 0}),
    };
    let query = |name, schema, description| parameter(name, "query", schema, description);
    let head = |name, schema, description| parameter(name, "header", schema, description);
    json!({
        "TaskId": parameter("id", "path", text(), "The task."),
        "ConfigId": parameter("configId", "path", text(), "The push notification config."),
        "SessionId": parameter("id", "path", text(), "The session's id, or its context."),
        "Tenant": query("tenant", text(), "The agent that is meant, by its name."),
        "HistoryLength": query("historyLength", json!({"type": "integer", "minimum": 0}), "At most so many messages of the history; all when absent, no history for 0."),
        "ContextId": query("contextId", text(), "Only tasks of this conversation."),
        "Status": query("status", json!({"type": "string", "enum": states()}), "Only tasks in this state."),
        "PageSize": query("pageSize", page(Some(100)), "Entries a page."),
        "ConfigPageSize": query("pageSize", page(None), "Configs a page."),
        "PageToken": query("pageToken", text(), "`nextPageToken` of the page before."),
        "StatusTimestampAfter": query("statusTimestampAfter", json!({"type": "string", "format": "date-time"}), "Only tasks whose status is of this time or later."),
        "IncludeArtifacts": query("includeArtifacts", json!({"type": "boolean"}), "Artifacts are wanted too."),
        "Version": head("A2A-Version", text(), "The version that is spoken (`1.0`); also a query parameter."),
        "CardVersion": head("A2A-Version", text(), "The version that the card shall be written in: `1.0`, `0.3` or `0.1`."),
        "Extensions": head("A2A-Extensions", text(), "URIs of the extensions that the client wants, separated by commas."),
        "IdempotencyKey": head("Idempotency-Key", text(), "The same key is the same task, for as long as the task is kept; another text under it is refused."),
        "LastEventId": head("Last-Event-ID", json!({"type": "integer", "minimum": 0}), "Go on after this event: first the task as it stood there, then each later event once."),
    })
}

/// The refusals of the binding (`Error404`), of our own doors (`OwnError404`) and of the others.
fn responses(config: &Config) -> Value {
    let mut all = Map::new();
    for (prefix, media, statuses) in
        [("Error", BINDING, paths::BINDING_ERRORS), ("OwnError", JSON, paths::OWN_ERRORS)]
    {
        for status in paths::known(statuses, config) {
            let response = refusal(status, media, &of("ErrorResponse"));
            all.insert(format!("{prefix}{status}"), response);
        }
    }
    for status in paths::known(paths::RPC_ERRORS, config) {
        let response = refusal(status, JSON, &of("JsonRpcErrorResponse"));
        all.insert(format!("JsonRpcError{status}"), response);
    }
    let older = content(BINDING, &of("LegacyErrorResponse"));
    let older = json!({"description": "Refused, in the form of v0.3.", "content": older});
    all.insert("LegacyError".to_owned(), older);
    Value::Object(all)
}

/// A refusal with a status: which reasons it has, and which headers.
fn refusal(status: u16, media: &[&str], schema: &Value) -> Value {
    let reasons = ERRORS.iter().filter(|codes| codes.http == status);
    let reasons: Vec<_> = reasons.map(|codes| format!("`{}`", codes.reason)).collect();
    let description = match status {
        415 => {
            "The request's own `Content-Type` is not JSON: `CONTENT_TYPE_NOT_SUPPORTED`.".to_owned()
        }
        _ => format!("{}.", reasons.join(", ")),
    };
    let mut response = json!({"description": description, "content": content(media, schema)});
    let advice = match status {
        401 => Some(("WWW-Authenticate", "string", "The scheme to use.")),
        429 => Some(("Retry-After", "integer", "Seconds until it is worth trying again.")),
        _ => None,
    };
    if let Some((name, kind, description)) = advice {
        response["headers"] = json!({name: {"description": description, "schema": {"type": kind}}});
    }
    response
}

/// The same schema in each media type.
fn content(media: &[&str], schema: &Value) -> Value {
    media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect()
}
