//! What a CLI says of itself before any turn: its version, and what it offers by name.

use serde::{Deserialize, Serialize};

/// What a CLI offers, as it says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Its version.
    pub version: Option<String>,
    /// Its commands and skills.
    pub commands: Vec<Offer>,
    /// Its subagents.
    pub subagents: Vec<Offer>,
    /// What it lacks of what the driver uses, a sentence each; none where that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Vec<String>>,
}

/// What is asked of a CLI after the start, by a process of its own and without a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inquiry {
    /// What it offers.
    Offers,
    /// Its version.
    Version,
    /// Its options, as it explains them to people.
    Help,
}

/// A command, a skill or a subagent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The name by which it is called: that of its file or folder.
    pub id: String,
    /// The name that people see.
    pub name: String,
    /// Further names by which it is called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// One sentence on it.
    pub description: String,
    /// Whether it is a part of the CLI.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub builtin: bool,
}

impl Offer {
    /// Whether it is called by this name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.id == name || self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}
