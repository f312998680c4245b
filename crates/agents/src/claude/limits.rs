//! The limits of the account at the model API, as the CLI tells of them.

use super::Claude;
use super::wire::RateLimits;
use crate::reading::{Heard, Unreadable};
use crate::{Event, Limit, Step};
use serde_json::json;

impl Claude {
    /// A `rate_limit_event`: of whosever turn, it is the account's.
    pub(super) fn rate_limit(&mut self, info: Option<RateLimits<'_>>) -> Heard {
        let info = info.ok_or(Unreadable)?;
        let kind = info.rate_limit_type.as_deref().unwrap_or("rate");
        let name = kind.replace('_', " ");
        Ok(match &*info.status {
            "rejected" if info.is_using_overage != Some(true) => {
                vec![Step::Limited(Limit { kind: name, resets_at: info.resets_at })]
            }
            "allowed_warning" => {
                let share = info.utilization.map(|share| format!(" ({:.0} %)", share * 100.0));
                let text = format!(
                    "the account's {name} limit is nearly reached{}",
                    share.unwrap_or_default()
                );
                let data =
                    json!({ "kind": "limit-warning", "limit": name, "resetsAt": info.resets_at });
                vec![Step::WithinLimits, Step::Say(Event::Status { text, data: Some(data) })]
            }
            "allowed" | "rejected" => vec![Step::WithinLimits],
            _ => Vec::new(),
        })
    }
}
