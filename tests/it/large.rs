//! What is larger than a line, an event or an answer may be: it comes in pieces or by its address, whole all the same.

use crate::cli_asks::{pilothouse, url};
use crate::http::{Event, Reply};
use crate::reading::{artifact, message, streamed_answer, text_of};
use crate::world::{BOB, OWNER, World};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::fs;

/// The default of `streams.line`.
const LINE: usize = 64 * 1024;

/// Files of the agent: larger than an event, and larger than a line.
const SIZES: [(&str, usize); 2] = [("big", 450_000), ("middle", 100_000)];

/// An agent that gives what it is asked for.
const AGENT: &str = r#"
text() { yes abcdefghi | head -c "$1"; }
file() {
  printf '{"type":"artifact","name":"%s","filename":"%s.bin","mediaType":"image/png","raw":"' "$1" "$1"
  text "$2" | base64 -w0
  printf '"}\n'
}
case "$0" in
  big) file big 450000 ;;
  middle) file middle 100000 ;;
  data) printf '{"type":"artifact","name":"numbers","data":{"text":"%s"}}\n' "$(text 450000 | tr -d '\n')" ;;
  tool) printf '{"type":"tool","name":"Read","id":"1"}\n{"type":"toolResult","id":"1","text":"%s"}\n' "$(text 150000 | tr -d '\n')" ;;
  many) for name in a b c d; do file "$name" 450000; done ;;
esac
printf '{"type":"text","text":"done"}\n'
"#;

fn world(more: Value) -> World {
    let agent = json!({"program": "/bin/sh", "args": ["-c", AGENT], "format": "events"});
    World::describe().agent(agent).config(more).start()
}

/// The bytes of a file of this size.
fn bytes(size: usize) -> Vec<u8> {
    "abcdefghi\n".bytes().cycle().take(size).collect()
}

fn get(world: &World, token: &str, path: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    world.ask("GET", path, &[("Authorization", &bearer)], b"").whole()
}

/// The parts of the files that updates have, oldest first.
fn parts(events: &[Event]) -> Vec<Value> {
    let updates = events.iter().map(|event| &event.result["artifactUpdate"]["artifact"]);
    let parts = updates.filter_map(|artifact| artifact["parts"].as_array()).flatten();
    parts.filter(|part| part.get("filename").is_some()).cloned().collect()
}

/// The lines of a stream, as they come.
fn lines(world: &World, path: &str, body: &Value) -> Vec<String> {
    let bearer = format!("Bearer {OWNER}");
    let headers = [("Content-Type", "application/json"), ("Authorization", &*bearer)];
    let reply = world.ask("POST", path, &headers, body.to_string().as_bytes()).whole();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn a_large_file_is_an_address_in_a_stream_and_itself_in_its_task() {
    let world = world(json!({}));
    for (name, size) in SIZES {
        let events = world.stream("SendStreamingMessage", message(name)).rest();
        let [part] = &parts(&events)[..] else { panic!("{events:#?}") };
        assert_eq!(part["filename"], format!("{name}.bin"));
        assert_eq!(
            (&part["mediaType"], &part["metadata"]["bytes"]),
            (&json!("image/png"), &json!(size))
        );
        let address = text_of(part, "url");
        let file = get(&world, OWNER, address);
        assert_eq!((file.status, &file.body), (200, &bytes(size)));
        assert!(file.header("content-disposition").unwrap().starts_with("attachment"));
        assert_eq!(get(&world, BOB, address).status, 404);
        assert_eq!(world.get(address, &[]).status, 401);
        // The task has the bytes, in one part.
        let task = world.task(events[0].task_id());
        let whole = &artifact(&task, name)["parts"];
        assert_eq!(whole.as_array().map(Vec::len), Some(1));
        assert_eq!(BASE64_STANDARD.decode(text_of(&whole[0], "raw")).unwrap(), bytes(size));
        assert_eq!(whole[0].get("metadata"), None);
        // So has the address of the artifact.
        let address = address.split('?').next().unwrap();
        assert_eq!(get(&world, OWNER, address).body, bytes(size));
        assert_eq!(get(&world, OWNER, &format!("{address}?event=1")).status, 404);
        assert_eq!(get(&world, OWNER, &format!("{address}?event=x")).status, 400);
    }
}

#[test]
fn numbered_parts_of_a_file_fit_in_lines_and_add_up() {
    let world = world(json!({"streams": {"files": "pieces"}}));
    for (name, size) in SIZES {
        let events = world.stream("SendStreamingMessage", message(name)).rest();
        let parts = parts(&events);
        let numbers: Vec<_> =
            parts.iter().map(|part| part["metadata"]["piece"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=parts.len() as u64).collect::<Vec<_>>());
        let decode = |part: &Value| BASE64_STANDARD.decode(text_of(part, "raw")).unwrap();
        assert_eq!(parts.iter().flat_map(decode).collect::<Vec<_>>(), bytes(size));
    }
}

#[test]
fn no_line_of_a_stream_is_as_long_as_the_key_says_in_any_dialect() {
    let world = world(json!({}));
    for word in ["big", "middle", "data", "tool"] {
        let older = json!({"message": {"kind": "message", "messageId": word, "role": "user", "parts": [{"kind": "text", "text": word}]}});
        let rpc =
            |method, params| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        for (path, body) in [
            ("/", rpc("SendStreamingMessage", message(word))),
            ("/", rpc("message/stream", older)),
            ("/message:stream", message(word)),
        ] {
            let lines = lines(&world, path, &body);
            let longest = lines.iter().map(String::len).max().unwrap();
            assert!(longest < LINE, "{word} at {path}: {longest}");
            let is_over =
                |line: &String| line.contains("COMPLETED") || line.contains("\"completed\"");
            assert!(lines.iter().any(is_over), "{word} at {path}");
        }
    }
}

#[test]
fn a_long_answer_adds_up_from_lines_that_are_short() {
    let world = World::describe().config(json!({"streams": {"line": "8KiB"}})).start();
    let mut events = world.stream("SendStreamingMessage", message("flood 300000 20000; wait go"));
    let mut seen = events.until("the task", |event| event.kind() == "task");
    world.cue("go");
    seen.extend(events.rest());
    assert_eq!(streamed_answer(&seen).len(), 300_000);
    // Only the last line of an update has its number.
    let numbers: Vec<_> = seen.iter().filter_map(|event| event.id).collect();
    assert!(numbers.len() < seen.len() && numbers.is_sorted(), "{numbers:?}");
    // Whoever resumes between two of them gets the whole update again.
    let middle = numbers[numbers.len() / 2];
    let again = world.resume(seen[0].task_id(), middle);
    assert_eq!(streamed_answer(&again).len(), 300_000);
}

#[test]
fn data_that_is_larger_than_an_event_is_a_file() {
    let world = world(json!({}));
    let task = world.send(message("data"));
    let part = &artifact(&task, "numbers")["parts"][0];
    assert_eq!(
        (text_of(part, "filename"), text_of(part, "mediaType")),
        ("numbers.json", "application/json")
    );
    let read: Value =
        serde_json::from_slice(&BASE64_STANDARD.decode(text_of(part, "raw")).unwrap()).unwrap();
    assert_eq!(text_of(&read, "text").len(), 405_000);
}

#[test]
fn a_task_names_every_artifact_that_does_not_fit_in_the_answer() {
    let world = world(json!({"limits": {"response": "1MB"}}));
    let task = world.send(message("many"));
    let names = ["a", "b", "c", "d"];
    let mut addresses = 0;
    for name in names {
        let part = &artifact(&task, name)["parts"][0];
        match part.get("url") {
            None => {
                assert_eq!(BASE64_STANDARD.decode(text_of(part, "raw")).unwrap(), bytes(450_000));
            }
            Some(_) => {
                addresses += 1;
                assert_eq!(part["filename"], format!("{name}.bin"));
                assert_eq!(
                    (&part["mediaType"], &part["metadata"]["bytes"]),
                    (&json!("image/png"), &json!(450_000))
                );
                assert_eq!(get(&world, OWNER, text_of(part, "url")).body, bytes(450_000));
            }
        }
    }
    assert_eq!(addresses, 3, "{}", task["artifacts"]);
    assert_eq!(artifact(&task, "answer")["parts"][0]["url"], json!(null), "{}", task["artifacts"]);
    let older = world.rpc("tasks/get", json!({"id": task["id"]}));
    let file = &artifact(&older, "d")["parts"][0];
    assert_eq!((&file["kind"], &file["file"]["name"]), (&json!("file"), &json!("d.bin")));
    // The command line writes all of them.
    let folder = world.path("out");
    let out = folder.to_str().unwrap();
    let sent = pilothouse(&url(world.address()), &["send", "many", "--out", out]);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    for name in names {
        assert_eq!(fs::read(folder.join(format!("{name}.bin"))).unwrap(), bytes(450_000), "{name}");
    }
    assert_eq!(fs::read_to_string(folder.join("answer.txt")).unwrap(), "done");
}
