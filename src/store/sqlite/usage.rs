//! Usage on SQLite: four sums that each turn is added to, and how they are read.

use super::Sqlite;
use crate::store::{Account, Error, Used};
use rusqlite::{Connection, OptionalExtension, params};
use std::borrow::Cow;

/// Days whose sums are kept, today included; the ceilings need one.
const DAYS: i64 = 31;

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
    connection
        .prepare_cached("DELETE FROM usage WHERE day > 0 AND day <= ?1")?
        .execute(params![day - DAYS])
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
