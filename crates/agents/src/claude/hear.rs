//! What Claude Code says, line by line, as steps.

use super::ask::{Pending, PendingAsk};
use super::elicitation::Elicitation;
use super::prompt::{refuse, respond};
use super::wire::{Control, ControlResponse, OutputLine, System};
use super::{Claude, Phase};
use crate::lines::may_be_mended;
use crate::reading::{Heard, Unreadable, raw, read_line};
use crate::{Answer, Event, LONGEST_ID, Outcome, Step};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::mem;

/// Asks that wait for the next turn.
const ASKS_BETWEEN: usize = 8;

/// Bytes of one of them at most.
const ASK_BETWEEN_BYTES: usize = 64 * 1024;

impl Claude {
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<Step> {
        let heard = read_line(bytes, |line| self.read(line, bytes));
        heard.unwrap_or_else(|Unreadable| {
            self.unknown += 1;
            vec![raw(bytes)]
        })
    }

    fn read(&mut self, line: &OutputLine<'_>, bytes: &[u8]) -> Heard {
        // What concerns the process, whosever turn it is.
        match (&*line.kind, line.subtype.as_deref()) {
            ("control_response", _) => {
                let response = line.response.map(RawValue::get).unwrap_or_default();
                let response = serde_json::from_str::<ControlResponse<'_>>(response);
                let steps = response.map_or_else(|_| Vec::new(), |told| self.hear_servers(&told));
                // That of an interrupt, it may be, which found nothing but commands in the background.
                return Ok(match self.turn.interrupted {
                    true => [steps, self.settle()].concat(),
                    false => steps,
                });
            }
            ("keep_alive", _) => return Ok(Vec::new()),
            ("rate_limit_event", _) => {
                let info = line.rate_limit_info.map(|info| serde_json::from_str(info.get()));
                return self.rate_limit(info.transpose()?);
            }
            ("control_request", _) => return self.control(line),
            ("control_cancel_request", _) => {
                let id = line.request_id.as_deref().ok_or(Unreadable)?;
                return Ok(self
                    .pending
                    .remove(id)
                    .map(|_| Step::Withdraw(id.to_owned()))
                    .into_iter()
                    .collect());
            }
            ("command_lifecycle", _) => return Ok(self.lifecycle(line)),
            ("system", Some("init")) => {
                return self.init(line, serde_json::from_slice(bytes)?, bytes);
            }
            ("system", Some("session_state_changed")) => return self.state_line(bytes),
            ("system", Some("background_tasks_changed")) => return self.task_list(bytes),
            (
                "system",
                Some(
                    subtype @ ("task_started" | "task_updated" | "task_progress"
                    | "task_notification"),
                ),
            ) => return self.task_line(subtype, bytes),
            ("stream_event", _)
                if self.phase == Phase::AwaitInit
                    && !self.names_messages
                    && self.is_new_message(line)? =>
            {
                self.phase = Phase::Open;
            }
            _ if matches!(self.phase, Phase::AwaitInit | Phase::AwaitStart)
                && self.answers_us(line) =>
            {
                self.phase = Phase::Open;
            }
            _ => {}
        }
        if self.phase != Phase::Open {
            match (&*line.kind, line.subtype.as_deref()) {
                ("result", _) => self.overheard(serde_json::from_slice(bytes)?),
                ("system", Some("hook_response")) => {
                    self.forget_hook(&serde_json::from_slice(bytes)?);
                }
                _ => {}
            }
            return Ok(vec![raw(bytes)]);
        }
        match (&*line.kind, line.subtype.as_deref()) {
            ("stream_event", _) => self.delta(line),
            ("assistant", _) => self.assistant(line),
            ("system", Some("hook_started")) => self.hook_started(serde_json::from_slice(bytes)?),
            ("system", Some("hook_response")) => self.hook_ended(serde_json::from_slice(bytes)?),
            ("system", Some("informational" | "notification")) => {
                self.notice(serde_json::from_slice(bytes)?, bytes)
            }
            ("user", _) => self.tool_results(line),
            ("result", _) => match serde_json::from_slice(bytes) {
                Ok(result) => Ok(self.result(result)),
                Err(error) => {
                    let message = format!("the result of the turn could not be read: {error}");
                    let hint = "this version of the CLI may be too new; `pilothouse doctor` names the tested ones";
                    let end = self.end(Outcome::Failed { message, hint: Some(hint.to_owned()) });
                    Ok([vec![raw(bytes)], end].concat())
                }
            },
            (
                "system",
                Some(
                    subtype @ ("status"
                    | "api_retry"
                    | "permission_denied"
                    | "compact_boundary"
                    | "elicitation_complete"),
                ),
            ) => Ok(self.system(subtype, &serde_json::from_slice(bytes)?)),
            _ => Err(Unreadable),
        }
    }

    /// A turn (of ours, or one that the CLI began by itself) begins.
    fn init(&mut self, line: &OutputLine<'_>, mut init: System<'_>, bytes: &[u8]) -> Heard {
        let mut steps = Vec::new();
        let was_ready = mem::replace(&mut self.ready, true);
        if !was_ready {
            steps.push(Step::Ready);
        }
        self.names_messages |= line.user_message_uuids.is_some();
        let is_ours = !self.names_messages || self.answers_us(line);
        if let Some(id) = &init.session_id
            && self.conversation.as_deref() != Some(id)
        {
            self.conversation = Some((**id).to_owned());
            steps.push(Step::Conversation((**id).to_owned()));
        }
        if let Some(model) = &init.model {
            self.model = Some((**model).to_owned());
        }
        match self.phase {
            Phase::Idle if was_ready => {
                // Nobody waits for this turn and no budget counts it. What it is about stays in the
                // conversation.
                steps.extend([raw(bytes), self.interrupt_request()]);
            }
            Phase::Idle | Phase::AwaitStart => steps.push(raw(bytes)),
            Phase::AwaitInit if !is_ours => steps.push(raw(bytes)),
            Phase::AwaitInit | Phase::Open => {
                self.phase = Phase::Open;
                steps.extend(self.begun());
                steps.extend(self.hear_setup(bytes));
                steps.extend(self.hear_init(init.mcp_servers.take()));
            }
        }
        Ok(steps)
    }

    /// The CLI works on our turn now. An interrupt that came earlier may have met nothing to
    /// interrupt, so it is said again; twice does no harm.
    fn begun(&mut self) -> Option<Step> {
        let first = !mem::replace(&mut self.turn.begun, true);
        (first && self.turn.interrupted).then(|| self.interrupt_request())
    }

    /// Where our message stands in the CLI's queue.
    fn lifecycle(&mut self, line: &OutputLine<'_>) -> Vec<Step> {
        if self.phase == Phase::Idle || line.command_uuid.as_deref() != Some(&self.turn.uuid) {
            return Vec::new();
        }
        match line.state.as_deref() {
            Some("queued") if !self.turn.begun => self.phase = Phase::AwaitStart,
            Some("started") => {
                self.phase = Phase::Open;
                return self.begun().into_iter().collect();
            }
            _ => {}
        }
        Vec::new()
    }

    fn answers_us(&self, line: &OutputLine<'_>) -> bool {
        let ids = line.user_message_uuids.as_deref().unwrap_or_default();
        ids.iter().any(|id| **id == *self.turn.uuid)
    }

    /// A request of the CLI to its host.
    fn control(&mut self, line: &OutputLine<'_>) -> Heard {
        let id = line.request_id.as_deref().ok_or(Unreadable)?;
        if id.len() > LONGEST_ID {
            self.unknown += 1;
            return Ok(vec![refuse(id, "the id of the request is too long")]);
        }
        let Some(Ok(request)) =
            line.request.map(|request| serde_json::from_str::<Control<'_>>(request.get()))
        else {
            self.unknown += 1;
            return Ok(vec![refuse(id, "unsupported")]);
        };
        let is_mended = line.request.is_some_and(|request| may_be_mended(request.get()));
        let pending = match &*request.subtype {
            "can_use_tool" => Pending::Tool(PendingAsk::of(request, is_mended)),
            "elicitation" => Pending::Elicitation(Elicitation::of(request)),
            _ => {
                self.unknown += 1;
                return Ok(vec![refuse(id, "unsupported")]);
            }
        };
        let size = line.request.map_or(0, |request| request.get().len());
        if self.phase == Phase::Idle
            && (self.pending.len() >= ASKS_BETWEEN || size > ASK_BETWEEN_BYTES)
        {
            let message = "too much is asked between two messages of a person".to_owned();
            return Ok(vec![respond(id, &pending.response(&Answer::Deny { message }))]);
        }
        // What is asked between two turns waits for the next one.
        let ask = (self.phase != Phase::Idle).then(|| Step::Ask(pending.ask(id)));
        self.pending.insert(id.to_owned(), pending);
        Ok(ask.into_iter().collect())
    }

    fn system(&mut self, subtype: &str, system: &System<'_>) -> Vec<Step> {
        let (text, data) = match subtype {
            "api_retry" => {
                self.turn.api_status = system.error_status;
                retry(system)
            }
            "permission_denied" => {
                let tool = system.tool_name.as_deref().unwrap_or("a tool");
                if let Some(id) = system.tool_use_id.as_deref() {
                    self.turn.refuse(id.to_owned());
                }
                let why = system
                    .message
                    .as_deref()
                    .map(|message| format!(": {message}"))
                    .unwrap_or_default();
                let data = json!({ "tool": tool, "toolUseId": system.tool_use_id.as_deref() });
                (format!("{tool} was not permitted{why}"), data)
            }
            "status" if system.status.as_deref() == Some("compacting") => {
                ("compacting the conversation".to_owned(), Value::Null)
            }
            "elicitation_complete" => {
                let server = system.mcp_server_name.as_deref().unwrap_or_default();
                let data = json!({ "kind": "elicitation-complete", "mcpServer": server });
                (format!("the MCP server `{server}` has what it asked for"), data)
            }
            "compact_boundary" => ("the conversation was compacted".to_owned(), Value::Null),
            _ => return Vec::new(),
        };
        vec![Step::Say(Event::Status { text, data: (!data.is_null()).then_some(data) })]
    }
}

fn retry(system: &System<'_>) -> (String, Value) {
    let error = system.error.as_deref().filter(|error| *error != "unknown");
    let what = match (system.error_status, error) {
        (Some(status), _) => format!("the model API answered {status}"),
        (None, Some(error)) => format!("the call of the model API failed ({error})"),
        (None, None) => "the call of the model API failed".to_owned(),
    };
    let attempt = match (system.attempt, system.max_retries) {
        (Some(attempt), Some(of)) => format!("; attempt {attempt} of {of}"),
        _ => "; another attempt".to_owned(),
    };
    let after =
        system.retry_delay_ms.map(|ms| format!(" in {:.1} s", ms / 1000.0)).unwrap_or_default();
    let data = json!({
        "attempt": system.attempt,
        "maxRetries": system.max_retries,
        "delayMs": system.retry_delay_ms.map(|ms| ms.round() as u64),
        "status": system.error_status,
        "error": error,
    });
    (format!("{what}{attempt}{after}"), data)
}
