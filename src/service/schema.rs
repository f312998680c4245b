//! The JSON schema that a message wants its answer to fit.

use crate::session::Schema;
use pilothouse_a2a::error::Error;
use pilothouse_a2a::json::{Json, Metadata};
use pilothouse_a2a::message::Message;
use serde_json::Value;

/// The media type of a data part that is a JSON schema.
pub(super) const MEDIA_TYPE: &str = "application/schema+json";

/// The schema of `metadata.schema`.
pub(super) fn find_schema(message: &Message) -> Result<Option<Value>, Error> {
    let metadata = message.metadata.as_ref().map(Metadata::as_json);
    let wanted = metadata.and_then(|metadata| metadata.member("schema"));
    wanted.map(|wanted| read_schema("message.metadata.schema", &wanted)).transpose()
}

/// A schema that is understood.
///
/// # Errors
///
/// What of it is not.
pub(super) fn read_schema(field: &str, wanted: &Json) -> Result<Value, Error> {
    let refused = |what: String| Error::invalid(field, format!("the JSON schema: {what}"));
    let value: Value =
        serde_json::from_str(wanted.text()).map_err(|error| refused(error.to_string()))?;
    let schema = Schema::read(value).map_err(refused)?;
    Ok(schema.as_value().clone())
}

/// What an agent is told of a schema.
pub(super) fn instruct(schema: &Value) -> String {
    format!(
        "Answer with one JSON value that fits this JSON schema, and with nothing else: no words around it, no code fence.\n{schema}"
    )
}
