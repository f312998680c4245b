//! `pilothouse serve`: start, say what is served and how to reach it, serve, drain.

use super::announce;
use crate::app::{App, Running, SetLogFilter};
use crate::client::exit;
use crate::config::{Config, ConfigSource, Environment, Flags, LogFormat, load_trusted};
use pilothouse_egress as egress;
use rustix::process::DumpableBehavior;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Threads beside those of the runtime, for what waits for the disk; names that are looked up have threads besides.
/// The runtime itself would start 512 while many callers make entries in the audit log; beyond these, work waits.
const THREADS_FOR_DISK: usize = 32;

/// Threads for names at most, whatever the configuration allows.
const MOST_LOOKUPS: usize = 512;

/// Runs the server until a signal ends it.
pub(super) fn run(flags: &Flags, environment: &Environment, cwd: &Path) -> ExitCode {
    let loaded = match load_trusted(flags, environment, cwd) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("pilothouse: {error}");
            return ExitCode::from(exit::CONFIG);
        }
    };
    let unwritable = loaded.config.find_unwritable();
    if !unwritable.is_empty() {
        eprintln!("pilothouse: {}", unwritable.join("; "));
        return ExitCode::from(exit::CONFIG);
    }
    let set_log = match start_log(&loaded.config) {
        Ok(set) => set,
        Err(error) => {
            eprintln!("pilothouse: `log.level`: {error}");
            return ExitCode::from(exit::CONFIG);
        }
    };
    // What is in this process is nobody's but its own, whoever runs as the same user.
    let undumpable = DumpableBehavior::NotDumpable;
    if let Err(error) = rustix::process::set_dumpable_behavior(undumpable) {
        eprintln!("pilothouse: cannot close this process to others: {error}");
        return ExitCode::from(exit::UNAVAILABLE);
    }
    let (agents, webhooks) = (loaded.config.processes.max, loaded.config.push.concurrent);
    let lookups = agents.saturating_add(webhooks).saturating_add(egress::LOOKUPS_OF_UPSTREAMS);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // One may wait for the disk.
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    builder.worker_threads(cores.max(2));
    builder.enable_all().max_blocking_threads(THREADS_FOR_DISK + lookups.min(MOST_LOOKUPS));
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pilothouse: cannot start its threads: {error}");
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    let is_json = loaded.config.log.format == LogFormat::Json;
    let source = ConfigSource {
        flags: flags.clone(),
        environment: environment.clone(),
        cwd: cwd.to_owned(),
    };
    runtime.block_on(async {
        let app = match Box::pin(App::build(loaded, source)).await {
            Ok(app) => app,
            Err(error) => {
                fail(is_json, &error.to_string());
                return ExitCode::from(exit::UNAVAILABLE);
            }
        };
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                fail(is_json, &format!("cannot listen for signals: {error}"));
                return ExitCode::from(exit::UNAVAILABLE);
            }
        };
        app.set_log_by(set_log);
        match is_json {
            true => announce::log(&app),
            false => announce::print(&app, environment, cwd),
        }
        let running = app.spawn();
        let name = await_end(&running, &mut signals, is_json).await;
        let words =
            format!("{name}: ending running turns; a second signal ends everything at once");
        say(is_json, &words);
        tokio::select! {
            in_time = running.shut_down() => {
                if in_time { ExitCode::SUCCESS } else { ExitCode::from(exit::UNAVAILABLE) }
            }
            // Dropping everything closes every control socket, and with it every tree of processes.
            _ = signals.next() => ExitCode::from(exit::UNAVAILABLE),
        }
    })
}

/// Waits for what ends the server, and reads its configuration again as often as that is asked for.
async fn await_end(running: &Running, signals: &mut Signals, is_json: bool) -> &'static str {
    loop {
        let heard = tokio::select! {
            () = running.drained() => "the drain is over",
            name = signals.next() => name,
        };
        match heard {
            // A terminal that is closed takes along what it had started.
            "SIGHUP" if !std::io::stdin().is_terminal() => say(is_json, &running.reload().await),
            name => return name,
        }
    }
}

/// Says something that the operator should know.
fn say(is_json: bool, words: &str) {
    match is_json {
        true => tracing::info!("{words}"),
        false => eprintln!("pilothouse: {words}"),
    }
}

/// Says why there is no server.
fn fail(is_json: bool, why: &str) {
    match is_json {
        true => tracing::error!("{why}"),
        false => eprintln!("pilothouse: {why}"),
    }
}

/// The signals that a server hears.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// The log goes to standard error; standard output is the console's. What comes back sets what it shows.
fn start_log(config: &Config) -> Result<SetLogFilter, tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(&config.log.level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell standard error that standard error cannot be written, and panic.
        .log_internal_errors(false)
        .with_target(false);
    // It fails only where the log is gone, with the process.
    Ok(match config.log.format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| drop(handle.reload(filter)))
        }
        LogFormat::Pretty => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal());
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| drop(handle.reload(filter)))
        }
    })
}
