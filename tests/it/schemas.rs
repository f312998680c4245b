//! Answers that fit a JSON schema, or a task that fails and says where not.

use crate::cli_asks::{pilothouse, url};
use crate::reading::{answer, artifact, message, state, words};
use crate::world::World;
use serde_json::{Value, json};

fn schema() -> Value {
    json!({"type": "object", "required": ["size"], "properties": {"size": {"type": "integer"}}})
}

/// An agent that answers with these words, and when it is asked again, with those.
fn answering(first: &str, again: &str) -> World {
    let script = format!(
        "if [ -e asked ]; then printf '%s' '{again}'; else touch asked; printf '%s' '{first}'; fi"
    );
    let agent = json!({
        "program": "/bin/sh", "args": ["-c", script], "input": "stdin", "format": "text",
    });
    World::describe().agent(agent).start()
}

fn ask(world: &World, schema: &Value) -> Value {
    let mut params = message("How large?");
    params["message"]["metadata"] = json!({"schema": schema});
    world.send(params)
}

#[test]
fn an_answer_that_fits_is_a_data_artifact_and_the_answer_stays_as_it_was_said() {
    let world = answering("It is {\"size\": 3}.", "x");
    let task = ask(&world, &schema());
    assert_eq!(state(&task), "COMPLETED", "{task}");
    assert_eq!(artifact(&task, "structured-output")["parts"][0]["data"], json!({"size": 3}));
    assert_eq!(answer(&task), "It is {\"size\": 3}.");
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_once_more_and_then_fails_the_task() {
    let mended = ask(&answering("{\"size\": \"large\"}", "{\"size\": 4}"), &schema());
    assert_eq!(state(&mended), "COMPLETED", "{mended}");
    assert_eq!(artifact(&mended, "structured-output")["parts"][0]["data"], json!({"size": 4}));
    assert_eq!(answer(&mended), "{\"size\": 4}");
    let failed = ask(&answering("large", "{\"size\": 4.5}"), &schema());
    assert_eq!(state(&failed), "FAILED");
    let said = words(&failed);
    assert!(said.contains("`/size` must be of type integer"), "{said}");
}

#[test]
fn a_schema_that_is_not_understood_is_refused_before_anything_is_done() {
    let world = World::start();
    let mut params = message("say x");
    for (wrong, word) in [(json!({"pattern": "x"}), "/pattern"), (json!("object"), "no schema")] {
        params["message"]["metadata"] = json!({"schema": wrong});
        let error = world.error("SendMessage", params.clone());
        assert_eq!(error["code"], -32602);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_command_line_sends_a_schema_from_a_file() {
    let world = answering("{\"size\": 1}", "x");
    let file = world.path("schema.json");
    std::fs::write(&file, schema().to_string()).unwrap();
    let out = world.path("out");
    let args = ["send", "--schema", file.to_str().unwrap(), "--out", out.to_str().unwrap(), "x"];
    let sent = pilothouse(&url(world.address()), &args);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    let written = std::fs::read_to_string(out.join("structured-output.json")).unwrap();
    assert_eq!(written, "{\"size\":1}");
    assert_eq!(std::fs::read_to_string(out.join("answer.txt")).unwrap(), "{\"size\": 1}");
}
