//! Erasure: everything that is kept of a caller, or of a context, is removed for good.
//!
//! # How it works
//!
//! Its turns are cancelled and its processes ended first, so that nothing is written any more. Then the folders of its
//! sessions go, then its rows (events, asks, webhooks, keys, sums of usage), then its lines in the log of agent lines. At
//! last the store's log is emptied into the database, whose deleted parts are overwritten. It can be said again: what is
//! gone already is not missed.

use super::Service;
use crate::store::Durability;
use crate::store::{self, ErasedTask, Erasure, Write};
use pilothouse_a2a::error::Error;
use std::collections::BTreeSet;

/// What an erasure has removed, and what it could not.
#[derive(Debug, Default)]
pub struct Erased {
    /// Tasks, with their events, asks and webhooks.
    pub tasks: usize,
    /// Sessions, with their folders.
    pub sessions: usize,
    /// What could not be removed, and why.
    pub left: Vec<String>,
}

impl Service {
    /// Removes everything that is kept of these tasks and sessions.
    pub async fn erase(&self, what: &Erasure) -> Result<Erased, Error> {
        let mut erased = Erased::default();
        let tasks = self.store.erased_tasks(what).await.map_err(store::Error::incident)?;
        for task in &tasks {
            self.end_task(task, &mut erased).await?;
        }
        let mut sessions =
            self.store.erased_sessions(what).await.map_err(store::Error::incident)?;
        let known: BTreeSet<_> = sessions.iter().map(|(id, _)| id.clone()).collect();
        // Sessions that retention has removed still stand in the log of agent lines.
        let gone = tasks.iter().map(|task| (task.session.clone(), task.scope.agent.to_string()));
        sessions.extend(gone.filter(|(id, _)| !known.contains(id)));
        for (id, agent) in &sessions {
            if !self.sessions.end_session(id).await {
                erased.left.push(format!("the session {id}: it does not end"));
                continue;
            }
            let Some(_removal) = self.sessions.begin_removal(id) else {
                erased.left.push(format!("the session {id}: it is in use"));
                continue;
            };
            match self.agents.folders_of(agent).remove(id, &self.stop).await {
                Ok(()) => {
                    self.store.remove_session(id).await.map_err(store::Error::incident)?;
                    erased.sessions += usize::from(known.contains(id));
                }
                Err(error) => erased.left.push(format!("the folders of session {id}: {error}")),
            }
        }
        let numbers: Vec<i64> = tasks.iter().map(|task| task.n).collect();
        self.store.remove_tasks(&numbers).await.map_err(store::Error::incident)?;
        erased.tasks = numbers.len();
        if let (Some(caller), None) = (&what.caller, &what.context) {
            let gone = vec![Write::CallerGone { caller: caller.clone() }];
            self.store.commit(gone, Durability::Synced).await.map_err(store::Error::incident)?;
        }
        let ids: BTreeSet<&str> = sessions.iter().map(|(id, _)| &**id).collect();
        if let Err(error) = self.telemetry.raw().erase(&ids) {
            erased.left.push(format!("the log of agent lines: {error}"));
        }
        if let Err(error) = self.store.scrub().await {
            erased.left.push(format!("the store's log: {error}"));
        }
        Ok(erased)
    }

    /// Ends what still runs of a task.
    async fn end_task(&self, task: &ErasedTask, erased: &mut Erased) -> Result<(), Error> {
        let found = self.tasks.find(&task.scope, &task.id).await;
        let Some(log) = found.map_err(store::Error::incident)? else { return Ok(()) };
        if !log.state().is_terminal() {
            self.sessions.cancel(&log).await.map_err(store::Error::incident)?;
            self.asks.forget(log.n);
            if !log.state().is_terminal() {
                erased.left.push(format!("the task {}: it does not end", task.id));
            }
        }
        Ok(())
    }
}
