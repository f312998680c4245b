//! `ListTasks` (specification 3.1.4): a page of tasks and how many there are, as the store had them at one moment.

use super::{Client, Service, name_caller, present};
use crate::access::Caller;
use crate::store::{self, Filter, Place, ReadTransaction, TaskRow};
use crate::task::{self, Extent, Listed, Tasks};
use pilothouse_a2a::error::Error;
use pilothouse_a2a::operation::{ListTasksRequest, ListTasksResponse};
use pilothouse_a2a::task::{Task, TaskState};
use std::sync::Arc;

/// What is read for one page.
struct Listing {
    tasks: Tasks,
    caller: Caller,
    agent: Arc<str>,
    filter: Filter,
    from: Option<Place>,
    size: u32,
    /// Bytes of the response at most.
    most: usize,
    /// How much of each task is shown.
    extent: Extent,
    /// Bytes of an answer that stands in the history at most.
    inline: usize,
    history: Option<i32>,
    include_artifacts: bool,
    /// Whether generations are told.
    has_generations: bool,
}

/// A page of tasks.
struct TaskPage {
    tasks: Vec<Task>,
    total: u64,
    next: Option<Place>,
    /// Rows of tasks that were at work, and that nobody held any more when they were shown.
    doubtful: Vec<TaskRow>,
}

impl Service {
    /// `ListTasks` (specification 3.1.4).
    pub async fn list(
        &self,
        client: &Client,
        request: ListTasksRequest,
    ) -> Result<ListTasksResponse, Error> {
        let page_size = request.page_size.unwrap_or(50);
        let from = match request.page_token.as_deref() {
            None | Some("") => None,
            Some(token) => Some(place_of(token).ok_or_else(|| {
                Error::invalid("pageToken", "not a token of this server; begin without one")
            })?),
        };
        let limits = &self.config.limits;
        let most = limits.response.as_usize();
        let mut extent = Extent::of(most);
        if !request.include_artifacts {
            // The answer's text may stand in the history, where one is shown.
            let has_history = request.history_length != Some(0);
            extent.artifacts = if has_history { limits.inline_answer.as_usize() } else { 0 };
        }
        let listing = Listing {
            tasks: self.tasks.clone(),
            caller: client.caller.clone(),
            agent: client.agent.key.clone(),
            filter: Filter {
                context_id: request.context_id,
                state: (request.status != TaskState::Unspecified).then_some(request.status),
                since: request.status_timestamp_after,
            },
            from,
            size: u32::try_from(page_size).unwrap_or(50),
            most,
            extent,
            inline: limits.inline_answer.as_usize(),
            history: request.history_length,
            include_artifacts: request.include_artifacts,
            has_generations: self.config.compat.v11,
        };
        let read = self.store.read_together(move |reads| listing.read(reads));
        let mut page = read.await.map_err(store::Error::incident)?;
        for row in &page.doubtful {
            let found = self.tasks.find(&row.scope, &row.id).await;
            if found.map_err(store::Error::incident)?.is_none() {
                page.tasks.retain(|task| task.id != row.id);
                page.total = page.total.saturating_sub(1);
            }
        }
        Ok(ListTasksResponse {
            tasks: page.tasks,
            next_page_token: page.next.map(token_of).unwrap_or_default(),
            page_size,
            total_size: i32::try_from(page.total).unwrap_or(i32::MAX),
        })
    }
}

impl Listing {
    /// The page as the store has it at this moment; tasks that somebody holds as they are shown to everybody.
    fn read(self, reads: &ReadTransaction<'_>) -> Result<TaskPage, store::Error> {
        let (callers, agent) = (&self.caller.listed, &self.agent);
        let found = reads.list_of(callers, agent, &self.filter, self.from, self.size)?;
        let mut page = TaskPage {
            tasks: Vec::with_capacity(found.rows.len()),
            total: found.total,
            next: found.next,
            doubtful: Vec::new(),
        };
        let (mut size, mut last) = (0, None);
        for row in found.rows {
            // What does not fit in the rest of this page is not read to its end.
            let rest = self.most.saturating_sub(size);
            let is_narrow = self.include_artifacts && rest < self.extent.artifacts;
            let extent = Extent {
                artifacts: self.extent.artifacts.min(rest),
                messages: super::messages(self.history),
                // Where others were shown before it, one that does not fit is left to the next page.
                names_rest: self.include_artifacts && last.is_none(),
                ..self.extent
            };
            let (snapshot, is_held) = match self.tasks.list(reads, &row, extent)? {
                Listed::Held(snapshot) => (snapshot, true),
                Listed::Stored(snapshot) => (snapshot, false),
                Listed::Withheld => {
                    page.total = page.total.saturating_sub(1);
                    continue;
                }
            };
            let (truncated, seq) = (snapshot.truncated, snapshot.seq);
            let mut task = present(snapshot, self.inline, self.history);
            name_caller(&mut task, &row.scope.caller, &self.caller);
            let place = Place { status_ms: row.status_at.as_millisecond(), n: row.n };
            // It has moved on since the page was read.
            if self.filter.state.is_some_and(|state| task.status.state != state) {
                page.total = page.total.saturating_sub(1);
                last = Some(place);
                continue;
            }
            if !self.include_artifacts {
                task.artifacts.clear();
            }
            if self.has_generations {
                task.generation = Some(task::read_generation(reads, &row, seq)?);
            }
            size += task::weigh(&task);
            // A page ends where the response would grow too large; its token leads to the rest.
            if (size > self.most || (is_narrow && truncated)) && last.is_some() {
                page.next = last;
                break;
            }
            page.tasks.push(task);
            last = Some(place);
            // Its end came meanwhile, or an agent that replied without a task: then there is none any more.
            if !is_held && matches!(row.state, TaskState::Submitted | TaskState::Working) {
                page.doubtful.push(row);
            }
        }
        page.tasks.sort_by_key(|task| std::cmp::Reverse(task.status.timestamp));
        Ok(page)
    }
}

fn token_of(place: Place) -> String {
    format!("{:x}.{:x}", place.status_ms, place.n)
}

fn place_of(token: &str) -> Option<Place> {
    let (at, n) = token.split_once('.')?;
    Some(Place {
        status_ms: i64::from_str_radix(at, 16).ok()?,
        n: i64::from_str_radix(n, 16).ok()?,
    })
}
