//! How a turn ends whose `result` contradicts itself: the rows of the table in docs/claude.md.

use super::{data, delta, described, play, result, writes};
use crate::reading::{answer, message, state, words};
use serde_json::{Value, json};

/// A line by which the CLI tells an error of the model API.
fn api_error(words: &str) -> Value {
    json!({"type": "assistant", "is_api_error_message": true,
        "message": {"id": "e", "content": [{"type": "text", "text": words}]}})
}

#[test]
fn an_error_in_any_field_fails_the_turn_in_the_words_that_say_most() {
    let reason = |reason: &str| json!({"terminal_reason": reason});
    let rows = [
        ("is-error", json!({"is_error": true, "result": "API Error: 400"}), "API Error: 400"),
        ("is-error-alone", json!({"is_error": true}), "the turn ended with `success`"),
        (
            "is-error-and-done",
            json!({"is_error": true, "terminal_reason": "completed", "errors": ["no disk"]}),
            "no disk",
        ),
        (
            "subtype",
            json!({"subtype": "error_during_execution", "errors": ["it broke", "twice"]}),
            "it broke; twice",
        ),
        (
            "subtype-alone",
            json!({"subtype": "error_max_turns"}),
            "the turn ended with `error_max_turns`",
        ),
        ("reason", reason("api_error"), "the turn ended with `api_error`"),
        ("setup", reason("turn_setup_failed"), "the turn ended with `turn_setup_failed`"),
        ("turns", reason("max_turns"), "the turn ended with `max_turns`"),
        ("aborted", reason("aborted_tools"), "the turn ended with `aborted_tools`"),
        ("deferred", reason("tool_deferred"), "the turn ended with `tool_deferred`"),
        (
            "unreadable-fields",
            json!({"is_error": true, "result": "broken", "num_turns": "two", "usage": 7, "errors": {}}),
            "broken",
        ),
    ];
    let plays: Vec<(&str, String)> =
        rows.iter().map(|(name, fields, _)| (*name, writes(&[result(fields.clone())]))).collect();
    let plays: Vec<(&str, &str)> =
        plays.iter().map(|(name, play)| (*name, play.as_str())).collect();
    let world = described(&plays).start();
    for (name, _, expected) in rows {
        let (_, task) = play(&world, name);
        let told = words(&task);
        assert_eq!((state(&task), told.lines().next()), ("FAILED", Some(expected)), "{name}");
    }
}

#[test]
fn an_answer_that_is_nothing_but_an_error_of_the_model_api_fails_the_turn() {
    let lines = [api_error("API Error: 500"), result(json!({"result": "API Error: 500"}))];
    let world = described(&[("api", &writes(&lines))]).start();
    let (events, task) = play(&world, "api");
    assert_eq!((state(&task), words(&task).as_str()), ("FAILED", "API Error: 500"));
    assert!(events.iter().all(|event| event.data().is_none()), "it is told once: {events:?}");
}

#[test]
fn an_answer_stays_where_its_turn_fails() {
    let lines = [result(json!({"terminal_reason": "max_turns", "result": "as far as it came"}))];
    let world = described(&[("turns", &writes(&lines))]).start();
    let (_, task) = play(&world, "turns");
    assert_eq!((state(&task), answer(&task).as_str()), ("FAILED", "as far as it came"));
}

#[test]
fn an_error_that_the_end_does_not_tell_is_a_status_and_the_turn_completes() {
    let lines = [
        api_error("API Error: overloaded"),
        delta("done"),
        result(json!({"result": "done", "errors": ["[diagnostic] slow", {"code": 7}]})),
    ];
    let world = described(&[("beside", &writes(&lines))]).start();
    let (events, task) = play(&world, "beside");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "done"));
    let told = "API Error: overloaded\n[diagnostic] slow\n{\"code\":7}";
    assert_eq!(data(&events, "agent-error")["text"], told);
}

#[test]
fn an_error_that_the_words_of_a_failure_do_not_hold_is_a_status() {
    let fields = json!({"is_error": true, "result": "no", "errors": ["no", "the real reason"]});
    let world = described(&[("more", &writes(&[result(fields)]))]).start();
    let (events, task) = play(&world, "more");
    assert_eq!((state(&task), words(&task).as_str()), ("FAILED", "no"));
    assert_eq!(data(&events, "agent-error")["text"], "the real reason");
}

#[test]
fn a_turn_without_any_answer_completes_and_says_so() {
    let output = result(json!({"structured_output": {"n": 1}}));
    let (silent, structured) = (writes(&[result(json!({}))]), writes(&[output]));
    let said = writes(&[delta("said before"), result(json!({}))]);
    let world =
        described(&[("silent", &silent), ("structured", &structured), ("said", &said)]).start();
    let (events, task) = play(&world, "silent");
    let expected = ("COMPLETED", "the agent ended its turn without an answer");
    assert_eq!((state(&task), words(&task).as_str()), expected);
    assert_eq!(data(&events, "no-answer"), &json!({"kind": "no-answer"}));
    for name in ["structured", "said"] {
        let (_, task) = play(&world, name);
        assert_eq!((state(&task), words(&task).as_str()), ("COMPLETED", ""), "{name}");
    }
}

#[test]
fn a_process_that_ends_without_a_result_fails_its_turn_whatever_its_exit_code() {
    let said = writes(&[delta("so far")]);
    let (zero, three) = (format!("{said}exit 0"), format!("{said}echo 'no disk' >&2; exit 3"));
    let killed = format!("{said}{}kill -9 $$", writes(&[api_error("API Error: reset")]));
    let world = described(&[("zero", &zero), ("three", &three), ("killed", &killed)]).start();
    for (name, expected) in [
        ("zero", "ended before it gave a result"),
        ("three", "exited with code 3: no disk"),
        ("killed", "was ended by SIGKILL; it had said: API Error: reset"),
    ] {
        let (_, task) = play(&world, name);
        assert_eq!((state(&task), answer(&task).as_str()), ("FAILED", "so far"), "{name}");
        assert!(words(&task).contains(expected), "{name}: {}", words(&task));
    }
}

#[test]
fn an_exit_code_after_the_result_changes_nothing() {
    let end = format!("{}exit 3", writes(&[result(json!({"result": "done"}))]));
    let world = described(&[("end", &end)]).start();
    for _ in 0..2 {
        let (_, task) = play(&world, "end");
        assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "done"));
    }
}

#[test]
fn a_canceled_turn_is_canceled_whatever_error_its_result_names() {
    let end = writes(&[result(json!({"is_error": true, "errors": ["aborted"]}))]);
    // The interrupt is a line of standard input.
    let world =
        described(&[("long", &format!("{}read -r interrupt\n{end}", writes(&[delta("x")])))])
            .start();
    let mut events = world.stream("SendStreamingMessage", message("play long"));
    let id =
        events.until("a word", |event| event.kind() == "artifactUpdate")[0].task_id().to_owned();
    world.rpc("CancelTask", json!({"id": id}));
    assert_eq!(state(&world.task(&id)), "CANCELED");
}
