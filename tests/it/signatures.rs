//! Signed cards, and `pilothouse card`, which checks them.

use crate::building::Builder;
use crate::reading::text_of;
use crate::world::World;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const CARD: &str = "/.well-known/agent-card.json";

fn card(world: &World, version: &str) -> Value {
    world.get(CARD, &[("A2A-Version", version)]).json()
}

/// Made for these tests with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg77mWRZqeIlWG6dXG
r2Rq5zH9n0OvfISSz6W2BcqP2fKhRANCAARzf2Aw/kcm6s/2uQpISEI6uf0oHttf
JqFmUhJub14aPl0ZUeIHEb9TBwyecVqKRZzVDl7Xemry+aQQ77O0CFU4
-----END PRIVATE KEY-----
";

fn signing() -> Builder {
    World::describe()
        .file("key.pem", 0o600, KEY)
        .config(json!({"card": {"signing": {"key": "key.pem", "kid": "ours"}}, "agents": {"second": {"driver": "demo"}}}))
        .config(json!({"server": {"public_url": "https://agents.example.com"}}))
}

/// The same, at the address on the card: whoever checks it fetches the key from there.
fn at_its_address() -> World {
    let mut world = World::start();
    let address = world.address();
    world.reconfigure(json!({
        "server": {"port": address.port(), "public_url": format!("http://{address}")},
        "card": {"signing": {"key": "key.pem", "kid": "ours"}},
        "agents": {"second": {"driver": "demo"}},
    }));
    std::fs::write(world.path("cwd").join("key.pem"), KEY).unwrap();
    std::fs::set_permissions(world.path("cwd").join("key.pem"), Permissions::from_mode(0o600))
        .unwrap();
    world.restart();
    world
}

/// `pilothouse card` on this address: its exit code and what it says.
fn check(address: &str, args: &[&str]) -> (Option<i32>, String) {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(["card", address])
        .args(args)
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_signed_card_is_found_to_be_valid() {
    let world = at_its_address();
    for path in ["", "/agents/second"] {
        let (code, said) =
            check(&format!("http://{}{path}", world.address()), &["--require-signature"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("valid (ES256, kid ours)"), "{said}");
    }
}

#[test]
fn every_shape_of_a_signed_card_is_signed() {
    let world = signing().start();
    for version in ["1.0", "0.3", ""] {
        let card = card(&world, version);
        assert!(!card["signatures"].as_array().unwrap().is_empty(), "{version}: {card}");
    }
    let extended = world.rpc("GetExtendedAgentCard", json!({}));
    assert!(!extended["signatures"].as_array().unwrap().is_empty(), "{extended}");
}

#[test]
fn a_signed_card_has_the_same_tag_each_time() {
    let world = signing().start();
    let tag = || world.get(CARD, &[]).header("etag").unwrap().to_owned();
    assert_eq!(tag(), tag());
}

#[test]
fn the_public_key_can_be_fetched() {
    let world = signing().start();
    let reply = world.get("/.well-known/jwks.json", &[]);
    let set = reply.json();
    let told =
        ["kid", "kty", "crv", "alg", "use"].map(|name| text_of(&set["keys"][0], name).to_owned());
    assert_eq!(told, ["ours", "EC", "P-256", "ES256", "sig"]);
    assert!(reply.header("etag").is_some() && set["keys"][0].get("d").is_none(), "{set}");
}

#[test]
fn without_a_key_there_are_no_signatures_and_no_keys() {
    let world = World::start();
    assert!(card(&world, "").get("signatures").is_none());
    assert_eq!(world.get("/.well-known/jwks.json", &[]).status, 404);
    let address = format!("http://{}", world.address());
    assert_eq!(check(&address, &[]).0, Some(0));
    let (code, said) = check(&address, &["--require-signature"]);
    assert!(code == Some(1) && said.contains("unsigned"), "{said}");
}

#[test]
fn what_came_of_the_signature_is_told_to_programs() {
    let world = at_its_address();
    let (_, said) = check(&format!("http://{}", world.address()), &["--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said["signature"],
        json!({"status": "valid", "alg": "ES256", "kid": "ours", "form": "whole"})
    );
}

#[test]
fn keys_that_are_named_are_used_instead() {
    let world = at_its_address();
    let address = format!("http://{}", world.address());
    let keys = world.path("keys.json");
    std::fs::write(&keys, world.get("/.well-known/jwks.json", &[]).body).unwrap();
    assert_eq!(
        check(&address, &["--require-signature", "--jwks", keys.to_str().unwrap()]).0,
        Some(0)
    );
    std::fs::write(&keys, "{\"keys\": []}").unwrap();
    let (code, said) = check(&address, &["--require-signature", "--jwks", keys.to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("no key for ours"), "{said}");
}

#[test]
fn the_configured_address_is_signed_whatever_host_a_request_names() {
    let world = signing().start();
    let expected = card(&world, "1.0");
    assert_eq!(text_of(&expected["supportedInterfaces"][1], "url"), "https://agents.example.com");
    for host in ["localhost:1", "127.0.0.9", "agents.example.com"] {
        let reply = world.get(CARD, &[("A2A-Version", "1.0"), ("Host", host)]);
        assert_eq!((reply.status, reply.json()), (200, expected.clone()), "{host}");
    }
}

#[test]
fn a_key_without_a_public_url_stops_the_start_and_the_line_that_mends_it_is_said() {
    let failure = signing().config(json!({"server": {"public_url": null}})).fails();
    assert_eq!(failure.code, Some(78));
    let line = "server.public_url: https://agents.example.com";
    assert!(failure.stderr.contains(line), "{}", failure.stderr);
}

#[test]
fn a_key_that_everybody_can_read_stops_the_start() {
    let failure = signing().file("key.pem", 0o644, KEY).fails();
    assert!(
        failure.code == Some(69) && failure.stderr.contains("chmod"),
        "{:?} {}",
        failure.code,
        failure.stderr
    );
}
