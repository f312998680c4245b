//! What counts among the events of a turn, and how the text of an answer gathers.

use super::*;
use crate::store::{self, Scope, TaskRow};
use crate::task::Tasks;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::message::PartContent;
use pilothouse_a2a::time::Timestamp;

fn translator() -> Translator {
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
    Translator::new(log, false, &Limits::default())
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
