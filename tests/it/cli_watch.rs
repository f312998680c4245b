//! `pilothouse watch` at a terminal: sessions live, answers by one key, and a terminal that is as it was.

use crate::cli_asks::{pilothouse, url};
use crate::cli_terminal::{Terminal, asking, open_asks};
use crate::world::World;
use serde_json::Value;

/// What leaves the other screen and shows the cursor.
const RESTORED: &str = "\u{1b}[?25h\u{1b}[?1049l";

#[test]
fn sessions_are_shown_and_q_gives_the_terminal_back() {
    let world = World::start();
    world.say("say hello");
    let mut terminal = Terminal::run(world.address(), &["watch"]);
    let shown = terminal.until("[q] leave");
    assert!(shown.contains("sessions 1 · at work 0 · asking 0"), "{shown}");
    assert!(shown.contains("fake") && shown.contains("idle"), "{shown}");
    terminal.press("q");
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains(RESTORED), "{rest}");
}

#[test]
fn y_answers_the_ask_that_is_shown_in_full() {
    let world = asking();
    let asked = pilothouse(&url(world.address()), &["send", "hello"]);
    assert_eq!(asked.code, Some(4), "{}", asked.err);
    let mut terminal = Terminal::run(world.address(), &["watch"]);
    let shown = terminal.until("[y] allow once  [n] deny");
    assert!(shown.contains("asks to be used:"), "{shown}");
    terminal.press("y");
    terminal.until("answered");
    assert_eq!(open_asks(&world), [Value::Null; 0]);
    terminal.press("q");
    assert_eq!(terminal.end().1, Some(0));
}

#[test]
fn a_decision_arrives_though_its_person_leaves_at_once() {
    let world = asking();
    assert_eq!(pilothouse(&url(world.address()), &["send", "hello"]).code, Some(4));
    let mut terminal = Terminal::run(world.address(), &["watch"]);
    terminal.until("[y] allow once  [n] deny");
    terminal.press("yq");
    assert_eq!(terminal.end().1, Some(0));
    assert_eq!(open_asks(&world), [Value::Null; 0]);
}

#[test]
fn enter_shows_the_transcript_and_a_key_goes_back() {
    let world = World::start();
    world.say("say hello there");
    let mut terminal = Terminal::run(world.address(), &["watch"]);
    terminal.until("[q] leave");
    terminal.press("\r");
    let shown = terminal.until("any key goes back to the list ");
    assert!(shown.contains(RESTORED) && shown.contains("▶ say hello there"), "{shown}");
    terminal.press("x");
    terminal.until("[q] leave");
    // Ctrl-C leaves, too.
    terminal.press("\u{3}");
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains(RESTORED), "{rest}");
}

#[test]
fn without_a_terminal_it_says_what_prints_the_same() {
    let world = World::start();
    let said = pilothouse(&url(world.address()), &["watch"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("`pilothouse sessions list` prints the same once"), "{}", said.err);
}
