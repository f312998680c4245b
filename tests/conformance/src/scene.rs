//! The scenes that the kits ask for, by the word a message begins with, and the lines of each.

use serde_json::{Value, json};

/// What is played for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// The message has none of the known words: like [`Scene::Complete`].
    Unknown,
    /// Completes with a text.
    Complete,
    /// Completes with one artifact, after a status where `working`.
    Artifact(Artifact),
    /// Completes without a word.
    Silent,
    /// Answers with a bare message; no task.
    Message,
    /// Asks for input and leaves the task open.
    Ask,
    /// Asks for input until the caller is done.
    MultiTurn,
    /// Refuses the work.
    Reject,
    /// Fails.
    Fail,
    /// Works for a while, then completes.
    Long,
    /// Works for a while, then leaves the task open.
    LongOpen,
    /// Works until it is canceled.
    UntilCanceled,
}

/// The artifact of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Artifact {
    Text(&'static str),
    File,
    Url,
    Data,
    /// Two chunks of one text.
    Chunks,
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// One event line.
    Say(Value),
    /// Let time pass.
    Wait,
    /// Wait for the end of the process.
    Forever,
}

/// The words of the kits. Where one is the beginning of another, the longer one counts.
const WORDS: &[(&str, Scene)] = &[
    ("tck-complete-task", Scene::Complete),
    ("tck-artifact-text", Scene::Artifact(Artifact::Text("Generated text content"))),
    ("tck-artifact-file", Scene::Artifact(Artifact::File)),
    ("tck-artifact-file-url", Scene::Artifact(Artifact::Url)),
    ("tck-artifact-data", Scene::Artifact(Artifact::Data)),
    ("tck-message-response", Scene::Message),
    ("tck-input-required", Scene::Ask),
    ("tck-reject-task", Scene::Reject),
    ("tck-stream-001", Scene::Artifact(Artifact::Text("Stream hello from TCK"))),
    ("tck-stream-002", Scene::Silent),
    ("tck-stream-003", Scene::Artifact(Artifact::Text("Stream task lifecycle"))),
    ("tck-stream-ordering-001", Scene::Artifact(Artifact::Text("Ordered output"))),
    ("tck-stream-artifact-text", Scene::Artifact(Artifact::Text("Streamed text content"))),
    ("tck-stream-artifact-file", Scene::Artifact(Artifact::File)),
    ("tck-stream-artifact-chunked", Scene::Artifact(Artifact::Chunks)),
    ("test-resubscribe-message-id", Scene::Long),
    // Words that the third suite, ACTS, adds.
    ("tck-long-running", Scene::Long),
    ("tck-multi-turn", Scene::MultiTurn),
    ("tck-cancel", Scene::UntilCanceled),
    ("tck-stream-basic", Scene::Artifact(Artifact::Text("Streamed content"))),
    ("tck-stream-chunked", Scene::Artifact(Artifact::Chunks)),
    ("tck-task-failure", Scene::Fail),
];

impl Scene {
    /// The scene for a message: by its id, else by its text.
    pub(crate) fn of(message_id: &str, text: &str) -> Self {
        let by = |says: &str| {
            WORDS
                .iter()
                .filter(|(word, _)| says.starts_with(word))
                .max_by_key(|(word, _)| word.len())
                .map(|(_, scene)| *scene)
        };
        by(message_id).or_else(|| by(text.trim_start())).unwrap_or(Self::Unknown)
    }

    /// The same for a kit that goes on talking to every task.
    pub(crate) fn left_open(self) -> Self {
        match self {
            Self::Long | Self::LongOpen => Self::LongOpen,
            Self::UntilCanceled => Self::UntilCanceled,
            Self::Unknown
            | Self::Complete
            | Self::Artifact(_)
            | Self::Silent
            | Self::Message
            | Self::Ask
            | Self::MultiTurn
            | Self::Reject
            | Self::Fail => Self::Ask,
        }
    }

    /// What to do, in order.
    pub(crate) fn steps(self) -> Vec<Step> {
        match self {
            Self::Unknown | Self::Complete => vec![ends("completed", "Hello from TCK")],
            Self::Artifact(artifact) => {
                let mut steps = vec![working()];
                steps.extend(artifact.lines().into_iter().map(Step::Say));
                steps.push(completed());
                steps
            }
            Self::Silent => vec![completed()],
            Self::Message => {
                vec![Step::Say(json!({ "type": "reply", "text": "Direct message response" }))]
            }
            Self::Ask => vec![working(), ends("input-required", "What else?")],
            Self::MultiTurn => vec![ends("input-required", "Go on; say `done` at the end.")],
            Self::Reject => vec![ends("rejected", "rejected")],
            Self::Fail => vec![ends("failed", "failed as asked")],
            Self::Long => vec![
                working(),
                Step::Say(json!({ "type": "artifact", "text": "Long work" })),
                Step::Wait,
                completed(),
            ],
            Self::LongOpen => vec![working(), Step::Wait, ends("input-required", "What else?")],
            Self::UntilCanceled => vec![working(), Step::Forever],
        }
    }
}

impl Artifact {
    fn lines(self) -> Vec<Value> {
        match self {
            Self::Text(text) => vec![json!({ "type": "artifact", "text": text })],
            Self::File => vec![json!({
                "type": "artifact",
                "raw": "SGVsbG8gZnJvbSBUQ0s=",
                "filename": "output.txt",
                "mediaType": "text/plain",
            })],
            Self::Url => vec![json!({
                "type": "artifact",
                "url": "https://example.com/output.txt",
                "filename": "output.txt",
                "mediaType": "text/plain",
            })],
            Self::Data => {
                vec![json!({ "type": "artifact", "data": { "key": "value", "count": 42 } })]
            }
            Self::Chunks => vec![
                json!({ "type": "artifact", "id": "chunks", "text": "chunk-1 ", "last": false }),
                json!({ "type": "artifact", "id": "chunks", "text": "chunk-2", "append": true, "last": true }),
            ],
        }
    }
}

fn working() -> Step {
    Step::Say(json!({ "type": "status", "state": "working", "text": "working" }))
}

fn completed() -> Step {
    Step::Say(json!({ "type": "status", "state": "completed" }))
}

fn ends(state: &str, text: &str) -> Step {
    Step::Say(json!({ "type": "status", "state": state, "text": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_word_counts() {
        assert_eq!(Scene::of("tck-artifact-file-url-1a2b3c4d", ""), Scene::Artifact(Artifact::Url));
        assert_eq!(Scene::of("tck-artifact-file-1a2b3c4d", ""), Scene::Artifact(Artifact::File));
    }

    #[test]
    fn the_id_counts_before_the_text() {
        assert_eq!(Scene::of("tck-input-required-1", "tck-complete-task hello"), Scene::Ask);
    }

    #[test]
    fn the_text_counts_where_the_id_says_nothing() {
        assert_eq!(Scene::of("5f1c", "  tck-task-failure now"), Scene::Fail);
    }

    #[test]
    fn a_word_in_the_middle_says_nothing() {
        assert_eq!(Scene::of("my-tck-cancel", "please tck-cancel"), Scene::Unknown);
    }

    #[test]
    fn no_word_stands_twice() {
        for (at, (word, _)) in WORDS.iter().enumerate() {
            assert!(WORDS[..at].iter().all(|(other, _)| other != word), "{word}");
        }
    }

    #[test]
    fn every_scene_ends_its_turn_or_says_a_bare_message_or_waits() {
        for (word, scene) in WORDS {
            for scene in [*scene, scene.left_open()] {
                let last = scene.steps().pop().unwrap();
                let ends = match &last {
                    Step::Say(line) => line["type"] == "reply" || line["state"] != Value::Null,
                    Step::Forever => true,
                    Step::Wait => false,
                };
                assert!(ends, "{word}: {last:?}");
            }
        }
    }

    #[test]
    fn an_open_scene_never_ends_its_task() {
        for (word, scene) in WORDS {
            for step in scene.left_open().steps() {
                if let Step::Say(line) = step {
                    let state = line["state"].as_str().unwrap_or_default();
                    assert!(["working", "input-required"].contains(&state), "{word}: {line}");
                }
            }
        }
    }
}
