//! The attacking program and its victims: what they are told, what they say, and how they end.

use super::Failed;
use crate::isolation::findings::{Outcome, Try};
use crate::process::{Ended, Process};
use crate::supervisor::Word;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// The longest that one run of the attacking program may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most that it says.
const WORDS: u64 = 256 * 1024;

/// The attack that ends the victim, which is the last one.
pub(super) const ENDS_VICTIM: &str = "processes.signal";

/// Aims that are sent only where there is something to aim at, and the attacks that need them.
pub(super) const OPTIONAL_AIMS: [(&str, &[&str]); 4] = [
    ("tcp6", &["tcp.v6"]),
    ("udp6", &["udp.v6"]),
    ("same6", &["tcp.proxy_port_v6"]),
    ("own_dir", &["own.read", "own.write", "own.replace", "own.folder"]),
];

/// The next line that a program prints.
pub(super) async fn first_line(process: &mut Process) -> Result<String, Failed> {
    let mut line = Vec::new();
    let read = async {
        while let Ok(byte) = process.stdout.read_u8().await {
            if byte == b'\n' {
                return Some(());
            }
            line.push(byte);
        }
        None
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Some(())) => Ok(String::from_utf8_lossy(&line).into_owned()),
        Ok(None) | Err(_) => Err(Failed::Silent),
    }
}

/// Tells the attacking program its aims. What comes of its attacks.
///
/// An attack without an aim is not made, and what was not made succeeds at nothing. So where aims were sent, the
/// program must have reached the proxy, whose port is one of them, and must leave out no attack for want of an aim.
pub(super) async fn attack_with(
    attacker: &mut Process,
    aims: &[String],
) -> Result<Vec<Outcome>, Failed> {
    let mut text = Vec::new();
    for aim in aims {
        text.extend_from_slice(aim.as_bytes());
        text.push(0);
    }
    write(attacker, &text).await?;
    attacker.stdin = None;
    let mut outcomes = Vec::new();
    let mut has_reached_proxy = false;
    let read = async {
        let mut lines = BufReader::new((&mut attacker.stdout).take(WORDS)).lines();
        while let Some(line) = lines.next_line().await? {
            match line.split_once(' ') {
                Some(("proxy", "reached")) => has_reached_proxy = true,
                Some(("proxy", why)) => return Err(Failed::NoProxy(why.to_owned())),
                Some(("aims", why)) => return Err(Failed::NoAims(why.to_owned())),
                _ if line == "end" => return Ok(()),
                _ => outcomes.extend(Outcome::read(&line)),
            }
        }
        Err(Failed::Silent)
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or(Err(Failed::Silent))?;
    if !aims.is_empty() {
        if !has_reached_proxy {
            return Err(Failed::NoAims("it did not try to reach the proxy".to_owned()));
        }
        let lacks_aim =
            |outcome: &&Outcome| outcome.lacks_aim() && is_aim_sent(aims, &outcome.name);
        if let Some(outcome) = outcomes.iter().find(lacks_aim) {
            return Err(Failed::NoAim(outcome.name.clone()));
        }
    }
    Ok(outcomes)
}

/// Whether all aims that this attack needs were sent.
fn is_aim_sent(aims: &[String], attack: &str) -> bool {
    let is_sent =
        |key: &str| aims.iter().any(|aim| aim.split_once('=').is_some_and(|(k, _)| k == key));
    OPTIONAL_AIMS.iter().all(|(key, attacks)| !attacks.contains(&attack) || is_sent(key))
}

/// Writes to a program's standard input.
pub(super) async fn write(process: &mut Process, mut bytes: &[u8]) -> Result<(), Failed> {
    let closed = || Failed::Unread(io::ErrorKind::BrokenPipe.into());
    let stdin = process.stdin.as_mut().ok_or_else(closed)?;
    let write = async {
        while !bytes.is_empty() {
            match stdin.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stdin.writable().await,
                Err(error) => return Err(Failed::Unread(error)),
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, write).await.unwrap_or(Err(Failed::Silent))
}

/// Has a process of a session start others that try to outlive it, and ends the session. Whether one may have.
pub(super) async fn has_survivors(mut process: Process) -> Result<bool, Failed> {
    write(&mut process, b"survive\n").await?;
    process.stdin = None;
    while first_line(&mut process).await? != "ready" {}
    process.control.say(Word::Kill);
    let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
    // The end of the pipe is the end of the last one that holds it; one has closed it.
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, process.stdout.read_to_end(&mut rest)).await;
    let all_ended =
        matches!(ended, Ok(Ended::Code(_) | Ended::Signal(_))) && matches!(read, Ok(Ok(_)));
    Ok(!all_ended)
}

/// Whether a program that takes memory was kept from taking all of it. It says so before it takes the first.
pub(super) fn is_memory_refused(said: &str) -> Result<bool, Failed> {
    let mut lines = said.lines().filter(|line| line.starts_with("memory "));
    let last = lines.next_back().ok_or(Failed::Silent)?;
    Ok(!last.ends_with(" end"))
}

/// All that a program says until its end.
pub(super) async fn said(mut process: Process) -> Result<String, Failed> {
    process.stdin = None;
    let mut said = Vec::new();
    let mut stdout = (&mut process.stdout).take(WORDS);
    let read = tokio::time::timeout(PATIENCE, stdout.read_to_end(&mut said)).await;
    read.map_err(|_| Failed::Silent)??;
    wait_for_end(process).await?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Waits until a program, which says no more, has ended.
pub(super) async fn wait_for_end(mut process: Process) -> Result<(), Failed> {
    let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
    ended.map(drop).map_err(|_| Failed::Silent)
}

/// Kills a process; how it ended, which may have been before.
pub(super) async fn end(mut process: Process) -> Ended {
    process.control.say(Word::Kill);
    let ended = tokio::time::timeout(PATIENCE, process.control.ended()).await;
    ended.unwrap_or(Ended::Unclear)
}

/// Fails unless the victim lived until it was killed here, or an attack ended it. Its end before that may be reported
/// late, so it is told from how it ended.
pub(super) fn check_victim(ended: Ended, outcomes: &[Outcome]) -> Result<(), Failed> {
    const SIGKILL: i32 = 9;
    let is_ended_by_attack = outcomes
        .iter()
        .any(|outcome| outcome.name == ENDS_VICTIM && outcome.result == Try::Succeeded);
    let has_lived = ended == Ended::Signal(SIGKILL) || is_ended_by_attack;
    has_lived.then_some(()).ok_or(Failed::NoVictim)
}
