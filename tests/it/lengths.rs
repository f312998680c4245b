//! What can be read at once: no file above 500 lines, no function above 80, but for lists that only become shorter.

use crate::imports::project;
use crate::names::modules;
use std::collections::BTreeMap;
use std::fs;

const MOST_LINES: usize = 500;
const MOST_OF_A_FUNCTION: usize = 80;

/// Tables, which are read by looking up.
const TABLES: [&str; 2] = ["crates/sandbox/src/isolation/promises.rs", "src/config.rs"];

/// Files that are too long, and how long they may be until they are divided. Divide a file instead of adding a row.
const FILES: &[(&str, usize)] = &[
    ("crates/agents/src/claude.rs", 600),
    ("crates/agents/src/claude/background.rs", 520),
    ("src/client/follow.rs", 640),
    ("src/client/local.rs", 580),
    ("src/config/validate.rs", 560),
    ("src/store/sqlite.rs", 570),
    ("src/store/sqlite/read.rs", 570),
    ("src/task.rs", 780),
];

/// Functions that are too long, likewise.
const FUNCTIONS: &[(&str, usize)] = &[
    ("crates/agents/src/claude/hear.rs read", 100),
    ("crates/sandbox/src/isolation/bubblewrap.rs arguments", 94),
    ("crates/sandbox/src/isolation/choose.rs choose", 102),
    ("crates/sandbox/src/process/launcher.rs begin", 90),
    ("src/agent/reach.rs of", 100),
    ("src/agent/resolve.rs named", 155),
    ("src/app.rs build", 170),
    ("src/config/derive.rs lay_over", 95),
    ("src/config/load.rs read_layers", 90),
    ("src/config/validate.rs check_server", 85),
    ("src/server/call.rs begin", 105),
    ("src/server/listen.rs answer", 90),
    ("src/store/sqlite.rs apply", 125),
];

/// The functions of a source as it is formatted, and how many lines each has.
fn functions(source: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some((before, name)) = line.split_once("fn ") else { continue };
        let is_qualifier = |word: &str| {
            word.starts_with("pub")
                || ["const", "async", "unsafe", "extern", "\"C\"", "in"].contains(&word)
                || word.starts_with("crate::") && word.ends_with(')')
        };
        if !before.split_whitespace().all(is_qualifier) {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let is_end = |line: &&str| {
            let rest = line.strip_prefix(indent).filter(|rest| !rest.starts_with(' '));
            rest.is_some_and(|rest| rest.ends_with(['}', ';']))
        };
        let after_head = lines[number..].iter().position(is_end);
        let name = name.split(['(', '<']).next().unwrap_or_default();
        found.push((name, after_head.expect("a function has an end") + 1));
    }
    found
}

/// What is above the bound, but for the list, and what of the list is not above it any more.
fn compare(found: &BTreeMap<String, usize>, list: &[(&str, usize)]) {
    let allowed: BTreeMap<_, _> = list.iter().copied().collect();
    let longer: Vec<_> = found
        .iter()
        .filter(|(name, lines)| allowed.get(name.as_str()).is_none_or(|most| *lines > most))
        .collect();
    assert!(longer.is_empty(), "{longer:?}: divide them");
    let gone: Vec<_> = allowed.keys().filter(|name| !found.contains_key(**name)).collect();
    assert!(gone.is_empty(), "{gone:?} are not too long any more: take them out of the list");
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    let mut found = BTreeMap::new();
    for module in modules() {
        let lines = fs::read_to_string(&module).unwrap().lines().count();
        let name = module.strip_prefix(project("")).unwrap().to_str().unwrap().to_owned();
        if lines > MOST_LINES && !TABLES.contains(&&*name) {
            found.insert(name, lines);
        }
    }
    compare(&found, FILES);
}

#[test]
fn no_function_is_too_long_to_be_read_at_once() {
    let mut found = BTreeMap::new();
    for module in modules() {
        let source = fs::read_to_string(&module).unwrap();
        let file = module.strip_prefix(project("")).unwrap().to_str().unwrap();
        let long = functions(&source).into_iter().filter(|(_, lines)| *lines > MOST_OF_A_FUNCTION);
        found.extend(long.map(|(name, lines)| (format!("{file} {name}"), lines)));
    }
    compare(&found, FUNCTIONS);
}

#[test]
fn a_function_ends_at_the_brace_below_its_head() {
    let source = "pub(super) const fn one() {\n    x {\n    }\n}\nimpl A {\n    async fn two<T>(\n        a: T,\n    ) -> T {\n        a\n    }\n\n    fn three(&self);\n}\n";
    assert_eq!(functions(source), [("one", 4), ("two", 5), ("three", 1)]);
}
