//! The live console, as an operator reads it, and the log as programs do.

use crate::processes::await_some;
use crate::reading::{message_to, state, text_of};
use crate::world::{PATIENCE, World, await_true};
use serde_json::{Value, json};

/// What stands on the console once this does, without times and ids.
fn shown(world: &World, last: &str) -> String {
    await_some("the console", PATIENCE, || {
        let printed = std::fs::read_to_string(world.path("stdout")).unwrap();
        printed.contains(last).then(|| printed.lines().map(plain).collect::<Vec<_>>().join("\n"))
    })
}

/// A line without its time and the end of its task's id, and with a fixed duration.
fn plain(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words.remove(0).len(), "18:39:52".len(), "{line}");
    let before = std::iter::once("").chain(words.iter().copied());
    let words: Vec<String> = words
        .iter()
        .copied()
        .zip(before)
        .map(|(word, hint)| match word {
            ask if ask.len() == 6 && hint == "answer" => "ASK".to_owned(),
            id if id.len() == 4 && id.chars().all(|c| c.is_ascii_hexdigit()) => "ID".to_owned(),
            program if program.starts_with("`/") => "PROGRAM".to_owned(),
            time if time.parse::<f64>().is_ok() => "0.1".to_owned(),
            word => word.to_owned(),
        })
        .collect();
    words.join(" ").trim_end().to_owned()
}

#[test]
fn a_turn_is_shown_with_its_prompt_whole_lines_tools_and_its_end() {
    let world = World::start();
    let script = "say Here are; say  the first: two; tool Bash {\"command\": \"ls -l\"}; say Done.";
    assert_eq!(state(&world.say(script)), "COMPLETED");
    insta::assert_snapshot!(shown(&world, "✓"), @r#"
    ▶ fake · owner · ID  "say Here are; say the first: two; tool Bash {"command": "ls -l"}; say Done."
      ID Here arethe first: two
      ID Bash ls -l
      ID Done.
    ✓ ID 0.1 s  "Done."
    "#);
}

#[test]
fn who_is_waited_for_stands_there_with_the_command_that_answers() {
    let world = World::start();
    let task = world.say("ask Which colour? | red | green");
    world.send(message_to(text_of(&task, "id"), "say red it is"));
    insta::assert_snapshot!(shown(&world, "✓"), @r#"
    ▶ fake · owner · ID  "ask Which colour? | red | green"
    ? ID waits for owner: Which colour? - red - green  pilothouse answer ASK
      ID owner answers: answer
    ▶ fake · owner · ID  "say red it is"
      ID red it is
    ✓ ID 0.1 s  "red it is"
    "#);
}

#[test]
fn a_failure_is_shown_with_its_reason() {
    let world = World::start();
    assert_eq!(state(&world.say("err no such thing; exit 3")), "FAILED");
    insta::assert_snapshot!(shown(&world, "✗"), @r#"
    ▶ fake · owner · ID  "err no such thing; exit 3"
    ✗ ID 0.1 s  PROGRAM exited with code 3: no such thing
    "#);
}

#[test]
fn requests_that_only_read_are_not_shown() {
    let world = World::start();
    world.rpc("ListTasks", json!({}));
    world.say("say x");
    assert!(!shown(&world, "✓").contains("ListTasks"));
}

#[test]
fn a_json_log_is_json_from_its_first_line_and_holds_no_token() {
    let world = World::describe().config(json!({"log": {"format": "json"}})).start();
    assert!(await_true(PATIENCE, || world.stderr().contains("serving")));
    for line in world.stderr().lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(object.is_object(), "{line}");
    }
}
