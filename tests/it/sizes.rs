//! No line of a stream is longer than clients take (`streams.line`), whatever is in it; and the server's memory stays small.

use crate::reading::{artifact_text, message, state};
use crate::world::{OWNER, World, await_true};
use serde_json::{Value, json};

/// The default of `streams.line`.
const LINE: usize = 64 * 1024;

/// The longest line of the stream that answers a message.
fn longest_line(world: &World, text: &str) -> usize {
    let params = message(text);
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": params});
    let authorization = format!("Bearer {OWNER}");
    let body = body.to_string();
    let reply = world.post("/", &[("Authorization", &authorization)], body.as_bytes());
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let text = reply.text();
    assert!(
        text.contains("TASK_STATE_COMPLETED") || text.contains("TASK_STATE_FAILED"),
        "it has no end"
    );
    text.lines().map(str::len).max().unwrap()
}

/// A world whose agent writes the message with a million bytes in the place of `%s`.
fn long_winded() -> World {
    let script = r#"x=$(head -c 1000000 /dev/zero | tr '\0' x); printf "$1\n" "$x""#;
    World::describe().agent(json!({"program": "/bin/sh", "args": ["-c", script, "sh"]})).start()
}

fn assert_short(event: &str) {
    let longest = longest_line(&long_winded(), event);
    assert!((1000..LINE).contains(&longest), "{longest} bytes");
}

#[test]
fn no_event_is_larger_than_clients_take_for_a_long_prompt() {
    let stdin = json!({"input": "stdin", "args": ["--events", "--stdin"]});
    let world = World::describe().agent(stdin).start();
    let longest = longest_line(&world, &format!("exit 0;{}", "x".repeat(1_000_000)));
    assert!(longest < LINE, "{longest} bytes");
}

#[test]
fn no_event_is_larger_than_clients_take_for_a_long_tool_call() {
    assert_short(r#"{"type":"tool","id":"1","name":"Bash","input":{"command":"%s"}}"#);
}

#[test]
fn no_event_is_larger_than_clients_take_for_a_long_tool_result() {
    assert_short(r#"{"type":"toolResult","id":"1","text":"%s"}"#);
}

#[test]
fn no_event_is_larger_than_clients_take_for_a_long_status() {
    assert_short(r#"{"type":"status","text":"%s"}"#);
}

#[test]
fn no_event_is_larger_than_clients_take_for_a_long_thought() {
    assert_short(r#"{"type":"thought","text":"%s"}"#);
}

#[test]
fn no_event_is_larger_than_clients_take_for_a_long_failure() {
    assert_short(r#"{"type":"status","state":"failed","text":"%s"}"#);
}

#[test]
fn no_event_is_larger_than_clients_take_for_a_long_question() {
    let world = long_winded();
    let params = message(r#"{"type":"ask","text":"%s"}"#);
    let events = world.stream("SendStreamingMessage", params).rest();
    let longest = events.iter().map(|event| event.result.to_string().len()).max().unwrap();
    assert!((1000..LINE).contains(&longest), "{longest} bytes");
}

#[test]
fn no_event_is_larger_than_clients_take_for_a_long_text_artifact_and_it_comes_whole() {
    let world = long_winded();
    let longest = longest_line(&world, r#"{"type":"artifact","name":"notes","text":"%s"}"#);
    let tasks = world.rpc("ListTasks", json!({"includeArtifacts": true}));
    assert_eq!(artifact_text(&tasks["tasks"][0], "notes").len(), 1_000_000);
    assert!((1000..LINE).contains(&longest), "{longest} bytes");
}

/// The most memory that the server has had, in bytes.
pub(crate) fn peak(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_long_answer_that_nobody_reads_is_not_kept_in_memory() {
    const BYTES: u64 = 16_000_000;
    let text = json!({"format": "text", "args": []});
    let world = World::describe().config(json!({"log": {"console": false}})).agent(text).start();
    world.say("say x");
    let before = peak(&world);
    let mut stuck = world.stream("SendStreamingMessage", message(&format!("flood {BYTES}")));
    let id = stuck.next().unwrap().task_id().to_owned();
    // A list without artifacts: to read the answer itself again and again is slow, and takes memory too.
    let is_completed = |task: &Value| task["id"] == *id && state(task) == "COMPLETED";
    let completed = await_true(world.patience(), || {
        let list = world.rpc("ListTasks", json!({}));
        list["tasks"].as_array().unwrap().iter().any(is_completed)
    });
    assert!(completed, "the answer is not whole after {:?}", world.patience());
    let grown = peak(&world).saturating_sub(before);
    // Less than the answer is long: what is kept does not grow with it.
    assert!(grown < BYTES, "{grown} bytes more than before");
}
