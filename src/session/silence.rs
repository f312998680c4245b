//! How long the model of a turn has said nothing. It is not counted while something else is awaited: a tool, a hook, work
//! in the background, or the answer of a person.

use pilothouse_agents::Event;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// Tool calls that are remembered; beyond, a tool is taken to run.
const CALLS: usize = 1024;

/// The silence of one turn.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    /// Whether only the model can say something, as far as the calls of tools do not tell.
    is_awaited: bool,
    /// Tool calls without a result.
    calls: HashSet<String>,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, is_awaited: true, calls: HashSet::new() }
    }

    /// The agent has said this.
    pub(super) fn hear(&mut self, event: &Event, now: Instant) {
        match event {
            Event::ToolCall { id, .. } if self.calls.len() < CALLS => {
                self.calls.insert(id.clone());
            }
            Event::ToolResult { id, .. } => {
                self.calls.remove(id);
            }
            Event::Text(_)
            | Event::Thought(_)
            | Event::Status { .. }
            | Event::ToolCall { .. }
            | Event::ToolFile { .. }
            | Event::Plan(_)
            | Event::Artifact(_)
            | Event::Message(_)
            | Event::Problem(_)
            | Event::Setup(_)
            | Event::Usage(_)
            // What a driver cannot read may be the model's thinking, as it goes on.
            | Event::Raw(_) => {}
        }
        self.since = now;
    }

    /// Notes whether only the model can say something now; its silence begins when nothing else is awaited any longer.
    pub(super) fn note(&mut self, is_awaited: bool, now: Instant) {
        if is_awaited && !self.is_awaited {
            self.since = now;
        }
        self.is_awaited = is_awaited;
    }

    /// How long the model has said nothing; none while something else is awaited.
    pub(super) fn length(&self, now: Instant) -> Option<Duration> {
        self.counts().then(|| now.saturating_duration_since(self.since))
    }

    /// When it has said nothing for so long; none while something else is awaited.
    pub(super) fn ends_at(&self, longest: Duration) -> Option<Instant> {
        self.counts().then(|| self.since + longest)
    }

    fn counts(&self) -> bool {
        self.is_awaited && self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_model_is_silent_since_its_last_word_but_not_while_a_tool_runs() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::new(start);
        silence.hear(&Event::Text("x".to_owned()), after(5));
        assert_eq!(silence.length(after(9)), Some(Duration::from_secs(4)));
        let (id, name) = ("u".to_owned(), "Bash".to_owned());
        silence.hear(&Event::ToolCall { id: id.clone(), name, input: Value::Null }, after(10));
        let longest = Duration::from_secs(60);
        assert_eq!((silence.length(after(20)), silence.ends_at(longest)), (None, None));
        let content = String::new();
        silence.hear(&Event::ToolResult { id, content, is_error: false }, after(30));
        assert_eq!(silence.ends_at(longest), Some(after(90)));
    }

    #[test]
    fn the_silence_begins_when_nothing_else_is_awaited_any_longer() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let longest = Duration::from_secs(60);
        let mut silence = Silence::new(start);
        silence.note(false, after(10));
        assert_eq!((silence.length(after(100)), silence.ends_at(longest)), (None, None));
        silence.note(true, after(100));
        silence.note(true, after(110));
        assert_eq!(silence.ends_at(longest), Some(after(160)));
    }
}
