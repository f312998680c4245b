//! What the wire looks like, in every dialect and from both ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod card;
#[cfg(feature = "client")]
mod client;
mod dialects;
mod envelope;
mod model;
mod older;
#[cfg(feature = "grpc")]
mod pb;
#[cfg(feature = "grpc")]
mod pb_given;
#[cfg(feature = "grpc")]
mod pb_refused;
#[cfg(feature = "grpc")]
mod pb_vectors;
mod refused;
mod rest;
mod rest_decode;
mod rest_encode;
mod rest_legacy;
mod rest_roundtrip;
mod roundtrip;
mod stream;

use pilothouse_a2a::dialect::{self, Decoded, Dialect, Method};
use pilothouse_a2a::error::Error;
use serde_json::Value;
use serde_json::value::RawValue;

/// The text of a fixture: `fixture!("v1_0/task")`.
#[macro_export]
macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name, ".json"))
    };
}

/// JSON text as a value; a value tells apart neither spaces nor order.
pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Decodes the params of a method as its dialect does.
pub(crate) fn decode(method: &str, params: &Value) -> Result<Decoded, Error> {
    let method = dialect::method(method).unwrap();
    decode_as(method.dialect, method, params)
}

/// Decodes the params of a method in another dialect that has it, too.
pub(crate) fn decode_as(
    dialect: Dialect,
    method: Method,
    params: &Value,
) -> Result<Decoded, Error> {
    let params = RawValue::from_string(params.to_string()).unwrap();
    dialect.decode(method.operation, Some(&params))
}
