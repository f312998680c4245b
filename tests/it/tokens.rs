//! Tokens with scopes, made and revoked while the server runs, and the admin, who sees and answers everything.

use crate::building::fake_agent;
use crate::cli_asks::{pilothouse, url};
use crate::http::{Answer, Reply, begin_body, connect_narrow, read_head};
use crate::reading::{answer, at_once, message, message_in, message_to, state, text_of};
use crate::world::{BOB, OWNER, World};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn get(world: &World, token: &str, path: &str) -> Reply {
    world.get(path, &[("Authorization", &bearer(token))])
}

fn post(world: &World, token: &str, path: &str, body: &Value) -> Reply {
    world.post(path, &[("Authorization", &bearer(token))], body.to_string().as_bytes())
}

/// Makes a token; its id and itself.
pub(crate) fn token(world: &World, wanted: &Value) -> (String, String) {
    let made = post(world, OWNER, "/api/v1/tokens", wanted).json();
    (text_of(&made, "id").to_owned(), text_of(&made, "token").to_owned())
}

/// Revokes a token.
pub(crate) fn revoke(world: &World, id: &str) -> Reply {
    let path = format!("/api/v1/tokens/{id}");
    world.ask("DELETE", &path, &[("Authorization", &bearer(OWNER))], b"").whole()
}

/// The ids of the tasks on a page.
fn listed(page: &Value) -> Vec<&str> {
    page["tasks"].as_array().unwrap().iter().map(|task| text_of(task, "id")).collect()
}

#[test]
fn each_call_needs_its_scope_and_the_refusal_names_it() {
    let world = World::describe()
        .config(json!({"auth": {"tokens": {
            "reader": {"token": "token-of-a-reader-51f0a8d1c07e4b9a", "scopes": ["read"]},
            "sender": {"token": "token-of-a-sender-88b1c5a2e90f4d37", "scopes": ["send"]},
        }}}))
        .start();
    let (reader, sender) =
        ("token-of-a-reader-51f0a8d1c07e4b9a", "token-of-a-sender-88b1c5a2e90f4d37");
    let refused = |token: &str, method: &str, params: Value| {
        let error = world.error_as(token, method, params);
        assert_eq!(error["code"], -32051, "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    let told = refused(reader, "SendMessage", message("say x"));
    assert!(told.contains("scope `send`") && told.contains("`auth.tokens.reader`"), "{told}");
    let id = text_of(&world.rpc_as(sender, "SendMessage", message("ask which?"))["task"], "id")
        .to_owned();
    assert!(refused(sender, "GetTask", json!({"id": id})).contains("scope `read`"));
    assert!(refused(sender, "ListTasks", json!({})).contains("scope `read`"));
    // A webhook is a way to read, however it is registered.
    let mut hooked = message("say x");
    hooked["configuration"] =
        json!({"taskPushNotificationConfig": {"url": "https://example.com/hook"}});
    for method in ["SendMessage", "SendStreamingMessage"] {
        assert!(refused(sender, method, hooked.clone()).contains("scope `read`"));
    }
    // An answer is no message like others.
    assert!(refused(sender, "SendMessage", message_to(&id, "that")).contains("scope `answer`"));
    assert!(refused(reader, "CancelTask", json!({"id": id})).contains("scope `send`"));
    for path in ["/api/v1/sessions", "/api/v1/asks"] {
        assert_eq!(
            (get(&world, reader, path).status, get(&world, sender, path).status),
            (200, 403)
        );
    }
    assert_eq!(get(&world, BOB, "/api/v1/tokens").status, 403);
    assert_eq!(get(&world, OWNER, "/api/v1/tokens").status, 200);
}

#[test]
fn an_admin_sees_and_answers_what_another_caller_is_asked() {
    let world = World::start();
    let asked = world.rpc_as(BOB, "SendMessage", message("ask which? | red | green"));
    let id = text_of(&asked["task"], "id").to_owned();
    let own = text_of(&world.say("say mine"), "id").to_owned();
    // Lists are one's own unless it is said.
    assert_eq!(listed(&world.rpc("ListTasks", json!({}))), [own.as_str()]);
    let list = |query: &str| get(&world, OWNER, &format!("/tasks?{query}")).json();
    assert_eq!(listed(&list("caller=bob")), [id.as_str()]);
    assert_eq!(list("caller=bob")["tasks"][0]["metadata"]["pilothouse.caller"], "bob");
    let all = list("caller=*");
    assert_eq!((listed(&all).len(), &all["totalSize"]), (2, &json!(2)));
    let pages = list("caller=*&pageSize=1");
    let rest = text_of(&pages, "nextPageToken").to_owned();
    let rest = list(&format!("caller=*&pageSize=1&pageToken={rest}"));
    assert_eq!([listed(&pages), listed(&rest)].concat(), listed(&all));
    let header = [("Authorization", bearer(OWNER)), ("Pilothouse-Caller", "bob".to_owned())];
    let header = header.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(listed(&world.get("/tasks", &header).json()), [id.as_str()]);
    for path in ["/api/v1/sessions", "/api/v1/asks"] {
        let member = path.rsplit('/').next().unwrap();
        let page = get(&world, OWNER, &format!("{path}?caller=bob")).json();
        assert_eq!(page[member][0]["caller"], "bob", "{page}");
    }
    // What has an id is found by it.
    let task = world.task(&id);
    assert_eq!(
        (state(&task), &task["metadata"]["pilothouse.caller"]),
        ("INPUT_REQUIRED", &json!("bob"))
    );
    assert_eq!(state(&world.send(message_to(&id, "red"))), "COMPLETED");
    let foreign =
        text_of(&world.rpc_as(BOB, "SendMessage", at_once(message("wait never")))["task"], "id")
            .to_owned();
    let error = world.error("SendMessage", message_to(&foreign, "and this"));
    assert_eq!(error["code"], -32051, "{error}");
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": foreign}))), "CANCELED");
    // Who is no admin cannot even ask.
    assert_eq!(get(&world, BOB, "/tasks?caller=owner").status, 403);
    assert_eq!(get(&world, BOB, "/tasks?caller=bob").status, 200);
}

#[test]
fn a_revoked_token_ends_the_streams_and_waits_of_its_holder_at_once() {
    let world = World::start();
    let (id, secret) = token(&world, &json!({"caller": "ann"}));
    let authorization = bearer(&secret);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage",
        "params": message("say one; wait never")});
    let headers = [("Content-Type", "application/json"), ("Authorization", authorization.as_str())];
    let answer = world.ask("POST", "/", &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 200);
    assert_eq!(revoke(&world, &id).status, 200);
    let stream = answer.whole().text();
    let last = stream.trim_end().rsplit("data: ").next().unwrap();
    assert!(last.contains("this bearer token was revoked"), "{stream}");
    assert_eq!(get(&world, &secret, "/tasks").status, 401);
    // The turn itself goes on: its caller may have another token.
    let (_, other) = token(&world, &json!({"caller": "ann"}));
    let tasks = world.rpc_as(&other, "ListTasks", json!({}));
    assert_eq!(state(&tasks["tasks"][0]), "WORKING");
    world.rpc_as(&other, "CancelTask", json!({"id": listed(&tasks)[0]}));
}

/// The answer to a client that takes little at a time, behind its head.
fn begin_answer(world: &World, token: &str, request: &str) -> Answer {
    let mut socket = connect_narrow(world.address(), world.patience());
    let (host, authorization) = (world.address(), bearer(token));
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Length: 0\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let answer = read_head(socket).unwrap();
    assert_eq!(answer.status, 200, "{request}");
    answer
}

#[test]
fn a_revoked_token_ends_the_answers_under_way_and_none_of_them_looks_whole() {
    const LARGE: u64 = 64 << 20;
    let world = World::start();
    let (_, kept) = token(&world, &json!({"caller": "ann"}));
    let (id, gone) = token(&world, &json!({"caller": "ann", "scopes": ["read"]}));
    let place = world.rpc_as(&kept, "SendMessage", message_in("s", "pwd"))["task"].take();
    let large = std::fs::File::create(Path::new(&answer(&place)).join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    let requests = ["GET /api/v1/sessions/s/files/large", "GET /api/v1/sessions/s/archive"];
    let answers = requests.map(|request| begin_answer(&world, &gone, request));
    let whole = begin_answer(&world, &kept, requests[0]);
    assert_eq!(revoke(&world, &id).status, 200);
    for (mut answer, request) in answers.into_iter().zip(requests) {
        let read = std::io::copy(&mut answer.body, &mut std::io::sink());
        assert!(read.is_err(), "{request} looks whole: {read:?}");
    }
    assert_eq!(whole.whole().body.len() as u64, LARGE);
}

#[test]
fn a_token_that_is_revoked_while_the_body_of_its_request_comes_does_nothing_more() {
    let world = World::start();
    let (id, secret) = token(&world, &json!({"caller": "ann"}));
    let requests = ["POST /api/v1/sessions/none/remove", "POST /tasks/none:cancel"];
    let begun =
        requests.map(|request| begin_body(world.address(), &secret, request, world.patience()));
    assert_eq!(revoke(&world, &id).status, 200);
    for (mut socket, request) in begun.into_iter().zip(requests) {
        socket.write_all(b"{\"a\": 12}").unwrap();
        assert_eq!(read_head(socket).unwrap().status, 401, "{request}");
    }
}

#[test]
fn a_token_holds_over_a_restart_and_so_does_its_revocation() {
    let mut world = World::start();
    let wanted = json!({"caller": "ann", "scopes": ["read"], "agents": ["fake"]});
    let (_, kept) = token(&world, &wanted);
    let (gone, revoked) = token(&world, &wanted);
    assert_eq!(revoke(&world, &gone).status, 200);
    assert_eq!((revoke(&world, &gone).status, revoke(&world, "nothing").status), (200, 404));
    world.restart();
    let statuses = [&kept, &revoked].map(|token| get(&world, token, "/tasks").status);
    assert_eq!(statuses, [200, 401]);
    let list = get(&world, OWNER, "/api/v1/tokens").json();
    let states = list["tokens"].as_array().unwrap().iter().map(|token| text_of(token, "state"));
    assert_eq!(states.collect::<Vec<_>>(), ["active", "revoked"]);
    // The store has hashes alone.
    let store = std::fs::read(world.path("state").join("pilothouse.db")).unwrap();
    assert!(!String::from_utf8_lossy(&store).contains(&kept));
}

#[test]
fn a_token_is_for_the_agents_that_it_names_and_until_its_time() {
    let world = World::describe()
        .config(json!({"agents": {"other": {"driver": "command", "program": fake_agent(), "serve": true}}}))
        .start();
    let (_, secret) = token(&world, &json!({"caller": "ann", "agents": ["other"]}));
    let error = world.error_as(&secret, "ListTasks", json!({}));
    assert_eq!(error["code"], -32051, "{error}");
    assert!(text_of(&error, "message").contains("agent `fake`"), "{error}");
    assert_eq!(get(&world, &secret, "/agents/other/tasks").status, 200);
    let sessions =
        ["/api/v1/sessions", "/agents/fake/api/v1/sessions", "/agents/other/api/v1/sessions"];
    assert_eq!(sessions.map(|path| get(&world, &secret, path).status), [403, 403, 200]);
    let past = json!({"caller": "ann", "expires": "2020-01-01"});
    assert_eq!(post(&world, OWNER, "/api/v1/tokens", &past).status, 400);
    for wrong in [
        json!({"caller": "a b"}),
        json!({"caller": "ann", "agents": ["nobody"]}),
        json!({"caller": "ann", "scopes": []}),
    ] {
        assert_eq!(post(&world, OWNER, "/api/v1/tokens", &wrong).status, 400, "{wrong}");
    }
}

#[test]
fn tokens_are_made_listed_and_revoked_by_the_command_line() {
    let world = World::start();
    let address = url(world.address());
    let made = pilothouse(&address, &["token", "create", "ci", "--scopes", "send,read"]);
    let secret = made.out.trim();
    assert_eq!((made.code, get(&world, secret, "/tasks").status), (Some(0), 200), "{}", made.err);
    let listed = pilothouse(&address, &["token", "list"]);
    assert!(listed.out.contains("ci") && listed.out.contains("send,read"), "{}", listed.out);
    assert!(!listed.out.contains(secret), "{}", listed.out);
    let id = made.err.split_whitespace().nth(1).unwrap();
    assert_eq!(pilothouse(&address, &["token", "revoke", id]).code, Some(0));
    assert_eq!(get(&world, secret, "/tasks").status, 401);
    // An admin's other commands take a caller.
    world.rpc_as(BOB, "SendMessage", message("say x"));
    let tasks = pilothouse(&address, &["tasks", "list", "--caller", "bob", "--json"]);
    assert!(tasks.out.contains("pilothouse.caller"), "{} {}", tasks.out, tasks.err);
    // Whose each one is stands in the lists of all callers, and in no other.
    world.say("say mine");
    for command in ["tasks", "sessions"] {
        let all = pilothouse(&address, &[command, "list", "--caller", "*"]);
        let names = ["CALLER", " bob ", " owner "];
        assert!(names.iter().all(|name| all.out.contains(name)), "{} {}", all.out, all.err);
        let own = pilothouse(&address, &[command, "list"]);
        assert!(!own.out.contains("CALLER"), "{}", own.out);
    }
}
