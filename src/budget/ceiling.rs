//! A ceiling, which of an agent's ceilings are reached, and how that is said.

use crate::config::{Budget, Budgets, Config, Dollars};
use crate::store::Used;
use std::fmt;
use std::sync::Arc;

/// Whose usage a ceiling bounds; the number is its place in [`Sums`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Task = 0,
    Session = 1,
    Caller = 2,
    Day = 3,
}

/// What was used by a task, its session, its caller today, everybody today.
pub(super) type Sums = [Used; 4];

/// Millionths of a dollar that one token costs at most; the most expensive models stay below it.
const MOST_PER_TOKEN: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Cost,
    Tokens,
}

/// Stands for the key of what a message wishes.
const WISHED: &str = "the message's own budget";

/// One number of the configuration.
#[derive(Debug, Clone)]
struct Ceiling {
    whose: Whose,
    measure: Measure,
    /// Millionths of a dollar, or tokens.
    limit: u64,
    /// Its key in the configuration.
    key: Arc<str>,
}

/// All ceilings of an agent, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Ceilings(Vec<Ceiling>);

/// A ceiling that is reached. Its text names the key, and says who can do what about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Exceeded {
    key: Arc<str>,
    whose: Whose,
    measure: Measure,
    used: u64,
    limit: u64,
    resets_in: Option<u64>,
}

// === impl Ceilings ===

impl Ceilings {
    /// Those of an agent: its own numbers in place of the house's.
    pub(super) fn of(config: &Config, agent: &str) -> Self {
        let own = config.agents.get(agent).map(|agent| agent.budgets);
        Self::laid_over(&config.budgets, &own.unwrap_or_default(), agent)
    }

    fn laid_over(house: &Budgets, own: &Budgets, agent: &str) -> Self {
        let whose = [Whose::Task, Whose::Session, Whose::Caller, Whose::Day];
        let mut ceilings = Vec::new();
        for ((whose, (section, house)), (_, own)) in
            whose.into_iter().zip(house.each()).zip(own.each())
        {
            let mut add = |measure: Measure, house: Option<u64>, own: Option<u64>| {
                let name = measure.name();
                let key = match own {
                    Some(_) => format!("agents.{agent}.budgets.{section}.{name}"),
                    None => format!("budgets.{section}.{name}"),
                };
                ceilings.extend(own.or(house).map(|limit| Ceiling {
                    whose,
                    measure,
                    limit,
                    key: key.into(),
                }));
            };
            let (cost, own_cost) =
                (house.cost_usd.map(Dollars::micros), own.cost_usd.map(Dollars::micros));
            add(Measure::Cost, cost, own_cost);
            add(Measure::Tokens, house.tokens, own.tokens);
        }
        Self(ceilings)
    }

    /// The same, with what the message of a turn wishes that its task uses at most.
    pub(super) fn with_wish(&self, wished: Budget) -> Self {
        let cost = wished.cost_usd.map(|cost| (Measure::Cost, cost.micros()));
        let tokens = wished.tokens.map(|tokens| (Measure::Tokens, tokens));
        let own = [cost, tokens].into_iter().flatten().map(|(measure, limit)| Ceiling {
            whose: Whose::Task,
            measure,
            limit,
            key: WISHED.into(),
        });
        Self(self.0.iter().cloned().chain(own).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ceilings of the day that a claim of this agent alone could use up, with what bounds it.
    pub(super) fn unguarded(&self) -> impl Iterator<Item = String> {
        let open = self.0.iter().filter(|day| {
            let others = self.0.iter().filter(|other| other.measure == day.measure);
            day.whose == Whose::Day && others.count() == 1
        });
        open.map(|day| {
            let (key, measure) = (&day.key, day.measure.name());
            format!("`{key}` has no smaller ceiling below it: what one agent claims can use it up for all callers; set `budgets.caller.{measure}`")
        })
    }

    /// How much of what a turn claims is added to each sum; `others` is what is in the sums without it.
    ///
    /// Task and session take the whole claim. A sum that other agents and callers share takes it as far
    /// as the proxy counted (`proxied`, in tokens, where the agent reaches models by the proxy alone),
    /// else as far as the agent's own ceilings allow. So an agent cannot use up what is not its own.
    pub(super) fn shares(&self, claim: Used, others: &Sums, proxied: Option<u64>) -> Sums {
        let room = |measure: Measure, sums: &[Whose]| {
            // What a caller wishes is no reason to count less of what it uses.
            let own = self.0.iter().filter(|ceiling| *ceiling.key != *WISHED);
            let own = own.filter(|ceiling| ceiling.measure == measure);
            own.filter(|ceiling| sums.contains(&ceiling.whose))
                .map(|ceiling| {
                    ceiling.limit.saturating_sub(measure.of(others[ceiling.whose as usize]))
                })
                .min()
                .unwrap_or(u64::MAX)
        };
        let share = |sums: &[Whose]| Used {
            cost: claim
                .cost
                .min(room(Measure::Cost, sums))
                .min(proxied.map_or(u64::MAX, |tokens| tokens.saturating_mul(MOST_PER_TOKEN))),
            tokens: claim.tokens.min(proxied.unwrap_or_else(|| room(Measure::Tokens, sums))),
        };
        let all = [Whose::Task, Whose::Session, Whose::Caller, Whose::Day];
        [claim, claim, share(&[Whose::Caller]), share(&all)]
    }

    /// The first ceiling that these sums reach; `next_day` is how many seconds are left of the day.
    pub(super) fn reached(&self, sums: &Sums, next_day: u64) -> Option<Exceeded> {
        self.0.iter().find_map(|ceiling| {
            let used = ceiling.measure.of(sums[ceiling.whose as usize]);
            (used >= ceiling.limit).then(|| Exceeded {
                key: ceiling.key.clone(),
                whose: ceiling.whose,
                measure: ceiling.measure,
                used,
                limit: ceiling.limit,
                resets_in: matches!(ceiling.whose, Whose::Caller | Whose::Day).then_some(next_day),
            })
        })
    }
}

// === impl Exceeded ===

impl Exceeded {
    /// The ceiling's key in the configuration, like `budgets.session.cost_usd`.
    pub fn ceiling(&self) -> &str {
        &self.key
    }

    /// Seconds until it opens again, at midnight UTC; none for a task's and a session's, which do not.
    pub fn resets_in_seconds(&self) -> Option<u64> {
        self.resets_in
    }

    /// What was used, as people write it.
    pub fn used(&self) -> String {
        self.measure.written(self.used)
    }

    /// The ceiling, as people write it.
    pub fn limit(&self) -> String {
        self.measure.written(self.limit)
    }
}

impl Measure {
    const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost_usd",
            Self::Tokens => "tokens",
        }
    }

    fn of(self, used: Used) -> u64 {
        match self {
            Self::Cost => used.cost,
            Self::Tokens => used.tokens,
        }
    }

    fn written(self, number: u64) -> String {
        match self {
            Self::Cost => format!("${}", Dollars::from_micros(number)),
            Self::Tokens => format!("{number} tokens"),
        }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, when, advice) = match self.whose {
            Whose::Task => ("this task has", "", "send without taskId to begin another"),
            Whose::Session => ("this context has", "", "begin a new context"),
            Whose::Caller => ("this caller has", " today", "wait until midnight UTC"),
            Whose::Day => ("all callers have", " today", "wait until midnight UTC"),
        };
        let (key, used, limit) = (&self.key, self.used(), self.limit());
        // The unit once.
        let used = used.trim_end_matches(" tokens");
        if **key == *WISHED {
            return write!(
                out,
                "{WISHED} is used up: {who} used {used} of {limit}; send it again with a larger one"
            );
        }
        write!(
            out,
            "the ceiling `{key}` is reached: {who} used {used} of {limit}{when}; {advice}; the server's operator can raise it"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Budget;

    fn budget(cost: u64, tokens: u64) -> Budget {
        Budget {
            cost_usd: (cost > 0).then(|| Dollars::from_micros(cost)),
            tokens: (tokens > 0).then_some(tokens),
        }
    }

    fn sums(whose: Whose, cost: u64, tokens: u64) -> Sums {
        let mut sums = Sums::default();
        sums[whose as usize] = Used { cost, tokens };
        sums
    }

    #[test]
    fn an_agent_replaces_single_numbers() {
        let house = Budgets { task: budget(5, 50), day: budget(0, 500), ..Budgets::default() };
        let own = Budgets { task: budget(7, 0), ..Budgets::default() };
        let ceilings = Ceilings::laid_over(&house, &own, "claude");
        let all: Vec<_> = ceilings.0.iter().map(|one| (&*one.key, one.limit)).collect();
        assert_eq!(
            all,
            [
                ("agents.claude.budgets.task.cost_usd", 7),
                ("budgets.task.tokens", 50),
                ("budgets.day.tokens", 500)
            ]
        );
    }

    #[test]
    fn a_ceiling_is_reached_by_its_own_kind_and_measure_alone() {
        let house = Budgets { session: budget(100, 0), ..Budgets::default() };
        let ceilings = Ceilings::laid_over(&house, &Budgets::default(), "a");
        let reached = |sums: Sums| ceilings.reached(&sums, 60).is_some();
        assert!(!reached(sums(Whose::Session, 99, 1_000_000)));
        assert!(!reached(sums(Whose::Task, 100, 0)));
        assert!(reached(sums(Whose::Session, 100, 0)));
    }

    #[test]
    fn what_a_message_wishes_bounds_its_task_further_and_counts_no_less() {
        let house = Budgets { task: budget(0, 100), day: budget(0, 1000), ..Budgets::default() };
        let configured = Ceilings::laid_over(&house, &Budgets::default(), "a");
        let reached = |wished: u64, used: u64| {
            let ceilings = configured.with_wish(budget(0, wished));
            ceilings.reached(&sums(Whose::Task, 0, used), 60).map(|exceeded| exceeded.to_string())
        };
        assert_eq!(reached(10, 9), None);
        let said = "the message's own budget is used up: this task has used 10 of 10 tokens; send it again with a larger one";
        assert_eq!(reached(10, 10).as_deref(), Some(said));
        assert!(reached(1000, 100).unwrap().contains("`budgets.task.tokens`"));
        let claim = Used { cost: 0, tokens: 50 };
        let others = Sums::default();
        let shares = |ceilings: &Ceilings| ceilings.shares(claim, &others, None);
        assert_eq!(shares(&configured.with_wish(budget(0, 1))), shares(&configured));
    }

    #[test]
    fn a_shared_sum_takes_what_the_own_ceilings_or_the_proxy_allow() {
        let house = Budgets {
            task: budget(0, 50),
            caller: budget(100, 80),
            day: budget(0, 500),
            ..Budgets::default()
        };
        let ceilings = Ceilings::laid_over(&house, &Budgets::default(), "a");
        let others = sums(Whose::Caller, 40, 50);
        let claim = Used { cost: u64::MAX, tokens: u64::MAX };
        let shares = |proxied| ceilings.shares(claim, &others, proxied);
        let own = Used { cost: 60, tokens: 30 };
        assert_eq!(shares(None), [claim, claim, own, own]);
        let counted = Used { cost: 60, tokens: 300 };
        assert_eq!(shares(Some(300)), [claim, claim, counted, counted]);
        assert_eq!(shares(Some(0))[Whose::Day as usize], Used::default());
        let none = Ceilings::default().shares(claim, &Sums::default(), Some(2));
        assert_eq!(none[Whose::Day as usize], Used { cost: 2 * MOST_PER_TOKEN, tokens: 2 });
    }

    #[test]
    fn it_is_said_whose_it_is_and_what_can_be_done() {
        let house = Budgets {
            task: budget(1_500_000, 0),
            session: budget(0, 1000),
            caller: budget(20_000_000, 0),
            day: budget(0, 5),
        };
        let ceilings = Ceilings::laid_over(&house, &Budgets::default(), "a");
        let said = |sums: Sums| {
            let exceeded = ceilings.reached(&sums, 90).unwrap();
            format!("{exceeded} ({:?})", exceeded.resets_in_seconds())
        };
        let all = [
            said(sums(Whose::Task, 1_512_345, 0)),
            said(sums(Whose::Session, 0, 1001)),
            said(sums(Whose::Caller, 20_000_000, 0)),
            said(sums(Whose::Day, 0, 5)),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        the ceiling `budgets.task.cost_usd` is reached: this task has used $1.512345 of $1.50; send without taskId to begin another; the server's operator can raise it (None)
        the ceiling `budgets.session.tokens` is reached: this context has used 1001 of 1000 tokens; begin a new context; the server's operator can raise it (None)
        the ceiling `budgets.caller.cost_usd` is reached: this caller has used $20 of $20 today; wait until midnight UTC; the server's operator can raise it (Some(90))
        the ceiling `budgets.day.tokens` is reached: all callers have used 5 of 5 tokens today; wait until midnight UTC; the server's operator can raise it (Some(90))
        ");
    }
}
