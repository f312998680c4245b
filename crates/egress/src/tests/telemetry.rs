//! What a session's CLI says of itself: who takes it, and whose it is.

use super::super::*;
use super::world::*;
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

/// Keeps what it takes, up to eight bytes a message.
#[derive(Default)]
struct Keeper(Mutex<Vec<(TelemetrySignal, Bytes)>>);

impl TelemetryReceiver for Keeper {
    fn largest(&self) -> usize {
        8
    }

    fn receive(&self, signal: TelemetrySignal, message: Bytes) {
        self.0.lock().push((signal, message));
    }
}

/// Posts to this path with the key of a session; the status.
async fn post(port: u16, path: &str, token: &str, headers: &str, body: &str) -> String {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {token}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn telemetry_is_taken_from_the_session_that_has_a_receiver_and_from_no_other() {
    const KIND: &str = "Content-Type: application/x-protobuf\r\n";
    let world = World::start().await;
    let (session, other) = (world.credential(&[]), world.credential(&[]));
    let keeper = Arc::new(Keeper::default());
    session.receive_telemetry(keeper.clone());
    let env = session.env(world.port);
    let endpoint = env.iter().find(|(name, _)| name == "OTEL_EXPORTER_OTLP_ENDPOINT");
    assert_eq!(endpoint.unwrap().1, format!("http://127.0.0.1:{}/otlp", world.port));
    assert!(!other.env(world.port).iter().any(|(name, _)| name.starts_with("OTEL_")));
    let (port, path) = (world.port, "/otlp/v1/logs");
    assert_eq!(post(port, path, session.token(), KIND, "one").await, "200");
    assert_eq!(*keeper.0.lock(), [(TelemetrySignal::Logs, Bytes::from_static(b"one"))]);
    for (status, path, token, headers, body) in [
        ("401", path, "none", KIND, "two"),
        ("404", path, other.token(), KIND, "two"),
        ("404", "/otlp/v1/profiles", session.token(), KIND, "two"),
        ("413", path, session.token(), KIND, "more than eight"),
        ("415", path, session.token(), "Content-Type: application/json\r\n", "{}"),
    ] {
        assert_eq!(post(port, path, token, headers, body).await, status, "{path} {body}");
    }
    assert_eq!(keeper.0.lock().len(), 1);
}
