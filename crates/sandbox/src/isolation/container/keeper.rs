//! The containers that there are: who uses them, and when they end.

use super::ENDING;
use super::engine::Engine;
use crate::process::{Ended, Launcher, Process};
use crate::supervisor::Word;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The containers that there are.
pub(super) struct Keeping {
    /// By the HOME of their session.
    pub(super) map: Mutex<HashMap<String, Arc<Container>>>,
    pub(super) places: Arc<Semaphore>,
    /// Sessions that wait for a place.
    pub(super) waiting: AtomicUsize,
    pub(super) idle: Duration,
    pub(super) keepers: TaskTracker,
}
/// One container.
pub(super) struct Container {
    pub(super) launcher: Launcher,
    pub(super) used: watch::Sender<Use>,
    /// Cancelled when it shall end: also when it is not known that all of a process's tree has, as when an
    /// agent has found a way to end its supervisor.
    pub(super) end: CancellationToken,
    /// The user of its processes, where that is not the server's.
    pub(super) user: Option<u32>,
}
/// How it is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// Processes that were started in it and are held by somebody.
    pub(super) inhabitants: usize,
    pub(super) since: Instant,
}
/// A place in a container for one process; the container stays at least as long as this.
pub struct Room(Arc<Container>);
impl Room {
    /// What starts processes there.
    pub fn launcher(&self) -> &Launcher {
        &self.0.launcher
    }
}
impl Drop for Room {
    fn drop(&mut self) {
        self.0.used.send_modify(|used| {
            used.inhabitants -= 1;
            used.since = Instant::now();
        });
    }
}
impl Container {
    pub(super) fn enter(self: &Arc<Self>) -> Room {
        self.used.send_modify(|used| used.inhabitants += 1);
        Room(self.clone())
    }

    /// Since when nobody uses it.
    fn idle_since(&self) -> Option<Instant> {
        let used = *self.used.borrow();
        (used.inhabitants == 0).then_some(used.since)
    }
}
impl Keeping {
    pub(super) fn map(&self) -> MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.map.lock()
    }

    /// A place in the container of this session, if there is one for this user.
    pub(super) fn enter(&self, key: &str, user: Option<u32>) -> Option<Room> {
        let map = self.map();
        let container = map.get(key).filter(|known| known.user == user)?;
        (!container.end.is_cancelled() && !container.launcher.is_gone()).then(|| container.enter())
    }

    /// Takes it out, if nobody is in it.
    fn retire(&self, key: &str, container: &Arc<Container>) -> bool {
        let mut map = self.map();
        let idle = container.idle_since().is_some();
        if idle && map.get(key).is_some_and(|known| Arc::ptr_eq(known, container)) {
            map.remove(key);
        }
        idle
    }

    /// A place for another container; who idles longest gives way.
    pub(super) async fn place(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        let _waiting = WaitingCount::new(&self.waiting);
        {
            let map = self.map();
            let idle = map.values().filter(|one| !one.end.is_cancelled());
            let idle = idle.filter_map(|one| Some((one.idle_since()?, one)));
            if let Some((_, longest)) = idle.min_by_key(|(since, _)| *since) {
                longest.end.cancel();
            }
        }
        let place = self.places.clone().acquire_owned().await;
        place.expect("the places are never closed")
    }
}
/// Somebody who waits, as long as it lives.
struct WaitingCount<'a>(pub(super) &'a AtomicUsize);
impl<'a> WaitingCount<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}
impl Drop for WaitingCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
/// Looks after one container until it is gone.
pub(super) struct Keeper {
    pub(super) keeping: Arc<Keeping>,
    pub(super) engine: Arc<Engine>,
    pub(super) host: Launcher,
    pub(super) key: String,
    pub(super) name: String,
    pub(super) container: Arc<Container>,
    pub(super) client: Process,
    pub(super) _place: OwnedSemaphorePermit,
}
impl Keeper {
    pub(super) async fn keep(mut self) {
        self.watch().await;
        {
            let mut map = self.keeping.map();
            let own = map.get(&self.key);
            if own.is_some_and(|known| Arc::ptr_eq(known, &self.container)) {
                map.remove(&self.key);
            }
        }
        // Without orders its first process ends, and so does everything in it.
        self.container.launcher.dismiss();
        let ended = tokio::time::timeout(ENDING, self.client.control.ended()).await;
        if ended != Ok(Ended::Code(0)) {
            self.client.control.say(Word::Kill);
            self.engine.remove(&self.host, &[self.name]).await;
        }
    }

    /// Returns when it has ended, or shall.
    pub(super) async fn watch(&mut self) {
        let mut uses = self.container.used.subscribe();
        loop {
            let now = *uses.borrow_and_update();
            let idle = now.inhabitants == 0;
            let is_wanted = self.keeping.waiting.load(Ordering::SeqCst) > 0;
            if idle && is_wanted && self.keeping.retire(&self.key, &self.container) {
                return;
            }
            tokio::select! {
                () = self.container.end.cancelled() => return,
                _ = self.client.control.ended() => return,
                _ = uses.changed() => {}
                () = tokio::time::sleep(self.keeping.idle.saturating_sub(now.since.elapsed())), if idle => {
                    if self.keeping.retire(&self.key, &self.container) {
                        return;
                    }
                }
            }
        }
    }
}
