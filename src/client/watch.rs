//! `pilothouse watch`: all sessions of the caller as they are now, and the answers to what they ask.
//!
//! # How it works
//!
//! The server's lists are read once a second and drawn as a whole; `picture` makes the text, `keyboard` owns the
//! terminal. The ask of the selected session is shown in full below the list. A key decides only about an ask that is
//! shown in full; Enter shows any other one, and the transcript, on the ordinary screen.

mod keyboard;
mod picture;

use super::exit;
use super::failure::Failure;
use super::list::read_list;
use super::local::{Server, escape};
use super::tasks::{TasksCommand, WatchArgs, run as run_tasks};
use super::terminal::Screen;
use keyboard::{Keyboard, PressedKey};
use picture::Picture;
use pilothouse_a2a::operation::ListTasksRequest;
use pilothouse_a2a::time::Timestamp;
use rustix::termios::tcgetwinsize;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::pin::Pin;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// From one look at the server to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// Sessions and asks that are read of each agent.
const MOST: usize = 200;
/// Tasks of a session whose transcripts Enter shows.
const TASKS: i32 = 10;

/// A session as it is now.
#[derive(Clone)]
struct WatchedSession {
    /// Leads to its agent.
    server: Server,
    context: String,
    agent: String,
    /// What it does, in the server's words.
    state: String,
    waits_for: Option<String>,
    since: Option<Timestamp>,
    used: Option<Timestamp>,
    /// The task that it works on.
    task: Option<String>,
    /// What it asks first, as the server lists it.
    ask: Option<Value>,
}

/// What one look at the server found.
#[derive(Clone)]
struct Snapshot {
    sessions: Vec<WatchedSession>,
    /// Why it is not up to date.
    failure: Option<String>,
}

/// Something on its way to the server.
type PendingCall<T> = Pin<Box<dyn Future<Output = T>>>;

/// Shows sessions until a key ends it; the exit code.
pub(crate) async fn run(server: &Server, screen: Screen) -> Result<u8, Failure> {
    if !(screen.asks && io::stdout().is_terminal()) {
        return Err(Failure::usage(
            "`pilothouse watch` needs a terminal; `pilothouse sessions list` prints the same once",
        ));
    }
    let first = read(server.clone()).await?;
    let mut ends = Ends::new()?;
    let mut keyboard = Keyboard::take()?;
    let mut picture = Picture::new(&server.url, screen.styled);
    picture.update(first);
    let mut next_look: PendingCall<()> = Box::pin(tokio::time::sleep(PERIOD));
    let mut look: Option<PendingCall<Result<Snapshot, Failure>>> = None;
    let mut answer: Option<PendingCall<Result<(), Failure>>> = None;
    loop {
        draw(&mut picture)?;
        tokio::select! {
            key = keyboard.next() => match key {
                PressedKey::Leave => return Ok(0),
                PressedKey::Up => picture.move_by(-1),
                PressedKey::Down => picture.move_by(1),
                PressedKey::Enter => {
                    if let Some(session) = picture.selected().cloned() {
                        keyboard = show_session(keyboard, &session, screen).await?;
                        // Ctrl-C has left the transcript.
                        ends = Ends::new()?;
                    }
                }
                PressedKey::Allow | PressedKey::Deny => {
                    let decision = if key == PressedKey::Allow { "allow" } else { "deny" };
                    if answer.is_none() && let Some(sent) = picture.decide(decision) {
                        answer = Some(Box::pin(send_decision(sent.0, sent.1, decision)));
                    }
                }
                PressedKey::Other => {}
            },
            () = next_look.as_mut(), if look.is_none() => look = Some(Box::pin(read(server.clone()))),
            found = finish(&mut look), if look.is_some() => {
                next_look = Box::pin(tokio::time::sleep(PERIOD));
                match found {
                    Ok(found) => picture.update(found),
                    Err(failure) => picture.fail(&failure.message),
                }
            }
            sent = finish(&mut answer), if answer.is_some() => {
                picture.tell(sent.err().map(|failure| failure.message));
                // What was answered is not open any more.
                look = Some(Box::pin(read(server.clone())));
            }
            is_end = ends.next() => if is_end { return Ok(exit::INTERRUPTED) },
        }
    }
}

/// The result of what is pending.
async fn finish<T>(pending: &mut Option<PendingCall<T>>) -> T {
    let done = match pending {
        Some(pending) => pending.await,
        None => std::future::pending().await,
    };
    *pending = None;
    done
}

/// Signals that end the command, and the one of a terminal that has another size.
struct Ends([tokio::signal::unix::Signal; 4]);

impl Ends {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(exit::UNAVAILABLE, format!("cannot listen for signals: {error}"))
            })
        };
        Ok(Self([
            listen(SignalKind::window_change())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// Whether the next signal is one that ends the command.
    async fn next(&mut self) -> bool {
        let [resized, interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = resized.recv() => false,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
            _ = hangup.recv() => true,
        }
    }
}

/// Draws the whole screen.
fn draw(picture: &mut Picture) -> io::Result<()> {
    let mut out = io::stdout();
    let size = tcgetwinsize(&out).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    let (columns, rows) = size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()));
    let lines = picture.draw(columns, rows, Timestamp::now());
    let text = lines.join("\u{1b}[K\r\n");
    write!(out, "\u{1b}[H{text}\u{1b}[K\u{1b}[J")?;
    out.flush()
}

/// The transcripts of a session's newest tasks on the ordinary screen, the last one live, and its question.
async fn show_session(
    keyboard: Keyboard,
    session: &WatchedSession,
    screen: Screen,
) -> Result<Keyboard, Failure> {
    drop(keyboard);
    let shown = show_tasks(session, screen).await;
    if let Err(failure) = shown {
        eprintln!("pilothouse: {}", failure.message);
    }
    let mut keyboard = Keyboard::take_line("any key goes back to the list ")?;
    keyboard.next().await;
    drop(keyboard);
    Ok(Keyboard::take()?)
}

async fn show_tasks(session: &WatchedSession, screen: Screen) -> Result<(), Failure> {
    let request = ListTasksRequest {
        context_id: Some(session.context.as_str().into()),
        page_size: Some(TASKS),
        history_length: Some(0),
        ..ListTasksRequest::default()
    };
    let client = session.server.client().await?;
    let page = client.list(&request).await.map_err(|error| session.server.failure(&error))?;
    for task in page.tasks.iter().rev() {
        let command = TasksCommand::Log(WatchArgs::of(task.id.to_string()));
        Box::pin(run_tasks(command, &session.server, screen)).await?;
    }
    Ok(())
}

/// Answers an ask.
async fn send_decision(server: Server, ask: String, decision: &str) -> Result<(), Failure> {
    server.open(&format!("/api/v1/asks/{}", escape(&ask)), &json!({"decision": decision})).await?;
    Ok(())
}

/// Looks at the server.
async fn read(server: Server) -> Result<Snapshot, Failure> {
    let asks = read_list(&server, ("/api/v1/asks", "asks"), MOST).await?.entries;
    let mut sessions = Vec::new();
    for (_, agent) in server.each_agent().await {
        let found = read_list(&agent, ("/api/v1/sessions", "sessions"), MOST).await?.entries;
        sessions.extend(found.iter().map(|session| WatchedSession::of(session, &asks, &agent)));
    }
    sessions.sort_by_key(WatchedSession::rank);
    Ok(Snapshot { sessions, failure: None })
}

impl WatchedSession {
    fn of(session: &Value, asks: &[Value], server: &Server) -> Self {
        let text =
            |pointer: &str| session.pointer(pointer).and_then(Value::as_str).map(ToOwned::to_owned);
        let time = |pointer: &str| text(pointer).and_then(|text| Timestamp::parse(&text));
        let context = text("/contextId").unwrap_or_default();
        let is_of_session = |ask: &&Value| ask["contextId"] == *context;
        let live = session.get("live").and_then(Value::as_bool) == Some(true);
        Self {
            server: server.clone(),
            agent: text("/agent").unwrap_or_default(),
            state: text("/activity/state").unwrap_or(if live { "live" } else { "idle" }.to_owned()),
            waits_for: text("/activity/waitsFor"),
            since: time("/activity/since"),
            used: time("/used"),
            task: text("/activity/taskId"),
            ask: asks.iter().find(is_of_session).cloned(),
            context,
        }
    }

    /// Sessions that wait for a person come first, then those at work, then the last used ones.
    fn rank(&self) -> (u8, std::cmp::Reverse<Option<Timestamp>>, String) {
        let group = match (&self.ask, self.state.as_str()) {
            (Some(_), _) => 0,
            (None, "idle") => 2,
            (None, _) => 1,
        };
        (group, std::cmp::Reverse(self.used), self.context.clone())
    }
}
