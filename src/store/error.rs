//! Why the store could not do it, by kind.

use pilothouse_a2a::error::{Error as ToCaller, ErrorKind};
use rusqlite::ErrorCode;
use std::sync::Arc;

/// When a refused write may be sent again.
const RETRY_SECONDS: u64 = 1;

/// Why the store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another server holds this store.
    #[error(
        "the store in {path} is in use by another server ({holder}); stop that one, or name another `state_dir`"
    )]
    Held {
        /// The state folder.
        path: String,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The folder or the file cannot be used.
    #[error(
        "cannot use {path}: {reason}; the operator must make it writable and room on its disk, or name another `state_dir`"
    )]
    Unusable {
        /// The path.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// It was written by a newer version.
    #[error(
        "the store was written by a newer pilothouse (schema {found}, this one knows {known}); use that version"
    )]
    Newer {
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// There is no copy of the store as it was, so it is not changed.
    #[error(
        "the store has to be upgraded, and no copy of it can be kept at {path}: {source}; nothing is changed; the \
         operator must make room there for {size} bytes, or set `store.copy_before_upgrade: false`"
    )]
    NoCopy {
        /// Where the copy would lie.
        path: String,
        /// What it needs.
        size: i64,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// It was written by an older version, and could not be changed.
    #[error(
        "the store could not be upgraded from schema {found} to {known}: {source}; nothing of it is changed; where the \
         disk is full the operator must make room for about as much as the store takes"
    )]
    Upgrade {
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
        /// What the database said.
        source: Arc<rusqlite::Error>,
    },
    /// The database failed.
    #[error("the store failed: {source}")]
    Failed {
        /// What kind of failure it is.
        kind: FaultKind,
        /// What the database said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A batch was decided on what is no longer so; nothing of it is stored.
    #[error("the store refused a write: {0}")]
    Refused(Conflict),
    /// The writer has stopped.
    #[error("the store is closed")]
    Closed,
}

/// Kinds of failures of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The disk (or a quota) is full.
    Full,
    /// Another program keeps the database from being used.
    Busy,
    /// Anything else.
    Other,
}

/// Why a batch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The log has another head than the batch names, or has ended.
    #[error("the task has moved on")]
    Moved,
    /// The ask is not open.
    #[error("the ask is not open any more")]
    Taken,
    /// It was used as often as it may be, its time is over, or it is revoked.
    #[error("the permission cannot be used any more")]
    Spent,
    /// There are as many as there may be.
    #[error(
        "as many standing permissions are granted as there may be; revoke one (`pilothouse grants`), or the server's \
         operator can raise `asks.grants`"
    )]
    GrantsFull,
    /// There is one of this name already.
    #[error("the key is in use")]
    Exists,
    /// There is no room for another one.
    #[error("there are as many as there may be")]
    Full,
    /// It is not there, or not any more.
    #[error("it is not there")]
    Gone,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => FaultKind::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => FaultKind::Busy,
            _ => FaultKind::Other,
        };
        Self::Failed { kind, source: Arc::new(error) }
    }
}

impl Error {
    /// What a caller is told. A refused write may be sent again; a failure is logged for the operator, and its caller
    /// learns an incident's id, and no word of what is inside of the server.
    pub fn incident(self) -> ToCaller {
        if let Self::Refused(Conflict::GrantsFull) = &self {
            let words = Conflict::GrantsFull.to_string();
            return ToCaller::new(ErrorKind::ResourceExhausted, words);
        }
        if let Self::Refused(refusal) = &self {
            let words = format!("another request was quicker: {refusal}; send it again");
            return ToCaller::new(ErrorKind::Unavailable, words).retry_after(RETRY_SECONDS);
        }
        let incident = uuid::Uuid::now_v7();
        tracing::error!(%incident, error = %self, "an operation failed");
        let is_full = matches!(self, Self::Failed { kind: FaultKind::Full, .. });
        let what = if is_full { "the server's disk is full" } else { "the server failed" };
        let message = format!("{what}; tell its operator (incident {incident})");
        ToCaller::new(ErrorKind::Internal, message).with("incident", incident.to_string())
    }
}
