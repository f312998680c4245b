//! The keys of the agent cards.

use super::defaults::{seconds, section};
use super::units::Age;
use pilothouse_a2a::card;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

section! {
    /// The agent cards.
    #[derive(Debug)]
    pub struct Card {
        /// The shape that a client gets which names no version.
        pub default: CardShape = CardShape::Hybrid,
        /// The bindings that cards list, the preferred one first. All of them are served.
        pub bindings: Vec<Binding> = vec![Binding::JsonRpc, Binding::HttpJson],
        /// Whether streams are offered and served.
        pub streaming: bool = true,
        /// Who runs the agents.
        pub provider: Option<Provider>,
        /// How long a client may keep a card without asking again.
        pub max_age: Age = seconds(60),
        /// The signature.
        pub signing: Signing,
    }
}

/// The shape of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CardShape {
    /// v1.0 with the members of v0.3 beside it.
    Hybrid,
    /// v1.0 alone.
    V1,
}

/// A binding of the protocol, in the word of the cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Binding {
    /// JSON-RPC.
    #[serde(rename = "JSONRPC")]
    JsonRpc,
    /// REST.
    #[serde(rename = "HTTP+JSON")]
    HttpJson,
    /// gRPC.
    #[serde(rename = "GRPC")]
    Grpc,
}

impl Binding {
    /// The word of the cards.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonRpc => card::JSONRPC,
            Self::HttpJson => card::HTTP_JSON,
            Self::Grpc => card::GRPC,
        }
    }
}

/// Who runs the agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The organization's name.
    pub organization: String,
    /// The organization's site.
    pub url: String,
}

/// The signature of the cards.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Signing {
    /// A PEM file with a private key, of the curve P-256 (ES256) or Ed25519 (`EdDSA`).
    pub key: Option<PathBuf>,
    /// The key's id in the signature and in the JWKS; its thumbprint when unset.
    pub kid: Option<String>,
}
