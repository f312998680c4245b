//! Limits that hold without control groups: the size of a session's folders, and of its `/tmp`.

use super::{WALLS, Wall};
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{answer, message_in, state, words};
use crate::world::World;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn a_turn_that_writes_too_much_is_ended_and_told_which_key_allows_more() {
    for wall in WALLS {
        let limits = json!({"isolation": {"limits": {"disk": "4MiB"}}});
        let world = wall.shell().config(limits).start();
        // Ten files of a mebibyte, each smaller than the limit.
        let script = "for i in 0 1 2 3 4 5 6 7 8 9; do head -c 1048576 /dev/zero > file.$i; done; sleep 3600";
        let task = world.send(message_in("one", script));
        assert_eq!(state(&task), "FAILED", "{wall:?}: {task:#}");
        let words = words(&task);
        assert!(words.contains("isolation.limits.disk"), "{wall:?}: {words}");
        world.await_no_agents();
    }
}

#[test]
fn a_file_that_was_removed_and_is_still_open_counts() {
    for wall in WALLS {
        let limits = json!({"isolation": {"limits": {"disk": "4MiB"}}});
        let world = wall.shell().config(limits).start();
        let script = "exec 7>one 8>two 9>three; rm one two three; for i in 7 8 9; do \
                      head -c 2000000 /dev/zero >&$i; done; sleep 3600";
        let task = world.send(message_in("one", script));
        assert_eq!(state(&task), "FAILED", "{wall:?}: {task:#}");
        assert!(words(&task).contains("isolation.limits.disk"), "{wall:?}: {task:#}");
    }
}

/// The source of an agent that keeps removed files where only a second thread of it has them.
const HIDDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/walls/hidden.c");

#[test]
fn removed_files_that_only_a_thread_of_an_agent_has_open_count() {
    let limits = json!({"isolation": {"limits": {"disk": "4MiB"}}});
    let builder = World::describe().config(limits);
    let program = builder.path("hidden");
    let compiled = Command::new("cc").args(["-pthread", "-o"]).arg(&program).arg(HIDDEN).status();
    assert!(compiled.unwrap().success());
    let world = builder.agent(json!({"program": program, "args": [], "format": "text"})).start();
    let task = world.say("go");
    assert!(words(&task).contains("isolation.limits.disk"), "{task:#}");
    world.await_no_agents();
}

#[test]
fn no_process_of_an_agent_may_open_more_files_than_are_configured() {
    let says = |builder: Builder| {
        let limits = json!({"isolation": {"require": [], "limits": {"files": 300}}});
        answer(&builder.config(limits).start().say("ulimit -Hn; ulimit -Sn"))
    };
    for wall in WALLS {
        assert_eq!(says(wall.shell()), "300\n300\n", "{wall:?}");
    }
    let none = json!({"isolation": {"backend": "none"}});
    assert_eq!(says(Wall::Bubblewrap.shell().config(none)), "300\n300\n");
}

/// The source of an agent that sends itself descriptors and receives none of them.
const IN_FLIGHT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/walls/in_flight.c");

#[test]
fn an_agent_that_leaves_descriptors_in_flight_does_not_stop_the_next_session() {
    for wall in WALLS {
        let builder = wall.shell();
        let program = builder.path("in_flight");
        let compiled = Command::new("cc").arg("-o").arg(&program).arg(IN_FLIGHT).status();
        assert!(compiled.unwrap().success());
        // With a soft limit below what is in flight, as most machines have it.
        let world = builder.granted([&program]).ordinary().soft_descriptors(1024).start();
        let id = world.begin_with(message_in("one", &format!("exec {} sent", program.display())));
        let folder = world.path("work");
        let sent = await_some("the descriptors", world.patience(), || {
            let folder = fs::read_dir(&folder).ok()?.next()?.ok()?.path();
            fs::read_to_string(folder.join("sent")).ok()
        });
        // They may be as many as it may open, and the last message may carry some beyond that.
        let sent: usize = sent.trim().parse().unwrap();
        assert!((1024..8192 + 512).contains(&sent), "{wall:?}: {sent}");
        assert_eq!(answer(&world.send(message_in("two", "echo works"))), "works\n", "{wall:?}");
        assert_eq!(state(&world.task(&id)), "WORKING", "{wall:?}");
    }
}

#[test]
fn a_session_script_that_writes_too_much_is_ended() {
    let limits = json!({"isolation": {"limits": {"disk": "4MiB"}}});
    let script = "#!/bin/sh\nfor i in 0 1 2 3 4 5; do head -c 1048576 /dev/zero > file.$i; done\nsleep 3600\n";
    let world = World::describe().config(limits).file(".init-session.sh", 0o755, script).start();
    let task = world.say("say x");
    assert_eq!(state(&task), "FAILED", "{task:#}");
    assert!(words(&task).contains("isolation.limits.disk"), "{task:#}");
    world.await_no_agents();
}

#[test]
fn what_a_process_writes_between_two_turns_ends_it() {
    let limits = json!({"isolation": {"limits": {"disk": "4MiB"}}});
    let cli = json!({"driver": "acp", "args": ["--acp", "well"], "format": null});
    let world = World::describe().config(limits).agent(cli).start();
    assert_eq!(state(&world.send(message_in("one", "go"))), "COMPLETED");
    let folder = fs::read_dir(world.path("work")).unwrap().next().unwrap().unwrap().path();
    // As what it had left running might.
    fs::write(folder.join("large"), vec![1; 6 << 20]).unwrap();
    world.await_no_agents();
}

#[test]
fn a_turn_in_folders_that_are_too_large_already_is_ended() {
    let limits = json!({"isolation": {"limits": {"disk": "4MiB"}}});
    let shell = json!({"program": "/bin/sh", "args": ["-c"], "format": "text"});
    let world = World::describe().config(limits).agent(shell).start();
    let script = "for i in 1 2 3; do head -c 2000000 /dev/zero > file.$i; done";
    assert_eq!(state(&world.send(message_in("one", script))), "COMPLETED");
    let task = world.send(message_in("one", "sleep 3600"));
    assert!(words(&task).contains("isolation.limits.disk"), "{task:#}");
}

#[test]
fn a_folder_without_permissions_counts_and_holes_do_not() {
    let limits = json!({"isolation": {"limits": {"disk": "4MiB"}}});
    let shell = json!({"program": "/bin/sh", "args": ["-c"], "format": "text"});
    let world = World::describe().config(limits).agent(shell).ordinary().start();
    let script = "truncate -s 1G sparse; mkdir hidden; head -c 2000000 /dev/zero > hidden/a; \
                  chmod 000 hidden; until [ -e go ]; do sleep 0.1; done; chmod 700 hidden; \
                  head -c 9000000 /dev/zero > hidden/b; chmod 000 hidden; sleep 3600";
    let id = world.begin_with(message_in("one", script));
    // The first look has given the owner of the hidden folder its permissions back.
    let folder = fs::read_dir(world.path("work")).unwrap().next().unwrap().unwrap().path();
    await_some("the first look", world.patience(), || {
        let hidden = fs::metadata(folder.join("hidden/a"));
        let is_mended = fs::metadata(folder.join("hidden"))
            .is_ok_and(|hidden| hidden.permissions().mode() & 0o700 == 0o500);
        (hidden.is_ok() && is_mended).then_some(())
    });
    assert_eq!(state(&world.task(&id)), "WORKING");
    fs::write(folder.join("go"), "").unwrap();
    let task = world.await_state(&id, &["FAILED"]);
    assert!(words(&task).contains("isolation.limits.disk"), "{task:#}");
}

#[test]
fn no_file_grows_beyond_what_all_may_hold_together() {
    for wall in WALLS {
        let limits = json!({"isolation": {"limits": {"disk": "4MiB"}}});
        let world = wall.shell().config(limits).start();
        let script = "trap '' XFSZ; head -c 9000000 /dev/zero > large; stat -c %s large; rm large";
        assert_eq!(answer(&world.say(script)), "4194304\n", "{wall:?}");
    }
}

#[test]
fn inside_of_bubblewrap_tmp_is_as_large_as_it_is_configured() {
    let limits = json!({"isolation": {"limits": {"tmp": "1MiB"}}});
    let world = Wall::covering().shell().config(limits).start();
    let script = "head -c 3000000 /dev/zero > /tmp/large; stat -c %s /tmp/large";
    assert_eq!(answer(&world.say(script)), "1048576\n");
}

#[test]
fn inside_of_bubblewrap_each_process_has_a_tmp_of_its_own() {
    let world = Wall::Bubblewrap.shell().start();
    let note = format!("/tmp/note-{}", uuid::Uuid::new_v4());
    world.send(message_in("one", &format!("echo secret > {note}")));
    let looks = format!("ls {note} || echo gone");
    assert_eq!(answer(&world.send(message_in("one", &looks))), "gone\n");
    assert!(!std::path::Path::new(&note).exists());
}
