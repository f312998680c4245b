//! Why a turn of Claude Code failed: its own words, and what somebody can do about it.

use super::wire::TurnResult;
use crate::{Exit, Outcome, network};
use serde_json::Value;

/// The words by which the CLI says that it does not know a conversation.
const UNKNOWN_CONVERSATION: &str = "No conversation found";

/// The outcome of a `result` that is an error.
pub(super) fn of_result(result: &TurnResult) -> Outcome {
    let message = words(result);
    if message.contains(UNKNOWN_CONVERSATION) {
        return Outcome::ConversationLost;
    }
    let reason = result.terminal_reason.as_deref().unwrap_or_default();
    if network::carries_advice(&message) {
        return Outcome::Failed { message, hint: None };
    }
    let hint = hint_by_reason(reason)
        .or_else(|| hint_by_words(&message))
        .or_else(|| result.api_error_status.and_then(hint_by_status));
    Outcome::Failed { message, hint: hint.map(ToOwned::to_owned) }
}

/// The outcome of a process that ended within a turn; `api_status` is what the model API answered
/// when the CLI last had to try again.
pub(super) fn of_exit(program: &str, exit: &Exit, api_status: Option<u64>) -> Outcome {
    let said = exit.last_words();
    if said.contains(UNKNOWN_CONVERSATION) {
        return Outcome::ConversationLost;
    }
    let mut message = match exit.code {
        Some(0) => format!("`{program}` ended before it gave a result"),
        _ => exit.describe(program),
    };
    if let Some(status) = api_status {
        message.push_str(&format!("; the model API had answered {status} before"));
    }
    let hint = hint_by_stderr(said)
        .or_else(|| hint_by_words(said))
        .or_else(|| api_status.and_then(hint_by_status));
    Outcome::Failed { message, hint: hint.map(ToOwned::to_owned).or_else(|| exit.hint()) }
}

/// What the CLI says about the failure; its internal diagnostics only if there is nothing else.
fn words(result: &TurnResult) -> String {
    // Where the CLI sees no error, its text is an answer.
    let text = result.result.as_deref().filter(|_| result.is_error != Some(false));
    if let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) {
        return text.to_owned();
    }
    let errors: Vec<&str> = result.errors.iter().flatten().filter_map(Value::as_str).collect();
    let plain: Vec<&str> = errors.iter().copied().filter(|error| !error.starts_with('[')).collect();
    if !plain.is_empty() {
        return plain.join("; ");
    }
    let reason = result.terminal_reason.as_deref().or(result.subtype.as_deref()).unwrap_or("error");
    match errors.as_slice() {
        [] => format!("the turn ended with `{reason}`"),
        errors => format!("the turn ended with `{reason}`: {}", errors.join("; ")),
    }
}

fn hint_by_reason(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "prompt_too_long" => {
            "the conversation no longer fits the model; start a new context, or send less text and fewer files"
        }
        "max_turns" => {
            "the agent used up its turns; send another message to let it go on, or raise `--max-turns`"
        }
        "budget_exhausted" => "the agent used up its budget; raise `--max-budget-usd`",
        "tool_deferred" => {
            "a hook in the agent's settings deferred the call; let the hook answer `ask`, then Pilothouse asks for you"
        }
        _ => return None,
    })
}

fn hint_by_words(words: &str) -> Option<&'static str> {
    let has = |any: &[&str]| any.iter().any(|part| words.contains(part));
    let of_network = network::hint(words);
    if of_network.is_some() {
        return of_network;
    }
    Some(if has(&["Not logged in", "Please run /login"]) {
        "the agent got no credential; set `ANTHROPIC_API_KEY` (or `CLAUDE_CODE_OAUTH_TOKEN`) in Pilothouse's environment or `.env` and start it again"
    } else if has(&["Invalid API key", "invalid x-api-key", "authentication_error"]) {
        CREDENTIAL_REJECTED
    } else if has(&["credit balance is too low"]) {
        "the account has no credit left; add some, or use another key"
    } else if has(&[
        "ECONNREFUSED",
        "ENOTFOUND",
        "ETIMEDOUT",
        "EAI_AGAIN",
        "Connection refused",
        "Connection error",
    ]) {
        "the agent cannot reach the model API; check `ANTHROPIC_BASE_URL`, the proxy, and the hosts that the agent may reach"
    } else {
        return None;
    })
}

const CREDENTIAL_REJECTED: &str = "the model API rejected the credential; check `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN` or `CLAUDE_CODE_OAUTH_TOKEN`";

fn hint_by_status(status: u64) -> Option<&'static str> {
    Some(match status {
        401 | 403 => CREDENTIAL_REJECTED,
        404 => {
            "the model API does not know what was asked for; check the model's name and `ANTHROPIC_BASE_URL`"
        }
        429 => "the account's rate limit is reached; wait, or run fewer sessions side by side",
        529 => "the model API is overloaded; send the message again later",
        500..=599 => "the model API failed; send the message again later",
        _ => return None,
    })
}

fn hint_by_stderr(said: &str) -> Option<&'static str> {
    Some(if said.contains("cannot be used with root") {
        "run Pilothouse as another user than root, or, when the agent is confined, set `IS_SANDBOX=1` for it"
    } else if said.contains("is already in use") {
        "a conversation with this id exists already or another process has it open; start a new context"
    } else if said.contains("unknown option") {
        "this version of the CLI does not know an argument; update it, or remove the argument from the agent's `args`"
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(result: TurnResult) -> (String, String) {
        match of_result(&result) {
            Outcome::Failed { message, hint } => (message, hint.unwrap_or_default()),
            other => panic!("not failed: {other:?}"),
        }
    }

    #[test]
    fn a_rejected_credential_names_the_variables() {
        let result = TurnResult {
            result: Some("API Error: 401".to_owned()),
            api_error_status: Some(401),
            ..TurnResult::default()
        };
        assert!(failed(result).1.contains("ANTHROPIC_API_KEY"));
    }

    #[test]
    fn a_failure_of_the_network_does_not_ask_for_the_message_again() {
        let of = |words: &str| {
            failed(TurnResult {
                result: Some(words.to_owned()),
                api_error_status: Some(502),
                ..TurnResult::default()
            })
        };
        let own = "API Error: 502 the model's server (anthropic) could not be reached: x; the server's operator can y";
        assert_eq!(of(own).1, "");
        for (words, hint) in [
            ("API Error: SELF_SIGNED_CERT_IN_CHAIN", "NODE_EXTRA_CA_CERTS"),
            ("API Error: unable to get local issuer certificate", "NODE_EXTRA_CA_CERTS"),
            ("API Error: ERR_TLS_CERT_ALTNAME_INVALID", "check its address"),
            ("API Error: CERT_HAS_EXPIRED", "clock"),
            ("API Error: 407 Proxy Authentication Required", "HTTPS_PROXY"),
        ] {
            assert!(of(words).1.contains(hint), "{words}: {}", of(words).1);
        }
        assert!(of("API Error: 502 bad gateway").1.contains("again later"));
    }

    #[test]
    fn internal_diagnostics_are_told_only_with_a_reason() {
        let result = TurnResult {
            errors: Some(vec!["[diagnostic] x".into()]),
            terminal_reason: Some("aborted_tools".to_owned()),
            ..TurnResult::default()
        };
        assert_eq!(failed(result).0, "the turn ended with `aborted_tools`: [diagnostic] x");
    }

    #[test]
    fn an_exit_because_of_root_says_what_to_set() {
        let stderr =
            "--dangerously-skip-permissions cannot be used with root/sudo privileges".to_owned();
        let outcome = of_exit("claude", &Exit { code: Some(1), signal: None, stderr }, None);
        assert!(
            matches!(outcome, Outcome::Failed { hint: Some(hint), .. } if hint.contains("IS_SANDBOX=1"))
        );
    }

    #[test]
    fn a_lost_conversation_is_known_by_standard_error_too() {
        let stderr = "No conversation found with session ID: x".to_owned();
        let exit = Exit { code: Some(1), signal: None, stderr };
        assert_eq!(of_exit("claude", &exit, None), Outcome::ConversationLost);
    }
}
