//! Behind a wall: the same turns, the model reached only through the proxy, and the key outside.

use super::{answer, claude};
use crate::building::Builder;
use crate::reading::{message_in, state};
use crate::world::World;
use fake_model::Model;
use serde_json::{Value, json};

const WALLS: [&str; 2] = ["bubblewrap", "landlock"];

/// All that is required of landlock: everything but the list of processes.
pub(super) fn behind(model: &Model, wall: &str) -> Builder {
    let mut require = vec![
        "env",
        "fs.read",
        "fs.write",
        "peer-sessions",
        "server-memory",
        "net.egress",
        "net.loopback",
        "unix-sockets",
        "kill-tree",
    ];
    if wall == "bubblewrap" {
        require.push("processes");
    }
    claude(model).config(json!({"isolation": {"backend": wall, "require": require}}))
}

fn completed(world: &World, context: &str, text: &str) -> (String, Value) {
    let task = world.send(message_in(context, text));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    (answer(&task), task)
}

#[test]
fn text_bash_write_and_a_resumed_turn_complete_behind_both_walls() {
    for wall in WALLS {
        let model = Model::start();
        let unattended = json!({"agents": {"claude": {"permission_mode": "bypassPermissions"}}});
        let mut world = behind(&model, wall).config(unattended).start();
        let (said, task) = completed(&world, "c", "say hello from inside");
        assert_eq!(said, "hello from inside", "{wall}");
        assert_eq!(task["metadata"]["isolation"]["backend"], wall);
        completed(&world, "c", "write note.txt some words");
        let (said, _) = completed(&world, "c", "bash: cat note.txt");
        assert!(said.contains("some words"), "{wall}: {said}");
        world.restart();
        let (said, _) = completed(&world, "c", "history");
        assert!(said.starts_with("turns=4 first=\"say hello"), "{wall}: {said}");
    }
}

#[test]
fn the_model_is_sent_the_real_key_and_the_cli_has_another_one() {
    for wall in WALLS {
        let model = Model::start();
        let world = behind(&model, wall)
            .config(json!({"agents": {"claude": {"args": ["--allowedTools", "Bash"]}}}))
            .start();
        let (said, task) = completed(&world, "c", "bash: env");
        assert!(!said.contains("sk-ant-dummy"), "{wall}: {said}");
        assert!(said.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:"), "{wall}: {said}");
        // The model tells the end of the key that reached it.
        let keys: Vec<_> = model.requests().into_iter().map(|seen| seen.key).collect();
        assert!(keys.iter().all(|key| key == "ummy"), "{wall}: {keys:?}");
        let counted = &task["metadata"]["usageAtProxy"];
        assert_eq!(counted["inputTokens"], task["metadata"]["usage"]["inputTokens"], "{task:#}");
        assert_eq!(counted["outputTokens"], task["metadata"]["usage"]["outputTokens"]);
    }
}

/// All that the model was sent.
fn sent(model: &Model) -> String {
    model.requests().into_iter().map(|seen| seen.body).collect()
}

#[test]
fn neither_a_mention_nor_bash_reads_a_file_of_the_host() {
    let marker = format!("words-of-the-host-{}", uuid::Uuid::new_v4());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &marker).unwrap();
    let shown = file.path().display();
    let texts = [
        format!("say look at @{shown} and at @/etc/hostname"),
        format!("bash: cat {shown} /etc/hostname; echo bash has run"),
        format!("read {shown}"),
    ];
    let name = std::fs::read_to_string("/etc/hostname").unwrap();
    let holds = |model: &Model, text: &str| sent(model).contains(text);
    for wall in WALLS {
        let model = Model::start();
        let unattended = json!({"agents": {"claude": {"permission_mode": "bypassPermissions"}}});
        let world = behind(&model, wall).config(unattended).start();
        let said: String = texts.iter().map(|text| completed(&world, "c", text).0).collect();
        assert!(said.contains("bash has run"), "{wall}: {said}");
        assert!(!holds(&model, &marker), "{wall}");
        let line = format!("1\\t{}", name.trim());
        assert!(!holds(&model, &line), "{wall}");
    }
    // That this is a test at all: without a wall the mention alone is enough.
    let model = Model::start();
    let world = claude(&model).start();
    completed(&world, "c", &texts[0]);
    assert!(holds(&model, &marker));
}

#[test]
fn bash_finds_neither_another_session_nor_the_servers_state_nor_its_key() {
    for wall in WALLS {
        let model = Model::start();
        let unattended = json!({"agents": {"claude": {"permission_mode": "bypassPermissions"}}});
        let world = behind(&model, wall).config(unattended).start();
        completed(&world, "other", "write secret.txt unmistakable-words");
        let (state, work) = (world.path("state"), world.path("work"));
        let found = std::fs::read_dir(&work).unwrap().flatten();
        let mut found = found.map(|entry| entry.path().join("secret.txt"));
        let secret = found.find(|path| path.exists()).unwrap();
        let texts = [
            format!("bash: cat {}; echo bash has run", secret.display()),
            format!("bash: ls {0} {0}/sessions {1}; cat {0}/token {0}/pilothouse.db; echo bash has run", state.display(), work.display()),
            "bash: (cat /proc/*/environ | tr '\\0' '\\n' | grep -a KEY; echo bash has run) 2>/dev/null".to_owned(),
        ];
        let said: String = texts.iter().map(|text| completed(&world, "c", text).0).collect();
        assert_eq!(said.matches("bash has run").count(), texts.len(), "{wall}: {said}");
        let token = crate::world::OWNER;
        for word in ["unmistakable-words", "sk-ant-dummy", token, "SQLite format"] {
            assert!(!said.contains(word), "{wall}: {word}: {said}");
        }
    }
}
