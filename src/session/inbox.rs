//! An actor's inbox: orders as they come, turns in the order in which they will run.

use super::actor::canceled;
use super::{Attach, Delivery, House, Order, Turn};
use crate::asks::Decision;
use crate::store::Durability;
use pilothouse_a2a::id::TaskId;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The orders of one actor.
pub(super) struct Inbox {
    orders: mpsc::UnboundedReceiver<Order>,
    turns: VecDeque<Turn>,
    /// Whether a turn has ever come: then its task and its session are stored.
    had_turn: bool,
    house: Arc<House>,
}

/// What makes a running turn stop.
pub(super) enum Interruption {
    /// A caller cancels the running task.
    Cancel(oneshot::Sender<bool>),
    /// Somebody answers an ask of the running task.
    Answer(Arc<str>, Decision, oneshot::Sender<Delivery>),
    /// The caller has something to say at once.
    Steer,
    /// The server stops.
    Stop,
}

/// What comes of an answer that no process waits for: to an ask that the running turn has withdrawn meanwhile, or
/// to one of an earlier process.
pub(super) fn answered_too_late(answered_late: &mut Vec<Arc<str>>, id: &str) -> Delivery {
    match answered_late.iter().position(|late| **late == *id) {
        Some(place) => {
            answered_late.swap_remove(place);
            Delivery::Withdrawn
        }
        None => Delivery::Gone,
    }
}

/// What an actor without a turn hears.
pub(super) enum Heard {
    /// The next turn.
    Turn(Box<Turn>),
    /// Lend the conversation to a person.
    Attach(Attach),
    /// Give up the process.
    Evict,
    /// Look whether you are still needed.
    Nudge,
    /// The server stops.
    Stop,
}

impl Inbox {
    pub(super) fn new(orders: mpsc::UnboundedReceiver<Order>, house: Arc<House>) -> Self {
        Self { orders, turns: VecDeque::new(), had_turn: false, house }
    }

    /// The queue behind the handle, for `Live::leave`.
    pub(super) fn orders(&self) -> &mpsc::UnboundedReceiver<Order> {
        &self.orders
    }

    /// Whether a turn has ever come.
    pub(super) fn had_turn(&self) -> bool {
        self.had_turn
    }

    /// Whether turns wait.
    pub(super) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// While idle: the next thing to do. Cancel-safe.
    pub(super) async fn next(&mut self) -> Heard {
        if let Some(turn) = self.turns.pop_front() {
            return Heard::Turn(Box::new(turn));
        }
        loop {
            let order = tokio::select! {
                biased;
                () = self.house.stop.cancelled() => return Heard::Stop,
                order = self.orders.recv() => order,
            };
            match order {
                Some(Order::Turn(turn)) => {
                    self.had_turn = true;
                    return Heard::Turn(Box::new(turn));
                }
                Some(Order::Cancel(_, done)) => {
                    let _ = done.send(false);
                }
                Some(Order::Answer(_, _, _, done)) => {
                    let _ = done.send(Delivery::Gone);
                }
                Some(Order::Attach(attach)) => return Heard::Attach(attach),
                Some(Order::Steer(_)) => {}
                Some(Order::Nudge) | None => return Heard::Nudge,
            }
        }
    }

    /// During a turn: keeps order among what comes, until something concerns that turn, or the server stops.
    /// Cancel-safe.
    pub(super) async fn interruption(&mut self, running: Option<&TaskId>) -> Interruption {
        let stop = self.house.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Interruption::Stop,
            interruption = self.order(running) => interruption,
        }
    }

    /// The same, also while the server stops. Cancel-safe.
    pub(super) async fn order(&mut self, running: Option<&TaskId>) -> Interruption {
        loop {
            match self.orders.recv().await {
                Some(Order::Turn(turn)) => {
                    self.had_turn = true;
                    self.turns.push_back(turn);
                }
                Some(Order::Cancel(task, done)) if running == Some(&task) => {
                    return Interruption::Cancel(done);
                }
                Some(Order::Cancel(task, done)) => self.cancel_waiting(&task, done),
                Some(Order::Answer(task, ask, decision, done)) if running == Some(&task) => {
                    return Interruption::Answer(ask, decision, done);
                }
                Some(Order::Answer(_, _, _, done)) => {
                    let _ = done.send(Delivery::Gone);
                }
                Some(Order::Steer(task)) if running == Some(&task) => return Interruption::Steer,
                Some(Order::Attach(attach)) => {
                    let _ = attach.ready.send(Err(
                        "a turn is running in this session, or somebody is attached; wait"
                            .to_owned(),
                    ));
                }
                Some(Order::Steer(_) | Order::Nudge) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// Waits for something that comes to its end by itself, a process that is being ended say, and serves all
    /// orders meanwhile. Whoever cancels the running task is noted.
    pub(super) async fn serve_during<T>(
        &mut self,
        running: Option<&TaskId>,
        cancelers: &mut Vec<oneshot::Sender<bool>>,
        answered_late: &mut Vec<Arc<str>>,
        wait: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(wait);
        loop {
            let interruption = tokio::select! {
                biased;
                done = &mut wait => return done,
                interruption = self.order(running) => interruption,
            };
            match interruption {
                Interruption::Cancel(done) => cancelers.push(done),
                Interruption::Answer(id, _, done) => {
                    let _ = done.send(answered_too_late(answered_late, &id));
                }
                Interruption::Steer | Interruption::Stop => {}
            }
        }
    }

    /// A task that only waits is canceled without its agent hearing of it.
    fn cancel_waiting(&mut self, task: &TaskId, done: oneshot::Sender<bool>) {
        let Some(place) = self.turns.iter().position(|turn| turn.log.id == *task) else {
            let _ = done.send(false);
            return;
        };
        let mut turn = self.turns.remove(place).expect("the place was just found");
        turn.waiting = None;
        let house = self.house.clone();
        self.house.actors.spawn(async move {
            let record = canceled(&turn.log, "canceled before it began");
            let outcome = turn.log.record(&house.store, vec![record], Durability::Synced).await;
            if outcome.is_ok() {
                turn.ending.disarm();
            }
            let _ = done.send(outcome.unwrap_or(false));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_an_ask_of_the_turn_that_is_over_is_withdrawn_and_one_of_an_earlier_process_gone()
     {
        let mut answered_late = vec![Arc::from("one"), Arc::from("two")];
        assert_eq!(answered_too_late(&mut answered_late, "one"), Delivery::Withdrawn);
        assert_eq!(answered_too_late(&mut answered_late, "one"), Delivery::Gone);
        assert_eq!(answered_late, [Arc::from("two")]);
    }
}
