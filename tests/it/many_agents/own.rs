//! What each of two agents has of its own, and what they share.

use super::{say, two, two_with};
use crate::bindings::Binding;
use crate::processes::await_some;
use crate::reading::{answer, at_once, message, state, text_of};
use crate::world::{OWNER, World};
use pilothouse_a2a::operation::Operation;
use serde_json::json;
use std::path::PathBuf;

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
    let reply = world.post(path, &headers, body.to_string().as_bytes()).json();
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
    let world = two().config(json!({"workspace": {"mode": "shared"}})).start();
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
fn two_agents_in_one_shared_folder_take_turns_whatever_they_call_it() {
    for other in ["../work", "../cwd/../work/."] {
        let world = two_with(json!({"workspace": {"path": other}}))
            .config(json!({"workspace": {"mode": "shared"}}))
            .start();
        world.begin_waiting("cue go; say first", "go");
        let door = world.through(Binding::JsonRpc).agent("other");
        let params = at_once(message("pwd"));
        let second = door.well(Operation::SendMessage, &params);
        assert_eq!(state(&second["task"]), "SUBMITTED", "{other}");
        world.cue("go");
        assert_eq!(answer(&world.say("pwd")), answer(&say(&world, "pwd")));
    }
}

#[test]
fn places_for_processes_are_shared_by_all() {
    let world = two().config(json!({"processes": {"max": 1}})).start();
    world.begin_waiting("cue go; say first", "go");
    let door = world.through(Binding::JsonRpc).agent("other");
    let second = door.well(Operation::SendMessage, &at_once(message("say second")));
    assert_eq!(state(&second["task"]), "SUBMITTED");
    world.cue("go");
    await_some("the second turn", world.patience(), || {
        let task = door.well(Operation::GetTask, &json!({"id": second["task"]["id"]}));
        (state(&task) == "COMPLETED").then_some(())
    });
}

#[test]
fn retention_removes_a_session_from_the_folder_of_its_agent() {
    let world = World::describe();
    let folder = world.path("elsewhere");
    let mut other = world.config["agents"]["fake"].clone();
    other["workspace"] = json!({"path": folder});
    let world = world
        .config(json!({"agents": {"other": other}, "sessions": {"retention": {"count": 0}}}))
        .start();
    let session = PathBuf::from(answer(&say(&world, "pwd")));
    assert!(session.starts_with(std::fs::canonicalize(&folder).unwrap()));
    // The first sweep comes ten seconds after the start.
    await_some("the sweep", 2 * world.patience(), || (!session.exists()).then_some(()));
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
