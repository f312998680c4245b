//! Destinations that no rule permits and about which a person may be asked: the connection waits for the answer.

use super::policy::Target;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, oneshot};

/// A connection that waits to be let through.
#[derive(Debug)]
pub struct HostQuestion {
    /// The host.
    pub host: String,
    /// Its port.
    pub port: u16,
    answer: oneshot::Sender<HostAnswer>,
}

/// What comes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAnswer {
    /// The connection is let through.
    Allow,
    /// It is not, for this reason.
    Deny(String),
    /// Nobody has decided, so it is not.
    None,
}

/// The connections of one credential that wait.
pub(super) struct HostQuestions {
    waiting: Mutex<VecDeque<HostQuestion>>,
    arrived: Notify,
    places: Semaphore,
    longest: Duration,
}

impl HostQuestion {
    /// Lets the connection through, or not.
    pub fn answer(self, answer: HostAnswer) {
        // One that has left does not hear it.
        let _ = self.answer.send(answer);
    }

    /// Whether the connection has left, or has waited for too long.
    pub fn poll_left(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.answer.poll_closed(task)
    }
}

impl HostQuestions {
    pub(super) fn new(most: usize, longest: Duration) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            places: Semaphore::new(most.min(Semaphore::MAX_PERMITS)),
            longest,
        }
    }

    /// Asks whether this connection may pass, and waits for the answer; not where too many wait, or for too long.
    pub(super) async fn ask(&self, target: &Target) -> HostAnswer {
        let Ok(_place) = self.places.try_acquire() else { return HostAnswer::None };
        let (answer, answered) = oneshot::channel();
        let (host, port) = (target.host.to_string(), target.port);
        self.waiting.lock().push_back(HostQuestion { host, port, answer });
        self.arrived.notify_one();
        let answered = tokio::time::timeout(self.longest, answered).await;
        answered.ok().and_then(Result::ok).unwrap_or(HostAnswer::None)
    }

    /// The next question; nothing is lost when the caller goes away while it waits.
    pub(super) async fn next(&self) -> HostQuestion {
        loop {
            let arrived = self.arrived.notified();
            let (question, more) = {
                let mut waiting = self.waiting.lock();
                // A connection that has left asks nothing any more.
                waiting.retain(|question| !question.answer.is_closed());
                (waiting.pop_front(), !waiting.is_empty())
            };
            if more {
                self.arrived.notify_one();
            }
            match question {
                Some(question) => return question,
                None => arrived.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn target(port: u16) -> Target {
        Target::parse(&format!("a.test:{port}"), None).unwrap()
    }

    #[tokio::test]
    async fn a_connection_passes_as_it_is_answered_and_one_that_finds_no_place_does_not() {
        let questions = HostQuestions::new(1, Duration::from_secs(60));
        for answer in [HostAnswer::Allow, HostAnswer::Deny("against policy".to_owned())] {
            let target = target(443);
            let asked = questions.ask(&target);
            tokio::pin!(asked);
            assert!(asked.as_mut().now_or_never().is_none());
            assert_eq!(questions.ask(&target).now_or_never(), Some(HostAnswer::None));
            let question = questions.next().await;
            assert_eq!((question.host.as_str(), question.port), ("a.test", 443));
            question.answer(answer.clone());
            assert_eq!(asked.await, answer);
        }
    }

    #[tokio::test]
    async fn a_question_that_nobody_takes_is_no_and_a_connection_that_has_left_asks_nothing() {
        let questions = HostQuestions::new(2, Duration::from_millis(1));
        assert_eq!(questions.ask(&target(443)).await, HostAnswer::None);
        assert!(questions.next().now_or_never().is_none());
        let target = target(80);
        let asked = async { questions.ask(&target).await };
        let dropped = async { drop(questions.next().await) };
        assert_eq!(tokio::join!(asked, dropped).0, HostAnswer::None);
    }
}
