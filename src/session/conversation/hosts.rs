//! Connections of the agent that wait for a person: those to one host wait for one answer.

use pilothouse_agents::Answer;
use pilothouse_egress::{HostAnswer, HostQuestion};
use std::future::poll_fn;
use std::task::Poll;

/// What stands before the number of a host's ask, so that it is no ask of a driver.
const PREFIX: &str = "pilothouse host ";

/// The connections that wait.
#[derive(Default)]
pub(super) struct WaitingHosts {
    /// Those that nobody has judged.
    new: Vec<HostQuestion>,
    /// Those about which a person is asked, by the id of the ask.
    asked: Vec<(String, Vec<HostQuestion>)>,
    count: u64,
}

impl WaitingHosts {
    /// A connection begins to wait.
    pub(super) fn add(&mut self, question: HostQuestion) {
        self.new.push(question);
    }

    /// Those that nobody has judged.
    pub(super) fn take_new(&mut self) -> Vec<HostQuestion> {
        std::mem::take(&mut self.new)
    }

    /// A further connection to a host about which a person is asked waits with the first; any other is given back.
    pub(super) fn join(&mut self, question: HostQuestion) -> Option<HostQuestion> {
        let is_same = |one: &HostQuestion| one.host == question.host && one.port == question.port;
        let mut asked = self.asked.iter_mut().map(|(_, waiting)| waiting);
        match asked.find(|waiting| waiting.iter().any(is_same)) {
            Some(waiting) => {
                waiting.push(question);
                None
            }
            None => Some(question),
        }
    }

    /// A person is asked about this connection; the id of the ask.
    pub(super) fn keep(&mut self, question: HostQuestion) -> String {
        self.count += 1;
        let id = format!("{PREFIX}{}", self.count);
        self.asked.push((id.clone(), vec![question]));
        id
    }

    /// Whether an ask is about a host.
    pub(super) fn is_about(id: &str) -> bool {
        id.starts_with(PREFIX)
    }

    /// A person has answered.
    pub(super) fn answer(&mut self, id: &str, answer: &Answer) {
        let Some(place) = self.asked.iter().position(|(asked, _)| asked == id) else { return };
        let (_, waiting) = self.asked.swap_remove(place);
        waiting.into_iter().for_each(|question| question.answer(host_answer(answer)));
    }

    /// The next ask for whose answer no connection waits any more. Cancel-safe.
    pub(super) async fn abandoned(&mut self) -> String {
        let place = poll_fn(|task| {
            for (place, (_, waiting)) in self.asked.iter_mut().enumerate() {
                waiting.retain_mut(|question| question.poll_left(task).is_pending());
                if waiting.is_empty() {
                    return Poll::Ready(place);
                }
            }
            Poll::Pending
        });
        let place = place.await;
        self.asked.swap_remove(place).0
    }

    /// The process has ended, so nothing waits; the ids of the asks.
    pub(super) fn take_all(&mut self) -> Vec<String> {
        self.new.clear();
        self.asked.drain(..).map(|(id, _)| id).collect()
    }
}

/// The answer of a person, as a connection takes it.
pub(super) fn host_answer(answer: &Answer) -> HostAnswer {
    match answer {
        Answer::Allow { .. } => HostAnswer::Allow,
        Answer::Deny { message } => HostAnswer::Deny(message.clone()),
    }
}
