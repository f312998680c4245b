//! What the message of a request holds, counted before it is read.
//!
//! A member is read with a walk over all fields of its message. So fields that are in no list are counted
//! as well, whether or not they are known.

use super::Wrong;
use super::wire::{Each, Fields, Held};
use crate::bounds::{Bounds, Count};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::operation::Operation;

/// Why the counting ended early.
pub(super) enum Stop {
    /// A bound was passed.
    Refused(Error),
    /// The bytes are no protobuf message.
    Unreadable(Wrong),
}

/// What is counted of a message.
struct Table {
    /// For errors.
    name: &'static str,
    members: &'static [(u32, Member)],
}

enum Member {
    /// The parts of a message.
    Parts(&'static Table),
    /// Any other list.
    Items(&'static str),
    Metadata,
    Data,
    /// A message, whose pieces are put together.
    Message(&'static Table),
}

use Member::{Data, Items, Message, Metadata, Parts};

/// Numbers and short texts.
static PLAIN: Table = Table { name: "request", members: &[] };
static CANCEL: Table = Table { name: "request", members: &[(3, Metadata)] };

mod v1_0 {
    use super::*;

    pub(super) static SEND: Table = Table {
        name: "request",
        members: &[(2, Message(&MESSAGE)), (3, Message(&CONFIGURATION)), (4, Metadata)],
    };
    static MESSAGE: Table = Table {
        name: "message",
        members: &[
            (5, Parts(&PART)),
            (6, Metadata),
            (7, Items("message.extensions")),
            (8, Items("message.referenceTaskIds")),
        ],
    };
    static PART: Table = Table { name: "message.parts", members: &[(4, Data), (5, Metadata)] };
    static CONFIGURATION: Table = Table {
        name: "configuration",
        members: &[(1, Items("configuration.acceptedOutputModes")), (2, Message(&PUSH_CONFIG))],
    };
    pub(super) static PUSH_CONFIG: Table =
        Table { name: "taskPushNotificationConfig", members: &[(6, Message(&AUTHENTICATION))] };
    static AUTHENTICATION: Table = Table { name: "authentication", members: &[] };
}

mod v0_3 {
    use super::*;

    pub(super) static SEND: Table = Table {
        name: "request",
        members: &[(1, Message(&MESSAGE)), (2, Message(&CONFIGURATION)), (3, Metadata)],
    };
    static MESSAGE: Table = Table {
        name: "message",
        members: &[(5, Parts(&PART)), (6, Metadata), (7, Items("message.extensions"))],
    };
    static PART: Table =
        Table { name: "message.parts", members: &[(2, Message(&FILE)), (3, Data), (4, Metadata)] };
    static FILE: Table = Table { name: "file", members: &[] };
    static CONFIGURATION: Table = Table {
        name: "configuration",
        members: &[(1, Items("configuration.acceptedOutputModes")), (2, Message(&PUSH_CONFIG))],
    };
    pub(super) static CREATE_CONFIG: Table =
        Table { name: "request", members: &[(3, Message(&NAMED_CONFIG))] };
    static NAMED_CONFIG: Table = Table { name: "config", members: &[(2, Message(&PUSH_CONFIG))] };
    static PUSH_CONFIG: Table =
        Table { name: "pushNotificationConfig", members: &[(4, Message(&AUTHENTICATION))] };
    static AUTHENTICATION: Table =
        Table { name: "authentication", members: &[(1, Items("authentication.schemes"))] };
}

pub(super) fn check(
    bounds: Bounds,
    dialect: Dialect,
    operation: Operation,
    body: &[u8],
) -> Result<(), Stop> {
    let is_new = dialect == Dialect::V1_0;
    let table = match operation {
        Operation::SendMessage | Operation::SendStreamingMessage => {
            if is_new {
                &v1_0::SEND
            } else {
                &v0_3::SEND
            }
        }
        Operation::CreateTaskPushNotificationConfig => {
            if is_new {
                &v1_0::PUSH_CONFIG
            } else {
                &v0_3::CREATE_CONFIG
            }
        }
        Operation::CancelTask => &CANCEL,
        Operation::GetTask
        | Operation::ListTasks
        | Operation::SubscribeToTask
        | Operation::GetTaskPushNotificationConfig
        | Operation::ListTaskPushNotificationConfigs
        | Operation::DeleteTaskPushNotificationConfig
        | Operation::GetExtendedAgentCard => &PLAIN,
    };
    walk(&mut Count::new(bounds), table, dialect, body)
}

fn walk(count: &mut Count, table: &Table, dialect: Dialect, body: &[u8]) -> Result<(), Stop> {
    let mut fields = 0;
    let mut listed = vec![0; table.members.len()];
    for field in Each(body) {
        let (number, held) = field?;
        let place = table.members.iter().position(|(known, _)| *known == number);
        match (place.map(|place| (place, &table.members[place].1)), held) {
            (Some((place, Parts(part))), Held::Bytes(content)) => {
                listed[place] += 1;
                count.part("message.parts", listed[place])?;
                walk(count, part, dialect, content)?;
                continue;
            }
            (Some((place, Items(name))), _) => {
                listed[place] += 1;
                count.item(name, listed[place])?;
                continue;
            }
            (Some((_, Metadata)), Held::Bytes(content)) => count.metadata(content.len())?,
            (Some((_, Data)), Held::Bytes(content)) => count.data(content.len())?,
            _ => {}
        }
        fields += 1;
        count.field(table.name, fields)?;
    }
    for (number, member) in table.members {
        if let Message(inner) = member
            && let Some(content) = Fields::of(body, dialect)?.content(*number, true)?
        {
            walk(count, inner, dialect, &content)?;
        }
    }
    Ok(())
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Unreadable(wrong)
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

    /// The error that a body is refused with, if it is.
    fn refusal(dialect: Dialect, operation: Operation, body: &[u8]) -> Option<String> {
        let few = Bounds { parts: 2, items: 3, metadata: 40, data: 40 };
        check_bounds(&few, dialect, operation, body).err().map(|error| error.message)
    }

    fn nested(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    fn unknown(count: usize) -> Vec<u8> {
        [0x78, 1].repeat(count)
    }

    fn part(count: usize) -> Vec<u8> {
        nested(5, &unknown(count))
    }

    #[test]
    fn fields_that_are_not_known_count_in_every_message_of_a_request() {
        let (new, old) = (Dialect::V1_0, Dialect::V0_3);
        let create = Operation::CreateTaskPushNotificationConfig;
        type Body = fn(usize) -> Vec<u8>;
        let cases: [(Dialect, Operation, Body); 9] = [
            (new, Operation::GetTask, unknown),
            (new, Operation::SendMessage, unknown),
            (new, Operation::SendMessage, |n| nested(2, &unknown(n))),
            (new, Operation::SendMessage, |n| nested(2, &part(n))),
            (new, Operation::SendMessage, |n| nested(3, &nested(2, &unknown(n)))),
            (new, create, |n| nested(6, &unknown(n))),
            (old, Operation::SendMessage, |n| nested(1, &part(n))),
            (old, create, |n| nested(3, &nested(2, &unknown(n)))),
            (old, Operation::CancelTask, unknown),
        ];
        for (dialect, operation, body) in cases {
            assert_eq!(refusal(dialect, operation, &body(3)), None, "{dialect:?} {operation:?}");
            let refused = refusal(dialect, operation, &body(4)).unwrap_or_default();
            assert!(refused.contains("more than 3 fields"), "{dialect:?} {operation:?}: {refused}");
            assert!(refused.contains("limits.items"), "{refused}");
        }
    }

    #[test]
    fn parts_of_a_message_that_comes_in_pieces_are_counted_together() {
        let pieces = nested(2, &nested(5, &[])).repeat(3);
        let refused = refusal(Dialect::V1_0, Operation::SendMessage, &pieces).unwrap();
        assert!(refused.contains("limits.parts"), "{refused}");
    }

    #[test]
    fn what_is_behind_an_unreadable_member_is_not_read_uncounted() {
        let parts = nested(5, &[]).repeat(3);
        let body = [nested(3, &[0xff]), nested(2, &parts)].concat();
        assert!(refusal(Dialect::V1_0, Operation::SendMessage, &body).is_some());
    }
}
