//! Limits of the account at the model API: tries that are of no use are not made, and others learn of the limit.

use super::walls::behind;
use super::with_key;
use crate::building::Builder;
use crate::reading::{answer, message, state, words};
use crate::world::{OWNER, World};
use fake_model::Model;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A message that the model refuses with these headers.
fn refused(headers: &str) -> Value {
    message(&format!("refuse 429 {headers}"))
}

/// A world whose Claude Code uses a subscription, of whose limits it tells.
fn subscribed(model: &Model) -> Builder {
    with_key(model, "").env("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-dummy")
}

/// The headers of a subscription at its five-hour limit, which is lifted at this time.
fn at_limit(seconds: u64) -> String {
    format!(
        "anthropic-ratelimit-unified-status=rejected anthropic-ratelimit-unified-reset={seconds} \
         anthropic-ratelimit-unified-representative-claim=five_hour"
    )
}

/// What `/ready` tells of accounts at their limit.
fn limits(world: &World) -> Value {
    let ready = world.get("/ready", &[("Authorization", &format!("Bearer {OWNER}"))]).json();
    ready["accountLimits"].clone()
}

fn requests(model: &Model) -> usize {
    model.requests().len()
}

#[test]
fn a_limit_with_a_known_end_fails_the_turn_at_once_and_further_messages_are_refused_until_then() {
    let model = Model::start();
    let mut world = subscribed(&model).start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let task = world.send(refused(&at_limit(now + 24 * 3600)));
    assert_eq!(state(&task), "FAILED", "{task:#}");
    assert!(words(&task).contains("five hour limit"), "{}", words(&task));
    let limit = &task["metadata"]["limit"];
    assert_eq!(limit["kind"], "limit");
    assert!(words(&task).contains(limit["until"].as_str().unwrap()), "{limit}");
    assert!(limit["retryAfterSeconds"].as_u64().unwrap() > 80_000, "{limit}");
    let asked = requests(&model);
    for _ in 0..2 {
        let reply = world.post(
            "/message:send",
            &[("Authorization", &format!("Bearer {OWNER}")), ("A2A-Version", "1.0")],
            message("say hello").to_string().as_bytes(),
        );
        assert_eq!(reply.status, 429, "{}", reply.text());
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        // Only the CLI says so here, which is believed for six hours.
        assert!((20_000..=21_600).contains(&seconds), "{}", reply.text());
        assert!(reply.text().contains("five hour limit"), "{}", reply.text());
        assert_eq!(limits(&world)[0]["agent"], "claude");
        // It is known after a restart, too.
        world.restart();
    }
    assert_eq!(requests(&model), asked);
}

#[test]
fn a_refusal_that_says_that_asking_again_does_not_help_ends_the_tries() {
    let model = Model::start();
    let world = behind(&model, "bubblewrap").start();
    let task = world.send(refused("x-should-retry=false retry-after=3600"));
    assert_eq!(state(&task), "FAILED", "{task:#}");
    assert!(task["metadata"]["limit"]["retryAfterSeconds"].as_u64().unwrap() > 3000, "{task:#}");
    let tries = model.requests().iter().filter(|seen| seen.user.starts_with("refuse")).count();
    assert_eq!(tries, 1);
    assert_eq!(limits(&world)[0]["agent"], "claude");
}

#[test]
fn where_the_operator_wants_it_turns_wait_for_the_end_of_the_limit() {
    let model = Model::start();
    let wait = json!({"limits": {"at_account_limit": "wait"}, "timeouts": {"retry_max": "1s"}});
    let world = behind(&model, "bubblewrap").config(wait).start();
    let task = world.send(refused("x-should-retry=false retry-after=3"));
    assert_eq!(state(&task), "FAILED", "{task:#}");
    let task = world.say("say hello");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "hello"), "{task:#}");
    assert_eq!(limits(&world), json!([]));
}
