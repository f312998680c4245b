//! The JSONL log of every line that an agent wrote.

use parking_lot::Mutex;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The log, or none.
pub struct Raw {
    file: Option<Mutex<File>>,
    complained: AtomicBool,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
}

impl Raw {
    /// Opens the file for appending; it is readable by its owner alone, because it holds prompts.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let open = |path: &Path| {
            OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!(
                        "cannot open the log file {}: {error}; correct `log.path`",
                        path.display()
                    ),
                )
            })
        };
        let file = path.map(open).transpose()?.map(Mutex::new);
        Ok(Self { file, complained: AtomicBool::new(false) })
    }

    /// Writes one line of an agent; JSON stays JSON, anything else becomes a string.
    pub fn line(&self, session: &str, task: Option<&TaskId>, bytes: &[u8]) {
        let Some(file) = &self.file else { return };
        let line: Option<&RawValue> = serde_json::from_slice(bytes).ok();
        let text = line.is_none().then(|| String::from_utf8_lossy(bytes));
        let mut json =
            serde_json::to_vec(&Line { time: Timestamp::now(), session, task, line, text })
                .expect("a line has no maps");
        json.push(b'\n');
        let written = file.lock().write_all(&json);
        if let Err(error) = written
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            tracing::error!(%error, "agent lines can no longer be logged (said once)");
        }
    }
}
