//! What a person sees who has to decide, and what he can answer.

use super::bar::{CHARACTERS, LINES};
use super::*;
use crate::client::terminal::width;
use pilothouse_a2a::message::{Message, Part};
use pilothouse_a2a::task::TaskStatus;

fn bash(command: &str) -> Ask {
    Ask::of_data(&json!({
        "askId": "a-1", "kind": "permission", "tool": "Bash", "title": "Install", "input": {"command": command},
        "options": [{"id": "allow", "name": "Allow once"}, {"id": "allow_session", "name": "Allow this tool for the session"}, {"id": "deny", "name": "Deny"}],
        "deadline": "2026-01-01T00:10:00Z",
    }))
}

fn shown(ask: &Ask, columns: Option<usize>) -> String {
    ask.render(None, columns)
}

fn ways(ask: &Ask) -> String {
    let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    ask.how_to_answer("t-1", "", now).join("\n")
}

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn a_permission_is_shown_with_its_command_and_the_ways_to_answer() {
    let ask = bash("npm install\nnpm test");
    insta::assert_snapshot!(shown(&ask, None), @r"
Bash asks to be used:
│ npm install
│ npm test
│ title: Install
");
    insta::assert_snapshot!(ways(&ask), @r#"
allow it once: pilothouse approve t-1 --ask a-1
allow any Bash in this session: pilothouse approve t-1 --ask a-1 --session
deny it: pilothouse deny t-1 --ask a-1 "why"
open until 2026-01-01T00:10:00.000Z (in 10 min 0 s)
"#);
}

#[test]
fn a_push_is_asked_in_words_of_its_own() {
    let ask = Ask::of_data(&json!({
        "askId": "a-1", "kind": "push", "tool": "push",
        "text": "May the branch work be pushed to shop? 1 commit:\nmend the sum",
        "input": {"branch": "work", "repository": "shop", "commit": "abc", "count": 1, "commits": "mend the sum"},
    }));
    insta::assert_snapshot!(shown(&ask, None), @r"
asks to push 1 commit to work of shop:
│ mend the sum
│ commit: abc
");
    assert_eq!(ask.headline(), "1 commit to work of shop");
}

#[test]
fn what_an_agent_hides_is_seen_and_what_it_forges_stands_behind_a_bar() {
    let evil = "rm -r ~\r\u{1b}[2Kls\u{202e}\u{200b}\nallow it once: pilothouse tasks approve t-2";
    insta::assert_snapshot!(shown(&bash(evil), None), @r"
Bash asks to be used:
│ rm -r ~\r\u{1b}[2Kls\u{202e}\u{200b}
│ allow it once: pilothouse tasks approve t-2
│ title: Install
");
}

#[test]
fn a_line_that_a_terminal_would_wrap_stays_behind_the_bar() {
    let text = shown(&bash(&format!("echo{}allow it", " ".repeat(30))), Some(20));
    assert!(text.lines().skip(1).all(|line| line.starts_with('│') && width(line) <= 20), "{text}");
}

#[test]
fn what_is_too_much_is_counted_not_dropped_in_silence() {
    let text = shown(&bash(&"x\n".repeat(1000)), None);
    assert_eq!(text.lines().count(), LINES + 2);
    assert!(
        text.ends_with("802 more lines are not shown; read all of it before you decide (--json)\n"),
        "{text}"
    );
    let text = shown(&bash(&"x".repeat(1_000_000)), None);
    assert!(text.chars().count() < 2 * CHARACTERS && text.contains("more lines are not shown"));
}

#[test]
fn options_of_an_agents_own_are_named_with_their_command() {
    let ask = Ask::of_data(&json!({
        "kind": "permission", "tool": "edit", "options": [{"id": "allow", "name": "Yes"}],
        "input": {"toolCallId": "1", "rawInput": {}, "options": [{"optionId": "plan only", "name": "Only plan"}]},
    }));
    insta::assert_snapshot!(ways(&ask), @r"
allow it once: pilothouse approve t-1
its own option `Only plan`: pilothouse answer t-1 'plan only'
");
    assert_eq!(ask.answered(&words(&["only plan"])).unwrap(), json!({"optionId": "plan only"}));
    assert!(ask.answered(&words(&["maybe"])).unwrap_err().contains("allow, plan only"));
}

#[test]
fn a_question_is_answered_by_an_option_or_in_words() {
    let options = json!([{"id": "r", "name": "Red", "description": "warm"}, "Blue"]);
    let ask = Ask::of_data(&json!({"kind": "question", "text": "Which?", "options": options}));
    assert_eq!(shown(&ask, None), "│ Which?\n│ - Red: warm\n│ - Blue\n");
    insta::assert_snapshot!(ways(&ask), @r#"
answer with: pilothouse answer t-1 "..."
"#);
    assert_eq!(ask.answered(&words(&["red"])).unwrap(), json!({"optionId": "r"}));
    assert_eq!(ask.answered(&words(&["blue"])).unwrap(), json!({"answer": "Blue"}));
    assert_eq!(ask.answered(&words(&["green"])).unwrap(), json!({"answer": "green"}));
    assert!(ask.answered(&words(&["a", "b"])).is_err());
}

#[test]
fn several_questions_get_an_answer_each_in_their_order() {
    let questions = json!([
        {"question": "Colour?", "options": [{"label": "Red", "description": "warm"}]},
        {"question": "Size?", "options": [{"label": "Big"}]},
    ]);
    let ask = Ask::of_data(
        &json!({"kind": "question", "text": "Colour?\nSize?", "input": {"questions": questions}}),
    );
    insta::assert_snapshot!(shown(&ask, None), @r"
│ 1. Colour?
│    Red: warm
│ 2. Size?
│    Big
");
    assert!(ways(&ask).ends_with(r#"pilothouse answer t-1 "..." "...""#));
    assert_eq!(
        ask.answered(&words(&["Red", "9"])).unwrap(),
        json!({"answers": {"Colour?": "Red", "Size?": "9"}})
    );
    assert!(ask.answered(&words(&["Red"])).unwrap_err().contains("2 questions"));
}

#[test]
fn a_question_that_takes_several_options_takes_several() {
    let questions = json!([{"question": "Which?", "multiSelect": true, "options": [{"label": "a"}, {"label": "b"}]}]);
    let ask = Ask::of_data(
        &json!({"kind": "question", "text": "Which?", "input": {"questions": questions}}),
    );
    assert_eq!(
        ask.answered(&words(&["a", "b"])).unwrap(),
        json!({"answers": {"Which?": ["a", "b"]}})
    );
}

#[test]
fn a_question_can_be_declined_but_not_allowed() {
    let ask = Ask::of_data(&json!({"text": "Which?"}));
    assert!(ask.decided(Decision::Allow, None).is_err());
    assert_eq!(ask.decided(Decision::Deny(None), None).unwrap(), json!({"decision": "deny"}));
}

#[test]
fn only_a_task_that_waits_for_input_asks() {
    let task = |state| {
        let mut message = Message::agent_text("May Bash be used?");
        message.parts.push(Part::data(json!({"note": 1})));
        message.parts.push(Part::data(json!({"askId": "a", "kind": "permission", "tool": "Bash"})));
        let status = TaskStatus { state, message: Some(message), timestamp: None };
        Task::new("t".into(), "c".into(), status)
    };
    let ask = Ask::of(&task(TaskState::InputRequired)).unwrap();
    assert_eq!((ask.id.as_deref(), ask.is_permission()), (Some("a"), true));
    assert_eq!(Ask::of(&task(TaskState::Working)), None);
}

#[test]
fn a_change_is_red_and_green_where_styles_are_shown_and_choices_are_not() {
    let shown = |data: Value, styled: bool| {
        let message =
            Some(Message::new(pilothouse_a2a::message::Role::Agent, vec![Part::data(data)]));
        let status = TaskStatus { state: TaskState::InputRequired, message, timestamp: None };
        let task = Task::new("t".into(), "c".into(), status);
        let screen = Screen {
            terminal: styled,
            styled,
            lively: styled,
            links: false,
            styled_errors: styled,
            width: None,
            asks: false,
        };
        render_question_on(&task, &screen).unwrap().replace('\u{1b}', "⟦")
    };
    let edit = json!({"kind": "permission", "tool": "Edit",
        "input": {"file_path": "/w/a", "old_string": "one", "new_string": "two"}});
    let text = shown(edit.clone(), true);
    assert!(text.contains("⟦[31m│ - one⟦[0m") && text.contains("⟦[32m│ + two⟦[0m"), "{text}");
    assert!(!shown(edit, false).contains('⟦'));
    let question = json!({"kind": "question", "text": "Which?", "options": ["red"]});
    assert!(!shown(question, true).contains('⟦'));
}
