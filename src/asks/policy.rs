//! Who decides about an ask: the operator's rules by tool and caller, then the agent's own policy.

use crate::config::{self, AskPolicy};
use pilothouse_agents::lines::is_shortened;
use pilothouse_agents::{AskKind, InputForm};
use serde_json::Value;

/// Fields of a tool's input that say what it would do. A rule is compared with each that is there.
const TELLING: [&str; 5] = ["command", "file_path", "path", "notebook_path", "url"];

/// Fields that say it where none of those is there.
const SEARCHED: [&str; 2] = ["query", "pattern"];

/// What the configuration says to this ask of this caller's agent. A question is never `allow`ed: there
/// is nothing to allow, so it is asked.
pub fn policy(agent: &config::Agent, caller: &str, kind: &AskKind) -> AskPolicy {
    if !matches!(kind, AskKind::Permission { .. }) {
        return match agent.asks {
            AskPolicy::Deny => AskPolicy::Deny,
            AskPolicy::Ask | AskPolicy::Allow => AskPolicy::Ask,
        };
    }
    find_rule(agent, caller, kind).map_or(agent.asks, |(_, rule)| rule.policy)
}

/// Why a person is asked, in words.
pub fn explain(agent: &config::Agent, name: &str, caller: &str, kind: &AskKind) -> String {
    let AskKind::Permission { .. } = kind else {
        return "a question of an agent is always asked".to_owned();
    };
    match find_rule(agent, caller, kind) {
        Some((place, rule)) => {
            let caller = rule.caller.iter().map(|name| format!(" for the caller {name}"));
            let caller: String = caller.collect();
            let tool = &rule.tool;
            format!("`agents.{name}.ask_rules[{place}]` says to ask for `{tool}`{caller}")
        }
        None => format!("`agents.{name}.asks` says to ask, and no rule decides about this call"),
    }
}

/// The first rule that fits. A call may tell several things: a rule that allows fits where all of them fit, and others
/// where any does. Such a rule that asks does not hide a later one that denies.
fn find_rule<'a>(
    agent: &'a config::Agent,
    caller: &str,
    kind: &AskKind,
) -> Option<(usize, &'a config::AskRule)> {
    let AskKind::Permission { tool, input, form, .. } = kind else { return None };
    let told = telling(input, *form);
    let mut asking = None;
    for (place, rule) in agent.ask_rules.iter().enumerate() {
        if rule.caller.as_deref().is_some_and(|name| name != caller) {
            continue;
        }
        match (fit(&rule.tool, tool, &told), rule.policy) {
            (Fit::None, _) | (Fit::Partial, AskPolicy::Allow) => {}
            (Fit::Partial, AskPolicy::Ask) => asking = asking.or(Some((place, rule))),
            (Fit::Full, AskPolicy::Ask | AskPolicy::Allow) => {
                return asking.or(Some((place, rule)));
            }
            (Fit::Full | Fit::Partial, AskPolicy::Deny) => return Some((place, rule)),
        }
    }
    asking
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
        AskKind::Permission { input, form: InputForm::Acp, .. } => {
            has_cut(input.get("rawInput").unwrap_or(input))
        }
        AskKind::Permission { input, form: InputForm::Plain, .. } => has_cut(input),
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

/// How a rule fits a call.
enum Fit {
    /// The tool is another one, or nothing that the call tells fits.
    None,
    /// Some of what the call tells fits.
    Partial,
    /// All of it fits.
    Full,
}

/// `Tool`, or `Tool(pattern)` with `*` for anything, against what the call tells.
fn fit(pattern: &str, tool: &str, told: &[String]) -> Fit {
    let (name, inner) = match pattern.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or(rest))),
        None => (pattern, None),
    };
    if !glob(name, tool) {
        return Fit::None;
    }
    let Some(inner) = inner else { return Fit::Full };
    match told.iter().filter(|text| glob(inner, text)).count() {
        0 => Fit::None,
        fitting if fitting < told.len() => Fit::Partial,
        _ => Fit::Full,
    }
}

/// What a call tells of what it would do; its whole input where no known field does.
fn telling(input: &Value, form: InputForm) -> Vec<String> {
    let is_acp = form == InputForm::Acp;
    let raw = input.get("rawInput").filter(|raw| is_acp && raw.is_object());
    let arguments = raw.unwrap_or(input);
    let fields = |names: &[&str]| -> Vec<String> {
        names.iter().filter_map(|name| arguments.get(*name)).map(text_of).collect()
    };
    let mut told = fields(&TELLING);
    for list in ["locations", "content"].into_iter().filter(|_| is_acp) {
        let items = input.get(list).and_then(Value::as_array).into_iter().flatten();
        told.extend(items.filter_map(|item| item.get("path")).map(text_of));
    }
    if told.is_empty() {
        told = fields(&SEARCHED);
    }
    if told.is_empty() {
        told.push(arguments.to_string());
    }
    told
}

/// A value as the text that a rule is compared with; a command that is a list is its words.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().map(text_of).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
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
            form: InputForm::Plain,
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

    fn call(tool: &str, form: InputForm, input: Value) -> AskKind {
        AskKind::Permission { tool: tool.to_owned(), input, form, description: None }
    }

    #[test]
    fn rules_are_compared_with_the_arguments_and_files_of_a_call_of_acp() {
        let agent = agent(&[
            ("execute(git push*)", None, AskPolicy::Deny),
            ("edit(/w/secret*)", None, AskPolicy::Deny),
            ("*(git *)", None, AskPolicy::Allow),
        ]);
        let said =
            |tool: &str, input: Value| policy(&agent, "ci", &call(tool, InputForm::Acp, input));
        let run = |command: Value| json!({"toolCallId": "1", "title": "x", "rawInput": {"command": command}});
        assert_eq!(said("execute", run(json!("git push -f"))), AskPolicy::Deny);
        assert_eq!(said("execute", run(json!(["git", "push"]))), AskPolicy::Deny);
        assert_eq!(said("execute", run(json!("git status"))), AskPolicy::Allow);
        let place = json!([{"path": "/w/secret/a"}]);
        assert_eq!(said("edit", json!({"rawInput": null, "locations": place})), AskPolicy::Deny);
        let diff = json!([{"type": "diff", "path": "/w/secret/a", "newText": ""}]);
        assert_eq!(
            said("edit", json!({"rawInput": {"path": "/w/a"}, "content": diff})),
            AskPolicy::Deny
        );
        // What lies beside the arguments is not what runs.
        let mut other = run(json!("git push"));
        other["command"] = json!("git status");
        assert_eq!(said("execute", other), AskPolicy::Deny);
    }

    #[test]
    fn a_member_that_a_model_adds_neither_lifts_a_denial_nor_earns_an_allowance() {
        let agent = agent(&[
            ("Write(/w/asked*)", None, AskPolicy::Ask),
            ("Write(/w/secret*)", None, AskPolicy::Deny),
            ("*(git *)", None, AskPolicy::Allow),
            ("Write(/w/free*)", None, AskPolicy::Allow),
        ]);
        let said = |input: Value| policy(&agent, "ci", &call("Write", InputForm::Plain, input));
        assert_eq!(
            said(json!({"file_path": "/w/secret", "command": "git status"})),
            AskPolicy::Deny
        );
        assert_eq!(said(json!({"file_path": "/w/secret", "path": "/w/asked"})), AskPolicy::Deny);
        assert_eq!(said(json!({"file_path": "/w/other", "command": "git status"})), AskPolicy::Ask);
        assert_eq!(
            said(json!({"file_path": "/w/other", "rawInput": {"command": "git x"}})),
            AskPolicy::Ask
        );
        assert_eq!(said(json!({"file_path": "/w/free/a"})), AskPolicy::Allow);
        // Nor does it hide that the command was cut.
        let cut = json!({"command": " … [the rest is left out: `limits.line` bounds what is kept of a line]", "rawInput": {}});
        assert!(is_cut(&call("Bash", InputForm::Plain, cut)));
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
