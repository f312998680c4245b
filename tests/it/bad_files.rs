//! Files and repositories that could do harm or do not fit: names, binary content, a disk that is full.

use crate::reading::{answer, artifact, message_in, message_with, state, text_of, words};
use crate::repositories::{git, repository};
use crate::world::World;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};

#[test]
fn a_file_part_lies_below_its_task_whatever_its_name_says() {
    let shell = json!({"program": "/bin/sh", "args": ["-c"], "format": "text"});
    let world = World::describe().agent(shell).start();
    for (name, kept) in [
        ("../../x", "x"),
        ("/etc/cron.d/x", "x"),
        ("..", "file"),
        (".a2a/../../y", "y"),
        ("a\nb", "ab"),
    ] {
        let parts = json!([
            {"text": "find . -type f"},
            {"raw": "/wD/AA==", "mediaType": "application/zip", "filename": name},
        ]);
        let task = world.send(message_with(parts));
        let expected = format!("./.a2a/{}/{kept}", text_of(&task, "id"));
        // The words that name the file follow the script; the shell does not know them as a command.
        assert!(answer(&task).lines().any(|line| line == expected), "{name:?}: {task:#}");
    }
    assert!(!world.path("x").exists() && !world.path("work/x").exists());
}

#[test]
fn a_binary_file_comes_through_a_patch() {
    let shell = json!({"program": "/bin/sh", "args": ["-c"], "format": "text", "patch": "auto"});
    let world = World::describe().agent(shell).start();
    world.send(message_in("s", "printf 'a\\000b' > kept; printf 'x\\000y' > changed"));
    let task = world.send(message_in("s", "printf 'x\\000\\377z' > changed; printf '\\000' > new"));
    let parts = artifact(&task, "patch")["parts"].as_array().unwrap().clone();
    let turn = parts.iter().find(|part| part["metadata"]["from"] == "turn").unwrap();
    let patch = BASE64_STANDARD.decode(text_of(turn, "raw")).unwrap();
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("changed"), b"x\0y").unwrap();
    fs::write(place.path().join("patch"), patch).unwrap();
    git(place.path(), &["apply", "patch"]);
    assert_eq!(fs::read(place.path().join("changed")).unwrap(), b"x\0\xffz");
    assert_eq!(fs::read(place.path().join("new")).unwrap(), b"\0");
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_fetch_fails_the_turn_and_leaves_no_half_of_it() {
    let shell = json!({"program": "/bin/bash", "args": ["-c"], "format": "text"});
    let described = World::describe().agent(shell);
    let shop = repository(&described, "shop");
    // Nothing that can be compressed.
    let noise = Command::new("head")
        .args(["-c", "3000000", "/dev/urandom"])
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    fs::write(shop.join("large"), noise.stdout).unwrap();
    git(&shop, &["add", "large"]);
    git(&shop, &["commit", "-q", "-m", "large"]);
    let mirrors = described.path("state/repositories");
    fs::create_dir_all(&mirrors).unwrap();
    let small_disk = format!("mount -t tmpfs -o size=1m none '{}'; exec \"$@\"", mirrors.display());
    let own_mounts: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--map-root-user", "--mount"],
    };
    let probe = Command::new(own_mounts[0]).args(&own_mounts[1..]).args(["true"]).status();
    assert!(probe.is_ok_and(|status| status.success()), "`unshare --mount` is needed");
    let config = json!({"workspace": {"mode": "repository", "repository": {"url": shop}}});
    let described = described.config(config);
    let world = match own_mounts.len() {
        2 => described.through(["unshare", "--mount", "sh", "-c", &small_disk, "sh"]).start(),
        _ => described
            .through(["unshare", "--map-root-user", "--mount", "sh", "-c", &small_disk, "sh"])
            .start(),
    };
    for context in ["one", "two"] {
        let task = world.send(message_in(context, "cat README"));
        assert_eq!(state(&task), "FAILED", "{task:#}");
        let told = words(&task);
        assert!(told.starts_with("the repository shop could not be fetched: "), "{told}");
        assert!(told.contains("room on the disk"), "{told}");
    }
    // The mirror is on the server's own mount.
    let inside = format!("/proc/{}/root{}", world.pid(), mirrors.display());
    let left = Command::new("find").args([&inside, "-name", "tmp_*"]).output().unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap(), "");
}
