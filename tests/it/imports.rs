//! Who may import whom: the sources against the table of `ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Table = BTreeMap<String, BTreeSet<String>>;

pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The table below `### Who may import whom`: a module and what it may use.
fn allowed() -> Table {
    let page = fs::read_to_string(project("ARCHITECTURE.md")).unwrap();
    let section = page.split("### Who may import whom").nth(1).unwrap();
    let section = section.split("\n#").next().unwrap();
    let words =
        |cell: &str| cell.split(',').map(|word| word.trim().to_owned()).collect::<BTreeSet<_>>();
    let mut table = Table::new();
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let may = match cells[1] {
            "nothing of the house" => BTreeSet::new(),
            "all of the above" => table.keys().cloned().collect(),
            names => words(names),
        };
        table.extend(words(cells[0]).into_iter().map(|module| (module, may.clone())));
    }
    table.remove("module");
    table
}

/// The sources below a folder.
pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match path.extension() {
            None => sources(&path, found),
            Some(kind) if kind == "rs" => found.push(path),
            Some(_) => {}
        }
    }
}

/// The modules after `crate::` in a source, comments left out.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let after = code.flat_map(|line| line.split("crate::").skip(1));
    let word = |rest: &str| {
        rest.chars().take_while(|&c| c.is_ascii_lowercase() || c == '_').collect::<String>()
    };
    after.map(word).filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_import_is_in_the_table() {
    let allowed = allowed();
    let mut files = Vec::new();
    sources(&project("src"), &mut files);
    let mut strange = Vec::new();
    for file in files {
        let path = file.strip_prefix(project("src")).unwrap().to_str().unwrap().to_owned();
        let module = path.split(['/', '.']).next().unwrap();
        if module == "main" {
            continue;
        }
        let Some(may) = allowed.get(module) else {
            strange.push(format!("{path}: the module `{module}` is not in the table"));
            continue;
        };
        let uses = used(&fs::read_to_string(&file).unwrap());
        // Macros and other things of the crate's root have no module of their own.
        let modules = uses.into_iter().filter(|name| allowed.contains_key(name) && name != module);
        strange.extend(
            modules.filter(|name| !may.contains(name)).map(|name| format!("{path} uses `{name}`")),
        );
    }
    assert!(
        strange.is_empty(),
        "{strange:#?}\nchange the code, or the table in ARCHITECTURE.md and say why"
    );
}

/// The modules of the server that use a crate.
fn users(crate_name: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&project("src"), &mut files);
    let path = format!("{crate_name}::");
    let knows = |file: &PathBuf| fs::read_to_string(file).unwrap().contains(&path);
    let module = |file: &PathBuf| {
        let path = file.strip_prefix(project("src")).unwrap().to_str().unwrap().to_owned();
        path.split(['/', '.']).next().unwrap().to_owned()
    };
    files.iter().filter(|file| knows(file)).map(module).collect()
}

#[test]
fn only_those_who_run_or_show_agents_know_their_dialects() {
    let modules = users("pilothouse_agents");
    let expected = ["agent", "budget", "asks", "config", "service", "session", "telemetry"]
        .map(ToOwned::to_owned);
    assert!(modules.is_subset(&BTreeSet::from(expected)), "{modules:?}");
}

#[test]
fn no_door_and_no_store_knows_the_sandbox() {
    let modules = users("pilothouse_sandbox");
    let expected = [
        "agent",
        "app",
        "cli",
        "config",
        "descriptors",
        "repository",
        "server",
        "session",
        "sweep",
        "telemetry",
    ];
    assert_eq!(modules, BTreeSet::from(expected.map(ToOwned::to_owned)));
}

#[test]
fn a_crate_knows_only_the_crates_below_it() {
    let ours = |name: &str| {
        let manifest = fs::read_to_string(project(&format!("crates/{name}/Cargo.toml"))).unwrap();
        manifest.contains("pilothouse-").then(|| manifest.matches("\npilothouse-").count())
    };
    for name in ["a2a", "agents", "egress", "sandbox"] {
        assert_eq!(ours(name), Some(0), "{name} uses another crate of ours");
    }
}
