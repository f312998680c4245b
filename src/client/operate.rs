//! `pilothouse reload` and `pilothouse drain`: what an admin does with a running server.

use super::failure::Failure;
use super::local::Server;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// Between two looks whether a server that is drained has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Has the server read its configuration again, and says what came of it.
pub(crate) async fn reload(server: &Server) -> Result<u8, Failure> {
    let told = server.call(Method::POST, "/api/v1/reload", None).await?;
    let keys = |name: &str| {
        let keys = told.get(name).and_then(Value::as_array).into_iter().flatten();
        keys.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let (changed, waiting) = (keys("changed"), keys("needsRestart"));
    match changed.is_empty() {
        true => println!("nothing that is in force without a restart has changed"),
        false => println!("changed: {changed}"),
    }
    if !waiting.is_empty() {
        println!("only a restart changes: {waiting}");
    }
    Ok(0)
}

/// Has the server accept no more messages, and waits until it has ended.
pub(crate) async fn drain(server: &Server, no_wait: bool) -> Result<u8, Failure> {
    let told = server.call(Method::POST, "/api/v1/drain", None).await?;
    let count = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (running, waiting) = (count("running"), count("waiting"));
    eprintln!("draining: {running} sessions have a turn, {waiting} turns wait for theirs");
    if !no_wait {
        while server.get("/health").await.is_ok() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        eprintln!("the server has ended");
    }
    Ok(0)
}
