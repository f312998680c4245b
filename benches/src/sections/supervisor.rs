//! The price of the process above each agent (decision 10 of the architecture): the stub run directly,
//! run through the launcher, and what starting the whole binary again would cost instead.
//!
//! It takes the launcher from a running server and speaks to one of its own as the server does (the words
//! stand in `crates/sandbox/src/supervisor.rs`): four descriptors for each start, then what to start on the control
//! socket, and reports of five bytes back.

use super::tasks::run_directly;
use crate::machine;
use crate::server::Input;
use crate::stats::{Times, show};
use crate::{Bench, Outcome};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{self, IoSlice, Read, Write, pipe};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Threads that start agents side by side.
const ABREAST: usize = 8;

/// Bytes of one report.
const REPORT: usize = 5;

/// A launcher of our own.
struct Launcher {
    child: Child,
    orders: Option<UnixStream>,
}

impl Launcher {
    fn start(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(program)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, orders: Some(ours) })
    }

    /// From the order to the report that the agent and its tree are gone.
    fn run(&self, specification: &[u8]) -> io::Result<Duration> {
        let began = Instant::now();
        let (far_input, input) = pipe()?;
        let (mut output, far_output) = pipe()?;
        let (errors, far_errors) = pipe()?;
        let (mut control, far_control) = UnixStream::pair()?;
        control.set_read_timeout(Some(Duration::from_secs(5)))?;
        {
            let far =
                [far_control.as_fd(), far_input.as_fd(), far_output.as_fd(), far_errors.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&far));
            let orders = self.orders.as_ref().expect("it is taken at the end alone");
            rustix::net::sendmsg(
                orders,
                &[IoSlice::new(b"+")],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            )?;
        }
        drop((far_control, far_input, far_output, far_errors, input, errors));
        control.write_all(specification)?;
        let mut report = [0; REPORT];
        control.read_exact(&mut report)?;
        if report[0] != b'S' {
            return Err(io::Error::other(format!(
                "the supervisor reported {report:?} instead of a start"
            )));
        }
        let mut answer = Vec::new();
        output.read_to_end(&mut answer)?;
        control.read_exact(&mut report)?;
        if report != *b"X\0\0\0\0" || answer.len() != 40 {
            return Err(io::Error::other(format!(
                "{} bytes of answer, then the report {report:?}",
                answer.len()
            )));
        }
        Ok(began.elapsed())
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // The end of the socket ends it.
        self.orders.take();
        let _ = self.child.wait();
    }
}

/// How many agents this machine starts, runs and reaps in a second when nothing stands above them: no
/// server that runs a process for each task can do more.
pub(super) fn limit(bench: &mut Bench) -> Outcome {
    let (rate, processor) = side_by_side(bench, || run_directly(&bench.house.stub))?;
    let figure = format!("limit of the machine: stub run directly by {ABREAST} threads");
    bench
        .table
        .tell(&figure, &format!("{} ({} CPU each)", show(rate, "/s"), show(processor, "ms")));
    bench.limit = Some(rate);
    Ok(())
}

/// Runs in a second, and processor time of each in milliseconds, this process and all below it counted.
fn side_by_side(
    bench: &Bench,
    run: impl Fn() -> io::Result<Duration> + Sync,
) -> io::Result<(f64, f64)> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let used = || -> Duration {
        machine::tree(own)
            .into_iter()
            .map(machine::processor_time)
            .map(|(own, reaped)| own + reaped)
            .sum()
    };
    let time = bench.pick(Duration::from_secs(4), Duration::from_secs(1));
    let (before, began) = (used(), Instant::now());
    let runs = std::thread::scope(|scope| {
        let work = || -> io::Result<usize> {
            let mut runs = 0;
            while began.elapsed() < time {
                run()?;
                runs += 1;
            }
            Ok(runs)
        };
        let threads: Vec<_> = (0..ABREAST).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a run does not panic"))
            .sum::<io::Result<usize>>()
    })?;
    let elapsed = began.elapsed();
    let each = used().saturating_sub(before).as_secs_f64() * 1e3 / runs.max(1) as f64;
    Ok((runs as f64 / elapsed.as_secs_f64(), each))
}

/// The three ways, in turns.
pub(super) fn price(bench: &mut Bench) -> Outcome {
    let count = bench.pick(1000, 200);
    let launcher = {
        let server = bench.house.fresh(Input::Argument)?;
        let running = server.launcher().ok_or("the server has no launcher")?;
        Launcher::start(Path::new(&format!("/proc/{running}/exe")))?
    };
    let specification = specification(&bench.house.stub);
    let (mut direct, mut supervised, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..count + 20 {
        let times = (
            run_directly(&bench.house.stub)?,
            launcher.run(&specification)?,
            start_and_end(&bench.house.program)?,
        );
        if round >= 20 {
            direct.push(times.0);
            supervised.push(times.1);
            again.push(times.2);
        }
    }
    let [direct, supervised, again] = [direct, supervised, again].map(Times::new);
    bench.table.tell("spawn: the stub directly, p50 / p95 / p99", &direct.spread());
    bench
        .table
        .tell("spawn: through launcher and supervisor, p50 / p95 / p99", &supervised.spread());
    bench.table.tell(
        "the supervisor's price, p50",
        &format!("{:.3} ms", supervised.median() - direct.median()),
    );
    let (rate, processor) = side_by_side(bench, || launcher.run(&specification))?;
    let figure = format!("stub run through launcher and supervisor by {ABREAST} threads");
    bench
        .table
        .tell(&figure, &format!("{} ({} CPU each)", show(rate, "/s"), show(processor, "ms")));
    bench.table.tell(
        "instead, the whole binary started and ended (`--version`), p50 / p95 / p99",
        &again.spread(),
    );
    Ok(())
}

/// What to start, as a supervisor reads it: bytes of text, arguments, variables, 0; then folder, program,
/// arguments and variables, each ended by a NUL.
fn specification(stub: &Path) -> Vec<u8> {
    let text = format!("/\0{}\0one\0PATH=/usr/bin:/bin\0LANG=C.UTF-8\0", stub.display());
    let size = u32::try_from(text.len()).expect("a path is shorter");
    let mut bytes = [size, 1, 2, 0].map(u32::to_ne_bytes).concat();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The whole binary with next to nothing to do.
fn start_and_end(program: &Path) -> io::Result<Duration> {
    let began = Instant::now();
    Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(began.elapsed())
}
