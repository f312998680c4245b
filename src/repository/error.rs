//! Why there is no base for a clone, and who can do what about it.

use crate::config::{Age, Bytes};

/// Why there is no base for a clone. `repository` is a name for people.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MirrorError {
    /// There is no git.
    #[error("the server has no git")]
    NoGit,
    /// Git failed.
    #[error("the repository {repository} could not be fetched: {words}")]
    Failed {
        /// The repository.
        repository: String,
        /// What git said.
        words: String,
    },
    /// There is too much of it.
    #[error("the repository {repository} is larger than {most} (`limits.repository`)")]
    TooLarge {
        /// The repository.
        repository: String,
        /// What is allowed.
        most: Bytes,
    },
    /// It took too long.
    #[error("the repository {repository} was not fetched within {patience} (`timeouts.fetch`)")]
    TooLong {
        /// The repository.
        repository: String,
        /// What is allowed.
        patience: Age,
    },
    /// It was ended before: whoever asked has left, or the server stops.
    #[error("the fetch of the repository {0} was ended")]
    Ended(String),
    /// The ref is not there.
    #[error("the repository {repository} has no branch, tag or commit `{reference}`")]
    NoReference {
        /// The repository.
        repository: String,
        /// What was looked for.
        reference: String,
    },
    /// There is no commit on the branch that is checked out there.
    #[error("the repository {0} has no commit on the branch that is checked out there")]
    Empty(String),
}

impl MirrorError {
    /// What can be done, and by whom.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoGit => "the operator must install git",
            Self::Failed { .. } => {
                "the operator must see that the server reaches it (address, network, a token in `egress.git`, room on the disk)"
            }
            Self::TooLarge { .. } => "the operator can raise `limits.repository`",
            Self::TooLong { .. } => "the operator can raise `timeouts.fetch`",
            Self::Ended(_) => "send the message again",
            Self::NoReference { .. } => {
                "the operator must correct `workspace.repository.ref` (`--repo PATH#REF`)"
            }
            Self::Empty(_) => "commit something there, or name another branch (`--repo PATH#REF`)",
        }
    }
}
