//! Files that are read whole: regular ones of bounded size. A pipe would keep its reader waiting, a device has no end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens a regular file, or `/dev/null`, for reading; never waits, whatever lies there.
///
/// # Errors
///
/// `InvalidInput` where it is a pipe, a socket or a device, `IsADirectory` for a folder; when it cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    // The type is that of what is open: another file may lie there a moment later.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let kind = found.file_type();
    // The usual name for an empty file.
    let is_empty = kind.is_char_device() && found.rdev() == rustix::fs::makedev(1, 3);
    match kind.is_file() || is_empty {
        true => Ok(file),
        false if kind.is_dir() => {
            let what = "it is a folder and not a regular file";
            Err(io::Error::new(io::ErrorKind::IsADirectory, what))
        }
        false => {
            let what = "it is a pipe, a socket or a device and not a regular file";
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        }
    }
}

/// Reads a regular file of at most so many bytes.
///
/// # Errors
///
/// Those of [`open`], and `FileTooLarge`.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => {
            let what = format!("it is larger than {most} bytes");
            Err(io::Error::new(io::ErrorKind::FileTooLarge, what))
        }
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_a_device_and_a_folder_are_refused_at_once_and_a_large_file_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let kind = |path: &Path| open(path).unwrap_err().kind();
        assert_eq!(kind(&pipe), io::ErrorKind::InvalidInput);
        assert_eq!(kind(Path::new("/dev/zero")), io::ErrorKind::InvalidInput);
        assert_eq!(kind(folder.path()), io::ErrorKind::IsADirectory);
        assert_eq!(read(Path::new("/dev/null"), 5).unwrap(), b"");
        let file = folder.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert_eq!(read(&file, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
