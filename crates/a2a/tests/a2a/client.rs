//! The client against a server that plays a script.

use crate::{fixture, value};
use pilothouse_a2a::client::{self, Client, ClientError, ClientTls, EventStream};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::jsonrpc::{self, Id};
use pilothouse_a2a::operation::{SendMessageRequest, SendMessageResponse};
use pilothouse_a2a::{Message, StreamResponse, TaskState, sse};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server says to one request, then it closes the connection.
enum Say {
    Json(u16, Vec<u8>),
    /// Frames, and whether the body ends as announced (or breaks).
    Events(Vec<(u64, Value)>, bool),
}

/// A request as the server saw it.
struct Heard {
    head: String,
    body: Value,
}

struct Server {
    url: String,
    heard: JoinHandle<Vec<Heard>>,
}

impl Server {
    /// Says these things in turn, one a connection; `{url}` in JSON becomes the server's address.
    async fn saying(script: Vec<Say>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let base = url.clone();
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            for say in script {
                let (mut stream, _) = listener.accept().await.unwrap();
                heard.push(hear(&mut stream).await);
                answer(&mut stream, say, &base).await;
            }
            heard
        });
        Self { url, heard }
    }

    fn client(&self) -> Client {
        Client::new(&self.url, Some("sesame".into()), &ClientTls::default()).unwrap()
    }
}

async fn hear(stream: &mut TcpStream) -> Heard {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.lines().next().unwrap().parse::<usize>().unwrap());
            if body.len() >= length {
                return Heard { head, body: serde_json::from_str(body).unwrap_or_default() };
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
}

async fn answer(stream: &mut TcpStream, say: Say, base: &str) {
    let close = "connection: close\r\n";
    match say {
        Say::Json(status, body) => {
            let body = String::from_utf8(body).unwrap().replace("{url}", base);
            let head = format!(
                "HTTP/1.1 {status} X\r\n{close}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
        Say::Events(events, whole) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\n{close}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            for (number, event) in events {
                let body = jsonrpc::result(&Id::from(1), event.to_string());
                let frame = [sse::KEEP_ALIVE, &sse::frame(Some(number), body)].concat();
                let chunk = [format!("{:x}\r\n", frame.len()).as_bytes(), &frame, b"\r\n"].concat();
                stream.write_all(&chunk).await.unwrap();
            }
            if whole {
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            }
        }
    }
    stream.shutdown().await.unwrap();
}

fn result(result: &Value) -> Say {
    Say::Json(200, jsonrpc::result(&Id::from(1), result.to_string()))
}

fn failure(status: u16, kind: ErrorKind) -> Say {
    let error = Error::new(kind, "no");
    Say::Json(status, jsonrpc::failure(&Id::from(1), &error, Dialect::V1_0))
}

fn task(state: &str) -> Value {
    json!({"id": "t-1", "contextId": "c-1", "status": {"state": state}})
}

fn status(state: &str) -> Value {
    json!({"statusUpdate": {"taskId": "t-1", "contextId": "c-1", "status": {"state": state}}})
}

fn request() -> SendMessageRequest {
    SendMessageRequest {
        tenant: None,
        message: Message::user_text("go"),
        configuration: None,
        metadata: None,
    }
}

/// The rest of a stream: numbers and states, then the error if it ended with one.
async fn rest(mut events: EventStream) -> (Vec<(Option<u64>, TaskState)>, Option<ClientError>) {
    let mut seen = Vec::new();
    while let Some(item) = events.next().await {
        match item {
            Ok((number, event)) => seen.push((number, event.status().unwrap().state)),
            Err(error) => return (seen, Some(error)),
        }
    }
    (seen, None)
}

#[tokio::test]
async fn a_message_is_sent_to_the_endpoint_that_the_card_names() {
    let card = json!({
        "name": "a", "version": "1",
        "supportedInterfaces": [
            {"url": "{url}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
        ],
    });
    let server = Server::saying(vec![
        Say::Json(200, card.to_string().into()),
        result(&json!({"task": task("TASK_STATE_COMPLETED")})),
    ])
    .await;
    let client =
        Client::discover(&server.url, Some("sesame".into()), &ClientTls::default()).await.unwrap();
    let SendMessageResponse::Task(task) = client.send(&request()).await.unwrap() else { panic!() };
    assert_eq!(task.status.state, TaskState::Completed);

    let heard = server.heard.await.unwrap();
    assert!(heard[0].head.starts_with("get /.well-known/agent-card.json "));
    assert!(heard[1].head.starts_with("post /rpc "));
    for heard in &heard {
        assert!(heard.head.contains("authorization: bearer sesame"));
        assert!(heard.head.contains("a2a-version: 1.0"));
    }
    assert_eq!(heard[1].body["method"], "SendMessage");
    assert_eq!(heard[1].body["params"]["message"]["parts"][0]["text"], "go");
}

#[tokio::test]
async fn a_card_is_fetched_as_it_is() {
    let server = Server::saying(vec![Say::Json(200, b"{\"any\": 1}".to_vec())]).await;
    let fetched =
        client::card(&format!("{}/agents/a/", server.url), None, None, &ClientTls::default())
            .await
            .unwrap();
    assert_eq!(fetched.card, json!({"any": 1}));
    assert_eq!(fetched.headers["content-type"], "application/json");
    let heard = server.heard.await.unwrap();
    assert!(heard[0].head.starts_with("get /agents/a/.well-known/agent-card.json "));
    assert!(!heard[0].head.contains("authorization"));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_the_protocol() {
    let server = Server::saying(vec![failure(200, ErrorKind::TaskNotFound)]).await;
    let error = server.client().get(&"t-1".into(), Some(0)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::TaskNotFound));
    assert_eq!(error.to_string(), "no (-32001)");
    assert_eq!(
        server.heard.await.unwrap()[0].body["params"],
        json!({"id": "t-1", "historyLength": 0})
    );
}

#[tokio::test]
async fn a_status_that_is_no_response_is_told_with_its_body() {
    let server = Server::saying(vec![Say::Json(502, b"bad gateway".to_vec())]).await;
    let error = server.client().cancel(&"t-1".into()).await.unwrap_err();
    insta::assert_snapshot!(error, @"HTTP status 502: bad gateway");
    server.heard.await.unwrap();
}

#[tokio::test]
async fn a_refused_stream_is_an_error_and_no_stream() {
    let server = Server::saying(vec![failure(401, ErrorKind::Unauthenticated)]).await;
    let error = server.client().stream(&request()).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Unauthenticated));

    let server = Server::saying(vec![failure(200, ErrorKind::TaskNotFound)]).await;
    let events = server.client().subscribe(&"t-1".into(), None).await.unwrap();
    let (seen, error) = rest(events).await;
    assert_eq!((seen, error.unwrap().kind()), (vec![], Some(ErrorKind::TaskNotFound)));
}

#[tokio::test]
async fn a_stream_ends_with_the_task() {
    let server = Server::saying(vec![Say::Events(
        vec![
            (1, json!({"task": task("TASK_STATE_SUBMITTED")})),
            (2, status("TASK_STATE_WORKING")),
            (5, status("TASK_STATE_COMPLETED")),
        ],
        true,
    )])
    .await;
    let (seen, error) = rest(server.client().stream(&request()).await.unwrap()).await;
    assert!(error.is_none());
    assert_eq!(
        seen,
        [
            (Some(1), TaskState::Submitted),
            (Some(2), TaskState::Working),
            (Some(5), TaskState::Completed)
        ]
    );
    assert_eq!(server.heard.await.unwrap()[0].body["method"], "SendStreamingMessage");
}

#[tokio::test]
async fn a_stream_may_end_at_a_question() {
    let server = Server::saying(vec![Say::Events(
        vec![(1, json!({"task": task("TASK_STATE_INPUT_REQUIRED")}))],
        true,
    )])
    .await;
    let (seen, error) = rest(server.client().stream(&request()).await.unwrap()).await;
    assert!(error.is_none());
    assert_eq!(seen, [(Some(1), TaskState::InputRequired)]);
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_after_its_last_event() {
    let server = Server::saying(vec![
        Say::Events(
            vec![
                (1, json!({"task": task("TASK_STATE_SUBMITTED")})),
                (2, status("TASK_STATE_WORKING")),
            ],
            false,
        ),
        Say::Events(vec![(3, status("TASK_STATE_WORKING"))], true),
        Say::Events(vec![(4, status("TASK_STATE_COMPLETED"))], true),
    ])
    .await;
    let (seen, error) = rest(server.client().stream(&request()).await.unwrap()).await;
    assert!(error.is_none());
    let numbers: Vec<_> = seen.iter().filter_map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let heard = server.heard.await.unwrap();
    assert!(heard[1].head.contains("last-event-id: 2"));
    assert!(heard[2].head.contains("last-event-id: 3"));
    assert_eq!(heard[2].body["method"], "SubscribeToTask");
    assert_eq!(heard[2].body["params"], json!({"id": "t-1"}));
}

#[tokio::test]
async fn a_task_that_ended_while_the_stream_was_broken_is_its_last_event() {
    let server = Server::saying(vec![
        Say::Events(vec![(1, json!({"task": task("TASK_STATE_WORKING")}))], false),
        failure(200, ErrorKind::UnsupportedOperation),
        result(&task("TASK_STATE_FAILED")),
    ])
    .await;
    let (seen, error) = rest(server.client().stream(&request()).await.unwrap()).await;
    assert!(error.is_none());
    assert_eq!(seen, [(Some(1), TaskState::Working), (None, TaskState::Failed)]);
    assert_eq!(server.heard.await.unwrap()[2].body["method"], "GetTask");
}

#[tokio::test]
async fn a_lost_task_ends_the_stream_with_its_error() {
    let server = Server::saying(vec![
        Say::Events(vec![(1, json!({"task": task("TASK_STATE_WORKING")}))], false),
        failure(503, ErrorKind::Unavailable),
        failure(200, ErrorKind::TaskNotFound),
    ])
    .await;
    let (seen, error) = rest(server.client().stream(&request()).await.unwrap()).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(error.unwrap().kind(), Some(ErrorKind::TaskNotFound));
}

#[tokio::test]
async fn an_answer_without_a_task_is_the_only_event() {
    let server = Server::saying(vec![Say::Events(
        vec![(1, json!({"message": value(fixture!("v1_0/message"))}))],
        true,
    )])
    .await;
    let mut events = server.client().stream(&request()).await.unwrap();
    let (_, event) = events.next().await.unwrap().unwrap();
    assert!(matches!(event, StreamResponse::Message(_)));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn the_token_is_never_printed() {
    let client =
        Client::new("http://user:word@127.0.0.1:1", Some("sesame".into()), &ClientTls::default())
            .unwrap();
    assert!(!format!("{client:?}").contains("sesame"));
    let error = client.get(&"t".into(), None).await.unwrap_err();
    let told = format!("{error:?} {error}");
    assert!(!told.contains("sesame") && !told.contains("word"), "{told}");
}
