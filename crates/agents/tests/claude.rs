//! Recorded runs of the real Claude Code, replayed through the driver: what it makes of each line,
//! and that what it writes is what the recording's host wrote.

#![expect(clippy::unwrap_used, reason = "a replay that cannot be read is a failed test")]

use insta::{assert_snapshot, with_settings};
use pilothouse_agents::claude::{Claude, ClaudeOptions};
use pilothouse_agents::{Answer, AskKind, Driver, Event, Exit, Outcome, Step, Timer, Turn};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// One line of a transcript: something that was written or read, or the end of the process.
#[derive(Deserialize)]
struct Entry {
    dir: Option<String>,
    m: Option<Value>,
    exit: Option<Ended>,
    /// Whether the time has come at which the driver wanted to be woken.
    #[serde(default)]
    woke: bool,
}

#[derive(Deserialize)]
struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
    #[serde(default)]
    stderr: String,
}

/// A replay: the driver, and its steps as text.
struct Replay {
    driver: Claude,
    asked: BTreeMap<String, AskKind>,
    /// The id that the recording's host gave a message → the one that the driver gave it.
    uuids: Vec<(String, String)>,
    timer: Option<Timer>,
    /// The first prompt, until the turn has begun without it.
    prompt: Option<Turn>,
    /// A prompt that the driver has written later.
    held: Option<Value>,
    page: String,
}

impl Replay {
    fn of(transcript: &str) -> String {
        let mut replay = Self {
            driver: Claude::new(ClaudeOptions {
                // Only where the recording's host has asked for them.
                server_wait: match transcript.contains("mcp_status") {
                    true => Duration::from_secs(30),
                    false => Duration::ZERO,
                },
                ..ClaudeOptions::default()
            }),
            prompt: first_prompt(transcript),
            held: None,
            asked: BTreeMap::new(),
            uuids: Vec::new(),
            timer: None,
            page: String::new(),
        };
        for line in transcript.lines() {
            let entry: Entry = serde_json::from_str(line).unwrap();
            match (entry.dir.as_deref(), entry.m, entry.exit) {
                (Some("in"), Some(message), _) => replay.host(&message),
                (Some("out"), Some(message), _) => replay.cli(&message),
                (_, _, Some(ended)) => replay.exit(ended),
                _ if entry.woke => replay.woke(),
                _ => panic!("no entry: {line}"),
            }
        }
        let unknown = replay.driver.unknown();
        writeln!(replay.page, "unknown: {unknown}").unwrap();
        replay.page
    }

    /// The host's part of the recording, played by the driver.
    fn host(&mut self, message: &Value) {
        match message["type"].as_str().unwrap() {
            "user" => self.user(message),
            "control_request" if message["request"]["subtype"] == "mcp_status" => {
                let steps = match self.prompt.take() {
                    Some(prompt) => {
                        writeln!(self.page, "> {}", prompt.text).unwrap();
                        self.driver.begin(&prompt)
                    }
                    None => self.driver.woke(self.timer.take().expect("the driver waits")),
                };
                assert_eq!(written(&steps), *message);
                self.note(&steps);
            }
            "control_request" => {
                self.page.push_str("> interrupt\n");
                let steps = self.driver.interrupt();
                // Between turns the recording's host interrupted, too; the driver has nothing to.
                if !steps.is_empty() {
                    assert_eq!(written(&steps)["request"], message["request"]);
                }
                self.note(&steps);
            }
            "control_response" => self.answer(&message["response"]),
            other => panic!("the host wrote {other}"),
        }
    }

    fn user(&mut self, message: &Value) {
        let (steps, mut written) = match self.held.take() {
            Some(held) => (Vec::new(), held),
            None => {
                let turn = turn(&message["message"]["content"]);
                writeln!(self.page, "> {}", turn.text).unwrap();
                let steps = self.driver.begin(&turn);
                let written = written(&steps);
                (steps, written)
            }
        };
        let uuid = written.as_object_mut().unwrap().remove("uuid").unwrap();
        let mut expected = message.clone();
        if let Some(recorded) = expected.as_object_mut().unwrap().remove("uuid") {
            self.uuids
                .push((recorded.as_str().unwrap().to_owned(), uuid.as_str().unwrap().to_owned()));
        }
        // The guard against commands is ours alone.
        if let Some(text) =
            written["message"]["content"].as_str().and_then(|text| text.strip_prefix("\n/"))
        {
            written["message"]["content"] = format!("/{text}").into();
        }
        assert_eq!(written, expected);
        self.note(&steps);
    }

    fn answer(&mut self, response: &Value) {
        let id = response["request_id"].as_str().unwrap();
        let Some(kind) = self.asked.remove(id) else {
            return; // A hook's call: the driver has refused it already.
        };
        let (AskKind::Permission { input, .. } | AskKind::Question { input, .. }) = kind;
        let recorded = &response["response"];
        let answer = match recorded["behavior"].as_str() {
            None if recorded["action"] == "accept" => {
                Answer::Allow { input: Some(json!({ "content": recorded["content"] })) }
            }
            Some("allow") if recorded["updatedInput"] == input => Answer::Allow { input: None },
            Some("allow") => Answer::Allow { input: Some(recorded["updatedInput"].clone()) },
            _ => Answer::Deny { message: recorded["message"].as_str().unwrap().to_owned() },
        };
        writeln!(self.page, "> answer {id}").unwrap();
        let steps = self.driver.answer(id, &answer);
        let mut expected = response.clone();
        // Suggestions of standing permissions, which the driver never echoes.
        expected["response"].as_object_mut().unwrap().remove("updatedPermissions");
        assert_eq!(written(&steps)["response"], expected);
        self.note(&steps);
    }

    fn cli(&mut self, message: &Value) {
        let mut line = message.to_string();
        for (recorded, ours) in &self.uuids {
            line = line.replace(recorded, ours);
        }
        let steps = self.driver.line(line.as_bytes());
        self.note(&steps);
    }

    fn woke(&mut self) {
        self.page.push_str("> woke\n");
        let timer = self.timer.take().expect("the driver has asked to be woken");
        let steps = self.driver.woke(timer);
        self.note(&steps);
    }

    fn exit(&mut self, ended: Ended) {
        self.page.push_str("> exit\n");
        let exit = Exit { code: ended.code, signal: ended.signal, stderr: ended.stderr };
        let steps = self.driver.exit(&exit);
        self.note(&steps);
    }

    fn note(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Ask(ask) => drop(self.asked.insert(ask.id.clone(), ask.kind.clone())),
                Step::Wake(timer, _) => self.timer = Some(*timer),
                Step::Write(bytes) if self.prompt.is_none() => {
                    let message: Value = serde_json::from_slice(bytes).unwrap();
                    self.held = (message["type"] == "user").then_some(message).or(self.held.take());
                }
                _ => {}
            }
            writeln!(self.page, "{}", shown(step)).unwrap();
        }
    }
}

/// The first prompt of a recording.
fn first_prompt(transcript: &str) -> Option<Turn> {
    let entries = transcript.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut prompts = entries.filter(|entry| entry["dir"] == "in" && entry["m"]["type"] == "user");
    prompts.next().map(|entry| turn(&entry["m"]["message"]["content"]))
}

/// The turn that makes such a content.
fn turn(content: &Value) -> Turn {
    let mut turn = Turn::default();
    match content {
        Value::Array(blocks) => {
            for block in blocks {
                match block["type"].as_str().unwrap() {
                    "text" => turn.text = block["text"].as_str().unwrap().to_owned(),
                    _ => turn.images.push((
                        block["source"]["media_type"].as_str().unwrap().to_owned(),
                        block["source"]["data"].as_str().unwrap().to_owned(),
                    )),
                }
            }
        }
        text => turn.text = text.as_str().unwrap().to_owned(),
    }
    turn
}

/// The one message that these steps write.
fn written(steps: &[Step]) -> Value {
    let lines: Vec<&Vec<u8>> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Write(bytes) => Some(bytes),
            _ => None,
        })
        .collect();
    let [line] = lines[..] else { panic!("not one line: {steps:?}") };
    assert_eq!(line.iter().filter(|&&b| b == b'\n').count(), 1, "a message is one line");
    serde_json::from_slice(line).unwrap()
}

/// A step as one short line.
fn shown(step: &Step) -> String {
    match step {
        Step::Say(event) => said(event),
        Step::Ask(ask) => match &ask.kind {
            AskKind::Permission { tool, input, description, .. } => {
                format!(
                    "ask {}: may {tool} run? {input} ({})",
                    ask.id,
                    description.as_deref().unwrap_or("-")
                )
            }
            AskKind::Question { text, options, .. } => {
                format!("ask {}: {text} {options:?}", ask.id)
            }
        },
        Step::Withdraw(id) => format!("withdraw {id}"),
        Step::Ready => "ready".to_owned(),
        Step::Conversation(id) => format!("conversation {id}"),
        Step::Write(bytes) => {
            let mut message: Value = serde_json::from_slice(bytes).unwrap();
            // Derived by a hash that the standard library may change.
            if message.get("uuid").is_some() {
                message["uuid"] = "..".into();
            }
            format!("write {message}")
        }
        Step::Limited(limit) => format!("limited {} {:?}", limit.kind, limit.resets_at),
        Step::WithinLimits => "within limits".to_owned(),
        Step::CloseInput => "close input".to_owned(),
        Step::Wake(_, after) => format!("wake after {after:?}"),
        Step::End(outcome) => ended(outcome),
    }
}

fn said(event: &Event) -> String {
    match event {
        Event::Text(text) => format!("text {text:?}"),
        Event::Thought(text) => format!("thought {text:?}"),
        Event::Status { text, data } => {
            format!("status {text:?} {}", data.as_ref().unwrap_or(&Value::Null))
        }
        Event::ToolCall { id, name, input } => format!("call {id} {name} {input}"),
        Event::ToolResult { id, content, is_error } => {
            format!("{} {id} {content:?}", if *is_error { "error" } else { "result" })
        }
        Event::Plan(plan) => format!("plan {plan}"),
        Event::ToolFile { id, base64, media_type } => {
            format!("file of {id}: {media_type:?}, {} bytes of base64", base64.len())
        }
        Event::Artifact(artifact) => format!("artifact {artifact:?}"),
        Event::Message(text) => format!("message {text:?}"),
        Event::Usage(usage) => format!(
            "usage in {} out {} cost {} model {} turns {}",
            usage.input_tokens.unwrap_or_default(),
            usage.output_tokens.unwrap_or_default(),
            usage.cost_usd.unwrap_or_default(),
            usage.model.as_deref().unwrap_or("-"),
            usage.turns.unwrap_or_default()
        ),
        Event::Problem(problem) => format!("problem {}", problem.text),
        Event::Setup(evidence) => format!("set-up of {} things", evidence.len()),
        Event::Raw(value) => {
            format!(
                "raw {} {}",
                value["type"].as_str().unwrap_or("-"),
                value["subtype"].as_str().unwrap_or("-")
            )
        }
    }
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed { answer } => {
            format!("end completed {:?}", answer.as_deref().unwrap_or("-"))
        }
        Outcome::Failed { message, hint } => {
            format!("end failed {message:?}\n    hint: {}", hint.as_deref().unwrap_or("-"))
        }
        other => format!("end {other:?}"),
    }
}

macro_rules! replays {
    ($($test:ident $file:literal,)*) => {$(
        #[test]
        fn $test() {
            let page = Replay::of(include_str!(concat!("transcripts/claude/", $file, ".jsonl")));
            with_settings!({ snapshot_path => "transcripts/claude/snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
                assert_snapshot!($file, page);
            });
        }
    )*};
}

replays! {
    whole_messages_are_text "text",
    partial_messages_stream_and_are_not_said_twice "partial",
    a_tool_is_called_and_answers "tool-allowed",
    a_refused_tool_is_told_once "tool-denied",
    permissions_are_asked_answered_and_withdrawn "permissions",
    questions_are_asked_and_answered "questions",
    an_interrupt_ends_the_turn_and_the_next_one_is_whole "interrupt-text",
    an_interrupt_stops_a_tool "interrupt-tool",
    messages_with_ids_and_an_interrupt_between_turns "lifecycle",
    a_rejected_key_is_told_while_the_cli_tries_again "key-rejected",
    a_connection_that_drops_is_told_while_the_cli_tries_again "connection-drops",
    an_overloaded_api_fails_the_turn "overloaded",
    a_retry_that_succeeds_completes "recovered",
    a_bad_request_fails_though_the_subtype_says_success "bad-request",
    a_prompt_that_is_too_long_fails "too-long",
    a_missing_key_fails_with_advice "no-key",
    an_api_that_is_down_fails "api-down",
    a_turn_limit_fails "max-turns",
    a_budget_fails "budget",
    a_conversation_is_resumed "resume",
    an_unknown_conversation_is_lost "resume-unknown",
    structured_output_is_an_artifact "structured-output",
    a_deferred_tool_fails_with_advice "tool-deferred",
    hooks_are_refused_and_a_compaction_is_told "hooks",
    a_terminated_process_fails_the_turn "sigterm",
    the_report_of_a_subagent_is_the_end_of_the_answer "background-agent",
    a_subagent_asks_when_the_models_own_turn_is_over "background-ask",
    a_command_that_the_cli_moved_to_the_background_is_waited_for "background-moved",
    an_interrupt_ends_the_wait_for_a_subagent "background-interrupt",
    a_command_of_the_models_own_is_left_running_and_its_end_begins_no_turn "background-server",
    a_subagent_in_the_foreground_is_not_waited_for_again "foreground-agent",
    a_form_of_a_server_is_asked_and_answered "elicitation",
    a_prompt_is_held_back_until_its_servers_are_there "mcp-pending",
    a_prompt_that_a_hook_blocks_is_rejected "prompt-blocked",
    a_limit_of_the_account_ends_the_turn_and_says_until_when "rate-limit",
}
