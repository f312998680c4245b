//! The demo agent: a process of its own that speaks the event lines of the `command` driver, so that
//! the whole server can be seen at work without a key. The server knows nothing of it.

use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Time between two words, so that a stream can be seen to stream.
const PACE: Duration = Duration::from_millis(15);

/// Most words of the message that are repeated.
const WORDS: usize = 200;

/// Reads the message from standard input and answers it.
pub(super) fn run() -> ExitCode {
    let mut message = String::new();
    if io::stdin().take(1 << 20).read_to_string(&mut message).is_err() {
        return ExitCode::from(65);
    }
    match play(message.trim(), &mut io::stdout().lock(), PACE) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody listens any more.
        Err(_) => ExitCode::from(141),
    }
}

fn play(message: &str, out: &mut impl Write, pace: Duration) -> io::Result<()> {
    let turn = count_turn();
    line(out, &json!({"type": "status", "text": "reading your message"}))?;
    if message.eq_ignore_ascii_case("ask") {
        return line(
            out,
            &json!({"type": "ask", "text": "Which colour?", "options": ["red", "green", "blue"]}),
        );
    }
    line(
        out,
        &json!({"type": "tool", "id": "count-1", "name": "Count", "input": {"what": "words"}}),
    )?;
    let words: Vec<&str> = message.split_whitespace().collect();
    let counted = format!("{} words", words.len());
    line(out, &json!({"type": "toolResult", "id": "count-1", "text": counted}))?;
    let shown = words.iter().take(WORDS).copied();
    let opening = ["You", "said:"].into_iter();
    for word in opening.chain(shown) {
        line(out, &json!({"type": "text", "text": format!("{word} ")}))?;
        std::thread::sleep(pace);
    }
    let closing = format!(
        "\n\nI am the **demo agent** of Pilothouse: a process of its own, in a workspace of its own. This is turn \
         {turn} of this session. Say `ask` and I will ask you something back.\n"
    );
    line(out, &json!({"type": "text", "text": closing}))?;
    line(
        out,
        &json!({"type": "usage", "inputTokens": words.len(), "outputTokens": words.len() + 2, "costUsd": 0.0, "model": "demo"}),
    )
}

/// Counts the turns of a session in its workspace, as an agent that keeps notes would.
fn count_turn() -> u64 {
    let file = "turns.txt";
    let turn = std::fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0)
        + 1;
    let _ = std::fs::write(file, format!("{turn}\n"));
    turn
}

fn line(out: &mut impl Write, event: &Value) -> io::Result<()> {
    writeln!(out, "{event}")?;
    out.flush()
}
