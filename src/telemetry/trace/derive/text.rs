//! Texts of agents and callers, as far as spans show them.

use crate::config::MASK;
use crate::telemetry::trace::Content;
use serde_json::json;
use std::borrow::Cow;

/// The mark behind content that was cut.
const CUT: &str = "… [cut]";

/// A name of the agent's making, so far as it is shown.
pub(super) fn bound_name(name: &str) -> &str {
    cut_to(name, 128)
}

pub(super) fn cut_to(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Content as far as it is shown: known secrets are masked, and a mark stands where it was cut.
pub(in crate::telemetry) fn cut(text: &str, content: &Content) -> String {
    let secrets = content.secrets.iter().filter(|secret| text.contains(&***secret));
    let text =
        secrets.fold(Cow::Borrowed(text), |text, secret| Cow::Owned(text.replace(&**secret, MASK)));
    match text.len() > content.most {
        true => format!("{}{CUT}", cut_to(&text, content.most)),
        false => text.into_owned(),
    }
}

/// One message in the form of the conventions.
pub(super) fn messages(role: &str, text: &str, content: &Content) -> String {
    let part = json!({"type": "text", "content": cut(text, content)});
    json!([{"role": role, "parts": [part]}]).to_string()
}
