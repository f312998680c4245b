//! Lines that repeat a whole file: the turn completes, and the server takes no more memory for them.

use super::{data, delta, described, play, result, writes};
use crate::reading::{answer, state};
use crate::sizes::peak;
use serde_json::json;

/// A shell's word for so many bytes of `x`.
fn long(bytes: usize) -> String {
    format!("head -c {bytes} /dev/zero | tr '\\0' x")
}

/// A tool's result that repeats a file of so many bytes twice, and an answer after it.
fn repeats_a_file(bytes: usize) -> String {
    let file = long(bytes);
    let call =
        json!({"type": "tool_use", "id": "t1", "name": "Read", "input": {"file_path": "a.pdf"}});
    let begin = writes(&[json!({"type": "assistant", "message": {"id": "m", "content": [call]}})]);
    let source = r#""source":{"type":"base64","media_type":"application/pdf","data":"#;
    let end = writes(&[delta("read it"), result(json!({"result": "read it"}))]);
    format!(
        r#"{begin}
printf '{{"type":"user","message":{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t1","content":[{{"type":"document",{source}"'
{file}
printf '"}}}}]}}]}},"tool_use_result":{{"type":"pdf","file":{{"base64":"'
{file}
printf '"}}}},"session_id":"s"}}\n'
{end}"#
    )
}

#[test]
fn a_line_of_60_mb_completes_and_costs_the_server_less_than_100_mib() {
    let world = described(&[("file", &repeats_a_file(30_000_000))]).start();
    let (events, task) = play(&world, "file");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "read it"));
    assert_eq!(data(&events, "tool-result")["output"], "[document]");
    let most = peak(&world);
    println!("the server took {} MiB at most", most >> 20);
    assert!(most < 100 << 20, "{most}");
}

#[test]
fn a_result_that_was_cut_does_not_replace_what_streamed() {
    let file = long(100_000);
    let play_it = format!(
        "{}printf '{{\"type\":\"result\",\"is_error\":false,\"result\":\"'\n{file}\nprintf '\"}}\\n'\n",
        writes(&[delta("all of it")])
    );
    let world =
        described(&[("result", &play_it)]).config(json!({"limits": {"line": "64KiB"}})).start();
    let (_, task) = play(&world, "result");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "all of it"));
}

#[test]
fn a_tool_whose_input_was_cut_is_not_allowed_because_nobody_can_judge_it() {
    let file = long(100_000);
    let play_it = format!(
        r#"printf '{{"type":"control_request","request_id":"r1","request":{{"subtype":"can_use_tool","tool_name":"Bash","input":{{"command":"'
{file}
printf '"}}}}}}\n'
read -r told
case $told in *'"behavior":"deny"'*limits.line*) answer=refused;; *) answer=allowed;; esac
say "{{\"type\":\"result\",\"is_error\":false,\"result\":\"$answer\"}}""#
    );
    let world = described(&[("asks", &play_it)])
        .config(json!({"limits": {"line": "64KiB"}, "agents": {"claude": {"asks": "allow"}}}))
        .start();
    let (events, task) = play(&world, "asks");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "refused"));
    assert_eq!(data(&events, "permission")["decision"], "denied");
}
