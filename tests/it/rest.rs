//! HTTP+JSON: v1.0 at the root, below a tenant and below an agent's address; v0.3 below `/v1`.

mod refusals;
mod v0_3;

use crate::http::{Event, Events, Reply};
use crate::reading::{
    answer, artifact_text, at_once, fields, message, message_in, state, states, text_of,
};
use crate::world::{OWNER, World};
use serde_json::{Value, json};

impl World {
    /// A request by the owner; a body is JSON unless a header says otherwise.
    fn rest(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let authorization = format!("Bearer {OWNER}");
        let mut all = vec![("authorization", authorization.as_str())];
        let typed = headers.iter().any(|(name, _)| *name == "content-type");
        if !body.is_empty() && !typed {
            all.push(("content-type", "application/json"));
        }
        all.extend(headers);
        self.ask(verb, path, &all, body.as_bytes()).whole()
    }

    fn rest_get(&self, path: &str) -> Value {
        ok(self.rest("GET", path, &[], ""))
    }

    fn rest_post(&self, path: &str, body: &Value) -> Value {
        ok(self.rest("POST", path, &[], &body.to_string()))
    }

    /// The events of a request by the owner.
    fn rest_stream(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Events {
        let authorization = format!("Bearer {OWNER}");
        let mut all =
            vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
        all.extend(headers);
        let answer = self.ask(verb, path, &all, body.as_bytes());
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        if kind != "text/event-stream" {
            panic!("{verb} {path} is no stream but {}", answer.whole().text());
        }
        Events::of(answer, self.patience())
    }
}

fn ok(reply: Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Status, gRPC name and reason of an error in v1.0 form.
fn refused(reply: &Reply) -> (u16, String, String) {
    let body = reply.json();
    let error = &body["error"];
    assert_eq!(error["code"], reply.status, "{body}");
    assert_eq!(error["details"][0]["domain"], "a2a-protocol.org", "{body}");
    let status = text_of(error, "status").to_owned();
    let reason = text_of(&error["details"][0], "reason").to_owned();
    (reply.status, status, reason)
}

fn assert_refused(reply: &Reply, status: u16, name: &str, reason: &str) {
    assert_eq!(refused(reply), (status, name.to_owned(), reason.to_owned()), "{}", reply.text());
}

fn kind_of(reply: &Reply) -> &str {
    reply.header("content-type").unwrap_or_default()
}

// === the operations of v1.0 ===

#[test]
fn a_message_is_answered_with_its_task() {
    let world = World::start();
    let reply = world.rest_post("/message:send", &message("say hello"));
    assert_eq!(fields(&reply), ["task"]);
    let task = &reply["task"];
    assert_eq!((state(task), answer(task).as_str()), ("COMPLETED", "hello"));
}

#[test]
fn return_immediately_does_not_wait() {
    let world = World::start();
    let reply = world.rest_post("/message:send", &at_once(message("cue go; say hello")));
    assert_ne!(state(&reply["task"]), "COMPLETED");
    world.cue("go");
}

#[test]
fn a_stream_is_made_of_bare_events() {
    let world = World::start();
    let body = message("say hello").to_string();
    let reply = world.rest("POST", "/message:stream", &[], &body);
    assert_eq!(kind_of(&reply), "text/event-stream");
    let text = reply.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let kinds: Vec<String> = data
        .map(|data| {
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(fields(&event).len(), 1, "{event}");
            fields(&event)[0].to_owned()
        })
        .collect();
    assert_eq!(
        (kinds.first().unwrap().as_str(), kinds.last().unwrap().as_str()),
        ("task", "statusUpdate")
    );
}

#[test]
fn the_history_of_a_task_is_cut_as_the_query_says() {
    let world = World::start();
    let id = text_of(&world.say("say hello"), "id").to_owned();
    let history = |query: &str| {
        let task = world.rest_get(&format!("/tasks/{id}{query}"));
        task["history"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(
        ["", "?historyLength=0", "?historyLength=1", "?history_length=1"].map(history),
        [2, 0, 1, 1]
    );
}

#[test]
fn a_history_length_that_is_no_number_is_refused_by_its_name() {
    let world = World::start();
    let id = text_of(&world.say("say hello"), "id").to_owned();
    for query in ["historyLength=some", "historyLength=-1"] {
        let reply = world.rest("GET", &format!("/tasks/{id}?{query}"), &[], "");
        assert_refused(&reply, 400, "INVALID_ARGUMENT", "INVALID_PARAMS");
        let body = reply.json();
        let field = &body["error"]["details"][1]["fieldViolations"][0]["field"];
        assert_eq!(field, "historyLength", "{query}");
    }
}

#[test]
fn a_list_is_paged_by_its_cursor_and_counts_all() {
    let world = World::start();
    let mut ids: Vec<String> =
        (0..5).map(|n| text_of(&world.say(&format!("say {n}")), "id").to_owned()).collect();
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = world.rest_get(&format!("/tasks?pageSize=2&pageToken={token}"));
        assert_eq!((&page["totalSize"], &page["pageSize"]), (&json!(5), &json!(2)));
        let tasks = page["tasks"].as_array().unwrap();
        seen.extend(tasks.iter().map(|task| text_of(task, "id").to_owned()));
        text_of(&page, "nextPageToken").clone_into(&mut token);
        if token.is_empty() {
            break;
        }
    }
    ids.reverse();
    assert_eq!(seen, ids);
}

#[test]
fn a_list_is_filtered_by_context_state_and_time() {
    let world = World::start();
    let one = world.send(message_in("one context", "say a"));
    world.say("exit 3");
    let count = |query: &str| {
        let page = world.rest_get(&format!("/tasks?{query}"));
        page["totalSize"].as_i64().unwrap()
    };
    let at = text_of(&one["status"], "timestamp").replace('+', "%2B");
    assert_eq!(
        [
            count("contextId=one%20context"),
            count("contextId=one+context"),
            count("contextId=other"),
            count("status=TASK_STATE_FAILED"),
            count("status=working"),
            count(&format!("statusTimestampAfter={at}")),
            count("statusTimestampAfter=2100-01-01T00:00:00Z"),
        ],
        [1, 1, 0, 1, 0, 2, 0]
    );
}

#[test]
fn a_list_holds_artifacts_only_where_they_are_asked_for() {
    let world = World::start();
    world.say("artifact notes all of it; say x");
    let without = &world.rest_get("/tasks")["tasks"][0];
    assert!(without.get("artifacts").is_none(), "{without}");
    let with = &world.rest_get("/tasks?includeArtifacts=true")["tasks"][0];
    assert_eq!(artifact_text(with, "notes"), "all of it");
}

#[test]
fn a_running_task_is_canceled_without_a_body() {
    let world = World::start();
    let id = world.begin_waiting("cue never", "never");
    let task = ok(world.rest("POST", &format!("/tasks/{id}:cancel"), &[], ""));
    assert_eq!(state(&task), "CANCELED");
}

#[test]
fn the_colon_of_a_verb_may_be_escaped() {
    let world = World::start();
    let id = world.begin_waiting("cue never", "never");
    let task = ok(world.rest("POST", &format!("/tasks/{id}%3Acancel"), &[], "{}"));
    assert_eq!(state(&task), "CANCELED");
}

#[test]
fn a_task_is_subscribed_to_by_get_and_by_post() {
    let world = World::start();
    let id = world.begin_waiting("cue go; say hello", "go");
    let path = format!("/tasks/{id}:subscribe");
    let mut streams = [
        world.rest_stream("GET", &path, &[], ""),
        world.rest_stream("POST", &path, &[], ""),
        world.rest_stream("POST", &path, &[], "{}"),
    ];
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap().kind(), "task");
    }
    world.cue("go");
    for stream in streams {
        assert_eq!(states(&stream.rest()).last(), Some(&"COMPLETED"));
    }
}

#[test]
fn a_stream_is_resumed_after_the_last_event_that_was_seen() {
    let world = World::start();
    let body = message("say a; status pause; say b; status pause; say c").to_string();
    let all = world.rest_stream("POST", "/message:stream", &[], &body).rest();
    let path = format!("/tasks/{}:subscribe", all[0].task_id());
    for (at, last) in all.iter().enumerate() {
        let id = last.id.unwrap().to_string();
        let headers = [("last-event-id", id.as_str())];
        let resumed = world.rest_stream("GET", &path, &headers, "").rest();
        assert_eq!(resumed[0].kind(), "task");
        let late: Vec<&Event> = resumed.iter().skip(1).collect();
        assert_eq!(late, all.iter().skip(at + 1).collect::<Vec<_>>());
    }
}

#[test]
fn a_last_event_id_that_is_none_is_refused() {
    let world = World::start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    let path = format!("/tasks/{id}:subscribe");
    let reply = world.rest("GET", &path, &[("last-event-id", "soon")], "");
    assert_refused(&reply, 400, "INVALID_ARGUMENT", "INVALID_PARAMS");
}

#[test]
fn push_notification_configs_are_made_read_listed_and_removed() {
    let world = World::describe().config(json!({"push": {"allow": ["127.0.0.1"]}})).start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    let configs = format!("/tasks/{id}/pushNotificationConfigs");
    let made = world.rest_post(&configs, &json!({"url": "http://127.0.0.1:1/hook"}));
    let one = format!("{configs}/{}", text_of(&made, "id"));
    assert_eq!(made["taskId"], json!(id));
    assert_eq!(world.rest_get(&one), made);
    assert_eq!(world.rest_get(&configs)["configs"], json!([made]));
    let removed = world.rest("DELETE", &one, &[], "");
    assert!([200, 204].contains(&removed.status), "{}", removed.text());
    let gone = world.rest("GET", &one, &[], "");
    assert_refused(&gone, 404, "NOT_FOUND", "TASK_NOT_FOUND");
}

/// A world whose agent keeps one of its two skills for known callers.
fn with_an_inner_skill() -> World {
    let skill = |id: &str, extended: bool| json!({"id": id, "name": id, "description": id, "extended": extended});
    World::describe().agent(json!({"skills": [skill("open", false), skill("inner", true)]})).start()
}

#[test]
fn the_extended_card_is_for_known_callers() {
    let world = with_an_inner_skill();
    let card = world.rest_get("/extendedAgentCard");
    let ids: Vec<&str> =
        card["skills"].as_array().unwrap().iter().map(|skill| text_of(skill, "id")).collect();
    assert_eq!(ids, ["open", "inner"]);
    assert_eq!(world.get("/extendedAgentCard", &[]).status, 401);
}

// === where it is served ===

#[test]
fn a_tenant_in_front_of_the_path_names_the_agent() {
    let world = World::start();
    let reply = world.rest_post("/fake/message:send", &message("say hello"));
    let id = text_of(&reply["task"], "id");
    assert_eq!(world.rest_get(&format!("/fake/tasks/{id}"))["id"], json!(id));
    assert_eq!(world.rest_get("/fake/tasks")["totalSize"], 1);
}

#[test]
fn a_tenant_that_is_no_agent_is_refused() {
    let world = World::start();
    let reply = world.rest("GET", "/nobody/tasks", &[], "");
    assert_refused(&reply, 400, "INVALID_ARGUMENT", "INVALID_PARAMS");
}

#[test]
fn the_same_doors_are_below_the_address_of_the_agent() {
    let world = World::start();
    let reply = world.rest_post("/agents/fake/message:send", &message("say hello"));
    let id = text_of(&reply["task"], "id");
    assert_eq!(world.rest_get(&format!("/agents/fake/tasks/{id}"))["id"], json!(id));
    assert_eq!(world.rest_get(&format!("/tasks/{id}"))["id"], json!(id));
}

#[test]
fn a_slash_at_the_end_does_no_harm() {
    let world = World::start();
    world.rest_post("/message:send/", &message("say hello"));
    assert_eq!(world.rest_get("/tasks/")["totalSize"], 1);
}

#[test]
fn a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has() {
    let world = World::start();
    let cases = [
        ("PUT", "/message:send", "POST"),
        ("HEAD", "/message:send", "POST"),
        ("GET", "/message:stream", "POST"),
        ("DELETE", "/tasks", "GET"),
        ("PUT", "/tasks/some", "GET"),
        ("PUT", "/tasks/some:subscribe", "GET, POST"),
        ("PATCH", "/tasks/some/pushNotificationConfigs", "GET, POST"),
        ("PUT", "/v1/message:send", "POST"),
        ("PUT", "/agents/fake/tasks", "GET"),
    ];
    for (verb, path, allowed) in cases {
        let answer = world.ask(verb, path, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{verb} {path}");
    }
}

#[test]
fn a_path_that_leads_nowhere_is_not_found() {
    let world = World::start();
    for path in ["/nothing/here", "/tasks/a/b", "/tasks//", "/v1/tasks/a/b"] {
        assert_eq!(world.rest("GET", path, &[], "").status, 404, "{path}");
    }
}
