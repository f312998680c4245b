//! The model over its public door: plain HTTP, as a client that is no CLI sees it.
#![expect(clippy::unwrap_used, reason = "a test ends where its world is not as it should be")]

use fake_model::{Event, Model};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// A client with one connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn of(model: &Model) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", model.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn post(&mut self, key: &str, text: &str, stream: bool) {
        let body = json!({
            "model": "m", "stream": stream, "messages": [{"role": "user", "content": text}],
        })
        .to_string();
        let length = body.len();
        self.send(&format!(
            "POST /v1/messages?beta=true HTTP/1.1\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
    }

    /// The head of an answer: its status and the length of its body.
    fn head(&mut self) -> (u16, usize) {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                return (status, length);
            }
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            }
        }
    }

    fn json(&mut self) -> (u16, Value) {
        let (status, length) = self.head();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Reads a stream until this text has come.
    fn until(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "no {text}");
        }
    }
}

#[test]
fn a_connection_serves_request_after_request() {
    let model = Model::start();
    let mut client = Client::of(&model);
    client.send("HEAD / HTTP/1.1\r\n\r\n");
    assert_eq!(client.head().0, 200);
    client.post("sk-12345678", "say hello", false);
    assert_eq!(client.json().1["content"][0]["text"], "hello");
    client.post("sk-12345678", "say again", true);
    client.until("message_stop");
    client.until("0\r\n");
    client.until("\r\n");
    client.send("GET /v1/models HTTP/1.1\r\n\r\n");
    assert_eq!(client.json().1["has_more"], false);
    let seen = model.requests();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].n, seen[0].key.as_str()), (1, "5678"));
    assert_eq!(seen[1].reply, "text \"again\"");
}

#[test]
fn a_chunked_body_is_understood() {
    let model = Model::start();
    let mut client = Client::of(&model);
    let (a, b) = (r#"{"messages":[{"role":"us"#, r#"er","content":"say in chunks"}]}"#);
    let (x, y) = (a.len(), b.len());
    client.send(&format!(
        "POST /v1/messages HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{x:x}\r\n{a}\r\n{y:x}\r\n{b}\r\n0\r\n\r\n"
    ));
    assert_eq!(client.json().1["content"][0]["text"], "in chunks");
}

#[test]
fn a_key_that_contains_bad_is_refused() {
    let model = Model::start();
    let mut client = Client::of(&model);
    client.post("sk-bad", "say no", true);
    let (status, body) = client.json();
    assert_eq!(status, 401);
    assert_eq!(body["error"]["type"], "authentication_error");
}

#[test]
fn a_limited_error_recovers() {
    let model = Model::start();
    let mut client = Client::of(&model);
    client.post("k", "error 529 1", false);
    assert_eq!(client.json().0, 529);
    client.post("k", "error 529 1", false);
    assert_eq!(client.json().1["content"][0]["text"], "recovered after 1");
}

#[test]
fn a_cue_goes_on_when_it_is_released() {
    let model = Model::start();
    let (mut client, mut test) = (Client::of(&model), Client::of(&model));
    client.post("k", "cue go", true);
    client.until("waiting ");
    test.send("GET /__model/wait?event=cue&count=1 HTTP/1.1\r\n\r\n");
    assert_eq!(test.json(), (200, json!({"reached": true, "count": 1})));
    test.send("POST /__model/cue/go HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    client.until("released");
}

#[test]
fn a_client_that_leaves_during_a_cue_is_noticed() {
    let model = Model::start();
    let mut client = Client::of(&model);
    client.post("k", "cue never", true);
    client.until("waiting ");
    drop(client);
    assert!(model.wait(Event::ClientClosed, 1, LIMIT));
    assert!(model.requests()[0].client_closed);
}

#[test]
fn a_dropped_stream_ends_without_its_last_event() {
    let model = Model::start();
    let mut client = Client::of(&model);
    client.post("k", "drop", true);
    let mut all = String::new();
    client.0.read_to_string(&mut all).unwrap();
    assert!(all.contains("partial ") && !all.contains("message_stop"));
    assert!(!model.requests()[0].client_closed);
}

#[test]
fn a_dropped_model_closes_its_connections() {
    let model = Model::start();
    let mut client = Client::of(&model);
    client.post("k", "cue never", true);
    client.until("waiting ");
    drop(model);
    let mut rest = Vec::new();
    // However the end shows, it comes.
    let _ = client.0.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("released"));
}

#[test]
fn the_program_says_where_it_listens_and_ends_with_its_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-model"))
        .arg("--until-eof")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let port = line.strip_prefix("listening on http://127.0.0.1:");
    assert!(port.unwrap().trim_end().parse::<u16>().unwrap() > 0);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
