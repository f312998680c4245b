//! Protobuf messages as tables: for each member of a model type the number of its field.
//!
//! # How it works
//! A message is written from the model and read into it, without a second set of structs. The type
//! of a member decides how it stands on the wire: an [`Item`] is a text or a message, a [`Field`] is
//! what a member makes of items and numbers (one of them, perhaps one, a list, a map).
//!
//! A row of `message!` names a member, its number in v1.0, its number in v0.3 where that differs,
//! and a module that writes and reads the member where its type alone does not say how. The number 0
//! stands for "this dialect has no such field". `in v0_3 as X` says that the message has another
//! form in v0.3: the type X, converted with `From` and `TryFrom`.

use super::{Under, Wrong, unreadable};
use crate::dialect::Dialect;
use crate::id::{ArtifactId, ContextId, MessageId, TaskId};
use crate::message::Role;
use crate::rest::camel;
use crate::task::TaskState;
use prost::encoding::{self, DecodeContext, WireType};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// What has a length in front: a text or a message.
pub(super) trait Item: Sized {
    /// A message is there even when it is empty, and one that comes in pieces is put together. An
    /// empty text is the same as none, and of several the last one counts.
    const MESSAGE: bool = true;

    /// Writes the content.
    fn put(&self, dialect: Dialect, out: &mut Vec<u8>);

    /// Reads the content.
    fn take(content: &[u8], dialect: Dialect) -> Result<Self, Wrong>;

    /// About how many bytes the content has; a good guess saves a move of the content.
    fn guess(&self) -> usize {
        0
    }
}

/// A member of a message.
pub(super) trait Field: Sized {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>);

    /// Reads the member; `name` is for errors.
    fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Self, Wrong>;
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Held<'a> {
    Varint(u64),
    Double(f64),
    Bytes(&'a [u8]),
    /// A group or 32 bits, which no field here has.
    Other(WireType),
}

/// The bytes of one message, known to consist of fields. They are walked through once for each member
/// that is asked for: a list of the fields could be many times larger than the message.
pub(super) struct Fields<'a> {
    pub(super) dialect: Dialect,
    bytes: &'a [u8],
}

/// The fields in some bytes; ends after the first that cannot be read.
pub(super) struct Each<'a>(pub(super) &'a [u8]);

/// A member's name as JSON spells it.
struct Camel<'a>(&'a str);

/// See the head of this module.
macro_rules! message {
    ($($name:ty $(, in v0_3 as $old:ty)? {
        $($member:ident $number:literal $($old_number:literal)? $(as $module:ident)?,)*
    })*) => {$(
        impl crate::pb::wire::Item for $name {
            fn put(&self, dialect: crate::Dialect, out: &mut Vec<u8>) {
                $(if dialect != crate::Dialect::V1_0 {
                    return <$old>::from(self).put(dialect, out);
                })?
                $({
                    let number = crate::pb::wire::number(dialect, &[$number $(, $old_number)?]);
                    if number != 0 {
                        crate::pb::wire::field!(write(&self.$member, dialect, number, out) $($module)?);
                    }
                })*
            }

            fn take(content: &[u8], dialect: crate::Dialect) -> Result<Self, crate::pb::Wrong> {
                $(if dialect != crate::Dialect::V1_0 {
                    return <$old>::take(content, dialect)?.try_into();
                })?
                let fields = crate::pb::wire::Fields::of(content, dialect)?;
                Ok(Self {
                    $($member: {
                        let number = crate::pb::wire::number(dialect, &[$number $(, $old_number)?]);
                        crate::pb::wire::field!(read(&fields, number, stringify!($member)) $($module)?)?
                    },)*
                })
            }
        }
    )*};
}

/// Messages that hold exactly one of several messages; the text says what is wrong with none.
macro_rules! one_of {
    ($($name:ty { $($variant:ident $number:literal,)* } else $none:literal;)*) => {$(
        impl crate::pb::wire::Item for $name {
            fn put(&self, dialect: crate::Dialect, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(known) => crate::pb::wire::nest(known, dialect, $number, out),)*
                };
            }

            fn take(content: &[u8], dialect: crate::Dialect) -> Result<Self, crate::pb::Wrong> {
                let fields = crate::pb::wire::Fields::of(content, dialect)?;
                match fields.last_of(&[$($number),*]) {
                    $(Some($number) => {
                        let read = crate::pb::wire::Field::read;
                        Ok(Self::$variant(read(&fields, $number, stringify!($variant))?))
                    })*
                    _ => Err(crate::pb::Wrong::new("", $none)),
                }
            }
        }
    )*};
}

/// Writes or reads a member as its type says, or as the module does that the table names.
macro_rules! field {
    ($function:ident ($($given:expr),*)) => { crate::pb::wire::Field::$function($($given),*) };
    ($function:ident ($($given:expr),*) $module:ident) => { $module::$function($($given),*) };
}

pub(super) use {field, message, one_of};

/// The number of a field in a dialect.
pub(super) fn number(dialect: Dialect, numbers: &[u32]) -> u32 {
    let old = dialect != Dialect::V1_0;
    numbers[if old { numbers.len() - 1 } else { 0 }]
}

// === writing ===

/// Writes an item as a field, whether it is empty or not; returns the length of its content.
pub(super) fn nest(item: &impl Item, dialect: Dialect, number: u32, out: &mut Vec<u8>) -> usize {
    nest_with(number, item.guess(), out, |out| item.put(dialect, out))
}

/// Writes bytes as a field, whether there are any or not.
pub(super) fn nest_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    nest_with(number, bytes.len(), out, |out| out.extend_from_slice(bytes));
}

/// Writes a field whose content is what `put` writes; returns the length of the content.
pub(super) fn nest_with(
    number: u32,
    guess: usize,
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>),
) -> usize {
    let begin = open(number, guess, out);
    put(out);
    close(begin, guess, out)
}

/// Writes the head of a field with room for the length of about so much content; returns where the
/// content begins.
pub(super) fn open(number: u32, guess: usize, out: &mut Vec<u8>) -> usize {
    encoding::encode_key(number, WireType::LengthDelimited, out);
    encoding::encode_varint(guess as u64, out);
    out.len()
}

/// Puts the length in front of the content that was written since [`open`] with the same guess.
pub(super) fn close(begin: usize, guess: usize, out: &mut Vec<u8>) -> usize {
    let length = out.len() - begin;
    if length != guess {
        // The longest varint has ten bytes.
        let mut varint = [0; 10];
        encoding::encode_varint(length as u64, &mut varint.as_mut_slice());
        let varint = &varint[..encoding::encoded_len_varint(length as u64)];
        let room = begin - encoding::encoded_len_varint(guess as u64)..begin;
        if varint.len() == room.len() {
            out[room].copy_from_slice(varint);
        } else {
            out.splice(room, varint.iter().copied());
        }
    }
    length
}

// === reading ===

impl<'a> Held<'a> {
    fn wrong(self, expected: WireType) -> Wrong {
        let found = match self {
            Self::Varint(_) => WireType::Varint,
            Self::Double(_) => WireType::SixtyFourBit,
            Self::Bytes(_) => WireType::LengthDelimited,
            Self::Other(found) => found,
        };
        unreadable(format_args!("invalid wire type: {found:?} (expected {expected:?})"))
    }

    fn bytes(self) -> Result<&'a [u8], Wrong> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(WireType::LengthDelimited)),
        }
    }
}

impl<'a> Each<'a> {
    fn field(&mut self) -> Option<(u32, Held<'a>)> {
        let bytes = &mut self.0;
        let (number, wire_type) = encoding::decode_key(bytes).ok()?;
        let held = match wire_type {
            WireType::Varint => Held::Varint(encoding::decode_varint(bytes).ok()?),
            WireType::SixtyFourBit => {
                let (double, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Held::Double(f64::from_le_bytes(*double))
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(encoding::decode_varint(bytes).ok()?).ok()?;
                let (content, rest) = bytes.split_at_checked(length)?;
                *bytes = rest;
                Held::Bytes(content)
            }
            WireType::StartGroup | WireType::EndGroup | WireType::ThirtyTwoBit => {
                encoding::skip_field(wire_type, number, bytes, DecodeContext::default()).ok()?;
                Held::Other(wire_type)
            }
        };
        Some((number, held))
    }
}

impl<'a> Iterator for Each<'a> {
    type Item = Result<(u32, Held<'a>), Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| unreadable("buffer underflow")))
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(bytes)
        .map_err(|_| unreadable("invalid string value: data is not UTF-8 encoded"))
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8], dialect: Dialect) -> Result<Self, Wrong> {
        Each(bytes).try_for_each(|field| field.map(drop))?;
        Ok(Self { dialect, bytes })
    }

    fn each(&self) -> impl Iterator<Item = (u32, Held<'a>)> + use<'a> {
        Each(self.bytes).map_while(Result::ok)
    }

    fn all(&self, number: u32) -> impl Iterator<Item = Held<'a>> + use<'a> {
        self.each().filter(move |(known, _)| *known == number).map(|(_, held)| held)
    }

    /// Which of these fields came last.
    pub(super) fn last_of(&self, numbers: &[u32]) -> Option<u32> {
        self.each().map(|(number, _)| number).filter(|number| numbers.contains(number)).last()
    }

    /// The last number of a field.
    pub(super) fn varint(&self, number: u32) -> Result<Option<u64>, Wrong> {
        let last = self.all(number).last();
        last.map_or(Ok(None), |held| match held {
            Held::Varint(varint) => Ok(Some(varint)),
            other => Err(other.wrong(WireType::Varint)),
        })
    }

    /// The content of a field: all pieces together, or the last one.
    pub(super) fn content(
        &self,
        number: u32,
        together: bool,
    ) -> Result<Option<Cow<'a, [u8]>>, Wrong> {
        let mut content: Option<Cow<'a, [u8]>> = None;
        for held in self.all(number) {
            let piece = held.bytes()?;
            match &mut content {
                Some(before) if together => before.to_mut().extend_from_slice(piece),
                content => *content = Some(piece.into()),
            }
        }
        Ok(content)
    }
}

// === members ===

impl<T: Item> Field for T {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        let before = out.len();
        if nest(self, dialect, number, out) == 0 && !T::MESSAGE {
            out.truncate(before);
        }
    }

    fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Self, Wrong> {
        match fields.content(number, T::MESSAGE)? {
            Some(content) => T::take(&content, fields.dialect).under(Camel(name)),
            None if T::MESSAGE => Err(Wrong::new(Camel(name).to_string(), "is required")),
            None => T::take(&[], fields.dialect),
        }
    }
}

impl<T: Item> Field for Option<T> {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        if let Some(item) = self {
            item.write(dialect, number, out);
        }
    }

    fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Self, Wrong> {
        let content = fields.content(number, T::MESSAGE)?;
        let content = content.filter(|content| T::MESSAGE || !content.is_empty());
        content.map(|content| T::take(&content, fields.dialect)).transpose().under(Camel(name))
    }
}

impl<T: Item> Field for Vec<T> {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        for item in self {
            nest(item, dialect, number, out);
        }
    }

    fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Self, Wrong> {
        let read = |(place, held): (usize, Held<'_>)| {
            T::take(held.bytes()?, fields.dialect).under(format_args!("{}[{place}]", Camel(name)))
        };
        fields.all(number).enumerate().map(read).collect()
    }
}

/// A map is a list of entries: the key is field 1, the value field 2.
impl<T: Item> Field for BTreeMap<String, T> {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        for (key, value) in self {
            nest_with(number, 0, out, |out| {
                key.write(dialect, 1, out);
                value.write(dialect, 2, out);
            });
        }
    }

    fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Self, Wrong> {
        let read = |held: Held<'_>| {
            let entry = Fields::of(held.bytes()?, fields.dialect)?;
            Ok((String::read(&entry, 1, "key")?, T::read(&entry, 2, "value")?))
        };
        fields.all(number).map(read).collect::<Result<_, _>>().under(Camel(name))
    }
}

impl Field for i32 {
    fn write(&self, _: Dialect, number: u32, out: &mut Vec<u8>) {
        if *self != 0 {
            encoding::int32::encode(number, self, out);
        }
    }

    fn read(fields: &Fields<'_>, number: u32, _: &str) -> Result<Self, Wrong> {
        Ok(fields.varint(number)?.unwrap_or_default() as Self)
    }
}

/// Zero is a number in v1.0 and absent in v0.3.
impl Field for Option<i32> {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        if let Some(value) = self.filter(|value| dialect == Dialect::V1_0 || *value != 0) {
            encoding::int32::encode(number, &value, out);
        }
    }

    fn read(fields: &Fields<'_>, number: u32, _: &str) -> Result<Self, Wrong> {
        let value = fields.varint(number)?.map(|value| value as i32);
        Ok(value.filter(|value| fields.dialect == Dialect::V1_0 || *value != 0))
    }
}

impl Field for bool {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        self.then_some(true).write(dialect, number, out);
    }

    fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Self, Wrong> {
        Ok(Option::read(fields, number, name)?.unwrap_or_default())
    }
}

impl Field for Option<bool> {
    fn write(&self, _: Dialect, number: u32, out: &mut Vec<u8>) {
        if let Some(value) = self {
            encoding::bool::encode(number, value, out);
        }
    }

    fn read(fields: &Fields<'_>, number: u32, _: &str) -> Result<Self, Wrong> {
        Ok(fields.varint(number)?.map(|value| value != 0))
    }
}

/// A state that is not known is unspecified.
impl Field for TaskState {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        (*self as i32).write(dialect, number, out);
    }

    fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Self, Wrong> {
        let state = i32::read(fields, number, name)?;
        Ok(usize::try_from(state)
            .ok()
            .and_then(|place| Self::ALL.get(place).copied())
            .unwrap_or_default())
    }
}

impl Field for Role {
    fn write(&self, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        match self {
            Self::User => 1,
            Self::Agent => 2,
        }
        .write(dialect, number, out);
    }

    fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Self, Wrong> {
        match i32::read(fields, number, name)? {
            0 => Err(Wrong::new(name, "is required")),
            1 => Ok(Self::User),
            2 => Ok(Self::Agent),
            other => {
                let told = format!("{other} is no role; 1 is ROLE_USER, 2 is ROLE_AGENT");
                Err(Wrong::new(name, told))
            }
        }
    }
}

macro_rules! text {
    ($($name:ty)*) => {$(
        impl Item for $name {
            const MESSAGE: bool = false;

            fn put(&self, _: Dialect, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_str().as_bytes());
            }

            fn take(content: &[u8], _: Dialect) -> Result<Self, Wrong> {
                Ok(text(content)?.to_owned().into())
            }

            fn guess(&self) -> usize {
                self.as_str().len()
            }
        }
    )*};
}

text! { String TaskId ContextId MessageId ArtifactId }

impl fmt::Display for Camel<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = camel(self.0);
        let (first, rest) = name.split_at(name.len().min(1));
        write!(out, "{}{rest}", first.to_ascii_lowercase())
    }
}
