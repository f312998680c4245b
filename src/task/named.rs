//! Artifacts of a task that is larger than an answer: each that does not fit is named, with its address, by the
//! beginnings and ends of its updates.

use super::view::{answer_id, point_to_artifact, weigh};
use crate::store::ArtifactEnds;
use memchr::memmem;
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::message::Part;
use pilothouse_a2a::task::{Artifact, Task};
use serde::de::DeserializeOwned;

/// Adds artifacts to a task, or puts their addresses in the place of their beginnings, until these take so many bytes;
/// says how many. Where there are more the metadata of the task says so.
pub(super) fn add_named(task: &mut Task, rest: &[ArtifactEnds], room: usize) -> usize {
    let mut size = 0;
    for ends in rest {
        let Some(found) = read_ends(ends) else { continue };
        let known = task.artifacts.iter().position(|one| one.artifact_id == found.artifact_id);
        if found.artifact_id == answer_id(&task.id) {
            // Its beginning stands for it; the address of the whole comes with it.
            if known.is_none() {
                task.artifacts.push(Artifact { parts: vec![Part::text("")], ..found });
            }
            continue;
        }
        let mut named = found;
        point_to_artifact(&mut named, &task.id);
        match known {
            Some(place) if task.artifacts[place].parts == named.parts => {}
            Some(place) => task.artifacts[place].parts = named.parts,
            None => {
                size += weigh(&named);
                if size > room {
                    let words = "there are more artifacts than fit here; SubscribeToTask has all";
                    task.metadata.get_or_insert_default().insert("pilothouse.shortened", words);
                    return size;
                }
                task.artifacts.push(named);
            }
        }
    }
    size
}

/// An artifact by the beginning and the end of one of its updates, with a part that has no content.
fn read_ends(ends: &ArtifactEnds) -> Option<Artifact> {
    let id: ArtifactId = read_after(&ends.head, b"\"artifact\":{\"artifactId\":")?;
    let mut artifact = Artifact::new(id, "", vec![Part::raw(b"")]);
    // The name follows the id, if there is one.
    let quoted = serde_json::to_string(artifact.artifact_id.as_str()).ok()?;
    let name = format!("\"artifactId\":{quoted},\"name\":");
    artifact.name = read_after(&ends.head, name.as_bytes());
    let part = &mut artifact.parts[0];
    part.filename = read_last(&ends.tail, b"\"filename\":");
    part.media_type = read_last(&ends.tail, b"\"mediaType\":");
    part.metadata = read_last(&ends.tail, b"\"metadata\":");
    Some(artifact)
}

/// The value behind the first such key.
fn read_after<T: DeserializeOwned>(json: &[u8], key: &[u8]) -> Option<T> {
    let begin = memmem::find(json, key)? + key.len();
    serde_json::Deserializer::from_slice(&json[begin..]).into_iter().next()?.ok()
}

/// The value behind the last such key.
fn read_last<T: DeserializeOwned>(json: &[u8], key: &[u8]) -> Option<T> {
    let begin = memmem::rfind(json, key)? + key.len();
    serde_json::Deserializer::from_slice(&json[begin..]).into_iter().next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::task::{TaskState, TaskStatus};

    fn ends(update: &str) -> ArtifactEnds {
        ArtifactEnds { head: update.into(), tail: update.as_bytes()[20..].into() }
    }

    fn task() -> Task {
        Task::new("t".into(), "c".into(), TaskStatus::now(TaskState::Completed))
    }

    #[test]
    fn what_does_not_fit_is_named_with_type_size_and_address_and_only_once() {
        let update = r#"{"artifactUpdate":{"taskId":"t","contextId":"c","artifact":{"artifactId":"t-a","name":"a \"b\"","parts":[{"raw":"AAAA","metadata":{"piece":2,"pieces":2,"bytes":9},"filename":"a.bin","mediaType":"image/png"}]},"append":true,"lastChunk":true}}"#;
        let answer = update.replace("t-a", "t-answer");
        let mut task = task();
        let size = add_named(&mut task, &[ends(update), ends(update), ends(&answer)], 4096);
        assert!(size > 0);
        let text = serde_json::to_string(&task.artifacts).unwrap();
        insta::assert_snapshot!(text, @r#"[{"artifactId":"t-a","name":"a \"b\"","parts":[{"url":"/api/v1/tasks/t/artifacts/t-a","metadata":{"bytes":9},"filename":"a.bin","mediaType":"image/png"}]},{"artifactId":"t-answer","name":"a \"b\"","parts":[{"text":""}]}]"#);
    }

    #[test]
    fn a_task_with_more_artifacts_than_can_be_named_says_so() {
        let update = r#"{"artifactUpdate":{"taskId":"t","contextId":"c","artifact":{"artifactId":"t-a","parts":[{"text":"a"}]}}}"#;
        let mut task = task();
        add_named(&mut task, &[ends(update)], 10);
        assert!(task.artifacts.is_empty());
        assert!(task.metadata.unwrap().get("pilothouse.shortened").is_some());
    }
}
