//! Budgets: how much turns may cost, and the meters that count what they use.
//!
//! # How it works
//!
//! A turn is asked about twice. [`Budgets::may_start`] refuses a message whose turn could not begin;
//! [`Budgets::meter`] counts a turn that runs, together with all others that run beside it, and says when
//! it must be interrupted. What was used is stored with the end of the turn. Without any ceiling nothing
//! is asked of the store, and what was used is still written down.
//!
//! # Pitfalls
//!
//! A meter lives until its [`Meter::writes`] are committed: dropped before, its turn is forgotten for a
//! moment, and another one may begin.
//! Some agents say what they used only at the end of a turn; such a turn can go over a ceiling whole.
//! What an agent says is a claim. It fills the sums of its task and its session; of the sums that it
//! shares with others it fills as much as [`Ceilings::shares`] allows.

mod ceiling;
mod ledger;

pub use ceiling::Exceeded;

use crate::config::{Budget, Config, Dollars};
use crate::store::{self, Account, Scope, Store, Used, Write};
use ceiling::{Ceilings, Sums};
use ledger::Ledger;
use parking_lot::{Mutex, MutexGuard, RwLock};
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::event::Usage;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Notify;

const DAY_MS: i64 = 86_400_000;

/// The most that one turn is taken to have used, whatever its agent says.
const MOST_TOKENS: u64 = 1_000_000_000_000;

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The ceilings, and what running turns have used; clones share it.
#[derive(Clone)]
pub struct Budgets(Arc<SharedBudgets>);

struct SharedBudgets {
    store: Store,
    /// By agent.
    ceilings: RwLock<BTreeMap<String, Arc<Ceilings>>>,
    clock: Clock,
    /// Never held over an `.await`.
    ledger: Mutex<Ledger>,
    /// Some sum has grown.
    grown: Notify,
}

/// Counts what one running turn uses.
pub struct Meter {
    house: Arc<SharedBudgets>,
    ceilings: Arc<Ceilings>,
    n: i64,
    session: Arc<str>,
    caller: Arc<str>,
    /// What is in the four sums of each day that the turn has seen; the last one is its present.
    parts: Vec<(i64, Sums)>,
    /// What earlier tries of the turn have used.
    tries: Used,
    /// What the present try has used so far.
    said: ReportedUsage,
    holds: Holds,
}

/// What an agent has said of a turn; what a later word leaves out stays.
#[derive(Debug, Clone, Copy, Default)]
struct ReportedUsage {
    cost: Option<u64>,
    tokens: Option<u64>,
}

/// Sums that a turn holds in the ledger; they are let go with it.
struct Holds {
    house: Arc<SharedBudgets>,
    accounts: Vec<Account>,
}

/// The ceilings of each agent.
fn ceilings_of_all(config: &Config) -> BTreeMap<String, Arc<Ceilings>> {
    let agents = config.agents.keys();
    agents.map(|agent| (agent.clone(), Arc::new(Ceilings::of(config, agent)))).collect()
}

// === impl Budgets ===

impl Budgets {
    /// The ceilings of this configuration, over what this store knows.
    pub fn new(config: &Config, store: Store) -> Self {
        Self::with_clock(config, store, Arc::new(Timestamp::now))
    }

    fn with_clock(config: &Config, store: Store, clock: Clock) -> Self {
        Self(Arc::new(SharedBudgets {
            store,
            ceilings: RwLock::new(ceilings_of_all(config)),
            clock,
            ledger: Mutex::default(),
            grown: Notify::new(),
        }))
    }

    /// Takes the ceilings of a configuration that was read again, for turns that begin from now on.
    pub fn reload(&self, config: &Config) {
        *self.0.ceilings.write() = ceilings_of_all(config);
    }

    /// What the operator should know about the ceilings of these agents.
    pub fn notes<'a>(&self, agents: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        agents.flat_map(|agent| self.0.ceilings_of(agent).unguarded().collect::<Vec<_>>()).collect()
    }

    /// Before a turn is accepted: which ceiling is reached, if any. `session` and `task` are named where
    /// they are there already.
    pub async fn may_start(
        &self,
        scope: &Scope,
        session: Option<&str>,
        task: Option<i64>,
    ) -> Result<Result<(), Exceeded>, store::Error> {
        let ceilings = self.0.ceilings_of(&scope.agent);
        if ceilings.is_empty() {
            return Ok(Ok(()));
        }
        let (today, next_day) = self.0.today();
        let accounts = [
            task.map(Account::Task),
            session.map(|id| Account::Session(id.into())),
            Some(Account::Caller(scope.caller.clone(), today)),
            Some(Account::Day(today)),
        ];
        let mut sums = Sums::default();
        let mut unknown = Vec::new();
        {
            let ledger = self.0.ledger();
            for (place, account) in accounts.into_iter().enumerate() {
                let Some(account) = account else { continue };
                match ledger.used(&account) {
                    Some(used) => sums[place] = used,
                    None => unknown.push((place, account)),
                }
            }
        }
        if !unknown.is_empty() {
            let (places, accounts): (Vec<_>, Vec<_>) = unknown.into_iter().unzip();
            let stored = self.0.store.usage(accounts).await?;
            for (place, used) in places.into_iter().zip(stored) {
                sums[place] = used;
            }
        }
        Ok(ceilings.reached(&sums, next_day).map_or(Ok(()), Err))
    }

    /// The meter of a turn that is about to run. What it waited for may have reached a ceiling since it
    /// was accepted: see [`Meter::check`]. What its message wishes bounds its task further
    /// during this turn.
    pub async fn meter(
        &self,
        scope: &Scope,
        session: &str,
        task: i64,
        wished: Budget,
    ) -> Result<Meter, store::Error> {
        let (today, _) = self.0.today();
        let mut ceilings = self.0.ceilings_of(&scope.agent);
        let is_wished = wished != Budget::default();
        if is_wished {
            ceilings = Arc::new(ceilings.with_wish(wished));
        }
        let mut meter = Meter {
            house: self.0.clone(),
            ceilings,
            n: task,
            session: session.into(),
            caller: scope.caller.clone(),
            parts: vec![(today, Sums::default())],
            tries: Used::default(),
            said: ReportedUsage::default(),
            holds: Holds { house: self.0.clone(), accounts: Vec::new() },
        };
        if !self.0.is_bounded() && !is_wished {
            return Ok(meter);
        }
        let mut accounts = Vec::from(meter.accounts(today));
        accounts.extend(meter.accounts_of_day(today + 1));
        if meter.holds.add(accounts.clone()) {
            let stored = self.0.store.usage(accounts.clone()).await?;
            let mut ledger = self.0.ledger();
            for (account, used) in accounts.iter().zip(stored) {
                ledger.learn(account, used);
            }
        }
        Ok(meter)
    }
}

impl SharedBudgets {
    fn ceilings_of(&self, agent: &str) -> Arc<Ceilings> {
        self.ceilings.read().get(agent).cloned().unwrap_or_default()
    }

    /// Whether there is any ceiling at all.
    fn is_bounded(&self) -> bool {
        self.ceilings.read().values().any(|ceilings| !ceilings.is_empty())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// The day since 1970-01-01 UTC, and the seconds that are left of it.
    fn today(&self) -> (i64, u64) {
        let now = (self.clock)().as_millisecond();
        let left = DAY_MS - now.rem_euclid(DAY_MS);
        (now.div_euclid(DAY_MS), left.cast_unsigned().div_ceil(1000))
    }
}

// === impl Meter ===

impl Meter {
    /// What the turn has used so far (a later word replaces an earlier one); `proxied` are its tokens as
    /// the proxy counted them, where it counts all. The ceiling that is reached by it, if any: then the
    /// turn must be interrupted.
    pub fn used(&mut self, usage: &Usage, proxied: Option<u64>) -> Option<Exceeded> {
        self.said.hear(usage);
        self.midnight();
        let (&(day, before), earlier) = self.parts.split_last().expect("a turn has its first day");
        let [own, .., everybody] = earlier.iter().fold(Sums::default(), |sum, (_, part)| {
            std::array::from_fn(|place| sum[place].plus(part[place]))
        });
        let claim = self.tries.plus(self.said.used()).minus(own);
        let proxied = proxied.map(|tokens| tokens.saturating_sub(everybody.tokens));
        let accounts = self.accounts(day);
        let changed = {
            let mut ledger = self.house.ledger();
            let others = std::array::from_fn(|place| {
                ledger.used(&accounts[place]).unwrap_or_default().minus(before[place])
            });
            let now = self.ceilings.shares(claim, &others, proxied);
            for (place, account) in accounts.iter().enumerate() {
                ledger.change(account, before[place], now[place]);
            }
            self.parts.last_mut().expect("just seen").1 = now;
            now != before
        };
        if changed {
            self.house.grown.notify_waiters();
        }
        self.check()
    }

    /// What comes now is used by another try of the same turn, whose agent counts from nothing.
    pub fn again(&mut self) {
        let said = std::mem::take(&mut self.said);
        self.tries = self.tries.plus(said.used());
    }

    /// The ceiling that is reached now, by this turn or by those beside it.
    pub fn check(&self) -> Option<Exceeded> {
        if self.ceilings.is_empty() {
            return None;
        }
        let (today, next_day) = self.house.today();
        let accounts = self.accounts(today.max(self.day()));
        let sums = {
            let ledger = self.house.ledger();
            accounts.map(|account| ledger.used(&account).unwrap_or_default())
        };
        self.ceilings.reached(&sums, next_day)
    }

    /// Waits until a ceiling is reached, by this turn or by those beside it. Cancel-safe.
    pub async fn reached(&self) -> Exceeded {
        loop {
            let mut grown = pin!(self.house.grown.notified());
            grown.as_mut().enable();
            if let Some(exceeded) = self.check() {
                return exceeded;
            }
            grown.await;
        }
    }

    /// At the end of the turn: what is to be written, once. The meter must outlive its commit.
    pub fn writes(&self) -> Vec<Write> {
        let used = self.parts.iter().filter(|(_, used)| *used != Sums::default());
        used.map(|&(day, used)| Write::Usage {
            n: self.n,
            session: self.session.clone(),
            caller: self.caller.clone(),
            day,
            used,
        })
        .collect()
    }

    fn day(&self) -> i64 {
        self.parts.last().expect("a turn has its first day").0
    }

    /// Another day has begun: what is used from now on is that day's.
    fn midnight(&mut self) {
        let (today, _) = self.house.today();
        if today <= self.day() {
            return;
        }
        self.parts.push((today, Sums::default()));
        // A turn that began where nothing was bounded holds no sums.
        if !self.holds.accounts.is_empty() {
            let accounts = self.accounts_of_day(today).into_iter();
            let accounts = accounts.chain(self.accounts_of_day(today + 1));
            let fresh: Vec<_> =
                accounts.filter(|account| !self.holds.accounts.contains(account)).collect();
            self.holds.add(fresh.clone());
            let mut ledger = self.house.ledger();
            for account in &fresh {
                // Nobody can have used anything of a day that lies ahead.
                ledger.learn(account, Used::default());
            }
        }
    }

    fn accounts(&self, day: i64) -> [Account; 4] {
        let [caller, everybody] = self.accounts_of_day(day);
        let session = Account::Session(self.session.clone());
        [Account::Task(self.n), session, caller, everybody]
    }

    fn accounts_of_day(&self, day: i64) -> [Account; 2] {
        [Account::Caller(self.caller.clone(), day), Account::Day(day)]
    }
}

impl ReportedUsage {
    fn used(self) -> Used {
        Used { cost: self.cost.unwrap_or(0), tokens: self.tokens.unwrap_or(0) }
    }

    /// What is no amount, like a negative one, is as good as not said.
    fn hear(&mut self, usage: &Usage) {
        if let Some(cost) = usage.cost_usd.and_then(Dollars::nearest) {
            self.cost = Some(cost.micros());
        }
        let kinds = [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        ];
        if kinds.iter().any(Option::is_some) {
            let sum = kinds.into_iter().flatten().fold(0, u64::saturating_add);
            self.tokens = Some(sum.min(MOST_TOKENS));
        }
    }
}

// === impl Holds ===

impl Holds {
    /// Whether the store must be asked for any of them.
    fn add(&mut self, accounts: Vec<Account>) -> bool {
        let mut unknown = false;
        let mut ledger = self.house.ledger();
        for account in &accounts {
            unknown |= ledger.hold(account);
        }
        drop(ledger);
        self.accounts.extend(accounts);
        unknown
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        let mut ledger = self.house.ledger();
        for account in &self.accounts {
            ledger.release(account);
        }
    }
}

#[cfg(test)]
mod tests;
