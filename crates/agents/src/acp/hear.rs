//! What an agent says, line by line, as steps.

use super::handshake::Call;
use super::usage::Tokens;
use super::wire::{
    self, Block, INVALID_PARAMS, Notification, PermissionRequest, Prompted, REQUEST_CANCELLED,
    RpcError, RpcMessage, ToolCall, Update,
};
use super::{Acp, ask, failure};
use crate::event::{Artifact, Content};
use crate::reading::{Heard, Unreadable, raw, read_line};
use crate::{Event, LONGEST_ID, Outcome, Step};
use serde_json::Value;
use serde_json::value::RawValue;

impl Acp {
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<Step> {
        let heard = read_line(bytes, |line| self.read(line, bytes));
        heard.unwrap_or_else(|Unreadable| {
            self.unknown += 1;
            vec![raw(bytes)]
        })
    }

    fn read(&mut self, line: &RpcMessage<'_>, bytes: &[u8]) -> Heard {
        match (line.method.as_deref(), line.id) {
            (Some("session/update"), None) => {
                let params = line.params.ok_or(Unreadable)?;
                let told: Notification<'_> = serde_json::from_str(params.get())?;
                self.update(&told, bytes)
            }
            (Some("$/cancel_request"), None) => {
                let params: Value = serde_json::from_str(line.params.ok_or(Unreadable)?.get())?;
                Ok(self.withdraw(&params["requestId"]))
            }
            // A notification of the agent's own invention.
            (Some(_), None) => Ok(vec![raw(bytes)]),
            (Some(method), Some(id)) => {
                let text = id.get();
                let id: Value = serde_json::from_str(text)?;
                if text.len() > LONGEST_ID {
                    self.unknown += 1;
                    let refused = "the id of the request is too long";
                    return Ok(vec![wire::refuse(&id, INVALID_PARAMS, refused)]);
                }
                Ok(self.request(method, &id, line.params))
            }
            (None, Some(id)) => self.response(id, line),
            (None, None) => Err(Unreadable),
        }
    }

    /// A response to a request of ours.
    fn response(&mut self, id: &RawValue, line: &RpcMessage<'_>) -> Heard {
        let Some((_, call)) = self.awaiting.take_if(|(number, _)| id.get() == number.to_string())
        else {
            return Err(Unreadable);
        };
        if let Some(error) = line.error {
            let error: RpcError = serde_json::from_str(error.get()).unwrap_or_default();
            return Ok(match &self.turn {
                Some(turn) if call == Call::Prompt && turn.interrupted => {
                    self.end(Outcome::Canceled)
                }
                _ => self.refused(call, &error),
            });
        }
        let read = if call == Call::Prompt {
            let text = line.result.map_or("{}", RawValue::get);
            serde_json::from_str(text).map(|prompted| self.prompted(&prompted))
        } else {
            self.succeeded(call, line.result)
        };
        Ok(read.unwrap_or_else(|error| self.end(failure::unreadable(call, &error))))
    }

    /// The end of a turn.
    fn prompted(&mut self, prompted: &Prompted) -> Vec<Step> {
        let Some(turn) = &self.turn else {
            return Vec::new();
        };
        let (heard, interrupted) = (turn.tokens, turn.interrupted);
        let broken = turn.broken.then(|| failure::broken(&self.options, &turn.notice));
        let usage = self.used(prompted, heard);
        let outcome = match prompted.stop_reason.as_deref().unwrap_or("end_turn") {
            "end_turn" => match broken {
                Some(_) if interrupted => Outcome::Canceled,
                Some(failed) => failed,
                None => Outcome::Completed { answer: None },
            },
            "cancelled" if interrupted => Outcome::Canceled,
            reason => failure::of_stop(reason),
        };
        let said = usage.map(|usage| Step::Say(Event::Usage(usage)));
        said.into_iter().chain(self.end(outcome)).collect()
    }

    /// A request of the agent to its client.
    fn request(&mut self, method: &str, id: &Value, params: Option<&RawValue>) -> Vec<Step> {
        match method {
            "session/request_permission" => {
                let params = params.and_then(|params| serde_json::from_str(params.get()).ok());
                match params {
                    Some(params) => self.permission(id, params),
                    None => self.senseless(id, method),
                }
            }
            "elicitation/create" => {
                let params: Value = params
                    .and_then(|params| serde_json::from_str(params.get()).ok())
                    .unwrap_or_default();
                if params["mode"].as_str().unwrap_or("form") != "form" {
                    return self.senseless(id, method);
                }
                let number = self.number();
                let (ask, pending) = ask::question(&number, id.clone(), params);
                self.ask(ask, pending)
            }
            _ => self.unserved(id, method),
        }
    }

    fn permission(&mut self, id: &Value, params: PermissionRequest) -> Vec<Step> {
        let number = self.number();
        let call = params.tool_call;
        let tool_id = call.tool_call_id.clone().unwrap_or_default();
        let mut passing = super::tool::Tools::default();
        let tools = match &mut self.turn {
            Some(turn) => &mut turn.tools,
            None => &mut passing,
        };
        let ((mut events, ask, pending), forgotten) = tools.change(&tool_id, |tool| {
            let mut events = tool.update(&tool_id, &call, false);
            events.extend(tool.tell(&tool_id));
            let id = id.clone();
            let (ask, pending) = ask::permission(&number, id, &tool_id, tool, params.options);
            (events, ask, pending)
        });
        events.extend(forgotten);
        let told = events.into_iter().map(Step::Say);
        let told: Vec<Step> = if self.turn.is_some() { told.collect() } else { Vec::new() };
        told.into_iter().chain(self.ask(ask, pending)).collect()
    }

    /// An ask goes to whoever answers; where nobody waits for the turn, nobody will.
    fn ask(&mut self, ask: crate::Ask, pending: ask::PendingAsk) -> Vec<Step> {
        if self.turn.as_ref().is_none_or(|turn| turn.interrupted) {
            return vec![pending.canceled()];
        }
        self.pending.insert(ask.id.clone(), pending);
        vec![Step::Ask(ask)]
    }

    fn number(&mut self) -> String {
        self.asks += 1;
        format!("ask-{}", self.asks)
    }

    fn senseless(&mut self, id: &Value, method: &str) -> Vec<Step> {
        self.unknown += 1;
        let message = format!("these parameters of `{method}` are not understood");
        vec![wire::refuse(id, INVALID_PARAMS, &message)]
    }

    /// The agent no longer wants an answer.
    fn withdraw(&mut self, request: &Value) -> Vec<Step> {
        let asked = self.pending.iter();
        let found = asked
            .filter(|(_, pending)| pending.request == *request)
            .map(|(id, _)| id.clone())
            .next();
        let Some(id) = found else {
            return Vec::new();
        };
        self.pending.remove(&id);
        vec![
            wire::refuse(request, REQUEST_CANCELLED, "the request was cancelled"),
            Step::Withdraw(id),
        ]
    }

    fn update(&mut self, told: &Notification<'_>, bytes: &[u8]) -> Heard {
        let update: Update<'_> = serde_json::from_str(told.update.get())?;
        let kind = &*update.session_update;
        match kind {
            // What the client could show in menus.
            "available_commands_update" | "current_mode_update" | "config_option_update" => {
                return Ok(Vec::new());
            }
            "usage_update" => {
                let usage: Value = serde_json::from_str(told.update.get())?;
                self.totals.hear(usage.get("cost"));
                return Ok(Vec::new());
            }
            _ => {}
        }
        match self.awaiting {
            // The history of a session that is loaded.
            Some((_, Call::Load | Call::Resume | Call::Fork)) => return Ok(Vec::new()),
            None if self.settling.is_some() => {
                self.settling = Some(true);
                return Ok(Vec::new());
            }
            Some((_, Call::Prompt)) if self.is_ours(told) => {}
            // Words that no turn waits for, or of another session.
            _ if kind == "session_info_update" => return Ok(Vec::new()),
            _ => return Ok(vec![raw(bytes)]),
        }
        match kind {
            "agent_message_chunk" => self.words(&update),
            "agent_thought_chunk" => {
                let block: Block<'_> =
                    serde_json::from_str(update.content.ok_or(Unreadable)?.get())?;
                let text = block.text.filter(|text| !text.is_empty());
                let said = text.map(|text| Step::Say(Event::Thought(text.into_owned())));
                Ok(said.into_iter().collect())
            }
            // The prompt, repeated.
            "user_message_chunk" => Ok(Vec::new()),
            "tool_call" | "tool_call_update" => {
                let news: ToolCall = serde_json::from_str(told.update.get())?;
                Ok(self.tool(&news, kind == "tool_call"))
            }
            "plan" => {
                let mut plan: Value = serde_json::from_str(told.update.get())?;
                Ok(vec![Step::Say(Event::Plan(plan["entries"].take()))])
            }
            "session_info_update" => Ok(self.about_itself(&update)),
            _ => Err(Unreadable),
        }
    }

    fn is_ours(&self, told: &Notification<'_>) -> bool {
        let session = self.session.as_ref().map(|session| session.id.as_str());
        self.turn.is_some() && (told.session_id.is_none() || told.session_id.as_deref() == session)
    }

    /// A piece of the answer; the text of a further message begins a paragraph of its own.
    fn words(&mut self, update: &Update<'_>) -> Heard {
        let block: Block<'_> = serde_json::from_str(update.content.ok_or(Unreadable)?.get())?;
        let Some(turn) = &mut self.turn else {
            return Ok(Vec::new());
        };
        if let Some(meta) = update.meta
            && let Ok(meta) = serde_json::from_str::<Value>(meta.get())
        {
            turn.tokens.add(Tokens::read(&meta["usage"]));
        }
        let Some(text) = block.text.as_deref() else {
            return Ok(other_content(block).into_iter().map(Step::Say).collect());
        };
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if update.message_id.is_none() {
            // A remark of the agent itself is not the model's answer.
            if let Some(remark) = text.strip_prefix("Warning: ") {
                return Ok(vec![Step::Say(Event::Status {
                    text: remark.trim().to_owned(),
                    data: None,
                })]);
            }
            text.clone_into(&mut turn.notice);
        }
        let fresh = turn.message.as_deref() != update.message_id.as_deref();
        if fresh {
            turn.message = update.message_id.as_deref().map(ToOwned::to_owned);
        }
        let apart = fresh && turn.said && !turn.line_ended;
        turn.said = true;
        turn.line_ended = text.ends_with('\n');
        let text = if apart { format!("\n\n{text}") } else { text.to_owned() };
        Ok(vec![Step::Say(Event::Text(text))])
    }

    fn tool(&mut self, news: &ToolCall, is_first: bool) -> Vec<Step> {
        let Some(turn) = &mut self.turn else {
            return Vec::new();
        };
        let id = news.tool_call_id.clone().unwrap_or_default();
        let change = |tool: &mut super::tool::Tool| tool.update(&id, news, is_first);
        let (events, forgotten) = turn.tools.change(&id, change);
        events.into_iter().chain(forgotten).map(Step::Say).collect()
    }

    /// What an agent says of itself beside the protocol: that it tries again, or that it failed.
    fn about_itself(&mut self, update: &Update<'_>) -> Vec<Step> {
        let meta = update.meta.and_then(|meta| serde_json::from_str::<Value>(meta.get()).ok());
        let Some(Value::Object(meta)) = meta else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        for about in meta.values() {
            if about["threadStatus"]["type"] == "systemError"
                && let Some(turn) = &mut self.turn
            {
                turn.broken = true;
            }
            let error = &about["error"];
            if let Some(message) = error["message"].as_str() {
                let details = error["additionalDetails"].as_str();
                let details = details.map(|details| format!(" ({details})"));
                steps.push(Step::Say(Event::Status {
                    text: format!("{message}{}", details.unwrap_or_default()),
                    data: None,
                }));
            }
        }
        steps
    }
}

/// Content of the answer that is no text: an artifact of its own.
fn other_content(block: Block<'_>) -> Option<Event> {
    let name = block.name.clone();
    let content = match (&*block.kind, block.resource) {
        ("image" | "audio", _) => {
            Content::Raw { base64: block.data?, filename: None, media_type: block.mime_type }
        }
        ("resource_link", _) => {
            Content::Url { url: block.uri?, filename: block.name, media_type: block.mime_type }
        }
        (_, Some(resource)) => match (resource.text, resource.blob) {
            (Some(text), _) => Content::Text(text),
            (None, Some(base64)) => Content::Raw {
                base64,
                filename: resource.uri.and_then(|uri| Some(uri.rsplit('/').next()?.to_owned())),
                media_type: resource.mime_type,
            },
            (None, None) => return None,
        },
        _ => return None,
    };
    Some(Event::Artifact(Artifact {
        id: None,
        name,
        description: None,
        content,
        append: false,
        last: true,
    }))
}
