//! The server's own files in a folder that agents reach: no agent reads its secrets or puts others in their place.

use super::Wall;
use crate::building::Builder;
use crate::reading::{answer, message_in};
use crate::world::World;
use serde_json::json;
use std::fs;
use std::os::unix::fs::chown;

/// The configuration cannot be used.
const CONFIG: Option<i32> = Some(78);

/// What stands in the environment file.
const SECRET: &str = "DEPLOY_KEY=a-key-of-the-server\n";

/// Agents that are shells work in the folder that the server was started in.
fn in_own_folder(wall: Wall) -> Builder {
    let builder = wall.shell();
    let cwd = builder.cwd();
    builder
        .config(json!({"workspace": {"mode": "shared", "path": cwd}}))
        .file(".env", 0o600, SECRET)
        .file("file", 0o644, "of the project")
}

/// The same for each kind of user: root, an ordinary one, and root with agents of the user who owns the folder.
fn as_each_user() -> Vec<Builder> {
    let mut all = vec![in_own_folder(Wall::Bubblewrap), in_own_folder(Wall::Bubblewrap).ordinary()];
    if rustix::process::geteuid().is_root() {
        let owned = in_own_folder(Wall::Bubblewrap);
        for path in [owned.cwd(), owned.cwd().join("file")] {
            chown(path, Some(65534), Some(65534)).unwrap();
        }
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
        let builder = in_own_folder(Wall::Bubblewrap);
        fs::create_dir(builder.cwd().join("tools")).unwrap();
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
        let builder = Wall::Bubblewrap.shell().file(".env", 0o600, SECRET);
        let (cwd, cues) = (builder.cwd(), builder.path("cues"));
        let world = builder
            .file("file", 0o644, "of the project")
            .config(json!({"isolation": {"read": [cues], way: [cwd]}}))
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
    let names = [".claude-code-agent.yaml", ".init-session.sh"];
    for builder in as_each_user() {
        let mut world = builder.start();
        world.restart();
        for name in names {
            world.say(&format!("echo 'claudeArgs: []' > {name}"));
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
        let failure = in_own_folder(Wall::Bubblewrap).config(config).fails();
        assert_eq!(failure.code, Some(69), "{}", failure.stderr);
        let says = failure.stderr.contains(&format!("`{key}` ("))
            && failure.stderr.contains("workspace.path");
        assert!(says, "{key}: {}", failure.stderr);
    }
}

#[test]
fn a_secret_that_is_put_there_later_is_covered_for_the_next_process() {
    let builder = in_own_folder(Wall::Bubblewrap);
    fs::remove_file(builder.cwd().join(".env")).unwrap();
    let world = builder.start();
    assert_eq!(answer(&world.say("ls -A")), "file\npilothouse.yaml\n");
    fs::write(world.path("cwd/.env"), SECRET).unwrap();
    assert_eq!(answer(&world.say("cat .env; ls -A")), ".env\nfile\npilothouse.yaml\n");
}

#[test]
fn a_second_session_finds_the_covers_too() {
    let world = in_own_folder(Wall::Bubblewrap).start();
    for context in ["one", "two", "one"] {
        assert_eq!(answer(&world.send(message_in(context, "cat .env"))), "");
    }
}

// === files of the working folder ===

#[test]
fn a_found_file_that_weakens_the_sandbox_is_refused_until_the_operator_says_so() {
    let failure = World::describe().untrusted().fails();
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
    let builder = World::describe().untrusted().args(["doctor"]);
    let program = builder.cwd().join("program");
    let builder = builder
        .file("program", 0o755, "#!/bin/sh\ntouch started\n")
        .agent(json!({"program": program}));
    builder.fails();
    assert!(!builder.cwd().join("started").exists());
    let said = fs::read_to_string(builder.path("stdout")).unwrap();
    assert!(said.contains("isolation.backend: none") && said.contains("--trust-folder"), "{said}");
}
