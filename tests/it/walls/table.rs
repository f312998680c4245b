//! The table of `docs/isolation.md` is what a run of the attacks says.

use super::{Wall, doctor};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- made by `tests/it/walls/table.rs` -->\n";
const END: &str = "<!-- end -->";

/// Name, what it tries, and guarantee of each attack, as the sources have them.
fn known() -> Vec<[String; 3]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/isolation/attacks.rs");
    let source = fs::read_to_string(path).unwrap();
    let list = source.split("pub const ATTACKS").nth(1).unwrap();
    let list = list.split("\n];").next().unwrap();
    let entries = list.split("on(").flat_map(|piece| piece.split("shown("));
    entries
        .skip(1)
        .map(|entry| {
            let texts: Vec<&str> = entry.split('"').collect();
            let guarantee = entry
                .split("Guarantee::")
                .nth(1)
                .filter(|_| entry.trim_start().starts_with("Guarantee"));
            let guarantee = guarantee.and_then(|rest| rest.split(',').next());
            [texts[1].to_owned(), texts[3].to_owned(), guarantee.map(word).unwrap_or_default()]
        })
        .collect()
}

/// A guarantee as it is configured.
fn word(variant: &str) -> String {
    let word = match variant {
        "Env" => "env",
        "FsRead" => "fs.read",
        "FsWrite" => "fs.write",
        "PeerSessions" => "peer-sessions",
        "ServerMemory" => "server-memory",
        "Processes" => "processes",
        "NetEgress" => "net.egress",
        "NetLoopback" => "net.loopback",
        "UnixSockets" => "unix-sockets",
        "KillTree" => "kill-tree",
        "Pids" => "pids",
        "Memory" => "memory",
        other => panic!("no word for {other}"),
    };
    format!("`{word}`")
}

fn cell(found: &Value, name: &str) -> String {
    if name.starts_with("limits.") {
        // What comes of these is the machine's, not the wall's.
        return "stopped where control groups are delegated".to_owned();
    }
    let attacks = found["attacks"].as_array().unwrap();
    let attack = attacks.iter().find(|attack| attack["name"] == name);
    let attack = attack.unwrap_or_else(|| panic!("{name} was not made"));
    match attack["result"].as_str().unwrap() {
        "stopped" => "stopped".to_owned(),
        "succeeded" => "not promised".to_owned(),
        _ => match attack["word"].as_str().unwrap() {
            "argument" => "not tried (no aim)".to_owned(),
            "terminal" => "not tried (no terminal)".to_owned(),
            word => format!("not tried ({word})"),
        },
    }
}

fn table() -> String {
    let found = [Wall::Bubblewrap, Wall::Landlock].map(|wall| doctor(wall.described()));
    let mut table =
        "| attack | what it tries | guarantee | bubblewrap | landlock |\n|---|---|---|---|---|\n"
            .to_owned();
    for [name, what, guarantee] in known() {
        let [bubblewrap, landlock] = found.each_ref().map(|found| cell(found, &name));
        writeln!(table, "| `{name}` | {what} | {guarantee} | {bubblewrap} | {landlock} |").unwrap();
    }
    table
}

#[test]
fn the_table_of_the_documentation_is_what_a_run_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/isolation.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the place of the table");
    let (written, after) = rest.split_once(END).expect("the page has the end of the table");
    let table = table();
    if std::env::var_os("PILOTHOUSE_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(written, table, "write it anew: PILOTHOUSE_WRITE_DOCS=1");
    }
}

#[test]
fn every_attack_that_was_made_stands_in_the_table() {
    let known: Vec<String> = known().into_iter().map(|[name, ..]| name).collect();
    let found = doctor(Wall::Bubblewrap.described());
    for attack in found["attacks"].as_array().unwrap() {
        let name = attack["name"].as_str().unwrap();
        assert!(known.iter().any(|known| known == name), "{name}");
    }
    assert!(known.len() > 110, "{known:?}");
}
