//! The table of `make bench`: starts the release server with a stub agent and a durable store, loads it
//! over loopback, and says what was measured against what was promised.
//!
//! Callers are threads with blocking sockets: with two cores the load generator must stay small, and a
//! thread that sleeps in `read` costs nothing.

mod client;
mod machine;
mod sections;
mod server;
mod stats;
mod table;

use server::House;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::Table;

/// How a section ends: with its rows in the table, or with the reason why it could not be run.
pub(crate) type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Everything that a section needs.
pub(crate) struct Bench {
    /// How to start servers.
    pub(crate) house: House,
    /// The rows so far.
    pub(crate) table: Table,
    /// What the machine can do without us: runs of the stub in a second. None when that section was left out.
    pub(crate) limit: Option<f64>,
    /// Fewer tasks, for a first look.
    pub(crate) quick: bool,
}

impl Bench {
    /// One number for the full run, another for the quick one.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Arguments {
    server: PathBuf,
    stub: PathBuf,
    out: PathBuf,
    quick: bool,
    only: Vec<String>,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| measure(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, Box<dyn Error + Send + Sync>> {
    let mut found = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut path =
            || words.next().map(std::path::absolute).ok_or(format!("{word} needs a path"));
        match word.as_str() {
            "--server" => found.server = path()??,
            "--stub" => found.stub = path()??,
            "--out" => found.out = path()??,
            "quick" => found.quick = true,
            name if sections::ALL.iter().any(|(known, _)| *known == name) => found.only.push(word),
            _ => {
                let known: Vec<_> = sections::ALL.iter().map(|(name, _)| *name).collect();
                return Err(format!(
                    "`{word}` is no section; there are quick, {}",
                    known.join(", ")
                )
                .into());
            }
        }
    }
    for (name, file) in [("--server", &found.server), ("--stub", &found.stub)] {
        if !file.is_file() {
            return Err(format!("{name} {}: no such file; run `make bench`", file.display()).into());
        }
    }
    Ok(found)
}

fn measure(arguments: &Arguments) -> Outcome {
    let began = Instant::now();
    std::fs::create_dir_all(&arguments.out)?;
    // A launcher that outlives its server for a moment comes to us, and its processor time with it.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let house = House::new(&arguments.server, &arguments.stub, &arguments.out)?;
    let mut bench = Bench { house, table: Table::default(), limit: None, quick: arguments.quick };
    let isolation = bench.house.isolation()?;
    for (name, section) in sections::ALL {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| only == name) {
            continue;
        }
        eprintln!("bench: {name} ({:.0} s)", began.elapsed().as_secs_f64());
        // What the section before has left to do (writing back, removing folders) is not this one's.
        rustix::fs::sync();
        std::thread::sleep(Duration::from_millis(500));
        let load = machine::load();
        let (began, before) = (Instant::now(), used());
        if let Err(error) = section(&mut bench) {
            bench.table.not_run(&format!("section `{name}`"), &error.to_string());
        }
        let others =
            (used() - before).max(0.0) / began.elapsed().as_secs_f64() / machine::cores() as f64;
        bench.table.load(name, &load, 100.0 * others);
    }
    let head = heading(&bench, &isolation, began.elapsed());
    let text = format!("{head}\n{}", bench.table);
    print!("{text}");
    std::fs::write(arguments.out.join("table.md"), text)?;
    Ok(())
}

/// Seconds that the cores worked for others than this run. Nearly: the kernel's own threads are others too.
fn used() -> f64 {
    let (own, reaped) = machine::processor_time(std::process::id().cast_signed());
    machine::worked().as_secs_f64() - (own + reaped).as_secs_f64()
}

/// What has to be known to read the figures.
fn heading(bench: &Bench, isolation: &str, took: Duration) -> String {
    let commit = std::env::var("BENCH_COMMIT").unwrap_or_else(|_| "unknown".to_owned());
    let run = bench.pick("full run", "QUICK run: fewer tasks, noisier figures");
    format!(
        "Commit {commit}; {run}, {:.0} s; {}. Server and load generator share the cores. fdatasync of a 4 KiB append: \
         p50 {}. Isolation: {isolation}. Limits as set: {}. Answers of 40 bytes unless a row says otherwise; release \
         build, static native stub agent, durable store, audit to a file; one process of the agent for each task.\n",
        took.as_secs_f64(),
        machine::describe(),
        bench
            .house
            .fsync()
            .map_or_else(|error| format!("not measured ({error})"), |time| stats::show(time, "ms")),
        server::LIMITS,
    )
}
