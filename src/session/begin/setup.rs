//! What sets the folder of a new session up, in the session's sandbox and as its agent's user.

use super::super::activity::WaitsFor;
use super::super::ending::{Cause, fault_with};
use super::super::resources::SessionResources;
use super::super::start::DoorWords;
use super::Begin;
use crate::agent::SetupState;
use pilothouse_egress::Policy;
use pilothouse_sandbox::isolation::{Obstacle, Places};
use pilothouse_sandbox::supervisor::Spec;
use pilothouse_sandbox::workspace::{Folder, InitFailed, hear_setup};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One of the steps, as it is started and bounded.
pub(super) struct SetupStep<'a, S> {
    /// What it is called in messages.
    pub(super) name: &'a str,
    /// What it may reach.
    pub(super) policy: &'a Arc<Policy>,
    /// What is started.
    pub(super) spec: S,
    /// How long it may take.
    pub(super) patience: Duration,
    /// The key of that bound.
    pub(super) key: &'a str,
}

impl Begin<'_> {
    /// Runs a step to its end, which it gives with the last words. What it wanted to reach and may not is shown.
    pub(super) async fn run_setup<S: FnOnce(&Places, DoorWords) -> Spec>(
        &mut self,
        folder: &Folder,
        step: SetupStep<'_, S>,
    ) -> Result<Result<String, InitFailed>, Cause> {
        let deps = self.session.deps.clone();
        let (mut refused, mut too_large) = (Vec::new(), None);
        let started = self.start_process(folder, step.policy, step.spec).await?;
        let ended = match started {
            Ok((mut process, confinement)) => {
                let disk = self.session.disk.clone().fault(process.tree);
                let run = async {
                    let hearing = hear_setup(&mut process, (step.patience, step.key));
                    tokio::pin!(hearing, disk);
                    loop {
                        tokio::select! {
                            biased;
                            refusal = confinement.next_refusal() => refused.push(refusal),
                            fault = &mut disk => {
                                let reason = "was ended".to_owned();
                                too_large = Some(fault);
                                break Err(InitFailed {
                                    reason,
                                    is_not_found: false,
                                    output: String::new(),
                                });
                            }
                            ended = &mut hearing => break ended,
                        }
                    }
                };
                let ended = self.wait(run).await;
                if !matches!(ended, Ok(Ok(_))) {
                    self.session.inbox.serve_during(process.control.kill()).await;
                }
                ended?
            }
            Err(error) => Err(InitFailed {
                reason: error.to_string(),
                is_not_found: error.is_not_found(),
                output: String::new(),
            }),
        };
        let log = &self.turn.log;
        for refusal in &refused {
            self.turn.translator.report_refusal(refusal);
            self.session.live.note_refusal(&deps, Some(log), &log.scope, refusal);
        }
        if let Some(fault) = too_large {
            let message = format!("{} was ended: {fault}", step.name);
            return Err(fault_with(&message, fault.hint()));
        }
        Ok(ended)
    }

    /// Whether there is no set-up for this session yet.
    pub(super) fn lacks_setup(&self) -> bool {
        let SessionResources { agent, row, running, .. } = &*self.session;
        // A session that has begun goes on with what it began with.
        let has_begun = row.conversation.is_some() || running.is_some();
        !has_begun && !agent.setup.is_ready()
    }

    /// Waits until there is a set-up for a new session, visible in the task. It is no part of the turn's time.
    pub(super) async fn await_setup(&mut self) -> Result<(), Cause> {
        let agent = self.session.agent.clone();
        let Some(built) = agent.setup.built() else { return Ok(()) };
        let mut state = built.subscribe();
        built.request();
        let data = serde_json::json!({"kind": "setup-build"});
        self.turn.translator.status("the set-up of the agent is being built", Some(data));
        self.show().await;
        let settled = async move {
            let is_over = |state: &SetupState| state.current.is_some() || state.failure.is_some();
            let settled = state.wait_for(is_over).await;
            settled
                .ok()
                .filter(|state| state.current.is_none())
                .and_then(|state| state.failure.clone())
        };
        let (clock, since) = (self.turn.clock.take(), Instant::now());
        let settled = self.wait_for(WaitsFor::Setup, settled).await;
        self.turn.clock = clock.map(|clock| clock.without(since.elapsed()));
        match settled? {
            None => Ok(()),
            Some(why) => {
                let hint = format!(
                    "the operator must correct `agents.{0}.setup`, or allow what it asks for in `agents.{0}.egress.setup`",
                    agent.key
                );
                Err(fault_with(&format!("the set-up of the agent could not be built: {why}"), hint))
            }
        }
    }

    /// Runs the session script, visible in the task.
    pub(super) async fn run_script(&mut self, folder: &Folder) -> Result<(), Cause> {
        let (deps, agent) = (self.session.deps.clone(), self.session.agent.clone());
        let Some(script) = agent.workspaces.script() else {
            return Ok(());
        };
        // Where it lies on this machine is not the caller's business.
        let name = script.file_name().unwrap_or_default().to_string_lossy();
        self.turn.translator.status(&format!("running {name}"), None);
        self.show().await;
        let (session, context) = (self.session.row.id.clone(), self.session.key.context_id.clone());
        let given = agent.latest_env();
        let step = SetupStep {
            name: &format!("the session script {name}"),
            policy: &given.reach.setup,
            spec: |places: &Places, door: DoorWords| {
                agent.script_spec(&given, script, places, door, &session, context.as_str())
            },
            patience: deps.config.timeouts.init.get(),
            key: "timeouts.init",
        };
        let ended = self.run_setup(folder, step).await?;
        let output = ended.map_err(|InitFailed { reason, is_not_found, output }| {
            let told = format!("the session script {name} {reason}: {output}");
            let hint = "the operator must correct the script (`sessions.init`)";
            if !is_not_found {
                return fault_with(&told, hint);
            }
            let obstacle = agent.find_obstacle(script, &deps.config);
            // In a container the script is there, so it is a command of the image that is not.
            match obstacle.filter(|_| !agent.is_contained()) {
                Some(obstacle) => {
                    fault_with(&format!("{told}: {}", obstacle.reason), obstacle.hint)
                }
                None if deps.isolation.is_sandboxed() => {
                    fault_with(&told, format!("{hint}; {}", Obstacle::COMMAND))
                }
                None => fault_with(&told, hint),
            }
        })?;
        let data = serde_json::json!({"kind": "init-session", "output": output});
        self.turn.translator.status("the session script has run", Some(data));
        self.show().await;
        Ok(())
    }
}
