//! How a task stands, in the words and exit codes of the command line.

use super::exit;
use super::names::shorten;
use super::terminal::{BAD, DIM, GOOD, WAITS, clean, clean_line, styled};
use anstyle::Style;
use pilothouse_a2a::message::{Part, PartContent, Role};
use pilothouse_a2a::task::{Artifact, Task, TaskState};
use pilothouse_a2a::time::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// The state of a word, or of the specification's name.
pub(super) fn state_of(text: &str) -> Result<TaskState, String> {
    let known = TaskState::ALL.into_iter().skip(1);
    let found =
        known.clone().find(|state| text.eq_ignore_ascii_case(state.word()) || text == state.name());
    found.ok_or_else(|| {
        format!("one of {}", known.map(TaskState::word).collect::<Vec<_>>().join(", "))
    })
}

/// The exit code that tells how a task ended, or what it waits for.
pub(super) fn code(state: TaskState) -> u8 {
    match state {
        TaskState::Completed | TaskState::Submitted | TaskState::Working => 0,
        TaskState::Failed | TaskState::Unspecified => exit::FAILED,
        TaskState::Canceled => exit::CANCELED,
        TaskState::InputRequired => exit::INPUT_REQUIRED,
        TaskState::Rejected => exit::REJECTED,
        TaskState::AuthRequired => exit::AUTH_REQUIRED,
    }
}

/// The style of a state.
pub(super) fn style(state: TaskState) -> Style {
    match state {
        TaskState::Completed => GOOD,
        TaskState::Failed | TaskState::Rejected => BAD,
        TaskState::Canceled | TaskState::InputRequired | TaskState::AuthRequired => WAITS,
        TaskState::Unspecified | TaskState::Submitted | TaskState::Working => DIM,
    }
}

/// One line: how it ended, how long it took, what it cost, and the ids to go on with.
/// Whoever has a terminal types ids; whoever has none may keep them.
pub(super) fn summary(
    task: &Task,
    elapsed: Option<Duration>,
    (on, is_terminal): (bool, bool),
) -> String {
    let shown = |id: &str| clean_line(if is_terminal { shorten(id) } else { id });
    let state = task.status.state;
    let mark = match state {
        TaskState::Completed => "✓ ",
        TaskState::Failed | TaskState::Rejected => "✗ ",
        TaskState::InputRequired | TaskState::AuthRequired => "? ",
        TaskState::Canceled
        | TaskState::Unspecified
        | TaskState::Submitted
        | TaskState::Working => "",
    };
    let mut first = styled(&format!("{mark}{}", state.word()), style(state), on);
    let told =
        number(task, "/durationMs").and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
    if let Some(took) = told.or(elapsed) {
        first.push_str(&format!(" in {}", seconds(took)));
    }
    let mut facts = vec![first];
    if let (Some(input), Some(output)) =
        (number(task, "/usage/inputTokens"), number(task, "/usage/outputTokens"))
    {
        facts.push(format!("{input} → {output} tokens"));
    }
    facts.extend(
        number(task, "/costUsd").filter(|cost| *cost > 0.0).map(|cost| format!("${cost:.4}")),
    );
    if !task.context_id.as_str().is_empty() {
        facts.push(format!("context {}", shown(task.context_id.as_str())));
    }
    facts.push(format!("task {}", shown(task.id.as_str())));
    facts.join(" · ")
}

/// A number of the task's metadata.
fn number(task: &Task, path: &str) -> Option<f64> {
    let (first, rest) =
        path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let value = task.metadata.as_ref()?.get(first)?;
    let value = if rest.is_empty() { Some(&value) } else { value.get(rest) };
    value.and_then(Value::as_f64)
}

/// A duration as people say it.
pub(super) fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// How long ago something was.
pub(super) fn ago(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else {
        return "-".to_owned();
    };
    match (now.as_millisecond() - then.as_millisecond()).max(0) / 1000 {
        seconds @ 0..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// What the agent says about the task's status.
pub(super) fn words(task: &Task) -> Option<String> {
    let text = task.status.message.as_ref()?.text_content();
    (!text.trim().is_empty()).then_some(text)
}

/// What a completed task says beside its answer; its status is the answer where there is no other, and says so by
/// having no data.
pub(super) fn remark(task: &Task) -> Option<String> {
    let parts = &task.status.message.as_ref()?.parts;
    let is_note = parts.iter().any(|part| matches!(part.content, PartContent::Data(_)));
    let is_beside = is_note || task.artifacts.iter().any(|artifact| !text_of(artifact).is_empty());
    words(task).filter(|_| task.status.state == TaskState::Completed && is_beside)
}

/// The last words of a task that is over, beside its answer, and what did not work in the agent's set-up.
pub(super) fn closing_lines(task: &Task) -> Vec<String> {
    let words = match task.status.state {
        TaskState::Completed => remark(task),
        TaskState::Failed | TaskState::Rejected | TaskState::Canceled => words(task),
        TaskState::InputRequired
        | TaskState::AuthRequired
        | TaskState::Unspecified
        | TaskState::Submitted
        | TaskState::Working => None,
    };
    let words = words.map(|words| clean(&words).trim_end().to_owned());
    let problems = task.metadata.as_ref().and_then(|metadata| metadata.get("problems"));
    let problems = problems.as_ref().and_then(|problems| problems.as_array());
    let problems = problems.into_iter().flatten().map(|problem| {
        let field = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        let line = format!("problem: {} {}: {}", field("kind"), field("subject"), field("state"));
        let detail = Some(field("detail")).filter(|detail| !detail.is_empty());
        clean_line(&detail.map_or_else(|| line.clone(), |detail| format!("{line}: {detail}")))
    });
    words.into_iter().chain(problems).collect()
}

/// The agent's last message, where its answer stands in no artifact.
pub(super) fn last_message(task: &Task) -> Option<String> {
    let last = task.history.iter().rev().find(|message| message.role == Role::Agent)?;
    Some(last.text_content()).filter(|text| !text.trim().is_empty())
}

/// The text of an artifact.
pub(super) fn text_of(artifact: &Artifact) -> String {
    artifact.parts.iter().filter_map(Part::as_text).collect()
}

/// Changed files that are named.
const CHANGES: usize = 4;

/// What a turn has changed, in one line.
fn describe_changes(artifact: &Artifact) -> Option<String> {
    let PartContent::Data(data) = &artifact.parts.first()?.content else { return None };
    let data = data.to_value();
    let changes = data.get("changes").filter(|_| data["kind"] == "changes")?.as_array()?;
    let describe = |change: &Value| {
        let kind = match change["kind"].as_str() {
            Some("added") => "added ",
            Some("deleted") => "deleted ",
            _ => "",
        };
        let count = |mark: char, name: &str| {
            let count = change[name].as_u64().filter(|count| *count > 0);
            count.map(|count| format!("{mark}{count}"))
        };
        let counts = [count('+', "addedLines"), count('-', "removedLines")];
        let counts = counts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let counts = if counts.is_empty() { counts } else { format!(" ({counts})") };
        format!("{kind}{}{counts}", change["path"].as_str().unwrap_or("?"))
    };
    let named: Vec<String> = changes.iter().take(CHANGES).map(describe).collect();
    let left = data["leftOut"].as_u64().unwrap_or(0) + (changes.len() - named.len()) as u64;
    let more = if left > 0 { format!(", … and {left} more") } else { String::new() };
    Some(clean_line(&format!("changed: {}{more}", named.join(", "))))
}

/// What became of the push at the end of a turn, in the words of the server.
fn describe_push(artifact: &Artifact) -> Option<String> {
    let PartContent::Data(data) = &artifact.parts.first()?.content else { return None };
    let data = data.to_value();
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    if text("kind") != Some("push") || artifact.name.as_deref() != Some("push") {
        return None;
    }
    let (branch, repository) = (text("branch")?, text("repository")?);
    let request = data.pointer("/pullRequest/url").and_then(Value::as_str);
    let request = match (request, text("pullRequestFailure")) {
        (Some(url), _) => format!("; pull request: {url}"),
        (None, Some(why)) => format!("; the pull request failed: {why}"),
        (None, None) => String::new(),
    };
    Some(clean_line(&format!("branch {branch} pushed to {repository}{request}")))
}

/// What the task produced beside text, a line each.
pub(super) fn files(task: &Task) -> Vec<String> {
    let mut lines = Vec::new();
    let changes: Vec<String> = task.artifacts.iter().filter_map(describe_changes).collect();
    let is_told = |artifact: &&Artifact| {
        let name = artifact.name.as_deref().unwrap_or_default();
        !changes.is_empty() && (name == "patch" || describe_changes(artifact).is_some())
    };
    for artifact in task.artifacts.iter().filter(|artifact| !is_told(artifact)) {
        if let Some(line) = describe_push(artifact) {
            lines.push(line);
            continue;
        }
        for part in &artifact.parts {
            let what = match &part.content {
                PartContent::Text(_) => continue,
                PartContent::Raw(bytes) => format!("{} bytes", bytes.len()),
                PartContent::Url(url) => url.clone(),
                PartContent::Data(_) => "data".to_owned(),
            };
            let name = part
                .filename
                .as_deref()
                .or(artifact.name.as_deref())
                .unwrap_or(artifact.artifact_id.as_str());
            let kind =
                part.media_type.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
            lines.push(clean_line(&format!("artifact {name}{kind}: {what}")));
        }
    }
    lines.into_iter().chain(changes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::message::Message;
    use pilothouse_a2a::task::TaskStatus;
    use serde_json::json;

    fn task(state: TaskState, metadata: Value) -> Task {
        let mut task = Task::new(
            "t-1".into(),
            "c-1".into(),
            TaskStatus { state, message: None, timestamp: None },
        );
        task.metadata = metadata.as_object().cloned().map(Into::into);
        task
    }

    #[test]
    fn the_last_line_tells_how_long_how_much_and_how_to_go_on() {
        let told = json!({"usage": {"inputTokens": 12, "outputTokens": 345}, "costUsd": 0.0123, "durationMs": 2345});
        insta::assert_snapshot!(summary(&task(TaskState::Completed, told), None, (false, false)), @r"✓ completed in 2.3 s · 12 → 345 tokens · $0.0123 · context c-1 · task t-1");
        insta::assert_snapshot!(summary(&task(TaskState::Failed, json!({})), Some(Duration::from_secs(75)), (false, false)), @r"✗ failed in 1 min 15 s · context c-1 · task t-1");
        insta::assert_snapshot!(summary(&task(TaskState::InputRequired, json!({})), None, (true, false)).replace('\u{1b}', "⟦"), @r"⟦[33m? input-required⟦[0m · context c-1 · task t-1");
    }

    #[test]
    fn a_completed_task_says_what_still_runs_and_what_did_not_work() {
        let problem = json!({"kind": "mcp-server", "subject": "files", "state": "failed", "detail": "no\nsuch file"});
        let mut task = task(TaskState::Completed, json!({"problems": [problem]}));
        let mut message = Message::agent_text("background: still running: sleep 60");
        message.parts.push(Part::data(json!({"kind": "background"})));
        task.status.message = Some(message);
        assert_eq!(
            closing_lines(&task),
            [
                "background: still running: sleep 60",
                "problem: mcp-server files: failed: no such file"
            ]
        );
    }

    #[test]
    fn what_a_turn_has_changed_is_one_line_and_other_artifacts_have_their_own() {
        let change = |path: &str, kind: &str, added: u64| json!({"path": path, "kind": kind, "addedLines": added, "removedLines": 2});
        let changes = json!({"kind": "changes", "leftOut": 3, "changes": [
            change("a\u{1b}[2K.rs", "added", 1), change("b", "modified", 0), change("c", "deleted", 0),
        ]});
        let artifact = |name: &str, part: Part| Artifact::new(name.into(), name, vec![part]);
        let mut task = task(TaskState::Completed, json!({}));
        task.artifacts = vec![
            artifact("changes", Part::data(changes)),
            artifact("patch", Part::data(json!("stands for a file"))),
            artifact("chart", Part::data(json!(1))),
        ];
        let told = "changed: added a.rs (+1 -2), b (-2), deleted c (-2), … and 3 more";
        assert_eq!(files(&task), ["artifact chart: data", told]);
        task.artifacts.remove(0);
        assert_eq!(files(&task), ["artifact patch: data", "artifact chart: data"]);
    }

    #[test]
    fn a_push_is_told_with_its_pull_request_or_why_there_is_none() {
        let pushed = |more: Value| {
            let mut data = json!({"kind": "push", "branch": "pilothouse/a", "repository": "shop"});
            data.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            let mut task = task(TaskState::Completed, json!({}));
            task.artifacts = vec![Artifact::new("p".into(), "push", vec![Part::data(data)])];
            files(&task).join("\n")
        };
        assert_eq!(pushed(json!({})), "branch pilothouse/a pushed to shop");
        assert_eq!(
            pushed(json!({"pullRequest": {"url": "https://a.test/1", "opened": true}})),
            "branch pilothouse/a pushed to shop; pull request: https://a.test/1"
        );
        let why = "the forge refuses ".repeat(20);
        let told = pushed(json!({"pullRequestFailure": why}));
        assert_eq!(
            told,
            format!("branch pilothouse/a pushed to shop; the pull request failed: {}", why.trim())
        );
    }

    #[test]
    fn words_of_a_completed_task_without_data_are_its_answer_unless_it_has_one() {
        let mut task = task(TaskState::Completed, json!({}));
        task.status.message = Some(Message::agent_text("hello"));
        assert_eq!(remark(&task), None);
        task.artifacts.push(Artifact::new("a".into(), "answer", vec![Part::text("the answer")]));
        assert_eq!(remark(&task).as_deref(), Some("hello"));
    }

    #[test]
    fn every_state_has_a_word_that_is_read_again() {
        for state in TaskState::ALL.into_iter().skip(1) {
            assert_eq!(state_of(state.word()), Ok(state));
            assert_eq!(state_of(state.name()), Ok(state));
        }
        assert!(state_of("done").unwrap_err().contains("input-required"));
    }

    #[test]
    fn the_age_of_something_is_told_in_its_largest_unit() {
        let now = Timestamp::from_millisecond(1_000_000_000);
        let before =
            |seconds: i64| Some(Timestamp::from_millisecond(1_000_000_000 - seconds * 1000));
        let told: Vec<_> =
            [0, 59, 60, 7200, 200_000].map(|seconds| ago(before(seconds), now)).into();
        assert_eq!(told, ["0 s ago", "59 s ago", "1 min ago", "2 h ago", "2 d ago"]);
    }
}
