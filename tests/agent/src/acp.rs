//! An agent of the Agent Client Protocol that behaves well, or badly in one way: `--acp MODE`.

use crate::{play, process, usage};
use serde_json::{Value, json};
use std::io::{self, BufRead, StdinLock, Write};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Well,
    DiesAtOnce,
    DiesInTheMiddle,
    HangsInInitialize,
    HangsInPrompt,
    Floods,
    LongLine,
    Nonsense,
    UnknownIds,
    Withdraws,
    AsksAndEnds,
    AsksAndDies,
    Asks,
    Elicits,
    TalksAfter,
    OtherSession,
    Login,
    Version,
    Refuses,
    GivesUp,
    Runs,
}

/// The modes by their names, as the documentation of this package explains them.
const MODES: &[(&str, Mode)] = &[
    ("well", Mode::Well),
    ("dies-at-once", Mode::DiesAtOnce),
    ("dies-in-the-middle", Mode::DiesInTheMiddle),
    ("hangs-in-initialize", Mode::HangsInInitialize),
    ("hangs-in-prompt", Mode::HangsInPrompt),
    ("floods", Mode::Floods),
    ("long-line", Mode::LongLine),
    ("nonsense", Mode::Nonsense),
    ("unknown-ids", Mode::UnknownIds),
    ("withdraws", Mode::Withdraws),
    ("asks-and-ends", Mode::AsksAndEnds),
    ("asks-and-dies", Mode::AsksAndDies),
    ("asks", Mode::Asks),
    ("elicits", Mode::Elicits),
    ("talks-after", Mode::TalksAfter),
    ("other-session", Mode::OtherSession),
    ("login", Mode::Login),
    ("version", Mode::Version),
    ("refuses", Mode::Refuses),
    ("gives-up", Mode::GivesUp),
    ("runs", Mode::Runs),
];

/// The only session.
const SESSION: &str = "the-session";
/// Lines of text in a flood, and bytes in each.
const FLOOD: (usize, usize) = (4000, 1000);
/// Bytes of text in one long line.
const LONG: usize = 5 << 20;
/// What is no line of the protocol, or none that makes sense.
const NONSENSE: &[&str] = &[
    "this is no JSON",
    "[1, 2",
    "[]",
    "42",
    "null",
    "",
    "{}",
    r#"{"jsonrpc":"2.0","id":null}"#,
    r#"{"jsonrpc":"2.0","method":"session/update"}"#,
    r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"the-session","update":7}}"#,
    r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"the-session","update":{"sessionUpdate":"dance"}}}"#,
    r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"the-session","update":{"sessionUpdate":"agent_message_chunk","content":9}}}"#,
    r#"{"jsonrpc":"2.0","method":"a/notification/of/its/own","params":{}}"#,
];

/// An agent at its standard input and output.
#[derive(Debug)]
struct Agent {
    mode: Mode,
    input: StdinLock<'static>,
}

/// Behaves as this mode says, until standard input ends.
pub(crate) fn play(mode: &str) -> io::Result<u8> {
    let mode = MODES.iter().find(|(name, _)| *name == mode);
    let mode = mode.ok_or_else(|| usage("--acp names no mode that there is"))?.1;
    if mode == Mode::DiesAtOnce {
        eprintln!("no licence was found");
        return Ok(7);
    }
    let mut agent = Agent { mode, input: io::stdin().lock() };
    while let Some(line) = agent.read()? {
        agent.hear(&line)?;
    }
    Ok(0)
}

impl Agent {
    /// The next line that the client wrote.
    fn read(&mut self) -> io::Result<Option<Value>> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line)
            .map(Some)
            .map_err(|_| usage("the client writes a line that is no JSON"))
    }

    /// The answer to a request of ours. A notification in between (a cancel) is passed over: what it
    /// cancels is answered too.
    fn answer(&mut self, id: &str) -> io::Result<Value> {
        loop {
            match self.read()? {
                Some(line) if line["id"] == id => return Ok(line),
                Some(_) => {}
                None => return Err(usage("the client left without an answer")),
            }
        }
    }

    fn hear(&mut self, line: &Value) -> io::Result<()> {
        let id = &line["id"];
        match line["method"].as_str() {
            Some("initialize") => self.initialize(id),
            Some("session/new") if self.mode == Mode::Login => {
                let error = json!({"code": -32000, "message": "sign in first"});
                write(&json!({"id": id, "error": error}))
            }
            Some("session/new") => {
                let servers = &line["params"]["mcpServers"];
                if servers.as_array().is_some_and(|servers| !servers.is_empty()) {
                    // The folder is the session's.
                    std::fs::write("servers", servers.to_string())?;
                }
                respond(id, &json!({"sessionId": SESSION}))
            }
            Some("session/prompt") => {
                let text = line["params"]["prompt"][0]["text"].as_str();
                self.prompt(id, text.unwrap_or_default())
            }
            Some(_) if id.is_null() => Ok(()),
            Some(_) => {
                write(&json!({"id": id, "error": {"code": -32601, "message": "no such method"}}))
            }
            // An answer that came while no turn was open; the folder is the session's.
            None => std::fs::write("told", line["result"].to_string()),
        }
    }

    fn initialize(&self, id: &Value) -> io::Result<()> {
        if self.mode == Mode::HangsInInitialize {
            process::hang();
        }
        let version = if self.mode == Mode::Version { 9 } else { 1 };
        respond(
            id,
            &json!({
                "protocolVersion": version,
                "agentInfo": {"name": "fake-agent", "version": env!("CARGO_PKG_VERSION")},
                "agentCapabilities": {"loadSession": false},
                "authMethods": [{"id": "by-hand", "name": "By hand"}],
            }),
        )
    }

    fn prompt(&mut self, id: &Value, text: &str) -> io::Result<()> {
        let mut ending = "end_turn";
        match self.mode {
            Mode::Well if text == "wait" => {
                say("waiting")?;
                ending = self.cancelled()?;
            }
            Mode::DiesInTheMiddle => {
                say("half of it")?;
                eprintln!("no ideas are left");
                std::process::exit(3);
            }
            Mode::HangsInPrompt => {
                say("waiting")?;
                process::hang();
            }
            Mode::Floods => {
                let line = "x".repeat(FLOOD.1);
                (0..FLOOD.0).try_for_each(|_| say(&line))?;
            }
            Mode::LongLine => say(&"x".repeat(LONG))?,
            Mode::Nonsense => self.nonsense()?,
            Mode::UnknownIds => {
                for other in [json!(999_999), json!("1"), json!([1]), json!({"a": 1})] {
                    respond(&other, &json!({"stopReason": "refusal"}))?;
                }
                say(&format!("echo: {text}"))?;
                respond(id, &json!({"stopReason": "end_turn"}))?;
            }
            Mode::Withdraws => {
                ask("asked", &permission())?;
                play::await_cue("withdraw")?;
                let request = json!({"requestId": "asked"});
                write(&json!({"method": "$/cancel_request", "params": request}))?;
                let answer = self.answer("asked")?;
                say(&format!("withdrawn: {}", answer["error"]["code"]))?;
            }
            Mode::AsksAndEnds => {
                ask("asked", &permission())?;
                play::await_cue("end")?;
                say("said while it asked")?;
                // The answer comes when what was said before it has been heard.
                write(&json!({"id": "heard", "method": "nothing/known", "params": {}}))?;
                self.answer("heard")?;
            }
            Mode::AsksAndDies => {
                ask("asked", &permission())?;
                play::await_cue("die")?;
                say("said while it asked")?;
                std::process::exit(3);
            }
            Mode::Asks => {
                ask("asked", &permission())?;
                let answer = self.answer("asked")?;
                let outcome = &answer["result"]["outcome"];
                match outcome["optionId"].as_str() {
                    Some(option) => say(&format!("chosen: {option}"))?,
                    None => ending = "cancelled",
                }
            }
            Mode::Elicits => {
                let properties = json!({
                    "colour": {"type": "string", "title": "Colour", "enum": ["red", "green"]},
                    "remark": {"type": "string", "title": "Remark"},
                });
                let schema =
                    json!({"type": "object", "properties": properties, "required": ["colour"]});
                let form = json!({"sessionId": SESSION, "mode": "form", "message": "Which colour?", "requestedSchema": schema});
                write(&json!({"id": "form", "method": "elicitation/create", "params": form}))?;
                let answer = self.answer("form")?;
                say(&answer["result"].to_string())?;
            }
            Mode::OtherSession => {
                chunk("another", "of another ")?;
                say("mine")?;
            }
            Mode::Refuses => ending = "refusal",
            Mode::GivesUp => ending = "cancelled",
            Mode::Runs => say(&process::run_script(text)?)?,
            Mode::Well
            | Mode::DiesAtOnce
            | Mode::HangsInInitialize
            | Mode::Login
            | Mode::TalksAfter
            | Mode::Version => say(&format!("echo: {text}"))?,
        }
        respond(id, &json!({"stopReason": ending}))?;
        if self.mode == Mode::TalksAfter {
            say("late words")?;
            ask("late", &permission())?;
        }
        Ok(())
    }

    /// Waits for a cancel.
    fn cancelled(&mut self) -> io::Result<&'static str> {
        while let Some(line) = self.read()? {
            if line["method"] == "session/cancel" {
                return Ok("cancelled");
            }
        }
        Ok("end_turn")
    }

    /// Writes what makes no sense, and says how the requests among it were answered.
    fn nonsense(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for line in NONSENSE {
            writeln!(out, "{line}")?;
        }
        out.write_all(b"\xff\xfe\n")?;
        drop(out);
        write(&json!({"id": "made-up", "method": "made/up", "params": {}}))?;
        let made_up = self.answer("made-up")?["error"]["code"].clone();
        write(&json!({"id": "empty", "method": "session/request_permission", "params": 7}))?;
        let empty = self.answer("empty")?["error"]["code"].clone();
        say(&format!("refused: {made_up} {empty}"))
    }
}

/// A tool call and three ways to answer.
fn permission() -> Value {
    let option = |id: &str, kind: &str| json!({"optionId": id, "name": id, "kind": kind});
    json!({
        "sessionId": SESSION,
        "toolCall": {
            "toolCallId": "call-1", "title": "rm -r build", "kind": "execute", "status": "pending",
            "rawInput": {"command": "rm -r build"},
        },
        "options": [
            option("for-ever", "allow_always"),
            option("this-once", "allow_once"),
            option("not-now", "reject_once"),
        ],
    })
}

fn ask(id: &str, params: &Value) -> io::Result<()> {
    write(&json!({"id": id, "method": "session/request_permission", "params": params}))
}

fn say(text: &str) -> io::Result<()> {
    chunk(SESSION, text)
}

fn chunk(session: &str, text: &str) -> io::Result<()> {
    let content = json!({"type": "text", "text": text});
    let update = json!({"sessionUpdate": "agent_message_chunk", "content": content});
    let params = json!({"sessionId": session, "update": update});
    write(&json!({"method": "session/update", "params": params}))
}

fn respond(id: &Value, result: &Value) -> io::Result<()> {
    write(&json!({"id": id, "result": result}))
}

/// Writes a line.
fn write(message: &Value) -> io::Result<()> {
    let mut message = message.clone();
    message["jsonrpc"] = json!("2.0");
    let mut out = io::stdout().lock();
    out.write_all(format!("{message}\n").as_bytes())?;
    out.flush()
}
