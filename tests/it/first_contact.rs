//! A newcomer's first minute: what the start says, what it serves on a machine without a sandbox, what is tried next.

use crate::building::fake_agent;
use crate::cli_terminal::Terminal;
use crate::world::{World, await_end};
use serde_json::json;
use std::process::Command;

const CTRL_C: &str = "\u{3}";
const SERVE: [&str; 3] = ["serve", "--port", "0"];

/// The server in a user namespace that allows none below it.
const NO_NAMESPACES: [&str; 6] = [
    "unshare",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"",
    env!("CARGO_BIN_EXE_pilothouse"),
];

/// Without what differs from run to run: folders, ports, tokens, what this machine lacks.
fn plain(text: &str, terminal: &Terminal) -> String {
    let text = text.replace(terminal.home().to_str().unwrap(), "HOME");
    let text = text.replace(env!("CARGO_BIN_EXE_pilothouse"), "pilothouse");
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        // So many hold where there are no control groups.
        let line = line.replace("13 guarantees", "11 guarantees");
        let line = match line.split_once("http://127.0.0.1:") {
            Some((before, _)) => format!("{before}http://127.0.0.1:PORT/"),
            None => line.to_owned(),
        };
        // What is missing for Claude Code differs from machine to machine.
        let cut = ["TOKEN=", ", because "]
            .into_iter()
            .find_map(|word| line.split_once(word).map(|(before, _)| format!("{before}{word}...")));
        lines.push(cut.unwrap_or(line));
    }
    lines.retain(|line| !line.contains("note: "));
    lines.join("\n")
}

/// What a server says at a terminal until it has said what to try.
fn start_at_terminal(program: &[&str]) -> (Terminal, String) {
    let mut terminal = Terminal::run_alone(program, &SERVE);
    let mut shown = terminal.until("try: ");
    shown.push_str(&terminal.until("\n"));
    (terminal, shown)
}

#[test]
fn the_start_says_in_eight_lines_what_is_served_where_and_how_and_what_to_try() {
    let (mut terminal, shown) = start_at_terminal(&[env!("CARGO_BIN_EXE_pilothouse")]);
    assert!(shown.trim_end().lines().count() <= 8, "{shown}");
    insta::assert_snapshot!(plain(&shown, &terminal), @r#"
    pilothouse: serving demo at http://127.0.0.1:PORT/
    pilothouse: the demo agent, because ...
    pilothouse: workspace: a folder for each session in HOME/workspace
    pilothouse: sandbox: bubblewrap, 11 guarantees verified; `pilothouse doctor` lists them
      TOKEN=...
    pilothouse: try: pilothouse send "hello"
    "#);
    // The command works as it is printed.
    let (_, command) = shown.split_once("try: ").unwrap();
    let words = shell_words::split(command.trim()).unwrap();
    let said = Command::new(&words[0])
        .args(&words[1..])
        .env_clear()
        .env("HOME", terminal.home())
        .current_dir("/")
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(answer.starts_with("You said: hello"), "{answer}{said:?}");
    terminal.press(CTRL_C);
    assert!(terminal.end().0.contains("SIGINT: ending"));
}

#[test]
fn without_a_sandbox_the_demo_agent_alone_is_served_and_what_is_missing_is_said() {
    let (mut terminal, shown) = start_at_terminal(&NO_NAMESPACES);
    assert!(shown.contains("serving demo at "), "{shown}");
    assert!(
        shown.contains(
            "only the demo agent, because no sandbox can be made for another one: bubblewrap: "
        ),
        "{shown}"
    );
    assert!(shown.contains("user.max_user_namespaces"), "{shown}");
    terminal.press(CTRL_C);
    assert!(terminal.end().0.contains("SIGINT: ending"));
}

/// A start without a sandbox that is refused; its words.
fn refused(args: &[&str], variable: (&str, &str)) -> String {
    let home = tempfile::tempdir().unwrap();
    let refused = Command::new(NO_NAMESPACES[0])
        .args(&NO_NAMESPACES[1..])
        .args(SERVE)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home.path())
        .env(variable.0, variable.1)
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(69), "{said}");
    said
}

#[test]
fn without_a_sandbox_nothing_that_was_configured_is_replaced_by_the_demo_agent() {
    let program = fake_agent();
    for (args, variable) in [
        (&["--agent", "command"][..], ("AGENT_CMD", &*program)),
        (&["--host", "0.0.0.0"], ("LANG", "C")),
        (&["--isolation", "bubblewrap"], ("LANG", "C")),
        (&[], ("PILOTHOUSE_ISOLATION_REQUIRE", "[\"processes\"]")),
    ] {
        let said = refused(args, variable);
        assert!(said.contains("no isolation gives"), "{args:?}: {said}");
    }
}

#[test]
fn a_repository_and_a_relative_name_in_the_working_folder_are_named_at_the_start() {
    let described = World::describe().file("agent.py", 0o644, "");
    std::fs::create_dir(described.cwd().join(".git")).unwrap();
    let args = json!(["agent.py"]);
    let config = json!({"workspace": {"path": "workspace"}});
    let world = described.agent(json!({"args": args})).config(config).start();
    let said = world.stderr();
    assert!(said.contains("`fake` does not see the repository in this folder"), "{said}");
    let instead = world.path("cwd").join("agent.py");
    let words = format!("where `agent.py` does not exist: write {} instead", instead.display());
    assert!(said.contains(&words), "{said}");
}

#[test]
fn other_machines_learn_at_the_start_which_host_names_they_may_use() {
    let config = json!({"server": {"host": "0.0.0.0"}});
    let world = World::describe().config(config).start();
    assert!(world.stderr().contains("`server.allowed_hosts`"), "{}", world.stderr());
}

#[test]
fn a_path_that_the_sandbox_hides_is_named_in_the_failure_with_the_key_that_grants_it() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("list"), "one").unwrap();
    let path = outside.path().join("list").display().to_string();
    let described = World::describe().file("agent.sh", 0o755, &format!("#!/bin/sh\ncat {path}\n"));
    let program = described.cwd().join("agent.sh");
    let isolation = json!({"backend": "bubblewrap", "require": ["fs.read"]});
    let world = described
        .agent(json!({"program": program, "args": null, "format": null}))
        .config(json!({"isolation": isolation}))
        .start();
    let task = world.say("go");
    let said = task.to_string();
    assert!(said.contains(&format!("if {path} exists on this machine")), "{task:#}");
}

#[test]
fn doctor_online_has_one_real_turn_done_and_leaves_nothing_behind() {
    let described = World::describe().args(["doctor", "--online"]);
    let mut child = described.spawn();
    assert!(await_end(&mut child, described.patience).is_some());
    let said = std::fs::read_to_string(described.path("stdout")).unwrap();
    assert!(said.contains("✓ online") && said.contains("fake answered in"), "{said}");
    let state = std::fs::read_dir(described.path("state")).unwrap();
    let left: Vec<_> = state.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("doctor-")), "{left:?}");
}

#[test]
fn doctor_says_on_which_side_of_the_sandbox_a_credential_is_and_whose_server_has_the_port() {
    let world = World::start();
    let port = world.address().port();
    let said = run_doctor(port);
    let words = format!("with another state folder, answers at http://127.0.0.1:{port}");
    assert!(said.contains("✗ port") && said.contains(&words), "{said}");
    let words = "ANTHROPIC_API_KEY stays outside of the sandbox";
    assert!(said.contains(words) && !said.contains("sk-ant-test"), "{said}");
}

/// What `doctor` says in an empty folder of a user who has Claude Code and a key.
fn run_doctor(port: u16) -> String {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("claude");
    std::fs::write(&program, "#!/bin/sh\ntouch \"$HOME/was-started\"\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .arg("doctor")
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", home.path().display()))
        .env("HOME", home.path())
        .env("PORT", port.to_string())
        .env("ANTHROPIC_API_KEY", "sk-ant-test")
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(!home.path().join("was-started").exists());
    String::from_utf8(output.stdout).unwrap()
}
