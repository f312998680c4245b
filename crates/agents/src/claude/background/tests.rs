//! What of a turn is waited for, line by line.

use super::*;
use crate::{Driver, Turn};
use std::time::Duration;

const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s","model":"big"}"#;
const IDLE: &str = r#"{"type":"system","subtype":"session_state_changed","state":"idle"}"#;
const RUNNING: &str = r#"{"type":"system","subtype":"session_state_changed","state":"running"}"#;
const EMPTY: &str = r#"{"type":"system","subtype":"background_tasks_changed","tasks":[]}"#;
const GRACE: Step = Step::Wake(Timer::Background, Duration::from_secs(10));

/// The lines of a CLI that starts a task of this kind in the background, by the call of a command.
fn start(kind: &str, is_own: bool) -> [String; 3] {
    let task = json!({ "task_id": "t", "task_type": kind, "description": "a server" });
    [
        json!({ "type": "assistant", "message": { "id": "m", "content": [{ "type": "tool_use", "id": "u", "name": "Bash", "input": { "command": "serve\nnow", "run_in_background": is_own } }] } }),
        json!({ "type": "system", "subtype": "background_tasks_changed", "tasks": [task] }),
        json!({ "type": "system", "subtype": "task_started", "task_id": "t", "tool_use_id": "u", "task_type": kind, "is_backgrounded": true, "description": "a server" }),
    ]
    .map(|line| line.to_string())
}

fn result(is_error: bool, text: &str) -> String {
    json!({ "type": "result", "is_error": is_error, "result": text }).to_string()
}

fn driver(options: ClaudeOptions) -> Claude {
    let mut driver = Claude::new(options);
    driver.begin(&Turn { text: "x".to_owned(), ..Turn::default() });
    hear(&mut driver, &[RUNNING, INIT]);
    driver
}

/// What is done beside what is said.
fn hear(driver: &mut Claude, lines: &[&str]) -> Vec<Step> {
    let steps = lines.iter().flat_map(|line| driver.line(line.as_bytes()));
    steps.filter(|step| !matches!(step, Step::Say(_))).collect()
}

fn hear_all(driver: &mut Claude, lines: &[String]) -> Vec<Step> {
    hear(driver, &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

fn completed(text: &str) -> Step {
    Step::End(Outcome::Completed { answer: Some(text.to_owned()) })
}

#[test]
fn a_turn_without_work_in_the_background_ends_with_its_result() {
    let mut driver = driver(ClaudeOptions::default());
    assert_eq!(hear_all(&mut driver, &[result(false, "done")]), [completed("done")]);
}

#[test]
fn a_cli_that_does_not_say_when_it_is_idle_is_not_waited_for() {
    let mut driver = Claude::new(ClaudeOptions::default());
    driver.begin(&Turn { text: "x".to_owned(), ..Turn::default() });
    hear_all(&mut driver, &start("local_agent", false));
    assert_eq!(hear_all(&mut driver, &[result(false, "done")]), [completed("done")]);
}

#[test]
fn a_command_of_the_models_own_is_given_some_time_and_left_running() {
    let mut driver = driver(ClaudeOptions::default());
    hear_all(&mut driver, &start("local_bash", true));
    assert_eq!(hear_all(&mut driver, &[result(false, "done")]), []);
    assert_eq!(hear(&mut driver, &[IDLE]), [GRACE]);
    assert_eq!(driver.woke(Timer::Background), [completed("done")]);
    assert_eq!(driver.background(), ["serve ..."]);
    // The next turn does not wait for it.
    driver.begin(&Turn { text: "y".to_owned(), ..Turn::default() });
    let next = [RUNNING.to_owned(), result(false, "more"), IDLE.to_owned()];
    assert_eq!(hear_all(&mut driver, &next), [completed("more")]);
}

#[test]
fn the_timer_of_a_hook_does_not_end_the_time_of_work_in_the_background() {
    let mut driver = driver(ClaudeOptions::default());
    hear_all(&mut driver, &start("local_bash", true));
    hear_all(&mut driver, &[result(false, "done"), IDLE.to_owned()]);
    assert_eq!(driver.woke(Timer::Hooks), []);
    assert_eq!(driver.woke(Timer::Background), [completed("done")]);
}

#[test]
fn a_command_that_is_to_be_ended_is_stopped_before_the_turn_ends() {
    let options = ClaudeOptions { background_end: BackgroundEnd::Kill, ..ClaudeOptions::default() };
    let mut driver = driver(options);
    hear_all(&mut driver, &start("local_bash", true));
    hear_all(&mut driver, &[result(false, "done"), IDLE.to_owned()]);
    let steps = driver.woke(Timer::Background);
    let [Step::Write(request), Step::Wake(..)] = steps.as_slice() else {
        panic!("{steps:?}");
    };
    let request: Value = serde_json::from_slice(request).unwrap();
    assert_eq!(request["request"], json!({ "subtype": "stop_task", "task_id": "t" }));
    assert_eq!(hear(&mut driver, &[EMPTY]), [completed("done")]);
    assert!(driver.background().is_empty());
}

#[test]
fn a_command_that_cannot_be_ended_does_not_keep_the_turn() {
    let options = ClaudeOptions { background_end: BackgroundEnd::Kill, ..ClaudeOptions::default() };
    let mut driver = driver(options);
    hear_all(&mut driver, &start("local_bash", true));
    hear_all(&mut driver, &[result(false, "done"), IDLE.to_owned()]);
    driver.woke(Timer::Background);
    assert_eq!(driver.woke(Timer::Background), [completed("done")]);
}

#[test]
fn a_command_that_the_cli_moved_is_waited_for_without_end_and_its_report_for_a_while() {
    let mut driver = driver(ClaudeOptions::default());
    hear_all(&mut driver, &start("local_bash", false));
    assert_eq!(hear_all(&mut driver, &[result(false, "done"), IDLE.to_owned()]), []);
    assert_eq!(driver.woke(Timer::Background), []);
    assert_eq!(hear(&mut driver, &[EMPTY]), [GRACE]);
    assert_eq!(hear(&mut driver, &[RUNNING, INIT]), []);
    // A timer of before does not end the turn that reports.
    assert_eq!(driver.woke(Timer::Background), []);
    assert_eq!(hear_all(&mut driver, &[result(false, "it ran")]), []);
    assert_eq!(hear(&mut driver, &[IDLE]), [completed("done\n\nit ran")]);
}

#[test]
fn a_report_that_never_comes_is_not_waited_for_without_end() {
    let mut driver = driver(ClaudeOptions::default());
    hear_all(&mut driver, &start("local_bash", false));
    hear_all(&mut driver, &[result(false, "done"), IDLE.to_owned(), EMPTY.to_owned()]);
    assert_eq!(driver.woke(Timer::Background), [completed("done")]);
}

#[test]
fn the_last_turn_of_the_cli_decides_and_a_failure_before_it_is_told() {
    let mut driver = driver(ClaudeOptions::default());
    hear_all(&mut driver, &start("local_agent", false));
    let steps = driver.line(result(true, "overloaded").as_bytes());
    let told =
        |step: &Step| matches!(step, Step::Say(Event::Status { text, .. }) if text == "overloaded");
    assert!(steps.iter().any(told), "{steps:?}");
    let rest = [EMPTY.to_owned(), INIT.to_owned(), result(false, "found it"), IDLE.to_owned()];
    assert_eq!(hear_all(&mut driver, &rest), [completed("found it")]);
}

#[test]
fn what_is_asked_between_two_turns_is_asked_in_the_next_one() {
    let mut driver = driver(ClaudeOptions::default());
    hear_all(&mut driver, &[result(false, "done"), IDLE.to_owned()]);
    let ask = json!({ "type": "control_request", "request_id": "p", "request": { "subtype": "can_use_tool", "tool_name": "Bash", "input": {} } });
    assert_eq!(hear_all(&mut driver, &[ask.to_string()]), []);
    let steps = driver.begin(&Turn { text: "y".to_owned(), ..Turn::default() });
    assert!(matches!(steps[..], [Step::Ask(_), Step::Write(_)]), "{steps:?}");
}

#[test]
fn a_turn_that_the_cli_begins_by_itself_after_an_interrupt_is_not_taken_for_ours() {
    let mut driver = driver(ClaudeOptions::default());
    let init = |ids: Value| {
        json!({ "type": "system", "subtype": "init", "session_id": "s", "user_message_uuids": ids })
            .to_string()
    };
    hear_all(&mut driver, &[init(json!(["someone's"]))]);
    driver.interrupt();
    hear_all(&mut driver, &[result(true, "aborted")]);
    let steps = driver.begin(&Turn { text: "y".to_owned(), ..Turn::default() });
    let Some(Step::Write(message)) = steps.last() else { panic!("{steps:?}") };
    let message: Value = serde_json::from_slice(message).unwrap();
    assert_eq!(hear_all(&mut driver, &[INIT.to_owned(), result(false, "its own")]), []);
    let ours = [init(json!([message["uuid"]])), result(false, "ours")];
    assert_eq!(hear_all(&mut driver, &ours), [completed("ours")]);
}

#[test]
fn the_result_of_a_turn_that_the_cli_began_before_our_message_does_not_end_ours() {
    let mut driver = driver(ClaudeOptions::default());
    let init = |ids: Value| {
        json!({ "type": "system", "subtype": "init", "session_id": "s", "user_message_uuids": ids })
            .to_string()
    };
    hear_all(&mut driver, &[init(json!(["ours"])), result(false, "one")]);
    let steps = driver.begin(&Turn { text: "y".to_owned(), ..Turn::default() });
    let Some(Step::Write(message)) = steps.last() else { panic!("{steps:?}") };
    let uuid = serde_json::from_slice::<Value>(message).unwrap()["uuid"].clone();
    // These lines were in the pipe before the message was written.
    let own = [RUNNING.to_owned(), INIT.to_owned(), result(false, "its own"), IDLE.to_owned()];
    assert_eq!(hear_all(&mut driver, &own), []);
    let ours = json!({ "type": "result", "is_error": false, "result": "ours", "user_message_uuids": [uuid] });
    assert_eq!(hear_all(&mut driver, &[ours.to_string()]), [completed("ours")]);
}

#[test]
fn the_lines_of_a_cli_that_lists_without_end_take_bounded_memory() {
    let mut driver = driver(ClaudeOptions::default());
    for round in 0..4 {
        let task = |n| json!({ "task_id": format!("{round}-{n}"), "task_type": "x", "description": "y".repeat(1000) });
        let tasks: Vec<_> = (0..1000).map(task).collect();
        let list =
            json!({ "type": "system", "subtype": "background_tasks_changed", "tasks": tasks });
        hear_all(&mut driver, &[list.to_string()]);
        let n = driver.background.tasks.len();
        assert!(n <= REMEMBERED, "{n}");
    }
    assert!(driver.background.tasks.iter().all(|task| task.what.len() <= SHOWN + 4));
}

#[test]
fn answers_that_are_too_long_together_are_what_was_streamed() {
    let mut driver = driver(ClaudeOptions::default());
    hear_all(&mut driver, &start("local_agent", false));
    let long = "x".repeat(ANSWERS / 2 + 1);
    let results = [result(false, &long), result(false, &long), result(false, "short")];
    hear_all(&mut driver, &results);
    hear_all(&mut driver, &[EMPTY.to_owned()]);
    let end = Step::End(Outcome::Completed { answer: None });
    assert_eq!(hear(&mut driver, &[IDLE]), [end]);
}
