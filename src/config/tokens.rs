//! Tokens of named callers: what each may do, with which agents, and until when.

use pilothouse_a2a::time::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// What a token allows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TokenScope {
    /// New tasks, further messages, cancel.
    Send,
    /// Tasks, sessions and answers.
    Read,
    /// Answers to asks.
    Answer,
    /// All of it, for the tasks of every caller, and what concerns the server itself.
    Admin,
}

impl TokenScope {
    /// The scopes of a token for which none are named.
    pub const USUAL: [Self; 3] = [Self::Send, Self::Read, Self::Answer];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Answer => "answer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for TokenScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for TokenScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Send, Self::Read, Self::Answer, Self::Admin];
        let found = all.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| format!("`{text}` is none of send, read, answer, admin"))
    }
}

/// The token of a named caller: alone, or with what limits it.
#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CallerToken {
    /// The token alone.
    Plain(String),
    /// The token and its limits.
    Limited(LimitedToken),
}

/// A token with its limits.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitedToken {
    /// The bearer token.
    pub token: String,
    /// What it allows.
    #[serde(default = "usual")]
    pub scopes: Vec<TokenScope>,
    /// The agents that it may be used with; empty for all.
    #[serde(default)]
    pub agents: Vec<String>,
    /// When it ends (RFC 3339); unset for never.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub expires: Option<Timestamp>,
}

fn usual() -> Vec<TokenScope> {
    TokenScope::USUAL.to_vec()
}

impl CallerToken {
    /// The token itself.
    pub fn secret(&self) -> &str {
        match self {
            Self::Plain(token) | Self::Limited(LimitedToken { token, .. }) => token,
        }
    }

    /// What it allows.
    pub fn scopes(&self) -> &[TokenScope] {
        match self {
            Self::Plain(_) => &TokenScope::USUAL,
            Self::Limited(limited) => &limited.scopes,
        }
    }

    /// The agents that it may be used with; empty for all.
    pub fn agents(&self) -> &[String] {
        match self {
            Self::Plain(_) => &[],
            Self::Limited(limited) => &limited.agents,
        }
    }

    /// When it ends.
    pub fn expires(&self) -> Option<Timestamp> {
        match self {
            Self::Plain(_) => None,
            Self::Limited(limited) => limited.expires,
        }
    }
}

/// The token itself is not shown.
impl fmt::Debug for CallerToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CallerToken")
            .field("scopes", &self.scopes())
            .field("agents", &self.agents())
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for CallerToken {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TokenVisitor;

        impl<'de> Visitor<'de> for TokenVisitor {
            type Value = CallerToken;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a token, or `token` with `scopes`, `agents` and `expires`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CallerToken, E> {
                Ok(CallerToken::Plain(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CallerToken, A::Error> {
                let limited = LimitedToken::deserialize(MapAccessDeserializer::new(map))?;
                Ok(CallerToken::Limited(limited))
            }
        }

        from.deserialize_any(TokenVisitor)
    }
}

impl JsonSchema for CallerToken {
    fn schema_name() -> Cow<'static, str> {
        "CallerToken".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let limited = generator.subschema_for::<LimitedToken>();
        json_schema!({"anyOf": [{"type": "string"}, limited]})
    }
}

impl From<&str> for CallerToken {
    fn from(token: &str) -> Self {
        Self::Plain(token.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<CallerToken, String> {
        let text = format!("auth: {{tokens: {{ci: {text}}}}}");
        let config = serde_saphyr::from_str::<Config>(&text).map_err(|error| error.to_string())?;
        Ok(config.auth.tokens["ci"].clone())
    }

    #[test]
    fn a_token_alone_has_the_usual_scopes_for_every_agent_without_an_end() {
        for text in ["abc", "{token: abc}"] {
            let token = read(text).unwrap();
            assert_eq!(token.secret(), "abc");
            assert!(!format!("{token:?}").contains("abc"));
            assert_eq!(token.scopes(), TokenScope::USUAL);
            assert!(token.agents().is_empty() && token.expires().is_none());
        }
    }

    #[test]
    fn a_token_says_what_limits_it() {
        let token = "{token: abc, scopes: [read], agents: [claude], expires: 2027-01-31}";
        let token = read(token).unwrap();
        assert_eq!(token.scopes(), [TokenScope::Read]);
        assert_eq!(token.agents(), ["claude"]);
        assert_eq!(token.expires().unwrap().to_string(), "2027-01-31T00:00:00.000Z");
    }

    #[test]
    fn what_no_token_knows_is_refused_by_its_name() {
        let error = read("{token: abc, scope: [read]}").unwrap_err();
        assert!(error.contains("scope"), "{error}");
        let error = read("{token: abc, scopes: [write]}").unwrap_err();
        assert!(error.contains("write"), "{error}");
    }
}
