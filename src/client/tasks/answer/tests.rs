//! Answers as the server gets them, and the list of what waits.

use super::*;
use pilothouse_a2a::message::PartContent;
use serde_json::json;

fn ask(id: Option<&str>) -> Ask {
    let mut data = json!({"kind": "permission", "tool": "Bash", "input": {"command": "ls"}});
    if let Some(id) = id {
        data["askId"] = id.into();
    }
    Ask::of_data(&data)
}

fn allow() -> PersonAnswer {
    PersonAnswer::Allow { session: false, input: None }
}

fn data(part: Result<Part, String>) -> Value {
    match part.unwrap().content {
        PartContent::Data(data) => data.to_value(),
        other => panic!("no data: {other:?}"),
    }
}

#[test]
fn a_decision_names_the_ask_that_was_shown() {
    assert_eq!(
        data(part(&ask(Some("a1")), &allow(), None)),
        json!({"askId": "a1", "decision": "allow"})
    );
    let said =
        PersonAnswer::Allow { session: true, input: Some(input(r#"{"command": "pwd"}"#).unwrap()) };
    assert_eq!(
        data(part(&ask(Some("a1")), &said, None)),
        json!({"askId": "a1", "decision": "allow_session", "input": {"command": "pwd"}})
    );
    let denied = PersonAnswer::Deny(Some("not now".to_owned()));
    assert_eq!(
        data(part(&ask(Some("a1")), &denied, None)),
        json!({"askId": "a1", "decision": "deny", "reason": "not now"})
    );
}

#[test]
fn an_ask_that_is_named_is_the_one_that_is_answered_whatever_is_asked_by_now() {
    let named = part(&ask(Some("newer")), &allow(), Some("older"));
    assert_eq!(data(named)["askId"], "older");
}

#[test]
fn an_agent_without_ids_is_answered_in_words() {
    let said = |said| part(&ask(None), &said, None).unwrap();
    assert_eq!(said(allow()).as_text(), Some("allow"));
    assert_eq!(said(PersonAnswer::Deny(Some("no".to_owned()))).as_text(), Some("deny: no"));
    let question = Ask::of_data(&json!({"options": ["Red"]}));
    let words = PersonAnswer::Words(vec!["red".to_owned()]);
    assert_eq!(part(&question, &words, None).unwrap().as_text(), Some("Red"));
}

#[test]
fn an_input_must_be_an_object() {
    assert!(input("[]").is_err() && input("{").is_err() && input("{}").is_ok());
}

#[test]
fn a_single_word_is_the_id_to_deny_and_a_single_text_the_reason() {
    let read = |words: &[&str]| {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        let args = DenyArgs {
            words,
            reply: ReplyArgs {
                ask: None,
                json: false,
                results: ResultArgs::default(),
                input: InputArgs::default(),
            },
        };
        let (id, reason) = args.read();
        (id.map(ToOwned::to_owned), reason.map(ToOwned::to_owned))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(read(&[]), (None, None));
    assert_eq!(read(&["ba38"]), (text("ba38"), None));
    assert_eq!(read(&["not on a Friday"]), (None, text("not on a Friday")));
    assert_eq!(read(&["ba38", "no"]), (text("ba38"), text("no")));
}

#[test]
fn the_list_tells_ask_agent_tool_age_and_what() {
    let asks = [
        json!({"askId": "a", "shortId": "k7m3p2", "taskId": "t-1", "agent": "claude", "caller": "ann", "kind": "permission", "tool": "Bash", "input": {"command": "rm -r \u{1b}[8mbuild\nsecond line"}, "state": "deferred", "created": "2026-01-01T00:00:00.000Z"}),
        json!({"askId": "b", "taskId": "t-2", "agent": "bot", "caller": "bob", "kind": "question", "text": "Which colour?", "state": "open", "created": "2026-01-01T00:01:30.000Z"}),
    ];
    let now = Timestamp::parse("2026-01-01T00:02:00Z").unwrap();
    insta::assert_snapshot!(listed(&asks, now, None, true), @r"
ASK     STATE     AGENT   CALLER  TOOL        ASKED      WHAT
k7m3p2  deferred  claude  ann     Bash        2 min ago  rm -r \u{1b}[8mbuild
b       open      bot     bob     (question)  30 s ago   Which colour?
");
    assert_eq!(listed(&[], now, None, false), "nothing waits for an answer\n");
}
