//! The agent card in its shapes, and how caches treat it.

use crate::http::Reply;
use crate::reading::{answer, message, text_of};
use crate::world::{OWNER, World};
use serde_json::{Value, json};

const CARD: &str = "/.well-known/agent-card.json";

fn card(world: &World, version: &str) -> Value {
    world.get(CARD, &[("A2A-Version", version)]).json()
}

#[test]
fn the_card_is_public() {
    let world = World::start();
    let reply = world.get(CARD, &[]);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
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
    assert!(card.get("url").is_none() && card.get("preferredTransport").is_none(), "{card}");
}

#[test]
fn version_0_3_gets_its_own_fields_alone() {
    let world = World::start();
    let card = card(&world, "0.3");
    assert!(card.get("supportedInterfaces").is_none(), "{card}");
    assert!(text_of(&card, "protocolVersion").starts_with("0.3"), "{card}");
}

/// Version, binding, address and tenant of each interface.
fn interfaces(card: &Value) -> Vec<[String; 4]> {
    let each = |one: &Value| {
        ["protocolVersion", "protocolBinding", "url", "tenant"]
            .map(|name| one[name].as_str().unwrap_or_default().to_owned())
    };
    card["supportedInterfaces"].as_array().unwrap().iter().map(each).collect()
}

/// All bindings on the card.
const BINDINGS: [&str; 3] = ["JSONRPC", "HTTP+JSON", "GRPC"];

#[test]
fn every_address_of_a_card_is_a_url_unless_grpc_is_asked_for() {
    // Google ADK refuses a whole card that has any other.
    let world = World::start();
    for version in ["1.0", "0.3"] {
        let card = card(&world, version);
        let list =
            card["supportedInterfaces"].as_array().or(card["additionalInterfaces"].as_array());
        let urls: Vec<_> = list.unwrap().iter().map(|one| text_of(one, "url")).collect();
        assert!(urls.len() >= 2 && urls.iter().all(|url| url.starts_with("http://")), "{urls:?}");
    }
}

#[test]
fn the_bindings_of_a_card_are_those_of_the_configuration_in_their_order() {
    let world =
        World::describe().config(json!({"card": {"bindings": ["HTTP+JSON", "JSONRPC"]}})).start();
    let card = card(&world, "1.0");
    let found: Vec<_> =
        interfaces(&card).into_iter().map(|[version, binding, ..]| (version, binding)).collect();
    let expected =
        [("1.0", "HTTP+JSON"), ("1.0", "JSONRPC"), ("0.3", "HTTP+JSON"), ("0.3", "JSONRPC")];
    assert_eq!(found, expected.map(|(version, binding)| (version.to_owned(), binding.to_owned())));
}

#[test]
fn a_card_says_who_runs_the_agent_and_where_it_is_described() {
    let world = World::describe()
        .config(json!({
            "card": {"provider": {"organization": "Example", "url": "https://example.com"}},
            "agents": {"fake": {
                "documentation_url": "https://example.com/docs",
                "icon_url": "https://example.com/icon.png",
                "input_modes": ["text/plain"],
                "output_modes": ["text/plain", "application/pdf"],
            }},
        }))
        .start();
    for version in ["1.0", "0.3"] {
        let card = card(&world, version);
        assert_eq!(
            card["provider"],
            json!({"organization": "Example", "url": "https://example.com"})
        );
        assert_eq!(text_of(&card, "documentationUrl"), "https://example.com/docs");
        assert_eq!(text_of(&card, "iconUrl"), "https://example.com/icon.png");
        assert_eq!(card["defaultInputModes"], json!(["text/plain"]));
        assert_eq!(card["defaultOutputModes"], json!(["text/plain", "application/pdf"]));
    }
}

#[test]
fn cards_are_below_the_address_of_json_rpc_too() {
    let world = World::start();
    let at_root = world.get(CARD, &[]).json();
    assert_eq!(world.get(&format!("/a2a{CARD}"), &[]).json(), at_root);
    let oldest = world.get("/.well-known/agent.json", &[]).json();
    assert_eq!(world.get("/a2a/.well-known/agent.json", &[]).json(), oldest);
}

#[test]
fn the_extended_card_is_where_version_0_2_has_it_for_known_callers() {
    let world = World::start();
    let path = "/agent/authenticatedExtendedCard";
    assert_eq!(world.get(path, &[]).status, 401);
    let reply = world.get(path, &[("Authorization", &format!("Bearer {OWNER}"))]);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(text_of(&reply.json(), "protocolVersion"), "0.3.0");
}

#[test]
fn where_the_card_offers_no_streams_they_are_refused() {
    let world = World::describe().config(json!({"card": {"streaming": false}})).start();
    assert_eq!(card(&world, "1.0")["capabilities"]["streaming"], false);
    let refused = world.error("SendStreamingMessage", message("say: hello"));
    assert_eq!(refused["code"], -32004, "{refused}");
    assert_eq!(answer(&world.say("say: hello")), "hello");
}

#[test]
fn every_binding_stands_on_the_card_the_newer_version_first() {
    let world = World::describe().config(json!({"card": {"bindings": BINDINGS}})).start();
    let (port, base) = (world.address(), format!("http://{}", world.address()));
    let row = |version: &str, binding: &str, url: &str| {
        [version, binding, url, ""].map(ToOwned::to_owned)
    };
    let expected = [
        row("1.0", "JSONRPC", &format!("{base}/")),
        row("1.0", "HTTP+JSON", &base),
        row("1.0", "GRPC", &port.to_string()),
        row("0.3", "JSONRPC", &format!("{base}/")),
        row("0.3", "HTTP+JSON", &base),
        row("0.3", "GRPC", &port.to_string()),
    ];
    assert_eq!(interfaces(&card(&world, "1.0")), expected);
}

#[test]
fn a_client_of_0_3_finds_the_same_addresses_in_its_own_words() {
    let world = World::describe().config(json!({"card": {"bindings": BINDINGS}})).start();
    let card = card(&world, "0.3");
    let base = format!("http://{}", world.address());
    assert_eq!(
        (text_of(&card, "url"), text_of(&card, "preferredTransport")),
        (&*format!("{base}/"), "JSONRPC")
    );
    let expected = json!([
        {"url": format!("{base}/"), "transport": "JSONRPC"},
        {"url": base, "transport": "HTTP+JSON"},
        {"url": world.address().to_string(), "transport": "GRPC"},
    ]);
    assert_eq!(card["additionalInterfaces"], expected);
}

/// A world with a second agent.
fn two_agents() -> World {
    World::describe()
        .config(json!({"card": {"bindings": BINDINGS}, "agents": {"second": {"driver": "demo", "description": "the other one"}}}))
        .start()
}

#[test]
fn each_agent_has_a_card_of_its_own() {
    let world = two_agents();
    let card =
        world.get("/agents/second/.well-known/agent-card.json", &[("A2A-Version", "1.0")]).json();
    assert_eq!(text_of(&card, "description"), "the other one");
    let base = format!("http://{}/agents/second", world.address());
    let found = interfaces(&card);
    assert_eq!((&found[0][2], &found[1][2]), (&format!("{base}/"), &base));
    assert_eq!(
        found[2],
        ["1.0", "GRPC", &world.address().to_string(), "second"].map(ToOwned::to_owned)
    );
    // Version 0.3 has no word for an agent in gRPC.
    assert!(!found.iter().any(|one| one[0] == "0.3" && one[1] == "GRPC"), "{found:?}");
    let old =
        world.get("/agents/second/.well-known/agent-card.json", &[("A2A-Version", "0.3")]).json();
    assert_eq!(old["additionalInterfaces"].as_array().unwrap().len(), 2, "{old}");
}

#[test]
fn an_agent_that_is_not_there_has_no_card() {
    let reply = two_agents().get("/agents/third/.well-known/agent-card.json", &[]);
    assert_eq!((reply.status, reply.json()["error"]["code"].clone()), (404, json!(404)));
}

#[test]
fn the_version_may_stand_in_the_query() {
    let world = World::start();
    let card = world.get(&format!("{CARD}?A2A-Version=0.3"), &[]).json();
    assert!(card.get("supportedInterfaces").is_none(), "{card}");
}

#[test]
fn a_version_that_nobody_speaks_gets_the_default_shape() {
    let world = World::start();
    assert_eq!(card(&world, "99.0"), world.get(CARD, &[]).json());
}

#[test]
fn the_default_shape_can_be_that_of_1_0_alone() {
    let world = World::describe().config(json!({"card": {"default": "v1"}})).start();
    let plain = world.get(CARD, &[]).json();
    assert!(plain.get("url").is_none() && plain["supportedInterfaces"].is_array(), "{plain}");
    assert_eq!(plain, card(&world, "1.0"));
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
    assert_eq!((second.status, second.body.len(), second.header("etag")), (304, 0, Some(tag)));
}

#[test]
fn a_stale_tag_gets_the_card() {
    let world = World::start();
    assert_eq!(world.get(CARD, &[("If-None-Match", "\"stale\"")]).status, 200);
}

#[test]
fn a_tag_is_found_in_a_list_and_weakened() {
    let world = World::start();
    let tag = world.get(CARD, &[]).header("etag").unwrap().to_owned();
    let list = format!("\"other\", W/{tag}");
    assert_eq!(world.get(CARD, &[("If-None-Match", &list)]).status, 304);
}

#[test]
fn a_card_that_has_not_changed_since_is_not_sent_again() {
    let world = World::start();
    let date = world.get(CARD, &[]).header("last-modified").unwrap().to_owned();
    assert_eq!(world.get(CARD, &[("If-Modified-Since", &date)]).status, 304);
    let before = "Sat, 01 Jan 2000 00:00:00 GMT";
    assert_eq!(world.get(CARD, &[("If-Modified-Since", before)]).status, 200);
}

#[test]
fn a_head_request_has_the_same_headers_and_no_body() {
    let world = World::start();
    let (head, get) = (world.ask("HEAD", CARD, &[], b""), world.get(CARD, &[]));
    assert_eq!((head.status, head.header("etag")), (200, get.header("etag")));
    assert_eq!(head.header("content-length").unwrap(), get.body.len().to_string());
}

#[test]
fn the_shapes_have_tags_of_their_own() {
    let world = World::start();
    let tag =
        |headers: &[(&str, &str)]| world.get(CARD, headers).header("etag").unwrap().to_owned();
    assert_ne!(tag(&[("A2A-Version", "1.0")]), tag(&[("A2A-Version", "0.3")]));
}

#[test]
fn caches_are_told_how_long_and_by_what() {
    let world = World::describe().config(json!({"card": {"max_age": "5m"}})).start();
    let reply: Reply = world.get(CARD, &[]);
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(reply.header("vary"), Some("A2A-Version, Host"));
}

#[test]
fn the_card_says_that_a_bearer_token_is_needed() {
    let world = World::start();
    let card = card(&world, "0.3");
    let schemes = card["securitySchemes"].as_object().unwrap();
    assert!(schemes.values().any(|scheme| {
        scheme["scheme"].as_str().is_some_and(|name| name.eq_ignore_ascii_case("bearer"))
    }));
    assert!(!card["security"].as_array().unwrap().is_empty(), "{card}");
}

#[test]
fn without_authentication_the_card_asks_for_none() {
    let world = World::describe().args(["--no-auth"]).start();
    let card = card(&world, "0.3");
    assert!(card.get("security").is_none_or(|security| *security == json!([])), "{card}");
}

#[test]
fn the_card_says_what_the_server_can() {
    let can = |world: World| {
        let mut can = card(&world, "1.0")["capabilities"].take();
        can.as_object_mut().unwrap().remove("extensions");
        can
    };
    let all = json!({"streaming": true, "pushNotifications": true, "extendedAgentCard": true});
    assert_eq!(can(World::start()), all);
    let less =
        World::describe().config(json!({"push": {"enabled": false}})).args(["--no-auth"]).start();
    assert_eq!(
        can(less),
        json!({"streaming": true, "pushNotifications": false, "extendedAgentCard": false})
    );
}

#[test]
fn the_extensions_of_the_configuration_stand_on_the_card() {
    let extension =
        json!({"uri": "https://example.com/ext", "description": "ours", "required": true});
    let world = World::describe().agent(json!({"extensions": [extension]})).start();
    let card = card(&world, "1.0");
    assert_eq!(card["capabilities"]["extensions"][0], extension, "{card:#}");
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
    assert_eq!(text_of(&card(&world, "0.3"), "url"), "https://agents.example.com/");
}

#[test]
fn a_version_that_nobody_speaks_is_an_error_of_a_call() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}).to_string();
    let authorization = format!("Bearer {OWNER}");
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

// === skills ===

fn ids(card: &Value) -> Vec<&str> {
    card["skills"].as_array().unwrap().iter().map(|skill| text_of(skill, "id")).collect()
}

#[test]
fn skills_that_lie_in_folders_stand_on_the_card() {
    let described = World::describe().agent(json!({
        "skills": [{"id": "b", "name": "Ours", "description": "wins"}], "skills_from": ["skills"],
    }));
    for id in ["a", "b"] {
        let folder = described.cwd().join("skills").join(id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("SKILL.md"),
            "---\nname: Found\ndescription: it lay there\n---\n",
        )
        .unwrap();
    }
    let world = described.start();
    let card = card(&world, "1.0");
    assert_eq!(ids(&card), ["b", "a"]);
    assert_eq!(
        (text_of(&card["skills"][0], "name"), text_of(&card["skills"][1], "name")),
        ("Ours", "Found")
    );
}

#[test]
fn only_known_callers_see_the_extended_skills() {
    let world = World::describe()
        .agent(json!({"skills": [
            {"id": "open", "name": "O", "description": "for all"},
            {"id": "inner", "name": "I", "description": "for some", "extended": true},
        ]}))
        .start();
    assert_eq!(ids(&card(&world, "1.0")), ["open"]);
    let extended = world.rpc("GetExtendedAgentCard", json!({}));
    assert_eq!(ids(&extended), ["open", "inner"]);
    let told = &extended["capabilities"]["extensions"][0];
    assert_eq!(
        (text_of(told, "uri"), told["params"]["backend"].is_string()),
        ("urn:pilothouse:isolation", true)
    );
    assert_eq!(world.call("wrong", "GetExtendedAgentCard", &json!({})).status, 401);
}
