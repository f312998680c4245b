//! HTTP+JSON: media types, errors in their form, versions.

use super::{assert_refused, kind_of, ok};
use crate::reading::{message, message_to, state, text_of};
use crate::world::{BOB, World};

#[test]
fn answers_are_application_json_unless_the_client_speaks_the_type_of_the_specification() {
    let world = World::start();
    let json = "application/json";
    let a2a = "application/a2a+json";
    let kind = |headers: &[(&str, &str)]| {
        let reply = world.rest("GET", "/tasks", headers, "");
        kind_of(&reply).to_owned()
    };
    assert_eq!(kind(&[]), json);
    assert_eq!(kind(&[("accept", "*/*")]), json);
    assert_eq!(kind(&[("accept", "text/event-stream, application/a2a+json")]), a2a);
    let body = message("say x").to_string();
    let sent = |content_type: &str| {
        let headers = [("content-type", content_type)];
        let reply = world.rest("POST", "/message:send", &headers, &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        kind_of(&reply).to_owned()
    };
    assert_eq!(sent("application/json; charset=utf-8"), json);
    assert_eq!(sent("application/a2a+json"), a2a);
}

#[test]
fn errors_have_the_same_media_type_as_answers() {
    let world = World::start();
    let kind = |headers: &[(&str, &str)]| {
        let reply = world.rest("GET", "/tasks/none", headers, "");
        assert_eq!(reply.status, 404);
        kind_of(&reply).to_owned()
    };
    assert_eq!(kind(&[]), "application/json");
    assert_eq!(kind(&[("accept", "application/a2a+json")]), "application/a2a+json");
}

#[test]
fn a_body_that_says_it_is_no_json_is_refused() {
    let world = World::start();
    let body = message("say x").to_string();
    let headers = [("content-type", "text/plain")];
    let reply = world.rest("POST", "/message:send", &headers, &body);
    assert_eq!(reply.status, 415);
    let error = &reply.json()["error"];
    assert_eq!(error["details"][0]["reason"], "CONTENT_TYPE_NOT_SUPPORTED");
    assert_eq!(error["code"], 415);
    assert_eq!(world.rest_get("/tasks")["totalSize"], 0);
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    let world = World::start();
    let reply = world.rest("POST", "/message:send", &[], "{\"message\":");
    assert_refused(&reply, 400, "INVALID_ARGUMENT", "PARSE_ERROR");
}

#[test]
fn a_message_without_parts_is_refused_by_its_field() {
    let world = World::start();
    for body in
        ["", "{}", "[]", "{\"message\":{\"messageId\":\"1\",\"role\":\"ROLE_USER\",\"parts\":[]}}"]
    {
        let reply = world.rest("POST", "/message:send", &[], body);
        assert_refused(&reply, 400, "INVALID_ARGUMENT", "INVALID_PARAMS");
    }
}

#[test]
fn a_task_that_is_not_there_is_404() {
    let world = World::start();
    let reply = world.rest("GET", "/tasks/none", &[], "");
    assert_refused(&reply, 404, "NOT_FOUND", "TASK_NOT_FOUND");
    assert_eq!(reply.json()["error"]["details"][0]["metadata"]["taskId"], "none");
}

#[test]
fn a_task_of_somebody_else_is_404() {
    let world = World::start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    let authorization = format!("Bearer {BOB}");
    let reply = world.get(&format!("/tasks/{id}"), &[("authorization", &authorization)]);
    assert_refused(&reply, 404, "NOT_FOUND", "TASK_NOT_FOUND");
}

#[test]
fn without_a_token_the_answer_names_the_scheme() {
    let world = World::start();
    let reply = world.get("/tasks", &[]);
    assert_refused(&reply, 401, "UNAUTHENTICATED", "UNAUTHENTICATED");
    assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
}

#[test]
fn an_error_of_a_stream_comes_before_it_as_json() {
    let world = World::start();
    let body = message_to("none", "say x").to_string();
    let reply = world.rest("POST", "/message:stream", &[], &body);
    assert_refused(&reply, 404, "NOT_FOUND", "TASK_NOT_FOUND");
}

#[test]
fn a_body_may_not_contradict_the_path() {
    let world = World::start();
    let id = world.begin_waiting("cue go", "go");
    let path = format!("/tasks/{id}:cancel");
    let reply = world.rest("POST", &path, &[], "{\"id\":\"another\"}");
    assert_refused(&reply, 400, "INVALID_ARGUMENT", "INVALID_PARAMS");
    world.cue("go");
}

#[test]
fn a_version_that_is_not_served_is_refused_wherever_it_stands() {
    let world = World::start();
    let by_header = world.rest("GET", "/tasks", &[("a2a-version", "99.0")], "");
    let by_query = world.rest("GET", "/tasks?A2A-Version=99.0", &[], "");
    for reply in [by_header, by_query] {
        assert_refused(&reply, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED");
    }
}

#[test]
fn an_old_version_at_the_root_is_refused_and_a_patch_is_ignored() {
    let world = World::start();
    let status =
        |version: &str| world.rest("GET", "/tasks", &[("a2a-version", version)], "").status;
    assert_eq!(["0.3", "1.0", "1.0.9", ""].map(status), [400, 200, 200, 200]);
}

#[test]
fn below_v1_a_client_of_1_0_says_so_by_its_version() {
    let world = World::start();
    let body = message("say hello").to_string();
    let reply = world.rest("POST", "/v1/message:send", &[("a2a-version", "1.0")], &body);
    assert_eq!(state(&ok(reply)["task"]), "COMPLETED");
}
