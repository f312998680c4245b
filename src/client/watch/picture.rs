//! What `watch` shows: the list of sessions, the ask of the selected one, the keys. Pure: it makes lines of text.

use super::super::local::Server;
use super::super::names::shorten;
use super::super::outcome::ago;
use super::super::tasks::Ask;
use super::super::terminal::{BAD, DIM, WAITS, clean_line, cut, padded, styled};
use super::{Snapshot, WatchedSession};
use anstyle::{Effects, Style};
use pilothouse_a2a::time::Timestamp;
use serde_json::Value;

const SELECTED: Style = Style::new().effects(Effects::INVERT);
/// Columns of the list before what a session does.
const CONTEXT: usize = 8;
const AGENT: usize = 12;
const STATE: usize = 18;
const SINCE: usize = 10;
/// Lines around the list and the ask: the head, its columns, an empty line, the keys.
const FRAME: usize = 4;

/// What is shown.
pub(super) struct Picture {
    address: String,
    is_styled: bool,
    snapshot: Snapshot,
    /// The context of the selected session: a list that changes its order keeps the selection.
    selected: Option<String>,
    /// What came of the last answer.
    word: Option<String>,
    /// The ask that the last picture showed in full.
    shown_ask: Option<String>,
}

impl Picture {
    pub(super) fn new(address: &str, is_styled: bool) -> Self {
        Self {
            address: address.to_owned(),
            is_styled,
            snapshot: Snapshot { sessions: Vec::new(), failure: None },
            selected: None,
            word: None,
            shown_ask: None,
        }
    }

    /// Takes in what the last look found.
    pub(super) fn update(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
        if self.selected_index().is_none() {
            self.selected = self.snapshot.sessions.first().map(|first| first.context.clone());
        }
    }

    /// The last look failed; the list stays as it was.
    pub(super) fn fail(&mut self, why: &str) {
        self.snapshot.failure = Some(clean_line(why));
    }

    /// What came of an answer.
    pub(super) fn tell(&mut self, failure: Option<String>) {
        self.word = Some(failure.map_or_else(|| "answered".to_owned(), |why| clean_line(&why)));
    }

    /// Selects another session.
    pub(super) fn move_by(&mut self, step: isize) {
        let last = self.snapshot.sessions.len().saturating_sub(1);
        let index = self.selected_index().unwrap_or(0).saturating_add_signed(step).min(last);
        self.selected = self.snapshot.sessions.get(index).map(|one| one.context.clone());
        self.word = None;
    }

    /// The selected session.
    pub(super) fn selected(&self) -> Option<&WatchedSession> {
        self.snapshot.sessions.get(self.selected_index()?)
    }

    fn selected_index(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.snapshot.sessions.iter().position(|session| session.context == *selected)
    }

    /// The ask about which a key decides now, where it is shown in full and can be decided so.
    pub(super) fn decide(&mut self, decision: &str) -> Option<(Server, String)> {
        let session = self.selected()?;
        let data = session.ask.as_ref()?;
        let (ask, id) = (Ask::of_data(data), ask_id(data));
        if self.shown_ask.as_ref() != Some(&id) {
            self.word = Some("it does not fit here: press Enter and read it first".to_owned());
            return None;
        }
        if !ask.is_permission() || !ask.offers(decision) {
            self.word = Some("it is a question: press Enter to answer it".to_owned());
            return None;
        }
        let server = session.server.clone();
        self.word = Some(format!("{decision}: {}", ask.describe()));
        Some((server, id))
    }

    /// The lines of a screen of this size.
    pub(super) fn draw(&mut self, columns: usize, rows: usize, now: Timestamp) -> Vec<String> {
        let rows = rows.max(FRAME + 2);
        let (ask, is_whole) = self.draw_ask(columns, rows - FRAME - 1);
        self.shown_ask = self.selected().and_then(|one| one.ask.as_ref()).map(ask_id);
        if !is_whole {
            self.shown_ask = None;
        }
        let room = rows - FRAME - ask.len();
        let mut lines = vec![self.draw_head(columns), self.draw_columns(columns)];
        lines.extend(self.draw_sessions(columns, room, now));
        lines.push(String::new());
        lines.extend(ask);
        lines.truncate(rows - 1);
        while lines.len() < rows - 1 {
            lines.push(String::new());
        }
        lines.push(self.draw_keys(columns));
        lines
    }

    fn draw_head(&self, columns: usize) -> String {
        let count = self.snapshot.sessions.len();
        let waiting = self.snapshot.sessions.iter().filter(|one| one.ask.is_some()).count();
        let live = self.snapshot.sessions.iter().filter(|one| one.state != "idle").count();
        let head = format!(
            "pilothouse watch · {} · sessions {count} · at work {live} · asking {waiting}",
            self.address
        );
        cut(&head, columns)
    }

    fn draw_columns(&self, columns: usize) -> String {
        let head = row(["CONTEXT", "AGENT", "STATE", "SINCE"], "WHAT");
        self.style(&cut(&head, columns), DIM)
    }

    fn draw_sessions(&self, columns: usize, room: usize, now: Timestamp) -> Vec<String> {
        if self.snapshot.sessions.is_empty() {
            let words =
                "  no sessions yet; begin one in another terminal: pilothouse send \"hello\"";
            return vec![cut(words, columns)];
        }
        let selected = self.selected_index().unwrap_or(0);
        // The selected one is always shown.
        let first = (selected + 1).saturating_sub(room);
        let shown = self.snapshot.sessions.iter().enumerate().skip(first).take(room);
        let line = |(index, session): (usize, &WatchedSession)| {
            let line = padded(&cut(&describe(session, now), columns), columns);
            match (index == selected, &session.ask) {
                (true, _) if !self.is_styled => line.replacen("  ", "> ", 1).trim_end().to_owned(),
                (true, _) => styled(&line, SELECTED, true),
                (false, Some(_)) => self.style(line.trim_end(), WAITS),
                (false, None) => line.trim_end().to_owned(),
            }
        };
        shown.map(line).collect()
    }

    /// What the selected session asks, in `most` lines, and whether that is all of it.
    fn draw_ask(&self, columns: usize, most: usize) -> (Vec<String>, bool) {
        let Some(data) = self.selected().and_then(|session| session.ask.as_ref()) else {
            return (Vec::new(), false);
        };
        let text = Ask::of_data(data).render(None, Some(columns));
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        let is_whole = lines.len() <= most;
        if !is_whole {
            let left = lines.len() - (most - 1);
            lines.truncate(most - 1);
            lines.push(format!("… {left} more lines: press Enter"));
        }
        (lines, is_whole)
    }

    fn draw_keys(&self, columns: usize) -> String {
        if let Some(why) = &self.snapshot.failure {
            return self.style(&cut(&format!("not up to date: {why}"), columns), BAD);
        }
        if let Some(word) = &self.word {
            return cut(word, columns);
        }
        let ask = self.selected().and_then(|session| session.ask.as_ref()).map(Ask::of_data);
        let keys = match ask.map(|ask| ask.is_permission()) {
            Some(true) if self.shown_ask.is_some() => {
                "[Enter] transcript and answer  [y] allow once  [n] deny  "
            }
            Some(_) => "[Enter] transcript and answer  ",
            None => "[Enter] transcript  ",
        };
        let keys = format!("↑↓ select  {keys}[q] leave");
        self.style(&cut(&keys, columns), DIM)
    }

    fn style(&self, text: &str, style: Style) -> String {
        styled(text, style, self.is_styled)
    }
}

fn ask_id(data: &Value) -> String {
    data.get("askId").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A line of the list.
fn describe(session: &WatchedSession, now: Timestamp) -> String {
    let state = match &session.waits_for {
        Some(what) => format!("{}: {what}", session.state),
        None => session.state.clone(),
    };
    let since = session.since.or(session.used);
    let since = ago(since, now);
    let since = since.trim_end_matches(" ago");
    let what = match (&session.ask, &session.task) {
        (Some(data), _) => {
            let ask = Ask::of_data(data);
            format!("{} {}", ask.tool(), ask.headline())
        }
        (None, Some(task)) => format!("task {}", shorten(task)),
        (None, None) => String::new(),
    };
    row([shorten(&session.context), &session.agent, &state, since], &what)
}

fn row([context, agent, state, since]: [&str; 4], what: &str) -> String {
    let cell = |text: &str, wide: usize| padded(&cut(&clean_line(text), wide), wide);
    format!(
        "  {}  {}  {}  {}  {}",
        cell(context, CONTEXT),
        cell(agent, AGENT),
        cell(state, STATE),
        cell(since, SINCE),
        clean_line(what)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn session(context: &str, ask: Option<Value>) -> WatchedSession {
        let at = |text| Timestamp::parse(text);
        WatchedSession {
            server: Server::default(),
            context: context.to_owned(),
            agent: "claude".to_owned(),
            state: if ask.is_some() { "waiting" } else { "idle" }.to_owned(),
            waits_for: ask.as_ref().map(|_| "answer".to_owned()),
            since: at("2026-01-01T00:01:00Z"),
            used: at("2026-01-01T00:01:00Z"),
            task: None,
            ask,
        }
    }

    fn picture(command: &str) -> Picture {
        let ask = json!({"askId": "a1", "kind": "permission", "tool": "Bash",
            "input": {"command": command}, "options": [{"id": "allow", "name": "Allow"}, {"id": "deny", "name": "Deny"}]});
        let mut picture = Picture::new("http://127.0.0.1:2222", false);
        let sessions = vec![session("ctx-asks", Some(ask)), session("ctx-idle", None)];
        picture.update(Snapshot { sessions, failure: None });
        picture
    }

    fn drawn(picture: &mut Picture, rows: usize) -> String {
        let now = Timestamp::parse("2026-01-01T00:02:00Z").unwrap();
        let lines = picture.draw(80, rows, now);
        assert_eq!(lines.len(), rows);
        assert!(lines.iter().all(|line| super::super::super::terminal::width(line) <= 80));
        lines.join("\n")
    }

    #[test]
    fn the_ask_of_the_selected_session_is_shown_in_full_with_the_keys_that_decide() {
        insta::assert_snapshot!(drawn(&mut picture("npm install left-pad"), 10), @"
        pilothouse watch · http://127.0.0.1:2222 · sessions 2 · at work 1 · asking 1
          CONTEXT   AGENT         STATE               SINCE       WHAT
        > ctx-asks  claude        waiting: answer     1 min       Bash npm install left…
          ctx-idle  claude        idle                1 min

        Bash asks to be used:
        │ npm install left-pad


        ↑↓ select  [Enter] transcript and answer  [y] allow once  [n] deny  [q] leave
        ");
    }

    #[test]
    fn a_key_decides_only_about_an_ask_that_is_shown_in_full() {
        let mut short = picture("ls");
        drawn(&mut short, 12);
        assert_eq!(short.decide("allow").map(|(_, id)| id), Some("a1".to_owned()));
        let mut long = picture(&"echo\n".repeat(40));
        drawn(&mut long, 12);
        assert!(long.decide("allow").is_none());
        short.move_by(1);
        assert!(short.decide("allow").is_none());
    }

    #[test]
    fn the_selection_stays_with_its_session_when_the_order_changes() {
        let mut picture = picture("ls");
        picture.move_by(1);
        let mut sessions = picture.snapshot.sessions.clone();
        sessions.reverse();
        picture.update(Snapshot { sessions, failure: None });
        assert_eq!(picture.selected().unwrap().context, "ctx-idle");
    }
}
