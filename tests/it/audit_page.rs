//! "Read this to audit" in `ARCHITECTURE.md`: its figures and its way through the code are true.

use crate::imports::{project, sources};
use std::fs;
use std::path::{Path, PathBuf};

/// A figure may be off by this part of it: the page need not change with every line of code.
const PARTS: usize = 20;

/// The page, from its heading to the next one.
fn page() -> String {
    let text = fs::read_to_string(project("ARCHITECTURE.md")).unwrap();
    let page = text.split("\n## Read this to audit\n").nth(1).unwrap();
    page.split("\n## ").next().unwrap().to_owned()
}

/// Lines of code of a source: without its tests, blank lines and comments.
fn lines_of(file: &Path) -> usize {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// The sources that a cell names: files, and folders with the file of the same name; without those of tests.
fn named(cell: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in quoted(cell).map(project) {
        if path.is_file() {
            found.push(path);
            continue;
        }
        sources(&path, &mut found);
        found.extend(Some(path.with_extension("rs")).filter(|file| file.is_file()));
    }
    let is_test = |path: &PathBuf| {
        let mut parts = path.strip_prefix(project("")).unwrap().iter();
        parts.any(|part| part == "tests" || part == "tests.rs" || part == "laws.rs")
    };
    found.retain(|path| !is_test(path));
    found
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn number(cell: &str) -> usize {
    cell.replace(',', "").parse().unwrap()
}

#[test]
fn the_page_for_audits_counts_the_lines_of_each_room_and_of_all() {
    let page = page();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| room"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let (together, rooms) = rows.split_last().unwrap();
    let order: Vec<_> = rooms.iter().map(|row| row[0]).collect();
    let wanted =
        ["launcher", "sandbox", "egress", "access", "door", "service", "session", "task, store"];
    assert_eq!((order.as_slice(), together[0]), (&wanted[..], "together"));
    let mut sums = [0, 0];
    for row in rooms {
        for (sum, (files, said)) in sums.iter_mut().zip([(row[2], row[3]), (row[4], row[5])]) {
            let lines = named(files).iter().map(|file| lines_of(file)).sum::<usize>();
            let said = number(said);
            let is_true = said.abs_diff(lines) <= said / PARTS;
            assert!(is_true, "{}: the page says {said}, it is {lines}", row[0]);
            *sum += said;
        }
    }
    assert_eq!([number(together[3]), number(together[5])], sums, "the sums of the page");
}

#[test]
fn the_way_of_a_message_names_functions_that_are_there_and_is_short() {
    let page = page();
    for (heading, most) in [("### From the socket to the agent", 14), ("### And back", 16)] {
        let walk = page.split(heading).nth(1).unwrap().split("###").next().unwrap();
        let stays: Vec<_> =
            walk.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
        assert!(!stays.is_empty() && stays.len() <= most, "{heading}: {} stays", stays.len());
        for stay in stays {
            let mut words = quoted(stay);
            let (file, function) = (words.next().unwrap(), words.next().unwrap());
            let text = fs::read_to_string(project(file)).unwrap_or_default();
            let is_there = text.contains(&format!("fn {function}("))
                || text.contains(&format!("fn {function}<"));
            assert!(is_there, "{stay}");
        }
    }
}
