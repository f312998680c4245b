//! Passes: whose connection it is, how many there may be, and that nothing is left of one that ended.

use super::super::*;
use super::world::*;
use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_token_that_was_never_given_is_refused() {
    let world = World::start().await;
    let session = world.credential(&["*"]);
    let mut forged = session.token().to_owned();
    forged.pop();
    for token in [forged.as_str(), "", "session"] {
        let (status, _, _) = tunnel(world.port, "here.test:443", Some(token)).await;
        assert_eq!(status, 407, "{token}");
    }
}

#[tokio::test]
async fn a_credential_that_was_dropped_ends_its_tunnels_and_its_token_is_void() {
    let world = World::start().await;
    let (target, session) = world.credential_for_echo().await;
    let other = world.credential(&[&target]);
    let token = session.token().to_owned();
    let (_, _, mut socket) = tunnel(world.port, &target, Some(&token)).await;
    let (_, _, mut others) = tunnel(world.port, &target, Some(other.token())).await;
    echoes(&mut socket).await;
    drop(session);
    ends(&mut socket).await;
    let (status, _, _) = tunnel(world.port, &target, Some(&token)).await;
    assert_eq!(status, 407);
    echoes(&mut others).await;
}

#[tokio::test]
async fn a_credential_that_was_dropped_closes_its_listener_and_leaves_no_task() {
    let world = World::start().await;
    let (target, session) = world.credential_for_echo().await;
    let port = world.own(&session).await;
    let (_, _, mut socket) = tunnel(port, &target, None).await;
    echoes(&mut socket).await;
    drop(session);
    ends(&mut socket).await;
    tokio::time::timeout(LONG, world.egress.ended()).await.unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
    assert!(world.egress.0.credentials().is_empty());
}

#[tokio::test]
async fn a_connection_of_one_session_is_of_no_use_to_another() {
    let world = World::start().await;
    let one = world.credential(&["*"]);
    let other = world.credential(&["*"]);
    for (session, expected) in [(&one, "502"), (&other, "403")] {
        let here = format!("127.0.0.1:{}", world.port);
        let (status, _, mut socket) = tunnel(world.port, &here, Some(one.token())).await;
        assert_eq!(status, 200);
        socket.write_all(request_to("nobody.test", session).as_bytes()).await.unwrap();
        let head = head(&mut socket).await;
        assert_eq!(head.split(' ').nth(1), Some(expected), "{head}");
    }
}

/// A request for `http://host/`.
fn request_to(host: &str, session: &EgressCredential) -> String {
    let credential = basic(session.token());
    format!(
        "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: {credential}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_connection_takes_one_request_and_says_so() {
    let world = World::start().await;
    let session = world.credential(&[]);
    for port in [world.port, world.own(&session).await] {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        socket.write_all(request_to("a.test", &session).as_bytes()).await.unwrap();
        let head = head(&mut socket).await;
        assert!(head.contains("connection: close\r\n"), "{head}");
        ends(&mut socket).await;
    }
}

/// As many connections of a session as it may have, each with half a head.
async fn half_heads(port: u16) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        socket.write_all(b"GET http://a.test/ HTTP/1.1\r\nHost").await.unwrap();
        sockets.push(socket);
    }
    sockets
}

#[tokio::test]
async fn sessions_that_hold_all_places_keep_no_other_session_from_its_own() {
    let times = Times { head: Duration::from_secs(60 * 60), ..TIMES };
    let world = World::start_with(8, times).await;
    let (mut sessions, mut held) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let session = world.credential(&[]);
        held.push(half_heads(world.own(&session).await).await);
        sessions.push(session);
    }
    let all_are_held = async {
        while world.egress.0.places.count_common() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, all_are_held).await.unwrap();
    let session = world.credential(&[]);
    let own = world.own(&session).await;
    for port in [own, world.port] {
        let (status, _, _) = tunnel(port, "a.test:443", Some(session.token())).await;
        assert_eq!(status, 403);
    }
    // When it holds its own places itself, a further request is told so, or waits at its own listener.
    let places = &session.live.places;
    let held_itself = [places.acquire().await, places.acquire().await];
    let (status, line, _) = tunnel(world.port, "a.test:443", Some(session.token())).await;
    assert_eq!((status, line.contains("`egress.own_requests`")), (503, true), "{line}");
    let waits = tokio::spawn(async move { tunnel(own, "a.test:443", None).await.0 });
    drop(held_itself);
    assert_eq!(waits.await.unwrap(), 403);
    drop(held);
}

#[tokio::test]
async fn a_tunnel_holds_no_place() {
    let world = World::start().await;
    let (target, session) = world.credential_for_echo().await;
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let (status, _, mut socket) = tunnel(world.port, &target, Some(session.token())).await;
        assert_eq!(status, 200);
        echoes(&mut socket).await;
        sockets.push(socket);
    }
}

#[tokio::test]
async fn a_session_has_only_so_many_connections_and_takes_none_from_others() {
    let world = World::start_with(2, TIMES).await;
    let (target, session) = world.credential_for_echo().await;
    let other = world.credential(&[&target]);
    let first = tunnel(world.port, &target, Some(session.token())).await;
    let _second = tunnel(world.port, &target, Some(session.token())).await;
    let (status, _, _) = tunnel(world.port, &target, Some(session.token())).await;
    assert_eq!(status, 503);
    let (status, _, _) = tunnel(world.port, &target, Some(other.token())).await;
    assert_eq!(status, 200);
    // A place is free again when its tunnel has ended.
    let mut socket = first.2;
    socket.shutdown().await.unwrap();
    ends(&mut socket).await;
    let again = async {
        while tunnel(world.port, &target, Some(session.token())).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, again).await.unwrap();
}

#[tokio::test]
async fn whoever_says_nothing_has_to_go_when_others_come() {
    let times = Times { head: Duration::from_secs(60 * 60), ..TIMES };
    let world = World::start_with(8, times).await;
    let (target, session) = world.credential_for_echo().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).await.unwrap());
    }
    let (status, _, _) = tunnel(world.port, &target, Some(session.token())).await;
    assert_eq!(status, 200);
    ends(&mut silent[0]).await;
}

#[tokio::test]
async fn whoever_says_nothing_in_time_has_to_go() {
    let times = Times { head: Duration::from_millis(50), ..TIMES };
    let world = World::start_with(8, times).await;
    let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).await.unwrap();
    ends(&mut silent).await;
}

#[tokio::test]
async fn a_sessions_own_listener_keeps_no_connection_without_a_request() {
    let times = Times { head: Duration::from_millis(50), ..TIMES };
    let world = World::start_with(2, times).await;
    let (target, session) = world.credential_for_echo().await;
    let port = world.own(&session).await;
    let (_, _, mut tunnelled) = tunnel(port, &target, None).await;
    let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    ends(&mut silent).await;
    // One that has made its request stays, and the place of the silent one is free.
    let (status, _, _) = tunnel(port, &target, None).await;
    assert_eq!(status, 200);
    echoes(&mut tunnelled).await;
}

#[tokio::test]
async fn a_tunnel_without_a_byte_for_long_ends() {
    let times = Times { idle: Duration::from_millis(50), ..TIMES };
    let world = World::start_with(8, times).await;
    let (target, session) = world.credential_for_echo().await;
    let (_, _, mut socket) = tunnel(world.port, &target, Some(session.token())).await;
    ends(&mut socket).await;
}

#[tokio::test]
async fn a_stop_ends_the_shared_listener_and_its_connections() {
    let world = World::start().await;
    let (target, session) = world.credential_for_echo().await;
    let (_, _, mut socket) = tunnel(world.port, &target, Some(session.token())).await;
    world.stop.cancel();
    ends(&mut socket).await;
    world.tracker.close();
    tokio::time::timeout(LONG, world.tracker.wait()).await.unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).await.is_err());
}

#[tokio::test]
async fn the_shared_listener_ends_with_its_egress() {
    let World { egress, tracker, stop: _stop, .. } = World::start().await;
    drop(egress);
    tracker.close();
    tokio::time::timeout(LONG, tracker.wait()).await.unwrap();
}

#[tokio::test]
async fn a_refused_destination_is_told_once_and_each_session_hears_of_its_own() {
    let world = World::start().await;
    let one = world.credential(&[]);
    let other = world.credential(&[]);
    for _ in 0..3 {
        tunnel(world.port, "a.test:443", Some(one.token())).await;
    }
    tunnel(world.port, "b.test:443", Some(other.token())).await;
    assert_eq!(one.next_refusal().await.host, "a.test");
    assert!(one.next_refusal().now_or_never().is_none());
    assert_eq!(other.next_refusal().await.host, "b.test");
}

#[tokio::test]
async fn a_flood_of_refusals_is_bounded_and_counted() {
    let world = World::start().await;
    let session = world.credential(&[]);
    let port = world.own(&session).await;
    for number in 0..100 {
        let (_, _, mut socket) = tunnel(port, &format!("a{number}.test:443"), None).await;
        socket.shutdown().await.unwrap();
    }
    assert_eq!(session.next_refusal().await.missed, 36);
    let told = std::iter::from_fn(|| session.next_refusal().now_or_never()).count();
    assert_eq!(told, 63);
}

#[tokio::test]
async fn a_process_is_told_how_to_get_out() {
    let world = World::start().await;
    let session = world.credential(&[]);
    let env: HashMap<_, _> = session.env(8118).into_iter().collect();
    let proxy = format!("http://session:{}@127.0.0.1:8118", session.token());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        assert_eq!(env[name], proxy, "{name}");
    }
    assert_eq!(env["NO_PROXY"], "127.0.0.1,localhost,::1");
    assert!(!env.contains_key("GIT_CONFIG_COUNT"));
}

#[tokio::test]
async fn tokens_are_long_and_nowhere_shown() {
    let world = World::start().await;
    let session = world.credential(&["*"]);
    let other = world.credential(&["*"]);
    assert_ne!(session.token(), other.token());
    // 32 bytes of base64.
    assert_eq!(session.token().len(), 3 + 43);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    assert!(session.token().chars().all(plain));
    let shown = format!("{session:?} {:?}", world.egress);
    assert!(!shown.contains(session.token()), "{shown}");
}
