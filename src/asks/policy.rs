//! Who decides about an ask: the operator's rules by tool and caller, then the agent's own policy.

use crate::config::{self, AskPolicy};
use pilothouse_agents::AskKind;
use pilothouse_agents::lines::is_shortened;
use serde_json::Value;

/// Fields of a tool's input that say best what it would do, the first that is there.
const TELLING: [&str; 6] = ["command", "file_path", "path", "url", "query", "pattern"];

/// What the configuration says to this ask of this caller's agent. A question is never `allow`ed: there
/// is nothing to allow, so it is asked.
pub fn policy(agent: &config::Agent, caller: &str, kind: &AskKind) -> AskPolicy {
    let AskKind::Permission { tool, input, .. } = kind else {
        return match agent.asks {
            AskPolicy::Deny => AskPolicy::Deny,
            AskPolicy::Ask | AskPolicy::Allow => AskPolicy::Ask,
        };
    };
    find_rule(agent, caller, tool, input).map_or(agent.asks, |(_, rule)| rule.policy)
}

/// Why a person is asked, in words.
pub fn explain(agent: &config::Agent, name: &str, caller: &str, kind: &AskKind) -> String {
    let AskKind::Permission { tool, input, .. } = kind else {
        return "a question of an agent is always asked".to_owned();
    };
    match find_rule(agent, caller, tool, input) {
        Some((place, rule)) => {
            let caller = rule.caller.iter().map(|name| format!(" for the caller {name}"));
            let caller: String = caller.collect();
            let tool = &rule.tool;
            format!("`agents.{name}.ask_rules[{place}]` says to ask for `{tool}`{caller}")
        }
        None => format!("`agents.{name}.asks` says to ask, and no rule decides about this call"),
    }
}

fn find_rule<'a>(
    agent: &'a config::Agent,
    caller: &str,
    tool: &str,
    input: &Value,
) -> Option<(usize, &'a config::AskRule)> {
    agent.ask_rules.iter().enumerate().find(|(_, rule)| {
        rule.caller.as_deref().is_none_or(|name| name == caller) && fits(&rule.tool, tool, input)
    })
}

/// What an agent is told whose permission request nobody can judge.
pub const TOO_LONG: &str = "not allowed: the input is longer than what is kept of a line, so nobody can judge it; the server's operator can \
     raise `limits.line`. Continue with a shorter input.";

/// Whether the end of an input was cut off, so that neither a rule nor a person can judge what would run.
pub fn is_cut(kind: &AskKind) -> bool {
    fn has_cut(value: &Value) -> bool {
        match value {
            Value::String(text) => is_shortened(text),
            Value::Array(items) => items.iter().any(has_cut),
            Value::Object(members) => members.values().any(has_cut),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    match kind {
        // Of the Agent Client Protocol: beside the input there is what changes in a file, as a person wants to see it.
        AskKind::Permission { input, .. } => has_cut(input.get("rawInput").unwrap_or(input)),
        AskKind::Question { .. } => false,
    }
}

/// What an agent is told whose ask is denied by policy.
pub fn denial(kind: &AskKind, agent: &str) -> String {
    match kind {
        AskKind::Permission { tool, .. } => format!(
            "{tool} was not allowed: the operator's policy for this caller is to deny it (`agents.{agent}.asks`, \
             `ask_rules`). Continue without it, or say what you would have done."
        ),
        AskKind::Question { .. } => {
            "nobody can be asked here; decide yourself, and say in your answer what you assumed"
                .to_owned()
        }
    }
}

/// `Tool`, or `Tool(pattern)` with `*` for anything, against what the input tells best.
fn fits(pattern: &str, tool: &str, input: &Value) -> bool {
    let (name, inner) = match pattern.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or(rest))),
        None => (pattern, None),
    };
    if !glob(name, tool) {
        return false;
    }
    let Some(inner) = inner else { return true };
    let telling = TELLING.iter().find_map(|field| input.get(field).and_then(Value::as_str));
    let whole = || input.to_string();
    glob(inner, &telling.map_or_else(whole, ToOwned::to_owned))
}

/// `*` stands for any text, also none; all else for itself.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AskRule, DriverKind};
    use serde_json::json;

    fn bash(command: &str) -> AskKind {
        AskKind::Permission {
            tool: "Bash".to_owned(),
            input: json!({"command": command}),
            description: None,
        }
    }

    fn agent(rules: &[(&str, Option<&str>, AskPolicy)]) -> config::Agent {
        let rules = rules.iter().map(|(tool, caller, policy)| AskRule {
            tool: (*tool).to_owned(),
            caller: caller.map(ToOwned::to_owned),
            policy: *policy,
        });
        config::Agent { ask_rules: rules.collect(), ..config::Agent::of(DriverKind::Claude) }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let agent = agent(&[
            ("Bash(git push*)", None, AskPolicy::Deny),
            ("Bash(git *)", None, AskPolicy::Allow),
        ]);
        assert_eq!(policy(&agent, "ci", &bash("git push -f")), AskPolicy::Deny);
        assert_eq!(policy(&agent, "ci", &bash("git status")), AskPolicy::Allow);
        assert_eq!(policy(&agent, "ci", &bash("rm x")), AskPolicy::Ask);
    }

    #[test]
    fn a_rule_may_be_for_one_caller() {
        let agent = agent(&[("*", Some("ci"), AskPolicy::Deny)]);
        assert_eq!(policy(&agent, "ci", &bash("ls")), AskPolicy::Deny);
        assert_eq!(policy(&agent, "owner", &bash("ls")), AskPolicy::Ask);
    }

    #[test]
    fn a_question_is_asked_also_where_tools_are_allowed() {
        let mut agent = agent(&[]);
        agent.asks = AskPolicy::Allow;
        let question = AskKind::Question {
            text: "Which?".to_owned(),
            options: Vec::new(),
            input: Value::Null,
        };
        assert_eq!(policy(&agent, "owner", &question), AskPolicy::Ask);
    }

    #[test]
    fn a_star_stands_for_anything() {
        assert!(glob("a*c*", "abcd") && glob("*", "") && glob("*x", "xx"));
        assert!(!glob("a*c", "abcd") && !glob("", "a") && !glob("a*b*c", "acb"));
    }
}
