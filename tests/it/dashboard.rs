//! The dashboard: the page at `/ui/`, and what it is told.

mod live;
mod log;
mod page;

use crate::http::Reply;
use crate::world::{OWNER, World};
use serde_json::Value;

/// What the owner is answered.
fn get(world: &World, path: &str) -> Reply {
    world.get(path, &[("Authorization", &format!("Bearer {OWNER}"))])
}

/// What this token is answered.
fn post(world: &World, token: &str, path: &str, body: &Value) -> Reply {
    let bearer = format!("Bearer {token}");
    world.post(path, &[("Authorization", &bearer)], body.to_string().as_bytes())
}
