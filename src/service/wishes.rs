//! The wishes of a message (the extension `urn:pilothouse:wishes:v1`): read, and held against what its caller may choose.
//!
//! What is outside of that is refused by its name: a wish is neither ignored nor loosened.

use super::Service;
use super::message::{self, Told};
use super::schema::read_schema;
use crate::agent::{Agent, LaunchChoice};
use crate::config::{Budget, CallerMay, Dollars, WISHES};
use crate::session::Wishes;
use crate::store::{self, Scope, SessionRow};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::json::{Json, Metadata};
use pilothouse_a2a::message::Message;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// Patterns of files that one message may name.
const MOST_RESULTS: usize = 100;

/// Characters of one of them.
const PATTERN: usize = 200;

/// The wishes as they are sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct SentWishes {
    repository: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    model: Option<String>,
    effort: Option<String>,
    permission: Option<String>,
    budget: Option<SentBudget>,
    /// Read where the schema of metadata is.
    #[serde(rename = "schema")]
    _schema: Option<IgnoredAny>,
    results: Vec<String>,
    push: Option<bool>,
    setup: Option<String>,
}

/// A ceiling of the task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SentBudget {
    cost_usd: Option<f64>,
    tokens: Option<u64>,
}

/// What a message wishes.
pub(super) fn sent_by(message: &Message) -> Option<Json> {
    message.metadata.as_ref().map(Metadata::as_json)?.member(WISHES)
}

/// The JSON schema among the wishes of a message.
pub(super) fn find_schema(message: &Message) -> Result<Option<Value>, Error> {
    let wanted = sent_by(message).and_then(|wishes| wishes.member("schema"));
    wanted.map(|wanted| read_schema(&field("schema"), &wanted)).transpose()
}

/// The wishes of a message, all of which its caller may have.
pub(super) fn read_wishes(agent: &Agent, message: &Message) -> Result<Option<Wishes>, Error> {
    sent_by(message).map(|sent| permit_wishes(agent, sent.text())).transpose()
}

/// The wishes of this text, all of which a caller of the agent may have.
pub(super) fn permit_wishes(agent: &Agent, text: &str) -> Result<Wishes, Error> {
    let chosen: Value = serde_json::from_str(text).unwrap_or_default();
    // An array would be taken by position.
    if !chosen.is_object() {
        return Err(Error::invalid(format!("message.metadata.{WISHES}"), "is no JSON object"));
    }
    let sent: SentWishes = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("message.metadata.{WISHES}"), error.to_string()))?;
    let may = &agent.config.caller_may;
    if let Some(repository) = &sent.repository {
        check_repository(agent, repository)?;
    }
    if let Some(reference) = &sent.reference {
        if agent.clone_source.is_none() {
            return Err(refuse(agent, "ref", "the sessions of this agent have no repository"));
        }
        if !may.permits_ref(reference) {
            return Err(refuse_choice(agent, "ref", "refs", reference, &may.refs));
        }
    }
    for (name, key, wanted, allowed) in [
        ("model", "models", &sent.model, &may.models),
        ("effort", "efforts", &sent.effort, &may.efforts),
        ("permission", "permissions", &sent.permission, &may.permissions),
    ] {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| !allowed.contains(wanted)) {
            return Err(refuse_choice(agent, name, key, wanted, allowed));
        }
    }
    if sent.push == Some(true) && !may.push {
        return Err(refuse_choice(agent, "push", "push", "true", &[]));
    }
    if sent.push == Some(true) && agent.clone_source.is_none() {
        return Err(refuse(agent, "push", "the sessions of this agent have no repository"));
    }
    let patterns = &sent.results;
    if patterns.len() > MOST_RESULTS || patterns.iter().any(|one| one.len() > PATTERN) {
        let what = format!("has at most {MOST_RESULTS} patterns of {PATTERN} bytes");
        return Err(Error::invalid(field("results"), what));
    }
    let SentWishes { reference, model, effort, permission, budget, results, push, setup, .. } =
        sent;
    let choice = LaunchChoice { model, effort, permission };
    let budget = budget.map(read_budget).transpose()?.unwrap_or_default();
    Ok(Wishes { choice, reference, budget, results, push, setup, chosen })
}

/// Refuses wishes in the answer to an ask: the turn that asked goes on as it began.
pub(super) fn refuse_in_answer(wishes: Option<&Wishes>) -> Result<(), Error> {
    let Some(wishes) = wishes else { return Ok(()) };
    let names = wishes.chosen.as_object().into_iter().flat_map(|chosen| chosen.keys());
    let names: Vec<_> = names.map(String::as_str).collect();
    let names = names.join(", ");
    let words = format!(
        "the wish `{names}` is refused: an answer goes to the turn that asked, which goes on as it began; send the answer without wishes"
    );
    Err(Error::new(ErrorKind::InvalidParams, words).with("wish", names))
}

impl Service {
    /// Refuses wishes that the session cannot have: a ref where it is there already and has begun at its own, and a set-up
    /// that is not its own.
    pub(super) async fn check_session_wishes(
        &self,
        scope: &Scope,
        told: &Told,
        (message, continues): (&Message, bool),
    ) -> Result<(), Error> {
        let is_of_session = |wishes: &&Wishes| wishes.reference.is_some() || wishes.setup.is_some();
        let wishes = told.wishes.as_deref().filter(is_of_session);
        let Some((wishes, agent)) = wishes.zip(self.agents.get(&scope.agent)) else {
            return Ok(());
        };
        let known = match &message.context_id {
            Some(context) => self.store.session(scope, context).await,
            None => Ok(None),
        };
        let known = known.map_err(store::Error::incident)?;
        if let Some(wanted) = &wishes.setup {
            check_setup(agent, known.as_ref(), wanted)?;
        }
        let is_there = continues || known.is_some() || message::fork_of(message).is_some();
        if wishes.reference.is_some() && is_there {
            let what = "a session keeps the ref that it began at; begin a new context, and no fork";
            return Err(refuse(agent, "ref", what));
        }
        Ok(())
    }
}

fn read_budget(sent: SentBudget) -> Result<Budget, Error> {
    let cost = sent.cost_usd.map(|cost| {
        let cost = Dollars::nearest(cost).filter(|cost| cost.micros() > 0);
        cost.ok_or_else(|| Error::invalid(field("budget.costUsd"), "must be more than nothing"))
    });
    if sent.tokens == Some(0) {
        return Err(Error::invalid(field("budget.tokens"), "must be more than nothing"));
    }
    Ok(Budget { cost_usd: cost.transpose()?, tokens: sent.tokens })
}

/// The set-up is the one that the session has, or gets because it is new.
fn check_setup(agent: &Agent, known: Option<&SessionRow>, wanted: &str) -> Result<(), Error> {
    let own = match known {
        Some(session) => session.setup.clone(),
        None => agent.choose_setup(),
    };
    let what = match (&own, known) {
        (Some(own), _) if own == wanted => return Ok(()),
        (Some(own), Some(_)) => format!("the session keeps the set-up {own} that it began with"),
        (Some(own), None) => format!("a new session begins with the set-up {own}"),
        (None, _) => "the session has no set-up".to_owned(),
    };
    Err(refuse(agent, "setup", &what))
}

/// The repository is the configured one, by its address or its name.
fn check_repository(agent: &Agent, wanted: &str) -> Result<(), Error> {
    let mirror = agent.clone_source.as_ref().map(|source| &source.mirror);
    match mirror {
        Some(mirror) if wanted == mirror.name() || wanted == mirror.url() => Ok(()),
        Some(mirror) => {
            let what = format!("the sessions of this agent are clones of {} alone", mirror.name());
            Err(refuse(agent, "repository", &what))
        }
        None => Err(refuse(agent, "repository", "the sessions of this agent have no repository")),
    }
}

fn field(name: &str) -> String {
    format!("message.metadata.{WISHES}.{name}")
}

fn refuse(agent: &Agent, name: &str, what: &str) -> Error {
    let words = format!("the wish `{name}` is refused: {what}");
    Error::new(ErrorKind::InvalidParams, words).with("wish", name).with("agent", &*agent.key)
}

fn refuse_choice(agent: &Agent, name: &str, key: &str, wanted: &str, allowed: &[String]) -> Error {
    let may = match allowed {
        [] => "callers may choose none".to_owned(),
        allowed => format!("callers may choose {}", allowed.join(", ")),
    };
    let shown: String = wanted.chars().filter(|c| !c.is_control()).take(100).collect();
    let what = format!(
        "`{shown}` is not permitted, {may}; the server's operator can permit it in `agents.{}.caller_may.{key}`",
        agent.key
    );
    refuse(agent, name, &what)
}

/// What the card of an agent says of the extension: the form of the wishes, and what callers may choose.
pub fn describe_wishes(may: &CallerMay) -> Value {
    let text = json!({"type": "string"});
    json!({
        "schema": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "repository": text,
                "ref": text,
                "model": text,
                "effort": text,
                "permission": text,
                "budget": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {"costUsd": {"type": "number"}, "tokens": {"type": "integer"}},
                },
                "schema": {"type": "object"},
                "results": {"type": "array", "items": text},
                "push": {"type": "boolean"},
                "setup": text,
            },
        },
        "callerMay": may,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_in_the_answer_to_an_ask_are_refused_by_name() {
        let wishes = Wishes { chosen: json!({"model": "opus", "push": true}), ..Wishes::default() };
        let refusal = refuse_in_answer(Some(&wishes)).unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::InvalidParams);
        assert!(refusal.message.contains("`model, push` is refused"), "{}", refusal.message);
        assert_eq!(refuse_in_answer(None), Ok(()));
    }
}
