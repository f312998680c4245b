//! Commands that messages and pages name: the program takes each of them as it stands.

use crate::imports::{project, sources};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

/// The commands between backticks, up to what a shell would make of them.
fn commands_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        for rest in line.split("`pilothouse ").skip(1) {
            let Some((command, _)) = rest.split_once('`') else { continue };
            let command = command.split(['|', '>', '<', ';', '&']).next().unwrap();
            found.insert(without_places(&command.replace("\\\"", "\"")).trim().to_owned());
        }
    }
    found
}

/// The text with a word for each `{place}` of a format, and nothing for one that options are put into.
fn without_places(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else { break };
        out.push_str(before);
        if before.ends_with([' ', '"', '=']) {
            out.push('x');
        }
        rest = after;
    }
    out + rest
}

/// Why the program does not take a command; none where it shows its help.
fn refusal(command: &str) -> Option<String> {
    let words = shell_words::split(command).ok()?;
    // A form of commands is none; behind `--` all is for the agent, `--help` too.
    if command.contains('[') || words.iter().any(|word| word == "--") {
        return None;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(words)
        .arg("--help")
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // A word in capitals stands for a value.
    let is_place = said.contains("invalid value '") && !said.contains("[possible values");
    (!output.status.success() && !is_place).then(|| format!("{command}: {said}"))
}

fn check(text: &str, least: usize) {
    let commands = commands_in(text);
    assert!(commands.len() >= least, "{commands:?}");
    let refused: Vec<String> = commands.iter().filter_map(|command| refusal(command)).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn each_command_that_a_message_or_a_help_names_is_taken_as_it_is_printed() {
    let mut files = Vec::new();
    sources(&project("src"), &mut files);
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    check(&texts.collect::<Vec<_>>().join("\n"), 25);
}

#[test]
fn each_command_that_a_page_names_in_a_sentence_is_taken() {
    let pages = fs::read_dir(project("docs")).unwrap().flatten().map(|entry| entry.path());
    let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let texts = pages.chain([project("README.md")]).map(|path| fs::read_to_string(path).unwrap());
    check(&texts.collect::<Vec<_>>().join("\n"), 30);
}
