//! Two sessions and one upstream: whatever one of them sends, the other gets the answers to its own requests.

use super::super::*;
use super::models::{anthropic, route};
use super::world::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const UPLOAD: &str = "/model/anthropic/upload";

/// A server that takes no notice of bodies: what follows a head is its next request. The answer to a request that
/// came as a body stays behind until there is another one to answer, so that it is taken for the other's.
async fn ignores_bodies() -> u16 {
    serve(|socket| async {
        let _ = answer_every_head(socket).await;
    })
    .await
}

async fn answer_every_head(mut socket: TcpStream) -> io::Result<()> {
    let (mut held, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = socket.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(&piece[..read]);
        let text = String::from_utf8(held.clone()).unwrap();
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let path = text.split(' ').nth(1).unwrap();
        // What is answered first is the oldest; the rest stays.
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
        socket.write_all(answer.as_bytes()).await?;
        held.drain(..end + 4);
    }
}

fn to(port: u16) -> Vec<Route> {
    let url = format!("http://127.0.0.1:{port}");
    route(ProviderKind::Anthropic, ("ANTHROPIC_BASE_URL", &url), &[])
}

#[tokio::test]
async fn no_session_gets_the_answer_to_a_request_of_another() {
    let world = World::start().await;
    let upstream = ignores_bodies().await;
    let (one, other) =
        (world.credential_with(&[], to(upstream)), world.credential_with(&[], to(upstream)));
    for round in 0..10 {
        let smuggled = "GET /of-the-one HTTP/1.1\r\n\r\n";
        let headers = [("x-api-key", one.token())];
        let (status, _, _) = ask(world.port, "POST", UPLOAD, &headers, smuggled).await;
        assert_eq!(status, 200);
        let headers = [("x-api-key", other.token())];
        let uri = format!("/model/anthropic/of-the-other/{round}");
        let (status, _, body) = ask(world.port, "GET", &uri, &headers, "").await;
        assert_eq!(status, 200);
        assert_eq!(String::from_utf8_lossy(&body), format!("/of-the-other/{round}"));
    }
}

#[tokio::test]
async fn a_body_where_none_belongs_goes_nowhere() {
    let world = World::start().await;
    let fake = Fake::start(|_| full(200, "text/plain", "")).await;
    let git =
        GitRoute::new("git.test", "", None, "secret").unwrap().with_upstream(&fake.url()).unwrap();
    let mut routes = anthropic(&fake);
    routes.push(Route::Git(git));
    let place = format!("here.test:{}", fake.port);
    let session = world.credential_with(&[&place], routes);
    let own = world.own(&session).await;
    let forwarded = format!("http://{place}/");
    let uris = [
        "/model/anthropic/v1/models",
        "/git/git.test/team/a.git/info/refs?service=git-upload-pack",
        &forwarded,
    ];
    let framings = ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"];
    for uri in uris {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"] {
            for framing in framings {
                let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, own)).await.unwrap();
                let key = session.token();
                let request =
                    format!("{method} {uri} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\n{framing}");
                socket.write_all(request.as_bytes()).await.unwrap();
                let head = head(&mut socket).await;
                assert!(head.starts_with("HTTP/1.1 400"), "{method} {uri} {framing:?}: {head}");
                ends(&mut socket).await;
            }
        }
    }
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, own)).await.unwrap();
    let request = format!("CONNECT {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    socket.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_request_goes_out_with_one_length_whatever_it_came_with() {
    let world = World::start().await;
    let fake = Fake::start(|_| full(200, "text/plain", "")).await;
    let session = world.credential_with(&[], anthropic(&fake));
    for framing in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 99",
        "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nTrailer: x",
    ] {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).await.unwrap();
        let request = format!(
            "POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\nConnection: close\r\n{framing}\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            session.token()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        ends(&mut socket).await;
        let asked = fake.asked().pop().expect("the request reached the upstream");
        assert_eq!(asked.body, "abc", "{framing}");
        assert_eq!(asked.headers["transfer-encoding"], "chunked", "{framing}");
        for name in ["content-length", "expect", "trailer"] {
            assert!(!asked.headers.contains_key(name), "{framing}: {name}");
        }
    }
    assert_eq!(fake.asked().len(), 3);
}

/// A server that answers as soon as it has a head, and reads the whole body before the next request.
async fn answers_early() -> u16 {
    serve(|mut socket| async move {
        let mut asked = Vec::new();
        loop {
            while !asked.ends_with(b"\r\n\r\n") {
                let Ok(byte) = socket.read_u8().await else { return };
                asked.push(byte);
            }
            let text = String::from_utf8(std::mem::take(&mut asked)).unwrap();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly";
            socket.write_all(answer.as_bytes()).await.unwrap();
            let length = text.split("content-length: ").nth(1);
            let length = length
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            if socket.read_exact(&mut vec![0; length]).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_upload_that_was_answered_early_and_broken_off_swallows_no_request() {
    let world = World::start().await;
    let session = world.credential_with(&[], to(answers_early().await));
    for _ in 0..3 {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).await.unwrap();
        let request = format!(
            "POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\nContent-Length: 100000\r\n\r\nbegun",
            session.token()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        assert!(head(&mut socket).await.starts_with("HTTP/1.1 200"));
        drop(socket);
        let headers = [("x-api-key", session.token())];
        let (status, _, body) = ask(world.port, "GET", "/model/anthropic/x", &headers, "").await;
        assert_eq!((status, &body[..]), (200, &b"early"[..]));
    }
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_unasked_is_left() {
    let world = World::start().await;
    let port = serve(|mut socket| async move {
        head(&mut socket).await;
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        socket.write_all(switch.as_bytes()).await.unwrap();
        ends(&mut socket).await;
    })
    .await;
    let place = format!("here.test:{port}");
    let session = world.credential_with(&[&place], to(port));
    let credential = basic(session.token());
    let headers = [("x-api-key", session.token()), ("proxy-authorization", credential.as_str())];
    for uri in ["/model/anthropic/x", &format!("http://{place}/")] {
        let (status, _, _) = ask(world.port, "GET", uri, &headers, "").await;
        assert_eq!(status, 502, "{uri}");
    }
}

#[tokio::test]
async fn connections_to_an_upstream_are_kept_for_their_session_and_end_with_it() {
    let world = World::start().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let session = world.credential_with(&[], to(port));
    let (token, client) = (session.token().to_owned(), world.port);
    let asking = tokio::spawn(async move {
        for _ in 0..3 {
            let headers = [("x-api-key", token.as_str())];
            let (status, _, _) = ask(client, "GET", "/model/anthropic/x", &headers, "").await;
            assert_eq!(status, 200);
        }
    });
    let (mut socket, _) = listener.accept().await.unwrap();
    for _ in 0..3 {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }
    asking.await.unwrap();
    drop(session);
    ends(&mut socket).await;
}
