//! Why a client got no answer.

use crate::error::ErrorKind;
use crate::jsonrpc::RpcError;
use crate::sse;

/// A request failed; the variants tell who can act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The agent refused the request, in the words of the protocol.
    #[error("{0}")]
    Rpc(RpcError),
    /// The server answered with an HTTP status instead of a response.
    #[error("HTTP status {status}{}{body}", if body.is_empty() { "" } else { ": " })]
    Http {
        /// The status.
        status: u16,
        /// The beginning of the body, as text.
        body: String,
        /// `Retry-After` in seconds.
        retry_after: Option<u64>,
    },
    /// The server could not be reached, or the connection broke.
    #[error("could not reach the server")]
    Transport(#[source] reqwest::Error),
    /// The url or the token cannot be used in a request.
    #[error("{0}")]
    Input(String),
    /// The card names an endpoint on another host; the token was not given for that one.
    #[error(
        "the card at {card} names an endpoint on another host, {endpoint}; \
         give that address itself to send it your token"
    )]
    ForeignEndpoint {
        /// Where the card was read.
        card: String,
        /// Where it points to.
        endpoint: String,
    },
    /// The server speaks, but not A2A 1.0.
    #[error("{0}")]
    Protocol(String),
    /// An event of the stream is larger than we read.
    #[error(transparent)]
    TooLarge(#[from] sse::TooLarge),
}

impl ClientError {
    /// The kind, where the agent told one.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Rpc(error) => ErrorKind::from_json_rpc(error.code),
            Self::Http { .. }
            | Self::Transport(_)
            | Self::Input(_)
            | Self::ForeignEndpoint { .. }
            | Self::Protocol(_)
            | Self::TooLarge(_) => None,
        }
    }

    /// The same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Http { status, .. } => matches!(status, 408 | 429 | 502..=504),
            Self::Rpc(_) => {
                matches!(
                    self.kind(),
                    Some(
                        ErrorKind::Unavailable | ErrorKind::ResourceExhausted | ErrorKind::TooSlow
                    )
                )
            }
            Self::Input(_)
            | Self::ForeignEndpoint { .. }
            | Self::Protocol(_)
            | Self::TooLarge(_) => false,
        }
    }
}

impl From<reqwest::Error> for ClientError {
    fn from(cause: reqwest::Error) -> Self {
        // A url may carry a password.
        Self::Transport(cause.without_url())
    }
}
