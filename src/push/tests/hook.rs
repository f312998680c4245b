//! A webhook on loopback, for tests: it tells of each request, and answers when it is told what.

use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The longest that anything takes here.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK";

/// A webhook: it tells of each request, and answers when it is told what.
pub(super) struct Hook {
    pub(super) address: SocketAddr,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    answers: mpsc::UnboundedSender<String>,
}

pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: Value,
}

impl Hook {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, requests) = mpsc::unbounded_channel();
        let (answers, answer) = mpsc::unbounded_channel();
        let answer = Arc::new(tokio::sync::Mutex::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, tell.clone(), answer.clone()));
            }
        });
        Self { address, requests, answers }
    }

    /// The next requests are answered so.
    pub(super) fn answer(&self, times: usize, answer: &str) {
        for _ in 0..times {
            self.answers.send(answer.to_owned()).unwrap();
        }
    }

    pub(super) async fn next(&mut self) -> Request {
        tokio::time::timeout(PATIENCE, self.requests.recv())
            .await
            .expect("waited for a post")
            .unwrap()
    }

    /// Its state, or the name of its one member where it has none.
    pub(super) async fn next_said(&mut self) -> String {
        said(&self.next().await.body)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(
    mut stream: TcpStream,
    tell: mpsc::UnboundedSender<Request>,
    answer: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>>,
) {
    let mut bytes = Vec::new();
    while let Some(request) = read(&mut stream, &mut bytes).await {
        if tell.send(request).is_err() {
            return;
        }
        let Some(answer) = answer.lock().await.recv().await else {
            return;
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    loop {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            let length: usize = length.parse().unwrap();
            if body.len() >= length {
                let end = head.len() + 4 + length;
                let body = serde_json::from_slice(&bytes[head.len() + 4..end]).unwrap();
                bytes.drain(..end);
                return Some(Request { head: head.to_owned(), body });
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn said(body: &Value) -> String {
    let status = body
        .pointer("/statusUpdate/status/state")
        .or_else(|| body.pointer("/task/status/state"))
        .or_else(|| body.pointer("/status/state"));
    match status {
        Some(state) => state.as_str().unwrap().replace("TASK_STATE_", ""),
        None => body
            .pointer("/artifactUpdate/artifact/parts/0/text")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned(),
    }
}
