//! Text that was cut in the middle of a character: half of a surrogate pair, or a part of its bytes.

use super::{data, delta, described, play, result, writes};
use crate::reading::{answer, state};
use serde_json::json;

/// Half of a surrogate pair, where a test writes it into a text.
const HALF: &str = "HALF";

/// These lines, with the escape of half a pair in place of its mark.
fn broken(lines: &[serde_json::Value]) -> String {
    writes(lines).replace(HALF, r"\ud83d")
}

#[test]
fn half_a_surrogate_pair_in_any_line_becomes_a_replacement_and_nothing_else_is_lost() {
    let call =
        json!({"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "cut HALF"}});
    let done = json!({"type": "tool_result", "tool_use_id": "t1", "content": "printed HALF"});
    let lines = broken(&[
        delta("first HALF, "),
        json!({"type": "assistant", "message": {"id": "m", "content": [call]}}),
        json!({"type": "user", "message": {"content": [done]}}),
        delta("last"),
        result(json!({"result": "the whole answer HALF", "total_cost_usd": 0.5})),
    ]);
    let world = described(&[("half", &lines)]).start();
    let (events, task) = play(&world, "half");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "the whole answer \u{fffd}"));
    let narration = data(&events, "narration")["text"].as_str().unwrap();
    assert!(narration.starts_with("first \u{fffd}, "), "{narration}");
    assert_eq!(data(&events, "tool-call")["input"]["command"], "cut \u{fffd}");
    assert_eq!(data(&events, "tool-result")["output"], "printed \u{fffd}");
    assert_eq!(task["metadata"]["costUsd"], 0.5);
    assert!(task["metadata"]["unknownEvents"].is_null(), "{}", task["metadata"]);
}

#[test]
fn bytes_that_are_no_utf_8_cost_no_line() {
    let line = r#"printf '{"type":"result","is_error":false,"result":"a\360\237"}\n'"#;
    let world = described(&[("bytes", line)]).start();
    let (_, task) = play(&world, "bytes");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "a\u{fffd}"));
}

#[test]
fn a_tool_whose_input_is_broken_runs_with_the_input_that_the_agent_has() {
    let input = json!({"command": "echo HALF"});
    let request = json!({"subtype": "can_use_tool", "tool_name": "Bash", "input": input});
    let asks = json!({"type": "control_request", "request_id": "r1", "request": request});
    // What it is told becomes its answer.
    let play_it = broken(&[asks])
        + r#"read -r told; told=$(printf '%s' "$told" | tr '"' "'"); say "{\"type\":\"result\",\"is_error\":false,\"result\":\"$told\"}""#;
    let world = described(&[("asks", &play_it)])
        .config(json!({"agents": {"claude": {"asks": "allow"}}}))
        .start();
    let (_, task) = play(&world, "asks");
    let told = answer(&task);
    assert!(told.contains("'behavior':'allow'") && !told.contains("updatedInput"), "{told}");
}
