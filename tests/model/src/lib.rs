//! A model API on loopback that plays a script, so that real CLIs do real turns without a network.
//!
//! It speaks the Anthropic Messages API, `OpenAI`'s Responses and chat completions, and the Gemini
//! API (each streaming and not). What it answers is written in the request: the lines of the last user message that begin with a known word are *steps*; step `k`
//! is played once `k` tool results have come back after that message, and when the steps are used
//! up the model says `done: <last tool result>`. A message without any step is answered
//! `ok: <its first 60 characters>`.
//!
//! | step | answer |
//! |---|---|
//! | `say TEXT` | the text, in two pieces |
//! | `think TEXT` | a thinking block, then the text `thought` |
//! | `slow N [MS]` | `c1 c2 … cN`, MS (default 200) apart |
//! | `hang SECONDS` | headers at once, `after hang` only after SECONDS |
//! | `cue NAME` | `waiting `, then nothing until the test releases NAME, then `released` |
//! | `history` | `turns=N first="…" items=M`: what earlier turns arrived |
//! | `bash: CMD`, `write PATH [TEXT]`, `read PATH` | a call of the client's own tool, whatever it is called |
//! | `ask Q \| A \| B` | a call of `AskUserQuestion` |
//! | `tool NAME {JSON}` | a call of exactly that tool |
//! | `rawtool NAME {JSON}` | the same, also where the client offers it by a search only |
//! | `both: STEP ;; STEP` | the calls of these steps in one message |
//! | `error CODE [TIMES]` | an HTTP error, always or only the first TIMES times |
//! | `refuse CODE [NAME=VALUE ...]` | an HTTP error with these headers and no others |
//! | `drop` | `partial `, then the connection is cut |
//!
//! A message that begins with `You had asked` comes from a host that was away: a call that it grants
//! is made again, then the other calls of that message and the steps after it; anything else is
//! answered `heard: <its text>`. What a client reports of work in the background (`<task-notification>`) is
//! answered `reported: <its result>`; a result that holds steps is played.
//!
//! The letters `\ud83d` in an answer that is streamed are sent as that escape, half of a surrogate pair.
//!
//! A side question that offers no tools and wants JSON of a certain shape is answered with the smallest
//! value of that shape. A key that contains `bad` is answered 401. The test's own doors are `GET /__model/requests`,
//! `GET /__model/wait?event=request|client_closed|cue&count=N` and `POST /__model/cue/NAME`;
//! a test that embeds the model has the same as methods of [`Model`].

mod dialect;
mod http;
mod hub;
mod messages;
mod script;
mod serve;
mod tools;

pub use hub::{Event, Seen};

use hub::Hub;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A running model; it ends, with every open connection, when the value is dropped.
#[derive(Debug)]
pub struct Model {
    /// Where it listens, as `ANTHROPIC_BASE_URL` and `GOOGLE_GEMINI_BASE_URL` want it:
    /// `http://127.0.0.1:PORT`; an `OpenAI` client wants `/v1` behind it.
    pub url: String,
    /// The port.
    pub port: u16,
    hub: Arc<Hub>,
}

impl Model {
    /// Starts a model on a free port of loopback, in threads of this process.
    ///
    /// # Panics
    ///
    /// When loopback has no free port; a test can do nothing about it.
    #[must_use]
    pub fn start() -> Self {
        Self::bind(0).expect("loopback has a free port")
    }

    /// Starts a model on this port of loopback; 0 takes a free one.
    ///
    /// # Errors
    ///
    /// When the port cannot be bound.
    pub fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let hub = Arc::new(Hub::default());
        let heart = Arc::clone(&hub);
        thread::Builder::new()
            .name("fake-model".into())
            .spawn(move || accept(&listener, &heart))?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), port, hub })
    }

    /// Lets one `cue NAME` go on: the one that waits, or the next that comes.
    pub fn release(&self, cue: &str) {
        self.hub.release(cue);
    }

    /// What was asked so far, oldest first (the last 2000).
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.hub.requests()
    }

    /// Waits until `count` such events were recorded since the start; false after `limit`.
    #[must_use]
    pub fn wait(&self, event: Event, count: u64, limit: Duration) -> bool {
        self.hub.wait(event, count, limit) >= count
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.hub.stop();
        // The listener wakes for one more connection and finds that it is over.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn accept(listener: &TcpListener, hub: &Arc<Hub>) {
    for stream in listener.incoming() {
        if hub.stopped() {
            return;
        }
        // An accept that fails concerns that one client only; one above the limit is closed.
        let Ok(stream) = stream else { continue };
        let Some(line) = hub.enter(&stream) else {
            continue;
        };
        let hub = Arc::clone(hub);
        // A refused thread drops the closure, and with it the connection.
        let _ = thread::Builder::new()
            .name("fake-model-connection".into())
            .spawn(move || serve::connection(stream, &line, &hub));
    }
}
