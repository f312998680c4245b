//! The driver as a whole, line by line.

use super::*;
use crate::{AskKind, Event};

fn driver(options: AcpOptions) -> Acp {
    Acp::new(AcpOptions { program: "bot".to_owned(), ..options })
}

fn turn(text: &str) -> Turn {
    Turn { text: text.to_owned(), ..Turn::default() }
}

fn setting(resume: Option<&str>) -> Setting {
    Setting {
        workspace: "/w".to_owned(),
        resume: resume.map(ToOwned::to_owned),
        ..Setting::default()
    }
}

fn hear(driver: &mut Acp, message: &Value) -> Vec<Step> {
    driver.line(message.to_string().as_bytes())
}

/// Answers the driver's last request.
fn answer(driver: &mut Acp, result: Value) -> Vec<Step> {
    let id = driver.requests;
    hear(driver, &json!({ "id": id, "result": result }))
}

fn error(driver: &mut Acp, code: i64, message: &str) -> Vec<Step> {
    let id = driver.requests;
    let error = json!({ "code": code, "message": message });
    hear(driver, &json!({ "id": id, "error": error }))
}

/// A driver with an open session and the prompt sent.
fn open() -> Acp {
    let mut driver = driver(AcpOptions::default());
    driver.launch(&setting(None), &Turn::default()).unwrap();
    driver.begin(&turn("hello"));
    answer(&mut driver, json!({ "protocolVersion": 1 }));
    answer(&mut driver, json!({ "sessionId": "s" }));
    driver
}

fn update(driver: &mut Acp, update: Value) -> Vec<Step> {
    let params = json!({ "sessionId": "s", "update": update });
    hear(driver, &json!({ "method": "session/update", "params": params }))
}

fn text(driver: &mut Acp, message: Option<&str>, text: &str) -> String {
    let content = json!({ "type": "text", "text": text });
    let steps = update(
        driver,
        json!({ "sessionUpdate": "agent_message_chunk", "messageId": message, "content": content }),
    );
    match steps.as_slice() {
        [Step::Say(Event::Text(text))] => text.clone(),
        other => panic!("no text: {other:?}"),
    }
}

fn permission(driver: &mut Acp, id: Value) -> Vec<Step> {
    let params = json!({
        "sessionId": "s",
        "toolCall": { "toolCallId": "t", "title": "ls", "kind": "execute" },
        "options": [{ "optionId": "y", "name": "Yes", "kind": "allow_once" }, { "optionId": "n", "name": "No", "kind": "reject_once" }],
    });
    hear(driver, &json!({ "id": id, "method": "session/request_permission", "params": params }))
}

fn written(steps: &[Step]) -> Vec<Value> {
    let lines = steps.iter().filter_map(|step| match step {
        Step::Write(bytes) => Some(serde_json::from_slice(bytes).unwrap()),
        _ => None,
    });
    lines.collect()
}

fn methods(steps: &[Step]) -> Vec<String> {
    let messages = written(steps);
    let methods = messages.iter().filter_map(|message| message["method"].as_str());
    methods.map(ToOwned::to_owned).collect()
}

fn outcome(steps: &[Step]) -> &Outcome {
    let end = steps.iter().find_map(|step| match step {
        Step::End(outcome) => Some(outcome),
        _ => None,
    });
    end.unwrap_or_else(|| panic!("no end: {steps:?}"))
}

fn failed(steps: &[Step]) -> (&str, &str) {
    match outcome(steps) {
        Outcome::Failed { message, hint } => (message, hint.as_deref().unwrap_or_default()),
        other => panic!("not failed: {other:?}"),
    }
}

#[test]
fn a_session_is_opened_before_the_prompt_and_only_once() {
    let mut driver = driver(AcpOptions::default());
    driver.launch(&setting(None), &Turn::default()).unwrap();
    assert_eq!(methods(&driver.begin(&turn("a"))), ["initialize"]);
    let steps = answer(&mut driver, json!({ "protocolVersion": 1 }));
    assert_eq!(methods(&steps), ["session/new"]);
    let steps = answer(&mut driver, json!({ "sessionId": "s" }));
    assert_eq!(steps[..2], [Step::Ready, Step::Conversation("s".to_owned())]);
    assert_eq!(methods(&steps), ["session/prompt"]);
    let steps = answer(&mut driver, json!({ "stopReason": "end_turn" }));
    assert_eq!(outcome(&steps), &Outcome::Completed { answer: None });
    assert_eq!(methods(&driver.begin(&turn("b"))), ["session/prompt"]);
}

#[test]
fn a_process_that_was_started_ahead_has_shaken_hands_before_its_turn() {
    let mut driver = driver(AcpOptions::default());
    driver.launch(&setting(None), &Turn::default()).unwrap();
    let ahead: Value = serde_json::from_slice(&driver.ahead()).unwrap();
    assert_eq!(ahead["method"], "initialize");
    assert_eq!(methods(&driver.begin(&turn("a"))), Vec::<String>::new());
    let steps = answer(&mut driver, json!({ "protocolVersion": 1 }));
    assert_eq!(methods(&steps), ["session/new"]);
}

#[test]
fn it_signs_in_where_the_agent_asks_for_it_and_only_once() {
    let mut driver = driver(AcpOptions {
        auth_method: Some("key".to_owned()),
        credentials: vec!["BOT_KEY".to_owned()],
        ..AcpOptions::default()
    });
    driver.launch(&setting(None), &Turn::default()).unwrap();
    driver.begin(&turn("a"));
    answer(&mut driver, json!({ "protocolVersion": 1 }));
    let steps = error(&mut driver, -32000, "sign in");
    assert_eq!(written(&steps)[0]["params"], json!({ "methodId": "key" }));
    assert_eq!(methods(&answer(&mut driver, Value::Null)), ["session/new"]);
    let steps = error(&mut driver, -32000, "sign in");
    assert!(failed(&steps).1.contains("BOT_KEY"));
}

#[test]
fn without_a_method_the_ways_to_sign_in_are_named() {
    let mut driver = driver(AcpOptions::default());
    driver.launch(&setting(None), &Turn::default()).unwrap();
    driver.begin(&turn("a"));
    let methods = json!([{ "id": "login" }]);
    answer(&mut driver, json!({ "protocolVersion": 1, "authMethods": methods }));
    let steps = error(&mut driver, -32000, "sign in");
    assert!(failed(&steps).1.contains("login"));
}

#[test]
fn a_turn_that_failed_on_the_way_lets_the_next_one_go_on_from_there() {
    let mut driver = driver(AcpOptions::default());
    driver.launch(&setting(None), &Turn::default()).unwrap();
    driver.begin(&turn("a"));
    answer(&mut driver, json!({ "protocolVersion": 1 }));
    let steps = error(&mut driver, -32603, "disk full");
    assert_eq!(failed(&steps).0, "`session/new` failed: disk full");
    assert_eq!(methods(&driver.begin(&turn("b"))), ["session/new"]);
}

#[test]
fn another_version_of_the_protocol_is_not_spoken() {
    let mut driver = driver(AcpOptions::default());
    driver.begin(&turn("a"));
    let steps = answer(&mut driver, json!({ "protocolVersion": 2 }));
    assert!(failed(&steps).0.contains("version 2"));
}

#[test]
fn a_conversation_is_resumed_loaded_or_lost_by_what_the_agent_offers() {
    let first = |capabilities: Value| {
        let mut driver = driver(AcpOptions::default());
        driver.launch(&setting(Some("old")), &Turn::default()).unwrap();
        driver.begin(&turn("a"));
        let told = json!({ "protocolVersion": 1, "agentCapabilities": capabilities });
        let steps = answer(&mut driver, told);
        let lost = steps.iter().any(|step| matches!(step, Step::Say(Event::Status { .. })));
        (methods(&steps).join(" "), lost)
    };
    let resumes = json!({ "loadSession": true, "sessionCapabilities": { "resume": {} } });
    assert_eq!(first(resumes), ("session/resume".to_owned(), false));
    let loads = json!({ "loadSession": true });
    assert_eq!(first(loads), ("session/load".to_owned(), false));
    assert_eq!(first(json!({})), ("session/new".to_owned(), true));
}

#[test]
fn a_conversation_that_is_to_stay_as_it_is_is_forked_or_a_new_one_begins() {
    let first = |capabilities: Value| {
        let mut driver = driver(AcpOptions::default());
        let setting = Setting { fork: true, ..setting(Some("old")) };
        driver.launch(&setting, &Turn::default()).unwrap();
        driver.begin(&turn("a"));
        let told = json!({ "protocolVersion": 1, "agentCapabilities": capabilities });
        let steps = answer(&mut driver, told);
        (methods(&steps).join(" "), driver)
    };
    let all = json!({ "loadSession": true, "sessionCapabilities": { "resume": {}, "fork": {} } });
    let (method, mut driver) = first(all);
    assert_eq!(method, "session/fork");
    let steps = answer(&mut driver, json!({ "sessionId": "new" }));
    assert!(steps.contains(&Step::Conversation("new".to_owned())));
    assert_eq!(first(json!({ "loadSession": true })).0, "session/new");
}

#[test]
fn mode_and_model_are_set_by_id_name_or_the_end_of_an_address() {
    let set = |opened: Value| {
        let mut driver = driver(AcpOptions {
            mode: Some("Plan".to_owned()),
            model: Some("big".to_owned()),
            ..AcpOptions::default()
        });
        driver.begin(&turn("a"));
        answer(&mut driver, json!({ "protocolVersion": 1 }));
        let mode = written(&answer(&mut driver, opened));
        let model = written(&answer(&mut driver, json!({})));
        (mode[0]["params"].clone(), model[0]["params"].clone())
    };
    let older = json!({
        "sessionId": "s",
        "modes": { "currentModeId": "x", "availableModes": [{ "id": "x" }, { "id": "p1", "name": "plan" }] },
        "models": { "currentModelId": "y", "availableModels": [{ "modelId": "big" }] },
    });
    let expected = (
        json!({ "sessionId": "s", "modeId": "p1" }),
        json!({ "sessionId": "s", "modelId": "big" }),
    );
    assert_eq!(set(older), expected);
    let options = json!([
        { "id": "m", "category": "mode", "options": [{ "value": "https://example.com/modes#plan" }] },
        { "id": "model", "options": [{ "group": "g", "options": [{ "value": "v/big", "name": "Big" }] }] },
    ]);
    let expected = (
        json!({ "sessionId": "s", "configId": "m", "value": "https://example.com/modes#plan" }),
        json!({ "sessionId": "s", "configId": "model", "value": "v/big" }),
    );
    assert_eq!(set(json!({ "sessionId": "s", "configOptions": options })), expected);
}

#[test]
fn a_mode_that_the_agent_does_not_have_fails_the_turn_and_names_those_that_it_has() {
    let mut driver = driver(AcpOptions { mode: Some("safe".to_owned()), ..AcpOptions::default() });
    driver.begin(&turn("a"));
    answer(&mut driver, json!({ "protocolVersion": 1 }));
    let modes = json!({ "availableModes": [{ "id": "yolo" }] });
    let steps = answer(&mut driver, json!({ "sessionId": "s", "modes": modes }));
    assert!(failed(&steps).1.contains("yolo"));
}

#[test]
fn the_history_of_a_loaded_session_is_dropped_even_when_it_comes_late() {
    let mut driver = driver(AcpOptions::default());
    driver.launch(&setting(Some("s")), &Turn::default()).unwrap();
    driver.begin(&turn("a"));
    let loads = json!({ "loadSession": true });
    answer(&mut driver, json!({ "protocolVersion": 1, "agentCapabilities": loads }));
    let old = json!({ "sessionUpdate": "agent_message_chunk", "content": { "type": "text", "text": "old" } });
    assert_eq!(update(&mut driver, old.clone()), []);
    let steps = answer(&mut driver, json!({}));
    assert!(steps.contains(&Step::Wake(Timer::Replay, SILENCE)) && methods(&steps).is_empty());
    assert_eq!(update(&mut driver, old), []);
    assert_eq!(driver.woke(Timer::Replay), [Step::Wake(Timer::Replay, SILENCE)]);
    assert_eq!(methods(&driver.woke(Timer::Replay)), ["session/prompt"]);
}

#[test]
fn a_further_message_begins_a_paragraph() {
    let mut driver = open();
    let said = [
        text(&mut driver, Some("1"), "a"),
        text(&mut driver, Some("1"), "b"),
        text(&mut driver, Some("2"), "c\n"),
        text(&mut driver, Some("3"), "d"),
    ];
    assert_eq!(said, ["a", "b", "\n\nc\n", "d"]);
}

#[test]
fn content_that_is_no_text_is_an_artifact() {
    let mut driver = open();
    let image = json!({ "type": "image", "mimeType": "image/png", "data": "AA==" });
    let steps =
        update(&mut driver, json!({ "sessionUpdate": "agent_message_chunk", "content": image }));
    assert!(matches!(steps.as_slice(), [Step::Say(Event::Artifact(_))]));
}

#[test]
fn thoughts_and_plans_are_told() {
    let mut driver = open();
    let content = json!({ "type": "text", "text": "hm" });
    let thought = json!({ "sessionUpdate": "agent_thought_chunk", "content": content });
    assert_eq!(update(&mut driver, thought), [Step::Say(Event::Thought("hm".to_owned()))]);
    let entries = json!([{ "content": "do", "priority": "high", "status": "pending" }]);
    assert_eq!(
        update(&mut driver, json!({ "sessionUpdate": "plan", "entries": entries })),
        [Step::Say(Event::Plan(entries))]
    );
}

#[test]
fn what_another_session_says_is_not_the_answer() {
    let mut driver = open();
    let content = json!({ "type": "text", "text": "x" });
    let params = json!({ "sessionId": "other", "update": { "sessionUpdate": "agent_message_chunk", "content": content } });
    let steps = hear(&mut driver, &json!({ "method": "session/update", "params": params }));
    assert!(matches!(steps.as_slice(), [Step::Say(Event::Raw(_))]));
}

#[test]
fn an_ask_holds_all_that_a_person_needs_and_its_answer_goes_to_the_request() {
    let mut driver = open();
    let steps = permission(&mut driver, json!("r-1"));
    let Some(Step::Ask(ask)) = steps.last() else { panic!("no ask: {steps:?}") };
    let AskKind::Permission { tool, input, .. } = &ask.kind else { panic!("a question") };
    assert_eq!(tool, "execute");
    assert_eq!((&input["title"], &input["options"][1]["optionId"]), (&json!("ls"), &json!("n")));
    let id = ask.id.clone();
    let written = written(&driver.answer(&id, &Answer::Allow { input: None }));
    let outcome = json!({ "outcome": { "outcome": "selected", "optionId": "y" } });
    assert_eq!((&written[0]["id"], &written[0]["result"]), (&json!("r-1"), &outcome));
    assert_eq!(driver.answer(&id, &Answer::Allow { input: None }), []);
}

#[test]
fn an_interrupt_cancels_turn_and_asks_and_the_response_confirms_it() {
    let mut driver = open();
    permission(&mut driver, json!(4));
    let steps = driver.interrupt();
    assert_eq!(methods(&steps), ["session/cancel"]);
    let canceled = json!({ "outcome": { "outcome": "cancelled" } });
    assert_eq!(written(&steps)[1]["result"], canceled);
    assert!(steps.contains(&Step::Withdraw("ask-1".to_owned())));
    let late = written(&permission(&mut driver, json!(5)));
    assert_eq!(late[0]["result"], canceled);
    let steps = answer(&mut driver, json!({ "stopReason": "cancelled" }));
    assert_eq!(outcome(&steps), &Outcome::Canceled);
}

#[test]
fn an_error_after_an_interrupt_confirms_it_too() {
    let mut driver = open();
    driver.interrupt();
    let steps = error(&mut driver, -32603, "aborted");
    assert_eq!(outcome(&steps), &Outcome::Canceled);
}

#[test]
fn before_the_prompt_is_sent_the_house_ends_the_process() {
    let mut driver = driver(AcpOptions::default());
    driver.begin(&turn("a"));
    assert_eq!(driver.interrupt(), []);
}

#[test]
fn a_request_that_the_agent_takes_back_is_withdrawn() {
    let mut driver = open();
    permission(&mut driver, json!(4));
    let params = json!({ "requestId": 4 });
    let steps = hear(&mut driver, &json!({ "method": "$/cancel_request", "params": params }));
    assert_eq!(steps.last(), Some(&Step::Withdraw("ask-1".to_owned())));
}

#[test]
fn where_no_turn_waits_nothing_may_be_done() {
    let mut driver = open();
    answer(&mut driver, json!({ "stopReason": "end_turn" }));
    let steps = permission(&mut driver, json!(9));
    assert_eq!(written(&steps)[0]["result"]["outcome"]["outcome"], "cancelled");
}

#[test]
fn files_and_terminals_of_the_client_are_not_served() {
    let mut driver = open();
    for method in ["fs/read_text_file", "terminal/create", "x/private"] {
        let steps = hear(&mut driver, &json!({ "id": 1, "method": method, "params": {} }));
        assert_eq!(written(&steps)[0]["error"]["code"], -32601);
    }
}

#[test]
fn an_address_to_open_is_not_a_form() {
    let mut driver = open();
    let params = json!({ "mode": "url", "url": "https://example.com" });
    let steps =
        hear(&mut driver, &json!({ "id": 1, "method": "elicitation/create", "params": params }));
    assert_eq!(written(&steps)[0]["error"]["code"], -32602);
}

#[test]
fn every_reason_to_stop_is_an_outcome() {
    let stopped = |reason: &str| {
        let mut driver = open();
        let steps = answer(&mut driver, json!({ "stopReason": reason }));
        outcome(&steps).clone()
    };
    assert_eq!(stopped("end_turn"), Outcome::Completed { answer: None });
    assert!(matches!(stopped("refusal"), Outcome::Rejected { .. }));
    for reason in ["max_tokens", "max_turn_requests", "cancelled", "new_one"] {
        assert!(matches!(stopped(reason), Outcome::Failed { .. }), "{reason}");
    }
}

#[test]
fn images_are_refused_by_an_agent_that_takes_none() {
    let mut driver = open();
    answer(&mut driver, json!({ "stopReason": "end_turn" }));
    let prompt = Turn { images: vec![("image/png".to_owned(), "AA==".to_owned())], ..turn("look") };
    let steps = driver.begin(&prompt);
    assert!(matches!(outcome(&steps), Outcome::Rejected { .. }));
}

#[test]
fn a_session_that_the_agent_forgot_is_a_lost_conversation() {
    let mut driver = open();
    let steps = error(&mut driver, -32602, "Session not found: s");
    assert_eq!(outcome(&steps), &Outcome::ConversationLost);
}

#[test]
fn a_process_that_dies_in_a_turn_fails_it_with_its_last_words() {
    let mut driver = open();
    let exit = Exit { code: Some(1), signal: None, stderr: "out of luck".to_owned() };
    assert_eq!(failed(&driver.exit(&exit)).0, "`bot` exited with code 1: out of luck");
    assert_eq!(driver.exit(&exit), []);
}

#[test]
fn a_program_that_says_nothing_fails_after_a_while() {
    let mut driver = driver(AcpOptions::default());
    let steps = driver.begin(&turn("a"));
    assert_eq!(steps.last(), Some(&Step::Wake(Timer::Handshake, HANDSHAKE)));
    let steps = driver.woke(Timer::Handshake);
    assert!(failed(&steps).0.contains("did not answer `initialize`"));
    // What it was asked before is still under way.
    assert!(methods(&driver.begin(&turn("b"))).is_empty());
}

#[test]
fn lines_that_are_not_understood_are_counted_and_kept() {
    let mut driver = open();
    for line in ["nonsense", "[1]", r#"{"a":1}"#, r#"{"id":99,"result":{}}"#] {
        let steps = driver.line(line.as_bytes());
        assert!(matches!(steps.as_slice(), [Step::Say(Event::Raw(_))]));
    }
    assert_eq!(driver.unknown(), 4);
}
