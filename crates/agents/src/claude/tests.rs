//! The driver as a whole, line by line.

use super::*;
use crate::{AskKind, Usage};
use serde_json::Value;

fn driver() -> Claude {
    Claude::new(ClaudeOptions::default())
}

fn turn(text: &str) -> Turn {
    Turn {
        text: text.to_owned(),
        task_id: "t".to_owned(),
        message_id: "m".to_owned(),
        ..Turn::default()
    }
}

fn setting() -> Setting {
    Setting {
        workspace: "/w".to_owned(),
        home: "/h/".to_owned(),
        resume: None,
        fork: false,
        new_conversation: "0190-new".to_owned(),
    }
}

const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s","model":"big"}"#;

fn result(text: &str, total: f64) -> String {
    json!({ "type": "result", "subtype": "success", "is_error": false, "result": text, "total_cost_usd": total })
        .to_string()
}

fn aborted() -> String {
    json!({ "type": "result", "subtype": "error_during_execution", "is_error": true, "terminal_reason": "aborted_streaming" })
        .to_string()
}

fn hear(driver: &mut Claude, lines: &[&str]) -> Vec<Step> {
    lines.iter().flat_map(|line| driver.line(line.as_bytes())).collect()
}

fn outcomes(steps: &[Step]) -> Vec<&Outcome> {
    let ends = steps.iter().filter_map(|step| match step {
        Step::End(outcome) => Some(outcome),
        _ => None,
    });
    ends.collect()
}

fn said(steps: &[Step]) -> Vec<&Event> {
    let events = steps.iter().filter_map(|step| match step {
        Step::Say(event) => Some(event),
        _ => None,
    });
    events.collect()
}

fn completed(text: &str) -> Outcome {
    Outcome::Completed { answer: Some(text.to_owned()) }
}

fn written(steps: &[Step]) -> Vec<Value> {
    let lines = steps.iter().filter_map(|step| match step {
        Step::Write(bytes) => Some(serde_json::from_slice(bytes).unwrap()),
        _ => None,
    });
    lines.collect()
}

fn delta(kind: &str, text: &str) -> String {
    json!({
        "type": "stream_event",
        "event": { "type": "content_block_delta", "index": 0, "delta": { "type": format!("{kind}_delta"), kind: text } },
        "parent_tool_use_id": null,
    })
    .to_string()
}

fn message_start(id: &str) -> String {
    json!({ "type": "stream_event", "event": { "type": "message_start", "message": { "id": id } } })
        .to_string()
}

fn assistant(id: &str, block: Value) -> String {
    json!({ "type": "assistant", "message": { "id": id, "content": [block] }, "parent_tool_use_id": null }).to_string()
}

fn permission(id: &str) -> String {
    json!({
        "type": "control_request",
        "request_id": id,
        "request": { "subtype": "can_use_tool", "tool_name": "Bash", "input": { "command": "ls" }, "tool_use_id": "u" },
    })
    .to_string()
}

#[test]
fn a_new_conversation_gets_our_id_and_a_known_one_is_resumed() {
    let new = driver().launch(&setting(), &Turn::default()).unwrap();
    assert_eq!(new.args[new.args.len() - 2..], ["--session-id", "0190-new"]);
    let setting = Setting { resume: Some("old".to_owned()), ..setting() };
    let resumed = driver().launch(&setting, &Turn::default()).unwrap();
    assert_eq!(resumed.args[resumed.args.len() - 2..], ["--resume", "old"]);
}

#[test]
fn the_launch_is_as_documented() {
    let launch = driver().launch(&setting(), &Turn::default()).unwrap();
    let env: Vec<String> =
        launch.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    insta::assert_snapshot!(format!("{}\n{}", launch.args.join(" "), env.join("\n")), @r#"
    -p --input-format stream-json --output-format stream-json --verbose --include-partial-messages --permission-prompt-tool stdio --permission-mode acceptEdits --include-hook-events --disallowedTools CronCreate,CronDelete,CronList,ScheduleWakeup,Monitor --settings {"enableAllProjectMcpServers":true,"useAutoModeDuringPlan":false} --session-id 0190-new
    CLAUDE_CONFIG_DIR=/h/.claude
    CLAUDE_CODE_MAX_RETRIES=3
    CLAUDE_CODE_DISABLE_CRON=1
    CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS=1
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
    DISABLE_TELEMETRY=1
    DISABLE_ERROR_REPORTING=1
    DISABLE_AUTOUPDATER=1
    "#);
}

#[test]
fn an_argument_that_the_driver_lives_by_is_refused() {
    let args = vec!["--model".to_owned(), "x".to_owned(), "--output-format=json".to_owned()];
    let mut driver = Claude::new(ClaudeOptions { args, ..ClaudeOptions::default() });
    let refusal = driver.launch(&setting(), &Turn::default()).unwrap_err();
    assert_eq!(
        refusal.0,
        "`--output-format=json` is set by the claude driver; remove it from the agent's arguments"
    );
}

#[test]
fn an_empty_message_is_refused() {
    assert!(driver().check(&turn(" \n")).is_err());
}

#[test]
fn the_cost_is_the_turns_own() {
    let mut driver = driver();
    let mut cost = |total| {
        driver.begin(&turn("x"));
        let steps = hear(&mut driver, &[INIT, &result("", total)]);
        let usage = said(&steps).into_iter().find_map(|event| match event {
            Event::Usage(Usage { cost_usd, .. }) => *cost_usd,
            _ => None,
        });
        usage.unwrap()
    };
    assert_eq!((cost(0.1), cost(0.3), cost(0.05)), (0.1, 0.2, 0.05));
}

#[test]
fn a_second_result_of_an_interrupted_turn_does_not_end_the_next() {
    let mut driver = driver();
    driver.begin(&turn("one"));
    hear(&mut driver, &[INIT]);
    driver.interrupt();
    assert_eq!(outcomes(&hear(&mut driver, &[&aborted()])), [&Outcome::Canceled]);
    driver.begin(&turn("two"));
    let stale = hear(
        &mut driver,
        &[&assistant("m1", json!({ "type": "text", "text": "old" })), &aborted()],
    );
    assert!(stale.iter().all(|step| matches!(step, Step::Say(Event::Raw(_)))), "{stale:?}");
    assert_eq!(outcomes(&hear(&mut driver, &[INIT, &result("new", 0.0)])), [&completed("new")]);
}

#[test]
fn an_interrupt_that_the_answer_overtakes_completes() {
    let mut driver = driver();
    driver.begin(&turn("one"));
    hear(&mut driver, &[INIT]);
    driver.interrupt();
    assert_eq!(outcomes(&hear(&mut driver, &[&result("done", 0.0)])), [&completed("done")]);
}

#[test]
fn an_interrupt_before_the_turn_began_is_said_again_when_it_does() {
    let mut driver = driver();
    driver.begin(&turn("one"));
    assert_eq!(written(&driver.interrupt()).len(), 1);
    assert_eq!(written(&hear(&mut driver, &[INIT]))[0]["request"]["subtype"], "interrupt");
    assert_eq!(written(&hear(&mut driver, &[INIT])).len(), 0);
}

#[test]
fn the_result_of_a_turn_that_the_cli_began_by_itself_does_not_end_ours() {
    let mut driver = driver();
    let uuid = written(&driver.begin(&turn("one")))[0]["uuid"].clone();
    let lifecycle = |state| {
        json!({ "type": "command_lifecycle", "command_uuid": uuid, "state": state }).to_string()
    };
    let other = hear(&mut driver, &[&lifecycle("queued"), INIT, &result("its own", 0.0)]);
    assert_eq!(outcomes(&other), [] as [&Outcome; 0]);
    // The CLI goes on with its own turn only when it is answered, so the open task is asked.
    let asked = hear(&mut driver, &[&permission("p")]);
    assert!(matches!(asked[..], [Step::Ask(_)]), "{asked:?}");
    let ours = hear(&mut driver, &[&lifecycle("started"), INIT, &result("ours", 0.0)]);
    assert_eq!(outcomes(&ours), [&completed("ours")]);
}

#[test]
fn a_result_that_names_our_message_ends_our_turn_wherever_it_stood_in_the_queue() {
    let mut driver = driver();
    let uuid = written(&driver.begin(&turn("one")))[0]["uuid"].clone();
    let queued = json!({ "type": "command_lifecycle", "command_uuid": uuid, "state": "queued" });
    let result = json!({ "type": "result", "is_error": false, "result": "ours", "user_message_uuids": [uuid] });
    let steps = hear(&mut driver, &[&queued.to_string(), &result.to_string()]);
    assert_eq!(outcomes(&steps), [&completed("ours")]);
}

#[test]
fn what_is_said_while_no_turn_is_open_is_raw() {
    let mut driver = driver();
    let steps = hear(
        &mut driver,
        &[&assistant("m", json!({ "type": "text", "text": "x" })), &result("x", 1.0)],
    );
    assert!(steps.iter().all(|step| matches!(step, Step::Say(Event::Raw(_)))) && steps.len() == 2);
}

#[test]
fn a_conversation_lost_before_the_first_turn_is_told_when_it_begins() {
    let mut driver = driver();
    let lost = r#"{"type":"result","is_error":true,"errors":["No conversation found with session ID: s"]}"#;
    hear(&mut driver, &[lost]);
    assert_eq!(driver.begin(&turn("x")), [Step::End(Outcome::ConversationLost)]);
}

#[test]
fn thoughts_stream_and_are_not_said_twice() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let block = assistant("m", json!({ "type": "thinking", "thinking": "hm" }));
    let steps = hear(&mut driver, &[&message_start("m"), &delta("thinking", "hm"), &block]);
    assert_eq!(said(&steps), [&Event::Thought("hm".to_owned())]);
}

#[test]
fn the_text_of_a_further_message_is_a_paragraph_of_its_own() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let lines = [
        message_start("1"),
        delta("text", "a"),
        delta("text", "b"),
        message_start("2"),
        delta("text", "c"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let steps = hear(&mut driver, &lines);
    let text = |text: &str| Event::Text(text.to_owned());
    assert_eq!(said(&steps), [&text("a"), &text("b"), &text("\n\nc")]);
}

#[test]
fn sub_agents_show_their_tools_but_not_their_words() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let line = json!({
        "type": "assistant",
        "message": { "id": "m", "content": [
            { "type": "text", "text": "inner" },
            { "type": "tool_use", "id": "u", "name": "Read", "input": {} },
        ] },
        "parent_tool_use_id": "task-1",
    });
    let steps = hear(&mut driver, &[&line.to_string()]);
    assert!(matches!(said(&steps)[..], [Event::ToolCall { name, .. }] if name == "Read"));
}

#[test]
fn a_to_do_list_is_a_plan_too() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let call =
        json!({ "type": "tool_use", "id": "u", "name": "TodoWrite", "input": { "todos": [1] } });
    let steps = hear(&mut driver, &[&assistant("m", call)]);
    assert!(
        matches!(said(&steps)[..], [Event::ToolCall { .. }, Event::Plan(plan)] if *plan == json!([1]))
    );
}

#[test]
fn a_long_tool_result_is_cut_with_a_note() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let blocks =
        json!([{ "type": "text", "text": "x".repeat(20_000) }, { "type": "image", "source": {} }]);
    let result = json!({ "type": "tool_result", "tool_use_id": "u", "content": blocks });
    let line = json!({ "type": "user", "message": { "content": [result] } }).to_string();
    let steps = hear(&mut driver, &[&line]);
    let [Event::ToolResult { content, .. }] = said(&steps)[..] else { panic!("{steps:?}") };
    assert!(content.ends_with("[3624 more bytes left out]"), "{}", &content[16_000..]);
}

#[test]
fn unknown_lines_are_counted_and_raw() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let steps = hear(&mut driver, &["not json", r#"{"type":"new_thing"}"#, "[]", ""]);
    assert_eq!((said(&steps).len(), driver.unknown()), (3, 3));
}

#[test]
fn asks_still_open_at_the_end_are_withdrawn_and_declined() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let asked = hear(&mut driver, &[INIT, &permission("p")]);
    assert!(
        matches!(asked.last(), Some(Step::Ask(ask)) if matches!(ask.kind, AskKind::Permission { .. }))
    );
    let steps = hear(&mut driver, &[&result("", 0.0)]);
    assert!(steps.contains(&Step::Withdraw("p".to_owned())));
    let declined = &written(&steps)[0]["response"];
    assert_eq!(declined["request_id"], "p");
    assert_eq!(declined["response"]["behavior"], "deny");
    assert_eq!(driver.answer("p", &Answer::Allow { input: None }), []);
}

#[test]
fn an_exit_within_an_interrupted_turn_is_a_cancel() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    driver.interrupt();
    let exit = Exit { code: Some(143), ..Exit::default() };
    assert_eq!(driver.exit(&exit), [Step::End(Outcome::Canceled)]);
    assert_eq!(driver.exit(&exit), []);
}

#[test]
fn a_result_that_cannot_be_read_still_ends_the_turn() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let steps = hear(&mut driver, &[INIT, r#"{"type":"result","is_error":true,"is_error":false}"#]);
    assert!(matches!(outcomes(&steps)[..], [Outcome::Failed { .. }]));
}

#[test]
fn a_field_of_a_result_that_cannot_be_read_costs_no_other_one() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let result = format!(
        r#"{{"type":"result","num_turns":"many","structured_output":{deep},"total_cost_usd":0.5,"result":"all of it"}}"#
    );
    let steps = hear(&mut driver, &[INIT, &result]);
    let answer = Some("all of it".to_owned());
    assert_eq!(outcomes(&steps)[..], [&Outcome::Completed { answer }]);
    let used = steps.iter().find_map(|step| match step {
        Step::Say(Event::Usage(usage)) => usage.cost_usd,
        _ => None,
    });
    assert_eq!(used, Some(0.5));
}

#[test]
fn a_transcript_is_found_by_the_conversations_id_alone() {
    assert_eq!(driver().transcript("ab-1").as_deref(), Some(".claude/projects/*/ab-1.jsonl"));
    assert_eq!(driver().transcript("../x"), None);
}

/// The result of a turn that the model API refused.
fn refused(status: u64) -> String {
    json!({
        "type": "result",
        "is_error": true,
        "terminal_reason": "api_error",
        "api_error_status": status,
        "total_cost_usd": 0,
        "result": format!("API Error: {status}"),
    })
    .to_string()
}

#[test]
fn a_turn_that_an_overloaded_model_refused_may_be_given_again() {
    for (status, again) in [(429, true), (529, true), (500, false), (401, false)] {
        let mut driver = driver();
        driver.begin(&turn("x"));
        hear(&mut driver, &[INIT, &refused(status)]);
        assert_eq!(driver.may_repeat(), again, "{status}");
    }
}

#[test]
fn a_turn_of_which_something_came_is_not_given_again() {
    let tool = json!({ "type": "tool_use", "id": "t", "name": "Bash", "input": {} });
    for act in [delta("text", "a word"), assistant("m", tool), permission("p")] {
        let mut driver = driver();
        driver.begin(&turn("x"));
        hear(&mut driver, &[INIT, &act, &refused(529)]);
        assert!(!driver.may_repeat(), "{act}");
    }
}

#[test]
fn what_a_turn_uses_is_told_while_it_runs() {
    let event = |event: Value| json!({ "type": "stream_event", "event": event }).to_string();
    let start = event(json!({
        "type": "message_start",
        "message": { "id": "m1", "usage": { "input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1 } },
    }));
    let end =
        event(json!({ "type": "message_delta", "delta": {}, "usage": { "output_tokens": 7 } }));
    let helper = json!({
        "type": "assistant",
        "parent_tool_use_id": "t",
        "message": { "id": "m2", "content": [], "usage": { "input_tokens": 100, "output_tokens": 2 } },
    })
    .to_string();
    let mut driver = driver();
    driver.begin(&turn("x"));
    let steps = hear(&mut driver, &[INIT, &start, &end, &helper, &helper]);
    let sums: Vec<_> = said(&steps)
        .into_iter()
        .filter_map(|event| match event {
            Event::Usage(usage) => Some((usage.input_tokens?, usage.output_tokens?)),
            _ => None,
        })
        .collect();
    assert_eq!(sums, [(10, 1), (10, 7), (110, 9)]);
}

#[test]
fn a_process_that_says_what_it_offers_starts_no_hooks_and_no_servers() {
    let setup = ClaudeSetup {
        mcp_file: Some("/mcp.json".to_owned()),
        plugins: vec!["/plugin".to_owned()],
        ..ClaudeSetup::default()
    };
    let mut driver = Claude::new(ClaudeOptions { setup, ..ClaudeOptions::default() });
    let args = driver.launch_inquiry(&Setting::default(), Inquiry::Offers).unwrap().args;
    assert!(args.iter().any(|arg| arg.contains(r#""disableAllHooks":true"#)), "{args:?}");
    assert_eq!(args.last().unwrap(), "--strict-mcp-config");
    assert!(args.contains(&"/plugin".to_owned()) && !args.contains(&"/mcp.json".to_owned()));
}

#[test]
fn every_option_of_a_launch_is_compared_with_the_help_of_the_cli() {
    let setup = ClaudeSetup {
        mcp_file: Some("/mcp.json".to_owned()),
        plugins: vec!["/plugin".to_owned()],
        ..ClaudeSetup::default()
    };
    let mut driver = Claude::new(ClaudeOptions {
        setup,
        model: Some("big".to_owned()),
        system_prompt: Some("be brief".to_owned()),
        disallowed_tools: vec!["Bash".to_owned()],
        partial_messages: true,
        ..ClaudeOptions::default()
    });
    let fork = Setting { resume: Some("old".to_owned()), fork: true, ..Setting::default() };
    let mut used = driver.launch(&fork, &Turn::default()).unwrap().args;
    used.extend(driver.launch_inquiry(&fork, Inquiry::Offers).unwrap().args);
    let options: BTreeSet<_> = used.iter().filter(|word| word.starts_with("--")).collect();
    assert!(options.len() > 15, "{options:?}");
    for option in options {
        assert!(inventory::is_listed(option), "{option}");
    }
}

/// The outcome of a turn in which these lines come before the result.
fn outcome_after(lines: &[Value], result: &Value) -> Outcome {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let lines = lines.iter().chain([result]).map(ToString::to_string);
    let steps: Vec<Step> = lines.flat_map(|line| driver.line(line.as_bytes())).collect();
    outcomes(&steps)[0].clone()
}

fn hook_ended(more: Value) -> Value {
    let mut line = json!({ "type": "system", "subtype": "hook_response", "hook_id": "h", "hook_name": "Stop" });
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line
}

#[test]
fn a_prompt_that_a_hook_blocked_is_rejected_and_a_turn_that_one_stopped_has_failed() {
    let done = json!({ "type": "result", "is_error": false, "result": "words" });
    let outcome = |kind: &str| {
        json!({
            "type": "system", "subtype": "informational", "content": "long", "level": "warning",
            "prevent_continuation": true, "prompt_submit_outcome": { "kind": kind, "reason": "why" },
        })
    };
    let blocked = outcome_after(&[outcome("blocked_by_hook")], &done);
    assert_eq!(
        blocked,
        Outcome::Rejected { message: "a hook refused the message: why".to_owned() }
    );
    let stopped = |outcome| match outcome {
        Outcome::Failed { message, .. } => message,
        other => panic!("{other:?}"),
    };
    let at_prompt = stopped(outcome_after(&[outcome("stopped_by_hook")], &done));
    assert_eq!(at_prompt, "a hook stopped the turn: why");
    let said = hook_ended(
        json!({ "outcome": "success", "stdout": "{\"continue\":false,\"stopReason\":\"enough\"}\n" }),
    );
    for reason in ["hook_stopped", "stop_hook_prevented"] {
        let done =
            json!({ "type": "result", "is_error": false, "result": "", "terminal_reason": reason });
        assert_eq!(
            stopped(outcome_after(std::slice::from_ref(&said), &done)),
            "a hook stopped the turn: enough"
        );
        assert_eq!(
            stopped(outcome_after(&[], &done)),
            "a hook stopped the turn and gave no reason"
        );
    }
}

#[test]
fn hooks_that_fail_or_are_ended_are_problems_and_those_that_block_are_told() {
    for (line, told, is_problem) in [
        (
            json!({ "outcome": "error", "exit_code": 1, "stderr": "boo\n" }),
            "the hook Stop failed with exit code 1: boo",
            true,
        ),
        (
            json!({ "outcome": "cancelled", "exit_code": 1 }),
            "the hook Stop did not end in its time and was ended",
            true,
        ),
        (
            json!({ "outcome": "error", "exit_code": 2, "stderr": "not this" }),
            "the hook Stop blocked this: not this",
            false,
        ),
    ] {
        let mut driver = driver();
        driver.begin(&turn("x"));
        let steps = hear(&mut driver, &[&hook_ended(line).to_string()]);
        match said(&steps)[..] {
            [Event::Problem(problem)] => {
                assert_eq!((problem.text.as_str(), true), (told, is_problem));
            }
            [Event::Status { text, .. }] => assert_eq!((text.as_str(), false), (told, is_problem)),
            _ => panic!("{steps:?}"),
        }
    }
}

#[test]
fn a_hook_that_takes_long_is_told_once() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let started = r#"{"type":"system","subtype":"hook_started","hook_id":"h","hook_name":"PostToolUse:Bash"}"#;
    assert!(matches!(hear(&mut driver, &[started])[..], [Step::Wake(..)]));
    let steps = driver.woke(Timer::Hooks);
    assert!(
        matches!(said(&steps)[..], [Event::Problem(problem)] if problem.state == "slow"),
        "{steps:?}"
    );
    assert_eq!(driver.woke(Timer::Hooks), []);
}

#[test]
fn a_hook_that_began_after_another_one_is_slow_by_its_own_time() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let started = |id: &str| {
        json!({ "type": "system", "subtype": "hook_started", "hook_id": id, "hook_name": id })
            .to_string()
    };
    assert!(matches!(hear(&mut driver, &[&started("a")])[..], [Step::Wake(Timer::Hooks, _)]));
    assert_eq!(hear(&mut driver, &[&started("b")]), []);
    let told = |steps: &[Step]| match said(steps)[..] {
        [Event::Problem(problem)] => problem.subject.clone(),
        _ => panic!("{steps:?}"),
    };
    let steps = driver.woke(Timer::Hooks);
    assert_eq!(told(&steps), "a");
    assert!(matches!(steps.last(), Some(Step::Wake(Timer::Hooks, _))), "{steps:?}");
    let steps = driver.woke(Timer::Hooks);
    assert_eq!((told(&steps), steps.len()), ("b".to_owned(), 1));
}

#[test]
fn a_hook_runs_until_the_cli_says_that_it_has_ended() {
    let mut driver = driver();
    let uuid = written(&driver.begin(&turn("x")))[0]["uuid"].clone();
    let started =
        r#"{"type":"system","subtype":"hook_started","hook_id":"h","hook_name":"SessionStart"}"#;
    hear(&mut driver, &[started]);
    driver.woke(Timer::Hooks);
    assert!(driver.runs_hooks());
    // Meanwhile the CLI may have begun to work on something else.
    let queued = json!({ "type": "command_lifecycle", "command_uuid": uuid, "state": "queued" });
    let ended = hook_ended(json!({ "outcome": "success" }));
    hear(&mut driver, &[&queued.to_string(), &ended.to_string()]);
    assert!(!driver.runs_hooks());
}

#[test]
fn notices_of_level_warning_and_above_are_told_and_others_are_raw() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let notice = |level: &str| {
        json!({ "type": "system", "subtype": "informational", "content": "words", "level": level })
            .to_string()
    };
    let priority = |priority: &str| {
        json!({ "type": "system", "subtype": "notification", "key": "k", "text": "words", "priority": priority }).to_string()
    };
    let lines = [notice("info"), notice("warning"), priority("low"), priority("high")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let steps = hear(&mut driver, &lines);
    let told = |event: &&Event| matches!(event, Event::Status { text, .. } if text == "words");
    assert_eq!(said(&steps).iter().filter(|event| told(event)).count(), 2, "{steps:?}");
    assert_eq!((said(&steps).len(), driver.unknown()), (4, 0));
}

#[test]
fn the_reason_of_a_hook_stands_in_the_ask() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let request = json!({
        "subtype": "can_use_tool", "tool_name": "Bash", "input": {}, "description": "a command",
        "decision_reason": "touches production", "decision_reason_type": "hook",
    });
    let line =
        json!({ "type": "control_request", "request_id": "p", "request": request }).to_string();
    let steps = hear(&mut driver, &[&line]);
    let Some(Step::Ask(ask)) = steps.last() else { panic!("{steps:?}") };
    let AskKind::Permission { description, .. } = &ask.kind else { panic!("{ask:?}") };
    assert_eq!(description.as_deref(), Some("a hook asks: touches production\na command"));
}

#[test]
fn a_limit_that_is_reached_is_told_with_its_end_and_one_that_is_near_is_a_status() {
    let mut driver = driver();
    driver.begin(&turn("x"));
    let line = |status: &str, overage: bool| {
        json!({ "type": "rate_limit_event", "rate_limit_info": {
            "status": status, "resetsAt": 1_796_053_836, "rateLimitType": "five_hour",
            "utilization": 0.92, "isUsingOverage": overage,
        } })
        .to_string()
    };
    let reached = hear(&mut driver, &[&line("rejected", false)]);
    let limit = crate::Limit { kind: "five hour".to_owned(), resets_at: Some(1_796_053_836) };
    assert_eq!(reached, [Step::Limited(limit)]);
    let near = hear(&mut driver, &[&line("allowed_warning", false)]);
    assert!(
        matches!(said(&near)[..], [Event::Status { text, .. }] if text.ends_with("(92 %)")),
        "{near:?}"
    );
    for (status, overage) in [("allowed", false), ("rejected", true)] {
        assert_eq!(hear(&mut driver, &[&line(status, overage)]), [Step::WithinLimits]);
    }
}
