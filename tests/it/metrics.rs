//! What Prometheus reads.

use crate::processes::await_some;
use crate::reading::message;
use crate::webhook::Webhook;
use crate::world::{OWNER, PATIENCE, World};
use serde_json::json;

/// The value of a series.
fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

/// The text, as the owner reads it.
fn scrape(world: &World) -> String {
    let reply = world.get("/metrics", &[("Authorization", &format!("Bearer {OWNER}"))]);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let media_type = reply.header("content-type").unwrap();
    assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
    reply.text()
}

#[test]
fn a_turn_is_counted_with_its_tokens_tools_and_asks_and_no_word_of_it_is_told() {
    let world = World::start();
    world.say("tool Bash {\"command\":\"secret-input\"}\nresult secret-output\nusage 903 30 0.5\nsay secret-answer");
    let asking = world.begin("ask secret-question\nsay done");
    world.await_state(&asking, &["INPUT_REQUIRED"]);
    world.say("exit 3");
    assert_eq!(value(&scrape(&world), "pilothouse_asks_open"), 1.0);
    let text = await_some("the ends of the turns", PATIENCE, || {
        Some(scrape(&world)).filter(|text| text.contains("outcome=\"failed\""))
    });
    let readiness = world.readiness();
    let agent = readiness["agents"][0].as_str().unwrap();
    let turns =
        format!("pilothouse_turns_total{{agent=\"{agent}\",outcome=\"completed\",reason=\"\"}}");
    assert_eq!(value(&text, &turns), 1.0);
    let asks = format!("pilothouse_asks_total{{agent=\"{agent}\",event=\"asked\"}}");
    assert_eq!(value(&text, &asks), 1.0);
    let of_turns = format!("gen_ai_operation_name=\"invoke_agent\",gen_ai_agent_name=\"{agent}\"");
    let tokens =
        |kind| format!("gen_ai_client_token_usage_sum{{{of_turns},gen_ai_token_type=\"{kind}\"}}");
    assert_eq!(value(&text, &tokens("input")), 903.0);
    assert_eq!(value(&text, &tokens("output")), 30.0);
    let took = format!("gen_ai_client_operation_duration_seconds_count{{{of_turns}}}");
    assert!(value(&text, &took) >= 2.0);
    assert_eq!(value(&text, "pilothouse_store_works"), 1.0);
    assert!(!text.contains("secret"), "{text}");
    assert!(!text.contains(&asking), "{text}");
}

#[test]
fn sessions_streams_pushes_and_the_store_are_counted() {
    let hook = Webhook::start();
    let push = json!({"push": {"allow": ["127.0.0.1"]}});
    let world = World::describe().config(push).start();
    let mut params = message("cue go; exit 3");
    let url = hook.url("/");
    params["configuration"] = json!({"taskPushNotificationConfig": {"url": url}});
    let mut stream = world.stream("SendStreamingMessage", params);
    stream.until("the agent at work", |event| event.kind() == "task");
    let text = scrape(&world);
    for series in ["pilothouse_sessions", "pilothouse_sessions_busy", "pilothouse_streams"] {
        assert_eq!(value(&text, series), 1.0, "{series}\n{text}");
    }
    let guarantees = world.readiness()["isolation"]["guarantees"].as_array().unwrap().len();
    let guarantees = f64::from(u32::try_from(guarantees).unwrap());
    assert_eq!(value(&text, "pilothouse_sandbox_guarantees"), guarantees, "{text}");
    assert!(value(&text, "pilothouse_store_commit_seconds_count") > 0.0, "{text}");
    world.cue("go");
    stream.rest();
    hook.await_until("the end", |requests| {
        requests.last().is_some_and(|last| last.said() == "FAILED")
    });
    await_some("what was counted", PATIENCE, || {
        let text = scrape(&world);
        let failed =
            "pilothouse_turns_total{agent=\"fake\",outcome=\"failed\",reason=\"AGENT_FAILED\"} 1";
        let taken = text.contains("pilothouse_pushes_total{outcome=\"taken\"}");
        (text.contains(failed) && taken && value(&text, "pilothouse_streams") == 0.0).then_some(())
    });
}

#[test]
fn metrics_need_a_token_unless_they_are_public_and_are_not_there_when_off() {
    let status = |config| World::describe().config(config).start().get("/metrics", &[]).status;
    assert_eq!(status(json!({})), 401);
    assert_eq!(status(json!({"metrics": "public"})), 200);
    assert_eq!(status(json!({"metrics": "off"})), 404);
}

#[test]
fn the_board_and_the_alerts_ask_for_series_of_the_documentation() {
    let page = include_str!("../../docs/telemetry.md");
    let files = [
        include_str!("../../deploy/grafana/pilothouse.json"),
        include_str!("../../deploy/grafana/alerts.yaml"),
    ];
    serde_json::from_str::<serde_json::Value>(files[0]).unwrap();
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let mut count = 0;
    for word in files.iter().flat_map(|file| file.split(|c| !is_part(c))) {
        if word.starts_with("pilothouse_") || word.starts_with("gen_ai_client_") {
            let ends = ["_bucket", "_sum"];
            let base = ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            assert!(page.contains(&format!("`{base}`")), "docs/telemetry.md has no {word}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
