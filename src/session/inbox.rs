//! An actor's inbox: orders as they come, turns in the order in which they will run. Whatever the actor waits for,
//! it waits here, so that it always hears.

use super::ending::Cause;
use super::records::status_with_words;
use super::{Attach, Delivery, IdleOrder, Interruption, Order, SessionDeps, Turn};
use crate::store::Durability;
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::task::TaskState;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// The orders of one actor.
pub(super) struct Inbox {
    orders: mpsc::UnboundedReceiver<Order>,
    turns: VecDeque<Box<Turn>>,
    /// Whether the session is being prepared: it is not busy yet.
    prepares: bool,
    /// A person who wants the conversation, and came while the session was being prepared.
    attach: Option<Attach>,
    /// Whether a turn has ever come: then its task and its session are stored.
    had_turn: bool,
    /// The turn that runs, until its end is stored.
    running: Option<RunningTurn>,
    deps: Arc<SessionDeps>,
}

/// What the inbox keeps for the turn that runs.
struct RunningTurn {
    task: TaskId,
    /// Callers that cancel it, to be told when it is over.
    cancelers: Vec<oneshot::Sender<bool>>,
    /// Asks of it that are not open any more, to which an answer was on its way already.
    answered_late: Vec<Arc<str>>,
}

impl RunningTurn {
    fn new(task: TaskId) -> Self {
        Self { task, cancelers: Vec::new(), answered_late: Vec::new() }
    }

    fn take_late_answer(&mut self, ask: &str) -> Delivery {
        match self.answered_late.iter().position(|late| **late == *ask) {
            Some(place) => {
                self.answered_late.swap_remove(place);
                Delivery::Withdrawn
            }
            None => Delivery::Gone,
        }
    }
}

impl Inbox {
    pub(super) fn new(orders: mpsc::UnboundedReceiver<Order>, deps: Arc<SessionDeps>) -> Self {
        Self {
            orders,
            turns: VecDeque::new(),
            prepares: false,
            attach: None,
            had_turn: false,
            running: None,
            deps,
        }
    }

    /// The queue behind the handle, for `LiveSessions::leave`.
    pub(super) fn orders(&self) -> &mpsc::UnboundedReceiver<Order> {
        &self.orders
    }

    /// Whether a turn has ever come.
    pub(super) fn had_turn(&self) -> bool {
        self.had_turn
    }

    /// Whether turns wait, or a person who wants the conversation.
    pub(super) fn has_work(&self) -> bool {
        !self.turns.is_empty() || self.attach.is_some()
    }

    // === the running turn ===

    /// From now on orders for this task concern the running turn.
    pub(super) fn begin_turn(&mut self, task: TaskId) {
        self.running = Some(RunningTurn::new(task));
    }

    /// The turn is over: the callers that cancel it, to be told.
    pub(super) fn end_turn(&mut self) -> Vec<oneshot::Sender<bool>> {
        self.running.take().map(|turn| turn.cancelers).unwrap_or_default()
    }

    /// Whether the running turn is canceled.
    pub(super) fn is_canceled(&self) -> bool {
        self.running.as_ref().is_some_and(|turn| !turn.cancelers.is_empty())
    }

    /// An answer to this ask of the running turn is on its way; the agent does not want to know any more.
    pub(super) fn expect_late_answer(&mut self, ask: Arc<str>) {
        if let Some(turn) = &mut self.running {
            turn.answered_late.push(ask);
        }
    }

    /// What comes of an answer that no process waits for: to an ask that the running turn has withdrawn meanwhile,
    /// or to one of an earlier process.
    pub(super) fn take_late_answer(&mut self, ask: &str) -> Delivery {
        self.running.as_mut().map_or(Delivery::Gone, |turn| turn.take_late_answer(ask))
    }

    // === waits ===

    /// While idle: the next thing to do. Cancel-safe.
    pub(super) async fn next(&mut self) -> IdleOrder {
        if let Some(attach) = self.attach.take() {
            return IdleOrder::Attach(attach);
        }
        if let Some(turn) = self.turns.pop_front() {
            return IdleOrder::Turn(turn);
        }
        loop {
            let order = tokio::select! {
                biased;
                () = self.deps.stop.cancelled() => return IdleOrder::Stop,
                order = self.orders.recv() => order,
            };
            match order {
                Some(Order::Turn(turn)) => {
                    self.had_turn = true;
                    return IdleOrder::Turn(turn);
                }
                Some(Order::Cancel(_, done)) => {
                    let _ = done.send(false);
                }
                Some(Order::Answer(_, answer)) => {
                    let _ = answer.done.send(Delivery::Gone);
                }
                Some(Order::Attach(attach)) => return IdleOrder::Attach(attach),
                Some(Order::Steer(_) | Order::Park(_)) => {}
                Some(Order::Leave) => return IdleOrder::Evict,
                Some(Order::Nudge) | None => return IdleOrder::Nudge,
            }
        }
    }

    /// During a turn: keeps order among what comes, until something concerns that turn, or the server stops.
    /// Cancel-safe.
    pub(super) async fn interruption(&mut self) -> Interruption {
        let stop = self.deps.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Interruption::Stop,
            interruption = self.order() => interruption,
        }
    }

    /// The same, also while the server stops. Cancel-safe.
    pub(super) async fn order(&mut self) -> Interruption {
        loop {
            let Some(order) = self.orders.recv().await else {
                return std::future::pending().await;
            };
            let running = self.running.as_mut();
            match (order, running) {
                (Order::Turn(turn), _) => {
                    self.had_turn = true;
                    self.turns.push_back(turn);
                }
                (Order::Cancel(task, done), Some(turn)) if turn.task == task => {
                    turn.cancelers.push(done);
                    return Interruption::Cancel;
                }
                (Order::Cancel(task, done), _) => self.cancel_waiting(&task, done),
                (Order::Answer(task, answer), Some(turn)) if turn.task == task => {
                    return Interruption::Answer(answer);
                }
                (Order::Answer(_, answer), _) => {
                    let _ = answer.done.send(Delivery::Gone);
                }
                (Order::Steer(task), Some(turn)) if turn.task == task => {
                    return Interruption::Steer;
                }
                (Order::Park(task), Some(turn)) if turn.task == task => {
                    return Interruption::Park;
                }
                (Order::Attach(attach), _)
                    if self.prepares && self.turns.is_empty() && self.attach.is_none() =>
                {
                    self.attach = Some(attach);
                }
                (Order::Attach(attach), _) => {
                    let busy = "a turn is running in this session, or somebody is attached; wait";
                    let _ = attach.ready.send(Err(busy.to_owned()));
                }
                (Order::Steer(_) | Order::Park(_) | Order::Nudge | Order::Leave, _) => {}
            }
        }
    }

    /// Waits for something that comes to its end by itself, a process that is being ended say, and serves all
    /// orders meanwhile. A cancel of the running turn is noted.
    pub(super) async fn serve_during<T>(&mut self, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        loop {
            let interruption = tokio::select! {
                biased;
                done = &mut wait => return done,
                interruption = self.order() => interruption,
            };
            if let Interruption::Answer(answer) = interruption {
                let _ = answer.done.send(self.take_late_answer(&answer.ask));
            }
        }
    }

    /// Waits for something that the session needs before it begins, and serves all orders meanwhile.
    pub(super) async fn serve_while_preparing<T>(&mut self, wait: impl Future<Output = T>) -> T {
        self.prepares = true;
        let done = self.serve_during(wait).await;
        self.prepares = false;
        done
    }

    /// Waits for something that the running turn needs, unless that is canceled, the server stops or the deadline
    /// passes before.
    pub(super) async fn wait_in_turn<T>(
        &mut self,
        deadline: Option<Instant>,
        wait: impl Future<Output = T>,
    ) -> Result<T, Cause> {
        if self.is_canceled() {
            return Err(Cause::Canceled);
        }
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(wait, late);
        loop {
            let interruption = tokio::select! {
                biased;
                interruption = self.interruption() => interruption,
                done = &mut wait => return Ok(done),
                () = &mut late => return Err(Cause::TimedOut),
            };
            match interruption {
                Interruption::Cancel => return Err(Cause::Canceled),
                Interruption::Stop => return Err(Cause::ServerStops),
                // What it would interrupt has not begun.
                Interruption::Steer | Interruption::Park => {}
                Interruption::Answer(answer) => {
                    let _ = answer.done.send(self.take_late_answer(&answer.ask));
                }
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
        turn.places.waiting = None;
        let deps = self.deps.clone();
        self.deps.actors.spawn(async move {
            let record =
                status_with_words(&turn.log, TaskState::Canceled, "canceled before it began");
            let outcome = turn.log.record(&deps.store, vec![record], Durability::Synced).await;
            if outcome.is_ok() {
                turn.guard.disarm();
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
        let mut turn = RunningTurn::new(TaskId::random());
        turn.answered_late = vec![Arc::from("one"), Arc::from("two")];
        assert_eq!(turn.take_late_answer("one"), Delivery::Withdrawn);
        assert_eq!(turn.take_late_answer("one"), Delivery::Gone);
        assert_eq!(turn.answered_late, [Arc::from("two")]);
    }
}
