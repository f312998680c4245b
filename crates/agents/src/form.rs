//! A form that an agent wants filled in (an elicitation of MCP): a question with choices, words put where they
//! belong, and the answer checked against the schema that was asked for.
//!
//! The schemas of forms are flat: properties of simple types, enumerations, and lists of choices.

use crate::Answer;
use serde_json::{Map, Value, json};

/// Bytes of words that are read as JSON.
const LONGEST_JSON: usize = 64 * 1024;

/// A form: flat properties of simple types.
#[derive(Debug)]
pub(crate) struct Form {
    message: String,
    properties: Map<String, Value>,
    required: Vec<String>,
}

/// Why an answer does not fit its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct Misfit {
    /// The field of the form.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks an answer to a question against the form in the question's `input`, where it has one.
///
/// # Errors
///
/// The first field that is missing, unknown, or not as its schema wants it.
pub fn check(input: &Value, answer: &Answer) -> Result<(), Misfit> {
    match input.get("requestedSchema") {
        Some(Value::Object(_)) => Form::of(input).content(answer).map(drop),
        _ if is_address(input) => consent(answer).map(drop),
        _ => Ok(()),
    }
}

/// Whether a question asks a person to open an address, which brings no values.
pub(crate) fn is_address(input: &Value) -> bool {
    input.get("mode").and_then(Value::as_str) == Some("url")
}

/// Whether a person agrees to open an address.
pub(crate) fn consent(answer: &Answer) -> Result<bool, Misfit> {
    let Answer::Allow { input } = answer else {
        return Ok(false);
    };
    let words = match input {
        None => return Ok(true),
        Some(Value::Object(fields)) if fields.is_empty() => return Ok(true),
        Some(Value::String(words)) => words.trim().trim_end_matches(['.', '!']).to_lowercase(),
        Some(other) => other.to_string(),
    };
    match words.as_str() {
        "accept" | "accepted" | "allow" | "yes" | "y" | "ok" | "done" => Ok(true),
        "decline" | "deny" | "no" | "n" | "cancel" => Ok(false),
        _ => Err(misfit("answer", "must be `accept` or `decline`")),
    }
}

fn misfit(field: &str, reason: impl Into<String>) -> Misfit {
    Misfit { field: field.to_owned(), reason: reason.into() }
}

impl Form {
    /// The form in the parameters of `elicitation/create`.
    pub(crate) fn of(params: &Value) -> Self {
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
    pub(crate) fn text(&self) -> String {
        let titles = self.properties.values().filter(|p| !choices(p).is_empty());
        let titles: Vec<&str> = titles.filter_map(|p| p["title"].as_str()).collect();
        if titles.len() > 1 {
            format!("{}\n{}", self.message, titles.join("\n"))
        } else {
            self.message.clone()
        }
    }

    /// What may be chosen, where there is one question with choices.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut with_choices = self.properties.values().map(choices);
        let first = with_choices.find(|choices| !choices.is_empty());
        match (first, with_choices.any(|choices| !choices.is_empty())) {
            (Some(choices), false) => choices.into_iter().map(|(_, title)| title).collect(),
            _ => Vec::new(),
        }
    }

    /// A line for each field: its name, what it is, and whether it has to be filled in.
    pub(crate) fn fields(&self) -> Vec<String> {
        let line = |(name, property): (&String, &Value)| {
            let text = |key: &str| property[key].as_str().unwrap_or_default();
            let mut line = format!("- {name}");
            if !text("title").is_empty() && text("title") != name {
                line.push_str(&format!(" ({})", text("title")));
            }
            let choices: Vec<_> = choices(property).into_iter().map(|(_, title)| title).collect();
            let kind =
                if choices.is_empty() { text("type").to_owned() } else { choices.join(" | ") };
            line.push_str(&format!(": {kind}"));
            if self.required.contains(name) {
                line.push_str(", required");
            }
            if !text("description").is_empty() {
                line.push_str(&format!("; {}", text("description")));
            }
            line
        };
        self.properties.iter().map(line).collect()
    }

    /// The agent's form of an answer. What does not fit was refused before (`check`); where it was not, the form is
    /// declined, because the agent's server would take anything.
    pub(crate) fn answered(&self, answer: &Answer) -> Value {
        match self.content(answer) {
            Ok(Some(content)) => json!({ "action": "accept", "content": content }),
            Ok(None) | Err(_) => json!({ "action": "decline" }),
        }
    }

    /// The values of an answer, each as the schema wants it; none where the form is declined.
    pub(crate) fn content(&self, answer: &Answer) -> Result<Option<Map<String, Value>>, Misfit> {
        let Answer::Allow { input } = answer else {
            return Ok(None);
        };
        let mut content = self.defaults();
        let fields = input.as_ref().and_then(|input| self.fields_in_words(input));
        match fields.as_ref().or(input.as_ref()) {
            None => {}
            Some(Value::Object(fields)) => {
                let given = ["content", "answers"]
                    .iter()
                    .filter(|&&key| !self.properties.contains_key(key))
                    .find_map(|&key| fields.get(key)?.as_object())
                    .unwrap_or(fields);
                for (question, words) in given {
                    let name = self.property(question);
                    let name = name.ok_or_else(|| misfit(question, self.unknown_field()))?;
                    self.fill(&mut content, name, words);
                }
            }
            Some(words) => {
                let first = self.required.iter().find(|name| self.properties.contains_key(*name));
                if let Some(name) = first.or_else(|| self.properties.keys().next()) {
                    self.fill(&mut content, name, words);
                }
            }
        }
        if let Some(name) = self.required.iter().find(|name| !content.contains_key(*name)) {
            return Err(misfit(name, "is missing; answer by {\"answers\": {field: value}}"));
        }
        for (name, value) in &content {
            if let Some(property) = self.properties.get(name) {
                fits(property, value).map_err(|reason| misfit(name, reason))?;
            }
        }
        Ok(Some(content))
    }

    /// The fields of an answer that is JSON in plain words; none where those may be meant as they stand.
    fn fields_in_words(&self, words: &Value) -> Option<Value> {
        let text = words.as_str().filter(|text| text.len() <= LONGEST_JSON)?;
        let fields: Value = serde_json::from_str(text).ok()?;
        let mut names = fields.as_object()?.keys();
        let is_known = self.properties.len() > 1 || names.any(|name| self.property(name).is_some());
        is_known.then_some(fields)
    }

    fn unknown_field(&self) -> String {
        let names: Vec<&str> = self.properties.keys().map(String::as_str).collect();
        format!("is not a field of the form; there are {}", names.join(", "))
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
    fn fill(&self, content: &mut Map<String, Value>, name: &String, words: &Value) {
        if let Some(value) = typed(&self.properties[name], words) {
            content.insert(name.clone(), value);
            return;
        }
        let takes_text = |(other, property): &(&String, &Value)| {
            *other != name && property["type"] == "string" && choices(property).is_empty()
        };
        let free = self.properties.iter().skip_while(|(other, _)| *other != name).find(takes_text);
        match free {
            Some((free, _)) => content.insert(free.clone(), text_of(words).into()),
            // As it was given: then it is told what is wrong with it.
            None => content.insert(name.clone(), words.clone()),
        };
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
        "number" if words.is_number() => Some(words.clone()),
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

/// Whether a value is as its property wants it; the reason where it is not.
fn fits(property: &Value, value: &Value) -> Result<(), String> {
    let choices = choices(property);
    let known = |value: &Value| choices.iter().any(|(known, _)| value.as_str() == Some(known));
    let among = || {
        let known: Vec<&str> = choices.iter().map(|(value, _)| value.as_str()).collect();
        known.join(", ")
    };
    let within = |size: f64, least: &str, most: &str, what: &str| {
        if property[least].as_f64().is_some_and(|least| size < least) {
            return Err(format!("must be at least {}{what}", property[least]));
        }
        if property[most].as_f64().is_some_and(|most| size > most) {
            return Err(format!("must be at most {}{what}", property[most]));
        }
        Ok(())
    };
    match property["type"].as_str().unwrap_or_default() {
        "boolean" if !value.is_boolean() => Err("must be true or false".to_owned()),
        "integer" if !value.is_i64() && !value.is_u64() => Err("must be a whole number".to_owned()),
        "number" if !value.is_number() => Err("must be a number".to_owned()),
        "integer" | "number" => {
            within(value.as_f64().unwrap_or_default(), "minimum", "maximum", "")
        }
        "array" => {
            let Some(items) = value.as_array() else {
                return Err("must be a list".to_owned());
            };
            if !items.iter().all(known) {
                return Err(format!("may hold {}", among()));
            }
            within(count(items.len()), "minItems", "maxItems", " items")
        }
        "string" if !value.is_string() => Err("must be text".to_owned()),
        "string" if !choices.is_empty() && !known(value) => {
            Err(format!("must be one of {}", among()))
        }
        "string" => {
            let text = value.as_str().unwrap_or_default();
            within(count(text.chars().count()), "minLength", "maxLength", " characters")?;
            has_format(property["format"].as_str().unwrap_or_default(), text)
        }
        _ => Ok(()),
    }
}

fn count(number: usize) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}

/// The formats that the protocol names for forms.
fn has_format(format: &str, text: &str) -> Result<(), String> {
    let date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        let number = |part: &str, digits: usize| {
            (part.len() == digits).then(|| part.parse::<u32>().ok()).flatten()
        };
        let [year, month, day] = parts[..] else { return false };
        number(year, 4).is_some()
            && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
            && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
    };
    let (fits, example) = match format {
        "email" => {
            let parts = text.split_once('@');
            let is_address = |(name, host): (&str, &str)| {
                !name.is_empty() && !host.is_empty() && !host.contains('@')
            };
            (
                parts.is_some_and(is_address) && !text.contains(char::is_whitespace),
                "name@example.com",
            )
        }
        "uri" => {
            let is_scheme = |scheme: &str| {
                scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            };
            let parts = text.split_once(':');
            let fits = parts.is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty());
            (fits && !text.contains(char::is_whitespace), "https://example.com/")
        }
        "date" => (date(text), "2026-01-31"),
        "date-time" => {
            let parts = text.split_once(['T', 't', ' ']);
            let fits = parts.is_some_and(|(day, time)| {
                date(day) && time.len() >= 8 && time.starts_with(|c: char| c.is_ascii_digit())
            });
            (fits, "2026-01-31T12:00:00Z")
        }
        _ => (true, ""),
    };
    if fits { Ok(()) } else { Err(format!("must have the form of {example}")) }
}

fn text_of(words: &Value) -> String {
    match words {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text_of).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
