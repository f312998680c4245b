//! Tasks for an admin, who sees those of every caller.

use super::{TaskLog, Tasks};
use crate::store::Error;
use pilothouse_a2a::id::TaskId;
use std::sync::Arc;

impl Tasks {
    /// A task with this agent, whoever its caller is.
    pub async fn find_of_anybody(
        &self,
        agent: &Arc<str>,
        id: &TaskId,
    ) -> Result<Option<Arc<TaskLog>>, Error> {
        if let Some(log) = self.held(id) {
            return Ok((log.scope.agent == *agent).then_some(log));
        }
        match self.store.task_of_anybody(agent, id).await? {
            Some(row) => self.find(&row.scope, id).await,
            None => Ok(None),
        }
    }
}
