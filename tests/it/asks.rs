//! What agents ask and callers answer: by message over every binding, and at `/api/v1/asks`.

use crate::bindings::BINDINGS;
use crate::floods::scripted;
use crate::http::Reply;
use crate::reading::{
    answer, at_once, message, message_in, message_to, message_with, state, text_of, words,
};
use crate::world::{BOB, OWNER, World, await_true};
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};

const ASK: &str = "ask Which colour? | red | green";

/// Asks: the task that waits.
fn asked(world: &World) -> Value {
    let task = world.say(ASK);
    assert_eq!(state(&task), "INPUT_REQUIRED");
    task
}

/// The id of what a task asks.
fn ask_id(task: &Value) -> &str {
    let parts = task["status"]["message"]["parts"].as_array().unwrap();
    let data = parts.iter().find_map(|part| part.get("data"));
    text_of(data.unwrap_or_else(|| panic!("no data in {task:#}")), "askId")
}

fn listed(world: &World, token: &str) -> Vec<Value> {
    let headers = [("Authorization", &*format!("Bearer {token}"))];
    let reply = world.get("/api/v1/asks", &headers);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["asks"].as_array().unwrap().clone()
}

/// Answers at the ask's own address.
fn post(world: &World, token: &str, id: &str, body: &str) -> Reply {
    let headers = [("Authorization", &*format!("Bearer {token}"))];
    world.post(&format!("/api/v1/asks/{id}"), &headers, body.as_bytes())
}

/// An ask by its id, whether or not it is open.
fn read(world: &World, id: &str) -> Value {
    let headers = [("Authorization", &*format!("Bearer {OWNER}"))];
    let reply = world.get(&format!("/api/v1/asks/{id}"), &headers);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Params of an answer as data to a task.
fn decision(task: &Value, data: Value) -> Value {
    let mut params = message_with(json!([{"data": data}]));
    params["message"]["taskId"] = task["id"].clone();
    params
}

fn none_are_open(world: &World) {
    assert_eq!(listed(world, OWNER), [Value::Null; 0]);
}

// === the list ===

#[test]
fn an_open_ask_is_listed_with_what_one_needs_to_answer_it() {
    let world = World::start();
    let task = asked(&world);
    let asks = listed(&world, OWNER);
    let [ask] = asks.as_slice() else {
        panic!("one ask: {asks:#?}");
    };
    assert_eq!(
        (&ask["taskId"], &ask["contextId"], text_of(ask, "askId")),
        (&task["id"], &task["contextId"], ask_id(&task))
    );
    assert_eq!(
        (&ask["agent"], &ask["kind"], &ask["text"]),
        (&json!("fake"), &json!("question"), &json!("Which colour?"))
    );
    let options = json!([{"id": "red", "name": "red"}, {"id": "green", "name": "green"}]);
    assert_eq!(ask["options"], options);
    assert!(text_of(ask, "deadline") > text_of(ask, "created"), "{ask}");
}

#[test]
fn open_asks_are_listed_oldest_first() {
    let world = World::start();
    let tasks = [0, 1, 2].map(|_| asked(&world));
    let ids: Vec<_> =
        listed(&world, OWNER).iter().map(|ask| text_of(ask, "askId").to_owned()).collect();
    assert_eq!(ids, tasks.each_ref().map(ask_id));
}

#[test]
fn the_asks_of_every_agent_are_listed_and_answered() {
    let world = World::describe();
    let other = world.config["agents"]["fake"].clone();
    let world = world.config(json!({"agents": {"other": other}})).start();
    let door = world.through(BINDINGS[0]).agent("other");
    let task = door.well(Operation::SendMessage, &message(ASK))["task"].take();
    let asks = listed(&world, OWNER);
    assert_eq!((asks.len(), &asks[0]["agent"]), (1, &json!("other")));
    let reply = post(&world, OWNER, ask_id(&task), r#"{"answer": "say green"}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    none_are_open(&world);
}

#[test]
fn the_asks_of_others_are_not_there() {
    let world = World::start();
    let task = asked(&world);
    assert_eq!(listed(&world, BOB), [Value::Null; 0]);
    let reply = post(&world, BOB, ask_id(&task), r#"{"answer": "say x"}"#);
    assert_eq!(reply.status, 404);
    let unknown = post(&world, BOB, "unknown", r#"{"answer": "say x"}"#);
    let shape = |reply: &Reply, id: &str| reply.text().replace(id, "ID");
    assert_eq!(shape(&reply, ask_id(&task)), shape(&unknown, "unknown"));
    assert_eq!(listed(&world, OWNER).len(), 1);
}

#[test]
fn nobody_sees_or_answers_asks_without_a_token() {
    let world = World::start();
    let task = asked(&world);
    assert_eq!(world.get("/api/v1/asks", &[]).status, 401);
    let path = format!("/api/v1/asks/{}", ask_id(&task));
    assert_eq!(world.post(&path, &[], br#"{"answer": "say x"}"#).status, 401);
}

// === answers at the ask's own address ===

#[test]
fn an_answer_at_the_asks_own_address_continues_the_task() {
    let world = World::start();
    let task = asked(&world);
    let reply = post(&world, OWNER, ask_id(&task), r#"{"answer": "say green it is"}"#);
    assert_eq!((reply.status, &reply.json()["taskId"]), (200, &task["id"]));
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert_eq!(answer(&task), "green it is");
    none_are_open(&world);
}

#[test]
fn an_answer_at_the_asks_own_address_is_a_message_of_the_history() {
    let world = World::start();
    let task = asked(&world);
    post(&world, OWNER, ask_id(&task), r#"{"answer": "say x"}"#);
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    let data = json!({"answer": "say x", "askId": listed_id(&task)});
    let history = task["history"].as_array().unwrap();
    let mut users = history.iter().filter(|message| message["role"] == "ROLE_USER");
    assert_eq!(users.next_back().unwrap()["parts"], json!([{"data": data}]));
}

/// The ask that the history of a task answers.
fn listed_id(task: &Value) -> Value {
    let history = task["history"].as_array().unwrap();
    let parts = history.iter().flat_map(|message| message["parts"].as_array().unwrap());
    let mut data = parts.filter_map(|part| part.get("data"));
    let found = data.rfind(|data| data["answer"].is_string());
    found.map_or(Value::Null, |data| data["askId"].clone())
}

#[test]
fn an_ask_is_answered_once() {
    let world = World::start();
    let task = asked(&world);
    let id = ask_id(&task);
    assert_eq!(post(&world, OWNER, id, r#"{"answer": "cue go; say a"}"#).status, 200);
    let again = post(&world, OWNER, id, r#"{"answer": "say b"}"#);
    assert_eq!(again.status, 409, "{}", again.text());
    let params = decision(&task, json!({"askId": id, "answer": "say b"}));
    let error = world.error("SendMessage", params);
    assert_eq!(error["code"], -32059, "{error}");
    world.cue("go");
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert_eq!(answer(&task), "a");
}

#[test]
fn of_many_answers_at_once_one_is_taken() {
    let world = World::start();
    let task = asked(&world);
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let answers: Vec<_> = (0..8)
            .map(|n| {
                let (world, id) = (&world, ask_id(&task));
                let body = json!({"answer": format!("say {n}")}).to_string();
                scope.spawn(move || post(world, OWNER, id, &body))
            })
            .collect();
        answers.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (taken, told): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!(taken.len(), 1, "{}", told[0].text());
    let said = taken[0].json()["ask"]["answer"].clone();
    for reply in told {
        // Each is told who was quicker, and where to go on.
        let error = reply.json()["error"].take();
        let details = &error["details"][0]["metadata"];
        assert_eq!((reply.status, &details["by"]), (409, &json!("owner")), "{error}");
        assert_eq!(
            (&details["at"], &details["decision"]),
            (&said["at"], &json!("answer")),
            "{error}"
        );
        assert!(text_of(&error, "message").contains("send a message to task"), "{error}");
    }
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    let history = task["history"].as_array().unwrap();
    let users = history.iter().filter(|message| message["role"] == "ROLE_USER");
    assert_eq!(users.count(), 2);
}

#[test]
fn a_body_that_is_no_answer_is_refused_and_the_ask_stays() {
    let world = World::start();
    let task = asked(&world);
    for body in ["", "[]", "\"red\"", "null", "{", "{}", r#"{"answer": null}"#] {
        let reply = post(&world, OWNER, ask_id(&task), body);
        assert_eq!(reply.status, 400, "{body} was answered {}", reply.text());
    }
    assert_eq!(listed(&world, OWNER).len(), 1);
    assert_eq!(state(&world.task(text_of(&task, "id"))), "INPUT_REQUIRED");
}

#[test]
fn an_ask_that_is_not_there_cannot_be_answered() {
    let world = World::start();
    asked(&world);
    for id in ["nothing", "01a1fb57-fc31-72d2-92ab-ecf780f38676", "%2e%2e"] {
        let reply = post(&world, OWNER, id, r#"{"answer": "say x"}"#);
        assert_eq!(reply.status, 404, "{id}: {}", reply.text());
    }
    assert_eq!(listed(&world, OWNER).len(), 1);
}

// === answers by message ===

#[test]
fn the_status_names_the_ask_and_its_deadline() {
    let world = World::start();
    let task = asked(&world);
    assert_eq!(words(&task), "Which colour?");
    let parts = task["status"]["message"]["parts"].as_array().unwrap();
    let data = parts.iter().find_map(|part| part.get("data")).unwrap();
    let asks = listed(&world, OWNER);
    assert_eq!((&data["askId"], &data["deadline"]), (&asks[0]["askId"], &asks[0]["deadline"]));
}

#[test]
fn a_data_part_that_names_the_ask_answers_it_over_every_binding() {
    let world = World::start();
    for binding in BINDINGS {
        let task = asked(&world);
        let data = json!({"askId": ask_id(&task), "answer": "say green"});
        let reply = world.through(binding).well(Operation::SendMessage, &decision(&task, data));
        let task = &reply["task"];
        assert_eq!((state(task), answer(task).as_str()), ("COMPLETED", "green"), "{binding:?}");
    }
    none_are_open(&world);
}

#[test]
fn an_answer_in_plain_words_closes_the_ask() {
    let world = World::start();
    let task = asked(&world);
    let task = world.send(message_to(text_of(&task, "id"), "say green"));
    assert_eq!(answer(&task), "green");
    none_are_open(&world);
}

#[test]
fn a_question_takes_words_that_are_not_among_its_options_but_no_such_option() {
    let world = World::start();
    let task = asked(&world);
    let data = json!({"askId": ask_id(&task), "optionId": "purple"});
    let error = world.error("SendMessage", decision(&task, data));
    let violation = &error["data"][1]["fieldViolations"][0];
    assert_eq!(violation["field"], "optionId", "{error}");
    assert!(text_of(violation, "description").contains("red, green"));
    let data = json!({"askId": ask_id(&task), "answer": "say purple"});
    assert_eq!(answer(&world.send(decision(&task, data))), "purple");
}

#[test]
fn an_option_by_its_id_is_what_the_agent_gets() {
    let world = World::start();
    let task = world.say("ask Which? | say red | say green");
    let data = json!({"askId": ask_id(&task), "optionId": "say green"});
    assert_eq!(answer(&world.send(decision(&task, data))), "green");
}

#[test]
fn an_ask_that_is_not_the_tasks_is_refused_by_name_and_nothing_is_answered() {
    let world = World::start();
    let [one, other] = [0, 1].map(|_| asked(&world));
    for id in ["unknown", ask_id(&other)] {
        let data = json!({"askId": id, "answer": "say x"});
        let error = world.error("SendMessage", decision(&one, data));
        assert!(text_of(&error, "message").contains("ask"), "{error}");
    }
    assert_eq!(listed(&world, OWNER).len(), 2);
    assert_eq!(state(&world.task(text_of(&one, "id"))), "INPUT_REQUIRED");
    assert_eq!(state(&world.task(text_of(&other, "id"))), "INPUT_REQUIRED");
}

#[test]
fn another_caller_cannot_answer_by_message() {
    let world = World::start();
    let task = asked(&world);
    let data = json!({"askId": ask_id(&task), "answer": "say x"});
    let error = world.error_as(BOB, "SendMessage", decision(&task, data));
    assert_eq!(error["code"], -32001, "{error}");
    assert_eq!(listed(&world, OWNER).len(), 1);
}

#[test]
fn an_answer_that_is_repeated_while_the_agent_works_is_one_turn() {
    let world = World::start();
    let task = asked(&world);
    let data = json!({"askId": ask_id(&task), "answer": "cue go; count"});
    let params = at_once(decision(&task, data));
    world.send(params.clone());
    world.send(params);
    world.cue("go");
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert_eq!(answer(&task), "1");
}

#[test]
fn an_answer_that_is_repeated_is_not_the_answer_to_the_next_question() {
    let world = World::start();
    let task = asked(&world);
    let params = message_to(text_of(&task, "id"), "ask And then?");
    let next = world.send(params.clone());
    assert_eq!(ask_id(&world.send(params)), ask_id(&next));
}

#[test]
fn what_a_turn_has_asked_is_open_no_more_when_a_message_that_waited_behind_it_ends_the_task() {
    let world = World::start();
    let task = world.send(at_once(message(&format!("cue go; {ASK}"))));
    world.send(at_once(message_to(text_of(&task, "id"), "say done")));
    world.cue("go");
    world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    none_are_open(&world);
}

// === what is known of an ask ===

#[test]
fn an_answered_ask_says_who_answered_what_when_and_from_where_also_after_a_restart() {
    let mut world = World::start();
    let task = asked(&world);
    let open = read(&world, ask_id(&task));
    assert_eq!((&open["state"], &open["mayAnswer"]), (&json!("open"), &json!(["owner"])));
    assert!(text_of(&open, "folder").contains("work"), "{open}");
    post(&world, OWNER, ask_id(&task), r#"{"answer": "say x"}"#);
    world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    let ended = read(&world, ask_id(&task));
    let answer = &ended["answer"];
    assert_eq!(ended["state"], "answered");
    assert_eq!((&answer["by"], &answer["binding"]), (&json!("owner"), &json!("API")));
    assert_eq!((&answer["address"], &answer["answer"]), (&json!("127.0.0.1"), &json!("say x")));
    assert!(text_of(answer, "at") >= text_of(&ended, "created"), "{ended}");
    assert!(text_of(&ended, "next").contains(text_of(&task, "id")), "{ended}");
    world.restart();
    assert_eq!(read(&world, ask_id(&task)), ended);
    let headers = [("Authorization", &*format!("Bearer {OWNER}"))];
    for state in ["answered", "ended"] {
        let listed = world.get(&format!("/api/v1/asks?state={state}"), &headers).json();
        assert_eq!(listed["asks"], json!([ended]), "{state}");
    }
    assert_eq!(world.get("/api/v1/asks?state=expired", &headers).json()["totalSize"], 0);
    assert_eq!(world.get("/api/v1/asks?state=gone", &headers).status, 400);
}

#[test]
fn the_same_answer_again_is_no_error_and_does_nothing_a_second_time() {
    let world = World::start();
    let task = asked(&world);
    let body = r#"{"answer": "say x"}"#;
    let first = post(&world, OWNER, ask_id(&task), body).json();
    world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    let again = post(&world, OWNER, ask_id(&task), body);
    assert_eq!((again.status, &again.json()["ask"]), (200, &first["ask"]), "{}", again.text());
    let data = json!({"askId": ask_id(&task), "answer": "say x"});
    let repeated = world.send(decision(&task, data));
    let users = repeated["history"].as_array().unwrap();
    let users = users.iter().filter(|message| message["role"] == "ROLE_USER");
    assert_eq!((state(&repeated), users.count()), ("COMPLETED", 2));
}

#[test]
fn a_short_id_names_an_ask_in_each_way_to_answer() {
    let world = World::start();
    for by_message in [false, true] {
        let task = asked(&world);
        let short = text_of(&read(&world, ask_id(&task)), "shortId").to_owned();
        assert_eq!((short.len(), &read(&world, &short)["taskId"]), (6, &task["id"]));
        let parts = task["status"]["message"]["parts"].as_array().unwrap();
        let shown = parts.iter().find_map(|part| part.get("data")).unwrap();
        assert_eq!(text_of(shown, "shortId"), short);
        if by_message {
            let data = json!({"askId": short, "answer": "say x"});
            assert_eq!(answer(&world.send(decision(&task, data))), "x");
        } else {
            assert_eq!(post(&world, OWNER, &short, r#"{"answer": "say x"}"#).status, 200);
        }
    }
}

#[test]
fn another_caller_reads_and_claims_no_ask() {
    let world = World::start();
    let task = asked(&world);
    let headers = [("Authorization", &*format!("Bearer {BOB}"))];
    let path = format!("/api/v1/asks/{}", ask_id(&task));
    assert_eq!(world.get(&path, &headers).status, 404);
    assert_eq!(post(&world, BOB, ask_id(&task), r#"{"decision": "claim"}"#).status, 404);
}

#[test]
fn a_claimed_ask_says_who_answers_it_and_is_answered_all_the_same() {
    let world = World::start();
    let task = asked(&world);
    let claimed = post(&world, OWNER, ask_id(&task), r#"{"decision": "claim", "for": "1m"}"#);
    assert_eq!(claimed.status, 200, "{}", claimed.text());
    let ask = listed(&world, OWNER).remove(0);
    assert_eq!((&ask["state"], &ask["claim"]["by"]), (&json!("claimed"), &json!("owner")));
    assert!(text_of(&ask["claim"], "until") > text_of(&ask["claim"], "at"), "{ask}");
    let long = post(&world, OWNER, ask_id(&task), r#"{"decision": "claim", "for": "1h"}"#);
    assert!(long.status == 400 && long.text().contains("asks.claim"), "{}", long.text());
    assert_eq!(post(&world, OWNER, ask_id(&task), r#"{"answer": "say x"}"#).status, 200);
    let late = post(&world, OWNER, ask_id(&task), r#"{"decision": "claim"}"#);
    assert_eq!(late.status, 409, "{}", late.text());
}

#[test]
fn a_deferred_ask_leaves_the_list_ends_its_process_and_is_answered_later() {
    let files = json!({"agents": {"fake": {"skills_source": "files"}}});
    let world = scripted("claude", ASKS_ONCE).config(files).start();
    let id = world.begin("go");
    let task = world.await_state(&id, &["INPUT_REQUIRED"]);
    let deferred = post(&world, OWNER, ask_id(&task), r#"{"decision": "defer", "for": "2h"}"#);
    assert_eq!(deferred.status, 200, "{}", deferred.text());
    none_are_open(&world);
    let headers = [("Authorization", &*format!("Bearer {OWNER}"))];
    let listed = world.get("/api/v1/asks?state=deferred", &headers).json();
    assert_eq!((&listed["totalSize"], &listed["asks"][0]["taskId"]), (&json!(1), &json!(id)));
    let is_parked = await_true(world.patience(), || {
        let headers = [("Authorization", &*format!("Bearer {OWNER}"))];
        world.get("/ready", &headers).json()["processes"]["live"] == 0
    });
    assert!(is_parked, "the process still waits for the answer");
    // The first process is gone: the second one asks for the same and is answered as decided.
    assert_eq!(post(&world, OWNER, ask_id(&task), r#"{"decision": "allow"}"#).status, 200);
    let task = world.await_state(&id, &["COMPLETED"]);
    assert_eq!(answer(&task), "allowed");
}

/// Asks once, and says how that was answered.
pub(crate) const ASKS_ONCE: &str = r#"#!/bin/sh
read prompt
echo '{"type":"system","subtype":"init","session_id":"the-session"}'
echo '{"type":"control_request","request_id":"1","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"npm test"}}}'
while read line; do
    case $line in
    *'"behavior":"allow"'*) said=allowed; break;;
    *'"behavior":"deny"'*) said=denied; break;;
    esac
done
echo '{"type":"result","subtype":"success","is_error":false,"result":"'$said'"}'
read more
"#;

// === the end of an ask ===

#[test]
fn a_question_that_nobody_answers_in_time_cancels_its_task() {
    let world = World::describe().config(json!({"asks": {"timeout": "300ms"}})).start();
    let task = asked(&world);
    let over = world.await_state(text_of(&task, "id"), &["CANCELED"]);
    assert!(words(&over).contains("300ms"), "{}", words(&over));
    none_are_open(&world);
    let reply = post(&world, OWNER, ask_id(&task), r#"{"answer": "say x"}"#);
    assert_eq!(reply.status, 409);
    let data = json!({"askId": ask_id(&task), "answer": "say x"});
    let error = world.error("SendMessage", decision(&task, data));
    assert_eq!(error["code"], -32059, "{error}");
    assert_eq!(read(&world, ask_id(&task))["state"], "expired");
}

#[test]
fn canceling_the_task_voids_its_ask() {
    let world = World::start();
    let task = asked(&world);
    world.rpc("CancelTask", json!({"id": task["id"]}));
    none_are_open(&world);
    let reply = post(&world, OWNER, ask_id(&task), r#"{"answer": "say x"}"#);
    assert_eq!(reply.status, 409);
    assert_eq!(read(&world, ask_id(&task))["state"], "withdrawn");
}

#[test]
fn an_ask_stays_open_across_a_restart_and_is_answered_by_its_old_id() {
    let mut world = World::start();
    let task = asked(&world);
    let before = listed(&world, OWNER);
    world.restart();
    assert_eq!(listed(&world, OWNER), before);
    let reply = post(&world, OWNER, ask_id(&task), r#"{"answer": "say green"}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert_eq!(answer(&task), "green");
}

#[test]
fn an_ask_stays_open_across_kill_9_and_is_answered_by_its_old_id() {
    let mut world = World::start();
    let task = asked(&world);
    world.kill9();
    world.restart();
    let data = json!({"askId": ask_id(&task), "answer": "say green"});
    assert_eq!(answer(&world.send(decision(&task, data))), "green");
    none_are_open(&world);
}

#[test]
fn an_ask_that_was_answered_or_voided_does_not_come_back_with_a_restart() {
    let mut world = World::start();
    let [one, other] = [0, 1].map(|_| asked(&world));
    world.send(message_to(text_of(&one, "id"), "say done"));
    world.rpc("CancelTask", json!({"id": other["id"]}));
    world.kill9();
    world.restart();
    none_are_open(&world);
}

/// Asks, loses its conversation at the cue `lose`, and asks again with its next process, which then dies.
const ASKS_TWICE: &str = r#"#!/bin/sh
read prompt
echo '{"type":"system","subtype":"init","session_id":"the-session"}'
echo '{"type":"control_request","request_id":"1","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"ls"}}}'
[ -e "$HOME/begun" ] && exit
: > "$HOME/begun"
while [ ! -e "$FAKE_AGENT_CUES/lose" ]; do sleep 0.01; done
echo '{"type":"result","subtype":"error","is_error":true,"errors":["No conversation found with session ID: the-session"]}'
read more
"#;

#[test]
fn an_ask_of_an_earlier_try_of_a_turn_is_not_stored_any_more_when_the_turn_waits_for_another() {
    let world = scripted("claude", ASKS_TWICE).start();
    let id = world.begin("go");
    let first = world.await_state(&id, &["INPUT_REQUIRED"]);
    world.cue("lose");
    let second = world.await_task(&id, "another ask", |task| {
        state(task) == "INPUT_REQUIRED" && ask_id(task) != ask_id(&first)
    });
    let store = rusqlite::Connection::open(world.path("state").join("pilothouse.db")).unwrap();
    let mut rows = Vec::new();
    let is_gone = await_true(world.patience(), || {
        let mut select = store.prepare("SELECT id FROM asks WHERE state <= 2").unwrap();
        let ids = select.query_map([], |row| row.get(0)).unwrap();
        rows = ids.collect::<Result<Vec<String>, _>>().unwrap();
        rows == [ask_id(&second)]
    });
    assert!(is_gone, "{rows:?}");
}

#[test]
fn a_task_that_asks_again_has_one_ask_with_another_id() {
    let world = World::start();
    let first = asked(&world);
    let second = world.send(message_to(text_of(&first, "id"), ASK));
    assert_ne!(ask_id(&first), ask_id(&second));
    let asks = listed(&world, OWNER);
    assert_eq!((asks.len(), text_of(&asks[0], "askId")), (1, ask_id(&second)));
}

#[test]
fn two_contexts_ask_and_are_answered_apart() {
    let world = World::start();
    let [left, right] = ["left", "right"].map(|context| world.send(message_in(context, ASK)));
    let answered = |task: &Value, text: &str| {
        let data = json!({"askId": ask_id(task), "answer": text});
        answer(&world.send(decision(task, data)))
    };
    assert_eq!(answered(&right, "say r"), "r");
    assert_eq!(answered(&left, "say l"), "l");
}
