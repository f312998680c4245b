//! The audit log: who asked for what, when, and how it ended. No prompts, no answers, no secrets.
//!
//! Entries go through a bounded queue to one writer; when the place they go to is stuck, requests wait
//! for it. An action that cannot be noted is not carried out unnoticed.

use pilothouse_a2a::time::Timestamp;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Entries that may wait for the writer.
const QUEUE: usize = 4096;

/// Where entries go.
pub struct Audit {
    entries: Option<mpsc::Sender<Message>>,
    closed: Mutex<bool>,
}

enum Message {
    Line(Vec<u8>),
    Flush(oneshot::Sender<()>),
}

/// One thing that somebody asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was asked.
    pub time: Timestamp,
    /// Who; none where nobody was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// From which address.
    pub peer: String,
    /// What: the method's name as it was called, or the request line.
    pub action: String,
    /// On which task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// In which context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// `ok`, or the reason of the refusal.
    pub outcome: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// How long the answer took, in milliseconds; for a stream, until its first event.
    pub duration_ms: f64,
}

impl Audit {
    /// Opens `stderr`, `off`, or a file that only its owner may read.
    pub(super) fn open(place: &str) -> io::Result<Self> {
        let sink: Box<dyn Write + Send> = match place {
            "off" => {
                return Ok(Self {
                    entries: None,
                    closed: Mutex::new(true),
                });
            }
            "stderr" => Box::new(io::stderr()),
            path => {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(|error| {
                        io::Error::new(
                            error.kind(),
                            format!("cannot open the audit log {path}: {error}; correct `audit`"),
                        )
                    })?;
                Box::new(file)
            }
        };
        let (entries, waiting) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(sink, waiting))?;
        Ok(Self {
            entries: Some(entries),
            closed: Mutex::new(false),
        })
    }

    /// Notes one entry.
    pub async fn note(&self, entry: &Entry) {
        let Some(entries) = &self.entries else { return };
        let mut line = serde_json::to_vec(entry).expect("an entry has no maps");
        line.push(b'\n');
        let _ = entries.send(Message::Line(line)).await;
    }

    /// Waits until all that was noted is written.
    pub async fn close(&self) {
        let done = std::mem::replace(&mut *self.closed.lock().expect("a flag"), true);
        if let (false, Some(entries)) = (done, &self.entries) {
            let (flushed, answer) = oneshot::channel();
            if entries.send(Message::Flush(flushed)).await.is_ok() {
                let _ = answer.await;
            }
        }
    }
}

fn write(mut sink: Box<dyn Write + Send>, mut waiting: mpsc::Receiver<Message>) {
    let mut group = Vec::new();
    let mut bytes = Vec::new();
    let mut complained = false;
    while waiting.blocking_recv_many(&mut group, 256) > 0 {
        let mut flushed = Vec::new();
        for message in group.drain(..) {
            match message {
                Message::Line(line) => bytes.extend_from_slice(&line),
                Message::Flush(done) => flushed.push(done),
            }
        }
        let written = sink.write_all(&bytes).and_then(|()| sink.flush());
        bytes.clear();
        if let Err(error) = written
            && !std::mem::replace(&mut complained, true)
        {
            tracing::error!(%error, "the audit log can no longer be written (said once)");
        }
        flushed.into_iter().for_each(|done| {
            let _ = done.send(());
        });
    }
}
