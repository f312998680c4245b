//! The agent card: what the agent is and where it is reached.

use super::{Doors, authority, denial, json_response, with_advice};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use pilothouse_a2a::card::{
    self, AgentCapabilities, AgentCard, AgentInterface, AgentSkill, SecurityRequirement,
    SecurityScheme,
};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::status_object;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// `GET /.well-known/agent-card.json`.
pub(super) async fn agent_card(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let version = request
        .headers()
        .get("a2a-version")
        .and_then(|version| version.to_str().ok());
    let view: fn(&AgentCard) -> Value = match version.and_then(Dialect::from_version) {
        Some(Dialect::V1_0) => card::v1,
        Some(Dialect::V0_3) => card::v0_3,
        Some(Dialect::V0_1) => card::legacy,
        None => card::hybrid,
    };
    respond(&doors, &request, view)
}

/// `GET /.well-known/agent.json`, where the oldest clients look.
pub(super) async fn legacy_card(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    respond(&doors, &request, card::legacy)
}

fn respond(doors: &Doors, request: &Request, view: fn(&AgentCard) -> Value) -> Response {
    if let Err(denied) = doors
        .access
        .check_host(request.headers(), authority(request).as_deref())
    {
        let (status, error) = denial(&denied);
        return with_advice(
            json_response(status, status_object(&error).to_string()),
            &error,
        );
    }
    let body = view(&build(doors, &doors.base_url(request))).to_string();
    let tag = format!("\"{}\"", &hex(&Sha256::digest(body.as_bytes()))[..32]);
    let mut response = if fresh(request.headers(), &tag) {
        json_response(StatusCode::NOT_MODIFIED, "")
    } else {
        json_response(StatusCode::OK, body)
    };
    let headers = response.headers_mut();
    headers.insert(
        header::ETAG,
        HeaderValue::from_str(&tag).expect("hex is a header value"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=60"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("A2A-Version, Host"));
    response
}

fn build(doors: &Doors, base: &str) -> AgentCard {
    let agent = doors.service.sessions().house().agents.default_one();
    let interface = |version: &str| AgentInterface {
        url: format!("{base}/"),
        protocol_binding: "JSONRPC".to_owned(),
        tenant: None,
        protocol_version: version.to_owned(),
    };
    let skills = agent.config.skills.iter().map(|skill| AgentSkill {
        id: skill.id.clone(),
        name: skill.name.clone(),
        description: skill.description.clone(),
        tags: skill.tags.clone(),
        examples: skill.examples.clone(),
        ..AgentSkill::default()
    });
    let skills: Vec<_> = skills.collect();
    let modes = || vec!["text/plain".to_owned(), "application/json".to_owned()];
    let mut card = AgentCard {
        name: agent.name.clone(),
        description: agent.describe(),
        supported_interfaces: vec![interface("1.0"), interface("0.3")],
        version: agent
            .config
            .version
            .clone()
            .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
        capabilities: AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(doors.config.push.enabled),
            extended_agent_card: Some(false),
            ..AgentCapabilities::default()
        },
        default_input_modes: [
            modes(),
            vec!["image/png".to_owned(), "image/jpeg".to_owned()],
        ]
        .concat(),
        default_output_modes: modes(),
        skills: if skills.is_empty() {
            vec![agent.default_skill()]
        } else {
            skills
        },
        ..AgentCard::default()
    };
    if doors.config.auth.required {
        let scheme = SecurityScheme::bearer("the token that the server printed at its start");
        card.security_schemes.insert("bearer".to_owned(), scheme);
        card.security_requirements
            .push(SecurityRequirement::of("bearer"));
    }
    card
}

fn fresh(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    known.is_some_and(|known| {
        known
            .split(',')
            .any(|known| known.trim() == tag || known.trim() == "*")
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
