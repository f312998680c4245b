//! What the real CLI asks is answered by people: tools, questions, in words and as data.

mod again;
mod rules;
mod together;

use super::{PATIENCE, claude, clis, workspace};
use crate::reading::{
    answer, message, message_in, message_to, message_with, state, text_of, words,
};
use crate::world::{OWNER, World};
use fake_model::Model;
use serde_json::{Value, json};

/// A command that no permission mode but the widest allows by itself; it leaves a line when it runs.
fn leaving(word: &str) -> String {
    format!("curl -s http://127.0.0.1:9/ || echo {word} >> ran")
}

/// The same as a step of the model.
fn step(word: &str) -> String {
    format!("bash: {}", leaving(word))
}

/// What has run in the session of a context.
fn ran(world: &World, context: &str) -> Vec<String> {
    let file = workspace(world, context).join("ran");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

/// Sends a script that ends up asking: the task that waits.
fn asks(world: &World, context: &str, script: &str) -> Value {
    let task = world.send(message_in(context, script));
    assert_eq!(state(&task), "INPUT_REQUIRED", "{task:#}");
    task
}

/// What a task asks, as data.
fn data(task: &Value) -> &Value {
    let parts = task["status"]["message"]["parts"].as_array();
    let found = parts.into_iter().flatten().find_map(|part| part.get("data"));
    found.unwrap_or_else(|| panic!("no data in the status of {task:#}"))
}

/// The answer to a task in these parts: the task when it is over or asks again.
fn reply(world: &World, task: &Value, parts: Value) -> Value {
    let mut params = message_with(parts);
    params["message"]["taskId"] = task["id"].clone();
    world.send(params)
}

/// The answer as data.
fn decide(world: &World, task: &Value, decision: Value) -> Value {
    reply(world, task, json!([{"data": decision}]))
}

/// The answer in words.
fn say(world: &World, task: &Value, text: &str) -> Value {
    reply(world, task, json!([{"text": text}]))
}

/// The owner's open asks.
fn open_asks(world: &World) -> Vec<Value> {
    let headers = [("Authorization", &*format!("Bearer {OWNER}"))];
    let reply = world.get("/api/v1/asks", &headers);
    assert_eq!(reply.status, 200);
    reply.json()["asks"].as_array().unwrap().clone()
}

fn completed(task: &Value) -> &Value {
    assert_eq!(state(task), "COMPLETED", "{task:#}");
    task
}

// === permissions ===

#[test]
fn a_permission_makes_the_task_wait_and_names_tool_command_and_answers_in_words() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    let words = words(&task);
    for part in ["Bash", &leaving("x"), "`allow`", "`deny: "] {
        assert!(words.contains(part), "{part} is missing in: {words}");
    }
    assert_eq!(ran(&world, "c"), [""; 0]);
}

#[test]
fn a_permission_names_tool_input_options_and_deadline_as_data() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    let ask = data(&task);
    assert_eq!(
        (&ask["kind"], &ask["tool"], &ask["input"]["command"]),
        (&json!("permission"), &json!("Bash"), &json!(leaving("x")))
    );
    let options = ask["options"].as_array().unwrap();
    let ids: Vec<_> = options.iter().map(|option| text_of(option, "id")).collect();
    assert_eq!(ids, ["allow", "allow_session", "allow_pattern", "deny"]);
    assert!(!text_of(ask, "askId").is_empty() && !text_of(ask, "deadline").is_empty());
}

#[test]
fn an_allowed_tool_runs_and_the_turn_goes_on() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &format!("{}\nsay the end", step("x")));
    let task = decide(&world, &task, json!({"decision": "allow"}));
    assert!(answer(completed(&task)).ends_with("the end"), "{task:#}");
    assert_eq!(ran(&world, "c"), ["x"]);
}

#[test]
fn a_plain_word_allows_too() {
    let model = Model::start();
    let world = claude(&model).config(json!({"asks": {"words": "common"}})).start();
    for (word, allowed) in [("w1", "allow"), ("w2", " Yes. "), ("w3", "OK")] {
        let task = asks(&world, "c", &step(word));
        completed(&say(&world, &task, allowed));
    }
    assert_eq!(ran(&world, "c"), ["w1", "w2", "w3"]);
}

#[test]
fn a_tool_that_is_allowed_with_another_input_runs_with_that_one() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("asked"));
    let input = json!({"command": "echo changed >> ran", "description": "another"});
    let task = decide(&world, &task, json!({"decision": "allow", "input": input}));
    completed(&task);
    assert_eq!(ran(&world, "c"), ["changed"]);
}

#[test]
fn a_denied_tool_does_not_run_and_the_model_hears_why() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    let denied = json!({"decision": "deny", "reason": "the network is not yours"});
    let task = decide(&world, &task, denied);
    // The model repeats the last result of a tool.
    let told = answer(completed(&task));
    assert!(told.contains("the network is not yours"), "{told}");
    assert_eq!(ran(&world, "c"), [""; 0]);
}

#[test]
fn a_tool_is_denied_in_words_with_or_without_deny_in_front() {
    let model = Model::start();
    let world = claude(&model).start();
    for (words, heard) in
        [("deny: not today", "not today"), ("use the mirror instead", "use the mirror instead")]
    {
        let task = asks(&world, "c", &step("x"));
        let told = answer(completed(&say(&world, &task, words)));
        assert!(told.contains(heard), "{told}");
    }
    assert_eq!(ran(&world, "c"), [""; 0]);
}

#[test]
fn a_tool_that_is_allowed_for_the_session_is_asked_once() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &format!("{}\n{}", step("one"), step("two")));
    completed(&decide(&world, &task, json!({"decision": "allow_session"})));
    completed(&world.send(message_in("c", &step("three"))));
    assert_eq!(ran(&world, "c"), ["one", "two", "three"]);
}

#[test]
fn what_is_allowed_for_one_session_is_asked_in_another() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    completed(&say(&world, &task, "always"));
    asks(&world, "other", &step("x"));
}

#[test]
fn a_tool_that_was_allowed_once_is_asked_again() {
    let model = Model::start();
    let world = claude(&model).start();
    let first = asks(&world, "c", &format!("{}\n{}", step("one"), step("two")));
    let second = say(&world, &first, "allow");
    assert_eq!(state(&second), "INPUT_REQUIRED");
    assert_ne!(data(&second)["askId"], data(&first)["askId"]);
    assert_eq!(data(&second)["input"]["command"], leaving("two"));
    completed(&say(&world, &second, "allow"));
    assert_eq!(ran(&world, "c"), ["one", "two"]);
}

#[test]
fn an_answer_that_is_repeated_does_not_allow_the_next_tool() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &format!("{}\n{}", step("one"), step("two")));
    // A client that lost the reply sends the same message again.
    let params = message_to(text_of(&task, "id"), "allow");
    let second = world.send(params.clone());
    assert_eq!(data(&second)["input"]["command"], leaving("two"));
    let again = world.send(params);
    assert_eq!(state(&again), "INPUT_REQUIRED", "{again:#}");
    assert_eq!(data(&again)["askId"], data(&second)["askId"]);
    assert_eq!(ran(&world, "c"), ["one"]);
}

#[test]
fn a_file_outside_of_the_workspace_is_written_when_it_is_allowed() {
    let model = Model::start();
    let world = claude(&model).start();
    let file = world.path("outside.txt");
    let script = format!("write {} some words", file.display());
    let task = asks(&world, "c", &script);
    assert_eq!(
        (&data(&task)["tool"], &data(&task)["input"]["file_path"]),
        (&json!("Write"), &json!(file))
    );
    completed(&say(&world, &task, "allow"));
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "some words");
}

#[test]
fn no_answer_leaves_standing_permissions_in_the_workspace() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    completed(&decide(&world, &task, json!({"decision": "allow_session"})));
    let settings = named(&world.path("."), "settings.local.json");
    assert!(settings.is_empty(), "{settings:?}");
}

/// The files of this name below a folder.
fn named(folder: &std::path::Path, name: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(named(&path, name));
        } else if path.file_name().is_some_and(|known| known == name) {
            found.push(path);
        }
    }
    found
}

#[test]
fn an_answer_that_is_none_is_refused_and_the_ask_stays() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    for (wrong, field) in [
        (json!({"decision": "perhaps"}), "decision"),
        (json!({"optionId": "forever"}), "decision"),
        (json!({"decision": "allow", "input": "ls"}), "input"),
        (json!({"askId": data(&task)["askId"]}), "decision"),
    ] {
        let mut params = message_with(json!([{"data": wrong}]));
        params["message"]["taskId"] = task["id"].clone();
        let error = world.error("SendMessage", params);
        assert_eq!(error["code"], -32602, "{error}");
        assert_eq!(error["data"][1]["fieldViolations"][0]["field"], field);
    }
    completed(&decide(&world, &task, json!({"optionId": "allow"})));
}

#[test]
fn a_subscriber_stays_across_the_ask_and_its_answer() {
    let model = Model::start();
    let world = claude(&model).start();
    let mut events = world.stream("SendStreamingMessage", message(&step("x")));
    let seen = events.until("the ask", |event| event.state() == Some("INPUT_REQUIRED"));
    let task = world.task(seen.last().unwrap().task_id());
    let mut later = world.subscribe(text_of(&task, "id"));
    assert_eq!(later.next().unwrap().state(), Some("INPUT_REQUIRED"));
    completed(&say(&world, &task, "allow"));
    let rest = later.rest();
    let states = crate::reading::states(&rest);
    assert_eq!(states, ["WORKING", "COMPLETED"]);
}

#[test]
fn a_second_turn_goes_on_in_the_process_that_asked() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    let first = clis(&world);
    completed(&say(&world, &task, "allow"));
    completed(&world.send(message_in("c", "say more")));
    assert_eq!((first.len(), clis(&world)), (1, first));
}

#[test]
fn an_ask_that_was_answered_is_not_open_any_more() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    let listed = open_asks(&world);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["askId"], &listed[0]["taskId"], &listed[0]["input"]["command"]),
        (&data(&task)["askId"], &task["id"], &json!(leaving("x")))
    );
    completed(&say(&world, &task, "allow"));
    assert_eq!(open_asks(&world), [Value::Null; 0]);
}

#[test]
fn a_permission_is_answered_at_the_asks_own_address() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", &step("x"));
    let path = format!("/api/v1/asks/{}", text_of(data(&task), "askId"));
    let headers = [("Authorization", &*format!("Bearer {OWNER}"))];
    let wrong = world.post(&path, &headers, br#"{"decision": "perhaps"}"#);
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    let reply = world.post(&path, &headers, br#"{"decision": "allow"}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert_eq!(ran(&world, "c"), ["x"]);
}

// === questions ===

const QUESTION: &str = "ask Which colour? | Red | Green";

#[test]
fn a_question_makes_the_task_wait_with_its_options() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", QUESTION);
    assert_eq!(words(&task), "Which colour?\n- Red\n- Green");
    let ask = data(&task);
    assert_eq!((&ask["kind"], &ask["text"]), (&json!("question"), &json!("Which colour?")));
    let options = ask["options"].as_array().unwrap();
    let ids: Vec<_> = options.iter().map(|option| text_of(option, "id")).collect();
    assert_eq!(ids, ["Red", "Green"]);
}

#[test]
fn a_question_is_answered_by_its_label_by_data_or_in_free_words() {
    let model = Model::start();
    let world = claude(&model).start();
    for (parts, heard) in [
        (json!([{"text": "green"}]), "Green"),
        (json!([{"data": {"optionId": "Red"}}]), "Red"),
        (json!([{"data": {"answer": "green"}}]), "Green"),
        (json!([{"data": {"answers": {"Which colour?": "Red"}}}]), "Red"),
        (json!([{"text": "neither: blue"}]), "neither: blue"),
    ] {
        let task = asks(&world, "c", QUESTION);
        let told = answer(completed(&reply(&world, &task, parts.clone())));
        assert!(told.contains(heard), "{parts} was told as: {told}");
    }
}

#[test]
fn an_option_that_a_question_does_not_have_is_refused() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = asks(&world, "c", QUESTION);
    let mut params = message_with(json!([{"data": {"optionId": "Blue"}}]));
    params["message"]["taskId"] = task["id"].clone();
    let error = world.error("SendMessage", params);
    let violation = &error["data"][1]["fieldViolations"][0];
    assert_eq!(violation["field"], "optionId", "{error}");
    assert!(text_of(violation, "description").contains("Red, Green"), "{error}");
}
