//! The removal of a session that its caller wants removed.

use super::Sessions;
use super::live::Removal;
use crate::agent::Agent;
use crate::store::{self, SessionRow, SessionUse};
use std::io;

/// Why a session is not removed.
#[derive(Debug, thiserror::Error)]
pub enum NotRemoved {
    /// A task of it waits, runs or asks.
    #[error("a task of the session is not finished; cancel it, or wait for its end")]
    Unfinished,
    /// It does something.
    #[error("the session is in use; try again")]
    Busy,
    /// Its clone has something that is nowhere else.
    #[error("the session is kept: {0}; remove it with force to lose that")]
    Unsaved(String),
    /// Its folders are still there.
    #[error("the folders of the session could not be removed: {0}")]
    Folders(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Sessions {
    /// Keeps a session for its removal that was looked at before; none where it is in use, or was used since. While it
    /// is only looked at, a message goes on with it: a new session would take its row.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn begin_unused_removal(
        &self,
        session: &SessionUse,
    ) -> Result<Option<Removal>, store::Error> {
        let Some(removal) = self.begin_removal(&session.id) else { return Ok(None) };
        let store = &self.deps.store;
        let rows = store.sessions_by_use().await?;
        let is_unused =
            rows.iter().any(|row| row.id == session.id && row.used_ms == session.used_ms);
        let is_free = is_unused && !store.has_unfinished(&session.id).await?;
        Ok(is_free.then_some(removal))
    }

    /// Removes a session with its folders; one whose clone has work that is nowhere else only by `force`. Its tasks
    /// stay.
    ///
    /// # Errors
    ///
    /// When it is in use or has such work, or something of it cannot be removed.
    pub async fn remove(
        &self,
        row: &SessionRow,
        agent: &Agent,
        force: bool,
    ) -> Result<(), NotRemoved> {
        if self.deps.store.has_unfinished(&row.id).await? {
            return Err(NotRemoved::Unfinished);
        }
        let id = row.id.clone();
        if !self.end_session(&id).await {
            return Err(NotRemoved::Busy);
        }
        // Its end may count as a use.
        let row = self.deps.store.session(&row.scope, &row.context_id).await?;
        let row = row.filter(|row| row.id == id).ok_or(NotRemoved::Busy)?;
        let session = SessionUse {
            id: row.id.clone(),
            agent: row.scope.agent.to_string(),
            used_ms: row.used.as_millisecond(),
            checkout: row.checkout.clone().filter(|_| !force),
        };
        if let Some(why) = self.find_unsaved_work(agent, &session).await {
            return Err(NotRemoved::Unsaved(why.reason));
        }
        let _removal = self.begin_unused_removal(&session).await?.ok_or(NotRemoved::Busy)?;
        agent.workspaces.remove(&id, &self.deps.stop).await?;
        self.deps.store.remove_session(&id).await?;
        Ok(())
    }
}
