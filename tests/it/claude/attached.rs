//! A conversation at a person's terminal, with the real Claude Code on a pseudo-terminal.

use super::with_key;
use crate::cli_asks::url;
use crate::cli_terminal::Terminal;
use crate::reading::{answer, message_in};
use crate::world::OWNER;
use fake_model::Model;
use serde_json::json;

#[test]
fn the_terminal_begins_with_the_conversation() {
    let model = Model::start();
    // Of a project that is trusted; else the CLI asks the person first, which is a matter of safety.
    let described = with_key(&model, "sk-ant-dummy-of-the-owner-0123456789").config(json!({
        "workspace": {"mode": "shared"},
        "agents": {"claude": {"trust_project": true}},
    }));
    let world = described.start();
    assert_eq!(answer(&world.send(message_in("talk", "say ahoy there"))), "ahoy there");
    let (address, state) = (url(world.address()), world.path("state"));
    let words = ["sessions", "attach", "talk", "--url", &address, "--token", OWNER, "--state-dir"];
    let words: Vec<&str> = words.into_iter().chain([state.to_str().unwrap()]).collect();
    let mut terminal = Terminal::run_alone(&[env!("CARGO_BIN_EXE_pilothouse")], &words);
    // Neither a theme, nor a sign-in, nor the key is asked about.
    let begun = terminal.until("ahoy");
    assert!(begun.contains("outside of the sandbox"), "{begun}");
    for asked in ["theme", "login", "custom"] {
        assert!(!begun.contains(asked), "{begun}");
    }
    terminal.press("\u{3}");
    terminal.until("again");
    terminal.press("\u{3}");
    let (rest, code) = terminal.end();
    assert_eq!(code, Some(0), "{rest}");
}
