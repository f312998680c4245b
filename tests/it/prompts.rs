//! Prompts that are long, odd or look like options.

use crate::reading::{answer, message, state, text_of};
use crate::world::World;
use serde_json::{Value, json};

fn argument(more: Value) -> World {
    World::describe().agent(more).start()
}

fn wrong(params: Value) -> Value {
    World::start().error("SendMessage", params)
}

#[test]
fn a_prompt_like_an_option_is_refused_with_advice() {
    let error = wrong(message("--version"));
    assert_eq!(error["code"], -32602);
    let told = text_of(&error, "message");
    assert!(told.contains("input: stdin") && told.contains("terminator"), "{told}");
}

#[test]
fn a_prompt_like_an_option_works_over_standard_input() {
    let world = argument(json!({"input": "stdin", "args": ["--events", "--stdin"]}));
    assert_eq!(answer(&world.say("--version")), "echo: --version");
}

#[test]
fn a_prompt_like_an_option_works_behind_a_terminator() {
    let world = argument(json!({"terminator": "--"}));
    assert_eq!(answer(&world.say("--version")), "echo: --version");
}

#[test]
fn a_prompt_longer_than_an_argument_is_refused_with_advice() {
    let error = wrong(message(&format!("bytes;{}", "x".repeat(140_000))));
    assert_eq!(error["code"], -32602);
    assert!(text_of(&error, "message").contains("input: stdin"), "{error}");
}

#[test]
fn a_prompt_just_short_enough_for_an_argument_arrives_whole() {
    let world = World::start();
    let text = format!("bytes;{}", "#".repeat(120_000));
    assert!(answer(&world.say(&text)).starts_with("120006"));
}

#[test]
fn a_prompt_of_megabytes_arrives_whole_over_standard_input() {
    let world = argument(json!({"input": "stdin", "args": ["--events", "--stdin"]}));
    let text = format!("bytes;exit 0;{}", "x".repeat(5_000_000));
    assert_eq!(answer(&world.say(&text)), "5000013");
}

#[test]
fn an_agent_that_does_not_read_a_long_prompt_is_no_trouble() {
    let world = argument(
        json!({"program": "/bin/sh", "args": ["-c", "echo done"], "input": "stdin", "format": "text"}),
    );
    let task = world.say(&"x".repeat(2_000_000));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "done\n"));
}

#[test]
fn a_nul_in_an_argument_is_refused_with_advice() {
    let error = wrong(message("say a\u{0}b"));
    assert_eq!(error["code"], -32602);
    assert!(text_of(&error, "message").contains("input: stdin"), "{error}");
}

#[test]
fn a_nul_over_standard_input_arrives() {
    let world = argument(json!({"input": "stdin", "args": ["--events", "--stdin"]}));
    assert_eq!(answer(&world.say("say a\u{0}b")), "a\u{0}b");
}

#[test]
fn text_of_every_script_arrives_and_comes_back() {
    let world = World::start();
    let text = "日本語 עברית 👩‍👩‍👧 \u{202e}é\u{301} \"'\\`$(x)";
    assert_eq!(answer(&world.say(&format!("echo {text}"))), text);
}

#[test]
fn a_file_lies_in_the_workspace_and_the_agent_is_told_where() {
    let world = World::start();
    let bytes =
        json!({"raw": "/wD/AA==", "mediaType": "application/zip", "filename": "../../all.zip"});
    let mut params = message("echo");
    params["message"]["parts"] = json!([{"text": "pwd; echo"}, bytes]);
    let task = world.send(params);
    let answer = answer(&task);
    let (folder, told) = answer.split_once("Attached").expect("it is told");
    let path = format!(".a2a/{}/all.zip", text_of(&task, "id"));
    assert_eq!(told.trim(), format!("file: {path}"));
    let file = std::path::Path::new(folder).join(path);
    assert_eq!(std::fs::read(file).unwrap(), [0xff, 0, 0xff, 0]);
}
