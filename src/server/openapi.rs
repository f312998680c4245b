//! `GET /openapi.json`: the HTTP+JSON binding and our own doors as an OpenAPI 3.1 document.
//!
//! # How it works
//! Paths, methods, errors and states come from the tables that the server itself answers by
//! (`OPERATIONS`, `ERRORS`, `TaskState`), schemas from the types of the protocol. What neither knows is
//! written in `base.yaml`. `tests/it/openapi.rs` holds the whole against real answers.

mod operations;
mod schemas;

use super::call::Named;
use super::card::cached;
use super::{Doors, refuse_host};
use crate::config::Config;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use pilothouse_a2a::error::ERRORS;
use pilothouse_a2a::operation::OPERATIONS;
use pilothouse_a2a::task::TaskState;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
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
}

/// `GET /openapi.json`; public like the card.
pub(super) async fn document(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    if let Some(refused) = refuse_host(&doors, &request) {
        return refused;
    }
    let base = doors.base_url(&request);
    let agents = &doors.agents;
    let servers = match request.extensions().get::<Named>() {
        Some(Named(name)) => json!([{"url": format!("{base}/agents/{name}")}]),
        None => {
            let names: Vec<&str> = agents.iter().map(|agent| &*agent.key).collect();
            servers(&base, &names, &agents.default_one().key)
        }
    };
    let document = doors.openapi.get_or_init(|| Document::new(&doors.config));
    let servers = servers.to_string();
    let digest = document.digest.clone().chain_update(&servers).finalize();
    let cards = doors.cards();
    cached(&cards, cards.since, request.headers(), &digest, document.with(servers))
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
    let base = include_str!("openapi/base.yaml");
    let mut document: Value = serde_saphyr::from_str(base).expect("the document is YAML");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let limits = &config.limits;
    document["info"]["description"] = format!(
        "A CLI agent as an A2A agent. The same operations are reached by JSON-RPC at `POST /` and by gRPC at the same \
         port. `A2A-Version: 1.0` or no version is v1.0 at these paths. Answers are `application/a2a+json` where \
         `Accept` or `Content-Type` names it. A body has at most {}, its text at most {}.",
        limits.body, limits.prompt
    )
    .into();
    document["servers"] = servers;

    let own = std::mem::replace(&mut document["paths"], operations::paths(config).into());
    extend(&mut document["paths"], own);
    if config.auth.required {
        document["security"] = json!([{BEARER: []}]);
        document["components"]["securitySchemes"] = json!({BEARER: {
            "type": "http",
            "scheme": "bearer",
            "description": "The token that the server printed at its start, or one of `auth.tokens`.",
        }});
    } else {
        remove_refusals_of_tokens(&mut document["paths"]);
    }
    let refusals = refusals(&document["paths"]);
    extend(&mut document["components"]["responses"], refusals);
    let schemas = &mut document["components"]["schemas"];
    extend(schemas, schemas::of_protocol().into());

    let info = &mut schemas["ErrorDetail"]["oneOf"][0]["properties"];
    info["reason"]["enum"] = json!(ERRORS.each_ref().map(|codes| codes.reason));
    let statuses: BTreeSet<_> = ERRORS.iter().map(|codes| codes.grpc).collect();
    let error = &mut schemas["ErrorResponse"]["properties"]["error"]["properties"];
    error["status"]["enum"] = json!(statuses);
    let codes = ERRORS.each_ref().map(|codes| codes.json_rpc);
    schemas["JsonRpcError"]["properties"]["code"]["enum"] = json!(codes);
    let methods = OPERATIONS.each_ref().map(|names| names.method);
    schemas["JsonRpcRequest"]["properties"]["method"]["examples"] = json!(methods);
    let states = TaskState::ALL.map(TaskState::name);
    document["components"]["parameters"]["Status"]["schema"]["enum"] = json!(states);
    document
}

/// Adds the members of an object to another one.
fn extend(object: &mut Value, members: Value) {
    if let (Some(object), Value::Object(members)) = (object.as_object_mut(), members) {
        object.extend(members);
    }
}

/// Without tokens nobody is refused for one, and only operations of the binding count requests.
fn remove_refusals_of_tokens(paths: &mut Value) {
    let paths = paths.as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let is_own = operation["tags"][0] == "Server";
        if let Some(responses) = operation["responses"].as_object_mut() {
            responses.retain(|status, _| status != "401" && !(is_own && status == "429"));
        }
    }
}

/// The refusals that operations refer to: of the binding (`Error404`), of our own doors (`OwnError404`) and of
/// JSON-RPC (`JsonRpcError401`).
fn refusals(paths: &Value) -> Value {
    let paths = paths.as_object().into_iter().flat_map(Map::values);
    let operations = paths.filter_map(Value::as_object).flat_map(Map::values);
    let responses = operations.filter_map(|operation| operation["responses"].as_object());
    let named = responses.flatten().filter_map(|(status, response)| {
        let (_, name) = response["$ref"].as_str()?.rsplit_once('/')?;
        let response = match name.trim_end_matches(status) {
            "Error" => refusal(status, BINDING, "ErrorResponse"),
            "OwnError" => refusal(status, JSON, "ErrorResponse"),
            "JsonRpcError" => refusal(status, JSON, "JsonRpcErrorResponse"),
            _ => return None,
        };
        Some((name.to_owned(), response))
    });
    named.collect()
}

/// A refusal with a status: which reasons it has, and which headers.
fn refusal(status: &str, media: &[&str], schema: &str) -> Value {
    let reasons = ERRORS.iter().filter(|codes| codes.http.to_string() == status);
    let reasons: Vec<_> = reasons.map(|codes| format!("`{}`", codes.reason)).collect();
    let description = match status {
        "415" => {
            "The request's own `Content-Type` is not JSON: `CONTENT_TYPE_NOT_SUPPORTED`.".to_owned()
        }
        _ => format!("{}.", reasons.join(", ")),
    };
    let mut response =
        json!({"description": description, "content": content(media, &refer("schemas", schema))});
    let advice = match status {
        "401" => Some(("WWW-Authenticate", "string", "The scheme to use.")),
        "429" => Some(("Retry-After", "integer", "Seconds until it is worth trying again.")),
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

/// A reference to a component.
fn refer(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}
