//! Following a task that somebody else, or an earlier connection, began.

use crate::http::Event;
use crate::reading::{message, state, states, streamed_answer};
use crate::world::World;
use serde_json::json;

#[test]
fn a_late_subscriber_gets_the_task_first_and_misses_nothing() {
    let world = World::start();
    let id = world.begin_waiting("say one; cue go; say  two; artifact notes x", "go");
    let mut events = world.subscribe(&id);
    let first = events.next().unwrap();
    assert_eq!(
        (first.kind(), first.state(), streamed_answer(std::slice::from_ref(&first)).as_str()),
        ("task", Some("WORKING"), "one")
    );
    world.cue("go");
    let mut all = vec![first];
    all.extend(events.rest());
    assert_eq!(streamed_answer(&all), crate::reading::answer(&world.task(&id)));
    assert_eq!(all.last().unwrap().state(), Some("COMPLETED"));
}

#[test]
fn last_event_id_resumes_after_every_event_without_loss_or_double() {
    let world = World::start();
    let script =
        "say a; status s1; say b; tool T {}; result r; artifact n x; repeat 5 2 {i}; say c";
    let full = world.stream("SendStreamingMessage", message(script)).rest();
    let id = full[0].task_id();
    for (place, event) in full.iter().enumerate() {
        let resumed = world.resume(id, event.id.unwrap());
        assert_eq!((resumed[0].kind(), resumed[0].id), ("task", event.id));
        assert_eq!(&resumed[1..], &full[place + 1..]);
    }
}

#[test]
fn a_resumed_stream_begins_with_the_task_as_it_stood_there() {
    let world = World::start();
    let full = world
        .stream("SendStreamingMessage", message("say a; status pause; say b; status pause; say c"))
        .rest();
    let place = full.iter().position(|event| event.words() == "b").unwrap();
    let resumed = world.resume(full[0].task_id(), full[place].id.unwrap());
    assert_eq!(
        (streamed_answer(&resumed[..1]).as_str(), streamed_answer(&resumed).as_str()),
        ("ab", "abc")
    );
}

#[test]
fn a_running_task_is_resumed_in_the_middle() {
    let world = World::start();
    let mut first =
        world.stream("SendStreamingMessage", message("say a; cue one; say b; cue two; say c"));
    let seen = first.until("the first cue", |event| event.words() == "waiting one");
    drop(first);
    let last = seen.last().unwrap();
    world.cue("one");
    world.await_words(last.task_id(), "waiting two");
    world.cue("two");
    let rest = world.resume(last.task_id(), last.id.unwrap());
    let all: Vec<Event> = seen.iter().chain(&rest[1..]).cloned().collect();
    let ids: Vec<_> = all.iter().map(|event| event.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert_eq!(streamed_answer(&all), "abc");
}

#[test]
fn two_subscribers_see_the_same_events_in_the_same_order() {
    let world = World::start();
    let id = world.begin_waiting("cue go; repeat 200 0 {i}; status end", "go");
    let (one, two) = std::thread::scope(|scope| {
        let readers =
            [(); 2].map(|()| world.subscribe(&id)).map(|events| scope.spawn(|| events.rest()));
        world.cue("go");
        let [one, two] = readers.map(|reader| reader.join().unwrap());
        (one, two)
    });
    assert!(one.len() > 3);
    assert_eq!(one, two);
}

#[test]
fn a_disconnect_changes_nothing_for_the_task() {
    let world = World::start();
    let mut events = world.stream("SendStreamingMessage", message("cue go; say done"));
    let id = events.until("the cue", |event| event.words() == "waiting go")[0].task_id().to_owned();
    drop(events);
    world.cue("go");
    let task = world.await_state(&id, &["COMPLETED", "FAILED", "CANCELED"]);
    assert_eq!((state(&task), crate::reading::answer(&task).as_str()), ("COMPLETED", "done"));
}

#[test]
fn a_caller_who_waits_and_leaves_does_not_end_the_task() {
    let world = World::start();
    let params = message("cue go; say done");
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}).to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        world.address(),
        crate::world::OWNER,
        body.len()
    );
    let mut socket = crate::http::connect(world.address(), crate::world::PATIENCE);
    std::io::Write::write_all(&mut socket, head.as_bytes()).unwrap();
    let id = crate::processes::await_some("the task", crate::world::PATIENCE, || {
        let tasks = world.rpc("ListTasks", json!({"status": "TASK_STATE_WORKING"}));
        tasks["tasks"][0]["id"].as_str().map(ToOwned::to_owned)
    });
    drop(socket);
    world.cue("go");
    let task = world.await_state(&id, &["COMPLETED", "FAILED", "CANCELED"]);
    assert_eq!(state(&task), "COMPLETED");
}

#[test]
fn a_task_that_was_not_streamed_can_be_followed_too() {
    let world = World::start();
    let id = world.begin_waiting("cue go; say done", "go");
    let events = world.subscribe(&id);
    world.cue("go");
    assert_eq!(states(&events.rest()), ["WORKING", "COMPLETED"]);
}

#[test]
fn a_finished_task_is_not_followed() {
    let world = World::start();
    let id = world.say("say done")["id"].clone();
    let error = world.error("SubscribeToTask", json!({"id": id}));
    assert_eq!(error["code"], -32004);
    assert_eq!(error["data"][0]["reason"], "UNSUPPORTED_OPERATION");
}

#[test]
fn an_event_id_that_is_none_is_refused_before_the_stream() {
    let world = World::start();
    let id = world.begin_waiting("cue go", "go");
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": id}})
            .to_string();
    let authorization = format!("Bearer {}", crate::world::OWNER);
    let reply = world.post(
        "/",
        &[("Authorization", &authorization), ("Last-Event-ID", "soon")],
        body.as_bytes(),
    );
    assert_eq!(reply.json()["error"]["code"], -32602);
    world.cue("go");
}

#[test]
fn many_late_subscribers_each_get_the_whole() {
    let world = World::start();
    let id = world.begin_waiting("repeat 20 0 before {i}; cue go; repeat 20 0 after {i}", "go");
    let answers = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..10)
            .map(|_| world.subscribe(&id))
            .map(|events| scope.spawn(|| events.rest()))
            .collect();
        world.cue("go");
        readers
            .into_iter()
            .map(|reader| streamed_answer(&reader.join().unwrap()))
            .collect::<Vec<_>>()
    });
    let whole = crate::reading::answer(&world.task(&id));
    assert_eq!(whole.lines().count(), 40);
    assert!(answers.iter().all(|answer| *answer == whole));
}
