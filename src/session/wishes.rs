//! What a message wants of the turn that it becomes, beside its words.

use crate::agent::LaunchChoice;
use crate::config::Budget;
use serde_json::Value;

/// Wishes that are permitted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
    /// How the CLI is started.
    pub choice: LaunchChoice,
    /// The branch, tag or commit at which a new session begins.
    pub reference: Option<String>,
    /// What its task may have used during the turn, where that is less than the configured ceilings.
    pub budget: Budget,
    /// Patterns of further files that are artifacts of the turn.
    pub results: Vec<String>,
    /// Whether a completed turn ends with a push.
    pub push: Option<bool>,
    /// The revision that the set-up of the session has.
    pub setup: Option<String>,
    /// The same as it was said, for the answer.
    pub chosen: Value,
}

impl Wishes {
    /// Notes what the turn chose in an ask of it, which may be answered when its process is gone.
    pub(super) fn note_in(wishes: Option<&Self>, ask: &mut Value) {
        if let Some(wishes) = wishes {
            ask["wishes"] = wishes.chosen.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_ask_holds_what_the_turn_that_asks_has_chosen_and_nothing_where_it_chose_nothing() {
        let mut ask = json!({"kind": "tool"});
        Wishes::note_in(None, &mut ask);
        assert_eq!(ask, json!({"kind": "tool"}));
        let wishes = Wishes { chosen: json!({"permission": "plan"}), ..Wishes::default() };
        Wishes::note_in(Some(&wishes), &mut ask);
        assert_eq!(ask["wishes"], json!({"permission": "plan"}));
    }
}
