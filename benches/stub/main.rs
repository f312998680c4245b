//! The agent that the benchmark runs: small, static and native, so that what is measured is the house.
//!
//! It does what its last argument (the message) says: `one`, `chunks N MS`, `hold MS` or `big BYTES`;
//! with `--stdin` it reads its standard input and tells how long that was. Built by `tools/bench.sh`
//! with the compiler alone.

use std::io::{self, Read, Write};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `one` answers: 40 bytes.
const ANSWER: &str = "the quick brown fox jumps over the dog.\n";

/// Length of a line of `big`, its line feed included.
const LINE: usize = 1000;

fn main() -> io::Result<()> {
    let message = std::env::args().next_back().unwrap_or_default();
    if message == "--stdin" {
        return measure_input();
    }
    let mut words = message.split_whitespace();
    let word = words.next().unwrap_or_default();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    match word {
        "chunks" => chunks(number(), Duration::from_millis(number())),
        "hold" => hold(Duration::from_millis(number())),
        "big" => big(number() as usize),
        _ => say(ANSWER.as_bytes()),
    }
}

/// One write, straight to the descriptor's end.
fn say(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The wall clock in nanoseconds, so that the reader can tell how old a line is.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

fn chunks(count: u64, pause: Duration) -> io::Result<()> {
    for _ in 0..count {
        sleep(pause);
        say(format!("{}\n", now()).as_bytes())?;
    }
    Ok(())
}

fn hold(time: Duration) -> io::Result<()> {
    say(b"begun\n")?;
    sleep(time);
    say(b"ended\n")
}

fn big(bytes: usize) -> io::Result<()> {
    let mut line = [b'x'; LINE];
    line[LINE - 1] = b'\n';
    let block = line.repeat(64);
    let mut out = io::stdout().lock();
    let mut left = bytes;
    while left > 0 {
        let size = left.min(block.len());
        out.write_all(&block[..size])?;
        left -= size;
    }
    out.flush()
}

fn measure_input() -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut buffer)? {
            0 => break,
            size => total += size,
        }
    }
    say(format!("{total}\n").as_bytes())
}
