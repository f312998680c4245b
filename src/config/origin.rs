//! Where a value comes from.

use std::fmt;
use std::path::PathBuf;

/// The layer that set a value, and the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// It follows from something else, which the text names.
    Derived(String),
    /// The configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the server's environment.
    Environment(String),
    /// A variable of the `.env` file.
    EnvFile(String),
    /// A command line option.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Derived(from) => f.write_str(from),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::EnvFile(name) => write!(f, ".env {name}"),
            Self::Flag(name) => write!(f, "option {name}"),
        }
    }
}
