//! The four ids of the protocol: opaque, never mixed up, cheap to clone.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes an id as it is, without a check.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// Makes a new id: a UUID version 7 in lower case, so ids sort by their birth.
            pub fn random() -> Self {
                let mut text = Uuid::encode_buffer();
                Self(Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut text)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, out)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(Arc::from(id))
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(Arc::from(id))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
    };
}

id! {
    /// Names one task; made by the server (specification 3.4.2).
    TaskId
}
id! {
    /// Names a conversation of several tasks and messages (specification 3.4.1).
    ContextId
}
id! {
    /// Names one message; made by whoever writes it (specification 4.1.4).
    MessageId
}
id! {
    /// Names an artifact within its task (specification 4.1.7).
    ArtifactId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_lower_case_and_sort_by_birth() {
        let (first, second) = (TaskId::random(), TaskId::random());
        assert!(first < second);
        assert_eq!(first.as_str().len(), 36);
        assert_eq!(first.as_str(), first.as_str().to_lowercase());
    }

    #[test]
    fn an_id_is_a_plain_string_on_the_wire() {
        let id: ContextId = serde_json::from_str("\"c-1\"").unwrap();
        assert_eq!(id, "c-1");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"c-1\"");
    }
}
