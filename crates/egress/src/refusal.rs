//! What was refused, on its way to whoever tells people: each destination once, and never too many.

use super::policy::{Target, Unreadable, excerpt};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use tokio::sync::Notify;

/// Refusals that wait to be told.
const QUEUE: usize = 64;

/// Destinations that are remembered as told; beyond them refusals are only counted.
const REMEMBERED: usize = 1024;

/// A request that did not get through, and who can do what about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The host, or its first characters where it cannot be read.
    pub host: String,
    /// Its port; 0 where it cannot be read.
    pub port: u16,
    /// Why it was refused.
    pub reason: Reason,
    /// One line for people: the destination, the reason, and who can change what. The session got the same.
    pub advice: String,
    /// How many refusals before this one were dropped because too many waited.
    pub missed: u64,
}

/// Why a request did not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No rule permits it.
    NotAllowed,
    /// A person who was asked has denied it.
    Denied,
    /// It leads, with at least one address, into a network that sessions do not reach.
    Inner,
    /// It is no destination that can be read.
    Unreadable,
    /// A route does not lead there.
    OutsideRoute,
}

/// The refusals of one credential.
#[derive(Default)]
pub(super) struct Refusals {
    state: Mutex<RefusalQueue>,
    arrived: Notify,
}

#[derive(Default)]
struct RefusalQueue {
    waiting: VecDeque<Refusal>,
    /// Hashes of destinations: names are long, and the sessions choose them.
    told: HashSet<u64>,
    hasher: RandomState,
    missed: u64,
}

impl Reason {
    /// The reason in one word, for logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotAllowed => "not-allowed",
            Self::Denied => "denied",
            Self::Inner => "inner",
            Self::Unreadable => "unreadable",
            Self::OutsideRoute => "outside-route",
        }
    }
}

impl Refusal {
    pub(super) fn not_allowed(target: &Target, key: &str) -> Self {
        let advice = format!("{target} is not in {key}; the server's operator can add it");
        Self::new(target, Reason::NotAllowed, advice)
    }

    pub(super) fn denied(target: &Target, reason: &str) -> Self {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        Self::new(target, Reason::Denied, format!("{target} is denied: {reason}"))
    }

    /// The addresses of a name are not told: sessions have no way to look into the operator's network.
    pub(super) fn inner(target: &Target) -> Self {
        let advice = format!(
            "{target} leads into an inner network; the server's operator can add that network to egress.inner"
        );
        Self::new(target, Reason::Inner, advice)
    }

    pub(super) fn unreadable(text: &str, what: &Unreadable) -> Self {
        let host = excerpt(text);
        Self {
            advice: format!(
                "`{host}` is not a destination that can be read ({what}); write a host name, or an address in its usual spelling"
            ),
            host,
            port: 0,
            reason: Reason::Unreadable,
            missed: 0,
        }
    }

    pub(super) fn outside_route(host: &str, advice: String) -> Self {
        Self { host: excerpt(host), port: 443, reason: Reason::OutsideRoute, advice, missed: 0 }
    }

    fn new(target: &Target, reason: Reason, advice: String) -> Self {
        Self { host: target.host.to_string(), port: target.port, reason, advice, missed: 0 }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.advice)
    }
}

impl Refusals {
    /// Queues a refusal, unless its destination was told before.
    pub(super) fn note(&self, refusal: &Refusal) {
        let mut state = self.state.lock();
        let place = state.hasher.hash_one((&refusal.host, refusal.port));
        if state.told.contains(&place) {
            return;
        }
        if state.waiting.len() >= QUEUE || state.told.len() >= REMEMBERED {
            state.missed += 1;
            return;
        }
        state.told.insert(place);
        state.waiting.push_back(refusal.clone());
        drop(state);
        self.arrived.notify_one();
    }

    /// The next refusal; nothing is lost when the caller goes away while it waits.
    pub(super) async fn next(&self) -> Refusal {
        loop {
            let arrived = self.arrived.notified();
            if let Some(refusal) = self.take() {
                return refusal;
            }
            arrived.await;
        }
    }

    fn take(&self) -> Option<Refusal> {
        let mut state = self.state.lock();
        let mut refusal = state.waiting.pop_front()?;
        refusal.missed = std::mem::take(&mut state.missed);
        let more = !state.waiting.is_empty();
        drop(state);
        if more {
            self.arrived.notify_one();
        }
        Some(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn refusal(port: u16) -> Refusal {
        let target = Target::parse(&format!("example.com:{port}"), None).unwrap();
        Refusal::not_allowed(&target, "egress.allow")
    }

    #[test]
    fn a_destination_is_told_once() {
        let refusals = Refusals::default();
        refusals.note(&refusal(443));
        refusals.note(&refusal(443));
        refusals.note(&refusal(80));
        assert_eq!(refusals.next().now_or_never().unwrap().port, 443);
        refusals.note(&refusal(443));
        assert_eq!(refusals.next().now_or_never().unwrap().port, 80);
        assert!(refusals.next().now_or_never().is_none());
    }

    #[test]
    fn what_finds_no_room_is_counted_with_the_next_one() {
        let refusals = Refusals::default();
        for port in 1..=100 {
            refusals.note(&refusal(port));
        }
        let first = refusals.next().now_or_never().unwrap();
        assert_eq!((first.port, first.missed), (1, 36));
        let told = std::iter::from_fn(|| refusals.next().now_or_never()).count();
        assert_eq!(told, 63);
        refusals.note(&refusal(100));
        assert_eq!(refusals.next().now_or_never().unwrap().missed, 0);
    }

    #[tokio::test]
    async fn who_stops_waiting_loses_nothing() {
        let refusals = Refusals::default();
        {
            let waiting = refusals.next();
            tokio::pin!(waiting);
            assert!(waiting.as_mut().now_or_never().is_none());
            refusals.note(&refusal(443));
        }
        assert_eq!(refusals.next().await.port, 443);
    }
}
