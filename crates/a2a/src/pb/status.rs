//! What gRPC says of an error beyond its number: `google.rpc.Status` with typed details.

use crate::error::{Error, FieldViolation};
use prost::Message;
use std::collections::BTreeMap;

/// Whose reasons are told; the same as in the details of the JSON bindings.
const DOMAIN: &str = "a2a-protocol.org";

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The bytes of `google.rpc.Status` for the trailer `grpc-status-details-bin` (specification 10.6):
/// the number, the message, and the details that [`crate::error::details`] has in JSON.
pub fn status_details(error: &Error) -> Vec<u8> {
    let codes = error.kind.codes();
    let mut details = vec![any(
        "ErrorInfo",
        &ErrorInfo {
            reason: codes.reason.into(),
            domain: DOMAIN.into(),
            metadata: error.metadata.clone(),
        },
    )];
    if !error.violations.is_empty() {
        let field_violations = error.violations.iter().map(Violation::of).collect();
        details.push(any("BadRequest", &BadRequest { field_violations }));
    }
    if let Some(seconds) = error.retry_after {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let retry_delay = Some(Duration { seconds });
        details.push(any("RetryInfo", &RetryInfo { retry_delay }));
    }
    let status = Status { code: codes.grpc_number, message: error.message.clone(), details };
    status.encode_to_vec()
}

fn any(name: &str, detail: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/google.rpc.{name}"),
        value: detail.encode_to_vec(),
    }
}

impl Violation {
    fn of(violation: &FieldViolation) -> Self {
        Self { field: violation.field.clone(), description: violation.description.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::details;

    #[test]
    fn the_details_are_those_of_the_json_bindings() {
        let error =
            Error::invalid("message.parts", "must not be empty").with("taskId", "t").retry_after(3);
        let status = Status::decode(&*status_details(&error)).expect("our own bytes");
        assert_eq!((status.code, &status.message), (3, &error.message));
        let (told, json) = (status.details, details(&error));
        let types: Vec<&str> = told.iter().map(|any| any.type_url.as_str()).collect();
        let same: Vec<_> = json.iter().filter_map(|one| one["@type"].as_str()).collect();
        assert_eq!(types, same);

        let info = ErrorInfo::decode(&*told[0].value).expect("an ErrorInfo");
        assert_eq!(info.reason, json[0]["reason"]);
        assert_eq!(info.domain, json[0]["domain"]);
        assert_eq!(info.metadata["taskId"], "t");
        let request = BadRequest::decode(&*told[1].value).expect("a BadRequest");
        assert_eq!(request.field_violations[0].field, "message.parts");
        let retry = RetryInfo::decode(&*told[2].value).expect("a RetryInfo");
        assert_eq!(retry.retry_delay, Some(Duration { seconds: 3 }));
    }
}
