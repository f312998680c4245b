//! The agent as a process: hanging, dying by a signal, ignoring one, leaving others behind.

use crate::usage;
use rustix::process::{Signal, getpid, kill_process, setsid};
use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// The first argument of a program that goes on with a script.
pub(crate) const REPLAY: &str = "--replay";
/// The longest that anything hangs, so that a lost test leaves nothing for ever.
const HANG: Duration = Duration::from_secs(3600);
/// Ignored signals survive exec; a shell sets them without code of ours between fork and exec.
const DEAF: &str = r#"trap "" TERM INT HUP; exec "$0" "$@""#;

/// What this program is when it starts itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// Starts the orphan and ends at once.
    Middle,
    /// Opens a session of its own, says its pid and hangs.
    Orphan,
}

impl Part {
    const MIDDLE: &str = "--middle";
    const ORPHAN: &str = "--orphan";

    /// The part of this argument.
    pub(crate) fn named(arg: &OsStr) -> Option<Self> {
        match arg.to_str()? {
            Self::MIDDLE => Some(Self::Middle),
            Self::ORPHAN => Some(Self::Orphan),
            _ => None,
        }
    }

    /// Does what the part has to do.
    pub(crate) fn play(self) -> io::Result<()> {
        match self {
            Self::Middle => {
                deaf()?.arg(Self::ORPHAN).spawn()?;
            }
            Self::Orphan => {
                setsid()?;
                println!("{}", getpid().as_raw_nonzero());
                io::stdout().flush()?;
                hang();
            }
        }
        Ok(())
    }
}

/// What a script of the shell prints, its errors last.
pub(crate) fn run_script(script: &str) -> io::Result<String> {
    let output = Command::new("/bin/bash").args(["-c", script]).stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// This program again, deaf to the polite signals.
fn deaf() -> io::Result<Command> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(DEAF).arg(env::current_exe()?);
    Ok(command)
}

/// Leaves a process behind that has left our session and is nobody's child; returns its pid once
/// it is out of reach. With `hold` it keeps our standard output and error open.
pub(crate) fn leave_behind(hold: bool) -> io::Result<String> {
    let (output, error) = if hold {
        // The standard output of the middle one tells the pid; ours is held as its input.
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        (output.into(), Stdio::inherit())
    } else {
        (Stdio::null(), Stdio::null())
    };
    let mut middle = Command::new(env::current_exe()?)
        .arg(Part::MIDDLE)
        .stdin(output)
        .stdout(Stdio::piped())
        .stderr(error)
        .spawn()?;
    let mut pid = String::new();
    let said = middle.stdout.take().expect("the output is piped");
    BufReader::new(said).read_line(&mut pid)?;
    middle.wait()?;
    match pid.trim() {
        "" => Err(io::Error::other("the process left behind did not start")),
        pid => Ok(pid.to_owned()),
    }
}

/// Goes on with the rest of a script, deaf to the polite signals. Returns only when that failed.
pub(crate) fn replay(events: bool, script: &str) -> io::Error {
    match deaf() {
        Ok(mut command) => {
            command.arg(REPLAY);
            if events {
                command.arg("--events");
            }
            command.arg("--").arg(script).exec()
        }
        Err(error) => error,
    }
}

/// Sends this process a signal.
pub(crate) fn signal(number: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(number);
    let signal =
        signal.ok_or_else(|| usage(&format!("the script names no signal with {number}")))?;
    Ok(kill_process(getpid(), signal)?)
}

/// Does nothing.
pub(crate) fn hang() {
    thread::sleep(HANG);
}
