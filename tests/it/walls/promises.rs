//! The promises: the tables of `docs/isolation.md` are what the program and a run of its attacks say, and every test
//! that a page or a claim names exists.

use super::{User, WALLS, Wall, doctor, findings};
use crate::containers;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const END: &str = "<!-- end -->";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {value:#}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list `{key}` in {value:#}"))
}

/// Each guarantee with its claims.
fn promised() -> &'static [Value] {
    list(&doctor(Wall::Bubblewrap, User::Own)["guarantees"], "promised")
}

fn not_promised() -> &'static [Value] {
    list(&doctor(Wall::Bubblewrap, User::Own)["guarantees"], "not_promised")
}

fn claims() -> impl Iterator<Item = &'static Value> {
    promised().iter().flat_map(|promise| list(promise, "claims"))
}

// === tables ===

/// Guarantees, and the backends that give them.
fn guarantees() -> String {
    let kinds = ["bubblewrap", "landlock", "container", "none"];
    let mut table =
        format!("| guarantee | an agent | {} |\n|---|---|---|---|---|---|\n", kinds.join(" | "));
    for promise in promised() {
        let given = kinds.map(|kind| text(&promise["backends"][kind], "gives"));
        let (name, summary) = (text(promise, "guarantee"), text(promise, "summary"));
        writeln!(table, "| `{name}` | {summary} | {} |", given.join(" | ")).unwrap();
    }
    table.push('\n');
    let mut whys: Vec<(&str, Vec<String>)> = Vec::new();
    for promise in promised() {
        for kind in kinds.into_iter().filter(|kind| *kind != "none") {
            let Some(why) = promise["backends"][kind]["why"].as_str() else { continue };
            let whose = format!("`{}` by {kind}", text(promise, "guarantee"));
            match whys.iter_mut().find(|(known, _)| *known == why) {
                Some((_, whose_known)) => whose_known.push(whose),
                None => whys.push((why, vec![whose])),
            }
        }
    }
    for (why, whose) in whys {
        writeln!(table, "- {}: {why}.", whose.join(", ")).unwrap();
    }
    table
}

/// Claims, and the tests that try them besides the attacks.
fn tests_of_claims() -> String {
    let mut table =
        "| guarantee | an agent | tried by | and by the tests |\n|---|---|---|---|\n".to_owned();
    let names = |names: Vec<&str>| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join("<br>")
    };
    for promise in promised() {
        for claim in list(promise, "claims") {
            let attacks = list(claim, "attacks").iter().map(|attack| text(attack, "name"));
            let tests = list(claim, "tests").iter().filter_map(Value::as_str);
            let (attacks, tests) = (names(attacks.collect()), names(tests.collect()));
            let (guarantee, claim) = (text(promise, "guarantee"), text(claim, "claim"));
            writeln!(table, "| `{guarantee}` | {claim} | {attacks} | {tests} |").unwrap();
        }
    }
    table
}

/// What came of an attack, for the table.
fn cell(attack: &Value, wall: Wall, user: User) -> String {
    let name = text(attack, "name");
    if attack["when"] == "tests" {
        return "stopped".to_owned();
    }
    if ["limits.forks", "limits.memory"].contains(&name) {
        // What comes of these is the machine's, not the sandbox's.
        return match wall {
            Wall::Bubblewrap | Wall::Landlock => "stopped where control groups are delegated",
            Wall::Container => "stopped where the engine has control groups",
        }
        .to_owned();
    }
    let made = list(findings(wall, user), "attacks").iter().find(|made| made["name"] == name);
    let made = made.unwrap_or_else(|| panic!("{name} was not made"));
    match (text(made, "result"), text(made, "word")) {
        ("stopped", _) => "stopped".to_owned(),
        ("succeeded", _) => "not promised".to_owned(),
        (_, "argument") => "not tried (nothing to attack here)".to_owned(),
        (_, word) => format!("not tried ({word})"),
    }
}

/// Attacks, and what came of them. A column that these tests cannot fill, because they do not run as root or have no
/// engine of containers, is what the page says.
fn attacks(written: &BTreeMap<&str, Vec<&str>>) -> String {
    let walls = [Wall::Bubblewrap, Wall::Landlock, Wall::Container];
    let columns = walls.map(|wall| format!("{}, root | {0}, user", wall.name()));
    let mut table = format!(
        "| attack | what it tries | guarantee | made by | {} |\n|---|---|---|---|{}\n",
        columns.join(" | "),
        "---|".repeat(2 * walls.len())
    );
    let is_root = rustix::process::geteuid().is_root();
    let users = [(User::Own, is_root), (User::Ordinary, true)];
    let mut row = |attack: &Value, guarantee: &str| {
        let name = text(attack, "name");
        let when = match text(attack, "when") {
            "start" => "each start",
            other => other,
        };
        let columns = walls.into_iter().flat_map(|wall| users.map(|(user, can)| (wall, user, can)));
        let cells = columns.enumerate().map(|(at, (wall, user, can))| {
            if can && (wall != Wall::Container || containers::has_engine()) {
                return cell(attack, wall, user);
            }
            let known = written.get(name).and_then(|cells| cells.get(3 + at));
            known.copied().unwrap_or("not tried here").to_owned()
        });
        let cells: Vec<String> = cells.collect();
        let (what, cells) = (text(attack, "what"), cells.join(" | "));
        writeln!(table, "| `{name}` | {what} | {guarantee} | {when} | {cells} |").unwrap();
    };
    for promise in promised() {
        let guarantee = format!("`{}`", text(promise, "guarantee"));
        for attack in list(promise, "claims").iter().flat_map(|claim| list(claim, "attacks")) {
            row(attack, &guarantee);
        }
    }
    for attack in not_promised() {
        row(attack, "none");
    }
    table
}

/// The rows of a table by their first cell; the rest of each are the cells after it.
fn rows(table: &str) -> BTreeMap<&str, Vec<&str>> {
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let name = cells.next()?.trim_matches('`');
        Some((name, cells.collect()))
    });
    rows.collect()
}

/// The three parts of a page: before a table, the table, and after it.
fn parts<'a>(page: &'a str, name: &str) -> [&'a str; 3] {
    let begin = format!("<!-- made by `tests/it/walls/promises.rs`: {name} -->\n");
    let place = page.find(&begin).unwrap_or_else(|| panic!("the page has no place for {name}"));
    let (before, rest) = page.split_at(place + begin.len());
    let end = rest.find(END).unwrap_or_else(|| panic!("the table {name} has no end"));
    let (table, after) = rest.split_at(end);
    [before, table, after]
}

#[test]
fn the_tables_of_the_documentation_are_what_the_program_and_a_run_say() {
    let path = path("docs/isolation.md");
    let mut page = fs::read_to_string(&path).unwrap();
    let is_written = std::env::var_os("PILOTHOUSE_WRITE_DOCS").is_some();
    for name in ["guarantees", "claims", "attacks"] {
        let [before, written, after] = parts(&page, name);
        let table = match name {
            "guarantees" => guarantees(),
            "claims" => tests_of_claims(),
            _ => attacks(&rows(written)),
        };
        if is_written {
            page = format!("{before}{table}{after}");
        } else {
            assert_eq!(written, table, "write it anew: PILOTHOUSE_WRITE_DOCS=1");
        }
    }
    if is_written {
        fs::write(&path, page).unwrap();
    }
}

// === attacks ===

#[test]
fn doctor_makes_every_attack_of_the_table_and_no_other() {
    let attacks = claims().flat_map(|claim| list(claim, "attacks")).chain(not_promised());
    let limits = ["limits.forks", "limits.memory"];
    let named =
        attacks.filter(|attack| attack["when"] != "tests").map(|attack| text(attack, "name"));
    let mut named: Vec<&str> = named.filter(|name| !limits.contains(name)).collect();
    for wall in WALLS {
        let made = list(findings(wall, User::Own), "attacks").iter().map(|made| text(made, "name"));
        let mut made: Vec<&str> = made.filter(|name| !limits.contains(name)).collect();
        made.sort_unstable();
        named.sort_unstable();
        assert_eq!(made, named, "{wall:?}");
    }
}

// === tests ===

/// The sources that may have a module: below `tests/it`, or a unit test's, also of the crate that it begins with.
fn sources(module: &str) -> impl Iterator<Item = String> {
    let module = module.replace("::", "/");
    let unit = module.strip_suffix("/tests").unwrap_or(&module);
    let (of, in_crate) = module.split_once('/').unwrap_or_default();
    let in_unit = in_crate.strip_suffix("/tests").unwrap_or(in_crate);
    let names = [
        format!("tests/it/{module}.rs"),
        format!("src/{module}.rs"),
        format!("src/{unit}.rs"),
        format!("crates/{of}/src/{in_crate}.rs"),
        format!("crates/{of}/src/{in_unit}.rs"),
    ];
    names.into_iter().filter_map(|name| fs::read_to_string(path(&name)).ok())
}

/// Whether there is a test of this name, `module::function`.
fn is_test(name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else { return false };
    let head = format!("fn {function}() ");
    let is_head = |line: &str| line.trim_start().trim_start_matches("async ").starts_with(&head);
    sources(module).any(|source| {
        let mut lines = source.lines().map(str::trim_start);
        let mut after_attribute = false;
        lines.any(|line| {
            let is_here = after_attribute && is_head(line);
            after_attribute = line.starts_with("#[test]")
                || line.starts_with("#[tokio::test")
                || after_attribute && line.starts_with("#[");
            is_here
        })
    })
}

/// The names between quotes that have the form of a test's.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|name| name.contains("::"))
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    assert!(is_test("walls::promises::what_is_no_test_is_not_taken_for_one"));
    for name in
        ["walls::promises::is_test", "walls::promises::no_such_test", "no_such::test", "none"]
    {
        assert!(!is_test(name), "{name}");
    }
}

#[test]
fn every_test_that_a_claim_names_exists() {
    let named = claims().flat_map(|claim| list(claim, "tests")).filter_map(Value::as_str);
    let missing: Vec<&str> = named.filter(|name| !is_test(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn a_start_makes_an_attack_for_each_claim() {
    for promise in promised().iter().filter(|promise| promise["guarantee"] != "disk") {
        for claim in list(promise, "claims") {
            assert!(
                list(claim, "attacks").iter().any(|attack| attack["when"] == "start"),
                "{claim:#}"
            );
        }
    }
}

#[test]
fn every_promise_of_the_security_policy_names_tests_that_exist() {
    let page = fs::read_to_string(path("SECURITY.md")).unwrap();
    let (_, rest) = page.split_once("## What is promised today\n").unwrap();
    let (promised, _) = rest.split_once("\n## ").unwrap();
    let lines: Vec<&str> = promised.lines().filter(|line| line.starts_with("- ")).collect();
    assert!(lines.len() > 40, "{lines:#?}");
    for line in lines {
        let tests: Vec<&str> = quoted(line).collect();
        let missing: Vec<&&str> = tests.iter().filter(|name| !is_test(name)).collect();
        assert!(!tests.is_empty() && missing.is_empty(), "{missing:?} of: {line}");
    }
}
