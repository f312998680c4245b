//! By which addresses and tenants agents are reached, and which names they may have.

use super::{two, two_with, with_tenant};
use crate::bindings::{BINDINGS, Binding};
use crate::reading::{answer, message, state, text_of};
use crate::world::{OWNER, World};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};

#[test]
fn an_address_of_nobody_is_not_found() {
    let world = two().start();
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str())];
    for path in [
        "/agents/nobody/",
        "/agents/nobody",
        "/agents/nobody/tasks",
        "/agents/nobody/.well-known/agent-card.json",
        "/agents/Other/tasks",
        "/agents//tasks",
    ] {
        assert_eq!(world.get(path, &headers).status, 404, "{path}");
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}).to_string();
    let reply = world.post("/agents/nobody", &headers, body.as_bytes());
    assert_eq!(reply.status, 404);
}

#[test]
fn a_tenant_that_is_nobody_is_refused() {
    let world = two().start();
    for binding in BINDINGS {
        let params = with_tenant(message("say x"), "nobody");
        let told = world.through(binding).error(Operation::SendMessage, &params);
        assert_eq!(told.kind, ErrorKind::InvalidParams, "{binding:?}");
        assert!(told.message.contains("nobody"), "{told:?}");
    }
}

#[test]
fn a_path_and_a_tenant_that_contradict_are_refused() {
    let world = two().start();
    for binding in BINDINGS {
        let door = world.through(binding).agent("other");
        let told = door.error(Operation::SendMessage, &with_tenant(message("say x"), "fake"));
        assert_eq!(told.kind, ErrorKind::InvalidParams, "{binding:?}");
        let same = with_tenant(message("say x"), "other");
        assert_eq!(state(&door.well(Operation::SendMessage, &same)["task"]), "COMPLETED");
    }
}

#[test]
fn a_path_that_names_two_agents_is_refused() {
    let world = two().start();
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str())];
    let status = |path: &str| world.get(path, &headers).status;
    assert_eq!(
        [
            "/agents/other/other/tasks",
            "/agents/other/fake/tasks",
            "/fake/tasks?tenant=other",
            "/agents/other/tasks?tenant=fake",
            "/agents/other/agents/fake/tasks",
        ]
        .map(status),
        [200, 400, 400, 400, 404]
    );
}

#[test]
fn a_v0_1_client_may_use_one_id_with_both() {
    let world = two().start();
    let send = |path: &str, script: &str| {
        let part = json!([{"type": "text", "text": script}]);
        let params = json!({"id": "mine", "message": {"role": "user", "parts": part}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/send", "params": params});
        let authorization = format!("Bearer {OWNER}");
        let headers = [("authorization", authorization.as_str())];
        let reply = world.post(path, &headers, body.to_string().as_bytes());
        reply.json()["result"].take()
    };
    let ours = send("/agents/fake", "ask ours?");
    let theirs = send("/agents/other", "ask theirs?");
    let asks = |task: &Value| crate::reading::parts_text(&task["status"]["message"]["parts"]);
    assert_eq!([asks(&ours), asks(&theirs)], ["ours?", "theirs?"]);
}

#[test]
fn each_tells_of_its_own_sessions() {
    let world = two().start();
    world.say("say x");
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str())];
    let count = |path: &str| {
        let sessions = world.get(path, &headers).json();
        sessions["sessions"].as_array().unwrap().len()
    };
    assert_eq!(
        ["/agents/fake/api/v1/sessions", "/agents/other/api/v1/sessions"].map(count),
        [1, 0]
    );
}

#[test]
fn another_default_leaves_the_tasks_where_they_are() {
    let mut world = two().start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    world.reconfigure(json!({"agent": "other"}));
    world.restart();
    let door = world.through(Binding::Rest);
    let told = door.error(Operation::GetTask, &json!({"id": id}));
    assert_eq!(told.kind, ErrorKind::TaskNotFound);
    let task = door.agent("fake").well(Operation::GetTask, &json!({"id": id}));
    assert_eq!(state(&task), "COMPLETED");
}

#[test]
fn the_address_of_an_agent_serves_with_and_without_a_slash() {
    let world = two().start();
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str())];
    for path in ["/agents/other", "/agents/other/", "/agents/other/a2a", "/agents/other/a2a/"] {
        let params = message("say hello");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
        let reply = world.post(path, &headers, body.to_string().as_bytes()).json();
        assert_eq!(state(&reply["result"]["task"]), "COMPLETED", "{path}");
    }
}

#[test]
fn older_dialects_are_spoken_below_the_address_too() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str())];
    let part = json!([{"kind": "text", "text": "env WHO"}]);
    let params =
        json!({"message": {"kind": "message", "messageId": "1", "role": "user", "parts": part}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params});
    let reply = world.post("/agents/other", &headers, body.to_string().as_bytes());
    assert_eq!(answer(&reply.json()["result"]), "other");
    let reply =
        world.post("/agents/other/v1/message:send", &headers, params.to_string().as_bytes());
    assert_eq!(answer(&reply.json()["task"]), "other");
}

#[test]
fn an_agent_that_is_not_served_is_nobody() {
    let world = two_with(json!({"serve": false})).start();
    let told = world
        .through(Binding::JsonRpc)
        .error(Operation::SendMessage, &with_tenant(message("say x"), "other"));
    assert_eq!(told.kind, ErrorKind::InvalidParams);
    let path = "/agents/other/.well-known/agent-card.json";
    assert_eq!(world.get(path, &[]).status, 404);
}

#[test]
fn names_that_are_addresses_of_the_server_are_refused_at_the_start() {
    for name in ["v1", "tasks", "health", "message", "agents"] {
        let world = World::describe();
        let other = world.config["agents"]["fake"].clone();
        let mut agents = json!({});
        agents[name] = other;
        let failure = world.config(json!({"agents": agents})).fails();
        assert!(
            failure.code != Some(0) && failure.stderr.contains(&format!("`{name}`")),
            "{name}: {}",
            failure.stderr
        );
    }
}

#[test]
fn a_second_agent_whose_program_is_missing_stops_the_start() {
    let failure = two_with(json!({"program": "no-such-program-anywhere"})).fails();
    assert_ne!(failure.code, Some(0));
    for word in ["other", "no-such-program-anywhere", "agents.other.program"] {
        assert!(failure.stderr.contains(word), "{word}: {}", failure.stderr);
    }
}

#[test]
fn an_agent_that_is_not_served_may_lack_its_program() {
    let more = json!({"program": "no-such-program-anywhere", "serve": false});
    let world = two_with(more).start();
    assert_eq!(state(&world.say("say x")), "COMPLETED");
}

#[test]
fn ready_lists_those_that_are_served() {
    let world = two().start();
    let ready = world.readiness();
    assert_eq!(ready["agents"], json!(["fake", "other"]));
}
