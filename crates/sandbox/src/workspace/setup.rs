//! What sets a new session up, a script say: heard to its end, within a time.

use crate::process::{Ended, Process};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What of its output is kept.
const SCRIPT_OUTPUT: usize = 16 * 1024;

/// What set a session up and did not succeed.
#[derive(Debug)]
pub struct InitFailed {
    /// How it ended, readable after its name.
    pub reason: String,
    /// Whether it, or a command of it, was not found or could not be executed (by the exit codes of shells).
    pub is_not_found: bool,
    /// Its last words.
    pub output: String,
}

/// Hears what sets a session up to its end, for at most so long; the key names that bound. Where it fails or is not
/// waited for, its process is still to be ended.
pub async fn hear_setup(
    process: &mut Process,
    (patience, key): (Duration, &str),
) -> Result<String, InitFailed> {
    let failed =
        |reason: String, output: String| InitFailed { reason, is_not_found: false, output };
    process.stdin = None;
    let mut output = Vec::new();
    // On the heap: this future is part of every turn's.
    let (mut first, mut second) = (vec![0u8; 4096], vec![0u8; 4096]);
    let (mut stdout_open, mut stderr_open, mut ended) = (true, true, None);
    let listening = async {
        while stdout_open || stderr_open || ended.is_none() {
            tokio::select! {
                read = process.stdout.read(&mut first), if stdout_open => match read {
                    Ok(size) if size > 0 => output.extend_from_slice(&first[..size]),
                    _ => stdout_open = false,
                },
                read = process.stderr.read(&mut second), if stderr_open => match read {
                    Ok(size) if size > 0 => output.extend_from_slice(&second[..size]),
                    _ => stderr_open = false,
                },
                status = process.control.ended(), if ended.is_none() => ended = Some(status),
            }
            if output.len() > SCRIPT_OUTPUT {
                output.drain(..output.len() - SCRIPT_OUTPUT);
            }
        }
    };
    let in_time = tokio::time::timeout(patience, listening).await.is_ok();
    let words = String::from_utf8_lossy(&output).trim().to_owned();
    match ended {
        Some(Ended::Code(0)) => Ok(words),
        Some(Ended::Code(code)) => Err(InitFailed {
            reason: format!("failed with exit code {code}"),
            is_not_found: matches!(code, 126 | 127),
            output: words,
        }),
        Some(Ended::Signal(signal)) => Err(failed(format!("was ended by signal {signal}"), words)),
        Some(Ended::Unclear) => Err(failed("ended in an unclear way".to_owned(), words)),
        None if in_time => Err(failed("ended in an unclear way".to_owned(), words)),
        None => Err(failed(format!("took longer than {} s (`{key}`)", patience.as_secs()), words)),
    }
}
