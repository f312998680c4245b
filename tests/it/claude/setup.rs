//! What the operator declares for Claude Code (`agents.*.setup`): it is used in turns, and the task says how far each
//! thing has come.

use super::claude;
use crate::building::{Builder, fake_agent};
use crate::processes::await_some;
use crate::reading::{answer, artifact, state, words};
use crate::world::await_end;
use fake_model::Model;
use serde_json::{Value, json};

/// What both sandboxes give.
const REQUIRED: [&str; 4] = ["fs.read", "fs.write", "peer-sessions", "net.egress"];

const SKILL: &str = "---\nname: greet\ndescription: Greets\n---\nsay the skill spoke\n";
const SUBAGENT: &str = "---\nname: scout\ndescription: Looks around\n---\nYou look around.\n";

/// Adds files below the server's working folder.
fn with_files<const N: usize>(builder: Builder, files: [(&str, &str); N]) -> Builder {
    for (name, text) in files {
        let path = builder.cwd().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    builder
}

fn setup(builder: Builder, setup: Value) -> Builder {
    builder.config(json!({"agents": {"claude": {"setup": setup}}}))
}

/// `kind name: level` of each declared thing, as a task tells it.
fn levels(task: &Value) -> Vec<String> {
    let declared = task["metadata"]["setup"]["declared"].as_array().unwrap().iter();
    let field = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    declared
        .map(|item| {
            format!("{} {}: {}", field(item, "kind"), field(item, "name"), field(item, "level"))
        })
        .collect()
}

/// A marketplace with a plugin that brings a skill, a hook and an MCP server; and all the rest.
fn with_everything(model: &Model, backend: &str) -> Builder {
    // The CLI takes two servers with the same command line for one.
    let ledger = format!("exec {} --mcp well", fake_agent());
    let server = json!({"mcpServers": {"ledger": {"command": "sh", "args": ["-c", ledger]}}});
    let hook = json!({"hooks": {"UserPromptSubmit": [{"hooks": [{"type": "command",
        "command": "touch hooked; test -f \"$CLAUDE_PLUGIN_ROOT/hooks/hooks.json\" && touch rooted"}]}]}});
    let catalogue = json!({"name": "ours", "owner": {"name": "us"}, "plugins": [
        {"name": "tools", "source": "./plugins/tools", "description": "Tools", "strict": false}]});
    let schema = "https://agent-plugins.org/schemas/1.0.0/plugin.schema.json";
    let manifest = json!({"$schema": schema, "name": "kit", "version": "1.0.0"});
    let shelf = format!("test -f \"$1/plugin.json\" && exec {} --mcp well", fake_agent());
    let shelf = json!({"mcpServers": {"shelf": {"type": "stdio", "command": "sh",
        "args": ["-c", shelf, "sh", "${PLUGIN_ROOT}"]}}});
    let builder = with_files(
        claude(model),
        [
            ("rules.md", "Words of the operator: MARKER-OF-RULES\n"),
            ("skills/greet/SKILL.md", SKILL),
            ("agents/scout.md", SUBAGENT),
            ("commands/review.md", "say the command reviews $ARGUMENTS\n"),
            ("market/.claude-plugin/marketplace.json", &catalogue.to_string()),
            ("market/plugins/tools/skills/knot/SKILL.md", &SKILL.replace("greet", "knot")),
            ("market/plugins/tools/hooks/hooks.json", &hook.to_string()),
            ("market/plugins/tools/.mcp.json", &server.to_string()),
            ("kit/plugin.json", &manifest.to_string()),
            ("kit/mcp.json", &shelf.to_string()),
            ("kit/skills/shelve/SKILL.md", &SKILL.replace("greet", "shelve")),
        ],
    );
    let bank = json!({"command": fake_agent(), "args": ["--mcp", "${BANK_MODE:-well}"],
        "env": {"BANK_TOKEN": "${BANK_TOKEN}"}, "required": true});
    let builder = setup(
        builder,
        json!({
            "instructions_file": "rules.md",
            "skills": ["skills"],
            "subagents": ["agents"],
            "commands": ["commands/review.md"],
            "mcp": {"bank": bank},
            "marketplaces": {"ours": "market"},
            "plugins": ["tools@ours", "kit"],
            "settings": {"includeCoAuthoredBy": false},
            "permissions": {
                "allow": ["mcp__bank", "mcp__plugin_tools_ledger", "mcp__plugin_kit_shelf", "Bash(echo:*)"],
                "deny": ["Bash(echo denied)"],
            },
        }),
    );
    builder.env("BANK_TOKEN", "b-1").config(json!({
        "isolation": {"backend": backend},
        "agents": {"claude": {"env": {"pass": ["BANK_TOKEN"]}, "commands": ["review"]}},
    }))
}

#[test]
fn everything_that_is_declared_is_used_in_a_turn_and_the_task_says_that_it_was_loaded() {
    let model = Model::start();
    let world = with_everything(&model, "none").start();
    let task = world.say("tool Skill {\"skill\":\"greet\"}");
    assert_eq!(
        (state(&task), answer(&task).as_str()),
        ("COMPLETED", "the skill spoke"),
        "{task:#}"
    );
    assert_eq!(
        levels(&task),
        [
            "instructions CLAUDE.md: delivered",
            "skill greet: loaded",
            "subagent scout: loaded",
            "command review: loaded",
            "plugin tools: loaded",
            "plugin kit: loaded",
            "mcp-server bank: loaded",
        ]
    );
    assert_eq!(task["metadata"]["problems"], Value::Null, "{task:#}");
    let context = task["contextId"].as_str().unwrap();
    let say = |text: &str| world.send(crate::reading::message_in(context, text));
    assert_eq!(answer(&say("tool Skill {\"skill\":\"tools:knot\"}")), "the skill spoke");
    assert_eq!(answer(&say("rawtool mcp__bank__echo {}")), "done: echoed");
    assert_eq!(answer(&say("rawtool mcp__plugin_tools_ledger__echo {}")), "done: echoed");
    assert_eq!(answer(&say("rawtool mcp__plugin_kit_shelf__echo {}")), "done: echoed");
    assert_eq!(answer(&say("tool Skill {\"skill\":\"kit:shelve\"}")), "the skill spoke");
    let call = r#"{"subagent_type":"scout","description":"d","prompt":"say found","run_in_background":false}"#;
    assert!(answer(&say(&format!("tool Agent {call}"))).contains("found"));
    let mut command = crate::reading::message_in(context, "the crew");
    command["message"]["metadata"] = json!({"command": "review"});
    assert_eq!(answer(&world.send(command)), "the command reviews the crew");
    let workspace = super::workspace(&world, context);
    assert!(workspace.join("hooked").exists() && workspace.join("rooted").exists());
    assert!(answer(&say("bash: echo allowed")).contains("done: allowed"));
    let denied = say("bash: echo denied");
    assert!(!artifact(&denied, "answer").to_string().contains("done: denied"), "{denied:#}");
    assert!(model.requests().iter().any(|seen| seen.body.contains("MARKER-OF-RULES")));
    let revision =
        |task: &Value| task["metadata"]["setup"]["revision"].as_str().unwrap().to_owned();
    assert_eq!((revision(&task).len(), revision(&denied)), (16, revision(&task)));
    let audited = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert!(audited.contains(&format!("\"setup\":\"{}\"", revision(&task))), "{audited}");
}

#[test]
fn in_a_sandbox_the_set_up_is_read_only_and_works_the_same() {
    let model = Model::start();
    for backend in ["bubblewrap", "landlock"] {
        let asks = json!({"agents": {"claude": {"asks": "allow"}}});
        let world = with_everything(&model, backend).config(asks);
        let world = world.config(json!({"isolation": {"require": REQUIRED}})).start();
        let call = r#"rawtool mcp__plugin_tools_ledger__echo {}"#;
        let task = world.send(crate::reading::message_in("c", call));
        assert_eq!(
            (state(&task), answer(&task).as_str()),
            ("COMPLETED", "done: echoed"),
            "{task:#}"
        );
        assert!(levels(&task).contains(&"mcp-server bank: loaded".to_owned()), "{task:#}");
        let setups = world.path("state/setups/claude");
        let revision = setups.join(task["metadata"]["setup"]["revision"].as_str().unwrap());
        let file = revision.join("plugins/tools/.mcp.json");
        let before = std::fs::read(&file).unwrap();
        let spoil = format!("bash: echo spoiled > {}; echo ended", file.display());
        let policy = world.send(crate::reading::message_in("c", &spoil));
        assert_ne!(state(&policy), "FAILED", "{policy:#}");
        assert_eq!(std::fs::read(&file).unwrap(), before, "{backend}");
    }
}

#[test]
fn a_declared_server_that_is_required_and_dies_fails_the_task_before_the_model_is_asked() {
    let model = Model::start();
    let bank = json!({"command": fake_agent(), "args": ["--mcp", "dies"], "required": true});
    let world = setup(claude(&model), json!({"mcp": {"bank": bank}})).start();
    let task = world.say("say hello");
    assert_eq!(state(&task), "FAILED", "{task:#}");
    assert!(words(&task).contains("`bank` could not be connected"), "{}", words(&task));
    assert_eq!(model.requests().len(), 0);
}

#[test]
fn a_session_keeps_the_revision_that_it_began_with_and_a_new_one_gets_the_new_revision() {
    let model = Model::start();
    let builder = with_files(claude(&model), [("plugin/skills/greet/SKILL.md", SKILL)]);
    let skill = builder.cwd().join("plugin/skills/greet/SKILL.md");
    let asked = json!({"agents": {"claude": {"skills_source": "cli"}}});
    let mut world = setup(builder, json!({"plugins": ["./plugin"]})).config(asked).start();
    await_some("the answer of the CLI", world.patience(), || {
        (world.readiness()["skills"]["claude"]["state"] == "current").then_some(())
    });
    let card = world.get("/.well-known/agent-card.json", &[("A2A-Version", "1.0")]).json();
    assert!(card["skills"].to_string().contains("\"plugin:greet\""), "{card:#}");
    let say = |world: &crate::world::World, context: &str| {
        let text = "tool Skill {\"skill\":\"plugin:greet\"}";
        let task = world.send(crate::reading::message_in(context, text));
        let revision = task["metadata"]["setup"]["revision"].as_str().unwrap().to_owned();
        (answer(&task), revision)
    };
    let first = say(&world, "old");
    assert_eq!(first.0, "the skill spoke");
    std::fs::write(skill, SKILL.replace("spoke", "spoke anew")).unwrap();
    world.restart();
    assert_eq!(say(&world, "old"), first);
    let second = say(&world, "new");
    assert_eq!(second.0, "the skill spoke anew");
    assert_ne!(second.1, first.1);
}

#[test]
fn what_cannot_be_set_up_is_refused_at_the_start_with_its_name() {
    let model = Model::start();
    let catalogue = json!({"name": "ours", "owner": {"name": "us"}, "plugins": [
        {"name": "out", "source": "./../secret"}, {"name": "far", "source": {"source": "github", "repo": "a/b"}}]});
    let mut builder = with_files(
        claude(&model),
        [
            ("market/.claude-plugin/marketplace.json", catalogue.to_string().as_str()),
            ("secret/skills/a/SKILL.md", SKILL),
            ("skills/greet/SKILL.md", SKILL),
            ("defaults/skills/greet/SKILL.md", SKILL),
        ],
    );
    std::os::unix::fs::symlink("../../secret", builder.cwd().join("skills/greet/link")).unwrap();
    std::fs::create_dir(builder.cwd().join("empty")).unwrap();
    let market = json!({"ours": "market"});
    for (declared, words) in [
        (
            json!({"plugins": ["absent@ours"], "marketplaces": market}),
            "no plugin `absent`; it has out, far",
        ),
        (
            json!({"plugins": ["far@ours"], "marketplaces": market}),
            "does not lie in the marketplace",
        ),
        (json!({"plugins": ["out@ours"], "marketplaces": market}), "out of the marketplace"),
        (json!({"plugins": ["./empty"]}), "holds no plugin"),
        (json!({"skills": ["empty"]}), "holds no SKILL.md"),
        (json!({"skills": ["skills"]}), "leads out of"),
        (
            json!({"mcp": {"a": {"command": "x", "env": {"T": "${ABSENT}"}}}}),
            "agents.claude.env.pass",
        ),
        (json!({"settings": {"apiKeyHelper": "x"}}), "key_command"),
    ] {
        builder.config["agents"]["claude"]["setup"] = declared.clone();
        let failure = builder.fails();
        assert!(failure.code.is_some_and(|code| code != 0), "{declared}");
        let told = failure.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(words), "{declared}: {told}");
        std::fs::remove_file(builder.path("stderr")).unwrap();
    }
    std::fs::remove_file(builder.cwd().join("skills/greet/link")).unwrap();
    builder.config["agents"]["claude"]["setup"] = json!({"skills": ["skills"]});
    builder.config["agents"]["claude"]["defaults_dir"] = json!("defaults");
    assert!(builder.fails().stderr.contains("there is a `greet` already"));
}

#[test]
fn doctor_sets_up_a_session_and_names_what_did_not_arrive_with_the_key_that_mends_it() {
    let model = Model::start();
    let builder = with_files(claude(&model), [("skills/greet/SKILL.md", SKILL)]);
    let server = |mode: &str| json!({"command": fake_agent(), "args": ["--mcp", mode]});
    let far = json!({"url": "http://mcp.example.com:81/mcp"});
    let declared = json!({
        "skills": ["skills"],
        "mcp": {"bank": server("well"), "broken": server("dies"), "far": far},
    });
    let builder = setup(builder, declared)
        .file(".init-session.sh", 0o755, "#!/bin/sh\ntouch was-run\n")
        .config(json!({"isolation": {"backend": "bubblewrap"}}))
        .args(["doctor", "--session"]);
    let mut child = builder.spawn();
    let ended = await_end(&mut child, builder.patience).unwrap();
    let said = std::fs::read_to_string(builder.path("stdout")).unwrap();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "the session script has run",
        "the MCP server `broken` could not be connected",
        "correct the server `broken` (`agents.claude.setup.mcp.broken`",
        "skill greet loaded",
        "mcp-server bank loaded",
        "add `mcp.example.com:81` to `agents.claude.egress.allow`",
    ] {
        assert!(said.contains(words), "`{words}`: {said}");
    }
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(model.requests().is_empty());
    let left = std::fs::read_dir(builder.path("state")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("doctor")), "{left:?}");
    assert!(!builder.path("work").join("was-run").exists());
}
