//! A webhook on loopback: it keeps what it is told, and answers what the test has laid out.

use crate::world::{PATIENCE, await_true};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A webhook; its thread ends with the test.
pub(crate) struct Webhook {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    /// What the next requests are answered; 200 when there is nothing more.
    answers: VecDeque<String>,
    /// Requests wait for their answer.
    closed: bool,
}

/// What was posted.
#[derive(Clone)]
pub(crate) struct Request {
    /// The request line.
    pub(crate) line: String,
    /// The headers, their names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Value,
}

impl Webhook {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let all = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = all.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// Its address with this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next requests are answered so, each with one.
    pub(crate) fn answers<const N: usize>(&self, answers: [&str; N]) {
        let answers =
            answers.map(|answer| format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n"));
        self.state().answers.extend(answers);
    }

    /// The next requests are taken, whatever was laid out.
    pub(crate) fn answers_well(&self) {
        self.state().answers.clear();
    }

    /// Requests wait for their answer from now on.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    /// Requests are answered again.
    pub(crate) fn open(&self) {
        self.state().closed = false;
        self.shared.opened.notify_all();
    }

    /// All that was posted until now.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Waits until so much was posted.
    pub(crate) fn await_requests(&self, count: usize) -> Vec<Request> {
        self.await_until(&format!("{count} posts"), |requests| requests.len() >= count)
    }

    /// Waits until what was posted fits.
    pub(crate) fn await_until(
        &self,
        what: &str,
        fits: impl Fn(&[Request]) -> bool,
    ) -> Vec<Request> {
        let found = await_true(PATIENCE, || fits(&self.state().requests));
        let requests = self.requests();
        let said: Vec<_> = requests.iter().map(Request::said).collect();
        assert!(found, "waited {PATIENCE:?} for {what}; posted was {said:?}");
        requests
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Request {
    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The state that it brings, in the words of its dialect; empty where it brings none.
    pub(crate) fn said(&self) -> &str {
        ["/statusUpdate/status/state", "/task/status/state", "/status/state"]
            .iter()
            .find_map(|place| self.body.pointer(place)?.as_str())
            .unwrap_or_default()
            .trim_start_matches("TASK_STATE_")
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let mut state = shared.state.lock().unwrap();
        state.requests.push(request);
        while state.closed {
            state = shared.opened.wait(state).unwrap();
        }
        let answer = state.answers.pop_front();
        drop(state);
        let answer =
            answer.unwrap_or_else(|| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned());
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<_> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?;
    let mut body = vec![0; length.1.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line: lines[0].clone(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
