//! Reads for an admin, who sees what is of every caller.

use super::Sqlite;
use super::read::{session_row, task_row};
use crate::store::{Error, SessionRow, TaskRow};
use pilothouse_a2a::id::TaskId;

impl Sqlite {
    /// A task with this agent, whoever its caller is.
    pub(crate) async fn task_of_anybody(
        &self,
        agent: &str,
        id: &TaskId,
    ) -> Result<Option<TaskRow>, Error> {
        let query = "SELECT * FROM tasks WHERE id = ?1 AND agent = ?2";
        self.first(query, (id.to_string(), agent.to_owned()), task_row).await
    }

    /// The session of this id or this context with this agent, whoever its caller is.
    pub(crate) async fn session_of_anybody(
        &self,
        agent: &str,
        name: &str,
    ) -> Result<Option<SessionRow>, Error> {
        let query = "SELECT * FROM sessions WHERE agent = ?1 AND (id = ?2 OR context_id = ?2)
             ORDER BY id = ?2 DESC, used_ms DESC LIMIT 1";
        self.first(query, (agent.to_owned(), name.to_owned()), session_row).await
    }
}
