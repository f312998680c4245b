//! A form that an agent wants filled in: a question with choices, and words put where they belong.

use crate::Answer;
use serde_json::{Map, Value, json};

/// A form: flat properties of simple types.
#[derive(Debug)]
pub(super) struct Form {
    message: String,
    properties: Map<String, Value>,
    required: Vec<String>,
}

impl Form {
    /// The form in the parameters of `elicitation/create`.
    pub(super) fn of(params: &Value) -> Self {
        let schema = &params["requestedSchema"];
        let properties = schema["properties"].as_object().cloned();
        let required = schema["required"].as_array();
        Self {
            message: params["message"].as_str().unwrap_or_default().to_owned(),
            properties: properties.unwrap_or_default(),
            required: required
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(ToOwned::to_owned))
                .collect(),
        }
    }

    /// The message, and the titles of the questions where there are several.
    pub(super) fn text(&self) -> String {
        let titles = self.properties.values().filter(|p| !choices(p).is_empty());
        let titles: Vec<&str> = titles.filter_map(|p| p["title"].as_str()).collect();
        if titles.len() > 1 {
            format!("{}\n{}", self.message, titles.join("\n"))
        } else {
            self.message.clone()
        }
    }

    /// What may be chosen, where there is one question with choices.
    pub(super) fn options(&self) -> Vec<String> {
        let mut with_choices = self.properties.values().map(choices);
        let first = with_choices.find(|choices| !choices.is_empty());
        match (first, with_choices.any(|choices| !choices.is_empty())) {
            (Some(choices), false) => choices.into_iter().map(|(_, title)| title).collect(),
            _ => Vec::new(),
        }
    }

    /// The agent's form of an answer.
    pub(super) fn answered(&self, answer: &Answer) -> Value {
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
            .or_else(|| (question == self.message).then(|| self.properties.keys().next()).flatten())
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
        let free = self.properties.iter().skip_while(|(other, _)| *other != name).find(takes_text);
        let name = free.map_or(name, |(free, _)| free);
        content.insert(name.clone(), text_of(words).into());
    }
}

/// Values and titles that a property lets choose from.
fn choices(property: &Value) -> Vec<(String, String)> {
    let lists = [property, &property["items"]].into_iter().flat_map(|of| {
        ["oneOf", "anyOf", "enum"].iter().filter_map(|&key| of.get(key)?.as_array())
    });
    let choice = |item: &Value| match item {
        Value::String(value) => Some((value.clone(), value.clone())),
        item => {
            let value = item["const"].as_str()?;
            Some((value.to_owned(), item["title"].as_str().unwrap_or(value).to_owned()))
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

    fn allow(input: Value) -> Answer {
        Answer::Allow { input: (!input.is_null()).then_some(input) }
    }

    fn colour() -> Form {
        let params = json!({ "mode": "form", "message": "Which?", "requestedSchema": { "properties": {
            "q": { "type": "string", "title": "Choice", "oneOf": [{ "const": "r", "title": "Red" }, { "const": "b", "title": "Blue" }] },
            "q_custom": { "type": "string", "title": "Other" },
        } } });
        Form::of(&params)
    }

    fn content(answer: Value) -> Value {
        colour().answered(&allow(answer))["content"].clone()
    }

    #[test]
    fn a_form_offers_its_choices() {
        let form = colour();
        assert_eq!(
            (form.text().as_str(), form.options()),
            ("Which?", vec!["Red".to_owned(), "Blue".to_owned()])
        );
    }

    #[test]
    fn words_become_the_choice_that_they_mean_or_free_text() {
        assert_eq!(content(json!("blue ")), json!({ "q": "b" }));
        assert_eq!(content(json!("neither")), json!({ "q_custom": "neither" }));
        assert_eq!(content(json!({ "answers": { "Which?": "Red" } })), json!({ "q": "r" }));
        assert_eq!(content(json!({ "content": { "q_custom": "x" } })), json!({ "q_custom": "x" }));
    }

    #[test]
    fn values_have_the_type_of_their_property() {
        let (yes, no) = (json!("yes"), json!("maybe"));
        assert_eq!(typed(&json!({ "type": "boolean" }), &yes), Some(json!(true)));
        assert_eq!(typed(&json!({ "type": "boolean" }), &no), None);
        assert_eq!(typed(&json!({ "type": "integer" }), &json!("3")), Some(json!(3)));
        let several = json!({ "type": "array", "items": { "enum": ["a", "b"] } });
        assert_eq!(typed(&several, &json!("b, A")), Some(json!(["b", "a"])));
    }

    #[test]
    fn a_form_is_declined_when_something_required_is_missing() {
        let params = json!({ "message": "", "requestedSchema": {
            "properties": { "a": { "type": "string" } }, "required": ["a"] } });
        let form = Form::of(&params);
        assert_eq!(form.answered(&allow(Value::Null))["action"], "decline");
    }
}
