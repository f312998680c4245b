//! Pages of a task's events, from either end.

use super::read::event_row;
use super::{Sqlite, key};
use crate::store::{Error, Event};
use rusqlite::params;

/// A page of a task's events.
#[derive(Debug, Clone, Copy)]
pub struct EventPage {
    /// The task's number.
    pub n: i64,
    /// Those after this one ...
    pub after: u64,
    /// ... up to this one,
    pub upto: u64,
    /// the last of them where this is so, else the first,
    pub is_tail: bool,
    /// so many at most,
    pub count: usize,
    /// of so many bytes as they are rendered; at least one if there is one.
    pub bytes: usize,
    /// No further one is read where so many bytes were read.
    pub read: usize,
}

impl Sqlite {
    /// The events of a page as text, in their order, each rendered as soon as it is read: only what is rendered stays in memory.
    pub(crate) async fn event_page(
        &self,
        page: EventPage,
        mut render: impl FnMut(Event) -> String + Send + 'static,
    ) -> Result<Vec<String>, Error> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(match page.is_tail {
                true => {
                    "SELECT key, kind, body FROM events WHERE key BETWEEN ?1 AND ?2 ORDER BY key DESC LIMIT ?3"
                }
                false => {
                    "SELECT key, kind, body FROM events WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3"
                }
            })?;
            let (from, upto) = (key(page.n, page.after) + 1, key(page.n, page.upto));
            let count = i64::try_from(page.count).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![from, upto, count])?;
            let (mut found, mut size, mut read) = (Vec::new(), 0, 0);
            while read < page.read {
                let Some(row) = rows.next()? else { break };
                let event = event_row(row)?;
                read += event.body.len();
                let text = render(event);
                size += text.len();
                if size > page.bytes && !found.is_empty() {
                    break;
                }
                found.push(text);
            }
            if page.is_tail {
                found.reverse();
            }
            Ok(found)
        })
        .await
    }
}
