//! What an agent finds inside: its environment, its folders, and nothing of anybody else's.

use super::{WALLS, Wall};
use crate::reading::{answer, message_in, state, text_of, words};
use crate::world::{OWNER, World};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Where the session of a context really lies.
fn workspace(world: &World, context: &str) -> PathBuf {
    let authorization = format!("Bearer {OWNER}");
    let path = format!("/api/v1/sessions/{context}");
    let session = world.get(&path, &[("Authorization", &authorization)]).json();
    PathBuf::from(text_of(&session, "workspace"))
}

/// Whether this script's `read` or `write` got through.
fn failed(said: &str) -> bool {
    said.starts_with("read failed: ") || said.starts_with("write failed: ")
}

// === environment ===

#[test]
fn a_secret_of_the_servers_environment_is_nowhere_in_the_agents() {
    for wall in WALLS {
        let world = wall.shell().env("DEPLOY_TOKEN", "a-secret-of-the-server").start();
        let script = "env; cat /proc/self/environ; cat /proc/[0-9]*/environ 2>/dev/null; true";
        let task = world.say(script);
        assert_eq!(state(&task), "COMPLETED", "{task:#}");
        let said = answer(&task);
        assert!(
            said.contains("HOME=") && !said.contains("a-secret-of-the-server"),
            "{wall:?}: {said}"
        );
    }
}

#[test]
fn the_names_of_the_environment_are_these_alone() {
    for wall in WALLS {
        let world = wall.described().env("DEPLOY_TOKEN", "x").start();
        // An image may set more.
        let said = answer(&world.say("envs")).replace("FROM_THE_IMAGE\n", "");
        insta::allow_duplicates! {
            insta::assert_snapshot!(said, @r"
            A2A_CONTEXT_ID
            A2A_MESSAGE
            A2A_MESSAGE_ID
            A2A_TASK_ID
            ALL_PROXY
            FAKE_AGENT_CUES
            GIT_AUTHOR_EMAIL
            GIT_AUTHOR_NAME
            GIT_COMMITTER_EMAIL
            GIT_COMMITTER_NAME
            HOME
            HTTPS_PROXY
            HTTP_PROXY
            LANG
            NODE_USE_ENV_PROXY
            NO_PROXY
            PATH
            PILOTHOUSE_TEST_WORLD
            TERM
            TMPDIR
            all_proxy
            http_proxy
            https_proxy
            no_proxy
            ");
        }
    }
}

#[test]
fn inside_of_bubblewrap_workspace_and_home_are_always_at_the_same_place() {
    let world = Wall::Bubblewrap.start();
    let told = |script| answer(&world.say(script));
    assert_eq!(["pwd", "env HOME", "env TMPDIR"].map(told), ["/workspace", "/home/agent", "/tmp"]);
}

#[test]
fn an_agent_finds_its_own_name_whatever_the_umask_of_the_server_is() {
    let through = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let world = Wall::covering().shell().through(through).start();
    let script = "grep \":$(id -u):\" /etc/passwd | cut -d: -f1,6; wc -l < /etc/group";
    let said = answer(&world.say(script));
    assert_eq!(said, "agent:/home/agent\n3\n");
}

#[test]
fn inside_of_bubblewrap_there_are_no_processes_but_its_own() {
    let world = Wall::Bubblewrap.shell().start();
    let told = answer(&world.say("ls -d /proc/[0-9]* | wc -l"));
    let count: usize = told.trim().parse().unwrap();
    assert!(count < 8, "{told}");
}

#[test]
fn under_landlock_paths_are_the_machines_own() {
    let world = Wall::Landlock.start();
    let folder = answer(&world.send(message_in("one", "pwd")));
    assert_eq!(PathBuf::from(folder), workspace(&world, "one").canonicalize().unwrap());
}

// === files ===

#[test]
fn a_session_finds_its_files_again_in_its_next_turn() {
    for wall in WALLS {
        let world = wall.start();
        world.send(message_in("one", "write deep/note.txt remembered"));
        let said = answer(&world.send(message_in("one", "read deep/note.txt")));
        assert_eq!(said, "remembered", "{wall:?}");
        let file = workspace(&world, "one").join("deep/note.txt");
        assert_eq!(fs::read_to_string(file).unwrap(), "remembered");
    }
}

#[test]
fn the_home_of_a_session_is_kept_too() {
    for wall in WALLS {
        let world = wall.shell().start();
        world.send(message_in("one", "echo kept > ~/.notes"));
        assert_eq!(answer(&world.send(message_in("one", "cat ~/.notes"))), "kept\n", "{wall:?}");
    }
}

#[test]
fn another_sessions_files_are_out_of_reach_for_who_knows_their_path() {
    for wall in WALLS {
        let world = wall.start();
        world.send(message_in("victim", "write secret.txt of-the-victim"));
        let folder = workspace(&world, "victim");
        let (secret, own) = (folder.join("secret.txt"), folder.join("planted.txt"));
        let said = |script: String| answer(&world.send(message_in("thief", &script)));
        let read = said(format!("read {}", secret.display()));
        assert!(failed(&read), "{wall:?}: {read}");
        // Behind bubblewrap it writes to a `/tmp` of its own, where the same names lead elsewhere.
        said(format!("write {} x", own.display()));
        assert!(!own.exists(), "{wall:?}");
        assert_eq!(fs::read_to_string(secret).unwrap(), "of-the-victim");
    }
}

#[test]
fn the_servers_token_and_store_are_out_of_reach() {
    for wall in WALLS {
        let world = wall
            .described()
            .config(json!({"auth": {"token": null, "tokens": {"owner2": OWNER}}}))
            .start();
        let state = world.path("state");
        for name in ["token", "pilothouse.db", "server.json"] {
            let path = state.join(name);
            assert!(path.exists(), "{}", path.display());
            let params = message_in("c", &format!("read {}", path.display()));
            let said = answer(&world.rpc_as(OWNER, "SendMessage", params)["task"]);
            assert!(failed(&said), "{wall:?} {name}: {said}");
        }
    }
}

#[test]
fn the_machines_own_files_are_out_of_reach() {
    for wall in WALLS {
        let world = wall.start();
        let here = fs::read_to_string("/etc/hostname").unwrap_or_default();
        for path in [
            "/etc/hostname",
            "/etc/shadow",
            "/root/.profile",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ] {
            let said = answer(&world.say(&format!("read {path}")));
            let own = path == "/etc/hostname"
                && wall != Wall::Landlock
                && said == "agent"
                && here.trim() != "agent";
            assert!(failed(&said) || own, "{wall:?} {path}: {said}");
        }
    }
}

// === grants ===

#[test]
fn what_was_granted_for_reading_is_read_and_not_changed_and_nothing_beside_it() {
    for wall in WALLS {
        let builder = wall.described();
        let (granted, beside) = (builder.path("granted"), builder.path("beside"));
        for folder in [&granted, &beside] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "seen").unwrap();
        }
        let world = builder.granted([&granted]).start();
        let said = |script: String| answer(&world.say(&script));
        assert_eq!(said(format!("read {}/file", granted.display())), "seen", "{wall:?}");
        let wrote = said(format!("write {}/file changed", granted.display()));
        assert!(failed(&wrote), "{wall:?}: {wrote}");
        let read = said(format!("read {}/file", beside.display()));
        assert!(failed(&read), "{wall:?}: {read}");
    }
}

#[test]
fn what_was_granted_for_writing_is_changed_and_nothing_beside_it() {
    for wall in WALLS {
        let builder = wall.described();
        let (granted, beside) = (builder.path("granted"), builder.path("beside"));
        for folder in [&granted, &beside] {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
        }
        let world = builder.config(json!({"isolation": {"write": [granted]}})).start();
        let said = |script: String| answer(&world.say(&script));
        said(format!("write {}/made/file by-the-agent", granted.display()));
        assert_eq!(
            fs::read_to_string(granted.join("made/file")).unwrap(),
            "by-the-agent",
            "{wall:?}"
        );
        said(format!("write {}/file x", beside.display()));
        assert_eq!(fs::read_dir(beside).unwrap().count(), 0, "{wall:?}");
    }
}

// === ends ===

#[test]
fn the_exit_code_and_the_last_words_of_an_agent_that_fails_survive_the_wall() {
    for wall in WALLS {
        let task = wall.start().say("err no licence was found; exit 7");
        assert_eq!(state(&task), "FAILED", "{wall:?}");
        let words = words(&task);
        assert!(words.contains("no licence was found") && words.contains('7'), "{wall:?}: {words}");
    }
}

#[test]
fn the_signal_that_ended_an_agent_is_told_through_the_wall() {
    for wall in WALLS {
        let with = words(&wall.start().say("signal 11"));
        let without = words(&World::start().say("signal 11"));
        assert_eq!(with, without, "{wall:?}");
    }
}

#[test]
fn a_program_that_is_gone_is_told_like_without_a_wall() {
    for wall in WALLS {
        let builder = wall.described().copied();
        let program = builder.path("bin/fake-agent");
        let world = builder.start();
        fs::remove_file(program).unwrap();
        let task = world.say("say x");
        assert_eq!(state(&task), "FAILED", "{wall:?}");
        assert!(words(&task).contains("fake-agent"), "{wall:?}: {}", words(&task));
    }
}

#[test]
fn agents_that_end_at_once_have_started_and_ended() {
    for wall in WALLS {
        let world = wall.described().config(json!({"limits": {"rate": 0}})).start();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let task = world.say("exit 3");
                        assert!(words(&task).contains("code 3"), "{wall:?}: {}", words(&task));
                    }
                });
            }
        });
    }
}

// === an upgrade ===

#[test]
fn a_session_goes_on_when_the_servers_program_was_replaced_on_the_disk() {
    for wall in WALLS {
        let builder = wall.described().copied().config(json!({"agent": "demo", "agents": null}));
        let program = builder.path("bin/pilothouse");
        let world = builder.start();
        let first = world.send(message_in("one", "hello"));
        assert_eq!(state(&first), "COMPLETED", "{wall:?}: {first:#}");
        // As a package manager does it: another file is put in its place.
        let other = world.path("bin").join("new");
        fs::write(&other, "#!/bin/sh\necho this is the new version\nexit 9\n").unwrap();
        fs::rename(&other, &program).unwrap();
        let second = world.send(message_in("one", "again"));
        assert_eq!(state(&second), "COMPLETED", "{wall:?}: {second:#}");
        assert!(answer(&second).contains("turn 2"), "{wall:?}: {}", answer(&second));
    }
}

// === what a turn changes ===

#[test]
fn what_a_turn_has_changed_is_found_behind_the_wall_too() {
    // An image need not have git.
    for wall in super::Walls::HERE {
        let world = wall.shell().agent(json!({"patch": "auto"})).start();
        let task = world.send(message_in("s", "echo x >a; echo done"));
        let names: Vec<_> = task["artifacts"].as_array().unwrap().iter().collect();
        let names: Vec<_> = names.iter().map(|artifact| text_of(artifact, "name")).collect();
        assert_eq!(names, ["changes", "patch", "answer"], "{wall:?}: {task:#}");
        let next = world.send(message_in("s", "echo y >>a"));
        assert_eq!(next["artifacts"].as_array().unwrap().len(), 2, "{wall:?}: {next:#}");
    }
}
