//! A host that no rule permits and about which a person is asked: its connection waits for the answer.

use super::WALLS;
use super::egress::{Canary, VIA};
use crate::reading::{answer, message_in, state, text_of};
use crate::world::{OWNER, World};
use serde_json::{Value, json};

fn request(world: &World, method: &str, path: &str, body: &Value) -> Value {
    let authorization = format!("Bearer {OWNER}");
    let headers = [("Authorization", authorization.as_str())];
    let reply = match method {
        "GET" => world.get(path, &headers),
        _ => world.post(path, &headers, body.to_string().as_bytes()),
    };
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Has the agent reach a host: the task.
fn reach(world: &World, context: &str, host: &str) -> Value {
    world.send(message_in(context, &format!("{VIA} via {host}")))
}

/// The same where a person is asked, who answers so; how the task ended.
fn reach_asking(world: &World, context: &str, host: &str, decision: &str) -> Value {
    let task = reach(world, context, host);
    assert_eq!(state(&task), "INPUT_REQUIRED", "{task:#}");
    let ask = request(world, "GET", "/api/v1/asks", &Value::Null)["asks"][0].take();
    assert_eq!((&ask["kind"], &ask["taskId"]), (&json!("host"), &task["id"]));
    let place = format!("{}:{}", text_of(&ask, "host"), ask["port"]);
    assert_eq!(place, host);
    let path = format!("/api/v1/asks/{}", text_of(&ask, "shortId"));
    request(world, "POST", &path, &json!({"decision": decision}));
    world.await_state(text_of(&task, "id"), &["COMPLETED"])
}

#[test]
fn a_host_is_reached_as_a_person_has_allowed_it_once_or_for_the_session_and_no_further() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let host = format!("127.0.0.1:{}", canary.port());
        let egress = json!({"ask": [host], "inner": ["127.0.0.1/32"]});
        let world = wall.shell().config(json!({"egress": egress})).start();
        for decision in ["allow", "allow_session"] {
            let task = canary.answers(|| reach_asking(&world, "here", &host, decision));
            assert!(answer(&task).ends_with("the canary\n"), "{wall:?}: {task:#}");
        }
        let task = canary.answers(|| reach(&world, "here", &host));
        assert!(answer(&task).ends_with("the canary\n"), "{wall:?}: {task:#}");
        let denied = reach_asking(&world, "there", &host, "deny");
        assert!(answer(&denied).starts_with("HTTP/1.1 403 "), "{wall:?}: {denied:#}");
        assert!(!canary.was_reached(), "{wall:?}");
        let unasked = reach(&world, "there", "nowhere.example:80");
        assert!(answer(&unasked).starts_with("HTTP/1.1 403 "), "{wall:?}: {unasked:#}");
    }
}

#[test]
fn a_host_that_is_always_allowed_is_reached_in_each_session_until_that_is_revoked() {
    let wall = WALLS.into_iter().next().unwrap();
    let canary = Canary::on("127.0.0.1:0");
    let host = format!("127.0.0.1:{}", canary.port());
    let agent = json!({"fake": {"egress": {"ask": [host]}}});
    let world = wall
        .shell()
        .config(json!({"egress": {"inner": ["127.0.0.1/32"]}, "agents": agent}))
        .start();
    canary.answers(|| reach_asking(&world, "here", &host, "allow_always"));
    let task = canary.answers(|| reach(&world, "there", &host));
    assert!(answer(&task).ends_with("the canary\n"), "{task:#}");
    let grants = request(&world, "GET", "/api/v1/grants", &Value::Null);
    let grant = &grants["grants"][0];
    assert_eq!((&grants["totalSize"], &grant["contextId"]), (&json!(1), &Value::Null));
    let words = text_of(grant, "words");
    assert!(words.contains(&host) && words.contains("every session"), "{words}");
    let authorization = format!("Bearer {OWNER}");
    let path = format!("/api/v1/grants/{}", text_of(grant, "id"));
    let headers = [("Authorization", authorization.as_str())];
    let revoked = world.ask("DELETE", &path, &headers, b"").whole();
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    let denied = reach_asking(&world, "there", &host, "deny");
    assert!(answer(&denied).starts_with("HTTP/1.1 403 "), "{denied:#}");
}

#[test]
fn a_connection_waits_for_a_person_for_so_long_and_is_then_refused() {
    let wall = WALLS.into_iter().next().unwrap();
    let egress = json!({"ask": ["nowhere.example"], "ask_wait": "1ms"});
    let world = wall.shell().config(json!({"egress": egress})).start();
    let task = reach(&world, "here", "nowhere.example:80");
    let ended = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert!(answer(&ended).starts_with("HTTP/1.1 403 "), "{ended:#}");
    let asks = request(&world, "GET", "/api/v1/asks", &Value::Null);
    assert_eq!(asks["totalSize"], 0, "{asks:#}");
}
