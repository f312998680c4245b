//! The members of a request's object, where those of its body meet those of its path.

use crate::error::{Error, ErrorKind};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The members of one object in their order, not looked into; a name that is there twice stays
/// there twice, so that whoever reads the object refuses it as they would without us.
#[derive(Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Member<'a>)>);

enum Member<'a> {
    Given(&'a RawValue),
    Ours(Value),
}

/// A body as a JSON object; none when it is empty.
///
/// # Errors
/// `Parse` when it is not JSON, `InvalidParams` when it is not an object.
pub(crate) fn json(body: &[u8]) -> Result<Option<&RawValue>, Error> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let raw: &RawValue = serde_json::from_slice(body)
        .map_err(|cause| Error::new(ErrorKind::Parse, format!("the body is not JSON: {cause}")))?;
    if raw.get().starts_with('{') { Ok(Some(raw)) } else { Err(no_object()) }
}

fn no_object() -> Error {
    Error::invalid("", "the body must be a JSON object")
}

impl<'a> Members<'a> {
    /// The members of a body; none when there is no body.
    ///
    /// # Errors
    /// `InvalidParams` when it is not an object.
    pub(crate) fn read(body: Option<&'a RawValue>) -> Result<Self, Error> {
        let Some(body) = body else {
            return Ok(Self::default());
        };
        serde_json::from_str(body.get()).map_err(|_| no_object())
    }

    /// Adds a member.
    pub(crate) fn add(&mut self, name: &'a str, value: impl Into<Value>) {
        self.0.push((name.into(), Member::Ours(value.into())));
    }

    /// Sets what the path says. The same under one of `names` is tolerated, as is null and the
    /// empty string.
    ///
    /// # Errors
    /// `InvalidParams` naming the member that says otherwise.
    pub(crate) fn bind(&mut self, names: &[&'a str], path: &str) -> Result<(), Error> {
        self.take(names, path)?;
        self.add(names[0], path);
        Ok(())
    }

    /// Removes what the path says already, see [`Members::bind`].
    pub(crate) fn take(&mut self, names: &[&str], path: &str) -> Result<(), Error> {
        let mut wrong = None;
        self.0.retain(|(name, member)| {
            let bound = names.contains(&name.as_ref());
            if bound && !member.agrees(path) {
                wrong = Some(name.clone().into_owned());
            }
            !bound
        });
        wrong.map_or(Ok(()), |name| Err(Error::invalid(name, "contradicts the path")))
    }

    /// Removes a member.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// A member by its name.
    pub(crate) fn given(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find_map(|(known, member)| match member {
            Member::Given(value) if known == name && value.get() != "null" => Some(*value),
            _ => None,
        })
    }

    /// The object.
    pub(crate) fn object(&self) -> Result<Box<RawValue>, Error> {
        serde_json::value::to_raw_value(self)
            .map_err(|cause| Error::new(ErrorKind::Internal, cause.to_string()))
    }
}

impl Member<'_> {
    fn agrees(&self, path: &str) -> bool {
        let said = match self {
            Self::Given(raw) => serde_json::from_str(raw.get()).unwrap_or(Value::Bool(false)),
            Self::Ours(value) => value.clone(),
        };
        match said {
            Value::Null => true,
            Value::String(text) => text.is_empty() || text == path,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, member) in &self.0 {
            match member {
                Member::Given(raw) => map.serialize_entry(name, raw)?,
                Member::Ours(value) => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let value = map.next_value::<&'de RawValue>().map_err(A::Error::custom)?;
                    members.push((Cow::Owned(name), Member::Given(value)));
                }
                Ok(Members(members))
            }
        }

        from.deserialize_map(Object)
    }
}
