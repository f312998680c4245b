//! The schemas of the protocol, from its types: closed where the server answers, open where it reads, since unknown
//! members of a request are skipped.

use pilothouse_a2a::card::AgentCard;
use pilothouse_a2a::event::StreamResponse;
use pilothouse_a2a::operation::{
    CancelTaskRequest, ListTaskPushNotificationConfigsResponse, ListTasksResponse,
    SendMessageRequest, SendMessageResponse, SubscribeToTaskRequest,
};
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// Every schema by its name. A type that is both read and written has two; the one that is read ends in `Input`.
pub(super) fn of_protocol() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut answers =
        settings.clone().for_serialize().with_transform(RecursiveTransform(close)).into_generator();
    answers.subschema_for::<AgentCard>();
    answers.subschema_for::<ListTaskPushNotificationConfigsResponse>();
    answers.subschema_for::<ListTasksResponse>();
    answers.subschema_for::<SendMessageResponse>();
    answers.subschema_for::<StreamResponse>();
    let mut schemas = answers.take_definitions(true);
    // The server gives a config these, where a client leaves them out.
    schemas["TaskPushNotificationConfig"]["required"] = json!(["id", "taskId", "url"]);

    let mut requests = settings.for_deserialize().into_generator();
    requests.subschema_for::<CancelTaskRequest>();
    requests.subschema_for::<SendMessageRequest>();
    requests.subschema_for::<SubscribeToTaskRequest>();
    let requests = requests.take_definitions(true);
    let both = requests.keys().filter(|name| schemas.contains_key(*name));
    let both: HashSet<_> = both.cloned().collect();
    let rename = |name: &mut String| {
        if both.contains(name.rsplit('/').next().unwrap_or_default()) {
            name.push_str("Input");
        }
    };
    let mut refer = RecursiveTransform(|schema: &mut Schema| {
        if let Some(Value::String(reference)) = schema.get_mut("$ref") {
            rename(reference);
        }
    });
    for (mut name, mut schema) in requests {
        rename(&mut name);
        if let Ok(schema) = <&mut Schema>::try_from(&mut schema) {
            refer.transform(schema);
        }
        schemas.insert(name, schema);
    }
    // The task stands in the path.
    for name in ["CancelTaskRequest", "SubscribeToTaskRequest"] {
        if let Some(schema) = schemas[name].as_object_mut() {
            schema.remove("required");
            schema["properties"].as_object_mut().and_then(|members| members.remove("id"));
        }
    }
    schemas
}

/// An object that the server writes has no further members, and leaves a member out where it could be null.
fn close(schema: &mut Schema) {
    schema.remove("default");
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required =
        |name: &str| required.as_array().is_some_and(|all| all.contains(&name.into()));
    let Some(members) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (_, member) in members.iter_mut().filter(|(name, _)| !is_required(name)) {
        if let Some([kind, Value::String(null)]) = member["type"].as_array().map(Vec::as_slice)
            && null == "null"
        {
            member["type"] = kind.clone();
        }
        if let Some([reference, null]) = member["anyOf"].as_array().map(Vec::as_slice)
            && *null == json!({"type": "null"})
        {
            member["$ref"] = reference["$ref"].clone();
        }
        if member["$ref"].is_string()
            && let Some(member) = member.as_object_mut()
        {
            member.remove("anyOf");
        }
    }
    schema.insert("additionalProperties".to_owned(), json!(false));
}
