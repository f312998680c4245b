//! One card in the shapes that v1.0, v0.3 and older clients read.
//!
//! # How it works
//! The hybrid is the v1.0 card with the members of v0.3 beside its own; the two share no name with
//! different meanings except `securitySchemes`. There each scheme carries both spellings: the
//! wrapper member of v1.0 and, next to it, `type` with the flat members of v0.3. Readers of either
//! side skip what they do not know.
//!
//! # Pitfalls
//! A reader with a closed schema accepts `v1` only; the choice between `v1` and `hybrid` is the
//! operator's.

use super::{AgentCard, AgentInterface, GRPC, HTTP_JSON, JSONRPC, OAuthFlows, SecurityScheme};
use crate::card::SecurityRequirement;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What older clients read as the version of the card.
const V0_3_VERSION: &str = "0.3.0";

/// The card as v1.0 writes it.
pub fn v1(card: &AgentCard) -> Value {
    value(card)
}

/// The card as v0.3 writes it.
pub fn v0_3(card: &AgentCard) -> Value {
    let mut view = Map::new();
    for (name, member) in object(card) {
        let known = !matches!(
            name.as_str(),
            // A signature is over the v1.0 form and would be wrong here.
            "supportedInterfaces" | "securityRequirements" | "signatures"
        );
        if known {
            view.insert(name, member);
        }
    }
    if let Some(capabilities) = view.get_mut("capabilities").and_then(Value::as_object_mut) {
        capabilities.remove("extendedAgentCard");
    }
    if !card.security_schemes.is_empty() {
        let schemes = card.security_schemes.iter();
        let flat = schemes.map(|(name, scheme)| (name.clone(), Value::Object(flat(scheme))));
        view.insert("securitySchemes".into(), Value::Object(flat.collect()));
    }
    if let Some(skills) = view.get_mut("skills").and_then(Value::as_array_mut) {
        for skill in skills.iter_mut().filter_map(Value::as_object_mut) {
            skill.remove("securityRequirements");
        }
    }
    add_v0_3(card, &mut view);
    Value::Object(view)
}

/// The v1.0 card with the members of v0.3 beside its own: one document for both.
pub fn hybrid(card: &AgentCard) -> Value {
    let mut view = object(card);
    if let Some(schemes) = view.get_mut("securitySchemes").and_then(Value::as_object_mut) {
        for (name, scheme) in &card.security_schemes {
            if let Some(both) = schemes.get_mut(name).and_then(Value::as_object_mut) {
                both.extend(flat(scheme));
            }
        }
    }
    add_v0_3(card, &mut view);
    Value::Object(view)
}

/// The hybrid for `/.well-known/agent.json`, where clients of v0.1 and v0.2 look: with
/// `authentication`, the word that v0.1 has for it.
pub fn legacy(card: &AgentCard) -> Value {
    let mut view = hybrid(card);
    let schemes: Vec<&str> = card.security_schemes.values().filter_map(oldest).collect();
    if !schemes.is_empty() {
        view["authentication"] = json!({"schemes": schemes});
    }
    view
}

fn add_v0_3(card: &AgentCard, view: &mut Map<String, Value>) {
    let interfaces = v0_3_interfaces(card);
    if let Some((preferred, _)) = interfaces.split_first() {
        view.insert("url".into(), preferred.url.as_str().into());
        view.insert("preferredTransport".into(), preferred.protocol_binding.as_str().into());
        let all = interfaces.iter().map(
            |interface| json!({"url": interface.url, "transport": interface.protocol_binding}),
        );
        view.insert("additionalInterfaces".into(), all.collect());
    }
    view.insert("protocolVersion".into(), V0_3_VERSION.into());
    if !card.security_requirements.is_empty() {
        view.insert("security".into(), security(&card.security_requirements));
    }
    let extended = card.capabilities.extended_agent_card.unwrap_or(false);
    view.insert("supportsAuthenticatedExtendedCard".into(), extended.into());
    if let Some(skills) = view.get_mut("skills").and_then(Value::as_array_mut) {
        for (skill, known) in skills.iter_mut().zip(&card.skills) {
            if !known.security_requirements.is_empty() {
                skill["security"] = security(&known.security_requirements);
            }
        }
    }
}

/// The interfaces that v0.3 clients can use, one for each binding, JSON-RPC first: the one that is
/// marked as 0.3, else any, since one port speaks every dialect. One with a tenant is none of theirs,
/// since v0.3 cannot name it.
fn v0_3_interfaces(card: &AgentCard) -> Vec<&AgentInterface> {
    let mut chosen = Vec::new();
    for binding in [JSONRPC, HTTP_JSON, GRPC] {
        let fitting = || {
            let all = card.supported_interfaces.iter();
            all.filter(|one| one.protocol_binding == binding && one.tenant.is_none())
        };
        let marked = fitting().find(|one| one.protocol_version.starts_with("0.3"));
        chosen.extend(marked.or_else(|| fitting().next()));
    }
    chosen
}

fn security(requirements: &[SecurityRequirement]) -> Value {
    let each = |requirement: &SecurityRequirement| {
        let schemes = requirement.schemes.iter();
        schemes.map(|(name, scopes)| (name.clone(), json!(scopes.list))).collect::<Value>()
    };
    requirements.iter().map(each).collect()
}

/// A scheme as v0.3 (and OpenAPI) writes it.
fn flat(scheme: &SecurityScheme) -> Map<String, Value> {
    let (kind, mut members) = match scheme {
        SecurityScheme::ApiKey(scheme) => ("apiKey", object(scheme)),
        SecurityScheme::HttpAuth(scheme) => ("http", object(scheme)),
        SecurityScheme::OAuth2(scheme) => ("oauth2", object(scheme)),
        SecurityScheme::OpenIdConnect(scheme) => ("openIdConnect", object(scheme)),
        SecurityScheme::MutualTls(scheme) => ("mutualTLS", object(scheme)),
    };
    if let Some(location) = members.remove("location") {
        members.insert("in".into(), location);
    }
    if let SecurityScheme::OAuth2(scheme) = scheme {
        // v0.3 has no device flow and no `pkceRequired`.
        match &scheme.flows {
            OAuthFlows::DeviceCode(_) => {
                members.insert("flows".into(), json!({}));
            }
            OAuthFlows::AuthorizationCode(flow) => {
                let mut flow = object(flow);
                flow.remove("pkceRequired");
                members.insert("flows".into(), json!({"authorizationCode": flow}));
            }
            OAuthFlows::ClientCredentials(_)
            | OAuthFlows::Implicit(_)
            | OAuthFlows::Password(_) => {}
        }
    }
    members.insert("type".into(), kind.into());
    members
}

/// A scheme in the one word that v0.1 has for it.
fn oldest(scheme: &SecurityScheme) -> Option<&str> {
    match scheme {
        SecurityScheme::HttpAuth(scheme) => Some(&scheme.scheme),
        SecurityScheme::ApiKey(_) => Some("apiKey"),
        SecurityScheme::OAuth2(_) => Some("OAuth2"),
        SecurityScheme::OpenIdConnect(_) => Some("openIdConnect"),
        SecurityScheme::MutualTls(_) => None,
    }
}

fn object(from: &impl Serialize) -> Map<String, Value> {
    match value(from) {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn value(from: &impl Serialize) -> Value {
    serde_json::to_value(from).expect("cards have string keys and no failing serializers")
}
