//! What the user of `send` chooses for one message, within what the server permits.

use crate::client::failure::Failure;
use crate::config::WISHES;
use clap::Args;
use serde_json::{Map, Value, json};

/// Choices for one message.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Choices within `agents.*.caller_may`")]
pub(crate) struct WishArgs {
    /// The model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The effort of the model: low, medium, high, ...
    #[arg(long, value_name = "LEVEL")]
    effort: Option<String>,
    /// The permission mode: plan, default or acceptEdits
    #[arg(long, value_name = "MODE")]
    permission: Option<String>,
    /// US dollars that the task may cost at most
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    /// The branch, tag or commit at which the new session begins
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// Files that are results of the turn, by a pattern such as `*.md` (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    results: Vec<String>,
    /// The revision of the set-up that the session must have
    #[arg(long, value_name = "REVISION")]
    setup: Option<String>,
    /// End the task with a push of the session's branch
    #[arg(long)]
    push: bool,
}

impl WishArgs {
    /// The member of the message's metadata, where something is chosen.
    pub(super) fn to_metadata(&self) -> Result<Option<(String, Value)>, Failure> {
        let texts = [
            ("model", &self.model),
            ("effort", &self.effort),
            ("permission", &self.permission),
            ("ref", &self.reference),
            ("setup", &self.setup),
        ];
        let texts = texts.into_iter();
        let mut wishes: Map<String, Value> = texts
            .filter_map(|(name, text)| Some((name.to_owned(), text.as_deref()?.into())))
            .collect();
        if let Some(cost) = self.budget {
            if !cost.is_finite() || cost <= 0.0 {
                return Err(Failure::usage("`--budget` is an amount of US dollars, as 2.50"));
            }
            wishes.insert("budget".to_owned(), json!({"costUsd": cost}));
        }
        if !self.results.is_empty() {
            wishes.insert("results".to_owned(), json!(self.results));
        }
        if self.push {
            wishes.insert("push".to_owned(), true.into());
        }
        Ok((!wishes.is_empty()).then(|| (WISHES.to_owned(), wishes.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_one_member_of_the_metadata_and_nothing_where_nothing_is_chosen() {
        assert_eq!(WishArgs::default().to_metadata().unwrap(), None);
        let args = WishArgs {
            model: Some("opus".to_owned()),
            budget: Some(2.5),
            reference: Some("next".to_owned()),
            push: true,
            ..WishArgs::default()
        };
        let (name, wishes) = args.to_metadata().unwrap().unwrap();
        assert_eq!(name, "urn:pilothouse:wishes:v1");
        let expected =
            json!({"model": "opus", "budget": {"costUsd": 2.5}, "ref": "next", "push": true});
        assert_eq!(wishes, expected);
        let free = WishArgs { budget: Some(0.0), ..WishArgs::default() };
        assert!(free.to_metadata().is_err());
    }
}
