//! What an agent asks its client: permissions with options, and forms; and the answers in its form.

use super::tool::Tool;
use super::wire::{self, PermissionOption};
use crate::{Answer, Ask, AskKind, Event, Step};
use serde_json::{Map, Value, json};

/// An ask that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    /// The agent's request.
    pub(super) request: Value,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Permission(Vec<PermissionOption>),
    Form(Form),
}

/// A form: flat properties of simple types.
#[derive(Debug)]
struct Form {
    message: String,
    properties: Map<String, Value>,
    required: Vec<String>,
}

/// A permission request as the house has it. `input` holds all that a person needs to decide:
/// `toolCallId`, `title`, `kind`, `rawInput`, `content` (diffs among it), `locations`, and
/// `options` with `optionId`, `name` and `kind`.
pub(super) fn permission(
    id: &str,
    request: Value,
    tool_id: &str,
    tool: &Tool,
    options: Vec<PermissionOption>,
) -> (Ask, Pending) {
    let told = options
        .iter()
        .map(|o| json!({ "optionId": o.option_id, "name": o.name, "kind": o.kind }))
        .collect();
    let (tool, input, description) = tool.to_decide(tool_id, told);
    let ask = Ask {
        id: id.to_owned(),
        kind: AskKind::Permission {
            tool,
            input,
            description,
        },
    };
    let kind = Kind::Permission(options);
    (ask, Pending { request, kind })
}

/// A form as a question; `input` is the agent's own request.
pub(super) fn question(id: &str, request: Value, params: Value) -> (Ask, Pending) {
    let schema = &params["requestedSchema"];
    let properties = schema["properties"].as_object().cloned();
    let required = schema["required"].as_array();
    let form = Form {
        message: params["message"].as_str().unwrap_or_default().to_owned(),
        properties: properties.unwrap_or_default(),
        required: required
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(ToOwned::to_owned))
            .collect(),
    };
    let ask = Ask {
        id: id.to_owned(),
        kind: AskKind::Question {
            text: form.text(),
            options: form.options(),
            input: params,
        },
    };
    let kind = Kind::Form(form);
    (ask, Pending { request, kind })
}

impl Pending {
    /// The agent's form of an answer, and a word to the caller where it could not be given as meant.
    pub(super) fn answered(&self, answer: &Answer) -> Vec<Step> {
        let (result, remark) = match &self.kind {
            Kind::Permission(options) => decide(options, answer),
            Kind::Form(form) => (form.answered(answer), None),
        };
        let remark = remark.map(|text: &str| {
            Step::Say(Event::Status {
                text: text.to_owned(),
                data: None,
            })
        });
        [wire::respond(&self.request, &result)]
            .into_iter()
            .chain(remark)
            .collect()
    }

    /// Nobody will answer: the turn was interrupted.
    pub(super) fn canceled(&self) -> Step {
        let result = match self.kind {
            Kind::Permission(_) => json!({ "outcome": { "outcome": "cancelled" } }),
            Kind::Form(_) => json!({ "action": "cancel" }),
        };
        wire::respond(&self.request, &result)
    }
}

/// The option that an answer means. A standing permission is given only where it was asked for: by
/// its `optionId`, or by `scope: session`. A tool whose input was changed does not run, because the
/// agent would run the one that it asked for.
fn decide(options: &[PermissionOption], answer: &Answer) -> (Value, Option<&'static str>) {
    let of_kind = |kind: &str| options.iter().find(|option| option.kind == kind);
    let select = |option: Option<&PermissionOption>| match option {
        Some(option) => {
            json!({ "outcome": { "outcome": "selected", "optionId": option.option_id } })
        }
        None => json!({ "outcome": { "outcome": "cancelled" } }),
    };
    let reject = || select(of_kind("reject_once").or_else(|| of_kind("reject_always")));
    let once = of_kind("allow_once");
    match answer {
        Answer::Deny { .. } => (reject(), None),
        Answer::Allow { input: None } => match once {
            Some(_) => (select(once), None),
            None => (
                reject(),
                Some("the agent offers only a standing permission; the tool was refused"),
            ),
        },
        Answer::Allow { input: Some(input) } => {
            let chosen = input.get("optionId").and_then(Value::as_str);
            let session = input.get("scope").or(Some(input)) == Some(&json!("session"));
            if let Some(chosen) = chosen
                && let Some(option) = options.iter().find(|option| option.option_id == chosen)
            {
                (select(Some(option)), None)
            } else if session && (of_kind("allow_always").is_some() || once.is_some()) {
                (select(of_kind("allow_always").or(once)), None)
            } else {
                (
                    reject(),
                    Some(
                        "this agent runs a tool only as it asked; with a changed input it was refused",
                    ),
                )
            }
        }
    }
}

impl Form {
    /// The message, and the titles of the questions where there are several.
    fn text(&self) -> String {
        let titles = self.properties.values().filter(|p| !choices(p).is_empty());
        let titles: Vec<&str> = titles.filter_map(|p| p["title"].as_str()).collect();
        if titles.len() > 1 {
            format!("{}\n{}", self.message, titles.join("\n"))
        } else {
            self.message.clone()
        }
    }

    /// What may be chosen, where there is one question with choices.
    fn options(&self) -> Vec<String> {
        let mut with_choices = self.properties.values().map(choices);
        let first = with_choices.find(|choices| !choices.is_empty());
        match (first, with_choices.any(|choices| !choices.is_empty())) {
            (Some(choices), false) => choices.into_iter().map(|(_, title)| title).collect(),
            _ => Vec::new(),
        }
    }

    fn answered(&self, answer: &Answer) -> Value {
        let Answer::Allow { input } = answer else {
            return json!({ "action": "decline" });
        };
        let mut content = self.defaults();
        match input {
            None => {}
            Some(Value::Object(fields)) => {
                let given = ["content", "answers"]
                    .iter()
                    .find_map(|&key| fields.get(key)?.as_object())
                    .unwrap_or(fields);
                for (question, words) in given {
                    self.fill(&mut content, self.property(question), words);
                }
            }
            Some(words) => self.fill(&mut content, self.properties.keys().next(), words),
        }
        if self.required.iter().any(|name| !content.contains_key(name)) {
            return json!({ "action": "decline" });
        }
        json!({ "action": "accept", "content": content })
    }

    fn defaults(&self) -> Map<String, Value> {
        let defaults = self.properties.iter().filter_map(|(name, property)| {
            let default = property.get("default").filter(|value| !value.is_null())?;
            Some((name.clone(), default.clone()))
        });
        defaults.collect()
    }

    /// The property that a question means: by its name, by its title, or by the message.
    fn property(&self, question: &str) -> Option<&String> {
        let titled = |(_, property): &(&String, &Value)| property["title"] == question;
        self.properties
            .get_key_value(question)
            .or_else(|| self.properties.iter().find(titled))
            .map(|(name, _)| name)
            .or_else(|| {
                (question == self.message)
                    .then(|| self.properties.keys().next())
                    .flatten()
            })
    }

    /// Puts words into a property; what is none of its choices goes to the one beside it that takes
    /// free text, where there is one.
    fn fill(&self, content: &mut Map<String, Value>, name: Option<&String>, words: &Value) {
        let Some(name) = name else {
            return;
        };
        if let Some(value) = typed(&self.properties[name], words) {
            content.insert(name.clone(), value);
            return;
        }
        let takes_text = |(other, property): &(&String, &Value)| {
            *other != name && property["type"] == "string" && choices(property).is_empty()
        };
        let free = self
            .properties
            .iter()
            .skip_while(|(other, _)| *other != name)
            .find(takes_text);
        let name = free.map_or(name, |(free, _)| free);
        content.insert(name.clone(), text_of(words).into());
    }
}

/// Values and titles that a property lets choose from.
fn choices(property: &Value) -> Vec<(String, String)> {
    let lists = [property, &property["items"]].into_iter().flat_map(|of| {
        ["oneOf", "anyOf", "enum"]
            .iter()
            .filter_map(|&key| of.get(key)?.as_array())
    });
    let choice = |item: &Value| match item {
        Value::String(value) => Some((value.clone(), value.clone())),
        item => {
            let value = item["const"].as_str()?;
            Some((
                value.to_owned(),
                item["title"].as_str().unwrap_or(value).to_owned(),
            ))
        }
    };
    lists.flatten().filter_map(choice).collect()
}

/// Words as a value of the property's type; none where they are not one.
fn typed(property: &Value, words: &Value) -> Option<Value> {
    let choices = choices(property);
    let meant = |words: &str| {
        let words = words.trim().to_lowercase();
        let found = choices
            .iter()
            .find(|(value, title)| value.to_lowercase() == words || title.to_lowercase() == words);
        found.map(|(value, _)| Value::from(value.as_str()))
    };
    let text = text_of(words);
    match property["type"].as_str().unwrap_or_default() {
        "boolean" => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "y" => Some(true.into()),
            "false" | "no" | "n" => Some(false.into()),
            _ => None,
        },
        "integer" => text.trim().parse::<i64>().ok().map(Value::from),
        "number" => text.trim().parse::<f64>().ok().map(Value::from),
        "array" => {
            let words: Vec<String> = match words {
                Value::Array(list) => list.iter().map(text_of).collect(),
                _ => text.split(',').map(ToOwned::to_owned).collect(),
            };
            words.iter().map(|word| meant(word)).collect()
        }
        _ if choices.is_empty() => Some(text.into()),
        _ => meant(&text),
    }
}

fn text_of(words: &Value) -> String {
    match words {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text_of).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kinds: &[&str]) -> Vec<PermissionOption> {
        let option = |kind: &&str| PermissionOption {
            option_id: format!("{kind}-id"),
            name: (*kind).to_owned(),
            kind: (*kind).to_owned(),
        };
        kinds.iter().map(option).collect()
    }

    const ALL: &[&str] = &["allow_always", "allow_once", "reject_always", "reject_once"];

    fn chosen(kinds: &[&str], answer: &Answer) -> Value {
        let (result, _) = decide(&options(kinds), answer);
        result["outcome"]["optionId"].clone()
    }

    fn allow(input: Value) -> Answer {
        Answer::Allow {
            input: (!input.is_null()).then_some(input),
        }
    }

    fn deny() -> Answer {
        Answer::Deny {
            message: String::new(),
        }
    }

    #[test]
    fn a_tool_is_allowed_and_refused_once() {
        assert_eq!(chosen(ALL, &allow(Value::Null)), "allow_once-id");
        assert_eq!(chosen(ALL, &deny()), "reject_once-id");
    }

    #[test]
    fn a_standing_permission_is_never_chosen_unasked() {
        let only = ["allow_always", "reject_once"];
        assert_eq!(chosen(&only, &allow(Value::Null)), "reject_once-id");
        let session = json!({ "scope": "session" });
        assert_eq!(chosen(ALL, &allow(session)), "allow_always-id");
        assert_eq!(chosen(ALL, &allow(json!("session"))), "allow_always-id");
        let id = json!({ "optionId": "allow_always-id" });
        assert_eq!(chosen(ALL, &allow(id)), "allow_always-id");
    }

    #[test]
    fn a_changed_input_or_an_unknown_option_does_not_run_the_tool() {
        let changed = allow(json!({ "command": "other" }));
        assert_eq!(chosen(ALL, &changed), "reject_once-id");
        let unknown = allow(json!({ "optionId": "other" }));
        assert_eq!(chosen(ALL, &unknown), "reject_once-id");
    }

    #[test]
    fn where_nothing_can_be_refused_the_request_is_cancelled() {
        let (result, _) = decide(&options(&["allow_once"]), &deny());
        assert_eq!(result, json!({ "outcome": { "outcome": "cancelled" } }));
    }

    fn colour() -> (Ask, Pending) {
        let params = json!({ "mode": "form", "message": "Which?", "requestedSchema": { "properties": {
            "q": { "type": "string", "title": "Choice", "oneOf": [{ "const": "r", "title": "Red" }, { "const": "b", "title": "Blue" }] },
            "q_custom": { "type": "string", "title": "Other" },
        } } });
        question("1", json!(7), params)
    }

    fn content(answer: Value) -> Value {
        let Kind::Form(form) = colour().1.kind else {
            panic!("a permission")
        };
        form.answered(&allow(answer))["content"].clone()
    }

    #[test]
    fn a_form_offers_its_choices() {
        let AskKind::Question { text, options, .. } = colour().0.kind else {
            panic!("a permission")
        };
        assert_eq!(
            (text.as_str(), options),
            ("Which?", vec!["Red".to_owned(), "Blue".to_owned()])
        );
    }

    #[test]
    fn words_become_the_choice_that_they_mean_or_free_text() {
        assert_eq!(content(json!("blue ")), json!({ "q": "b" }));
        assert_eq!(content(json!("neither")), json!({ "q_custom": "neither" }));
        assert_eq!(
            content(json!({ "answers": { "Which?": "Red" } })),
            json!({ "q": "r" })
        );
        assert_eq!(
            content(json!({ "content": { "q_custom": "x" } })),
            json!({ "q_custom": "x" })
        );
    }

    #[test]
    fn values_have_the_type_of_their_property() {
        let (yes, no) = (json!("yes"), json!("maybe"));
        assert_eq!(
            typed(&json!({ "type": "boolean" }), &yes),
            Some(json!(true))
        );
        assert_eq!(typed(&json!({ "type": "boolean" }), &no), None);
        assert_eq!(
            typed(&json!({ "type": "integer" }), &json!("3")),
            Some(json!(3))
        );
        let several = json!({ "type": "array", "items": { "enum": ["a", "b"] } });
        assert_eq!(typed(&several, &json!("b, A")), Some(json!(["b", "a"])));
    }

    #[test]
    fn a_form_is_declined_when_something_required_is_missing() {
        let params = json!({ "message": "", "requestedSchema": {
            "properties": { "a": { "type": "string" } }, "required": ["a"] } });
        let (_, pending) = question("1", json!(7), params);
        let Kind::Form(form) = pending.kind else {
            panic!("a permission")
        };
        assert_eq!(form.answered(&allow(Value::Null))["action"], "decline");
    }
}
