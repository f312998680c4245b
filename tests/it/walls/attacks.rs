//! Every attack that we know, made from inside by `pilothouse doctor`: as root, and as an ordinary user.

use super::{User, WALLS, Wall, doctor, findings};
use serde_json::Value;
use std::collections::BTreeSet;

/// What Landlock has no say over.
const PROCESSES: [&str; 3] = ["processes.list", "processes.cmdline", "processes.times"];
/// Why an attack may be left out.
const HARMLESS: [&str; 3] = ["argument", "terminal", "architecture"];

fn attacks(found: &Value) -> &[Value] {
    found["attacks"].as_array().unwrap()
}

/// What was neither stopped nor harmlessly left out, and may not be.
fn broken(wall: Wall, found: &'static Value) -> Vec<&'static Value> {
    // What comes of those that no sandbox promises to stop stands in `docs/isolation.md`.
    let shown = doctor(wall, User::Own)["guarantees"]["not_promised"].as_array().unwrap();
    let allowed = |name: &str| {
        shown.iter().any(|attack| attack["name"] == name)
            || wall == Wall::Landlock && PROCESSES.contains(&name)
            // An engine without root may have no control groups; `containers` has where they must hold.
            || wall == Wall::Container && name.starts_with("limits.")
    };
    let held = |attack: &Value| match attack["result"].as_str().unwrap() {
        "stopped" => true,
        "skipped" => HARMLESS.contains(&attack["word"].as_str().unwrap()),
        _ => allowed(attack["name"].as_str().unwrap()),
    };
    attacks(found).iter().filter(|attack| !held(attack)).collect()
}

#[test]
fn every_attack_is_stopped_or_named_as_not_promised() {
    for wall in WALLS {
        let found = findings(wall, User::Own);
        assert_eq!(broken(wall, found), Vec::<&Value>::new(), "{wall:?}");
        assert!(attacks(found).len() > 110, "{found:#}");
    }
}

#[test]
fn every_attack_is_stopped_for_an_ordinary_user_too() {
    for wall in WALLS {
        let found = findings(wall, User::Ordinary);
        assert_eq!(broken(wall, found), Vec::<&Value>::new(), "{wall:?}");
        assert!(attacks(found).len() > 110, "{found:#}");
    }
}

#[test]
fn what_is_required_by_default_is_in_force_and_limits_say_what_they_are() {
    for wall in WALLS {
        let found = findings(wall, User::Own);
        for one in wall.gives() {
            assert_eq!(found["guarantees"][one]["state"], "in force", "{wall:?} {one}");
        }
        assert_eq!(found["guarantees"]["disk"]["state"], "watched", "{wall:?}");
    }
}

#[test]
fn landlock_says_which_attacks_keep_it_from_promising_processes() {
    let found = findings(Wall::Landlock, User::Own);
    let processes = &found["guarantees"]["processes"];
    assert_eq!(processes["state"], "missing");
    let why = processes["why"].as_str().unwrap();
    assert!(PROCESSES.iter().all(|name| why.contains(name)), "{why}");
}

#[test]
fn hardly_any_attack_is_left_out() {
    for wall in WALLS {
        let found = findings(wall, User::Own);
        let left_out: BTreeSet<&str> = attacks(found)
            .iter()
            .filter(|attack| attack["result"] == "skipped")
            .map(|attack| attack["name"].as_str().unwrap())
            .collect();
        // The terminal that a server may have been started from.
        let mut known = BTreeSet::from(["terminal.tiocsti"]);
        if wall == Wall::Landlock {
            // It has no covers, and a server that needs them does not start with it.
            known.extend(["own.read", "own.write", "own.replace", "own.folder"]);
        }
        assert!(left_out.is_subset(&known), "{wall:?}: {left_out:?}");
    }
}
