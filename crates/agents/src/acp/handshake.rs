//! From a fresh process to an open session: what is still to be done, and what each answer means.

use super::session::Session;
use super::wire::{self, AUTH_REQUIRED, Initialized, METHOD_NOT_FOUND, Opened, RpcError};
use super::{Acp, Agent, SILENCE, failure, prompt};
use crate::{Event, Outcome, Step, Timer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The version of the protocol that is spoken.
const PROTOCOL_VERSION: u64 = 1;

/// A request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Initialize,
    Authenticate,
    New,
    Resume,
    Load,
    Fork,
    SetMode,
    SetModel,
    /// Mode or model, where the agent has them among its options.
    SetModeOption,
    SetModelOption,
    Prompt,
}

impl Call {
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Authenticate => "authenticate",
            Self::New => "session/new",
            Self::Resume => "session/resume",
            Self::Load => "session/load",
            Self::Fork => "session/fork",
            Self::SetMode => "session/set_mode",
            Self::SetModel => "session/set_model",
            Self::SetModeOption | Self::SetModelOption => "session/set_config_option",
            Self::Prompt => "session/prompt",
        }
    }
}

/// How far the signing in is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// The agent has not asked for it.
    Unasked,
    /// It has, and a method is configured.
    Wanted,
    /// It accepted the method.
    Done,
}

impl Acp {
    /// The next request, if a turn waits and no other request is under way.
    pub(super) fn advance(&mut self) -> Vec<Step> {
        let busy = self.awaiting.is_some() || self.settling.is_some();
        if busy || self.turn.as_ref().is_none_or(|turn| turn.sent) {
            return Vec::new();
        }
        match self.next() {
            Ok((call, params)) => vec![self.call(call, &params)],
            Err(outcome) => self.end(outcome),
        }
    }

    pub(super) fn next(&mut self) -> Result<(Call, Value), Outcome> {
        let Some(agent) = &self.agent else {
            let capabilities = json!({
                "fs": { "readTextFile": false, "writeTextFile": false },
                "terminal": false,
                "elicitation": { "form": {} },
            });
            let params = json!({
                "protocolVersion": PROTOCOL_VERSION,
                "clientCapabilities": capabilities,
                "clientInfo": { "name": "pilothouse", "version": env!("CARGO_PKG_VERSION") },
            });
            return Ok((Call::Initialize, params));
        };
        if self.login == Login::Wanted {
            let params = json!({ "methodId": self.options.auth_method });
            return Ok((Call::Authenticate, params));
        }
        if self.session.is_none() {
            let servers = self.mcp_servers(agent)?;
            let mut params = json!({ "cwd": self.setting.workspace, "mcpServers": servers });
            let call = match &self.setting.resume {
                Some(_) if self.setting.fork => Call::Fork,
                Some(_) if agent.resumes => Call::Resume,
                Some(_) if agent.loads => Call::Load,
                _ => Call::New,
            };
            if call != Call::New {
                params["sessionId"] = self.setting.resume.clone().into();
            }
            return Ok((call, params));
        }
        let session = self.session.as_mut().expect("it is open");
        let wanted = [
            (
                &self.options.mode,
                &session.mode,
                "mode",
                "modeId",
                [Call::SetMode, Call::SetModeOption],
            ),
            (
                &self.options.model,
                &session.model_setup,
                "model",
                "modelId",
                [Call::SetModel, Call::SetModelOption],
            ),
        ];
        for (wanted, setup, what, field, [own, option]) in wanted {
            let Some(wanted) = wanted.as_deref().filter(|_| !setup.done) else {
                continue;
            };
            let Some(id) = setup.find(wanted) else {
                return Err(failure::not_offered(what, wanted, &setup.list()));
            };
            if setup.current.as_deref() == Some(id) {
                continue;
            }
            let mut params = json!({ "sessionId": session.id });
            if let Some(config) = &setup.option {
                params["configId"] = config.as_str().into();
                params["value"] = id.into();
                return Ok((option, params));
            }
            params[field] = id.into();
            return Ok((own, params));
        }
        let turn = self.turn.as_mut().expect("a turn waits");
        if !agent.images && !turn.prompt.images.is_empty() {
            let message = "this agent takes no images; send text, or another kind of file";
            return Err(Outcome::Rejected { message: message.to_owned() });
        }
        turn.sent = true;
        let blocks = prompt::blocks(&turn.prompt);
        Ok((Call::Prompt, json!({ "sessionId": session.id, "prompt": blocks })))
    }

    /// The answer to a request of the handshake.
    pub(super) fn succeeded(
        &mut self,
        call: Call,
        result: Option<&RawValue>,
    ) -> Result<Vec<Step>, serde_json::Error> {
        let text = result.map_or("{}", RawValue::get);
        let mut steps = Vec::new();
        match call {
            Call::Initialize => {
                let told: Initialized = serde_json::from_str(text)?;
                if let Some(other) = told
                    .protocol_version
                    .as_ref()
                    .filter(|version| version.as_u64() != Some(PROTOCOL_VERSION))
                {
                    return Ok(self.end(failure::other_version(other)));
                }
                self.agent = Some(Agent::from(told));
                let fork = self.setting.fork;
                let goes_on = self.agent.as_ref().is_some_and(|agent| match fork {
                    true => agent.forks,
                    false => agent.loads || agent.resumes,
                });
                if self.setting.resume.is_some() && !goes_on {
                    steps.extend(self.lose_conversation("it cannot continue one"));
                }
            }
            Call::Authenticate => self.login = Login::Done,
            Call::New | Call::Resume | Call::Load | Call::Fork => {
                let opened: Opened = serde_json::from_str(text)?;
                steps.extend(self.opened(call, opened));
            }
            Call::SetMode | Call::SetModeOption => {
                if let Some(session) = &mut self.session {
                    session.mode.done = true;
                }
            }
            Call::SetModel | Call::SetModelOption => {
                if let Some(session) = &mut self.session {
                    session.model_setup.done = true;
                    session.model.clone_from(&self.options.model);
                }
            }
            Call::Prompt => {}
        }
        steps.extend(self.advance());
        Ok(steps)
    }

    fn opened(&mut self, call: Call, opened: Opened) -> Vec<Step> {
        let Some(id) = opened
            .session_id
            .clone()
            .or_else(|| self.setting.resume.clone().filter(|_| call != Call::Fork))
            .filter(|id| !id.is_empty())
        else {
            return self.end(failure::no_session(&self.options));
        };
        let mut session = Session::from(opened);
        session.id.clone_from(&id);
        self.session = Some(session);
        self.totals.restart(call != Call::New);
        self.setting.resume = Some(id.clone());
        self.setting.fork = false;
        self.settling = (call == Call::Load).then_some(false);
        let first = !std::mem::replace(&mut self.ready, true);
        first
            .then_some(Step::Ready)
            .into_iter()
            .chain([Step::Conversation(id)])
            .chain(self.report_setup())
            .chain(self.settling.map(|_| Step::Wake(Timer::Replay, SILENCE)))
            .collect()
    }

    /// A request of the handshake was refused.
    pub(super) fn refused(&mut self, call: Call, error: &RpcError) -> Vec<Step> {
        let methods = self.agent.as_ref().map(|agent| agent.auth_methods.as_slice());
        let methods = methods.unwrap_or_default();
        match call {
            Call::New | Call::Resume | Call::Load | Call::Fork if error.code == AUTH_REQUIRED => {
                if self.login == Login::Unasked && self.options.auth_method.is_some() {
                    self.login = Login::Wanted;
                    return self.advance();
                }
                let outcome = failure::sign_in(&self.options, methods, error);
                self.login = Login::Unasked;
                self.end(outcome)
            }
            Call::Authenticate => {
                let outcome = failure::sign_in(&self.options, methods, error);
                self.login = Login::Unasked;
                self.end(outcome)
            }
            Call::Resume if error.code == METHOD_NOT_FOUND => {
                let agent = self.agent.as_mut().expect("it was initialised");
                agent.resumes = false;
                let mut steps = if agent.loads {
                    Vec::new()
                } else {
                    self.lose_conversation("it cannot continue one")
                };
                steps.extend(self.advance());
                steps
            }
            Call::Resume | Call::Load | Call::Fork => {
                let mut steps = self.lose_conversation(&failure::words(error));
                steps.extend(self.advance());
                steps
            }
            Call::Initialize
            | Call::New
            | Call::SetMode
            | Call::SetModeOption
            | Call::SetModel
            | Call::SetModelOption
            | Call::Prompt => {
                let outcome = failure::of_call(&self.options, call, error);
                self.end(outcome)
            }
        }
    }

    /// A new conversation begins in the same process: a start is dear, and the agent is well.
    fn lose_conversation(&mut self, why: &str) -> Vec<Step> {
        let lost = self.setting.resume.take();
        vec![Step::Say(Event::Status {
            text: "the agent does not continue this context's conversation; a new one begins"
                .to_owned(),
            data: Some(json!({ "kind": "conversation-lost", "sessionId": lost, "reason": why })),
        })]
    }

    /// The answer to a request that nobody serves; no client capability was promised.
    pub(super) fn unserved(&mut self, id: &Value, method: &str) -> Vec<Step> {
        self.unknown += 1;
        let message = format!("`{method}` is not served");
        vec![wire::refuse(id, METHOD_NOT_FOUND, &message)]
    }
}

impl From<Initialized> for Agent {
    fn from(told: Initialized) -> Self {
        let can = told.agent_capabilities.unwrap_or_default();
        let methods = told.auth_methods.unwrap_or_default();
        let sessions = can.session_capabilities.unwrap_or_default();
        let mcp = can.mcp_capabilities.unwrap_or_default();
        let offered = |what: Option<Value>| what.is_some_and(|what| what != Value::Bool(false));
        Self {
            name: told.agent_info.and_then(|info| info.name).unwrap_or_default(),
            loads: can.load_session.unwrap_or(false),
            resumes: offered(sessions.resume),
            forks: offered(sessions.fork),
            images: can.prompt_capabilities.and_then(|prompt| prompt.image).unwrap_or(false),
            mcp_http: mcp.http.unwrap_or(false),
            mcp_sse: mcp.sse.unwrap_or(false),
            auth_methods: methods.into_iter().map(|method| method.id).collect(),
        }
    }
}
