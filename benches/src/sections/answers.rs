//! What is large: a long answer, an answer that nobody reads, a long prompt.

use super::load::{self, Contexts, Until};
use crate::client::{find, message};
use crate::machine;
use crate::server::{Input, Server};
use crate::stats::mib;
use crate::{Bench, Outcome};
use std::time::{Duration, Instant};

/// Bytes of the long answer.
const LARGE: u64 = 100_000_000;

/// Bytes of the answer that nobody reads for a while.
const UNREAD: u64 = 64_000_000;

/// How long it is not read.
const STALL: Duration = Duration::from_secs(3);

/// `limits.prompt` as it is without configuration.
const PROMPT_LIMIT: usize = 10 * 1024 * 1024;

/// A server that has done something before its memory is taken as the beginning.
fn warm(bench: &Bench) -> Result<Server, Box<dyn std::error::Error + Send + Sync>> {
    let server = bench.house.fresh(Input::Argument)?;
    load::run(&server, 8, Until::Count(500), Contexts::New)?;
    server.client()?.stream(&message("SendStreamingMessage", "one", None))?.rest()?;
    std::thread::sleep(Duration::from_secs(1));
    Ok(server)
}

/// An answer of 100 MB, streamed.
pub(super) fn large(bench: &mut Bench) -> Outcome {
    let server = warm(bench)?;
    let mut client = server.client()?;
    machine::forget_peak(server.pid)?;
    let before = server.memory().rss;
    let wire = client.received;
    let began = Instant::now();
    let came =
        client.stream(&message("SendStreamingMessage", &format!("big {LARGE}"), None))?.rest()?;
    let took = began.elapsed();
    let grown = machine::peak(server.pid).saturating_sub(before);
    let wire = client.received - wire;
    if came != LARGE {
        return Err(format!("{came} of {LARGE} characters of the answer came").into());
    }
    let note = format!(
        "peak of RSS against {:.1} before; {:.2} s in all",
        mib(before),
        took.as_secs_f64()
    );
    bench.table.at_most(
        "a 100 MB answer streamed, memory of the server",
        16.0,
        mib(grown),
        "MiB",
        &note,
    );
    bench.table.at_most(
        "the same, bytes on the wire against its length",
        1.3,
        wire as f64 / LARGE as f64,
        "times",
        "",
    );
    Ok(())
}

/// A client that stops reading, and goes on later.
pub(super) fn stalled(bench: &mut Bench) -> Outcome {
    let server = warm(bench)?;
    let launcher = server.launcher().ok_or("the server has no launcher")?;
    let mut client = server.client()?;
    machine::forget_peak(server.pid)?;
    let before = server.memory().rss;
    let store = server.store_bytes();
    let mut stream =
        client.stream(&message("SendStreamingMessage", &format!("big {UNREAD}"), None))?;
    stream.next()?.ok_or("a stream without an event")?;
    std::thread::sleep(STALL);
    let grown = machine::peak(server.pid).saturating_sub(before);
    let spooled = server.store_bytes().saturating_sub(store);
    let alive = machine::tree(launcher).len() > 2;
    let came = stream.rest()?;
    let agent = if alive { "the agent was held back" } else { "the agent had finished" };
    let note = format!(
        "after {} s; {:.0} MiB spooled to the store, {agent}",
        STALL.as_secs(),
        mib(spooled)
    );
    bench.table.at_most(
        "a client that stops reading, memory of the server",
        4.0,
        mib(grown),
        "MiB",
        &note,
    );
    let figure = "the same client reads on and gets the whole answer";
    bench.table.holds(figure, "64,000,000 B", came == UNREAD, &format!("{came} B"));
    Ok(())
}

/// Prompts as long as they may be, and longer.
pub(super) fn prompt(bench: &mut Bench) -> Outcome {
    let server = bench.house.fresh(Input::Stdin)?;
    let mut client = server.client()?;
    for (figure, length) in [
        ("a prompt of 10 MB on stdin", 10_000_000),
        ("a prompt of exactly `limits.prompt` on stdin", PROMPT_LIMIT),
    ] {
        let began = Instant::now();
        let reply = client.complete(&message("SendMessage", &"p".repeat(length), None))?;
        let took = began.elapsed();
        let arrived = find(&reply.body, format!("\"{length}\\n\"").as_bytes()).is_some();
        let measured = format!(
            "{} in {:.3} s",
            if arrived { "arrived whole" } else { "not arrived whole" },
            took.as_secs_f64()
        );
        bench.table.holds(figure, "accepted", arrived, &measured);
    }
    let reply = client.call(&message("SendMessage", &"p".repeat(PROMPT_LIMIT + 1), None))?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let clear = text.contains("\"error\"") && text.contains("limits.prompt");
    let said = text
        .split_once("\"message\":\"")
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or(&text);
    bench.table.holds(
        "one byte above `limits.prompt`",
        "refused clearly",
        clear,
        &format!("\"{said}\""),
    );
    let alive = client.get("/health").is_ok_and(|reply| reply.status == 200);
    bench.table.holds(
        "the connection and the server after it",
        "go on",
        alive,
        if alive { "go on" } else { "gone" },
    );
    Ok(())
}
