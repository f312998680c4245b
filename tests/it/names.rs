//! A name leads to one module: types of one name in several modules, held to a list that only becomes shorter.

use crate::imports::{project, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// Names that stand in more than two modules, and in how many. Rename a type instead of adding a row.
const ALLOWED: &[(&str, usize)] = &[
    ("Agent", 4),
    ("Command", 3),
    ("Control", 3),
    ("Error", 9),
    ("Event", 3),
    ("File", 3),
    ("Form", 3),
    ("Inner", 3),
    ("Input", 3),
    ("Message", 3),
    ("Outcome", 3),
    ("Place", 5),
    ("Record", 3),
    ("Request", 3),
    ("SendIn", 3),
    ("Server", 3),
];

/// The modules of the server, the crates and the launcher, tests left out.
pub(crate) fn modules() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["src", "crates", "launcher"] {
        sources(&project(folder), &mut found);
    }
    let is_test = |path: &PathBuf| {
        path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
    };
    found.retain(|path| !is_test(path));
    found
}

/// The types that a module defines, those of its tests left out.
fn types(source: &str) -> BTreeSet<&str> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let defined = code.lines().filter_map(|line| {
        // Those in a macro are indented once and public; what else is indented is no name of a module.
        let indented = line.strip_prefix("    ").filter(|line| line.starts_with("pub"));
        let line = indented.unwrap_or(line);
        let item = match line.strip_prefix("pub") {
            Some(rest) => rest.split_once(if rest.starts_with('(') { ") " } else { " " })?.1,
            None => line,
        };
        let keywords = ["struct ", "enum ", "trait ", "type "];
        let name = keywords.iter().find_map(|keyword| item.strip_prefix(keyword))?;
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        Some(&name[..end])
    });
    defined.collect()
}

#[test]
fn no_name_of_a_type_comes_to_stand_in_more_modules() {
    let mut modules_of = BTreeMap::<String, usize>::new();
    for module in modules() {
        let source = fs::read_to_string(&module).unwrap();
        for name in types(&source) {
            *modules_of.entry(name.to_owned()).or_default() += 1;
        }
    }
    modules_of.retain(|_, count| *count > 2);
    let allowed: BTreeMap<_, _> =
        ALLOWED.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
    let more: Vec<_> =
        modules_of.iter().filter(|(name, count)| allowed.get(*name) < Some(count)).collect();
    assert!(more.is_empty(), "{more:?}: call these types what they are in their modules");
    assert_eq!(modules_of, allowed, "names have gone: take them out of the list");
}
