//! What an agent asks its client, permissions and forms, and the answers in its own words.

use super::tool::Tool;
use super::wire::{self, PermissionOption};
use crate::form::Form;
use crate::{Answer, Ask, AskKind, Event, InputForm, Step};
use serde_json::{Value, json};

/// An ask that waits for its answer.
#[derive(Debug)]
pub(super) struct PendingAsk {
    /// The agent's request.
    pub(super) request: Value,
    kind: PendingKind,
}

#[derive(Debug)]
enum PendingKind {
    Permission(Vec<PermissionOption>),
    Form(Form),
}

/// A permission request as the house has it. `input` holds all that a person needs to decide:
/// `toolCallId`, `title`, `kind`, `rawInput`, `content` (diffs among it), `locations`, and
/// `options` with `optionId`, `name` and `kind`.
pub(super) fn permission(
    id: &str,
    request: Value,
    tool_id: &str,
    tool: &Tool,
    options: Vec<PermissionOption>,
) -> (Ask, PendingAsk) {
    let told = options
        .iter()
        .map(|o| json!({ "optionId": o.option_id, "name": o.name, "kind": o.kind }))
        .collect();
    let (tool, input, description) = tool.to_decide(tool_id, told);
    let form = InputForm::Acp;
    let kind = AskKind::Permission { tool, input, form, description };
    let ask = Ask { id: id.to_owned(), kind };
    let kind = PendingKind::Permission(options);
    (ask, PendingAsk { request, kind })
}

/// A form as a question; `input` is the agent's own request.
pub(super) fn question(id: &str, request: Value, params: Value) -> (Ask, PendingAsk) {
    let form = Form::of(&params);
    let ask = Ask {
        id: id.to_owned(),
        kind: AskKind::Question { text: form.text(), options: form.options(), input: params },
    };
    let kind = PendingKind::Form(form);
    (ask, PendingAsk { request, kind })
}

impl PendingAsk {
    /// The agent's form of an answer, and a word to the caller where it could not be given as meant.
    pub(super) fn answered(&self, answer: &Answer) -> Vec<Step> {
        let (result, remark) = match &self.kind {
            PendingKind::Permission(options) => decide(options, answer),
            PendingKind::Form(form) => (form.answered(answer), None),
        };
        let remark =
            remark.map(|text: &str| Step::Say(Event::Status { text: text.to_owned(), data: None }));
        [wire::respond(&self.request, &result)].into_iter().chain(remark).collect()
    }

    /// Nobody will answer: the turn was interrupted.
    pub(super) fn canceled(&self) -> Step {
        let result = match self.kind {
            PendingKind::Permission(_) => json!({ "outcome": { "outcome": "cancelled" } }),
            PendingKind::Form(_) => json!({ "action": "cancel" }),
        };
        wire::respond(&self.request, &result)
    }
}

/// The option that an answer means. A standing permission is given only where it was asked for: by
/// its `optionId`, or by `scope: session`. A tool whose input was changed does not run, because the
/// agent would run the one that it asked for.
fn decide(options: &[PermissionOption], answer: &Answer) -> (Value, Option<&'static str>) {
    let of_kind = |kind: &str| options.iter().find(|option| option.kind == kind);
    let select = |option: Option<&PermissionOption>| match option {
        Some(option) => {
            json!({ "outcome": { "outcome": "selected", "optionId": option.option_id } })
        }
        None => json!({ "outcome": { "outcome": "cancelled" } }),
    };
    let reject = || select(of_kind("reject_once").or_else(|| of_kind("reject_always")));
    let once = of_kind("allow_once");
    match answer {
        Answer::Deny { .. } => (reject(), None),
        Answer::Allow { input: None } => match once {
            Some(_) => (select(once), None),
            None => (
                reject(),
                Some("the agent offers only a standing permission; the tool was refused"),
            ),
        },
        Answer::Allow { input: Some(input) } => {
            let chosen = input.get("optionId").and_then(Value::as_str);
            let session = input.get("scope").or(Some(input)) == Some(&json!("session"));
            if let Some(chosen) = chosen
                && let Some(option) = options.iter().find(|option| option.option_id == chosen)
            {
                (select(Some(option)), None)
            } else if session && (of_kind("allow_always").is_some() || once.is_some()) {
                (select(of_kind("allow_always").or(once)), None)
            } else {
                (
                    reject(),
                    Some(
                        "this agent runs a tool only as it asked; with a changed input it was refused",
                    ),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kinds: &[&str]) -> Vec<PermissionOption> {
        let option = |kind: &&str| PermissionOption {
            option_id: format!("{kind}-id"),
            name: (*kind).to_owned(),
            kind: (*kind).to_owned(),
        };
        kinds.iter().map(option).collect()
    }

    const ALL: &[&str] = &["allow_always", "allow_once", "reject_always", "reject_once"];

    fn chosen(kinds: &[&str], answer: &Answer) -> Value {
        let (result, _) = decide(&options(kinds), answer);
        result["outcome"]["optionId"].clone()
    }

    fn allow(input: Value) -> Answer {
        Answer::Allow { input: (!input.is_null()).then_some(input) }
    }

    fn deny() -> Answer {
        Answer::Deny { message: String::new() }
    }

    #[test]
    fn a_tool_is_allowed_and_refused_once() {
        assert_eq!(chosen(ALL, &allow(Value::Null)), "allow_once-id");
        assert_eq!(chosen(ALL, &deny()), "reject_once-id");
    }

    #[test]
    fn a_standing_permission_is_never_chosen_unasked() {
        let only = ["allow_always", "reject_once"];
        assert_eq!(chosen(&only, &allow(Value::Null)), "reject_once-id");
        let session = json!({ "scope": "session" });
        assert_eq!(chosen(ALL, &allow(session)), "allow_always-id");
        assert_eq!(chosen(ALL, &allow(json!("session"))), "allow_always-id");
        let id = json!({ "optionId": "allow_always-id" });
        assert_eq!(chosen(ALL, &allow(id)), "allow_always-id");
    }

    #[test]
    fn a_changed_input_or_an_unknown_option_does_not_run_the_tool() {
        let changed = allow(json!({ "command": "other" }));
        assert_eq!(chosen(ALL, &changed), "reject_once-id");
        let unknown = allow(json!({ "optionId": "other" }));
        assert_eq!(chosen(ALL, &unknown), "reject_once-id");
    }

    #[test]
    fn where_nothing_can_be_refused_the_request_is_cancelled() {
        let (result, _) = decide(&options(&["allow_once"]), &deny());
        assert_eq!(result, json!({ "outcome": { "outcome": "cancelled" } }));
    }
}
