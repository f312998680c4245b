//! What five kinds of users see at a terminal, whole: a newcomer (in `first_contact`), one who works, one who decides,
//! one who runs a server, and one who writes scripts. Ids, times and folders are made the same.

use crate::building::fake_agent;
use crate::cli_asks::{pilothouse, url};
use crate::cli_terminal::{Terminal, asking};
use crate::world::World;
use std::process::Command;

/// Without what differs from run to run.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| {
        // What a spinner drew is gone.
        let line = line.rsplit("\u{1b}[K").next().unwrap_or_default().trim_end();
        let words = line.split(' ').map(plain_word).collect::<Vec<_>>();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn plain_word(word: &str) -> String {
    let bare = word.trim_end_matches([',', ')', ';']);
    let end = &word[bare.len()..];
    let is_hex = bare.chars().all(|one| one.is_ascii_hexdigit() || one == '-');
    let is_time = bare.len() == 24 && bare.ends_with('Z');
    let shown = match bare {
        bare if is_hex && [8, 36].contains(&bare.len()) => "ID",
        _ if is_time => "TIME",
        bare if bare.contains('.') && bare.parse::<f64>().is_ok() => "0.1",
        bare if bare.starts_with("http://127.0.0.1:") => "http://127.0.0.1:PORT",
        bare if bare.starts_with("/tmp/") => "FOLDER",
        bare => bare,
    };
    format!("{shown}{end}")
}

#[test]
fn one_who_works_sees_tools_the_answer_and_a_line_that_ends_it() {
    let world = World::start();
    let script = "tool Bash {\"command\": \"ls\"}; result two files; say There are **two** files.";
    let (shown, code) = Terminal::run(world.address(), &["send", script]).end();
    assert_eq!(code, Some(0), "{shown}");
    insta::assert_snapshot!(plain(&shown), @r"
    Bash: ls
    There are two files.
    ✓ completed in 0.1 s · context ID · task ID
    ");
    let (shown, _) = Terminal::run(world.address(), &["tasks", "log", "last"]).end();
    insta::assert_snapshot!(plain(&shown), @r#"
    ▶ tool Bash {"command": "ls"}; result two files; say There are **two** files.
      Bash: ls
      ✓ two files
    There are two files.
    ✓ completed in 0.1 s · context ID · task ID
    "#);
}

#[test]
fn one_who_decides_sees_all_that_would_run_and_the_keys() {
    let world = asking();
    let mut terminal = Terminal::run(world.address(), &["send", "hello"]);
    let asked = terminal.until("Ctrl-D leaves it waiting: ");
    insta::assert_snapshot!(plain(&asked), @r"
    execute: rm -r build
    execute asks to be used:
    │ rm -r build
    ? input-required in 0.1 s · context ID · task ID
    [y] once [s] for this pattern [a] this session [n] no [e] edit [v] view, Ctrl-D leaves it waiting:
    ");
    terminal.press("y");
    insta::assert_snapshot!(plain(&terminal.end().0), @r"
    y
    allowed: execute: rm -r build
    chosen: this-once
    ✓ completed in 0.1 s · context ID · task ID
    ");
}

#[test]
fn one_who_runs_a_server_sees_what_is_checked() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .arg("doctor")
        .env_clear()
        .env("PILOTHOUSE_AGENT", "demo")
        .env("PILOTHOUSE_ISOLATION_BACKEND", "none")
        .env("PILOTHOUSE_SERVER_PORT", "0")
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    let shown: Vec<&str> = shown.lines().filter(|line| !line.contains("descriptors")).collect();
    insta::assert_snapshot!(plain(&shown.join("\n")), @r"
    ✓ configuration  loads; `pilothouse config show` tells each value and its origin
    ✓ agent          demo (the built-in demo, named by `agent: demo`)
    ✓ program        this one, 0.1.0
    ✓ credential     none needed
    ✓ state folder   FOLDER will be made
    ✓ workspace      FOLDER will be made
    ✓ store          FOLDER will be made
    ✓ port           127.0.0.1:0 is free
    • isolation      sandbox: none (`isolation.backend: none`): agents can read and change all that this user can, and reach any network
    ✓ launcher       starts a process and ends its whole tree
    ✓ clock          after the program was written
    ");
}

#[test]
fn one_who_writes_scripts_gets_the_answer_alone_and_an_exit_code() {
    let world = World::start();
    let address = url(world.address());
    let said = pilothouse(&address, &["send", "say one; say two"]);
    assert_eq!((said.code, &*said.out), (Some(0), "onetwo\n"), "{}", said.err);
    let failed = pilothouse(&address, &["send", "err no such table; exit 3"]);
    assert_eq!((failed.code, &*failed.out), (Some(1), ""), "{}", failed.err);
    insta::assert_snapshot!(plain(&failed.err).replace(&fake_agent(), "AGENT"), @r"
    `AGENT` exited with code 3: no such table
    ✗ failed in 0.1 s · context ID · task ID
    ");
    let waiting = pilothouse(&address, &["send", "ask Which colour? | red"]);
    assert_eq!(waiting.code, Some(4), "{}", waiting.err);
}
