//! How quickly a server is there, and what it takes while it has nothing to do.

use crate::machine;
use crate::server::Input;
use crate::stats::{Times, mib};
use crate::{Bench, Outcome};
use std::time::Duration;

/// From the start of the process to the first healthy answer.
pub(super) fn start(bench: &mut Bench) -> Outcome {
    let (count, empty) = bench.pick((20, 10), (8, 4));
    let mut first = Vec::new();
    for _ in 0..empty {
        first.push(bench.house.fresh(Input::Argument)?.started_in);
    }
    // The folder that is opened again holds finished tasks.
    {
        let server = bench.house.fresh(Input::Argument)?;
        super::load::run(&server, 8, super::load::Until::Count(1000), super::load::Contexts::New)?;
    }
    let mut again = Vec::new();
    for _ in 0..count {
        again.push(bench.house.again()?.started_in);
    }
    let again = Times::new(again);
    let note = format!(
        "p50 of {count}, worst {:.1}; store of 1,000 tasks opened, binary in the page cache",
        again.worst()
    );
    bench.table.at_most("start to first healthy answer", 20.0, again.median(), "ms", &note);
    let first = Times::new(first);
    bench.table.tell(
        "the same with an empty state folder (store made)",
        &format!("{:.1} ms (p50 of {empty}, worst {:.1})", first.median(), first.worst()),
    );
    Ok(())
}

/// Memory of a server that has answered one health check.
pub(super) fn idle(bench: &mut Bench) -> Outcome {
    let server = bench.house.fresh(Input::Argument)?;
    std::thread::sleep(Duration::from_secs(2));
    let memory = server.memory();
    let note = format!(
        "RSS; share {:.1}, of it anonymous {:.1}",
        mib(memory.pss),
        mib(memory.pss_anonymous)
    );
    bench.table.at_most("idle memory of the server", 15.0, mib(memory.rss), "MiB", &note);
    match server.launcher().map(machine::memory) {
        Some(launcher) => bench.table.tell(
            "idle memory of the launcher",
            &format!(
                "{:.1} MiB RSS, {:.2} MiB its own alone",
                mib(launcher.rss),
                mib(launcher.private)
            ),
        ),
        None => {
            bench.table.not_run("idle memory of the launcher", "no child of the server was found");
        }
    }
    Ok(())
}
