//! The sums that running turns share: what the store knows, and what they have used since.
//!
//! # How it works
//!
//! A sum is read from the store when the first turn needs it, and stays while any turn holds it. A turn
//! lets go only when what it used is stored, so a sum that is read again holds it already: nothing is
//! counted twice and nothing is missed. A turn holds tomorrow's sums too, which makes midnight a matter
//! of looking at other sums. The size is bounded by `processes.max`: six sums for a running turn.

use crate::store::{Account, Used};
use std::collections::HashMap;

/// All sums in memory.
#[derive(Debug, Default)]
pub(super) struct Ledger(HashMap<Account, Sum>);

#[derive(Debug, Default)]
struct Sum {
    used: Used,
    /// Whether what the store knows is in it.
    known: bool,
    holders: usize,
}

impl Ledger {
    /// One more turn needs this sum; whether the store must be asked for it.
    pub(super) fn hold(&mut self, account: &Account) -> bool {
        let sum = self.0.entry(account.clone()).or_default();
        sum.holders += 1;
        !sum.known
    }

    /// A turn does not need it any longer.
    pub(super) fn release(&mut self, account: &Account) {
        if let Some(sum) = self.0.get_mut(account) {
            sum.holders -= 1;
            if sum.holders == 0 {
                self.0.remove(account);
            }
        }
    }

    /// What the store said. Where it is known by now, turns may have been counted that are stored since.
    pub(super) fn learn(&mut self, account: &Account, stored: Used) {
        if let Some(sum) = self.0.get_mut(account).filter(|sum| !sum.known) {
            sum.used = stored;
            sum.known = true;
        }
    }

    /// The sum, if it is known.
    pub(super) fn used(&self, account: &Account) -> Option<Used> {
        self.0.get(account).filter(|sum| sum.known).map(|sum| sum.used)
    }

    /// A turn's part of a sum has changed.
    pub(super) fn change(&mut self, account: &Account, before: Used, now: Used) {
        if let Some(sum) = self.0.get_mut(account) {
            sum.used = sum.used.minus(before).plus(now);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
