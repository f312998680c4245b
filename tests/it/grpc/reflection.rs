//! The reflection service: tools learn which services there are, where the operator lets them.

use super::text_field;
use crate::h2c::{self, framed};
use crate::world::World;
use serde_json::json;

const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What a request without a token is answered, and how it ends.
fn ask(world: &World, path: &str, message: &[u8]) -> (Vec<u8>, i32) {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let answer = h2c::ask(world.address(), path, &headers, framed(message), world.patience());
    let (messages, status) = answer.whole();
    (messages.concat(), status.code)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn tools_are_told_the_services_and_their_messages_where_the_operator_lets_them() {
    let world = World::describe().config(json!({"server": {"grpc_reflection": true}})).start();
    for path in PATHS {
        // `list_services`, then `file_containing_symbol`.
        let (services, code) = ask(&world, path, &text_field(7, b"*"));
        assert_eq!(code, 0, "{path}");
        for name in ["lf.a2a.v1.A2AService", "a2a.v1.A2AService"] {
            assert!(contains(&services, name), "{path}: {name}");
        }
        let (file, _) = ask(&world, path, &text_field(4, b"lf.a2a.v1.A2AService"));
        assert!(contains(&file, "SendStreamingMessage"), "{path}");
    }
}

#[test]
fn by_default_no_tool_is_told_anything() {
    let world = World::start();
    let (told, code) = ask(&world, PATHS[0], &text_field(7, b"*"));
    assert_eq!((told.len(), code), (0, 12));
}
