//! The document as a test reads it, a checker of values against its schemas, and a world whose every answer is checked.

use crate::http::Answer;
use crate::world::{OWNER, World};
use serde_json::{Map, Value, json};

/// Where the document is.
pub(super) const DOCUMENT: &str = "/openapi.json";

/// The document of a server.
pub(super) struct Document(pub(super) Value);

/// An operation of the document with its place.
pub(super) struct Operation<'a> {
    pub(super) verb: String,
    pub(super) path: &'a str,
    pub(super) body: &'a Value,
}

/// The document of a world's server.
pub(super) fn document(world: &World) -> Document {
    Document(world.get(DOCUMENT, &[]).json())
}

impl Document {
    /// Every operation with its place.
    pub(super) fn operations(&self) -> Vec<Operation<'_>> {
        let mut found = Vec::new();
        for (path, verbs) in self.0["paths"].as_object().unwrap() {
            for (verb, body) in verbs.as_object().unwrap() {
                let verb = verb.to_uppercase();
                found.push(Operation { verb, path, body });
            }
        }
        found
    }

    /// What stands behind references.
    pub(super) fn at<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        while let Some(reference) = value["$ref"].as_str() {
            let place = reference.strip_prefix('#');
            let found = place.and_then(|place| self.0.pointer(place));
            value = found.unwrap_or_else(|| panic!("{reference} leads nowhere"));
        }
        value
    }

    /// The operation of this id.
    fn operation(&self, id: &str) -> &Value {
        let mut found = self.operations().into_iter().map(|operation| operation.body);
        let found = found.find(|body| body["operationId"] == id);
        found.unwrap_or_else(|| panic!("no operation {id}"))
    }

    /// Holds a body that was accepted against the schema of its operation.
    pub(super) fn takes(&self, id: &str, body: &Value) {
        let content = &self.operation(id)["requestBody"]["content"];
        let schema = &content["application/json"]["schema"];
        if let Err(wrong) = self.check(schema, body, "") {
            panic!("{id} takes no {body}: {wrong}");
        }
    }

    /// The schema that an operation has for a status and a media type.
    pub(super) fn schema(&self, id: &str, status: &str, media: &str) -> &Value {
        let responses = &self.operation(id)["responses"];
        let range = format!("{}XX", &status[..1]);
        let response = responses.get(status).unwrap_or(&responses[range]);
        let response = self.at(response);
        let schema = &response["content"][media]["schema"];
        assert!(schema.is_object(), "{id} does not say {status} {media}");
        schema
    }

    /// Holds an answer against the schema of its operation.
    pub(super) fn fits(&self, id: &str, status: u16, media: &str, answer: &Value) {
        let schema = self.schema(id, &status.to_string(), media);
        if let Err(wrong) = self.check(schema, answer, "") {
            panic!("{id} {status}: {wrong}\n{answer:#}");
        }
    }

    /// A value against a schema; knows the keywords that the document uses, and no others.
    pub(super) fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let no = |what: String| Err(format!("{at}: {what}"));
        let fitting = |schemas: &Value| {
            let schemas = schemas.as_array().unwrap().iter();
            let tried: Vec<_> = schemas.map(|schema| self.check(schema, value, at)).collect();
            let wrong: Vec<_> = tried.iter().filter_map(|tried| tried.clone().err()).collect();
            (tried.len() - wrong.len(), wrong.join(" | "))
        };
        let none = Map::new();
        let members = value.as_object().unwrap_or(&none);
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        for (keyword, said) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "$ref" => self.check(self.at(schema), value, at)?,
                "type" => {
                    let kinds = said.as_array().cloned().unwrap_or_else(|| vec![said.clone()]);
                    if !kinds.iter().any(|kind| is(value, kind.as_str().unwrap())) {
                        return no(format!("{value} is no {said}"));
                    }
                }
                "enum" if !said.as_array().unwrap().contains(value) => {
                    return no(format!("{value} is none of {said}"));
                }
                "const" if said != value => return no(format!("{value} is not {said}")),
                "minimum" if value.as_f64() < said.as_f64() => {
                    return no(format!("{value} is small"));
                }
                "minItems" if (items.len() as u64) < said.as_u64().unwrap() => {
                    return no("too few items".to_owned());
                }
                "required" => {
                    for name in said.as_array().unwrap() {
                        if !members.contains_key(name.as_str().unwrap()) {
                            return no(format!("{name} is missing"));
                        }
                    }
                }
                "properties" => {
                    for (name, schema) in said.as_object().unwrap() {
                        if let Some(member) = members.get(name) {
                            self.check(schema, member, &format!("{at}/{name}"))?;
                        }
                    }
                }
                "additionalProperties" if *said != json!(true) => {
                    let known = schema["properties"].as_object().unwrap_or(&none);
                    for (name, member) in
                        members.iter().filter(|(name, _)| !known.contains_key(*name))
                    {
                        if *said == json!(false) {
                            return no(format!("`{name}` is not described"));
                        }
                        self.check(said, member, &format!("{at}/{name}"))?;
                    }
                }
                "items" => {
                    for (place, item) in items.iter().enumerate() {
                        self.check(said, item, &format!("{at}/{place}"))?;
                    }
                }
                "oneOf" => match fitting(said) {
                    (1, _) => {}
                    (count, wrong) => return no(format!("fits {count} of oneOf: {wrong}")),
                },
                "anyOf" => {
                    if let (0, wrong) = fitting(said) {
                        return no(wrong);
                    }
                }
                "format" if said == "date-time" => {
                    let text = value.as_str().unwrap_or_default();
                    if !(text.ends_with('Z') && text.contains('T')) {
                        return no(format!("{value} is no time"));
                    }
                }
                "contentMediaType" if said == "application/json" => {
                    let inner: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
                    self.check(&schema["contentSchema"], &inner, at)?;
                }
                "enum"
                | "const"
                | "minimum"
                | "minItems"
                | "additionalProperties"
                | "description"
                | "examples"
                | "contentSchema"
                | "contentEncoding"
                | "format"
                | "default" => {}
                unknown => panic!("the checker does not know `{unknown}`"),
            }
        }
        Ok(())
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        unknown => panic!("no type `{unknown}`"),
    }
}

/// A world whose answers are held against its own document.
pub(super) struct Witness {
    pub(super) world: World,
    pub(super) document: Document,
}

impl Witness {
    /// Reads the document of a world's server.
    pub(super) fn of(world: World) -> Self {
        let document = document(&world);
        Self { world, document }
    }

    /// Asks, expects this status, and checks the answer; streams are read to their end.
    pub(super) fn ask(&self, id: &str, status: u16, verb: &str, path: &str, body: &Value) -> Value {
        let bearer = format!("Bearer {OWNER}");
        self.ask_with(id, status, verb, path, body, &[("Authorization", &bearer)])
    }

    /// The same with these headers alone.
    pub(super) fn ask_with(
        &self,
        id: &str,
        status: u16,
        verb: &str,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Value {
        let text = match body {
            Value::Null => String::new(),
            _ => body.to_string(),
        };
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(headers);
        if status == 200 && !body.is_null() {
            self.document.takes(id, body);
        }
        let answer = self.world.ask(verb, path, &all, text.as_bytes());
        self.heard(id, status, answer)
    }

    /// Reads an answer to its end and checks it.
    pub(super) fn heard(&self, id: &str, status: u16, answer: Answer) -> Value {
        let reply = answer.whole();
        assert_eq!(reply.status, status, "{id}: {}", reply.text());
        let media = reply.header("content-type").unwrap().to_owned();
        let media = media.split(';').next().unwrap();
        match media {
            "application/json" => {
                self.document.fits(id, status, media, &reply.json());
                reply.json()
            }
            "text/event-stream" => self.frames(id, &reply.text()),
            _ => {
                let text = Value::String(reply.text());
                self.document.fits(id, status, media, &text);
                text
            }
        }
    }

    /// The events of a stream, each frame of which fits.
    fn frames(&self, id: &str, text: &str) -> Value {
        let stream = self.document.at(self.document.schema(id, "200", "text/event-stream"));
        let frame = &stream["contentSchema"]["items"];
        let mut events = Vec::new();
        for block in text.split("\n\n") {
            let lines = block.lines().filter_map(|line| line.split_once(": "));
            let mut members: Map<_, _> =
                lines.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
            let Some(data) = members.get("data").and_then(Value::as_str) else {
                continue;
            };
            events.push(serde_json::from_str(data).unwrap());
            if let Some(number) = members.get("id").and_then(Value::as_str) {
                let number: u64 = number.parse().unwrap();
                members.insert("id".to_owned(), number.into());
            }
            let members = Value::Object(members);
            if let Err(wrong) = self.document.check(frame, &members, "") {
                panic!("{id}: {wrong}\n{block}");
            }
        }
        assert!(events.len() > 1, "{text}");
        Value::Array(events)
    }
}
