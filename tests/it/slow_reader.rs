//! A reader that takes its time: the agent and every other reader go on, and it misses nothing.

use crate::bindings::{BINDINGS, Binding};
use crate::http::{Event, connect_narrow};
use crate::reading::{answer, message, states, streamed_answer, text_of};
use crate::world::{OWNER, World};
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// More than all buffers on the way hold.
const FLOOD: &str = "repeat 200 0 {i} of many; flood 8000000 60000; say the end";

/// A world that shows answers whole, however long they are.
fn world() -> World {
    World::describe().config(json!({"limits": {"response": "64MiB"}})).start()
}

/// Server-sent events over a socket that holds next to nothing, read one by one.
struct Slow {
    socket: BufReader<TcpStream>,
}

impl Slow {
    /// Subscribes to a task.
    fn subscribe(world: &World, id: &str, after: Option<u64>) -> Self {
        let after = after.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let address = world.address();
        let head = format!(
            "GET /tasks/{id}:subscribe HTTP/1.0\r\nHost: {address}\r\n\
             Authorization: Bearer {OWNER}\r\n{after}\r\n"
        );
        let mut socket = connect_narrow(address, world.patience());
        socket.write_all(head.as_bytes()).unwrap();
        let mut socket = BufReader::with_capacity(1024, socket);
        let mut line = String::new();
        socket.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        while line.trim() != "" {
            line.clear();
            socket.read_line(&mut line).unwrap();
        }
        Self { socket }
    }

    /// The next event with its number; none at the end.
    fn next(&mut self) -> Option<Event> {
        let mut id = None;
        loop {
            let mut line = String::new();
            if self.socket.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(':') {
                Some(("id", value)) => id = value.trim().parse().ok(),
                Some(("data", value)) => {
                    let result: Value = serde_json::from_str(value.trim()).unwrap();
                    return Some(Event { id, result });
                }
                _ => {}
            }
        }
    }

    fn rest(mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// What streamed is the answer; megabytes are not printed where it is not.
fn assert_whole(events: &[Event], task: &Value) {
    let (streamed, whole) = (streamed_answer(events), answer(task));
    assert!(whole.ends_with("the end"));
    assert_eq!(streamed.len(), whole.len());
    assert!(streamed == whole, "the text differs");
}

#[test]
fn the_agent_ends_while_a_reader_is_at_its_first_event() {
    let world = world();
    let id = world.begin_waiting(&format!("cue go; {FLOOD}"), "go");
    let mut slow = Slow::subscribe(&world, &id, None);
    assert_eq!(slow.next().unwrap().kind(), "task");
    world.cue("go");
    world.await_state(&id, &["COMPLETED"]);
    assert_eq!(states(&slow.rest()).last(), Some(&"COMPLETED"));
}

#[test]
fn a_slow_reader_gets_what_a_fast_one_gets() {
    let world = world();
    let id = world.begin_waiting(&format!("cue go; {FLOOD}"), "go");
    let mut slow = Slow::subscribe(&world, &id, None);
    let first = slow.next().unwrap();
    let fast = world.subscribe(&id);
    world.cue("go");
    let fast = fast.rest();
    let mut seen = vec![first];
    seen.extend(slow.rest());
    assert_eq!(seen.len(), fast.len());
    assert!(seen == fast, "the events differ");
    assert_whole(&seen, &world.task(&id));
}

#[test]
fn a_reader_that_takes_one_event_at_a_time_sets_nobodys_pace() {
    let world = world();
    let id = world.begin_waiting(
        "cue one; flood 4000000 60000; cue two; flood 4000000 60000; cue three; say the end",
        "one",
    );
    let mut slow = Slow::subscribe(&world, &id, None);
    let mut seen = Vec::new();
    // The agent is three times as far as it could be if somebody waited for the reader.
    for (cue, next) in [("one", Some("two")), ("two", Some("three")), ("three", None)] {
        seen.push(slow.next().unwrap());
        world.cue(cue);
        match next {
            Some(next) => world.await_words(&id, &format!("waiting {next}")),
            None => world.await_state(&id, &["COMPLETED"]),
        };
    }
    seen.extend(slow.rest());
    assert_whole(&seen, &world.task(&id));
    assert_eq!(states(&seen).last(), Some(&"COMPLETED"));
}

#[test]
fn the_numbers_of_what_a_slow_reader_gets_rise_without_a_repetition() {
    let world = world();
    let id = world.begin_waiting(&format!("cue go; {FLOOD}"), "go");
    let mut slow = Slow::subscribe(&world, &id, None);
    let mut seen = vec![slow.next().unwrap()];
    world.cue("go");
    world.await_state(&id, &["COMPLETED"]);
    seen.extend(slow.rest());
    let numbers: Vec<u64> = seen.iter().map(|event| event.id.unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_slow_reader_that_breaks_off_goes_on_where_it_was() {
    let world = world();
    let id = world.begin_waiting(&format!("cue go; {FLOOD}"), "go");
    let mut slow = Slow::subscribe(&world, &id, None);
    let mut seen: Vec<Event> = vec![slow.next().unwrap()];
    world.cue("go");
    seen.extend((0..3).map(|_| slow.next().unwrap()));
    drop(slow);
    world.await_state(&id, &["COMPLETED"]);
    let last = seen.last().unwrap().id;
    let again = Slow::subscribe(&world, &id, last).rest();
    assert_eq!(again[0].kind(), "task");
    seen.extend(again.into_iter().skip(1));
    assert_whole(&seen, &world.task(&id));
}

#[test]
fn a_reader_of_any_binding_that_does_not_read_misses_nothing() {
    let world = world();
    let id = world.begin_waiting(&format!("cue go; {FLOOD}"), "go");
    let mut streams = BINDINGS.map(|binding| {
        let door = world.through(binding);
        door.stream(Operation::SubscribeToTask, &json!({"id": id}))
    });
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap().kind(), "task");
    }
    world.cue("go");
    let task = world.await_state(&id, &["COMPLETED"]);
    for stream in streams {
        assert_whole(&stream.rest(), &task);
    }
}

#[test]
fn other_calls_are_answered_beside_many_readers_that_do_not_read() {
    let world = world();
    let id = world.begin_waiting(&format!("cue go; {FLOOD}"), "go");
    let slow: Vec<Slow> = (0..20).map(|_| Slow::subscribe(&world, &id, None)).collect();
    world.cue("go");
    for binding in BINDINGS {
        let reply = world.through(binding).well(Operation::SendMessage, &message("say quick"));
        assert_eq!(answer(&reply["task"]), "quick");
    }
    world.await_state(&id, &["COMPLETED"]);
    drop(slow);
}

#[test]
fn a_reader_that_does_not_read_costs_the_server_little_memory() {
    let world = world();
    // What the agent's text costs by itself is paid before it is counted.
    world.say(FLOOD);
    let id = world.begin_waiting(&format!("cue go; {FLOOD}"), "go");
    let slow: Vec<Slow> = (0..20).map(|_| Slow::subscribe(&world, &id, None)).collect();
    let before = world.resident();
    world.cue("go");
    world.await_state(&id, &["COMPLETED"]);
    let grown = world.resident().saturating_sub(before) >> 20;
    // Twenty copies of the answer would be 160 MB.
    assert!(grown < 100, "{grown} MB more");
    drop(slow);
}

#[test]
fn a_task_is_found_by_its_first_event_before_its_reader_has_read_on() {
    let world = world();
    let door = world.through(Binding::Grpc);
    let mut stream = door.stream(Operation::SendStreamingMessage, &message(FLOOD));
    let id = stream.next().unwrap().task_id().to_owned();
    let task = world.await_state(&id, &["COMPLETED"]);
    assert_eq!(text_of(&task, "id"), id);
}
