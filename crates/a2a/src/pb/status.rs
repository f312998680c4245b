//! What gRPC says of an error beyond its number: `google.rpc.Status` with typed details.

use super::wire::{Field, message, nest_with};
use crate::Dialect;
use crate::error::{DOMAIN, Error, FieldViolation};
use prost::encoding;

/// The bytes of `google.rpc.Status` for the trailer `grpc-status-details-bin` (specification 10.6):
/// the number, the message, and the details that [`crate::error::details`] has in JSON.
pub fn status_details(error: &Error) -> Vec<u8> {
    let codes = error.kind.codes();
    let mut out = Vec::new();
    codes.grpc_number.write(WIRE, 1, &mut out);
    error.message.write(WIRE, 2, &mut out);
    detail("ErrorInfo", &mut out, |out| {
        codes.reason.to_owned().write(WIRE, 1, out);
        DOMAIN.to_owned().write(WIRE, 2, out);
        error.metadata.write(WIRE, 3, out);
    });
    if !error.violations.is_empty() {
        detail("BadRequest", &mut out, |out| error.violations.write(WIRE, 1, out));
    }
    if let Some(seconds) = error.retry_after {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        detail("RetryInfo", &mut out, |out| {
            nest_with(1, 0, out, |out| encoding::int64::encode(1, &seconds, out));
        });
    }
    out
}

message! {
    FieldViolation { field 1, description 2, }
}

/// The messages here are those of no dialect; their numbers are the same in all.
const WIRE: Dialect = Dialect::V1_0;

/// Writes a detail as `google.protobuf.Any`: its type and its bytes.
fn detail(name: &str, out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    nest_with(3, 0, out, |out| {
        format!("type.googleapis.com/google.rpc.{name}").write(WIRE, 1, out);
        nest_with(2, 0, out, put);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::details;
    use crate::pb::wire::Item;
    use std::collections::BTreeMap;

    struct Status {
        code: i32,
        message: String,
        details: Vec<Any>,
    }

    struct Any {
        type_url: String,
        /// Not a text, but as long as all of its lengths are below 128 one that can be read.
        value: String,
    }

    struct ErrorInfo {
        reason: String,
        domain: String,
        metadata: BTreeMap<String, String>,
    }

    struct BadRequest {
        field_violations: Vec<FieldViolation>,
    }

    message! {
        Status { code 1, message 2, details 3, }
        Any { type_url 1, value 2, }
        ErrorInfo { reason 1, domain 2, metadata 3, }
        BadRequest { field_violations 1, }
    }

    fn read<T: Item>(content: &[u8]) -> T {
        T::take(content, WIRE).unwrap_or_else(|_| panic!("our own bytes"))
    }

    #[test]
    fn the_details_are_those_of_the_json_bindings() {
        let error =
            Error::invalid("message.parts", "must not be empty").with("taskId", "t").retry_after(3);
        let status: Status = read(&status_details(&error));
        assert_eq!((status.code, &status.message), (3, &error.message));
        let (told, json) = (status.details, details(&error));
        let types: Vec<&str> = told.iter().map(|any| any.type_url.as_str()).collect();
        let same: Vec<_> = json.iter().filter_map(|one| one["@type"].as_str()).collect();
        assert_eq!(types, same);

        let info: ErrorInfo = read(told[0].value.as_bytes());
        assert_eq!(info.reason, json[0]["reason"]);
        assert_eq!(info.domain, json[0]["domain"]);
        assert_eq!(info.metadata["taskId"], "t");
        let request: BadRequest = read(told[1].value.as_bytes());
        assert_eq!(request.field_violations[0].field, "message.parts");
        // A duration of three seconds.
        assert_eq!(told[2].value.as_bytes(), [0x0a, 2, 8, 3]);
    }
}
