//! How many turns wait, over all and of each caller, with a bound on both.

use super::registry::NotAdmitted;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The turns that wait; clones share the count.
#[derive(Clone)]
pub(super) struct WaitingTurns(Arc<WaitingCounts>);

struct WaitingCounts {
    limit: usize,
    /// For one caller; 0 is no limit.
    per_caller: usize,
    by_caller: Mutex<HashMap<Arc<str>, usize>>,
}

/// A turn that waits; it is counted until this is dropped.
pub struct WaitingTurn {
    turns: WaitingTurns,
    caller: Arc<str>,
}

impl WaitingTurns {
    pub(super) fn new(limit: usize, per_caller: usize) -> Self {
        Self(Arc::new(WaitingCounts { limit, per_caller, by_caller: Mutex::default() }))
    }

    /// Counts one turn more of this caller, if there is room for it.
    pub(super) fn enter(&self, caller: &Arc<str>) -> Result<WaitingTurn, NotAdmitted> {
        let mut by_caller = self.0.by_caller.lock();
        let waiting = by_caller.values().sum();
        if waiting >= self.0.limit {
            return Err(NotAdmitted::Full { waiting });
        }
        let own = by_caller.get(caller).copied().unwrap_or(0);
        if self.0.per_caller > 0 && own >= self.0.per_caller {
            return Err(NotAdmitted::FullForCaller { waiting: own });
        }
        *by_caller.entry(caller.clone()).or_default() += 1;
        Ok(WaitingTurn { turns: self.clone(), caller: caller.clone() })
    }

    /// Counts a turn that was accepted before a restart, or is counted elsewhere.
    pub(super) fn enter_over_limit(&self, caller: &Arc<str>) -> WaitingTurn {
        *self.0.by_caller.lock().entry(caller.clone()).or_default() += 1;
        WaitingTurn { turns: self.clone(), caller: caller.clone() }
    }

    pub(super) fn count(&self) -> usize {
        self.0.by_caller.lock().values().sum()
    }

    /// Which number the newest turn of this caller has, as callers take turns.
    pub(super) fn position(&self, caller: &str) -> usize {
        let by_caller = self.0.by_caller.lock();
        let own = by_caller.get(caller).copied().unwrap_or(0);
        by_caller.values().map(|&waiting| waiting.min(own)).sum()
    }
}

impl Drop for WaitingTurn {
    fn drop(&mut self) {
        let mut by_caller = self.turns.0.by_caller.lock();
        if let Some(waiting) = by_caller.get_mut(&self.caller) {
            *waiting -= 1;
            if *waiting == 0 {
                by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_follows_the_round_of_callers() {
        let turns = WaitingTurns::new(100, 0);
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let of_ann: Vec<_> = (0..5).map(|_| turns.enter(&ann).ok().unwrap()).collect();
        let of_bob = turns.enter(&bob).ok().unwrap();
        assert_eq!((turns.position("bob"), turns.position("ann")), (2, 6));
        drop((of_ann, of_bob));
        assert!(turns.0.by_caller.lock().is_empty());
    }
}
