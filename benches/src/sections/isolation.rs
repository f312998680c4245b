//! The price of a sandbox: turns of the stub without one, behind Landlock, and behind bubblewrap with a network
//! of its own and the proxy, in turns on three servers that run side by side.

use crate::client::{message, string_field};
use crate::server::Input;
use crate::stats::Times;
use crate::{Bench, Outcome};
use std::time::Instant;

/// Each sandbox, and what it may add to a turn in milliseconds.
const WALLS: [(&str, f64); 3] = [("none", 0.0), ("landlock", 5.0), ("bubblewrap", 20.0)];

/// Turns that warm everything up.
const WARM: usize = 20;

/// What each turn costs more, and what the attacks at the start cost.
pub(super) fn price(bench: &mut Bench) -> Outcome {
    let count = bench.pick(400, 80);
    let mut servers = Vec::new();
    for (backend, _) in WALLS {
        servers.push(bench.house.fresh_behind(backend, Input::Argument)?);
    }
    let mut callers = Vec::new();
    for server in &servers {
        let mut client = server.client()?;
        let first = client.complete(&message("SendMessage", "one", None))?;
        let context = string_field(&first.body, "contextId").ok_or("a task without a contextId")?;
        callers.push((client, message("SendMessage", "one", Some(&context)), Vec::new()));
    }
    for round in 0..count + WARM {
        for (client, turn, times) in &mut callers {
            let began = Instant::now();
            client.complete(turn)?;
            if round >= WARM {
                times.push(began.elapsed());
            }
        }
    }
    let times: Vec<Times> = callers.into_iter().map(|(.., times)| Times::new(times)).collect();
    for ((backend, most), times_of) in WALLS.iter().zip(&times) {
        if *most > 0.0 {
            let added = times_of.median() - times[0].median();
            let figure =
                format!("a turn in a process behind {backend}, p50 above one without a sandbox");
            bench.table.at_most(&figure, *most, added, "ms", "");
        }
    }
    for ((backend, _), times) in WALLS.iter().zip(&times) {
        let figure = format!("turn of the stub, isolation {backend}, p50 / p95 / p99");
        bench.table.tell(&figure, &times.spread());
    }
    drop(servers);
    starts(bench)
}

/// From the start to the first healthy answer, in turns: the attacks are made before it.
fn starts(bench: &mut Bench) -> Outcome {
    let rounds = bench.pick(10, 3);
    let mut times = [(); WALLS.len()].map(|()| Vec::new());
    for _ in 0..rounds {
        for ((backend, _), times) in WALLS.iter().zip(&mut times) {
            times.push(bench.house.fresh_behind(backend, Input::Argument)?.started_in);
        }
    }
    for ((backend, _), times) in WALLS.iter().zip(times) {
        let times = Times::new(times);
        let figure = format!(
            "start to first healthy answer with the attacks of the probe, isolation {backend}"
        );
        let measured =
            format!("{:.1} ms (p50 of {rounds}, worst {:.1})", times.median(), times.worst());
        bench.table.tell(&figure, &measured);
    }
    Ok(())
}
