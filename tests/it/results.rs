//! What a turn has changed in its workspace: the artifacts `changes` and `patch`, and files.

use crate::building::Builder;
use crate::http::Reply;
use crate::processes::await_some;
use crate::reading::{answer, artifact, message_in, state, text_of};
use crate::world::{BOB, OWNER, World};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A world whose agent is the shell: a message is a script that runs in the workspace.
fn shell() -> Builder {
    let agent = json!({
        "program": "/bin/sh", "args": ["-s"], "input": "stdin", "format": "text", "patch": "auto",
    });
    World::describe().agent(agent)
}

fn run(world: &World, script: &str) -> Value {
    let task = world.send(message_in("s", script));
    assert_eq!(state(&task), "COMPLETED", "{task}");
    task
}

fn get_as(world: &World, token: &str, path: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    world.ask("GET", path, &[("Authorization", &bearer)], b"").whole()
}

/// The names of the task's artifacts.
fn artifacts(task: &Value) -> Vec<&str> {
    let all = task["artifacts"].as_array().into_iter().flatten();
    all.map(|artifact| artifact["name"].as_str().unwrap()).collect()
}

/// Path, kind and lines of each change.
fn changes(task: &Value) -> Vec<(String, String, Value, Value)> {
    let data = &artifact(task, "changes")["parts"][0]["data"];
    assert_eq!(data["kind"], "changes");
    let each = data["changes"].as_array().unwrap().iter();
    let text = |change: &Value, name| text_of(change, name).to_owned();
    each.map(|change| {
        let lines = (change["addedLines"].clone(), change["removedLines"].clone());
        (text(change, "path"), text(change, "kind"), lines.0, lines.1)
    })
    .collect()
}

/// The patch of a task against the beginning of its turn (`turn`) or its session (`base`).
fn patch(task: &Value, from: &str) -> Option<Vec<u8>> {
    let parts = artifact(task, "patch")["parts"].as_array().unwrap().iter();
    let part = parts.clone().find(|part| part["metadata"]["from"] == from)?;
    assert_eq!(part["mediaType"], "text/x-diff");
    Some(BASE64_STANDARD.decode(text_of(part, "raw")).unwrap())
}

/// Runs git in a folder.
fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Applies a patch in a folder.
fn apply(folder: &Path, patch: &[u8]) {
    let file = folder.join(".the.patch");
    fs::write(&file, patch).unwrap();
    git(folder, &["apply", ".the.patch"]);
    fs::remove_file(file).unwrap();
}

#[test]
fn a_turn_that_changes_files_ends_with_their_list_and_patches_that_apply() {
    let world = shell().start();
    let first = run(&world, "printf 'one\\ntwo\\n' >a.txt; mkdir d; echo x >d/b; echo done");
    assert_eq!(answer(&first), "done\n");
    assert_eq!(artifacts(&first), ["changes", "patch", "answer"]);
    let added =
        |path: &str, lines: u32| (path.to_owned(), "added".to_owned(), json!(lines), json!(0));
    assert_eq!(changes(&first), [added("a.txt", 2), added("d/b", 1)]);
    let listed = &artifact(&first, "changes")["parts"][0]["data"]["changes"][0];
    assert_eq!(listed["bytes"], 8);
    assert_eq!(get_as(&world, OWNER, text_of(listed, "address")).text(), "one\ntwo\n");
    // The turn has begun where the session has: one patch is both.
    assert_eq!(patch(&first, "base"), None);

    let still = run(&world, "cat a.txt; touch d/c; rm d/c");
    assert_eq!(artifacts(&still), ["answer"]);

    let second = run(&world, "printf 'one\\n2\\n' >a.txt; rm d/b; printf 'a\\0b' >bin");
    let kinds: Vec<_> = changes(&second).into_iter().map(|(path, kind, ..)| (path, kind)).collect();
    let pair = |path: &str, kind: &str| (path.to_owned(), kind.to_owned());
    assert_eq!(kinds, [pair("a.txt", "modified"), pair("bin", "added"), pair("d/b", "deleted")]);

    let place = tempfile::tempdir().unwrap();
    apply(place.path(), &patch(&first, "turn").unwrap());
    assert_eq!(fs::read(place.path().join("d/b")).unwrap(), b"x\n");
    apply(place.path(), &patch(&second, "turn").unwrap());
    assert_eq!(fs::read(place.path().join("a.txt")).unwrap(), b"one\n2\n");
    assert_eq!(fs::read(place.path().join("bin")).unwrap(), b"a\0b");
    assert!(!place.path().join("d").exists());
    let whole = tempfile::tempdir().unwrap();
    apply(whole.path(), &patch(&second, "base").unwrap());
    assert_eq!(fs::read(whole.path().join("a.txt")).unwrap(), b"one\n2\n");
}

#[test]
fn what_a_turn_has_left_stays_readable_when_the_folder_is_gone_and_is_its_callers_alone() {
    let mut world = shell().agent(json!({"results": ["*.md"]})).start();
    let task =
        run(&world, "echo words >note.md; echo x >other; head -c 400000 /dev/urandom >big.md; pwd");
    let id = text_of(&task, "id").to_owned();
    fs::remove_dir_all(answer(&task).trim()).unwrap();
    world.restart();
    let task = world.task(&id);
    assert_eq!(artifacts(&task), ["changes", "patch", "big.md", "note.md", "answer"]);
    let note = &artifact(&task, "note.md")["parts"][0];
    assert_eq!(
        (text_of(note, "filename"), text_of(note, "mediaType")),
        ("note.md", "text/markdown")
    );
    assert_eq!(BASE64_STANDARD.decode(text_of(note, "raw")).unwrap(), b"words\n");
    // Too large for an event: by its address, and kept all the same.
    let address = text_of(&artifact(&task, "big.md")["parts"][0], "url");
    assert_eq!(address, format!("/api/v1/tasks/{id}/results/files/big.md"));
    assert_eq!(get_as(&world, OWNER, address).body.len(), 400_000);
    let patch = text_of(&artifact(&task, "patch")["parts"][0], "url");
    let [patch, diff] = [patch, "/api/v1/sessions/s/diff?from=turn"].map(|path| {
        let reply = get_as(&world, OWNER, path);
        assert_eq!(reply.header("content-type"), Some("text/x-diff"), "{}", reply.text());
        reply.body
    });
    assert!(patch.starts_with(b"diff --git a/big.md b/big.md") && patch == diff);
    assert_eq!(get_as(&world, OWNER, "/api/v1/sessions/s/diff").body, diff);
    for path in [address, "/api/v1/sessions/s/diff"] {
        assert_eq!(get_as(&world, BOB, path).status, 404, "{path}");
    }
}

#[test]
fn names_of_any_bytes_links_and_modes_come_through_a_patch() {
    let world = shell().start();
    let task = run(
        &world,
        "printf x >\"$(printf 'a\\nb')\"; printf y >\"$(printf 'c\\377')\"; ln -s /etc/passwd link; printf z >run; chmod 755 run; mkfifo pipe",
    );
    let place = tempfile::tempdir().unwrap();
    apply(place.path(), &patch(&task, "turn").unwrap());
    assert_eq!(fs::read(place.path().join("a\nb")).unwrap(), b"x");
    assert_eq!(fs::read_link(place.path().join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(changes(&task).len(), 4);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 4);
}

#[test]
fn a_file_too_large_for_git_is_named_and_not_read_and_a_large_patch_is_left_out() {
    let limits = json!({"limits": {"snapshot_file": "1MiB", "patch": "10KiB"}});
    let world = shell().config(limits).start();
    let task = run(&world, "truncate -s 1G huge; echo small >small");
    let listed = &artifact(&task, "changes")["parts"][0]["data"];
    assert_eq!(listed["tooLarge"], json!(["huge"]));
    assert_eq!(changes(&task).len(), 1);
    let large = run(&world, "head -c 100000 /dev/urandom | od >lines");
    let words = artifact(&large, "patch")["description"].as_str().unwrap().to_owned();
    assert!(words.contains("limits.patch"), "{words}");
    assert_eq!(changes(&large).len(), 1);
    assert_eq!(get_as(&world, OWNER, "/api/v1/sessions/s/diff").status, 400);
}

#[test]
fn in_a_repository_the_patch_is_against_what_was_there_and_the_repository_runs_nothing() {
    let world = shell().config(json!({"workspace": {"mode": "shared"}})).start();
    let work = world.path("work");
    git(&work, &["init", "-q"]);
    fs::write(work.join("kept"), "one\n").unwrap();
    fs::write(work.join(".gitignore"), "ignored\n").unwrap();
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-qm", "first"]);
    let trap = world.path("trapped");
    let program = format!("touch {}; cat", trap.display());
    for (key, value) in [
        ("core.fsmonitor", format!("sh -c '{program}'")),
        ("filter.trap.clean", program.clone()),
        ("diff.trap.command", program.clone()),
        ("diff.trap.textconv", program.clone()),
        ("diff.external", program),
    ] {
        git(&work, &["config", key, &value]);
    }
    fs::write(work.join(".gitattributes"), "* filter=trap diff=trap\n").unwrap();
    // Not committed, and there before the session.
    fs::write(work.join("before"), "").unwrap();
    let task = run(&world, "echo two >>kept; echo x >ignored; echo y >new");
    let paths: Vec<_> = changes(&task).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(paths, ["kept", "new"]);
    assert!(!trap.exists());
    let next = run(&world, "echo three >>kept");
    let base = String::from_utf8(patch(&next, "base").unwrap()).unwrap();
    assert!(base.contains("+two\n+three\n") && base.contains("b/new"), "{base}");
    let turn = String::from_utf8(patch(&next, "turn").unwrap()).unwrap();
    assert!(turn.contains(" two\n+three\n") && !turn.contains("b/new"), "{turn}");
}

#[test]
fn a_repository_that_the_agent_makes_inside_is_named_and_disturbs_nothing() {
    let world = shell().start();
    let task = run(
        &world,
        "git init -q empty; git init -q sub; echo x >sub/f; git -C sub add f; \
         git -C sub -c user.name=a -c user.email=a@b commit -qm m; echo y >own; mkdir closed; echo z >closed/f; chmod 000 closed/f",
    );
    let paths: Vec<_> = changes(&task).into_iter().map(|(path, ..)| path).collect();
    assert!(paths.contains(&"own".to_owned()) && paths.contains(&"sub".to_owned()), "{paths:?}");
    let patch = String::from_utf8(patch(&task, "turn").unwrap()).unwrap();
    assert!(patch.contains("b/own") && !patch.contains("Subproject"), "{patch}");
}

#[test]
fn a_turn_that_fails_says_what_it_has_changed_too_and_one_without_git_says_why_not() {
    let world = shell().start();
    let failed = world.send(message_in("s", "echo x >a; exit 3"));
    assert_eq!((state(&failed), artifacts(&failed)[0]), ("FAILED", "changes"));
    let bare = tempfile::tempdir().unwrap();
    let lacking = shell().env("PATH", bare.path().to_str().unwrap()).start();
    let task = run(&lacking, "echo x >a");
    assert_eq!(artifacts(&task), Vec::<&str>::new());
    let told = lacking.resume(text_of(&task, "id"), 0);
    assert!(told.iter().any(|event| event.words().contains("there is no `git` in the sandbox")));
    let small = shell().config(json!({"limits": {"snapshot": "1KiB"}})).start();
    let task = run(&small, "head -c 2000 /dev/zero >a");
    let told = small.resume(text_of(&task, "id"), 0);
    assert!(told.iter().any(|event| event.words().contains("limits.snapshot")));
    let off = shell().agent(json!({"patch": "off"})).start();
    assert_eq!(artifacts(&run(&off, "echo x >a; echo y")), ["answer"]);
}

#[test]
fn a_repository_that_would_keep_git_waiting_costs_no_turn_its_time() {
    let world = shell().config(json!({"timeouts": {"results": "1h"}})).start();
    for (context, trap) in [
        ("config", "mkfifo .git/config"),
        ("pack", "mkdir -p .git/objects/pack; mkfifo .git/objects/pack/pack-x.idx"),
        ("link", "ln -s /dev/zero .git/packed-refs"),
    ] {
        let script = format!("git init -q .; rm -f .git/config; {trap}; echo x >a");
        let task = world.send(message_in(context, &script));
        assert_eq!((state(&task), artifacts(&task)), ("COMPLETED", vec![]), "{task}");
        let told = world.resume(text_of(&task, "id"), 0);
        assert!(told.iter().any(|event| event.words().contains("no file")), "{trap}: {told:#?}");
    }
}

#[test]
fn a_turn_whose_changes_are_gathered_hears_a_cancel_and_a_server_its_stop() {
    let described = shell().config(json!({"timeouts": {"results": "1h"}}));
    let cues = described.path("cues");
    let hanging = format!("#!/bin/sh\necho >>{}/git\nexec sleep 3600\n", cues.display());
    let described = described.file("git", 0o755, &hanging);
    let path = format!("{}:/usr/bin:/bin", described.cwd().display());
    let world = described.env("PATH", &path).start();
    let begin = |context: &str, times| {
        let task = world.begin_with(message_in(context, "echo x >a"));
        await_some("git", world.patience(), || {
            let begun = fs::read_to_string(cues.join("git")).unwrap_or_default();
            (begun.lines().count() == times).then_some(())
        });
        task
    };
    let canceled = begin("canceled", 1);
    world.call(OWNER, "CancelTask", &json!({"id": canceled}));
    world.await_state(&canceled, &["CANCELED", "COMPLETED"]);
    begin("stopped", 2);
    // The world waits for the server's end and for that of all its processes.
}

/// Runs `pilothouse` in a folder.
fn pilothouse_in(
    folder: &Path,
    world: &World,
    args: &[&str],
    editor: &str,
) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(args)
        .args(["--url", &format!("http://{}", world.address()), "--token", OWNER])
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("EDITOR", editor)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_command_line_applies_a_patch_to_a_clean_checkout_and_to_no_other() {
    let world = shell().start();
    run(&world, "echo one >a; printf 'x\\0y' >b");
    let checkout = tempfile::tempdir().unwrap();
    let folder = checkout.path();
    let outside = pilothouse_in(folder, &world, &["sessions", "apply", "s"], "false");
    assert!(outside.0 == Some(2) && outside.1.contains("in none"), "{}", outside.1);
    git(folder, &["init", "-q"]);
    fs::write(folder.join("kept"), "1\n").unwrap();
    git(folder, &["add", "-A"]);
    git(folder, &["commit", "-qm", "first"]);
    fs::write(folder.join("kept"), "2\n").unwrap();
    for args in [&["sessions", "apply", "s"][..], &["send", "--apply", "-c", "s", "echo more >c"]] {
        let dirty = pilothouse_in(folder, &world, args, "false");
        assert!(dirty.0 == Some(2) && dirty.1.contains("not committed"), "{}", dirty.1);
    }
    git(folder, &["checkout", "-q", "kept"]);
    let applied = pilothouse_in(folder, &world, &["sessions", "apply", "s"], "false");
    assert_eq!(applied.0, Some(0), "{}", applied.1);
    assert_eq!(fs::read(folder.join("b")).unwrap(), b"x\0y");
    assert_eq!(git(folder, &["status", "--porcelain"]), "A  a\nA  b");
    git(folder, &["commit", "-qam", "second"]);
    let sent =
        pilothouse_in(folder, &world, &["send", "--apply", "-c", "s", "echo two >>a"], "false");
    assert_eq!(sent.0, Some(0), "{}", sent.1);
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"one\ntwo\n");
    git(folder, &["commit", "-qam", "third"]);
    // What does not fit changes nothing.
    let again =
        pilothouse_in(folder, &world, &["sessions", "apply", "s", "--from", "turn"], "false");
    assert!(again.0 == Some(2) && again.1.contains("nothing was changed"), "{}", again.1);
    assert_eq!(git(folder, &["status", "--porcelain"]), "");
    let shown =
        pilothouse_in(folder, &world, &["sessions", "diff", "s", "--from", "turn"], "false");
    assert!(shown.1.ends_with(" one\n+two\n"), "{}", shown.1);
}

#[test]
fn a_review_in_an_editor_becomes_one_message() {
    let world = World::describe().agent(json!({"patch": "auto"})).start();
    world.send(message_in("s", "write a.txt one"));
    let place = tempfile::tempdir().unwrap();
    let editor = "sed -i -e '/^+one/a > why so short?'";
    let sent = pilothouse_in(place.path(), &world, &["sessions", "review", "s"], editor);
    assert_eq!(sent.0, Some(0), "{}", sent.1);
    assert!(sent.1.contains("1. a.txt, line 1:") && sent.1.contains("why so short?"), "{}", sent.1);
    let none = pilothouse_in(place.path(), &world, &["sessions", "review", "s"], "true");
    assert!(none.0 == Some(2) && none.1.contains("nothing was sent"), "{}", none.1);
}
