//! The end of plan mode: a person approves the plan, and says what the agent may do without being asked again.

use super::ask::PendingAsk;
use crate::{Answer, AskKind, InputForm};
use serde_json::{Value, json};

/// The tool by which the agent shows its plan and asks to begin.
const EXIT_TOOL: &str = "ExitPlanMode";

/// The answer that approves the plan, and edits of files with it.
const ACCEPT_EDITS: &str = "accept-edits";

/// The modes that the CLI knows (`--permission-mode`).
pub const PERMISSION_MODES: &[&str] =
    &["default", "manual", "acceptEdits", "plan", "auto", "dontAsk", "bypassPermissions"];

/// The ask for a plan, with the answer that it has of its own; none where it is another tool's.
pub(super) fn ask(pending: &PendingAsk) -> Option<AskKind> {
    if pending.tool != EXIT_TOOL {
        return None;
    }
    let mut input = pending.input.clone();
    let plan = input.get("plan").and_then(Value::as_str).unwrap_or_default();
    let description = if plan.trim().is_empty() {
        "the plan is empty: the agent shows nothing of what it would do"
    } else {
        "the agent has a plan and asks to begin"
    };
    if let Some(fields) = input.as_object_mut() {
        let accept = json!({
            "optionId": ACCEPT_EDITS, "name": "Approve, and accept edits of files", "kind": "allow_once",
        });
        fields.insert("options".to_owned(), json!([accept]));
    }
    Some(AskKind::Permission {
        tool: pending.tool.clone(),
        input,
        form: InputForm::Plain,
        description: Some(description.to_owned()),
    })
}

/// The CLI's form of that answer; none of any other one.
pub(super) fn response(pending: &PendingAsk, answer: &Answer) -> Option<Value> {
    let Answer::Allow { input: Some(input) } = answer else {
        return None;
    };
    let chosen = input.get("optionId").and_then(Value::as_str);
    (pending.tool == EXIT_TOOL && chosen == Some(ACCEPT_EDITS)).then(|| {
        json!({
            "behavior": "allow",
            "updatedInput": pending.input,
            "updatedPermissions": [
                { "type": "setMode", "mode": "acceptEdits", "destination": "session" },
            ],
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(input: Value) -> PendingAsk {
        let (tool, tool_use_id) = (EXIT_TOOL.to_owned(), "u".to_owned());
        PendingAsk { tool, tool_use_id, input, description: None, is_mended: false }
    }

    #[test]
    fn a_plan_can_be_approved_with_the_edits_that_follow() {
        let plan = pending(json!({ "plan": "1. look" }));
        let Some(AskKind::Permission { input, .. }) = ask(&plan) else { panic!("no ask") };
        assert_eq!(input["options"][0]["optionId"], ACCEPT_EDITS);
        let chosen = Answer::Allow { input: Some(json!({ "optionId": ACCEPT_EDITS })) };
        let response = response(&plan, &chosen).unwrap();
        assert_eq!(response["updatedPermissions"][0]["mode"], "acceptEdits");
        assert_eq!(response["updatedInput"], json!({ "plan": "1. look" }));
        assert_eq!(super::response(&plan, &Answer::Allow { input: None }), None);
    }

    #[test]
    fn an_empty_plan_is_shown_as_such() {
        for input in [json!({}), json!({ "plan": " \n" })] {
            let Some(AskKind::Permission { description, .. }) = ask(&pending(input)) else {
                panic!("no ask")
            };
            assert!(description.unwrap().starts_with("the plan is empty"));
        }
    }
}
