//! Refusals, and the envelope of JSON-RPC.

use super::schema::Side::{Answers, Asks};
use super::schema::{Add, With, free, list, object, of, one_of, text};
use pilothouse_a2a::error::ERRORS;
use pilothouse_a2a::operation::OPERATIONS;
use serde_json::json;

/// Adds the schemas.
pub(super) fn add(add: &mut Add<'_>) {
    errors(add);
    json_rpc(add);
}

fn errors(add: &mut Add<'_>) {
    let mut statuses: Vec<_> = ERRORS.iter().map(|codes| codes.grpc).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let detail = |kind: &str, description: &str| {
        let kind = format!("type.googleapis.com/google.rpc.{kind}");
        object(Answers, description, [("@type!", json!({"const": kind}))])
    };
    let reasons = ERRORS.each_ref().map(|codes| codes.reason);
    let violation = object(
        Answers,
        "One field that is wrong.",
        [
            ("field!", text("Its path (`message.parts[0].raw`).")),
            ("description!", text("What is wrong with it.")),
        ],
    );
    add(
        "ErrorDetail",
        json!({"oneOf": [
            detail("ErrorInfo", "What went wrong, for programs.")
                .with("reason!", json!({"type": "string", "enum": reasons}))
                .with("domain!", json!({"const": "a2a-protocol.org"}))
                .with("metadata", json!({"type": "object", "additionalProperties": {"type": "string"}})),
            detail("BadRequest", "Which fields of the request are wrong.")
                .with("fieldViolations!", json!({"type": "array", "items": violation})),
            detail("RetryInfo", "When it is worth trying again.")
                .with("retryDelay!", text("Seconds (`30s`).")),
        ]}),
    );
    let error = object(
        Answers,
        "What went wrong.",
        [
            (
                "code!",
                json!({"type": "integer", "description": "The HTTP status that goes with the reason."}),
            ),
            ("status!", json!({"type": "string", "enum": statuses})),
            ("message!", text("What went wrong, for people.")),
            ("details!", list("ErrorDetail")),
        ],
    );
    add("ErrorResponse", object(Answers, "A refusal.", [("error!", error)]));
    add(
        "LegacyErrorResponse",
        object(
            Answers,
            "A refusal, for clients of v0.3.",
            [
                ("code!", json!({"type": "integer", "description": "The code of JSON-RPC."})),
                ("message!", text("What went wrong, for people.")),
                ("error!", text("The name that v0.3 has for it.")),
                ("data", free("What more is known.")),
            ],
        ),
    );
}

fn json_rpc(add: &mut Add<'_>) {
    let version = || json!({"const": "2.0"});
    let id = || json!({"type": ["string", "number", "null"]});
    let methods = OPERATIONS.each_ref().map(|names| names.method);
    add(
        "JsonRpcRequest",
        object(
            Asks,
            "A call. The method's name tells the version: those of v0.3 (`message/send`) and of v0.1 (`tasks/send`) are \
             served too.",
            [
                ("jsonrpc!", version()),
                ("id", id()),
                ("method!", json!({"type": "string", "examples": methods})),
                (
                    "params",
                    free("What the operation of the same name has in path, query and body."),
                ),
            ],
        ),
    );
    let error = object(
        Answers,
        "What went wrong.",
        [
            (
                "code!",
                json!({"type": "integer", "enum": ERRORS.each_ref().map(|codes| codes.json_rpc)}),
            ),
            ("message!", text("What went wrong, for people.")),
            (
                "data",
                json!({"oneOf": [list("ErrorDetail"), free("What more is known, for older clients.")]}),
            ),
        ],
    );
    add("JsonRpcError", error);
    add(
        "JsonRpcResponse",
        one_of(
            Answers,
            "The answer to a call.",
            [
                (
                    "result",
                    json!({"description": "What the operation of the same name answers; to older methods in their spelling."}),
                ),
                ("error", of("JsonRpcError")),
            ],
        )
        .with("jsonrpc!", version())
        .with("id!", id()),
    );
    add(
        "JsonRpcErrorResponse",
        object(
            Answers,
            "A refusal at the door.",
            [("jsonrpc!", version()), ("id!", id()), ("error!", of("JsonRpcError"))],
        ),
    );
}
