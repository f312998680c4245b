//! What turns have cost, by day, agent, caller and session.

use crate::cli_asks::{pilothouse, url};
use crate::reading::message;
use crate::tokens::token;
use crate::world::{BOB, OWNER, World};
use serde_json::{Value, json};

fn usage(world: &World, token: &str, query: &str) -> Value {
    let path = format!("/api/v1/usage{query}");
    world.get(&path, &[("Authorization", &format!("Bearer {token}"))]).json()
}

#[test]
fn a_caller_is_told_of_its_own_usage_and_an_admin_of_all() {
    let world = World::describe()
        .config(json!({"budgets": {"caller": {"cost_usd": 2}, "day": {"tokens": 1000}}}))
        .start();
    world.send(message("usage 30 12 0.5; say x"));
    world.send(message("usage 1 1 0.25; say x"));
    world.rpc_as(BOB, "SendMessage", message("usage 5 5 1; say x"));
    let all = usage(&world, OWNER, "");
    assert_eq!(all["total"], json!({"turns": 3, "costUsd": 1.75, "tokens": 54}));
    assert_eq!(all["days"].as_array().unwrap().len(), 1);
    assert_eq!(all["agents"][0]["agent"], "fake");
    let callers: Vec<_> =
        all["callers"].as_array().unwrap().iter().map(|row| &row["caller"]).collect();
    assert_eq!(callers, ["bob", "owner"]);
    assert_eq!(all["sessions"].as_array().unwrap().len(), 3);
    assert_eq!(
        all["budgets"],
        json!([
            {"key": "budgets.caller", "costUsd": {"limit": 2.0, "used": 0.75, "left": 1.25}},
            {"key": "budgets.day", "tokens": {"limit": 1000, "used": 54, "left": 946}},
        ])
    );
    let own = usage(&world, BOB, "");
    assert_eq!(
        (&own["total"]["costUsd"], own["callers"].as_array().unwrap().len()),
        (&json!(1.0), 1)
    );
    assert_eq!(own["budgets"].as_array().unwrap().len(), 1);
    assert_eq!(usage(&world, OWNER, "?caller=bob")["total"], own["total"]);
    assert_eq!(usage(&world, OWNER, "?to=2020-01-01")["total"]["turns"], 0);
    assert_eq!(usage(&world, BOB, "?caller=owner")["error"]["code"], 403);
    let table = pilothouse(&url(world.address()), &["usage", "--by", "caller"]);
    assert!(table.out.contains("bob     1      10      1.00"), "{} {}", table.out, table.err);
}

#[test]
fn an_admin_of_one_agent_is_told_of_its_own_usage_alone() {
    let world = World::start();
    world.rpc_as(BOB, "SendMessage", message("usage 5 5 1; say x"));
    let wanted = json!({"caller": "ann", "scopes": ["admin"], "agents": ["fake"]});
    let (_, ann) = token(&world, &wanted);
    assert_eq!(usage(&world, &ann, "")["callers"], json!([]));
    for others in ["?caller=*", "?caller=bob"] {
        assert_eq!(usage(&world, &ann, others)["error"]["code"], 403, "{others}");
    }
    assert_eq!(usage(&world, OWNER, "?caller=*")["callers"].as_array().unwrap().len(), 1);
}
