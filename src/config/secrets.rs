//! What is a secret, by its name; and how it is shown: not at all.

use super::tree::{leaves, to_json};
use super::{Auth, Config, Env, Environment};
use serde_json::Value;
use std::fmt;

/// Stands where a secret was.
pub const MASK: &str = "***";

/// Endings of names that hold credentials.
const ENDINGS: [&str; 12] = [
    "TOKEN",
    "_KEY",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIALS",
    "CREDENTIAL",
    "_HEADERS",
    "_KEY_ID",
    "APIKEY",
    "_PAT",
];

/// Whether a variable, key or option of this name holds a credential, as far as a name can tell.
pub(super) fn looks_like_credential(name: &str) -> bool {
    let name = name.trim_start_matches('-').replace('-', "_").to_ascii_uppercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending)) || matches!(name.as_str(), "KEY" | "TOKENS")
}

/// A credential that is shorter masks more than secrets.
pub(super) const SHORTEST_SECRET: usize = 8;

/// The credentials of a configuration and an environment, as far as names can tell.
pub fn find_secrets(config: &Config, environment: &Environment) -> Vec<String> {
    let tree = to_json(config);
    let of_keys = leaves(&tree).into_iter().filter_map(|path| {
        let value = path.iter().fold(&tree, |value, name| &value[name.as_str()]);
        let is_secret = masked(&path.join("."), value) == MASK;
        value.as_str().filter(|_| is_secret).map(ToOwned::to_owned)
    });
    let variables = environment.variables.iter();
    let of_variables = variables.filter(|(name, _)| looks_like_credential(name));
    let all = of_keys.chain(of_variables.map(|(_, value)| value.clone()));
    all.filter(|secret| secret.len() >= SHORTEST_SECRET).collect()
}

/// The value of a dotted key as it may be shown.
pub fn masked(key: &str, value: &Value) -> Value {
    let last = key.rsplit('.').next().unwrap_or(key);
    match value {
        Value::String(text) if text.is_empty() => value.clone(),
        Value::String(_) if looks_like_credential(last) || is_caller_token(key, last) => {
            MASK.into()
        }
        Value::String(text) => without_password(text).into(),
        Value::Array(items) if last == "args" => masked_arguments(items),
        Value::Array(items) => items.iter().map(|item| masked(key, item)).collect(),
        Value::Object(members) => {
            let members = members.iter();
            let members = members
                .map(|(name, value)| (name.clone(), masked(&format!("{key}.{name}"), value)));
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Whether this is a caller's token, not one of the members that say what it allows; or where notifications go, which
/// may hold a secret.
fn is_caller_token(key: &str, last: &str) -> bool {
    key.starts_with("notifications.targets.") && last == "url"
        || key.starts_with("auth.tokens.") && !matches!(last, "scopes" | "agents" | "expires")
}

/// A line of a file as it may be shown: what stands behind a credential's name is masked.
pub(super) fn masked_line(line: &str) -> String {
    for (at, _) in line.match_indices([':', '=']) {
        let name: String = line[..at]
            .trim_end_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'')
            .chars()
            .rev()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            .collect();
        let name: String = name.chars().rev().collect();
        if looks_like_credential(&name) && !line[at + 1..].trim().is_empty() {
            return format!(
                "{}{}{MASK}",
                &line[..=at],
                if line[at..].starts_with(": ") { " " } else { "" }
            );
        }
    }
    without_password(line)
}

/// An address without the password in it: `http://user:***@host`.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = &rest[..rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len())];
    match authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':').map(|(name, _)| (name, user.len())))
    {
        Some((name, length)) => format!("{scheme}://{name}:{MASK}{}", &rest[length..]),
        None => text.to_owned(),
    }
}

/// Arguments in which the value of an option like `--api-key` is masked.
fn masked_arguments(items: &[Value]) -> Value {
    let mut after_credential = false;
    items
        .iter()
        .map(|item| {
            let text = item.as_str().unwrap_or_default();
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let is_credential = name.starts_with('-') && looks_like_credential(name);
            if std::mem::replace(&mut after_credential, is_credential && value.is_empty()) {
                MASK.into()
            } else if is_credential && !value.is_empty() {
                format!("{name}={MASK}").into()
            } else {
                Value::from(without_password(text))
            }
        })
        .collect()
}

/// The tokens are not shown.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("token", &self.token.as_ref().map(|_| MASK))
            .field("tokens", &self.tokens.keys())
            .field("priorities", &self.priorities)
            .field("oidc", &self.oidc)
            .field("required", &self.required)
            .field("insecure", &self.insecure)
            .finish()
    }
}

/// The values that are set are named and not shown.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("pass", &self.pass)
            .field("presets", &self.presets)
            .field("set", &self.set.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_credential_is_known_by_its_name() {
        for name in [
            "token",
            "ANTHROPIC_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "db-password",
            "GH_PAT",
            "--api-key",
        ] {
            assert!(looks_like_credential(name), "{name}");
        }
        for name in ["port", "KEYBOARD", "PATH", "keep_alive", "wrong_tokens", "rate_keys"] {
            assert!(!looks_like_credential(name), "{name}");
        }
    }

    #[test]
    fn a_secret_is_masked_and_an_empty_or_unset_one_is_not() {
        assert_eq!(masked("auth.token", &json!("abc")), json!("***"));
        assert_eq!(masked("auth.tokens.ci", &json!("abc")), json!("***"));
        let limited = |token: &str| json!({"token": token, "scopes": ["read"], "agents": ["x"]});
        assert_eq!(masked("auth.tokens.ci", &limited("abc")), limited("***"));
        assert_eq!(masked("auth.token", &json!(null)), json!(null));
        assert_eq!(masked("agents.x.env.set.GH_TOKEN", &json!("abc")), json!("***"));
        assert_eq!(masked("agents.x.env.set.LANG", &json!("C")), json!("C"));
    }

    #[test]
    fn a_token_inside_of_a_list_is_masked() {
        let git = json!([{"host": "github.com", "token": "ghp_abc"}]);
        let shown = json!([{"host": "github.com", "token": "***"}]);
        assert_eq!(masked("egress.git", &git), shown);
    }

    #[test]
    fn a_password_in_an_address_and_a_key_among_arguments_are_masked() {
        assert_eq!(
            masked("a.env.set.HTTP_PROXY", &json!("http://me:pw@proxy:8080/x")),
            json!("http://me:***@proxy:8080/x")
        );
        assert_eq!(
            masked("a.args", &json!(["--api-key", "k1", "--token=k2", "--model", "m"])),
            json!(["--api-key", "***", "--token=***", "--model", "m"]),
        );
    }

    #[test]
    fn a_line_shows_a_credentials_name_and_not_its_value() {
        assert_eq!(masked_line("  token: abc # mine"), "  token: ***");
        assert_eq!(masked_line("{port: 1, token: abc}"), "{port: 1, token: ***");
        assert_eq!(masked_line("API_KEY=abc"), "API_KEY=***");
        assert_eq!(masked_line("  \"token\": abc"), "  \"token\": ***");
        assert_eq!(masked_line("  port: 1"), "  port: 1");
        assert_eq!(masked_line("  tokens: {ci: abc}"), "  tokens: ***");
    }
}
