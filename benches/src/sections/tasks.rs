//! What a task costs: alone, many side by side, and many after each other.

use super::load::{self, Contexts, Until};
use crate::client::{message, string_field};
use crate::server::{Input, Server};
use crate::stats::{Times, mib, show};
use crate::{Bench, Outcome};
use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the stub as a shell would: start it, read what it writes, wait for its end.
pub(super) fn run_directly(stub: &Path) -> std::io::Result<Duration> {
    let began = Instant::now();
    let mut child = Command::new(stub)
        .arg("one")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut answer = Vec::new();
    child.stdout.take().expect("it is piped").read_to_end(&mut answer)?;
    child.wait()?;
    Ok(began.elapsed())
}

/// One caller, one task at a time, against running the stub directly, in turns.
pub(super) fn one_shot(bench: &mut Bench) -> Outcome {
    let count = bench.pick(2000, 300);
    let server = bench.house.fresh(Input::Argument)?;
    let mut client = server.client()?;
    let first = client.complete(&message("SendMessage", "one", None))?;
    let context = string_field(&first.body, "contextId").ok_or("a task without a contextId")?;
    let task = string_field(&first.body, "id").ok_or("a task without an id")?;
    let read =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{{"id":"{task}"}}}}"#);
    let (mut direct, mut new, mut kept, mut protocol) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..count + 50 {
        let ran = run_directly(&bench.house.stub)?;
        let mut timed = |body: &str| -> std::io::Result<Duration> {
            let began = Instant::now();
            client.complete(body)?;
            Ok(began.elapsed())
        };
        let in_new = timed(&message("SendMessage", "one", None))?;
        let in_kept = timed(&message("SendMessage", "one", Some(&context)))?;
        let reading = timed(&read)?;
        // The first rounds warm everything up.
        if round >= 50 {
            direct.push(ran);
            new.push(in_new);
            kept.push(in_kept);
            protocol.push(reading);
        }
    }
    let [direct, new, kept, protocol] = [direct, new, kept, protocol].map(Times::new);
    let added = new.median() - direct.median();
    bench.table.at_most(
        "one-shot turn, one caller, p50 above running the stub directly",
        0.8,
        added,
        "ms",
        "new session",
    );
    bench.table.at_most(
        "the same in a session that is there",
        0.8,
        kept.median() - direct.median(),
        "ms",
        "",
    );
    bench.table.tell("stub run directly, p50 / p95 / p99", &direct.spread());
    bench.table.tell("one-shot turn, new session, p50 / p95 / p99", &new.spread());
    bench.table.tell("one-shot turn, kept session, p50 / p95 / p99", &kept.spread());
    bench.table.tell(
        "`GetTask` of a finished task (no agent, no write), p50 / p95 / p99",
        &protocol.spread(),
    );
    Ok(())
}

/// Tasks in a second, waiting times, processor time; then memory after many.
pub(super) fn rate(bench: &mut Bench) -> Outcome {
    let time = Until::Time(bench.pick(Duration::from_secs(6), Duration::from_secs(2)));
    // A server for each: the sweep of old sessions, 10 s after a start, is seen in the long run below.
    let warm = |bench: &Bench| -> Result<Server, Box<dyn Error + Send + Sync>> {
        let server = bench.house.fresh(Input::Argument)?;
        load::run(&server, 8, Until::Count(500), Contexts::New)?;
        Ok(server)
    };
    let mut crowd = None;
    let mut processor = 0.0;
    for callers in [8, 32, 128] {
        let load = load::run(&warm(bench)?, callers, time, Contexts::New)?;
        let note = format!("p50 / p95 / p99 {}", load.times.spread());
        bench.table.at_least(
            &format!("tasks per second at {callers} callers"),
            3000.0,
            load.rate(),
            "/s",
            &note,
        );
        if callers == 8 {
            processor = load.processor_per_task();
        }
        crowd = Some(load);
    }
    let crowd = crowd.expect("three loads ran");
    bench.table.at_most("p99 at 128 callers", 80.0, crowd.times.quantile(0.99), "ms", "");
    let slowest = crowd.callers.worst() / crowd.callers.median();
    bench.table.at_most(
        "slowest of 128 callers against the median caller",
        3.0,
        slowest,
        "times",
        "mean time of its tasks",
    );
    let note = format!("8 callers; {} at 128", show(crowd.processor_per_task(), "ms"));
    bench.table.at_most("CPU per task, server, supervisor and agent", 0.5, processor, "ms", &note);
    let server = warm(bench)?;
    let kept = load::run(&server, 32, time, Contexts::Kept)?;
    bench.table.tell(
        "tasks per second at 32 callers, each in a session that is there",
        &format!(
            "{} ({} CPU each)",
            show(kept.rate(), "/s"),
            show(kept.processor_per_task(), "ms")
        ),
    );
    split(bench, &server)?;
    drop(server);
    growth(bench)
}

/// Who uses the processor time: the server itself, or what its launcher started and reaped.
fn split(bench: &mut Bench, server: &Server) -> Outcome {
    let launcher = server.launcher().ok_or("the server has no launcher")?;
    let take =
        || (crate::machine::processor_time(server.pid).0, crate::machine::processor_time(launcher));
    let (server_before, (launcher_before, reaped_before)) = take();
    let load = load::run(server, 8, Until::Count(bench.pick(5000, 1000)), Contexts::New)?;
    let (server_after, (launcher_after, reaped_after)) = take();
    let part = |after: Duration, before: Duration| {
        show(after.saturating_sub(before).as_secs_f64() * 1e3 / load.tasks as f64, "ms")
    };
    bench.table.tell(
        "of it: server / launcher / supervisors and agents",
        &format!(
            "{} / {} / {}",
            part(server_after, server_before),
            part(launcher_after, launcher_before),
            part(reaped_after, reaped_before)
        ),
    );
    Ok(())
}

/// What a server keeps of tasks that are over.
fn growth(bench: &mut Bench) -> Outcome {
    let count = bench.pick(100_000, 5000);
    let server = bench.house.fresh(Input::Argument)?;
    load::run(&server, 32, Until::Count(1000), Contexts::New)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = server.memory();
    let load = load::run(&server, 32, Until::Count(count), Contexts::New)?;
    std::thread::sleep(Duration::from_secs(2));
    let after = server.memory();
    let grown = mib(after.rss) - mib(before.rss);
    let note = format!(
        "RSS {:.1} after 1,000, {:.1} now; anonymous {:.1} and {:.1}; {} meanwhile; store {:.0} MiB",
        mib(before.rss),
        mib(after.rss),
        mib(before.pss_anonymous),
        mib(after.pss_anonymous),
        show(load.rate(), "tasks/s"),
        mib(server.store_bytes())
    );
    let figure = format!("memory after {} more", show(count as f64, "tasks"));
    bench.table.at_most(&figure, 10.0, grown, "MiB", &note);
    Ok(())
}
