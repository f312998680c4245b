//! A program that plays a script, used as an agent through the command driver.
//!
//! `fake-agent [--events] [--stdin] [anything] MESSAGE`: the message is the last argument or, with
//! `--stdin`, all of standard input. It is the script: statements separated by `;` or newlines
//! (`\;` is a semicolon), each a word (a colon may follow it) and its arguments. A message whose
//! first word is unknown is answered `echo: MESSAGE`, a later unknown statement `echo: STATEMENT`.
//! Standard output is flushed after each statement.
//!
//! With `--events` *text* is `{"type":"text"}` without an added newline, and *events* are lines of
//! the command driver's language; without it text is a line, and events go to standard error as
//! `WORD: ARGUMENTS`.
//!
//! | statement | does |
//! |---|---|
//! | `say TEXT` | text |
//! | `echo [TEXT]` | text; without TEXT the whole rest of the message, which ends the script |
//! | `repeat N MS TEXT` | N texts with a newline, MS apart; `{i}` counts from 1 |
//! | `stamp N MS` | N texts with a newline: nanoseconds of the real-time clock as they are written |
//! | `argv`, `bytes`, `pid`, `pwd` | text: all arguments as JSON, length of the message, own pid, folder |
//! | `env NAME`, `envs` | text: the value or `unset`; all names, sorted, one a line |
//! | `write PATH TEXT`, `read PATH` | text: `wrote PATH`, the content, or `write failed: …`, `read failed: …` |
//! | `count` | text: adds one to `.fake-agent-count` in the folder and says the sum |
//! | `status TEXT`, `think TEXT`, `message TEXT`, `reply TEXT` | events `status`, `thought`, `message`, `reply` |
//! | `artifact NAME TEXT`, `data NAME JSON`, `file NAME TEXT` | events `artifact` (`file`: base64) |
//! | `tool NAME [JSON]`, `result TEXT`, `plan JSON` | events `tool`, `toolResult` of that tool, `plan` |
//! | `usage IN OUT [COST]` | event `usage` |
//! | `ask TEXT \| A \| B` | event `ask` |
//! | `state STATE [TEXT]` | event `status` with that state |
//! | `line RAW` | that line as it is, in both modes |
//! | `err TEXT` | a line on standard error |
//! | `flood BYTES [CHUNK]` | that many bytes of text in lines of CHUNK bytes (4096) |
//! | `bigline BYTES` | one line of `x`, as it is |
//! | `invalid`, `nul` | a line that is not UTF-8, as it is; the text `a`, NUL, `b` |
//! | `cue NAME` | says `waiting NAME` (event `status`), waits for the file `$FAKE_AGENT_CUES/NAME`, else `.cue-NAME`; 2 minutes at most |
//! | `wait NAME` | the same without a word |
//! | `exit N`, `signal N`, `crash` | exits, sends itself a signal, aborts |
//! | `hang` | does nothing, an hour at most |
//! | `ignore TERM` | ignores SIGTERM, SIGINT and SIGHUP from here on; the pid stays |
//! | `fork [hold]` | leaves a process of its own session behind that ignores SIGTERM and hangs, and says `pid N`; `hold`: it keeps our standard output and error open |
//!
//! A statement whose arguments make no sense ends the program with code 64 and says why.
//!
//! `fake-agent --acp MODE` is an agent of the Agent Client Protocol instead. It answers a prompt with
//! `echo: PROMPT`, and in each mode but `well` does one thing otherwise:
//!
//! | mode | does |
//! |---|---|
//! | `well` | to the prompt `wait` it says `waiting` and ends when it is cancelled |
//! | `dies-at-once` | says `no licence was found` on standard error and ends with code 7 |
//! | `dies-in-the-middle` | says `half of it`, then `no ideas are left` on standard error; ends with code 3 |
//! | `hangs-in-initialize`, `hangs-in-prompt` | answers nothing from there on; a prompt with `waiting` |
//! | `floods`, `long-line` | 4000 pieces of 1000 bytes; one of 5 MiB |
//! | `nonsense` | lines that make no sense, then `refused: CODES` of two requests that are nothing |
//! | `unknown-ids` | answers requests that nobody made, and its prompt twice |
//! | `withdraws` | asks for a permission, takes it back at the cue `withdraw`, says `withdrawn: CODE` |
//! | `asks-and-ends` | asks for a permission, says more at the cue `end`, ends its turn without an answer |
//! | `asks-and-dies` | asks for a permission, says more at the cue `die`, ends with code 3 |
//! | `asks` | asks with the options `for-ever`, `this-once`, `not-now`; says `chosen: OPTION` |
//! | `elicits` | sends a form with `colour` (red, green) and `remark`; says the answer as JSON |
//! | `talks-after` | says more after the turn and asks; the answer is in the file `told` of its folder |
//! | `other-session` | speaks for a session that is not open, then says `mine` |
//! | `login`, `version` | wants a sign-in by `by-hand`; speaks version 9 |
//! | `refuses`, `gives-up` | ends with `refusal`, with `cancelled` |
//! | `runs` | runs the prompt as a script of the shell and says what it prints |
//!
//! `fake-agent --mcp MODE` is an MCP server on standard input and output with the tools `echo` (says `echoed`),
//! `elicit` (a form with `account` and `amount`) and `visit` (an address to open), which say the answer as JSON:
//! `well` starts at once, `late` at the cue `mcp`, `dies` ends with code 3.
//!
//! With `stream-json` among its arguments it speaks as Claude Code does, and runs prompts in the same way.

mod acp;
mod claude;
mod mcp;
mod play;
mod process;
mod proxy;
mod script;
mod voice;

use play::Player;
use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::process::ExitCode;
use voice::Voice;

/// The message or a statement makes no sense.
const USAGE: u8 = 64;
/// Something outside failed; the last line of standard error says what.
const OUTSIDE: u8 = 74;
/// Nobody reads standard output any more; what a shell shows for SIGPIPE.
const UNHEARD: u8 = 141;

/// Plays the script that the arguments of this process name.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    if let Some(part) = args.first().and_then(|arg| process::Part::named(arg)) {
        return match part.play() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => report(&error),
        };
    }
    let played = match args.as_slice() {
        [option, mode] if option == "--acp" => acp::play(&mode.to_string_lossy()),
        [option, mode] if option == "--mcp" => mcp::play(&mode.to_string_lossy()),
        args if args.iter().any(|arg| arg == claude::FORMAT) => claude::play(),
        _ => run(args),
    };
    match played {
        Ok(code) => ExitCode::from(code),
        Err(error) => report(&error),
    }
}

fn report(error: &io::Error) -> ExitCode {
    if error.kind() == ErrorKind::BrokenPipe {
        return ExitCode::from(UNHEARD);
    }
    eprintln!("fake-agent: {error}");
    let usage = error.kind() == ErrorKind::InvalidInput;
    ExitCode::from(if usage { USAGE } else { OUTSIDE })
}

fn run(mut args: Vec<OsString>) -> io::Result<u8> {
    // A script that goes on in a new program (`ignore`) says so first; nobody else needs to know.
    if args.first().is_some_and(|arg| arg == process::REPLAY) {
        args.remove(0);
    }
    let mut options = args.iter().take_while(|arg| *arg != "--");
    let stdin = options.clone().any(|arg| arg == "--stdin");
    let events = options.any(|arg| arg == "--events");
    let mut message = Vec::new();
    if stdin {
        io::stdin().read_to_end(&mut message)?;
    } else {
        let last = args.last().map(|arg| arg.as_encoded_bytes().to_vec());
        message = last.ok_or_else(|| usage("the message is missing; it is the last argument"))?;
    }
    let length = message.len();
    let message = String::from_utf8_lossy(&message).into_owned();
    let args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
    Player::new(Voice::new(events), args.collect(), length).play(&message)
}

/// An error that whoever wrote the script can mend.
fn usage(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, what)
}
