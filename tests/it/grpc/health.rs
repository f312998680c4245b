//! The standard health service, and how calls end when the server stops.

use super::{V0_3, V1, encoded, events, last_state, text_field};
use crate::h2c::{self, framed};
use crate::reading::message;
use crate::world::{World, await_true};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::operation::Operation;
use pilothouse_a2a::pb;
use serde_json::json;

const HEALTH: &str = "/grpc.health.v1.Health";
/// What a check answers, of the standard health service.
const SERVING: &[u8] = &[0x08, 0x01];
const NOT_SERVING: &[u8] = &[0x08, 0x02];

fn checked(service: &str) -> Vec<u8> {
    framed(&text_field(1, service.as_bytes()))
}

#[test]
fn the_server_and_both_services_are_serving() {
    let world = World::start();
    for service in ["", &V1[1..], &V0_3[1..]] {
        let answer = world.grpc_message(&format!("{HEALTH}/Check"), checked(service));
        assert_eq!(answer, SERVING, "{service}");
    }
}

#[test]
fn health_needs_no_token() {
    let world = World::start();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let path = format!("{HEALTH}/Check");
    let answer = h2c::ask(world.address(), &path, &headers, checked(""), world.patience());
    assert_eq!(answer.whole().0, [SERVING]);
}

#[test]
fn a_service_that_nobody_knows_is_not_found() {
    let world = World::start();
    let status = world.grpc_status(&format!("{HEALTH}/Check"), &[], checked("some.other.Service"));
    assert_eq!(status.code, 5);
}

#[test]
fn a_watcher_hears_that_the_server_stops() {
    let mut world = World::start();
    let mut answer = world.grpc(&format!("{HEALTH}/Watch"), &[], checked(&V1[1..]));
    assert_eq!(answer.next().as_deref(), Some(SERVING));
    world.sigterm();
    assert_eq!(answer.next().as_deref(), Some(NOT_SERVING));
    drop(answer);
    world.ended();
}

#[test]
fn a_watcher_does_not_hold_up_the_stop() {
    let mut world = World::describe().config(json!({"timeouts": {"shutdown": "10m"}})).start();
    let mut answer = world.grpc(&format!("{HEALTH}/Watch"), &[], checked(""));
    assert_eq!(answer.next().as_deref(), Some(SERVING));
    world.sigterm();
    // A server that stops pings its clients, and ends a connection when the ping is answered, which may be after
    // the last stream on it.
    while answer.next().is_some() {}
    answer.await_close();
    world.ended();
}

#[test]
fn a_stop_ends_a_stream_with_its_last_event() {
    let mut world = World::start();
    let body =
        encoded(Dialect::V1_0, Operation::SendStreamingMessage, &message("say x; cue never"));
    let mut answer = world.grpc(&format!("{V1}/SendStreamingMessage"), &[], body);
    let mut seen = Vec::new();
    let waiting = await_true(world.patience(), || {
        let message = answer.next().unwrap();
        let event = pb::decode_event(Dialect::V1_0, &message).unwrap();
        seen.push(serde_json::to_value(event).unwrap());
        crate::reading::words(&seen.last().unwrap()["statusUpdate"]) == "waiting never"
    });
    assert!(waiting, "{seen:#?}");
    world.sigterm();
    let rest = events(Dialect::V1_0, answer);
    assert_eq!(last_state(&rest), "FAILED");
    world.ended();
}
