//! The server's own files in a folder that agents reach: no agent reads its secrets or puts others in their place.

use super::{WALLS, Wall};
use crate::building::Builder;
use crate::reading::{answer, message_in, state, words};
use crate::world::World;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The configuration cannot be used.
const CONFIG: Option<i32> = Some(78);

/// How often a link and a file change places at most, while ten processes start.
const FLIPS: usize = 10_000_000;

/// What stands in the environment file.
const SECRET: &str = "DEPLOY_KEY=a-key-of-the-server\n";

/// Agents that are shells work in the folder that the server was started in.
fn in_own_folder(wall: Wall) -> Builder {
    let builder = wall.shell();
    let cwd = builder.cwd();
    let builder = builder
        .config(json!({"workspace": {"mode": "shared", "path": cwd}}))
        .file(".env", 0o600, SECRET)
        .file("file", 0o644, "of the project");
    // In a container and by Landlock no agent is root where all is required.
    if wall != Wall::Bubblewrap {
        give_away(&builder, ["", "file"]);
    }
    builder
}

/// Gives files of the working folder to a user who is not root, where the tests may do that.
fn give_away<const N: usize>(builder: &Builder, names: [&str; N]) {
    if rustix::process::geteuid().is_root() {
        for name in names {
            chown(builder.cwd().join(name), Some(65534), Some(65534)).unwrap();
        }
    }
}

/// The configuration lies elsewhere, so that nothing of the server's own lies in the folder.
fn without_configuration(builder: Builder) -> Builder {
    let elsewhere = builder.path("config.yaml").display().to_string();
    let moves = format!("mv pilothouse.yaml {elsewhere} && exec \"$@\"");
    builder.through(["sh", "-c", &moves, "sh"]).args(["--config", &elsewhere])
}

/// The same for each kind of user: root, an ordinary one, and root with agents of the user who owns the folder.
fn as_each_user() -> Vec<Builder> {
    let mut all = vec![in_own_folder(Wall::covering()), in_own_folder(Wall::covering()).ordinary()];
    if rustix::process::geteuid().is_root() {
        let owned = in_own_folder(Wall::covering());
        give_away(&owned, ["", "file"]);
        all.push(owned);
    }
    all
}

#[test]
fn an_agent_in_the_servers_own_folder_reads_no_secret_and_works_in_the_rest() {
    for builder in as_each_user() {
        let world = builder.start();
        let said =
            answer(&world.say("cat .env pilothouse.yaml; cat file; echo more >> file; ls -A"));
        let expected = "of the project.env\nfile\npilothouse.yaml\n";
        assert_eq!(said, expected);
        assert_eq!(fs::read_to_string(world.path("cwd/file")).unwrap(), "of the projectmore\n");
    }
}

#[test]
fn an_agent_in_the_servers_own_folder_cannot_change_its_files() {
    let script = "for name in .env pilothouse.yaml; do
        echo x >> $name; echo x > $name; rm -f $name; mv $name moved; mv file $name; mv -f file $name
        ln $name second && echo x > second; ln -sf file $name; chmod 777 $name; truncate -s 0 $name
        done 2>/dev/null; true";
    for builder in as_each_user() {
        let world = builder.start();
        let config = world.path("cwd/pilothouse.yaml");
        let before = fs::read_to_string(&config).unwrap();
        world.say(script);
        assert_eq!(fs::read_to_string(&config).unwrap(), before);
        assert_eq!(fs::read_to_string(world.path("cwd/.env")).unwrap(), SECRET);
        assert!(!config.is_symlink() && !world.path("cwd/.env").is_symlink());
    }
}

#[test]
fn a_folder_above_a_file_of_the_servers_own_stays_in_its_place() {
    let described = || {
        let builder = in_own_folder(Wall::covering());
        fs::create_dir(builder.cwd().join("tools")).unwrap();
        if Wall::covering() == Wall::Container {
            give_away(&builder, ["tools"]);
        }
        builder
            .file("tools/setup.sh", 0o755, "echo set up > made\n")
            .config(json!({"sessions": {"init": "tools/setup.sh"}}))
    };
    for builder in [described(), described().ordinary()] {
        let world = builder.start();
        let script =
            "(mv tools other; rm -rf tools; mkdir tools; echo evil > tools/setup.sh) 2>/dev/null
                      echo beside > tools/more; cat made";
        assert_eq!(answer(&world.say(script)), "set up\n");
        let tools = world.path("cwd/tools");
        let setup = fs::read_to_string(tools.join("setup.sh")).unwrap();
        assert_eq!(setup, "echo set up > made\n");
        // The folder itself can be used.
        assert_eq!(fs::read_to_string(tools.join("more")).unwrap(), "beside\n");
    }
}

#[test]
fn a_folder_that_is_granted_shows_no_secret_of_the_servers() {
    for way in ["read", "write"] {
        let builder = Wall::covering().shell().file(".env", 0o600, SECRET);
        let cwd = builder.cwd();
        fs::set_permissions(&cwd, Permissions::from_mode(0o777)).unwrap();
        let builder = builder.file("file", 0o644, "of the project");
        let world = match way {
            "read" => builder.granted([&cwd]),
            _ => builder.config(json!({"isolation": {"write": [cwd]}})),
        }
        .start();
        let cwd = cwd.display();
        let said =
            answer(&world.say(&format!("cat {cwd}/.env {cwd}/file; echo x > {cwd}/.env; true")));
        assert_eq!(said, "of the project", "{way}");
        assert_eq!(fs::read_to_string(world.path("cwd/.env")).unwrap(), SECRET, "{way}");
    }
}

#[test]
fn the_way_of_the_forerunner_works_with_its_environment_file_in_the_project() {
    let builder = World::describe();
    let state_dir = builder.path("state").to_str().unwrap().to_owned();
    let env = format!("API_TOKEN={}\nAGENT_PROJECT=.\nPORT=0\n", crate::world::OWNER);
    let world = builder
        .untrusted()
        .config_text("")
        .file(".env", 0o600, &env)
        .env("AGENT_CMD", "/bin/bash -c")
        .args(["--state-dir", &state_dir, "--isolation", "bubblewrap"])
        .start();
    // The configuration file of this world says nothing.
    assert_eq!(answer(&world.say("cat .env; ls -A; pwd")), ".env\npilothouse.yaml\n/workspace\n");
}

#[test]
fn a_configuration_that_an_agent_made_is_not_read_at_the_next_start() {
    let names = [".env", ".init-session.sh"];
    for builder in as_each_user() {
        fs::remove_file(builder.cwd().join(".env")).unwrap();
        let mut world = builder.start();
        world.restart();
        for name in names {
            world.say(&format!("echo 'NAME=value' > {name}"));
            let failure = world.fails_to_restart();
            assert_eq!(failure.code, CONFIG, "{}", failure.stderr);
            let file = world.path("cwd").join(name);
            let words = format!("an agent may have made {}", file.display());
            assert!(failure.stderr.contains(&words), "{}", failure.stderr);
            fs::remove_file(file).unwrap();
            world.restart();
        }
    }
}

#[test]
fn landlock_does_not_serve_an_agent_in_the_servers_own_folder() {
    for builder in [in_own_folder(Wall::Landlock), in_own_folder(Wall::Landlock).ordinary()] {
        let failure = builder.fails();
        assert_eq!(failure.code, Some(69), "{}", failure.stderr);
        for word in
            ["landlock: it cannot take a file out of a folder", "workspace.path", "AGENT_PROJECT"]
        {
            assert!(failure.stderr.contains(word), "{word}: {}", failure.stderr);
        }
    }
}

#[test]
fn a_file_that_the_server_writes_may_not_lie_where_agents_work() {
    for (key, config) in [
        ("log.path", json!({"log": {"path": "agents.jsonl"}})),
        ("audit", json!({"audit": "audit.jsonl"})),
        ("state_dir", json!({"state_dir": "state"})),
    ] {
        let failure = in_own_folder(Wall::covering()).config(config).fails();
        assert_eq!(failure.code, Some(69), "{}", failure.stderr);
        let says = failure.stderr.contains(&format!("`{key}` ("))
            && failure.stderr.contains("workspace.path");
        assert!(says, "{key}: {}", failure.stderr);
    }
}

#[test]
fn a_secret_that_is_put_there_later_keeps_further_processes_from_starting() {
    for wall in WALLS {
        let builder = without_configuration(in_own_folder(wall));
        fs::remove_file(builder.cwd().join(".env")).unwrap();
        let world = builder.start();
        assert_eq!(answer(&world.send(message_in("one", "cat file"))), "of the project");
        fs::write(world.path("cwd/.env"), SECRET).unwrap();
        let task = world.send(message_in("two", "cat .env"));
        assert_eq!(state(&task), "FAILED");
        let said = words(&task);
        assert!(
            said.contains("`.env`") && said.contains("was made since the server started"),
            "{said}"
        );
        assert!(world.stderr().contains(&world.path("cwd/.env").display().to_string()));
        fs::remove_file(world.path("cwd/.env")).unwrap();
        assert_eq!(answer(&world.send(message_in("three", "cat file"))), "of the project");
    }
}

#[test]
fn a_file_that_was_replaced_is_neither_shown_nor_mounted() {
    for name in [".env", "pilothouse.yaml"] {
        let builder = in_own_folder(Wall::covering());
        let outside = builder.path("outside");
        fs::write(&outside, "a secret of the machine").unwrap();
        let world = builder.start();
        let file = world.path("cwd").join(name);
        let text = fs::read(&file).unwrap();
        for (context, what, replace) in [
            ("one", "was replaced", Box::new(|| fs::write(&file, &text)) as Box<dyn Fn() -> _>),
            ("two", "has become a symbolic link", Box::new(|| symlink(&outside, &file))),
        ] {
            fs::rename(&file, world.path("before")).unwrap();
            replace().unwrap();
            let task = world.send(message_in(context, &format!("cat {name}")));
            assert_eq!(state(&task), "FAILED", "{name}");
            assert!(words(&task).contains(what), "{}", words(&task));
            fs::rename(world.path("before"), &file).unwrap();
        }
        assert_eq!(answer(&world.send(message_in("again", "cat file"))), "of the project");
    }
}

#[test]
fn a_link_in_the_place_of_a_missing_file_leads_no_mount_anywhere() {
    for builder in as_each_user() {
        let (outside, made) = (builder.path("outside"), builder.path("made"));
        fs::write(&outside, "a secret of the machine").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o644)).unwrap();
        let world = builder.start();
        for (context, target) in [
            ("one", outside.clone()),
            // By this path `bwrap` itself reaches the machine's files while it makes the mounts.
            ("two", Path::new("/oldroot").join(made.strip_prefix("/").unwrap())),
        ] {
            let link = format!("ln -sfn {} .init-session.sh", target.display());
            assert_eq!(answer(&world.send(message_in("first", &link))), "");
            let said = answer(&world.send(message_in(context, "cat .init-session.sh 2>&1; true")));
            assert!(said.contains("No such file"), "{said}");
        }
        assert!(!made.exists());
    }
}

#[test]
fn a_place_that_changes_while_processes_start_shows_none_of_them_a_file_of_the_machine() {
    let builder = in_own_folder(Wall::covering());
    let outside = builder.path("outside");
    fs::write(&outside, "a secret of the machine").unwrap();
    let world = builder.start();
    let (one, other) = (world.path("cwd/.init-session.sh"), world.path("cwd/other"));
    fs::write(&one, "of the agent").unwrap();
    symlink(&outside, &other).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..FLIPS {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let said: Vec<String> = (0..10)
            .map(|turn| {
                message_in(
                    &format!("context-{turn}"),
                    "cat .init-session.sh other 2>/dev/null; true",
                )
            })
            .map(|message| answer(&world.send(message)))
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(said.iter().all(|said| !said.contains("secret")), "{said:?}");
    });
}

#[test]
fn a_second_session_finds_the_covers_too() {
    let world = in_own_folder(Wall::covering()).start();
    for context in ["one", "two", "one"] {
        assert_eq!(answer(&world.send(message_in(context, "cat .env"))), "");
    }
}

// === files of the working folder ===

#[test]
fn a_found_file_that_weakens_the_sandbox_is_refused_until_the_operator_says_so() {
    let failure = World::describe().untrusted().fails();
    let checked = World::describe().untrusted().args(["config", "check"]);
    assert_eq!((failure.code, checked.fails().code), (Some(78), Some(78)));
    let said = fs::read_to_string(checked.path("stdout")).unwrap();
    assert!(said.contains("isolation.backend"), "{said}");
    for args in
        [&["config", "check", "--trust-folder"][..], &["config", "check", "pilothouse.yaml"]]
    {
        let checked =
            args.iter().fold(World::describe().untrusted(), |builder, arg| builder.args([*arg]));
        assert_eq!(checked.fails().code, Some(0), "{args:?}");
    }
    assert_eq!(failure.code, CONFIG, "{}", failure.stderr);
    for words in ["`isolation.backend: none` (pilothouse.yaml:", "--trust-folder"] {
        assert!(failure.stderr.contains(words), "{}", failure.stderr);
    }
    for args in [["--config", "pilothouse.yaml"], ["--trust-folder", "--log-level=info"]] {
        World::describe().untrusted().args(args).start();
    }
}

#[test]
fn doctor_names_what_the_start_refuses_and_starts_nothing_of_it() {
    let builder = World::describe().untrusted();
    let state_dir = builder.path("state").to_str().unwrap().to_owned();
    // Programs of this driver are asked for their version.
    let text = "{agent: x, agents: {x: {driver: acp, program: ./evil}}}";
    let builder = builder
        .config_text(text)
        .file("evil", 0o755, "#!/bin/sh\ntouch started\n")
        .args(["doctor", "--state-dir", &state_dir]);
    builder.fails();
    assert!(!builder.cwd().join("started").exists());
    let said = fs::read_to_string(builder.path("stdout")).unwrap();
    assert!(said.contains("agents.x.program: ./evil") && said.contains("--trust-folder"), "{said}");
}
