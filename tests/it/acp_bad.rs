//! Agents of the Agent Client Protocol that misbehave: what the caller is told, and what is left.
//!
//! The agent is `fake-agent --acp MODE`; the documentation of that package says what each mode does.

use crate::building::Builder;
use crate::http::Event;
use crate::processes::await_some;
use crate::reading::{
    answer, message, message_in, message_to, message_with, state, text_of, words,
};
use crate::world::{OWNER, PATIENCE, World};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A world whose agent behaves like this.
fn described(mode: &str) -> Builder {
    World::describe().agent(json!({
        "driver": "acp", "args": ["--acp", mode], "format": null, "asks": "ask",
    }))
}

fn world(mode: &str) -> World {
    described(mode).start()
}

/// State and words of a task.
fn end(task: &Value) -> (&str, String) {
    (state(task), words(task))
}

/// What the caller is told of a prompt that failed.
fn failed(world: &World, prompt: &str) -> String {
    let task = world.say(prompt);
    let (state, told) = end(&task);
    assert_eq!(state, "FAILED", "{task:#}");
    told
}

fn completed(task: &Value) -> String {
    assert_eq!(state(task), "COMPLETED", "{task:#}");
    answer(task)
}

/// Sends a prompt that ends up asking: the task that waits.
fn asks(world: &World) -> Value {
    let task = world.send(message_in("c", "go"));
    assert_eq!(state(&task), "INPUT_REQUIRED", "{task:#}");
    task
}

/// Answers what a task asks: the task when it is over or asks again.
fn reply(world: &World, task: &Value, part: Value) -> Value {
    let mut params = message_with(json!([part]));
    params["message"]["taskId"] = task["id"].clone();
    world.send(params)
}

fn open_asks(world: &World) -> usize {
    let headers = [("Authorization", &*format!("Bearer {OWNER}"))];
    let reply = world.get("/api/v1/asks", &headers).json();
    reply["asks"].as_array().unwrap().len()
}

/// The folder of the session of a context.
fn workspace(world: &World, context: &str) -> PathBuf {
    let owner = format!("Bearer {OWNER}");
    let path = format!("/api/v1/sessions/{context}");
    let session = world.get(&path, &[("Authorization", &owner)]).json();
    PathBuf::from(text_of(&session, "workspace"))
}

/// What the status of a task holds as data.
fn data(task: &Value) -> &Value {
    let parts = task["status"]["message"]["parts"].as_array().unwrap();
    parts.iter().find_map(|part| part.get("data")).unwrap()
}

// === an agent that behaves ===

#[test]
fn an_agent_that_behaves_answers_turn_after_turn_in_one_process() {
    let world = world("well");
    assert_eq!(completed(&world.send(message_in("c", "one"))), "echo: one");
    let agents = world.agents();
    assert_eq!(completed(&world.send(message_in("c", "two"))), "echo: two");
    assert_eq!(world.agents(), agents);
}

#[test]
fn a_cancel_is_confirmed_and_the_process_stays() {
    let world = world("well");
    let id = world.begin_with(message_in("c", "wait"));
    world.await_task(&id, "the first word", |task| answer(task) == "waiting");
    let agents = world.agents();
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!(completed(&world.send(message_in("c", "two"))), "echo: two");
    assert_eq!(world.agents(), agents);
}

// === agents that die ===

#[test]
fn one_that_dies_at_once_fails_the_task_with_its_last_words() {
    let told = failed(&world("dies-at-once"), "hello");
    assert!(told.contains("code 7: no licence was found"), "{told}");
}

#[test]
fn one_that_dies_in_the_middle_leaves_what_it_had_said() {
    let world = world("dies-in-the-middle");
    let task = world.say("hello");
    let (state, told) = end(&task);
    assert_eq!((state, answer(&task).as_str()), ("FAILED", "half of it"));
    assert!(told.contains("code 3: no ideas are left"), "{told}");
    world.await_no_agents();
}

#[test]
fn after_a_death_the_next_message_gets_a_new_process() {
    let world = world("dies-in-the-middle");
    for _ in 0..2 {
        let task = world.send(message_in("c", "hello"));
        assert_eq!((state(&task), answer(&task).as_str()), ("FAILED", "half of it"));
    }
}

// === agents that hang ===

#[test]
fn one_that_hangs_in_initialize_is_ended_by_a_cancel() {
    let world = world("hangs-in-initialize");
    let id = world.begin("hello");
    await_some("the agent", PATIENCE, || world.agents().pop());
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    world.await_no_agents();
}

#[test]
fn one_that_hangs_in_initialize_is_ended_by_the_time_of_the_turn() {
    let world =
        described("hangs-in-initialize").config(json!({"timeouts": {"turn": "1s"}})).start();
    let told = failed(&world, "hello");
    assert!(told.contains("1 s") || told.contains("time"), "{told}");
    world.await_no_agents();
}

#[test]
fn one_that_hangs_in_its_prompt_and_hears_no_cancel_is_killed() {
    let world = described("hangs-in-prompt")
        .config(json!({"timeouts": {"interrupt": "200ms", "terminate": "200ms"}}))
        .start();
    let id = world.begin("hello");
    world.await_task(&id, "the first word", |task| answer(task) == "waiting");
    assert_eq!(state(&world.rpc("CancelTask", json!({"id": id}))), "CANCELED");
    assert_eq!(world.agents(), []);
}

#[test]
fn one_that_hangs_does_not_keep_the_server_from_stopping() {
    let mut world = world("hangs-in-prompt");
    let id = world.begin("hello");
    world.await_task(&id, "the first word", |task| answer(task) == "waiting");
    assert!(world.stop().success());
}

// === agents that say too much, or nothing that makes sense ===

#[test]
fn a_flood_arrives_whole() {
    let world = described("floods").config(json!({"limits": {"response": "8MiB"}})).start();
    let told = completed(&world.say("hello"));
    assert_eq!(told.len(), 4_000_000);
}

#[test]
fn a_text_above_the_limit_of_a_line_is_cut_and_says_which_limit() {
    let told = completed(&world("long-line").say("hello"));
    assert!(told.starts_with("xxx") && told.ends_with("a line]"), "{}", told.len());
}

#[test]
fn a_line_above_the_longest_fails_the_turn_and_says_which_limit() {
    let limits = json!({"limits": {"longest_line": "4MiB"}});
    let told = failed(&described("long-line").config(limits).start(), "hello");
    assert!(told.contains("`limits.longest_line`"), "{told}");
}

#[test]
fn nonsense_is_passed_over_and_senseless_requests_are_refused() {
    let world = world("nonsense");
    for _ in 0..2 {
        let task = world.send(message_in("c", "hello"));
        assert_eq!(completed(&task), "refused: -32601 -32602");
    }
}

#[test]
fn answers_to_requests_that_nobody_made_change_nothing() {
    let world = world("unknown-ids");
    for text in ["one", "two"] {
        let task = world.send(message_in("c", text));
        assert_eq!(completed(&task), format!("echo: {text}"));
    }
}

#[test]
fn words_of_a_session_that_is_not_open_are_not_the_answer() {
    assert_eq!(completed(&world("other-session").say("hello")), "mine");
}

#[test]
fn what_is_said_and_asked_after_the_turn_belongs_to_no_task() {
    let world = world("talks-after");
    let task = world.send(message_in("c", "one"));
    let told = workspace(&world, "c").join("told");
    await_some("the answer to the ask", PATIENCE, || {
        let told = std::fs::read_to_string(&told).ok();
        told.filter(|told| told == r#"{"outcome":{"outcome":"cancelled"}}"#)
    });
    assert_eq!(open_asks(&world), 0);
    assert_eq!(answer(&world.task(text_of(&task, "id"))), "echo: one");
    assert_eq!(completed(&world.send(message_in("c", "two"))), "echo: two");
}

// === agents that refuse ===

#[test]
fn one_that_wants_a_sign_in_names_what_the_operator_can_set() {
    let told = failed(&world("login"), "hello");
    assert!(told.contains("sign in first") && told.contains("by-hand"), "{told}");
}

#[test]
fn one_of_another_version_says_both_versions() {
    let told = failed(&world("version"), "hello");
    assert!(told.contains("version 9") && told.contains("not 1"), "{told}");
}

#[test]
fn one_that_refuses_rejects_the_task() {
    assert_eq!(state(&world("refuses").say("hello")), "REJECTED");
}

#[test]
fn one_that_gives_up_by_itself_has_failed() {
    let told = failed(&world("gives-up"), "hello");
    assert!(told.contains("gave the turn up by itself"), "{told}");
}

// === agents that ask ===

#[test]
fn a_permission_shows_the_tool_its_input_and_the_agent_s_own_options() {
    let world = world("asks");
    let task = asks(&world);
    let ask = data(&task);
    assert_eq!(ask["input"]["rawInput"], json!({"command": "rm -r build"}), "{ask:#}");
    let own = ask["input"]["options"].as_array().unwrap();
    let ids: Vec<_> = own.iter().map(|option| text_of(option, "optionId")).collect();
    assert_eq!(ids, ["for-ever", "this-once", "not-now"]);
}

#[test]
fn each_answer_chooses_the_option_that_it_means() {
    let world = world("asks");
    for (part, option) in [
        (json!({"text": "allow"}), "this-once"),
        (json!({"text": "deny: no"}), "not-now"),
        (json!({"data": {"decision": "allow"}}), "this-once"),
        (json!({"data": {"decision": "deny", "reason": "no"}}), "not-now"),
        (json!({"data": {"optionId": "for-ever"}}), "for-ever"),
        (json!({"data": {"decision": "not-now"}}), "not-now"),
    ] {
        let task = reply(&world, &asks(&world), part.clone());
        assert_eq!(completed(&task), format!("chosen: {option}"), "{part}");
    }
}

#[test]
fn words_permit_only_where_they_are_the_whole_text_and_all_others_refuse() {
    let world = world("asks");
    for (text, option) in [
        (" Yes\n", "this-once"),
        ("ALLOW", "this-once"),
        ("no", "not-now"),
        ("ok", "not-now"),
        ("yes, and run the tests", "not-now"),
        ("allow: all of it", "not-now"),
    ] {
        let task = reply(&world, &asks(&world), json!({"text": text}));
        assert_eq!(completed(&task), format!("chosen: {option}"), "{text}");
    }
}

#[test]
fn a_caller_whose_words_refuse_hears_that_they_do() {
    let world = world("asks");
    let said = |text: &str| {
        let task = asks(&world);
        let events = world.stream("SendStreamingMessage", message_to(text_of(&task, "id"), text));
        let told: Vec<_> = events.rest().iter().map(Event::words).collect();
        told.iter().any(|words| words.contains("taken as a refusal"))
    };
    assert!(said("rather use the other file"));
    assert!(!said("deny: use the other file"));
    assert!(!said("yes"));
}

#[test]
fn an_operator_may_take_the_words_that_people_write_too() {
    let world = described("asks").config(json!({"asks": {"words": "common"}})).start();
    for (text, option) in
        [("ok.", "this-once"), ("Approve", "this-once"), ("n: not now", "not-now")]
    {
        let task = reply(&world, &asks(&world), json!({"text": text}));
        assert_eq!(completed(&task), format!("chosen: {option}"), "{text}");
    }
}

#[test]
fn a_tool_that_is_allowed_for_the_session_is_asked_once_and_never_gets_a_standing_permission() {
    let world = world("asks");
    let allowed = json!({"data": {"decision": "allow_session"}});
    let task = reply(&world, &asks(&world), allowed);
    assert_eq!(completed(&task), "chosen: this-once");
    let task = world.send(message_in("c", "again"));
    assert_eq!(completed(&task), "chosen: this-once");
}

#[test]
fn an_option_that_the_agent_does_not_offer_is_refused_and_the_task_goes_on_waiting() {
    let world = world("asks");
    let task = asks(&world);
    let mut params = message_with(json!([{"data": {"optionId": "whatever"}}]));
    params["message"]["taskId"] = task["id"].clone();
    let error = world.error("SendMessage", params);
    assert!(error.to_string().contains("this-once"), "{error}");
    assert_eq!(completed(&reply(&world, &task, json!({"text": "allow"}))), "chosen: this-once");
}

#[test]
fn a_policy_answers_without_a_person() {
    for (policy, option) in [("allow", "this-once"), ("deny", "not-now")] {
        let world = described("asks").agent(json!({"asks": policy})).start();
        assert_eq!(completed(&world.say("go")), format!("chosen: {option}"));
    }
}

#[test]
fn a_cancel_while_it_asks_is_told_to_the_agent_and_the_ask_is_gone() {
    let world = world("asks");
    let task = asks(&world);
    let agents = world.agents();
    let task = world.rpc("CancelTask", json!({"id": task["id"]}));
    assert_eq!((state(&task), open_asks(&world)), ("CANCELED", 0));
    assert_eq!(world.agents(), agents);
}

#[test]
fn a_withdrawn_ask_is_gone_and_the_turn_goes_on() {
    let world = world("withdraws");
    let task = asks(&world);
    assert_eq!(open_asks(&world), 1);
    world.cue("withdraw");
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED", "FAILED"]);
    assert_eq!((completed(&task).as_str(), open_asks(&world)), ("withdrawn: -32800", 0));
}

#[test]
fn what_an_agent_says_while_it_asks_is_kept_though_its_turn_ends_without_an_answer() {
    let world = world("asks-and-ends");
    let task = asks(&world);
    world.cue("end");
    let task = world.await_state(text_of(&task, "id"), &["COMPLETED", "FAILED"]);
    assert_eq!((completed(&task).as_str(), open_asks(&world)), ("said while it asked", 0));
    let store = rusqlite::Connection::open(world.path("state").join("pilothouse.db")).unwrap();
    let rows = store
        .query_row("SELECT count(*) FROM asks WHERE state <= 2", [], |row| row.get::<_, i64>(0));
    assert_eq!(rows.unwrap(), 0, "an ask that nobody may answer is stored");
}

#[test]
fn open_asks_stop_the_clock_of_a_turn_for_so_long_and_no_longer() {
    let bounds = json!({"timeouts": {"turn": "2s"}, "asks": {"pause": "1ms"}});
    let world = described("withdraws").config(bounds).start();
    let id = world.begin_with(message_in("c", "go"));
    let task = world.await_state(&id, &["COMPLETED", "FAILED"]);
    let (state, told) = end(&task);
    assert_eq!((state, open_asks(&world)), ("FAILED", 0), "{task:#}");
    assert!(told.contains("longer than 2s"), "{told}");
}

#[test]
fn no_process_is_started_ahead_where_a_session_script_has_to_run_first() {
    let world = described("well").file(".init-session.sh", 0o755, "#!/bin/sh\n");
    let world = world.config(json!({"agents": {"fake": {"warm": 1}}})).start();
    await_some("the warning", world.patience(), || {
        world.stderr().contains("`agents.fake.warm` is without effect").then_some(())
    });
    assert_eq!(world.agents(), []);
}

#[test]
fn a_form_is_a_question_with_its_choices() {
    let world = world("elicits");
    let task = asks(&world);
    let ask = data(&task);
    assert_eq!(ask["kind"], "question", "{ask:#}");
    let told = words(&task);
    assert!(["Which colour?", "red", "green"].iter().all(|word| told.contains(word)), "{told}");
}

#[test]
fn a_form_is_filled_in_by_words_and_by_its_fields() {
    let world = world("elicits");
    for (part, expected) in [
        (json!({"text": "Green"}), json!({"colour": "green"})),
        (json!({"data": {"answer": "red"}}), json!({"colour": "red"})),
        (
            json!({"data": {"answers": {"Colour": "red", "remark": "dark"}}}),
            json!({"colour": "red", "remark": "dark"}),
        ),
    ] {
        let told = completed(&reply(&world, &asks(&world), part.clone()));
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told, json!({"action": "accept", "content": expected}), "{part}");
    }
}

#[test]
fn the_stream_shows_the_ask_and_ends_there() {
    let world = world("asks");
    let events = world.stream("SendStreamingMessage", message("go")).rest();
    assert_eq!(events.last().and_then(Event::state), Some("INPUT_REQUIRED"), "{events:#?}");
}

#[test]
fn declared_mcp_servers_are_parameters_of_the_session_with_the_values_of_their_variables() {
    let declared = json!({"mcp": {"bank": {
        "command": "bank", "args": ["--mode", "${MODE:-fast}"], "env": {"BANK_TOKEN": "${BANK_TOKEN}"},
    }}});
    let world = described("well")
        .env("BANK_TOKEN", "b-1")
        .agent(json!({"env": {"pass": ["BANK_TOKEN"]}, "setup": declared}))
        .start();
    let task = world.send(message_in("c", "go"));
    completed(&task);
    let path = "/api/v1/sessions/c";
    let session = world.get(path, &[("Authorization", &*format!("Bearer {OWNER}"))]).json();
    let told =
        std::fs::read(PathBuf::from(text_of(&session, "workspace")).join("servers")).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    let environment = json!([{"name": "BANK_TOKEN", "value": "b-1"}]);
    assert_eq!(
        told,
        json!([{"name": "bank", "command": "bank", "args": ["--mode", "fast"], "env": environment}])
    );
    let setup = &task["metadata"]["setup"];
    let bank = json!([{"kind": "mcp-server", "name": "bank", "level": "delivered"}]);
    assert_eq!(setup["declared"], bank, "{task:#}");
}

#[test]
fn a_server_that_the_agent_cannot_reach_fails_the_turn_or_is_left_out_where_the_operator_says_so() {
    let mcp = json!({"far": {"url": "http://127.0.0.1:9/mcp"}});
    let strict = described("well").agent(json!({"setup": {"mcp": mcp}})).start();
    let told = failed(&strict, "go");
    assert!(told.contains("`far`") && told.contains("setup.lenient"), "{told}");
    let lenient = described("well").agent(json!({"setup": {"mcp": mcp, "lenient": true}})).start();
    let task = lenient.say("go");
    completed(&task);
    let problems = &task["metadata"]["problems"];
    assert_eq!(
        (&problems[0]["kind"], &problems[0]["subject"], &problems[0]["state"]),
        (&json!("setup"), &json!("MCP server far"), &json!("declared")),
        "{task:#}"
    );
}

#[test]
fn a_field_that_the_driver_cannot_keep_is_refused_at_the_start_by_its_name() {
    let failure = described("well").agent(json!({"setup": {"skills": ["skills"]}})).fails();
    let told = failure.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("`agents.fake.setup.skills`") && told.contains("driver `acp`"), "{told}");
}
