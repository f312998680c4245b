//! What was found out about a sandbox: each attack and what came of it, and each guarantee.

use super::Network;
use super::promises::{Given, Promise};
use crate::isolation::{BackendKind, Guarantee};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Why an attack is left out that was given nothing to aim at.
const NO_AIM: &str = "argument";

/// Why an attack may be left out: nothing was given to aim at, or it does not exist here.
const HARMLESS: [&str; 3] = [NO_AIM, "terminal", "architecture"];

/// Attacks that reach a port of loopback by TCP. In the machine's own network, who reaches it there reaches other
/// machines as well; no packet is sent elsewhere to see it.
const REACHING: [&str; 6] = [
    "tcp.loopback",
    "tcp.v6",
    "tcp.proxy_port",
    "tcp.proxy_port_v6",
    "tcp.proxy_port_mapped",
    "tcp.swapped",
];

/// What came of one attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its name among the [`promises`](super::promises).
    pub name: String,
    /// What came of it.
    pub result: Try,
}

/// Whether an attack was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Try {
    /// The sandbox held; with the system's error number where there was one.
    Stopped(String),
    /// It broke through.
    Succeeded,
    /// It could not be tried, and why.
    Skipped(String),
}

/// What is known of one guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was attacked, and it held.
    InForce,
    /// It is kept in this way, which is no sandbox.
    Watched(&'static str),
    /// It cannot be given, and why.
    Missing(String),
}

/// What was found out about a backend.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Each guarantee.
    pub states: BTreeMap<Guarantee, State>,
    /// Each attack.
    pub outcomes: Vec<Outcome>,
}

impl Findings {
    /// The guarantees that hold.
    pub fn in_force(&self) -> impl Iterator<Item = Guarantee> {
        let held = self.states.iter();
        held.filter(|(_, state)| matches!(state, State::InForce | State::Watched(_)))
            .map(|(guarantee, _)| *guarantee)
    }

    /// Whether this one holds.
    pub fn holds(&self, guarantee: Guarantee) -> bool {
        self.in_force().any(|one| one == guarantee)
    }

    /// All of it, for machines.
    pub fn json(&self, backend: BackendKind) -> Value {
        let states: Map<String, Value> = self
            .states
            .iter()
            .map(|(guarantee, state)| {
                let told = match state {
                    State::InForce => json!({"state": "in force"}),
                    State::Watched(how) => json!({"state": "watched", "how": how}),
                    State::Missing(why) => json!({"state": "missing", "why": why}),
                };
                (guarantee.as_str().to_owned(), told)
            })
            .collect();
        let attacks: Vec<Value> = self
            .outcomes
            .iter()
            .map(|outcome| {
                let (result, word) = match &outcome.result {
                    Try::Stopped(word) => ("stopped", word.as_str()),
                    Try::Succeeded => ("succeeded", ""),
                    Try::Skipped(word) => ("skipped", word.as_str()),
                };
                json!({"name": outcome.name, "result": result, "word": word})
            })
            .collect();
        json!({"backend": backend.as_str(), "guarantees": states, "attacks": attacks})
    }

    /// Why this one does not hold.
    pub fn why_not(&self, guarantee: Guarantee) -> Option<&str> {
        match self.states.get(&guarantee) {
            Some(State::Missing(why)) => Some(why),
            Some(State::InForce | State::Watched(_)) => None,
            None => Some("it was not tried"),
        }
    }
}

impl Findings {
    /// Which attacks on this guarantee succeeded.
    pub(super) fn succeeded(&self, guarantee: Guarantee, network: Network) -> Vec<&str> {
        let (_, mut broken) = judge(&self.outcomes, Promise::of(guarantee));
        if guarantee == Guarantee::NetEgress && network == Network::Shared {
            broken.extend(reached(&self.outcomes));
        }
        broken
    }
}

impl State {
    pub(super) fn of(held: bool, why_not: &str) -> Self {
        if held { Self::InForce } else { Self::Missing(why_not.to_owned()) }
    }
}

impl Outcome {
    pub(super) fn of(name: &str, stopped: bool) -> Self {
        Self {
            name: name.to_owned(),
            result: if stopped { Try::Stopped("-".to_owned()) } else { Try::Succeeded },
        }
    }

    /// Whether it was left out because the attacking program had nothing to aim at.
    pub(super) fn lacks_aim(&self) -> bool {
        matches!(&self.result, Try::Skipped(why) if why == NO_AIM)
    }

    /// A line of the attacking program: name, result, and a word.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, result) = (words.next()?, words.next()?);
        let word = words.next().unwrap_or("-").to_owned();
        Some(Self {
            name: name.to_owned(),
            result: match result {
                "stopped" => Try::Stopped(word),
                "succeeded" => Try::Succeeded,
                "skipped" => Try::Skipped(word),
                _ => return None,
            },
        })
    }
}

/// A guarantee is in force where something was tried on it and nothing succeeded.
pub(super) fn states(
    outcomes: &[Outcome],
    backend: BackendKind,
    network: Network,
) -> BTreeMap<Guarantee, State> {
    let limits = [Guarantee::Pids, Guarantee::Memory, Guarantee::Disk];
    let mut states = BTreeMap::new();
    for guarantee in Guarantee::ALL {
        if limits.contains(&guarantee) {
            continue;
        }
        let promise = Promise::of(guarantee);
        if let (BackendKind::None, Given::No(why)) = (backend, promise.backends.none) {
            states.insert(guarantee, State::Missing(why.to_owned()));
            continue;
        }
        let (held, broken) = judge(outcomes, promise);
        let state = match (held, broken.is_empty()) {
            (_, false) => State::Missing(format!("attacks succeeded: {}", broken.join(", "))),
            (0, true) => State::Missing("no attack on it could be tried".to_owned()),
            (_, true) => State::InForce,
        };
        states.insert(guarantee, state);
    }
    let reached = reached(outcomes);
    if network == Network::Shared && !reached.is_empty() && backend != BackendKind::None {
        let why = format!("TCP is open: attacks succeeded: {}", reached.join(", "));
        states.insert(Guarantee::NetEgress, State::Missing(why));
    }
    states
}

/// How many attacks on a promise were stopped, and which succeeded.
fn judge<'a>(outcomes: &'a [Outcome], promise: &Promise) -> (usize, Vec<&'a str>) {
    let tried = promise
        .attacks()
        .filter_map(|attack| outcomes.iter().find(|outcome| outcome.name == attack.name));
    let (mut held, mut broken) = (0, Vec::new());
    for outcome in tried {
        match &outcome.result {
            Try::Stopped(_) => held += 1,
            Try::Succeeded => broken.push(outcome.name.as_str()),
            Try::Skipped(why) if HARMLESS.contains(&why.as_str()) => {}
            // What could not be tried may well work.
            Try::Skipped(_) => broken.push(outcome.name.as_str()),
        }
    }
    (held, broken)
}

/// The attacks that reached a port of loopback by TCP.
fn reached(outcomes: &[Outcome]) -> Vec<&str> {
    let succeeded = outcomes.iter().filter(|outcome| outcome.result == Try::Succeeded);
    succeeded.map(|outcome| outcome.name.as_str()).filter(|name| REACHING.contains(name)).collect()
}
