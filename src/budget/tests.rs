//! Ceilings over a real store: one turn, many turns, another day, another start.

use super::*;
use crate::config::{self, Budget};
use crate::store::{Durability, SessionRow, TaskRow};
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::task::TaskState;
use std::sync::atomic::{AtomicI64, Ordering};

/// Two hours before a midnight.
const EVENING: i64 = 20_000 * DAY_MS + 22 * 3_600_000;

/// A store with tasks in it, ceilings, and a clock that goes when it is told to.
struct World {
    config: Config,
    store: Store,
    clock: Arc<AtomicI64>,
    budgets: Budgets,
    folder: tempfile::TempDir,
}

impl World {
    fn new(change: impl FnOnce(&mut config::Budgets)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { state_dir: folder.path().to_owned(), ..Config::default() };
        change(&mut config.budgets);
        Self::open(config, folder, EVENING)
    }

    fn open(config: Config, folder: tempfile::TempDir, now: i64) -> Self {
        let store = store::open(&config, "a test").unwrap();
        let clock = Arc::new(AtomicI64::new(now));
        let hand = clock.clone();
        let read = move || Timestamp::from_millisecond(hand.load(Ordering::Relaxed));
        let budgets = Budgets::with_clock(&config, store.clone(), Arc::new(read));
        Self { config, store, clock, budgets, folder }
    }

    /// The server ends and starts again.
    async fn restarted(self) -> Self {
        self.store.close().await;
        let now = self.clock.load(Ordering::Relaxed);
        let Self { config, folder, store, budgets, .. } = self;
        drop((store, budgets));
        Self::open(config, folder, now)
    }

    fn passes(&self, hours: i64) {
        self.clock.fetch_add(hours * 3_600_000, Ordering::Relaxed);
    }

    /// A task of a session, as the store has it.
    async fn task(&self, who: &str, session: &str) -> i64 {
        let n = self.store.new_task_number();
        let (now, context_id) = (Timestamp::now(), ContextId::new(session));
        let row = TaskRow {
            n,
            id: TaskId::random(),
            scope: scope(who),
            context_id: context_id.clone(),
            session: session.into(),
            alias: None,
            state: TaskState::Working,
            status_at: now,
            created: now,
            head: 0,
            print: None,
        };
        let known = self.store.session(&scope(who), &context_id).await.unwrap();
        let session = SessionRow {
            id: session.into(),
            scope: scope(who),
            context_id,
            conversation: None,
            ready: true,
            setup: None,
            checkout: None,
            created: now,
            used: now,
        };
        let mut writes = vec![Write::Task(Box::new(row), 0)];
        if known.is_none() {
            writes.push(Write::Session(Box::new(session)));
        }
        self.write(writes).await;
        n
    }

    async fn write(&self, writes: Vec<Write>) {
        self.store.commit(writes, Durability::Written).await.unwrap();
    }

    async fn meter(&self, who: &str, session: &str, task: i64) -> Meter {
        self.budgets.meter(&scope(who), session, task, Budget::default()).await.unwrap()
    }

    /// A whole turn of a new task; which ceiling it reached.
    async fn turn(&self, who: &str, session: &str, usage: Usage) -> Option<String> {
        let task = self.task(who, session).await;
        let mut meter = self.meter(who, session, task).await;
        let reached = meter.used(&usage, None);
        self.write(meter.writes()).await;
        reached.map(|exceeded| exceeded.ceiling().to_owned())
    }

    /// The ceiling that refuses a further turn, or nothing.
    async fn refused(&self, who: &str, session: Option<&str>, task: Option<i64>) -> String {
        let answer = self.budgets.may_start(&scope(who), session, task).await;
        answer.unwrap().map_or_else(|exceeded| exceeded.ceiling().to_owned(), |()| String::new())
    }
}

fn scope(who: &str) -> Scope {
    Scope { caller: who.into(), agent: "claude".into() }
}

fn dollars(cost: f64) -> Usage {
    Usage { cost_usd: Some(cost), ..Usage::default() }
}

fn tokens(tokens: u64) -> Usage {
    Usage { output_tokens: Some(tokens), ..Usage::default() }
}

fn at_most_dollars(text: &str) -> Budget {
    Budget { cost_usd: Some(text.parse().unwrap()), tokens: None }
}

fn at_most_tokens(tokens: u64) -> Budget {
    Budget { cost_usd: None, tokens: Some(tokens) }
}

// === by kind ===

#[tokio::test]
async fn without_ceilings_nothing_is_refused_and_all_is_written_down() {
    let world = World::new(|_| ());
    assert_eq!(world.turn("ann", "s", dollars(1000.0)).await, None);
    assert_eq!(world.refused("ann", Some("s"), None).await, "");
    let day = EVENING.div_euclid(DAY_MS);
    let accounts = vec![Account::Caller("ann".into(), day), Account::Session("s".into())];
    let cost = 1_000_000_000;
    assert_eq!(world.store.usage(accounts).await.unwrap(), [Used { cost, tokens: 0 }; 2]);
    assert_eq!(world.budgets.0.ledger().len(), 0);
}

#[tokio::test]
async fn a_tasks_ceiling_counts_all_of_its_turns_and_no_other_task() {
    let world = World::new(|budgets| budgets.task = at_most_tokens(100));
    let task = world.task("ann", "s").await;
    for (used, reached) in [(60, false), (40, true)] {
        let mut meter = world.meter("ann", "s", task).await;
        assert_eq!(meter.used(&tokens(used), None).is_some(), reached);
        world.write(meter.writes()).await;
    }
    assert_eq!(world.refused("ann", Some("s"), Some(task)).await, "budgets.task.tokens");
    assert_eq!(world.refused("ann", Some("s"), None).await, "");
}

#[tokio::test]
async fn a_sessions_ceiling_counts_all_of_its_tasks_and_no_other_session() {
    let world = World::new(|budgets| budgets.session = at_most_dollars("0.50"));
    assert_eq!(world.turn("ann", "s", dollars(0.3)).await, None);
    assert_eq!(world.refused("ann", Some("s"), None).await, "");
    let key = "budgets.session.cost_usd";
    assert_eq!(world.turn("ann", "s", dollars(0.2)).await.unwrap(), key);
    assert_eq!(world.refused("ann", Some("s"), None).await, key);
    assert_eq!(world.refused("ann", Some("t"), None).await, "");
    assert_eq!(world.refused("ann", None, None).await, "");
}

#[tokio::test]
async fn a_callers_ceiling_is_its_own_and_everybodys_is_everybodys() {
    let world = World::new(|budgets| {
        budgets.caller = at_most_tokens(100);
        budgets.day = at_most_tokens(150);
    });
    let _ = world.turn("ann", "a", tokens(100)).await;
    assert_eq!(world.refused("ann", None, None).await, "budgets.caller.tokens");
    assert_eq!(world.refused("bob", None, None).await, "");
    let reached = world.turn("bob", "b", tokens(50)).await;
    assert_eq!(reached.unwrap(), "budgets.day.tokens");
    assert_eq!(world.refused("cyd", None, None).await, "budgets.day.tokens");
}

#[tokio::test]
async fn tokens_of_all_kinds_count() {
    let world = World::new(|budgets| budgets.task = at_most_tokens(10));
    let mut meter = world.meter("ann", "s", 1).await;
    let usage = Usage {
        input_tokens: Some(1),
        output_tokens: Some(2),
        cache_read_tokens: Some(3),
        cache_write_tokens: Some(4),
        ..Usage::default()
    };
    assert!(meter.used(&usage, None).is_some());
}

#[tokio::test]
async fn a_later_word_replaces_an_earlier_one_and_what_it_leaves_out_stays() {
    let world = World::new(|budgets| budgets.task = at_most_tokens(100));
    let mut meter = world.meter("ann", "s", 1).await;
    for used in [60, 90, 40] {
        assert_eq!(meter.used(&tokens(used), None), None);
    }
    assert_eq!(meter.used(&dollars(0.01), None), None);
    let used = meter.writes().into_iter().find_map(|write| match write {
        Write::Usage { used: [task, ..], .. } => Some(task),
        _ => None,
    });
    let (cost, tokens) = (10_000, 40);
    assert_eq!(used, Some(Used { cost, tokens }));
}

#[tokio::test]
async fn another_try_of_a_turn_counts_beside_the_first() {
    let world = World::new(|budgets| budgets.task = at_most_tokens(100));
    let mut meter = world.meter("ann", "s", 1).await;
    assert_eq!(meter.used(&tokens(60), None), None);
    meter.again();
    assert_eq!(meter.used(&tokens(39), None), None);
    assert!(meter.used(&tokens(40), None).is_some());
}

// === days ===

#[tokio::test]
async fn a_days_ceiling_opens_again_at_midnight() {
    let world = World::new(|budgets| budgets.caller = at_most_tokens(100));
    let task = world.task("ann", "s").await;
    let mut meter = world.meter("ann", "s", task).await;
    let reached = meter.used(&tokens(100), None).unwrap();
    assert_eq!(reached.resets_in_seconds(), Some(2 * 3600));
    world.write(meter.writes()).await;
    drop(meter);
    assert_eq!(world.refused("ann", None, None).await, "budgets.caller.tokens");
    world.passes(2);
    assert_eq!(world.refused("ann", None, None).await, "");
}

#[tokio::test]
async fn a_turn_over_midnight_is_counted_to_both_days() {
    let world = World::new(|budgets| budgets.day = at_most_tokens(100));
    let task = world.task("ann", "s").await;
    let mut meter = world.meter("ann", "s", task).await;
    assert_eq!(meter.used(&tokens(90), None), None);
    world.passes(3);
    assert_eq!(meter.used(&tokens(150), None), None);
    world.write(meter.writes()).await;
    drop(meter);
    let day = EVENING.div_euclid(DAY_MS);
    let accounts = vec![Account::Day(day), Account::Day(day + 1), Account::Task(task)];
    let stored = world.store.usage(accounts).await.unwrap();
    assert_eq!(stored.map_tokens(), [90, 60, 150]);
}

#[tokio::test]
async fn a_turn_over_midnight_knows_what_others_used_since() {
    let world = World::new(|budgets| budgets.day = at_most_tokens(100));
    let mut late = world.meter("ann", "s", 1).await;
    assert_eq!(late.used(&tokens(10), None), None);
    world.passes(3);
    assert_eq!(world.turn("bob", "b", tokens(60)).await, None);
    assert_eq!(late.used(&tokens(49), None), None);
    assert!(late.used(&tokens(50), None).is_some());
}

#[tokio::test]
async fn sums_of_days_are_kept_for_a_month() {
    let world = World::new(|_| ());
    for _ in 0..40 {
        let _ = world.turn("ann", "s", tokens(1)).await;
        world.passes(24);
    }
    let day = EVENING.div_euclid(DAY_MS);
    let days = (day..day + 40).map(Account::Day).collect();
    let kept = world.store.usage(days).await.unwrap();
    assert_eq!(kept.map_tokens().iter().sum::<u64>(), 31);
    let session = world.store.usage(vec![Account::Session("s".into())]).await;
    assert_eq!(session.unwrap().map_tokens(), [40]);
}

// === claims ===

#[tokio::test]
async fn a_claim_above_its_own_ceiling_leaves_the_day_to_others() {
    let world = World::new(|budgets| {
        budgets.task = at_most_tokens(100);
        budgets.caller = at_most_tokens(300);
        budgets.day = Budget { tokens: Some(1000), ..at_most_dollars("10") };
    });
    let claim = Usage { cost_usd: Some(1.0), ..tokens(1_000_000_000_000_000_000) };
    for _ in 0..3 {
        assert_eq!(world.turn("ann", "s", claim.clone()).await.unwrap(), "budgets.task.tokens");
    }
    assert_eq!(world.refused("ann", None, None).await, "budgets.caller.tokens");
    assert_eq!(world.refused("bob", None, None).await, "");
    let day = Account::Day(EVENING.div_euclid(DAY_MS));
    let stored = world.store.usage(vec![day]).await.unwrap();
    assert_eq!(stored, [Used { cost: 3_000_000, tokens: 100 }]);
}

#[tokio::test]
async fn a_claim_above_what_the_proxy_counted_leaves_the_day_to_others() {
    let world = World::new(|budgets| budgets.day = at_most_tokens(1000));
    let mut meter = world.meter("ann", "s", 1).await;
    assert_eq!(meter.used(&tokens(1_000_000), Some(40)), None);
    assert_eq!(meter.used(&tokens(1_000_000), Some(999)), None);
    world.passes(3);
    assert_eq!(meter.used(&tokens(2_000_000), Some(1500)), None);
    assert!(meter.used(&tokens(2_000_000), Some(2000)).is_some());
}

#[tokio::test]
async fn what_is_no_amount_counts_nothing() {
    let world = World::new(|budgets| budgets.day = at_most_dollars("1"));
    let mut meter = world.meter("ann", "s", 1).await;
    for cost in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        assert_eq!(meter.used(&dollars(cost), None), None);
    }
    assert_eq!(meter.writes().len(), 0);
}

#[tokio::test]
async fn sums_of_the_largest_claims_do_not_overflow() {
    let world = World::new(|budgets| budgets.session = at_most_dollars("1"));
    let claim =
        || Usage { cost_usd: Some(f64::MAX), input_tokens: Some(u64::MAX), ..tokens(u64::MAX) };
    let mut meter = world.meter("ann", "s", 1).await;
    for _ in 0..3 {
        assert!(meter.used(&claim(), None).is_some());
        meter.again();
    }
    world.write(meter.writes()).await;
    drop(meter);
    assert!(world.turn("ann", "s", claim()).await.is_some());
}

// === side by side ===

#[tokio::test]
async fn two_turns_at_once_see_each_other() {
    let world = World::new(|budgets| budgets.caller = at_most_tokens(100));
    let mut one = world.meter("ann", "s", 1).await;
    let mut two = world.meter("ann", "t", 2).await;
    assert_eq!(one.used(&tokens(60), None), None);
    assert_eq!(world.refused("ann", None, None).await, "");
    assert!(two.used(&tokens(40), None).is_some());
    assert!(one.check().is_some());
    // Nothing of it is stored yet.
    assert_eq!(world.refused("ann", None, None).await, "budgets.caller.tokens");
}

#[tokio::test]
async fn a_turn_hears_that_another_one_reached_their_ceiling() {
    let world = World::new(|budgets| budgets.day = at_most_tokens(100));
    let one = world.meter("ann", "s", 1).await;
    let mut two = world.meter("bob", "t", 2).await;
    let (reached, _) = tokio::join!(one.reached(), async { two.used(&tokens(100), None) });
    assert_eq!(reached.ceiling(), "budgets.day.tokens");
}

#[tokio::test]
async fn what_a_finished_turn_used_is_counted_once_beside_a_running_one() {
    let world = World::new(|budgets| budgets.caller = at_most_tokens(100));
    let mut one = world.meter("ann", "s", 1).await;
    assert_eq!(world.turn("ann", "t", tokens(50)).await, None);
    let three = world.meter("ann", "u", 3).await;
    assert_eq!(one.used(&tokens(49), None), None);
    assert_eq!(three.check(), None);
    assert!(one.used(&tokens(50), None).is_some());
}

#[tokio::test]
async fn the_ledger_is_empty_when_nothing_runs() {
    let world = World::new(|budgets| budgets.caller = at_most_tokens(100));
    let one = world.meter("ann", "s", 1).await;
    let mut two = world.meter("ann", "t", 2).await;
    assert_eq!(world.budgets.0.ledger().len(), 4 + 4);
    world.passes(24);
    let _ = two.used(&tokens(1), None);
    drop((one, two));
    assert_eq!(world.budgets.0.ledger().len(), 0);
}

// === the store ===

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let world = World::new(|budgets| {
        budgets.caller = at_most_dollars("1");
        budgets.session = at_most_tokens(1000);
    });
    assert_eq!(world.turn("ann", "s", dollars(0.6)).await, None);
    let world = world.restarted().await;
    let task = world.task("ann", "s").await;
    let mut meter = world.meter("ann", "s", task).await;
    assert_eq!(meter.used(&dollars(0.39), None), None);
    assert!(meter.used(&dollars(0.4), None).is_some());
    world.write(meter.writes()).await;
    drop(meter);
    let world = world.restarted().await;
    assert_eq!(world.refused("ann", None, None).await, "budgets.caller.cost_usd");
}

#[tokio::test]
async fn a_swept_task_stays_counted_for_its_day() {
    let world = World::new(|budgets| budgets.day = at_most_tokens(100));
    let task = world.task("ann", "s").await;
    let mut meter = world.meter("ann", "s", task).await;
    let _ = meter.used(&tokens(100), None);
    world.write(meter.writes()).await;
    drop(meter);
    world.store.remove_tasks(&[task]).await.unwrap();
    world.store.remove_session(&"s".into()).await.unwrap();
    let own = vec![Account::Task(task), Account::Session("s".into())];
    assert_eq!(world.store.usage(own).await.unwrap(), [Used::default(); 2]);
    assert_eq!(world.refused("bob", None, None).await, "budgets.day.tokens");
}

// === the promise ===

/// A small generator of numbers, so that a failing case can be run again by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Turns of three callers begin, use, and end in any order; whoever reaches a ceiling is interrupted.
async fn spend(seed: u64) {
    const STEP: u64 = 30;
    let mut dice = Dice(seed);
    let caller_limit = 50 + dice.below(400);
    let day_limit = 50 + dice.below(800);
    let world = World::new(|budgets| {
        budgets.caller = at_most_tokens(caller_limit);
        budgets.day = at_most_tokens(day_limit);
    });
    let callers = ["ann", "bob", "cyd"];
    let mut running: Vec<(usize, u64, Meter)> = Vec::new();
    let mut spent = [0; 3];
    for n in 0..200 {
        match dice.below(4) {
            0 if running.len() < 6 => {
                let who = usize::try_from(dice.below(3)).unwrap();
                if world.refused(callers[who], None, None).await.is_empty() {
                    let meter = world.meter(callers[who], &format!("s{n}"), n).await;
                    assert!(meter.check().is_none());
                    running.push((who, 0, meter));
                }
            }
            1 if !running.is_empty() => {
                let which = usize::try_from(dice.below(running.len() as u64)).unwrap();
                let (_, _, meter) = running.swap_remove(which);
                world.write(meter.writes()).await;
            }
            _ if !running.is_empty() => {
                let which = usize::try_from(dice.below(running.len() as u64)).unwrap();
                let more = 1 + dice.below(STEP);
                let (who, used, meter) = &mut running[which];
                *used += more;
                spent[*who] += more;
                let _ = meter.used(&tokens(*used), None);
            }
            _ => {}
        }
        let (over, rest): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|(_, _, meter)| meter.check().is_some());
        for (_, _, meter) in over {
            world.write(meter.writes()).await;
        }
        running = rest;
        for spent in spent {
            assert!(spent < caller_limit + STEP, "seed {seed}");
        }
        // Above its own ceiling a caller's word is not counted for the day.
        assert!(spent.iter().sum::<u64>() < day_limit + 3 * STEP, "seed {seed}");
    }
    for (_, _, meter) in running {
        world.write(meter.writes()).await;
    }
    let day = EVENING.div_euclid(DAY_MS);
    let stored = world.store.usage(vec![Account::Day(day)]).await.unwrap();
    let counted = spent.iter().map(|&spent| spent.min(caller_limit)).sum::<u64>();
    assert_eq!(stored.map_tokens(), [counted.min(day_limit)], "seed {seed}");
}

#[tokio::test]
async fn never_more_than_a_ceiling_and_one_word_is_spent() {
    for seed in 0..40 {
        spend(seed).await;
    }
}

trait Tokens {
    fn map_tokens(&self) -> Vec<u64>;
}

impl Tokens for Vec<Used> {
    fn map_tokens(&self) -> Vec<u64> {
        self.iter().map(|used| used.tokens).collect()
    }
}
