//! Foreign clients: the official SDKs of A2A against the real binary, over every binding that they have.
//!
//! Each client is a program of `tests/foreign` that does what a user of its library does and prints a
//! JSON line for each fact that it saw. It runs once for each binding; a test looks at one line.

use crate::certificates::Authority;
use crate::world::{OWNER, World};
use serde_json::{Map, Value, json};
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

/// The longest silence of a client: it limits each of its facts itself, to 20 seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// A client must find its way without these.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "grpc_proxy"];

/// A foreign client.
#[derive(Clone, Copy)]
enum Client {
    /// The client of `a2a-sdk`: its folder's name ends so, and its program.
    Python(&'static str, &'static str),
    /// The client of `@a2a-js/sdk`.
    JavaScript(&'static str),
    /// The official Rust client.
    Rust,
}

/// A client over a binding: what it saw, or why it saw nothing.
struct Run {
    client: Client,
    binding: &'static str,
    /// Whether it speaks TLS, with an authority that its runtime is told of.
    is_secure: bool,
    seen: OnceLock<Result<Seen, String>>,
}

/// Facts by name, and what the client wrote to standard error.
struct Seen {
    facts: Map<String, Value>,
    stderr: String,
}

impl Client {
    fn command(self) -> Command {
        let tools = env::var_os("PILOTHOUSE_TEST_FOREIGN").map(PathBuf::from);
        let tools = tools.expect(
            "PILOTHOUSE_TEST_FOREIGN names no folder with the foreign clients; \
             `make test` installs them and sets it, `make test-fast` does without",
        );
        match self {
            Self::Python(version, program) => {
                let python = tools.join(format!("foreign-python-{version}/venv/bin/python"));
                let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/python/");
                let mut command = Command::new(python);
                command.arg(format!("{ours}{program}"));
                command
            }
            Self::JavaScript(version) => {
                let mut command = Command::new("node");
                command.arg(tools.join(format!("foreign-js-{version}/client.mjs")));
                command
            }
            Self::Rust => Command::new(tools.join("foreign-rust/foreign-rust")),
        }
    }
}

impl Run {
    const fn of(client: Client, binding: &'static str) -> Self {
        Self { client, binding, is_secure: false, seen: OnceLock::new() }
    }

    /// What the client saw of one fact; the first who asks lets it run.
    fn fact(&self, name: &str) -> &Value {
        let seen = match self.seen.get_or_init(|| self.run()) {
            Ok(seen) => seen,
            Err(why) => panic!("{why}"),
        };
        let fact = seen.facts.get(name);
        let fact = fact.unwrap_or_else(|| {
            panic!("the client told nothing of `{name}`; it says:\n{}", seen.stderr)
        });
        if let Some(why) = fact.get("failed") {
            panic!("`{name}` failed in the client: {why}\n{}", seen.stderr);
        }
        fact
    }

    fn run(&self) -> Result<Seen, String> {
        let mut command = self.client.command();
        for name in PROXIES {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        let mut described = World::describe().config(json!({
            "push": {"allow": ["127.0.0.1"]},
            "card": {"bindings": ["JSONRPC", "HTTP+JSON", "GRPC"]},
        }));
        let mut scheme = "http";
        if self.is_secure {
            let authority = Authority::new("of the test");
            described = described.tls(&authority.server()).file("ca.pem", 0o644, &authority.pem());
            let ca = described.cwd().join("ca.pem");
            command.env("SSL_CERT_FILE", &ca).env("NODE_EXTRA_CA_CERTS", &ca);
            scheme = "https";
        }
        let world = described.start();
        let log = world.path("client");
        let mut client = command
            .arg(self.binding)
            .arg(format!("{scheme}://{}", world.address()))
            .arg(OWNER)
            .current_dir(world.path("cwd"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .map_err(|error| format!("could not start {command:?}: {error}"))?;
        let output = BufReader::new(client.stdout.take().expect("it is piped"));
        let (tell, told) = channel();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut facts = Map::new();
        while let Ok(line) = told.recv_timeout(SILENCE) {
            let Ok(mut line) = serde_json::from_str::<Value>(&line) else {
                continue; // a library's own words
            };
            if let Some(cue) = line["cue"].as_str() {
                world.cue(cue);
            } else if let Some(fact) = line["fact"].as_str().map(ToOwned::to_owned) {
                facts.insert(fact, line.take());
            }
        }
        // After its last line it has ended or is silent; either way nothing more is wanted of it.
        let _ = client.kill();
        client.wait().unwrap();
        reader.join().unwrap();
        let stderr = fs::read_to_string(log).unwrap_or_default();
        Ok(Seen { facts, stderr })
    }
}

fn reads_the_card(run: &Run) {
    let card = run.fact("card");
    assert_eq!((&card["name"], &card["streaming"]), (&json!("fake"), &json!(true)));
    let urls = card["urls"].as_array().unwrap();
    assert!(!urls.is_empty(), "the card offers no {}", run.binding);
    let plain = run.binding == "GRPC";
    for url in urls {
        let url = url.as_str().unwrap();
        assert_eq!(plain, !url.contains("://"), "{} at {url}", run.binding);
    }
}

fn waits_for_the_answer(run: &Run) {
    let sent = run.fact("send");
    let seen = (&sent["state"], &sent["answer"]);
    assert_eq!(seen, (&json!("completed"), &json!("good morning")));
}

/// The agent says `two` only after the client has shown `one`.
fn streams_an_answer_while_it_is_made(run: &Run) {
    let stream = run.fact("stream");
    let events = stream["events"].as_array().unwrap();
    assert_eq!(events.first(), Some(&json!("task submitted")), "{events:?}");
    assert_eq!(events.last(), Some(&json!("status completed")), "{events:?}");
    let is_piece =
        |event: &&Value| event.as_str().is_some_and(|words| words.starts_with("artifact"));
    assert!(events.iter().filter(is_piece).count() >= 2, "{events:?}");
    assert_eq!(stream["answer"], "onetwo");
}

/// The client had left the first stream; the agent goes on only after it has come back.
fn joins_a_running_task_in_the_middle(run: &Run) {
    let stream = run.fact("subscribe");
    let events = stream["events"].as_array().unwrap();
    assert_eq!(events.first(), Some(&json!("task working")), "{events:?}");
    assert_eq!(events.last(), Some(&json!("status completed")), "{events:?}");
    assert_eq!(stream["answer"], "beforeafter");
}

fn cancels_a_task_that_it_did_not_wait_for(run: &Run) {
    let canceled = run.fact("cancel");
    let before = canceled["before"].as_str().unwrap();
    assert!(["submitted", "working"].contains(&before), "{before}");
    assert_eq!(canceled["state"], "canceled");
}

fn gets_a_task_as_it_was_answered(run: &Run) {
    let (sent, got) = (run.fact("send"), run.fact("get"));
    for key in ["task", "state", "answer"] {
        assert_eq!(sent[key], got[key], "{key}");
    }
}

fn lists_its_tasks(run: &Run) {
    let listed = run.fact("list")["tasks"].as_array().unwrap();
    assert!(listed.contains(&run.fact("send")["task"]), "{listed:?}");
    assert_eq!(listed.len(), 4, "one each of send, stream, subscribe, cancel");
}

fn keeps_a_push_config(run: &Run) {
    let read = run.fact("push");
    assert_eq!(read["id"], "hook");
    assert_eq!(read["task"], run.fact("send")["task"]);
    assert_eq!(read["url"], "http://127.0.0.1:9/a2a");
}

fn knows_that_a_task_is_not_there(run: &Run, expected: &Value) {
    let mut seen = run.fact("unknown").clone();
    seen.as_object_mut().unwrap().remove("fact");
    assert_eq!(&seen, expected);
}

/// The tests of one client over one binding, with what an unknown task looks like in it.
macro_rules! over {
    ($name:ident, $client:expr, $binding:literal, $unknown:tt $(, $more:ident)*) => {
        over!(@ $name, $client, $binding, $unknown, [
            reads_the_card,
            waits_for_the_answer,
            streams_an_answer_while_it_is_made,
            joins_a_running_task_in_the_middle,
            cancels_a_task_that_it_did_not_wait_for,
            gets_a_task_as_it_was_answered,
            keeps_a_push_config
            $(, $more)*
        ]);
    };
    (@ $name:ident, $client:expr, $binding:literal, $unknown:tt, [$($fact:ident),+]) => {
        mod $name {
            use super::{Client, Run};

            static RUN: Run = Run::of($client, $binding);

            $(
                #[test]
                fn $fact() {
                    super::$fact(&RUN);
                }
            )+

            #[test]
            fn knows_that_a_task_is_not_there() {
                super::knows_that_a_task_is_not_there(&RUN, &serde_json::json!($unknown));
            }
        }
    };
}

over!(python_1_3_over_json_rpc, Client::Python("1", "client_1.py"), "JSONRPC",
    {"error": "TaskNotFoundError"}, lists_its_tasks);
over!(python_1_3_over_http_json, Client::Python("1", "client_1.py"), "HTTP+JSON",
    {"error": "TaskNotFoundError"}, lists_its_tasks);
over!(python_1_3_over_grpc, Client::Python("1", "client_1.py"), "GRPC",
    {"error": "TaskNotFoundError"}, lists_its_tasks);

over!(python_0_3_over_json_rpc, Client::Python("0_3", "client_0_3.py"), "JSONRPC",
    {"error": "A2AClientJSONRPCError", "code": -32001});
over!(python_0_3_over_http_json, Client::Python("0_3", "client_0_3.py"), "HTTP+JSON",
    {"error": "A2AClientHTTPError", "code": 404});
over!(python_0_3_over_grpc, Client::Python("0_3", "client_0_3.py"), "GRPC",
    {"error": "NOT_FOUND"});

over!(javascript_1_3_over_json_rpc, Client::JavaScript("v1"), "JSONRPC",
    {"error": "TaskNotFoundError"}, lists_its_tasks);
over!(javascript_1_3_over_http_json, Client::JavaScript("v1"), "HTTP+JSON",
    {"error": "TaskNotFoundError"}, lists_its_tasks);
over!(javascript_1_3_over_grpc, Client::JavaScript("v1"), "GRPC",
    {"error": "TaskNotFoundError"}, lists_its_tasks);

over!(javascript_0_3_over_json_rpc, Client::JavaScript("v0.3"), "JSONRPC",
    {"error": "TaskNotFoundJSONRPCError"});
over!(javascript_0_3_over_http_json, Client::JavaScript("v0.3"), "HTTP+JSON",
    {"error": "TaskNotFoundError"});
over!(javascript_0_3_over_grpc, Client::JavaScript("v0.3"), "GRPC",
    {"error": "TaskNotFoundError"});

over!(rust_over_json_rpc, Client::Rust, "JSONRPC", {"error": -32001}, lists_its_tasks);
over!(rust_over_http_json, Client::Rust, "HTTP+JSON", {"error": -32001}, lists_its_tasks);
over!(rust_over_grpc, Client::Rust, "GRPC", {"error": -32001}, lists_its_tasks);

#[test]
fn two_official_sdks_talk_to_the_server_over_tls() {
    for client in [Client::Python("1", "client_1.py"), Client::JavaScript("v1")] {
        let run = Run { is_secure: true, ..Run::of(client, "JSONRPC") };
        reads_the_card(&run);
        waits_for_the_answer(&run);
        streams_an_answer_while_it_is_made(&run);
    }
}
