//! The first word of the real Claude Code on a scripted model: from a process that was started ahead, and from none.

use crate::client::{answer_text, message};
use crate::server::Server;
use crate::stats::Times;
use crate::{Bench, Outcome};
use fake_model::Model;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What names the program.
const PROGRAM: &str = "PILOTHOUSE_TEST_CLAUDE";

/// From the start of a process to its answer to `initialize`, and until it idles; generous.
const IDLE: Duration = Duration::from_secs(3);

/// How long the next process may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first word of a new session with and without a process ahead, and how soon the next one is there.
pub(super) fn first_word(bench: &mut Bench) -> Outcome {
    let Some(program) = std::env::var_os(PROGRAM).map(PathBuf::from) else {
        return Err(format!("{PROGRAM} names no Claude Code").into());
    };
    let rounds = bench.pick(10, 3);
    let model = Model::start();
    let (mut warm, mut refilled) = (Vec::new(), Vec::new());
    let server = bench.house.fresh_claude(&program, &model.url, 1)?;
    await_ahead(&server, "")?;
    for _ in 0..rounds {
        std::thread::sleep(IDLE);
        let before = ahead(&server);
        warm.push(word(&server)?);
        let taken = Instant::now();
        await_ahead(&server, &before)?;
        refilled.push(taken.elapsed());
    }
    drop(server);
    let server = bench.house.fresh_claude(&program, &model.url, 0)?;
    let cold: Result<Vec<_>, _> = (0..rounds).map(|_| word(&server)).collect();
    let (warm, refilled, cold) = (Times::new(warm), Times::new(refilled), Times::new(cold?));
    let note = format!(
        "p50 of {rounds}, worst {:.0}; without a process ahead {:.0}",
        warm.worst(),
        cold.median()
    );
    bench.table.at_most("first word of a warm Claude process", 150.0, warm.median(), "ms", &note);
    let figure = "from the end of its turn to the next process ahead, p50 / p95 / p99";
    bench.table.tell(figure, &refilled.spread());
    Ok(())
}

/// From a message of a new session to the first word of its answer; the turn has ended then.
fn word(server: &Server) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let mut client = server.client()?;
    let body = message("SendStreamingMessage", "say hello", None);
    let began = Instant::now();
    let mut stream = client.stream(&body)?;
    let mut word = None;
    while let Some(next) = stream.next()? {
        if word.is_none() && answer_text(next).is_some() {
            word = Some(began.elapsed());
        }
    }
    word.ok_or_else(|| "a stream without an answer".into())
}

/// The processes that were started ahead, as the server notes them.
fn ahead(server: &Server) -> String {
    fs::read_to_string(server.state.join("warm.json")).unwrap_or_default()
}

/// Waits until a process is there that was not there before.
fn await_ahead(server: &Server, before: &str) -> Outcome {
    let since = Instant::now();
    loop {
        let now = ahead(server);
        if now != before && now.contains("claude") {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err("no process was started ahead".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
