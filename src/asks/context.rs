//! The tasks of a context that wait for their caller.

use super::Asks;
use crate::store::Scope;
use pilothouse_a2a::error::Error;
use pilothouse_a2a::id::{ContextId, TaskId};

impl Asks {
    /// The tasks of a context with an open ask, each once, the one that asked first in front.
    pub fn tasks_of(&self, scope: &Scope, context: &ContextId) -> Vec<TaskId> {
        let open = self.open();
        let mut tasks: Vec<TaskId> = Vec::new();
        if !open.sessions.contains_key(&(scope.clone(), context.clone())) {
            return tasks;
        }
        for row in open.rows.values() {
            let is_theirs = row.scope == *scope && row.context_id == *context;
            if is_theirs && !tasks.contains(&row.task) {
                tasks.push(row.task.clone());
            }
        }
        tasks
    }
}

/// Several tasks of a context wait for an answer, and a message says not which one it answers.
pub fn refuse_several(tasks: &[TaskId]) -> Error {
    let names: Vec<_> = tasks.iter().map(|task| format!("`{task}`")).collect();
    Error::invalid(
        "message.taskId",
        format!(
            "is needed: several tasks of this context wait for an answer: {}",
            names.join(", ")
        ),
    )
}
