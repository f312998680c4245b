//! What counts among the events of a turn, and how the text of an answer gathers.

use super::*;
use crate::store::{self, Scope, TaskRow};
use crate::task::Tasks;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::message::PartContent;
use pilothouse_a2a::time::Timestamp;
use pilothouse_agents::event::{self, Content};

fn translator() -> Translator {
    translator_with(&Config::default())
}

fn translator_with(config: &Config) -> Translator {
    let store = store::in_memory();
    let now = Timestamp::now();
    let row = TaskRow {
        n: store.new_task_number(),
        id: TaskId::random(),
        scope: Scope { caller: "alice".into(), agent: "echo".into() },
        context_id: ContextId::random(),
        session: "session".into(),
        alias: None,
        state: TaskState::Working,
        status_at: now,
        created: now,
        head: 0,
        print: None,
    };
    let log = Tasks::new(store).hold(&row);
    Translator::new(log, false, config)
}

fn texts(records: &[Record]) -> String {
    let texts = records.iter().map(|record| match record {
        Record::Artifact(update) => update.artifact.parts[0].as_text().unwrap_or_default(),
        Record::Status(_) | Record::Message(_) => "",
    });
    texts.collect()
}

#[tokio::test]
async fn an_answer_of_single_words_counts_nothing_and_its_later_words_gather() {
    let mut translator = translator();
    let (mut records, words) = (Vec::new(), 300_000);
    for _ in 0..words {
        translator.say(Event::Text("word ".to_owned()));
        records.append(&mut translator.take());
    }
    records.append(&mut translator.take_all());
    assert_eq!(translator.stored_bytes(), 0);
    assert_eq!(texts(&records), "word ".repeat(words));
    let most = usize::try_from(SHORT_PIECES).unwrap() + words * 5 / FRAME + 1;
    assert!(records.len() <= most, "{} pieces", records.len());
    translator.status("a line", None);
    assert!(translator.stored_bytes() > 0);
}

#[tokio::test]
async fn what_is_said_last_waits_for_the_end_of_its_turn() {
    let mut config = Config::default();
    config.streams.gather_ms = 60_000;
    let mut translator = translator_with(&config);
    translator.say(Event::Text("first\n".to_owned()));
    assert_eq!(texts(&translator.take()), "first\n");
    translator.say(Event::Text("last\n".to_owned()));
    translator.note_last();
    assert_eq!(texts(&translator.take()), "");
    assert_eq!(texts(&translator.take_all()), "last\n");
}

#[tokio::test]
async fn a_thought_longer_than_an_event_is_told_whole_in_several() {
    let mut translator = translator();
    let thought = "über die Welt \u{1}".repeat(100_000);
    translator.say(Event::Thought(thought.clone()));
    let records = translator.take_all();
    let texts = records.iter().filter_map(|record| match record {
        Record::Status(update) => match &update.status.message.as_ref()?.parts.last()?.content {
            PartContent::Data(data) => Some(data.to_value()["text"].as_str()?.to_owned()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(texts.collect::<String>(), thought);
}

#[tokio::test]
async fn no_event_of_an_answer_is_larger_than_the_limit_however_its_text_is_escaped() {
    let mut config = Config::default();
    config.limits.event = crate::config::Bytes::new(16_384);
    let mut translator = translator_with(&config);
    let text = "\u{1}\u{2028}".repeat(20_000);
    translator.say(Event::Text(text.clone()));
    let artifact = event::Artifact {
        id: None,
        name: Some("large".to_owned()),
        description: None,
        content: Content::Text(text.clone()),
        append: false,
        last: true,
    };
    translator.say(Event::Artifact(artifact));
    let records = translator.take_all();
    let largest = records.iter().map(|record| match record {
        Record::Artifact(update) => serde_json::to_vec(update).unwrap().len(),
        Record::Status(_) | Record::Message(_) => 0,
    });
    assert!(largest.max().unwrap() <= 16_384);
    assert_eq!(texts(&records), text.repeat(2));
}

#[tokio::test]
async fn the_last_update_of_each_artifact_says_that_it_is_the_last() {
    let mut translator = translator();
    let piece = |append, last| event::Artifact {
        id: Some("a".to_owned()),
        name: None,
        description: None,
        content: Content::Text("x".to_owned()),
        append,
        last,
    };
    translator.say(Event::Text("answer".to_owned()));
    let mut records = translator.take();
    translator.say(Event::Artifact(piece(false, false)));
    translator.say(Event::Artifact(piece(true, false)));
    records.append(&mut translator.take());
    let outcome = Outcome::Completed { answer: None };
    records.append(&mut translator.finish(outcome, &TurnFacts::default(), None));
    let mut last = std::collections::HashMap::new();
    for record in &records {
        if let Record::Artifact(update) = record {
            last.insert(update.artifact.artifact_id.clone(), update.last_chunk);
        }
    }
    assert_eq!(last.len(), 2);
    assert!(last.values().all(|is_last| *is_last), "{last:?}");
}
