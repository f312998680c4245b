//! What an agent's CLI says that it offers: for its card, and where that differs from its files and its configuration.

use super::Agent;
use crate::config::{DriverKind, SkillsSource};
use jiff::Timestamp;
use parking_lot::RwLock;
use pilothouse_a2a::card::AgentSkill;
use pilothouse_agents::claude::TESTED_VERSIONS;
use pilothouse_agents::inventory::{Inventory, Offer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Files of a folder that count for a fingerprint, and how deep they lie.
const FILES: usize = 4096;
const DEPTH: usize = 8;

/// What a CLI said, and for which version and set-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownInventory {
    /// What was asked; none where it cannot be told apart from others.
    pub fingerprint: Option<String>,
    /// When it was asked.
    pub asked: pilothouse_a2a::time::Timestamp,
    /// The answer.
    pub inventory: Inventory,
}

/// What is known of what a CLI offers; changed by whoever asks it, read for each card.
#[derive(Default)]
pub struct Offers(RwLock<State>);

#[derive(Default)]
struct State {
    known: Option<Arc<KnownInventory>>,
    asking: Asking,
    /// When the list last became another one.
    changed: Option<Timestamp>,
}

/// Whether the list is what the CLI of this start says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Asking {
    /// It was not asked yet; what is known is what it said last.
    #[default]
    Pending,
    /// It is.
    Current,
    /// It was asked and did not say, for this reason.
    Failed(String),
}

impl Offers {
    /// The last answer.
    pub fn known(&self) -> Option<Arc<KnownInventory>> {
        self.0.read().known.clone()
    }

    /// When the list last became another one, if it did since the start.
    pub fn changed(&self) -> Option<Timestamp> {
        self.0.read().changed
    }

    /// Takes what an earlier server was told.
    pub fn restore(&self, known: KnownInventory) {
        self.0.write().known = Some(Arc::new(known));
    }

    /// Whether the CLI has answered for this version and set-up; the answer counts for this start then.
    pub fn confirm(&self, fingerprint: &str) -> bool {
        let mut state = self.0.write();
        let is_known =
            |known: &Arc<KnownInventory>| known.fingerprint.as_deref() == Some(fingerprint);
        let is_current = state.known.as_ref().is_some_and(is_known);
        if is_current {
            state.asking = Asking::Current;
        }
        is_current
    }

    /// Takes what the CLI has just answered; whether that is another list than before.
    pub fn replace(&self, answer: KnownInventory) -> bool {
        let mut state = self.0.write();
        let is_other = state.known.as_ref().is_none_or(|known| known.inventory != answer.inventory);
        if is_other {
            state.changed = Some(Timestamp::now());
        }
        (state.known, state.asking) = (Some(Arc::new(answer)), Asking::Current);
        is_other
    }

    /// Keeps what is known, since the CLI did not answer.
    pub fn fail(&self, reason: String) {
        self.0.write().asking = Asking::Failed(reason);
    }
}

impl Agent {
    /// Whether its CLI is asked what it offers.
    pub fn asks_its_cli(&self) -> bool {
        self.config.driver == DriverKind::Claude && self.config.skills_source == SkillsSource::Cli
    }

    /// What it offers beside what the configuration says: by its CLI's word, and by the files where that is not known.
    pub fn offered_skills(&self) -> Vec<AgentSkill> {
        let Some(known) = self.offers.known().filter(|_| self.asks_its_cli()) else {
            return self.found.skills.clone();
        };
        let Inventory { commands, subagents, .. } = &known.inventory;
        let for_callers =
            |offer: &Offer| self.config.commands.iter().any(|name| offer.is_called(name));
        let commands = commands.iter().filter_map(|offer| {
            let tags: &[&str] = match (offer.builtin, for_callers(offer)) {
                (true, false) => return None,
                (true, true) => &["command"],
                (false, true) => &["skill", "command"],
                (false, false) => &["skill"],
            };
            Some(card_skill(offer.id.clone(), offer, tags))
        });
        let subagents = subagents.iter().filter(|offer| !offer.builtin);
        let subagents = subagents
            .map(|offer| card_skill(format!("subagent:{}", offer.id), offer, &["subagent"]));
        // The CLI lists what people can call; the model can use these all the same.
        let hidden = self.found.skills.iter();
        let hidden = hidden.filter(|skill| self.found.hidden.contains(&skill.id)).cloned();
        commands.chain(subagents).chain(hidden).collect()
    }

    /// The version of its CLI as far as that was asked, and whether it is a tested one.
    pub fn version_note(&self) -> Option<String> {
        let known = self.offers.known().filter(|_| self.asks_its_cli())?;
        let version = known.inventory.version.as_deref()?;
        Some(format!("`{}` is {}", self.key, describe_version(version)))
    }

    /// Where the CLI's word on its skills differs from the files and the configuration; what is wrong with the files
    /// where the CLI was not asked.
    pub fn offer_notes(&self) -> Vec<String> {
        let known = self.offers.known().filter(|_| self.asks_its_cli());
        let Some(known) = known else {
            return self.found.left_out.iter().map(|left| left.note()).collect();
        };
        let commands = &known.inventory.commands;
        let offered = |name: &str| commands.iter().find(|offer| offer.is_called(name));
        let mut notes = Vec::new();
        for skill in &self.found.skills {
            if offered(&skill.id).is_none() && !self.found.hidden.contains(&skill.id) {
                notes.push(format!(
                    "the skill `{}` lies in a folder of skills of `{}`, but Claude Code does not load it, so it is not on \
                     the card; it loads those in the folder `skills` of `agents.{1}.defaults_dir`",
                    skill.id, self.key
                ));
            }
        }
        for left in &self.found.left_out {
            notes.push(match left.id.as_deref().and_then(offered) {
                Some(offer) => format!(
                    "{}: {}; Claude Code loads it as `{}`: correct the file",
                    left.path.display(),
                    left.reason,
                    offer.name
                ),
                None => left.note(),
            });
        }
        for name in self.config.commands.iter().filter(|name| offered(name).is_none()) {
            notes.push(format!(
                "`agents.{}.commands` lists `{name}`, which Claude Code does not offer here: a message that runs it \
                 would be ordinary text",
                self.key
            ));
        }
        notes
    }

    /// What is known of its skills, for `/ready`; nothing where its CLI is not asked.
    pub fn describe_offers(&self) -> Option<Value> {
        if !self.asks_its_cli() {
            return None;
        }
        let state = self.offers.0.read();
        let (word, reason) = match &state.asking {
            Asking::Pending => ("asking", None),
            Asking::Current => ("current", None),
            Asking::Failed(reason) => ("failed", Some(reason)),
        };
        let mut told = json!({"state": word});
        if let Some(reason) = reason {
            told["reason"] = json!(reason);
        }
        if let Some(known) = &state.known {
            let version = known.inventory.version.as_deref();
            told["asked"] = json!(known.asked.to_string());
            told["version"] = json!(version);
            told["tested"] = json!(version.is_some_and(is_tested));
        }
        Some(told)
    }

    /// What its CLI's answer depends on: the program and its version, how it is started, what its folders hold. None
    /// where this cannot be seen from here. Reads the disk.
    pub fn fingerprint(&self) -> Option<String> {
        if self.contained {
            return None;
        }
        let program = std::fs::canonicalize(&self.program).ok()?;
        let stamp = stamp(&std::fs::metadata(&program).ok()?);
        let given = self.latest_env();
        let names: Vec<&str> = given.env.keys().map(|name| &**name).collect();
        let config = &self.config;
        let mut seen = Sha256::new();
        let set_up = json!([
            env!("CARGO_PKG_VERSION"),
            program,
            stamp,
            self.args,
            names,
            config.model,
            config.permission_mode,
            config.disallowed_tools,
            self.current_setup().map(|setup| setup.digest.clone()),
        ]);
        seen.update(set_up.to_string());
        let project = self.workspaces.shared().map(|shared| shared.join(".claude"));
        for folder in config.defaults_dir.iter().chain(&project) {
            seen.update(folder.as_os_str().as_encoded_bytes());
            let mut left = FILES;
            look_into(folder, DEPTH, &mut left, &mut seen);
        }
        Some(format!("{:x}", seen.finalize()))
    }
}

/// A version, and whether it is one that was tested.
pub fn describe_version(version: &str) -> String {
    if is_tested(version) {
        return format!("Claude Code {version}, a version that was tested with this server");
    }
    let tested = TESTED_VERSIONS.join(" and ");
    format!(
        "Claude Code {version}, which was not tested with this server (tested: {tested}); where it behaves in another way, \
         install that one"
    )
}

/// Whether a version of Claude Code is one that was tested.
pub fn is_tested(version: &str) -> bool {
    TESTED_VERSIONS.contains(&version)
}

fn card_skill(id: String, offer: &Offer, tags: &[&str]) -> AgentSkill {
    let description = if offer.description.is_empty() { &offer.name } else { &offer.description };
    AgentSkill {
        id,
        name: offer.name.clone(),
        description: description.clone(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        ..AgentSkill::default()
    }
}

/// What tells a changed file from an unchanged one.
fn stamp(found: &Metadata) -> (u64, i64, i64) {
    (found.len(), found.mtime(), found.mtime_nsec())
}

/// Names and stamps of what lies in a folder, as far as it counts.
fn look_into(folder: &Path, depth: usize, left: &mut usize, seen: &mut Sha256) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut names: Vec<_> = entries.flatten().take(*left).map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = folder.join(&name);
        let Ok(found) = std::fs::metadata(&path) else { continue };
        seen.update(name.as_encoded_bytes());
        seen.update([0]);
        if !found.is_dir() {
            let (size, seconds, nanoseconds) = stamp(&found);
            seen.update(size.to_le_bytes());
            seen.update(seconds.to_le_bytes());
            seen.update(nanoseconds.to_le_bytes());
        } else if depth > 0 {
            look_into(&path, depth - 1, left, seen);
        }
    }
}
