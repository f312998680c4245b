//! How long the model of a turn has said nothing. While a tool runs, or work in the background, that is no wonder.

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
    /// Tool calls without a result.
    calls: HashSet<String>,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, calls: HashSet::new() }
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
            | Event::Usage(_)
            // What a driver cannot read may be the model's thinking, as it goes on.
            | Event::Raw(_) => {}
        }
        self.since = now;
    }

    /// Nothing could be said until now.
    pub(super) fn begin_again(&mut self, now: Instant) {
        self.since = now;
    }

    /// How long the model has said nothing; none while a tool runs.
    pub(super) fn length(&self, now: Instant) -> Option<Duration> {
        self.calls.is_empty().then(|| now.saturating_duration_since(self.since))
    }

    /// When it has said nothing for so long; none while a tool runs.
    pub(super) fn ends_at(&self, longest: Duration) -> Option<Instant> {
        self.calls.is_empty().then(|| self.since + longest)
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
}
