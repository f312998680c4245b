//! Why a request goes no further, and what its caller is answered.

use crate::config::TokenScope;
use pilothouse_a2a::error::{Error, ErrorKind};
use std::sync::Arc;

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The `Host` is not ours.
    #[error(
        "the host `{0}` is not served here; the server's operator can add it to `server.allowed_hosts`"
    )]
    Host(String),
    /// There are several hosts, or none that can be read.
    #[error("a request names one host, as `Host: NAME` or `Host: NAME:PORT`; send one such header")]
    UnclearHost,
    /// The `Origin` is not listed.
    #[error(
        "pages of `{0}` may not call; the server's operator can add it to `server.allowed_origins`"
    )]
    Origin(String),
    /// No token, or a wrong one.
    #[error(
        "a bearer token is needed: `Authorization: Bearer TOKEN`; ask the server's operator for one (`auth.token`, `auth.tokens`)"
    )]
    NoToken,
    /// A wrong token.
    #[error(
        "this bearer token is not valid; ask the server's operator for one (`auth.token`, `auth.tokens`)"
    )]
    WrongToken,
    /// A signed token that is not accepted.
    #[error(
        "this bearer token is not accepted: {0}; get a new one of the issuer, or ask the server's operator (`auth.oidc`)"
    )]
    Issued(&'static str),
    /// The issuer's keys could not be read.
    #[error(
        "tokens of the issuer cannot be verified now, because its keys could not be read; try again in {0} s; the server's operator finds the reason in `GET /ready` and in the log (`auth.oidc`)"
    )]
    NoKeys(u64),
    /// The token's time is over.
    #[error("this bearer token has expired; ask the server's operator for a new one")]
    Expired,
    /// The token was revoked while it was in use.
    #[error("this bearer token was revoked; ask the server's operator for a new one")]
    Revoked,
    /// The token does not allow this.
    #[error(
        "this needs the scope `{scope}`, which the token `{token}` does not have for all agents that it concerns; ask the server's \
         operator for one that has it"
    )]
    Scope {
        /// What the token is called.
        token: Arc<str>,
        /// What it lacks.
        scope: TokenScope,
    },
    /// The token is not for this agent.
    #[error(
        "the token `{token}` is not for the agent `{agent}`; ask the server's operator for one that is"
    )]
    Agent {
        /// What the token is called.
        token: Arc<str>,
        /// The agent.
        agent: String,
    },
    /// Too many wrong tokens from one address.
    #[error(
        "too many wrong tokens from this address (`limits.wrong_tokens`); use a valid token, or try again in {0} s"
    )]
    Locked(u64),
    /// The token was not compared, because its address has tried wrong ones and too many tries wait.
    #[error(
        "this token was not compared: wrong tokens were tried from this address, and too many tries wait \
         (`limits.wrong_tokens_waiting`); try again in {0} s; the server's operator can make tokens of 128 bits or more"
    )]
    NotCompared(u64),
}

impl Denied {
    /// What kind of error it is.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoToken | Self::WrongToken | Self::Issued(_) | Self::Expired | Self::Revoked => {
                ErrorKind::Unauthenticated
            }
            Self::NoKeys(_) => ErrorKind::Unavailable,
            Self::UnclearHost => ErrorKind::InvalidRequest,
            Self::Host(_) | Self::Origin(_) | Self::Scope { .. } | Self::Agent { .. } => {
                ErrorKind::PermissionDenied
            }
            Self::Locked(_) | Self::NotCompared(_) => ErrorKind::ResourceExhausted,
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        let error = Self::new(denied.kind(), denied.to_string());
        match denied {
            Denied::Locked(seconds) | Denied::NotCompared(seconds) | Denied::NoKeys(seconds) => {
                error.retry_after(seconds)
            }
            Denied::Scope { scope, .. } => error.with("scope", scope.name()),
            _ => error,
        }
    }
}
