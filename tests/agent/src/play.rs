//! Playing a script: each statement's effect.

use crate::process;
use crate::proxy;
use crate::script::{Statement, Statements, split};
use crate::voice::{Voice, base64};
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// The most lines of `repeat` and `stamp`.
const LINES: u64 = 1_000_000;
/// How long a cue is waited for.
const CUE_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks for a cue.
const CUE_LOOK: Duration = Duration::from_millis(2);

/// Who plays.
#[derive(Debug)]
pub(crate) struct Player {
    voice: Voice,
    args: Vec<String>,
    /// Of the message, in bytes.
    length: usize,
    /// Tool calls so far.
    tools: u32,
    /// Connections to the proxy.
    sockets: Vec<TcpStream>,
}

/// What comes after a statement.
enum Then {
    Next,
    /// The program ends with this code.
    End(i32),
}

impl Player {
    /// A player with these arguments and a message of this many bytes.
    pub(crate) fn new(voice: Voice, args: Vec<String>, length: usize) -> Self {
        Self { voice, args, length, tools: 0, sockets: Vec::new() }
    }

    /// Plays a message to its end.
    pub(crate) fn play(&mut self, message: &str) -> io::Result<u8> {
        for (at, statement) in Statements::of(message).enumerate() {
            let then = match self.step(&statement)? {
                Some(then) => then,
                None if at == 0 => {
                    self.voice.text(&format!("echo: {}", message.trim()))?;
                    Then::End(0)
                }
                None => {
                    self.voice.text(&format!("echo: {}", statement.whole()))?;
                    Then::Next
                }
            };
            self.voice.flush()?;
            if let Then::End(code) = then {
                std::process::exit(code);
            }
        }
        Ok(0)
    }

    /// Plays a statement; none where its word is unknown.
    fn step(&mut self, statement: &Statement<'_>) -> io::Result<Option<Then>> {
        let rest = statement.rest.as_str();
        match statement.word.as_str() {
            "say" => self.voice.text(rest)?,
            "echo" if rest.is_empty() => {
                self.voice.text(statement.tail.trim())?;
                return Ok(Some(Then::End(0)));
            }
            "echo" => self.voice.text(rest)?,
            "repeat" => self.repeat(statement)?,
            "stamp" => self.stamp(statement)?,
            "line" => self.voice.line(rest.as_bytes())?,
            "err" => writeln!(io::stderr(), "{rest}")?,
            "flood" => self.flood(statement)?,
            "bigline" => self.voice.big_line(statement.number(0)?)?,
            "invalid" => self.voice.line(b"caf\xe9 \xff\xfe")?,
            "nul" => self.voice.text("a\0b")?,
            "argv" => self.voice.text(&json!(self.args).to_string())?,
            "bytes" => self.voice.text(&self.length.to_string())?,
            "pid" => self.voice.text(&std::process::id().to_string())?,
            "pwd" => self.voice.text(&env::current_dir()?.to_string_lossy())?,
            "env" | "envs" => self.environment(statement)?,
            "write" | "read" => self.file(statement)?,
            "count" => self.count()?,
            "connect" => {
                let (kind, rest) = statement.first()?;
                let target = split(rest).1;
                self.sockets = proxy::open(kind, statement.number(1)?, target)?;
            }
            "cue" => self.cue(statement)?,
            "wait" => self.wait(statement.first()?.0)?,
            "fork" => {
                let pid = process::leave_behind(rest == "hold")?;
                self.voice.text_line(&format!("pid {pid}"))?;
            }
            "hang" => {
                self.voice.flush()?;
                process::hang();
            }
            "ignore" => {
                self.voice.flush()?;
                return Err(process::replay(self.voice.speaks_events(), statement.tail));
            }
            "exit" => return Ok(Some(Then::End(statement.number(0)?))),
            "signal" => {
                self.voice.flush()?;
                process::signal(statement.number(0)?)?;
            }
            "crash" => {
                self.voice.flush()?;
                std::process::abort();
            }
            _ => match self.event(statement)? {
                Some(event) => self.voice.event(&event, &statement.whole())?,
                None => return Ok(None),
            },
        }
        Ok(Some(Then::Next))
    }

    /// The event of a statement that is one.
    fn event(&mut self, statement: &Statement<'_>) -> io::Result<Option<Value>> {
        let rest = statement.rest.as_str();
        let named = || statement.first();
        Ok(Some(match statement.word.as_str() {
            "status" => json!({"type": "status", "text": rest}),
            "think" => json!({"type": "thought", "text": rest}),
            "message" => json!({"type": "message", "text": rest}),
            "reply" => json!({"type": "reply", "text": rest}),
            "artifact" => {
                let (name, text) = named()?;
                json!({"type": "artifact", "name": name, "text": text})
            }
            "data" => {
                let (name, data) = named()?;
                json!({"type": "artifact", "name": name, "data": parse(statement, data)?})
            }
            "file" => {
                let (name, text) = named()?;
                let raw = base64(text.as_bytes());
                let media_type = "text/plain";
                json!({"type": "artifact", "name": name, "filename": name, "mediaType": media_type, "raw": raw})
            }
            "tool" => {
                let (name, input) = named()?;
                let input = if input.is_empty() { "{}" } else { input };
                self.tools += 1;
                let id = format!("tool-{}", self.tools);
                json!({"type": "tool", "id": id, "name": name, "input": parse(statement, input)?})
            }
            "result" => {
                let id = format!("tool-{}", self.tools);
                json!({"type": "toolResult", "id": id, "text": rest, "isError": false})
            }
            "plan" => json!({"type": "plan", "data": parse(statement, rest)?}),
            "usage" => {
                let (input, output): (u64, u64) = (statement.number(0)?, statement.number(1)?);
                let mut usage =
                    json!({"type": "usage", "inputTokens": input, "outputTokens": output});
                if rest.split_whitespace().nth(2).is_some() {
                    usage["costUsd"] = json!(statement.number::<f64>(2)?);
                }
                usage
            }
            "ask" => {
                let mut words = rest.split('|').map(str::trim);
                let mut ask = json!({"type": "ask", "text": words.next()});
                let options: Vec<&str> = words.collect();
                if !options.is_empty() {
                    ask["options"] = json!(options);
                }
                ask
            }
            "state" => {
                let (state, text) = named()?;
                let mut status = json!({"type": "status", "state": state});
                if !text.is_empty() {
                    status["text"] = json!(text);
                }
                status
            }
            _ => return Ok(None),
        }))
    }

    fn repeat(&mut self, statement: &Statement<'_>) -> io::Result<()> {
        let (_, after) = split(&statement.rest);
        let (_, text) = split(after);
        self.paced(statement, |i| text.replace("{i}", &i.to_string()))
    }

    fn stamp(&mut self, statement: &Statement<'_>) -> io::Result<()> {
        self.paced(statement, |_| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.unwrap_or_default().as_nanos().to_string()
        })
    }

    /// Lines at a steady pace: `N MS`.
    fn paced(&mut self, statement: &Statement<'_>, line: impl Fn(u64) -> String) -> io::Result<()> {
        let count = statement.number::<u64>(0)?.min(LINES);
        let pause = Duration::from_millis(statement.number(1)?);
        for i in 1..=count {
            if i > 1 && !pause.is_zero() {
                thread::sleep(pause);
            }
            self.voice.text_line(&line(i))?;
            self.voice.flush()?;
        }
        Ok(())
    }

    fn flood(&mut self, statement: &Statement<'_>) -> io::Result<()> {
        let mut left: usize = statement.number(0)?;
        let chunked = statement.rest.split_whitespace().nth(1).is_some();
        let chunk: usize = if chunked { statement.number(1)? } else { 4096 };
        let chunk = chunk.max(1);
        let line = "x".repeat(chunk - 1);
        while left > 0 {
            let now = left.min(chunk);
            self.voice.text_line(&line[..now - 1])?;
            left -= now;
        }
        Ok(())
    }

    fn environment(&mut self, statement: &Statement<'_>) -> io::Result<()> {
        if statement.word == "env" {
            let value = env::var_os(statement.first()?.0);
            let value = value.map_or("unset".into(), |value| value.to_string_lossy().into_owned());
            return self.voice.text(&value);
        }
        let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        self.voice.text(&names.join("\n"))
    }

    fn file(&mut self, statement: &Statement<'_>) -> io::Result<()> {
        let (path, text) = statement.first()?;
        let done = if statement.word == "write" {
            write(Path::new(path), text).map(|()| format!("wrote {path}"))
        } else {
            fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned())
        };
        let word = &statement.word;
        let said = done.unwrap_or_else(|error| format!("{word} failed: {error}"));
        self.voice.text(&said)
    }

    fn count(&mut self) -> io::Result<()> {
        const FILE: &str = ".fake-agent-count";
        let before = match fs::read_to_string(FILE) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let sum = (before + 1_u64).to_string();
        fs::write(FILE, &sum)?;
        self.voice.text(&sum)
    }

    fn cue(&mut self, statement: &Statement<'_>) -> io::Result<()> {
        let (name, _) = statement.first()?;
        let words = format!("waiting {name}");
        self.voice.event(&json!({"type": "status", "text": words}), &words)?;
        self.wait(name)
    }

    fn wait(&mut self, name: &str) -> io::Result<()> {
        self.voice.flush()?;
        await_cue(name)
    }
}

/// Waits for the file of a cue.
pub(crate) fn await_cue(name: &str) -> io::Result<()> {
    let file = match env::var_os("FAKE_AGENT_CUES") {
        Some(folder) => PathBuf::from(folder).join(name),
        None => PathBuf::from(format!(".cue-{name}")),
    };
    let until = Instant::now() + CUE_LIMIT;
    while !file.exists() {
        if Instant::now() > until {
            let file = file.display();
            return Err(io::Error::other(format!("nobody gave the cue {file}")));
        }
        thread::sleep(CUE_LOOK);
    }
    Ok(())
}

fn parse(statement: &Statement<'_>, json: &str) -> io::Result<Value> {
    serde_json::from_str(json).map_err(|_| statement.misses("valid JSON"))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}
