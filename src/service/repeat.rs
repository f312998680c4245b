//! Sends that are repeated: the same message while its task still runs, or the same `Idempotency-Key`.
//!
//! A client that lost an answer sends again, and one that means to say the same thing twice does too;
//! what tells them apart is whether the first is still being worked on. Who wants more names a key.

use crate::store::Scope;
use crate::task::TaskLog;
use parking_lot::Mutex;
use pilothouse_a2a::id::MessageId;
use pilothouse_a2a::operation::{SendMessageConfiguration, SendMessageRequest};
use pilothouse_a2a::task::TaskState;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// Entries below which nobody tidies up.
const TIDY_ABOVE: usize = 256;

/// What a send is recognised by, within one caller and agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    /// The message's id.
    Message(String),
    /// `Idempotency-Key`.
    Key(String),
}

/// SHA-256 of what was sent.
pub(super) type Print = [u8; 32];

/// Sends that are on their way or whose tasks still run.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    sends: HashMap<(Scope, Mark), Send>,
    tidy_at: usize,
}

struct Send {
    print: Print,
    task: watch::Receiver<Accepted>,
}

#[derive(Clone)]
enum Accepted {
    /// Not yet.
    Pending,
    /// Refused; the next one may try.
    No,
    /// This is its task; held where it was a message to one, which nobody else may hold while it asks.
    Yes(
        Weak<TaskLog>,
        #[expect(dead_code, reason = "it is there to be held")] Option<Arc<TaskLog>>,
    ),
}

/// What to do with a send.
pub(super) enum Repeat {
    /// It is the first of its kind; say how it went.
    First(First),
    /// It was sent before, and this is its task.
    Of(Arc<TaskLog>),
}

/// The first send of its kind. Dropped without a word, it counts as refused.
pub(super) struct First {
    repeats: Repeats,
    place: Option<(Scope, Mark)>,
    tell: watch::Sender<Accepted>,
    continues: bool,
}

/// What was sent, as a print. Whether it was to be streamed or waited for makes no difference; the
/// message's id does only where no key says that it is the same (v0.1 has none, so it is made each time).
pub(super) fn print(request: &mut SendMessageRequest, with_id: bool) -> Print {
    // The scope knows the agent, however it was named.
    let tenant = request.tenant.take();
    let id = request.message.message_id.clone();
    let configuration = request.configuration.take();
    if !with_id {
        request.message.message_id = MessageId::new("");
    }
    let print = configuration.clone().map(|configuration| SendMessageConfiguration {
        return_immediately: false,
        history_length: None,
        ..configuration
    });
    request.configuration = print.filter(|print| *print != SendMessageConfiguration::default());
    // Hashed as it is written: a message may be large.
    let mut hash = Sha256::new();
    serde_json::to_writer(&mut hash, &request).expect("a request has no maps with other keys");
    request.tenant = tenant;
    request.message.message_id = id;
    request.configuration = configuration;
    hash.finalize().into()
}

impl Repeats {
    /// Whether a send repeats one that still runs; waits while the first is being accepted.
    ///
    /// `continues` says that it is a message to a task: a repeated answer must not answer what the task
    /// asks next, so there the task runs until its end.
    pub(super) async fn look(
        &self,
        scope: &Scope,
        mark: Mark,
        print: Print,
        continues: bool,
    ) -> Repeat {
        let place = (scope.clone(), mark);
        loop {
            let mut task = {
                let mut inner = self.inner();
                match inner.sends.get(&place) {
                    Some(send) if send.print == print => send.task.clone(),
                    // Another text under the same key is told so when the first is known.
                    Some(send) if matches!(place.1, Mark::Key(_)) && send.is_pending() => {
                        send.task.clone()
                    }
                    // Another text under the same id is another message.
                    _ => return Repeat::First(self.first(&mut inner, place, print, continues)),
                }
            };
            let accepted = task
                .wait_for(|accepted| !matches!(accepted, Accepted::Pending))
                .await
                .map_or(Accepted::No, |accepted| accepted.clone());
            if let Accepted::Yes(log, _) = &accepted
                && self.is_same(&place, &print)
                && let Some(log) = log.upgrade()
                && (matches!(log.state(), TaskState::Submitted | TaskState::Working)
                    || (continues && !log.state().is_terminal()))
            {
                return Repeat::Of(log);
            }
            // Over, or refused: whoever comes first now is first.
            let mut inner = self.inner();
            let same = inner.sends.get(&place).is_none_or(|send| send.task.same_channel(&task));
            if same {
                return Repeat::First(self.first(&mut inner, place, print, continues));
            }
        }
    }

    /// Notes the task that an earlier server made of a send.
    pub(super) fn remember(&self, scope: &Scope, mark: Mark, print: Print, log: &Arc<TaskLog>) {
        let first = self.first(&mut self.inner(), (scope.clone(), mark), print, false);
        first.accepted(log);
    }

    /// Forgets the sends of tasks that are gone.
    pub(super) fn forget(&self, tasks: &[i64]) {
        self.inner().sends.retain(|_, send| match &*send.task.borrow() {
            Accepted::Yes(log, _) => log.upgrade().is_some_and(|log| !tasks.contains(&log.n)),
            Accepted::Pending | Accepted::No => true,
        });
    }

    fn is_same(&self, place: &(Scope, Mark), print: &Print) -> bool {
        let inner = self.inner();
        inner.sends.get(place).is_some_and(|send| send.print == *print)
    }

    fn first(
        &self,
        inner: &mut Inner,
        place: (Scope, Mark),
        print: Print,
        continues: bool,
    ) -> First {
        let (tell, task) = watch::channel(Accepted::Pending);
        if inner.sends.len() >= inner.tidy_at.max(TIDY_ABOVE) {
            inner.sends.retain(|_, send| send.is_live());
            inner.tidy_at = inner.sends.len() * 2;
        }
        inner.sends.insert(place.clone(), Send { print, task });
        First { repeats: self.clone(), place: Some(place), tell, continues }
    }

    fn inner(&self) -> parking_lot::MutexGuard<'_, Inner> {
        self.0.lock()
    }
}

impl Send {
    fn is_pending(&self) -> bool {
        matches!(*self.task.borrow(), Accepted::Pending)
    }

    fn is_live(&self) -> bool {
        match &*self.task.borrow() {
            Accepted::Pending => true,
            Accepted::No => false,
            Accepted::Yes(log, _) => log.upgrade().is_some_and(|log| !log.state().is_terminal()),
        }
    }
}

impl First {
    /// It was accepted as this task.
    pub(super) fn accepted(mut self, log: &Arc<TaskLog>) {
        self.place = None;
        let held = self.continues.then(|| log.clone());
        self.tell.send_replace(Accepted::Yes(Arc::downgrade(log), held));
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let mut inner = self.repeats.inner();
            let mine = inner
                .sends
                .get(&place)
                .is_some_and(|send| send.task.same_channel(&self.tell.subscribe()));
            if mine {
                inner.sends.remove(&place);
            }
            self.tell.send_replace(Accepted::No);
        }
    }
}
