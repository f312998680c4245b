//! What of a card is signed: its canonical forms (specification 8.4.1, RFC 8785).

use pilothouse_a2a::card::AgentCard;
use serde_json::{Map, Value};

/// The members of a v0.3 card; a reader of v0.3 drops all others.
const V0_3_MEMBERS: [&str; 17] = [
    "protocolVersion",
    "name",
    "description",
    "url",
    "preferredTransport",
    "additionalInterfaces",
    "iconUrl",
    "provider",
    "version",
    "documentationUrl",
    "capabilities",
    "securitySchemes",
    "security",
    "defaultInputModes",
    "defaultOutputModes",
    "skills",
    "supportsAuthenticatedExtendedCard",
];

/// Which bytes a signature is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the specification says it.
    Exact,
    /// Without any empty text, list or object, as the SDKs of v1.0 read it.
    NonEmpty,
    /// The v0.3 members that differ from that schema's defaults and are not empty, in ASCII, as the
    /// Python SDK of v0.3 reads it.
    V0_3,
}

impl Form {
    /// The word for it in a protected header; none for the specification's own.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Exact => None,
            Self::NonEmpty => Some("non-empty"),
            Self::V0_3 => Some("v0.3"),
        }
    }
}

/// The bytes that are signed; none when this is no card of that kind.
pub(super) fn payload(card: &Value, form: Form) -> Option<String> {
    match form {
        Form::Exact => serde_jcs::to_string(&exact(card)?).ok(),
        Form::NonEmpty => serde_jcs::to_string(&non_empty(exact(card)?)?).ok(),
        Form::V0_3 => serde_jcs::to_string(&non_empty(v0_3(card)?)?).ok().map(|text| ascii(&text)),
    }
}

/// The card as a reader of v1.0 writes it again: without signatures, without what it does not know, and
/// without defaults that are neither required nor marked as optional.
fn exact(card: &Value) -> Option<Value> {
    if !card.get("supportedInterfaces")?.is_array() {
        return None;
    }
    let known: AgentCard = serde_json::from_value(card.clone()).ok()?;
    let mut exact = serde_json::to_value(known).ok()?;
    let members = exact.as_object_mut()?;
    members.remove("signatures");
    // `optional` in the schema: the empty text is a value there.
    for name in ["documentationUrl", "iconUrl"] {
        if card.get(name).is_some_and(|value| value == "") {
            members.insert(name.to_owned(), "".into());
        }
    }
    let skills = members.get_mut("skills").and_then(Value::as_array_mut);
    for skill in skills.into_iter().flatten() {
        skill.get_mut("securityRequirements").map(drop_empty_scopes);
    }
    members.get_mut("securityRequirements").map(drop_empty_scopes);
    let schemes = members.get_mut("securitySchemes").and_then(Value::as_object_mut);
    for (_, scheme) in schemes.into_iter().flatten() {
        for flow in ["implicit", "password"] {
            // Nothing is required in these two.
            if let Some(flow) = scheme.pointer_mut(&format!("/oauth2SecurityScheme/flows/{flow}"))
                && let Some(members) = flow.as_object_mut()
            {
                members.retain(|_, value| !is_empty(value));
            }
        }
    }
    Some(exact)
}

/// `list` is a repeated field that is not required.
fn drop_empty_scopes(requirements: &mut Value) {
    for requirement in requirements.as_array_mut().into_iter().flatten() {
        let schemes = requirement.get_mut("schemes").and_then(Value::as_object_mut);
        for (_, scopes) in schemes.into_iter().flatten() {
            if let Some(scopes) = scopes.as_object_mut() {
                scopes.retain(|_, list| !is_empty(list));
            }
        }
        if let Some(requirement) = requirement.as_object_mut() {
            requirement.retain(|_, schemes| !is_empty(schemes));
        }
    }
}

/// The members that v0.3 has, without those that say what its schema says anyway.
fn v0_3(card: &Value) -> Option<Value> {
    let members = card.as_object().filter(|card| card.contains_key("url"))?;
    let known = members.iter().filter(|(name, _)| V0_3_MEMBERS.contains(&name.as_str()));
    let mut view: Map<String, Value> =
        known.map(|(name, value)| (name.clone(), value.clone())).collect();
    view.retain(|name, value| {
        !matches!(
            (name.as_str(), value.as_str()),
            ("protocolVersion", Some("0.3.0")) | ("preferredTransport", Some("JSONRPC"))
        )
    });
    if let Some(capabilities) = view.get_mut("capabilities").and_then(Value::as_object_mut) {
        capabilities.retain(|name, _| name != "extendedAgentCard");
    }
    for skill in view.get_mut("skills").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(skill) = skill.as_object_mut() {
            skill.retain(|name, _| name != "securityRequirements");
        }
    }
    let schemes = view.get_mut("securitySchemes").and_then(Value::as_object_mut);
    for (_, scheme) in schemes.into_iter().flatten() {
        if let Some(scheme) = scheme.as_object_mut() {
            scheme.retain(|name, _| name != "type" && !name.ends_with("SecurityScheme"));
        }
    }
    Some(Value::Object(view))
}

/// Without empty texts, lists and objects, from the inside out; none when nothing is left.
fn non_empty(value: Value) -> Option<Value> {
    let value = match value {
        Value::Array(items) => items.into_iter().filter_map(non_empty).collect(),
        Value::Object(members) => {
            let members =
                members.into_iter().filter_map(|(name, value)| Some((name, non_empty(value)?)));
            Value::Object(members.collect())
        }
        plain => plain,
    };
    (!is_empty(&value)).then_some(value)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// With `\u` for all that is not ASCII; in JSON that can stand within strings alone.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn canonical_json_is_that_of_rfc_8785() {
        // Names by their UTF-16 units, numbers as ECMAScript writes them, the shortest escapes.
        let value = json!({
            "\u{20ac}": "Euro", "\r": "return", "\u{1f600}": "face", "\u{fb33}": "dalet", "1": 1.0,
            "n": [1e30, 4.5, 2e-3, 1e-27, -0.0, 333_333_333.333_333_3, 1e21],
            "s": "\u{20ac}$\u{000f}\nA'B\"\\\\\"/\u{7f}", "t": [null, true, false],
        });
        let expected = concat!(
            r#"{"\r":"return","1":1,"n":[1e+30,4.5,0.002,1e-27,0,333333333.3333333,1e+21],"#,
            r#""s":"€$\u000f\nA'B\"\\\\\"/"#,
            "\u{7f}",
            r#"","t":[null,true,false],"€":"Euro","😀":"face",""#,
            "\u{fb33}",
            r#"":"dalet"}"#
        );
        assert_eq!(serde_jcs::to_string(&value).unwrap(), expected);
    }

    #[test]
    fn required_and_optional_members_stay_and_other_defaults_go() {
        let card = json!({
            "name": "n", "description": "", "supportedInterfaces": [], "version": "", "signatures": [{"protected": "x", "signature": "y"}],
            "capabilities": {"streaming": false, "extensions": [{"uri": "urn:x", "required": false, "description": ""}]},
            "defaultInputModes": [], "defaultOutputModes": [], "iconUrl": "", "securitySchemes": {},
            "securityRequirements": [{"schemes": {"bearer": {"list": []}}}, {"schemes": {}}],
            "skills": [{"id": "s", "name": "", "description": "", "tags": [], "examples": []}], "unknown": 1,
        });
        let expected = concat!(
            r#"{"capabilities":{"extensions":[{"uri":"urn:x"}],"streaming":false},"defaultInputModes":[],"#,
            r#""defaultOutputModes":[],"description":"","iconUrl":"","name":"n","securityRequirements":"#,
            r#"[{"schemes":{"bearer":{}}},{}],"skills":[{"description":"","id":"s","name":"","tags":[]}],"#,
            r#""supportedInterfaces":[],"version":""}"#
        );
        assert_eq!(payload(&card, Form::Exact).unwrap(), expected);
        let smaller = r#"{"capabilities":{"extensions":[{"uri":"urn:x"}],"streaming":false},"name":"n","skills":[{"id":"s"}]}"#;
        assert_eq!(payload(&card, Form::NonEmpty).unwrap(), smaller);
    }

    #[test]
    fn of_a_card_of_v0_3_its_own_members_count() {
        let card = json!({
            "name": "ä😀", "url": "http://a.example/", "protocolVersion": "0.3.0", "preferredTransport": "JSONRPC",
            "supportedInterfaces": [], "securitySchemes": {"b": {"type": "http", "scheme": "Bearer", "httpAuthSecurityScheme": {"scheme": "Bearer"}}},
            "security": [{"b": []}], "skills": [], "supportsAuthenticatedExtendedCard": false,
        });
        let expected = concat!(
            r#"{"name":"\u00e4\ud83d\ude00","securitySchemes":{"b":{"scheme":"Bearer"}},"#,
            r#""supportsAuthenticatedExtendedCard":false,"url":"http://a.example/"}"#
        );
        assert_eq!(payload(&card, Form::V0_3).unwrap(), expected);
        assert_eq!(payload(&json!({"name": "n"}), Form::V0_3), None);
        assert_eq!(payload(&json!({"name": "n"}), Form::Exact), None);
    }
}
