//! Push notifications: what a webhook is told, when it is told again, and where none may be.

use crate::building::Builder;
use crate::reading::{at_once, message, message_to, parts_text, state, text_of};
use crate::tokens::{revoke, token};
use crate::webhook::{Request, Webhook};
use crate::world::{BOB, OWNER, PATIENCE, World, await_true};
use serde_json::{Value, json};

/// A world that may post to loopback, and is quick to try again.
fn posting() -> Builder {
    World::describe().config(json!({"push": {
        "allow": ["127.0.0.1"], "backoff": "50ms", "backoff_max": "100ms", "timeout": "10s", "events": "all",
    }, "streams": {"answers": "pieces"}}))
}

/// The same params with a webhook inside.
fn told(mut params: Value, config: Value) -> Value {
    params["configuration"]["taskPushNotificationConfig"] = config;
    params
}

fn bodies(requests: &[Request]) -> Vec<Value> {
    requests.iter().map(|request| request.body.clone()).collect()
}

/// The log of a task that is over, from its first event on.
fn log(world: &World, id: &str) -> Vec<Value> {
    let events = world.resume(id, 0);
    events.into_iter().map(|event| event.result).collect()
}

fn ended(requests: &[Request]) -> bool {
    let last = requests.last().map(Request::said);
    last.is_some_and(|said| ["COMPLETED", "FAILED", "completed"].contains(&said))
}

#[test]
fn a_webhook_is_told_what_a_stream_is_told_in_the_same_order() {
    let (world, hook) = (posting().start(), Webhook::start());
    let task = world
        .send(told(message("say a; status b; artifact n c; say d"), json!({"url": hook.url("/")})));
    let requests = hook.await_until("the end", ended);
    assert_eq!(bodies(&requests), log(&world, text_of(&task, "id")));
    assert!(requests[0].body.get("task").is_some());
}

#[test]
fn by_default_a_webhook_is_told_changes_of_the_state_and_finished_artifacts() {
    let world = posting().config(json!({"push": {"events": "finished"}})).start();
    let hook = Webhook::start();
    let script = "say a; status b; say c; artifact n d; status e; say f";
    world.send(told(message(script), json!({"url": hook.url("/")})));
    let requests = bodies(&hook.await_until("the end", ended));
    let told: Vec<_> = requests
        .iter()
        .map(|body| {
            let update = &body["artifactUpdate"];
            let state = body["task"]["status"]["state"].as_str();
            let state = state.or_else(|| body["statusUpdate"]["status"]["state"].as_str());
            state.map_or_else(|| parts_text(&update["artifact"]["parts"]), ToOwned::to_owned)
        })
        .collect();
    let expected =
        ["TASK_STATE_SUBMITTED", "TASK_STATE_WORKING", "d", "acf", "TASK_STATE_COMPLETED"];
    assert_eq!(told, expected);
}

#[test]
fn a_further_question_is_a_change_that_a_webhook_is_told() {
    let world = posting().config(json!({"push": {"events": "finished"}})).start();
    let hook = Webhook::start();
    let task = world.send(told(message("ask One?"), json!({"url": hook.url("/")})));
    let id = text_of(&task, "id");
    world.send(message_to(id, "ask Two?"));
    world.send(message_to(id, "say done"));
    let requests = bodies(&hook.await_until("the end", ended));
    let asks = requests
        .iter()
        .filter(|body| body["statusUpdate"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED");
    assert_eq!(asks.count(), 2, "{requests:#?}");
}

#[test]
fn every_post_carries_what_its_config_asks_for() {
    let (world, hook) = (posting().start(), Webhook::start());
    let config = json!({
        "url": hook.url("/hooks/1?key=of-the-query"),
        "token": "the-token",
        "authentication": {"scheme": "Bearer", "credentials": "the-credentials"},
    });
    world.send(told(message("say hello"), config));
    for request in hook.await_until("the end", ended) {
        assert_eq!(request.line, "POST /hooks/1?key=of-the-query HTTP/1.1");
        for (name, value) in [
            ("authorization", "Bearer the-credentials"),
            ("x-a2a-notification-token", "the-token"),
            ("content-type", "application/a2a+json"),
            ("a2a-version", "1.0"),
        ] {
            assert_eq!(request.header(name), Some(value));
        }
        assert!(request.header("user-agent").unwrap().starts_with("pilothouse/"));
    }
    let audit = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    for secret in ["the-token", "the-credentials", "of-the-query"] {
        assert!(!world.stderr().contains(secret) && !audit.contains(secret));
    }
}

#[test]
fn what_was_not_taken_is_told_again_before_anything_else() {
    let (world, hook) = (posting().start(), Webhook::start());
    hook.answers(["200 OK", "503 Busy", "500 No", "404 What"]);
    world.send(told(message("say hello"), json!({"url": hook.url("/")})));
    let requests = bodies(&hook.await_until("the end", ended));
    assert_ne!(requests[0], requests[1]);
    assert!(requests[1..5].iter().all(|body| *body == requests[1]));
    assert_ne!(requests[4], requests[5]);
}

#[test]
fn nothing_is_left_out_after_kill_9_in_the_middle() {
    let (mut world, hook) = (posting().start(), Webhook::start());
    let params =
        at_once(told(message("say half; status more; cue never"), json!({"url": hook.url("/")})));
    let id = world.begin_with(params);
    hook.await_requests(2);
    hook.close();
    world.await_words(&id, "waiting never");
    world.kill9();
    hook.open();
    world.restart();
    let mut requests = bodies(&hook.await_until("the end", ended));
    // What the killed server could not note any more is told twice, and nothing else is.
    let posted = requests.len();
    requests.dedup();
    let log = log(&world, &id);
    assert_eq!(requests, log);
    assert!(posted <= log.len() + 1, "{posted} posts of {} events", log.len());
}

#[test]
fn what_happened_while_nobody_answered_is_told_after_a_restart() {
    let (mut world, hook) = (posting().start(), Webhook::start());
    hook.answers(["500 No"; 64]);
    let params = told(message("say hello"), json!({"url": hook.url("/")}));
    let id = text_of(&world.send(params), "id").to_owned();
    hook.await_requests(2);
    world.stop();
    hook.answers_well();
    let before = hook.requests().len();
    world.restart();
    let requests = hook.await_until("the end", ended);
    let mut told = bodies(&requests[before..]);
    told.dedup();
    assert_eq!(told, log(&world, &id));
}

#[test]
fn a_webhook_that_does_not_answer_holds_up_nobody() {
    let (world, hook) = (posting().start(), Webhook::start());
    hook.close();
    let params = told(message("repeat 200 0 x; say end"), json!({"url": hook.url("/")}));
    let task = world.send(params);
    assert_eq!(state(&task), "COMPLETED");
    assert_eq!(hook.await_requests(1).len(), 1);
    hook.open();
    let requests = hook.await_until("the end", ended);
    assert_eq!(bodies(&requests), log(&world, text_of(&task, "id")));
}

#[test]
fn older_dialects_are_told_their_task_once_for_each_state() {
    let (world, hook) = (posting().start(), Webhook::start());
    let id = uuid::Uuid::new_v4().to_string();
    let params = json!({
        "message": {"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": "say a; say b"}]},
        "configuration": {"pushNotificationConfig": {"url": hook.url("/"), "token": "word"}},
    });
    world.rpc("message/send", params);
    let requests = hook.await_until("the end", ended);
    let last = requests.last().unwrap();
    assert_eq!(
        (&last.body["kind"], &last.body["artifacts"][0]["name"]),
        (&json!("task"), &json!("answer"))
    );
    assert_eq!(last.header("content-type"), Some("application/json"));
    assert_eq!(last.header("x-a2a-notification-token"), Some("word"));
    let states: Vec<_> = requests.iter().map(Request::said).collect();
    assert_eq!(states, ["submitted", "working", "completed"]);
}

#[test]
fn the_oldest_dialect_is_told_its_task_by_its_own_id() {
    let (world, hook) = (posting().start(), Webhook::start());
    let params = json!({
        "id": "my-id",
        "message": {"role": "user", "parts": [{"type": "text", "text": "say a"}]},
        "pushNotification": {"url": hook.url("/"), "authentication": {"schemes": ["Bearer"], "credentials": "c"}},
    });
    world.rpc("tasks/send", params);
    for request in hook.await_until("the end", ended) {
        assert_eq!(request.body["id"], "my-id");
        assert!(request.body.get("kind").is_none());
        assert_eq!(request.header("authorization"), Some("Bearer c"));
    }
}

#[test]
fn a_config_of_a_running_task_is_told_what_comes_after_it() {
    let (world, hook) = (posting().start(), Webhook::start());
    let id = world.begin_waiting("say before; cue go; say after", "go");
    let created =
        world.rpc("CreateTaskPushNotificationConfig", json!({"taskId": id, "url": hook.url("/")}));
    assert!(!text_of(&created, "id").is_empty());
    world.cue("go");
    let requests = bodies(&hook.await_until("the end", ended));
    let log = log(&world, &id);
    assert!(requests.len() < log.len());
    assert_eq!(requests, log[log.len() - requests.len()..]);
}

#[test]
fn a_further_message_brings_a_webhook_for_what_comes_after_it() {
    let (world, hook) = (posting().start(), Webhook::start());
    let task = world.say("ask Which?");
    assert_eq!(state(&task), "INPUT_REQUIRED");
    let id = text_of(&task, "id");
    let params = told(message_to(id, "say done"), json!({"url": hook.url("/")}));
    world.send(params);
    let requests = bodies(&hook.await_until("the end", ended));
    let log = log(&world, id);
    assert!(requests.len() < log.len());
    assert_eq!(requests, log[log.len() - requests.len()..]);
}

#[test]
fn configs_are_read_listed_and_deleted_also_when_their_task_is_over() {
    let (world, hook) = (posting().start(), Webhook::start());
    let id = text_of(&world.say("say hello"), "id").to_owned();
    let config = json!({
        "taskId": id, "id": "mine", "url": hook.url("/"), "token": "t",
        "authentication": {"scheme": "Basic", "credentials": "dTpw"},
    });
    let created = world.rpc("CreateTaskPushNotificationConfig", config.clone());
    assert_eq!(created, config);
    let named = json!({"taskId": id, "id": "mine"});
    assert_eq!(world.rpc("GetTaskPushNotificationConfig", named.clone()), config);
    let listed = world.rpc("ListTaskPushNotificationConfigs", json!({"taskId": id}));
    assert_eq!(listed["configs"], json!([config]));
    world.rpc("DeleteTaskPushNotificationConfig", named.clone());
    world.rpc("DeleteTaskPushNotificationConfig", named.clone());
    let missing = world.error("GetTaskPushNotificationConfig", named);
    assert_eq!(missing["code"], -32001);
    assert!(text_of(&missing, "message").contains("`mine`"));
    assert!(hook.requests().is_empty());
}

#[test]
fn configs_are_the_same_over_http_and_json() {
    let (world, hook) = (posting().start(), Webhook::start());
    let id = world.begin_waiting("cue go; say hello", "go");
    let bearer = format!("Bearer {OWNER}");
    let headers = [("Authorization", bearer.as_str()), ("A2A-Version", "1.0")];
    let path = format!("/tasks/{id}/pushNotificationConfigs");
    let config = json!({"id": "mine", "url": hook.url("/")}).to_string();
    let created = world.post(&path, &headers, config.as_bytes());
    assert_eq!(created.status, 200, "{}", created.text());
    let named = json!({"taskId": id, "id": "mine"});
    let read = world.rpc("GetTaskPushNotificationConfig", named.clone());
    assert_eq!(created.json(), read);
    assert_eq!(world.get(&format!("{path}/mine"), &headers).json(), read);
    assert_eq!(world.get(&path, &headers).json()["configs"], json!([read]));
    world.cue("go");
    hook.await_until("the end", ended);
    let gone = world.ask("DELETE", &format!("{path}/mine"), &headers, b"");
    assert_eq!(gone.whole().status, 200);
    assert_eq!(world.error("GetTaskPushNotificationConfig", named)["code"], -32001);
}

#[test]
fn the_webhooks_of_somebody_elses_task_are_not_there() {
    let world = posting().start();
    let id = text_of(&world.say("say hello"), "id").to_owned();
    let url = "http://127.0.0.1:9/";
    for (method, params) in [
        ("CreateTaskPushNotificationConfig", json!({"taskId": id, "url": url})),
        ("GetTaskPushNotificationConfig", json!({"taskId": id, "id": "x"})),
        ("ListTaskPushNotificationConfigs", json!({"taskId": id})),
        ("DeleteTaskPushNotificationConfig", json!({"taskId": id, "id": "x"})),
    ] {
        assert_eq!(world.error_as(BOB, method, params)["code"], -32001, "{method}");
    }
}

#[test]
fn addresses_that_are_not_posted_to_are_refused_before_there_is_a_task() {
    let world = World::start();
    for url in [
        "http://127.0.0.1:9/",
        "https://127.1/",
        "https://2130706433/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/",
        "https://localhost/",
        "http://192.0.2.1/",
    ] {
        let params = told(message("say hello"), json!({"url": url}));
        let error = world.error("SendMessage", params);
        assert_eq!(error["code"], -32602, "{url}: {error}");
        assert!(text_of(&error, "message").contains("push.allow"), "{url}: {error}");
    }
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 0);
}

#[test]
fn headers_of_the_callers_own_are_refused() {
    let world = posting().start();
    let config = json!({
        "url": "http://127.0.0.1:9/",
        "authentication": {"scheme": "Bearer", "credentials": "x\r\nHost: inner"},
    });
    let error = world.error("SendMessage", told(message("say hello"), config));
    assert_eq!(error["code"], -32602);
    assert!(text_of(&error, "message").contains("authentication.credentials"));
}

#[test]
fn a_redirect_is_not_followed_and_the_operator_is_told_without_secrets() {
    let world = posting().config(json!({"push": {"give_up": "50ms"}})).start();
    let (hook, canary) = (Webhook::start(), Webhook::start());
    let elsewhere = format!("307 Elsewhere\r\nLocation: {}", canary.url("/"));
    let answers = [elsewhere.as_str(); 64];
    hook.answers(answers);
    let config = json!({"url": hook.url("/path?key=of-the-query")});
    let task = world.send(told(message("say hello"), config));
    let id = text_of(&task, "id").to_owned();
    let said = crate::processes::await_some("word for the operator", world.patience(), || {
        let said = world.stderr();
        said.contains("given up").then_some(said)
    });
    assert!(said.contains(&id) && said.contains("127.0.0.1") && said.contains("307"), "{said}");
    assert!(!said.contains("/path") && !said.contains("of-the-query"), "{said}");
    assert!(canary.requests().is_empty());
}

#[test]
fn a_task_has_so_many_webhooks_and_the_server_so_many_that_are_pending() {
    let world = posting().config(json!({"push": {"per_task": 2, "pending": 3}})).start();
    let hook = Webhook::start();
    let (first, second) = (world.begin("hang"), world.begin("hang"));
    let create = |id: &str| {
        let params = json!({"taskId": id, "url": hook.url("/")});
        world.call(OWNER, "CreateTaskPushNotificationConfig", &params).json()
    };
    for id in [&first, &first, &second] {
        assert!(create(id).get("error").is_none());
    }
    let full = create(&second);
    assert!(text_of(&full["error"], "message").contains("push.pending"), "{full}");
    let named = world.rpc("ListTaskPushNotificationConfigs", json!({"taskId": second}));
    let named = json!({"taskId": second, "id": named["configs"][0]["id"]});
    world.rpc("DeleteTaskPushNotificationConfig", named);
    let full = create(&first);
    assert!(text_of(&full["error"], "message").contains("push.per_task"), "{full}");
}

#[test]
fn an_operator_can_turn_them_off() {
    let world = World::describe().config(json!({"push": {"enabled": false}})).start();
    let params = told(message("say hello"), json!({"url": "https://192.88.0.1/"}));
    assert_eq!(world.error("SendMessage", params)["code"], -32003);
    let id = text_of(&world.say("say hello"), "id").to_owned();
    let listed = json!({"taskId": id});
    assert_eq!(world.error("ListTaskPushNotificationConfigs", listed)["code"], -32003);
}

#[test]
fn a_webhook_ends_with_the_token_that_registered_it() {
    let mut world = posting().start();
    let (gone, kept) = (Webhook::start(), Webhook::start());
    let (id, secret) = token(&world, &json!({"caller": "bob"}));
    let task = world.rpc_as(&secret, "SendMessage", at_once(message("cue go; cue end; say done")));
    let task = text_of(&task["task"], "id").to_owned();
    let register = |token: &str, hook: &Webhook| {
        let config = json!({"taskId": task, "url": hook.url("/")});
        world.rpc_as(token, "CreateTaskPushNotificationConfig", config);
    };
    register(&secret, &gone);
    register(BOB, &kept);
    assert_eq!(revoke(&world, &id).status, 200);
    let said = "ended with the token that registered them";
    let told = |world: &World, times| world.stderr().matches(said).count() == times;
    assert!(await_true(PATIENCE, || told(&world, 1)), "{}", world.stderr());
    let before = gone.requests().len();
    world.cue("go");
    kept.await_until("what comes after the cue", |requests| {
        requests.iter().any(|request| request.body.to_string().contains("waiting end"))
    });
    assert_eq!(gone.requests().len(), before);
    // So does a token that a new configuration leaves out, also over a restart.
    world.reconfigure(json!({"auth": {"tokens": {"bob": null}}}));
    world.restart();
    assert!(await_true(PATIENCE, || told(&world, 2)), "{}", world.stderr());
}
