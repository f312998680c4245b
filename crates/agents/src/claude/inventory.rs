//! What Claude Code says of itself in its answer to `initialize`.

use super::{Claude, ClaudeOptions};
use crate::inventory::{Inquiry, Inventory, Offer};
use crate::{Driver, Launch, Life, Output, Setting, Turn, is_unshowable};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The versions of Claude Code that this driver is tested with.
pub const TESTED_VERSIONS: &[&str] = &["2.1.332", "2.1.329"];

/// Subagents that are a part of the CLI, which does not mark them.
const BUILTIN_SUBAGENTS: &[&str] =
    &["claude", "Explore", "general-purpose", "Plan", "statusline-setup"];

/// Options that the driver uses, with what does not work where one is missing.
const OPTIONS: &[(&str, &str)] = &[
    ("--append-system-prompt", "instructions of the operator cannot be given"),
    ("--disallowedTools", "tools cannot be taken away (`agents.*.disallowed_tools`)"),
    ("--fork-session", "a conversation cannot be continued as another one"),
    ("--include-hook-events", "hooks that fail or take long are not told"),
    ("--include-partial-messages", "answers come in large pieces"),
    ("--input-format", "it cannot be given messages"),
    ("--mcp-config", "MCP servers cannot be declared"),
    ("--model", "the model cannot be chosen"),
    ("--output-format", "its answers cannot be read"),
    ("--permission-mode", "`agents.*.permission_mode` cannot be set"),
    ("--permission-prompt-tool", "it cannot ask for permissions"),
    ("--plugin-dir", "plugins and skills of the set-up cannot be loaded"),
    ("--resume", "a conversation cannot be resumed"),
    ("--session-id", "a conversation cannot be found again after a crash"),
    ("--settings", "settings of the set-up cannot be given"),
    ("--strict-mcp-config", "it cannot be asked what it offers"),
    ("--verbose", "its answers cannot be read"),
];

/// What of its answer to `initialize` the driver uses, with what is not known where it is missing.
const NO_COMMANDS: &str =
    "its answer to `initialize` has no `commands`: its skills and commands are not on the card";
const NO_AGENTS: &str =
    "its answer to `initialize` has no `agents`: its subagents are not on the card";
const NO_VERSION: &str =
    "its answer to `initialize` has no `claude_code_version`: its version is not known";

/// Offers of one kind that are kept, and characters of a text of theirs.
const OFFERS: usize = 512;
const CHARACTERS: usize = 1024;

/// A line of the CLI, as far as it may be the answer.
#[derive(Deserialize)]
struct InventoryLine {
    #[serde(rename = "type")]
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    request_id: String,
    error: Option<String>,
    response: Option<InventoryAnswer>,
}

#[derive(Deserialize)]
struct InventoryAnswer {
    commands: Option<Vec<Described>>,
    agents: Option<Vec<Described>>,
    claude_code_version: Option<String>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    builtin: bool,
}

impl Claude {
    /// A process that answers this; none where its arguments are refused.
    pub(super) fn inquire(&self, setting: &Setting, inquiry: Inquiry) -> Option<Launch> {
        let setup = self.options.setup.for_inquiry();
        let mut asked = Self::new(ClaudeOptions { setup, ..self.options.clone() });
        let mut launch = asked.launch(setting, &Turn::default()).ok()?;
        let text = |word: &str| (Life::Session, Output::Bytes, vec![word.to_owned()]);
        (launch.life, launch.output, launch.args) = match inquiry {
            Inquiry::Offers => {
                launch.args.push("--strict-mcp-config".to_owned());
                return Some(launch);
            }
            Inquiry::Version => text("--version"),
            Inquiry::Help => text("--help"),
        };
        Some(launch)
    }
}

/// What the CLI offers, or why it does not say, where this line answers the request of this id.
pub(super) fn read(line: &[u8], request: &str) -> Option<Result<Inventory, String>> {
    let line: InventoryLine = serde_json::from_slice(line).ok()?;
    let response = line.response.filter(|_| line.kind == "control_response")?;
    if response.request_id != request {
        return None;
    }
    let Some(answer) = response.response else {
        let error = response.error.as_deref().map(shorten);
        return Some(Err(error.unwrap_or_else(|| "it answered nothing".to_owned())));
    };
    let missing = [
        (answer.commands.is_none(), NO_COMMANDS),
        (answer.agents.is_none(), NO_AGENTS),
        (answer.claude_code_version.is_none(), NO_VERSION),
    ];
    let lacks = missing.iter().filter(|(is_missing, _)| *is_missing);
    let lacks: Vec<_> = lacks.map(|(_, words)| (*words).to_owned()).collect();
    let mut subagents = offers(answer.agents.unwrap_or_default());
    for subagent in &mut subagents {
        subagent.builtin |= BUILTIN_SUBAGENTS.contains(&&*subagent.id);
    }
    let commands = offers(answer.commands.unwrap_or_default());
    let version = answer.claude_code_version.as_deref().map(shorten);
    let lacks = (!lacks.is_empty()).then_some(lacks);
    Some(Ok(Inventory { version, commands, subagents, lacks }))
}

/// Whether the driver's table has this option.
#[cfg(test)]
pub(super) fn is_listed(option: &str) -> bool {
    OPTIONS.iter().any(|(name, _)| *name == option)
}

/// Options of the driver that this help of the CLI does not name; none where it names no options at all.
pub(super) fn missing_options(help: &str) -> Option<Vec<String>> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let named: BTreeSet<&str> =
        help.split(|c: char| !is_part(c)).filter(|word| word.starts_with("--")).collect();
    if named.is_empty() {
        return None;
    }
    let missing = OPTIONS.iter().filter(|(name, _)| !named.contains(name));
    Some(missing.map(|(name, loss)| format!("it has no option `{name}`: {loss}")).collect())
}

fn offers(described: Vec<Described>) -> Vec<Offer> {
    let mut known = BTreeSet::new();
    let offers = described.into_iter().map(offer);
    offers.filter(|offer| known.insert(offer.id.clone())).take(OFFERS).collect()
}

fn offer(described: Described) -> Offer {
    let Described { name, description, mut aliases, builtin } = described;
    // Where the front matter gives a name of its own, the last alias is that of the folder.
    let id = if builtin { None } else { aliases.pop() };
    let description = shorten(&description);
    Offer {
        id: shorten(id.as_ref().unwrap_or(&name)),
        name: shorten(&name),
        aliases: aliases.iter().map(|alias| shorten(alias)).collect(),
        // Where it comes from stands behind it.
        description: description
            .strip_suffix(" (user)")
            .or_else(|| description.strip_suffix(" (project)"))
            .unwrap_or(&description)
            .to_owned(),
        builtin,
    }
}

/// A text in one line of what can be shown, not longer than it may be.
fn shorten(text: &str) -> String {
    let is_gap = |character: char| character.is_whitespace() || is_unshowable(character);
    let words: Vec<&str> = text.split(is_gap).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn answer(response: &Value) -> Option<Result<Inventory, String>> {
        let line = json!({"type": "control_response", "response": response});
        read(line.to_string().as_bytes(), "ahead")
    }

    /// Reduced from what Claude Code 2.1.329 says with a skill whose front matter is not YAML, with a plugin, and with
    /// a subagent.
    #[test]
    fn what_the_real_cli_says_is_read() {
        let response = json!({"subtype": "success", "request_id": "ahead", "response": {
            "commands": [
                {"name": "[broken", "description": "foo: bar (user)", "argumentHint": "", "aliases": ["badyaml"]},
                {"name": "good", "description": "A good\nskill (project)", "argumentHint": ""},
                {"name": "tools:Greet them", "description": "(tools) Greets", "argumentHint": "", "aliases": ["Greet them", "tools:greet"]},
                {"name": "usage", "description": "Show cost", "argumentHint": "", "aliases": ["cost"], "builtin": true},
            ],
            "agents": [
                {"name": "Plan", "description": "Plans", "model": "inherit"},
                {"name": "scout", "description": "Looks around"},
            ],
            "output_style": "default", "pid": 1, "claude_code_version": "2.1.329",
        }});
        let inventory = answer(&response).unwrap().unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&inventory).unwrap(), @r#"
        {
          "version": "2.1.329",
          "commands": [
            {
              "id": "badyaml",
              "name": "[broken",
              "description": "foo: bar"
            },
            {
              "id": "good",
              "name": "good",
              "description": "A good skill"
            },
            {
              "id": "tools:greet",
              "name": "tools:Greet them",
              "aliases": [
                "Greet them"
              ],
              "description": "(tools) Greets"
            },
            {
              "id": "usage",
              "name": "usage",
              "aliases": [
                "cost"
              ],
              "description": "Show cost",
              "builtin": true
            }
          ],
          "subagents": [
            {
              "id": "Plan",
              "name": "Plan",
              "description": "Plans",
              "builtin": true
            },
            {
              "id": "scout",
              "name": "scout",
              "description": "Looks around"
            }
          ]
        }
        "#);
        assert_eq!(inventory.lacks, None);
        assert!(
            inventory.commands[3].is_called("cost") && !inventory.commands[3].is_called("tests")
        );
    }

    #[test]
    fn a_refusal_is_told_and_other_lines_are_passed_over() {
        let refused = json!({"subtype": "error", "request_id": "ahead", "error": "not now"});
        assert_eq!(answer(&refused), Some(Err("not now".to_owned())));
        let other = json!({"subtype": "success", "request_id": "other", "response": {}});
        assert_eq!(answer(&other), None);
        assert_eq!(read(br#"{"type":"system","subtype":"init"}"#, "ahead"), None);
    }

    #[test]
    fn members_of_the_answer_that_are_missing_are_told() {
        let response =
            json!({"subtype": "success", "request_id": "ahead", "response": {"commands": []}});
        let inventory = answer(&response).unwrap().unwrap();
        assert_eq!(inventory.lacks.unwrap(), [NO_AGENTS, NO_VERSION]);
    }

    #[test]
    fn options_that_a_help_does_not_name_are_told() {
        let names: Vec<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
        let help =
            format!("Options:\n  {} <value>  Explains it (--other=x)", names.join(" <value>, "));
        assert_eq!(missing_options(&help).unwrap(), Vec::<String>::new());
        assert_eq!(missing_options("Usage: claude"), None);
        let shorter = help.replace("--resume <value>, ", "--resume-all, ");
        assert_eq!(
            missing_options(&shorter).unwrap(),
            ["it has no option `--resume`: a conversation cannot be resumed"]
        );
    }

    #[test]
    fn texts_and_lists_have_an_end() {
        let many: Vec<_> = (0..=OFFERS)
            .map(|n| json!({"name": format!("{n}"), "description": "x".repeat(9999)}))
            .collect();
        let response =
            json!({"subtype": "success", "request_id": "ahead", "response": {"commands": many}});
        let inventory = answer(&response).unwrap().unwrap();
        assert_eq!(inventory.commands.len(), OFFERS);
        assert_eq!(inventory.commands[0].description.chars().count(), CHARACTERS + 1);
    }

    #[test]
    fn the_version_that_tests_install_is_a_tested_one() {
        let script = include_str!("../../../../tools/claude.sh");
        let pinned = script.lines().find_map(|line| line.strip_prefix("VERSION=")).unwrap();
        assert!(TESTED_VERSIONS.contains(&pinned.split_whitespace().next().unwrap()));
    }
}
