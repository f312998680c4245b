//! A JSON schema that a request wants its answer to fit: checked when it comes, and then the answer against it.
//!
//! A part of the vocabulary is known. A schema with any other keyword is refused when it comes, so that no wish is
//! silently ignored.

use serde_json::{Map, Value};
use std::cell::Cell;
use std::collections::HashMap;

/// Schemas that may be within one another while a value is checked, so that the stack holds them.
const DEEPEST: usize = 320;

/// Steps of one check: schemas that a value is compared with, and what each of them compares.
const MOST_STEPS: usize = 500_000;

/// Keywords that say nothing about what fits.
const WORDS: [&str; 8] =
    ["$schema", "$comment", "$defs", "title", "description", "default", "examples", "format"];

/// Keywords by which a value is checked.
const CHECKED: [&str; 19] = [
    "$ref",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "anyOf",
    "oneOf",
    "allOf",
];

const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];

/// A schema that is understood.
#[derive(Debug, Clone)]
pub struct Schema(Value);

/// Where a value does not fit, and why; `place` is a path like `/items/0/name`.
type Misfit = String;

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    ///
    /// What of it is not understood, in words for the caller.
    pub fn read(value: Value) -> Result<Self, String> {
        let schema = Self(value);
        let mut reader = Reader { root: &schema, applied: HashMap::new(), references: Vec::new() };
        reader.check(&schema.0, "")?;
        reader.check_references()?;
        Ok(schema)
    }

    /// The schema as it came.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    fn find(&self, reference: &str) -> Option<&Value> {
        self.0.pointer(reference.strip_prefix('#')?)
    }

    /// Whether a value fits.
    ///
    /// # Errors
    ///
    /// The first place where it does not, and why.
    pub fn fits(&self, value: &Value) -> Result<(), Misfit> {
        let fitting = Fitting { root: self, left: Cell::new(MOST_STEPS) };
        let found = fitting.fit(&self.0, value, "", 0);
        match fitting.left.get() {
            0 => Err("the answer cannot be checked: it and its schema are too complex".to_owned()),
            _ => found,
        }
    }
}

/// What is known of a schema while it is read.
struct Reader<'a> {
    root: &'a Schema,
    /// The schemas that were found; with each those that are applied to the same value.
    applied: HashMap<*const Value, Vec<*const Value>>,
    /// Where a reference is, and where it leads.
    references: Vec<(String, *const Value)>,
}

const NO_SCHEMA: &str = "must lead to a schema within this one, as `#/$defs/name`";

impl<'a> Reader<'a> {
    fn check(&mut self, schema: &'a Value, place: &str) -> Result<(), String> {
        self.applied.insert(schema, Vec::new());
        let members = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(members) => members,
            _ => return Err(format!("`{place}` is no schema")),
        };
        for (keyword, value) in members {
            let here = format!("{place}/{keyword}");
            let wrong = |what: &str| Err(format!("`{here}` {what}"));
            match keyword.as_str() {
                "properties" | "$defs" => {
                    let Some(each) = value.as_object() else { return wrong("must be an object") };
                    for (name, schema) in each {
                        self.check(schema, &format!("{here}/{name}"))?;
                    }
                }
                "additionalProperties" | "items" => self.check(value, &here)?,
                "anyOf" | "oneOf" | "allOf" => {
                    let Some(each) = value.as_array().filter(|each| !each.is_empty()) else {
                        return wrong("must be a list of schemas");
                    };
                    for (at, part) in each.iter().enumerate() {
                        self.check(part, &format!("{here}/{at}"))?;
                        self.applied.entry(schema).or_default().push(part);
                    }
                }
                "$ref" => {
                    let target = value.as_str().and_then(|to| self.root.find(to));
                    let Some(target) = target else { return wrong(NO_SCHEMA) };
                    self.applied.entry(schema).or_default().push(target);
                    self.references.push((here, target));
                }
                "type"
                    if !types(value).is_some_and(|all| all.iter().all(|t| TYPES.contains(t))) =>
                {
                    return wrong("must name types of JSON");
                }
                "enum" if !value.is_array() => return wrong("must be a list"),
                "required"
                    if !value.as_array().is_some_and(|all| all.iter().all(Value::is_string)) =>
                {
                    return wrong("must be a list of names");
                }
                "minLength" | "maxLength" | "minItems" | "maxItems" if !value.is_u64() => {
                    return wrong("must be a number of things");
                }
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
                    if !value.is_number() =>
                {
                    return wrong("must be a number");
                }
                known if CHECKED.contains(&known) || WORDS.contains(&known) => {}
                _ => return wrong("is a keyword that is not supported"),
            }
        }
        Ok(())
    }

    /// References lead to schemas that were checked, and none of them back to itself with the same value.
    fn check_references(&self) -> Result<(), String> {
        let lost = self.references.iter().find(|(_, target)| !self.applied.contains_key(target));
        if let Some((place, _)) = lost {
            return Err(format!("`{place}` {NO_SCHEMA}"));
        }
        let mut pointers: HashMap<*const Value, usize> = HashMap::new();
        for target in self.applied.values().flatten() {
            *pointers.entry(*target).or_default() += 1;
        }
        let mut free: Vec<_> =
            self.applied.keys().filter(|schema| !pointers.contains_key(*schema)).collect();
        while let Some(schema) = free.pop() {
            for target in &self.applied[schema] {
                let left = pointers.entry(*target).or_default();
                *left -= 1;
                if *left == 0 {
                    free.push(target);
                }
            }
        }
        let circle = self.references.iter().find(|(_, target)| pointers[target] > 0);
        circle.map_or(Ok(()), |(place, _)| {
            Err(format!("`{place}` leads to itself with nothing of the value in between"))
        })
    }
}

/// One check of a value.
struct Fitting<'a> {
    root: &'a Schema,
    /// Steps that it may still make.
    left: Cell<usize>,
}

impl Fitting<'_> {
    /// Counts a schema that a value is compared with.
    fn count_steps(&self, members: &Map<String, Value>, value: &Value, place: &str) {
        let compared = ["type", "enum", "const", "required"].into_iter();
        let compared: usize = compared.filter_map(|word| members.get(word)).map(weigh).sum();
        let text = value.as_str().map_or(0, str::len);
        let steps = 1 + compared + (text + place.len()) / 64;
        self.left.set(self.left.get().saturating_sub(steps));
    }

    fn fit(&self, schema: &Value, value: &Value, place: &str, depth: usize) -> Result<(), Misfit> {
        let wrong = |what: String| match place {
            "" => Err(format!("the answer {what}")),
            place => Err(format!("`{place}` {what}")),
        };
        let members = match schema {
            Value::Object(members) => members,
            Value::Bool(true) => return Ok(()),
            _ => return wrong("is not allowed".to_owned()),
        };
        if depth > DEEPEST || self.left.get() == 0 {
            return wrong("is checked by too many schemas within one another".to_owned());
        }
        self.count_steps(members, value, place);
        if let Some(types) = members.get("type").and_then(types)
            && !types.iter().any(|wanted| is_of_type(value, wanted))
        {
            return wrong(format!("must be of type {}", types.join(" or ")));
        }
        if let Some(each) = members.get("enum").and_then(Value::as_array)
            && !each.iter().any(|one| equals(one, value))
        {
            return wrong(format!("must be one of {}", Value::from(each.clone())));
        }
        if let Some(wanted) = members.get("const").filter(|wanted| !equals(wanted, value)) {
            return wrong(format!("must be {wanted}"));
        }
        fit_bounds(members, value).or_else(wrong)?;
        if let Some(target) =
            members.get("$ref").and_then(Value::as_str).and_then(|to| self.root.find(to))
        {
            self.fit(target, value, place, depth + 1)?;
        }
        let count = |keyword| {
            let all = members.get(keyword).and_then(Value::as_array)?;
            let fitting = all.iter().filter(|one| self.fit(one, value, place, depth + 1).is_ok());
            Some((fitting.count(), all))
        };
        for schema in members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.fit(schema, value, place, depth + 1)?;
        }
        if let Some((0, all)) = count("anyOf") {
            return wrong(format!("fits none of {} choices", all.len()));
        }
        if let Some((fitting, all)) = count("oneOf").filter(|(fitting, _)| *fitting != 1) {
            return wrong(format!("fits {fitting} of {} choices instead of one", all.len()));
        }
        match value {
            Value::Object(fields) => self.fit_fields((members, fields), place, depth + 1),
            Value::Array(items) => {
                let Some(schema) = members.get("items") else { return Ok(()) };
                let mut items = items.iter().enumerate();
                items.try_for_each(|(at, item)| {
                    self.fit(schema, item, &format!("{place}/{at}"), depth + 1)
                })
            }
            _ => Ok(()),
        }
    }

    fn fit_fields(
        &self,
        (members, fields): (&Map<String, Value>, &Map<String, Value>),
        place: &str,
        depth: usize,
    ) -> Result<(), Misfit> {
        let required = members.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return Err(format!("`{place}/{name}` is missing"));
            }
        }
        let known = members.get("properties").and_then(Value::as_object);
        for (name, field) in fields {
            let schema = known
                .and_then(|known| known.get(name))
                .or_else(|| members.get("additionalProperties"));
            if let Some(schema) = schema {
                self.fit(schema, field, &format!("{place}/{name}"), depth)?;
            }
        }
        Ok(())
    }
}

/// The types that a schema names.
fn types(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(all) if !all.is_empty() => all.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// How much there is to compare in a value.
fn weigh(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len() / 64,
        Value::Array(items) => 1 + items.iter().map(weigh).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(weigh).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

fn is_of_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
        }
        "string" => value.is_string(),
        _ => false,
    }
}

/// Numbers are equal by their values, as JSON schema has it.
fn equals(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

fn fit_bounds(members: &Map<String, Value>, value: &Value) -> Result<(), String> {
    let bound = |name: &str| members.get(name).and_then(Value::as_f64);
    let check =
        |keyword: &str, holds: fn(f64, f64) -> bool, number: f64, words: &str| match bound(keyword)
        {
            Some(bound) if !holds(number, bound) => Err(format!("must {words} {bound}")),
            _ => Ok(()),
        };
    let least = |number: f64, bound: f64| number >= bound;
    let most = |number: f64, bound: f64| number <= bound;
    if let Some(number) = value.as_f64() {
        check("minimum", least, number, "be at least")?;
        check("maximum", most, number, "be at most")?;
        check("exclusiveMinimum", |number, bound| number > bound, number, "be more than")?;
        check("exclusiveMaximum", |number, bound| number < bound, number, "be less than")?;
    }
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if let Some(text) = value.as_str() {
        let length = count(text.chars().count());
        check("minLength", least, length, "have a length of at least")?;
        check("maxLength", most, length, "have a length of at most")?;
    }
    if let Some(items) = value.as_array() {
        check("minItems", least, count(items.len()), "have a number of items of at least")?;
        check("maxItems", most, count(items.len()), "have a number of items of at most")?;
    }
    Ok(())
}

/// The one JSON value of an answer: all of it, what is in its code fence, or from its first bracket to its last.
pub(super) fn find_json(answer: &str) -> Option<Value> {
    let parse = |text: &str| serde_json::from_str::<Value>(text.trim()).ok();
    let whole = answer.trim();
    let fenced = || {
        let (_, rest) = whole.split_once("```")?;
        let (_, rest) = rest.split_once('\n')?;
        parse(rest.rsplit_once("```")?.0)
    };
    let bracketed = || {
        let first = whole.find(['{', '['])?;
        let last = whole.rfind(['}', ']'])?;
        parse(whole.get(first..=last)?)
    };
    parse(whole).or_else(fenced).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn misfit(schema: Value, value: Value) -> Option<String> {
        Schema::read(schema).unwrap().fits(&value).err()
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_by_its_place() {
        let schema = json!({
            "type": "object", "required": ["name", "tags"], "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "minLength": 2},
                "tags": {"type": "array", "maxItems": 2, "items": {"enum": ["a", "b"]}},
                "size": {"type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 10},
                "next": {"$ref": "#"},
            },
        });
        let good =
            json!({"name": "ab", "tags": ["a"], "size": 3.0, "next": {"name": "cd", "tags": []}});
        assert_eq!(misfit(schema.clone(), good), None);
        for (value, place) in [
            (json!([]), "the answer must be of type object"),
            (json!({"name": "ab"}), "`/tags` is missing"),
            (json!({"name": "a", "tags": []}), "`/name` must have a length of at least 2"),
            (json!({"name": "ab", "tags": ["a", "c"]}), "`/tags/1` must be one of [\"a\",\"b\"]"),
            (
                json!({"name": "ab", "tags": ["a", "a", "a"]}),
                "`/tags` must have a number of items of at most 2",
            ),
            (json!({"name": "ab", "tags": [], "size": 10}), "`/size` must be less than 10"),
            (
                json!({"name": "ab", "tags": [], "size": 1.5}),
                "`/size` must be of type integer or null",
            ),
            (json!({"name": "ab", "tags": [], "more": 1}), "`/more` is not allowed"),
            (json!({"name": "ab", "tags": [], "next": {"name": "cd"}}), "`/next/tags` is missing"),
        ] {
            assert_eq!(misfit(schema.clone(), value.clone()).as_deref(), Some(place), "{value}");
        }
    }

    #[test]
    fn choices_and_references_are_followed() {
        let one = json!({"oneOf": [{"type": "string"}, {"const": 1}]});
        assert_eq!(misfit(one.clone(), json!("x")), None);
        assert!(misfit(one, json!(2)).unwrap().contains("fits 0 of 2"));
        assert!(misfit(json!({"anyOf": [{"type": "null"}]}), json!(2)).is_some());
        assert!(misfit(json!({"allOf": [true, {"type": "null"}]}), json!(2)).is_some());
    }

    #[test]
    fn a_reference_that_leads_to_itself_or_to_what_was_not_checked_is_refused() {
        for (schema, word) in [
            (json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}), "/anyOf/0/$ref` leads to itself"),
            (json!({"$defs": {"a": {"$ref": "#/$defs/a"}}}), "leads to itself"),
            (json!({"examples": [{"anyOf": 3}], "$ref": "#/examples/0"}), "must lead to a schema"),
        ] {
            let refused = Schema::read(schema.clone()).unwrap_err();
            assert!(refused.contains(word), "{schema}: {refused}");
        }
    }

    #[test]
    fn the_check_of_a_schema_that_multiplies_ends_after_a_number_of_steps() {
        let mut defs = Map::new();
        for at in 0..60 {
            let next = json!({"$ref": format!("#/$defs/{}", at + 1)});
            defs.insert(at.to_string(), json!({"anyOf": [next.clone(), next]}));
        }
        defs.insert("60".to_owned(), json!({"type": "null"}));
        let multiplied = json!({"$ref": "#/$defs/0", "$defs": defs});
        assert!(misfit(multiplied, json!(1)).unwrap().contains("too complex"));
        let list = json!({"type": "array", "items": {"enum": vec![0; 1000]}});
        assert!(misfit(list, json!(vec![0; 1000])).unwrap().contains("too complex"));
    }

    #[test]
    fn a_long_chain_of_references_within_a_deep_value_ends_before_the_stack_does() {
        let mut defs = Map::new();
        for at in 0..60 {
            defs.insert(at.to_string(), json!({"$ref": format!("#/$defs/{}", at + 1)}));
        }
        defs.insert("60".to_owned(), json!({"items": {"$ref": "#/$defs/0"}}));
        let chain = json!({"$ref": "#/$defs/0", "$defs": defs});
        let deep = (0..120).fold(json!([]), |inner, _| json!([inner]));
        assert!(misfit(chain, deep.clone()).unwrap().contains("too many schemas"));
        assert_eq!(misfit(json!({"items": {"$ref": "#"}}), deep), None);
    }

    #[test]
    fn a_schema_that_is_not_understood_is_refused_by_name() {
        for (schema, word) in [
            (json!({"properties": {"a": {"pattern": "x"}}}), "/properties/a/pattern"),
            (json!({"type": "text"}), "/type"),
            (json!({"$ref": "https://example.com/x"}), "/$ref"),
            (json!({"minLength": -1}), "/minLength"),
            (json!({"items": 3}), "/items"),
            (json!("object"), "is no schema"),
        ] {
            let refused = Schema::read(schema.clone()).unwrap_err();
            assert!(refused.contains(word), "{schema}: {refused}");
        }
    }

    #[test]
    fn the_json_of_an_answer_is_found_within_words_and_fences() {
        for text in [
            "{\"a\": [1]}",
            " \n{\"a\": [1]}\n",
            "Here it is:\n```json\n{\"a\": [1]}\n```\nDone.",
            "It is {\"a\": [1]}, as you wished.",
        ] {
            assert_eq!(find_json(text), Some(json!({"a": [1]})), "{text}");
        }
        assert_eq!(find_json("no json {"), None);
        assert_eq!(find_json("42"), Some(json!(42)));
    }
}
