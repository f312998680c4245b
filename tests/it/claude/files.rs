//! Lines of Claude Code that are hard to read: files that it repeats whole in one line, and broken text.

use super::{claude, with_bash};
use crate::reading::{answer, artifact, state};
use crate::sizes::peak;
use fake_model::Model;

/// Makes a file of JSON of 20 MB.
const MAKE_JSON: &str = r#"bash: { echo '{"version": 1,'; yes '"a line of the file": "that is only there to make it long",' | head -n 340000; echo '"end": 1}'; } > a.json"#;

/// Makes a document of 19 MB: a page, and a comment that fills it.
const MAKE_PDF: &str = r"bash: { printf '%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\n%%'; head -c 19000000 /dev/zero | tr '\0' x; printf '\ntrailer<</Root 1 0 R>>\n%%%%EOF\n'; } > a.pdf";

#[test]
fn a_file_of_20_mb_is_edited_and_a_document_of_19_mb_is_read_in_a_turn_that_completes() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let read = r#"tool Read {"file_path": "a.json", "limit": 2}"#;
    let edit = r#"tool Edit {"file_path": "a.json", "old_string": "\"version\": 1", "new_string": "\"version\": 2"}"#;
    let changed = "bash: head -n 1 a.json";
    let script = [MAKE_JSON, read, edit, changed, MAKE_PDF, "read a.pdf", "say the end"].join("\n");
    let task = world.say(&script);
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    assert!(answer(&task).ends_with("the end"), "{}", answer(&task));
    let most = peak(&world);
    assert!(most < 100 << 20, "the server took {most} bytes");
}

#[test]
fn half_a_surrogate_pair_that_the_model_says_costs_no_word() {
    let model = Model::start();
    let world = claude(&model).start();
    let task = world.say(r"say before\ud83d and what comes after it");
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    assert_eq!(answer(&task), "before\u{fffd} and what comes after it");
}

#[test]
fn a_picture_that_a_tool_gives_is_an_artifact() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let make = format!("bash: echo {picture} | base64 -d > a.png");
    let task = world.say(&[make.as_str(), "read a.png", "say the end"].join("\n"));
    let artifacts = task["artifacts"].as_array().unwrap();
    let names = artifacts.iter().filter_map(|artifact| artifact["name"].as_str());
    let name = names.into_iter().find(|name| name.ends_with("-1.png")).unwrap();
    let part = &artifact(&task, name)["parts"][0];
    assert_eq!((&part["mediaType"], &part["filename"]), (&"image/png".into(), &name.into()));
    assert!(part["raw"].as_str().unwrap().starts_with("iVBORw0KGgo"), "{part}");
}

#[test]
fn what_the_cli_has_written_is_listed_and_comes_as_a_patch() {
    let model = Model::start();
    let world = with_bash(&model).start();
    let task = world.say("bash: echo words > note.txt\nsay the end");
    let artifacts = task["artifacts"].as_array().unwrap();
    let names: Vec<_> = artifacts.iter().filter_map(|artifact| artifact["name"].as_str()).collect();
    assert_eq!(names, ["changes", "patch", "answer"]);
    let change = &artifact(&task, "changes")["parts"][0]["data"]["changes"];
    assert_eq!(change.as_array().unwrap().len(), 1, "{change}");
    assert_eq!((&change[0]["path"], &change[0]["addedLines"]), (&"note.txt".into(), &1.into()));
    let next = world
        .send(crate::reading::message_in(task["contextId"].as_str().unwrap(), "say nothing new"));
    assert_eq!(next["artifacts"].as_array().unwrap().len(), 1, "{next}");
}
