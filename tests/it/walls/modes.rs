//! Modes of files that an agent leaves: none of them gives the server's identity to another user of the machine.

use super::grants::say_to_other;
use super::{WALLS, Wall, Walls};
use crate::building::Builder;
use crate::reading::{answer, message, message_in, message_with, state, text_of};
use crate::world::{OWNER, World};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

/// Makes a file with both bits by each call that sets modes, and prints the ways that worked.
const WAYS: &str = r#"PATH=/usr/bin:/bin python3 - <<'END'
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
here, mode, regular, tmpfile = -100, 0o6711, 0o100000, os.O_TMPFILE
make = os.O_CREAT | os.O_EXCL | os.O_WRONLY
def call(number, *words):
    return libc.syscall(number, *[word.encode() if isinstance(word, str) else word for word in words])
def plain(name):
    os.close(os.open(name, make, 0o711))
    return name
def how(flags):
    return (ctypes.c_uint64 * 3)(flags, mode, 0)
def link(file, name):
    if file >= 0:
        libc.linkat(here, f"/proc/self/fd/{file}".encode(), here, name.encode(), 0x400)
ways = {
    "fchmod": lambda name: call(91 if x86 else 52, os.open(plain(name), os.O_RDONLY), mode),
    "fchmodat": lambda name: call(268 if x86 else 53, here, plain(name), mode),
    "fchmodat2": lambda name: call(452, here, plain(name), mode, 0),
    "openat": lambda name: call(257 if x86 else 56, here, name, make, mode),
    "openat-nameless": lambda name: link(call(257 if x86 else 56, here, ".", tmpfile | os.O_RDWR, mode), name),
    "openat2": lambda name: call(437, here, name, how(make), 24),
    "openat2-nameless": lambda name: link(call(437, here, ".", how(tmpfile | os.O_RDWR), 24), name),
    "mknodat": lambda name: call(259 if x86 else 33, here, name, regular | mode, 0),
    "mkdirat": lambda name: call(258 if x86 else 34, here, name, mode),
}
if x86:
    ways |= {
        "chmod": lambda name: call(90, plain(name), mode),
        "open": lambda name: call(2, name, make, mode),
        "open-nameless": lambda name: link(call(2, ".", tmpfile | os.O_RDWR, mode), name),
        "creat": lambda name: call(85, name, mode),
        "mknod": lambda name: call(133, name, regular | mode, 0),
        "mkdir": lambda name: call(83, name, mode),
    }
os.mkdir("ways")
os.chdir("ways")
for name, way in ways.items():
    try:
        way(name)
    except OSError:
        pass
print("worked:", *sorted(name for name in os.listdir(".") if os.stat(name).st_mode & 0o6000))
END"#;

/// Where the session of a context really lies.
fn workspace(world: &World, context: &str) -> PathBuf {
    let authorization = format!("Bearer {OWNER}");
    let path = format!("/api/v1/sessions/{context}");
    PathBuf::from(text_of(
        &world.get(&path, &[("Authorization", &authorization)]).json(),
        "workspace",
    ))
}

/// What the agent says of its ways, and those whose files have such a bit seen from outside.
fn ways(builder: Builder) -> (String, Vec<String>) {
    let world = builder.start();
    let task = world.send(message_in("one", WAYS));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    let entries = fs::read_dir(workspace(&world, "one").join("ways")).unwrap();
    let mut left: Vec<String> = entries
        .map(Result::unwrap)
        .filter(|entry| entry.metadata().unwrap().mode() & 0o6000 != 0)
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    left.sort();
    (answer(&task), left)
}

#[test]
fn no_file_that_gives_the_servers_identity_away_is_left_in_a_workspace() {
    for wall in WALLS {
        for builder in [wall.shell(), wall.shell().ordinary()] {
            assert_eq!(ways(builder), ("worked:\n".to_owned(), Vec::new()), "{wall:?}");
        }
    }
}

#[test]
fn without_a_sandbox_each_of_these_ways_works() {
    let bash = json!({"program": "/bin/bash", "args": ["-c"], "format": "text"});
    let (said, left) = ways(World::describe().agent(bash));
    assert_eq!(said, format!("worked: {}\n", left.join(" ")));
    // The kernel itself ignores the bits when a folder is made.
    let expected = if cfg!(target_arch = "x86_64") { 13 } else { 8 };
    assert_eq!(left.len(), expected, "{left:?}");
}

#[test]
fn programs_that_set_ordinary_modes_and_know_openat2_still_work() {
    let script = "set -e; git init -q repository; cd repository; git config user.email a@b; git config user.name a; \
                  echo x > file; chmod +t . ; chmod 755 file; install -m 700 -d made; git add .; git commit -qm one; \
                  git log --oneline | wc -l; mkdir copy; tar cf - file | tar xpf - -C copy; stat -c %a copy/file";
    // An image for tests has no Git.
    for wall in Walls::HERE {
        let task = wall.shell().start().say(script);
        assert_eq!(answer(&task), "1\n755\n", "{wall:?}: {task:#}");
    }
}

// === users ===

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The first of the numbers that agents of a root server have; the group of all of them.
const FIRST: u32 = 0x7000_0000;

/// Guarantees that no sandbox lacks where agents are root.
const WITHOUT_MODES: [&str; 2] = ["env", "fs.read"];

/// The ways in which an agent comes to its user behind bubblewrap, and in a container, where none is root.
fn users() -> Vec<(&'static str, Builder)> {
    let shell = || Wall::covering().shell();
    let shared = || shell().config(json!({"workspace": {"mode": "shared"}}));
    if Wall::covering() == Wall::Container {
        return vec![("its own", shell()), ("an ordinary one", shell().ordinary())];
    }
    vec![
        ("its own", shell()),
        ("root, by configuration", shell().config(json!({"isolation": {"uids": {"count": 0}}}))),
        ("root, in a shared workspace", shared()),
        ("an ordinary one", shell().ordinary()),
    ]
}

#[test]
fn each_session_of_a_root_server_has_a_user_of_its_own() {
    for wall in WALLS {
        let world = wall.shell().start();
        let owner = |context: &str| {
            let said = answer(&world.send(message_in(context, "id -u; id -g; id -G; touch made")));
            let made = fs::metadata(workspace(&world, context).join("made")).unwrap().uid();
            let inside = if wall == Wall::Bubblewrap { 1000 } else { made };
            let also = match wall {
                Wall::Landlock if is_root() => format!(" {FIRST}"),
                Wall::Landlock | Wall::Bubblewrap | Wall::Container => String::new(),
            };
            assert_eq!(said, format!("{inside}\n{inside}\n{inside}{also}\n"), "{wall:?}");
            made
        };
        let [one, again, two] = ["one", "one", "two"].map(owner);
        assert_eq!(one, again);
        if is_root() {
            assert!(one >= FIRST && two >= FIRST && one != two, "{wall:?}: {one} {two}");
            assert!(!world.stderr().contains("root to the kernel"), "{}", world.stderr());
        }
    }
}

#[test]
fn programs_open_their_streams_again_by_name() {
    let script =
        "echo out > /dev/stdout; echo more > /proc/self/fd/1; echo error > /dev/stderr && echo end";
    for wall in WALLS {
        for (user, builder) in
            [("its own", wall.shell()), ("an ordinary one", wall.shell().ordinary())]
        {
            let task = builder.start().say(script);
            assert_eq!(answer(&task), "out\nmore\nend\n", "{wall:?}, {user}: {task:#}");
        }
    }
}

#[test]
fn a_root_server_that_may_not_trace_connects_for_agents_with_users_of_their_own() {
    if !is_root() {
        return;
    }
    // The start itself reaches the proxy from a session, or fails.
    let world = Wall::Landlock.shell().through(["setpriv", "--bounding-set=-sys_ptrace"]).start();
    assert!(!world.stderr().contains("root to the kernel"), "{}", world.stderr());
    assert!(world.stderr().contains("net.egress"), "{}", world.stderr());
}

#[test]
fn no_mode_of_a_device_or_of_an_entry_of_proc_can_be_changed() {
    let script = "for file in /dev/null /dev/zero /dev/full /dev/tty /dev/random /dev/urandom /proc/[a-z]* /proc/sys/kernel/*; do \
                  [ -L $file ] || ! chmod $(stat -c %a $file) $file 2> /dev/null || echo $file; done; echo end";
    let mut users = users();
    if Wall::covering() == Wall::Bubblewrap {
        users.push(("its own, by landlock", Wall::Landlock.shell()));
        users.push(("an ordinary one, by landlock", Wall::Landlock.shell().ordinary()));
    }
    for (user, builder) in users {
        assert_eq!(answer(&builder.start().say(script)), "end\n", "{user}");
    }
}

#[test]
fn devices_work_whoever_the_agent_is() {
    let script = "head -c 1 /dev/zero | wc -c; head -c 2 /dev/urandom | wc -c; echo x > /dev/null; echo y > /dev/full; \
                  PATH=/usr/bin:/bin python3 -c 'import pty; print(len(pty.openpty()))'";
    for (user, builder) in users() {
        assert_eq!(answer(&builder.start().say(script)), "1\n2\n2\n", "{user}");
    }
    // By Landlock terminals are granted, by a folder that only root may change.
    let terminals = json!({"isolation": {"write": ["/dev/ptmx", "/dev/pts"]}});
    if Wall::covering() == Wall::Bubblewrap {
        let world = Wall::Landlock.shell().config(terminals).start();
        assert_eq!(answer(&world.say(script)), "1\n2\n2\n");
    }
}

#[test]
fn nothing_can_be_made_in_dev_and_its_shared_memory_is_bounded() {
    let script = "touch /dev/file && echo made; head -c 2M /dev/zero > /dev/shm/file || echo full; \
                  stat -c %s /dev/shm/file";
    for (user, builder) in users() {
        let world = builder.config(json!({"isolation": {"limits": {"shm": "1MiB"}}})).start();
        assert_eq!(answer(&world.say(script)), "full\n1048576\n", "{user}");
    }
}

#[test]
fn a_session_of_an_earlier_server_is_given_to_its_user_with_all_that_is_in_it() {
    for wall in Walls::HERE {
        let uids =
            |count: u32| json!({"isolation": {"uids": {"count": count}, "require": WITHOUT_MODES}});
        let mut world = wall.shell().config(uids(0)).start();
        let said = |world: &World, script: &str| answer(&world.send(message_in("one", script)));
        said(&world, "mkdir -p a/b; echo first > a/b/file; echo of-home > ~/file; ln -s a link");
        world.sigterm();
        assert!(world.ended().success());
        world.reconfigure(uids(1000));
        world.restart();
        let script = "echo second >> a/b/file; cat a/b/file; rm -r a link; echo more >> ~/file; wc -l < ~/file";
        assert_eq!(said(&world, script), "first\nsecond\n2\n", "{wall:?}");
        // And back.
        world.sigterm();
        assert!(world.ended().success());
        world.reconfigure(uids(0));
        world.restart();
        assert_eq!(said(&world, "echo more >> ~/file; wc -l < ~/file"), "3\n", "{wall:?}");
    }
}

#[test]
fn a_file_of_the_callers_is_the_agents_own() {
    for wall in WALLS {
        let world = wall.shell().start();
        let file =
            json!({"raw": "/wD/AA==", "filename": "all.zip", "mediaType": "application/zip"});
        let script =
            "cat .a2a/*/all.zip | wc -c; echo more >> .a2a/*/all.zip; rm -r .a2a; ls -A; exit";
        let task = world.send(message_with(json!([{"text": script}, file])));
        assert_eq!(answer(&task), "4\n", "{wall:?}: {task:#}");
    }
}

#[test]
fn a_fork_owns_its_copies() {
    for wall in WALLS {
        let world = wall.shell().start();
        world.send(message_in("first", "mkdir -p a; echo one > a/file; ln -s a/file link"));
        let mut forked = message("echo two >> a/file; cat link; rm -r a link; ls");
        forked["message"]["metadata"] = json!({"fork": {"contextId": "first"}});
        let task = world.send(forked);
        assert_eq!(answer(&task), "one\ntwo\n", "{wall:?}: {task:#}");
    }
}

#[test]
fn the_start_says_why_agents_are_root() {
    if !is_root() {
        return;
    }
    let builder = Wall::Bubblewrap.described();
    let key = builder.path("key");
    fs::write(&key, "key").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let granted = builder.granted([&key]).start();
    assert!(granted.stderr().contains("only root may read it"), "{}", granted.stderr());
    for (user, builder) in users() {
        let says = builder.start().stderr().contains("agents are root to the kernel");
        assert_eq!(says, user.starts_with("root"), "{user}");
    }
}

#[test]
fn where_an_agent_by_landlock_is_root_the_start_says_why_and_does_not_promise_modes() {
    if !is_root() {
        return;
    }
    let closed = Wall::Landlock.shell();
    fs::set_permissions(closed.path(""), Permissions::from_mode(0o700)).unwrap();
    let told = format!("other users may not enter {}", closed.path("").display());
    let without = |capability: &str| {
        Wall::Landlock.shell().through(["setpriv", &format!("--bounding-set=-{capability}")])
    };
    let uids = json!({"isolation": {"uids": {"count": 0}}});
    for (builder, why) in [
        (closed, told.trim_end_matches('/')),
        (without("setuid"), "the server does not have CAP_SETUID"),
        (Wall::Landlock.shell().config(uids), "`isolation.uids.count` is 0"),
    ] {
        let failed = builder.fails().stderr;
        assert!(failed.contains(&format!("landlock: agents are root ({why}")), "{failed}");
        assert!(failed.contains("does not give `fs.write`"), "{failed}");
        let world = builder.config(json!({"isolation": {"require": WITHOUT_MODES}})).start();
        let stderr = world.stderr();
        assert!(stderr.contains(&format!("agents are root to the kernel ({why}")), "{stderr}");
        assert_eq!(answer(&world.say("id -u")), "0\n", "{why}");
    }
}

#[test]
fn the_refusal_for_closed_folders_names_each_of_them_with_the_keys_and_what_is_lacking_then() {
    if !is_root() {
        return;
    }
    let builder = Wall::Landlock.shell();
    let closed = [builder.path("of-state"), builder.path("of-work")];
    for folder in &closed {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    }
    let [state, work] = closed.each_ref().map(|folder| folder.join("inside"));
    let told = builder
        .config(json!({
            "state_dir": state,
            "workspace": {"path": work},
            "isolation": {"require": ["env", "fs.read", "fs.write", "processes"]},
        }))
        .fails()
        .stderr;
    let [of_state, of_work] = closed.map(|folder| folder.display().to_string());
    for words in [
        format!("other users may not enter {of_state} (mode 700), {of_work} (mode 700)"),
        format!("{of_state}/inside/sessions (`state_dir`), {of_work}/inside (`workspace.path`)"),
        "set `state_dir` to /var/lib/pilothouse, set `workspace.path` to /var/lib/pilothouse/workspace".to_owned(),
        format!("or `chmod o+x {of_state} {of_work}`"),
        "then it lacks only processes: `isolation.require: [env, fs.read, fs.write]`".to_owned(),
    ] {
        assert!(told.contains(&words), "{words}\n{told}");
    }
}

#[test]
fn a_folder_of_path_that_agents_cannot_come_to_leaves_none_of_them_root() {
    let builder = Wall::Landlock.shell();
    let closed = builder.path("closed");
    fs::create_dir_all(closed.join("bin")).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:/usr/bin:/bin", closed.join("bin").display());
    let world = builder.env("PATH", &path).start();
    assert!(!world.stderr().contains("root to the kernel"), "{}", world.stderr());
    assert_eq!(answer(&world.say("id -u > file; wc -l < file")), "1\n");
}

#[test]
fn an_agent_that_is_root_does_not_keep_one_with_a_user_of_its_own_from_starting() {
    const OPERATOR: u32 = 65534;
    if !is_root() {
        return;
    }
    let builder = Wall::Bubblewrap.shell();
    let [project, roots] = ["project", "roots"].map(|name| builder.path(name));
    for folder in [&project, &roots] {
        fs::create_dir(folder).unwrap();
    }
    chown(&project, Some(OPERATOR), Some(OPERATOR)).unwrap();
    let mut other = builder.config["agents"]["fake"].clone();
    other["workspace"] = json!({"mode": "shared", "path": roots});
    let fake = json!({"workspace": {"mode": "shared", "path": project}});
    let world = builder.config(json!({"agents": {"other": other, "fake": fake}})).start();
    let made = |folder: &PathBuf| fs::metadata(folder.join("made")).unwrap().uid();
    assert_eq!(answer(&world.say("touch made; echo done")), "done\n");
    assert_eq!(answer(&say_to_other(&world, "touch made; echo done")), "done\n");
    assert_eq!((made(&project), made(&roots)), (OPERATOR, 0));
}

#[test]
fn a_granted_file_whose_mode_changes_is_refused_to_the_agent_and_its_user_stays() {
    if !is_root() {
        return;
    }
    for wall in WALLS {
        let builder = wall.shell();
        let key = builder.path("key");
        let set_mode = |mode| fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        fs::write(&key, "key\n").unwrap();
        set_mode(0o644);
        let world = builder.granted([&key]).start();
        let script = format!("cat {} || echo refused; echo >> made", key.display());
        let read = || {
            let said = answer(&world.send(message_in("one", &script)));
            let made = fs::metadata(workspace(&world, "one").join("made")).unwrap().uid();
            assert!(made >= FIRST, "{wall:?}: {made}");
            said
        };
        assert_eq!(read(), "key\n", "{wall:?}");
        set_mode(0o600);
        assert_eq!(read(), "refused\n", "{wall:?}");
        set_mode(0o644);
        assert_eq!(read(), "key\n", "{wall:?}");
    }
}

#[test]
fn an_agent_that_closes_a_folder_it_was_granted_stays_who_it_is_and_stops_no_agent() {
    const OPERATOR: u32 = 65534;
    if !is_root() {
        return;
    }
    for wall in WALLS {
        let builder = wall.shell();
        let [project, cache] = ["project", "cache"].map(|name| builder.path(name));
        for folder in [&project, &cache] {
            fs::create_dir(folder).unwrap();
            chown(folder, Some(OPERATOR), Some(OPERATOR)).unwrap();
        }
        let world = builder
            .config(json!({
                "workspace": {"mode": "shared", "path": project},
                "isolation": {"write": [cache]},
            }))
            .start();
        let script = format!(
            "chmod 0 {0}; touch {0}/file || echo refused; echo >> made; echo done",
            cache.display()
        );
        for context in ["one", "two"] {
            let task = world.send(message_in(context, &script));
            assert_eq!(answer(&task), "refused\ndone\n", "{wall:?}: {task:#}");
            let made = project.join("made");
            assert_eq!(fs::metadata(&made).unwrap().uid(), OPERATOR, "{wall:?} {context}");
            fs::remove_file(made).unwrap();
        }
    }
}

#[test]
fn an_agent_that_closes_a_folder_it_was_granted_does_not_become_root_beside_an_agent_that_is() {
    const OPERATOR: u32 = 65534;
    if !is_root() {
        return;
    }
    let builder = Wall::Bubblewrap.shell();
    let [project, cache, roots] = ["project", "cache", "roots"].map(|name| builder.path(name));
    for folder in [&project, &cache, &roots] {
        fs::create_dir(folder).unwrap();
    }
    for folder in [&project, &cache] {
        chown(folder, Some(OPERATOR), Some(OPERATOR)).unwrap();
    }
    let mut other = builder.config["agents"]["fake"].clone();
    other["workspace"] = json!({"mode": "shared", "path": project});
    let fake = json!({"workspace": {"mode": "shared", "path": roots}});
    let world = builder
        .config(json!({
            "agents": {"other": other, "fake": fake},
            "isolation": {"write": [cache]},
        }))
        .start();
    assert!(world.stderr().contains("root to the kernel"), "{}", world.stderr());
    let script = format!(
        "chmod 0 {0}; touch {0}/file || echo refused; echo >> made; echo done",
        cache.display()
    );
    for _ in 0..2 {
        let task = say_to_other(&world, &script);
        assert_eq!(answer(&task), "refused\ndone\n", "{task:#}");
        let made = project.join("made");
        assert_eq!(fs::metadata(&made).unwrap().uid(), OPERATOR);
        fs::remove_file(made).unwrap();
    }
}

// === folders above sessions ===

#[test]
fn the_folders_above_sessions_are_for_the_servers_user_alone() {
    let world = World::start();
    for folder in ["work", "state/sessions"] {
        assert_eq!(fs::metadata(world.path(folder)).unwrap().mode() & 0o777, 0o700, "{folder}");
    }
    assert!(!world.stderr().contains("may enter"), "{}", world.stderr());
}

#[test]
fn agents_of_a_root_server_pass_the_folders_above_sessions_by_a_group_and_others_stay_out() {
    if !is_root() {
        return;
    }
    let mut world = Wall::Landlock.shell().start();
    let mode = |world: &World, folder: &str| {
        let found = fs::metadata(world.path(folder)).unwrap();
        (found.mode() & 0o777, found.uid(), found.gid())
    };
    let script = "ls -d $HOME/../.. && ls $HOME/.. || echo not listed";
    for _ in 0..2 {
        for folder in ["work", "state/sessions"] {
            assert_eq!(mode(&world, folder), (0o710, 0, FIRST), "{folder}");
        }
        assert!(!world.stderr().contains("may enter"), "{}", world.stderr());
        assert!(answer(&world.say(script)).ends_with("not listed\n"));
        world.restart();
    }
}

#[test]
fn agents_pass_the_folders_that_the_start_of_a_root_server_makes_on_the_way_whatever_its_umask_is()
{
    if !is_root() {
        return;
    }
    let builder = Wall::Landlock.shell();
    let [state, work] = ["of-state/deep/state", "of-work/deep/work"].map(|name| builder.path(name));
    // The test itself finds the server by its usual name.
    symlink(&state, builder.path("state")).unwrap();
    let builder = builder.config(json!({"state_dir": state, "workspace": {"path": work}}));
    let mut world = builder.through(["sh", "-c", "umask 077; exec \"$@\"", "sh"]).start();
    for _ in 0..2 {
        assert!(!world.stderr().contains("root to the kernel"), "{}", world.stderr());
        assert_eq!(answer(&world.say("touch made; ls")), "made\n");
        for name in ["of-state", "of-state/deep", "of-work", "of-work/deep"] {
            let found = fs::metadata(world.path(name)).unwrap();
            assert_eq!((found.mode() & 0o777, found.gid()), (0o710, FIRST), "{name}");
        }
        world.restart();
    }
}

#[test]
fn by_landlock_a_workspace_that_others_may_enter_stays_as_it_is() {
    let builder = Wall::Landlock.shell();
    fs::create_dir(builder.path("work")).unwrap();
    fs::set_permissions(builder.path("work"), Permissions::from_mode(0o755)).unwrap();
    let world = builder.start();
    assert_eq!(answer(&world.say("touch made; ls")), "made\n");
    let work = fs::metadata(world.path("work")).unwrap();
    assert_eq!((work.mode() & 0o777, work.gid()), (0o755, rustix::process::getegid().as_raw()));
}

#[test]
fn a_workspace_that_others_may_enter_is_named_and_left_as_it_is() {
    let open = |name: &str, builder: &Builder| {
        fs::create_dir_all(builder.path(name)).unwrap();
        fs::set_permissions(builder.path(name), Permissions::from_mode(0o755)).unwrap();
    };
    let builder = World::describe();
    open("work", &builder);
    open("state/sessions", &builder);
    let world = builder.start();
    assert!(world.stderr().contains("other users of this machine may enter"), "{}", world.stderr());
    assert_eq!(fs::metadata(world.path("work")).unwrap().mode() & 0o777, 0o755);
    // This folder is the server's own.
    assert_eq!(fs::metadata(world.path("state/sessions")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_shared_workspace_that_others_may_enter_is_what_the_operator_wants() {
    let builder = World::describe().config(json!({"workspace": {"mode": "shared"}}));
    fs::create_dir(builder.path("work")).unwrap();
    fs::set_permissions(builder.path("work"), Permissions::from_mode(0o755)).unwrap();
    let world = builder.start();
    assert!(!world.stderr().contains("may enter"), "{}", world.stderr());
}

/// Uses programs that copy and show attributes where there are some, and then asks for attributes itself.
const ATTRIBUTES: &str = r#"set -e
PATH=/usr/bin:/bin
echo text > one
cp -a one two
mv two three
ls -l one three > /dev/null
tar cf all.tar one three
python3 - <<'END'
import ctypes, os, shutil
shutil.copy2("one", "four")
libc = ctypes.CDLL(None, use_errno=True)
libc.setxattr(b"one", b"user.note", b"x", 1, 0)
print(os.strerror(ctypes.get_errno()))
libc.getxattr(b"/etc/passwd", b"user.note", None, 0)
print(os.strerror(ctypes.get_errno()))
END
cat three four"#;

#[test]
fn where_landlock_stands_alone_programs_go_on_without_attributes() {
    let world = Wall::Landlock.shell().start();
    let unknown = "Operation not supported";
    assert_eq!(answer(&world.say(ATTRIBUTES)), format!("{unknown}\n{unknown}\ntext\ntext\n"));
    let world = Wall::Landlock.shell().ordinary().start();
    assert_eq!(answer(&world.say(ATTRIBUTES)), format!("{unknown}\n{unknown}\ntext\ntext\n"));
}
