//! What an agent's card says by its CLI's own word: asked after the start, kept, compared with the files.

use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{message_in, text_of};
use crate::world::World;
use serde_json::{Value, json};
use std::process::Command;

/// Plays Claude Code as far as it is asked what it offers: it notes that it was asked, and says what lies in a file.
const CLI: &str = "#!/bin/sh
[ \"$1\" = --version ] && echo '9.9.9 (Claude Code)' && exit
[ \"$1\" = --help ] && { cat help 2>/dev/null; exit; }
read -r line
echo \"$*\" >> \"$ASKED\"
cat \"$ANSWER\"
read -r line
";

/// A line in which the CLI says that it offers these, beside a command of its own.
fn says(commands: &[(&str, &str)]) -> String {
    let own =
        json!({"name": "usage", "description": "Show cost", "aliases": ["cost"], "builtin": true});
    let commands = commands
        .iter()
        .map(|(name, description)| json!({"name": name, "description": description}));
    let commands: Vec<Value> = commands.chain([own]).collect();
    let agents = json!([{"name": "Plan", "description": "Plans"}, {"name": "scout", "description": "Looks around"}]);
    let answer = json!({"commands": commands, "agents": agents, "claude_code_version": "9.9.9"});
    let response = json!({"subtype": "success", "request_id": "ahead", "response": answer});
    format!("{}\n", json!({"type": "control_response", "response": response}))
}

fn described(answer: &str) -> Builder {
    let described = World::describe().file("cli.sh", 0o755, CLI).file("answer", 0o644, answer);
    let marker = described.marker().split_once('=').unwrap().1.to_owned();
    let cwd = described.cwd();
    skill(&described, "greet", "---\nname: greet\ndescription: Of the file\n---\n");
    described.env("ANTHROPIC_API_KEY", "x").config(json!({
        "agent": "claude",
        "agents": {"fake": null, "claude": {
            "driver": "claude",
            "program": cwd.join("cli.sh"),
            "defaults_dir": "defaults",
            "env": {"set": {
                "PILOTHOUSE_TEST_WORLD": marker, "ASKED": cwd.join("asked"), "ANSWER": cwd.join("answer"),
            }},
        }},
    }))
}

fn skill(described: &Builder, id: &str, text: &str) {
    let folder = described.cwd().join("defaults/skills").join(id);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("SKILL.md"), text).unwrap();
}

fn await_state(world: &World, state: &str) -> Value {
    await_some(state, world.patience(), || {
        let skills = world.readiness()["skills"]["claude"].take();
        (skills["state"] == state).then_some(skills)
    })
}

/// The card's skills by their ids and descriptions, and its tag.
fn card(world: &World) -> (Vec<String>, String) {
    let reply = world.get("/.well-known/agent-card.json", &[("A2A-Version", "1.0")]);
    let tag = reply.header("etag").unwrap().to_owned();
    let card = reply.json();
    let skills = card["skills"].as_array().unwrap()[1..].iter();
    let told =
        |skill: &Value| format!("{}: {}", text_of(skill, "id"), text_of(skill, "description"));
    (skills.map(told).collect(), tag)
}

fn asked(world: &World) -> usize {
    std::fs::read_to_string(world.path("cwd/asked")).map_or(0, |text| text.lines().count())
}

#[test]
fn the_card_says_what_the_cli_says_and_only_another_set_up_is_asked_again() {
    let mut world = described(&says(&[("greet", "By the CLI (user)")])).start();
    let known = await_state(&world, "current");
    assert_eq!((&known["version"], &known["tested"]), (&json!("9.9.9"), &json!(false)));
    let (skills, first_tag) = card(&world);
    assert_eq!(skills, ["greet: By the CLI", "subagent:scout: Looks around"]);

    world.restart();
    assert_eq!(card(&world).0, skills, "the last known list counts at once");
    await_state(&world, "current");
    assert_eq!(asked(&world), 1);

    std::fs::write(world.path("cwd/answer"), says(&[("greet", "Anew"), ("more", "")])).unwrap();
    std::fs::write(world.path("cwd/defaults/settings.json"), "{}").unwrap();
    world.restart();
    await_state(&world, "current");
    let (skills, tag) = card(&world);
    assert_eq!(skills, ["greet: Anew", "more: more", "subagent:scout: Looks around"]);
    assert!(asked(&world) == 2 && tag != first_tag);
}

#[test]
fn a_cli_that_does_not_answer_leaves_the_files_on_the_card_and_ready_says_why() {
    let world = described("").file("cli.sh", 0o755, "#!/bin/sh\nexit 3\n").start();
    let skills = await_state(&world, "failed");
    assert_eq!(skills["reason"], "it ended without an answer");
    assert_eq!(card(&world).0, ["greet: Of the file"]);
}

#[test]
fn nothing_of_the_process_that_was_asked_is_left() {
    let mut world = described(&says(&[])).start();
    await_state(&world, "current");
    world.stop();
    let folders = |place: &str| std::fs::read_dir(world.path(place)).unwrap().count();
    assert_eq!((folders("work"), folders("state/sessions")), (0, 0));
}

#[test]
fn a_server_that_stops_does_not_wait_for_an_answer() {
    let silent = "#!/bin/sh\necho asked >> \"$ASKED\"\nexec sleep 1000\n";
    let mut world = described("").file("cli.sh", 0o755, silent).start();
    await_some("the question", world.patience(), || (asked(&world) == 1).then_some(()));
    world.stop();
}

#[test]
fn a_turn_takes_the_place_of_a_question_that_has_no_answer_yet() {
    let asked_once = "#!/bin/sh
[ \"$1\" = --version ] && echo '9.9.9 (Claude Code)' && exit
[ -e \"$ASKED\" ] && exit 3
echo asked > \"$ASKED\"
exec sleep 1000
";
    let one = json!({"processes": {"max": 1}, "timeouts": {"start": "1h"}});
    let world = described("").file("cli.sh", 0o755, asked_once).config(one).start();
    await_some("the question", world.patience(), || (asked(&world) == 1).then_some(()));
    let task = world.begin_with(message_in("one", "hello"));
    world.await_state(&task, &["FAILED"]);
}

#[test]
fn the_files_alone_count_where_the_operator_wants_it() {
    let files = json!({"agents": {"claude": {"skills_source": "files"}}});
    let world = described(&says(&[("other", "")])).config(files).start();
    assert_eq!(world.readiness()["skills"], json!({}));
    assert_eq!((card(&world).0, asked(&world)), (vec!["greet: Of the file".to_owned()], 0));
}

#[test]
fn a_listed_command_of_the_cli_itself_stands_on_the_card() {
    let listed = json!({"agents": {"claude": {"commands": ["cost"]}}});
    let world = described(&says(&[])).config(listed).start();
    await_state(&world, "current");
    assert_eq!(card(&world).0, ["usage: Show cost", "subagent:scout: Looks around"]);
}

#[test]
fn what_differs_from_the_files_is_a_warning_at_the_start_and_in_doctor() {
    let described = described(&says(&[("broken", "Loaded all the same")]))
        .config(json!({"agents": {"claude": {"commands": ["missing"]}}}));
    skill(&described, "broken", "---\nname: [\n---\n");
    skill(&described, "silent", "---\nname: s\ndescription: d\nuser-invocable: false\n---\n");
    let mut world = described.start();
    await_state(&world, "current");
    world.restart();
    let started = world.stderr();
    let doctor = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(["doctor", "--config", "pilothouse.yaml"])
        .current_dir(world.path("cwd"))
        .env("HOME", world.path("home"))
        .output()
        .unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    for words in [
        "the skill `greet` lies in a folder of skills of `claude`, but Claude Code does not load it",
        "Claude Code loads it as `broken`: correct the file",
        "`agents.claude.commands` lists `missing`, which Claude Code does not offer here",
    ] {
        assert!(started.contains(words), "`{words}` at the start:\n{started}");
        assert!(doctor.contains(words), "`{words}` in doctor:\n{doctor}");
    }
    assert!(!started.contains("the skill `silent`"), "{started}");
    for told in [started, doctor] {
        assert!(
            told.contains("Claude Code 9.9.9, which was not tested with this server"),
            "{told}"
        );
    }
}

/// A CLI with these options, and a server that has asked it; then a further start of the server.
fn started_twice(answer: &str, cli: &str, help: &str) -> (Value, String, String) {
    let described = described(answer).file("help", 0o644, help);
    let cli = cli.replace("cat help", "cat \"$(dirname \"$0\")/help\"");
    let mut world = described.file("cli.sh", 0o755, &cli).start();
    let known = await_some("an answer", world.patience(), || {
        let skills = world.readiness()["skills"]["claude"].take();
        (skills["state"] != "asking").then_some(skills)
    });
    let first = world.stderr();
    world.restart();
    (known, first, world.stderr())
}

#[test]
fn what_a_version_that_was_not_tested_lacks_is_told_by_ready_and_at_every_start() {
    let help = "Options:\n  --resume [value]  Resumes\n  --model <model>, --settings <file>\n";
    let (known, first, second) = started_twice(&says(&[]), CLI, help);
    let lacks = known["lacks"].as_array().unwrap();
    let hooks =
        "it has no option `--include-hook-events`: hooks that fail or take long are not told";
    assert!(lacks.contains(&json!(hooks)), "{known:#}");
    assert!(!lacks.iter().any(|words| words.as_str().unwrap().contains("`--resume`")), "{known:#}");
    for told in [first, second] {
        assert!(told.contains("Claude Code 9.9.9, which was not tested"), "{told}");
        assert!(told.contains(hooks), "{told}");
    }
}

#[test]
fn a_cli_that_refuses_an_option_is_told_with_its_version_and_what_it_lacks() {
    let old = CLI
        .replace("read -r line\necho", "echo 'error: unknown option --settings' >&2; exit 1\necho");
    let (known, first, _) = started_twice("", &old, "  --resume  Resumes\n");
    assert_eq!(known["state"], "failed", "{known:#}");
    for words in [
        "it ended without an answer: error: unknown option --settings",
        "it is Claude Code 9.9.9, which was not tested",
        "it has no option `--settings`",
    ] {
        assert!(text_of(&known, "reason").contains(words), "{known:#}");
        assert!(first.contains(words), "{first}");
    }
}

#[test]
fn a_version_that_has_all_that_is_used_is_said_to() {
    let names = "--append-system-prompt --disallowedTools --fork-session --include-hook-events \
        --include-partial-messages --input-format --mcp-config --model --output-format --permission-mode \
        --permission-prompt-tool --plugin-dir --resume --session-id --settings --strict-mcp-config --verbose";
    let (known, _, second) = started_twice(&says(&[]), CLI, names);
    assert_eq!(known["lacks"], json!([]), "{known:#}");
    assert!(second.contains("it has the options and answers that this server uses"), "{second}");
}

#[test]
fn a_skill_of_a_shared_workspace_whose_file_is_wrong_is_a_warning_at_the_start() {
    let shared = json!({"workspace": {"mode": "shared", "path": "project"}});
    let described = described(&says(&[("wrong", "Loaded all the same")])).config(shared);
    let folder = described.cwd().join("project/.claude/skills/wrong");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("SKILL.md"), "---\nname: [\n---\n").unwrap();
    let mut world = described.start();
    await_state(&world, "current");
    world.restart();
    let told = world.stderr();
    assert!(told.contains("project/.claude/skills/wrong/SKILL.md: its front matter"), "{told}");
    assert!(told.contains("Claude Code loads it as `wrong`: correct the file"), "{told}");
}
