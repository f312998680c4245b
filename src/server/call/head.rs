//! What a request says beside its operation: version, extensions, the last event that was read, the form of answers.

use crate::agent::Agent;
use crate::config::{AnswerForm, Config};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::operation::{Operation, SendMessageRequest};
use serde_json::Value;

/// `A2A-Version`, from the header or the query, against the dialect that is spoken (specification 3.6).
///
/// # Errors
///
/// `VersionNotSupported`.
pub(in crate::server) fn check_version(parts: &Parts, spoken: Dialect) -> Result<(), Error> {
    let Some(version) = version(parts) else {
        return Ok(());
    };
    let fits = match (Dialect::from_version(&version), spoken) {
        (None, _) => false,
        (Some(asked), Dialect::V1_0) => asked == Dialect::V1_0,
        // An older method says itself what it is; a newer header beside it does no harm.
        (Some(_), Dialect::V0_3 | Dialect::V0_1) => true,
    };
    if fits {
        return Ok(());
    }
    let version = known_part(&version);
    Err(Error::new(
        ErrorKind::VersionNotSupported,
        format!("A2A-Version {version} is not served for this method; this server speaks 1.0, 0.3 and 0.1"),
    )
    .with("supported", "1.0, 0.3, 0.1"))
}

/// The version that a request names, if it names one.
pub(in crate::server) fn version(parts: &Parts) -> Option<String> {
    let header = parts
        .headers
        .get("a2a-version")
        .and_then(|version| version.to_str().ok())
        .map(ToOwned::to_owned);
    let query = || {
        let pairs = parts.uri.query()?.split('&');
        let mut named = pairs.filter_map(|pair| pair.split_once('='));
        let (_, version) = named.find(|(name, _)| name.eq_ignore_ascii_case("a2a-version"))?;
        Some(version.to_owned())
    };
    header.or_else(query).filter(|version| !version.trim().is_empty())
}

/// The extensions that a request asks for, by either name of the header.
pub(in crate::server) fn asked_extensions(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    ["a2a-extensions", "x-a2a-extensions"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Refuses a client that does not ask for what the agent requires (specification 3.3.4).
pub(super) fn check_extensions(agent: &Agent, headers: &HeaderMap) -> Result<(), Error> {
    for extension in agent.config.extensions.iter().filter(|extension| extension.required) {
        if !asked_extensions(headers).any(|asked| asked == extension.uri) {
            let uri = &extension.uri;
            return Err(Error::new(
                ErrorKind::ExtensionSupportRequired,
                format!(
                    "this agent requires the extension {uri}; name it in the header A2A-Extensions"
                ),
            )
            .with("extension", uri.as_str()));
        }
    }
    Ok(())
}

/// Refuses streams where cards offer none (specification 3.3.4).
pub(super) fn check_streaming(config: &Config, operation: Operation) -> Result<(), Error> {
    let streams = matches!(operation, Operation::SendStreamingMessage | Operation::SubscribeToTask);
    if !streams || config.card.streaming {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsupportedOperation,
        "this server offers no streams; send without one, and look with GetTask; the server's operator can set \
         `card.streaming`",
    ))
}

/// The form in which a caller wants artifacts that come in pieces, by `metadata.answers` of the message or the request.
pub(super) fn asked_form(request: &SendMessageRequest) -> Result<Option<AnswerForm>, Error> {
    let all = [&request.message.metadata, &request.metadata];
    // What is no word is a member of the caller's own.
    let asked = all.into_iter().flatten().find_map(|metadata| metadata.get("answers"));
    let Some(asked) = asked.filter(Value::is_string) else {
        return Ok(None);
    };
    serde_json::from_value(asked)
        .map(Some)
        .map_err(|_| Error::invalid("metadata.answers", "is one of `pieces`, `closed` and `whole`"))
}

/// `Last-Event-ID`, where a client resumes a stream.
pub(super) fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|value| value.trim().parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Error::invalid("Last-Event-ID", "not an event id of this server"))
}

/// A caller's word for logs and errors: bounded, and nothing that a terminal would obey.
pub(in crate::server) fn known_part(word: &str) -> String {
    word.chars().filter(|character| !character.is_control()).take(64).collect()
}
