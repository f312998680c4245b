//! A container for each session, made by a real engine. `make test-containers` starts one of its own.

use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::{answer, message_in, state, text_of, words};
use crate::world::{OWNER, World, await_end, await_true};
use fake_model::Model;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::{Duration, Instant};

/// Engines take their time on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether there is an engine for tests, which `make test-containers` starts.
pub(crate) fn has_engine() -> bool {
    std::env::var_os("PILOTHOUSE_TEST_ENGINE").is_some()
}

/// What the script tells; a test without it has failed.
fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set; run `make test-containers`, which starts an engine and makes an image")
    })
}

/// Where the engine is, for its client.
fn engine_environment() -> BTreeMap<String, String> {
    let names = [
        "DOCKER_HOST",
        "CONTAINERS_CONF",
        "CONTAINERS_STORAGE_CONF",
        "XDG_RUNTIME_DIR",
        "PILOTHOUSE_TEST_HOME",
    ];
    let set = |name: &str| {
        let given = if name == "PILOTHOUSE_TEST_HOME" { "HOME" } else { name };
        Some((given.to_owned(), std::env::var(name).ok()?))
    };
    names.into_iter().filter_map(set).collect()
}

/// The same for the client of an ordinary user, whose Podman has an engine of its own.
pub(crate) fn ordinary_environment() -> [(&'static str, String); 4] {
    let folder = told("PILOTHOUSE_TEST_ORDINARY");
    let names = ["home", "run", "podman.conf", "storage.conf"];
    let [home, run, podman, storage] = names.map(|name| format!("{folder}/{name}"));
    [
        ("HOME", home),
        ("XDG_RUNTIME_DIR", run),
        ("CONTAINERS_CONF", podman),
        ("CONTAINERS_STORAGE_CONF", storage),
    ]
}

/// What a command of the engine prints.
fn engine(args: &[&str]) -> String {
    let output = Command::new(told("PILOTHOUSE_TEST_ENGINE"))
        .args(args)
        .envs(engine_environment())
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the containers of a world, in any state.
fn containers(world: &World) -> Vec<String> {
    let label = format!("label=pilothouse.state={}", world.path("state").display());
    let said = engine(&["ps", "-a", "--filter", &label, "--format", "{{.Names}}"]);
    let mut names: Vec<String> = said.lines().map(ToOwned::to_owned).collect();
    names.sort();
    names
}

fn await_containers(world: &World, number: usize) {
    let mut found = Vec::new();
    let there = await_true(PATIENCE, || {
        found = containers(world);
        found.len() == number
    });
    assert!(there, "waited for {number} containers: {found:?}");
}

/// A world in which every session has a container; its agent comes from outside by a mount.
pub(crate) fn contained() -> Builder {
    let mut builder = World::describe();
    let program = builder.config["agents"]["fake"]["program"].clone();
    let cues = builder.path("cues");
    builder = builder
        .config(json!({"isolation": {
            "backend": "container",
            "container": {
                "engine": told("PILOTHOUSE_TEST_ENGINE"),
                "image": told("PILOTHOUSE_TEST_IMAGE"),
            },
            "read": [program, cues],
        }}))
        .patience(PATIENCE);
    for (name, value) in engine_environment() {
        builder = builder.env(&name, &value);
    }
    builder
}

/// The same with an agent that is a shell of the image, found by its name; a message is a script.
fn shell() -> Builder {
    contained().agent(json!({
        "program": "bash",
        "args": ["-c", "eval \"$0\""],
        "format": "text",
    }))
}

fn said(world: &World, context: &str, text: &str) -> String {
    let task = world.send(message_in(context, text));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    answer(&task).trim().to_owned()
}

/// Where a session's workspace really is.
fn workspace(world: &World, context: &str) -> String {
    let bearer = format!("Bearer {OWNER}");
    let path = format!("/api/v1/sessions/{context}");
    let session = world.get(&path, &[("Authorization", &bearer)]).json();
    text_of(&session, "workspace").to_owned()
}

// === what holds ===

fn doctor(builder: &Builder) -> Value {
    let mut child = builder.spawn();
    assert!(await_end(&mut child, PATIENCE).is_some(), "doctor did not end");
    let printed = fs::read_to_string(builder.path("stdout")).unwrap();
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

#[test]
fn every_attack_is_stopped() {
    let report = doctor(&contained().args(["doctor", "--json"]));
    let tried = &report["isolation"][0];
    assert_eq!(tried["backend"], "container", "{report:#}");
    let attacks = tried["attacks"].as_array().unwrap();
    assert!(attacks.len() > 100, "{tried:#}");
    let open: Vec<&Value> =
        attacks.iter().filter(|attack| attack["result"] == "succeeded").collect();
    assert_eq!(open, Vec::<&Value>::new());
    for attack in attacks.iter().filter(|attack| attack["result"] == "skipped") {
        // Nothing was given to aim at.
        assert_eq!(attack["word"], "argument", "{attack}");
    }
}

#[test]
fn limits_are_the_engines_and_hold() {
    let limits = json!({"isolation": {
        "limits": {"pids": 64, "memory": "128MiB"},
        "require": ["pids", "memory", "processes", "fs.read", "kill-tree"],
    }});
    let report = doctor(&contained().config(limits).args(["doctor", "--json"]));
    let states = &report["isolation"][0]["guarantees"];
    for name in ["pids", "memory"] {
        assert_eq!(states[name]["state"], "in force", "{states:#}");
    }
}

#[test]
fn another_sessions_files_are_not_there() {
    let world = shell().start();
    said(&world, "a", "echo secret > mine.txt");
    let folder = workspace(&world, "a");
    let found = said(
        &world,
        "b",
        &format!("cat {folder}/mine.txt 2>&1; ls / /workspace {folder} 2>&1; true"),
    );
    assert!(!found.contains("secret") && !found.contains("mine.txt\n"), "{found}");
    assert_eq!(containers(&world).len(), 2);
}

#[test]
fn the_servers_own_files_in_a_shared_folder_are_covered() {
    let secret = "DEPLOY_KEY=a-key-of-the-server\n";
    let builder = shell().file(".env", 0o644, secret).file("file", 0o644, "of the project\n");
    let cwd = builder.cwd();
    // Agents of a root server are the user who owns the folder, and root may not be one.
    if rustix::process::geteuid().is_root() {
        for path in [cwd.clone(), cwd.join("file")] {
            chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    let world = builder.config(json!({"workspace": {"mode": "shared", "path": cwd}})).start();
    let found = said(
        &world,
        "c",
        "cat .env file; for name in .env pilothouse.yaml; do echo x > $name; rm -f $name; mv file $name; done; true",
    );
    assert_eq!(found, "of the project");
    assert_eq!(fs::read_to_string(cwd.join(".env")).unwrap(), secret);
    let config = fs::read_to_string(cwd.join("pilothouse.yaml")).unwrap();
    assert!(config.contains("\"container\""), "{config}");
}

#[test]
fn what_an_agent_puts_in_the_place_of_a_grant_is_mounted_into_no_other_container() {
    let builder = shell();
    let (project, outside) = (builder.path("project"), builder.path("outside"));
    let [docs, cache] = ["docs", "cache"].map(|name| project.join(name));
    for folder in [&project, &docs, &cache, &outside] {
        fs::create_dir(folder).unwrap();
        if rustix::process::geteuid().is_root() && folder != &outside {
            chown(folder, Some(65534), Some(65534)).unwrap();
        }
    }
    fs::write(outside.join("secret"), "a secret of the machine").unwrap();
    fs::set_permissions(&outside, Permissions::from_mode(0o777)).unwrap();
    let shared = json!({"mode": "shared", "path": project});
    let write = json!({"write": [cache]});
    let world =
        builder.granted([&docs]).config(json!({"workspace": shared, "isolation": write})).start();
    let replaces =
        |name: &str| format!("mv {name} {name}.old && ln -s {} {name}", outside.display());
    assert_eq!(said(&world, "one", &format!("{} && {}", replaces("docs"), replaces("cache"))), "");
    assert!(docs.is_symlink() && cache.is_symlink());
    let script = format!(
        "cat {0}/secret docs/secret {1}/secret cache/secret; echo x > {1}/made; echo x > cache/made; true",
        docs.display(),
        cache.display()
    );
    assert_eq!(said(&world, "two", &script), "");
    assert!(!outside.join("made").exists());
}

#[test]
fn the_machines_name_and_name_servers_are_not_told() {
    let world = shell().start();
    assert_eq!(said(&world, "c", "cat /etc/hostname /etc/resolv.conf"), "agent");
}

#[test]
fn the_network_is_the_proxy_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let allowed =
        json!({"egress": {"allow": [format!("127.0.0.1:{port}")], "inner": ["127.0.0.0/8"]}});
    let world = shell().config(allowed).start();
    let get = |url: &str| {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        format!(
            "exec 3<>/dev/tcp/127.0.0.1/8118; printf 'GET {url} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
        )
    };
    let direct =
        format!("(echo > /dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached || echo refused");
    assert_eq!(said(&world, "c", &direct), "refused");
    let outside = said(&world, "c", &get("http://elsewhere.example/"));
    assert!(outside.starts_with("HTTP/1.1 403"), "{outside}");
    let answering = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut bytes = [0; 1024];
        let _ = socket.read(&mut bytes).unwrap();
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nreached")
            .unwrap();
    });
    let through = said(&world, "c", &get(&format!("http://127.0.0.1:{port}/")));
    assert!(through.ends_with("reached"), "{through}");
    answering.join().unwrap();
}

#[test]
fn nothing_secret_is_told_to_the_engine() {
    let secret = format!("secret-{}", uuid::Uuid::new_v4());
    let world = shell().agent(json!({"env": {"set": {"SECRET": secret}}})).start();
    assert_eq!(said(&world, "c", "echo $SECRET"), secret);
    let name = containers(&world).pop().unwrap();
    let known = engine(&["inspect", &name]);
    assert!(known.contains("/workspace") && !known.contains(&secret), "{known}");
    assert!(!known.contains(OWNER));
}

#[test]
fn the_environment_is_the_images_and_the_agents_own() {
    let world = shell().env("OF_THE_SERVER", "1").start();
    let found = said(&world, "c", "env");
    assert!(found.lines().any(|line| line == "FROM_THE_IMAGE=1"), "{found}");
    assert!(found.lines().any(|line| line == "PATH=/usr/local/bin:/usr/bin:/bin"), "{found}");
    assert!(found.lines().any(|line| line == "HOME=/home/agent"), "{found}");
    assert!(!found.contains("OF_THE_SERVER"), "{found}");
}

// === warm ===

#[test]
fn turns_of_a_session_run_in_one_container_and_see_the_same_files() {
    let world = contained().start();
    assert_eq!(said(&world, "c", "pwd"), "/workspace");
    let first = containers(&world);
    said(&world, "c", "write note.txt hello; write /tmp/note.txt there");
    assert_eq!(said(&world, "c", "read note.txt; read /tmp/note.txt"), "hellothere");
    assert_eq!((containers(&world), first.len()), (first, 1));
}

#[test]
fn a_session_script_runs_in_the_same_container() {
    let world = contained()
        .file(
            ".init-session.sh",
            0o755,
            "#!/bin/sh\necho set up > /tmp/script.txt; pwd > where.txt\n",
        )
        .start();
    assert_eq!(said(&world, "c", "read where.txt; read /tmp/script.txt"), "/workspaceset up");
    assert_eq!(containers(&world).len(), 1);
}

#[test]
fn the_demo_agent_comes_along_from_outside() {
    let world = contained().config(json!({"agent": "demo", "agents": {"fake": null}})).start();
    let found = said(&world, "c", "two words");
    assert!(found.starts_with("You said: two words"), "{found}");
}

#[test]
fn an_idle_container_is_ended() {
    let world = contained().config(json!({"processes": {"idle": "300ms"}})).start();
    assert_eq!(said(&world, "c", "count"), "1");
    await_containers(&world, 0);
    assert_eq!(said(&world, "c", "count"), "2");
}

#[test]
fn a_container_that_idles_longest_gives_way() {
    let world = contained().config(json!({"processes": {"max": 2}})).start();
    for context in ["a", "b"] {
        said(&world, context, "count");
    }
    let before = containers(&world);
    said(&world, "c", "count");
    let after = containers(&world);
    assert_eq!(after.len(), 2, "{after:?}");
    assert_eq!(after.iter().filter(|name| before.contains(name)).count(), 1);
    assert_eq!(said(&world, "a", "count"), "2");
}

#[test]
fn a_container_that_was_removed_is_replaced() {
    let world = contained().start();
    said(&world, "c", "count");
    let name = containers(&world).pop().unwrap();
    engine(&["rm", "-f", &name]);
    assert_eq!(said(&world, "c", "count"), "2");
    assert!(!containers(&world).contains(&name));
}

// === ends ===

#[test]
fn a_cancel_ends_the_tree_and_leaves_the_container() {
    let world = contained().start();
    said(&world, "c", "count");
    let before = containers(&world);
    let params = message_in("c", "fork; ignore TERM; cue go; hang");
    let id = world.begin_with(params);
    world.await_words(&id, "waiting go");
    assert_eq!(world.agents().len(), 2);
    world.cue("go");
    let task = world.rpc("CancelTask", json!({"id": id}));
    assert_eq!(state(&task), "CANCELED");
    assert_eq!(world.agents(), []);
    assert_eq!(said(&world, "c", "count"), "2");
    assert_eq!(containers(&world), before);
}

#[test]
fn a_killed_server_leaves_no_process_and_the_session_goes_on_after_the_next_start() {
    let mut world = contained().start();
    said(&world, "c", "count");
    let id = world.begin_with(message_in("c", "fork; cue go; hang"));
    world.await_words(&id, "waiting go");
    assert_eq!(world.agents().len(), 2);
    world.kill9();
    world.nothing_is_left();
    if told("PILOTHOUSE_TEST_ENGINE").ends_with("docker") {
        await_containers(&world, 0);
    }
    // Podman's monitor goes with the server; what it has written down is removed now.
    world.restart();
    assert_eq!(containers(&world), Vec::<String>::new());
    assert_eq!(said(&world, "c", "count"), "2");
}

#[test]
fn a_stop_leaves_no_container() {
    let mut world = contained().start();
    for context in ["a", "b"] {
        said(&world, context, "count");
    }
    assert_eq!(containers(&world).len(), 2);
    world.stop();
    assert_eq!(containers(&world), Vec::<String>::new());
}

// === what cannot be ===

#[test]
fn an_image_that_is_not_there_is_told_with_the_command_that_gets_it() {
    let image = "registry.example/no/such-image:1";
    let failure = contained().config(json!({"isolation": {"container": {"image": image}}})).fails();
    assert_eq!(failure.code, Some(69), "{}", failure.stderr);
    let command = format!("pull {image}");
    assert!(failure.stderr.contains(&command), "{}", failure.stderr);
}

#[test]
fn a_session_runs_in_the_runtime_that_is_configured() {
    let runtime = json!({"isolation": {"container": {"runtime": told("PILOTHOUSE_TEST_RUNTIME")}}});
    let world = contained().config(runtime).start();
    said(&world, "c", "count");
    let name = containers(&world).pop().unwrap();
    let key = match told("PILOTHOUSE_TEST_ENGINE").as_str() {
        "docker" => "{{.HostConfig.Runtime}}",
        _ => "{{.OCIRuntime}}",
    };
    let found = engine(&["inspect", "--format", key, &name]);
    assert_eq!(found.trim(), told("PILOTHOUSE_TEST_RUNTIME"));
}

#[test]
fn a_runtime_that_is_not_there_keeps_the_server_from_starting() {
    let runtime = json!({"isolation": {"container": {"runtime": "no-such-runtime"}}});
    let failure = contained().config(runtime).fails();
    assert_eq!(failure.code, Some(69), "{}", failure.stderr);
    assert!(failure.stderr.contains("no-such-runtime"), "{}", failure.stderr);
}

#[test]
fn a_root_server_does_not_start_where_an_agent_would_be_root_in_its_container() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let shared = || contained().config(json!({"workspace": {"mode": "shared"}}));
    let failure = shared().fails();
    assert_eq!(failure.code, Some(69), "{}", failure.stderr);
    for words in ["does not give `fs.write`", "belongs to root", "without fs.write"] {
        assert!(failure.stderr.contains(words), "{words}: {}", failure.stderr);
    }
    let less = json!({"isolation": {"require": ["fs.read", "net.egress"]}});
    let world = shared().config(less).start();
    assert!(world.stderr().contains("agents are root to the kernel"), "{}", world.stderr());
}

#[test]
fn without_an_image_the_server_says_which_key_names_it() {
    let failure = contained().config(json!({"isolation": {"container": {"image": null}}})).fails();
    assert!(failure.stderr.contains("isolation.container.image"), "{}", failure.stderr);
}

#[test]
fn a_program_that_the_image_does_not_have_fails_the_turn_with_a_reason() {
    let world = contained().agent(json!({"program": "/nowhere/agent"})).start();
    let task = world.say("say hello");
    assert_eq!(state(&task), "FAILED");
    assert!(words(&task).contains("No such file"), "{task:#}");
    assert!(words(&task).contains("does not have /nowhere/agent"), "{task:#}");
}

// === the real Claude Code ===

/// Claude Code, mounted from this machine, with a model on loopback.
fn claude(model: &Model) -> Builder {
    let program = told("PILOTHOUSE_TEST_CLAUDE");
    let (modules, _) = program.split_once("/node_modules/").unwrap();
    let builder = contained();
    let marker = builder.marker().split_once('=').unwrap().1.to_owned();
    builder
        .config(json!({
            "agent": "claude",
            "timeouts": {"interrupt": "5s", "terminate": "5s"},
            "isolation": {"read": [modules]},
            "agents": {"fake": null, "claude": {
                "program": program,
                "permission_mode": "bypassPermissions",
                "env": {"set": {"PILOTHOUSE_TEST_WORLD": marker}},
            }},
        }))
        .env("ANTHROPIC_BASE_URL", &model.url)
        .env("ANTHROPIC_API_KEY", "sk-ant-dummy")
}

#[test]
fn claude_answers_runs_commands_and_resumes() {
    let model = Model::start();
    let mut world = claude(&model).start();
    assert_eq!(said(&world, "c", "say hello from inside"), "hello from inside");
    let found = said(&world, "c", "bash: pwd; echo words > note.txt; cat note.txt; env");
    assert!(found.contains("/workspace") && found.contains("words"), "{found}");
    assert!(!found.contains("sk-ant-dummy"), "{found}");
    world.restart();
    let found = said(&world, "c", "history");
    assert!(found.starts_with("turns=3 first=\"say hello"), "{found}");
}

#[test]
fn what_a_canceled_turn_of_claude_left_behind_is_ended_and_claude_stays() {
    let model = Model::start();
    let world = claude(&model).start();
    said(&world, "c", "say hello");
    let before = containers(&world);
    let id = world.begin_with(message_in("c", "bash: (setsid sleep 971 &) ; sleep 972"));
    await_some("the commands", PATIENCE, || {
        let all = world.agents();
        let has = |word: &str| all.iter().any(|process| process.command.starts_with(word));
        (has("sleep 971") && has("sleep 972")).then_some(())
    });
    let cli = world.agents().iter().map(|process| process.pid).min();
    let task = world.rpc("CancelTask", json!({"id": id}));
    assert_eq!(state(&task), "CANCELED");
    let left = world.agents();
    assert!(left.iter().all(|process| !process.command.starts_with("sleep")), "{left:#?}");
    assert_eq!(left.iter().map(|process| process.pid).min(), cli);
    assert_eq!(said(&world, "c", "say again"), "again");
    assert_eq!(containers(&world), before);
}

// === figures ===

/// Not a test of anything but that it ends: prints what a turn costs where its container is new, and warm.
#[test]
fn figures() {
    let world = contained().start();
    let took = |context: &str| {
        let began = Instant::now();
        said(&world, context, "say x");
        began.elapsed()
    };
    let median = |mut all: Vec<Duration>| {
        all.sort();
        all[all.len() / 2]
    };
    let fresh: Vec<Duration> = (0..10).map(|n| took(&format!("fresh-{n}"))).collect();
    took("warm");
    let warm: Vec<Duration> = (0..10).map(|_| took("warm")).collect();
    eprintln!(
        "a turn in a new container: {:?}; in a warm one: {:?} (medians of 10)",
        median(fresh),
        median(warm)
    );
}
