//! A session as lists show it: its row, what it does now, how it began, and how its newest task stands.

use super::super::Doors;
use crate::store::{Error, SessionHead, SessionRow};
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::message::{Message, Part, Role};
use serde_json::{Value, json};

/// Characters of a title, and of the line that says what happens now.
const TITLE: usize = 120;
const NOW: usize = 160;

/// Sessions as callers see them, in the order of these rows.
pub(in super::super) async fn render_sessions(
    doors: &Doors,
    rows: &[SessionRow],
) -> Result<Vec<Value>, Error> {
    // Before the next read: a turn that ends meanwhile leaves a row that is older than what is said of it.
    let sessions = doors.service.sessions();
    let activities = rows.iter().map(|row| sessions.activity(row));
    let activities: Vec<_> = activities.map(|now| (now.has_process, json!(now))).collect();
    let heads = doors.store.session_heads(rows).await?;
    let rows = rows.iter().zip(activities).zip(heads);
    Ok(rows.map(|((row, activity), head)| render(doors, row, activity, &head)).collect())
}

fn render(
    doors: &Doors,
    row: &SessionRow,
    (live, activity): (bool, Value),
    head: &SessionHead,
) -> Value {
    let sessions = doors.service.sessions();
    let mut shown = json!({
        "id": &*row.id,
        "contextId": row.context_id,
        "agent": &*row.scope.agent,
        "caller": &*row.scope.caller,
        "conversation": row.conversation,
        "live": live,
        "activity": activity,
        "created": row.created,
        "used": row.used,
        "checkout": row.checkout,
        "kept": sessions.why_kept(row),
        "workspace": doors.agents.folders_of(&row.scope.agent).shown(&row.id),
        "asks": doors.service.count_asks(row),
    });
    if let Some((task, state, at)) = &head.task {
        shown["task"] = json!({"id": task, "state": state, "at": at});
    }
    if let Some(title) = head.first.as_deref().and_then(title_of) {
        shown["title"] = title.into();
    }
    if let Some(now) = head.status.as_deref().and_then(words_of) {
        shown["now"] = now.into();
    }
    shown
}

/// The beginning of what the caller said first.
fn title_of(first: &[u8]) -> Option<String> {
    let Ok(StreamResponse::Task(task)) = serde_json::from_slice(first) else { return None };
    let mut history = task.history.iter();
    beginning(history.find(|message| message.role == Role::User)?, TITLE)
}

/// The beginning of what a status says.
fn words_of(status: &[u8]) -> Option<String> {
    let Ok(StreamResponse::StatusUpdate(update)) = serde_json::from_slice(status) else {
        return None;
    };
    beginning(update.status.message.as_ref()?, NOW)
}

/// The beginning of a message's texts, in one line.
fn beginning(message: &Message, most: usize) -> Option<String> {
    let texts = message.parts.iter().filter_map(Part::as_text);
    let words = texts.flat_map(str::split_whitespace);
    let mut line = String::new();
    let mut left = most;
    for word in words {
        if !line.is_empty() {
            line.push(' ');
            left -= 1;
        }
        line.extend(word.chars().take(left));
        left = left.saturating_sub(word.chars().count());
        if left == 0 {
            break;
        }
    }
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_message_is_one_line_of_so_many_characters() {
        let of = |text: &str| beginning(&Message::agent_text(text), 9);
        assert_eq!(of("one\n  two").as_deref(), Some("one two"));
        assert_eq!(of("äääääääääääää x").as_deref(), Some("äääääääää"));
        assert_eq!(of("one two three four").unwrap().chars().count(), 9);
        assert_eq!(of(" \n"), None);
    }
}
