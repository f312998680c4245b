//! Recorded runs of real agents that speak the Agent Client Protocol, replayed through the driver:
//! what it asks of each, what it makes of each line, and how it answers; and that no line breaks it.

#![expect(clippy::unwrap_used, reason = "a replay that cannot be read is a failed test")]

use insta::{assert_snapshot, with_settings};
use pilothouse_agents::acp::{Acp, AcpOptions};
use pilothouse_agents::{Answer, AskKind, Driver, Event, Outcome, Setting, Step, Timer, Turn};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A replay: the driver, what it waits for, and its steps as text.
struct Replay {
    driver: Acp,
    /// Number and method of the driver's last request.
    request: (Value, String),
    /// The recording's numbers of requests → the driver's.
    numbers: BTreeMap<String, Value>,
    /// Requests of the recording that the driver has no need of.
    skipped: BTreeSet<String>,
    /// The ask that waits, and what the driver wrote last.
    ask: Option<String>,
    written: Vec<Value>,
    begun: bool,
    /// Whether the driver waits for silence.
    waits: bool,
    page: String,
}

impl Replay {
    fn of(transcript: &str, options: AcpOptions) -> String {
        let entries: Vec<Value> =
            transcript.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let method = |entry: &&Value, any: &[&str]| {
            any.contains(&entry["m"]["method"].as_str().unwrap_or_default())
        };
        let mut driver = Acp::new(options);
        let opened = entries
            .iter()
            .find(|entry| method(entry, &["session/new", "session/resume", "session/load"]));
        let resume = opened.and_then(|entry| entry["m"]["params"]["sessionId"].as_str());
        let setting = Setting {
            workspace: "/srv/w".to_owned(),
            resume: resume.map(ToOwned::to_owned),
            ..Setting::default()
        };
        driver.launch(&setting, &Turn::default()).unwrap();
        let mut replay = Self {
            driver,
            request: (Value::Null, String::new()),
            numbers: BTreeMap::new(),
            skipped: BTreeSet::new(),
            ask: None,
            written: Vec::new(),
            begun: false,
            waits: false,
            page: String::new(),
        };
        let first = entries.iter().find(|entry| method(entry, &["session/prompt"]));
        let text = first.map_or("hello", |entry| prompt_of(&entry["m"]));
        for entry in &entries {
            match entry["dir"].as_str().unwrap() {
                "in" => replay.host(&entry["m"], text),
                _ => replay.agent(&entry["m"]),
            }
        }
        let unknown = replay.driver.unknown();
        writeln!(replay.page, "unknown: {unknown}").unwrap();
        replay.page
    }

    /// The host's part of the recording, played by the driver.
    fn host(&mut self, message: &Value, first: &str) {
        while std::mem::take(&mut self.waits) {
            self.page.push_str("> woke\n");
            let steps = self.driver.woke(Timer::Replay);
            self.note(&steps);
        }
        match message["method"].as_str() {
            Some("initialize") => self.begin(first),
            Some("session/cancel") => {
                self.page.push_str("> interrupt\n");
                let steps = self.driver.interrupt();
                self.note(&steps);
                return;
            }
            Some("session/prompt") if self.begun && self.request.1 == "session/prompt" => {
                // The first one followed the handshake by itself.
                if self.numbers.values().any(|number| *number == self.request.0) {
                    self.begin(prompt_of(message));
                }
            }
            Some(_) => {}
            None => return self.answer(message),
        }
        let number = message["id"].to_string();
        if message["method"] == self.request.1.as_str() {
            self.numbers.insert(number, self.request.0.clone());
        } else {
            self.skipped.insert(number);
        }
    }

    fn begin(&mut self, text: &str) {
        self.begun = true;
        writeln!(self.page, "> {text}").unwrap();
        let turn = Turn { text: text.to_owned(), ..Turn::default() };
        let steps = self.driver.begin(&turn);
        self.note(&steps);
    }

    fn answer(&mut self, recorded: &Value) {
        if recorded.get("error").is_some() {
            // The driver has refused it by itself.
            let refused = self.written.iter().any(|written| {
                written["id"] == recorded["id"]
                    && written["error"]["code"] == recorded["error"]["code"]
            });
            assert!(refused, "not refused: {recorded}");
            return;
        }
        let id = self.ask.take().expect("the recording answers an ask");
        let result = &recorded["result"];
        let option = result["outcome"]["optionId"].as_str().unwrap_or_default();
        let answer = if let Some(content) = result.get("content") {
            Answer::Allow { input: content.as_object().unwrap().values().next().cloned() }
        } else if option.contains("once") && !option.contains("reject") {
            Answer::Allow { input: None }
        } else {
            Answer::Deny { message: "no".to_owned() }
        };
        writeln!(self.page, "> answer {id}").unwrap();
        let steps = self.driver.answer(&id, &answer);
        self.note(&steps);
        let written = self.written.last().unwrap();
        assert_eq!((&written["id"], &written["result"]), (&recorded["id"], result));
    }

    fn agent(&mut self, message: &Value) {
        let mut message = message.clone();
        if message.get("method").is_none() {
            let number = message["id"].to_string();
            if self.skipped.contains(&number) {
                return;
            }
            if let Some(ours) = self.numbers.get(&number) {
                message["id"] = ours.clone();
            }
        }
        let steps = self.driver.line(message.to_string().as_bytes());
        self.note(&steps);
    }

    fn note(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Ask(ask) => self.ask = Some(ask.id.clone()),
                Step::Wake(timer, _) => self.waits = *timer == Timer::Replay,
                Step::Write(bytes) => {
                    assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
                    let message: Value = serde_json::from_slice(bytes).unwrap();
                    assert_eq!(message["jsonrpc"], "2.0");
                    if let (Some(method), true) =
                        (message["method"].as_str(), message["id"].is_number())
                    {
                        self.request = (message["id"].clone(), method.to_owned());
                    }
                    self.written.push(message);
                }
                _ => {}
            }
            writeln!(self.page, "{}", shown(step)).unwrap();
        }
    }
}

fn prompt_of(message: &Value) -> &str {
    message["params"]["prompt"][0]["text"].as_str().unwrap()
}

/// A step as one short line.
fn shown(step: &Step) -> String {
    match step {
        Step::Say(event) => said(event),
        Step::Ask(ask) => match &ask.kind {
            AskKind::Permission { tool, input, description, .. } => format!(
                "{}: may {tool} run? {input} ({})",
                ask.id,
                description.as_deref().unwrap_or("-")
            ),
            AskKind::Question { text, options, input } => {
                format!("{}: {text} {options:?} {input}", ask.id)
            }
        },
        Step::Withdraw(id) => format!("withdraw {id}"),
        Step::Ready => "ready".to_owned(),
        Step::Conversation(id) => format!("conversation {id}"),
        Step::Write(bytes) => {
            let mut message: Value = serde_json::from_slice(bytes).unwrap();
            message.as_object_mut().unwrap().remove("jsonrpc");
            // It names this package's version.
            if let Some(client) = message.pointer_mut("/params/clientInfo") {
                client["version"] = "..".into();
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
            "usage in {:?} out {:?} cost {:?} model {}",
            usage.input_tokens,
            usage.output_tokens,
            usage.cost_usd,
            usage.model.as_deref().unwrap_or("-")
        ),
        Event::Problem(problem) => format!("problem {}", problem.text),
        Event::Setup(evidence) => format!("set-up of {} things", evidence.len()),
        Event::Raw(value) => format!("raw {}", value["method"].as_str().unwrap_or("-")),
    }
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed { answer } => format!("end completed {answer:?}"),
        Outcome::Failed { message, hint } => {
            format!("end failed {message:?}\n    hint: {}", hint.as_deref().unwrap_or("-"))
        }
        other => format!("end {other:?}"),
    }
}

fn options() -> AcpOptions {
    AcpOptions { program: "agent".to_owned(), ..AcpOptions::default() }
}

/// As the preset `qwen` has it, asked for a mode.
fn asking() -> AcpOptions {
    AcpOptions { mode: Some("default".to_owned()), ..options() }
}

fn signing_in() -> AcpOptions {
    AcpOptions {
        auth_method: Some("gemini-api-key".to_owned()),
        credentials: vec!["GEMINI_API_KEY".to_owned()],
        ..options()
    }
}

macro_rules! replays {
    ($($test:ident $file:literal $options:ident,)*) => {$(
        #[test]
        fn $test() {
            let page = Replay::of(include_str!(concat!("transcripts/acp/", $file, ".jsonl")), $options());
            with_settings!({ snapshot_path => "transcripts/acp/snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
                assert_snapshot!($file, page);
            });
        }
    )*};
}

replays! {
    gemini_talks_asks_and_is_interrupted "gemini" options,
    gemini_goes_on_after_a_refusal "gemini-denied" options,
    gemini_shows_a_change_as_a_diff "gemini-diff" options,
    gemini_that_loads_repeats_nothing "gemini-loaded" options,
    gemini_without_a_key_fails_with_advice "gemini-no-key" signing_in,
    gemini_that_cannot_load_begins_anew_and_says_so "gemini-load" options,
    codex_talks_runs_and_is_interrupted "codex" options,
    codex_tells_what_its_terminal_printed "codex-zed" options,
    codex_that_failed_is_not_completed "codex-error" options,
    codex_that_dies_at_the_start_fails_with_its_words "codex-untrusted" options,
    codex_is_resumed "codex-resume" options,
    claude_talks_asks_and_is_interrupted "claude" options,
    claude_goes_on_after_a_refusal "claude-denied" options,
    claude_is_resumed "claude-resume" options,
    claude_asks_by_a_form "elicitation" options,
    copilot_talks_asks_and_is_interrupted "copilot" options,
    copilot_goes_on_after_a_refusal "copilot-denied" options,
    copilot_is_loaded_and_its_history_dropped "copilot-load" options,
    opencode_talks_asks_and_is_interrupted "opencode" options,
    opencode_goes_on_after_a_refusal "opencode-denied" options,
    opencode_is_resumed "opencode-resume" options,
    qwen_talks_asks_and_is_interrupted "qwen" options,
    qwen_is_put_into_a_mode_and_goes_on_after_a_refusal "qwen-denied" asking,
}

/// Lines that are nearly of the protocol: the fields are right, what they hold is anything.
fn nearly() -> impl Strategy<Value = String> {
    let any = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
        Just(
            json!({ "sessionId": "s", "update": { "sessionUpdate": "tool_call", "content": [1] } })
        ),
        Just(json!({ "sessionId": "s", "stopReason": "end_turn", "usage": [] })),
        Just(json!({ "toolCall": {}, "options": [{}] })),
        Just(
            json!({ "mode": "form", "requestedSchema": { "properties": { "a": [] }, "required": [1] } })
        ),
    ];
    let method = prop_oneof![
        Just("session/update"),
        Just("session/request_permission"),
        Just("elicitation/create"),
        Just("$/cancel_request"),
        Just("fs/read_text_file"),
    ];
    (prop::option::of(0..6_i64), prop::option::of(method), any.clone(), any).prop_map(
        |(id, method, params, result)| {
            let mut line = json!({ "jsonrpc": "2.0" });
            if let Some(id) = id {
                line["id"] = id.into();
            }
            if let Some(method) = method {
                line["method"] = method.into();
                line["params"] = params;
            } else {
                line["result"] = result;
            }
            line.to_string()
        },
    )
}

proptest! {
    #[test]
    fn no_line_breaks_the_driver(
        lines in prop::collection::vec(prop_oneof![nearly(), ".{0,40}"], 0..24),
        opened in any::<bool>(),
        answers in any::<bool>(),
    ) {
        let mut driver = Acp::new(options());
        driver.launch(&Setting::default(), &Turn::default()).unwrap();
        let turn = Turn { text: "hello".to_owned(), ..Turn::default() };
        driver.begin(&turn);
        if opened {
            driver.line(br#"{"id":1,"result":{"protocolVersion":1}}"#);
            driver.line(br#"{"id":2,"result":{"sessionId":"s"}}"#);
        }
        let mut ends = 0;
        for line in &lines {
            for step in driver.line(line.as_bytes()) {
                match step {
                    Step::Ask(ask) if answers => {
                        driver.answer(&ask.id, &Answer::Allow { input: Some(json!("x")) });
                    }
                    Step::End(_) => ends += 1,
                    _ => {}
                }
            }
        }
        driver.interrupt();
        driver.woke(Timer::Replay);
        driver.woke(Timer::Handshake);
        driver.exit(&pilothouse_agents::Exit::default());
        prop_assert!(ends <= 1, "a turn ends once");
    }
}
