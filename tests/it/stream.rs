//! Streams of v1.0: the order of events, their numbers, what they carry.

use crate::http::Event;
use crate::reading::{answer, message, states, streamed_answer};
use crate::world::World;
use serde_json::json;

fn stream(world: &World, script: &str) -> Vec<Event> {
    world.stream("SendStreamingMessage", message(script)).rest()
}

#[test]
fn a_stream_begins_with_the_submitted_task_and_ends_with_its_final_status() {
    let world = World::start();
    let events = stream(&world, "say hello");
    assert_eq!(states(&events), ["SUBMITTED", "WORKING", "COMPLETED"]);
    assert_eq!(events.first().unwrap().kind(), "task");
    assert_eq!(events.last().unwrap().kind(), "statusUpdate");
}

#[test]
fn the_answer_streams_as_pieces_of_one_artifact() {
    let world = World::describe().config(json!({"streams": {"answers": "pieces"}})).start();
    let events = stream(&world, "say a; status pause; say b; status pause; say c");
    let pieces: Vec<&Event> =
        events.iter().filter(|event| event.kind() == "artifactUpdate").collect();
    let ids: Vec<_> = pieces
        .iter()
        .map(|event| &event.result["artifactUpdate"]["artifact"]["artifactId"])
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    let appends: Vec<bool> =
        pieces.iter().map(|event| event.result["artifactUpdate"]["append"] == true).collect();
    assert_eq!(appends, [false, true, true]);
    assert_eq!(streamed_answer(&events), "abc");
}

#[test]
fn what_streams_is_what_the_task_holds_in_the_end() {
    let world = World::start();
    let events = stream(&world, "repeat 50 0 line {i} of fifty; say end");
    let task = world.task(events[0].task_id());
    assert_eq!(streamed_answer(&events), answer(&task));
}

#[test]
fn the_numbers_of_events_rise() {
    let world = World::start();
    let events = stream(&world, "repeat 20 1 {i}; status one; tool Read {}; result two");
    let ids: Vec<u64> =
        events.iter().map(|event| event.id.expect("every event has an id")).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}

#[test]
fn text_is_never_gathered_in_status_updates() {
    let world = World::start();
    let events = stream(&world, "say unmistakable; status remark; say again");
    let statuses = events.iter().filter(|event| event.kind() == "statusUpdate");
    assert!(statuses.into_iter().all(|event| !event.words().contains("unmistakable")));
}

#[test]
fn an_event_arrives_while_the_agent_still_works() {
    let world = World::start();
    let mut events = world.stream("SendStreamingMessage", message("say early; cue go; say late"));
    events.until("the first text", |event| event.words() == "early");
    world.cue("go");
    assert_eq!(states(&events.rest()).last(), Some(&"COMPLETED"));
}

#[test]
fn a_tool_call_is_a_status_with_a_line_and_its_data() {
    let world = World::start();
    let events = stream(&world, "tool Bash {\"command\":\"ls -l\"}; result two files; say done");
    let call = events
        .iter()
        .find(|event| event.data().is_some_and(|data| data["kind"] == "tool-call"))
        .unwrap();
    assert_eq!(call.words(), "Bash: ls -l");
    let data = call.data().unwrap();
    assert_eq!((&data["name"], &data["input"]), (&json!("Bash"), &json!({"command": "ls -l"})));
    assert_eq!(call.state(), Some("WORKING"));
}

#[test]
fn a_tool_result_names_its_call_and_carries_its_output() {
    let world = World::start();
    let events = stream(&world, "tool Bash {}; result two files; say done");
    let data: Vec<_> = events.iter().filter_map(Event::data).collect();
    assert_eq!(data[0]["id"], data[1]["id"]);
    assert_eq!(
        (&data[1]["kind"], &data[1]["output"]),
        (&json!("tool-result"), &json!("two files"))
    );
}

#[test]
fn a_plan_is_a_status_with_its_data() {
    let world = World::start();
    let events = stream(&world, "plan [{\"step\":\"one\"}]; say done");
    let plan = events.iter().filter_map(Event::data).find(|data| data["kind"] == "plan").unwrap();
    assert_eq!(plan["plan"], json!([{"step": "one"}]));
}

#[test]
fn thinking_is_a_status_and_no_part_of_the_answer() {
    let world = World::start();
    let events = stream(&world, "think deep thoughts; say done");
    let thought =
        events.iter().filter_map(Event::data).find(|data| data["kind"] == "thought").unwrap();
    assert_eq!(thought["text"], "deep thoughts");
    assert_eq!(streamed_answer(&events), "done");
}

#[test]
fn usage_comes_with_the_final_status() {
    let world = World::start();
    let events = stream(&world, "say hello; usage 3 4 0.25");
    let metadata = &events.last().unwrap().result["statusUpdate"]["metadata"];
    assert_eq!(
        (&metadata["usage"]["outputTokens"], &metadata["costUsd"]),
        (&json!(4), &json!(0.25))
    );
}

#[test]
fn a_stream_is_marked_so_that_no_proxy_holds_it_back() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": message("say hello")});
    let authorization = format!("Bearer {}", crate::world::OWNER);
    let reply = world.post("/", &[("Authorization", &authorization)], body.to_string().as_bytes());
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
}

#[test]
fn the_id_of_the_request_stands_in_every_event() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": "my-own", "method": "SendStreamingMessage", "params": message("say hello")});
    let authorization = format!("Bearer {}", crate::world::OWNER);
    let reply =
        world.post("/", &[("Authorization", &authorization)], body.to_string().as_bytes()).text();
    let frames: Vec<&str> = reply.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    assert!(
        frames.len() >= 3 && frames.iter().all(|frame| frame.contains("\"id\":\"my-own\"")),
        "{reply}"
    );
}

#[test]
fn a_silent_stream_is_kept_open_by_comments() {
    let world = World::describe().config(json!({"timeouts": {"keep_alive": "50ms"}})).start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": message("cue go")});
    let authorization = format!("Bearer {}", crate::world::OWNER);
    let headers = [("Content-Type", "application/json"), ("Authorization", authorization.as_str())];
    let mut answer = world.ask("POST", "/", &headers, body.to_string().as_bytes());
    let mut comments = 0;
    while comments < 3 {
        let mut line = String::new();
        assert!(
            std::io::BufRead::read_line(&mut answer.body, &mut line).unwrap() > 0,
            "the stream ended"
        );
        comments += u32::from(line.starts_with(':'));
    }
    world.cue("go");
}

#[test]
fn a_silent_turn_says_that_it_still_works() {
    let world = World::describe().config(json!({"timeouts": {"heartbeat": "100ms"}})).start();
    let mut events = world.stream("SendStreamingMessage", message("cue go; say done"));
    let seen = events.until("a heartbeat", |event| event.words().starts_with("still working"));
    assert_eq!(seen.last().unwrap().state(), Some("WORKING"));
    world.cue("go");
    events.rest();
}

#[test]
fn no_event_is_larger_than_the_limit() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": message("flood 3000000 2999999")});
    let authorization = format!("Bearer {}", crate::world::OWNER);
    let reply =
        world.post("/", &[("Authorization", &authorization)], body.to_string().as_bytes()).text();
    let longest = reply.lines().map(str::len).max().unwrap();
    assert!((1..500_000).contains(&longest), "{longest} bytes");
}
