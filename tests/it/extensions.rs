//! Extensions that an agent requires or merely knows, and the header by which a client asks for them.

use crate::bindings::BINDINGS;
use crate::reading::{message, state};
use crate::world::{OWNER, World};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::json;

const NEEDED: &str = "https://extensions.example.com/needed/v1";
const KNOWN: &str = "https://extensions.example.com/known/v1";

fn world() -> World {
    let extensions = json!([
        {"uri": NEEDED, "description": "clients must know it", "required": true},
        {"uri": KNOWN, "description": "clients may know it"},
    ]);
    World::describe().agent(json!({"extensions": extensions})).start()
}

#[test]
fn who_does_not_ask_for_what_is_required_is_refused() {
    let world = world();
    for binding in BINDINGS {
        for operation in [Operation::SendMessage, Operation::SendStreamingMessage] {
            let told = world.through(binding).error(operation, &message("say x"));
            assert_eq!(told.kind, ErrorKind::ExtensionSupportRequired);
            assert!(told.message.contains(NEEDED), "{told:?}");
        }
        let other = world.through(binding).header("a2a-extensions", KNOWN);
        let told = other.error(Operation::SendMessage, &message("say x"));
        assert_eq!(told.kind, ErrorKind::ExtensionSupportRequired);
    }
}

#[test]
fn who_asks_for_it_by_either_name_of_the_header_is_served() {
    let world = world();
    let lists = [NEEDED.to_owned(), format!("{KNOWN} ,{NEEDED}")];
    for binding in BINDINGS {
        for name in ["a2a-extensions", "x-a2a-extensions"] {
            for list in &lists {
                let door = world.through(binding).header(name, list);
                let reply = door.well(Operation::SendMessage, &message("say x"));
                assert_eq!(state(&reply["task"]), "COMPLETED", "{binding:?} {name}");
            }
        }
    }
}

#[test]
fn the_answer_names_the_extensions_that_are_in_force() {
    let world = world();
    let asked = format!("{NEEDED}, https://extensions.example.com/unknown, {KNOWN}");
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str()), ("a2a-extensions", asked.as_str())];
    let in_force = format!("{NEEDED}, {KNOWN}");
    let reply = world.get("/tasks", &headers);
    assert_eq!(reply.header("a2a-extensions"), Some(in_force.as_str()));
    let body = message("say x").to_string();
    let reply = world.post("/message:stream", &headers, body.as_bytes());
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("a2a-extensions"), Some(in_force.as_str()));
}

#[test]
fn the_answer_of_json_rpc_names_them_too() {
    let world = world();
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str()), ("a2a-extensions", NEEDED)];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}).to_string();
    let reply = world.post("/", &headers, body.as_bytes());
    assert_eq!(reply.header("a2a-extensions"), Some(NEEDED));
}

#[test]
fn an_answer_where_nothing_is_in_force_names_nothing() {
    let world = World::start();
    let authorization = format!("Bearer {OWNER}");
    let headers = [("authorization", authorization.as_str()), ("a2a-extensions", KNOWN)];
    let reply = world.get("/tasks", &headers);
    assert_eq!((reply.status, reply.header("a2a-extensions")), (200, None));
}

#[test]
fn the_card_declares_them() {
    let world = world();
    let card = world.get("/.well-known/agent-card.json", &[("a2a-version", "1.0")]);
    let card = card.json();
    let declared = card["capabilities"]["extensions"].as_array().unwrap();
    let declared: Vec<_> = declared
        .iter()
        .map(|one| (one["uri"].as_str().unwrap(), one["required"] == true))
        .collect();
    assert_eq!(declared[..2], [(NEEDED, true), (KNOWN, false)]);
}
