//! Tokens that were verified. All requests and streams of such a token share its grant, and it is not verified again.

use crate::access::{Caller, Denied, Grant};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A token that was verified.
#[derive(Clone)]
pub(super) struct KnownJwt {
    pub(super) caller: Arc<str>,
    pub(super) grant: Arc<Grant>,
}

impl KnownJwt {
    /// Its caller, unless it has ended.
    pub(super) fn admit(self) -> Result<Caller, Denied> {
        self.grant.check().map(|()| Caller::new(self.caller, self.grant))
    }
}

/// The tokens that were verified last, by their hashes.
pub(super) struct KnownJwts {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    tokens: HashMap<[u8; 32], KnownJwt>,
    /// The hashes of `tokens`, the oldest first.
    order: VecDeque<[u8; 32]>,
}

impl KnownJwts {
    pub(super) fn new(most: usize) -> Self {
        Self { most, table: Mutex::default() }
    }

    pub(super) fn find(&self, hash: &[u8; 32]) -> Option<KnownJwt> {
        self.table.lock().tokens.get(hash).cloned()
    }

    /// Keeps a token in place of the oldest one. Where another request has verified the same token, its grant is shared.
    pub(super) fn add(&self, hash: [u8; 32], token: KnownJwt) -> KnownJwt {
        let mut table = self.table.lock();
        if let Some(known) = table.tokens.get(&hash).filter(|known| known.grant.check().is_ok()) {
            return known.clone();
        }
        // Its key may have been withdrawn meanwhile; `forget_ended` does not come by again.
        if self.most == 0 || token.grant.check().is_err() {
            return token;
        }
        if table.tokens.insert(hash, token.clone()).is_none() {
            table.order.push_back(hash);
            if table.order.len() > self.most
                && let Some(oldest) = table.order.pop_front()
            {
                table.tokens.remove(&oldest);
            }
        }
        token
    }

    /// Forgets the tokens that expired or whose key was withdrawn.
    pub(super) fn forget_ended(&self) {
        let Table { tokens, order } = &mut *self.table.lock();
        tokens.retain(|_, known| known.grant.check().is_ok());
        order.retain(|hash| tokens.contains_key(hash));
    }

    /// What the token with this mark allows, where it is known and still holds.
    pub(super) fn find_grant(&self, mark: &str) -> Option<Arc<Grant>> {
        let table = self.table.lock();
        let mut grants = table.tokens.values().map(|known| &known.grant);
        grants.find(|grant| *grant.mark == *mark && grant.check().is_ok()).cloned()
    }
}
