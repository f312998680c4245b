//! `pilothouse reload`, `drain` and `erase`: what an admin does with a running server.

use super::exit;
use super::failure::Failure;
use super::local::Server;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Between two looks whether a server that is drained has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What is to be erased, beside the caller.
#[derive(Debug, Clone, Args)]
pub(crate) struct EraseArgs {
    /// The context
    #[arg(long, value_name = "ID")]
    context: Option<String>,
    /// Do it: nothing of it can be brought back
    #[arg(long)]
    yes: bool,
}

/// Has the server remove what is kept of a caller or a context, and says what is left.
pub(crate) async fn erase(
    args: &EraseArgs,
    caller: Option<&str>,
    server: &Server,
) -> Result<u8, Failure> {
    if caller.is_none() && args.context.is_none() {
        return Err(Failure::usage(
            "name a caller with --caller, a context with --context, or both",
        ));
    }
    if !args.yes {
        return Err(Failure::usage(
            "this removes tasks, answers, files and webhooks for good; say --yes to do it",
        ));
    }
    let wanted = json!({"caller": caller, "context": args.context});
    let told = server.call(Method::POST, "/api/v1/erase", Some(&wanted)).await?;
    println!("erased: {} tasks, {} sessions", told["tasks"], told["sessions"]);
    let words = |name: &str| {
        let words = told.get(name).and_then(Value::as_array).into_iter().flatten();
        words.filter_map(Value::as_str).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    for each in words("notReached") {
        println!("not reached: {each}");
    }
    let left = words("left");
    for each in &left {
        eprintln!("not removed: {each}");
    }
    Ok(if left.is_empty() { 0 } else { exit::FAILED })
}

/// Has the server read its configuration again, and says what came of it.
pub(crate) async fn reload(server: &Server) -> Result<u8, Failure> {
    let told = server.call(Method::POST, "/api/v1/reload", None).await;
    let told = told.map_err(|failure| match failure.code {
        // The server answers, and its configuration is what is wrong.
        exit::USAGE if !failure.is_missing => Failure { code: exit::CONFIG, ..failure },
        _ => failure,
    })?;
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
