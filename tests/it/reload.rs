//! The configuration is read again, and a server is drained, while turns run.

use crate::cli_asks::{pilothouse, url};
use crate::processes::await_some;
use crate::reading::{answer, message, state};
use crate::world::{BOB, OWNER, PATIENCE, World, await_true};
use serde_json::{Value, json};

const NEW: &str = "token-of-somebody-new-4c07e19ab3d85f62";

fn post(world: &World, token: &str, path: &str) -> (u16, Value) {
    let reply = world.post(path, &[("Authorization", &format!("Bearer {token}"))], b"");
    (reply.status, reply.json())
}

fn status(world: &World, token: &str) -> u16 {
    world.get("/tasks", &[("Authorization", &format!("Bearer {token}"))]).status
}

#[test]
fn a_reload_takes_tokens_rules_and_ceilings_and_no_running_turn_is_lost() {
    let mut world = World::start();
    let running = world.begin_waiting("cue go; say done", "go");
    world.rewrite(json!({
        "auth": {"tokens": {"bob": null, "new": {"token": NEW, "scopes": ["read"]}}},
        "budgets": {"task": {"tokens": 5}},
        "server": {"port": 1},
        "limits": {"requests": 500},
        "log": {"level": "debug"},
    }));
    let (status_of_reload, told) = post(&world, OWNER, "/api/v1/reload");
    assert_eq!(status_of_reload, 200, "{told}");
    assert_eq!(
        told["changed"],
        json!([
            "auth.tokens.bob",
            "auth.tokens.new.agents",
            "auth.tokens.new.expires",
            "auth.tokens.new.scopes",
            "auth.tokens.new.token",
            "budgets.task.tokens",
            "log.level"
        ])
    );
    assert_eq!(told["needsRestart"], json!(["limits.requests", "server.port"]));
    assert_eq!([OWNER, BOB, NEW].map(|token| status(&world, token)), [200, 401, 200]);
    world.cue("go");
    let task = world.await_state(&running, &["COMPLETED"]);
    assert_eq!(answer(&task), "done");
    // A turn that ends by itself as its ceiling is reached is completed.
    let used = world.send(message("usage 30 12 0.5; hang"));
    assert_eq!(state(&used), "FAILED", "{used}");
}

#[test]
fn a_reload_gives_agents_what_the_environment_file_holds_by_then() {
    let builder = World::describe().file(".env", 0o600, "MY_TOOL=one\n");
    let env_file = builder.cwd().join(".env");
    let world = builder.agent(json!({"env": {"pass": ["MY_TOOL"]}})).start();
    assert_eq!(answer(&world.say("env MY_TOOL")), "one");
    std::fs::write(&env_file, "MY_TOOL=two\n").unwrap();
    let (status, told) = post(&world, OWNER, "/api/v1/reload");
    assert_eq!((status, &told["changed"]), (200, &json!(["agents.fake.env"])), "{told}");
    assert_eq!(answer(&world.say("env MY_TOOL")), "two");
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_whole_and_the_one_in_force_stays() {
    let mut world = World::start();
    world.rewrite(json!({"auth": {"tokens": {"bob": null}}, "limits": {"body": "much"}}));
    let (refused, told) = post(&world, OWNER, "/api/v1/reload");
    assert_eq!(refused, 400, "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("limits.body"), "{told}");
    assert_eq!((status(&world, BOB), post(&world, BOB, "/api/v1/reload").0), (200, 403));
    // An editor that empties the file before it writes takes nobody's token away.
    std::fs::write(world.path("cwd").join("pilothouse.yaml"), "").unwrap();
    let (refused, told) = post(&world, OWNER, "/api/v1/reload");
    assert_eq!(refused, 400, "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("is empty"), "{told}");
    assert_eq!([OWNER, BOB].map(|token| status(&world, token)), [200, 200]);
}

#[test]
fn sighup_reads_the_configuration_again() {
    let mut world = World::start();
    world.rewrite(json!({"auth": {"tokens": {"new": NEW}}}));
    world.hang_up();
    await_some("the new token", PATIENCE, || (status(&world, NEW) == 200).then_some(()));
    await_some("the words of it", PATIENCE, || {
        world.stderr().contains("changed: `auth.tokens.new`").then_some(())
    });
}

#[test]
fn a_log_of_agent_lines_that_somebody_renamed_is_begun_anew_after_a_reload() {
    let described = World::describe();
    let path = described.path("lines.jsonl");
    let world = described.config(json!({"log": {"path": path}})).start();
    world.say("say one");
    let old = path.with_extension("old");
    std::fs::rename(&path, &old).unwrap();
    assert_eq!(post(&world, OWNER, "/api/v1/reload").0, 200);
    world.say(&format!("say two {OWNER}"));
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert!(read(&old).contains("one") && !read(&old).contains("two"));
    // A token of a caller is no line for a log.
    assert!(read(&path).contains("two ***") && !read(&path).contains(OWNER), "{}", read(&path));
}

#[test]
fn a_drained_server_accepts_no_message_and_ends_when_its_turns_have_ended() {
    let mut world = World::start();
    let running = world.begin_waiting("cue go; say done", "go");
    let address = url(world.address());
    let drain = pilothouse(&address, &["drain", "--no-wait"]);
    assert_eq!(
        (drain.code, &*drain.err),
        (Some(0), "draining: 1 sessions have a turn, 0 turns wait for theirs\n")
    );
    let refused = world.call(OWNER, "SendMessage", &message("say x"));
    assert_eq!(refused.status, 503);
    assert_eq!(world.get("/ready", &[]).status, 503);
    assert_eq!(state(&world.task(&running)), "WORKING");
    world.cue("go");
    assert_eq!(world.ended().code(), Some(0));
    world.nothing_is_left();
    world.restart();
    assert_eq!(answer(&world.task(&running)), "done");
}

#[test]
fn a_reload_opens_to_pages_of_new_origins_and_closes_to_old_ones() {
    let (old, new) = ("https://old.example", "https://new.example");
    let mut world = World::describe().config(json!({"server": {"allowed_origins": [old]}})).start();
    let allowed = |world: &World| {
        [old, new].map(|origin| {
            let headers = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
            let reply = world.ask("OPTIONS", "/", &headers, b"").whole();
            reply.header("access-control-allow-origin").map(ToOwned::to_owned)
        })
    };
    assert_eq!(allowed(&world), [Some(old.to_owned()), None]);
    world.rewrite(json!({"server": {"allowed_origins": [new]}}));
    assert_eq!(post(&world, OWNER, "/api/v1/reload").0, 200);
    assert_eq!(allowed(&world), [None, Some(new.to_owned())]);
    let called = |origin: &str| {
        let authorization = format!("Bearer {OWNER}");
        world.get("/tasks", &[("Authorization", &authorization), ("Origin", origin)]).status
    };
    assert_eq!([called(old), called(new)], [403, 200]);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_by_a_reload_and_by_a_start() {
    let described = World::describe().file(".env", 0o600, "A=b\n");
    let env_file = described.cwd().join(".env");
    let mut world = described.start();
    std::fs::remove_file(&env_file).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &env_file, kind, mode, 0).unwrap();
    let (status, told) = post(&world, OWNER, "/api/v1/reload");
    assert!(status == 400 && told.to_string().contains("not a regular file"), "{status} {told}");
    world.hang_up();
    let refused = || world.stderr().contains("not a regular file");
    assert!(await_true(PATIENCE, refused), "{}", world.stderr());
    assert_eq!(state(&world.say("say x")), "COMPLETED");
    let failure = world.fails_to_restart();
    assert!(failure.stderr.contains("not a regular file"), "{}", failure.stderr);
}
