//! Which calls a grant covers: a tool with pinned arguments, or commands by their first words. It never covers more than
//! its words say.

use super::view::form;
use pilothouse_agents::InputForm;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Characters of a command that a shell takes as they stand, beside letters, digits and blanks. Quotes are read as a
/// shell reads them. All others (operators, redirections, substitutions, escapes, patterns) are refused.
const PLAIN: &str = "_-./:@%+,='\"";

/// The fields of a command's input that change nothing about what runs.
const BESIDE_COMMAND: [&str; 2] = ["description", "timeout"];

/// Fields of a tool's input that say best what it would do, the first that is there.
const TELLING: [&str; 4] = ["file_path", "path", "url", "query"];

/// As much as a proposal may pin.
const LONGEST: usize = 2000;

/// What a grant covers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GrantPattern {
    /// A host.
    Host(HostPattern),
    /// Calls of a tool.
    Call(CallPattern),
}

/// A host that no rule permits, with its port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPattern {
    /// Its name or address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl GrantPattern {
    /// Any call of the tool, or any connection to the host, that is asked for.
    pub fn of(ask: &Value) -> Option<Self> {
        let text = |name: &str| ask.get(name).and_then(Value::as_str);
        match text("kind")? {
            "host" => HostPattern::of(ask).map(Self::Host),
            "permission" => text("tool").map(CallPattern::of_tool).map(Self::Call),
            _ => None,
        }
    }

    /// Whether it covers this.
    pub fn covers(&self, ask: &Value) -> bool {
        match self {
            Self::Host(host) => HostPattern::of(ask).as_ref() == Some(host),
            Self::Call(call) => call.covers(ask),
        }
    }

    /// The same for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Host(HostPattern { host, port }) => format!("connections to {host}:{port}"),
            Self::Call(call) => call.describe(),
        }
    }
}

impl HostPattern {
    fn of(ask: &Value) -> Option<Self> {
        let is_host = ask.get("kind").and_then(Value::as_str) == Some("host");
        let host = ask.get("host").and_then(Value::as_str).filter(|_| is_host)?;
        let port = u16::try_from(ask.get("port").and_then(Value::as_u64)?).ok()?;
        Some(Self { host: host.to_owned(), port })
    }
}

/// Which calls a grant covers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallPattern {
    /// The tool, by its whole name.
    pub tool: String,
    /// The first words of its command. Then all other arguments are those that are pinned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// Arguments that must be exactly these.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub pinned: Map<String, Value>,
    /// Whether there may be no other arguments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
}

impl CallPattern {
    /// Any call of a tool.
    pub fn of_tool(tool: &str) -> Self {
        Self { tool: tool.to_owned(), words: Vec::new(), pinned: Map::new(), whole: false }
    }

    /// What is offered to whoever is asked for this: commands that begin alike, the same file or address, or this call
    /// alone. None where that would be too long to be read.
    pub fn propose(ask: &Value) -> Option<Self> {
        let tool = ask.get("tool").and_then(Value::as_str)?;
        let mut pattern = Self::of_tool(tool);
        let arguments = arguments(ask)?;
        let first = match arguments.get("command") {
            Some(Value::String(command)) => first_words(command),
            _ => Vec::new(),
        };
        let telling = TELLING.iter().find_map(|name| Some((*name, arguments.get(*name)?)));
        if !first.is_empty() {
            pattern.words = first;
            pattern.pinned = beside_command(&arguments);
        } else if let (Some((name, value)), false) = (telling, arguments.contains_key("command")) {
            pattern.pinned = Map::from_iter([(name.to_owned(), value.clone())]);
        } else {
            pattern.pinned = compared(tool, arguments);
            pattern.whole = true;
        }
        (pattern.describe().len() <= LONGEST && pattern.covers(ask)).then_some(pattern)
    }

    /// Whether it covers this call.
    pub fn covers(&self, ask: &Value) -> bool {
        let is_of_tool = ask.get("kind").and_then(Value::as_str) == Some("permission")
            && ask.get("tool").and_then(Value::as_str) == Some(&self.tool);
        let Some(arguments) = arguments(ask).filter(|_| is_of_tool) else {
            return false;
        };
        if !self.words.is_empty() {
            let command = arguments.get("command").and_then(Value::as_str);
            let words = command.and_then(plain_words);
            return words.is_some_and(|words| words.starts_with(&self.words))
                && beside_command(&arguments) == self.pinned;
        }
        if self.whole {
            return compared(&self.tool, arguments) == self.pinned;
        }
        self.pinned.iter().all(|(name, value)| arguments.get(name) == Some(value))
    }

    /// Whether it covers each call of its tool.
    pub fn is_of_tool(&self) -> bool {
        *self == Self::of_tool(&self.tool)
    }

    /// The same for people.
    pub fn describe(&self) -> String {
        let tool = &self.tool;
        let pinned = |map: &Map<String, Value>| {
            let each = map.iter().map(|(name, value)| format!("{name} {value}"));
            each.collect::<Vec<_>>().join(", ")
        };
        if !self.words.is_empty() {
            let first = shell_words::join(&self.words);
            let beside = match self.pinned.is_empty() {
                true => String::new(),
                false => format!(", with {}", pinned(&self.pinned)),
            };
            return format!("{tool} commands that begin with `{first}`{beside}");
        }
        match (self.whole, self.pinned.is_empty()) {
            (true, true) => format!("{tool} without arguments"),
            (true, false) => format!("{tool} with exactly {}", pinned(&self.pinned)),
            (false, true) => format!("{tool}, whatever its arguments are"),
            (false, false) => {
                format!("{tool} with {}, whatever its other arguments are", pinned(&self.pinned))
            }
        }
    }
}

/// The arguments of a call. An agent that speaks ACP has them as `rawInput`, where it tells them.
fn arguments(ask: &Value) -> Option<Map<String, Value>> {
    let input = ask.get("input")?.as_object()?;
    match (form(ask), input.get("rawInput")) {
        (InputForm::Acp, Some(Value::Object(raw))) => Some(raw.clone()),
        (InputForm::Acp, _) => {
            let mut arguments = input.clone();
            arguments.remove("toolCallId");
            Some(arguments)
        }
        (InputForm::Plain, _) => Some(input.clone()),
    }
}

/// The arguments beside a command that change what runs.
fn beside_command(arguments: &Map<String, Value>) -> Map<String, Value> {
    let beside = arguments
        .iter()
        .filter(|(name, _)| *name != "command" && !BESIDE_COMMAND.contains(&name.as_str()));
    beside.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The arguments as they are compared with those that are pinned as a whole.
fn compared(tool: &str, mut arguments: Map<String, Value>) -> Map<String, Value> {
    if tool == "Bash" && arguments.contains_key("command") {
        BESIDE_COMMAND.iter().for_each(|name| drop(arguments.remove(*name)));
    }
    arguments
}

/// The words of a command that runs one program and no other; none where a shell would do more than split it.
fn plain_words(command: &str) -> Option<Vec<String>> {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '\t' || PLAIN.contains(c);
    let words = command.chars().all(is_plain).then(|| shell_words::split(command).ok());
    words.flatten().filter(|words| !words.is_empty())
}

/// The words that a proposal takes of a command: the program and what follows it up to the first option or path; none where
/// that is the program alone.
fn first_words(command: &str) -> Vec<String> {
    let Some(words) = plain_words(command) else { return Vec::new() };
    let is_name = |word: &&String| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
        !word.is_empty() && !word.starts_with('-') && word.chars().all(is_letter)
    };
    let first: Vec<String> = words.iter().take_while(is_name).cloned().collect();
    if first.len() < 2 { Vec::new() } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn bash(command: &str) -> Value {
        json!({"kind": "permission", "tool": "Bash", "input": {"command": command, "description": "d"}})
    }

    fn proposed(command: &str) -> CallPattern {
        CallPattern::propose(&bash(command)).unwrap()
    }

    #[test]
    fn a_command_proposes_its_first_words_and_one_with_operators_itself_alone() {
        let words = |command: &str| proposed(command).describe();
        assert_eq!(words("npm test -- --watch"), "Bash commands that begin with `npm test`");
        assert_eq!(
            words("npm install left-pad"),
            "Bash commands that begin with `npm install left-pad`"
        );
        assert_eq!(words("python3 primes.py"), r#"Bash with exactly command "python3 primes.py""#);
        assert_eq!(words("ls; rm x"), r#"Bash with exactly command "ls; rm x""#);
        assert_eq!(words("rm -r build"), r#"Bash with exactly command "rm -r build""#);
    }

    #[test]
    fn commands_are_compared_by_words_and_never_where_a_shell_would_run_more() {
        let pattern = proposed("npm test");
        for covered in ["npm test", "npm  test", "npm test --watch", "'npm' \"test\" a/b.js"] {
            assert!(pattern.covers(&bash(covered)), "{covered}");
        }
        for other in [
            "npm testing",
            "npm",
            "npm tes",
            "xnpm test",
            "./npm test",
            "A=1 npm test",
            "npm-test",
            "npm test; rm x",
            "npm test && rm x",
            "npm test || rm x",
            "npm test | sh",
            "npm test & rm x",
            "npm test $(rm x)",
            "npm test `rm x`",
            "npm test > x",
            "npm test < x",
            "npm test\nrm x",
            "npm test\rrm x",
            "npm test \"$(rm x)\"",
            "npm test '`'",
            "npm test \\\n x",
            "npm test {a,b}",
            "npm test ~",
            "npm test *",
            "npm test !x",
            "npm test #",
            "npm test 'open",
            "npm\u{a0}test",
            "npm test\0",
            "NPM test",
            "",
        ] {
            assert!(!pattern.covers(&bash(other)), "{other:?}");
        }
    }

    #[test]
    fn other_arguments_of_a_command_are_those_of_the_call_that_was_asked_for() {
        let call = |beside: &str| {
            let mut call = bash("npm test");
            call["input"][beside] = json!(true);
            call
        };
        assert!(!proposed("npm test").covers(&call("run_in_background")));
        assert!(!proposed("npm test").covers(&call("dangerouslyDisableSandbox")));
        assert!(proposed("npm test").covers(&call("timeout")));
        let pattern = CallPattern::propose(&call("run_in_background")).unwrap();
        assert!(pattern.covers(&call("run_in_background")) && !pattern.covers(&bash("npm test")));
        assert!(pattern.describe().ends_with("with run_in_background true"), "{pattern:?}");
    }

    #[test]
    fn a_file_is_pinned_and_another_tool_or_file_is_not_covered() {
        let edit = |tool: &str, path: &str, text: &str| json!({"kind": "permission", "tool": tool, "input": {"file_path": path, "new_string": text}});
        let pattern = CallPattern::propose(&edit("Edit", "/w/a", "x")).unwrap();
        assert_eq!(
            pattern.describe(),
            r#"Edit with file_path "/w/a", whatever its other arguments are"#
        );
        assert!(pattern.covers(&edit("Edit", "/w/a", "y")));
        assert!(
            !pattern.covers(&edit("Edit", "/w/ab", "x"))
                && !pattern.covers(&edit("Write", "/w/a", "x"))
        );
    }

    #[test]
    fn a_call_of_acp_is_compared_by_its_raw_input() {
        let call = |id: &str, command: &str| json!({"kind": "permission", "tool": "shell", "inputForm": "acp", "input": {"toolCallId": id, "title": "x", "rawInput": {"command": command}}});
        let pattern = CallPattern::propose(&call("1", "git status")).unwrap();
        assert!(
            pattern.covers(&call("2", "git status -s")) && !pattern.covers(&call("2", "git push"))
        );
        let opaque = |id: &str, title: &str| json!({"kind": "permission", "tool": "edit", "inputForm": "acp", "input": {"toolCallId": id, "title": title}});
        let pattern = CallPattern::propose(&opaque("1", "a")).unwrap();
        assert!(pattern.covers(&opaque("2", "a")) && !pattern.covers(&opaque("2", "b")));
    }

    #[test]
    fn members_that_a_model_adds_do_not_hide_the_command_that_runs() {
        let mut call = bash("rm -rf /");
        call["input"]["toolCallId"] = json!("x");
        call["input"]["rawInput"] = json!({"command": "npm test"});
        assert!(!proposed("npm test").covers(&call));
        let shown = CallPattern::propose(&call).unwrap().describe();
        assert!(shown.contains("rm -rf /"), "{shown}");
        call["input"]["command"] = json!("npm test");
        assert!(!proposed("npm test").covers(&call));
    }

    #[test]
    fn a_host_is_covered_with_its_port_alone() {
        let ask = |host: &str, port: u16| json!({"kind": "host", "host": host, "port": port});
        let pattern = GrantPattern::of(&ask("a.test", 443)).unwrap();
        assert_eq!(serde_json::from_value::<GrantPattern>(json!(pattern)).unwrap(), pattern);
        assert!(pattern.covers(&ask("a.test", 443)));
        for other in [ask("a.test", 80), ask("b.a.test", 443), bash("a.test")] {
            assert!(!pattern.covers(&other), "{other}");
        }
    }

    #[test]
    fn a_question_and_a_call_that_is_too_long_have_no_proposal() {
        assert_eq!(CallPattern::propose(&json!({"kind": "question", "text": "?"})), None);
        assert_eq!(CallPattern::propose(&bash(&"x".repeat(LONGEST))), None);
    }

    proptest! {
        #[test]
        fn a_pinned_call_covers_itself_and_nothing_that_differs_in_one_character(
            command in "[ -~]{1,40}", place in 0usize..40, letter in "[ -~]"
        ) {
            let pattern = CallPattern { whole: true, pinned: Map::from_iter([("command".to_owned(), json!(command))]), ..CallPattern::of_tool("Bash") };
            prop_assert!(pattern.covers(&bash(&command)));
            let mut other = command;
            let place = place.min(other.len());
            other.insert_str(place, &letter);
            prop_assert!(!pattern.covers(&bash(&other)));
        }

        #[test]
        fn what_a_pattern_of_words_covers_begins_with_them_and_has_no_operator(
            tail in "[ -~\n\t]{0,30}"
        ) {
            let pattern = proposed("npm test");
            let command = format!("npm test{tail}");
            if pattern.covers(&bash(&command)) {
                let words = shell_words::split(&command).unwrap();
                prop_assert_eq!(&words[..2], ["npm", "test"]);
                prop_assert!(!command.contains([';', '&', '|', '$', '`', '<', '>', '(', ')', '\n', '\\']));
            }
        }
    }
}
