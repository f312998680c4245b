//! The proxy: what is let through, what is refused, and what the refused are told.

use super::super::*;
use super::world::*;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn what_a_rule_permits_is_tunnelled() {
    let world = World::start().await;
    let echo = echo().await;
    let session = world.credential(&[&format!("here.test:{echo}")]);
    let target = format!("here.test:{echo}");
    let (status, _, mut socket) = tunnel(world.port, &target, Some(session.token())).await;
    assert_eq!(status, 200);
    echoes(&mut socket).await;
}

#[tokio::test]
async fn each_side_of_a_tunnel_may_end_first() {
    let world = World::start().await;
    let (target, session) = world.credential_for_echo().await;
    let (_, _, mut socket) = tunnel(world.port, &target, Some(session.token())).await;
    socket.write_all(b"last words").await.unwrap();
    socket.shutdown().await.unwrap();
    let mut heard = String::new();
    let read = tokio::time::timeout(LONG, socket.read_to_string(&mut heard)).await;
    read.expect("the end sessions through").unwrap();
    assert_eq!(heard, "last words");
}

#[tokio::test]
async fn what_no_rule_permits_is_refused_with_what_can_be_done() {
    let world = World::start().await;
    let session = world.credential(&["here.test"]);
    let (status, line, _) = tunnel(world.port, "other.test:443", Some(session.token())).await;
    assert_eq!(status, 403);
    let expected =
        "other.test:443 is not in agents.a.egress.allow; the server's operator can add it";
    assert_eq!(line, expected);
    let refusal = session.next_refusal().await;
    assert_eq!(refusal.host, "other.test");
    assert_eq!(refusal.port, 443);
    assert_eq!(refusal.reason, Reason::NotAllowed);
    assert_eq!(refusal.advice, expected);
}

#[tokio::test]
async fn a_permitted_name_that_leads_inward_is_refused() {
    let world = World::start().await;
    let session = world.credential(&["*"]);
    for name in ["inner.test", "metadata.test", "mixed.test", "mapped.test", "other-loopback.test"]
    {
        let target = format!("{name}:443");
        let (status, line, _) = tunnel(world.port, &target, Some(session.token())).await;
        assert_eq!(status, 403, "{name}");
        assert_eq!(
            line,
            format!(
                "{target} leads into an inner network; the server's operator can add that network to egress.inner"
            )
        );
        assert_eq!(session.next_refusal().await.reason, Reason::Inner);
    }
}

#[tokio::test]
async fn a_name_of_which_one_address_leads_inward_gets_no_packet_at_all() {
    let world = World::start().await;
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let session = world.credential(&[&format!("mixed.test:{port}")]);
    let target = format!("mixed.test:{port}");
    let (status, _, _) = tunnel(world.port, &target, Some(session.token())).await;
    assert_eq!(status, 403);
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn an_inner_address_is_refused_in_every_spelling() {
    let world = World::start().await;
    let session = world.credential(&["*"]);
    for spelling in [
        "127.0.0.2",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:a00:1]",
        "[64:ff9b::a00:1]",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "10.0.0.1.",
    ] {
        let target = format!("{spelling}:443");
        let (status, line, _) = tunnel(world.port, &target, Some(session.token())).await;
        assert_eq!(status, 403, "{spelling}: {line}");
    }
}

#[tokio::test]
async fn an_inner_network_of_the_operators_choice_can_be_reached() {
    let world = World::start().await;
    let echo = echo().await;
    let session = world.credential(&[&format!("*:{echo}")]);
    for host in ["127.0.0.1", "sub.here.test"] {
        let target = format!("{host}:{echo}");
        let (status, line, _) = tunnel(world.port, &target, Some(session.token())).await;
        assert_eq!(status, 200, "{host}: {line}");
    }
}

#[tokio::test]
async fn a_name_without_an_address_is_an_error_and_no_refusal() {
    let world = World::start().await;
    let session = world.credential(&["*"]);
    let (status, line, _) = tunnel(world.port, "nobody.test:443", Some(session.token())).await;
    assert_eq!(status, 502);
    assert_eq!(line, "nobody.test:443 could not be reached: the name cannot be resolved");
    assert!(session.next_refusal().now_or_never().is_none());
}

#[tokio::test]
async fn plain_http_is_forwarded_to_the_host_that_was_permitted() {
    let world = World::start().await;
    let fake = Fake::start(|_| full(200, "text/plain", "served")).await;
    let place = format!("here.test:{}", fake.port);
    let session = world.credential(&[&place]);
    let credential = basic(session.token());
    let headers = [
        ("proxy-authorization", credential.as_str()),
        ("host", "elsewhere.test"),
        ("connection", "x-mine"),
        ("x-mine", "1"),
        ("x-kept", "2"),
    ];
    let uri = format!("http://{place}/a/b?c=d");
    let (status, _, body) = ask(world.port, "POST", &uri, &headers, "sent").await;
    assert_eq!((status, &body[..]), (200, &b"served"[..]));
    let asked = fake.asked().remove(0);
    assert_eq!((asked.method.as_str(), asked.uri.as_str()), ("POST", "/a/b?c=d"));
    assert_eq!(asked.headers["host"], place.as_str());
    assert_eq!(asked.headers["x-kept"], "2");
    assert_eq!(asked.body, "sent");
    for name in ["proxy-authorization", "x-mine"] {
        assert!(!asked.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn plain_http_to_what_no_rule_permits_is_refused() {
    let world = World::start().await;
    let session = world.credential(&["here.test:8080"]);
    let credential = basic(session.token());
    let headers = [("proxy-authorization", credential.as_str())];
    let (status, _, line) = ask(world.port, "GET", "http://here.test/", &headers, "").await;
    assert_eq!(status, 403);
    assert_eq!(
        line,
        "here.test:80 is not in agents.a.egress.allow; the server's operator can add it\n"
    );
}

#[tokio::test]
async fn who_says_nothing_of_himself_is_not_told_what_is_allowed() {
    let world = World::start().await;
    let echo = echo().await;
    let allowed = format!("here.test:{echo}");
    let _pass = world.credential(&[&allowed]);
    let (status, one, _) = tunnel(world.port, &allowed, None).await;
    assert_eq!(status, 407);
    let (status, other, _) = tunnel(world.port, "other.test:443", None).await;
    assert_eq!(status, 407);
    assert_eq!(one, other);
    let (status, headers, _) = ask(world.port, "GET", "http://here.test/", &[], "").await;
    assert_eq!(status, 407);
    assert_eq!(headers["proxy-authenticate"], "Basic realm=\"pilothouse\"");
}

#[tokio::test]
async fn at_a_listener_of_its_own_a_session_needs_no_credential() {
    let world = World::start().await;
    let (target, session) = world.credential_for_echo().await;
    let port = world.own(&session).await;
    let (status, _, mut socket) = tunnel(port, &target, None).await;
    assert_eq!(status, 200);
    echoes(&mut socket).await;
    let (status, _, _) = tunnel(port, "other.test:443", None).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_request_for_the_proxy_itself_is_not_forwarded() {
    let world = World::start().await;
    let session = world.credential(&["*", &format!("*:{}", world.port)]);
    let port = world.own(&session).await;
    let (status, _, _) = ask(port, "GET", "/", &[], "").await;
    assert_eq!(status, 404);
    let (status, _, _) = ask(port, "GET", &format!("http://127.0.0.1:{port}/x"), &[], "").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let world = World::start().await;
    let session = world.credential(&["*"]);
    let port = world.own(&session).await;
    let long = "x".repeat(200 * 1024);
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let request = format!("GET http://here.test/ HTTP/1.1\r\nHost: here.test\r\nX: {long}\r\n\r\n");
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LONG, socket.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}
