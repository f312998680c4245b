//! Where agents work: a folder for each session, or one for all; and the script that sets it up.

use crate::building::Builder;
use crate::reading::{answer, message, message_in, state, text_of, words};
use crate::world::World;
use serde_json::json;

fn shared() -> Builder {
    World::describe().config(json!({"workspace": {"mode": "shared"}}))
}

#[test]
fn each_context_has_a_folder_of_its_own() {
    let world = World::start();
    let [one, two] = [world.say("pwd"), world.say("pwd")];
    assert_ne!(answer(&one), answer(&two));
}

#[test]
fn a_context_finds_its_files_again() {
    let world = World::start();
    world.send(message_in("kept", "write note.txt remembered"));
    assert_eq!(answer(&world.send(message_in("kept", "read note.txt"))), "remembered");
}

#[test]
fn the_folders_are_below_the_workspace() {
    let world = World::start();
    let folder = answer(&world.say("pwd"));
    let root = std::fs::canonicalize(world.path("work")).unwrap();
    assert!(std::path::Path::new(&folder).starts_with(&root), "{folder}");
}

#[test]
fn in_a_shared_workspace_all_work_in_the_folder_itself() {
    let world = shared().start();
    let folders = [world.say("pwd"), world.say("pwd")].map(|task| answer(&task));
    let root = std::fs::canonicalize(world.path("work")).unwrap().to_str().unwrap().to_owned();
    assert_eq!(folders, [root.clone(), root]);
}

#[test]
fn in_a_shared_workspace_there_is_one_turn_at_a_time() {
    let world = shared().start();
    let first = world.begin_waiting("cue go; count", "go");
    let second = world.begin("count");
    assert_eq!(state(&world.task(&second)), "SUBMITTED");
    assert_eq!(world.agents().len(), 1);
    world.cue("go");
    assert_eq!(answer(&world.await_state(&first, &["COMPLETED"])), "1");
    assert_eq!(answer(&world.await_state(&second, &["COMPLETED"])), "2");
}

#[test]
fn in_a_shared_workspace_more_turns_run_where_the_operator_allows_them() {
    let world = shared().config(json!({"workspace": {"shared_turns": 2}})).start();
    let ids = [world.begin("cue go; say x"), world.begin("cue go; say x")];
    ids.iter().for_each(|id| drop(world.await_words(id, "waiting go")));
    world.cue("go");
}

#[test]
fn a_turn_that_waits_for_the_shared_folder_can_be_canceled() {
    let world = shared().start();
    world.begin_waiting("cue go", "go");
    let second = world.begin("count");
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": second}))), "CANCELED");
    world.cue("go");
    assert_eq!(answer(&world.say("count")), "1");
}

#[test]
fn a_canceled_turn_gives_the_shared_folder_back() {
    let world = shared().start();
    let first = world.begin_waiting("cue never", "never");
    let second = world.begin("say two");
    world.rpc("CancelTask", json!({"id": first}));
    assert_eq!(answer(&world.await_state(&second, &["COMPLETED"])), "two");
}

#[test]
fn each_session_has_a_home_of_its_own_outside_of_the_workspace() {
    let world = World::start();
    let homes = [world.say("env HOME"), world.say("env HOME")].map(|task| answer(&task));
    assert_ne!(homes[0], homes[1]);
    assert!(
        homes.iter().all(|home| home.starts_with(world.path("state").to_str().unwrap())),
        "{homes:?}"
    );
}

// === the session script ===

#[test]
fn the_session_script_runs_once_for_each_session() {
    let world = World::describe()
        .file(".init-session.sh", 0o755, "#!/bin/sh\necho made >> setup.txt\n")
        .start();
    let first = world.send(message_in("one", "read setup.txt"));
    let second = world.send(message_in("one", "read setup.txt"));
    let other = world.send(message_in("two", "read setup.txt"));
    assert_eq!([&first, &second, &other].map(answer), ["made", "made", "made"]);
}

#[test]
fn the_session_script_does_not_run_again_after_a_restart() {
    let mut world = World::describe()
        .file(".init-session.sh", 0o755, "#!/bin/sh\necho made >> setup.txt\n")
        .start();
    world.send(message_in("one", "say x"));
    world.restart();
    assert_eq!(answer(&world.send(message_in("one", "read setup.txt"))), "made");
}

#[test]
fn a_script_that_is_not_executable_is_run_by_the_shell() {
    let world =
        World::describe().file(".init-session.sh", 0o644, "echo made > setup.txt\n").start();
    assert_eq!(answer(&world.say("read setup.txt")), "made");
}

#[test]
fn a_script_that_fails_fails_the_task_with_its_last_words() {
    let world = World::describe()
        .file(".init-session.sh", 0o755, "#!/bin/sh\necho no such registry >&2\nexit 7\n")
        .start();
    let task = world.say("write note.txt x");
    assert_eq!(state(&task), "FAILED");
    let words = words(&task);
    assert!(
        words.contains("no such registry")
            && words.contains('7')
            && words.contains("sessions.init"),
        "{words}"
    );
    assert_eq!(answer(&task), "");
}

#[test]
fn a_script_that_failed_is_tried_again_with_the_next_message() {
    let script = "#!/bin/sh\n[ -e again ] && exit 0\ntouch again\nexit 1\n";
    let world = World::describe().file(".init-session.sh", 0o755, script).start();
    assert_eq!(state(&world.send(message_in("one", "say x"))), "FAILED");
    assert_eq!(answer(&world.send(message_in("one", "say x"))), "x");
}

#[test]
fn a_script_that_hangs_is_ended_in_time_with_all_that_it_started() {
    let world = World::describe()
        .file(".init-session.sh", 0o755, "#!/bin/sh\nsetsid sleep 3600 &\nsleep 3600\n")
        .config(json!({"timeouts": {"init": "300ms"}}))
        .start();
    let task = world.say("say x");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("timeouts.init"), "{}", words(&task));
    world.await_no_agents();
}

#[test]
fn a_task_is_canceled_while_its_script_runs() {
    let world = World::describe()
        .file(".init-session.sh", 0o755, "#!/bin/sh\ntouch ran\nsleep 3600\n")
        .start();
    let id = world.begin("say x");
    world.await_task(&id, "the script", |task| words(task).contains(".init-session.sh"));
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    world.await_no_agents();
}

#[test]
fn the_script_runs_in_the_workspace_with_the_agents_home() {
    let script = "#!/bin/sh\npwd > where.txt\necho $HOME > home.txt\n";
    let world = World::describe().file(".init-session.sh", 0o755, script).start();
    let told = |script: &str| answer(&world.send(message_in("one", script)));
    assert_eq!(told("read where.txt"), told("pwd"));
    assert_eq!(told("read home.txt"), told("env HOME"));
}

#[test]
fn the_script_is_seen_in_the_stream() {
    let world = World::describe()
        .file(".init-session.sh", 0o755, "#!/bin/sh\necho installed tools\n")
        .start();
    let events = world.stream("SendStreamingMessage", message("say x")).rest();
    let data = events
        .iter()
        .filter_map(crate::http::Event::data)
        .find(|data| data["kind"] == "init-session")
        .unwrap();
    assert_eq!(text_of(data, "output"), "installed tools");
}

#[test]
fn a_script_named_by_an_option_is_run() {
    let world = World::describe()
        .file("setup.sh", 0o755, "#!/bin/sh\necho named > setup.txt\n")
        .args(["--init-session", "setup.sh"])
        .start();
    assert_eq!(answer(&world.say("read setup.txt")), "named");
}

#[test]
fn a_defaults_folder_seeds_the_home_of_each_session() {
    let builder = World::describe();
    std::fs::create_dir_all(builder.cwd().join("defaults/skills")).unwrap();
    std::fs::write(builder.cwd().join("defaults/skills/one.md"), "a skill").unwrap();
    let world = builder.agent(json!({"defaults_dir": "defaults"})).start();
    let home = answer(&world.send(message_in("one", "env HOME")));
    assert_eq!(
        std::fs::read_to_string(format!("{home}/.claude/skills/one.md")).unwrap(),
        "a skill"
    );
}

// === copies ===

#[test]
fn each_session_begins_as_a_copy_of_the_template_and_changes_only_that() {
    let world = World::describe().config(json!({"workspace": {"mode": "copy"}}));
    let template = world.path("template");
    std::fs::create_dir_all(template.join("src")).unwrap();
    std::fs::write(template.join("src/main.c"), "of the template").unwrap();
    std::os::unix::fs::symlink("src/main.c", template.join("link")).unwrap();
    let mut world = world.config(json!({"workspace": {"template": template}})).start();
    let script = "read link; write src/main.c changed";
    assert!(answer(&world.send(message_in("one", script))).starts_with("of the template"));
    assert_eq!(answer(&world.send(message_in("one", "read src/main.c"))), "changed");
    assert_eq!(answer(&world.send(message_in("two", "read src/main.c"))), "of the template");
    assert_eq!(std::fs::read_to_string(template.join("src/main.c")).unwrap(), "of the template");
    world.reconfigure(json!({"sessions": {"copy": {"entries": 1}}}));
    world.restart();
    let task = world.send(message_in("three", "say x"));
    assert_eq!(state(&task), "FAILED");
    let told = words(&task);
    assert!(
        told.contains("`workspace.template`") && told.contains("`sessions.copy.entries`"),
        "{told}"
    );
}
