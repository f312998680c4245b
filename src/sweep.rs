//! Retention: old tasks and ended sessions are removed by age, by number and by size.

use crate::config::Retention;
use crate::session::{House, Sessions};
use crate::store::{self, Limits};
use crate::workspace::Workspaces;
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// From the start to the first sweep, so that a start is not slowed down by it.
const FIRST: Duration = Duration::from_secs(10);

/// Between two sweeps.
const EVERY: Duration = Duration::from_secs(300);

/// Sweeps now and then until the server stops.
pub async fn run(house: Arc<House>, sessions: Sessions, stop: CancellationToken) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = EVERY,
        }
        match sweep(&house, &sessions).await {
            Ok((0, 0)) => {}
            Ok((tasks, sessions)) => {
                tracing::info!(tasks, sessions, "old tasks and sessions were removed");
            }
            Err(error) => tracing::warn!(%error, "old tasks could not be removed"),
        }
    }
}

/// One sweep; how many tasks and sessions are gone.
async fn sweep(house: &Arc<House>, sessions: &Sessions) -> Result<(usize, usize), store::Error> {
    let now = Timestamp::now().as_millisecond();
    let tasks = house.store.old_tasks(limits(&house.config.store.retention, now)).await?;
    let ended =
        ended_sessions(house, sessions, limits(&house.config.sessions.retention, now)).await?;
    if tasks.is_empty() && ended.is_empty() {
        return Ok((0, 0));
    }
    let ids: Vec<_> = ended.iter().map(|(id, _)| id.clone()).collect();
    house.store.sweep(&tasks, &ids).await?;
    let swept = (tasks.len(), ended.len());
    let _ = tokio::task::spawn_blocking(move || {
        for (id, workspaces) in ended {
            workspaces.remove(&id);
        }
    })
    .await;
    Ok(swept)
}

fn limits(retention: &Retention, now: i64) -> Limits {
    let age = i64::try_from(retention.age.get().as_millis()).unwrap_or(i64::MAX / 2);
    Limits {
        oldest_ms: now.saturating_sub(age),
        count: retention.count,
        size: retention.size.get(),
    }
}

/// Sessions that retention has come for and that nobody uses. The last used ones stay longest.
async fn ended_sessions(
    house: &Arc<House>,
    sessions: &Sessions,
    limits: Limits,
) -> Result<Vec<(Arc<str>, Workspaces)>, store::Error> {
    let all = house.store.sessions_by_use().await?;
    let (house, sessions) = (house.clone(), sessions.clone());
    // Sizes are read from the disk, which may take its time.
    let found = tokio::task::spawn_blocking(move || {
        let (mut ended, mut count, mut size) = (Vec::new(), 0, 0u64);
        for (id, agent, used_ms) in all {
            let workspaces = house.folders_of(&agent);
            count += 1;
            let mut over = used_ms < limits.oldest_ms || count > limits.count || size > limits.size;
            if !over {
                size = size.saturating_add(workspaces.size(&id));
                over = size > limits.size;
            }
            if over && !sessions.is_live(&id) && !house.tasks.holds_session(&id) {
                ended.push((id, workspaces.clone()));
            }
        }
        ended
    });
    Ok(found.await.unwrap_or_default())
}
