//! Ends of the server, in order or not: nothing that it started is left.

use crate::reading::{message, states};
use crate::world::World;

/// Three scripts that make it hard to end them, each after a cue so that they are at it for sure.
const STUBBORN: [&str; 3] =
    ["fork; cue go; hang", "ignore TERM; cue go; hang", "fork hold; ignore TERM; cue go; hang"];

fn busy() -> World {
    let world = World::start();
    let ids: Vec<String> = STUBBORN.iter().map(|script| world.begin(script)).collect();
    ids.iter().for_each(|id| drop(world.await_words(id, "waiting go")));
    assert!(world.agents().len() >= 5, "{:?}", world.agents());
    world
}

#[test]
fn sigterm_leaves_no_process_of_running_turns() {
    let mut world = busy();
    assert_eq!(world.stop().code(), Some(0));
}

#[test]
fn sigkill_of_the_server_leaves_no_process_of_running_turns() {
    let mut world = busy();
    world.kill9();
    world.nothing_is_left();
}

#[test]
fn sigterm_of_an_idle_server_ends_it_at_once_and_well() {
    let mut world = World::start();
    world.say("say x");
    assert_eq!(world.stop().code(), Some(0));
}

#[test]
fn a_server_whose_words_nobody_reads_any_more_ends_in_order() {
    // The reader leaves with the last line of the start.
    let reader = "while read -r line; do echo \"$line\"; case $line in *curl*) break;; esac; done";
    let script = format!("exec \"$@\" 2> >({reader} >&2)");
    let mut world = World::describe().through(["bash", "-c", &script, "bash"]).start();
    let id = world.begin_waiting("cue never", "never");
    assert_eq!(world.stop().code(), Some(0));
    world.restart();
    assert!(crate::reading::words(&world.task(&id)).contains("server stopped"));
}

#[test]
fn an_open_idle_connection_does_not_keep_the_server() {
    let mut world = World::start();
    let open: Vec<_> =
        (0..3).map(|_| crate::http::connect(world.address(), crate::world::PATIENCE)).collect();
    assert_eq!(world.stop().code(), Some(0));
    drop(open);
}

#[test]
fn streams_get_their_last_event_before_the_server_ends() {
    let mut world = World::start();
    let mut events = world.stream("SendStreamingMessage", message("say begun; cue never"));
    let seen = events.until("the cue", |event| event.words() == "waiting never");
    world.sigterm();
    let rest = events.rest();
    assert_eq!(states(&rest), ["FAILED"], "{seen:#?}");
    assert!(rest.last().unwrap().words().contains("server stopped"), "{rest:#?}");
    assert_eq!(world.ended().code(), Some(0));
}

#[test]
fn subscribers_get_the_last_event_before_the_server_ends() {
    let mut world = World::start();
    let id = world.begin_waiting("cue never", "never");
    let mut events = world.subscribe(&id);
    events.next();
    world.sigterm();
    assert_eq!(states(&events.rest()), ["FAILED"]);
    world.ended();
}

#[test]
fn a_stream_of_a_task_that_asks_does_not_keep_the_server() {
    let mut world = World::start();
    let task = world.say("ask which?");
    let events = world.subscribe(task["id"].as_str().unwrap());
    world.sigterm();
    let states = states(&events.rest()).join(" ");
    assert_eq!(states, "INPUT_REQUIRED");
    assert_eq!(world.ended().code(), Some(0));
}

#[test]
fn a_caller_who_waits_is_answered_before_the_server_ends() {
    let mut world = World::start();
    let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("cue never")}).to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        crate::world::OWNER,
        body.len()
    );
    let mut socket = crate::http::connect(world.address(), crate::world::PATIENCE);
    std::io::Write::write_all(&mut socket, request.as_bytes()).unwrap();
    crate::processes::await_some("the agent", crate::world::PATIENCE, || world.agents().pop());
    world.sigterm();
    let mut reply = String::new();
    std::io::Read::read_to_string(&mut socket, &mut reply).unwrap();
    assert!(reply.contains("TASK_STATE_FAILED"), "{reply}");
    world.ended();
}

#[test]
fn a_second_sigterm_ends_everything_at_once() {
    let mut world = World::describe()
        .config(serde_json::json!({"timeouts": {"terminate": "60s", "shutdown": "120s"}}))
        .start();
    world.begin_waiting("ignore TERM; cue never", "never");
    world.sigterm();
    crate::processes::await_some("the word of the first signal", crate::world::PATIENCE, || {
        world.stderr().contains("SIGTERM").then_some(())
    });
    world.sigterm();
    assert_eq!(world.ended().code(), Some(69));
    world.nothing_is_left();
}

#[test]
fn the_address_file_is_gone_after_an_end_in_order() {
    let mut world = World::start();
    world.stop();
    assert!(!world.path("state").join("server.json").exists());
}

#[test]
fn each_turns_leftovers_are_ended_with_the_turn() {
    let world = World::start();
    let task = world.say("fork; fork; fork; say done");
    assert_eq!(crate::reading::state(&task), "COMPLETED");
    world.await_no_agents();
}
