//! The tries of one turn: its prompt is given to the agent, and again where the agent did not get to it.

use super::begin::{Begin, NotStarted};
use super::conversation::{Conversation, Conversed};
use super::failure::FailureCode;
use super::limit::LimitReached;
use super::resources::{CurrentTurn, SessionResources};
use crate::backoff::Backoff;
use crate::config::Config;
use pilothouse_agents::Outcome;
use pilothouse_sandbox::supervisor::Word;
use std::time::Duration;

/// How long a turn waits before it is tried again, when an overloaded model API refused it before
/// anything was done, and how often.
#[derive(Debug)]
struct Retries {
    left: u32,
    backoff: Backoff,
}

/// Gives the prompt to the agent; again to a fresh process where the `warm` one had died before it heard of it, or
/// where the CLI does not know the conversation any more; again after a pause where the model API is overloaded.
/// None where a question is left that has to be answered first.
pub(super) async fn converse(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
    warm: bool,
) -> Option<Outcome> {
    let mut retries = Retries::new(&session.deps.config);
    let (mut is_fresh, mut is_corrected) = (false, false);
    loop {
        let conversed = converse_once(session, turn).await;
        let Conversed { mut outcome, heard, refused, limit, failure, .. } = conversed;
        turn.failure = failure;
        let ended = session.running.as_ref().is_some_and(|running| running.ended.is_some());
        let failed = matches!(outcome, Some(Outcome::Failed { .. }));
        let died_before = warm && !heard && ended && failed;
        let lost = outcome == Some(Outcome::ConversationLost);
        let restarts = !is_fresh && (died_before || lost);
        let is_limited = failed && limit.is_some();
        if matches!(outcome, Some(Outcome::Completed { .. })) {
            let (deps, account) = (session.deps.clone(), session.agent.account());
            session.inbox.serve_during(deps.limited.clear(account)).await;
        }
        if let Some(limit) = limit.filter(|_| failed) {
            outcome = note_limit(session, turn, outcome, &limit).await;
        }
        if let Some(reason) = find_misfit(turn, outcome.as_ref()) {
            if is_corrected || session.inbox.is_canceled() {
                return Some(misfit(&reason));
            }
            is_corrected = true;
            correct(turn, &reason);
            match reach_process(session, turn).await {
                Ok(is_new) => is_fresh |= is_new,
                Err(NotStarted::Over) => return outcome,
                Err(NotStarted::Ended(cause)) => {
                    turn.failure = FailureCode::of_start(&cause);
                    return Some(cause.outcome(&session.deps.config));
                }
            }
            continue;
        }
        let pause = (refused && failed && !is_limited).then(|| retries.pause()).flatten();
        if session.inbox.is_canceled() || (!restarts && pause.is_none()) {
            return outcome;
        }
        if let Some(meter) = &mut turn.meter {
            meter.again();
        }
        match reach_again(session, turn, pause, lost).await {
            Ok(is_new) => is_fresh |= is_new,
            Err(NotStarted::Over) => return outcome,
            Err(NotStarted::Ended(cause)) => {
                turn.failure = FailureCode::of_start(&cause);
                return Some(cause.outcome(&session.deps.config));
            }
        }
    }
}

/// Notes the limit that has failed a turn, and puts its time into the failure.
async fn note_limit(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
    outcome: Option<Outcome>,
    limit: &LimitReached,
) -> Option<Outcome> {
    let (deps, agent) = (session.deps.clone(), session.agent.clone());
    if let Some(noted) = limit.of_account(&agent.key) {
        tracing::warn!(task.id = %turn.log.id, "{}", noted.words());
        session.inbox.serve_during(deps.limited.note(agent.account(), noted)).await;
    }
    let (outcome, data) = limit.explain(outcome?, &agent.key);
    turn.translator.set_limit(data);
    turn.failure = Some(FailureCode::AccountLimit);
    Some(outcome)
}

async fn converse_once(session: &mut SessionResources, turn: &mut CurrentTurn) -> Conversed {
    let conversed = Conversation::run(session, turn).await;
    if let Some(since) = conversed.stopped_since
        && let Some(running) = session.running.as_ref().filter(|running| running.can_go_on())
    {
        // The CLI has confirmed the interrupt; what the turn has left behind goes, or all of it does.
        let (tree, patience) = (running.process.tree, session.deps.config.timeouts.terminate);
        if !session.inbox.serve_during(tree.end_since(since, patience.get())).await {
            session.end_process(Word::Kill).await;
        }
    }
    conversed
}

/// Makes the agent ready for the next try; whether its process is a fresh one.
async fn reach_again(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
    pause: Option<Duration>,
    lost: bool,
) -> Result<bool, NotStarted> {
    let mut begin = Begin::new(session, turn);
    if let Some(pause) = pause {
        begin.wait_again(pause).await?;
        return reach_process(session, turn).await;
    }
    if lost {
        begin.lose_conversation();
    }
    start_again(session, turn).await
}

/// Why the answer of a completed turn does not fit the schema of its request; none where it does, or there is none.
fn find_misfit(turn: &mut CurrentTurn, outcome: Option<&Outcome>) -> Option<String> {
    let (Some(schema), Some(Outcome::Completed { answer })) = (&turn.schema, outcome) else {
        return None;
    };
    turn.translator.add_output(schema, answer.as_deref()).err()
}

/// The end of a turn whose answer does not fit.
fn misfit(reason: &str) -> Outcome {
    let message = format!("the answer does not fit the JSON schema of the request: {reason}");
    let hint = "the caller can send the message again, or a schema that is easier to fit";
    Outcome::Failed { message, hint: Some(hint.to_owned()) }
}

/// The prompt says what was wrong. It is there again, because the agent may not know it any more.
fn correct(turn: &mut CurrentTurn, reason: &str) {
    turn.translator.begin_again(reason);
    if let Some(meter) = &mut turn.meter {
        meter.again();
    }
    let words = format!(
        "\n\nYou have answered this already, but your answer was not accepted: {reason}. Answer again, with nothing but \
         the JSON value."
    );
    turn.prompt.text.push_str(&words);
}

/// Makes sure that a process is there for the next try; whether it is a fresh one.
async fn reach_process(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
) -> Result<bool, NotStarted> {
    let lives = session.running.as_mut().is_some_and(|running| {
        running.look();
        running.can_go_on()
    });
    if lives {
        return Ok(false);
    }
    start_again(session, turn).await
}

async fn start_again(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
) -> Result<bool, NotStarted> {
    let slot = session.give_up_process().await.ok_or(NotStarted::Over)?;
    Begin::new(session, turn).start(slot, Vec::new()).await?;
    Ok(true)
}

impl Retries {
    /// As the operator has it: `limits.retries`, `timeouts.retry`, `timeouts.retry_max`.
    fn new(config: &Config) -> Self {
        Self {
            left: config.limits.retries,
            backoff: Backoff::new(config.timeouts.retry.get(), config.timeouts.retry_max.get()),
        }
    }

    /// How long to wait for the next try; none when it was the last one.
    fn pause(&mut self) -> Option<Duration> {
        let mut noise = [0];
        // Without noise the pause is the plain one.
        let _ = getrandom::fill(&mut noise);
        self.pause_with(noise[0])
    }

    /// The pause is up to a quarter longer by noise, so that sessions that were refused together do not
    /// come back together.
    fn pause_with(&mut self, noise: u8) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = self.backoff.pause();
        Some(pause + pause * u32::from(noise) / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Age;

    fn pauses(retries: u32, noise: u8) -> Vec<u128> {
        let mut config = Config::default();
        config.limits.retries = retries;
        config.timeouts.retry = Age::from_secs(5).unwrap();
        config.timeouts.retry_max = Age::from_secs(15).unwrap();
        let mut retries = Retries::new(&config);
        std::iter::from_fn(|| retries.pause_with(noise)).map(|pause| pause.as_millis()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_come_to_an_end() {
        assert_eq!(pauses(4, 0), [5000, 10_000, 15_000, 15_000]);
    }

    #[test]
    fn no_retries_are_none() {
        assert_eq!(pauses(0, 0), Vec::<u128>::new());
    }

    #[test]
    fn noise_makes_a_pause_up_to_a_quarter_longer() {
        assert_eq!(pauses(1, 128), [5625]);
        assert!(pauses(1, 255)[0] < 6250);
    }
}
