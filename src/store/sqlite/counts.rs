//! How many finished tasks a caller has with an agent, by state: rows of their own, so that a list says its total
//! without counting. Unfinished tasks are few, and counted by their index.

use crate::store::Scope;
use rusqlite::{Connection, OptionalExtension, params};

/// What one transaction adds to the counts.
#[derive(Default)]
pub(super) struct Counts(Vec<Count>);

struct Count {
    caller: String,
    agent: String,
    state: i64,
    more: i64,
}

impl Counts {
    /// A task is stored.
    pub(super) fn made(&mut self, scope: &Scope, state: i64) {
        self.add(&scope.caller, &scope.agent, state, 1);
    }

    /// A stored task is about to get another state, or to be removed.
    pub(super) fn moves(
        &mut self,
        connection: &Connection,
        n: i64,
        to: Option<i64>,
    ) -> Result<(), rusqlite::Error> {
        let mut found =
            connection.prepare_cached("SELECT caller, agent, state FROM tasks WHERE n = ?1")?;
        let counted = found.query_row([n], |row| {
            let (caller, agent) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            self.add(caller, agent, row.get(2)?, -1);
            if let Some(to) = to {
                self.add(caller, agent, to, 1);
            }
            Ok(())
        });
        counted.optional().map(drop)
    }

    /// Writes them, at the end of the transaction.
    pub(super) fn store(self, connection: &Connection) -> Result<(), rusqlite::Error> {
        for Count { caller, agent, state, more } in self.0.iter().filter(|count| count.more != 0) {
            connection
                .prepare_cached(
                    "INSERT INTO task_counts (caller, agent, state, count) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET count = count + ?4",
                )?
                .execute(params![caller, agent, state, more])?;
        }
        Ok(())
    }

    fn add(&mut self, caller: &str, agent: &str, state: i64, more: i64) {
        // Submitted, working, and what waits for the caller: see the index `tasks_unfinished`.
        if matches!(state, 1 | 2 | 6 | 8) {
            return;
        }
        let same = |count: &&mut Count| {
            (count.state, &*count.caller, &*count.agent) == (state, caller, agent)
        };
        match self.0.iter_mut().find(same) {
            Some(count) => count.more += more,
            None => {
                let (caller, agent) = (caller.to_owned(), agent.to_owned());
                self.0.push(Count { caller, agent, state, more });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sqlite;
    use crate::store::{Durability, Scope, TaskRow, Write};
    use pilothouse_a2a::id::{ContextId, TaskId};
    use pilothouse_a2a::task::TaskState::{self, Completed, Failed, InputRequired, Working};
    use pilothouse_a2a::time::Timestamp;
    use std::sync::Arc;

    fn task(n: i64, state: TaskState) -> Write {
        let row = TaskRow {
            n,
            id: TaskId::random(),
            scope: Scope { caller: Arc::from("owner"), agent: Arc::from("fake") },
            context_id: ContextId::random(),
            session: Arc::from("s"),
            alias: None,
            state,
            status_at: Timestamp::now(),
            created: Timestamp::now(),
            head: 1,
            print: None,
        };
        Write::Task(Box::new(row), 0)
    }

    fn head(n: i64, state: TaskState) -> Write {
        Write::Head { n, expected: 1, seq: 1, bytes: 0, status: Some((state, Timestamp::now())) }
    }

    async fn counts_after(store: &Sqlite, group: Vec<Write>) -> Vec<(i64, i64)> {
        store.commit(group, Durability::Written).await.unwrap();
        let counts = "SELECT state, count FROM task_counts ORDER BY state";
        store.all(counts, [], |row| Ok((row.get(0)?, row.get(1)?))).await.unwrap()
    }

    #[tokio::test]
    async fn a_finished_task_is_counted_in_its_state_until_it_is_removed() {
        let store = Sqlite::in_memory(1).unwrap();
        let made = (1..=3).map(|n| task(n, Working)).chain([task(4, Completed)]);
        let moved = [head(1, Completed), head(2, InputRequired), head(2, Failed)];
        let group = made.chain(moved).collect();
        assert_eq!(counts_after(&store, group).await, [(3, 2), (4, 1)]);
        let gone = [1, 3, 4, 5].map(|n| Write::TaskGone { n });
        assert_eq!(counts_after(&store, gone.into()).await, [(3, 0), (4, 1)]);
    }
}
