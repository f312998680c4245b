//! What stops the start: one text that names the key, the place and who can act.

use super::origin::Origin;
use super::trust::Distrust;
use std::fmt;
use std::path::PathBuf;

/// A configuration that cannot be used. Its text may have several lines and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that was asked for cannot be read.
    #[error("could not read `{}`, named by {named_by}: {cause}; correct the name or the permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The flag, variable or rule that named it.
        named_by: String,
        /// Why not; part of the text, which stands alone.
        cause: std::io::Error,
    },

    /// A file that says nothing at all when it is read again.
    #[error("{} is empty: write it and reload again; nothing was changed", .0.display())]
    Empty(PathBuf),

    /// A place in a file that is wrong.
    #[error(transparent)]
    FilePosition(#[from] Box<FilePosition>),

    /// A value from the environment, `.env` or a flag that its key cannot take.
    #[error("{origin} cannot set `{key}`: {problem}")]
    Value {
        /// Where the value stands.
        origin: Origin,
        /// The dotted key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },

    /// Values that are right one by one and wrong together.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Impossible {
        /// Each contradiction.
        problems: Vec<Problem>,
    },

    /// `~` is used and there is no home directory.
    #[error(
        "`{key}` begins with `~`, but HOME is not set; set HOME or give `{key}` an absolute path"
    )]
    NoHome {
        /// The dotted key.
        key: String,
    },

    /// Files that were only found say what they may not say.
    #[error(transparent)]
    Distrust(#[from] Distrust),

    /// A path that is not UTF-8.
    #[error("{what} `{}` is not UTF-8; the configuration holds text alone, so rename it", path.display())]
    NotUtf8 {
        /// The flag or place that it comes from.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
}

/// A place in a file, with its line.
#[derive(Debug)]
pub struct FilePosition {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// The character in that line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: String,
    /// The line itself, secrets masked.
    pub source_line: String,
    /// How many characters of it are meant.
    pub length: usize,
}

/// Values that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted keys that are involved.
    pub keys: Vec<String>,
    /// What is wrong and what to do, with the keys in it.
    pub text: String,
    /// Where the values come from, filled in by `load`.
    pub origins: Vec<(String, Origin)>,
}

impl std::error::Error for FilePosition {}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, problem, source_line, length } = self;
        let margin = line.to_string().len();
        writeln!(f, "{problem}")?;
        writeln!(f, "{:margin$}--> {}:{line}:{column}", "", path.display())?;
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{line} | {source_line}")?;
        write!(f, "{:margin$} | {:>column$}", "", "^")?;
        write!(f, "{}", "^".repeat(length.saturating_sub(1)))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        for (key, origin) in &self.origins {
            write!(f, "\n  `{key}`: {origin}")?;
        }
        Ok(())
    }
}
