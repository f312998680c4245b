//! What the actor of a session owns as long as it lives, and what it owns for one turn.

use super::activity::{ActivitySender, SessionState};
use super::disk::DiskWatch;
use super::ending::Cause;
use super::failure::FailureCode;
use super::inbox::Inbox;
use super::live::LiveSessions;
use super::results::Snapshots;
use super::running::Running;
use super::schema::Schema;
use super::translate::Translator;
use super::turn_clock::TurnClock;
use super::{Fork, Order, SessionDeps, SessionKey, Wishes};
use crate::agent::{Agent, LaunchChoice, SessionStderr};
use crate::asks::RememberedDecision;
use crate::budget::Meter;
use crate::queue::Place;
use crate::store::{Durability, SessionRow, Write};
use crate::task::TaskLog;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::Turn as Prompt;
use pilothouse_sandbox::process::Prepared;
use pilothouse_sandbox::supervisor::Word;
use pilothouse_sandbox::workspace::{self, Folder, Look};
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Session folders that are being made.
type MakingFolder = Pin<Box<dyn Future<Output = Result<Folder, workspace::Error>> + Send>>;

/// What a session learns: whether it is ready, its conversation, the revision of its set-up.
pub(super) type Learned = (bool, Option<String>, Option<String>);

/// What the actor of a session owns.
pub(super) struct SessionResources {
    pub(super) deps: Arc<SessionDeps>,
    pub(super) live: Arc<LiveSessions>,
    pub(super) agent: Arc<Agent>,
    pub(super) key: SessionKey,
    pub(super) row: SessionRow,
    pub(super) inbox: Inbox,
    pub(super) running: Option<Running>,
    /// What its CLI wrote to standard error.
    pub(super) stderr: SessionStderr,
    /// A supervisor that was started ahead.
    pub(super) prepared: Option<Prepared>,
    /// Its folders, where they were made just now.
    folder: Option<Folder>,
    /// The set-up that they begin with where they are made.
    made_with: Option<String>,
    /// Its folders, where they are being made for a turn that has given up meanwhile.
    making: Option<MakingFolder>,
    /// What the store knows of the session.
    pub(super) noted: Learned,
    /// What was decided about a call whose process is gone.
    pub(super) remembered: Option<RememberedDecision>,
    /// Where it is said what the session does.
    pub(super) activity: ActivitySender,
    /// What its folders may take up on the disk.
    pub(super) disk: DiskWatch,
    /// What is known of its workspace.
    pub(super) snapshots: Snapshots,
}

/// What belongs to one turn, and is given up with it.
pub(super) struct CurrentTurn {
    pub(super) log: Arc<TaskLog>,
    pub(super) prompt: Prompt,
    pub(super) translator: Translator,
    /// When it has taken too long; none before it is `WORKING`.
    pub(super) clock: Option<TurnClock>,
    /// What it uses; none before its agent is reached.
    pub(super) meter: Option<Meter>,
    /// After which time the process was there that was started for it.
    pub(super) started: Option<Duration>,
    /// Why it fails, where the server knows.
    pub(super) failure: Option<FailureCode>,
    /// What is stored with its end.
    pub(super) closing: Vec<Write>,
    /// What its answer is to fit.
    pub(super) schema: Option<Schema>,
    /// What its message wants beside its words.
    pub(super) wishes: Option<Arc<Wishes>>,
    /// What is asked before its work is pushed.
    pub(super) push_ask: Option<Value>,
    /// Whether it carries out the answer to that, and nothing else.
    pub(super) is_push: bool,
    /// The session that this turn's new one begins as a copy of.
    pub(super) fork: Option<Fork>,
    /// How the workspace was before the agent was told its prompt, where that is of interest.
    pub(super) before: Option<Look>,
    /// Whether it was looked at.
    pub(super) has_looked: bool,
    /// The prompt's place among those in memory.
    pub(super) _prompt_place: Option<Arc<Place>>,
    /// Places among the turns of its caller, and in a shared folder; held from its first gate to the end of its
    /// process.
    pub(super) places: Vec<Place>,
}

impl SessionResources {
    pub(super) fn new(
        deps: Arc<SessionDeps>,
        live: Arc<LiveSessions>,
        agent: Arc<Agent>,
        row: SessionRow,
        orders: mpsc::UnboundedReceiver<Order>,
        warm: Option<Running>,
        new: bool,
    ) -> Self {
        let key = SessionKey::of(&row);
        let activity = ActivitySender::new(row.used, deps.asks.changes(), key.clone());
        Self {
            inbox: Inbox::new(orders, deps.clone()),
            noted: learned(&row),
            disk: live.disk.watch(&agent.workspaces, &row.id, &key.scope.caller, new),
            running: warm.map(|running| running.of_session(&activity)),
            stderr: SessionStderr::default(),
            prepared: None,
            folder: None,
            made_with: None,
            making: None,
            snapshots: Snapshots::default(),
            remembered: None,
            activity,
            deps,
            live,
            agent,
            key,
            row,
        }
    }

    /// Makes the folders and the supervisor of a new session while its task is being stored.
    pub(super) async fn prepare(&mut self) {
        let session = self.row.id.clone();
        let setup = self.agent.find_setup(self.row.setup.as_deref());
        let workspaces = self.agent.workspaces_of(setup.as_deref());
        self.made_with = setup.map(|setup| setup.digest.clone());
        let is_ready = self.agent.setup.is_ready();
        let (launcher, is_here) = (self.deps.launcher.clone(), self.deps.isolation.is_here());
        let supervisor = async {
            match is_here {
                true => launcher.prepare().await.ok(),
                false => None,
            }
        };
        let folder = async {
            match is_ready {
                true => workspaces.folder(&session).await.ok(),
                // It begins with what is still being built.
                false => None,
            }
        };
        let both = async { tokio::join!(folder, supervisor) };
        (self.folder, self.prepared) = self.inbox.serve_while_preparing(both).await;
    }

    /// The session's folders, made where they are missing. A turn that is interrupted does not wait for them; they
    /// are made all the same, and [`Self::finish_folder`] waits for that.
    pub(super) async fn make_folder(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Result<Folder, workspace::Error>, Cause> {
        if let Some(folder) = self.folder.take() {
            return Ok(Ok(folder));
        }
        let setup = self.agent.current_setup();
        let workspaces = self.agent.workspaces_of(setup.as_deref());
        let session = self.row.id.clone();
        self.made_with = setup.map(|setup| setup.digest.clone());
        let making = async move { workspaces.folder(&session).await };
        let making = self.making.insert(Box::pin(making));
        let made = self.inbox.wait_in_turn(deadline, making).await?;
        self.making = None;
        Ok(made)
    }

    /// Notes what folders that were made just now began with, where the store knows something else.
    pub(super) async fn note_setup(&mut self) {
        if self.row.setup != self.made_with {
            self.row.setup.clone_from(&self.made_with);
            self.note_use().await;
        }
    }

    /// Waits for folders that are still being made for a turn that is over: two that make the same folders would
    /// disturb each other.
    pub(super) async fn finish_folder(&mut self) {
        let Some(making) = self.making.take() else {
            return;
        };
        self.folder = self.inbox.serve_during(making).await.ok();
        if self.folder.as_ref().is_some_and(Folder::is_new) {
            // The next turn may have another actor, which finds them made.
            self.row.ready = !self.agent.needs_setup();
            self.note_setup().await;
            self.note_learned().await;
        }
    }

    /// Ends the process but keeps its place.
    pub(super) async fn give_up_process(&mut self) -> Option<Place> {
        let mut running = self.running.take()?;
        if running.ended.is_none() {
            self.inbox.serve_during(running.process.control.kill()).await;
        }
        Some(running.slot)
    }

    /// Lets an agent that has finished its turn exit by itself for a while, then ends it.
    pub(super) async fn leave_process(&mut self) {
        if let Some(mut running) = self.running.take_if(|running| running.ended.is_none()) {
            let stop = self.deps.stop.clone();
            let grace = self.deps.config.timeouts.terminate.get();
            self.inbox.serve_during(running.leave(grace, &stop)).await;
            self.running = Some(running);
        }
        self.end_process(Word::Terminate).await;
    }

    /// Ends the process and its tree, and waits until they are gone.
    pub(super) async fn end_process(&mut self, first: Word) {
        if let Some(running) = self.running.take() {
            self.activity.enter(SessionState::Ending);
            self.live.mark_busy(&self.key);
            let grace = self.deps.config.timeouts.terminate.get();
            // On the heap: each wait for a place would be as large otherwise.
            Box::pin(self.inbox.serve_during(running.end(first, grace))).await;
        }
    }

    /// What the store is told of the session that was used until now, with what it has learned.
    pub(super) fn end_use(&mut self) -> Write {
        self.row.used = Timestamp::now();
        self.noted = learned(&self.row);
        session_used(&self.row, self.row.used)
    }

    fn has_learned(&self) -> bool {
        self.noted != learned(&self.row)
    }

    /// Notes that the session was used until now, where nothing else is stored that could say it.
    pub(super) async fn note_use(&mut self) {
        let write = self.end_use();
        if let Err(error) = self.deps.store.commit(vec![write], Durability::Written).await {
            tracing::warn!(session.id = %self.row.id, %error, "could not note that a session was used");
        }
    }

    /// The same, where the session has learned what the store does not know.
    pub(super) async fn note_learned(&mut self) {
        if self.has_learned() {
            self.note_use().await;
        }
    }
}

pub(super) fn learned(row: &SessionRow) -> Learned {
    (row.ready, row.conversation.clone(), row.setup.clone())
}

/// What the store is told of a session in use.
pub(super) fn session_used(row: &SessionRow, at: Timestamp) -> Write {
    Write::SessionUsed {
        id: row.id.clone(),
        conversation: row.conversation.clone(),
        ready: row.ready,
        checkout: row.checkout.clone(),
        setup: row.setup.clone(),
        at,
    }
}

impl CurrentTurn {
    /// How its CLI is to be started, where that is not as configured.
    pub(super) fn choice(&self) -> LaunchChoice {
        self.wishes.as_ref().map(|wishes| wishes.choice.clone()).unwrap_or_default()
    }

    /// The turn works from now on: it may not take longer than `timeouts.turn`, all of its waits together.
    pub(super) fn start_clock(&mut self, deps: &SessionDeps) {
        let (longest, pause) = (deps.config.timeouts.turn.get(), deps.config.asks.pause.get());
        self.clock = Some(TurnClock::start(Instant::now(), longest, pause));
    }
}
