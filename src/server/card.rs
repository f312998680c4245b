//! The agent card: what an agent is and where it is reached; signed, where there is a key, and the key's
//! public half.

use super::call::{Named, version};
use super::extensions::SERVED;
use super::{Doors, admin, json_response, refuse_host};
use crate::access::Forwarded;
use crate::agent::Agent;
use crate::config::{self, Binding, CardShape, Config, Skill, WISHES};
use crate::service::describe_wishes;
use crate::signing::{self, Signer};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use pilothouse_a2a::card::{
    self, AgentCapabilities, AgentCard, AgentExtension, AgentInterface, AgentProvider, AgentSkill,
    OpenIdConnectSecurityScheme, SecurityRequirement, SecurityScheme,
};
use pilothouse_a2a::dialect::Dialect;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;

/// The extension by which the extended card says what isolates the agent (its `params` are those of
/// the isolation that stands in every task's metadata).
const ISOLATION: &str = "urn:pilothouse:isolation";

/// What the doors of the cards need beside the agents.
pub struct Cards {
    signer: Option<Signer>,
    /// When the cards were made: at the start; only what an agent's CLI says that it offers comes later.
    pub(super) since: Timestamp,
    cache_control: HeaderValue,
    vary: HeaderValue,
}

/// The shapes of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Hybrid,
    V1,
    V0_3,
    Legacy,
}

impl Cards {
    /// Reads the key.
    pub fn new(config: &Config) -> Result<Self, signing::Error> {
        let max_age = config.card.max_age.get().as_secs();
        let mut vary = "A2A-Version".to_owned();
        if config.server.public_url.is_none() {
            vary.push_str(", Host");
            if !config.server.trusted_proxies.is_empty() {
                vary.push_str(", Forwarded, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, X-Forwarded-Prefix");
            }
        }
        let value =
            |text: String| HeaderValue::try_from(text).expect("plain text is a header value");
        Ok(Self {
            signer: Signer::load(&config.card.signing)?,
            since: Timestamp::now(),
            cache_control: value(format!("public, max-age={max_age}")),
            vary: value(vary),
        })
    }

    /// The warning of addresses without TLS beyond this machine, for the start.
    pub fn note_plain_http(config: &Config) -> Option<String> {
        let server = &config.server;
        let is_plain = match &server.public_url {
            Some(url) => url.starts_with("http://") && !is_loopback_url(url),
            None => {
                !config.is_loopback() && server.trusted_proxies.is_empty() && !server.tls.is_on()
            }
        };
        is_plain.then(|| {
            "warning: cards name an address with plain http beyond this machine, which some clients refuse (Google ADK); \
             set `server.tls`, or put a proxy with TLS in front, and set `server.public_url` to its https address"
                .to_owned()
        })
    }

    /// How cards are signed, for the start.
    pub fn describe(&self) -> Option<String> {
        self.signer.as_ref().map(Signer::describe)
    }
}

impl Shape {
    /// The shape that a request asks for: by its version, else the operator's choice. A version that
    /// nobody speaks gets that too, since the card is where a client learns the right ones.
    fn asked(parts: &Parts, default: CardShape) -> Self {
        match version(parts).as_deref().and_then(Dialect::from_version) {
            Some(Dialect::V1_0) => Self::V1,
            Some(Dialect::V0_3) => Self::V0_3,
            Some(Dialect::V0_1) => Self::Legacy,
            None => match default {
                CardShape::Hybrid => Self::Hybrid,
                CardShape::V1 => Self::V1,
            },
        }
    }

    fn of(self, card: &AgentCard) -> Value {
        match self {
            Self::Hybrid => card::hybrid(card),
            Self::V1 => card::v1(card),
            Self::V0_3 => card::v0_3(card),
            Self::Legacy => card::legacy(card),
        }
    }
}

/// `GET /.well-known/agent-card.json`.
pub(super) async fn agent_card(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let shape = Shape::asked(&parts, doors.config.card.default);
    respond(&doors, Request::from_parts(parts, body), shape).await
}

/// `GET /.well-known/agent.json`, where the oldest clients look.
pub(super) async fn legacy_card(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    respond(&doors, request, Shape::Legacy).await
}

/// `GET /.well-known/jwks.json`: the key that the cards are signed with.
pub(super) async fn jwks(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    if let Some(refused) = refuse_host(&doors, &request) {
        return refused;
    }
    let cards = doors.cards();
    match &cards.signer {
        Some(signer) => {
            let body = signer.jwks().to_string();
            answer(&cards, cards.since, request.headers(), body)
        }
        None => admin::not_found(request).await,
    }
}

/// The card for callers that are known: all skills, and what isolates the agent.
pub(super) fn extended(doors: &Doors, agent: &Agent, base: &str) -> AgentCard {
    build(doors, agent, base, !is_default(doors, agent), true)
}

async fn respond(doors: &Doors, request: Request, shape: Shape) -> Response {
    if let Some(refused) = refuse_host(doors, &request) {
        return refused;
    }
    let Some(agent) = doors.agent_of(&request) else {
        return admin::not_found(request).await;
    };
    let base = doors.base_url(&request);
    let by_name = request.extensions().get::<Named>().is_some();
    let mut view = shape.of(&build(doors, agent, &base, by_name, false));
    let cards = doors.cards();
    if let Some(signer) = cards.signer.as_ref().filter(|_| shape != Shape::V1) {
        signer.sign_v0_3(&mut view, &base);
    }
    let since = agent.offers.changed().unwrap_or(cards.since);
    answer(&cards, since, request.headers(), view.to_string())
}

// === what stands on a card ===

/// The card of an agent; `by_name` when it is reached below `/agents/NAME`.
fn build(doors: &Doors, agent: &Agent, base: &str, by_name: bool, extended: bool) -> AgentCard {
    let name = by_name.then_some(&*agent.key);
    let mut card = AgentCard {
        name: agent.name.clone(),
        description: agent.describe(),
        supported_interfaces: interfaces(
            base,
            name,
            &doors.config.card.bindings,
            doors.config.compat.v03.grpc_urls,
        ),
        provider: doors.config.card.provider.as_ref().map(provider),
        documentation_url: agent.config.documentation_url.clone(),
        icon_url: agent.config.icon_url.clone(),
        version: agent
            .config
            .version
            .clone()
            .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
        capabilities: AgentCapabilities {
            streaming: Some(doors.config.card.streaming),
            push_notifications: Some(doors.config.push.enabled),
            extended_agent_card: Some(doors.config.auth.required),
            extensions: extensions(doors, agent, extended),
        },
        default_input_modes: agent.config.input_modes.clone(),
        default_output_modes: agent.config.output_modes.clone(),
        skills: skills(agent, extended),
        ..AgentCard::default()
    };
    if doors.config.auth.required {
        let scheme = SecurityScheme::bearer("the token that the server printed at its start");
        card.security_schemes.insert("bearer".to_owned(), scheme);
        card.security_requirements.push(SecurityRequirement::of("bearer"));
        if let Some(oidc) = doors.access.oidc() {
            let scheme = OpenIdConnectSecurityScheme {
                description: Some(
                    "a token of the issuer, for the audience that the operator tells".to_owned(),
                ),
                open_id_connect_url: oidc.discovery_url(),
            };
            card.security_schemes.insert("oidc".to_owned(), SecurityScheme::OpenIdConnect(scheme));
            card.security_requirements.push(SecurityRequirement::of("oidc"));
        }
    }
    if let Some(signer) = &doors.cards().signer {
        signer.sign(&mut card, base);
    }
    card
}

fn is_default(doors: &Doors, agent: &Agent) -> bool {
    let agents = &doors.agents;
    agents.default_one().key == agent.key
}

fn provider(provider: &config::Provider) -> AgentProvider {
    AgentProvider { url: provider.url.clone(), organization: provider.organization.clone() }
}

/// The listed bindings in 1.0, then in 0.3. Clients add `/message:send` (1.0) or `/v1/message:send` (0.3)
/// to the address of HTTP+JSON; that of gRPC is `host:port` and cannot hold a path, so an agent is named
/// by its tenant there, which 0.3 does not have, and below a path of a proxy there is no gRPC.
/// `grpc_urls` writes the address of gRPC for 0.3 as a URL.
fn interfaces(
    base: &str,
    name: Option<&str>,
    bindings: &[Binding],
    grpc_urls: bool,
) -> Vec<AgentInterface> {
    let place = match name {
        Some(name) => format!("{base}/agents/{name}"),
        None => base.to_owned(),
    };
    let grpc = grpc_address(base);
    let mut interfaces = Vec::new();
    for version in ["1.0", "0.3"] {
        for &binding in bindings {
            let (url, tenant) = match (binding, &grpc) {
                (Binding::JsonRpc, _) => (format!("{place}/"), None),
                (Binding::HttpJson, _) => (place.clone(), None),
                (Binding::Grpc, Some(address)) if version == "1.0" => (address.clone(), name),
                (Binding::Grpc, Some(address)) if name.is_none() => {
                    let scheme = base.split_once("://").map_or("http", |(scheme, _)| scheme);
                    let url = format!("{scheme}://{address}");
                    (if grpc_urls { url } else { address.clone() }, None)
                }
                (Binding::Grpc, _) => continue,
            };
            interfaces.push(AgentInterface {
                url,
                protocol_binding: binding.as_str().to_owned(),
                tenant: tenant.map(ToOwned::to_owned),
                protocol_version: version.to_owned(),
            });
        }
    }
    interfaces
}

/// `host:port` of an address without a path.
fn grpc_address(base: &str) -> Option<String> {
    let (scheme, place) = base.split_once("://")?;
    if place.contains('/') {
        return None;
    }
    let has_port = place.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let usual = if scheme == "https" { 443 } else { 80 };
    Some(if has_port { place.to_owned() } else { format!("{place}:{usual}") })
}

fn extensions(doors: &Doors, agent: &Agent, extended: bool) -> Vec<AgentExtension> {
    let declared = agent.config.extensions.iter().map(|extension| AgentExtension {
        uri: extension.uri.clone(),
        description: extension.description.clone(),
        required: extension.required,
        params: None,
    });
    let sandbox = &doors.isolation;
    // Whoever looks for an agent may choose by it; that there is no wall is for known callers.
    let isolation = (extended || sandbox.is_sandboxed()).then(|| AgentExtension {
        uri: ISOLATION.to_owned(),
        description: Some("what is guaranteed around the agent's processes".to_owned()),
        required: false,
        params: serde_json::from_value(agent.isolation(sandbox)).ok(),
    });
    let served = SERVED.map(|(uri, description)| AgentExtension {
        uri: uri.to_owned(),
        description: Some(description.to_owned()),
        params: (uri == WISHES)
            .then(|| serde_json::from_value(describe_wishes(&agent.config.caller_may)).ok())
            .flatten(),
        ..AgentExtension::default()
    });
    declared.chain(isolation).chain(served).collect()
}

/// Those of the configuration, or the driver's own; then, for known callers, the others of the
/// configuration; then those that were found in folders.
fn skills(agent: &Agent, extended: bool) -> Vec<AgentSkill> {
    let configured = &agent.config.skills;
    let of = |kept_back: bool| {
        configured.iter().filter(move |skill| skill.extended == kept_back).map(skill)
    };
    let mut skills: Vec<AgentSkill> = of(false).collect();
    if skills.is_empty() {
        skills.push(agent.default_skill());
    }
    if extended {
        skills.extend(of(true));
    }
    let known = |id: &str| configured.iter().any(|skill| skill.id == id);
    skills.extend(agent.offered_skills().into_iter().filter(|skill| !known(&skill.id)));
    skills
}

fn skill(skill: &Skill) -> AgentSkill {
    // Tags are required, and readers differ in what an empty list means.
    let tags = if skill.tags.is_empty() { vec![skill.id.clone()] } else { skill.tags.clone() };
    AgentSkill {
        id: skill.id.clone(),
        name: skill.name.clone(),
        description: skill.description.clone(),
        tags,
        examples: skill.examples.clone(),
        ..AgentSkill::default()
    }
}

// === its address ===

/// The address by which a request came: `host` is its `Host`, whoever wrote it. Nobody can connect to
/// the unspecified address from elsewhere, so it is not told on.
pub(super) fn address(seen: &Forwarded, host: &str, port: u16) -> String {
    let bare = host.rsplit_once(':').map_or(host, |(name, _)| name);
    match bare {
        "" | "0.0.0.0" | "[::]" => format!("{}://127.0.0.1:{port}", seen.scheme),
        _ => format!("{}://{host}{}", seen.scheme, seen.prefix),
    }
}

/// Whether a URL names this machine.
fn is_loopback_url(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

// === caches ===

fn answer(cards: &Cards, since: Timestamp, asked: &HeaderMap, body: String) -> Response {
    let digest = Sha256::digest(body.as_bytes());
    cached(cards, since, asked, &digest, body)
}

/// The body, which is so since this time, with what caches want to know, or the word that they have it already (RFC 9110, 13).
pub(super) fn cached(
    cards: &Cards,
    since: Timestamp,
    asked: &HeaderMap,
    digest: &[u8],
    body: impl Into<Body>,
) -> Response {
    let tag = format!("\"{}\"", hex(&digest[..16]));
    let mut response = if is_known(asked, &tag, since) {
        let mut response = json_response(StatusCode::NOT_MODIFIED, "");
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    } else {
        json_response(StatusCode::OK, body)
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("hex is a header value"));
    if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&since)
        && let Ok(date) = HeaderValue::try_from(date)
    {
        headers.insert(header::LAST_MODIFIED, date);
    }
    headers.insert(header::CACHE_CONTROL, cards.cache_control.clone());
    headers.insert(header::VARY, cards.vary.clone());
    response
}

/// Whether the client has this body: by its tags, and only where it names none by its date.
fn is_known(asked: &HeaderMap, tag: &str, since: Timestamp) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        let lists = asked.get_all(header::IF_NONE_MATCH).into_iter();
        let mut tags = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
        // The comparison is the weak one; no tag of ours holds a comma.
        return tags.any(|known| {
            let known = known.trim();
            known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
        });
    }
    let date = asked.get(header::IF_MODIFIED_SINCE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
    date.is_some_and(|date| date.as_second() >= since.as_second())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
