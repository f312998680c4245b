//! What a task asks, as a person reads it who has to decide: all of it, and nothing that pretends to be
//! ours.
//!
//! # How it works
//!
//! The question comes from an agent, and what it wants to do comes from a model. So each of its lines
//! stands behind a bar (also where a terminal would wrap it), what is invisible is spelled out instead of
//! taken away, and what does not fit is counted, never dropped in silence.

mod bar;
mod input;

use super::super::names::shorten;
use super::super::outcome::words;
use super::super::program::program;
use super::super::terminal::{BAD, GOOD, Screen, clean_line, cut, styled};
use super::pattern::Proposal;
pub(super) use bar::{barred, visible};
use pilothouse_a2a::message::PartContent;
use pilothouse_a2a::task::{Task, TaskState};
use pilothouse_a2a::time::Timestamp;
use serde_json::{Value, json};

/// Columns of one line of a list.
const HEADLINE: usize = 60;
/// Columns of a proposal before the command that gives it.
const PROPOSAL: usize = 160;
/// The headline of an ask that says nothing.
const NOTHING: &str = "-";

/// A pending ask.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::client) struct Ask {
    /// Its id; none of a server that has one ask a task.
    pub(super) id: Option<String>,
    /// The same, short enough to type, as the server tells it.
    short: Option<String>,
    kind: AskDetails,
    choices: Vec<Choice>,
    deadline: Option<Timestamp>,
    /// Further calls that can be allowed with it.
    proposal: Option<Proposal>,
    /// Whether it asks for a host.
    is_host: bool,
    /// Of a push: how much, and to where.
    push: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum AskDetails {
    Permission {
        tool: String,
        title: Option<String>,
        input: Value,
    },
    Question {
        /// As it is asked, where the data tells.
        text: Option<String>,
        /// The single questions, where there are several, or one with more to tell.
        parts: Vec<Question>,
    },
}

/// One of the questions of an ask.
#[derive(Debug, Clone, PartialEq)]
struct Question {
    text: String,
    choices: Vec<Choice>,
    several: bool,
}

/// One way to answer.
#[derive(Debug, Clone, PartialEq)]
struct Choice {
    id: Option<String>,
    name: String,
    description: Option<String>,
}

/// What is to be decided about a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    /// The tool may run once.
    Allow,
    /// The tool may run whenever it is asked for in this session.
    AllowSession,
    /// It may not; why.
    Deny(Option<&'a str>),
}

impl Ask {
    /// What a task asks; none where it asks nothing.
    pub(in crate::client) fn of(task: &Task) -> Option<Self> {
        if task.status.state != TaskState::InputRequired {
            return None;
        }
        let parts = task.status.message.iter().flat_map(|message| &message.parts);
        let data = || {
            parts.clone().filter_map(|part| match &part.content {
                PartContent::Data(data) => Some(data.to_value()),
                PartContent::Text(_) | PartContent::Raw(_) | PartContent::Url(_) => None,
            })
        };
        let named = data().find(|data| data.get("askId").is_some());
        let data = named.or_else(|| data().next());
        Some(Self::of_data(&data.unwrap_or_default()))
    }

    /// An ask as the server tells it.
    pub(in crate::client) fn of_data(data: &Value) -> Self {
        let text = |name: &str| {
            let text = data.get(name).and_then(Value::as_str);
            text.filter(|text| !text.trim().is_empty()).map(ToOwned::to_owned)
        };
        let is_permission = match data.get("kind").and_then(Value::as_str) {
            Some(kind) => matches!(kind, "permission" | "host" | "push"),
            None => data.get("tool").is_some(),
        };
        let mut input = data.get("input").cloned().unwrap_or_default();
        let push = (data["kind"] == "push").then(|| input::take_push(&mut input)).flatten();
        // An agent that speaks ACP has options of its own beside the house's.
        let own = if is_permission { list(&input, "options") } else { &[] };
        let choices = list(data, "options").iter().chain(own);
        let choices = choices.filter_map(Choice::of).collect();
        let kind = if is_permission {
            AskDetails::Permission {
                tool: text("tool").or(text("host")).unwrap_or_else(|| "a tool".to_owned()),
                title: text("title").or_else(|| text("text").filter(|_| push.is_none())),
                input,
            }
        } else {
            AskDetails::Question {
                text: text("text"),
                parts: list(&input, "questions").iter().filter_map(Question::of).collect(),
            }
        };
        Self {
            id: text("askId"),
            short: text("shortId"),
            kind,
            choices,
            deadline: text("deadline").and_then(|text| Timestamp::parse(&text)),
            proposal: Proposal::of_data(data).filter(|_| is_permission),
            is_host: text("kind").as_deref() == Some("host"),
            push,
        }
    }

    /// What a person types to name it; none of a server that has one ask a task.
    pub(in crate::client) fn handle(&self) -> Option<String> {
        let id = self.short.as_deref().or(self.id.as_deref().map(shorten))?;
        Some(clean_line(id))
    }

    /// Whether it asks for a tool to be run.
    pub(in crate::client) fn is_permission(&self) -> bool {
        matches!(self.kind, AskDetails::Permission { .. })
    }

    /// Whether this decision is one of those that the server takes.
    pub(in crate::client) fn offers(&self, id: &str) -> bool {
        self.choices.is_empty() || self.choice(id).is_some()
    }

    /// Whether it asks for a connection to a host.
    pub(super) fn is_host(&self) -> bool {
        self.is_host
    }

    /// Further calls that can be allowed with it.
    pub(super) fn proposal(&self) -> Option<&Proposal> {
        self.proposal.as_ref()
    }

    /// The input of the tool; null of a question.
    pub(super) fn input(&self) -> &Value {
        match &self.kind {
            AskDetails::Permission { input, .. } => input,
            AskDetails::Question { .. } => &Value::Null,
        }
    }

    /// How many questions it asks.
    pub(super) fn questions(&self) -> usize {
        match &self.kind {
            AskDetails::Question { parts, .. } => parts.len(),
            AskDetails::Permission { .. } => 0,
        }
    }

    /// What is asked, behind a bar; `said` are the words of the status, where the data does not have the question.
    pub(in crate::client) fn render(&self, said: Option<String>, columns: Option<usize>) -> String {
        match &self.kind {
            AskDetails::Permission { tool, title, input } => {
                let mut text = match &self.push {
                    Some(push) => format!("asks to push {push}:\n"),
                    None => format!("{} asks to be used:\n", clean_line(&visible(tool))),
                };
                let mut lines = input::lines(input);
                // Words about it come behind what it is.
                let told = |title: &&str| {
                    let is_title = |line: &String| {
                        line.strip_prefix("description: ").unwrap_or(line).trim() == title.trim()
                    };
                    lines.iter().any(is_title)
                };
                if let Some(title) = title.as_deref().filter(|title| !told(title)) {
                    lines.push(format!("title: {title}"));
                }
                text.push_str(&barred(&lines, columns));
                text
            }
            AskDetails::Question { parts, .. } if parts.len() > 1 => {
                let numbered = parts.iter().enumerate();
                let lines: Vec<String> = numbered
                    .flat_map(|(at, part)| {
                        let question = format!("{}. {}", at + 1, clean_line(&part.text));
                        let choices =
                            part.choices.iter().map(|choice| format!("   {}", choice.line()));
                        std::iter::once(question).chain(choices).collect::<Vec<_>>()
                    })
                    .collect();
                barred(&lines, columns)
            }
            AskDetails::Question { text, .. } => {
                let choices = self.described().into_iter();
                let choices = choices.map(|choice| format!("- {}", choice.line()));
                let question = text.clone().or(said).into_iter();
                barred(&question.chain(choices).collect::<Vec<_>>(), columns)
            }
        }
    }

    /// One line of it, for a list.
    pub(in crate::client) fn headline(&self) -> String {
        if let Some(push) = &self.push {
            return push.clone();
        }
        let line = match &self.kind {
            AskDetails::Permission { title, input, .. } => {
                let lines = input::lines(input);
                let first = lines.first().map(String::as_str);
                first.or(title.as_deref()).unwrap_or(NOTHING).to_owned()
            }
            AskDetails::Question { text, parts } => {
                let first = parts.first().map(|part| part.text.clone());
                text.clone().or(first).unwrap_or_else(|| NOTHING.to_owned())
            }
        };
        let first = line.lines().find(|line| !line.trim().is_empty());
        cut(&clean_line(&visible(first.unwrap_or(NOTHING))), HEADLINE)
    }

    /// The tool that wants to run, or that it is a question.
    pub(in crate::client) fn tool(&self) -> String {
        match &self.kind {
            AskDetails::Permission { tool, .. } => clean_line(&visible(tool)),
            AskDetails::Question { .. } => "(question)".to_owned(),
        }
    }

    /// How it is answered: what may be chosen, and the commands. `options` stand in each command.
    pub(in crate::client) fn how_to_answer(
        &self,
        task: &str,
        options: &str,
        now: Timestamp,
    ) -> Vec<String> {
        let quoted = |text: &str| shell_words::quote(&clean_line(text)).into_owned();
        // Which one of several is meant, so that nobody allows what he has not seen.
        let id = match (&self.id, self.is_permission()) {
            (Some(ask), _) if self.short.is_some() || shorten(ask) != ask => {
                quoted(&self.handle().unwrap_or_default())
            }
            (Some(ask), true) => format!("{} --ask {}", quoted(task), quoted(ask)),
            _ => quoted(task),
        };
        let command = |name: &str, rest: &str| format!("{} {name}{options} {id}{rest}", program());
        let mut lines = Vec::new();
        match &self.kind {
            AskDetails::Permission { tool, .. } => {
                if self.offers("allow") {
                    lines.push(format!("allow it once: {}", command("approve", "")));
                }
                if self.offers("allow_session") {
                    // Whatever it is asked to do by then.
                    lines.push(format!(
                        "allow any {} in this session: {}",
                        cut(&clean_line(&visible(tool)), HEADLINE),
                        command("approve", " --session")
                    ));
                }
                if let Some(proposal) = &self.proposal {
                    lines.push(format!(
                        "allow {}: {}",
                        cut(&proposal.describe(), PROPOSAL),
                        command("approve", " --pattern")
                    ));
                }
                if self.offers("deny") {
                    lines.push(format!("deny it: {}", command("deny", " \"why\"")));
                }
                let known = ["allow", "allow_session", "allow_pattern", "deny"];
                let others = self.choices.iter().filter_map(|choice| {
                    let id = choice.id.as_deref().filter(|id| !known.contains(id))?;
                    let rest = format!(" {}", quoted(id));
                    Some(format!(
                        "its own option `{}`: {}",
                        clean_line(&visible(&choice.name)),
                        command("answer", &rest)
                    ))
                });
                lines.extend(others);
            }
            AskDetails::Question { parts, .. } => {
                let each = if parts.len() > 1 {
                    " \"...\"".repeat(parts.len())
                } else {
                    " \"...\"".to_owned()
                };
                lines.push(format!("answer with: {}", command("answer", &each)));
            }
        }
        if let Some(deadline) = self.deadline {
            let left = (deadline.as_millisecond() - now.as_millisecond()).max(0).unsigned_abs();
            let left = super::super::outcome::seconds(std::time::Duration::from_secs(left / 1000));
            lines.push(format!("open until {deadline} (in {left})"));
        }
        lines
    }

    /// The choices of a question with what is told about each.
    fn described(&self) -> Vec<Choice> {
        let parts = match &self.kind {
            AskDetails::Question { parts, .. } => parts.as_slice(),
            AskDetails::Permission { .. } => &[],
        };
        let more = |name: &str| {
            let all = parts.iter().flat_map(|part| &part.choices);
            all.clone().find(|choice| choice.name == name)?.description.clone()
        };
        if self.choices.is_empty() {
            return parts.iter().flat_map(|part| part.choices.clone()).collect();
        }
        let mut choices = self.choices.clone();
        for choice in &mut choices {
            choice.description = choice.description.take().or_else(|| more(&choice.name));
        }
        choices
    }

    fn choice(&self, text: &str) -> Option<&Choice> {
        let by_id = self.choices.iter().find(|choice| choice.id.as_deref() == Some(text));
        by_id.or_else(|| {
            let wanted = text.trim().to_lowercase();
            self.choices.iter().find(|choice| choice.name.trim().to_lowercase() == wanted)
        })
    }

    // === answers ===

    /// A decision about a permission, as data; a question can be declined, too.
    pub(super) fn decided(
        &self,
        decision: Decision<'_>,
        input: Option<Value>,
    ) -> Result<Value, String> {
        let mut data = match decision {
            Decision::Deny(reason) => {
                let mut data = json!({"decision": "deny"});
                if let Some(reason) = reason {
                    data["reason"] = reason.into();
                }
                data
            }
            _ if !self.is_permission() => {
                return Err("it asks a question, there is nothing to allow; answer it with `pilothouse answer`".to_owned());
            }
            Decision::Allow => json!({"decision": "allow"}),
            Decision::AllowSession => json!({"decision": "allow_session"}),
        };
        if let Some(input) = input {
            data["input"] = input;
        }
        Ok(data)
    }

    /// An answer in words, as data: for several questions one each, in their order.
    pub(super) fn answered(&self, texts: &[String]) -> Result<Value, String> {
        let parts = match &self.kind {
            AskDetails::Question { parts, .. } => parts.as_slice(),
            AskDetails::Permission { .. } => {
                let chosen = texts.first().filter(|_| texts.len() == 1);
                let chosen = chosen.and_then(|text| self.choice(text)?.id.as_ref());
                return chosen.map(|id| json!({"optionId": id})).ok_or_else(|| {
                    let known: Vec<_> = self.choices.iter().filter_map(|choice| choice.id.as_deref()).collect();
                    format!(
                        "it asks for a permission; use `pilothouse approve` or `deny`, or one of its options: {}",
                        clean_line(&known.join(", "))
                    )
                });
            }
        };
        match (parts, texts) {
            ([_, _, ..], texts) if texts.len() == parts.len() => {
                let pairs = parts.iter().zip(texts);
                let answers: serde_json::Map<String, Value> =
                    pairs.map(|(part, text)| (part.text.clone(), text.as_str().into())).collect();
                Ok(json!({"answers": answers}))
            }
            ([_, _, ..], _) => Err(format!(
                "it asks {} questions; give as many answers, in their order",
                parts.len()
            )),
            (_, [text]) => Ok(match self.choice(text) {
                Some(Choice { id: Some(id), .. }) => json!({"optionId": id}),
                Some(choice) => json!({"answer": choice.name}),
                None => json!({"answer": text}),
            }),
            ([only], texts) if only.several => Ok(json!({"answers": {only.text.as_str(): texts}})),
            _ => Err("it asks one question; put the answer in quotes".to_owned()),
        }
    }

    /// What is about to be decided, in one line.
    pub(in crate::client) fn describe(&self) -> String {
        match self.headline() {
            headline if !self.is_permission() => headline,
            headline if headline == NOTHING => self.tool(),
            headline => format!("{}: {headline}", self.tool()),
        }
    }
}

/// What a task says that waits for its caller: each line that is not ours behind a bar, and no markup is
/// read into it.
pub(in crate::client) fn render_question(task: &Task, columns: Option<usize>) -> Option<String> {
    match Ask::of(task) {
        Some(ask) => Some(ask.render(words(task), columns)),
        None if task.status.state.is_interrupted() => {
            words(task).map(|words| barred(&[words], columns))
        }
        None => None,
    }
}

/// The same for a screen: what a change takes away is red and what it brings is green, where styles are shown.
pub(in crate::client) fn render_question_on(task: &Task, screen: &Screen) -> Option<String> {
    let text = render_question(task, screen.width)?;
    if !(screen.styled && Ask::of(task).is_some_and(|ask| ask.is_permission())) {
        return Some(text);
    }
    let color = |line: &str| {
        let styles = [("│ + ", GOOD), ("│ - ", BAD)];
        let found = styles.into_iter().find(|(mark, _)| line.starts_with(mark));
        found.map_or_else(|| line.to_owned(), |(_, style)| styled(line, style, true))
    };
    Some(text.lines().map(|line| color(line) + "\n").collect())
}

impl Question {
    fn of(data: &Value) -> Option<Self> {
        let choices = list(data, "options");
        Some(Self {
            text: data.get("question")?.as_str()?.to_owned(),
            choices: choices.iter().filter_map(Choice::of).collect(),
            several: data.get("multiSelect").and_then(Value::as_bool) == Some(true),
        })
    }
}

impl Choice {
    fn of(data: &Value) -> Option<Self> {
        let text = |name: &str| data.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let id = text("id").or_else(|| text("optionId"));
        let name = data.as_str().map(ToOwned::to_owned);
        Some(Self {
            name: name.or_else(|| text("name")).or_else(|| text("label")).or_else(|| id.clone())?,
            id,
            description: text("description").filter(|text| !text.is_empty()),
        })
    }

    fn line(&self) -> String {
        let name = clean_line(&visible(&self.name));
        match &self.description {
            Some(told) if *told != self.name => format!("{name}: {}", clean_line(&visible(told))),
            Some(_) | None => name,
        }
    }
}

fn list<'a>(data: &'a Value, name: &str) -> &'a [Value] {
    let list = data.get(name).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
