//! What Claude Code says of itself in its answer to `initialize`.

use crate::inventory::{Inventory, Offer};
use crate::is_unshowable;
use serde::Deserialize;
use std::collections::BTreeSet;

/// The versions of Claude Code that this driver is tested with.
pub const TESTED_VERSIONS: &[&str] = &["2.1.332", "2.1.329"];

/// Subagents that are a part of the CLI, which does not mark them.
const BUILTIN_SUBAGENTS: &[&str] =
    &["claude", "Explore", "general-purpose", "Plan", "statusline-setup"];

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
    #[serde(default)]
    commands: Vec<Described>,
    #[serde(default)]
    agents: Vec<Described>,
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
    let mut subagents = offers(answer.agents);
    for subagent in &mut subagents {
        subagent.builtin |= BUILTIN_SUBAGENTS.contains(&&*subagent.id);
    }
    let commands = offers(answer.commands);
    let version = answer.claude_code_version.as_deref().map(shorten);
    Some(Ok(Inventory { version, commands, subagents }))
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
