//! Lists of the server's own API, page by page, up to a limit; what was left out is said.

use super::failure::Failure;
use super::local::Server;
use clap::Args;
use serde_json::Value;

/// Entries of a page.
const PAGE: usize = 100;

/// How much of a list, and how it is printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) limit: u32,
    /// Print them as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The first entries of a list, and how many there are.
#[derive(Debug)]
pub(super) struct List<T> {
    /// The entries.
    pub(super) entries: Vec<T>,
    /// How many there are on all pages.
    pub(super) total: usize,
}

impl<T> List<T> {
    /// Says on standard error how many were left out.
    pub(super) fn tell_left_out(&self) {
        let shown = self.entries.len();
        if self.total > shown {
            eprintln!("{shown} of {}; more with --limit", self.total);
        }
    }
}

/// Reads pages of the list `name` at `path` until there are `limit` entries or no more.
pub(super) async fn read_list(
    server: &Server,
    (path, name): (&str, &str),
    limit: usize,
) -> Result<List<Value>, Failure> {
    let (mut entries, mut token) = (Vec::new(), String::new());
    loop {
        let size = (limit - entries.len()).min(PAGE);
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut page = server.get(&format!("{path}{mark}pageSize={size}{token}")).await?;
        let more = match page.get_mut(name).map(Value::take) {
            Some(Value::Array(more)) => more,
            _ => Vec::new(),
        };
        let is_empty = more.is_empty();
        entries.extend(more);
        // A server without pages gives the whole list.
        let whole = entries.len();
        entries.truncate(limit);
        let total = page.get("totalSize").and_then(Value::as_u64);
        let total = total.and_then(|total| usize::try_from(total).ok()).unwrap_or(whole);
        let next = page.get("nextPageToken").and_then(Value::as_str).unwrap_or_default();
        // A page without entries would lead to itself.
        if next.is_empty() || is_empty || entries.len() == limit {
            return Ok(List { entries, total });
        }
        token = format!("&pageToken={}", super::local::escape(next));
    }
}
