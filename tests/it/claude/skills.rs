//! What an operator gives Claude Code besides a model: skills, commands, subagents, plugins.

use super::claude;
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{answer, message_in, state, text_of};
use crate::world::World;
use fake_model::Model;
use serde_json::json;

/// Adds files below the folder that seeds each session's `.claude`.
fn with_defaults<const N: usize>(builder: Builder, files: [(&str, &str); N]) -> Builder {
    let folder = builder.cwd().join("defaults");
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    builder.config(json!({"agents": {"claude": {"defaults_dir": "defaults"}}}))
}

const SKILL: &str = "---\nname: greet\ndescription: Greets somebody\n---\nsay the skill spoke\n";

#[test]
fn text_that_begins_with_a_slash_never_runs_a_command_however_it_is_hidden() {
    let model = Model::start();
    let world =
        with_defaults(claude(&model), [("commands/greet.md", "say the command ran\n")]).start();
    for hidden in ["", "\n", " ", "\t", "\u{200b}", "\u{feff}", "\u{2028}", "\u{0}", "\u{1b}"] {
        for command in ["/greet", "/usage"] {
            let text = format!("{hidden}{command}");
            let task = world.send(message_in("one", &text));
            let answer = answer(&task);
            assert_eq!(state(&task), "COMPLETED", "{text:?}: {task}");
            assert!(answer.starts_with("ok: ") && answer.ends_with(command), "{text:?}: {answer}");
        }
    }
}

#[test]
fn a_skill_of_the_defaults_folder_is_run_when_the_model_calls_it() {
    let model = Model::start();
    let world = with_defaults(claude(&model), [("skills/greet/SKILL.md", SKILL)]).start();
    let task = world.say(r#"tool Skill {"skill":"greet"}"#);
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "the skill spoke"));
}

#[test]
fn a_subagent_of_the_defaults_folder_does_its_work() {
    let model = Model::start();
    let agent = "---\nname: scout\ndescription: Looks around\n---\nYou look around.\n";
    let world = with_defaults(claude(&model), [("agents/scout.md", agent)]).start();
    let call = r#"{"subagent_type":"scout","description":"d","prompt":"say found","run_in_background":false}"#;
    let task = world.say(&format!("tool Agent {call}"));
    assert!(answer(&task).contains("found"), "{task}");
}

#[test]
fn a_plugin_named_in_the_arguments_brings_its_skills() {
    let model = Model::start();
    let builder = with_defaults(
        claude(&model),
        [
            ("../plugin/.claude-plugin/plugin.json", r#"{"name":"tools","version":"1.0.0"}"#),
            ("../plugin/skills/greet/SKILL.md", SKILL),
        ],
    );
    let plugin = builder.cwd().join("plugin");
    let world =
        builder.config(json!({"agents": {"claude": {"args": ["--plugin-dir", plugin]}}})).start();
    assert_eq!(answer(&world.say(r#"tool Skill {"skill":"tools:greet"}"#)), "the skill spoke");
}

#[test]
fn the_card_lists_what_claude_code_itself_loads() {
    let model = Model::start();
    let world = with_defaults(
        claude(&model),
        [
            ("skills/greet/SKILL.md", SKILL),
            ("skills/broken/SKILL.md", "---\nname: [b\ndescription: Not YAML\n---\nsay it ran\n"),
            ("commands/review.md", "---\ndescription: Reviews\n---\nsay reviewed\n"),
            ("agents/scout.md", "---\nname: scout\ndescription: Looks around\n---\nLook.\n"),
        ],
    );
    let world = world.config(json!({"agents": {"claude": {"skills_source": "cli"}}})).start();
    let skills = await_some("the answer", world.patience(), || {
        let skills = world.readiness()["skills"]["claude"].take();
        (skills["state"] == "current").then_some(skills)
    });
    assert!(skills["version"].as_str().is_some_and(|version| version.contains('.')), "{skills}");
    let card = world.get("/.well-known/agent-card.json", &[("A2A-Version", "1.0")]).json();
    let skills = card["skills"].as_array().unwrap().iter();
    let told =
        skills.map(|skill| format!("{}: {}", text_of(skill, "id"), text_of(skill, "description")));
    let told: Vec<String> = told.skip(1).collect();
    assert_eq!(
        told,
        [
            "broken: Not YAML",
            "greet: Greets somebody",
            "review: Reviews",
            "subagent:scout: Looks around"
        ]
    );
    assert!(model.requests().is_empty(), "no model is asked");
}

/// An agent of which callers may run the command `greet`, but not `secret`.
fn with_commands(model: &Model) -> World {
    let builder = with_defaults(
        claude(model),
        [
            ("commands/greet.md", "say the command greets $ARGUMENTS\n"),
            ("commands/secret.md", "say the secret command ran\n"),
        ],
    );
    builder.config(json!({"agents": {"claude": {"commands": ["greet"]}}})).start()
}

#[test]
fn a_caller_runs_a_listed_command_by_metadata_or_by_a_data_part() {
    let model = Model::start();
    let world = with_commands(&model);
    let mut message = message_in("one", "the crew");
    message["message"]["metadata"] = json!({"command": "greet"});
    assert_eq!(answer(&world.send(message)), "the command greets the crew");
    for (data, said) in [
        (json!({"command": "greet", "arguments": "you"}), "the command greets you"),
        (json!({"command": "greet"}), "the command greets"),
    ] {
        let mut message = message_in("one", "");
        message["message"]["parts"] = json!([{"data": data}]);
        assert_eq!(answer(&world.send(message)), said);
    }
}

#[test]
fn a_command_that_is_not_listed_is_refused_and_the_listed_ones_are_named() {
    let model = Model::start();
    let world = with_commands(&model);
    for part in [json!({"data": {"command": "secret"}}), json!({"text": "now"})] {
        let mut message = message_in("one", "");
        if part.get("text").is_some() {
            message["message"]["metadata"] = json!({"command": "secret"});
        }
        message["message"]["parts"] = json!([part]);
        let refused = world.call(crate::world::OWNER, "SendMessage", &message).json();
        let words = refused["error"].to_string();
        assert!(
            words.contains("callers may run greet") && words.contains("agents.claude.commands"),
            "{words}"
        );
    }
    assert!(model.requests().is_empty());
}
