//! Streams of models: bytes session as they come, whoever is slow is waited for, and tokens are counted.

use super::super::*;
use super::models::{anthropic, route};
use super::world::*;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn an_event_stream_passes_byte_for_byte_and_is_counted() {
    let world = World::start().await;
    let events = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n: ping\r\n\r\nevent: x\ndata: \u{fc}\u{1f600}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":42}}\n\n";
    let fake = Fake::start(move |_| {
        let pieces = events.as_bytes().chunks(7).map(|piece| {
            let frame = Frame::data(Bytes::copy_from_slice(piece));
            Ok::<_, io::Error>(frame)
        });
        let pieces: Vec<_> = pieces.collect();
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(BodyExt::boxed(body))
            .unwrap()
    })
    .await;
    let session = world.credential_with(&[], anthropic(&fake));
    let headers = [("x-api-key", session.token())];
    for _ in 0..2 {
        let uri = "/model/anthropic/v1/messages";
        let (status, _, body) = ask(world.port, "POST", uri, &headers, "").await;
        assert_eq!((status, &body[..]), (200, events.as_bytes()));
    }
    let expected = Counted {
        input: 20,
        output: 84,
        cache_read: 6,
        cache_write: 0,
        requests: 2,
        refusal: None,
    };
    assert_eq!(session.tokens(), expected);
    assert_eq!(world.credential(&[]).tokens(), Counted::default());
}

#[tokio::test]
async fn the_first_event_arrives_while_the_last_is_not_yet_made() {
    let world = World::start().await;
    let (more, waiting) = tokio::sync::mpsc::channel::<Bytes>(1);
    let waiting = Mutex::new(Some(waiting));
    let fake = Fake::start(move |_| {
        let mut waiting = waiting.lock().take().unwrap();
        let stream = futures_util::stream::poll_fn(move |context| {
            let next = waiting.poll_recv(context);
            next.map(|next| next.map(|bytes| Ok::<_, io::Error>(Frame::data(bytes))))
        });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(Box::pin(stream))))))
            .unwrap()
    })
    .await;
    let session = world.credential_with(&[], anthropic(&fake));
    let headers = [("x-api-key", session.token())];
    let mut answer = begin(world.port, "POST", "/model/anthropic/x", &headers, "").await;
    for word in ["data: one\n\n", "data: two\n\n"] {
        more.send(Bytes::from(word)).await.unwrap();
        let frame = tokio::time::timeout(LONG, answer.frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), word);
    }
    // The upstream is left when the session leaves.
    drop(answer);
    tokio::time::timeout(LONG, more.closed()).await.unwrap();
}

type Pieces = Pin<Box<dyn futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send>>;

/// A stream that one at a time may look at.
struct SyncStream(Mutex<Pieces>);

impl futures_util::Stream for SyncStream {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.lock().as_mut().poll_next(context)
    }
}

/// A server of raw bytes: it never ends what it sends, or never reads what it is sent.
async fn endless(sends: bool) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        head(&mut socket).await;
        if !sends {
            std::future::pending::<()>().await;
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        socket.write_all(answer.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 64 * 1024];
        while socket.write_all(&piece).await.is_ok() {
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    (port, sent)
}

/// What a count has come to when it has stood still for a while.
async fn settled(count: &AtomicU64) -> u64 {
    let mut last = (u64::MAX, 0);
    while last.1 < 10 {
        let now = count.load(Ordering::Relaxed);
        last = if now == last.0 && now > 0 { (now, last.1 + 1) } else { (now, 0) };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    last.0
}

/// The buffers of four sockets of loopback and of two connections; far below what is offered.
const BOUND: u64 = 32 * 1024 * 1024;

#[tokio::test]
async fn whoever_reads_slowly_holds_up_the_upstream_and_fills_nothing() {
    let world = World::start().await;
    let (port, sent) = endless(true).await;
    let url = format!("http://127.0.0.1:{port}");
    let routes = route(ProviderKind::Anthropic, ("ANTHROPIC_BASE_URL", &url), &[]);
    let session = world.credential_with(&[], routes);
    let headers = [("x-api-key", session.token())];
    let answer = begin(world.port, "GET", "/model/anthropic/x", &headers, "").await;
    let stalled = tokio::time::timeout(LONG, settled(&sent)).await.unwrap();
    assert!(stalled < BOUND, "{stalled}");
    // It goes on when the session reads on.
    let mut body = answer.into_body();
    let mut read = 0;
    while read < stalled + BOUND {
        let frame = tokio::time::timeout(LONG, body.frame()).await.unwrap();
        read += frame.unwrap().unwrap().into_data().unwrap().len() as u64;
    }
}

#[tokio::test]
async fn an_upstream_that_reads_slowly_holds_up_the_session_and_fills_nothing() {
    let world = World::start().await;
    let (port, _) = endless(false).await;
    let url = format!("http://127.0.0.1:{port}");
    let routes = route(ProviderKind::Anthropic, ("ANTHROPIC_BASE_URL", &url), &[]);
    let session = world.credential_with(&[], routes);
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).await.unwrap();
    let request = format!(
        "POST /model/anthropic/x HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\nContent-Length: 1000000000\r\n\r\n",
        session.token()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let writing = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        while socket.write_all(&piece).await.is_ok() {
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    let stalled = tokio::time::timeout(LONG, settled(&sent)).await.unwrap();
    assert!(stalled < BOUND, "{stalled}");
    writing.abort();
}

#[tokio::test]
async fn a_credential_that_was_dropped_ends_its_streams() {
    let world = World::start().await;
    let (port, _) = endless(true).await;
    let url = format!("http://127.0.0.1:{port}");
    let routes = route(ProviderKind::Anthropic, ("ANTHROPIC_BASE_URL", &url), &[]);
    let session = world.credential_with(&[], routes);
    let headers = [("x-api-key", session.token())];
    let answer = begin(world.port, "GET", "/model/anthropic/x", &headers, "").await;
    drop(session);
    let mut body = answer.into_body();
    let ends = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(LONG, ends).await.unwrap();
}
