//! JSON schemas of the types whose form on the wire is written by hand; all others derive theirs.

use crate::{Json, Metadata, Part, Role, TaskState, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// A schema that stands where it is used (`inline`), or is referred to by its type's name.
macro_rules! schema {
    (@inlined inline) => { true };
    (@inlined named) => { false };
    ($($type:ident $place:ident |$generator:pat_param| $schema:expr,)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                schema!(@inlined $place)
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

schema! {
    Json inline |_| json_schema!({"description": "Any JSON value."}),
    Metadata inline |_| json_schema!({"type": "object"}),
    Timestamp inline |_| json_schema!({"type": "string", "format": "date-time"}),
    Role inline |_| json_schema!({"type": "string", "enum": [Role::User.name(), Role::Agent.name()]}),
    TaskState named |_| json_schema!({"type": "string", "enum": states()}),
    Part named |generator| json_schema!({
        "type": "object",
        "description": "A piece of content: exactly one of `text`, `raw`, `url` and `data`.",
        "properties": {
            "text": {"type": "string", "description": "Plain text."},
            "raw": {"type": "string", "contentEncoding": "base64", "description": "The bytes of a file."},
            "url": {"type": "string", "description": "Where the content lies."},
            "data": generator.subschema_for::<Json>(),
            "metadata": generator.subschema_for::<Metadata>(),
            "filename": {"type": "string", "description": "A name for the content as a file."},
            "mediaType": {"type": "string", "description": "The media type of the content (`text/plain`)."},
        },
        "oneOf": [
            {"required": ["text"]},
            {"required": ["raw"]},
            {"required": ["url"]},
            {"required": ["data"]},
        ],
    }),
}

/// The names of every state that a task can be in.
fn states() -> Vec<&'static str> {
    let known = TaskState::ALL.iter().filter(|state| **state != TaskState::Unspecified);
    known.map(|state| state.name()).collect()
}
