//! The agent card in its shapes, and how caches treat it.

use crate::http::Reply;
use crate::reading::text_of;
use crate::world::World;
use serde_json::{Value, json};

const CARD: &str = "/.well-known/agent-card.json";

fn card(world: &World, version: &str) -> Value {
    world.get(CARD, &[("A2A-Version", version)]).json()
}

#[test]
fn the_card_is_public() {
    let world = World::start();
    let reply = world.get(CARD, &[]);
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json"))
    );
}

#[test]
fn without_a_version_the_card_serves_clients_of_both_versions() {
    let world = World::start();
    let card = world.get(CARD, &[]).json();
    assert!(card["supportedInterfaces"].is_array(), "{card}");
    assert!(
        !text_of(&card, "url").is_empty() && !text_of(&card, "protocolVersion").is_empty(),
        "{card}"
    );
}

#[test]
fn version_1_0_gets_its_own_fields_alone() {
    let world = World::start();
    let card = card(&world, "1.0");
    assert!(card["supportedInterfaces"].is_array(), "{card}");
    assert!(
        card.get("url").is_none() && card.get("preferredTransport").is_none(),
        "{card}"
    );
}

#[test]
fn version_0_3_gets_its_own_fields_alone() {
    let world = World::start();
    let card = card(&world, "0.3");
    assert!(card.get("supportedInterfaces").is_none(), "{card}");
    assert!(
        text_of(&card, "protocolVersion").starts_with("0.3"),
        "{card}"
    );
}

#[test]
fn every_interface_has_an_address_a_binding_and_a_version() {
    let world = World::start();
    let card = card(&world, "1.0");
    for interface in card["supportedInterfaces"].as_array().unwrap() {
        assert_eq!(
            text_of(interface, "url"),
            format!("http://{}/", world.address())
        );
        assert_eq!(text_of(interface, "protocolBinding"), "JSONRPC");
        assert!(!text_of(interface, "protocolVersion").is_empty());
    }
}

#[test]
fn the_oldest_clients_find_their_card() {
    let world = World::start();
    let card = world.get("/.well-known/agent.json", &[]).json();
    assert!(text_of(&card, "url").starts_with("http://"), "{card}");
    assert!(!card["skills"].as_array().unwrap().is_empty(), "{card}");
}

#[test]
fn a_known_card_is_not_sent_again() {
    let world = World::start();
    let first = world.get(CARD, &[]);
    let tag = first.header("etag").unwrap();
    let second = world.get(CARD, &[("If-None-Match", tag)]);
    assert_eq!(
        (second.status, second.body.len(), second.header("etag")),
        (304, 0, Some(tag))
    );
}

#[test]
fn a_stale_tag_gets_the_card() {
    let world = World::start();
    assert_eq!(
        world.get(CARD, &[("If-None-Match", "\"stale\"")]).status,
        200
    );
}

#[test]
fn the_shapes_have_tags_of_their_own() {
    let world = World::start();
    let tag =
        |headers: &[(&str, &str)]| world.get(CARD, headers).header("etag").unwrap().to_owned();
    assert_ne!(
        tag(&[("A2A-Version", "1.0")]),
        tag(&[("A2A-Version", "0.3")])
    );
}

#[test]
fn caches_are_told_how_long_and_by_what() {
    let world = World::start();
    let reply: Reply = world.get(CARD, &[]);
    assert!(reply.header("cache-control").unwrap().contains("max-age"));
    assert!(reply.header("vary").unwrap().contains("A2A-Version"));
}

#[test]
fn the_card_says_that_a_bearer_token_is_needed() {
    let world = World::start();
    let card = card(&world, "0.3");
    let schemes = card["securitySchemes"].as_object().unwrap();
    assert!(schemes.values().any(|scheme| {
        scheme["scheme"]
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case("bearer"))
    }));
    assert!(!card["security"].as_array().unwrap().is_empty(), "{card}");
}

#[test]
fn without_authentication_the_card_asks_for_none() {
    let world = World::describe().args(["--no-auth"]).start();
    let card = card(&world, "0.3");
    assert!(
        card.get("security")
            .is_none_or(|security| *security == json!([])),
        "{card}"
    );
}

#[test]
fn the_card_streams_and_does_not_push() {
    let world = World::start();
    let capabilities = &card(&world, "1.0")["capabilities"];
    assert_eq!(
        (
            &capabilities["streaming"],
            &capabilities["pushNotifications"]
        ),
        (&json!(true), &json!(false))
    );
}

#[test]
fn name_text_and_skills_come_from_the_configuration() {
    let world = World::describe()
        .agent(json!({
            "name": "our-bot",
            "description": "Answers questions.",
            "version": "7.1",
            "skills": [{"id": "ask", "name": "Ask", "description": "Ask anything", "tags": ["x"]}],
        }))
        .start();
    let card = card(&world, "1.0");
    let told = ["name", "description", "version"].map(|field| text_of(&card, field));
    assert_eq!(told, ["our-bot", "Answers questions.", "7.1"]);
    assert_eq!(card["skills"][0]["id"], "ask");
}

#[test]
fn behind_a_proxy_the_public_address_stands_on_the_card() {
    let world = World::describe()
        .config(json!({"server": {"public_url": "https://agents.example.com/"}}))
        .start();
    assert_eq!(
        text_of(&card(&world, "0.3"), "url"),
        "https://agents.example.com/"
    );
}

#[test]
fn a_version_that_nobody_speaks_is_an_error_of_a_call() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}).to_string();
    let authorization = format!("Bearer {}", crate::world::OWNER);
    let call = |version: &str| {
        world
            .post(
                "/",
                &[("Authorization", &authorization), ("A2A-Version", version)],
                body.as_bytes(),
            )
            .json()
    };
    assert_eq!(call("99.0")["error"]["code"], -32009);
    assert!(call("1.0").get("result").is_some());
}
