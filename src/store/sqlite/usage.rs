//! Usage on SQLite: four sums that each turn is added to, and how they are read.

use super::Sqlite;
use crate::store::{Account, CallerFilter, Error, Usage, UsageOf, UsageReport, Used};
use rusqlite::{Connection, OptionalExtension, params};
use std::borrow::Cow;

/// Days whose sums are kept, today included; the ceilings need one.
const DAYS: i64 = 31;

/// Days of which reports tell.
const DAYS_REPORTED: i64 = 400;

/// Callers and sessions in a report, those that used most.
const REPORTED: usize = 1000;

/// The largest sum: adding a turn to it cannot overflow.
const MOST: u64 = 1 << 62;

const TASK: i64 = 0;
const SESSION: i64 = 1;
const CALLER: i64 = 2;
const EVERYBODY: i64 = 3;

impl Account {
    /// The row's key.
    fn key(&self) -> (i64, Cow<'_, str>, i64) {
        match self {
            Self::Task(n) => (TASK, n.to_string().into(), 0),
            Self::Session(id) => (SESSION, Cow::Borrowed(id), 0),
            Self::Caller(name, day) => (CALLER, Cow::Borrowed(name), *day),
            Self::Day(day) => (EVERYBODY, Cow::Borrowed(""), *day),
        }
    }
}

/// Adds what a turn used. A task or session that is gone by now gets no sum of its own.
pub(super) fn add(
    connection: &Connection,
    n: i64,
    session: &str,
    caller: &str,
    day: i64,
    used: [Used; 4],
) -> Result<usize, rusqlite::Error> {
    let number = n.to_string();
    let rows = [
        (TASK, number.as_str(), 0),
        (SESSION, session, 0),
        (CALLER, caller, day),
        (EVERYBODY, "", day),
    ];
    let mut statement = connection.prepare_cached(
        "INSERT INTO usage (kind, name, day, cost, tokens) SELECT ?1, ?2, ?3, ?4, ?5
         WHERE CASE ?1 WHEN 0 THEN EXISTS (SELECT 1 FROM tasks WHERE n = ?6)
                       WHEN 1 THEN EXISTS (SELECT 1 FROM sessions WHERE id = ?2) ELSE 1 END
         ON CONFLICT (kind, name, day) DO UPDATE
         SET cost = min(cost + ?4, ?7), tokens = min(tokens + ?5, ?7)",
    )?;
    let most = MOST.cast_signed();
    for ((kind, name, day), used) in rows.into_iter().zip(used) {
        let (cost, tokens) =
            (used.cost.min(MOST / 2).cast_signed(), used.tokens.min(MOST / 2).cast_signed());
        statement.execute(params![kind, name, day, cost, tokens, n, most])?;
    }
    add_to_report(connection, n, caller, day, used[2])?;
    connection
        .prepare_cached("DELETE FROM usage WHERE day > 0 AND day <= ?1")?
        .execute(params![day - DAYS])
}

/// Adds what a turn used to the sums of its caller and agent. A task that is gone by now has no agent.
fn add_to_report(
    connection: &Connection,
    n: i64,
    caller: &str,
    day: i64,
    used: Used,
) -> Result<(), rusqlite::Error> {
    let most = MOST.cast_signed();
    let (cost, tokens) =
        (used.cost.min(MOST / 2).cast_signed(), used.tokens.min(MOST / 2).cast_signed());
    connection
        .prepare_cached(
            "INSERT INTO usage_by_agent (day, caller, agent, turns, cost, tokens)
             SELECT ?1, ?2, agent, 1, ?3, ?4 FROM tasks WHERE n = ?5
             ON CONFLICT (day, caller, agent) DO UPDATE
             SET turns = turns + 1, cost = min(cost + ?3, ?6), tokens = min(tokens + ?4, ?6)",
        )?
        .execute(params![day, caller, cost, tokens, n, most])?;
    connection
        .prepare_cached("DELETE FROM usage_by_agent WHERE day <= ?1")?
        .execute(params![day - DAYS_REPORTED])?;
    Ok(())
}

/// A task is gone; what it used stays counted for the days.
pub(super) fn task_gone(connection: &Connection, n: i64) -> Result<usize, rusqlite::Error> {
    gone(connection, &Account::Task(n))
}

/// A session is gone; what it used stays counted for the days.
pub(super) fn session_gone(connection: &Connection, id: &str) -> Result<usize, rusqlite::Error> {
    gone(connection, &Account::Session(id.into()))
}

fn gone(connection: &Connection, account: &Account) -> Result<usize, rusqlite::Error> {
    let (kind, name, day) = account.key();
    connection
        .prepare_cached("DELETE FROM usage WHERE kind = ?1 AND name = ?2 AND day = ?3")?
        .execute(params![kind, name, day])
}

impl Sqlite {
    /// What these callers used from one day to another, both included.
    pub(crate) async fn usage_report(
        &self,
        callers: &CallerFilter,
        from: i64,
        to: i64,
    ) -> Result<UsageReport, Error> {
        let caller = match callers {
            CallerFilter::One(caller) => Some(caller.clone()),
            CallerFilter::All => None,
        };
        self.read(move |connection| {
            let wanted = params![from, to, caller];
            let by = |column: &str, order: &str| -> Result<Vec<UsageOf>, rusqlite::Error> {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT CAST({column} AS TEXT), sum(turns), sum(cost), sum(tokens) FROM usage_by_agent
                     WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR caller = ?3)
                     GROUP BY {column} ORDER BY {order} LIMIT {REPORTED}"
                ))?;
                let rows = statement.query_map(wanted, |row| {
                    Ok(UsageOf { name: row.get(0)?, usage: usage_of(row, 1)? })
                })?;
                rows.collect()
            };
            let of_sessions = || -> Result<Vec<UsageOf>, rusqlite::Error> {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT sessions.id, 0, usage.cost, usage.tokens FROM sessions
                     JOIN usage ON usage.kind = 1 AND usage.name = sessions.id AND usage.day = 0
                     WHERE ?1 IS NULL OR caller = ?1
                     ORDER BY usage.cost DESC, usage.tokens DESC LIMIT {REPORTED}"
                ))?;
                let rows = statement.query_map(params![caller], |row| {
                    Ok(UsageOf { name: row.get(0)?, usage: usage_of(row, 1)? })
                })?;
                rows.collect()
            };
            Ok(UsageReport {
                days: by("day", "day")?,
                agents: by("agent", "sum(cost) DESC, agent")?,
                callers: by("caller", "sum(cost) DESC, caller")?,
                sessions: of_sessions()?,
            })
        })
        .await
    }

    /// What was used of each of these accounts, in their order.
    pub(crate) async fn usage(&self, accounts: Vec<Account>) -> Result<Vec<Used>, Error> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT cost, tokens FROM usage WHERE kind = ?1 AND name = ?2 AND day = ?3",
            )?;
            let mut one = |account: &Account| {
                let (kind, name, day) = account.key();
                let found = statement.query_row(params![kind, name, day], |row| {
                    Ok(Used {
                        cost: row.get::<_, i64>(0)?.cast_unsigned(),
                        tokens: row.get::<_, i64>(1)?.cast_unsigned(),
                    })
                });
                Ok(found.optional()?.unwrap_or_default())
            };
            accounts.iter().map(&mut one).collect()
        })
        .await
    }
}

/// The numbers of a row of a report, from this column on.
fn usage_of(row: &rusqlite::Row<'_>, at: usize) -> Result<Usage, rusqlite::Error> {
    let number = |at| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.cast_unsigned());
    let used = Used { cost: number(at + 1)?, tokens: number(at + 2)? };
    Ok(Usage { turns: number(at)?, used })
}
