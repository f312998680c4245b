//! What Claude Code asks its host: permissions and questions, and the answers in its own form.
//!
//! A question (`AskUserQuestion`) comes as the permission request of a tool. It is answered by
//! allowing the tool with `answers` added to its input: the question's text → a label, or free words.

use super::elicitation::Elicitation;
use super::plan;
use super::wire::{Control, Text};
use crate::{Answer, Ask, AskKind, InputForm};
use serde_json::{Map, Value, json};

/// The tool by which the agent asks a person.
const QUESTION_TOOL: &str = "AskUserQuestion";

/// A request of the CLI that waits for its answer.
#[derive(Debug)]
pub(super) enum Pending {
    Tool(PendingAsk),
    Elicitation(Elicitation),
}

impl Pending {
    /// The ask in the house's words.
    pub(super) fn ask(&self, id: &str) -> Ask {
        match self {
            Self::Tool(pending) => match plan::ask(pending) {
                Some(kind) => Ask { id: id.to_owned(), kind },
                None => pending.ask(id),
            },
            Self::Elicitation(pending) => Ask { id: id.to_owned(), kind: pending.kind() },
        }
    }

    /// The CLI's form of an answer.
    pub(super) fn response(&self, answer: &Answer) -> Value {
        match self {
            Self::Tool(pending) => {
                plan::response(pending, answer).unwrap_or_else(|| pending.response(answer))
            }
            Self::Elicitation(pending) => pending.response(answer),
        }
    }
}

/// The request to use a tool.
#[derive(Debug)]
pub(super) struct PendingAsk {
    pub(super) tool: String,
    pub(super) tool_use_id: String,
    pub(super) input: Value,
    /// Whether a text in the input may have been mended, so that it is not what the CLI has.
    pub(super) is_mended: bool,
    pub(super) description: Option<String>,
}

impl PendingAsk {
    /// What a request asks, in which a text may have been mended.
    pub(super) fn of(request: Control<'_>, is_mended: bool) -> Self {
        // The description is the model's; a hook of the operator says why it asks.
        let is_hook = request.decision_reason_type.as_deref() == Some("hook");
        let words = match (request.description, request.decision_reason.map(Text::into_owned)) {
            (description, Some(reason)) if is_hook => {
                let reason = format!("a hook asks: {reason}");
                Some(description.map_or(reason.clone(), |words| format!("{reason}\n{}", &*words)))
            }
            (description, reason) => description.map(Text::into_owned).or(reason),
        };
        Self {
            tool: request.tool_name.map(Text::into_owned).unwrap_or_default(),
            tool_use_id: request.tool_use_id.map(Text::into_owned).unwrap_or_default(),
            input: request.input.unwrap_or_else(|| json!({})),
            is_mended,
            description: words,
        }
    }

    /// The ask in the house's words.
    pub(super) fn ask(&self, id: &str) -> Ask {
        let questions = questions(&self.input);
        let kind = if self.tool == QUESTION_TOOL && !questions.is_empty() {
            let options = match questions.as_slice() {
                [only] => labels(only),
                _ => Vec::new(),
            };
            let text =
                questions.iter().map(|question| text_of(question)).collect::<Vec<_>>().join("\n");
            AskKind::Question { text, options, input: self.input.clone() }
        } else {
            AskKind::Permission {
                tool: self.tool.clone(),
                input: self.input.clone(),
                form: InputForm::Plain,
                description: self.description.clone(),
            }
        };
        Ask { id: id.to_owned(), kind }
    }

    /// The CLI's form of an answer. Its suggestions for standing permissions are never echoed: some
    /// of them would be written into the project's settings.
    pub(super) fn response(&self, answer: &Answer) -> Value {
        match answer {
            Answer::Deny { message } => json!({ "behavior": "deny", "message": message }),
            // Without an input the CLI takes its own.
            Answer::Allow { input: None } if self.is_mended => json!({ "behavior": "allow" }),
            Answer::Allow { input: None } => {
                json!({ "behavior": "allow", "updatedInput": self.input })
            }
            Answer::Allow { input: Some(changed) } => {
                json!({ "behavior": "allow", "updatedInput": self.changed(changed) })
            }
        }
    }

    /// The input to run with. For a question: a whole input, `{answers: {question: words}}`, or bare
    /// words (a string, or a list of labels) for each of its questions.
    fn changed(&self, changed: &Value) -> Value {
        if self.tool != QUESTION_TOOL || changed.get("questions").is_some() {
            return changed.clone();
        }
        let questions = questions(&self.input);
        let mut answers = Map::new();
        match changed.get("answers").unwrap_or(changed) {
            Value::Object(given) => answers.clone_from(given),
            words => {
                for question in &questions {
                    answers.insert(
                        text_of(question).to_owned(),
                        Value::String(label(question, &spoken(words))),
                    );
                }
            }
        }
        let mut input = self.input.clone();
        if let Some(fields) = input.as_object_mut() {
            fields.insert("answers".to_owned(), Value::Object(answers));
        }
        input
    }
}

fn questions(input: &Value) -> Vec<&Value> {
    input
        .get("questions")
        .and_then(Value::as_array)
        .map(|list| list.iter().collect())
        .unwrap_or_default()
}

fn text_of(question: &Value) -> &str {
    question.get("question").and_then(Value::as_str).unwrap_or_default()
}

fn labels(question: &Value) -> Vec<String> {
    let options = question.get("options").and_then(Value::as_array);
    options
        .into_iter()
        .flatten()
        .filter_map(|option| option.get("label").and_then(Value::as_str))
        .map(ToOwned::to_owned)
        .collect()
}

/// The label that these words mean, whatever their case; the words themselves otherwise.
fn label(question: &Value, words: &str) -> String {
    let means = |label: &String| label.trim().to_lowercase() == words.trim().to_lowercase();
    labels(question).into_iter().find(means).unwrap_or_else(|| words.to_owned())
}

fn spoken(words: &Value) -> String {
    match words {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(spoken).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(tool: &str, input: Value) -> PendingAsk {
        PendingAsk {
            tool: tool.to_owned(),
            tool_use_id: "u".to_owned(),
            input,
            is_mended: false,
            description: None,
        }
    }

    fn colour() -> Value {
        json!({ "questions": [{ "question": "Which?", "options": [{ "label": "Red" }, { "label": "Blue" }] }] })
    }

    fn answers(answer: Value) -> Value {
        let response =
            pending(QUESTION_TOOL, colour()).response(&Answer::Allow { input: Some(answer) });
        response["updatedInput"]["answers"].clone()
    }

    #[test]
    fn a_question_offers_its_labels() {
        let AskKind::Question { text, options, .. } =
            pending(QUESTION_TOOL, colour()).ask("1").kind
        else {
            panic!("a permission")
        };
        assert_eq!((text.as_str(), options), ("Which?", vec!["Red".to_owned(), "Blue".to_owned()]));
    }

    #[test]
    fn words_become_the_label_that_they_mean_or_stay_free_text() {
        assert_eq!(answers(json!("blue ")), json!({ "Which?": "Blue" }));
        assert_eq!(answers(json!("neither")), json!({ "Which?": "neither" }));
        assert_eq!(answers(json!(["Red", "Blue"])), json!({ "Which?": "Red, Blue" }));
    }

    #[test]
    fn answers_by_question_are_taken_as_they_are() {
        assert_eq!(answers(json!({ "answers": { "Which?": "x" } })), json!({ "Which?": "x" }));
        assert_eq!(
            answers(json!({ "questions": [], "answers": { "y": "z" } })),
            json!({ "y": "z" })
        );
    }

    #[test]
    fn a_tool_runs_as_asked_or_with_the_changed_input() {
        let pending = pending("Bash", json!({ "command": "a" }));
        let run =
            |input| pending.response(&Answer::Allow { input })["updatedInput"]["command"].clone();
        assert_eq!((run(None), run(Some(json!({ "command": "b" })))), (json!("a"), json!("b")));
    }
}
