//! What the server really answers, against what its document says.

use super::checker::{Witness, document};
use crate::reading::{message, text_of};
use crate::webhook::{Request, Webhook};
use crate::world::{OWNER, World};
use serde_json::{Value, json};

/// Made for these tests.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6OqMMnLkyZR70ZZ7
c8IdOXpFDTbiLWyVsYxhrFzwO+uhRANCAASNi9zrvPhrT9oBdtMHJtfX+GAbr6Vd
ldClBJrIRvLdIOKFFxEa68Ae10XNj9Sg9ehteO9Bv2D9n1cQXMx0isk3
-----END PRIVATE KEY-----
";

#[test]
fn the_checker_sees_what_does_not_fit() {
    let document = document(&World::start());
    let schema = &document.0["components"]["schemas"]["Task"];
    let task = |state: &str| json!({"id": "t", "contextId": "c", "status": {"state": state}});
    let mut more = task("TASK_STATE_WORKING");
    assert_eq!(document.check(schema, &more, ""), Ok(()));
    more["further"] = json!(1);
    for wrong in [more, task("working"), json!({"id": "t"}), json!([])] {
        assert!(document.check(schema, &wrong, "").is_err(), "{wrong}");
    }
}

#[test]
fn tasks_lists_and_cancels_are_as_described() {
    let house = Witness::of(World::start());
    let script = "status s; tool T {\"a\":1}; result r; plan [1]; data D {\"b\":2}; file F f; say x; usage 1 2 0.5";
    let sent = house.ask("SendMessage", 200, "POST", "/message:send", &message(script));
    let id = text_of(&sent["task"], "id");
    house.ask("GetTask", 200, "GET", &format!("/tasks/{id}?historyLength=1"), &Value::Null);
    let asks =
        house.ask("SendMessage", 200, "POST", "/message:send", &message("ask Which? | A | B"));
    let asks = text_of(&asks["task"], "id");
    let page =
        house.ask("ListTasks", 200, "GET", "/tasks?includeArtifacts=true&pageSize=1", &Value::Null);
    assert!(!text_of(&page, "nextPageToken").is_empty());
    house.ask("CancelTask", 200, "POST", &format!("/tasks/{asks}:cancel"), &Value::Null);
    house.ask("CancelTask", 400, "POST", &format!("/tasks/{id}:cancel"), &json!({}));
}

#[test]
fn every_frame_of_a_stream_is_as_described() {
    let house = Witness::of(World::start());
    let script = "status s; think t; tool T {}; result r; artifact n x; say a; say b";
    let events =
        house.ask("SendStreamingMessage", 200, "POST", "/message:stream", &message(script));
    assert!(events[0].get("task").is_some(), "{events}");
    for (id, verb, cue) in
        [("SubscribeToTask", "POST", "one"), ("SubscribeToTaskByGet", "GET", "two")]
    {
        let task = house.world.begin_waiting(&format!("cue {cue}; say done"), cue);
        let path = format!("/tasks/{task}:subscribe");
        let bearer = format!("Bearer {OWNER}");
        let answer = house.world.ask(verb, &path, &[("Authorization", &bearer)], b"");
        house.world.cue(cue);
        let events = house.heard(id, 200, answer);
        assert!(events[0].get("task").is_some(), "{events}");
        house.ask(id, 400, verb, &path, &Value::Null);
    }
}

#[test]
fn a_bare_message_is_as_described() {
    let world = World::describe().agent(json!({"replies": "message"})).start();
    let house = Witness::of(world);
    let script = "line {\"type\":\"reply\",\"text\":\"hello\"}";
    let sent = house.ask("SendMessage", 200, "POST", "/message:send", &message(script));
    assert!(sent.get("message").is_some(), "{sent}");
}

#[test]
fn push_notification_configs_and_what_they_are_told_are_as_described() {
    let world = World::describe().config(json!({"push": {"allow": ["127.0.0.1"]}})).start();
    let (house, hook) = (Witness::of(world), Webhook::start());
    let id = house.world.begin_waiting("cue go; say x", "go");
    let path = format!("/tasks/{id}/pushNotificationConfigs");
    let config = json!({"url": hook.url("/"), "token": "t", "authentication": {"scheme": "Bearer", "credentials": "c"}});
    let created = house.ask("CreateTaskPushNotificationConfig", 200, "POST", &path, &config);
    let one = format!("{path}/{}", text_of(&created, "id"));
    house.ask("GetTaskPushNotificationConfig", 200, "GET", &one, &Value::Null);
    house.ask("ListTaskPushNotificationConfigs", 200, "GET", &path, &Value::Null);
    house.world.cue("go");
    let ended =
        |requests: &[Request]| requests.last().is_some_and(|last| last.said() == "COMPLETED");
    let event = &house.document.0["components"]["schemas"]["StreamResponse"];
    for request in hook.await_until("the end", ended) {
        assert_eq!(house.document.check(event, &request.body, ""), Ok(()));
    }
    house.ask("DeleteTaskPushNotificationConfig", 200, "DELETE", &one, &Value::Null);
    house.ask("GetTaskPushNotificationConfig", 404, "GET", &one, &Value::Null);
}

#[test]
fn refusals_are_as_described() {
    let house = Witness::of(
        World::describe().config(json!({"limits": {"body": "64KiB", "rate": 1}})).start(),
    );
    let (send, bearer) = ("/message:send", format!("Bearer {OWNER}"));
    let known = ("Authorization", bearer.as_str());
    house.ask("SendMessage", 400, "POST", send, &json!({"message": {}}));
    house.ask_with("SendMessage", 401, "POST", send, &json!({}), &[]);
    house.ask_with(
        "GetTask",
        403,
        "GET",
        "/tasks/x",
        &Value::Null,
        &[known, ("Host", "elsewhere.test")],
    );
    house.ask("GetTask", 404, "GET", "/tasks/x", &Value::Null);
    house.ask("GetTaskV03", 404, "GET", "/v1/tasks/x", &Value::Null);
    house.ask_with("GetTaskV03", 401, "GET", "/v1/tasks/x", &Value::Null, &[]);
    house.ask("SendMessage", 413, "POST", send, &message(&"x".repeat(100_000)));
    let other =
        house.world.ask("POST", send, &[known, ("Content-Type", "text/plain")], b"x").whole();
    house.document.fits("SendMessage", other.status, "application/json", &other.json());
    assert_eq!(other.status, 415);
    house.ask("SendMessage", 200, "POST", send, &message("say x"));
    house.ask("SendMessage", 429, "POST", send, &message("say x"));
}

#[test]
fn cards_and_keys_are_as_described() {
    let signing = json!({
        "card": {"signing": {"key": "key.pem"}},
        "server": {"public_url": "https://agents.example.com"},
    });
    let world = World::describe().file("key.pem", 0o600, KEY).config(signing);
    let house = Witness::of(world.start());
    let public = |id: &str, path: &str, headers: &[(&str, &str)]| {
        house.ask_with(id, 200, "GET", path, &Value::Null, headers)
    };
    let path = "/.well-known/agent-card.json";
    let card = public("GetAgentCard", path, &[("A2A-Version", "1.0")]);
    assert!(card.get("signatures").is_some(), "{card}");
    let closed = &house.document.0["components"]["schemas"]["AgentCard"];
    assert_eq!(house.document.check(closed, &card, ""), Ok(()));
    public("GetAgentCard", path, &[]);
    public("GetAgentCard", path, &[("A2A-Version", "0.3")]);
    public("GetLegacyAgentCard", "/.well-known/agent.json", &[]);
    public("GetSigningKeys", "/.well-known/jwks.json", &[]);
    house.ask("GetExtendedAgentCard", 200, "GET", "/extendedAgentCard", &Value::Null);
    let unsigned = Witness::of(World::start());
    unsigned.ask_with("GetSigningKeys", 404, "GET", "/.well-known/jwks.json", &Value::Null, &[]);
}

#[test]
fn calls_by_json_rpc_are_as_described() {
    let house = Witness::of(World::start());
    let call = |method: &str, params: &Value| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    house.ask("CallJsonRpc", 200, "POST", "/", &call("SendMessage", &message("say x")));
    house.ask("CallJsonRpc", 200, "POST", "/", &call("GetTask", &json!({"id": "x"})));
    house.ask("CallJsonRpc", 200, "POST", "/", &call("tasks/get", &json!({"id": "x"})));
    house.ask("CallJsonRpc", 200, "POST", "/", &call("NoSuch", &json!({})));
    house.ask_with("CallJsonRpc", 401, "POST", "/", &call("ListTasks", &json!({})), &[]);
}

#[test]
fn our_own_doors_answer_as_described() {
    let house = Witness::of(World::start());
    let task = house.world.say("write a.txt words; say the answer");
    let (id, context) = (text_of(&task, "id"), text_of(&task, "contextId"));
    house.ask_with("GetHealth", 200, "GET", "/health", &Value::Null, &[]);
    house.ask_with("GetReadiness", 200, "GET", "/ready", &Value::Null, &[]);
    house.ask("ListSessions", 200, "GET", "/api/v1/sessions", &Value::Null);
    house.ask("ListSessions", 400, "GET", "/api/v1/sessions?pageSize=0", &Value::Null);
    house.ask("GetSession", 200, "GET", &format!("/api/v1/sessions/{context}"), &Value::Null);
    house.ask("GetSession", 404, "GET", "/api/v1/sessions/x", &Value::Null);
    let files = format!("/api/v1/sessions/{context}/files");
    let listed = house.ask("ListSessionFiles", 200, "GET", &files, &Value::Null);
    assert_eq!(listed["files"][0]["path"], "a.txt");
    house.ask("ListSessionFiles", 400, "GET", &format!("{files}?pageSize=0"), &Value::Null);
    house.ask("ListSessionFiles", 404, "GET", "/api/v1/sessions/x/files", &Value::Null);
    house.ask("GetSessionFile", 400, "GET", &format!("{files}/a/../b"), &Value::Null);
    house.ask("GetSessionFile", 404, "GET", &format!("{files}/b"), &Value::Null);
    house.ask(
        "GetSessionDiff",
        400,
        "GET",
        &format!("/api/v1/sessions/{context}/diff?from=x"),
        &Value::Null,
    );
    house.ask(
        "GetSessionDiff",
        404,
        "GET",
        &format!("/api/v1/sessions/{context}/diff"),
        &Value::Null,
    );
    house.ask(
        "GetTaskResult",
        404,
        "GET",
        &format!("/api/v1/tasks/{id}/results/turn.patch"),
        &Value::Null,
    );
    house.ask("GetSessionArchive", 404, "GET", "/api/v1/sessions/x/archive", &Value::Null);
    let answer =
        house.ask("GetTaskAnswer", 200, "GET", &format!("/api/v1/tasks/{id}/answer"), &Value::Null);
    assert_eq!(answer, "wrote a.txtthe answer");
    house.ask("GetTaskAnswer", 404, "GET", "/api/v1/tasks/x/answer", &Value::Null);
    house.ask("GetTaskTrace", 200, "GET", &format!("/api/v1/tasks/{id}/trace"), &Value::Null);
    let events = format!("/api/v1/tasks/{id}/events");
    house.ask("ListTaskEvents", 200, "GET", &events, &Value::Null);
    house.ask("ListTaskEvents", 400, "GET", &format!("{events}?limit=0"), &Value::Null);
    house.ask("GetTaskEvent", 200, "GET", &format!("{events}/1"), &Value::Null);
    house.ask("GetTaskEvent", 404, "GET", &format!("{events}/0"), &Value::Null);
    house.ask("ExportTask", 400, "GET", &format!("/api/v1/tasks/{id}/export?form=x"), &Value::Null);
    house.ask("GetSystem", 200, "GET", "/api/v1/system", &Value::Null);
    house.ask("Live", 400, "POST", "/api/v1/live", &json!({"tasks": 1}));
    house.ask("GetTaskTrace", 404, "GET", "/api/v1/tasks/x/trace", &Value::Null);
    house.ask_with("ListSessions", 401, "GET", "/api/v1/sessions", &Value::Null, &[]);
}
