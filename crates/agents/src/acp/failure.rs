//! Why a turn of an agent failed: its own words, and what somebody can do about it.

use super::AcpOptions;
use super::handshake::Call;
use super::wire::{AUTH_REQUIRED, NOT_FOUND, RpcError};
use crate::exit::bounded;
use crate::{Exit, Outcome, network};
use serde_json::Value;
use std::time::Duration;

/// How much of an error is told, in bytes.
const WORDS: usize = 4 * 1024;

const NOT_THE_PROTOCOL: &str = "the program must speak the Agent Client Protocol on its standard input; check `program`, `args` and its own settings";

fn failed(message: String, hint: Option<String>) -> Outcome {
    let hint = hint.filter(|_| !network::carries_advice(&message));
    Outcome::Failed { message, hint }
}

/// The agent's words: the message, or what stands behind one that says nothing.
pub(super) fn words(error: &RpcError) -> String {
    let message = error.message.as_deref().unwrap_or_default().trim();
    // Some hand on the model API's answer as it came.
    let inner = serde_json::from_str::<Value>(message).ok();
    let message = inner
        .as_ref()
        .and_then(|value| value["error"]["message"].as_str())
        .unwrap_or_else(|| message.strip_prefix("Internal error: ").unwrap_or(message));
    let data = error.data.as_ref();
    let details = data.and_then(|data| match data {
        Value::String(text) => Some(text.as_str()),
        data => {
            ["details", "message"].iter().find_map(|&key| data.get(key).and_then(Value::as_str))
        }
    });
    let text = match (message, details) {
        ("" | "Internal error", Some(details)) => details.to_owned(),
        ("", None) => format!("the agent answered with error {}", error.code),
        (message, Some(details)) if !message.contains(details) => format!("{message}: {details}"),
        (message, _) => message.to_owned(),
    };
    bounded(text, WORDS)
}

/// A request of ours that the agent answered with an error.
pub(super) fn of_call(options: &AcpOptions, call: Call, error: &RpcError) -> Outcome {
    let said = words(error);
    if call == Call::Prompt && is_unknown_session(error, &said) {
        return Outcome::ConversationLost;
    }
    let hint = match error.code {
        AUTH_REQUIRED => Some(credential(options, &[])),
        code => by_status(code, options)
            .or_else(|| by_words(&said, options))
            .or_else(|| (call == Call::Initialize).then(|| NOT_THE_PROTOCOL.to_owned())),
    };
    match call {
        Call::Prompt => failed(said, hint),
        Call::SetMode
        | Call::SetModeOption
        | Call::SetModel
        | Call::SetModelOption
        | Call::Initialize
        | Call::Authenticate
        | Call::New
        | Call::Resume
        | Call::Load
        | Call::Fork => failed(format!("`{}` failed: {said}", call.method()), hint),
    }
}

fn is_unknown_session(error: &RpcError, said: &str) -> bool {
    let said = said.to_lowercase();
    error.code == NOT_FOUND && said.contains("session") || said.contains("session not found")
}

/// The agent wants somebody to sign in, or did not accept how.
pub(super) fn sign_in(options: &AcpOptions, methods: &[String], error: &RpcError) -> Outcome {
    failed(words(error), Some(credential(options, methods)))
}

/// What gives the agent a credential.
fn credential(options: &AcpOptions, methods: &[String]) -> String {
    let variables = match options.credentials.as_slice() {
        [] => "the variable that holds its key (and name it in the agent's `env.pass`)".to_owned(),
        names => format!("`{}`", names.join("` or `")),
    };
    let method = match (&options.auth_method, methods) {
        (Some(method), _) => format!("; it was to sign in by `auth_method: {method}`"),
        (None, []) => String::new(),
        (None, methods) => {
            format!("; `auth_method` may name one of its ways to sign in: {}", methods.join(", "))
        }
    };
    format!(
        "the operator must give the agent a credential: set {variables} in Pilothouse's environment or `.env`{method}"
    )
}

/// The agent ended the turn by itself.
pub(super) fn of_stop(reason: &str) -> Outcome {
    let hint = |text: &str| Some(text.to_owned());
    match reason {
        "max_tokens" => failed(
            "the model reached its limit of tokens before it was done".to_owned(),
            hint("send another message to let it go on, or start a new context if it is full"),
        ),
        "max_turn_requests" => failed(
            "the agent reached its limit of model requests in one turn".to_owned(),
            hint(
                "send another message to let it go on, or raise the limit in the agent's settings",
            ),
        ),
        "refusal" => {
            Outcome::Rejected { message: "the agent refuses to go on with this".to_owned() }
        }
        "cancelled" => failed(
            "the agent gave the turn up by itself".to_owned(),
            hint(
                "a tool that it needed may have been refused; allow it, or say how to go on without it",
            ),
        ),
        other => failed(
            format!("the agent stopped for a reason unknown to this version: `{other}`"),
            hint("send another message to let it go on"),
        ),
    }
}

/// The agent reported a failure beside its words; `notice` is what it said last of its own.
pub(super) fn broken(options: &AcpOptions, notice: &str) -> Outcome {
    if notice.trim().is_empty() {
        return failed("the agent could not finish the turn".to_owned(), None);
    }
    let said = words(&RpcError { message: Some(notice.to_owned()), ..RpcError::default() });
    let hint = by_words(&said, options);
    failed(said, hint)
}

/// A process that ended within a turn.
pub(super) fn of_exit(options: &AcpOptions, exit: &Exit, awaited: Option<Call>) -> Outcome {
    let said = exit.last_words();
    let program = &options.program;
    let message = match exit.code {
        Some(0) => format!(
            "`{program}` ended before it had answered `{}`",
            awaited.map_or("initialize", Call::method)
        ),
        _ => exit.describe(program),
    };
    let hint = by_words(said, options)
        .or_else(|| exit.hint())
        .or_else(|| (awaited == Some(Call::Initialize)).then(|| NOT_THE_PROTOCOL.to_owned()));
    failed(message, hint)
}

/// An agent that says nothing.
pub(super) fn silent(options: &AcpOptions, awaited: &str, patience: Duration) -> Outcome {
    failed(
        format!("`{}` did not answer `{awaited}` within {} s", options.program, patience.as_secs()),
        Some(NOT_THE_PROTOCOL.to_owned()),
    )
}

/// An agent of another time.
pub(super) fn other_version(version: &Value) -> Outcome {
    failed(
        format!("the agent speaks version {version} of the Agent Client Protocol, not 1"),
        Some("update Pilothouse, or install a version of the agent that speaks 1".to_owned()),
    )
}

pub(super) fn no_session(options: &AcpOptions) -> Outcome {
    failed(format!("`{}` opened a session without an id", options.program), None)
}

/// A response that this version cannot read.
pub(super) fn unreadable(call: Call, error: &serde_json::Error) -> Outcome {
    failed(
        format!("the answer to `{}` could not be read: {error}", call.method()),
        Some(
            "this version of the agent may be too new; docs/agents.md names the tested ones"
                .to_owned(),
        ),
    )
}

/// A mode or model that the agent does not have.
pub(super) fn not_offered(what: &str, wanted: &str, offered: &str) -> Outcome {
    let (message, hint) = if offered.is_empty() {
        (
            format!("the agent lets nobody choose a {what} by the protocol"),
            format!(
                "leave `{what}` out of its configuration; its own arguments or variables may set it"
            ),
        )
    } else {
        (
            format!("the agent has no {what} `{wanted}`"),
            format!("set the agent's `{what}` to one of: {offered}"),
        )
    };
    failed(message, Some(hint))
}

fn by_status(code: i64, options: &AcpOptions) -> Option<String> {
    Some(match code {
        401 | 403 => format!("the model API rejected the credential; check `{}`", named(options)),
        404 => {
            "the model API does not know what was asked for; check the model's name and its address"
                .to_owned()
        }
        429 => "the account's rate limit is reached; wait, or run fewer sessions side by side"
            .to_owned(),
        500..=599 => "the model API failed; send the message again later".to_owned(),
        _ => return None,
    })
}

fn by_words(said: &str, options: &AcpOptions) -> Option<String> {
    if let Some(hint) = network::hint(said) {
        return Some(hint.to_owned());
    }
    let lower = said.to_lowercase();
    let has = |any: &[&str]| any.iter().any(|part| lower.contains(part));
    Some(
        if has(&[
            "unauthorized",
            "invalid api key",
            "incorrect api key",
            "api key not valid",
            "401",
        ]) {
            format!("the model API rejected the credential; check `{}`", named(options))
        } else if has(&["api key", "not logged in", "authentication"]) {
            credential(options, &[])
        } else if has(&[
            "econnrefused",
            "enotfound",
            "etimedout",
            "eai_again",
            "fetch failed",
            "connection refused",
            "connection error",
        ]) {
            "the agent cannot reach the model API; check its address, the proxy, and the hosts that the agent may reach"
            .to_owned()
        } else if has(&["rate limit", "429", "quota"]) {
            "the account's limit is reached; wait, or run fewer sessions side by side".to_owned()
        } else {
            return None;
        },
    )
}

fn named(options: &AcpOptions) -> String {
    match options.credentials.as_slice() {
        [] => "the agent's key".to_owned(),
        names => names.join("` or `"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(code: i64, message: &str, data: Value) -> RpcError {
        RpcError {
            code,
            message: Some(message.to_owned()),
            data: (!data.is_null()).then_some(data),
        }
    }

    fn options() -> AcpOptions {
        AcpOptions {
            program: "bot".to_owned(),
            auth_method: Some("key".to_owned()),
            credentials: vec!["BOT_KEY".to_owned()],
            ..AcpOptions::default()
        }
    }

    fn hint(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Failed { hint: Some(hint), .. } => hint,
            other => panic!("no hint: {other:?}"),
        }
    }

    #[test]
    fn an_internal_error_is_told_by_its_details() {
        let details = json!({ "details": "no such model" });
        assert_eq!(words(&error(-32603, "Internal error", details)), "no such model");
        assert_eq!(words(&error(7, "a", json!("b"))), "a: b");
        assert_eq!(words(&error(7, "", Value::Null)), "the agent answered with error 7");
    }

    #[test]
    fn an_error_of_the_model_api_within_the_message_is_unwrapped() {
        let message = r#"{"error":{"code":400,"message":"too long"}}"#;
        assert_eq!(words(&error(400, message, Value::Null)), "too long");
    }

    #[test]
    fn a_missing_credential_names_method_and_variable() {
        let outcome = sign_in(&options(), &[], &error(AUTH_REQUIRED, "sign in", Value::Null));
        assert!(hint(&outcome).contains("BOT_KEY") && hint(&outcome).contains("key"));
    }

    #[test]
    fn a_forgotten_session_is_a_lost_conversation() {
        let error = error(-32602, "Session not found: s", Value::Null);
        assert_eq!(of_call(&options(), Call::Prompt, &error), Outcome::ConversationLost);
    }

    #[test]
    fn an_exit_before_the_first_answer_says_what_the_program_must_speak() {
        let exit = Exit { code: Some(0), ..Exit::default() };
        let outcome = of_exit(&options(), &exit, Some(Call::Initialize));
        assert!(hint(&outcome).contains("Agent Client Protocol"));
    }
}
