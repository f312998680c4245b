//! Accounts at a model API that are at their limit, and until when.
//!
//! # How it works
//!
//! What a turn learns of its account's limit is noted for all agents that use the same credential. Until it is lifted
//! new messages for them are refused or wait (`limits.at_account_limit`). A file in `state_dir` keeps it over a
//! restart, and `doctor` reads it there.

use crate::config::Age;
use parking_lot::Mutex;
use pilothouse_a2a::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The file below `state_dir`.
const FILE: &str = "account-limits.json";

/// The longest time until a limit is lifted that is believed, as in the proxy.
pub const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountLimit {
    /// One of the agents that use the account.
    pub agent: String,
    /// Which limit, in words; none where that was not said.
    pub limit: Option<String>,
    /// When it is lifted.
    pub until: Timestamp,
}

impl AccountLimit {
    /// Whole seconds until it is lifted, at least one; none when it is.
    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.until.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
        u64::try_from(left).ok().filter(|left| *left > 0).map(|left| left.div_ceil(1000))
    }

    /// The limit in words, with the time.
    pub fn words(&self) -> String {
        let which = self.limit.as_ref().map(|limit| format!("{limit} ")).unwrap_or_default();
        let left = self.seconds_left().and_then(Age::from_secs);
        let left = left.map(|left| format!(" (in {left})")).unwrap_or_default();
        let (agent, until) = (&self.agent, self.until);
        format!(
            "the {which}limit of the account that `{agent}` uses is reached until {until}{left}"
        )
    }
}

/// The accounts at their limit; clones share them.
#[derive(Debug, Clone, Default)]
pub struct LimitedAccounts {
    /// By the account.
    known: Arc<Mutex<BTreeMap<u64, AccountLimit>>>,
    /// Locked by the writer of the file.
    file: Option<Arc<Mutex<PathBuf>>>,
}

impl LimitedAccounts {
    /// Those that were known when the server ended; `account_of` knows the account of an agent.
    pub fn load(state_dir: &Path, account_of: impl Fn(&str) -> Option<u64>) -> Self {
        let known = read(state_dir).into_iter();
        let known = known.filter_map(|limit| Some((account_of(&limit.agent)?, limit)));
        let (known, file) = (Arc::new(Mutex::new(known.collect())), state_dir.join(FILE));
        Self { known, file: Some(Arc::new(Mutex::new(file))) }
    }

    /// Notes that an account is at its limit.
    pub async fn note(&self, account: u64, limit: AccountLimit) {
        self.known.lock().insert(account, limit);
        self.keep().await;
    }

    /// Forgets the limit of an account that has had an answer.
    pub async fn clear(&self, account: u64) {
        let cleared = self.known.lock().remove(&account);
        if cleared.is_some() {
            self.keep().await;
        }
    }

    /// Writes what is known. A caller that goes away does not end it in the middle.
    async fn keep(&self) {
        let limited = self.clone();
        let written = tokio::task::spawn_blocking(move || limited.write()).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(error.into())) {
            tracing::warn!(%error, "the limits of accounts could not be kept for the next start");
        }
    }

    /// Puts the newest state into the file; writers come one after the other.
    fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let file = file.lock();
        let text = {
            let mut known = self.known.lock();
            known.retain(|_, limit| limit.seconds_left().is_some());
            serde_json::to_vec(&known.values().collect::<Vec<_>>())?
        };
        let fresh = file.with_extension("json.new");
        // Renamed into place, so that nobody reads half of it.
        std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &*file))
    }

    /// The limit of this account, while it is reached.
    pub fn of(&self, account: u64) -> Option<AccountLimit> {
        let limit = self.known.lock().get(&account).cloned();
        limit.filter(|limit| limit.seconds_left().is_some())
    }

    /// All that are reached.
    pub fn all(&self) -> Vec<AccountLimit> {
        let known = self.known.lock();
        known.values().filter(|limit| limit.seconds_left().is_some()).cloned().collect()
    }
}

/// The limits that a server with this state folder has noted and that are still reached.
pub fn read(state_dir: &Path) -> Vec<AccountLimit> {
    let text = std::fs::read(state_dir.join(FILE)).unwrap_or_default();
    let mut known: Vec<AccountLimit> = serde_json::from_slice(&text).unwrap_or_default();
    known.retain(|limit| limit.seconds_left().is_some());
    for limit in &mut known {
        limit.until = limit.until.min(after(LONGEST));
    }
    known
}

/// The time after this wait.
pub fn after(wait: Duration) -> Timestamp {
    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(Timestamp::now().as_millisecond().saturating_add(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(agent: &str, seconds: i64) -> AccountLimit {
        let until = Timestamp::now().as_millisecond() + seconds * 1000;
        let until = Timestamp::from_millisecond(until);
        AccountLimit { agent: agent.to_owned(), limit: Some("five hour".to_owned()), until }
    }

    #[tokio::test]
    async fn a_limit_outlives_a_restart_and_ends_at_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = LimitedAccounts::load(folder.path(), |_| None);
        accounts.note(1, limit("one", 3600)).await;
        accounts.note(2, limit("two", -1)).await;
        assert!(accounts.of(1).is_some() && accounts.of(2).is_none());
        let again = LimitedAccounts::load(folder.path(), |agent| (agent == "one").then_some(7));
        let known = again.of(7).unwrap();
        assert!((3590..=3600).contains(&known.seconds_left().unwrap()));
        assert!(known.words().starts_with("the five hour limit of the account that `one` uses"));
        assert_eq!(again.all().len(), 1);
    }
    #[tokio::test]
    async fn an_answer_ends_a_limit_here_and_in_the_file_which_is_never_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = LimitedAccounts::load(folder.path(), |_| None);
        let noted = (0..20).map(|n| accounts.note(n, limit("one", 3600)));
        futures_util::future::join_all(noted).await;
        assert_eq!(read(folder.path()).len(), 20);
        for n in 0..19 {
            accounts.clear(n).await;
        }
        assert_eq!((accounts.of(0), read(folder.path()).len()), (None, 1));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
