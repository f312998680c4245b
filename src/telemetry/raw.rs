//! The JSONL log of every line that an agent wrote.

use crate::config::Log;
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

/// The log, or none.
pub struct Raw {
    file: Option<Mutex<LogFile>>,
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
    max_size: u64,
    keep: u32,
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
    pub(super) fn open(log: &Log) -> io::Result<Self> {
        let open = |path: &PathBuf| {
            LogFile::open(path, log.max_size.get(), log.keep).map_err(|error| {
                let path = path.display();
                let words = format!("cannot open the log file {path}: {error}; correct `log.path`");
                io::Error::new(error.kind(), words)
            })
        };
        let file = log.path.as_ref().map(open).transpose()?.map(Mutex::new);
        Ok(Self { file, complained: AtomicBool::new(false) })
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
        let older = (1..=self.keep).map(|n| self.numbered(n));
        for path in older.chain([self.path.clone()]).collect::<Vec<_>>() {
            retain_lines(&path, &keep)?;
        }
        *self = Self::open(&self.path, self.max_size, self.keep)?;
        Ok(())
    }

    pub(super) fn open(path: &Path, max_size: u64, keep: u32) -> io::Result<Self> {
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
        Ok(Self { path: path.to_owned(), file, size, max_size, keep })
    }

    /// Appends a line, all of it or nothing.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(size) = self.size else {
            return self.file.write_all(line);
        };
        if size > 0 && size.saturating_add(line.len() as u64) > self.max_size {
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

    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..self.keep).rev() {
            match fs::rename(self.numbered(n), self.numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let gone = match self.keep {
            0 => fs::remove_file(&self.path),
            _ => fs::rename(&self.path, self.numbered(1)),
        };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.file = create(&self.path)?;
        self.size = Some(self.file.metadata()?.len());
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

    /// Writes lines `0\n` to `9\n` into files of two lines each; what is in them, the newest first.
    fn write_ten(folder: &Path, keep: u32) -> Vec<String> {
        let path = folder.join("log");
        let mut log = LogFile::open(&path, 4, keep).unwrap();
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
    fn json_over_several_lines_is_one_line_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = Some(Mutex::new(LogFile::open(&path, 4096, 1).unwrap()));
        let raw = Raw { file, complained: AtomicBool::new(false) };
        raw.line("s", None, b"{\"a\":\n1}\n");
        raw.line("s", None, b"{\"b\": 2}\n");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["text"], "{\"a\":\n1}\n");
        assert_eq!(lines[1]["line"]["b"], 2);
    }

    #[test]
    fn a_gap_that_a_crash_left_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // It was between the renames: there is no `log.1` yet.
        fs::write(folder.path().join("log.2"), "older\n").unwrap();
        fs::write(folder.path().join("log"), "abc\n").unwrap();
        let mut log = LogFile::open(&folder.path().join("log"), 4, 2).unwrap();
        log.append(b"new\n").unwrap();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!([read("log"), read("log.1"), read("log.2")], ["new\n", "abc\n", "older\n"]);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_does_not_mix_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "{\"half").unwrap();
        LogFile::open(&path, 100, 1).unwrap().append(b"{}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\n{}\n");
    }

    #[test]
    fn a_line_larger_than_a_file_may_be_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::open(&path, 4, 1).unwrap();
        for line in ["a\n", "a long line\n", "b\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
        assert_eq!(fs::read_to_string(folder.path().join("log.1")).unwrap(), "a long line\n");
    }
}
