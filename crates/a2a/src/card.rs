//! The agent card: who an agent is, what it can do and where; with the shapes that older clients
//! expect.

use crate::lenient;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

mod security;
mod view;

pub use security::{
    ApiKeySecurityScheme, AuthorizationCodeFlow, ClientCredentialsFlow, DeviceCodeFlow,
    HttpAuthSecurityScheme, ImplicitFlow, MutualTlsSecurityScheme, OAuth2SecurityScheme,
    OAuthFlows, OpenIdConnectSecurityScheme, PasswordFlow, Scopes, SecurityRequirement,
    SecurityScheme, StringList,
};
pub use view::{hybrid, legacy, v0_3, v1};

/// The binding name of JSON-RPC in a card.
pub const JSONRPC: &str = "JSONRPC";
/// The binding name of gRPC in a card; its url is `host:port`.
pub const GRPC: &str = "GRPC";
/// The binding name of REST in a card.
pub const HTTP_JSON: &str = "HTTP+JSON";

/// Who an agent is and how it is reached (specification 4.4.1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AgentCard {
    /// The agent's name for people.
    #[serde(deserialize_with = "lenient::nullable")]
    pub name: String,
    /// What the agent is good for.
    #[serde(deserialize_with = "lenient::nullable")]
    pub description: String,
    /// Where the agent is reached, the preferred interface first.
    #[serde(alias = "supported_interfaces", deserialize_with = "lenient::nullable")]
    pub supported_interfaces: Vec<AgentInterface>,
    /// Who runs the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<AgentProvider>,
    /// The agent's own version.
    #[serde(deserialize_with = "lenient::nullable")]
    pub version: String,
    /// Where the agent is described for people.
    #[serde(
        alias = "documentation_url",
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub documentation_url: Option<String>,
    /// Which optional operations the agent has.
    #[serde(deserialize_with = "lenient::nullable")]
    pub capabilities: AgentCapabilities,
    /// How callers can authenticate, by name.
    #[serde(
        alias = "security_schemes",
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub security_schemes: BTreeMap<String, SecurityScheme>,
    /// Which schemes are needed; one of these is enough.
    #[serde(
        alias = "security_requirements",
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub security_requirements: Vec<SecurityRequirement>,
    /// Media types that every skill reads.
    #[serde(alias = "default_input_modes", deserialize_with = "lenient::nullable")]
    pub default_input_modes: Vec<String>,
    /// Media types that every skill writes.
    #[serde(alias = "default_output_modes", deserialize_with = "lenient::nullable")]
    pub default_output_modes: Vec<String>,
    /// What the agent can do.
    #[serde(deserialize_with = "lenient::nullable")]
    pub skills: Vec<AgentSkill>,
    /// Signatures over the card (specification 8.4).
    #[serde(deserialize_with = "lenient::nullable", skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<AgentCardSignature>,
    /// A picture of the agent.
    #[serde(
        alias = "icon_url",
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub icon_url: Option<String>,
}

/// One way to reach the agent (specification 4.4.6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentInterface {
    /// The endpoint; `host:port` for gRPC.
    pub url: String,
    /// The binding: `JSONRPC`, `GRPC`, `HTTP+JSON` or a URI.
    #[serde(alias = "protocol_binding")]
    pub protocol_binding: String,
    /// The tenant to name in requests.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The version spoken there (`1.0`).
    #[serde(alias = "protocol_version")]
    pub protocol_version: String,
}

/// Who runs the agent (specification 4.4.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentProvider {
    /// The organization's site.
    #[serde(default, deserialize_with = "lenient::nullable")]
    pub url: String,
    /// The organization's name.
    pub organization: String,
}

/// Which optional operations the agent has (specification 4.4.3).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AgentCapabilities {
    /// Streams of events.
    #[serde(deserialize_with = "lenient::flag", skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Push notifications.
    #[serde(
        alias = "push_notifications",
        deserialize_with = "lenient::flag",
        skip_serializing_if = "Option::is_none"
    )]
    pub push_notifications: Option<bool>,
    /// Extensions that the agent knows.
    #[serde(deserialize_with = "lenient::nullable", skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<AgentExtension>,
    /// A richer card for known callers.
    #[serde(
        alias = "extended_agent_card",
        deserialize_with = "lenient::flag",
        skip_serializing_if = "Option::is_none"
    )]
    pub extended_agent_card: Option<bool>,
}

/// An extension of the protocol (specification 4.4.4).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AgentExtension {
    /// Names the extension.
    #[serde(deserialize_with = "lenient::nullable")]
    pub uri: String,
    /// How this agent uses it.
    #[serde(deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Clients must declare it.
    #[serde(
        deserialize_with = "lenient::flag_or_false",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub required: bool,
    /// Its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
}

/// One thing that the agent can do (specification 4.4.5).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AgentSkill {
    /// Unique within the card.
    #[serde(deserialize_with = "lenient::nullable")]
    pub id: String,
    /// The skill's name for people.
    #[serde(deserialize_with = "lenient::nullable")]
    pub name: String,
    /// What the skill does.
    #[serde(deserialize_with = "lenient::nullable")]
    pub description: String,
    /// Words to find the skill by.
    #[serde(deserialize_with = "lenient::nullable")]
    pub tags: Vec<String>,
    /// Example prompts.
    #[serde(deserialize_with = "lenient::nullable", skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// Media types that the skill reads, when not the card's.
    #[serde(
        alias = "input_modes",
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub input_modes: Vec<String>,
    /// Media types that the skill writes, when not the card's.
    #[serde(
        alias = "output_modes",
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub output_modes: Vec<String>,
    /// Which schemes the skill needs.
    #[serde(
        alias = "security_requirements",
        deserialize_with = "lenient::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub security_requirements: Vec<SecurityRequirement>,
}

/// A JSON Web Signature over the card (specification 4.4.7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentCardSignature {
    /// The protected header, base64url.
    pub protected: String,
    /// The signature, base64url.
    pub signature: String,
    /// The unprotected header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Map<String, Value>>,
}

impl AgentCard {
    /// The interface that speaks `binding` in a version that begins with `version`.
    pub fn interface(&self, binding: &str, version: &str) -> Option<&AgentInterface> {
        self.supported_interfaces.iter().find(|interface| {
            interface.protocol_binding == binding && interface.protocol_version.starts_with(version)
        })
    }
}
