//! Gemini CLI: what it does beside the rest.

use super::setups::GEMINI;
use super::{PATIENCE, completed, files, workspace};
use crate::processes::await_some;
use crate::reading::{message_in, state};
use fake_model::Model;
use serde_json::json;
use std::path::Path;

super::of!(GEMINI, works_behind_both_walls);

#[test]
fn the_operator_s_policy_answers_without_a_person() {
    let model = Model::start();
    for (policy, runs) in [("allow", true), ("deny", false)] {
        let asks = json!({"agents": {"gemini": {"asks": policy}}});
        let world = GEMINI.with(&model).config(asks).start();
        let task = world.send(message_in("c", GEMINI.asks.1));
        assert_ne!(state(&task), "INPUT_REQUIRED", "{task:#}");
        assert_eq!(workspace(&world, "c").join("ran").exists(), runs, "{policy}");
    }
}

#[test]
fn a_side_question_of_the_cli_is_answered_in_its_shape() {
    let model = Model::start();
    // The model `auto` asks a small one first which of them is to answer.
    let world =
        GEMINI.with(&model).config(json!({"agents": {"gemini": {"model": "auto"}}})).start();
    assert_eq!(completed(&world.say("say hello")), "hello");
    let asked = await_some("the requests", PATIENCE, || {
        let seen = model.requests();
        (seen.len() > 1).then_some(seen)
    });
    assert!(asked[0].tools == 0 && asked[0].reply.contains('{'), "{asked:#?}");
}

/// Names the CLI's transcripts after another minute. In the minute in which a conversation began it
/// cannot be loaded: the new process begins a transcript of the same name. Nobody waits for the next
/// minute here.
pub(super) fn half_an_hour_apart(folder: &Path) {
    let mut found = Vec::new();
    files(folder, &mut found);
    found.retain(|file| file.parent().unwrap().ends_with("chats"));
    assert!(!found.is_empty(), "there are transcripts below the state folder");
    for file in found {
        // session-2030-01-31T23-59-0123abcd.jsonl
        let mut words: Vec<String> =
            file.file_name().unwrap().to_str().unwrap().split('-').map(ToOwned::to_owned).collect();
        let minute: u32 = words[4].parse().unwrap();
        words[4] = format!("{:02}", (minute + 30) % 60);
        std::fs::rename(&file, file.with_file_name(words.join("-"))).unwrap();
    }
}
