//! How a turn ends that its agent has not ended yet: why, how far its end is driven, and what the turn has come to.
//! Nothing is done here: whoever holds an [`Ending`] does what it says.

use super::failure::FailureCode;
use crate::budget::Exceeded;
use crate::config::Config;
use pilothouse_agents::Outcome;
use pilothouse_sandbox::supervisor::{KILL_DEADLINE, Word};
use std::fmt::Display;
use std::time::Duration;
use tokio::time::Instant;

/// Why a turn is being ended before its agent ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The caller wants something else, at once.
    Steered,
    /// The caller cancels the task.
    Canceled,
    /// A ceiling is reached, by this turn or by those beside it.
    Exceeded(Exceeded),
    /// The turn takes too long.
    TimedOut,
    /// The model has said nothing for too long.
    Silent,
    /// The server stops.
    ServerStops,
    /// The turn cannot go on: why, and who can do what about it.
    Fault(String, Option<String>),
}

/// How far the end of a turn has been driven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Rung {
    #[default]
    Running,
    Interrupted,
    Terminated,
    Killed,
    Abandoned,
}

/// What is to be done about the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Its supervisor is told this.
    Say(Word),
    /// Not even SIGKILL ended the tree or closed its pipes; it is not waited for any longer.
    Abandon,
}

/// The end of one turn.
#[derive(Debug, Default)]
pub(super) struct Ending {
    cause: Option<Cause>,
    rung: Rung,
    climb_at: Option<Instant>,
    /// What the agent itself has made of the turn.
    pub(super) outcome: Option<Outcome>,
}

impl Ending {
    /// Begins to end the turn; false where that has begun. The first cause stays, but that a cancel ends a task
    /// which was only to be steered.
    pub(super) fn begin(&mut self, cause: Cause) -> bool {
        match &self.cause {
            None => {
                self.cause = Some(cause);
                true
            }
            Some(Cause::Steered) if cause == Cause::Canceled => {
                self.cause = Some(cause);
                false
            }
            Some(_) => false,
        }
    }

    /// Whether the turn is being ended.
    pub(super) fn has_begun(&self) -> bool {
        self.cause.is_some()
    }

    /// Why the turn fails, where it fails of the reason for which it is being ended.
    pub(super) fn failure(&self) -> Option<FailureCode> {
        FailureCode::of_cause(self.cause.as_ref()?)
    }

    /// Whether it is being ended because it cannot go on. Then its agent is not interrupted politely, and no more
    /// is stored of what it goes on to say.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self.cause, Some(Cause::Fault(..)))
    }

    /// The agent was told to interrupt its turn.
    pub(super) fn interrupt(&mut self, now: Instant, patience: Duration) {
        (self.rung, self.climb_at) = (Rung::Interrupted, Some(now + patience));
    }

    /// When the next rung is due.
    pub(super) fn climb_at(&self) -> Option<Instant> {
        self.climb_at
    }

    /// The next rung: SIGTERM, then SIGKILL to the whole tree. What survives that, because its supervisor is gone
    /// or the kernel holds it, ends the turn as well. `is_gone` says that the tree is reported as gone, so that
    /// only its pipes are waited for.
    pub(super) fn climb(&mut self, now: Instant, patience: Duration, is_gone: bool) -> Measure {
        let (rung, measure, wait) = match self.rung {
            Rung::Running | Rung::Interrupted => {
                (Rung::Terminated, Measure::Say(Word::Terminate), Some(patience))
            }
            Rung::Terminated => {
                let kill = if is_gone { Duration::ZERO } else { KILL_DEADLINE };
                (Rung::Killed, Measure::Say(Word::Kill), Some(kill + patience))
            }
            Rung::Killed | Rung::Abandoned => (Rung::Abandoned, Measure::Abandon, None),
        };
        (self.rung, self.climb_at) = (rung, wait.map(|wait| now + wait));
        measure
    }

    /// What the turn has come to: what its agent said, against the cause for which it was ended.
    pub(super) fn judge(&self, outcome: Outcome, config: &Config) -> Outcome {
        let stands = match &self.cause {
            None => true,
            // What it is told instead is the next turn of the task.
            Some(Cause::Steered) => matches!(outcome, Outcome::Completed { .. }),
            // It had finished before it heard of the interrupt.
            Some(Cause::Canceled | Cause::Exceeded(_)) => {
                matches!(outcome, Outcome::Completed { .. }) && self.rung <= Rung::Interrupted
            }
            Some(Cause::TimedOut | Cause::Silent | Cause::ServerStops | Cause::Fault(..)) => false,
        };
        match &self.cause {
            Some(cause) if !stands => cause.clone().outcome(config),
            Some(_) | None => outcome,
        }
    }
}

impl Cause {
    /// What a turn has come to that is ended for this.
    pub(super) fn outcome(self, config: &Config) -> Outcome {
        match self {
            Self::Steered => Outcome::Completed { answer: None },
            Self::Canceled => Outcome::Canceled,
            Self::Exceeded(exceeded) => {
                Outcome::Failed { message: exceeded.to_string(), hint: None }
            }
            Self::Silent => Outcome::Failed {
                message: format!("the model said nothing for {}", config.timeouts.silence),
                hint: Some("the server's operator can raise `timeouts.silence`".to_owned()),
            },
            Self::TimedOut => Outcome::Failed {
                message: format!("the turn took longer than {}", config.timeouts.turn),
                hint: Some(
                    "the server's operator can raise `timeouts.turn` (`--timeout`)".to_owned(),
                ),
            },
            Self::ServerStops => Outcome::Failed {
                message: "the server stopped while this task was running".to_owned(),
                hint: Some("send the message again in the same context to continue".to_owned()),
            },
            Self::Fault(message, hint) => Outcome::Failed { message, hint },
        }
    }
}

/// A turn cannot go on for this reason.
pub(super) fn fault(reason: &impl Display) -> Cause {
    Cause::Fault(reason.to_string(), None)
}

/// The same, with who can do what about it.
pub(super) fn fault_with(reason: &(impl Display + ?Sized), hint: impl Into<String>) -> Cause {
    Cause::Fault(reason.to_string(), Some(hint.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// An ending for this cause, driven so many rungs further.
    fn ending(cause: Cause, rungs: usize) -> Ending {
        let mut ending = Ending::default();
        assert!(ending.begin(cause));
        for _ in 0..rungs {
            ending.climb(Instant::now(), PATIENCE, false);
        }
        ending
    }

    fn judge(ending: &Ending, outcome: Outcome) -> Outcome {
        ending.judge(outcome, &Config::default())
    }

    fn completed() -> Outcome {
        Outcome::Completed { answer: Some("done".to_owned()) }
    }

    fn fault() -> Cause {
        Cause::Fault("too much".to_owned(), None)
    }

    #[test]
    fn the_first_cause_stays() {
        let mut ending = ending(Cause::TimedOut, 0);
        assert!(!ending.begin(Cause::Canceled));
        assert!(!ending.begin(fault()));
        assert_eq!(judge(&ending, Outcome::Canceled), Cause::TimedOut.outcome(&Config::default()));
    }

    #[test]
    fn a_cancel_ends_the_task_of_a_turn_that_is_being_steered() {
        let mut ending = ending(Cause::Steered, 1);
        assert!(!ending.begin(Cause::Canceled));
        assert_eq!(judge(&ending, Outcome::Canceled), Outcome::Canceled);
    }

    #[test]
    fn the_end_goes_from_sigterm_to_sigkill_to_giving_up() {
        let (mut ending, now) = (ending(Cause::Canceled, 0), Instant::now());
        ending.interrupt(now, PATIENCE);
        assert_eq!(ending.climb_at(), Some(now + PATIENCE));
        assert_eq!(ending.climb(now, PATIENCE, false), Measure::Say(Word::Terminate));
        assert_eq!(ending.climb_at(), Some(now + PATIENCE));
        assert_eq!(ending.climb(now, PATIENCE, false), Measure::Say(Word::Kill));
        assert_eq!(ending.climb_at(), Some(now + KILL_DEADLINE + PATIENCE));
        assert_eq!(ending.climb(now, PATIENCE, false), Measure::Abandon);
        assert_eq!(ending.climb_at(), None);
    }

    #[test]
    fn only_the_pipes_of_a_tree_that_is_gone_are_waited_for() {
        let (mut ending, now) = (ending(Cause::TimedOut, 1), Instant::now());
        assert_eq!(ending.climb(now, PATIENCE, true), Measure::Say(Word::Kill));
        assert_eq!(ending.climb_at(), Some(now + PATIENCE));
    }

    #[test]
    fn an_answer_that_was_complete_before_the_interrupt_was_heard_stands() {
        let mut ending = ending(Cause::Canceled, 0);
        ending.interrupt(Instant::now(), PATIENCE);
        assert_eq!(judge(&ending, completed()), completed());
        // After SIGTERM nobody knows what the agent has left undone.
        ending.climb(Instant::now(), PATIENCE, false);
        assert_eq!(judge(&ending, completed()), Outcome::Canceled);
    }

    #[test]
    fn a_turn_that_was_steered_is_completed_whatever_its_agent_says() {
        let ending = ending(Cause::Steered, 2);
        assert_eq!(judge(&ending, completed()), completed());
        assert_eq!(judge(&ending, Outcome::Canceled), Outcome::Completed { answer: None });
    }

    #[test]
    fn a_fault_says_who_can_do_what_and_a_turn_without_a_cause_is_what_its_agent_says() {
        let hint = Some("raise it".to_owned());
        let ended = ending(Cause::Fault("too much".to_owned(), hint.clone()), 0);
        assert!(ended.is_fault());
        let failed = Outcome::Failed { message: "too much".to_owned(), hint };
        assert_eq!(judge(&ended, completed()), failed);
        assert_eq!(judge(&Ending::default(), completed()), completed());
    }
}
