//! What a person answers to an ask, by a data part or in plain words.

use super::grant::GrantOffer;
use super::kagent;
use crate::clock;
use crate::config::AskWords;
use crate::store::{AnswerSource, AskAct, AskRow};
use pilothouse_a2a::Json;
use pilothouse_a2a::error::Error;
use pilothouse_a2a::message::{Message, PartContent};
use pilothouse_agents::{Answer, form};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Values that an answer may consist of: what people and forms say has few, and each costs some hundred
/// bytes in memory.
const ANSWER_VALUES: usize = 10_000;

/// An answer to an ask.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The tool may run.
    Allow {
        /// With this input instead of its own.
        input: Option<Value>,
        /// And further calls without being asked.
        grant: Option<Box<GrantOffer>>,
    },
    /// It may not.
    Deny {
        /// Why, for the agent.
        reason: String,
    },
    /// The answer to a question: words, a list of them, or `{question: words}`.
    Words(Value),
}

/// An ask that was answered, in words that are not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The id of the ask.
    pub ask: Arc<str>,
    /// `allow`, `allow_session`, `allow_pattern`, `deny`, or `answer` for words.
    pub decision: &'static str,
}

impl Answered {
    /// The ask with what was decided about it.
    pub fn new(row: &AskRow, decision: &Decision) -> Self {
        let decision = match decision {
            Decision::Allow { input: Some(input), .. } if chooses_refusal(row, input) => "deny",
            Decision::Allow { grant: Some(grant), .. } => grant.decision(),
            Decision::Allow { .. } => "allow",
            Decision::Deny { .. } => "deny",
            Decision::Words(_) => "answer",
        };
        Self { ask: row.id.clone(), decision }
    }

    /// An ask with the answer that is stored; none where a person has not answered it.
    pub fn of(row: &AskRow) -> Option<Self> {
        let stored = row.act.as_deref()?.what.get("decision")?.as_str()?;
        let known = ["allow", "allow_session", "allow_pattern", "allow_always", "deny", "answer"];
        let decision = known.into_iter().find(|decision| *decision == stored)?;
        Some(Self { ask: row.id.clone(), decision })
    }
}

/// Whether an input chooses an option of the agent's own that rejects the call (`kind` in ACP).
fn chooses_refusal(row: &AskRow, input: &Value) -> bool {
    let chosen = input.get("optionId").and_then(Value::as_str);
    let own =
        own_options(row).find(|option| chosen == option.get("optionId").and_then(Value::as_str));
    let kind = own.and_then(|option| option.get("kind")).and_then(Value::as_str);
    chosen.is_some() && kind.is_some_and(|kind| kind.starts_with("reject"))
}

impl Decision {
    /// What the store and the API say of it.
    pub fn render(&self, row: &AskRow) -> Map<String, Value> {
        let word = Value::from(Answered::new(row, self).decision);
        let mut what = Map::from_iter([("decision".to_owned(), word)]);
        if let Self::Allow { grant: Some(grant), .. } = self {
            what.insert("pattern".to_owned(), grant.render());
        }
        let (name, value) = match self {
            Self::Allow { input: Some(input), .. } => ("input", input.clone()),
            Self::Allow { input: None, .. } => return what,
            Self::Deny { reason } => ("reason", reason.as_str().into()),
            Self::Words(words) => ("answer", words.clone()),
        };
        what.insert(name.to_owned(), value);
        what
    }

    /// The decision of this caller.
    pub fn act(&self, row: &AskRow, by: &Arc<str>, source: &AnswerSource) -> AskAct {
        let what = self.render(row);
        AskAct { by: by.clone(), source: source.clone(), at: clock::now(), what }
    }

    /// Whether this is what an ask was answered by this caller.
    pub fn is_stored(&self, row: &AskRow, by: &str) -> bool {
        row.act.as_deref().is_some_and(|act| *act.by == *by && act.what == self.render(row))
    }

    /// The answer as a driver takes it.
    pub fn answer(&self) -> Answer {
        match self {
            Self::Allow { input, .. } => Answer::Allow { input: input.clone() },
            Self::Deny { reason } => Answer::Deny { message: reason.clone() },
            Self::Words(words) => Answer::Allow { input: Some(words.clone()) },
        }
    }

    /// What an agent is told that asked before its process was ended, so that it goes on from there.
    pub fn told(&self, ask: &Value) -> String {
        if let Some(host) = ask.get("host").and_then(Value::as_str) {
            let port = ask.get("port").map(ToString::to_string).unwrap_or_default();
            let decided = match self {
                Self::Allow { .. } => "It is allowed now: try that again and go on.".to_owned(),
                Self::Deny { reason } => format!("It is denied: {reason} Go on without it."),
                Self::Words(words) => words.to_string(),
            };
            return format!(
                "You had tried to reach {host}:{port}, and were interrupted. {decided}"
            );
        }
        let tool = ask.get("tool").and_then(Value::as_str).unwrap_or("a tool");
        let input = ask.get("input").map(ToString::to_string).unwrap_or_default();
        match self {
            Self::Allow { .. } => format!(
                "You had asked for the permission to use {tool} with the input {input}, and were interrupted. It is \
                 granted now: make that same call again and go on."
            ),
            Self::Deny { reason } => format!(
                "You had asked for the permission to use {tool} with the input {input}, and were interrupted. It is \
                 denied: {reason} Go on without it."
            ),
            Self::Words(words) => {
                let text = ask.get("text").and_then(Value::as_str).unwrap_or_default();
                let words = words.as_str().map_or_else(|| words.to_string(), ToOwned::to_owned);
                format!("You had asked: {text}\nThe answer is: {words}\nGo on with it.")
            }
        }
    }

    /// An answer to a question that ended its turn, as the words of the next one.
    pub fn plain(&self) -> String {
        match self {
            Self::Allow { .. } => "allow".to_owned(),
            Self::Deny { reason } => format!("deny: {reason}"),
            Self::Words(Value::String(words)) => words.clone(),
            Self::Words(words) => words.to_string(),
        }
    }
}

/// What a caller is told whose words were none of those that answer a permission, and so refused it.
pub fn explain_refusal(decision: &Decision, message: &Message) -> Option<String> {
    match decision {
        Decision::Deny { reason } if *reason == message.text_content().trim() => Some(
            "this answer was taken as a refusal, and the agent is told it as the reason; `allow` or `yes`, and nothing \
             else, permits"
                .to_owned(),
        ),
        Decision::Deny { .. } | Decision::Allow { .. } | Decision::Words(_) => None,
    }
}

/// The decision that a message brings.
pub fn read(ask: &AskRow, message: &Message, words: AskWords) -> Result<Decision, Error> {
    let is_question = ask.ask.get("kind").and_then(Value::as_str) == Some("question");
    let given = message.parts.iter().find_map(|part| match &part.content {
        PartContent::Data(data) if is_decision(data) => Some(data.clone()),
        _ => None,
    });
    let given = match given {
        Some(data) => {
            let said = by_data(ask, &tree(&data)?, is_question)?;
            check_words(ask, message, (&said, words))?;
            return fitting(ask, said);
        }
        None => kagent::answer_in(message)?,
    };
    match given {
        Some(data) => by_data(ask, &tree(&data)?, is_question).and_then(|said| fitting(ask, said)),
        None => {
            let text = message.text_content();
            let text = text.trim();
            if text.is_empty() {
                return Err(Error::invalid("message.parts", advice(is_question)));
            }
            fitting(ask, by_words(ask, text, is_question, words))
        }
    }
}

/// Refuses words beside a decision to allow that do not allow: it is not clear what is meant.
fn check_words(
    ask: &AskRow,
    message: &Message,
    (said, words): (&Decision, AskWords),
) -> Result<(), Error> {
    let text = message.text_content();
    let text = text.trim();
    let allows = |said: &Decision| matches!(said, Decision::Allow { .. });
    if !allows(said) || text.is_empty() || allows(&by_words(ask, text, false, words)) {
        return Ok(());
    }
    let what = "the data part allows, and the text beside it does not say so; send the data part alone, or `deny: why`";
    Err(Error::invalid("message.parts", what))
}

/// The decision, where it fits the form that is to be filled in.
fn fitting(ask: &AskRow, decision: Decision) -> Result<Decision, Error> {
    let form = ask.ask.get("input").filter(|_| matches!(decision, Decision::Words(_)));
    match form.map(|form| form::check(form, &decision.answer())) {
        Some(Err(misfit)) => {
            let field = format!("answers.{}", misfit.field);
            Err(Error::invalid(field, misfit.reason))
        }
        Some(Ok(())) | None => Ok(decision),
    }
}

/// The id of the ask that a message answers, if it names one.
pub fn named(message: &Message) -> Option<String> {
    let in_data = message.parts.iter().find_map(|part| match &part.content {
        PartContent::Data(data) => data.member("askId")?.as_str(),
        _ => None,
    });
    in_data.or_else(|| kagent::answer_in(message).ok()??.member("askId")?.as_str())
}

fn is_decision(data: &Json) -> bool {
    ["decision", "answers", "answer", "optionId", "askId"]
        .iter()
        .any(|field| data.member(field).is_some())
}

/// An answer as a tree.
fn tree(data: &Json) -> Result<Value, Error> {
    check_size(data)?;
    Ok(data.to_value())
}

/// Refuses an answer that would be too large as a tree.
pub fn check_size(data: &Json) -> Result<(), Error> {
    if data.count() > ANSWER_VALUES {
        let what = format!("an answer consists of at most {ANSWER_VALUES} values");
        return Err(Error::invalid("message.parts", what));
    }
    Ok(())
}

fn advice(is_question: bool) -> &'static str {
    if is_question {
        "answer by a data part {\"answers\": {question: words}} or {\"answer\": words}, or in plain words"
    } else {
        "answer by a data part {\"decision\": \"allow\" | \"allow_session\" | \"allow_pattern\" | \"deny\", \"reason\"?, \"input\"?}, or in \
         plain words: `allow`, `deny: why`"
    }
}

fn by_data(ask: &AskRow, data: &Value, is_question: bool) -> Result<Decision, Error> {
    let word = |field: &str| data.get(field).and_then(Value::as_str);
    let wrong = |field: &str| Error::invalid(field, advice(is_question));
    let denied = || Decision::Deny { reason: word("reason").unwrap_or("it was denied").to_owned() };
    if is_question {
        let words = data.get("answers").or_else(|| data.get("answer"));
        return match (words, word("optionId"), word("decision")) {
            (Some(words), ..) if !words.is_null() => Ok(Decision::Words(words.clone())),
            (_, Some(option), _) if options(ask).any(|known| known == option) => {
                Ok(Decision::Words(option.into()))
            }
            (_, Some(_), _) => Err(Error::invalid("optionId", known_options(ask))),
            (_, _, Some("deny" | "decline")) => Ok(denied()),
            // A form whose fields all have values, or an address to open.
            (_, _, Some("allow" | "accept")) if asks_for_form(ask) => {
                Ok(Decision::Words(serde_json::json!({})))
            }
            _ => Err(wrong("answers")),
        };
    }
    match word("decision").or_else(|| word("optionId")) {
        Some(word @ ("allow" | "allow_session" | "allow_pattern" | "allow_always")) => {
            let pattern = data.get("pattern").filter(|pattern| **pattern != Value::Bool(false));
            let grant = match (word, pattern) {
                ("allow_session", _) => GrantOffer::of_session(ask),
                ("allow_always", _) => Some(GrantOffer::of_agent(ask).ok_or_else(|| {
                    Error::invalid("decision", "only a host is allowed for every session")
                })?),
                (_, Some(pattern)) => Some(GrantOffer::read(ask, pattern)?),
                ("allow_pattern", None) => Some(GrantOffer::proposed(ask)?),
                (_, None) => None,
            };
            Ok(Decision::Allow { input: changed(data)?, grant: grant.map(Box::new) })
        }
        Some("deny") => Ok(denied()),
        Some(action @ ("claim" | "defer")) => Err(Error::invalid(
            "decision",
            format!("`{action}` is no answer; it is done at `POST /api/v1/asks/{{id}}`"),
        )),
        // An option of the agent's own.
        Some(option) if own_ids(ask).any(|own| own == option) => Ok(Decision::Allow {
            input: Some(serde_json::json!({"optionId": option})),
            grant: None,
        }),
        Some(_) => Err(Error::invalid("decision", known_options(ask))),
        None => Err(wrong("decision")),
    }
}

/// Whether it is a form of an agent, or an address that it wants to have opened.
fn asks_for_form(ask: &AskRow) -> bool {
    ask.ask.get("input").is_some_and(|input| input.get("mode").is_some())
}

fn changed(data: &Value) -> Result<Option<Value>, Error> {
    match data.get("input") {
        None | Some(Value::Null) => Ok(None),
        Some(input @ Value::Object(_)) => Ok(Some(input.clone())),
        Some(_) => Err(Error::invalid("input", "must be an object: the tool's whole input")),
    }
}

fn options(ask: &AskRow) -> impl Iterator<Item = &str> {
    let options = ask.ask.get("options").and_then(Value::as_array);
    options.into_iter().flatten().filter_map(|option| option.get("id").and_then(Value::as_str))
}

/// The options that an ACP agent itself offers.
fn own_options(ask: &AskRow) -> impl Iterator<Item = &Value> {
    let own = ask.ask.get("input").and_then(|input| input.get("options"));
    own.and_then(Value::as_array).into_iter().flatten()
}

fn own_ids(ask: &AskRow) -> impl Iterator<Item = &str> {
    own_options(ask).filter_map(|option| option.get("optionId").and_then(Value::as_str))
}

fn known_options(ask: &AskRow) -> String {
    let known: Vec<_> = options(ask).chain(own_ids(ask)).collect();
    format!("not an option of this ask; there are {}", known.join(", "))
}

/// The word that a common one stands for.
fn read_common(word: &str) -> String {
    let word = word.trim().trim_end_matches(['.', '!']).to_lowercase();
    let known = match word.as_str() {
        "y" | "ok" | "okay" | "approve" | "approved" => "allow",
        "always" | "allow for the session" | "allow for this session" => "allow_session",
        "n" | "reject" | "denied" => "deny",
        _ => return word,
    };
    known.to_owned()
}

fn by_words(ask: &AskRow, text: &str, is_question: bool, words: AskWords) -> Decision {
    if is_question {
        let lower = text.to_lowercase();
        let known = options(ask).find(|known| known.to_lowercase() == lower);
        return Decision::Words(known.unwrap_or(text).into());
    }
    let (first, rest) = text.split_once(':').unwrap_or((text, ""));
    let has_reason = text.contains(':');
    let first = match words {
        AskWords::Exact => first.trim().to_lowercase(),
        AskWords::Common => read_common(first),
    };
    match first.as_str() {
        "allow" | "yes" if !has_reason => Decision::Allow { input: None, grant: None },
        "allow_session" if !has_reason => {
            Decision::Allow { input: None, grant: GrantOffer::of_session(ask).map(Box::new) }
        }
        "no" if has_reason && words == AskWords::Exact => {
            Decision::Deny { reason: text.to_owned() }
        }
        "deny" | "no" => Decision::Deny {
            reason: match rest.trim() {
                "" => "it was denied".to_owned(),
                reason => reason.to_owned(),
            },
        },
        // Whoever says something else wants something else: the tool does not run, and the agent hears it.
        _ => Decision::Deny { reason: text.to_owned() },
    }
}
