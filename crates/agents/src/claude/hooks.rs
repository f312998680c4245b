//! Hooks of the agent's own settings, and the CLI's notices: what stops a turn, and what people should see.
//!
//! Most hooks are silent without `--include-hook-events`: one that fails or takes long is told by these lines alone,
//! and so are the words with which a hook ends a turn.

use super::Claude;
use super::wire::{HookLine, Notice};
use crate::event::Problem;
use crate::exit::bounded;
use crate::reading::{Heard, raw};
use crate::{Event, LONGEST_ID, Outcome, Step, Timer};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a hook runs before people are told.
const SLOW: Duration = Duration::from_secs(10);

/// Hooks that are waited for at a time.
const REMEMBERED: usize = 64;

/// Bytes of a hook's words that are told.
const WORDS: usize = 2048;

/// The hooks of one turn.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// Those that run, by their ids.
    running: BTreeMap<String, RunningHook>,
    /// Whether the timer of hooks is set.
    is_timed: bool,
    /// The words with which one of them ended the turn.
    stop: Option<String>,
    /// What one of them made of the prompt.
    verdict: Option<Verdict>,
}

/// A hook that runs.
#[derive(Debug)]
struct RunningHook {
    name: String,
    age: HookAge,
}

/// How long a hook has run, as far as people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HookAge {
    /// It began after the timer was set.
    New,
    /// It has run since the timer was set, or longer.
    Timed,
    /// It runs for long, and people were told.
    Told,
}

/// What a hook made of a prompt.
#[derive(Debug)]
enum Verdict {
    /// The model does not get it.
    Blocked(String),
    /// The turn is over.
    Stopped(String),
}

/// What a hook may print: whether the turn goes on.
#[derive(Debug, Deserialize)]
struct Printed {
    #[serde(rename = "continue")]
    goes_on: Option<bool>,
    #[serde(rename = "stopReason")]
    reason: Option<String>,
}

impl Hooks {
    pub(super) fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// What a turn has come to that the CLI calls a success: a hook may have blocked or stopped it.
    pub(super) fn judge(&mut self, outcome: Outcome, reason: Option<&str>) -> Outcome {
        if !matches!(outcome, Outcome::Completed { .. }) {
            return outcome;
        }
        let stopped = |words: Option<String>| Outcome::Failed {
            message: match words {
                Some(words) => format!("a hook stopped the turn: {words}"),
                None => "a hook stopped the turn and gave no reason".to_owned(),
            },
            hint: Some(
                "the hook stands in the agent's settings, which the operator can change".to_owned(),
            ),
        };
        match (self.verdict.take(), reason) {
            (Some(Verdict::Blocked(reason)), _) => {
                Outcome::Rejected { message: format!("a hook refused the message: {reason}") }
            }
            (Some(Verdict::Stopped(words)), _) => stopped(Some(words)),
            (None, Some("hook_stopped" | "stop_hook_prevented")) => stopped(self.stop.take()),
            (None, _) => outcome,
        }
    }
}

impl Claude {
    /// A hook begins.
    pub(super) fn hook_started(&mut self, hook: HookLine<'_>) -> Heard {
        if self.turn.hooks.running.len() < REMEMBERED && hook.hook_id.len() <= LONGEST_ID {
            let (id, name) =
                (hook.hook_id.into_owned(), bounded(hook.hook_name.into_owned(), WORDS));
            let hook = RunningHook { name, age: HookAge::New };
            self.turn.hooks.running.insert(id, hook);
        }
        Ok(self.time_hooks().into_iter().collect())
    }

    /// Sets the timer for the hooks that have begun, unless it is set.
    fn time_hooks(&mut self) -> Option<Step> {
        let hooks = &mut self.turn.hooks;
        let new: Vec<_> =
            hooks.running.values_mut().filter(|hook| hook.age == HookAge::New).collect();
        if hooks.is_timed || new.is_empty() {
            return None;
        }
        new.into_iter().for_each(|hook| hook.age = HookAge::Timed);
        hooks.is_timed = true;
        Some(Step::Wake(Timer::Hooks, SLOW))
    }

    /// The time of the timer is over: those that have run since are slow.
    pub(super) fn report_slow_hooks(&mut self) -> Vec<Step> {
        self.turn.hooks.is_timed = false;
        let running = self.turn.hooks.running.values_mut();
        let slow = running.filter(|hook| hook.age == HookAge::Timed);
        let told = slow.map(|hook| {
            hook.age = HookAge::Told;
            let name = hook.name.clone();
            let text =
                format!("the hook {name} has been running for more than {} s", SLOW.as_secs());
            problem(name, "slow", None, text)
        });
        let steps: Vec<_> = told.collect();
        steps.into_iter().chain(self.time_hooks()).collect()
    }

    /// A hook does not run any longer, whichever turn it belongs to.
    pub(super) fn forget_hook(&mut self, hook: &HookLine<'_>) {
        self.turn.hooks.running.remove(&*hook.hook_id);
    }

    /// A hook has ended.
    pub(super) fn hook_ended(&mut self, hook: HookLine<'_>) -> Heard {
        self.forget_hook(&hook);
        let stdout = hook.stdout.as_deref().unwrap_or_default().trim();
        let stderr = hook.stderr.as_deref().unwrap_or_default().trim();
        if let Ok(Printed { goes_on: Some(false), reason }) = serde_json::from_str(stdout) {
            self.turn.hooks.stop = reason.map(|reason| bounded(reason, WORDS));
        }
        let words = if stderr.is_empty() { stdout } else { stderr };
        let words = (!words.is_empty()).then(|| bounded(words.to_owned(), WORDS));
        let said = words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
        let name = bounded((*hook.hook_name).to_owned(), WORDS);
        Ok(match (hook.outcome.as_deref(), hook.exit_code) {
            // What it has to say about a tool or a prompt, not a failure of its own.
            (Some("error"), Some(2)) => {
                let data =
                    json!({ "kind": "hook", "subject": name, "state": "blocked", "detail": words });
                let text = format!("the hook {name} blocked this{said}");
                vec![Step::Say(Event::Status { text, data: Some(data) })]
            }
            (Some("error"), code) => {
                let code = code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
                let text = format!("the hook {name} failed{code}{said}");
                vec![problem(name, "failed", words, text)]
            }
            (Some("cancelled"), _) if !self.turn.interrupted => {
                let text = format!("the hook {name} did not end in its time and was ended{said}");
                vec![problem(name, "timed-out", words, text)]
            }
            _ => Vec::new(),
        })
    }

    /// The CLI has something to say to people.
    pub(super) fn notice(&mut self, notice: Notice<'_>, bytes: &[u8]) -> Heard {
        let level = notice.level.or(notice.priority);
        let level = level.as_deref().unwrap_or_default();
        let text = notice.content.or(notice.text);
        let text = bounded(text.as_deref().unwrap_or_default().trim().to_owned(), WORDS);
        if let Some(outcome) = notice.prompt_submit_outcome
            && notice.prevent_continuation == Some(true)
        {
            let reason = outcome
                .reason
                .map_or_else(|| text.clone(), |reason| bounded((*reason).to_owned(), WORDS));
            let is_blocked = outcome.kind.as_deref() == Some("blocked_by_hook");
            let verdict = if is_blocked { Verdict::Blocked } else { Verdict::Stopped };
            self.turn.hooks.verdict = Some(verdict(reason));
            // It is the end of the turn, which says it.
            return Ok(Vec::new());
        }
        if !matches!(level, "warning" | "error" | "high" | "immediate") || text.is_empty() {
            return Ok(vec![raw(bytes)]);
        }
        let data = json!({ "kind": "notice", "level": level, "tag": notice.tag.or(notice.key).as_deref() });
        Ok(vec![Step::Say(Event::Status { text, data: Some(data) })])
    }
}

fn problem(subject: String, state: &str, detail: Option<String>, text: String) -> Step {
    let state = state.to_owned();
    Step::Say(Event::Problem(Problem {
        kind: "hook",
        subject,
        state,
        detail,
        text,
        is_solved: false,
    }))
}
