//! A clone of a repository for each session: where it begins, what it shares, and what its agent cannot do with it.

use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{answer, message_in, state, words};
use crate::walls::{WALLS, Wall};
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A command of git in a folder, by a user of the tests.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.current_dir(folder).args(args).stdin(Stdio::null());
    for role in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{role}_NAME"), "Ann")
            .env(format!("GIT_{role}_EMAIL"), "ann@example.com");
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let run = git.output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "git {args:?}: {said}");
    String::from_utf8(run.stdout).unwrap().trim().to_owned()
}

/// A repository in a folder of the world's, with a commit on `main`: `README` says `first`.
pub(crate) fn repository(described: &Builder, name: &str) -> PathBuf {
    let folder = described.path(name);
    fs::create_dir(&folder).unwrap();
    git(&folder, &["init", "-q", "-b", "main"]);
    commit(&folder, "README", "first");
    folder
}

/// Commits a file with this text.
pub(crate) fn commit(folder: &Path, file: &str, text: &str) -> String {
    fs::write(folder.join(file), text).unwrap();
    git(folder, &["add", file]);
    git(folder, &["commit", "-q", "-m", text]);
    git(folder, &["rev-parse", "HEAD"])
}

/// A world whose sessions have clones of a repository, with the shell as agent.
fn described(wall: Wall) -> (Builder, PathBuf) {
    let described = wall.shell();
    let shop = repository(&described, "shop");
    (cloning(described, &shop), shop)
}

/// The same without a sandbox.
fn bare() -> (Builder, PathBuf) {
    let shell = json!({"program": "/bin/bash", "args": ["-c"], "format": "text"});
    let described = World::describe().agent(shell);
    let shop = repository(&described, "shop");
    (cloning(described, &shop), shop)
}

fn cloning(described: Builder, shop: &Path) -> Builder {
    described.config(json!({"workspace": {"mode": "repository", "repository": {"url": shop}}}))
}

fn session(world: &World, context: &str) -> Value {
    let authorization = format!("Bearer {OWNER}");
    world.get(&format!("/api/v1/sessions/{context}"), &[("Authorization", &authorization)]).json()
}

fn mirrors(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.path("state/repositories")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "git")).collect()
}

/// Objects below a git directory.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("objects")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}

#[test]
fn no_other_user_passes_the_state_folder_that_a_server_has_made() {
    let world = World::start();
    let mode = fs::metadata(world.path("state")).unwrap().permissions().mode();
    assert_eq!(mode & 0o067, 0, "{mode:o}");
    assert!(!world.stderr().contains("may enter the state folder"), "{}", world.stderr());
}

#[test]
fn a_state_folder_that_other_users_may_enter_is_named_at_the_start() {
    let described = World::describe();
    fs::create_dir(described.path("state")).unwrap();
    fs::set_permissions(described.path("state"), PermissionsExt::from_mode(0o755)).unwrap();
    let world = described.start();
    let told = world.stderr();
    assert!(told.contains("may enter the state folder") && told.contains("chmod 700"), "{told}");
}

#[test]
fn each_session_has_a_clone_on_a_branch_of_its_own_and_can_commit_there() {
    for wall in WALLS {
        let (described, shop) = described(wall);
        let base = git(&shop, &["rev-parse", "HEAD"]);
        let world = described.start();
        let script = "cat README; git status --porcelain; echo more > file; git add file; git commit -q -m second; \
                      git log --format='%s by %an <%ae>' -1; git rev-parse --abbrev-ref HEAD; git branch -r";
        let one = world.send(message_in("one", script));
        assert_eq!(state(&one), "COMPLETED", "{wall:?}: {one:#}");
        let checkout = session(&world, "one")["checkout"].clone();
        let branch = checkout["branch"].as_str().unwrap();
        assert!(branch.starts_with("pilothouse/"), "{checkout}");
        let expected = format!(
            "first\nsecond by fake <agent@pilothouse.invalid>\n{branch}\n  origin/HEAD -> origin/main\n  origin/main"
        );
        assert_eq!(answer(&one).trim(), expected.replacen("first\n", "first", 1), "{wall:?}");
        assert_eq!((&checkout["base"], &checkout["baseBranch"]), (&json!(base), &json!("main")));
        let two = answer(&world.send(message_in("two", "cat README; ls; git branch --list")));
        let other = session(&world, "two")["checkout"]["branch"].as_str().unwrap().to_owned();
        assert_eq!(two.trim(), format!("firstREADME\n* {other}"), "{wall:?}");
        assert_ne!(branch, other);
        // The user's own repository has neither.
        assert_eq!(git(&shop, &["branch", "--format=%(refname:short)"]), "main");
        assert_eq!(git(&shop, &["status", "--porcelain"]), "");
    }
}

#[test]
fn objects_come_from_one_mirror_that_no_agent_can_write() {
    for wall in WALLS {
        let (described, _) = described(wall);
        let world = described.start();
        let script = "cat .git/objects/info/alternates; \
                      touch \"$(cat .git/objects/info/alternates)/x\" 2>/dev/null && echo written; \
                      rm -rf \"$(cat .git/objects/info/alternates)/pack\" 2>/dev/null; git fsck && echo whole";
        let said = answer(&world.send(message_in("one", script)));
        let mirror = mirrors(&world);
        assert_eq!(mirror.len(), 1, "{mirror:?}");
        assert!(said.starts_with(mirror[0].join("objects").to_str().unwrap()), "{wall:?}: {said}");
        assert!(said.contains("whole") && !said.contains("written"), "{wall:?}: {said}");
        let pack = |path: &PathBuf| path.extension().is_some_and(|end| end == "pack");
        let packs = objects(&mirror[0]).into_iter().filter(pack).collect::<Vec<_>>();
        assert_eq!(packs.len(), 1, "{packs:?}");
        world.send(message_in("two", "true"));
        // The second one has downloaded nothing and has no object of its own.
        assert_eq!(objects(&mirror[0]).into_iter().filter(pack).collect::<Vec<_>>(), packs);
        let clone =
            PathBuf::from(session(&world, "two")["workspace"].as_str().unwrap()).join(".git");
        let own: Vec<_> =
            objects(&clone).into_iter().filter(|path| !path.ends_with("info/alternates")).collect();
        assert_eq!(own, Vec::<PathBuf>::new());
    }
}

#[test]
fn a_new_session_begins_at_what_is_new_and_an_older_one_stays_where_it_is() {
    let (described, shop) = bare();
    let world = described.start();
    assert_eq!(answer(&world.send(message_in("one", "cat README"))), "first");
    commit(&shop, "README", "second");
    assert_eq!(answer(&world.send(message_in("two", "cat README"))), "second");
    assert_eq!(answer(&world.send(message_in("one", "cat README"))), "first");
}

#[test]
fn a_ref_is_a_branch_a_tag_or_a_commit() {
    let (described, shop) = bare();
    let first = git(&shop, &["rev-parse", "HEAD"]);
    git(&shop, &["tag", "-a", "v1", "-m", "one"]);
    git(&shop, &["checkout", "-q", "-b", "feature/x"]);
    commit(&shop, "README", "of the branch");
    git(&shop, &["checkout", "-q", "main"]);
    let mut world = described.start();
    for (reference, text, branch) in [
        ("feature/x", "of the branch", json!("feature/x")),
        ("v1", "first", Value::Null),
        (&first, "first", Value::Null),
    ] {
        world.reconfigure(json!({"workspace": {"repository": {"ref": reference}}}));
        world.restart();
        assert_eq!(answer(&world.send(message_in(reference, "cat README"))), text);
        let checkout = session(&world, &reference.replace('/', "%2F"))["checkout"].clone();
        assert_eq!(checkout.get("baseBranch").cloned().unwrap_or_default(), branch, "{checkout}");
    }
    world.reconfigure(json!({"workspace": {"repository": {"ref": "feature/x"}}}));
    world.restart();
    git(&shop, &["branch", "-q", "-D", "feature/x"]);
    let task = world.say("true");
    assert_eq!(state(&task), "FAILED");
    assert_eq!(
        words(&task),
        "the repository shop has no branch, tag or commit `feature/x`\n\
         the operator must correct `workspace.repository.ref` (`--repo PATH#REF`)"
    );
}

#[test]
fn what_is_not_committed_is_not_in_a_clone_and_a_start_says_so() {
    let (described, shop) = bare();
    fs::write(shop.join("README"), "changed").unwrap();
    fs::write(shop.join(".env"), "SECRET=x").unwrap();
    let world = described.start();
    assert_eq!(answer(&world.say("cat README; ls -A")).trim(), "first.git\nREADME");
    let told = world.stderr();
    assert!(
        told.contains("what is not committed there") && told.contains("mode: shared"),
        "{told}"
    );
}

#[test]
fn ignored_files_that_worktreeinclude_lists_are_in_a_clone_and_env_and_others_are_not() {
    for wall in WALLS {
        let (described, shop) = described(wall);
        commit(&shop, ".gitignore", "*.local\n.env*\n/cache/\n");
        commit(
            &shop,
            ".worktreeinclude",
            "*.local\n!other.local\n.env*\ncache/\nnotes\nREADME\n[ab]\n",
        );
        fs::create_dir_all(shop.join("cache/deep")).unwrap();
        for file in [
            "a.local",
            "other.local",
            ".env",
            ".env.local",
            "cache/deep/file",
            "notes",
            "README",
            "caf\u{e9} \"b\".local",
        ] {
            fs::write(shop.join(file), "of the working copy").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", shop.join("link.local")).unwrap();
        let world = described.start();
        let events = world.stream("SendStreamingMessage", message_in("told", "true"));
        let told: Vec<String> =
            events.rest().iter().map(|event| event.result.to_string()).collect();
        assert!(told.concat().contains("`[ab]` has a class"), "{wall:?}: {told:?}");
        let look = "find . -path ./.git -prune -o -type f -print | sort; git status --porcelain; cat README a.local; \
                    ls -A \"$HOME\" | grep included";
        let task = world.send(message_in("one", look));
        let expected = "./.gitignore\n./.worktreeinclude\n./README\n./a.local\n./cache/deep/file\n./caf\u{e9} \"b\".local\nfirstof the working copy";
        assert_eq!(answer(&task).trim(), expected, "{wall:?}: {task:#}");
    }
}

#[test]
fn the_command_of_a_devcontainer_runs_once_in_a_new_session_where_the_operator_wants_it() {
    for wall in WALLS {
        let (described, shop) = described(wall);
        fs::create_dir(shop.join(".devcontainer")).unwrap();
        let text = "{\n  // what it needs\n  \"postCreateCommand\": [\"sh\", \"-c\", \"echo made by $A2A_CONTEXT_ID >> made\"],\n}\n";
        commit(&shop, ".devcontainer/devcontainer.json", text);
        let mut world = described.start();
        assert_eq!(answer(&world.send(message_in("zero", "ls"))).trim(), "README", "{wall:?}");
        world.reconfigure(json!({"agents": {"fake": {"setup": {"post_create": true}}}}));
        world.restart();
        let task = world.send(message_in("one", "cat made"));
        assert_eq!(answer(&task).trim(), "made by one", "{wall:?}: {task:#}");
        assert_eq!(answer(&world.send(message_in("one", "cat made"))).trim(), "made by one");
        commit(
            &shop,
            ".devcontainer/devcontainer.json",
            "{\"postCreateCommand\": \"echo no; exit 3\"}",
        );
        let task = world.send(message_in("two", "true"));
        assert_eq!(state(&task), "FAILED", "{wall:?}: {task:#}");
        assert!(
            words(&task).contains(
                "postCreateCommand of .devcontainer/devcontainer.json failed with exit code 3: no"
            ),
            "{task:#}"
        );
    }
}

#[test]
fn a_checkout_is_shown_in_the_task() {
    let (described, shop) = bare();
    fs::write(shop.join(".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n").unwrap();
    fs::write(shop.join(".gitmodules"), "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c evil\n")
        .unwrap();
    git(&shop, &["add", "-A"]);
    git(&shop, &["commit", "-q", "-m", "with all of it"]);
    let world = described.start();
    let events = world.stream("SendStreamingMessage", message_in("one", "true"));
    let told: Vec<String> = events.rest().iter().map(|event| event.result.to_string()).collect();
    let told = told.join("\n");
    for wanted in [
        "fetching shop",
        "works on shop (main, ",
        "submodules are not checked out",
        "files of git LFS are not fetched",
        "\"kind\":\"checkout\"",
    ] {
        assert!(told.contains(wanted), "{wanted} is missing in {told}");
    }
    // Where it lies is not the caller's business.
    assert!(!told.contains(shop.to_str().unwrap()), "{told}");
}

#[test]
fn ignored_folders_that_are_shared_are_read_by_a_link_and_never_written() {
    for wall in WALLS {
        let (described, shop) = described(wall);
        fs::create_dir_all(shop.join("web/node_modules/left-pad")).unwrap();
        fs::write(shop.join("web/node_modules/left-pad/index.js"), "padded").unwrap();
        fs::write(shop.join(".env"), "SECRET=x").unwrap();
        commit(&shop, ".gitignore", "node_modules\n.env\n");
        let share = json!({"workspace": {"repository": {"share": ["web/node_modules", "none"]}}});
        let world = described.config(share).start();
        let script = "cat web/node_modules/left-pad/index.js; touch web/node_modules/x 2>/dev/null && echo written; \
                      git status --porcelain; ls -A";
        assert_eq!(
            answer(&world.say(script)).trim(),
            "padded.git\n.gitignore\nREADME\nweb",
            "{wall:?}"
        );
        assert!(!shop.join("web/node_modules/x").exists());
    }
}

// === what a repository or an agent may not do to the server ===

#[test]
fn what_an_agent_plants_in_its_clone_is_never_run_by_the_server() {
    let (described, shop) = bare();
    let planted = described.path("planted");
    let mut world = described.start();
    let trap = format!("#!/bin/sh\\ntouch {}\\n", planted.display());
    // Hooks, a monitor, a filter and an alias; and a git directory that is elsewhere.
    let script = format!(
        "mkdir -p .git/hooks; for name in post-checkout pre-push reference-transaction post-index-change fsmonitor-watchman; \
         do printf '{trap}' > .git/hooks/$name; chmod +x .git/hooks/$name; done; \
         git config core.fsmonitor .git/hooks/fsmonitor-watchman; git config core.hooksPath .git/hooks; \
         git config filter.evil.clean \"touch {0}\"; git config filter.evil.smudge \"touch {0}\"; \
         git config core.sshCommand \"touch {0}\"; git config alias.status \"!touch {0}\"; rm -f {0}; \
         echo '* filter=evil' > .gitattributes; echo x > file",
        planted.display()
    );
    assert_eq!(state(&world.send(message_in("one", &script))), "COMPLETED");
    let _ = fs::remove_file(&planted);
    let elsewhere =
        "mkdir $HOME/away && mv .git $HOME/away/git && echo \"gitdir: $HOME/away/git\" > .git";
    assert_eq!(state(&world.send(message_in("one", elsewhere))), "COMPLETED");
    // Another session begins, upstream has moved, and the server sweeps.
    commit(&shop, "README", "second");
    assert_eq!(answer(&world.send(message_in("two", "cat README"))), "second");
    world.reconfigure(json!({"sessions": {"sweep_every": "50ms"}}));
    world.restart();
    assert_eq!(answer(&world.send(message_in("three", "cat README"))), "second");
    assert!(!planted.exists());
}

#[test]
fn hooks_and_settings_of_a_repository_on_this_machine_are_not_run() {
    let (described, shop) = bare();
    let planted = described.path("planted");
    let hook = shop.join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", planted.display())).unwrap();
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let run = format!("touch {}", planted.display());
    git(&shop, &["config", "uploadpack.packObjectsHook", &run]);
    git(&shop, &["config", "core.fsmonitor", &run]);
    git(&shop, &["config", "filter.evil.smudge", &run]);
    commit(&shop, ".gitattributes", "* filter=evil\n");
    let _ = fs::remove_file(&planted);
    let world = described.start();
    assert_eq!(answer(&world.say("cat README; ls .git/hooks 2>/dev/null")), "first");
    assert!(!planted.exists());
}

#[test]
fn a_repository_that_is_too_large_fails_the_turn_and_leaves_nothing() {
    let (described, shop) = bare();
    // Nothing that can be compressed.
    let noise: Vec<u8> = (0u64..1 << 16)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).to_le_bytes())
        .collect();
    fs::write(shop.join("large"), noise).unwrap();
    git(&shop, &["add", "large"]);
    git(&shop, &["commit", "-q", "-m", "large"]);
    let mut world = described.config(json!({"limits": {"repository": "64KiB"}})).start();
    let task = world.say("true");
    assert_eq!(state(&task), "FAILED");
    let told = words(&task);
    assert!(
        told.starts_with("the repository shop is larger than 64KiB (`limits.repository`)"),
        "{told}"
    );
    world.reconfigure(json!({"limits": {"repository": null}}));
    world.restart();
    assert_eq!(answer(&world.say("cat README")), "first");
    let left = objects(&mirrors(&world)[0]);
    assert!(!left.iter().any(|path| path.to_str().unwrap().contains("tmp_")), "{left:?}");
}

#[test]
fn a_session_that_is_a_copy_of_another_has_its_files_its_base_and_a_branch_of_its_own() {
    let (described, _) = bare();
    let world = described.start();
    world.send(message_in(
        "one",
        "echo more > file; git add file; git commit -qm second; echo draft > draft",
    ));
    let mut params =
        message_in("two", "git log --format=%s; cat draft; git rev-parse --abbrev-ref HEAD");
    params["message"]["metadata"] = json!({"fork": {"contextId": "one"}});
    let said = answer(&world.send(params));
    let [one, two] = ["one", "two"].map(|context| session(&world, context)["checkout"].clone());
    assert_eq!(one["base"], two["base"]);
    assert_ne!(one["branch"], two["branch"]);
    assert_eq!(said.trim(), format!("second\nfirst\ndraft\n{}", two["branch"].as_str().unwrap()));
}

#[test]
fn a_repository_that_cannot_be_used_stops_the_start_with_what_to_do() {
    let described = World::describe();
    let shop = repository(&described, "shop");
    fs::create_dir(shop.join("src")).unwrap();
    let failure = cloning(described, &shop.join("src")).fails();
    assert!(failure.stderr.contains("is no git repository; did you mean"), "{}", failure.stderr);
    let started = |folder: &str, reference: Option<&str>| {
        let described = World::describe();
        let shop = repository(&described, "shop");
        git(&shop, &["init", "-q", "-b", "main", "../empty"]);
        let at = json!({"url": shop.with_file_name(folder), "ref": reference});
        let config = json!({"workspace": {"mode": "repository", "repository": at}});
        described.config(config).fails().stderr
    };
    for (folder, reference, told) in [
        ("nope", None, "nope does not exist"),
        ("empty", None, "empty has no commit on the branch that is checked out there; commit"),
        ("shop", Some("nope"), "shop has no branch, tag or commit `nope`; the operator must"),
        ("empty", Some("main"), "empty has no branch, tag or commit `main`"),
    ] {
        let said = started(folder, reference);
        assert!(said.contains(told), "{said}");
    }
    for (url, told) in [
        ("git@example.com:acme/shop", "`egress.git`"),
        ("https://user:hunter2@example.com/shop", "`egress.git`"),
        ("ext::sh -c true", "ssh"),
    ] {
        let config = json!({"workspace": {"mode": "repository", "repository": {"url": url}}});
        let failure = World::describe().config(config).fails();
        assert!(
            failure.stderr.contains(told) && !failure.stderr.contains("hunter2"),
            "{}",
            failure.stderr
        );
    }
    let failure = World::describe().config(json!({"workspace": {"mode": "repository"}})).fails();
    assert!(failure.stderr.contains("`workspace.repository.url` is needed"), "{}", failure.stderr);
}

// === the end of a session ===

fn sessions(world: &World) -> Vec<Value> {
    let authorization = format!("Bearer {OWNER}");
    let reply = world.get("/api/v1/sessions", &[("Authorization", &authorization)]);
    reply.json()["sessions"].as_array().unwrap().clone()
}

#[test]
fn a_session_with_work_that_is_nowhere_else_is_kept_until_it_has_none() {
    for wall in WALLS {
        let (described, _) = described(wall);
        let mut world = described.start();
        for (context, script) in [
            ("clean", "true"),
            ("changed", "echo x > file"),
            ("committed", "echo x > file; git add file; git commit -qm x"),
            ("broken", "rm -rf .git/objects"),
        ] {
            assert_eq!(state(&world.send(message_in(context, script))), "COMPLETED");
        }
        world.reconfigure(json!({"sessions": {"sweep_every": "50ms", "retention": {"count": 0}}}));
        world.restart();
        let kept = await_some("the sweep", world.patience(), || {
            let left = sessions(&world);
            let all_are_kept = left.iter().all(|session| session["kept"].is_string());
            (left.len() == 3 && all_are_kept).then_some(left)
        });
        let why = |context: &str| {
            let session = kept.iter().find(|session| session["contextId"] == context).unwrap();
            session["kept"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            why("changed"),
            "unsaved work: 1 changed files, 0 commits that are on no branch of shop"
        );
        assert_eq!(
            why("committed"),
            "unsaved work: 0 changed files, 1 commits that are on no branch of shop"
        );
        assert!(
            why("broken").starts_with("its clone could not be looked at: git "),
            "{}",
            why("broken")
        );
        world.send(message_in("changed", "rm file"));
        await_some("the end of the session", world.patience(), || {
            (sessions(&world).len() == 2).then_some(())
        });
    }
}

#[test]
fn a_session_is_removed_by_a_word_and_one_with_unsaved_work_by_force_alone() {
    let (described, _) = bare();
    let world = described.start();
    world.send(message_in("one", "echo x > file"));
    let remove = |body: &str| {
        let headers = [("Authorization", format!("Bearer {OWNER}"))];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = world.post("/api/v1/sessions/one/remove", &headers, body.as_bytes());
        (reply.status, reply.text())
    };
    let (status, told) = remove("{}");
    assert!(status == 409 && told.contains("unsaved work: 1 changed files"), "{status} {told}");
    assert_eq!(answer(&world.send(message_in("one", "cat file"))).trim(), "x");
    let (status, told) = remove(r#"{"force": true}"#);
    assert_eq!(status, 200, "{told}");
    assert_eq!(fs::read_dir(world.path("work")).unwrap().count(), 0);
    assert_eq!(remove("{}").0, 404);
    // The same context begins anew.
    assert_eq!(answer(&world.send(message_in("one", "ls"))).trim(), "README");
}

#[test]
fn a_sessions_branch_is_pulled_into_the_repository_that_it_is_a_clone_of() {
    let (described, shop) = bare();
    let world = described.start();
    world.send(message_in(
        "one",
        "echo more > file; git add file; git commit -qm second; echo draft > draft",
    ));
    world.send(message_in("none", "true"));
    let pull = |context: &str| {
        let mut pilothouse = Command::new(env!("CARGO_BIN_EXE_pilothouse"));
        pilothouse.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", &shop);
        pilothouse
            .env("PILOTHOUSE_URL", format!("http://{}", world.address()))
            .env("PILOTHOUSE_TOKEN", OWNER);
        let run =
            pilothouse.args(["sessions", "pull", context]).current_dir(&shop).output().unwrap();
        let said = [run.stdout, run.stderr].concat();
        (run.status.success(), String::from_utf8(said).unwrap())
    };
    let branch = session(&world, "one")["checkout"]["branch"].as_str().unwrap().to_owned();
    assert_eq!(pull("one"), (true, format!("{branch}\n")));
    assert_eq!(git(&shop, &["log", "--format=%s", &branch]), "second\nfirst");
    assert_eq!(git(&shop, &["rev-parse", "--abbrev-ref", "HEAD"]), "main");
    assert_eq!(git(&shop, &["status", "--porcelain"]), "");
    // What was pulled is no reason to keep the session, what is not committed is.
    let remove = || {
        let headers = [("Authorization", format!("Bearer {OWNER}"))];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.post("/api/v1/sessions/one/remove", &headers, b"{}").text()
    };
    let kept = remove();
    assert!(kept.contains("unsaved work: 1 changed files, 0 commits"), "{kept}");
    let (pulled, said) = pull("none");
    assert!(!pulled && said.contains("nothing is committed on pilothouse/"), "{said}");
    // A branch that was rewritten is not taken for the old one.
    world.send(message_in("one", "git commit -q --amend -m other"));
    assert!(!pull("one").0);
    assert_eq!(git(&shop, &["log", "--format=%s", &branch]), "second\nfirst");
}

// === over HTTP ===

/// Serves the repositories below a folder as git itself does, and notes each request that asks for objects. Not at the
/// address that sandboxes reach without the proxy.
const SMART_HTTP: &str = r#"
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if b"command=fetch" in body:
            open(sys.argv[2], "a").write("fetch\n")
        names = {"CONTENT_TYPE": "Content-Type", "HTTP_CONTENT_ENCODING": "Content-Encoding", "HTTP_GIT_PROTOCOL": "Git-Protocol"}
        env = {name: self.headers.get(header, "") for name, header in names.items()}
        env |= {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": sys.argv[1], "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path}
        env |= {"QUERY_STRING": query, "REQUEST_METHOD": self.command, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE).stdout
        head, _, rest = done.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        self.send_response(int(dict(fields).get("Status", "200")[:3]))
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)
    do_GET = do_POST = answer
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.2", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// Such a server, until it is dropped.
pub(crate) struct SmartHttp {
    child: Child,
    /// Its address.
    pub(crate) url: String,
}

impl SmartHttp {
    pub(crate) fn start(folder: &Path, log: &Path) -> Self {
        Self::run(SMART_HTTP, &[folder, log])
    }

    /// A program of Python that first prints its port.
    pub(crate) fn run(program: &str, args: &[&Path]) -> Self {
        let mut python = Command::new("python3");
        python.args(["-c", program]).args(args).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, url: format!("http://127.0.0.2:{}", line.trim()) }
    }
}

impl Drop for SmartHttp {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_repository_over_http_is_downloaded_once_and_then_only_what_is_new() {
    let (described, shop) = described(Wall::covering());
    let served = described.path("served");
    git(&shop, &["clone", "-q", "--bare", ".", served.join("shop.git").to_str().unwrap()]);
    let log = described.path("fetches");
    let upstream = SmartHttp::start(&served, &log);
    let url = format!("{}/shop.git", upstream.url);
    let world = described.config(json!({"workspace": {"repository": {"url": url}}})).start();
    let fetches = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    let said = answer(&world.send(message_in("one", "cat README; git remote get-url origin")));
    assert_eq!(said.trim(), format!("first{url}"));
    assert_eq!(answer(&world.send(message_in("two", "cat README"))), "first");
    assert_eq!(fetches(), 1);
    commit(&shop, "README", "second");
    git(&shop, &["push", "-q", served.join("shop.git").to_str().unwrap(), "main"]);
    assert_eq!(answer(&world.send(message_in("three", "cat README"))), "second");
    assert_eq!(fetches(), 2);
    // Upstream is gone: a new session says so, and an older one goes on.
    drop(upstream);
    let task = world.send(message_in("four", "true"));
    assert!(state(&task) == "FAILED" && words(&task).contains("`egress.git`"), "{}", words(&task));
    assert_eq!(answer(&world.send(message_in("one", "cat README"))), "first");
}

#[test]
fn a_commit_that_no_branch_leads_to_is_found_by_a_turn_that_waits_for_the_fetch_of_others() {
    let shell = json!({"program": "/bin/bash", "args": ["-c"], "format": "text", "caller_may": {"refs": ["*"]}});
    let described = World::describe().agent(shell);
    let shop = repository(&described, "shop");
    let served = described.path("served");
    let upstream = served.join("shop.git");
    git(&shop, &["clone", "-q", "--bare", ".", upstream.to_str().unwrap()]);
    git(&shop, &["checkout", "-q", "--detach"]);
    let hidden = commit(&shop, "README", "hidden");
    git(&shop, &["push", "-q", upstream.to_str().unwrap(), "HEAD:refs/hidden/one"]);
    let (log, hold) = (described.path("fetches"), described.path("hold"));
    fs::write(&hold, "").unwrap();
    let waiting =
        "        while os.path.exists(sys.argv[3]): time.sleep(0.01)\n        path, _, query =";
    let program =
        SMART_HTTP.replace("        path, _, query =", waiting).replace("import ", "import time, ");
    let host = SmartHttp::run(&program, &[&served, &log, &hold]);
    let url = format!("{}/shop.git", host.url);
    let world = cloning(described, Path::new(&url)).start();
    let others = ["one", "two"].map(|context| world.begin_with(message_in(context, "cat README")));
    let mut wishing = message_in("three", "cat README");
    wishing["message"]["metadata"] = json!({"urn:pilothouse:wishes:v1": {"ref": hidden}});
    let wishing = world.begin_with(wishing);
    world.await_task(&wishing, "its fetch", |task| words(task).contains("fetching shop"));
    fs::remove_file(&hold).unwrap();
    for (task, text) in others.iter().map(|task| (task, "first")).chain([(&wishing, "hidden")]) {
        let done = world.await_state(task, &["COMPLETED", "FAILED"]);
        assert_eq!(answer(&done), text, "{done:#}");
    }
    // No ref of the mirror grows with such wishes.
    let refs = fs::read_to_string(mirrors(&world)[0].join("packed-refs")).unwrap();
    assert!(!refs.contains(&hidden), "{refs}");
}
