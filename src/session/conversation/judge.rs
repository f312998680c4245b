//! What the agent asks and no policy decides: what a person has said before answers it, else a person is asked.
//!
//! # How it works
//!
//! A decision about a call whose process is gone, and a grant, are rows of the store. Using one is a conditional write that
//! comes before the agent is told, so each is used as often as it says, whatever happens in between.

use super::Conversation;
use super::hosts::host_answer;
use crate::asks::{self, Decision};
use crate::clock;
use crate::session::ending::fault_with;
use crate::session::questions::{Command, ask_row};
use crate::session::{Delivery, SessionDeps, Wishes};
use crate::store::{
    self, AnswerSource, AskAct, Conflict, Durability, GrantRow, GrantWrite, Store, Write,
};
use crate::task::TaskLog;
use pilothouse_a2a::task::TaskState;
use pilothouse_agents::{Answer, Ask, AskKind};
use pilothouse_egress::{HostAnswer, HostQuestion};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::time::Instant;

impl Conversation<'_> {
    /// Answers what no policy has decided by what persons have said before, or asks a person.
    pub(super) async fn judge_undecided(&mut self) {
        for ask in std::mem::take(&mut self.undecided) {
            if let Err(error) = self.judge(ask).await {
                return self.stop_unreadable(&error);
            }
        }
        for question in self.hosts.take_new() {
            if let Err(error) = self.judge_host(question).await {
                return self.stop_unreadable(&error);
            }
        }
        if std::mem::take(&mut self.has_grant)
            && let Err(error) = self.judge_open().await
        {
            self.stop_unreadable(&error);
        }
    }

    async fn judge(&mut self, ask: Ask) -> Result<(), store::Error> {
        if self.ending.has_begun() {
            let message = "the turn is being ended".to_owned();
            self.carry_out([Command::Tell(ask.id, Answer::Deny { message })]);
            return Ok(());
        }
        let data = asks::data(ask.kind.clone());
        if let Some(remembered) = self.remembered.take_if(|one| asks::same(&one.ask, &data)) {
            let spent = Write::AskSpent { id: remembered.id };
            if use_once(&self.deps.store, spent).await? {
                self.carry_out([Command::Tell(ask.id, remembered.answer)]);
                return Ok(());
            }
        }
        match use_grant(self.deps, self.log, &data).await? {
            Some(grant) => {
                self.translator.report_grant(&ask.kind, &grant.words);
                self.carry_out([Command::Tell(ask.id, Answer::Allow { input: None })]);
            }
            None => self.ask(ask.id, data, &ask.kind),
        }
        Ok(())
    }

    /// Lets a connection through as persons have said before, or asks a person.
    async fn judge_host(&mut self, question: HostQuestion) -> Result<(), store::Error> {
        if self.ending.has_begun() {
            question.answer(HostAnswer::None);
            return Ok(());
        }
        let Some(question) = self.hosts.join(question) else { return Ok(()) };
        let data = asks::host_data(&question.host, question.port);
        if let Some(remembered) = self.remembered.take_if(|one| asks::same(&one.ask, &data)) {
            let spent = Write::AskSpent { id: remembered.id };
            if use_once(&self.deps.store, spent).await? {
                question.answer(host_answer(&remembered.answer));
                return Ok(());
            }
        }
        if use_grant(self.deps, self.log, &data).await?.is_some() {
            question.answer(HostAnswer::Allow);
            return Ok(());
        }
        let why =
            format!("no rule permits it, and `agents.{}.egress.ask` says to ask", self.agent.key);
        let id = self.hosts.keep(question);
        self.pose(id, data, why);
        Ok(())
    }

    /// Gives the agent a person's answer, if it still wants one.
    pub(super) fn answer_question(&mut self, id: &str, decision: &Decision) -> Delivery {
        if self.ending.outcome.is_some() {
            return Delivery::Withdrawn;
        }
        if let Some(command) = self.questions.answer(id, decision) {
            self.carry_out([command]);
            self.has_grant |= matches!(decision, Decision::Allow { grant: Some(_), .. });
            if !self.questions.are_open() && self.log.state() == TaskState::InputRequired {
                // The question was shown just after it was answered.
                self.translator.status("the question was answered", None);
            }
            return Delivery::Told;
        }
        let delivery = self.inbox.take_late_answer(id);
        if delivery == Delivery::Withdrawn {
            // The answer has made the task `WORKING`.
            self.questions.show_next();
        }
        delivery
    }

    /// What is open may be answered by what was granted just now.
    async fn judge_open(&mut self) -> Result<(), store::Error> {
        for row in self.questions.rows() {
            let Some(grant) = use_grant(self.deps, self.log, &row.ask).await? else { continue };
            let commands = self.questions.allow(&row.id, Arc::new(act_of(&grant)));
            self.carry_out(commands);
        }
        Ok(())
    }

    /// Asks a person.
    fn ask(&mut self, id: String, data: Value, kind: &AskKind) {
        let (agent, caller) = (self.agent, &self.log.scope.caller);
        let why = asks::explain(&agent.policy(), &agent.key, caller, kind);
        self.pose(id, data, why);
    }

    /// Asks a person, and says why.
    fn pose(&mut self, id: String, mut data: Value, why: String) {
        let (agent, bounds) = (self.agent, &self.deps.config.asks);
        data["why"] = why.into();
        data["folder"] = agent.workspaces.shown(&self.row.id).display().to_string().into();
        asks::add_proposal(&mut data, bounds);
        Wishes::note_in(self.wishes, &mut data);
        let row = ask_row(self.log, data, false, &self.deps.config);
        // Known before it is shown: whoever sees it may answer at once.
        match self.deps.asks.add(row) {
            Ok(row) => self.questions.add(id, row, Instant::now()),
            Err(full) => self.stop(fault_with(&full, full.hint())),
        }
    }

    /// Nobody knows what a person has allowed, so nothing may run.
    fn stop_unreadable(&mut self, error: &store::Error) {
        self.deps.telemetry.store_failed(self.log, error);
        let message = format!("what was allowed before could not be read: {error}");
        self.stop(fault_with(&message, "the server's operator must look at the store"));
    }
}

/// What a grant answers, in the place of the person who gave it.
fn act_of(grant: &GrantRow) -> AskAct {
    let what = [("decision", "allow"), ("grant", &*grant.short)];
    let what: Map<String, Value> =
        what.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    AskAct { by: grant.act.by.clone(), source: AnswerSource::default(), at: clock::now(), what }
}

/// Uses a grant that covers this; none where there is none.
async fn use_grant(
    deps: &SessionDeps,
    log: &TaskLog,
    ask: &Value,
) -> Result<Option<GrantRow>, store::Error> {
    if ask["kind"] == "question" {
        return Ok(None);
    }
    let now = clock::now();
    let grants = deps.store.grants_in(&log.scope, &log.context_id, now).await?;
    for grant in grants.into_iter().filter(|grant| asks::covers(grant, ask)) {
        let used = Write::Grant(GrantWrite::Used { id: grant.id.clone(), at: now });
        if use_once(&deps.store, used).await? {
            return Ok(Some(grant));
        }
    }
    Ok(None)
}

/// Whether this could be used.
async fn use_once(store: &Store, write: Write) -> Result<bool, store::Error> {
    match store.commit(vec![write], Durability::Written).await {
        Ok(()) => Ok(true),
        Err(store::Error::Refused(Conflict::Spent)) => Ok(false),
        Err(error) => Err(error),
    }
}
