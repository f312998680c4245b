//! Grants in a folder that agents may change: what an agent puts in their place gives nothing to anybody.

use super::{WALLS, Wall, Walls};
use crate::bindings::Binding;
use crate::building::Builder;
use crate::reading::{answer, message, message_in, state, words};
use crate::world::World;
use pilothouse_a2a::operation::Operation;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

const SECRET: &str = "a secret of the machine";

/// What is granted in the project: folders, and files.
const FOLDERS: [&str; 3] = ["tools", "docs", "cache"];
const FILES: [&str; 3] = ["file", "cert.pem", "rc"];

/// Agents that are shells share a project, and everything that can be granted is granted in it.
fn granted(wall: Wall) -> Builder {
    let builder = with_project(wall);
    let project = builder.path("project");
    for name in FOLDERS {
        fs::create_dir(project.join(name)).unwrap();
        fs::write(project.join(name).join("inside"), "of the project").unwrap();
    }
    for name in FILES {
        fs::write(project.join(name), "of the project").unwrap();
    }
    let at = |name: &str| project.join(name);
    let path = format!("{}:/usr/bin:/bin", at("tools").display());
    builder
        .env("PATH", &path)
        .config(json!({"isolation": {"read": [at("docs"), at("file")], "write": [at("cache")]}}))
        .agent(json!({
            "args": ["--rcfile", at("rc"), "-c"],
            "env": {"set": {"SSL_CERT_FILE": at("cert.pem")}},
        }))
}

/// Agents that are shells share a project, and a file beside it is none of their business.
fn with_project(wall: Wall) -> Builder {
    let builder = wall.shell();
    let (project, outside) = (builder.path("project"), builder.path("outside"));
    for folder in [&project, &outside] {
        fs::create_dir(folder).unwrap();
    }
    write_program(&outside.join("secret"), &format!("#!/bin/sh\n# {SECRET}\necho {SECRET}\n"));
    builder.config(json!({"workspace": {"mode": "shared", "path": project}}))
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Behind both sandboxes, as root and as an ordinary user, and as root with agents of the user who owns the project.
fn as_each_user(describe: impl Fn(Wall) -> Builder) -> Vec<Builder> {
    let mut all = Vec::new();
    for wall in WALLS {
        all.extend([served(wall, describe(wall)), describe(wall).ordinary()]);
    }
    all.push(owned(describe(Wall::Bubblewrap)));
    all
}

/// As this sandbox serves a project with all that is required: Bubblewrap alone serves agents that are root.
fn served(wall: Wall, builder: Builder) -> Builder {
    if wall == Wall::Bubblewrap { builder } else { owned(builder) }
}

/// The project belongs to a user who is not root.
fn owned(builder: Builder) -> Builder {
    if rustix::process::geteuid().is_root() {
        let project = builder.path("project");
        let below = fs::read_dir(&project).unwrap().map(|entry| entry.unwrap().path());
        let paths: Vec<_> = below.chain([project]).collect();
        for path in paths {
            chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    builder
}

/// Tells the second agent something.
pub(super) fn say_to_other(world: &World, script: &str) -> Value {
    let door = world.through(Binding::JsonRpc).agent("other");
    door.well(Operation::SendMessage, &message(script))["task"].take()
}

#[test]
fn what_an_agent_puts_in_the_place_of_a_grant_gives_the_next_one_nothing() {
    for builder in as_each_user(granted) {
        let (project, outside) = (builder.path("project"), builder.path("outside"));
        let mut world = builder.start();
        let mut script = String::new();
        for (names, target) in [(FOLDERS, outside.clone()), (FILES, outside.join("secret"))] {
            for name in names {
                script += &format!("mv {name} {name}.old && ln -s {} {name}\n", target.display());
            }
        }
        assert_eq!(answer(&world.send(message_in("one", &script))), "");
        assert!(project.join("docs").is_symlink() && project.join("rc").is_symlink());
        let mut script = String::new();
        for folder in [project.display().to_string(), ".".to_owned()] {
            for name in FOLDERS {
                script += &format!("cat {folder}/{name}/secret; echo x > {folder}/{name}/made\n");
            }
            for name in FILES {
                script += &format!("cat {folder}/{name}\n");
            }
        }
        script += "echo done";
        // The second time the links are there before the server is.
        for context in ["two", "three"] {
            let said = answer(&world.send(message_in(context, &script)));
            assert_eq!(said, "done\n", "{context}: {}", world.stderr());
            assert!(!outside.join("made").exists(), "{context}");
            world.restart();
        }
        for (name, key) in
            [("docs", "`isolation.read`"), ("cache", "`isolation.write`"), ("tools", "PATH")]
        {
            let words = format!(
                "{} ({key}) is not granted, because the way to it leads through {}",
                project.join(name).display(),
                project.display()
            );
            assert!(world.stderr().contains(&words), "{words}: {}", world.stderr());
        }
    }
}

#[test]
fn grants_in_a_shared_workspace_are_used_by_their_own_paths() {
    for builder in as_each_user(granted) {
        let project = builder.path("project");
        write_program(&project.join("tools/greet"), "#!/bin/sh\necho hello\n");
        let world = builder.start();
        let at = project.display();
        let script = format!(
            "greet; cat {at}/docs/inside {at}/file $SSL_CERT_FILE; echo -n more > {at}/cache/made; cat cache/made"
        );
        let said = answer(&world.say(&script));
        assert_eq!(said, format!("hello\n{}more", "of the project".repeat(3)));
        assert!(!world.stderr().contains("is not granted"), "{}", world.stderr());
    }
}

#[test]
fn a_program_that_an_agent_replaces_leads_the_next_one_nowhere_and_the_start_warns_of_it() {
    let describe = |wall| {
        let builder = with_project(wall);
        let program = builder.path("project/agent.sh");
        write_program(&program, "#!/bin/bash\nexec /bin/bash \"$@\"\n");
        builder.agent(json!({"program": program}))
    };
    for builder in as_each_user(describe) {
        let (program, outside) = (builder.path("project/agent.sh"), builder.path("outside"));
        let mut world = builder.start();
        let warning = format!("`fake` runs {}, which agents may change", program.display());
        assert!(world.stderr().contains(&warning), "{}", world.stderr());
        let script = format!("rm agent.sh; ln -s {}/secret agent.sh; echo done", outside.display());
        assert_eq!(answer(&world.send(message_in("one", &script))), "done\n");
        for context in ["two", "three"] {
            let task = world.send(message_in(context, "echo done"));
            assert_eq!(state(&task), "FAILED", "{task:#}");
            assert!(!words(&task).contains(SECRET), "{task:#}");
            world.restart();
        }
    }
}

#[test]
fn an_agent_is_not_granted_what_lies_in_the_folder_of_another_one() {
    for wall in WALLS {
        let builder = with_project(wall);
        let (project, work) = (builder.path("project"), builder.path("work"));
        fs::create_dir(project.join("docs")).unwrap();
        fs::write(project.join("docs/inside"), "of the project").unwrap();
        let mut other = builder.config["agents"]["fake"].clone();
        other["workspace"] = json!({"mode": "session", "path": work});
        let described = served(wall, builder.config(json!({"agents": {"other": other}})));
        let script = format!("cat {}/docs/*; echo done", project.display());
        let in_it = described.config(json!({"isolation": {"read": [project.join("docs")]}}));
        let mut world = in_it.start();
        let advice = format!(
            "agents of `other`: {}/docs (`isolation.read`) is not granted",
            project.display()
        );
        assert!(world.stderr().contains(&advice), "{}", world.stderr());
        let replace = format!("mv docs old; ln -s {} docs", world.path("outside").display());
        world.say(&replace);
        for _ in 0..2 {
            assert_eq!(answer(&say_to_other(&world, &script)), "done\n", "{wall:?}");
            world.restart();
        }
    }
}

#[test]
fn what_lies_in_the_folder_of_an_agent_that_is_served_no_more_is_not_granted() {
    for wall in WALLS {
        let builder = with_project(wall);
        let (project, outside) = (builder.path("project"), builder.path("outside"));
        let link = project.join("docs");
        symlink(&outside, &link).unwrap();
        let mut former = builder.config["agents"]["fake"].clone();
        former["workspace"] = json!({"mode": "shared", "path": project});
        former["serve"] = json!(false);
        let own = json!({"mode": "session", "path": builder.path("work")});
        let world = builder
            .config(json!({
                "agents": {"former": former, "fake": {"workspace": own}},
                "workspace": own,
                "isolation": {"read": [link]},
            }))
            .start();
        let advice = format!("{} (`isolation.read`) is not granted", link.display());
        assert!(world.stderr().contains(&advice), "{}", world.stderr());
        let script =
            format!("cat {0}/secret {1}/secret; echo done", link.display(), outside.display());
        assert_eq!(answer(&world.say(&script)), "done\n", "{wall:?}");
    }
}

#[test]
fn the_folder_of_another_agent_itself_is_granted() {
    for wall in WALLS {
        let builder = with_project(wall);
        let (project, work) = (builder.path("project"), builder.path("work"));
        fs::write(project.join("file"), "of the project").unwrap();
        let mut other = builder.config["agents"]["fake"].clone();
        other["workspace"] = json!({"mode": "session", "path": work});
        let world = served(wall, builder)
            .config(json!({"agents": {"other": other}, "isolation": {"read": [project]}}))
            .start();
        let script = format!("cat {}/file", project.display());
        assert_eq!(answer(&say_to_other(&world, &script)), "of the project", "{wall:?}");
    }
}

#[test]
fn a_workspace_that_agents_of_another_may_replace_is_refused() {
    for wall in WALLS {
        for mode in ["shared", "session"] {
            let builder = with_project(wall);
            let mut other = builder.config["agents"]["fake"].clone();
            other["workspace"] = json!({"mode": mode, "path": builder.path("project/part")});
            let failure = builder.config(json!({"agents": {"other": other}})).fails();
            assert_eq!(failure.code, Some(69), "{}", failure.stderr);
            let words = "where agents may put a link in its place (`workspace.path`)";
            assert!(failure.stderr.contains(words), "{}", failure.stderr);
        }
    }
}

#[test]
fn a_program_in_the_folder_of_another_agent_is_refused() {
    let builder = with_project(Wall::Bubblewrap);
    let program = builder.path("project/agent.sh");
    write_program(&program, "#!/bin/sh\n");
    let mut other = builder.config["agents"]["fake"].clone();
    other["workspace"] = json!({"mode": "session", "path": builder.path("work")});
    other["program"] = json!(program);
    let failure = builder.config(json!({"agents": {"other": other}})).fails();
    assert_eq!(failure.code, Some(69), "{}", failure.stderr);
    let words = "the program of `other` cannot be run in a sandbox";
    assert!(failure.stderr.contains(words), "{}", failure.stderr);
}

#[test]
fn a_link_to_the_program_may_be_granted_besides() {
    for is_shared in [false, true] {
        let builder = with_project(Wall::Bubblewrap);
        let (folder, link) =
            (builder.path(if is_shared { "project" } else { "bin" }), builder.path("link"));
        let program = folder.join("agent.sh");
        fs::create_dir_all(&folder).unwrap();
        write_program(&program, "#!/bin/bash\nexec /bin/bash \"$@\"\n");
        symlink(&program, &link).unwrap();
        let world = builder.granted([&link]).agent(json!({"program": link})).start();
        assert_eq!(answer(&world.say("echo done")), "done\n", "{is_shared}");
    }
}

#[test]
fn no_program_that_an_agent_may_have_made_runs_outside_of_a_sandbox() {
    let planted = |wall| {
        let builder = with_project(wall);
        let (tools, made) = (builder.path("project/tools"), builder.path("made"));
        fs::create_dir(&tools).unwrap();
        let text = format!("#!/bin/sh\ntouch {}\n", made.display());
        for name in ["bwrap", "evil"] {
            write_program(&tools.join(name), &text);
        }
        let path = format!("{}:/usr/bin:/bin", tools.display());
        builder.env("PATH", &path)
    };
    let builder = planted(Wall::Bubblewrap);
    let world = builder.start();
    assert_eq!(answer(&world.say("echo done")), "done\n");
    assert!(!world.path("made").exists());
    // `doctor` asks programs of this driver for their version.
    let builder = planted(Wall::Bubblewrap)
        .agent(json!({"driver": "acp", "program": "evil", "args": null, "format": null}))
        .args(["doctor"]);
    builder.fails();
    let said = fs::read_to_string(builder.path("stdout")).unwrap();
    assert!(!builder.path("made").exists() && said.contains("agents may change"), "{said}");
}

// === what is missing is named ===

/// A shell that is granted to nobody, as an interpreter.
fn interpreter(builder: &Builder) -> std::path::PathBuf {
    let interpreter = builder.path("outside/interpreter");
    fs::copy("/bin/sh", &interpreter).unwrap();
    interpreter
}

/// What is told of a turn that fails.
fn failing(builder: Builder) -> String {
    let task = builder.start().say("echo done");
    assert_eq!(state(&task), "FAILED", "{task:#}");
    words(&task)
}

#[test]
fn the_interpreter_of_a_session_script_that_is_not_granted_is_named_with_the_key_that_grants_it() {
    for wall in Walls::HERE {
        let builder = served(wall, with_project(wall));
        let interpreter = interpreter(&builder);
        let text = format!("#!{}\ntrue\n", interpreter.display());
        let builder = builder.file(".init-session.sh", 0o755, &text);
        let granted = format!("`isolation.read`: [{}]", interpreter.display());
        let told = failing(builder);
        assert!(told.contains(&granted), "{wall:?}: {told}");
    }
}

#[test]
fn the_interpreter_of_a_program_that_agents_may_change_is_named_with_the_key_that_grants_it() {
    for wall in Walls::HERE {
        let builder = served(wall, with_project(wall));
        let interpreter = interpreter(&builder);
        let program = builder.path("project/agent.sh");
        write_program(&program, &format!("#!{}\n", interpreter.display()));
        let told = failing(builder.agent(json!({"program": program})));
        let granted = format!("`isolation.read`: [{}]", interpreter.display());
        assert!(told.contains(&granted), "{wall:?}: {told}");
    }
}

#[test]
fn a_command_that_is_not_found_comes_with_the_key_that_grants_more() {
    for wall in Walls::HERE {
        let builder = served(wall, with_project(wall));
        let interpreter = interpreter(&builder);
        let task = builder.start().say(interpreter.to_str().unwrap());
        assert_eq!(state(&task), "FAILED", "{task:#}");
        assert!(words(&task).contains("`isolation.read`"), "{wall:?}: {}", words(&task));
    }
}

#[test]
fn of_a_script_without_a_first_line_it_is_told_that_the_line_is_missing() {
    let builders = Walls::HERE.into_iter().map(|wall| served(wall, with_project(wall)));
    for builder in builders.chain([World::describe()]) {
        let program = builder.path("project/agent.sh");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        write_program(&program, "echo done\n");
        let told = failing(builder.agent(json!({"program": program})));
        assert!(told.contains("a script without a first line such as `#!/bin/sh`"), "{told}");
    }
}

#[test]
fn without_a_sandbox_an_interpreter_that_is_missing_is_named() {
    let builder = World::describe();
    let program = builder.path("agent.sh");
    write_program(&program, "#!/nowhere/interpreter\n");
    let told = failing(builder.agent(json!({"program": program})));
    let words = format!(
        "/nowhere/interpreter, by which {} is run, is not on this machine",
        program.display()
    );
    assert!(told.contains(&words), "{told}");
}

fn git(folder: &Path, args: &[&str]) {
    let names =
        ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
    let mut git = std::process::Command::new("git");
    git.current_dir(folder).args(args).envs(names.map(|name| (name, "t")));
    let run = git.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn agents_commit_in_a_worktree_whose_repository_is_granted_and_change_no_hook_setting_or_other_ref()
{
    // The repository belongs to the user who runs the tests.
    let builder = Wall::Bubblewrap.shell().config(json!({"isolation": {"uids": {"count": 0}}}));
    let (main, tree) = (builder.path("main"), builder.path("tree"));
    fs::create_dir(&main).unwrap();
    git(&main, &["init", "-q", "-b", "master"]);
    fs::create_dir_all(main.join(".git/hooks")).unwrap();
    git(&main, &["commit", "-q", "--allow-empty", "-m", "first"]);
    let at = tree.display().to_string();
    git(&main, &["worktree", "add", "-q", "-b", "agents/fix", &at]);
    let mut world = builder.config(json!({"workspace": {"mode": "shared", "path": tree}})).start();
    let common = main.join(".git");
    let line = format!("isolation.read: [{}]", common.canonicalize().unwrap().display());
    assert!(world.stderr().contains(&line), "{}", world.stderr());
    assert_eq!(answer(&world.say("git log --oneline 2>&1 | grep -c first; true")), "0\n");
    let write = ["objects", "worktrees/tree", "refs/heads/agents", "logs/refs/heads/agents"];
    let write = write.map(|name| common.join(name));
    world.reconfigure(json!({"isolation": {"read": [common], "write": write}}));
    world.restart();
    let script = format!(
        "git -c user.name=t -c user.email=t commit -q --allow-empty -m second; git log --format=%s; \
         echo x > {0}/hooks/post-commit || echo no hook; git config a.b c || echo no setting; \
         git branch other || echo no ref; git update-ref -d refs/heads/master || echo kept",
        common.display()
    );
    let said = answer(&world.say(&script));
    assert_eq!(said, "second\nfirst\nno hook\nno setting\nno ref\nkept\n", "{}", world.stderr());
}

#[test]
fn what_an_installed_cli_brings_beside_it_is_reached_though_its_folder_is_not_on_path() {
    for wall in WALLS {
        let builder = wall.shell();
        let tools = builder.path("tools");
        fs::create_dir(&tools).unwrap();
        write_program(&tools.join("runs-it"), "#!/bin/sh\nexec /bin/sh \"$@\"\n");
        write_program(&tools.join("helps"), "#!/bin/sh\necho helped\n");
        let said = r#"{"type":"result","is_error":false,"result":"'$(helps)'"}"#;
        let cli = format!("#!/usr/bin/env runs-it\nwhile read -r line; do echo '{said}'; done\n");
        write_program(&tools.join("cli"), &cli);
        let world = builder
            .config(json!({"timeouts": {"mcp": "1ms"}, "agents": {"fake": {
                "driver": "claude", "program": tools.join("cli"), "args": [], "skills_source": "files",
            }}}))
            .start();
        assert_eq!(answer(&world.say("hello")), "helped");
    }
}

#[test]
fn the_start_names_the_folder_behind_shims_on_path() {
    let builder = Wall::Bubblewrap.shell();
    let shims = builder.path("tools/.pyenv/shims");
    fs::create_dir_all(&shims).unwrap();
    let world = builder.env("PATH", &format!("{}:/usr/bin:/bin", shims.display())).start();
    let grant = format!("`isolation.read`: [{}]", shims.parent().unwrap().display());
    assert!(world.stderr().contains(&grant), "{}", world.stderr());
}
