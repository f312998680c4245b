//! What the message of a request holds, counted before it is read.

use super::Wrong;
use super::wire::{Each, Held};
use crate::bounds::{Bounds, Count};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::operation::Operation;

/// Why the counting ended early.
pub(super) enum Stop {
    /// A bound was passed.
    Refused(Error),
    /// The bytes are no protobuf message.
    Unreadable,
}

/// The numbers of the fields in which the two packages differ.
struct Numbers {
    message: u32,
    configuration: u32,
    metadata: u32,
    part_data: u32,
    part_metadata: u32,
}

const V1_0: Numbers =
    Numbers { message: 2, configuration: 3, metadata: 4, part_data: 4, part_metadata: 5 };
const V0_3: Numbers =
    Numbers { message: 1, configuration: 2, metadata: 3, part_data: 3, part_metadata: 4 };

/// The metadata of a cancellation, which v0.3 does not have.
const CANCEL_METADATA: u32 = 3;

pub(super) fn check(
    bounds: Bounds,
    dialect: Dialect,
    operation: Operation,
    body: &[u8],
) -> Result<(), Stop> {
    let mut count = Count::new(bounds);
    let numbers = if dialect == Dialect::V1_0 { &V1_0 } else { &V0_3 };
    match operation {
        Operation::SendMessage | Operation::SendStreamingMessage => send(&mut count, numbers, body),
        Operation::CancelTask => {
            for field in Each(body) {
                if let (CANCEL_METADATA, Held::Bytes(metadata)) = field? {
                    count.metadata(metadata.len())?;
                }
            }
            Ok(())
        }
        // They are made of numbers and short texts.
        _ => Ok(()),
    }
}

fn send(count: &mut Count, numbers: &Numbers, body: &[u8]) -> Result<(), Stop> {
    let (mut parts, mut extensions, mut references, mut modes) = (0, 0, 0, 0);
    let next = |number: &mut usize| {
        *number += 1;
        *number
    };
    for field in Each(body) {
        let (tag, Held::Bytes(content)) = field? else { continue };
        if tag == numbers.message {
            for field in Each(content) {
                match field? {
                    (5, Held::Bytes(content)) => {
                        count.part("message.parts", next(&mut parts))?;
                        part(count, numbers, content)?;
                    }
                    (6, Held::Bytes(metadata)) => count.metadata(metadata.len())?,
                    (7, _) => count.item("message.extensions", next(&mut extensions))?,
                    (8, _) => count.item("message.referenceTaskIds", next(&mut references))?,
                    _ => {}
                }
            }
        } else if tag == numbers.configuration {
            for field in Each(content) {
                if let (1, _) = field? {
                    count.item("configuration.acceptedOutputModes", next(&mut modes))?;
                }
            }
        } else if tag == numbers.metadata {
            count.metadata(content.len())?;
        }
    }
    Ok(())
}

fn part(count: &mut Count, numbers: &Numbers, body: &[u8]) -> Result<(), Stop> {
    for field in Each(body) {
        match field? {
            (tag, Held::Bytes(data)) if tag == numbers.part_data => count.data(data.len())?,
            (tag, Held::Bytes(metadata)) if tag == numbers.part_metadata => {
                count.metadata(metadata.len())?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl From<Wrong> for Stop {
    fn from(_: Wrong) -> Self {
        Self::Unreadable
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Call;
    use crate::pb::{check_bounds, encode_call};
    use serde_json::json;

    #[test]
    fn each_bound_holds_in_both_packages() {
        let few = Bounds { parts: 2, items: 2, metadata: 40, data: 40 };
        let long = "x".repeat(41);
        let text = json!({"text": ""});
        for (message, refused) in [
            (json!({"parts": [text, text]}), None),
            (json!({"parts": [text, text, text]}), Some("limits.parts")),
            (json!({"parts": [text], "extensions": ["", "", ""]}), Some("limits.items")),
            (json!({"parts": [text], "metadata": {"a": long}}), Some("limits.metadata")),
            (json!({"parts": [{"data": {"a": long}}]}), Some("limits.data")),
            (json!({"parts": [{"text": "", "metadata": {"a": long}}]}), Some("limits.metadata")),
        ] {
            let mut message = message;
            message["messageId"] = "m".into();
            message["role"] = "ROLE_USER".into();
            let request = json!({"message": message});
            let call = Call::SendMessage(serde_json::from_value(request).unwrap());
            for dialect in [Dialect::V1_0, Dialect::V0_3] {
                let body = encode_call(dialect, &call);
                let told = check_bounds(&few, dialect, Operation::SendMessage, &body);
                let told = told.err().map(|error| error.message).unwrap_or_default();
                assert_eq!(refused.is_some(), !told.is_empty(), "{told}");
                assert!(told.contains(refused.unwrap_or_default()), "{told}");
            }
        }
    }
}
