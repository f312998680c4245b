//! Why a client command could not do what it was asked, and the exit code that says so.

use super::exit;
use super::local::told;
use super::terminal::{clean, clean_line, cut};
use crate::config;
use pilothouse_a2a::client::ClientError;
use pilothouse_a2a::error::ErrorKind;
use std::error::Error;
use std::io;

/// What is told on standard error, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// A sentence; empty when there is nobody left to tell.
    pub(crate) message: String,
    /// Whether the server answered that what was named is not there.
    pub(super) is_missing: bool,
}

impl Failure {
    /// A failure in words of our own or of a server; the latter are cleaned.
    pub(crate) fn new(code: u8, message: impl AsRef<str>) -> Self {
        Self { code, message: clean(message.as_ref()), is_missing: false }
    }

    /// What the caller can change.
    pub(crate) fn usage(message: impl AsRef<str>) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// The server does not have what was named.
    pub(super) fn missing(message: impl AsRef<str>) -> Self {
        Self { is_missing: true, ..Self::usage(message) }
    }

    /// A request to the server at `url` failed.
    pub(crate) fn of_client(error: &ClientError, url: &str) -> Self {
        let is_missing = match error {
            ClientError::Http { status, .. } => matches!(status, 404 | 405),
            ClientError::Rpc(told) => {
                told.code == 404 || error.kind() == Some(ErrorKind::TaskNotFound)
            }
            _ => false,
        };
        let failure = match error {
            ClientError::Transport(_) => Self::unreachable(url, &root_cause(error)),
            ClientError::Http { status: 403, body, .. } => match told(body.as_bytes()) {
                Some(words) => Self::new(exit::NOT_AUTHORISED, words),
                None => Self::not_authorised(url),
            },
            ClientError::Http { status: 401, .. } => Self::not_authorised(url),
            ClientError::Http { status: 429, body, .. } => {
                let message =
                    format!("the server at {url} refuses for now: {}", answered(429, body));
                Self::new(exit::REFUSED_FOR_NOW, message)
            }
            ClientError::Http { status: status @ (404 | 405), body, .. } => {
                let told = answered(*status, body);
                let message = format!("{url} answers, but not as an A2A agent: {told}");
                Self::new(exit::UNAVAILABLE, message)
            }
            ClientError::Http { status, body, .. } => {
                let message = format!("the server at {url} failed: {}", answered(*status, body));
                Self::new(exit::UNAVAILABLE, message)
            }
            ClientError::Protocol(_) | ClientError::TooLarge(_) => {
                Self::new(exit::UNAVAILABLE, format!("the server at {url} failed: {error}"))
            }
            ClientError::Input(_) | ClientError::ForeignEndpoint { .. } => {
                Self::usage(error.to_string())
            }
            ClientError::Rpc(told) => match error.kind() {
                Some(ErrorKind::Unauthenticated) => Self::not_authorised(url),
                Some(ErrorKind::PermissionDenied) => Self::new(exit::NOT_AUTHORISED, &told.message),
                Some(ErrorKind::TaskNotCancelable) => Self::new(exit::FAILED, &told.message),
                Some(ErrorKind::ResourceExhausted) => {
                    Self::new(exit::REFUSED_FOR_NOW, &told.message)
                }
                Some(ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::TooSlow) | None => {
                    Self::new(exit::UNAVAILABLE, &told.message)
                }
                Some(_) => Self::usage(&told.message),
            },
            other => Self::new(exit::UNAVAILABLE, other.to_string()),
        };
        Self { is_missing, ..failure }
    }

    /// Nobody answers at `url`.
    pub(crate) fn unreachable(url: &str, cause: &str) -> Self {
        if let Some(why) = cause.strip_prefix("invalid peer certificate: ") {
            let message = format!(
                "the certificate of the server at {url} is not trusted ({why}); name a file with the authority that \
                 signed it by --ca FILE or PILOTHOUSE_CA"
            );
            return Self::new(exit::UNAVAILABLE, message);
        }
        // Files that were only found in a folder do not choose which server gets a token.
        let message = format!(
            "no server at {url} ({cause}); start one with `pilothouse serve`; if `state_dir` stands in a configuration \
             file, name that file with --config"
        );
        Self::new(exit::UNAVAILABLE, message)
    }

    /// The server does not take the token, or wants one.
    pub(crate) fn not_authorised(url: &str) -> Self {
        let message = format!(
            "the server at {url} does not accept this token, or wants one; give it with --token or PILOTHOUSE_TOKEN"
        );
        Self::new(exit::NOT_AUTHORISED, message)
    }

    /// The configuration cannot be used.
    pub(crate) fn of_config(error: &config::Error) -> Self {
        Self::new(exit::CONFIG, causes(Some(error)))
    }
}

/// Whoever read our output went away, and has what was wanted.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(0, ""),
            _ => Self::new(exit::UNAVAILABLE, format!("cannot print: {error}")),
        }
    }
}

/// A status and what was said with it, in one line; a page for browsers says nothing here.
fn answered(status: u16, body: &str) -> String {
    match clean_line(body) {
        said if said.is_empty() || said.starts_with('<') => format!("HTTP status {status}"),
        said => format!("HTTP status {status}: {}", cut(&said, 300)),
    }
}

/// What is at the bottom of an error: of a failed connection, say, what the system said.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// An error and its causes, each told once.
pub(crate) fn causes(error: Option<&dyn Error>) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut next = error;
    while let Some(error) = next {
        let text = error.to_string();
        if !told.last().is_some_and(|last| last.contains(&text)) {
            told.push(text);
        }
        next = error.source();
    }
    told.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::jsonrpc::RpcError;

    fn code(kind: ErrorKind) -> u8 {
        let error = RpcError { code: kind.codes().json_rpc, message: "no".to_owned(), data: None };
        Failure::of_client(&ClientError::Rpc(error), "http://x").code
    }

    #[test]
    fn the_code_tells_who_can_act() {
        assert_eq!(code(ErrorKind::TaskNotFound), 2);
        assert_eq!(code(ErrorKind::InvalidParams), 2);
        assert_eq!(code(ErrorKind::Unauthenticated), 77);
        assert_eq!(code(ErrorKind::Unavailable), 69);
        assert_eq!(code(ErrorKind::ResourceExhausted), 75);
        let error = ClientError::Http { status: 429, body: "busy".to_owned(), retry_after: None };
        assert_eq!(Failure::of_client(&error, "http://x").code, 75);
        assert_eq!(code(ErrorKind::TaskNotCancelable), 1);
    }

    #[test]
    fn what_a_token_does_not_allow_is_told_in_the_words_of_the_server() {
        let words = "the token `watcher` does not have the scope `answer`";
        let kind = ErrorKind::PermissionDenied.codes().json_rpc;
        let error = RpcError { code: kind, message: words.to_owned(), data: None };
        let body = serde_json::json!({"error": {"message": words}}).to_string();
        for error in
            [ClientError::Rpc(error), ClientError::Http { status: 403, body, retry_after: None }]
        {
            let failure = Failure::of_client(&error, "http://x");
            assert_eq!((failure.code, failure.message.as_str()), (77, words));
        }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_as_such_with_the_option_that_helps() {
        let cause = rustls::Error::from(rustls::CertificateError::UnknownIssuer).to_string();
        let failure = Failure::unreachable("https://a.test", &cause);
        assert!(failure.message.contains("is not trusted (UnknownIssuer)"), "{}", failure.message);
        assert!(failure.message.contains("--ca FILE or PILOTHOUSE_CA"), "{}", failure.message);
        assert!(Failure::unreachable("https://a.test", "refused").message.contains("no server at"));
    }

    #[test]
    fn the_words_of_a_server_reach_no_terminal_raw() {
        let error =
            ClientError::Http { status: 500, body: "\u{1b}[2Jboo".to_owned(), retry_after: None };
        assert_eq!(
            Failure::of_client(&error, "http://x").message,
            "the server at http://x failed: HTTP status 500: boo"
        );
    }
}
