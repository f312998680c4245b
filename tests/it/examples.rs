//! The examples, each as it stands: its configuration, its agent, and the conversation that its page shows.

use crate::building::Builder;
use crate::reading::{answer, message, message_to, state, text_of, words};
use crate::world::{OWNER, World};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn folder(example: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example)
}

/// A server in a copy of an example's folder, so that nothing is written into the project.
fn start(example: &str, agent: &str) -> World {
    let read = |name: &str| fs::read_to_string(folder(example).join(name)).unwrap();
    let described: Builder = World::describe();
    let (state, work) = (described.path("state"), described.path("work"));
    described
        .file(agent, 0o755, &read(agent))
        .config_text(&read("pilothouse.yaml"))
        .args(["--port", "0"])
        .args(["--state-dir", state.to_str().unwrap()])
        .args(["--workspace", work.to_str().unwrap()])
        .env("API_TOKEN", OWNER)
        .start()
}

/// Asks, and answers with `reply`: what was asked, and the task at its end.
fn conversation(world: &World, first: &str, reply: &str) -> (String, Value) {
    let asked = world.send(message(first));
    assert_eq!(state(&asked), "INPUT_REQUIRED", "{asked:#}");
    let done = world.send(message_to(text_of(&asked, "id"), reply));
    (words(&asked), done)
}

#[test]
fn the_one_in_python_uses_the_answer() {
    let world = start("ask-python", "agent.py");
    let (question, done) = conversation(&world, "a boat", "green");
    assert_eq!((question.as_str(), state(&done)), ("Which colour?", "COMPLETED"));
    assert_eq!(answer(&done), "a boat, painted green.");
}

#[test]
fn the_one_in_shell_uses_the_answer() {
    let world = start("ask-shell", "agent.sh");
    for (reply, greeting) in [("de", "Guten Tag."), ("en", "Good day.")] {
        let (question, done) = conversation(&world, "hello", reply);
        assert_eq!((question.as_str(), state(&done)), ("In which language?", "COMPLETED"));
        assert_eq!(answer(&done), greeting);
    }
}

#[test]
fn their_pages_show_what_they_say() {
    for (example, said) in [("ask-python", "a boat, painted green."), ("ask-shell", "Guten Tag.")] {
        let page = fs::read_to_string(folder(example).join("README.md")).unwrap();
        assert!(page.contains(&format!("\n{said}\n")), "{page}");
        assert!(page.contains("pilothouse answer"), "{page}");
    }
}
