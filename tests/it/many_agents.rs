//! Two agents in one server: each with its own address, card, folder, policy and tasks.

use crate::bindings::{BINDINGS, Binding};
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{
    answer, at_once, message, message_in, message_to, state, states, streamed_answer, text_of,
};
use crate::world::{OWNER, World};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};

/// A world with a second agent, `other`, that plays scripts too.
fn two() -> Builder {
    two_with(json!({}))
}

/// The same, with more about the second one.
fn two_with(more: Value) -> Builder {
    let world = World::describe();
    let mut other = world.config["agents"]["fake"].clone();
    other["name"] = json!("the other one");
    world
        .config(json!({"agents": {"other": other}}))
        .config(json!({"agents": {"other": more}}))
}

/// Sends to the second agent.
fn say(world: &World, script: &str) -> Value {
    sent(world, Binding::JsonRpc, &message(script))
}

fn sent(world: &World, binding: Binding, params: &Value) -> Value {
    world
        .through(binding)
        .agent("other")
        .well(Operation::SendMessage, params)["task"]
        .take()
}

fn with_tenant(mut params: Value, tenant: &str) -> Value {
    params["tenant"] = json!(tenant);
    params
}

#[test]
fn both_are_reached_by_path_over_every_binding() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    for binding in BINDINGS {
        let answers = ["fake", "other"].map(|name| {
            let door = world.through(binding).agent(name);
            answer(&door.well(Operation::SendMessage, &message("env WHO"))["task"])
        });
        assert_eq!(answers, ["unset", "other"], "{binding:?}");
    }
}

#[test]
fn both_are_reached_by_tenant_over_every_binding() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    for binding in BINDINGS {
        let answers = ["fake", "other"].map(|name| {
            let params = with_tenant(message("env WHO"), name);
            let reply = world.through(binding).well(Operation::SendMessage, &params);
            answer(&reply["task"])
        });
        assert_eq!(answers, ["unset", "other"], "{binding:?}");
    }
}

#[test]
fn without_a_name_the_default_one_answers() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    assert_eq!(answer(&world.say("env WHO")), "unset");
}

#[test]
fn a_stream_comes_from_the_agent_that_was_named() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    for binding in BINDINGS {
        let door = world.through(binding).agent("other");
        let events = door
            .stream(Operation::SendStreamingMessage, &message("env WHO"))
            .rest();
        assert_eq!(
            (streamed_answer(&events).as_str(), states(&events).last()),
            ("other", Some(&"COMPLETED"))
        );
    }
}

#[test]
fn a_task_of_one_is_not_found_at_the_other() {
    let world = two().start();
    let id = text_of(&say(&world, "ask which?"), "id").to_owned();
    for binding in BINDINGS {
        let root = world.through(binding);
        let named = root.clone().agent("fake");
        for door in [root, named] {
            for operation in [
                Operation::GetTask,
                Operation::CancelTask,
                Operation::SubscribeToTask,
            ] {
                let told = door.error(operation, &json!({"id": id}));
                assert_eq!(told.kind, ErrorKind::TaskNotFound, "{binding:?}");
            }
            let told = door.error(Operation::SendMessage, &message_to(&id, "say x"));
            assert_eq!(told.kind, ErrorKind::TaskNotFound, "{binding:?}");
        }
        let door = world.through(binding).agent("other");
        let task = door.well(Operation::GetTask, &json!({"id": id}));
        assert_eq!(state(&task), "INPUT_REQUIRED");
    }
}

#[test]
fn a_tenant_is_asked_for_with_every_operation_about_its_tasks() {
    let world = two().start();
    let id = text_of(&say(&world, "say x"), "id").to_owned();
    for binding in BINDINGS {
        let door = world.through(binding);
        let params = with_tenant(json!({"id": id}), "other");
        assert_eq!(door.well(Operation::GetTask, &params)["id"], json!(id));
        let list = door.well(Operation::ListTasks, &with_tenant(json!({}), "other"));
        assert_eq!(list["totalSize"], 1, "{binding:?}");
    }
}

#[test]
fn each_lists_its_own_tasks() {
    let world = two().start();
    world.say("say a");
    say(&world, "say b");
    say(&world, "say c");
    for binding in BINDINGS {
        let counts = ["fake", "other"].map(|name| {
            let door = world.through(binding).agent(name);
            door.well(Operation::ListTasks, &json!({}))["totalSize"].clone()
        });
        assert_eq!(counts, [1, 2], "{binding:?}");
    }
}

#[test]
fn one_context_with_two_agents_is_two_sessions() {
    let world = two().start();
    let params = |script: &str| message_in("shared", script);
    let ours = world.send(params("write note.txt mine"));
    let theirs = sent(&world, Binding::JsonRpc, &params("read note.txt"));
    assert_eq!(ours["contextId"], theirs["contextId"]);
    assert!(answer(&theirs).starts_with("read failed"), "{theirs}");
}

#[test]
fn a_message_id_may_be_the_same_for_two_agents() {
    let world = two().start();
    let params = at_once(message("cue go; say x"));
    let ours = world.send(params.clone());
    let theirs = sent(&world, Binding::JsonRpc, &params);
    assert_ne!(ours["id"], theirs["id"]);
    world.cue("go");
}

// === what each has of its own ===

#[test]
fn each_has_a_card_of_its_own() {
    let world = two().start();
    let name = |path: &str| {
        let card = world.get(path, &[("a2a-version", "1.0")]).json();
        text_of(&card, "name").to_owned()
    };
    let own = "/.well-known/agent-card.json";
    assert_eq!(name(&format!("/agents/other{own}")), "the other one");
    assert_eq!(name(&format!("/agents/fake{own}")), name(own));
    assert_ne!(name(own), "the other one");
}

#[test]
fn a_card_leads_to_its_own_agent() {
    let world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    let path = "/agents/other/.well-known/agent-card.json";
    let card = world.get(path, &[("a2a-version", "1.0")]).json();
    let interfaces = card["supportedInterfaces"].as_array().unwrap();
    let found = interfaces
        .iter()
        .find(|one| one["protocolBinding"] == "JSONRPC" && one["protocolVersion"] == "1.0");
    let found = found.unwrap_or_else(|| panic!("{card:#}"));
    let url = text_of(found, "url");
    let (_, path) = url.split_once(&world.address().to_string()).unwrap();
    let mut params = message("env WHO");
    if let Some(tenant) = found.get("tenant") {
        params["tenant"] = tenant.clone();
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str())];
    let reply = world
        .post(path, &headers, body.to_string().as_bytes())
        .json();
    assert_eq!(answer(&reply["result"]["task"]), "other", "{reply}");
}

#[test]
fn each_has_a_workspace_of_its_own() {
    let world = two();
    let folder = world.path("elsewhere");
    let world = world
        .config(json!({"agents": {"other": {"workspace": {"path": folder, "mode": "shared"}}}}))
        .start();
    let root = std::fs::canonicalize(world.path("elsewhere")).unwrap();
    assert_eq!(answer(&say(&world, "pwd")), root.to_str().unwrap());
    let ours = answer(&world.say("pwd"));
    let work = std::fs::canonicalize(world.path("work")).unwrap();
    assert!(std::path::Path::new(&ours).starts_with(work), "{ours}");
}

#[test]
fn two_agents_in_one_shared_folder_take_turns() {
    let world = two()
        .config(json!({"workspace": {"mode": "shared"}}))
        .start();
    let first = world.begin_waiting("cue go; say first", "go");
    let door = world.through(Binding::JsonRpc).agent("other");
    let params = at_once(message("say second"));
    let second = door.well(Operation::SendMessage, &params);
    assert_eq!(state(&second["task"]), "SUBMITTED");
    world.cue("go");
    world.await_state(&first, &["COMPLETED"]);
    let id = text_of(&second["task"], "id").to_owned();
    await_some("the second turn", world.patience(), || {
        let task = door.well(Operation::GetTask, &json!({"id": id}));
        (state(&task) == "COMPLETED").then_some(())
    });
}

#[test]
fn each_has_an_environment_of_its_own() {
    let world = two_with(json!({"env": {"set": {"FLAVOUR": "sweet"}, "pass": ["OURS"]}}))
        .env("OURS", "passed")
        .start();
    let script = "env FLAVOUR; say ,; env OURS";
    assert_eq!(answer(&world.say(script)), "unset,unset");
    assert_eq!(answer(&say(&world, script)), "sweet,passed");
}

#[test]
fn each_has_a_session_script_of_its_own() {
    let world = two_with(json!({"init": "./other.sh"}))
        .config(json!({"sessions": {"init": "./every.sh"}}))
        .file("every.sh", 0o755, "#!/bin/sh\necho every > made.txt\n")
        .file("other.sh", 0o755, "#!/bin/sh\necho other > made.txt\n")
        .start();
    assert_eq!(answer(&world.say("read made.txt")), "every");
    assert_eq!(answer(&say(&world, "read made.txt")), "other");
}

// === names ===

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
        let told = world
            .through(binding)
            .error(Operation::SendMessage, &params);
        assert_eq!(told.kind, ErrorKind::InvalidParams, "{binding:?}");
        assert!(told.message.contains("nobody"), "{told:?}");
    }
}

#[test]
fn a_path_and_a_tenant_that_contradict_are_refused() {
    let world = two().start();
    for binding in BINDINGS {
        let door = world.through(binding).agent("other");
        let told = door.error(
            Operation::SendMessage,
            &with_tenant(message("say x"), "fake"),
        );
        assert_eq!(told.kind, ErrorKind::InvalidParams, "{binding:?}");
        let same = with_tenant(message("say x"), "other");
        assert_eq!(
            state(&door.well(Operation::SendMessage, &same)["task"]),
            "COMPLETED"
        );
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
        [
            "/agents/fake/api/v1/sessions",
            "/agents/other/api/v1/sessions"
        ]
        .map(count),
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
    let task = door
        .agent("fake")
        .well(Operation::GetTask, &json!({"id": id}));
    assert_eq!(state(&task), "COMPLETED");
}

#[test]
fn the_address_of_an_agent_serves_with_and_without_a_slash() {
    let world = two().start();
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str())];
    for path in [
        "/agents/other",
        "/agents/other/",
        "/agents/other/a2a",
        "/agents/other/a2a/",
    ] {
        let params = message("say hello");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
        let reply = world
            .post(path, &headers, body.to_string().as_bytes())
            .json();
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
    let reply = world.post(
        "/agents/other/v1/message:send",
        &headers,
        params.to_string().as_bytes(),
    );
    assert_eq!(answer(&reply.json()["task"]), "other");
}

#[test]
fn an_agent_that_is_not_served_is_nobody() {
    let world = two_with(json!({"serve": false})).start();
    let told = world.through(Binding::JsonRpc).error(
        Operation::SendMessage,
        &with_tenant(message("say x"), "other"),
    );
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
    let ready = world.get("/ready", &[]).json();
    assert_eq!(ready["agents"], json!(["fake", "other"]));
}

// === starting again ===

#[test]
fn both_keep_their_tasks_over_a_restart() {
    let mut world = two().start();
    let ours = world.say("say a");
    let theirs = say(&world, "say b");
    world.restart();
    let get = |name: &str, task: &Value| {
        let door = world.through(Binding::JsonRpc).agent(name);
        door.well(Operation::GetTask, &json!({"id": task["id"]}))
    };
    assert_eq!(get("fake", &ours), ours);
    assert_eq!(get("other", &theirs), theirs);
}

#[test]
fn a_waiting_task_of_the_second_agent_runs_after_kill_9() {
    let mut world = two_with(json!({"env": {"set": {"WHO": "other"}}})).start();
    let door = world.through(Binding::JsonRpc).agent("other");
    let begin = |script: &str| {
        let params = at_once(message_in("line", script));
        let reply = door.well(Operation::SendMessage, &params);
        text_of(&reply["task"], "id").to_owned()
    };
    begin("cue never");
    let second = begin("env WHO");
    world.kill9();
    world.restart();
    let door = world.through(Binding::JsonRpc).agent("other");
    let task = await_some("its end", world.patience(), || {
        let task = door.well(Operation::GetTask, &json!({"id": second}));
        (state(&task) == "COMPLETED").then_some(task)
    });
    assert_eq!(answer(&task), "other");
}

#[test]
fn an_agent_that_is_gone_does_not_keep_the_others_from_starting() {
    let mut world = two().start();
    let door = world.through(Binding::JsonRpc).agent("other");
    let begin = |script: &str| {
        let params = at_once(message_in("line", script));
        let reply = door.well(Operation::SendMessage, &params);
        text_of(&reply["task"], "id").to_owned()
    };
    let (first, second) = (begin("cue never"), begin("say second"));
    world.kill9();
    world.reconfigure(json!({"agents": {"other": {"serve": false}}}));
    world.restart();
    assert_eq!(state(&world.say("say x")), "COMPLETED");
    // Once it is served again, both of its tasks have come to an end.
    world.reconfigure(json!({"agents": {"other": {"serve": true}}}));
    world.restart();
    let door = world.through(Binding::JsonRpc).agent("other");
    for id in [first, second] {
        await_some("its end", world.patience(), || {
            let task = door.well(Operation::GetTask, &json!({"id": id}));
            ["COMPLETED", "FAILED"]
                .contains(&state(&task))
                .then_some(())
        });
    }
}
