//! Callers side by side, each sending one task after the other and waiting for its end.

use crate::client::{message, string_field};
use crate::server::Server;
use crate::stats::Times;
use std::error::Error;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// When callers stop.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// After this time.
    Time(Duration),
    /// After this many tasks of all callers together.
    Count(usize),
}

/// In which context a caller's tasks run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contexts {
    /// Each in a new one: a session is made for it.
    New,
    /// All of one caller in one: its session is there.
    Kept,
}

/// What came of it.
pub(super) struct Load {
    /// Tasks that were completed.
    pub(super) tasks: usize,
    /// From the first call to the last answer.
    pub(super) elapsed: Duration,
    /// Time of each task as its caller saw it.
    pub(super) times: Times,
    /// Mean time of a task for each caller.
    pub(super) callers: Times,
    /// Processor time of server, launcher, supervisors and agents.
    pub(super) processor: Duration,
}

impl Load {
    /// Tasks in a second.
    pub(super) fn rate(&self) -> f64 {
        self.tasks as f64 / self.elapsed.as_secs_f64()
    }

    /// Processor time of one task in milliseconds.
    pub(super) fn processor_per_task(&self) -> f64 {
        self.processor.as_secs_f64() * 1e3 / self.tasks.max(1) as f64
    }
}

/// Runs `callers` of them. The first task that is not completed ends the run with its reason.
pub(super) fn run(
    server: &Server,
    callers: usize,
    until: Until,
    contexts: Contexts,
) -> Result<Load, Box<dyn Error + Send + Sync>> {
    let together = Barrier::new(callers + 1);
    let begun = AtomicUsize::new(0);
    let (all, elapsed, processor) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|_| scope.spawn(|| call(server, &together, &begun, until, contexts)))
            .collect();
        together.wait();
        let before = server.processor_time();
        let began = Instant::now();
        together.wait();
        let all: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("a caller does not panic"))
            .collect();
        let elapsed = began.elapsed();
        (all, elapsed, server.processor_time().saturating_sub(before))
    });
    let all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mean = |times: &Vec<Duration>| {
        times.iter().sum::<Duration>() / u32::try_from(times.len().max(1)).unwrap_or(1)
    };
    let callers = Times::new(all.iter().filter(|times| !times.is_empty()).map(mean));
    let tasks = all.iter().map(Vec::len).sum();
    Ok(Load { tasks, elapsed, times: Times::new(all.into_iter().flatten()), callers, processor })
}

/// One caller's life; its connection is made and warm before the clock starts.
fn call(
    server: &Server,
    together: &Barrier,
    begun: &AtomicUsize,
    until: Until,
    contexts: Contexts,
) -> Result<Vec<Duration>, Box<dyn Error + Send + Sync>> {
    let prepared = server.client().and_then(|mut client| {
        let first = client.complete(&message("SendMessage", "one", None))?;
        Ok((client, string_field(&first.body, "contextId")))
    });
    // The others wait for everybody, also for one that failed.
    together.wait();
    together.wait();
    let (mut client, context) = prepared?;
    let context = context.filter(|_| contexts == Contexts::Kept);
    let began = Instant::now();
    let mut times = Vec::new();
    loop {
        let goes_on = match until {
            Until::Time(time) => began.elapsed() < time,
            Until::Count(count) => begun.fetch_add(1, Ordering::Relaxed) < count,
        };
        if !goes_on {
            return Ok(times);
        }
        let sent = Instant::now();
        client.complete(&message("SendMessage", "one", context.as_deref()))?;
        times.push(sent.elapsed());
    }
}
