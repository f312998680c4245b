//! Real agents of the Agent Client Protocol, Gemini CLI and Codex, against a scripted model.
//!
//! What both do is a fact of this file, tested once for each; what only one does stands in its own.

mod codex;
mod gemini;
mod setups;
mod table;

use crate::building::{Builder, fake_agent};
use crate::http::Event;
use crate::processes::{Process, await_some};
use crate::reading::{answer, message, message_in, state, text_of, words};
use crate::world::{OWNER, World};
use fake_model::Model;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that a real agent takes, on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// A real agent, and how it is set up.
struct Agent {
    /// Its preset.
    preset: &'static str,
    /// Its program, as npm installs it.
    program: &'static str,
    /// What stands in the command line of its process, and of no other of the session's.
    process: &'static str,
    /// Variables; `{url}` is the model's, `{key}` the test's.
    env: &'static [(&'static str, &'static str)],
    /// Settings below HOME, in the same way.
    files: &'static [(&'static str, &'static str)],
    /// The mode in which its own sandbox is off, where it has one.
    unattended: Option<&'static str>,
    /// The mode in which it asks before it does this step, which leaves a line in the file `ran`.
    asks: (Option<&'static str>, &'static str),
}

impl Agent {
    /// A world whose agent this is, talking to this model.
    fn with(&self, model: &Model) -> Builder {
        self.with_key(model, "key-of-a-test")
    }

    /// The same, with this key.
    fn with_key(&self, model: &Model, key: &str) -> Builder {
        let folder = tools();
        let program = format!("agents-{}/node_modules/.bin/{}", self.preset, self.program);
        let program = folder.join(program);
        assert!(program.exists(), "{} is missing: {HELP}", program.display());
        // Codex keeps no helper of its sandbox below the folder for temporary files.
        let builder = World::describe_in(Path::new(env!("CARGO_TARGET_TMPDIR")));
        let marker = builder.marker().split_once('=').unwrap().1.to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        let own_node = folder.join("agents-node/node_modules/.bin");
        let filled = |text: &str| text.replace("{url}", &model.url).replace("{key}", key);
        let files = self.files.iter().map(|(file, text)| {
            let text = filled(text);
            format!(
                "mkdir -p \"$(dirname \"$HOME/{file}\")\"\n\
                 cat > \"$HOME/{file}\" <<'END'\n{text}\nEND\n"
            )
        });
        let script = format!("#!/bin/sh\nset -e\n{}", files.collect::<String>());
        let builder = builder
            .file(".init-session.sh", 0o755, &script)
            .config(json!({
                "agent": self.preset,
                "timeouts": {"interrupt": "5s", "terminate": "5s"},
                "agents": {"fake": null, self.preset: {
                    "preset": self.preset,
                    "program": program,
                    "asks": "ask",
                    "env": {"set": {
                        "PILOTHOUSE_TEST_WORLD": marker,
                        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                    }},
                }},
            }))
            // Where the machine's own Node is too old, one stands beside the agents.
            .env("PATH", &format!("{}:{path}", own_node.display()))
            .patience(PATIENCE);
        let variables = self.env.iter();
        variables.fold(builder, |builder, (name, text)| builder.env(name, &filled(text)))
    }

    /// The same, in the mode in which it asks before it does its step.
    fn asking(&self, model: &Model) -> Builder {
        let builder = self.with(model);
        match self.asks.0 {
            Some(mode) => builder.config(json!({"agents": {self.preset: {"mode": mode}}})),
            None => builder,
        }
    }

    /// The agent's own process.
    fn process(&self, world: &World) -> Vec<Process> {
        let mut found = world.agents();
        found.retain(|process| process.command.contains(self.process));
        found.sort_by_key(|process| process.pid);
        found
    }
}

const HELP: &str = "PILOTHOUSE_TEST_AGENTS names the folder with the agents to test with; \
    run `make test` or `make test-agents`, which install them, or `make test-fast`, which leaves these tests out";

/// Where the agents are installed; a test without them has failed.
fn tools() -> PathBuf {
    let folder = std::env::var_os("PILOTHOUSE_TEST_AGENTS");
    PathBuf::from(folder.unwrap_or_else(|| panic!("PILOTHOUSE_TEST_AGENTS is not set: {HELP}")))
}

/// The folder of the session of a context.
fn workspace(world: &World, context: &str) -> PathBuf {
    let path = format!("/api/v1/sessions/{context}");
    let owner = format!("Bearer {OWNER}");
    let session = world.get(&path, &[("Authorization", &owner)]).json();
    PathBuf::from(text_of(&session, "workspace"))
}

/// What the script answered, of a task that is completed.
fn completed(task: &Value) -> String {
    assert_eq!(state(task), "COMPLETED", "{task:#}");
    answer(task)
}

/// Answers what a task asks: the task when it is over or asks again.
fn decide(world: &World, task: &Value, decision: &str) -> Value {
    let mut params = message(decision);
    params["message"]["taskId"] = task["id"].clone();
    world.send(params)
}

/// Sends a script that ends up asking: the task that waits.
fn asks(world: &World, context: &str, script: &str) -> Value {
    let task = world.send(message_in(context, script));
    assert_eq!(state(&task), "INPUT_REQUIRED", "{task:#}");
    task
}

/// Begins a turn that waits in the middle of its answer.
fn begin_waiting(world: &World, model: &Model) -> String {
    let id = world.begin_with(message_in("kept", "cue never"));
    assert!(model.wait(fake_model::Event::Cue, 1, PATIENCE));
    world.await_task(&id, "the first words", |task| answer(task).contains("waiting"));
    id
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

// === what each of them does ===

fn answers_a_text(agent: &Agent) {
    let model = Model::start();
    let world = agent.with(&model).start();
    assert_eq!(completed(&world.say("say hello from the model")), "hello from the model");
}

fn streams_text_as_the_model_writes_it(agent: &Agent) {
    let model = Model::start();
    let world = agent.with(&model).start();
    let mut events = world.stream("SendStreamingMessage", message("cue go"));
    events.until("the first words", |event| {
        event.kind() == "artifactUpdate" && event.words().contains("waiting")
    });
    model.release("go");
    let rest = events.rest();
    assert_eq!(rest.last().unwrap().state(), Some("COMPLETED"));
    let task = world.task(rest[0].task_id());
    assert_eq!(completed(&task), "waiting released");
}

fn takes_a_slash_as_ordinary_text(agent: &Agent) {
    let model = Model::start();
    let world = agent.with(&model).start();
    let told = completed(&world.say("/help me"));
    assert!(told.starts_with("ok: ") && told.ends_with("/help me"), "{told}");
}

fn answers_a_second_turn_in_the_same_process(agent: &Agent) {
    let model = Model::start();
    let world = agent.with(&model).start();
    world.send(message_in("warm", "say remember the ship"));
    let first = agent.process(&world);
    let told = completed(&world.send(message_in("warm", "history")));
    assert!(told.contains("turns=2") && told.contains("remember the ship"), "{told}");
    assert!(!first.is_empty(), "no process of {}: {:#?}", agent.preset, world.agents());
    assert_eq!(agent.process(&world), first);
}

fn is_canceled_in_the_middle_and_goes_on_in_the_same_process(agent: &Agent) {
    let model = Model::start();
    let world = agent.with(&model).start();
    let id = begin_waiting(&world, &model);
    let process = agent.process(&world);
    let task = world.rpc("CancelTask", json!({"id": id}));
    assert_eq!((state(&task), answer(&task).trim()), ("CANCELED", "waiting"));
    assert!(model.wait(fake_model::Event::ClientClosed, 1, PATIENCE));
    let task = world.send(message_in("kept", "say still here"));
    assert_eq!(completed(&task), "still here");
    assert_eq!(agent.process(&world), process);
}

fn asks_and_runs_the_tool_once_it_is_allowed(agent: &Agent) {
    let model = Model::start();
    let world = agent.asking(&model).start();
    let task = asks(&world, "c", &format!("{}\nsay the end", agent.asks.1));
    assert!(words(&task).contains("echo yes >> ran"), "{}", words(&task));
    let ran = workspace(&world, "c").join("ran");
    assert!(!ran.exists());
    let told = completed(&decide(&world, &task, "allow"));
    assert!(told.ends_with("the end"), "{told}");
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "yes\n");
}

fn asks_and_does_not_run_a_tool_that_is_denied(agent: &Agent) {
    let model = Model::start();
    let world = agent.asking(&model).start();
    let task = asks(&world, "c", agent.asks.1);
    let task = decide(&world, &task, "deny");
    assert_ne!(state(&task), "INPUT_REQUIRED", "{task:#}");
    assert!(!workspace(&world, "c").join("ran").exists());
}

fn is_canceled_while_it_asks_and_goes_on_in_the_same_process(agent: &Agent) {
    let model = Model::start();
    let world = agent.asking(&model).start();
    let task = asks(&world, "c", agent.asks.1);
    let process = agent.process(&world);
    let task = world.rpc("CancelTask", json!({"id": task["id"]}));
    assert_eq!(state(&task), "CANCELED");
    assert_eq!(completed(&world.send(message_in("c", "say after"))), "after");
    assert_eq!(agent.process(&world), process);
    assert!(!workspace(&world, "c").join("ran").exists());
}

fn fails_the_task_with_a_hint_when_it_is_killed_in_the_middle(agent: &Agent) {
    let model = Model::start();
    let world = agent.with(&model).start();
    let id = begin_waiting(&world, &model);
    agent.process(&world).iter().for_each(Process::kill);
    let task = world.await_state(&id, &["COMPLETED", "FAILED", "CANCELED"]);
    let told = words(&task);
    assert_eq!(state(&task), "FAILED", "{task:#}");
    assert!(told.contains("ended by SIGKILL") && told.contains("check the memory limit"), "{told}");
    world.await_no_agents();
}

fn goes_on_after_it_was_killed(agent: &Agent) {
    let model = Model::start();
    let world = agent.with(&model).start();
    world.send(message_in("kept", "say remember the ship"));
    agent.process(&world).iter().for_each(Process::kill);
    let live = || world.readiness()["processes"]["live"].clone();
    await_some("the notice of its end", PATIENCE, || (live() == 0).then_some(()));
    assert_eq!(completed(&world.send(message_in("kept", "say back"))), "back");
}

fn says_what_to_do_when_the_model_refuses_the_key(agent: &Agent) {
    let model = Model::start();
    let world = agent.with_key(&model, "a-bad-key").start();
    let task = world.say("say hello");
    assert_eq!(state(&task), "FAILED", "{task:#}");
    let told = words(&task);
    assert!(told.contains("_KEY"), "{told}");
}

fn goes_on_with_its_conversation_after_a_restart_of_the_server(agent: &Agent) {
    let model = Model::start();
    let mut world = agent.with(&model).start();
    world.send(message_in("kept", "say remember the ship"));
    world.stop();
    if agent.preset == "gemini" {
        gemini::half_an_hour_apart(&world.path("state"));
    }
    world.restart();
    let told = completed(&world.send(message_in("kept", "history")));
    assert!(told.contains("remember the ship"), "{told}");
}

/// After a restart of the server the conversation goes on, or the task says that it does not.
fn loses_no_conversation_in_silence(agent: &Agent) {
    let model = Model::start();
    let mut world = agent.with(&model).start();
    world.send(message_in("kept", "say remember the ship"));
    world.restart();
    let events = world.stream("SendStreamingMessage", message_in("kept", "history")).rest();
    let mut data = events.iter().filter_map(Event::data);
    let lost = data.any(|data| data["kind"] == "conversation-lost");
    let told = completed(&world.task(events[0].task_id()));
    assert_eq!(told.contains("remember the ship"), !lost, "{told}");
}

/// Instructions reach the model, and a tool of a declared MCP server is called.
fn is_set_up_as_it_is_declared(agent: &Agent) {
    let model = Model::start();
    let bank = json!({"command": fake_agent(), "args": ["--mcp", "well"]});
    let setup = json!({"instructions": "Words of the operator: MARKER-OF-RULES", "mcp": {"bank": bank},
        "skills": ["skills"]});
    let asks = json!({"setup": setup, "asks": "allow"});
    let builder = agent.with(&model);
    std::fs::create_dir_all(builder.cwd().join("skills/shelve")).unwrap();
    let skill = "---\nname: shelve\ndescription: Shelves MARKER-OF-SKILL\n---\nShelve it.\n";
    let world = builder
        .file("skills/shelve/SKILL.md", 0o644, skill)
        .config(json!({"agents": {agent.preset: asks}}))
        .start();
    let task = world.send(message_in("c", "say hello"));
    assert_eq!(completed(&task), "hello");
    // Some ask for a title, too.
    let seen: String = model.requests().into_iter().map(|request| request.body).collect();
    assert!(seen.contains("MARKER-OF-RULES"), "no instructions: {seen}");
    assert!(seen.contains("MARKER-OF-SKILL"), "no skill is offered: {seen}");
    match agent.preset {
        // It shows the tools of servers where its model looks for them.
        "qwen" => {
            let looking = r#"tool tool_search {"query": "select:mcp__bank__elicit"}"#;
            let told = completed(&world.send(message_in("c", looking)));
            assert!(told.contains("mcp__bank__elicit"), "no tool of the server is found: {told}");
        }
        // Without a sign-in it starts no server.
        "copilot" => assert!(!seen.contains("elicit"), "docs/setup.md says otherwise: {seen}"),
        _ => assert!(seen.contains("elicit"), "no tool of the server is offered: {seen}"),
    }
    let declared = task["metadata"]["setup"]["declared"].as_array().unwrap();
    assert!(declared.iter().all(|item| item["level"] == "delivered"), "{declared:?}");
    assert_eq!(declared.len(), 3);
}

/// Behind both walls, with its key outside and the model reached through the proxy alone.
fn works_behind_both_walls(agent: &Agent) {
    let require = [
        "env",
        "fs.read",
        "fs.write",
        "peer-sessions",
        "server-memory",
        "net.egress",
        "net.loopback",
        "unix-sockets",
        "kill-tree",
    ];
    for wall in ["bubblewrap", "landlock"] {
        let terminals: &[&str] = match wall {
            "landlock" => &["/dev/ptmx", "/dev/pts"],
            _ => &[],
        };
        let model = Model::start();
        let world = agent
            .with(&model)
            // Gemini CLI runs commands in a terminal.
            .config(json!({"isolation": {"backend": wall, "require": require, "write": terminals}}))
            .config(json!({"agents": {agent.preset: {"asks": "allow", "mode": agent.unattended}}}))
            .start();
        world.send(message_in("kept", "say remember the ship"));
        let told = completed(&world.send(message_in("kept", "bash: env; echo told > told")));
        assert!(!told.contains("key-of-a-test"), "{wall}: {told}");
        assert!(workspace(&world, "kept").join("told").exists(), "{wall}: {told}");
        let told = completed(&world.send(message_in("kept", "history")));
        assert!(told.contains("remember the ship"), "{wall}: {told}");
        // The model tells the end of the key that reached it.
        let keys: Vec<_> = model.requests().into_iter().map(|seen| seen.key).collect();
        assert!(keys.iter().all(|key| key == "test"), "{wall}: {keys:?}");
    }
}

/// Tests of one agent: what all do, and more of its own.
macro_rules! of {
    ($agent:expr $(, $more:ident)*) => {
        $crate::acp_real::of!(@ $agent, [
            answers_a_text,
            streams_text_as_the_model_writes_it,
            takes_a_slash_as_ordinary_text,
            answers_a_second_turn_in_the_same_process,
            is_canceled_in_the_middle_and_goes_on_in_the_same_process,
            asks_and_runs_the_tool_once_it_is_allowed,
            asks_and_does_not_run_a_tool_that_is_denied,
            is_canceled_while_it_asks_and_goes_on_in_the_same_process,
            fails_the_task_with_a_hint_when_it_is_killed_in_the_middle,
            goes_on_after_it_was_killed,
            says_what_to_do_when_the_model_refuses_the_key,
            goes_on_with_its_conversation_after_a_restart_of_the_server,
            loses_no_conversation_in_silence,
            is_set_up_as_it_is_declared
            $(, $more)*
        ]);
    };
    (@ $agent:expr, [$($fact:ident),+]) => {
        $(
            #[test]
            fn $fact() {
                $crate::acp_real::$fact(&$agent);
            }
        )+
    };
}
use of;
