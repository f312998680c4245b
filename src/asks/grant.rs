//! Permissions that go beyond one call: what an ask offers, what a person gives, and how that is shown.

use super::pattern::{CallPattern, GrantPattern};
use crate::clock;
use crate::config::{self, Age};
use crate::store::{AskAct, AskRow, GrantRow};
use pilothouse_a2a::error::Error;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a person wants to allow beyond the call that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantOffer {
    /// Which calls, or which host.
    pub pattern: GrantPattern,
    /// How often; as often as may be where nothing is said.
    pub uses: Option<u64>,
    /// How long; as long as may be where nothing is said.
    pub ttl: Option<Age>,
    /// Whether it is for each session of the caller with the agent.
    pub in_every_session: bool,
}

/// Adds to an ask what it offers beside this one call.
pub fn add_proposal(ask: &mut Value, bounds: &config::Asks) {
    let Some(pattern) = CallPattern::propose(ask).map(GrantPattern::Call) else { return };
    let (uses, ttl) = (bounds.pattern_uses, bounds.pattern_ttl);
    let words = describe(&pattern, false, uses, ttl);
    if let Some(options) = ask.get_mut("options").and_then(Value::as_array_mut) {
        let place = options.len().saturating_sub(1);
        options.insert(place, json!({"id": "allow_pattern", "name": format!("Allow {words}")}));
    }
    ask["proposal"] =
        json!({"pattern": pattern, "uses": uses, "ttl": ttl.to_string(), "words": words});
}

/// What would be allowed, for people.
fn describe(pattern: &GrantPattern, in_every_session: bool, uses: u64, ttl: Age) -> String {
    let times = if uses == 1 { "once".to_owned() } else { format!("at most {uses} times") };
    let place =
        if in_every_session { "in every session with this agent" } else { "in this session" };
    format!("{}, {place}, {times}, for {ttl}", pattern.describe())
}

impl GrantOffer {
    /// Any further call of the tool that is asked for, or connection to the host, in this session.
    pub(super) fn of_session(ask: &AskRow) -> Option<Self> {
        let pattern = GrantPattern::of(&ask.ask)?;
        Some(Self { pattern, uses: None, ttl: None, in_every_session: false })
    }

    /// The same for each session of the caller with the agent; for hosts alone.
    pub(super) fn of_agent(ask: &AskRow) -> Option<Self> {
        let offer = Self::of_session(ask)?;
        let is_host = matches!(offer.pattern, GrantPattern::Host(_));
        is_host.then_some(Self { in_every_session: true, ..offer })
    }

    /// What the ask proposes.
    pub(super) fn proposed(ask: &AskRow) -> Result<Self, Error> {
        let none = || {
            Error::invalid("pattern", "this ask proposes none; give one, or allow this call alone")
        };
        let proposal = ask.ask.get("proposal").ok_or_else(none)?;
        let pattern = serde_json::from_value(proposal["pattern"].clone()).map_err(|_| none())?;
        let ttl = proposal["ttl"].as_str().and_then(|ttl| ttl.parse().ok());
        Ok(Self { pattern, uses: proposal["uses"].as_u64(), ttl, in_every_session: false })
    }

    /// What a caller gives instead: a pattern with `uses` and `ttl`.
    pub(super) fn read(ask: &AskRow, given: &Value) -> Result<Self, Error> {
        let Value::Object(given) = given else { return Self::proposed(ask) };
        let mut given = given.clone();
        let uses = match given.remove("uses") {
            None => None,
            Some(uses) => {
                let uses = uses.as_u64().filter(|uses| *uses > 0);
                Some(
                    uses.ok_or_else(|| Error::invalid("pattern.uses", "must be a number above 0"))?,
                )
            }
        };
        let ttl = match given.remove("ttl") {
            None => None,
            Some(ttl) => {
                let ttl = ttl.as_str().ok_or_else(|| "must be a text like `1h`".to_owned());
                let ttl = ttl.and_then(str::parse::<Age>);
                Some(ttl.map_err(|what| Error::invalid("pattern.ttl", what))?)
            }
        };
        if let Some(tool) = ask.ask.get("tool") {
            given.entry("tool").or_insert_with(|| tool.clone());
        }
        let pattern = serde_json::from_value::<CallPattern>(Value::Object(given));
        let pattern = pattern.map_err(|what| Error::invalid("pattern", what.to_string()))?;
        let pattern = GrantPattern::Call(pattern);
        if !pattern.covers(&ask.ask) {
            let what = format!("{} does not cover the call that is asked for", pattern.describe());
            return Err(Error::invalid("pattern", what));
        }
        if matches!(&pattern, GrantPattern::Call(call) if call.is_of_tool()) {
            let what = "has neither `words` nor `pinned`, so it would allow every call of the tool; the decision \
                        `allow_session` does that";
            return Err(Error::invalid("pattern", what));
        }
        Ok(Self { pattern, uses, ttl, in_every_session: false })
    }

    /// The word for a decision that gives it.
    pub(super) fn decision(&self) -> &'static str {
        match &self.pattern {
            GrantPattern::Host(_) if self.in_every_session => "allow_always",
            GrantPattern::Host(_) => "allow_session",
            GrantPattern::Call(call) if call.is_of_tool() => "allow_session",
            GrantPattern::Call(_) => "allow_pattern",
        }
    }

    /// What the store and the API say of it.
    pub fn render(&self) -> Value {
        let mut shown = json!(self.pattern);
        if let Some(uses) = self.uses {
            shown["uses"] = uses.into();
        }
        if let Some(ttl) = self.ttl {
            shown["ttl"] = ttl.to_string().into();
        }
        shown
    }

    /// The row that is stored with the answer to this ask.
    ///
    /// # Errors
    ///
    /// Where it is for more uses, or for longer, than the configuration allows.
    pub fn row(
        &self,
        ask: &AskRow,
        act: &Arc<AskAct>,
        bounds: &config::Asks,
    ) -> Result<GrantRow, Error> {
        let uses = self.uses.unwrap_or(bounds.grant_uses);
        let ttl = self.ttl.unwrap_or(bounds.grant_ttl);
        let raise = |key: &str, most: String| {
            format!("is more than {most}; the server's operator can raise `{key}`")
        };
        if uses > bounds.grant_uses {
            let what = raise("asks.grant_uses", bounds.grant_uses.to_string());
            return Err(Error::invalid("pattern.uses", what));
        }
        if ttl.get() > bounds.grant_ttl.get() {
            let what = raise("asks.grant_ttl", bounds.grant_ttl.to_string());
            return Err(Error::invalid("pattern.ttl", what));
        }
        let now = clock::now();
        Ok(GrantRow {
            id: ask.id.clone(),
            short: ask.short.clone(),
            scope: ask.scope.clone(),
            context_id: (!self.in_every_session).then(|| ask.context_id.clone()),
            pattern: json!(self.pattern),
            words: describe(&self.pattern, self.in_every_session, uses, ttl),
            act: act.clone(),
            created: now,
            until: clock::after(now, ttl.get()),
            uses,
            left: uses,
        })
    }
}

/// Whether a grant covers what is asked.
pub fn covers(grant: &GrantRow, ask: &Value) -> bool {
    let pattern = serde_json::from_value::<GrantPattern>(grant.pattern.clone());
    pattern.is_ok_and(|pattern| pattern.covers(ask))
}

/// A grant as a program reads it.
pub fn render_grant(grant: &GrantRow) -> Value {
    json!({
        "id": &*grant.id,
        "shortId": &*grant.short,
        "agent": &*grant.scope.agent,
        "caller": &*grant.scope.caller,
        "contextId": grant.context_id,
        "pattern": grant.pattern,
        "words": grant.words,
        "given": &*grant.act,
        "created": grant.created,
        "until": grant.until,
        "uses": grant.uses,
        "left": grant.left,
    })
}
