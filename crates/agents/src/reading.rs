//! A line of JSON from an agent: read as what a driver knows, kept whole where this version cannot read it.

use crate::{Event, Step};
use serde::Deserialize;
use serde_json::Value;

/// A line that this version cannot read.
pub(crate) struct Unreadable;

/// What a line makes, if it can be read.
pub(crate) type Heard = Result<Vec<Step>, Unreadable>;

impl From<serde_json::Error> for Unreadable {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// What a line makes; a blank one makes nothing.
pub(crate) fn read_line<'a, L: Deserialize<'a>>(
    bytes: &'a [u8],
    read: impl FnOnce(&L) -> Heard,
) -> Heard {
    if bytes.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    read(&serde_json::from_slice(bytes)?)
}

/// A line as it came.
pub(crate) fn raw(line: &[u8]) -> Step {
    let value = serde_json::from_slice(line);
    Step::Say(Event::Raw(
        value.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(line).into_owned())),
    ))
}
