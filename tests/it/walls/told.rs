//! Who is told what is in force; and what is only allowed behind a wall.

use super::{USUAL, WALLS, Wall};
use crate::building::Builder;
use crate::world::World;
use serde_json::{Value, json};

/// What the wall gives in all, as machines are told it: the disk is watched beside.
fn in_force(wall: Wall) -> Value {
    let mut guarantees = wall.gives();
    guarantees.push("disk");
    json!({"backend": wall.name(), "guarantees": guarantees})
}

#[test]
fn a_task_says_what_was_in_force_around_it() {
    for wall in WALLS {
        let task = wall.start().say("say x");
        assert_eq!(task["metadata"]["isolation"], in_force(wall), "{task:#}");
    }
}

#[test]
fn ready_says_what_is_in_force() {
    for wall in WALLS {
        let world = wall.start();
        assert_eq!(world.readiness()["isolation"], in_force(wall));
    }
}

#[test]
fn both_cards_say_what_is_in_force() {
    for wall in WALLS {
        let world = wall.start();
        let extended = world.rpc("GetExtendedAgentCard", json!({}));
        let public = world.get("/.well-known/agent-card.json", &[]).json();
        for card in [extended, public] {
            let extensions = card["capabilities"]["extensions"].as_array().unwrap();
            let one = extensions.iter().find(|one| one["uri"] == "urn:pilothouse:isolation");
            assert_eq!(one.unwrap()["params"], in_force(wall));
        }
    }
}

#[test]
fn that_there_is_no_wall_is_on_the_card_for_known_callers_alone() {
    let world = World::start();
    let public = world.get("/.well-known/agent-card.json", &[]).text();
    assert!(!public.contains("urn:pilothouse:isolation"), "{public}");
    let extended = world.rpc("GetExtendedAgentCard", json!({}));
    assert!(extended.to_string().contains("urn:pilothouse:isolation"));
}

#[test]
fn the_start_says_which_sandbox_it_is_and_how_many_guarantees_hold() {
    for wall in WALLS {
        let world = wall.start();
        let said = world.stderr();
        let worth = said.split_once(&format!("sandbox: {}, ", wall.name())).unwrap().1;
        let (count, names) = worth.split_once(" guarantees verified: ").unwrap();
        let names = names.lines().next().unwrap();
        assert!(names.starts_with(&wall.gives().join(", ")), "{said}");
        let held = names.split("; not promised: ").next().unwrap();
        assert_eq!(count, held.split(", ").count().to_string(), "{said}");
    }
}

#[test]
fn auto_takes_bubblewrap_where_it_gives_all_that_is_required() {
    let world = World::describe()
        .config(json!({"isolation": {"backend": "auto", "require": USUAL}}))
        .start();
    assert_eq!(world.readiness()["isolation"]["backend"], "bubblewrap");
}

#[test]
fn sessions_that_share_a_folder_are_not_told_to_be_apart() {
    for wall in WALLS {
        let builder = wall.described().config(json!({"workspace": {"mode": "shared"}}));
        // In root's folder an agent would be root, for which Landlock does not give all that is required.
        let builder = if wall == Wall::Landlock { builder.ordinary() } else { builder };
        let world = builder.start();
        let told = &world.say("say x")["metadata"]["isolation"];
        let guarantees = told["guarantees"].as_array().unwrap();
        assert!(!guarantees.contains(&json!("peer-sessions")), "{wall:?}: {told}");
    }
}

#[test]
fn without_a_wall_the_start_says_so_loudly() {
    let world = World::start();
    assert!(
        world.stderr().contains("sandbox: none (`isolation.backend: none`)"),
        "{}",
        world.stderr()
    );
}

// === what is only allowed behind a wall ===

/// The ways in which an agent may be told to ask nobody.
fn bypassing(builder: Builder) -> [Builder; 1] {
    [builder.agent(json!({"args": ["--events", "--dangerously-skip-permissions"]}))]
}

#[test]
fn an_agent_that_asks_nobody_is_refused_without_a_wall() {
    for builder in bypassing(World::describe()) {
        let failure = builder.fails();
        assert_ne!(failure.code, Some(0));
        for word in ["fake", "fs.read", "isolation.backend: auto", "permission_mode"] {
            assert!(failure.stderr.contains(word), "no `{word}` in: {}", failure.stderr);
        }
    }
}

#[test]
fn an_agent_that_asks_nobody_is_served_behind_a_wall() {
    for wall in WALLS {
        for builder in bypassing(wall.described()) {
            let task = builder.start().say("say x");
            assert_eq!(crate::reading::answer(&task), "x", "{wall:?}");
        }
    }
}

/// Claude Code, as the fake agent's program stands in for it: it is not started here.
fn claude(builder: Builder) -> Builder {
    let program = builder.config["agents"]["fake"]["program"].clone();
    builder.config(json!({
        "agent": "claude",
        "agents": {"fake": null, "claude": {"driver": "claude", "skills_source": "files", "program": program, "permission_mode": "bypassPermissions"}},
    }))
}

#[test]
fn claude_that_asks_nobody_is_refused_without_a_wall_and_served_behind_one() {
    let failure = claude(World::describe()).env("ANTHROPIC_API_KEY", "x").fails();
    assert!(failure.stderr.contains("permission_mode"), "{}", failure.stderr);
    for wall in WALLS {
        let world = claude(wall.described()).env("ANTHROPIC_API_KEY", "x").start();
        assert_eq!(world.readiness()["isolation"]["backend"], wall.name());
    }
}
