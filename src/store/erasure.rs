//! What is to be erased.

use super::Scope;
use pilothouse_a2a::id::{ContextId, TaskId};
use std::sync::Arc;

/// Whose data is to be erased: of a caller, of a context, or of a caller's context.
#[derive(Debug, Clone, Default)]
pub struct Erasure {
    /// The caller.
    pub caller: Option<Arc<str>>,
    /// The context.
    pub context: Option<ContextId>,
}

/// A task that is to be erased.
#[derive(Debug, Clone)]
pub struct ErasedTask {
    /// Its number.
    pub n: i64,
    /// Its id.
    pub id: TaskId,
    /// Whose it is.
    pub scope: Scope,
    /// Its session's id.
    pub session: Arc<str>,
}
