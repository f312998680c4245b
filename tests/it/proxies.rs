//! Behind a proxy: who calls, and which address stands on the card.

use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::text_of;
use crate::world::{OWNER, PATIENCE, World};
use serde_json::{Value, json};

const CARD: &str = "/.well-known/agent-card.json";

/// A world that trusts proxies on this machine, and serves `agents.example.com`.
fn behind() -> Builder {
    World::describe().config(json!({"server": {
        "trusted_proxies": ["127.0.0.0/8"], "allowed_hosts": ["agents.example.com"],
    }}))
}

/// The first address on the card.
fn told(world: &World, path: &str, headers: &[(&str, &str)]) -> String {
    let mut all = vec![("A2A-Version", "1.0")];
    all.extend(headers);
    let card = world.get(path, &all).json();
    text_of(&card["supportedInterfaces"][0], "url").to_owned()
}

#[test]
fn the_address_that_the_client_used_stands_on_the_card() {
    let world = behind().start();
    let standard = [("Forwarded", "for=192.0.2.7;proto=https;host=agents.example.com")];
    assert_eq!(told(&world, CARD, &standard), "https://agents.example.com/");
    let custom = [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "agents.example.com"),
        ("X-Forwarded-Port", "8443"),
        ("X-Forwarded-Prefix", "/pilot"),
    ];
    assert_eq!(told(&world, CARD, &custom), "https://agents.example.com:8443/pilot/");
}

#[test]
fn grpc_has_the_port_of_the_clients_scheme() {
    let world =
        behind().config(json!({"card": {"bindings": ["JSONRPC", "HTTP+JSON", "GRPC"]}})).start();
    let headers = [
        ("A2A-Version", "1.0"),
        ("Forwarded", "for=192.0.2.7;proto=https;host=agents.example.com"),
    ];
    let card = world.get(CARD, &headers).json();
    assert_eq!(text_of(&card["supportedInterfaces"][2], "url"), "agents.example.com:443");
}

#[test]
fn the_prefix_stands_before_the_agent() {
    let world = behind().config(json!({"agents": {"second": {"driver": "demo"}}})).start();
    let headers = [("X-Forwarded-Host", "agents.example.com"), ("X-Forwarded-Prefix", "/pilot")];
    let path = format!("/agents/second{CARD}");
    assert_eq!(told(&world, &path, &headers), "http://agents.example.com/pilot/agents/second/");
}

#[test]
fn from_anybody_else_the_headers_are_without_effect() {
    let world = World::start();
    let headers =
        [("Forwarded", "proto=https;host=evil.example"), ("X-Forwarded-Host", "evil.example")];
    assert_eq!(told(&world, CARD, &headers), format!("http://{}/", world.address()));
}

#[test]
fn headers_that_cannot_be_read_are_without_effect() {
    let world = behind().start();
    let headers = [("X-Forwarded-Host", "agents.example.com/evil"), ("X-Forwarded-Proto", "https")];
    assert_eq!(told(&world, CARD, &headers), format!("http://{}/", world.address()));
}

#[test]
fn the_hosts_that_are_served_hold_behind_a_proxy_too() {
    let world = behind().start();
    assert_eq!(world.get(CARD, &[("X-Forwarded-Host", "evil.example")]).status, 403);
}

#[test]
fn the_public_address_wins() {
    let world =
        behind().config(json!({"server": {"public_url": "https://here.example.com"}})).start();
    assert_eq!(
        told(&world, CARD, &[("X-Forwarded-Host", "agents.example.com")]),
        "https://here.example.com/"
    );
}

#[test]
fn the_unspecified_address_never_stands_on_a_card() {
    let world = World::start();
    let host = format!("0.0.0.0:{}", world.address().port());
    assert_eq!(told(&world, CARD, &[("Host", &host)]), format!("http://{}/", world.address()));
}

#[test]
fn caches_are_told_that_the_card_depends_on_the_headers() {
    let world = behind().start();
    let reply = world.get(CARD, &[]);
    let vary = reply.header("vary").unwrap();
    assert!(
        ["Host", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Prefix"]
            .iter()
            .all(|name| vary.contains(name)),
        "{vary}"
    );
}

fn call(world: &World, token: &str, client: &str) -> u16 {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}).to_string();
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str()), ("X-Forwarded-For", client)];
    world.post("/", &headers, body.as_bytes()).status
}

#[test]
fn the_audit_log_names_the_client_and_not_the_proxy() {
    let world = behind().start();
    assert_eq!(call(&world, OWNER, "192.0.2.7"), 200);
    let entry = await_some("the audit log", PATIENCE, || {
        let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default();
        let request = text.lines().find(|line| line.contains(r#""kind":"request""#));
        request.and_then(|line| serde_json::from_str::<Value>(line).ok())
    });
    assert_eq!(text_of(&entry, "peer"), "192.0.2.7");
}

#[test]
fn wrong_tokens_are_counted_for_each_client_behind_a_proxy() {
    let world = behind().config(json!({"limits": {"wrong_tokens": 1}})).start();
    assert_eq!(call(&world, "wrong", "192.0.2.7"), 401);
    assert_eq!(call(&world, "wrong", "192.0.2.7"), 429);
    assert_eq!(call(&world, "wrong", "192.0.2.8"), 401);
    assert_eq!(call(&world, OWNER, "192.0.2.7"), 200);
}

#[test]
fn a_proxy_on_this_machine_that_is_not_named_is_warned_of_once() {
    let world = World::start();
    for _ in 0..3 {
        assert_eq!(call(&world, OWNER, "192.0.2.7"), 200);
    }
    assert_eq!(world.stderr().matches("server.trusted_proxies").count(), 1, "{}", world.stderr());
}

#[test]
fn a_proxy_that_is_named_is_not_warned_of() {
    let world = behind().start();
    assert_eq!(call(&world, OWNER, "192.0.2.7"), 200);
    assert!(!world.stderr().contains("server.trusted_proxies"), "{}", world.stderr());
}
