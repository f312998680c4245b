//! Watches what a session's folders take up on the disk (`isolation.limits.disk`): while its agent works, while
//! its script runs, and while a process waits for the next turn.
//!
//! # How it works
//!
//! The folders are measured every few seconds, and at once where a turn begins in a session whose folders were
//! there before and have not been measured just now. Files that have no name any more count as long as a process of the session holds them open.
//! What cannot be measured is not assumed to be small: several times in a row, it ends the turn too.
//!
//! A look does not end with the turn that began it: it goes on in a task of its own, and the next turn waits for
//! its result. So neither large folders nor short turns keep a session from being measured. Few looks run at a
//! time (`limits.disk_checks`), callers take turns, and the pause after a look grows with the time that it took.

use super::SessionDeps;
use crate::config::Bytes;
use crate::queue::FairQueue;
use parking_lot::Mutex;
use pilothouse_sandbox::process::tree::Tree;
use pilothouse_sandbox::workspace::{Size, Workspaces};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Between two looks, at least.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A pause is so many times as long as the look before it ...
const PAUSE_FOR_LOOK: u32 = 10;

/// ... but not longer than this, for an agent writes meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Looks in a row that may miss something: an agent at work moves folders while they are read.
const MISSES: u32 = 3;

/// Sessions without an actor whose last looks are remembered.
const KEPT: usize = 4096;

/// The watches over the folders of all sessions.
pub(super) struct DiskWatches {
    most: Option<u64>,
    /// For looks at a time.
    places: FairQueue,
    looks: TaskTracker,
    stop: CancellationToken,
    /// Those of sessions without an actor that have something to remember.
    kept: Mutex<HashMap<Arc<str>, DiskWatch>>,
}

/// The watch over one session's folders; clones share what was seen.
#[derive(Clone)]
pub(super) struct DiskWatch(Arc<WatchedFolders>);

struct WatchedFolders {
    workspaces: Workspaces,
    session: Arc<str>,
    caller: Arc<str>,
    most: Option<u64>,
    places: FairQueue,
    looks: TaskTracker,
    state: Mutex<LookState>,
    has_warned: AtomicBool,
    /// Ends the look that is under way.
    ends: CancellationToken,
    _guard: DropGuard,
}

struct LookState {
    next_look: Instant,
    /// Whether the last look has found that they are not too large.
    is_known: bool,
    /// Looks in a row that have missed something.
    misses: u32,
    /// The look that is under way; without a result where it was stopped.
    look: Option<JoinHandle<Option<Look>>>,
}

/// A look that has come to its end.
struct Look {
    measured: io::Result<Size>,
    took: Duration,
}

/// Why a session may not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskFault {
    /// The folders are too large.
    #[error(
        "the session's folders have grown to {0} bytes, more than they may hold (`isolation.limits.disk`)"
    )]
    TooLarge(u64),
    /// Nobody knows how large they are.
    #[error("the session's folders cannot be measured, which `isolation.limits.disk` needs: {0}")]
    Unmeasured(#[source] io::Error),
}

impl DiskFault {
    /// Who can do what about it.
    pub(super) fn hint(&self) -> String {
        let way = match self {
            Self::TooLarge(_) => "raise `isolation.limits.disk`",
            Self::Unmeasured(_) => "remove what cannot be measured",
        };
        format!("a new context begins with empty folders; the server's operator can {way}")
    }
}

impl DiskWatches {
    /// None yet.
    pub(super) fn new(deps: &SessionDeps) -> Self {
        let config = &deps.config;
        let places = config.limits.disk_checks;
        Self {
            most: config.isolation.limits.disk.map(Bytes::get),
            places: FairQueue::new(places, places.div_ceil(2), &config.auth.priorities),
            looks: deps.actors.clone(),
            stop: deps.stop.clone(),
            kept: Mutex::default(),
        }
    }

    /// Watches the folders of a session. Those of a new one are not looked at at once.
    pub(super) fn watch(
        &self,
        workspaces: &Workspaces,
        session: &Arc<str>,
        caller: &Arc<str>,
        is_new: bool,
    ) -> DiskWatch {
        if let Some(kept) = self.kept.lock().remove(session) {
            return kept;
        }
        let now = Instant::now();
        let next_look = if is_new { now + LOOK_AGAIN } else { now };
        let ends = self.stop.child_token();
        DiskWatch(Arc::new(WatchedFolders {
            workspaces: workspaces.clone(),
            session: session.clone(),
            caller: caller.clone(),
            most: self.most,
            places: self.places.clone(),
            looks: self.looks.clone(),
            state: Mutex::new(LookState { next_look, is_known: false, misses: 0, look: None }),
            has_warned: AtomicBool::new(false),
            _guard: ends.clone().drop_guard(),
            ends,
        }))
    }

    /// Keeps what was seen, and a look that is under way, for the session's next actor.
    pub(super) fn keep(&self, watch: &DiskWatch) {
        if !watch.remembers() {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT
            && let Some(other) = DiskWatch::find_least(&kept)
        {
            kept.remove(&other);
        }
        kept.insert(watch.0.session.clone(), watch.clone());
    }

    /// The session's folders are removed.
    pub(super) fn forget(&self, session: &str) {
        self.kept.lock().remove(session);
    }
}

impl DiskWatch {
    /// Looks now and then, until the session may not go on. `tree` works in the folders. Cancel-safe: a look that
    /// is under way goes on.
    pub(super) async fn fault(self, tree: Tree) -> DiskFault {
        let Some(most) = self.0.most else {
            return std::future::pending().await;
        };
        loop {
            let next_look = self.next_look();
            if next_look > Instant::now() {
                tokio::time::sleep_until(next_look).await;
            }
            let look = self.look(tree).await;
            if let Some(fault) = self.judge(look, most) {
                return fault;
            }
        }
    }

    /// When the next result is waited for.
    fn next_look(&self) -> Instant {
        let state = self.0.state.lock();
        if state.look.is_some() { Instant::now() } else { state.next_look }
    }

    /// Whether there is anything that the next actor of the session should know.
    fn remembers(&self) -> bool {
        let state = self.0.state.lock();
        state.look.is_some()
            || state.misses > 0
            || (state.is_known && state.next_look > Instant::now())
    }

    /// One of the watches, if possible one that knows nothing but when to look again.
    fn find_least(watches: &HashMap<Arc<str>, Self>) -> Option<Arc<str>> {
        let is_idle = |watch: &Self| {
            let state = watch.0.state.lock();
            state.look.is_none() && state.misses == 0
        };
        let idle = watches.iter().find(|(_, watch)| is_idle(watch));
        idle.or_else(|| watches.iter().next()).map(|(session, _)| session.clone())
    }

    /// The result of the look that is under way, or of one that begins now.
    async fn look(&self, tree: Tree) -> Look {
        let looked = poll_fn(|context| {
            let mut state = self.0.state.lock();
            let look = state.look.get_or_insert_with(|| self.begin_look(tree));
            let looked = ready!(Pin::new(look).poll(context));
            state.look = None;
            Poll::Ready(looked)
        });
        match looked.await {
            Ok(Some(look)) => look,
            // The server stops, and ends the turn for that.
            Ok(None) => std::future::pending().await,
            Err(error) => Look { measured: Err(io::Error::other(error)), took: Duration::ZERO },
        }
    }

    fn begin_look(&self, tree: Tree) -> JoinHandle<Option<Look>> {
        let WatchedFolders { workspaces, session, caller, places, looks, ends, .. } = &*self.0;
        // Not this watch itself: where it is dropped, the look ends.
        let (workspaces, session, ends) = (workspaces.clone(), session.clone(), ends.clone());
        let request = places.request(caller);
        let look = async move {
            let _place = request.place().await;
            let began = Instant::now();
            let measured = workspaces.size(&session, Some(tree)).await;
            Look { measured, took: began.elapsed() }
        };
        looks.spawn(async move { ends.run_until_cancelled(look).await })
    }

    /// What a look means for the session, and when the next one is due.
    fn judge(&self, look: Look, most: u64) -> Option<DiskFault> {
        let mut state = self.0.state.lock();
        let error = match look.measured {
            Ok(size) if size.bytes > most => {
                // Whatever goes on in these folders is looked at at once.
                state.next_look = Instant::now();
                state.is_known = false;
                return Some(DiskFault::TooLarge(size.bytes));
            }
            Ok(size) => {
                self.warn_of_unseen(&size);
                size.error
            }
            Err(error) => Some(error),
        };
        state.next_look = Instant::now() + pause_after(look.took);
        state.is_known = error.is_none();
        let Some(error) = error else {
            state.misses = 0;
            return None;
        };
        state.misses = state.misses.saturating_add(1);
        (state.misses >= MISSES).then_some(DiskFault::Unmeasured(error))
    }

    /// Processes may close themselves to their own user; many do for good reasons (`ssh-agent`).
    fn warn_of_unseen(&self, size: &Size) {
        let Size { closed, mapped, .. } = size;
        if (*closed > 0 || *mapped > 0) && !self.0.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                session.id = %self.0.session,
                "`isolation.limits.disk` does not count all removed files of the session {}: the open files of \
                 {closed} processes cannot be seen, and {mapped} mapped files cannot be measured",
                self.0.session
            );
        }
    }
}

/// How long the folders are left alone after a look that took so long.
fn pause_after(look: Duration) -> Duration {
    look.saturating_mul(PAUSE_FOR_LOOK).clamp(LOOK_AGAIN, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Agent, Config};
    use futures_util::FutureExt;
    use std::collections::BTreeMap;
    use std::path::Path;

    const MOST: u64 = 1 << 20;

    /// Watches over sessions whose folders lie in `root`; so many looks at a time.
    fn watches(places: usize) -> DiskWatches {
        DiskWatches {
            most: Some(MOST),
            places: FairQueue::new(places, 0, &BTreeMap::new()),
            looks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kept: Mutex::default(),
        }
    }

    fn watch(watches: &DiskWatches, root: &Path, is_new: bool) -> DiskWatch {
        let config = Config { state_dir: root.join("state"), ..Config::default() };
        let settings = config.workspaces(root, &Agent::default(), &config.workspace).unwrap();
        let workspaces = Workspaces::new(settings);
        watches.watch(&workspaces, &"one".into(), &"caller".into(), is_new)
    }

    /// The folder of the session, which is more than it may be.
    fn fill(root: &Path) {
        let folder = root.join("workspace/one");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("large"), vec![1; 2 << 20]).unwrap();
    }

    fn own_tree() -> Tree {
        Tree::find(i32::try_from(std::process::id()).unwrap())
    }

    /// A turn that begins a look and ends at once.
    fn begin_turn(watch: &DiskWatch) {
        assert!(watch.clone().fault(own_tree()).now_or_never().is_none());
        assert!(watch.0.state.lock().look.is_some());
    }

    /// A turn in which a look is due, and which ends when so many in a row have missed something.
    async fn turn_until_misses(watch: &DiskWatch, misses: u32) {
        watch.0.state.lock().next_look = Instant::now();
        let missed = async {
            while watch.0.state.lock().misses < misses {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = missed => {}
            fault = watch.clone().fault(own_tree()) => panic!("{fault}"),
        }
    }

    #[tokio::test]
    async fn folders_that_were_there_before_are_looked_at_at_once_and_new_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        let watches = watches(1);
        assert!(watch(&watches, root.path(), true).next_look() > Instant::now());
        let old = watch(&watches, root.path(), false);
        assert!(old.next_look() <= Instant::now());
        let fault = old.clone().fault(own_tree()).await;
        assert!(matches!(fault, DiskFault::TooLarge(_)), "{fault}");
        assert!(old.next_look() <= Instant::now());
    }

    #[tokio::test]
    async fn what_cannot_be_measured_is_remembered_from_turn_to_turn() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("workspace")).unwrap();
        // No folder: nobody can say what is in it.
        std::fs::write(root.path().join("workspace/one"), "").unwrap();
        let watches = watches(1);
        for misses in 1..MISSES {
            let watch = watch(&watches, root.path(), misses == 1);
            turn_until_misses(&watch, misses).await;
            watches.keep(&watch);
        }
        let watch = watch(&watches, root.path(), false);
        watch.0.state.lock().next_look = Instant::now();
        let fault = watch.fault(own_tree()).await;
        assert!(matches!(fault, DiskFault::Unmeasured(_)), "{fault}");
    }

    #[tokio::test]
    async fn a_look_that_a_turn_does_not_wait_for_is_the_next_turns() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        let watches = watches(1);
        let caller: Arc<str> = "caller".into();
        let place = watches.places.try_take(&caller).unwrap();
        let first = watch(&watches, root.path(), false);
        begin_turn(&first);
        watches.keep(&first);
        drop(first);
        assert_eq!(watches.places.count_waiting(&caller), (1, 1));
        let second = watch(&watches, root.path(), false);
        begin_turn(&second);
        assert_eq!(watches.places.count_waiting(&caller), (1, 1));
        drop(place);
        assert!(matches!(second.fault(own_tree()).await, DiskFault::TooLarge(_)));
    }

    #[tokio::test]
    async fn folders_that_were_measured_just_now_are_not_measured_again_at_the_next_turn() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("workspace/one")).unwrap();
        std::fs::create_dir_all(root.path().join("state/sessions/one")).unwrap();
        let watches = watches(1);
        let first = watch(&watches, root.path(), false);
        let look = first.look(own_tree()).await;
        assert!(first.judge(look, MOST).is_none());
        watches.keep(&first);
        drop(first);
        assert!(watch(&watches, root.path(), false).next_look() > Instant::now());
        assert!(watch(&watches, root.path(), false).next_look() <= Instant::now());
    }

    #[tokio::test]
    async fn the_look_of_a_watch_that_is_dropped_ends() {
        let root = tempfile::tempdir().unwrap();
        let watches = watches(1);
        let place = watches.places.try_take(&"caller".into()).unwrap();
        begin_turn(&watch(&watches, root.path(), false));
        watches.looks.close();
        watches.looks.wait().await;
        drop(place);
        assert_eq!(watches.places.free(), 1);
    }

    #[test]
    fn the_pause_grows_with_the_look_and_is_bounded() {
        let seconds = Duration::from_secs;
        assert_eq!(pause_after(seconds(0)), seconds(5));
        assert_eq!(pause_after(seconds(2)), seconds(20));
        assert_eq!(pause_after(seconds(50)), seconds(60));
    }
}
