//! The operator is told of asks, failures and completions, and a link in what it is told answers one ask once.

use crate::building::Builder;
use crate::http::Reply;
use crate::reading::{answer, state, text_of};
use crate::webhook::Webhook;
use crate::world::World;
use serde_json::{Value, json};

fn told(target: Value) -> Builder {
    World::describe().config(json!({
        "server": {"public_url": "http://127.0.0.1:1"},
        "push": {"allow": ["127.0.0.0/8"]},
        "notifications": {"targets": {"hook": target}},
    }))
}

fn post(world: &World, path: &str, body: &Value) -> Reply {
    world.post(path, &[], body.to_string().as_bytes())
}

/// The secret of the link of the first notification.
fn secret_of(hook: &Webhook) -> String {
    let told = &hook.await_requests(1)[0].body;
    let (page, secret) = text_of(told, "link").split_once('#').unwrap();
    assert_eq!(page, "http://127.0.0.1:1/answer");
    secret.to_owned()
}

#[test]
fn a_link_in_a_notification_answers_its_ask_once() {
    let hook = Webhook::start();
    let world = told(json!({"kind": "webhook", "url": hook.url("/n"), "links": true})).start();
    let task = world.say("ask which? | red | green");
    let secret = secret_of(&hook);
    let told = &hook.await_requests(1)[0].body;
    assert_eq!((text_of(told, "event"), &told["taskId"]), ("ask", &task["id"]));
    assert!(text_of(told, "text").contains("which?"), "{told}");
    // To look at it uses nothing.
    let shown = post(&world, "/api/v1/links", &json!({"token": secret}));
    assert_eq!((shown.status, &shown.json()["kind"]), (200, &json!("question")));
    let wrong = post(&world, "/api/v1/links/answer", &json!({"token": "x", "answer": "say no"}));
    assert_eq!(wrong.status, 404);
    // Nor does an answer that is refused.
    for (refused, status) in [(json!({"optionId": "blue"}), 400), (json!({"pattern": true}), 400)] {
        let mut refused = refused;
        refused["token"] = json!(secret);
        let reply = post(&world, "/api/v1/links/answer", &refused);
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let given = json!({"token": secret, "answer": "say red it is"});
    assert_eq!(post(&world, "/api/v1/links/answer", &given).status, 200);
    assert_eq!(post(&world, "/api/v1/links/answer", &given).status, 404);
    assert_eq!(post(&world, "/api/v1/links", &given).status, 404);
    let done = world.await_state(text_of(&task, "id"), &["COMPLETED"]);
    assert_eq!(answer(&done), "red it is");
    assert_eq!(text_of(&hook.await_requests(2)[1].body, "event"), "completion");
    let audit = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert!(audit.contains(r#""token":"link""#) && !audit.contains(&secret), "{audit}");
    let page = world.get("/answer", &[]);
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));
    assert_eq!(world.get("/answer.js", &[]).status, 200);
}

#[test]
fn a_link_answers_nothing_when_its_time_is_over() {
    let hook = Webhook::start();
    let world = told(json!({"kind": "webhook", "url": hook.url("/n"), "links": true}))
        .config(json!({"notifications": {"link": "1ms"}}))
        .start();
    let task = world.say("ask which?");
    let given = json!({"token": secret_of(&hook), "answer": "x"});
    assert_eq!(post(&world, "/api/v1/links/answer", &given).status, 404);
    assert_eq!(state(&world.task(text_of(&task, "id"))), "INPUT_REQUIRED");
}

#[test]
fn a_target_is_told_what_it_asks_for_in_its_own_form() {
    let hook = Webhook::start();
    let template = r#"{"content": "{event}: {title} {text}"}"#;
    let target = json!({"kind": "webhook", "url": hook.url("/n"), "on": ["failure"], "token": "t0k", "template": template});
    let world = told(target).start();
    world.say("say fine");
    world.say("err broken; exit 3");
    let told = &hook.await_requests(1)[0];
    assert!(
        text_of(&told.body, "content").starts_with("failure: fake failed a task of owner"),
        "{}",
        told.body
    );
    assert!(told.headers.contains(&("authorization".to_owned(), "Bearer t0k".to_owned())));
    let hook = Webhook::start();
    let world = told_slack(&hook);
    world.say("say fine");
    let told = &hook.await_requests(1)[0].body;
    assert!(text_of(told, "text").starts_with("*fake completed a task of owner*"), "{told}");
}

fn told_slack(hook: &Webhook) -> World {
    told(json!({"kind": "slack", "url": hook.url("/s"), "on": ["completion"]})).start()
}
