//! The lines of a session script that set Claude Code up, run once in the set-up phase with the real CLI.

use super::{claude, workspace};
use crate::building::fake_agent;
use crate::reading::{answer, message_in, state, words};
use crate::repositories::{SmartHttp, git};
use fake_model::Model;
use serde_json::json;
use std::fs;

const SKILL: &str = "---\nname: knot\ndescription: Ties\n---\nsay the skill spoke\n";

#[test]
fn a_marketplace_a_plugin_and_a_server_that_the_cli_itself_installs_are_there_for_all_sessions_after_one_clone()
 {
    for backend in ["bubblewrap", "landlock"] {
        let model = Model::start();
        let builder = claude(&model);
        let market = builder.path("market");
        let catalogue = json!({"name": "ours", "owner": {"name": "us"}, "plugins": [
            {"name": "tools", "source": "./plugins/tools", "description": "Tools", "strict": false}]});
        for (name, text) in [
            (".claude-plugin/marketplace.json", catalogue.to_string()),
            ("plugins/tools/skills/knot/SKILL.md", SKILL.to_owned()),
        ] {
            fs::create_dir_all(market.join(name).parent().unwrap()).unwrap();
            fs::write(market.join(name), text).unwrap();
        }
        git(&market, &["init", "-q", "-b", "main"]);
        git(&market, &["add", "."]);
        git(&market, &["commit", "-qm", "first"]);
        let served = builder.path("served");
        git(&market, &["clone", "-q", "--bare", ".", served.join("market.git").to_str().unwrap()]);
        let log = builder.path("fetches");
        let upstream = SmartHttp::start(&served, &log);
        let script = format!(
            "set -e\ncat > ~/.claude/CLAUDE.md << 'END'\nMARKER-OF-HEREDOC\nEND\n\
             claude mcp add bank -- {} --mcp well\n\
             claude plugin marketplace add {}/market.git\nclaude plugin install tools@ours\n\
             test -n \"$GH_TOKEN\"\n",
            fake_agent(),
            upstream.url
        );
        let host = upstream.url.strip_prefix("http://").unwrap().to_owned();
        let world = builder
            .file("set-up.sh", 0o644, &script)
            .env("GH_TOKEN", "s3cret-of-the-forge")
            .config(json!({
                "isolation": {"backend": backend, "read": [fake_agent()],
                    "require": ["fs.read", "fs.write", "peer-sessions", "net.egress"]},
                "egress": {"inner": ["127.0.0.0/8"], "setup": [host]},
                "agents": {"claude": {"asks": "allow", "setup": {"script": "set-up.sh",
                    "secrets": ["GH_TOKEN"], "permissions": {"allow": ["mcp__bank"]}}}},
            }))
            .start();
        for context in ["one", "two"] {
            let say = |text: &str| {
                let task = world.send(message_in(context, text));
                assert_eq!(state(&task), "COMPLETED", "{backend}: {}", words(&task));
                answer(&task)
            };
            assert_eq!(
                say("tool Skill {\"skill\":\"tools:knot\"}"),
                "the skill spoke",
                "{backend}"
            );
            assert_eq!(say("rawtool mcp__bank__echo {}"), "done: echoed", "{backend}");
            let seen = say("bash: echo ${GH_TOKEN:-absent}");
            assert!(seen.contains("absent"), "{seen}");
        }
        assert!(model.requests().iter().any(|seen| seen.body.contains("MARKER-OF-HEREDOC")));
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1, "{backend}");
        assert!(!workspace(&world, "one").join("set-up.sh").exists());
    }
}
