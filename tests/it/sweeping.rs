//! The end of sessions that nobody uses, whatever their agents have made of their folders; and what a server that
//! was killed leaves.

use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{answer, message_in, message_to, state, text_of};
use crate::world::{OWNER, World};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A world in which sessions stay until the test says otherwise.
fn described() -> Builder {
    World::describe().patience(Duration::from_secs(60))
}

/// A session of this context, and its workspace.
fn session(world: &World, context: &str) -> PathBuf {
    PathBuf::from(answer(&world.send(message_in(context, "pwd"))))
}

fn sessions(world: &World) -> Vec<Value> {
    let authorization = format!("Bearer {OWNER}");
    let reply = world.get("/api/v1/sessions", &[("Authorization", &authorization)]);
    reply.json()["sessions"].as_array().unwrap().clone()
}

/// A server again that keeps no session.
fn sweep(world: &mut World) {
    world.reconfigure(json!({"sessions": {"sweep_every": "50ms", "retention": {"count": 0}}}));
    world.restart();
}

/// Waits until no session is left, neither row nor folder.
fn await_swept(world: &World) {
    await_some("the end of the session", world.patience(), || {
        (names(&world.path("work")).is_empty() && sessions(world).is_empty()).then_some(())
    });
    assert_eq!(names(&world.path("state/sessions")), [""; 0]);
    assert_eq!(answer(&world.say("say alive")), "alive");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_folder_of_20_000_levels_is_swept_by_a_server_with_few_descriptors() {
    let mut world = described().descriptors(128).start();
    let folder = session(&world, "deep");
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = openat(CWD, &folder, flags, Mode::empty()).unwrap();
    for _ in 0..20_000 {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    sweep(&mut world);
    await_swept(&world);
}

#[test]
fn folders_without_permissions_are_swept_by_an_ordinary_user() {
    let shell = json!({"program": "/bin/sh", "args": ["-c"], "format": "text"});
    let mut world = described().agent(shell).ordinary().start();
    let script = "mkdir -p a/b/c e; echo x > a/b/c/f; chmod 000 a/b/c a/b a e; \
                  mkdir -p $HOME/g/h; chmod 000 $HOME/g/h; chmod 000 $HOME/g; chmod 000 .";
    assert_eq!(state(&world.send(message_in("hidden", script))), "COMPLETED");
    sweep(&mut world);
    await_some("the end of the session", world.patience(), || {
        let is_empty = |path: &str| names(&world.path(path)).is_empty();
        (is_empty("work") && is_empty("state/sessions") && sessions(&world).is_empty())
            .then_some(())
    });
}

#[test]
fn what_links_in_a_swept_folder_lead_to_stays() {
    let mut world = described().start();
    let folder = session(&world, "links");
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "alive").unwrap();
    fs::create_dir_all(folder.join("a/b")).unwrap();
    symlink(&outside, folder.join("folder")).unwrap();
    symlink(&outside, folder.join("a/b/folder")).unwrap();
    symlink(outside.join("canary"), folder.join("a/file")).unwrap();
    sweep(&mut world);
    await_swept(&world);
    assert_eq!(fs::read_to_string(outside.join("canary")).unwrap(), "alive");
}

#[test]
fn a_context_that_returns_while_its_folder_is_removed_gets_a_new_session() {
    let mut world = described().start();
    let folder = session(&world, "wide");
    for n in 0..20_000 {
        File::create(folder.join(n.to_string())).unwrap();
    }
    sweep(&mut world);
    await_some("the begin of the removal", world.patience(), || (!folder.exists()).then_some(()));
    let id = world.begin_with(message_in("wide", "pwd"));
    let after = PathBuf::from(answer(&world.await_state(&id, &["COMPLETED"])));
    assert_ne!(after, folder);
    await_swept(&world);
}

#[test]
fn a_session_whose_task_asks_is_not_swept_before_the_answer() {
    let mut world = described().start();
    let folder = session(&world, "asks");
    world.send(message_in("asks", "write note.txt kept"));
    let asked = world.send(message_in("asks", "ask which?"));
    assert_eq!(state(&asked), "INPUT_REQUIRED");
    sweep(&mut world);
    // The end of a later one shows that a sweep has seen all.
    for context in ["second", "third"] {
        let other = session(&world, context);
        await_some("the end of another session", world.patience(), || {
            (!other.exists()).then_some(())
        });
    }
    assert!(folder.join("note.txt").exists());
    let task = world.send(message_to(text_of(&asked, "id"), "read note.txt"));
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "kept"));
    await_swept(&world);
}

#[test]
fn a_session_stays_in_the_list_until_its_folder_is_gone() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make a folder that the server may not remove.
        return;
    }
    let mut world = described().ordinary().start();
    let folder = session(&world, "foreign");
    world.send(message_in("foreign", "write note.txt old"));
    fs::create_dir(folder.join("foreign")).unwrap();
    fs::write(folder.join("foreign/file"), "of root").unwrap();
    sweep(&mut world);
    let said = "could not remove the folders of a session";
    await_some("word of the failure", world.patience(), || {
        world.stderr().contains(said).then_some(())
    });
    assert_eq!(sessions(&world).len(), 1);
    let task = world.send(message_in("foreign", "read note.txt"));
    assert!(answer(&task).contains("failed"), "{task:#}");
    let [left] = &names(&world.path("work"))
        .into_iter()
        .filter(|name| name.starts_with('.'))
        .collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", names(&world.path("work")));
    };
    let left = world.path("work").join(left).join("foreign");
    lchown(&left, Some(65534), Some(65534)).unwrap();
    await_some("the end of the session", world.patience(), || {
        (names(&world.path("work")).is_empty() && sessions(&world).is_empty()).then_some(())
    });
    assert_eq!(world.stderr().matches(said).count(), 1, "{}", world.stderr());
}

#[test]
fn folders_that_a_killed_server_left_are_gone_after_the_next_start() {
    let mut world = described().start();
    let kept = session(&world, "kept");
    world.kill9();
    let id = || uuid::Uuid::now_v7().to_string();
    let (orphan, removed, unfinished) = (id(), id(), id());
    let gone = [
        format!("state/sessions/{orphan}"),
        format!("work/{orphan}"),
        format!("state/sessions/.pilothouse-removed-{removed}"),
        format!("work/.pilothouse-removed-{removed}"),
        format!("state/sessions/.pilothouse-new-{unfinished}"),
        format!("work/.pilothouse-new-{unfinished}"),
    ];
    // Without a HOME of ours, a folder in the user's own place may be anything.
    let stay = [
        format!("work/{}", id()),
        "work/notes".to_owned(),
        format!("state/sessions/{}", uuid::Uuid::new_v4()),
        "work/.pilothouse-removed-notes".to_owned(),
    ];
    for folder in gone.iter().chain(&stay) {
        fs::create_dir_all(world.path(folder).join("a/b")).unwrap();
    }
    world.reconfigure(json!({"sessions": {"sweep_every": "50ms"}}));
    world.restart();
    await_some("the end of what was left", world.patience(), || {
        gone.iter().all(|folder| !world.path(folder).exists()).then_some(())
    });
    assert!(stay.iter().all(|folder| world.path(folder).exists()), "{stay:?}");
    assert_eq!(session(&world, "kept"), kept);
}

#[test]
fn canaries_that_a_killed_server_left_are_gone_after_the_next_start() {
    let mut world = described().start();
    world.kill9();
    let [left, used] = [(); 2].map(|()| uuid::Uuid::new_v4().simple().to_string());
    let canaries = |id: &str| {
        [
            world.path("state").join(format!("probe-{id}")),
            std::env::temp_dir().join(format!("pilothouse-{}", &id[..12])),
        ]
    };
    let (left, used) = (canaries(&left), canaries(&used));
    for folder in left.iter().chain(&used) {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("secret"), "a canary").unwrap();
    }
    let lock = File::open(&used[0]).unwrap();
    lock.lock().unwrap();
    world.restart();
    assert!(left.iter().all(|folder| !folder.exists()));
    assert!(used.iter().all(|folder| folder.exists()));
    used.iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
}

#[test]
fn a_session_whose_folders_are_gone_is_set_up_again() {
    let mut world = World::describe()
        .file(".init-session.sh", 0o755, "#!/bin/sh\necho made >> setup.txt\n")
        .start();
    let task = world.send(message_in("one", "read setup.txt"));
    assert_eq!(answer(&task), "made");
    world.stop();
    for place in ["work", "state/sessions"] {
        let [id] = &names(&world.path(place))[..] else { panic!("one session in {place}") };
        fs::remove_dir_all(world.path(place).join(id)).unwrap();
    }
    world.restart();
    assert_eq!(answer(&world.send(message_in("one", "read setup.txt"))), "made");
}
