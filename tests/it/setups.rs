//! Set-ups that are built in a phase of their own (`agents.*.setup.sources`, `script`): once for all sessions, in a
//! sandbox, bounded, and whole or not there at all.

use crate::bindings::BINDINGS;
use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{answer, message, message_in, state, words};
use crate::repositories::{SmartHttp, commit, git, repository};
use crate::walls::{WALLS, Wall};
use crate::world::{World, await_end};
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Serves the files of a folder; a path `/hang` is never answered.
const FILES: &str = r#"
import http.server, sys, threading
class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args):
        super().__init__(*args, directory=sys.argv[1])
    def do_GET(self):
        if self.path.startswith("/hang"):
            threading.Event().wait()
        super().do_GET()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.2", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// The shell as an agent without a sandbox: each message is a script.
fn shell() -> Builder {
    World::describe().agent(json!({"program": "/bin/bash", "args": ["-c"], "format": "text"}))
}

fn setup(builder: Builder, setup: Value) -> Builder {
    builder.agent(json!({"setup": setup}))
}

/// What a new session of this context says to a command.
fn say(world: &World, context: &str, command: &str) -> String {
    let task = world.send(message_in(context, command));
    assert_eq!(state(&task), "COMPLETED", "{}", words(&task));
    answer(&task).trim().to_owned()
}

/// The revision that new sessions begin with.
fn latest(world: &World) -> String {
    fs::read_to_string(world.path("state/setups/fake.latest")).unwrap_or_default()
}

/// Names in the folder of revisions.
fn revisions(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.path("state/setups/fake")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The host of an address, as a rule of egress.
fn reaches(builder: Builder, url: &str) -> Builder {
    let host = url.strip_prefix("http://").unwrap();
    builder.config(json!({"egress": {"inner": ["127.0.0.0/8"], "setup": [host]}}))
}

/// A repository that is served over HTTP, and the log of its fetches.
fn served(builder: &Builder) -> (SmartHttp, std::path::PathBuf, std::path::PathBuf) {
    let kit = repository(builder, "kit");
    let served = builder.path("served");
    git(&kit, &["clone", "-q", "--bare", ".", served.join("kit.git").to_str().unwrap()]);
    let log = builder.path("fetches");
    (SmartHttp::start(&served, &log), kit, log)
}

#[test]
fn sources_are_fetched_and_the_script_runs_once_for_all_sessions_and_starts_and_its_secrets_stay_there()
 {
    for wall in WALLS {
        let described = wall.shell();
        let (upstream, _, log) = served(&described);
        let script = "cp -R \"$PILOTHOUSE_SETUP_FILES/kit\" ~/kit\n\
                      printf %s \"$SETUP_TOKEN\" | wc -c > ~/length\n\
                      mkdir ~/bin; ln -s ../kit/README ~/bin/readme; echo run >> ~/runs\n";
        let declared = json!({
            "sources": {"kit": {"git": format!("{}/kit.git", upstream.url), "ref": "main"}},
            "files": ["source:kit"], "script": "set-up.sh", "secrets": ["SETUP_TOKEN"],
        });
        let described = reaches(setup(described, declared), &upstream.url)
            .file("set-up.sh", 0o644, script)
            .env("SETUP_TOKEN", "s3cret-of-the-set-up");
        let mut world = described.start();
        let look = "cat ~/bin/readme ~/runs ~/length; echo ${SETUP_TOKEN:-absent}; echo mine > ~/kit/README";
        let first = say(&world, "one", look);
        let seen: Vec<&str> = first.split_whitespace().collect();
        assert_eq!(seen, ["firstrun", "20", "absent"], "{wall:?}");
        assert_eq!(say(&world, "two", look), first);
        world.restart();
        assert_eq!(say(&world, "three", look), first);
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1, "{wall:?}");
        assert_eq!(revisions(&world), [latest(&world)]);
        assert!(!world.stderr().contains("s3cret"));
    }
}

#[test]
fn a_changed_set_up_is_built_while_the_old_one_serves_and_sessions_keep_what_they_began_with() {
    let cue = "while [ ! -e ~cues/go ]; do sleep 0.02; done";
    let described = shell().file("set-up.sh", 0o755, "#!/bin/sh\necho old > ~/which\n");
    let cue = cue.replace("~cues", described.path("cues").to_str().unwrap());
    let file = described.cwd().join("set-up.sh");
    let mut world = setup(described, json!({"script": "set-up.sh"})).start();
    assert_eq!(say(&world, "one", "cat ~/which"), "old");
    let old = latest(&world);
    fs::write(file, format!("#!/bin/sh\n{cue}\necho new > ~/which\n")).unwrap();
    world.restart();
    assert_eq!(say(&world, "two", "cat ~/which"), "old");
    assert!(world.stderr().contains(&format!("begin with revision {old}")));
    world.cue("go");
    await_some("the new revision", world.patience(), || (latest(&world) != old).then_some(()));
    await_some("a session with it", world.patience(), || {
        let context = uuid::Uuid::new_v4().to_string();
        (say(&world, &context, "cat ~/which") == "new").then_some(())
    });
    assert_eq!(say(&world, "one", "cat ~/which"), "old");
    assert_eq!(say(&world, "two", "cat ~/which"), "old");
    // A server that runs looks at the files when it is told to read its configuration again.
    fs::write(world.path("cwd/set-up.sh"), "#!/bin/sh\necho newest > ~/which\n").unwrap();
    world.hang_up();
    await_some("a session with the newest", world.patience(), || {
        let context = uuid::Uuid::new_v4().to_string();
        (say(&world, &context, "cat ~/which") == "newest").then_some(())
    });
}

#[test]
fn a_session_whose_set_up_is_not_the_wished_one_gets_no_turn() {
    let described = shell().file("set-up.sh", 0o644, "echo one > ~/which");
    let world = setup(described, json!({"script": "set-up.sh"})).start();
    assert_eq!(say(&world, "one", "cat ~/which"), "one");
    let wishing = |context: &str, revision: &str| {
        let mut params = message_in(context, "cat ~/which");
        params["message"]["metadata"] = json!({"urn:pilothouse:wishes:v1": {"setup": revision}});
        params
    };
    let own = latest(&world);
    for context in ["one", "two"] {
        assert_eq!(answer(&world.send(wishing(context, &own))).trim(), "one");
        let other = wishing(context, "another");
        let refused = world.through(BINDINGS[0]).error(Operation::SendMessage, &other);
        let said = format!("{refused:?}");
        assert!(said.contains("the wish `setup` is refused") && said.contains(&own), "{said}");
    }
}

#[test]
fn a_server_that_is_killed_in_the_middle_leaves_nothing_that_is_half_used() {
    let described = shell();
    let cue = described.path("cues").join("go").display().to_string();
    let script = format!(
        "echo half > ~/which; touch ~/begun; while [ ! -e {cue} ]; do sleep 0.02; done; echo whole > ~/which"
    );
    let mut world =
        setup(described.file("set-up.sh", 0o644, &script), json!({"script": "set-up.sh"})).start();
    let id = world.begin("cat ~/which");
    world.await_task(&id, "the build", |task| words(task).contains("is being built"));
    await_some("the script", world.patience(), || {
        let homes = fs::read_dir(world.path("state/sessions")).ok()?.flatten();
        homes.map(|home| home.path()).find(|home| home.join("begun").exists())
    });
    world.kill9();
    world.reconfigure(json!({"sessions": {"sweep_every": "50ms"}}));
    assert_eq!(latest(&world), "");
    world.cue("go");
    world.restart();
    assert_eq!(say(&world, "new", "cat ~/which"), "whole");
    await_some("the sweep", world.patience(), || {
        (revisions(&world) == [latest(&world)]).then_some(())
    });
}

/// The words of a task whose set-up could not be built.
fn failure(world: &World) -> String {
    let task = world.say("true");
    assert_eq!(state(&task), "FAILED", "{task:#}");
    words(&task)
}

#[test]
fn a_script_that_fails_fails_new_sessions_with_its_words_and_is_run_again_for_the_next_one() {
    let described = shell();
    let fixed = described.path("cues").join("fixed").display().to_string();
    let script = format!("echo no registry for $SETUP_TOKEN >&2; test -e {fixed}");
    let declared = json!({"script": "set-up.sh", "secrets": ["SETUP_TOKEN"]});
    let world = setup(described.file("set-up.sh", 0o644, &script), declared)
        .env("SETUP_TOKEN", "s3cret-of-the-set-up")
        .start();
    let said = failure(&world);
    assert!(said.contains("no registry for [SETUP_TOKEN]"), "{said}");
    assert!(said.contains("`agents.fake.setup`") && said.contains("exit code 1"), "{said}");
    assert_eq!(revisions(&world), [""; 0]);
    world.cue("fixed");
    say(&world, "again", "true");
}

#[test]
fn a_script_that_runs_for_ever_or_leaves_much_or_a_secret_is_ended_and_named_with_its_bound() {
    let secret = json!({"script": "set-up.sh", "secrets": ["SETUP_TOKEN"]});
    for (script, config, expected) in [
        (
            "setsid sleep 3600 & sleep 3600",
            json!({"timeouts": {"setup": "300ms"}}),
            "`timeouts.setup`",
        ),
        (
            "head -c 3000000 /dev/zero > ~/large",
            json!({"sessions": {"copy": {"size": "1MiB"}}}),
            "`sessions.copy.size`",
        ),
        (
            "for i in $(seq 50); do : > ~/$i; done",
            json!({"sessions": {"copy": {"entries": 40}}}),
            "`sessions.copy.entries`",
        ),
        (
            "echo //registry/:_authToken=$SETUP_TOKEN > ~/.npmrc",
            json!({}),
            "home/.npmrc holds the value of SETUP_TOKEN",
        ),
    ] {
        let world = setup(shell().file("set-up.sh", 0o644, script), secret.clone())
            .env("SETUP_TOKEN", "s3cret-of-the-set-up")
            .config(config)
            .start();
        let said = failure(&world);
        assert!(said.contains(expected) && !said.contains("s3cret"), "{script}: {said}");
        world.await_no_agents();
        assert_eq!(revisions(&world), [""; 0], "{script}");
    }
}

#[test]
fn a_script_that_fills_the_disk_is_ended() {
    let script = "head -c 9000000 /dev/zero > ~/large; sleep 3600";
    let world = setup(
        Wall::covering().shell().file("set-up.sh", 0o644, script),
        json!({"script": "set-up.sh"}),
    )
    .config(json!({"isolation": {"limits": {"disk": "4MiB"}}}))
    .start();
    let said = failure(&world);
    assert!(said.contains("`isolation.limits.disk`"), "{said}");
}

/// A tar archive of one file with this name.
fn archive(folder: &Path, name: &str, member: &str) -> String {
    let python = "import io,sys,tarfile\nt=tarfile.open(sys.argv[1],'w:gz')\ni=tarfile.TarInfo(sys.argv[2])\ni.size=5\n\
                  t.addfile(i,io.BytesIO(b'hello'))\nt.close()";
    let file = folder.join(name);
    let made = Command::new("python3").args(["-c", python]).arg(&file).arg(member).status();
    assert!(made.unwrap().success());
    let hash = Command::new("sha256sum").arg(file).output().unwrap().stdout;
    String::from_utf8(hash).unwrap()[..64].to_owned()
}

#[test]
fn a_source_that_is_not_what_was_declared_is_refused_with_its_name() {
    let described = shell();
    let files = described.path("files");
    fs::create_dir(&files).unwrap();
    let good = archive(&files, "good.tgz", "kit/README");
    let upwards = archive(&files, "upwards.tgz", "../escaped");
    fs::write(files.join("rules.md"), "rules").unwrap();
    let web = SmartHttp::run(FILES, &[&files]);
    let (upstream, kit, _) = served(&described);
    symlink("/etc/passwd", kit.join("out")).unwrap();
    git(&kit, &["add", "out"]);
    let linked = commit(&kit, "more", "more");
    git(&kit, &["push", "-q", described.path("served/kit.git").to_str().unwrap(), "main"]);
    let url = |path: &str| format!("{}/{path}", web.url);
    let other = "0".repeat(64);
    let cases = [
        (json!({"archive": url("good.tgz"), "sha256": other}), "not 000000"),
        (json!({"archive": url("upwards.tgz"), "sha256": upwards}), "names that lead out"),
        (
            json!({"archive": url("rules.md"), "sha256": Value::Null, "url": Value::Null}),
            "`sha256`",
        ),
        (json!({"url": url("absent.md")}), "could not be fetched"),
        (json!({"url": url("rules.md"), "sha256": other}), "not 000000"),
        (json!({"url": url("hang")}), "`timeouts.setup`"),
        (json!({"git": format!("{}/kit.git", upstream.url), "ref": linked}), "leads out of"),
        (json!({"git": format!("{}/kit.git", upstream.url), "ref": "v9"}), "has no v9"),
        (json!({"git": format!("{}/none.git", upstream.url), "ref": "main"}), "cannot be fetched"),
        (json!({"git": url("hang/kit.git"), "ref": "main"}), "source kit: fetching"),
    ];
    for (source, expected) in cases {
        let declared =
            json!({"sources": {"kit": source}, "files": ["source:kit"], "script": "set-up.sh"});
        let hangs = source.to_string().contains("/hang");
        let builder = setup(shell().file("set-up.sh", 0o644, "true"), declared);
        let patience = if hangs { "1s" } else { "2m" };
        let builder = builder.config(json!({"timeouts": {"setup": patience}}));
        if expected == "`sha256`" {
            assert!(builder.fails().stderr.contains(expected));
            continue;
        }
        let world = builder.start();
        let said = failure(&world);
        assert!(said.contains(expected), "{source}: {said}");
        assert!(!world.path("state/sessions/escaped").exists());
    }
    let declared = json!({"sources": {"kit": {"archive": url("good.tgz"), "sha256": good}},
        "files": ["source:kit/kit"], "script": "set-up.sh"});
    let copy = "cp \"$PILOTHOUSE_SETUP_FILES/kit/README\" ~";
    let world = setup(shell().file("set-up.sh", 0o644, copy), declared).start();
    assert_eq!(say(&world, "one", "cat ~/README"), "hello");
}

#[test]
fn what_a_set_up_asks_for_is_named_at_the_start_in_a_line_to_copy() {
    let script =
        "git clone https://git.example.com:8443/kit\nclaude plugin marketplace add acme/market\n";
    let described = Wall::covering().shell().file("set-up.sh", 0o644, script);
    let session = "#!/bin/sh\ntrue || curl https://files.example.com/x\n";
    let world =
        setup(described.file(".init-session.sh", 0o755, session), json!({"script": "set-up.sh"}))
            .agent(json!({"egress": {"setup": ["kept.example.com"]}}))
            .start();
    let said = world.stderr();
    for line in [
        "agents: {fake: {egress: {setup: [kept.example.com, git.example.com:8443, github.com]}}}",
        "agents: {fake: {egress: {setup: [kept.example.com, files.example.com]}}}",
    ] {
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(line), "{said}");
    }
}

#[test]
fn a_package_manager_whose_registry_nobody_has_allowed_is_named_at_the_start() {
    let described = Wall::covering().shell().file("set-up.sh", 0o644, "true || npm ci\n");
    let world = setup(described, json!({"script": "set-up.sh"})).start();
    let said = world.stderr().split_whitespace().collect::<Vec<_>>().join(" ");
    let line = "the set-up of `fake` runs npm: add the host of its package registry to `agents.fake.egress.setup`";
    assert!(said.contains(line), "{said}");
}

#[test]
fn a_credential_that_an_agent_has_inside_is_named_at_the_start_and_on_its_card() {
    let world = Wall::covering()
        .shell()
        .agent(json!({"secrets_inside": ["GH_TOKEN"]}))
        .env("GH_TOKEN", "s3cret-of-the-forge")
        .start();
    assert_eq!(say(&world, "one", "printenv GH_TOKEN"), "s3cret-of-the-forge");
    assert!(world.stderr().contains("`fake` has GH_TOKEN inside"));
    assert!(!world.stderr().contains("s3cret"));
    let card = world.get("/.well-known/agent-card.json", &[("A2A-Version", "1.0")]).json();
    assert!(card.to_string().contains("\"secretsInside\":[\"GH_TOKEN\"]"), "{card:#}");
}

#[test]
fn a_changed_set_up_that_fails_is_tried_again_for_the_next_new_session() {
    let described = shell().file("set-up.sh", 0o755, "echo old > ~/which\n");
    let fixed = described.path("cues").join("fixed").display().to_string();
    let mut world = setup(described, json!({"script": "set-up.sh"})).start();
    assert_eq!(say(&world, "one", "cat ~/which"), "old");
    let script = format!("test -e {fixed} && echo new > ~/which\n");
    fs::write(world.path("cwd/set-up.sh"), script).unwrap();
    world.restart();
    await_some("the failure", world.patience(), || {
        world.stderr().contains("could not be built").then_some(())
    });
    world.cue("fixed");
    assert_eq!(say(&world, "two", "cat ~/which"), "old");
    await_some("a session with the new one", world.patience(), || {
        let context = uuid::Uuid::new_v4().to_string();
        (say(&world, &context, "cat ~/which") == "new").then_some(())
    });
}

#[test]
fn a_session_that_waits_for_its_set_up_holds_no_place_among_the_processes() {
    let described = World::describe();
    let cue = described.path("cues").join("go").display().to_string();
    let script = format!("while [ ! -e {cue} ]; do sleep 0.02; done");
    let other = described.config["agents"]["fake"].clone();
    let world = setup(described.file("set-up.sh", 0o644, &script), json!({"script": "set-up.sh"}))
        .config(json!({"agents": {"other": other}, "processes": {"max": 1}}))
        .start();
    let id = world.begin("say built");
    world.await_task(&id, "the build", |task| words(task).contains("is being built"));
    let door = world.through(BINDINGS[0]).agent("other");
    let task = door.well(Operation::SendMessage, &message("say free"))["task"].take();
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    world.cue("go");
    assert_eq!(answer(&world.await_state(&id, &["COMPLETED", "FAILED"])).trim(), "built");
}

/// Runs a command of the set-ups to its end; whether it succeeded, and what it said.
fn run(mut described: Builder, command: &str) -> (Builder, bool, String) {
    let file = described.path("stdout");
    let before = fs::read_to_string(&file).unwrap_or_default().len();
    described = described.args(["setup", command]);
    let ended = await_end(&mut described.spawn(), described.patience).unwrap();
    let said = fs::read_to_string(file).unwrap().split_off(before);
    described.args.clear();
    (described, ended.success(), said)
}

#[test]
fn two_builds_at_once_fetch_once_and_a_server_and_the_other_commands_find_what_is_built() {
    let described = shell();
    let (upstream, _, log) = served(&described);
    let declared = json!({
        "sources": {"kit": {"git": format!("{}/kit.git", upstream.url), "ref": "main"}},
        "files": ["source:kit"], "script": "set-up.sh",
    });
    let script = "cp \"$PILOTHOUSE_SETUP_FILES/kit/README\" ~";
    let described = setup(described, declared).file("set-up.sh", 0o644, script);
    let mut described = described.args(["setup", "build"]);
    let mut builds = [described.spawn(), described.spawn()];
    for build in &mut builds {
        assert!(await_end(build, described.patience).unwrap().success());
    }
    described.args.clear();
    let fetches = || fs::read_to_string(&log).unwrap().lines().count();
    assert_eq!(fetches(), 1);
    let (described, _, shown) = run(described, "show");
    let revision = fs::read_to_string(described.path("state/setups/fake.latest")).unwrap();
    assert_eq!(shown, format!("fake: revision {revision}, of new sessions\n"));
    let (described, is_done, said) = run(described, "prune");
    assert_eq!((is_done, said.as_str()), (true, "0 revisions were removed\n"));
    let world = described.file("set-up.sh", 0o644, script).start();
    assert_eq!(say(&world, "one", "cat ~/README"), "first");
    assert_eq!((fetches(), latest(&world)), (1, revision));
}
