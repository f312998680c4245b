//! Lists of tasks: a page of them, and how many there are in all.

use super::read::{FINISHED, ReadTransaction, UNFINISHED, task_row};
use crate::store::{CallerFilter, Error, Filter, Page, Place, Scope, TaskRow};
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::task::TaskState;
use pilothouse_a2a::time::Timestamp;
use rusqlite::{Connection, ToSql, params};
use std::ops::RangeInclusive;
use std::sync::Arc;

impl ReadTransaction<'_> {
    /// A page of these callers' tasks with an agent, newest status first.
    pub fn list_of(
        &self,
        callers: &CallerFilter,
        agent: &Arc<str>,
        filter: &Filter,
        from: Option<Place>,
        size: u32,
    ) -> Result<Page, Error> {
        let callers = match callers {
            CallerFilter::One(caller) => vec![caller.clone()],
            CallerFilter::All => self.callers(agent)?,
        };
        let mut all = Page { rows: Vec::new(), next: None, total: 0 };
        let mut has_more = false;
        for caller in callers {
            let scope = Scope { caller, agent: agent.clone() };
            let page = self.list(&scope, filter, from, size)?;
            has_more |= page.next.is_some();
            all.total += page.total;
            all.rows.extend(page.rows);
        }
        let place = |row: &TaskRow| Place { status_ms: row.status_at.as_millisecond(), n: row.n };
        all.rows.sort_by_key(|row| {
            let Place { status_ms, n } = place(row);
            std::cmp::Reverse((status_ms, n))
        });
        has_more |= all.rows.len() > size as usize;
        all.rows.truncate(size as usize);
        all.next = all.rows.last().filter(|_| has_more).map(place);
        Ok(all)
    }

    /// The callers that have tasks with an agent.
    fn callers(&self, agent: &str) -> Result<Vec<Arc<str>>, Error> {
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT caller FROM task_counts WHERE agent = ?1 AND count > 0
             UNION SELECT caller FROM tasks INDEXED BY tasks_unfinished WHERE {UNFINISHED} AND agent = ?1"
        ))?;
        let rows = statement.query_map([agent], |row| row.get::<_, String>(0).map(Arc::from))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A page of this scope's tasks, newest status first. It reads as many tasks as it shows, or those of the
    /// context; for the total it takes a look at each task that is not finished, and since some time at each that
    /// it counts.
    pub fn list(
        &self,
        scope: &Scope,
        filter: &Filter,
        from: Option<Place>,
        size: u32,
    ) -> Result<Page, Error> {
        let Self(connection) = self;
        let total = count(connection, scope, filter)?;
        let from = from.unwrap_or(Place { status_ms: i64::MAX, n: i64::MAX });
        let since = earliest(filter);
        let limit = size + 1;
        let mut wanted: Vec<&dyn ToSql> =
            vec![&scope.caller, &scope.agent, &since, &from.status_ms, &from.n, &limit];
        let context = filter.context_id.as_ref().map(ContextId::as_str);
        if let Some(context) = &context {
            wanted.push(context);
        }
        let mut statement = connection.prepare_cached(&format!(
            "SELECT tasks.* FROM ({} ORDER BY status_ms DESC, n DESC LIMIT ?6) JOIN tasks USING (n)
             ORDER BY tasks.status_ms DESC, n DESC",
            places(filter)
        ))?;
        let mut rows =
            statement.query_map(&wanted[..], task_row)?.collect::<Result<Vec<_>, _>>()?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|row| Place { status_ms: row.status_at.as_millisecond(), n: row.n });
        Ok(Page { rows, next, total: total.cast_unsigned() })
    }
}

/// The numbers of the states that a filter lets through.
fn states(filter: &Filter) -> RangeInclusive<i64> {
    let all = TaskState::Submitted as i64..=TaskState::AuthRequired as i64;
    filter.state.map_or(all, |state| state as i64..=state as i64)
}

fn earliest(filter: &Filter) -> i64 {
    filter.since.map_or(i64::MIN, Timestamp::as_millisecond)
}

/// How many tasks of a scope a filter lets through.
fn count(connection: &Connection, scope: &Scope, filter: &Filter) -> Result<i64, rusqlite::Error> {
    let (states, since) = (states(filter), earliest(filter));
    let (caller, agent) = (&scope.caller, &scope.agent);
    // A list and not a range: what follows in an index (`status_ms`) is then looked up as well.
    let list: Vec<String> = states.map(|state| state.to_string()).collect();
    let own = format!("caller = ?1 AND agent = ?2 AND state IN ({})", list.join(", "));
    let query = |query: &str, wanted: &[&dyn ToSql]| {
        connection.prepare_cached(query)?.query_row(wanted, |row| row.get(0))
    };
    if let Some(context) = &filter.context_id {
        let counted = format!(
            "SELECT count(*) FROM tasks INDEXED BY tasks_by_context
             WHERE {own} AND status_ms >= ?3 AND context_id = ?4"
        );
        return query(&counted, params![caller, agent, since, context.as_str()]);
    }
    let looked_at = |index: &str, part: &str| {
        format!(
            "SELECT count(*) FROM tasks INDEXED BY {index} WHERE {own} AND {part} AND status_ms >= ?3"
        )
    };
    let finished = match filter.since {
        Some(_) => looked_at("tasks_finished", FINISHED),
        None => format!("SELECT coalesce(sum(count), 0) FROM task_counts WHERE {own}"),
    };
    let unfinished = looked_at("tasks_unfinished", UNFINISHED);
    query(&format!("SELECT ({finished}) + ({unfinished})"), params![caller, agent, since])
}

/// The query for places of a list after another place, of which an order and a limit (`?6`) make a page.
fn places(filter: &Filter) -> String {
    let wanted = "caller = ?1 AND agent = ?2 AND status_ms >= ?3 AND (status_ms, n) < (?4, ?5)";
    let states = states(filter);
    if filter.context_id.is_some() {
        return format!(
            "SELECT n, status_ms FROM tasks INDEXED BY tasks_by_context
             WHERE {wanted} AND context_id = ?7 AND state BETWEEN {} AND {}",
            states.start(),
            states.end()
        );
    }
    // Each state has its tasks in the order of time; the newest of all are among the newest of each.
    let of_state = |state: i64| {
        let (index, part) = match state {
            1 | 2 | 6 | 8 => ("tasks_unfinished", UNFINISHED),
            _ => ("tasks_finished", FINISHED),
        };
        format!(
            "SELECT * FROM (SELECT n, status_ms FROM tasks INDEXED BY {index}
             WHERE {wanted} AND state = {state} AND {part} ORDER BY status_ms DESC, n DESC LIMIT ?6)"
        )
    };
    let places: Vec<String> = states.map(of_state).collect();
    format!("SELECT * FROM ({})", places.join(" UNION ALL "))
}

#[cfg(test)]
mod tests {
    use super::super::Sqlite;
    use super::super::read::state_of;
    use super::*;
    use crate::store::{Durability, Write};
    use pilothouse_a2a::id::TaskId;

    fn own_scope() -> Scope {
        Scope { caller: Arc::from("owner"), agent: Arc::from("fake") }
    }

    async fn list(store: &Sqlite, scope: &Scope, filter: &Filter, from: Option<Place>) -> Page {
        let (scope, filter) = (scope.clone(), filter.clone());
        let read = store.read_together(move |reads| reads.list(&scope, &filter, from, 7));
        read.await.unwrap()
    }

    /// Tasks in all states and three contexts, some of which share their time, some moved and some removed.
    async fn put_tasks(store: &Sqlite, scope: &Scope) -> Vec<TaskRow> {
        let mut rows = Vec::new();
        for number in 0..200_i64 {
            let at = Timestamp::from_millisecond(1000 + number / 3);
            let row = TaskRow {
                n: store.new_task_number(),
                id: TaskId::random(),
                scope: scope.clone(),
                context_id: ContextId::new(["a", "b", "c"][number as usize % 3]),
                session: "session".into(),
                alias: None,
                state: TaskState::Submitted,
                status_at: at,
                created: at,
                head: 0,
                print: None,
            };
            let put = Write::Task(Box::new(row.clone()), 0);
            store.commit(vec![put], Durability::Written).await.unwrap();
            rows.push(row);
        }
        for row in rows.iter_mut().skip(20) {
            row.state = state_of(1 + row.n * 7 % 8);
            row.status_at = Timestamp::from_millisecond(2000 + row.n * 13 % 50);
            let status = Some((row.state, row.status_at));
            let moved = Write::Head { n: row.n, expected: 0, seq: 1, bytes: 0, status };
            store.commit(vec![moved], Durability::Written).await.unwrap();
        }
        let gone: Vec<i64> = rows.iter().map(|row| row.n).filter(|n| n % 10 == 0).collect();
        store.remove_tasks(&gone).await.unwrap();
        rows.retain(|row| row.n % 10 != 0);
        rows.sort_by_key(|row| std::cmp::Reverse((row.status_at, row.n)));
        rows
    }

    #[tokio::test]
    async fn pages_of_every_filter_together_show_each_task_once_and_in_order_and_count_them() {
        let store = Sqlite::in_memory(1).unwrap();
        let scope = own_scope();
        let rows = put_tasks(&store, &scope).await;
        put_tasks(&store, &Scope { caller: Arc::from("bob"), ..scope.clone() }).await;
        for context_id in [None, Some(ContextId::new("b")), Some(ContextId::new("other"))] {
            for state in std::iter::once(None).chain((1..=8).map(|number| Some(state_of(number)))) {
                for since in [None, Some(Timestamp::from_millisecond(2020))] {
                    let filter = Filter { context_id: context_id.clone(), state, since };
                    let wanted = rows.iter().filter(|row| {
                        context_id.as_ref().is_none_or(|context| row.context_id == *context)
                            && state.is_none_or(|state| row.state == state)
                            && since.is_none_or(|since| row.status_at >= since)
                    });
                    let wanted: Vec<i64> = wanted.map(|row| row.n).collect();
                    let (mut found, mut from) = (Vec::new(), None);
                    loop {
                        let page = list(&store, &scope, &filter, from).await;
                        assert_eq!(page.total, wanted.len() as u64, "{filter:?}");
                        found.extend(page.rows.iter().map(|row| row.n));
                        from = page.next;
                        if from.is_none() {
                            break;
                        }
                    }
                    assert_eq!(found, wanted, "{filter:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn rows_and_total_are_of_one_moment_while_tasks_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        let store = Sqlite::in_folder(
            folder.path(),
            &file,
            super::super::lock(folder.path(), "a test").unwrap(),
            1,
            true,
        )
        .unwrap();
        let scope = own_scope();
        let rows = put_tasks(&store, &scope).await;
        let (began, begins) = tokio::sync::oneshot::channel();
        let (removed, awaits) = std::sync::mpsc::channel::<()>();
        let reading = store.read_together(move |reads| {
            let total = reads.list(&scope, &Filter::default(), None, 500)?.total;
            began.send(()).unwrap();
            awaits.recv().unwrap();
            Ok((total, reads.list(&scope, &Filter::default(), None, 500)?))
        });
        let removing = async {
            begins.await.unwrap();
            let all: Vec<i64> = rows.iter().map(|row| row.n).collect();
            store.remove_tasks(&all).await.unwrap();
            removed.send(()).unwrap();
        };
        let (read, ()) = tokio::join!(reading, removing);
        let (total, page) = read.unwrap();
        assert_eq!((total, page.rows.len()), (rows.len() as u64, rows.len()));
        assert_eq!(list(&store, &own_scope(), &Filter::default(), None).await.total, 0);
    }
}
