//! The JSONL log of every line that an agent wrote.

use crate::config::{Log, MASK};
use memchr::memmem::Finder;
use parking_lot::Mutex;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::time::Timestamp;
use pilothouse_sandbox::disk;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// The log, or none.
pub struct Raw {
    file: Option<Mutex<LogFile>>,
    /// What is masked: an agent without a sandbox may print its own key.
    secrets: Vec<Finder<'static>>,
    complained: AtomicBool,
}

/// A file that is renamed when it is full: `path` to `path.1`, that to `path.2`, up to `keep`.
///
/// Each step is one rename, so a crash in the middle leaves a gap in the numbers and loses nothing.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in it; none where it is no regular file and cannot be full.
    size: Option<u64>,
    rotation: Rotation,
    /// Since when there is this file.
    born: SystemTime,
}

/// When a file is renamed, and how many are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    max_size: u64,
    max_age: Option<Duration>,
    keep: u32,
}

impl From<&Log> for Rotation {
    fn from(log: &Log) -> Self {
        let max_age = log.max_age.map(|age| age.get());
        Self { max_size: log.max_size.get(), max_age, keep: log.keep }
    }
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
    /// Opens the file that the configuration names, if it names one.
    pub(super) fn open(log: &Log, secrets: &[String]) -> io::Result<Self> {
        let open = |path: &PathBuf| {
            LogFile::open(path, log.into()).map_err(|error| {
                let path = path.display();
                let words = format!("cannot open the log file {path}: {error}; correct `log.path`");
                io::Error::new(error.kind(), words)
            })
        };
        let file = log.path.as_ref().map(open).transpose()?.map(Mutex::new);
        let secrets = secrets.iter().map(|secret| Finder::new(secret).into_owned()).collect();
        Ok(Self { file, secrets, complained: AtomicBool::new(false) })
    }

    /// Opens the file anew, which somebody may have renamed.
    pub fn reopen(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| disk::in_place(|| file.lock().reopen()))
    }

    /// A line without known secrets.
    fn mask<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let found = self.secrets.iter().filter(|secret| secret.find(line).is_some());
        found.fold(Cow::Borrowed(line), |line, secret| {
            let mut masked = Vec::with_capacity(line.len());
            let mut rest = 0;
            for at in secret.find_iter(&line) {
                masked.extend_from_slice(&line[rest..at]);
                masked.extend_from_slice(MASK.as_bytes());
                rest = at + secret.needle().len();
            }
            masked.extend_from_slice(&line[rest..]);
            Cow::Owned(masked)
        })
    }

    /// Removes the lines of these sessions.
    pub fn erase(&self, sessions: &BTreeSet<&str>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let keep = |line: &[u8]| {
            let owner = serde_json::from_slice::<LineOwner<'_>>(line);
            owner.is_ok_and(|owner| !sessions.contains(&*owner.session))
        };
        disk::in_place(|| file.lock().retain(keep))
    }

    /// Writes one line of an agent; JSON stays JSON, anything else becomes a string.
    pub fn line(&self, session: &str, task: Option<&TaskId>, bytes: &[u8]) {
        let Some(file) = &self.file else { return };
        let bytes = &*self.mask(bytes);
        let line: Option<&RawValue> = serde_json::from_slice(bytes).ok();
        // JSON over several lines would be several lines of this file.
        let line = line.filter(|line| !line.get().contains('\n'));
        let text = line.is_none().then(|| String::from_utf8_lossy(bytes));
        let mut json =
            serde_json::to_vec(&Line { time: Timestamp::now(), session, task, line, text })
                .expect("a line has no maps");
        json.push(b'\n');
        let written = disk::in_place(|| file.lock().append(&json));
        if let Err(error) = written
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            tracing::error!(%error, "agent lines can no longer be logged (said once)");
        }
    }
}

/// Whose line it is.
#[derive(Deserialize)]
struct LineOwner<'a> {
    #[serde(borrow)]
    session: Cow<'a, str>,
}

impl LogFile {
    /// Removes lines from this file and the renamed ones before it.
    fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        if self.size.is_none() {
            return Err(io::Error::other(
                "it is no regular file, so lines cannot be taken out of it",
            ));
        }
        let older = (1..=self.rotation.keep).map(|n| self.numbered(n));
        for path in older.chain([self.path.clone()]).collect::<Vec<_>>() {
            retain_lines(&path, &keep)?;
        }
        self.reopen()
    }

    /// Opens the file of this name anew.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.rotation)?;
        Ok(())
    }

    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let mut file = create(path)?;
        let metadata = file.metadata()?;
        let mut size = metadata.is_file().then_some(metadata.len());
        if let Some(size) = &mut size
            && *size > 0
        {
            // A crash may have cut off the last line.
            let mut last = [0];
            File::open(path)?.read_exact_at(&mut last, *size - 1)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                *size += 1;
            }
        }
        let born = metadata.created().or_else(|_| metadata.modified())?;
        Ok(Self { path: path.to_owned(), file, size, rotation, born })
    }

    /// Appends a line, all of it or nothing.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(size) = self.size else {
            return self.file.write_all(line);
        };
        let is_full = size.saturating_add(line.len() as u64) > self.rotation.max_size;
        let is_old = || self.rotation.max_age.is_some_and(|most| self.age() >= most);
        if size > 0 && (is_full || is_old()) {
            self.rotate()?;
        }
        let size = self.size.unwrap_or(0);
        if let Err(error) = self.file.write_all(line) {
            let _ = self.file.set_len(size);
            return Err(error);
        }
        self.size = Some(size + line.len() as u64);
        Ok(())
    }

    /// None where the clock was set back.
    fn age(&self) -> Duration {
        self.born.elapsed().unwrap_or_default()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..self.rotation.keep).rev() {
            match fs::rename(self.numbered(n), self.numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let gone = match self.rotation.keep {
            0 => fs::remove_file(&self.path),
            _ => fs::rename(&self.path, self.numbered(1)),
        };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.file = create(&self.path)?;
        self.size = Some(self.file.metadata()?.len());
        self.born = SystemTime::now();
        Ok(())
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{n}"));
        path.into()
    }
}

/// A file for appending, readable by its owner alone, because it holds prompts.
fn create(path: &Path) -> io::Result<File> {
    // Neither the start nor an agent's line waits for the reader of a pipe.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(path)
}

/// Removes lines from a file, by a new one in its place; no file has no lines.
fn retain_lines(path: &Path, keep: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let old = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        old => BufReader::new(old?),
    };
    let mut fresh = path.to_owned().into_os_string();
    fresh.push(".new");
    let _ = fs::remove_file(&fresh);
    let mut new = BufWriter::new(create(Path::new(&fresh))?);
    for line in old.split(b'\n') {
        let line = line?;
        if keep(&line) {
            new.write_all(&line)?;
            new.write_all(b"\n")?;
        }
    }
    new.flush()?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn rotation(max_size: u64, keep: u32) -> Rotation {
        Rotation { max_size, max_age: None, keep }
    }

    /// Writes lines `0\n` to `9\n` into files of two lines each; what is in them, the newest first.
    fn write_ten(folder: &Path, keep: u32) -> Vec<String> {
        let path = folder.join("log");
        let mut log = LogFile::open(&path, rotation(4, keep)).unwrap();
        (0..10).for_each(|n| log.append(format!("{n}\n").as_bytes()).unwrap());
        let names = ["log", "log.1", "log.2", "log.3"].map(|name| folder.join(name));
        names.iter().map_while(|name| fs::read_to_string(name).ok()).collect()
    }

    #[test]
    fn a_full_file_is_renamed_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write_ten(folder.path(), 2), ["8\n9\n", "6\n7\n", "4\n5\n"]);
        let mode = fs::metadata(folder.path().join("log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write_ten(folder.path(), 0), ["8\n9\n"]);
    }

    #[test]
    fn json_over_several_lines_is_one_line_of_the_log_and_known_secrets_are_masked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = Some(Mutex::new(LogFile::open(&path, rotation(4096, 1)).unwrap()));
        let secrets = vec![Finder::new("sk-secret").into_owned()];
        let raw = Raw { file, secrets, complained: AtomicBool::new(false) };
        raw.line("s", None, b"{\"a\":\n1}\n");
        raw.line("s", None, b"{\"b\": 2, \"c\": \"sk-secret, sk-secret\"}\n");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["text"], "{\"a\":\n1}\n");
        assert_eq!(lines[1]["line"], serde_json::json!({"b": 2, "c": "***, ***"}));
    }

    #[test]
    fn a_gap_that_a_crash_left_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // It was between the renames: there is no `log.1` yet.
        fs::write(folder.path().join("log.2"), "older\n").unwrap();
        fs::write(folder.path().join("log"), "abc\n").unwrap();
        let mut log = LogFile::open(&folder.path().join("log"), rotation(4, 2)).unwrap();
        log.append(b"new\n").unwrap();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!([read("log"), read("log.1"), read("log.2")], ["new\n", "abc\n", "older\n"]);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_does_not_mix_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "{\"half").unwrap();
        LogFile::open(&path, rotation(100, 1)).unwrap().append(b"{}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\n{}\n");
    }

    #[test]
    fn a_line_larger_than_a_file_may_be_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::open(&path, rotation(4, 1)).unwrap();
        for line in ["a\n", "a long line\n", "b\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
        assert_eq!(fs::read_to_string(folder.path().join("log.1")).unwrap(), "a long line\n");
    }

    #[test]
    fn an_old_file_is_renamed_however_small_it_is_and_a_young_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let day = Duration::from_secs(24 * 60 * 60);
        let rotation = Rotation { max_age: Some(day), ..rotation(100, 1) };
        let mut log = LogFile::open(&path, rotation).unwrap();
        log.append(b"a\n").unwrap();
        log.append(b"b\n").unwrap();
        log.born -= day;
        log.append(b"c\n").unwrap();
        log.append(b"d\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "c\nd\n");
        assert_eq!(fs::read_to_string(folder.path().join("log.1")).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_file_that_somebody_renamed_is_begun_anew_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::open(&path, rotation(100, 1)).unwrap();
        log.append(b"a\n").unwrap();
        fs::rename(&path, folder.path().join("log-of-yesterday")).unwrap();
        log.reopen().unwrap();
        log.append(b"b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
    }
}
