//! Files in results of tools.

use super::{data, delta, described, play, result, writes};
use crate::reading::{artifact, state};
use serde_json::{Value, json};

/// The result of a tool with files of so many bytes of base64.
fn files(sizes: &[usize]) -> Value {
    let file = |size: &usize| {
        let source =
            json!({"type": "base64", "media_type": "image/png", "data": "A".repeat(*size)});
        json!({"type": "image", "source": source})
    };
    let text = json!({"type": "text", "text": "two pictures"});
    let content: Vec<Value> = [text].into_iter().chain(sizes.iter().map(file)).collect();
    json!({"type": "user", "message": {"content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": content}]}})
}

#[test]
fn each_picture_of_a_tool_is_an_artifact_beside_its_text() {
    let lines = [files(&[40, 80]), delta("done"), result(json!({"result": "done"}))];
    let world = described(&[("files", &writes(&lines))]).start();
    let (events, task) = play(&world, "files");
    assert_eq!(data(&events, "tool-result")["output"], "two pictures\n[image]\n[image]");
    for (name, size) in [("t1-1.png", 40), ("t1-2.png", 80)] {
        let part = &artifact(&task, name)["parts"][0];
        assert_eq!(part["raw"], "A".repeat(size));
        assert_eq!((&part["mediaType"], &part["filename"]), (&json!("image/png"), &json!(name)));
    }
}

#[test]
fn pictures_above_the_bound_of_a_turn_are_left_out_and_say_so() {
    let most = 400_000;
    let lines = [files(&[64_000, 64_000]), files(&[most]), result(json!({"result": "done"}))];
    let world = described(&[("files", &writes(&lines))])
        .config(json!({"limits": {"tool_files": "500kB"}}))
        .start();
    let (events, task) = play(&world, "files");
    assert_eq!(state(&task), "COMPLETED");
    let told: Vec<String> = events
        .iter()
        .filter(|event| event.data().is_some_and(|data| data["kind"] == "left-out"))
        .map(crate::http::Event::words)
        .collect();
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert!(told.contains("t1-3.png") && told.contains("`limits.tool_files`"), "{told}");
}

#[test]
fn a_picture_above_the_bound_of_an_event_is_whole_in_its_task() {
    let size = 1_000_000;
    let lines = [files(&[size]), result(json!({"result": "done"}))];
    let world = described(&[("files", &writes(&lines))]).start();
    let (_, task) = play(&world, "files");
    let parts = artifact(&task, "t1-1.png")["parts"].as_array().unwrap();
    let [part] = &parts[..] else { panic!("{} parts", parts.len()) };
    let named = (&part["mediaType"], &part["filename"]);
    assert_eq!(named, (&json!("image/png"), &json!("t1-1.png")));
    assert!(part["raw"] == "A".repeat(size));
}
