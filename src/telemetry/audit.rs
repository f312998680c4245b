//! The audit log: who asked for what, when, and how it ended. No prompts, no answers, no secrets.
//!
//! A file takes each entry at once. The one of the state folder is rotated like the log of agent lines
//! (`log.max_size`, `log.keep`); a file that the operator names is the operator's to rotate. What nobody may read, standard error, a pipe or a terminal, takes them through a
//! bounded queue and one writer; when it is full, requests wait.

use super::is_unshowable;
use super::raw::LogFile;
use crate::config::Config;
use crate::store::TraceContext;
use parking_lot::Mutex;
use pilothouse_a2a::time::Timestamp;
use pilothouse_sandbox::disk;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Where entries go.
pub struct Audit {
    sink: Sink,
    /// Whether the last entry could not be written.
    fails: Arc<AtomicBool>,
}

enum Sink {
    Off,
    /// A file takes a line at once.
    File(Mutex<AuditFile>),
    /// The same, which is ours to rotate.
    Rotated(Mutex<LogFile>),
    /// What may have no reader: a thread of its own waits there.
    Queue(mpsc::Sender<Message>),
}

/// A file that is opened anew where it was renamed or removed: so it can be rotated from outside, and
/// no entry is lost.
struct AuditFile {
    path: PathBuf,
    file: File,
    /// Device and inode.
    id: (u64, u64),
}

/// A pipe or a device. It is opened where a line is written, which waits until somebody reads it, and again where
/// its reader is gone.
struct Pipe {
    path: PathBuf,
    file: Option<File>,
}

enum Message {
    Line(Vec<u8>),
    Flush(oneshot::Sender<()>),
}

/// An entry that the full queue has not taken.
#[must_use = "the entry is noted when it is sent"]
pub struct Unsent {
    entries: mpsc::Sender<Message>,
    message: Message,
}

/// One thing that somebody asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was asked.
    pub time: Timestamp,
    /// `request`, or `egress` for a request of an agent.
    pub kind: &'static str,
    /// Who; none where nobody was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// By which token: its name, never itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whose task, session or ask it was, where an admin asked for that of another caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// From which address.
    pub peer: String,
    /// What: the method's name as it was called, or the request line.
    pub action: String,
    /// What else it was about: the id of a token, a caller's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// On which task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// In which context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Which ask of an agent was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// How it was answered: `allow`, `allow_session`, `deny`, or `answer` (the words stand in the task alone).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'static str>,
    /// The revision of the set-up of the session that got a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// Where it stands in a trace; the log has the trace of its caller.
    #[serde(serialize_with = "write_trace", skip_serializing_if = "has_no_trace")]
    pub trace: Option<TraceContext>,
    /// The task's number, for its spans.
    #[serde(skip)]
    pub task_number: Option<i64>,
    /// `ok`, or the reason of the refusal.
    pub outcome: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// How long the answer took, in milliseconds; for a stream, until its first event.
    pub duration_ms: f64,
}

fn has_no_trace(trace: &Option<TraceContext>) -> bool {
    trace.is_none_or(|trace| trace.parent.is_none())
}

fn write_trace<S: Serializer>(trace: &Option<TraceContext>, to: S) -> Result<S::Ok, S::Error> {
    trace.and_then(|trace| trace.parent).map(|parent| parent.trace).serialize(to)
}

impl Audit {
    /// Opens what `audit` says; files are readable by their owner alone.
    pub(super) fn open(config: &Config) -> io::Result<Self> {
        let (fails, queue) = (Arc::new(AtomicBool::new(false)), config.log.audit_queue);
        let sink = match (config.audit.as_str(), config.rotated_audit()) {
            ("off", _) => Sink::Off,
            (_, Some(path)) => {
                Sink::Rotated(Mutex::new(LogFile::open(&path, (&config.log).into())?))
            }
            ("auto" | "stderr", None) => Sink::queue(io::stderr(), queue, fails.clone())?,
            (path, None) => Sink::open(Path::new(path), queue, fails.clone()).map_err(|error| {
                let words = format!("cannot open the audit log {path}: {error}; correct `audit`");
                io::Error::new(error.kind(), words)
            })?,
        };
        Ok(Self { sink, fails })
    }

    /// Opens a file of the state folder anew, which somebody may have renamed. One that the operator names is looked at
    /// with each entry.
    pub fn reopen(&self) -> io::Result<()> {
        match &self.sink {
            Sink::Rotated(file) => disk::in_place(|| file.lock().reopen()),
            Sink::Off | Sink::File(_) | Sink::Queue(_) => Ok(()),
        }
    }

    /// Whether the last entry could not be written: a full disk, a device that takes nothing.
    pub fn fails(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    /// Notes one entry at once, or says what is left to be waited for.
    pub fn note(&self, entry: &impl Serialize) -> Result<(), Unsent> {
        match &self.sink {
            Sink::Off => {}
            Sink::File(file) => {
                let line = to_line(entry);
                note_written(&self.fails, disk::in_place(|| file.lock().append(&line)));
            }
            Sink::Rotated(file) => {
                let line = to_line(entry);
                note_written(&self.fails, disk::in_place(|| file.lock().append(&line)));
            }
            Sink::Queue(entries) => {
                let sent = entries.try_send(Message::Line(to_line(entry)));
                if let Err(TrySendError::Full(message)) = sent {
                    return Err(Unsent { entries: entries.clone(), message });
                }
            }
        }
        Ok(())
    }

    /// Waits until all that was noted is written.
    pub async fn close(&self) {
        if let Sink::Queue(entries) = &self.sink {
            let (flushed, answer) = oneshot::channel();
            if entries.send(Message::Flush(flushed)).await.is_ok() {
                let _ = answer.await;
            }
        }
    }
}

impl Sink {
    fn open(path: &Path, queue: usize, fails: Arc<AtomicBool>) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Self::queue(Pipe::find(path)?, queue, fails);
        }
        AuditFile::open(path).map(|file| Self::File(Mutex::new(file)))
    }

    /// So many entries wait for the writer at most.
    fn queue(
        sink: impl Write + Send + 'static,
        queue: usize,
        fails: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let (entries, waiting) = mpsc::channel(queue.clamp(1, Semaphore::MAX_PERMITS));
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || write(sink, waiting, &fails))?;
        Ok(Self::Queue(entries))
    }
}

impl Unsent {
    /// Waits for its place in the queue.
    pub async fn send(self) {
        drop(self.entries.send(self.message).await);
    }
}

/// One line of JSON. What terminals and editors do not show stands in it as an escape.
fn to_line(entry: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_string(entry).expect("an entry has no maps");
    if json.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        json.push('\n');
        return json.into_bytes();
    }
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        match is_unshowable(character) {
            true => drop(write!(line, "\\u{:04x}", u32::from(character))),
            false => line.push(character),
        }
    }
    line.push('\n');
    line.into_bytes()
}

impl AuditFile {
    fn open(path: &Path) -> io::Result<Self> {
        // A pipe that was put into its place has perhaps no reader; a file does not know this flag.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut file = OpenOptions::new();
        let file = file.create(true).append(true).mode(0o600).custom_flags(flags).open(path)?;
        let id = id(&file.metadata()?);
        Ok(Self { path: path.to_owned(), file, id })
    }

    /// Appends a line, all of it or nothing. Where the file was renamed and cannot be begun anew, the old one,
    /// wherever it is by now, still takes the line; that is an error too.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut is_fresh = Ok(());
        if fs::metadata(&self.path).map(|metadata| id(&metadata)).ok() != Some(self.id) {
            match Self::open(&self.path) {
                Ok(fresh) => *self = fresh,
                Err(error) => {
                    let path = self.path.display();
                    let words =
                        format!("cannot begin {path} anew: {error}; entries go to the old file");
                    is_fresh = Err(io::Error::new(error.kind(), words));
                }
            }
        }
        self.write(line).and(is_fresh)
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            let error = match self.file.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(size) => {
                    rest = &rest[size..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            // Half a line would mix with the next one. Where there is none, the length stays: another
            // process may be emptying the file.
            let written = (line.len() - rest.len()) as u64;
            if written > 0
                && let Ok(found) = self.file.metadata()
                && found.is_file()
            {
                self.file.set_len(found.len().saturating_sub(written))?;
            }
            return Err(error);
        }
        Ok(())
    }
}

impl Pipe {
    /// One that may be written.
    fn find(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        match OpenOptions::new().append(true).custom_flags(flags).open(path) {
            // Nobody reads it yet.
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {}
            found => drop(found?),
        }
        Ok(Self { path: path.to_owned(), file: None })
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(OpenOptions::new().append(true).open(&self.path)?),
            };
            match file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.file = None,
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn note_written(fails: &AtomicBool, written: io::Result<()>) {
    let had_failed = fails.swap(written.is_err(), Ordering::Relaxed);
    if let Err(error) = written
        && !had_failed
    {
        tracing::error!(%error, "the audit log cannot be written (said once, until it can)");
    }
}

fn write(mut sink: impl Write, mut waiting: mpsc::Receiver<Message>, fails: &AtomicBool) {
    let mut group = Vec::new();
    let mut bytes = Vec::new();
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
        note_written(fails, written);
        flushed.into_iter().for_each(|done| {
            let _ = done.send(());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn entry(action: &str) -> Entry {
        Entry {
            time: Timestamp::now(),
            kind: "request",
            caller: None,
            token: None,
            owner: None,
            peer: "127.0.0.1".to_owned(),
            action: action.to_owned(),
            subject: None,
            task: None,
            context: None,
            ask: None,
            decision: None,
            setup: None,
            trace: None,
            task_number: None,
            outcome: "ok",
            status: 200,
            duration_ms: 0.0,
        }
    }

    #[test]
    fn a_renamed_file_that_cannot_be_begun_anew_takes_the_entry_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit"), folder.path().join("old"));
        let mut file = AuditFile::open(&path).unwrap();
        file.append(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        // A folder, because root may write whatever the mode says.
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(file.append(b"two\n").unwrap_err().to_string().contains("anew"));
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        fs::remove_dir(&path).unwrap();
        file.append(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_file_of_which_nothing_was_written_keeps_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut file = AuditFile::open(&path).unwrap();
        // It cannot be written, and as little be truncated.
        file.file = File::open(&path).unwrap();
        let told = file.append(b"one\n").unwrap_err();
        assert_eq!(told.raw_os_error(), Some(Errno::BADF.raw_os_error()));
    }

    #[test]
    fn a_pipe_takes_entries_before_somebody_reads_it_and_finds_its_next_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let config = Config { audit: path.to_str().unwrap().to_owned(), ..Config::default() };
        let audit = Audit::open(&config).unwrap();
        for action in ["one", "two"] {
            assert!(audit.note(&entry(action)).is_ok());
            let mut line = String::new();
            let mut reader = io::BufReader::new(File::open(&path).unwrap());
            io::BufRead::read_line(&mut reader, &mut line).unwrap();
            assert!(line.contains(&format!("\"action\":\"{action}\"")), "{line}");
        }
    }

    #[test]
    fn characters_that_are_not_shown_stand_in_an_entry_as_escapes() {
        let action = "GET \u{202e}gpj.x\u{2066}\u{200e}\u{61c}\u{2028}\u{85}\u{7f}\u{1b}[2K \u{fc}";
        let line = String::from_utf8(to_line(&entry(action))).unwrap();
        let text = line.strip_suffix('\n').unwrap();
        assert!(!text.contains(is_unshowable), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(read["action"], action);
    }
}
