//! Who gets in: tokens, and requests that web pages make.

use crate::reading::message;
use crate::world::{OWNER, World};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

fn body() -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}).to_string().into_bytes()
}

fn with(world: &World, headers: &[(&str, &str)]) -> crate::http::Reply {
    world.post("/", headers, &body())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

// === tokens ===

#[test]
fn without_a_token_nobody_gets_in_and_is_told_the_scheme() {
    let world = World::start();
    let reply = with(&world, &[]);
    assert_eq!(reply.status, 401);
    assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert_eq!(reply.json()["error"]["data"][0]["reason"], "UNAUTHENTICATED");
}

#[test]
fn a_wrong_token_gets_nobody_in() {
    let world = World::start();
    let reply = with(&world, &[("Authorization", "Bearer wrong")]);
    assert_eq!((reply.status, reply.header("www-authenticate").is_some()), (401, true));
}

#[test]
fn part_of_a_token_is_no_token() {
    let world = World::start();
    for token in [&OWNER[..OWNER.len() - 1], "", " ", &format!("{OWNER}x")] {
        assert_eq!(with(&world, &[("Authorization", &bearer(token))]).status, 401, "{token:?}");
    }
}

#[test]
fn the_scheme_may_stand_in_any_case() {
    let world = World::start();
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        assert_eq!(with(&world, &[("Authorization", &format!("{scheme} {OWNER}"))]).status, 200);
    }
}

#[test]
fn another_scheme_is_refused() {
    let world = World::start();
    assert_eq!(with(&world, &[("Authorization", &format!("Basic {OWNER}"))]).status, 401);
}

#[test]
fn a_refused_request_starts_nothing() {
    let world = World::start();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("write note.txt x")});
    assert_eq!(world.post("/", &[], body.to_string().as_bytes()).status, 401);
    assert_eq!(world.rpc("ListTasks", json!({}))["totalSize"], 0);
}

#[test]
fn too_many_wrong_tokens_are_refused_and_a_valid_one_passes() {
    let world = World::describe().config(json!({"limits": {"wrong_tokens": 3}})).start();
    let wrong = || with(&world, &[("Authorization", "Bearer wrong")]);
    let statuses: Vec<u16> = (0..40).map(|_| wrong().status).collect();
    assert_eq!(statuses[..3], [401; 3]);
    assert_eq!(statuses[3..], [429; 37]);
    assert_eq!(with(&world, &[("Authorization", &bearer(OWNER))]).status, 200);
    assert_eq!(with(&world, &[]).status, 401);
    let reply = wrong();
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn a_short_token_is_served_on_loopback_alone() {
    for auth in [json!({"token": "1234567"}), json!({"tokens": {"bob": "1234567"}})] {
        let described = || World::describe().config(json!({"auth": auth}));
        let failure = described().args(["--host", "0.0.0.0"]).fails();
        assert_eq!(failure.code, Some(78));
        assert!(failure.stderr.contains("fewer than 8 characters"), "{}", failure.stderr);
        assert!(!failure.stderr.contains("1234567"), "{}", failure.stderr);
        described().start();
    }
}

#[test]
fn the_line_of_the_second_forerunner_starts_with_one_warning() {
    let world = World::describe()
        .config(json!({"auth": {"token": null, "tokens": null}}))
        .env("API_TOKEN", "team-secret")
        .args(["--host", "0.0.0.0"])
        .start();
    assert_eq!(with(&world, &[("Authorization", "Bearer team-secret")]).status, 200);
    let said = world.stderr();
    assert_eq!(said.matches("can be guessed").count(), 1, "{said}");
    assert!(
        said.contains("`auth.token` can be guessed")
            && said.contains("valid callers at the same address can wait or be refused")
            && !said.contains("team-secret"),
        "{said}"
    );
    assert!(!World::start().stderr().contains("can be guessed"));
}

#[test]
fn where_a_token_can_be_guessed_a_try_after_a_wrong_one_has_to_wait_or_is_not_compared() {
    let no_place = json!({"limits": {"wrong_tokens_waiting": 0}});
    let weak = World::describe().config(no_place).config(json!({"auth": {"token": "team-secret"}}));
    let weak = weak.start();
    let right = [("Authorization", "Bearer team-secret")];
    assert_eq!(with(&weak, &right).status, 200);
    assert_eq!(with(&weak, &[("Authorization", "Bearer wrong")]).status, 401);
    let refused = with(&weak, &right);
    let told = refused.text();
    assert!(refused.status == 429 && told.contains("`limits.wrong_tokens_waiting`"), "{told}");
    assert!(!told.contains("a valid"), "{told}");
    assert_eq!(weak.get("/ready", &right).status, 429);
    assert_eq!(weak.get("/ready", &[]).status, 200);
}

#[test]
fn a_token_is_made_and_kept_readable_for_its_owner_alone() {
    let mut world =
        World::describe().config(json!({"auth": {"token": null, "tokens": null}})).start();
    let file = world.path("state").join("token");
    let token = std::fs::read_to_string(&file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, token.trim().len() >= 32), (0o600, true));
    assert_eq!(with(&world, &[("Authorization", &bearer(token.trim()))]).status, 200);
    world.restart();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    assert_eq!(with(&world, &[("Authorization", &bearer(token.trim()))]).status, 200);
}

#[test]
fn the_state_folder_keeps_others_out_of_the_database() {
    let world = World::start();
    world.say("say secret");
    for name in ["pilothouse.db", "pilothouse.db-wal"] {
        let path = world.path("state").join(name);
        let file = std::fs::metadata(&path).unwrap().permissions().mode();
        let folder = std::fs::metadata(world.path("state")).unwrap().permissions().mode();
        assert!(
            file & 0o077 == 0 || folder & 0o077 == 0,
            "{name}: {file:o} in a folder of {folder:o}"
        );
    }
}

#[test]
fn without_authentication_everybody_on_this_machine_gets_in() {
    let world = World::describe().args(["--no-auth"]).start();
    assert_eq!(with(&world, &[]).status, 200);
}

#[test]
fn no_authentication_on_an_open_address_is_refused_at_the_start() {
    let failure = World::describe().args(["--no-auth", "--host", "0.0.0.0"]).fails();
    assert_eq!(failure.code, Some(78));
    assert!(failure.stderr.contains("--insecure"), "{}", failure.stderr);
}

#[test]
fn no_authentication_on_an_open_address_is_served_when_it_is_meant() {
    let world = World::describe().args(["--no-auth", "--insecure", "--host", "0.0.0.0"]).start();
    assert_eq!(with(&world, &[]).status, 200);
}

// === web pages ===

#[test]
fn a_host_that_is_not_ours_is_refused() {
    let world = World::start();
    for host in
        ["evil.example", "evil.example:2222", "127.0.0.1.evil.example", "localhost.evil.example"]
    {
        let reply = with(&world, &[("Host", host), ("Authorization", &bearer(OWNER))]);
        assert_eq!(reply.status, 403, "{host}");
    }
}

#[test]
fn an_address_is_accepted_as_host_where_it_is_the_one_that_was_connected_to() {
    let world = World::describe().config(json!({"server": {"host": "127.0.0.3"}})).start();
    for host in ["127.0.0.3", "127.0.0.1", "[::1]", "[::ffff:127.0.0.3]:2222"] {
        let reply = with(&world, &[("Host", host), ("Authorization", &bearer(OWNER))]);
        assert_eq!(reply.status, 200, "{host}");
    }
    for host in ["192.0.2.1", "192.0.2.1:2222", "[2001:db8::1]", "10.0.0.1", "[::ffff:10.0.0.1]"] {
        let reply = with(&world, &[("Host", host), ("Authorization", &bearer(OWNER))]);
        assert_eq!(reply.status, 403, "{host}");
        assert_eq!(world.get("/.well-known/agent-card.json", &[("Host", host)]).status, 403);
    }
}

#[test]
fn an_address_that_is_configured_is_accepted_as_host() {
    let hosts = json!({"server": {"allowed_hosts": ["192.0.2.1", "2001:db8::1"]}});
    let world = World::describe().config(hosts).start();
    for host in ["192.0.2.1:2222", "[2001:DB8:0::1]:2222"] {
        let reply = with(&world, &[("Host", host), ("Authorization", &bearer(OWNER))]);
        assert_eq!(reply.status, 200, "{host}");
    }
}

#[test]
fn a_request_with_two_hosts_or_one_that_cannot_be_read_is_refused() {
    let world = World::start();
    let token = bearer(OWNER);
    let two = [("Host", "localhost"), ("Host", "localhost"), ("Authorization", token.as_str())];
    assert_eq!(with(&world, &two).status, 400);
    for host in ["localhost/x", "user@localhost", "localhost, localhost", "localhost:x"] {
        let reply = with(&world, &[("Host", host), ("Authorization", &token)]);
        assert_eq!(reply.status, 400, "{host}");
    }
}

#[test]
fn a_host_that_is_not_ours_does_not_get_the_card_either() {
    let world = World::start();
    assert_eq!(world.get("/.well-known/agent-card.json", &[("Host", "evil.example")]).status, 403);
}

#[test]
fn the_names_of_this_machine_and_listed_ones_are_ours() {
    let world =
        World::describe().config(json!({"server": {"allowed_hosts": ["agents.example"]}})).start();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:2222", "agents.example"] {
        assert_eq!(
            with(&world, &[("Host", host), ("Authorization", &bearer(OWNER))]).status,
            200,
            "{host}"
        );
    }
}

#[test]
fn a_web_page_may_not_call() {
    let world = World::describe().args(["--no-auth"]).start();
    for origin in ["https://evil.example", "null", "http://localhost:3000"] {
        assert_eq!(with(&world, &[("Origin", origin)]).status, 403, "{origin}");
    }
}

#[test]
fn a_listed_web_page_may_call() {
    let world = World::describe()
        .config(json!({"server": {"allowed_origins": ["https://console.example"]}}))
        .start();
    assert_eq!(
        with(&world, &[("Origin", "https://console.example"), ("Authorization", &bearer(OWNER))])
            .status,
        200
    );
}

#[test]
fn a_form_of_a_web_page_is_no_call() {
    let world = World::describe().args(["--no-auth"]).start();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let reply = world.ask("POST", "/", &[("Content-Type", kind)], &body()).whole();
        let refused = reply.status >= 400 || reply.json().get("error").is_some();
        assert!(refused, "{kind}: {}", reply.text());
    }
}

// === HTTP/2 ===

#[test]
fn http_2_is_spoken_without_asking_first() {
    let world = World::start();
    let url = format!("http://{}/", world.address());
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("say hello")});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (version, text) = runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
        let request =
            client.post(url).bearer_auth(OWNER).header("content-type", "application/json");
        let reply =
            request.body(body.to_string()).timeout(crate::world::PATIENCE).send().await.unwrap();
        (reply.version(), reply.text().await.unwrap())
    });
    assert_eq!(version, reqwest::Version::HTTP_2);
    assert!(text.contains("TASK_STATE_COMPLETED"), "{text}");
}

// === the process ===

#[test]
fn without_a_configured_host_the_server_listens_on_loopback_alone() {
    let world = World::start();
    let port = format!("{:04X}", world.address().port());
    let table = |name: &str| {
        std::fs::read_to_string(format!("/proc/{}/net/{name}", world.pid())).unwrap_or_default()
    };
    let tables = table("tcp") + &table("tcp6");
    let listening = tables.lines().filter_map(|line| {
        let mut cells = line.split_whitespace().skip(1);
        let (address, own) = cells.next()?.split_once(':')?;
        (own == port && cells.nth(1)? == "0A").then_some(address)
    });
    let listening: Vec<&str> = listening.collect();
    let loopback = ["0100007F", "00000000000000000000000001000000"];
    assert!(!listening.is_empty(), "{tables}");
    assert!(listening.iter().all(|address| loopback.contains(address)), "{listening:?}");
}

#[test]
fn the_servers_process_is_closed_to_others_of_its_user() {
    let world = World::describe().ordinary().start();
    let children = format!("/proc/{0}/task/{0}/children", world.pid());
    let children = std::fs::read_to_string(children).unwrap();
    let processes = children.split_whitespace().map(|pid| pid.parse().unwrap());
    let mut seen = 0;
    for pid in processes.chain([world.pid()]) {
        let path = |name: &str| format!("/proc/{pid}/{name}");
        let status = std::fs::read_to_string(path("status")).unwrap();
        let user = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap();
        assert_ne!(user.split('\t').next(), Some("0"), "this test needs an ordinary user");
        // The kernel gives these files of a process that may not be read to root.
        let owner =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path("environ")).unwrap());
        assert_eq!(owner, 0, "{status}");
        seen += 1;
    }
    assert!(seen > 1, "server and launcher");
}
