//! The command line at a terminal: what an agent asks is answered there and then, and Ctrl-D leaves it.

use crate::building::fake_agent;
use crate::cli_asks::{pilothouse, url};
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Ctrl-D as a terminal sends it.
const CTRL_D: &str = "\u{4}";

/// A command on a terminal of its own, which script(1) makes.
pub(crate) struct Terminal {
    child: Child,
    shown: String,
    home: TempDir,
}

impl Terminal {
    /// Runs `pilothouse` with these words against a server.
    pub(crate) fn run(address: SocketAddr, words: &[&str]) -> Self {
        let address = url(address);
        let options = ["--url", &*address, "--token", OWNER];
        let words: Vec<&str> = words.iter().chain(&options).copied().collect();
        Self::run_alone(&[env!("CARGO_BIN_EXE_pilothouse")], &words)
    }

    /// Runs a program, which ends with `pilothouse`, with these words.
    pub(crate) fn run_alone(program: &[&str], words: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let command = shell_words::join(program.iter().chain(words));
        // It ends also where the test waits for words that never come.
        let child = Command::new("timeout")
            .args(["60", "script", "-qefc", &command, "/dev/null"])
            .current_dir(home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", home.path())
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, shown: String::new(), home }
    }

    /// Its HOME and working folder.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Reads until this is shown, or to the end; what was shown before it.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        let out = self.child.stdout.as_mut().unwrap();
        while !bytes.ends_with(text.as_bytes()) {
            let count = out.read(&mut byte).unwrap();
            assert_eq!(count, 1, "no `{text}` in: {}", String::from_utf8_lossy(&bytes));
            bytes.extend(byte);
        }
        let shown = String::from_utf8(bytes).unwrap();
        self.shown.push_str(&shown);
        shown
    }

    pub(crate) fn press(&mut self, keys: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(keys.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// The rest of what is shown, and the exit code.
    pub(crate) fn end(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap().code())
    }
}

/// A world whose agent asks for a permission.
pub(crate) fn asking() -> World {
    let agent = json!({"driver": "acp", "program": fake_agent(), "args": ["--acp", "asks"]});
    World::describe().config(json!({"agent": "asks", "agents": {"asks": agent}})).start()
}

/// What is open, as JSON.
pub(crate) fn open_asks(world: &World) -> Vec<Value> {
    let said = pilothouse(&url(world.address()), &["tasks", "asks", "--json"]);
    serde_json::from_str(&said.out).unwrap()
}

const KEYS: &str = "Ctrl-D leaves it waiting: ";

#[test]
fn one_key_allows_what_is_asked_and_the_task_goes_on() {
    let world = asking();
    let mut terminal = Terminal::run(world.address(), &["send", "hello"]);
    let asked = terminal.until(KEYS);
    assert!(
        asked.contains("[y] once [s] for this pattern [a] this session [n] no [e] edit [v] view, "),
        "{asked}"
    );
    // A key that means nothing decides nothing.
    terminal.press("x");
    terminal.press("y");
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(0), "{asked}{rest}");
    assert!(rest.contains("allowed: "), "{rest}");
    assert_eq!(open_asks(&world), [Value::Null; 0]);
}

/// Has a shell that does not find `pilothouse` by its name run the command behind these words, as it is printed.
fn run_printed(shown: &str, before: &str, input: &str) -> String {
    let (_, command) = shown.split_once(before).unwrap_or_else(|| panic!("{shown}"));
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new("/bin/sh")
        .args(["-c", command.lines().next().unwrap()])
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("PILOTHOUSE_TOKEN", OWNER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ctrl_d_leaves_the_ask_open_and_says_how_it_is_answered() {
    let world = asking();
    let mut terminal = Terminal::run(world.address(), &["send", "hello"]);
    terminal.until(KEYS);
    terminal.press(CTRL_D);
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(4), "{rest}");
    assert_eq!(open_asks(&world).len(), 1);
    // The printed command works as it is.
    run_printed(&rest, "allow it once: ", "");
}

#[test]
fn without_input_nothing_is_asked_at_the_terminal() {
    let world = asking();
    let terminal = Terminal::run(world.address(), &["send", "hello", "--no-input"]);
    let (shown, code) = terminal.end();
    assert_eq!(code, Some(4), "{shown}");
    assert!(!shown.contains("[y]") && shown.contains("/pilothouse approve"), "{shown}");
}

#[test]
fn a_no_with_its_reason_denies() {
    let world = asking();
    let mut terminal = Terminal::run(world.address(), &["send", "hello"]);
    terminal.until(KEYS);
    terminal.press("n");
    terminal.until("why not (Enter gives no reason): ");
    terminal.press("not on a Friday\n");
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(0), "{rest}");
    let log = pilothouse(&url(world.address()), &["tasks", "log", "last"]);
    assert!(log.out.contains("◀ deny: not on a Friday\n"), "{}", log.out);
}

#[test]
fn a_pattern_is_shown_in_words_and_changed_before_it_is_given() {
    let world = asking();
    let mut terminal = Terminal::run(world.address(), &["send", "hello"]);
    terminal.until(KEYS);
    terminal.press("s");
    let shown = terminal.until("[y] allow this [e] change it, Ctrl-D goes back: ");
    let words =
        "execute with exactly command \"rm -r build\", in this session, at most 20 times, for 1h";
    assert!(shown.contains(words), "{shown}");
    // It goes back without a decision.
    terminal.press(CTRL_D);
    terminal.until(KEYS);
    terminal.press("s");
    terminal.until("goes back: ");
    terminal.press("e");
    terminal.until("how often at most (Enter keeps 20): ");
    terminal.press("0\n");
    terminal.until("that is no number above 0");
    terminal.until("how often at most (Enter keeps 20): ");
    terminal.press("2\n");
    terminal.until("for how long (Enter keeps 1h): ");
    terminal.press("\n");
    let shown = terminal.until("goes back: ");
    assert!(shown.contains("at most 2 times, for 1h"), "{shown}");
    terminal.press("y");
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(0), "{rest}");
    let grants = pilothouse(&url(world.address()), &["grants", "list", "--json"]);
    let grants: Value = serde_json::from_str(&grants.out).unwrap();
    assert_eq!((&grants[0]["uses"], &grants[0]["caller"]), (&json!(2), &json!("owner")));
    let id = grants[0]["shortId"].as_str().unwrap();
    assert_eq!(pilothouse(&url(world.address()), &["grants", "revoke", id]).code, Some(0));
}

#[test]
fn ctrl_d_leaves_a_task_that_works_and_it_goes_on() {
    let world = World::start();
    let mut terminal = Terminal::run(world.address(), &["send", "say begun; wait go; say ended"]);
    terminal.until("begun");
    // The line that moves says what the agent does; it is gone from the answer's own line.
    terminal.press(&format!("\n{CTRL_D}"));
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(130), "{rest}");
    world.cue("go");
    assert_eq!(run_printed(&rest, "left; the task goes on: ", ""), "begunended\n");
}

#[test]
fn a_chat_is_one_conversation_and_says_how_it_goes_on() {
    let world = World::start();
    let mut terminal = Terminal::run(world.address(), &["send"]);
    for text in ["one", "two"] {
        terminal.until("› ");
        terminal.press(&format!("say {text}-said\n"));
        terminal.until(&format!("{text}-said\r\n"));
        terminal.until(&format!("{text}-said\r\n"));
    }
    terminal.until("› ");
    terminal.press(CTRL_D);
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(0), "{rest}");
    assert_eq!(run_printed(&rest, "go on with: ", "say three-said"), "three-said\n");
    let sessions = pilothouse(&url(world.address()), &["sessions", "list", "--json"]);
    let sessions: Vec<Value> = serde_json::from_str(&sessions.out).unwrap();
    assert_eq!(sessions.len(), 1);
}

// === without a terminal ===

#[test]
fn a_log_shows_all_that_happened_and_watch_the_answer_with_the_tools_beside_it() {
    let world = World::start();
    let address = url(world.address());
    let script = "tool Bash {\"command\": \"ls\"}; result two files; say done";
    let sent = pilothouse(&address, &["send", script]);
    assert_eq!((sent.code, &*sent.out), (Some(0), "done\n"), "{}", sent.err);
    assert!(sent.err.starts_with("  Bash: "), "{}", sent.err);
    let watched = pilothouse(&address, &["tasks", "watch", "last"]);
    assert_eq!((watched.code, &*watched.out), (Some(0), "done\n"), "{}", watched.err);
    let log = pilothouse(&address, &["tasks", "log", "last"]);
    let lines: Vec<&str> = log.out.lines().collect();
    assert_eq!(log.code, Some(0), "{}", log.err);
    assert!(lines[0].starts_with("▶ tool Bash"), "{}", log.out);
    assert!(lines[1].starts_with("  Bash: ") && lines[2].contains("two files"), "{}", log.out);
    assert_eq!(lines.last(), Some(&"done"), "{}", log.out);
}

#[test]
fn a_pipe_is_what_is_said_where_nothing_else_is() {
    let world = World::start();
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(["send", "--url", &url(world.address()), "--token", OWNER])
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"say piped\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "piped\n");
}
