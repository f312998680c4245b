//! Every decoder of foreign bytes as a function over bytes: it may refuse them, it may not fail.
//!
//! `make fuzz` runs them under libFuzzer, each for a bounded time; the tests of the server run the corpus
//! through them. What belongs together in a request stands on lines: first its head, then its body.

use crate::config::load::{Environment, Flags, load};
use pilothouse_a2a::dialect::{self, Dialect};
use pilothouse_a2a::operation::OPERATIONS;
use pilothouse_a2a::rest::{self, Form};
use pilothouse_a2a::{jsonrpc, pb, sse};
use pilothouse_agents::acp::{Acp, AcpOptions};
use pilothouse_agents::claude::{Claude, ClaudeOptions};
use pilothouse_agents::command::{Command, CommandOptions, Format};
use pilothouse_agents::lines::{LineBounds, LineCutter};
use pilothouse_agents::{Answer, Driver, Exit, Setting, Step, Turn};
use pilothouse_egress::fuzz as egress;
use pilothouse_egress::guard::{Guard, Lookup, LookupResult, inward};
use std::net::IpAddr;
use std::sync::Arc;

/// The name of a corpus, and what reads it.
type Target = (&'static str, fn(&[u8]));

/// All targets.
pub(crate) const TARGETS: [Target; 14] = [
    ("jsonrpc", read_json_rpc),
    ("rest", read_rest),
    ("protobuf", read_protobuf),
    ("replies", read_replies),
    ("sse", read_sse),
    ("lines", read_lines),
    ("command", read_command),
    ("claude", read_claude),
    ("acp", read_acp),
    ("dotenv", read_dotenv),
    ("yaml", read_yaml),
    ("egress", read_egress),
    ("usage", read_usage),
    ("webhook", read_webhook),
];

const DIALECTS: [Dialect; 3] = [Dialect::V1_0, Dialect::V0_3, Dialect::V0_1];
const FORMS: [Form; 3] = [Form::Model, Form::Kind, Form::Proto];
/// What is kept of a line of an agent.
const LINE: usize = 64 * 1024;
/// The longest line of an agent.
const LONGEST_LINE: usize = 1024 * 1024;

/// What stands before and after the first line break.
fn split(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let head = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
    (head, bytes.get(end + 1..).unwrap_or_default())
}

// === callers ===

/// A body of JSON-RPC: in the dialect of its method, and its params as those of every other method.
fn read_json_rpc(bytes: &[u8]) {
    let request = match jsonrpc::parse(bytes) {
        Ok(request) => request,
        Err((id, error)) => {
            for dialect in DIALECTS {
                jsonrpc::failure(&id, &error, dialect);
            }
            return;
        }
    };
    if let Some(method) = dialect::method(&request.method)
        && let Err(error) = method.dialect.decode(method.operation, request.params)
    {
        jsonrpc::failure(&request.id, &error, method.dialect);
    }
    for dialect in DIALECTS {
        for names in &OPERATIONS {
            let _ = dialect.decode(names.operation, request.params);
        }
    }
}

/// `METHOD PATH?QUERY`, then the body.
fn read_rest(bytes: &[u8]) {
    let (head, body) = split(bytes);
    let Some((method, target)) = head.split_once(' ') else { return };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if let Ok(route) = rest::route(method, path)
        && let Err(error) = route.decode(query, body)
    {
        for form in FORMS {
            rest::error_body(form, &error);
        }
    }
}

/// A byte for service and method, then the message. What is written of it is read, and means the same again.
fn read_protobuf(bytes: &[u8]) {
    let Some((&choice, message)) = bytes.split_first() else { return };
    let dialect = if choice & 0x80 == 0 { Dialect::V1_0 } else { Dialect::V0_3 };
    let operation = OPERATIONS[usize::from(choice & 0x7f) % OPERATIONS.len()].operation;
    let read = |message: &[u8]| pb::decode(dialect, operation, message).map(|read| read.call);
    if let Ok(call) = read(message) {
        // Not the call itself: an empty message and an absent one are the same on the wire.
        let once = read(&pb::encode_call(dialect, &call)).expect("what we write can be read");
        assert_eq!(read(&pb::encode_call(dialect, &once)), Ok(once));
    }
}

// === servers that our client speaks to ===

/// An answer as JSON and as protobuf.
fn read_replies(bytes: &[u8]) {
    let _ = jsonrpc::parse_response(bytes);
    let Some((&choice, message)) = bytes.split_first() else { return };
    let operation = OPERATIONS[usize::from(choice) % OPERATIONS.len()].operation;
    for dialect in [Dialect::V1_0, Dialect::V0_3] {
        let _ = pb::decode_reply(dialect, operation, message);
        let _ = pb::decode_event(dialect, message);
    }
}

/// A stream of events: the same whatever pieces it comes in.
fn read_sse(bytes: &[u8]) {
    let decoded = |piece: usize| {
        let mut decoder = sse::Decoder::new(1024);
        let mut events = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.push(piece);
            loop {
                match decoder.next_event() {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(_) => return None,
                }
            }
        }
        Some(events)
    };
    let whole = decoded(bytes.len().max(1));
    let pieces = decoded(1);
    // The bound counts what is held, which is more when more comes at once.
    if let (Some(whole), Some(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
    }
}

// === agents ===

/// Lines that are cut, shortened and mended: the same whatever pieces they come in, and what can be read before
/// can be read after.
fn read_lines(bytes: &[u8]) {
    let (kept, bytes) = bytes.split_first().map_or((0, bytes), |(&first, rest)| (first, rest));
    let bounds = LineBounds { kept: 1200 + 8 * usize::from(kept), longest: 16 * 1024 };
    let cut = |piece: usize| {
        let mut cutter = LineCutter::new(bounds);
        let mut lines = Vec::new();
        for piece in bytes.chunks(piece) {
            lines.extend(cutter.push(piece).map(|line| line.map(|line| line.into_owned())));
        }
        lines.extend(cutter.finish().map(Ok));
        lines
    };
    let lines = cut(bytes.len().max(1));
    assert_eq!(lines, cut(1));
    // A line that is skipped, and an empty end, leave fewer.
    if lines.iter().any(Result::is_err) || !bytes.ends_with(b"\n") {
        return;
    }
    for (line, given) in lines.iter().flatten().zip(bytes.split(|&byte| byte == b'\n')) {
        let is_json = |line: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
        assert!(line.len() <= bounds.kept.max(3 * given.len()));
        assert!(is_json(line) || !is_json(given), "{}", String::from_utf8_lossy(given));
    }
}

fn read_command(bytes: &[u8]) {
    for format in [Format::Events, Format::Text] {
        let options = CommandOptions { format, ..CommandOptions::default() };
        drive(&mut Command::new(options), bytes);
    }
}

fn read_claude(bytes: &[u8]) {
    drive(&mut Claude::new(ClaudeOptions::default()), bytes);
}

fn read_acp(bytes: &[u8]) {
    let (resumed, lines) = bytes.split_first().map_or((0, bytes), |(&first, rest)| (first, rest));
    let mut driver = Acp::new(AcpOptions {
        mode: (resumed & 2 != 0).then(|| "ask".to_owned()),
        model: (resumed & 4 != 0).then(|| "large".to_owned()),
        ..AcpOptions::default()
    });
    let resume = (resumed & 1 != 0).then(|| "s1".to_owned());
    drive_in(&mut driver, lines, &Setting { resume, ..Setting::default() });
}

fn drive(driver: &mut dyn Driver, bytes: &[u8]) {
    drive_in(driver, bytes, &Setting::default());
}

/// Hears lines, answers what is asked, begins anew after each end, is interrupted, ends.
fn drive_in(driver: &mut dyn Driver, bytes: &[u8], setting: &Setting) {
    let turn = Turn { text: "do it".to_owned(), task_id: "t".to_owned(), ..Turn::default() };
    if driver.launch(setting, &turn).is_err() {
        return;
    }
    follow(driver, |driver| driver.begin(&turn), &turn);
    let mut cutter = LineCutter::new(LineBounds { kept: LINE, longest: LONGEST_LINE });
    let mut lines: Vec<Vec<u8>> =
        cutter.push(bytes).filter_map(Result::ok).map(|line| line.into_owned()).collect();
    lines.extend(cutter.finish());
    let last = lines.len().saturating_sub(1);
    for (place, line) in lines.iter().enumerate() {
        follow(driver, |driver| driver.line(line), &turn);
        if place == last / 2 {
            follow(driver, |driver| driver.chunk(line), &turn);
        }
    }
    follow(driver, |driver| driver.interrupt(), &turn);
    driver.exit(&Exit { code: Some(1), signal: None, stderr: "the end".to_owned() });
}

/// Does what a session does with steps, once.
fn follow(driver: &mut dyn Driver, say: impl FnOnce(&mut dyn Driver) -> Vec<Step>, turn: &Turn) {
    for step in say(driver) {
        match step {
            Step::Ask(ask) if ask.id.len() % 2 == 0 => {
                driver.answer(&ask.id, &Answer::Allow { input: None });
            }
            Step::Ask(ask) => {
                let answer = Answer::Deny { message: "no".to_owned() };
                driver.answer(&ask.id, &answer);
            }
            Step::Wake(timer, _) => drop(driver.woke(timer)),
            Step::End(_) => drop(driver.begin(turn)),
            _ => {}
        }
    }
}

// === the operator's files ===

fn read_dotenv(bytes: &[u8]) {
    read_configuration(".env", bytes);
}

fn read_yaml(bytes: &[u8]) {
    read_configuration("pilothouse.yaml", bytes);
}

/// All of what a start reads, with these bytes as one of the files; an error is also shown.
fn read_configuration(file: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    std::fs::write(folder.path().join(file), bytes).expect("the folder can be written to");
    if let Err(error) = load(&Flags::default(), &Environment::default(), folder.path()) {
        drop(error.to_string());
    }
}

// === the way out ===

/// `PATH?QUERY` or a destination or a rule, a line each.
fn read_egress(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        text.lines().for_each(egress::read_line);
    }
}

/// The answer of a model, whose tokens are counted as it passes.
fn read_usage(bytes: &[u8]) {
    egress::read_answer(bytes);
}

/// No URL that passes leads inward by an address that is written out.
fn read_webhook(bytes: &[u8]) {
    struct Nowhere;
    impl Lookup for Nowhere {
        fn lookup(&self, _: &str) -> LookupResult {
            Box::pin(async { Ok(Vec::new()) })
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let guard = Guard::new(Vec::new(), Arc::new(Nowhere));
    if let Ok(url) = guard.check_url(text) {
        let host = url.host_str().expect("a URL that passes has a host");
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            assert!(inward(address).is_none() && url.scheme() == "https", "{url}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::path::Path;

    #[test]
    fn every_decoder_reads_its_corpus_without_a_failure() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let files = std::fs::read_dir(corpus.join(name)).unwrap();
            let mut count = 0;
            for file in files {
                let path = file.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                let read = std::panic::catch_unwind(|| target(&bytes));
                assert!(read.is_ok(), "the target `{name}` fails at {}", path.display());
                count += 1;
            }
            assert!(count > 0, "the corpus of `{name}` is empty");
        }
    }
}
