//! What the operator is told of, and where.

use super::defaults::{seconds, section};
use super::{Age, MASK};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

section! {
    /// What the operator is told of.
    #[derive(Debug)]
    pub struct Notifications {
        /// Where notifications go, by name.
        pub targets: BTreeMap<String, NotificationTarget>,
        /// How long a link in a notification answers its ask.
        pub link: Age = seconds(3600),
        /// How long a notification is tried.
        pub give_up: Age = seconds(3600),
        /// Notifications that are on their way.
        pub pending: usize = 1000,
    }
}

/// Where notifications go, and which.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotificationTarget {
    /// What is there.
    pub kind: TargetKind,
    /// Its address.
    pub url: String,
    /// Sent as bearer token.
    #[serde(default)]
    pub token: Option<String>,
    /// What it is told of.
    #[serde(default = "NotifyOn::all")]
    pub on: Vec<NotifyOn>,
    /// Of which callers; empty for all.
    #[serde(default)]
    pub callers: Vec<String>,
    /// Of which agents; empty for all.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Whether what it is told of an ask has a link that answers it.
    #[serde(default)]
    pub links: bool,
    /// Of a webhook: the JSON that is posted, with `{title}`, `{text}` and other places in its texts.
    #[serde(default)]
    pub template: Option<String>,
}

/// What is at the address of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Anything that takes JSON.
    Webhook,
    /// A topic of ntfy.
    Ntfy,
    /// An incoming webhook of Slack, or what takes the same.
    Slack,
}

/// What a target is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotifyOn {
    /// An agent asks, and a person has to answer.
    Ask,
    /// A turn has failed, or was rejected.
    Failure,
    /// A turn is completed.
    Completion,
}

impl NotifyOn {
    fn all() -> Vec<Self> {
        vec![Self::Ask, Self::Failure, Self::Completion]
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Failure => "failure",
            Self::Completion => "completion",
        }
    }
}

/// An address may hold a secret, and is not shown.
impl fmt::Debug for NotificationTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("NotificationTarget")
            .field("kind", &self.kind)
            .field("url", &MASK)
            .field("token", &self.token.as_ref().map(|_| MASK))
            .field("on", &self.on)
            .finish_non_exhaustive()
    }
}

/// The template of a webhook with these values in its places, each as the inside of a text of JSON.
pub fn fill_template(template: &str, values: &[(&str, &str)]) -> String {
    fill_places(template, values, |value| {
        let text = serde_json::Value::from(value).to_string();
        text[1..text.len() - 1].to_owned()
    })
}

/// A template with these values in its places, each as this makes of it.
pub fn fill_places(
    template: &str,
    values: &[(&str, &str)],
    render: impl Fn(&str) -> String,
) -> String {
    let (mut filled, mut rest) = (String::with_capacity(template.len()), template);
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let place = values.iter().find(|(name, _)| {
            rest[1..].strip_prefix(name).is_some_and(|rest| rest.starts_with('}'))
        });
        match place {
            Some((name, value)) => {
                filled.push_str(&render(value));
                rest = &rest[name.len() + 2..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

/// The names of the places of a template.
pub const PLACES: [&str; 9] =
    ["event", "title", "text", "agent", "caller", "task", "context", "ask", "link"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_inside_of_its_text_whatever_it_holds() {
        let template = r#"{"content": "{title}: {text} {other}", "x": {"y": 1}}"#;
        let filled = fill_template(template, &[("title", "a \"b\""), ("text", "{title}\n")]);
        let value: serde_json::Value = serde_json::from_str(&filled).unwrap();
        assert_eq!(value["content"], "a \"b\": {title}\n {other}");
        assert_eq!(value["x"]["y"], 1);
    }
}
