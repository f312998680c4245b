//! Sending in v1.0: what a task looks like when it is answered.

use crate::reading::{
    answer, artifact, artifact_text, at_once, fields, message, message_with, parts_text, state,
    text_of, words,
};
use crate::world::World;
use serde_json::{Value, json};

#[test]
fn a_message_is_answered_with_the_completed_task() {
    let world = World::start();
    let task = world.say("say hello");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "hello"));
}

#[test]
fn the_result_of_a_send_is_an_object_with_the_task_alone() {
    let world = World::start();
    let result = world.rpc("SendMessage", message("say hello"));
    assert_eq!(fields(&result), ["task"]);
}

#[test]
fn ids_are_lower_case_uuids_of_version_7() {
    let world = World::start();
    let task = world.say("say hello");
    for field in ["id", "contextId"] {
        let text = text_of(&task, field);
        let id = uuid::Uuid::parse_str(text).unwrap();
        assert_eq!((id.get_version_num(), text), (7, text.to_lowercase().as_str()));
    }
}

#[test]
fn a_send_that_returns_immediately_shows_the_task_and_get_task_its_end() {
    let world = World::start();
    let task = world.send(at_once(message("cue go; say done")));
    assert!(["SUBMITTED", "WORKING"].contains(&state(&task)), "{task}");
    world.cue("go");
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert_eq!(answer(&task), "done");
}

#[test]
fn the_answer_is_the_last_artifact_whatever_came_after_it() {
    let world = World::start();
    let task = world.say("say one; artifact notes some notes; data plan {\"a\":1}");
    let names: Vec<&str> =
        task["artifacts"].as_array().unwrap().iter().map(|made| text_of(made, "name")).collect();
    assert_eq!(names, ["notes", "plan", "answer"]);
}

#[test]
fn the_answer_stands_once_in_the_history() {
    let world = World::start();
    let task = world.say("say only; status a remark; say once");
    let history = task["history"].as_array().unwrap();
    let roles: Vec<&str> = history.iter().map(|message| text_of(message, "role")).collect();
    assert_eq!(roles, ["ROLE_USER", "ROLE_AGENT"]);
    assert_eq!(parts_text(&history[1]["parts"]), answer(&task));
}

#[test]
fn messages_in_the_history_name_their_task_and_context() {
    let world = World::start();
    let task = world.say("say hello");
    for message in task["history"].as_array().unwrap() {
        assert_eq!((&message["taskId"], &message["contextId"]), (&task["id"], &task["contextId"]));
    }
}

#[test]
fn a_history_length_of_zero_leaves_the_history_out() {
    let world = World::start();
    let id = world.say("say hello")["id"].clone();
    let task = world.rpc("GetTask", json!({"id": id, "historyLength": 0}));
    assert!(task.get("history").is_none_or(|history| *history == json!([])), "{task}");
}

#[test]
fn a_history_length_of_one_keeps_the_newest_message() {
    let world = World::start();
    let id = world.say("say hello")["id"].clone();
    let task = world.rpc("GetTask", json!({"id": id, "historyLength": 1}));
    let history = task["history"].as_array().unwrap();
    assert_eq!((history.len(), parts_text(&history[0]["parts"]).as_str()), (1, "hello"));
}

#[test]
fn without_a_history_length_the_whole_history_comes() {
    let world = World::start();
    let id = world.say("say hello")["id"].clone();
    let task = world.rpc("GetTask", json!({"id": id}));
    assert_eq!(task["history"].as_array().unwrap().len(), 2);
}

#[test]
fn a_send_obeys_the_history_length_of_its_configuration() {
    let world = World::start();
    let mut params = message("say hello");
    params["configuration"] = json!({"historyLength": 0});
    let task = world.send(params);
    assert!(task.get("history").is_none_or(|history| *history == json!([])), "{task}");
}

#[test]
fn usage_and_cost_stand_in_the_metadata() {
    let world = World::start();
    let metadata = world.say("say hello; usage 12 34 0.5")["metadata"].clone();
    assert_eq!(metadata["usage"], json!({"inputTokens": 12, "outputTokens": 34}));
    assert_eq!(metadata["costUsd"], json!(0.5));
}

#[test]
fn duration_and_isolation_stand_in_the_metadata() {
    let world = World::start();
    let metadata = world.say("say hello")["metadata"].clone();
    assert!(metadata["durationMs"].is_u64(), "{metadata}");
    assert!(metadata["isolation"]["guarantees"].is_array(), "{metadata}");
}

#[test]
fn metadata_survives_in_the_task_as_it_is_read_later() {
    let world = World::start();
    let sent = world.say("say hello; usage 1 2 0.25");
    let read = world.task(text_of(&sent, "id"));
    assert_eq!(read["metadata"], sent["metadata"]);
}

#[test]
fn a_file_of_the_agent_is_an_artifact_with_name_type_and_bytes() {
    let world = World::start();
    let task = world.say("file report.txt some words; say done");
    let part = artifact(&task, "report.txt")["parts"][0].clone();
    assert_eq!(
        part,
        json!({"raw": "c29tZSB3b3Jkcw==", "filename": "report.txt", "mediaType": "text/plain"})
    );
}

#[test]
fn data_of_the_agent_is_an_artifact_with_a_data_part() {
    let world = World::start();
    let task = world.say("data result {\"key\":\"value\",\"count\":42}; say done");
    assert_eq!(
        artifact(&task, "result")["parts"],
        json!([{"data": {"key": "value", "count": 42}}])
    );
}

#[test]
fn a_text_artifact_of_the_agent_stands_beside_the_answer() {
    let world = World::start();
    let task = world.say("artifact notes these are notes; say done");
    assert_eq!(
        (artifact_text(&task, "notes").as_str(), answer(&task).as_str()),
        ("these are notes", "done")
    );
}

#[test]
fn an_agent_that_says_nothing_completes_without_an_answer() {
    let world = World::start();
    let task = world.say("status thinking of nothing");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", ""));
}

#[test]
fn several_parts_become_one_prompt() {
    let world = World::start();
    let parts = json!([{"text": "echo"}, {"text": "first"}, {"data": {"n": 1}}]);
    let task = world.send(message_with(parts));
    let told = answer(&task);
    let whole = told.contains("first") && told.contains("{\"n\":1}");
    assert!(whole, "{told}");
}

#[test]
fn a_text_file_in_a_message_reaches_the_agent() {
    let world = World::start();
    let parts = json!([{"text": "echo"}, {"raw": "c29tZSB3b3Jkcw==", "filename": "a.txt", "mediaType": "text/plain"}]);
    let told = answer(&world.send(message_with(parts)));
    assert!(told.contains("a.txt") && told.contains("some words"), "{told}");
}

#[test]
fn an_agent_that_declares_failure_fails_the_task_with_its_words() {
    let world = World::start();
    let task = world.say("state failed the disk is full");
    assert_eq!((state(&task), words(&task).as_str()), ("FAILED", "the disk is full"));
}

#[test]
fn an_agent_may_reject_a_message() {
    let world = World::start();
    let task = world.say("state rejected not my business");
    assert_eq!((state(&task), words(&task).as_str()), ("REJECTED", "not my business"));
}

#[test]
fn a_text_agent_answers_with_its_standard_output() {
    let world = World::describe().agent(json!({"format": "text", "args": []})).start();
    let task = world.say("say one; say two");
    assert_eq!(answer(&task), "one\ntwo\n");
}

#[test]
fn the_agent_is_told_the_ids_of_task_context_and_message() {
    let world = World::start();
    let params = message("env A2A_TASK_ID; say  ; env A2A_CONTEXT_ID; say  ; env A2A_MESSAGE_ID");
    let message_id = params["message"]["messageId"].clone();
    let task = world.send(params);
    let told = answer(&task);
    for id in [&task["id"], &task["contextId"], &message_id] {
        assert!(told.contains(id.as_str().unwrap()), "{told}");
    }
}

#[test]
fn a_message_of_the_agent_beside_its_answer_stands_in_the_history() {
    let world = World::start();
    let task = world.say("message by the way; say done");
    let history = task["history"].as_array().unwrap();
    let texts: Vec<String> =
        history.iter().skip(1).map(|message| parts_text(&message["parts"])).collect();
    assert_eq!(texts, ["by the way", "done"]);
}

#[test]
fn unknown_fields_of_a_request_are_ignored() {
    let world = World::start();
    let mut params = message("say hello");
    params["message"]["colour"] = json!("blue");
    params["another"] = Value::Null;
    assert_eq!(answer(&world.send(params)), "hello");
}

#[test]
fn the_whole_answer_is_read_as_text_at_its_own_address() {
    let world = World::start();
    let task = world.say("say a long answer");
    let path = format!("/api/v1/tasks/{}/answer", text_of(&task, "id"));
    let reply = world.get(&path, &[("Authorization", &format!("Bearer {}", crate::world::OWNER))]);
    assert_eq!((reply.status, reply.text().as_str()), (200, "a long answer"));
}
