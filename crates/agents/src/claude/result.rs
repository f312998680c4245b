//! The end of a turn of Claude Code: outcome, usage, and the turn's own part of the cost.

use super::background::add;
use super::so_far::SoFar;
use super::wire::{Denial, ModelTokens, TurnResult};
use super::{Claude, Phase, failure};
use crate::event::{Artifact, Content};
use crate::{Event, Outcome, Step, Usage};
use serde_json::json;
use std::mem;

impl Claude {
    /// The result of a turn that is not ours: what it used is counted with our next one, and a conversation
    /// may be lost.
    pub(super) fn overheard(&mut self, mut result: TurnResult) {
        let used = self.usage(&mut result);
        self.between = add(mem::take(&mut self.between), used);
        self.lost |= self.phase == Phase::Idle
            && !self.ready
            && result.is_error == Some(true)
            && failure::of_result(&result) == Outcome::ConversationLost;
    }

    pub(super) fn result(&mut self, mut result: TurnResult) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(output) = result.structured_output.take() {
            steps.push(Step::Say(Event::Artifact(Artifact {
                id: None,
                name: Some("structured-output".to_owned()),
                description: None,
                content: Content::Data(output),
                append: false,
                last: true,
            })));
        }
        let denials = result.permission_denials.take().unwrap_or_default();
        let untold =
            denials.into_iter().filter(|denial| !self.turn.refused.contains(&denial.tool_use_id));
        if !self.turn.interrupted {
            steps.extend(untold.map(denied));
        }
        let used = add(mem::take(&mut self.between), self.usage(&mut result));
        self.turn.spent = add(mem::take(&mut self.turn.spent), used);
        self.turn.so_far = SoFar::default();
        self.turn.api_status = result.api_error_status;
        let (outcome, untold) = self.judge(&mut result);
        steps.extend(untold);
        let outcome = self.turn.hooks.judge(outcome, result.terminal_reason.as_deref());
        if outcome != Outcome::ConversationLost {
            steps.push(Step::Say(Event::Usage(self.turn.spent.clone())));
        }
        match self.may_go_on(&outcome) {
            true => steps.extend(self.hold(outcome)),
            false => steps.extend(self.end(outcome)),
        }
        steps
    }

    /// What the turn used: the sum over its models (sub-agents and aborted calls included), or the
    /// CLI's own sum where it does not list them.
    fn usage(&mut self, result: &mut TurnResult) -> Usage {
        let models = result.model_usage_since_last_result.take().unwrap_or_default();
        let mut usage = Usage {
            cost_usd: self.own_cost(result.total_cost_usd),
            model: match models.keys().next() {
                Some(only) if models.len() == 1 => Some(only.clone()),
                _ => self.model.clone(),
            },
            turns: result.num_turns,
            ..Usage::default()
        };
        if models.is_empty() {
            let tokens = result.usage.take().unwrap_or_default();
            usage.input_tokens = tokens.input_tokens;
            usage.output_tokens = tokens.output_tokens;
            usage.cache_read_tokens = tokens.cache_read_input_tokens;
            usage.cache_write_tokens = tokens.cache_creation_input_tokens;
        } else {
            let sum = |tokens: fn(&ModelTokens) -> u64| {
                Some(models.values().map(tokens).fold(0, u64::saturating_add))
            };
            usage.input_tokens = sum(|model| model.input_tokens);
            usage.output_tokens = sum(|model| model.output_tokens);
            usage.cache_read_tokens = sum(|model| model.cache_read_input_tokens);
            usage.cache_write_tokens = sum(|model| model.cache_creation_input_tokens);
        }
        usage
    }

    /// The part of the process's cost that came since the last result, to a billionth of a dollar.
    fn own_cost(&mut self, total: Option<f64>) -> Option<f64> {
        let total = total?;
        let before = mem::replace(&mut self.total_cost, total);
        let own = if total < before { total } else { total - before };
        Some((own * 1e9).round() / 1e9)
    }
}

fn denied(denial: Denial) -> Step {
    let text = format!("{} was not permitted", denial.tool_name);
    let data = json!({ "tool": denial.tool_name, "toolUseId": denial.tool_use_id });
    Step::Say(Event::Status { text, data: Some(data) })
}
