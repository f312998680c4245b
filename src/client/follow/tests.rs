//! What a task looks like while it is followed.

use super::*;
use pilothouse_a2a::event::TaskStatusUpdateEvent;
use pilothouse_a2a::message::{Message, Part};
use pilothouse_a2a::task::TaskStatus;

const PIPE: Screen = Screen {
    terminal: false,
    styled: false,
    lively: false,
    links: false,
    styled_errors: false,
    width: None,
    asks: false,
};
const PLAIN: Screen = Screen { terminal: true, width: Some(60), ..PIPE };
const STYLED: Screen = Screen { styled: true, ..PLAIN };

fn status(state: TaskState, words: Option<&str>) -> StreamResponse {
    let status = TaskStatus { state, message: words.map(Message::agent_text), timestamp: None };
    StreamResponse::StatusUpdate(TaskStatusUpdateEvent::new("t".into(), "c".into(), status))
}

fn begin() -> StreamResponse {
    let status = TaskStatus { state: TaskState::Submitted, message: None, timestamp: None };
    StreamResponse::Task(Task::new("t".into(), "c".into(), status))
}

fn answer(text: &str, append: bool, last: bool) -> StreamResponse {
    let artifact = Artifact::new("a".into(), "answer", vec![Part::text(text)]);
    let mut update = TaskArtifactUpdateEvent::new("t".into(), "c".into(), artifact);
    (update.append, update.last_chunk) = (append, last);
    StreamResponse::ArtifactUpdate(update)
}

fn shown(screen: Screen, json: bool, events: &[StreamResponse]) -> (String, u8) {
    let mut out = Vec::new();
    let mut show = Show::new(&mut out, screen, json, "");
    for event in events {
        show.take(event).unwrap();
    }
    show.finish().unwrap();
    let code = show.code();
    (String::from_utf8(out).unwrap(), code)
}

#[test]
fn a_pipe_gets_the_answer_once_as_it_is_at_the_end() {
    let events = [
        begin(),
        answer("Let me look.\n\n", false, false),
        answer("So: **42**", true, false),
        answer("The answer is **42**.\n", false, true),
        status(TaskState::Completed, None),
    ];
    assert_eq!(shown(PIPE, false, &events), ("The answer is **42**.\n".to_owned(), 0));
}

#[test]
fn a_terminal_sees_text_as_it_comes_and_nothing_twice() {
    let events = [
        begin(),
        answer("Let me look.\n\n", false, false),
        answer("It is 42.", true, false),
        answer("It is 42.", false, true),
        status(TaskState::Completed, None),
    ];
    assert_eq!(shown(PLAIN, false, &events).0, "Let me look.\n\nIt is 42.\n");
}

#[test]
fn another_answer_than_what_streamed_is_told_apart() {
    let events = [
        begin(),
        answer("draft", false, false),
        answer("*done*", false, true),
        status(TaskState::Completed, None),
    ];
    assert_eq!(shown(PLAIN, false, &events).0, "draft\n\n── the answer ──\n\ndone\n");
}

#[test]
fn a_task_that_comes_again_after_a_break_repeats_nothing() {
    let mut task = Task::new(
        "t".into(),
        "c".into(),
        TaskStatus { state: TaskState::Working, message: None, timestamp: None },
    );
    task.artifacts.push(Artifact::new("a".into(), "answer", vec![Part::text("one two")]));
    let events = [
        begin(),
        answer("one ", false, false),
        StreamResponse::Task(task),
        answer(" three", true, true),
        status(TaskState::Completed, None),
    ];
    assert_eq!(shown(PLAIN, false, &events).0, "one two three\n");
    assert_eq!(shown(PIPE, false, &events).0, "one two three\n");
}

#[test]
fn markdown_is_rendered_on_a_terminal_that_has_styles() {
    let events = [begin(), answer("a **b** c", false, true), status(TaskState::Completed, None)];
    assert_eq!(shown(STYLED, false, &events).0, "a \u{1b}[1mb\u{1b}[0m c\n");
    // Without styles the layout stays, and a pipe gets the text as it is.
    assert_eq!(shown(PLAIN, false, &events).0, "a b c\n");
    assert_eq!(shown(PIPE, false, &events).0, "a **b** c\n");
}

#[test]
fn control_characters_are_not_printed_and_in_json_they_are_escaped() {
    let events =
        [begin(), answer("a\u{1b}[2Jb\u{9b}1mc", false, true), status(TaskState::Completed, None)];
    assert_eq!(shown(PLAIN, false, &events).0, "abc\n");
    let json = shown(PIPE, true, &events).0;
    assert!(!json.contains(['\u{1b}', '\u{9b}']));
    let events: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3);
    assert_eq!(
        events[1].pointer("/artifactUpdate/artifact/parts/0/text").unwrap(),
        "a\u{1b}[2Jb\u{9b}1mc"
    );
}

#[test]
fn a_question_is_printed_and_has_a_code_of_its_own() {
    let events = [begin(), status(TaskState::InputRequired, Some("Which colour?"))];
    assert_eq!(shown(PIPE, false, &events), ("│ Which colour?\n".to_owned(), 4));
}

#[test]
fn no_line_of_a_question_looks_like_one_of_ours() {
    let words = "Which?\nallow it once: pilothouse tasks approve t-2";
    for state in [TaskState::InputRequired, TaskState::AuthRequired] {
        for screen in [PLAIN, PIPE] {
            let text = shown(screen, false, &[begin(), status(state, Some(words))]).0;
            assert_eq!(text, "│ Which?\n│ allow it once: pilothouse tasks approve t-2\n");
        }
    }
}

#[test]
fn an_agent_that_answers_in_its_last_status_is_heard() {
    let events = [begin(), status(TaskState::Completed, Some("all done"))];
    assert_eq!(shown(PIPE, false, &events), ("all done\n".to_owned(), 0));
}

#[test]
fn an_answer_without_a_task_is_an_answer() {
    let events = [StreamResponse::Message(Message::agent_text("hello"))];
    assert_eq!(shown(PIPE, false, &events), ("hello\n".to_owned(), 0));
}

fn step(kind: &str, line: &str) -> StreamResponse {
    let mut message = Message::agent_text(line);
    message.parts.push(Part::data(serde_json::json!({"kind": kind, "isError": false})));
    let status = TaskStatus { state: TaskState::Working, message: Some(message), timestamp: None };
    StreamResponse::StatusUpdate(TaskStatusUpdateEvent::new("t".into(), "c".into(), status))
}

#[test]
fn a_transcript_has_what_was_asked_done_and_answered_in_its_order() {
    let StreamResponse::Task(mut known) = begin() else { unreachable!() };
    known.history.push(Message::user_text("write primes.py\nand run it"));
    let mut message = Message::new(Role::User, Vec::new());
    message
        .parts
        .push(Part::data(serde_json::json!({"askId": "a", "decision": "deny", "reason": "no"})));
    known.history.push(message);
    let mut out = Vec::new();
    let mut show = Show::new(&mut out, PIPE, false, "").into_transcript(&known);
    for event in [
        begin(),
        step("tool-call", "Bash: python3 primes.py"),
        step("tool-result", "\u{2713} 2 3 5\u{1b}[2J"),
        answer("Now I ask.", false, true),
        status(TaskState::InputRequired, Some("Which?")),
        status(TaskState::Working, None),
        answer("\n\nDone.", true, true),
        status(TaskState::Completed, None),
    ] {
        show.take(&event).unwrap();
    }
    show.finish().unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
    ▶ write primes.py and run it
      Bash: python3 primes.py
      ✓ 2 3 5
    Now I ask.
    │ Which?
    ◀ deny: no
    Done.
    ");
}

#[test]
fn a_tool_leaves_a_line_beside_the_answer_and_what_worked_leaves_none() {
    let StreamResponse::StatusUpdate(called) = step("tool-call", "Bash: ls") else {
        unreachable!()
    };
    let StreamResponse::StatusUpdate(worked) = step("tool-result", "ok") else { unreachable!() };
    assert_eq!(step_line(&called.status, false).as_deref(), Some("Bash: ls"));
    assert_eq!(step_line(&worked.status, false), None);
    assert_eq!(step_line(&worked.status, true).as_deref(), Some("ok"));
}
