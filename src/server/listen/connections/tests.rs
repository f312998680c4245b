use super::served::PIECE;
use super::*;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body::Body as _;
use http_body_util::BodyExt;
use std::pin::Pin;

const BOUNDS: Bounds = Bounds {
    all: 8,
    kept: 2,
    per_address: 8,
    per_caller: 8,
    streams: 2,
    unread: 100,
    head: Duration::from_secs(10),
    idle: Duration::from_secs(20),
    write: Duration::from_secs(30),
    write_at_stop: Duration::from_secs(5),
};

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

/// Enters when the grace of all others is over.
fn enter(connections: &Arc<Connections>, last: u8) -> Entry {
    connections.try_enter(address(last), false, Instant::now() + GRACE)
}

fn place(connections: &Arc<Connections>, last: u8) -> Place {
    match connections.try_enter(address(last), false, Instant::now()) {
        Entry::Place(place) => place,
        Entry::AddressFull | Entry::Wait(_) => panic!("there is no place"),
    }
}

fn recognize(connections: &Connections, place: &Place) -> Recognition {
    connections.recognize(place.connection(), &"a".into())
}

fn known_place(connections: &Arc<Connections>, last: u8) -> Place {
    let place = place(connections, last);
    assert_eq!(recognize(connections, &place), Recognition::Known);
    place
}

/// Whether a request is served now.
fn begins(request: &mut Served) -> bool {
    matches!(request.begin().now_or_never(), Some(Some(_)))
}

fn is_evicted(place: &Place) -> bool {
    place.connection().evicted().now_or_never().is_some()
}

#[test]
fn the_oldest_stranger_gives_way_and_a_known_connection_does_not() {
    let connections = Connections::new(BOUNDS);
    let known = known_place(&connections, 1);
    let strangers: Vec<_> = (2..9).map(|last| place(&connections, last)).collect();
    let Entry::Place(new) = enter(&connections, 9) else { panic!("it is refused") };
    let evicted: Vec<_> = strangers.iter().map(is_evicted).collect();
    assert_eq!(evicted, [true, false, false, false, false, false, false]);
    assert!(!is_evicted(&known));
    drop((strangers, new, known));
    assert_eq!(connections.open.lock().count, 0);
    assert!(connections.open.lock().by_origin.is_empty());
}

#[test]
fn a_stranger_has_a_moment_to_show_its_token() {
    let connections = Connections::new(BOUNDS);
    let strangers: Vec<_> = (1..9).map(|last| place(&connections, last)).collect();
    let first = strangers[0].connection().began;
    let entered = connections.try_enter(address(9), false, first + GRACE / 2);
    assert!(matches!(entered, Entry::Wait(Some(until)) if until == first + GRACE));
    assert!(!strangers.iter().any(is_evicted));
}

#[test]
fn known_callers_leave_half_of_the_kept_places_to_health() {
    let connections = Connections::new(BOUNDS);
    let known: Vec<_> = (0..5).map(|last| known_place(&connections, last)).collect();
    assert!(!connections.are_taken());
    let sixth = known_place(&connections, 5);
    assert!(connections.are_taken());
    let seventh = known_place(&connections, 6);
    let eighth = place(&connections, 7);
    assert_eq!(recognize(&connections, &eighth), Recognition::Full);
    // Whoever comes then takes the place of the last stranger, and known callers lose none.
    let Entry::Place(_ninth) = enter(&connections, 8) else { panic!("it is refused") };
    assert!(is_evicted(&eighth));
    assert!(known.iter().chain([&sixth, &seventh]).all(|place| !is_evicted(place)));
}

#[tokio::test]
async fn a_connection_waits_where_known_callers_hold_every_place() {
    let connections = Connections::new(Bounds { kept: 0, ..BOUNDS });
    let mut known: Vec<_> = (0..8).map(|last| known_place(&connections, last)).collect();
    assert!(matches!(enter(&connections, 8), Entry::Wait(None)));
    let mut waits = Box::pin(connections.enter(address(8), false));
    assert!(waits.as_mut().now_or_never().is_none());
    known.pop();
    assert!(waits.await.is_ok());
}

#[test]
fn an_address_at_its_bound_takes_places_from_itself_alone() {
    let connections = Connections::new(Bounds { per_address: 2, ..BOUNDS });
    let other = place(&connections, 1);
    let first = place(&connections, 2);
    let _second = known_place(&connections, 2);
    let _third = known_place(&connections, 2);
    assert!(is_evicted(&first) && !is_evicted(&other));
    assert!(matches!(enter(&connections, 2), Entry::AddressFull));
    let shared = connections.try_enter(address(2), true, Instant::now());
    assert!(matches!(shared, Entry::Place(_)));
}

#[test]
fn a_token_that_comes_after_the_eviction_changes_nothing() {
    let connections = Connections::new(Bounds { per_address: 1, ..BOUNDS });
    let first = place(&connections, 1);
    let _second = place(&connections, 1);
    assert_eq!(recognize(&connections, &first), Recognition::Stranger);
    drop(first);
    assert_eq!(connections.open.lock().count, 1);
}

#[test]
fn a_connection_over_http_2_takes_four_places_and_the_oldest_strangers_give_way_to_it() {
    let connections = Connections::new(BOUNDS);
    let strangers: Vec<_> = (1..9).map(|last| place(&connections, last)).collect();
    let last = strangers[7].connection();
    // The others have a moment to show their token.
    assert!(!connections.widen(last, Instant::now()));
    assert!(connections.widen(last, Instant::now() + GRACE));
    let evicted: Vec<_> = strangers.iter().map(is_evicted).collect();
    assert_eq!(evicted, [true, true, true, false, false, false, false, false]);
    assert_eq!(recognize(&connections, &strangers[7]), Recognition::Known);
    assert_eq!(connections.open.lock().by_caller["a"], 4);
    drop(strangers);
    let open = connections.open.lock();
    assert_eq!((open.count, open.of_strangers), (0, 0));
    assert!(open.by_origin.is_empty() && open.by_caller.is_empty());
}

#[test]
fn a_connection_over_http_2_that_is_the_next_to_give_way_finds_no_places() {
    let bounds = Bounds { per_address: 4, ..BOUNDS };
    let connections = Connections::new(bounds);
    let first = place(&connections, 1);
    let second = place(&connections, 1);
    let third = place(&connections, 1);
    assert!(!connections.widen(first.connection(), Instant::now()));
    assert!(is_evicted(&first) && !is_evicted(&second) && !is_evicted(&third));
    drop(second);
    assert!(connections.widen(third.connection(), Instant::now()));
    assert_eq!(connections.open.lock().count, 4);
}

#[test]
fn a_caller_over_http_2_for_whom_there_are_too_few_places_is_no_stranger() {
    let connections = Connections::new(BOUNDS);
    let known: Vec<_> = (0..4).map(|last| known_place(&connections, last)).collect();
    let wide = place(&connections, 5);
    assert!(connections.widen(wide.connection(), Instant::now()));
    assert_eq!(recognize(&connections, &wide), Recognition::Full);
    drop(known);
    assert_eq!(recognize(&connections, &wide), Recognition::Known);
}

#[test]
fn a_request_that_waits_does_not_begin_once_its_client_has_left() {
    let connections = Connections::new(BOUNDS);
    let place = known_place(&connections, 1);
    let arrive = || place.connection().arrive(true);
    let mut all = [arrive(), arrive(), arrive()];
    assert!(begins(&mut all[0]) && begins(&mut all[1]));
    assert!(all[2].begin().now_or_never().is_none());
    drop(place.connection().clone().leaves());
    let [first, second, mut third] = all;
    drop((first, second));
    assert!(matches!(third.begin().now_or_never(), Some(None)));
}

/// What is overdue so long after now.
fn look_after(place: &Place, time: Duration) -> Option<Overdue> {
    place.connection().look_at(Instant::now() + time).ok()
}

const ALMOST: Duration = Duration::from_secs(9);

#[test]
fn the_first_request_is_due_soon_and_an_open_request_is_not_idle() {
    let connections = Connections::new(BOUNDS);
    let place = place(&connections, 1);
    assert_eq!(look_after(&place, ALMOST), None);
    assert_eq!(look_after(&place, BOUNDS.head), Some(Overdue::Head));
    let served = place.connection().arrive(false);
    assert_eq!(look_after(&place, BOUNDS.idle * 10), None);
    drop(served);
    assert_eq!(look_after(&place, BOUNDS.head + ALMOST), None);
    assert_eq!(look_after(&place, BOUNDS.idle), Some(Overdue::Idle));
}

#[test]
fn bytes_between_requests_begin_a_head_in_http_1_alone() {
    let connections = Connections::new(BOUNDS);
    for (is_http2, expected) in [(false, Some(Overdue::Head)), (true, None)] {
        let place = place(&connections, 1);
        drop(place.connection().arrive(is_http2));
        assert_eq!(look_after(&place, BOUNDS.head), None);
        place.connection().note_read();
        assert_eq!(look_after(&place, BOUNDS.head), expected);
    }
}

#[test]
fn it_is_looked_again_before_anything_that_begins_meanwhile_is_due() {
    let connections = Connections::new(BOUNDS);
    let place = place(&connections, 1);
    let _served = place.connection().arrive(false);
    let now = Instant::now();
    assert_eq!(place.connection().look_at(now), Err(now + BOUNDS.head));
}

#[tokio::test]
async fn an_answer_is_stuck_when_its_client_takes_no_piece_of_it() {
    let connections = Connections::new(BOUNDS);
    let place = place(&connections, 1);
    let served = place.connection().arrive(false);
    let mut answer = served.answer(axum::body::Body::from(vec![0; PIECE * 2]), None, None);
    for _ in 0..2 {
        assert_eq!(look_after(&place, BOUNDS.write), Some(Overdue::Stuck));
        let piece = Pin::new(&mut answer).frame().await.unwrap().unwrap();
        assert_eq!(piece.into_data().unwrap().len(), PIECE);
        assert_eq!(look_after(&place, BOUNDS.write - ALMOST), None);
    }
    assert!(answer.is_end_stream());
}

#[tokio::test]
async fn an_answer_whose_next_piece_does_not_exist_yet_is_not_stuck() {
    let connections = Connections::new(BOUNDS);
    let place = place(&connections, 1);
    let events = futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>();
    let mut answer =
        place.connection().arrive(false).answer(axum::body::Body::from_stream(events), None, None);
    assert!(Pin::new(&mut answer).frame().now_or_never().is_none());
    assert_eq!(look_after(&place, BOUNDS.write * 10), None);
}

#[test]
fn a_stranger_has_few_requests_at_a_time_and_a_known_caller_waits_while_much_is_unread() {
    let connections = Connections::new(BOUNDS);
    let place = place(&connections, 1);
    let arrive = || place.connection().arrive(true);
    let mut all = [arrive(), arrive(), arrive()];
    assert!(begins(&mut all[0]) && begins(&mut all[1]));
    assert!(!begins(&mut all[2]));
    recognize(&connections, &place);
    let [first, second, mut third] = all;
    let unread = second.answer(axum::body::Body::from("x".repeat(101)), None, None);
    assert!(!begins(&mut third));
    drop(unread);
    assert!(begins(&mut third));
    let mut fourth = arrive();
    assert!(!begins(&mut fourth));
    drop(first);
    assert!(begins(&mut fourth));
}

#[test]
fn a_known_caller_that_waits_for_agents_keeps_no_further_request_waiting() {
    let connections = Connections::new(BOUNDS);
    let place = known_place(&connections, 1);
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut request = place.connection().arrive(true);
        request.begin().now_or_never().flatten().unwrap().end();
        waiting.push(request);
    }
    let [mut first, mut second, mut third] = [(); 3].map(|()| place.connection().arrive(true));
    assert!(begins(&mut first) && begins(&mut second) && !begins(&mut third));
    drop((waiting, first));
    assert!(begins(&mut third));
    drop((second, third));
    let activity = place.connection().activity.lock();
    assert_eq!((activity.requests, activity.served, activity.producing), (0, 0, 0));
}

#[test]
fn while_the_server_stops_a_client_that_takes_nothing_is_waited_for_less_long() {
    let connections = Connections::new(BOUNDS);
    let place = known_place(&connections, 1);
    let stuck = place.connection().arrive(true).answer(axum::body::Body::from("x"), None, None);
    let later = Instant::now() + BOUNDS.write_at_stop;
    assert!(place.connection().look_at(later).is_err());
    place.connection().note_closing(true);
    assert_eq!(place.connection().look_at(later), Ok(Overdue::Stuck));
    drop(stuck);
}

#[test]
fn a_caller_has_only_so_many_connections_and_what_is_more_stays_a_stranger() {
    let connections = Connections::new(Bounds { per_caller: 2, ..BOUNDS });
    let mut known = vec![known_place(&connections, 1), known_place(&connections, 2)];
    assert_eq!(recognize(&connections, &known[0]), Recognition::Known);
    let third = place(&connections, 3);
    assert_eq!(recognize(&connections, &third), Recognition::CallerFull);
    let other = place(&connections, 4);
    assert_eq!(connections.recognize(other.connection(), &"b".into()), Recognition::Known);
    known.pop();
    assert_eq!(recognize(&connections, &third), Recognition::Known);
    drop((known, third, other));
    assert!(connections.open.lock().by_caller.is_empty());
}

#[tokio::test]
async fn what_a_stream_has_at_hand_counts_as_unread_like_an_answer_of_a_known_size() {
    let connections = Connections::new(Bounds { streams: 1, ..BOUNDS });
    let known = known_place(&connections, 1);
    let chunk = Bytes::from(vec![0; PIECE + 101]);
    let chunks = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(chunk)]);
    let mut first = known.connection().arrive(true);
    assert!(begins(&mut first));
    let mut stream = first.answer(axum::body::Body::from_stream(chunks), None, None);
    let piece = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(piece.len(), PIECE);
    let mut second = known.connection().arrive(true);
    assert!(!begins(&mut second));
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap().len(), 101);
    assert!(begins(&mut second));
    drop((stream, second));
    assert_eq!(known.connection().activity.lock().unread, 0);
}
