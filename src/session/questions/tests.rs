//! What is stored, shown and told while questions are asked, answered and withdrawn.

use super::*;
use crate::session::records::status;
use crate::store::{self, Scope, TaskRow};
use crate::task::Tasks;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::time::Timestamp;
use serde_json::json;

const ALLOW: Decision = Decision::Allow { input: None, grant: None };
const YES: Answer = Answer::Allow { input: None };

fn log() -> Arc<TaskLog> {
    let (store, now) = (store::in_memory(), Timestamp::now());
    let row = TaskRow {
        n: store.new_task_number(),
        id: TaskId::random(),
        scope: Scope { caller: "ann".into(), agent: "echo".into() },
        context_id: ContextId::random(),
        session: "session".into(),
        alias: None,
        state: TaskState::Working,
        status_at: now,
        created: now,
        head: 0,
        print: None,
    };
    Tasks::new(store).hold(&row)
}

/// Questions about these tools, each with the tool's place as the driver's id of it, and their ids.
fn ask(tools: &[&str]) -> (Questions, Vec<Arc<str>>) {
    let (log, mut questions) = (log(), Questions::default());
    let mut add = |(place, tool): (usize, &&str)| {
        let ask = json!({"kind": "permission", "tool": tool, "input": {}});
        let row = Arc::new(ask_row(&log, ask, false, &Config::default()));
        questions.add(place.to_string(), row.clone(), Instant::now());
        row.id.clone()
    };
    let ids = tools.iter().enumerate().map(&mut add).collect();
    (questions, ids)
}

fn said(words: &str) -> Vec<Record> {
    let message = Message::new(Role::Agent, vec![Part::text(words)]);
    vec![status(&log(), TaskState::Working, Some(message), None)]
}

/// What is stored, as words, and the id of the question that is shown.
fn release(questions: &mut Questions, records: Vec<Record>) -> (Vec<String>, Option<Arc<str>>) {
    let (records, shown) = questions.release(records);
    let words = records.iter().map(|record| match record {
        Record::Status(update) => {
            let message = update.status.message.as_ref().unwrap();
            message.parts[0].as_text().unwrap().to_owned()
        }
        Record::Artifact(_) | Record::Message(_) => panic!("no status"),
    });
    (words.collect(), shown.map(|row| row.id.clone()))
}

fn tell(ask: &str, answer: Answer) -> Command {
    Command::Tell(ask.to_owned(), answer)
}

#[test]
fn a_question_that_is_answered_before_it_is_stored_is_not_stored() {
    let (mut questions, ids) = ask(&["Bash"]);
    assert!(questions.answer(&ids[0], &ALLOW).is_some());
    let (fresh, writes) = questions.changes();
    assert!(fresh.is_empty());
    assert!(matches!(&writes[..], [Write::AskGone { id, .. }] if *id == ids[0]), "{writes:?}");
}

#[test]
fn a_question_is_shown_after_everything_that_was_said_before_it_and_later_words_are_held_back() {
    let (mut questions, ids) = ask(&["Bash"]);
    assert_eq!(
        release(&mut questions, said("before")),
        (vec!["before".into()], Some(ids[0].clone()))
    );
    assert_eq!(release(&mut questions, said("later")), (vec![], None));
    assert_eq!(questions.answer(&ids[0], &ALLOW), Some(tell("0", YES)));
    assert_eq!(
        release(&mut questions, said("after")),
        (vec!["later".into(), "after".into()], None)
    );
}

#[test]
fn a_second_question_is_stored_at_once_and_shown_when_the_first_is_answered() {
    let (mut questions, ids) = ask(&["Bash"]);
    release(&mut questions, Vec::new());
    questions.changes();
    let (mut second, _) = ask(&["Write"]);
    let row = second.open.remove(0).row;
    questions.add("1".to_owned(), row.clone(), Instant::now());
    let (fresh, writes) = questions.changes();
    assert_eq!((fresh.len(), writes.len()), (1, 1));
    assert_eq!(release(&mut questions, said("beside")), (vec![], None));
    questions.answer(&ids[0], &ALLOW).unwrap();
    assert_eq!(release(&mut questions, Vec::new()), (vec!["beside".into()], Some(row.id.clone())));
}

#[test]
fn a_grant_answers_an_open_question_and_the_store_is_told_who_gave_it() {
    let (mut questions, ids) = ask(&["Bash", "Write"]);
    release(&mut questions, Vec::new());
    questions.changes();
    let act = Arc::new(AskAct {
        by: "ann".into(),
        source: store::AnswerSource::default(),
        at: Timestamp::now(),
        what: serde_json::Map::new(),
    });
    let told = questions.allow(&ids[0], act.clone());
    assert_eq!(told, [Command::Close(ids[0].clone()), tell("0", YES)]);
    let (_, writes) = questions.changes();
    let [Write::AskGone { id, state: AskState::Answered, act: Some(noted) }] = &writes[..] else {
        panic!("{writes:?}")
    };
    assert_eq!((id, noted), (&ids[0], &act));
    assert_eq!(release(&mut questions, Vec::new()).1, Some(ids[1].clone()));
    assert!(questions.allow(&ids[0], act).is_empty());
}

#[test]
fn an_answer_to_a_question_that_is_not_open_tells_the_agent_nothing() {
    let (mut questions, ids) = ask(&["Bash"]);
    questions.answer(&ids[0], &ALLOW).unwrap();
    assert_eq!(questions.answer(&ids[0], &ALLOW), None);
}

#[test]
fn a_withdrawn_question_is_closed_and_the_next_one_is_shown() {
    let (mut questions, ids) = ask(&["Bash", "Write"]);
    release(&mut questions, Vec::new());
    assert_eq!(questions.withdraw("0"), Some(Command::Close(ids[0].clone())));
    assert_eq!(release(&mut questions, Vec::new()).1, Some(ids[1].clone()));
    assert_eq!(questions.withdraw("1"), Some(Command::Close(ids[1].clone())));
    assert!(!questions.are_open() && questions.park_at(Duration::ZERO).is_none());
    assert_eq!(questions.withdraw("1"), None);
}

#[test]
fn only_an_open_question_can_be_left_to_another_process() {
    let (mut questions, ids) = ask(&["Bash", "Write"]);
    questions.withdraw("0");
    assert!(!questions.forget(&ids[0]));
    assert!(questions.forget(&ids[1]));
    assert!(!questions.are_open());
}

#[test]
fn the_withdrawal_of_a_question_that_is_not_shown_leaves_the_status_as_it_is() {
    let (mut questions, ids) = ask(&["Bash", "Write"]);
    release(&mut questions, Vec::new());
    assert_eq!(questions.withdraw("1"), Some(Command::Close(ids[1].clone())));
    assert_eq!(release(&mut questions, said("later")), (vec![], None));
}

#[test]
fn a_question_that_is_withdrawn_before_it_was_stored_is_not_stored() {
    let (mut questions, ids) = ask(&["Bash"]);
    questions.withdraw("0");
    let (fresh, writes) = questions.changes();
    assert!(fresh.is_empty());
    let [Write::AskGone { id, .. }] = &writes[..] else { panic!("{} writes", writes.len()) };
    assert_eq!(*id, ids[0]);
}

#[test]
fn what_was_held_back_is_shown_at_the_end_of_the_turn() {
    let (mut questions, ids) = ask(&["Bash", "Write"]);
    release(&mut questions, Vec::new());
    release(&mut questions, said("later"));
    let closed: Vec<_> = ids.into_iter().map(Command::Close).collect();
    assert_eq!(questions.close_all(), closed);
    assert_eq!(release(&mut questions, Vec::new()), (vec!["later".into()], None));
}

#[test]
fn what_was_held_back_of_a_parked_turn_is_shown_before_its_question() {
    let (mut questions, ids) = ask(&["Bash"]);
    release(&mut questions, Vec::new());
    release(&mut questions, said("later"));
    questions.park(said("last"));
    let (records, shown) = questions.release(Vec::new());
    assert_eq!(shown.map(|row| row.id.clone()), Some(ids[0].clone()));
    let asks = |record: &Record| matches!(record, Record::Status(update) if update.status.state == TaskState::InputRequired);
    assert!(records.len() == 2 && records.iter().all(asks));
}

#[test]
fn the_agent_waits_where_its_questions_or_its_words_leave_no_room() {
    let bounds =
        config::Asks { per_turn: 2, held: config::Bytes::new(10), ..Config::default().asks };
    let (mut questions, _) = ask(&["Bash"]);
    assert!(questions.have_room(&bounds, 0) && !questions.have_room(&bounds, RECORDS));
    questions.count_output(11);
    assert!(!questions.have_room(&bounds, 0));
    release(&mut questions, Vec::new());
    assert!(questions.have_room(&bounds, 0));
    assert!(!ask(&["Bash", "Write"]).0.have_room(&bounds, 0));
    // While nobody is asked, nothing is held back.
    let mut silent = Questions::default();
    silent.count_output(11);
    assert!(silent.have_room(&bounds, 0));
}
