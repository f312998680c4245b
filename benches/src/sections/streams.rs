//! Streams: how soon the first event comes, how old it is, and what a thousand open ones take.

use super::load::{self, Contexts, Until};
use crate::client::{answer_text, message};
use crate::machine::{self, Memory};
use crate::server::{Input, Server};
use crate::stats::{Times, kib, mib};
use crate::{Bench, Outcome};
use std::io;
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Streams that are open at a time.
const OPEN: usize = 1000;

/// How long the agent behind each of them lives, in milliseconds.
const HOLD_MS: u64 = 8000;

/// From the request to its first event, and to the agent's first word.
pub(super) fn first_event(bench: &mut Bench) -> Outcome {
    let count = bench.pick(1000, 200);
    let server = bench.house.fresh(Input::Argument)?;
    let mut client = server.client()?;
    let (mut events, mut words) = (Vec::new(), Vec::new());
    for round in 0..count + 50 {
        let body = message("SendStreamingMessage", "one", None);
        let began = Instant::now();
        let mut stream = client.stream(&body)?;
        stream.next()?.ok_or("a stream without an event")?;
        let event = began.elapsed();
        let mut word = None;
        while let Some(next) = stream.next()? {
            if word.is_none() && answer_text(next).is_some() {
                word = Some(began.elapsed());
            }
        }
        if round >= 50 {
            events.push(event);
            words.push(word.ok_or("a stream without an answer")?);
        }
    }
    let (events, words) = (Times::new(events), Times::new(words));
    let note = format!(
        "p50; p95 {:.3}, p99 {:.3}; one caller, new session",
        events.quantile(0.95),
        events.quantile(0.99)
    );
    bench.table.at_most("first event of a stream", 0.6, events.median(), "ms", &note);
    bench.table.tell("first word of the agent in a stream, p50 / p95 / p99", &words.spread());
    Ok(())
}

/// How old what an agent wrote is when its reader has it.
pub(super) fn lag(bench: &mut Bench) -> Outcome {
    let (streams, chunks) = bench.pick((10, 100), (2, 100));
    let server = bench.house.fresh(Input::Argument)?;
    let mut client = server.client()?;
    client.complete(&message("SendMessage", "one", None))?;
    let mut lags = Vec::new();
    let mut bytes = 0;
    for _ in 0..streams {
        let before = client.received;
        let mut stream = client.stream(&message(
            "SendStreamingMessage",
            &format!("chunks {chunks} 10"),
            None,
        ))?;
        while let Some(event) = stream.next()? {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
            let Some(text) = answer_text(event) else {
                continue;
            };
            let lines = String::from_utf8_lossy(text);
            for written in lines.split("\\n").filter_map(|line| line.parse::<u128>().ok()) {
                lags.push(now.saturating_sub(written) as f64 / 1e6);
            }
        }
        bytes = client.received - before;
    }
    if lags.len() != streams * chunks {
        return Err(format!("{} of {} lines came", lags.len(), streams * chunks).into());
    }
    let lags = Times::of_millis(lags);
    let note = format!(
        "{chunks} lines, 10 ms apart, {streams} times; {bytes} bytes on the wire each time"
    );
    bench.table.at_most(
        "lag from the agent's write to the client's read, p50",
        0.2,
        lags.median(),
        "ms",
        &note,
    );
    bench.table.at_most(
        "the same, p99",
        1.0,
        lags.quantile(0.99),
        "ms",
        &format!("worst {:.2}", lags.worst()),
    );
    Ok(())
}

/// A thousand streams, each with a live agent.
pub(super) fn open(bench: &mut Bench) -> Outcome {
    let server = bench.house.fresh(Input::Argument)?;
    load::run(&server, 8, Until::Count(500), Contexts::New)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = server.memory();
    let launcher = server.launcher().ok_or("the server has no launcher")?;
    let together = Barrier::new(OPEN + 1);
    let began = Instant::now();
    let (open_after, during, above, supervisors, streams) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..OPEN)
            .map(|_| {
                std::thread::Builder::new()
                    .stack_size(128 * 1024)
                    .spawn_scoped(scope, || one_open(&server, &together))
                    .expect("a machine for a thousand agents can start a thousand threads")
            })
            .collect();
        together.wait();
        let open_after = began.elapsed();
        let during = server.memory();
        let above = machine::memory(launcher);
        let supervisors: Vec<_> = machine::children(launcher)
            .into_iter()
            .map(|pid| (machine::memory(pid), machine::page_faults(pid)))
            .collect();
        let streams: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("a reader does not panic"))
            .collect();
        (open_after, during, above, supervisors, streams)
    });
    let streams = streams.into_iter().collect::<io::Result<Vec<_>>>()?;
    let live: Vec<_> = supervisors.iter().filter(|(memory, _)| memory.rss > 0).collect();
    if live.len() < OPEN || open_after > Duration::from_millis(HOLD_MS) {
        return Err(format!(
            "{} agents were alive when all streams were open, after {open_after:.1?}",
            live.len()
        )
        .into());
    }
    let grown = during.rss.saturating_sub(before.rss);
    let note =
        format!("RSS {:.1} MiB before, {:.1} with all open", mib(before.rss), mib(during.rss));
    bench.table.at_most(
        "1,000 open streams with live agents, each in the server",
        40.0,
        kib(grown) / OPEN as f64,
        "KiB",
        &note,
    );
    let first = Times::new(streams.iter().map(|stream| stream.0));
    let ended = streams.iter().filter(|stream| stream.1).count();
    bench.table.holds(
        "all of them end with their answer",
        "1,000",
        ended == OPEN,
        &ended.to_string(),
    );
    bench.table.tell("opened at once: first event p50 / p95 / p99", &first.spread());
    bench.table.tell(
        "all open and every agent alive after",
        &format!("{:.2} s", open_after.as_secs_f64()),
    );
    tell_supervisors(bench, &live, above);
    Ok(())
}

/// What each live session takes outside of the server.
fn tell_supervisors(bench: &mut Bench, live: &[&(Memory, u64)], launcher: Memory) {
    let mean = |field: fn(&(Memory, u64)) -> u64| {
        live.iter().map(|one| field(one)).sum::<u64>() as f64 / live.len() as f64
    };
    bench.table.tell(
        "memory of a supervisor, mean of 1,000",
        &format!(
            "{:.0} KiB its own alone, {:.0} KiB its share, {:.0} KiB RSS; {:.0} page faults",
            mean(|(memory, _)| memory.private) / 1024.0,
            mean(|(memory, _)| memory.pss) / 1024.0,
            mean(|(memory, _)| memory.rss) / 1024.0,
            mean(|(_, faults)| *faults)
        ),
    );
    bench.table.tell(
        "the launcher meanwhile",
        &format!(
            "{:.0} KiB its own alone, {:.0} KiB its share",
            kib(launcher.private),
            kib(launcher.pss)
        ),
    );
}

/// One reader: time to its first event, and whether the answer came whole. Everybody waits until every
/// agent has spoken.
fn one_open(server: &Server, together: &Barrier) -> io::Result<(Duration, bool)> {
    let began = Instant::now();
    let mut reached = false;
    let outcome = (|| {
        let mut client = server.client()?;
        let mut stream =
            client.stream(&message("SendStreamingMessage", &format!("hold {HOLD_MS}"), None))?;
        let mut first = None;
        let mut answer = String::new();
        while let Some(event) = stream.next()? {
            first.get_or_insert_with(|| began.elapsed());
            if let Some(text) = answer_text(event) {
                answer.push_str(&String::from_utf8_lossy(text));
                if !std::mem::replace(&mut reached, true) {
                    together.wait();
                }
            }
        }
        Ok((first.unwrap_or_default(), answer == "begun\\nended\\n"))
    })();
    if !reached {
        together.wait();
    }
    outcome
}
