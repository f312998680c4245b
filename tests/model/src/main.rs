//! The model as a program: prints where it listens, ends with its time or with its standard input.

use fake_model::Model;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const USAGE: &str = "usage: fake-model [--port PORT] [--max-seconds SECONDS] [--until-eof]";

struct Options {
    port: u16,
    limit: Duration,
    until_eof: bool,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("could not listen on port {}: {error}", options.port);
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { port: 0, limit: Duration::from_secs(3600), until_eof: false };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--port" => options.port = args.next()?.parse().ok()?,
            "--max-seconds" => options.limit = Duration::from_secs(args.next()?.parse().ok()?),
            "--until-eof" => options.until_eof = true,
            _ => return None,
        }
    }
    Some(options)
}

fn run(options: &Options) -> io::Result<()> {
    let model = Model::bind(options.port)?;
    println!("listening on {}", model.url);
    io::stdout().flush()?;
    let (end, ended) = mpsc::channel::<()>();
    if options.until_eof {
        thread::spawn(move || {
            // A standard input that fails is as closed as one that ends.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            drop(end);
        });
        // Either the time is over or the channel is closed: both are the end.
        let _ = ended.recv_timeout(options.limit);
    } else {
        thread::sleep(options.limit);
    }
    Ok(())
}
