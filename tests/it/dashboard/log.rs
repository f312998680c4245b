//! The log of a task in pages, its transcript, and what is said of the system.

use super::get;
use crate::reading::{message_in, text_of};
use crate::tokens::token;
use crate::world::World;
use serde_json::{Value, json};

fn page(world: &World, task: &str, query: &str) -> Value {
    let reply = get(world, &format!("/api/v1/tasks/{task}/events{query}"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn seqs(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[test]
fn pages_from_both_ends_meet_and_leave_nothing_out() {
    let world = World::start();
    let task = world
        .say("repeat 40 1 line {i}; status one; tool Bash {\"command\":\"ls\"}; result x; say end");
    let id = text_of(&task, "id");
    let all = page(&world, id, "?limit=1000");
    let (first, last) = (all["first"].as_u64().unwrap(), all["last"].as_u64().unwrap());
    assert_eq!(seqs(&all), (first..=last).collect::<Vec<_>>());
    let tail = page(&world, id, "?tail=1&limit=3");
    assert_eq!(seqs(&tail), (last - 2..=last).collect::<Vec<_>>());
    let before = page(&world, id, &format!("?before={}&limit=3", last - 2));
    assert_eq!(seqs(&before), (last - 5..=last - 3).collect::<Vec<_>>());
    let after = page(&world, id, "?after=2&limit=3");
    assert_eq!(seqs(&after), [3, 4, 5]);
    let one = get(&world, &format!("/api/v1/tasks/{id}/events/3")).json();
    assert_eq!(one["event"], all["events"][2]["event"]);
    assert!(all["events"][0]["time"].is_string(), "{all}");
}

#[test]
fn the_last_screen_of_a_large_task_is_small_and_each_event_of_it_is_there_whole() {
    let world = World::start();
    let long = "x".repeat(2900);
    let script: Vec<_> = (0..40).map(|_| format!("artifact n {long}")).collect();
    let id = text_of(&world.say(&script.join("; ")), "id").to_owned();
    let reply = get(&world, &format!("/api/v1/tasks/{id}/events?tail=1&limit=1000"));
    assert!(reply.body.len() <= 100_000, "{} bytes", reply.body.len());
    let page = reply.json();
    assert!(seqs(&page)[0] > 1 && seqs(&page).last() == page["last"].as_u64().as_ref());
    let cut = page["events"].as_array().unwrap().iter().find(|event| event["cut"] == true).unwrap();
    assert!(cut["bytes"].as_u64().unwrap() > 2900);
    let whole = get(&world, &format!("/api/v1/tasks/{id}/events/{}", cut["seq"])).json();
    assert!(whole["event"].to_string().contains(&long));
}

#[test]
fn a_transcript_has_what_was_said_and_masks_the_servers_credentials() {
    let secret = "sk-of-the-operator-91b2";
    let agent = json!({"env": {"set": {"DEMO_API_KEY": secret}}});
    let world = World::describe().agent(agent).start();
    let task = world.say(&format!("say <b>hello</b> and {secret} there; status working on it"));
    let id = text_of(&task, "id");
    for (form, kind) in [
        ("jsonl", "application/jsonl"),
        ("markdown", "text/markdown; charset=utf-8"),
        ("html", "text/html; charset=utf-8"),
    ] {
        let reply = get(&world, &format!("/api/v1/tasks/{id}/export?form={form}"));
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)));
        assert!(reply.header("content-disposition").unwrap().starts_with("attachment"));
        let text = reply.text();
        assert!(text.contains("hello") && text.contains("*** there"), "{text}");
        assert!(!text.contains(secret), "{text}");
        if form == "html" {
            assert!(text.contains("&lt;b&gt;hello") && !text.contains("<script"), "{text}");
        }
    }
    let lines = get(&world, &format!("/api/v1/tasks/{id}/export?form=jsonl")).text();
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
}

#[test]
fn a_log_of_somebody_else_is_not_there() {
    let world = World::start();
    let task = world.say("say x");
    let id = text_of(&task, "id");
    for path in ["events", "events/1", "export"] {
        let bearer = format!("Bearer {}", crate::world::BOB);
        let reply = world.get(&format!("/api/v1/tasks/{id}/{path}"), &[("Authorization", &bearer)]);
        assert_eq!(reply.status, 404, "{path}");
    }
}

#[test]
fn the_system_says_what_the_page_offers_and_what_the_token_allows() {
    let world = World::describe().config(json!({"ui": "read-only"})).start();
    let system = get(&world, "/api/v1/system").json();
    assert_eq!((&system["ui"], &system["health"]["store"]), (&json!("read-only"), &json!("ok")));
    assert_eq!(system["work"]["waiting"], 0);
    let (_, carol) = token(&world, &json!({"caller": "carol", "scopes": ["read"]}));
    let bearer = format!("Bearer {carol}");
    let system = world.get("/api/v1/system", &[("Authorization", &bearer)]).json();
    assert_eq!((&system["caller"], &system["scopes"]), (&json!("carol"), &json!(["read"])));
    // What everybody's work comes to is an admin's to know.
    assert_eq!(system["work"], json!({}));
    // It is the token that decides, not the page.
    assert_eq!(
        world.rpc("SendMessage", message_in("one", "say x"))["task"]["status"]["state"],
        "TASK_STATE_COMPLETED"
    );
}
