//! The agent as a process: what it says, how it ends, what it leaves behind.
#![expect(clippy::unwrap_used, reason = "a test ends where its world is not as it should be")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpgid, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

fn agent() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fake-agent"))
}

fn play(script: &str) -> Output {
    agent().arg(script).output().unwrap()
}

fn text(script: &str) -> String {
    String::from_utf8(play(script).stdout).unwrap()
}

fn events(script: &str) -> Vec<Value> {
    let output = agent().args(["--events", script]).output().unwrap();
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// A folder of this test alone.
fn folder(name: &str) -> PathBuf {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A running agent and the reader of its output.
fn start(script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = agent().arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn a_plain_message_is_echoed() {
    assert_eq!(text("hello; there"), "echo: hello; there\n");
}

#[test]
fn text_is_a_line_and_events_go_to_standard_error() {
    let output = play("say one; status busy; say two");
    assert_eq!(output.stdout, b"one\ntwo\n");
    assert_eq!(output.stderr, b"status busy\n");
}

#[test]
fn events_are_one_object_a_line() {
    let script = r#"say hi; artifact a b c; data d {"x":1}; file f hi; usage 1 2 0.5; ask which? | a | b; tool T; state failed no luck"#;
    let expected = [
        json!({"type": "text", "text": "hi"}),
        json!({"type": "artifact", "name": "a", "text": "b c"}),
        json!({"type": "artifact", "name": "d", "data": {"x": 1}}),
        json!({"type": "artifact", "name": "f", "filename": "f", "mediaType": "text/plain", "raw": "aGk="}),
        json!({"type": "usage", "inputTokens": 1, "outputTokens": 2, "costUsd": 0.5}),
        json!({"type": "ask", "text": "which?", "options": ["a", "b"]}),
        json!({"type": "tool", "id": "tool-1", "name": "T", "input": {}}),
        json!({"type": "status", "state": "failed", "text": "no luck"}),
    ];
    assert_eq!(events(script), expected);
}

#[test]
fn the_message_may_come_on_standard_input() {
    let mut child =
        agent().arg("--stdin").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"bytes").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"5\n");
}

#[test]
fn the_arguments_are_told_as_json() {
    let output = agent().args(["-x", "--", "argv"]).output().unwrap();
    assert_eq!(output.stdout, b"[\"-x\",\"--\",\"argv\"]\n");
}

#[test]
fn a_flood_has_exactly_its_bytes() {
    let output = text("flood 10000 1000");
    assert_eq!((output.len(), output.lines().count()), (10_000, 10));
    let said = events("flood 10 4");
    let said: Vec<&str> = said.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(said, ["xxx\n", "xxx\n", "x\n"]);
}

#[test]
fn a_big_line_has_one_end() {
    assert_eq!(text("bigline 300000").trim_end_matches('\n').len(), 300_000);
}

#[test]
fn the_exit_code_is_the_script_s() {
    let output = play("say a; err last words; exit 7; say b");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"a\n"[..], &b"last words\n"[..])
    );
}

#[test]
fn a_signal_ends_it() {
    assert_eq!(play("signal 9").status.signal(), Some(9));
}

#[test]
fn a_statement_without_sense_says_so() {
    let output = play("repeat soon");
    assert_eq!(output.status.code(), Some(64));
    let words = "fake-agent: the script says `repeat soon`, it lacks a number\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), words);
}

#[test]
fn counting_goes_on_in_the_same_folder() {
    let folder = folder("count");
    let count = || agent().arg("count").current_dir(&folder).output().unwrap().stdout;
    assert_eq!((count(), count()), (b"1\n".to_vec(), b"2\n".to_vec()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_cue_is_waited_for() {
    let folder = folder("cue");
    let mut child = agent()
        .args(["--events", "cue go; say gone"])
        .env("FAKE_AGENT_CUES", &folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut output), r#"{"type":"status","text":"waiting go"}"#);
    std::fs::write(folder.join("go"), "").unwrap();
    assert_eq!(line(&mut output), r#"{"type":"text","text":"gone"}"#);
    assert!(child.wait().unwrap().success());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_wait_is_a_cue_without_a_word() {
    let folder = folder("wait");
    std::fs::write(folder.join("go"), "").unwrap();
    let output = agent()
        .args(["--events", "wait go; say gone"])
        .env("FAKE_AGENT_CUES", &folder)
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"{\"type\":\"text\",\"text\":\"gone\"}\n");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_reply_is_an_event() {
    assert_eq!(events("reply so it is"), [json!({"type": "reply", "text": "so it is"})]);
}

#[test]
fn an_agent_that_ignores_signals_goes_on_with_the_same_pid() {
    let (mut child, mut output) = start("pid; ignore TERM; pid; signal 15; say alive; hang");
    let (before, after) = (line(&mut output), line(&mut output));
    assert_eq!(before, after);
    assert_eq!(line(&mut output), "alive");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

/// The pid that `fork` said.
fn left_behind(said: &str) -> Pid {
    let pid = said.strip_prefix("pid ").and_then(|pid| pid.parse().ok());
    pid.and_then(Pid::from_raw).unwrap()
}

/// The signals that a process ignores, as the bits of the kernel's mask.
fn ignored(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    let status = status.unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(mask.unwrap().trim(), 16).unwrap()
}

#[test]
fn a_process_left_behind_outlives_the_agent_in_a_group_of_its_own() {
    let (mut child, mut output) = start("fork");
    let pid = left_behind(&line(&mut output));
    assert!(child.wait().unwrap().success());
    let (group, mask) = (getpgid(Some(pid)).unwrap(), ignored(pid));
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(group, pid);
    assert_ne!(mask & 1 << (Signal::TERM.as_raw() - 1), 0, "TERM is ignored");
}

#[test]
fn a_process_left_behind_lets_go_of_the_output() {
    let (mut child, mut output) = start("fork");
    let pid = left_behind(&line(&mut output));
    assert!(child.wait().unwrap().success());
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_process_left_behind_may_hold_the_output() {
    let (mut child, mut output) = start("fork hold");
    let pid = left_behind(&line(&mut output));
    assert!(child.wait().unwrap().success());
    let mut ends = [PollFd::new(output.get_ref(), PollFlags::IN)];
    let ready = poll(&mut ends, Some(&Timespec::default())).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(ready, 0, "the output ended with the agent");
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
}
