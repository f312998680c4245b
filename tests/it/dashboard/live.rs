//! One stream for a whole page: all rows at first, then those that change, and what its reader misses meanwhile.

use super::{get, post};
use crate::http::Body;
use crate::reading::{message_in, message_to, text_of};
use crate::tokens::{revoke, token};
use crate::world::{BOB, OWNER, World, await_true};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};

/// A frame of a live stream.
#[derive(Debug)]
struct Frame {
    name: String,
    id: Option<String>,
    data: Value,
}

/// A live stream as it comes.
struct Live(BufReader<Body>);

impl Live {
    fn open(world: &World, token: &str, wants: &Value) -> Self {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let answer = world.ask("POST", "/api/v1/live", &headers, wants.to_string().as_bytes());
        assert_eq!(answer.status, 200);
        Self(answer.body)
    }

    /// The next frame; none at the end.
    fn next(&mut self) -> Option<Frame> {
        let (mut name, mut id, mut data) = (String::new(), None, None);
        loop {
            let mut line = String::new();
            // A stream that the server ends early breaks off.
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                _ => {}
            }
            if line.trim().is_empty() && (data.is_some() || id.is_some()) {
                return Some(Frame { name, id, data: data.unwrap_or_default() });
            }
        }
    }

    /// The frames up to the first that fits.
    fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut seen = Vec::new();
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("the stream ended after {seen:#?}"));
            seen.push(frame);
            if fits(seen.last().unwrap()) {
                return seen;
            }
        }
    }

    /// The frames up to the one that says that all rows are there.
    fn until_full(&mut self) -> Vec<Frame> {
        self.until(|frame| frame.name == "full")
    }
}

fn both() -> Value {
    json!({"asks": true, "sessions": true})
}

/// The rows of this kind in these frames.
fn rows<'a>(frames: &'a [Frame], name: &str) -> Vec<&'a Value> {
    let frames = frames.iter().filter(|frame| frame.name == name);
    frames.flat_map(|frame| frame.data["rows"].as_array().unwrap()).collect()
}

fn has_gone(frame: &Frame, name: &str, id: &str) -> bool {
    frame.name == name && frame.data["gone"].as_array().unwrap().contains(&json!(id))
}

/// Waits until a session changes no more by itself.
fn await_rest(world: &World, context: &str) {
    let mut seen = Value::Null;
    let is_at_rest = await_true(world.patience(), || {
        seen = get(world, &format!("/api/v1/sessions/{context}")).json();
        seen["activity"]["state"] == "idle" && seen["live"] == false
    });
    assert!(is_at_rest, "{seen}");
}

fn cursor_of(frames: &[Frame]) -> String {
    frames.iter().rev().find_map(|frame| frame.id.clone()).expect("frames have cursors")
}

#[test]
fn a_stream_begins_with_all_rows_and_says_when_they_are_whole() {
    let world = World::start();
    world.send(message_in("one", "say x"));
    let asking = world.send(message_in("two", "ask Which? | A | B"));
    let frames = Live::open(&world, OWNER, &both()).until_full();
    assert_eq!(frames[0].name, "reset");
    // Who loses the stream before its rows are whole begins anew.
    let with_cursor: Vec<_> = frames.iter().filter(|frame| frame.id.is_some()).collect();
    assert!(with_cursor.iter().all(|frame| frame.name == "full"), "{with_cursor:#?}");
    let asks = rows(&frames, "asks");
    assert_eq!((asks.len(), &asks[0]["taskId"]), (1, &asking["id"]));
    let sessions = rows(&frames, "sessions");
    assert_eq!(sessions.len(), 2);
    assert_eq!((&sessions[0]["contextId"], &sessions[0]["asks"]), (&json!("two"), &json!(1)));
    assert_eq!(
        (text_of(sessions[1], "title"), &sessions[1]["task"]["state"]),
        ("say x", &json!("TASK_STATE_COMPLETED"))
    );
    assert_eq!(frames.last().unwrap().data, json!({"sessions": {"shown": 2, "total": 2}}));
}

#[test]
fn an_ask_comes_when_it_is_made_and_goes_when_somebody_has_answered_it() {
    let world = World::start();
    let mut live = Live::open(&world, OWNER, &both());
    live.until_full();
    let task = world.begin_with(message_in("one", "ask Which? | A | B; say done"));
    let frames = live.until(|frame| frame.name == "asks");
    let ask = text_of(&frames.last().unwrap().data["rows"][0], "askId").to_owned();
    assert_eq!(
        post(&world, OWNER, &format!("/api/v1/asks/{ask}"), &json!({"answer": "A"})).status,
        200
    );
    live.until(|frame| has_gone(frame, "asks", &ask));
    world.await_state(&task, &["COMPLETED"]);
    live.until(|frame| {
        frame.name == "sessions" && frame.data["rows"][0]["task"]["state"] == "TASK_STATE_COMPLETED"
    });
}

#[test]
fn who_comes_back_with_a_cursor_gets_what_has_changed_and_nothing_else() {
    let world = World::start();
    for context in ["one", "two", "three"] {
        world.send(message_in(context, "say x"));
    }
    for context in ["one", "two", "three"] {
        await_rest(&world, context);
    }
    let cursor = cursor_of(&Live::open(&world, OWNER, &both()).until_full());
    world.send(message_in("two", "say again"));
    let mut wants = both();
    wants["cursor"] = cursor.into();
    let mut live = Live::open(&world, OWNER, &wants);
    let frames = live.until(|frame| frame.name == "sessions");
    assert!(frames.iter().all(|frame| frame.name != "reset"), "{frames:#?}");
    let contexts: Vec<_> =
        rows(&frames, "sessions").into_iter().map(|row| &row["contextId"]).collect();
    assert_eq!(contexts, ["two"]);
}

#[test]
fn a_cursor_of_another_life_of_the_server_leads_to_all_rows() {
    let mut world = World::start();
    world.send(message_in("one", "say x"));
    let cursor = cursor_of(&Live::open(&world, OWNER, &both()).until_full());
    world.restart();
    let mut wants = both();
    wants["cursor"] = cursor.into();
    let frames = Live::open(&world, OWNER, &wants).until_full();
    assert_eq!((frames[0].name.as_str(), rows(&frames, "sessions").len()), ("reset", 1));
}

#[test]
fn a_session_that_is_removed_is_gone() {
    let world = World::start();
    world.send(message_in("one", "say x"));
    let mut live = Live::open(&world, OWNER, &both());
    let frames = live.until_full();
    let id = text_of(rows(&frames, "sessions")[0], "id").to_owned();
    assert_eq!(
        post(&world, OWNER, &format!("/api/v1/sessions/{id}/remove"), &json!({})).status,
        200
    );
    live.until(|frame| has_gone(frame, "sessions", &id));
}

#[test]
fn the_events_of_a_task_come_from_the_one_on_that_its_reader_has_not() {
    let world = World::start();
    let task = world.begin_waiting("status early; cue go; say late", "go");
    let wants = json!({"tasks": [{"id": task, "after": 2}]});
    let mut live = Live::open(&world, OWNER, &wants);
    world.cue("go");
    let is_over = |frame: &Frame| {
        frame.data["event"]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    };
    let frames = live.until(is_over);
    let seqs: Vec<_> = frames
        .iter()
        .filter(|frame| frame.name == "task")
        .map(|frame| frame.data["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs.first(), Some(&3));
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
}

#[test]
fn a_task_that_is_gone_is_broken_and_the_rest_of_the_page_goes_on() {
    let world = World::start();
    let task = world.say("say x");
    let id = text_of(&task, "id");
    let mut wants = both();
    wants["tasks"] = json!([{"id": "gone"}, {"id": id, "after": 2}, {"id": id, "after": 1}]);
    let mut live = Live::open(&world, OWNER, &wants);
    let mut frames = live.until_full();
    let is_end = |frame: &Frame| {
        frame.data["event"]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    };
    while !(frames.iter().any(|frame| frame.name == "broken") && frames.iter().any(is_end)) {
        frames.push(live.next().unwrap());
    }
    let broken = frames.iter().find(|frame| frame.name == "broken").unwrap();
    assert_eq!(
        (&broken.data["task"], &broken.data["error"]["code"]),
        (&json!("gone"), &json!(404))
    );
    let tasks = frames.iter().filter(|frame| frame.name == "task");
    let seqs: Vec<_> = tasks.map(|frame| frame.data["seq"].as_u64().unwrap()).collect();
    // From the first on that one of the two has not, and once each.
    assert_eq!(seqs.first(), Some(&2));
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
}

#[test]
fn changes_of_others_bring_a_newer_cursor_with_the_next_sign_of_life() {
    let world = World::describe().config(json!({"timeouts": {"keep_alive": "100ms"}})).start();
    let mut live = Live::open(&world, BOB, &both());
    let first = cursor_of(&live.until_full());
    world.send(message_in("one", "say x"));
    let frames = live.until(|frame| frame.id.as_ref().is_some_and(|id| *id != first));
    assert!(frames.iter().all(|frame| frame.data.is_null()), "{frames:#?}");
}

#[test]
fn nobody_is_told_of_what_is_of_others_but_an_admin_who_asks_for_it() {
    let world = World::start();
    world.send(message_in("one", "ask Which? | A | B"));
    let frames = Live::open(&world, BOB, &both()).until_full();
    assert_eq!((rows(&frames, "asks").len(), rows(&frames, "sessions").len()), (0, 0));
    let mut live = Live::open(&world, BOB, &both());
    live.until_full();
    world.send(message_in("two", "ask Which? | A | B"));
    world.rpc_as(BOB, "SendMessage", message_in("mine", "say x"));
    let frames = live.until(|frame| frame.name == "sessions");
    let contexts: Vec<_> =
        rows(&frames, "sessions").into_iter().map(|row| &row["contextId"]).collect();
    assert_eq!(contexts, ["mine"]);
}

#[test]
fn a_stream_ends_when_its_token_is_revoked() {
    let world = World::start();
    let (id, carol) = token(&world, &json!({"caller": "carol", "scopes": ["read"]}));
    let mut live = Live::open(&world, &carol, &both());
    live.until_full();
    assert_eq!(revoke(&world, &id).status, 200);
    while live.next().is_some() {}
}

#[test]
fn streams_and_their_tasks_have_bounds_that_are_named_and_a_place_comes_back() {
    let streams = json!({"streams": {"live": 2, "live_tasks": 1}});
    let world = World::describe().config(streams).start();
    let tasks = json!({"tasks": [{"id": "a"}, {"id": "b"}]});
    let refused = post(&world, OWNER, "/api/v1/live", &tasks);
    assert!(
        refused.status == 400 && refused.text().contains("streams.live_tasks"),
        "{}",
        refused.text()
    );
    let mut first = Live::open(&world, OWNER, &both());
    first.until_full();
    let refused = post(&world, OWNER, "/api/v1/live", &both());
    assert!(refused.status == 503 && refused.text().contains("streams.live"), "{}", refused.text());
    drop(first);
    let is_free = await_true(world.patience(), || {
        let bearer = format!("Bearer {OWNER}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        world.ask("POST", "/api/v1/live", &headers, b"{}").status == 200
    });
    assert!(is_free);
}

#[test]
fn a_token_that_may_not_read_has_no_stream() {
    let world = World::start();
    let (_, carol) = token(&world, &json!({"caller": "carol", "scopes": ["send"]}));
    assert_eq!(post(&world, &carol, "/api/v1/live", &both()).status, 403);
}

#[test]
fn a_message_to_an_old_session_brings_its_row_again() {
    let world = World::start();
    let task = world.send(message_in("one", "ask Which? | A | B; say x"));
    let mut live = Live::open(&world, OWNER, &both());
    live.until_full();
    world.send(message_to(text_of(&task, "id"), "A"));
    live.until(|frame| frame.name == "sessions" && frame.data["rows"][0]["asks"] == 0);
    assert_eq!(get(&world, "/api/v1/sessions/one").json()["asks"], 0);
}
