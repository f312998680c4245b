//! What callers may choose per message, and what of that could not work.

use super::defaults::section;
use super::repository::is_reference;
use super::validate::Found;
use super::{Agent, DriverKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The extension by which a message chooses, and the member of its metadata that says what.
pub const WISHES: &str = "urn:pilothouse:wishes:v1";

section! {
    /// What callers may choose per message; nothing of what is not listed.
    #[derive(Debug, Eq)]
    pub struct CallerMay {
        /// `claude`, `acp`: models.
        pub models: Vec<String>,
        /// `claude`: efforts of the model.
        pub efforts: Vec<String>,
        /// `claude`: permission modes, none looser than the configured one.
        pub permissions: Vec<String>,
        /// Refs at which a new session may begin; a `*` at the end stands for anything.
        pub refs: Vec<String>,
        /// Whether a message may say that its task ends with a push.
        pub push: bool,
    }
}

/// The permission modes of which it is known what is looser than what, the strictest first.
const MODES: [&str; 3] = ["plan", "default", "acceptEdits"];

/// The efforts that the CLI knows.
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// How loose a permission mode is: one that is not known allows no other than the strictest.
fn looseness(mode: &str) -> usize {
    match mode {
        "manual" => 1,
        "bypassPermissions" => MODES.len(),
        mode => MODES.iter().position(|known| *known == mode).unwrap_or(0),
    }
}

impl CallerMay {
    /// Whether a new session may begin at this ref.
    pub fn permits_ref(&self, name: &str) -> bool {
        is_reference(name)
            && self.refs.iter().any(|allowed| match allowed.strip_suffix('*') {
                Some(begin) => name.starts_with(begin),
                None => name == allowed,
            })
    }

    /// What could not work or would loosen what is configured.
    pub(super) fn check(&self, name: &str, agent: &Agent, found: &mut Found) {
        let mut add = |field: &str, what: String| {
            let key = format!("agents.{name}.caller_may.{field}");
            found.add(&[&key], format!("`{key}` {what}"));
        };
        let has_models = matches!(agent.driver, DriverKind::Claude | DriverKind::Acp);
        if !self.models.is_empty() && !has_models {
            add("models", "is for the drivers `claude` and `acp`; leave it out".to_owned());
        }
        let is_claude = agent.driver == DriverKind::Claude;
        for (field, list) in [("efforts", &self.efforts), ("permissions", &self.permissions)] {
            if !list.is_empty() && !is_claude {
                add(field, "is for the driver `claude`; leave it out".to_owned());
            }
        }
        for (field, list, option) in [
            ("models", &self.models, "--model"),
            ("efforts", &self.efforts, "--effort"),
            ("permissions", &self.permissions, "--permission-mode"),
        ] {
            let is_option = |arg: &String| arg.split('=').next() == Some(option);
            if !list.is_empty() && agent.args.iter().any(is_option) {
                let key = format!("agents.{name}.args");
                add(
                    field,
                    format!("has no effect beside `{option}` in `{key}`; remove either of them"),
                );
            }
            if let Some(wrong) = list.iter().find(|text| !is_word(text)) {
                add(field, format!("holds `{wrong}`, which is no name"));
            }
        }
        if let Some(wrong) = self.efforts.iter().find(|one| !EFFORTS.contains(&one.as_str())) {
            add("efforts", format!("holds `{wrong}`; there are {}", EFFORTS.join(", ")));
        }
        let most = looseness(&agent.permission_mode);
        let fits = |mode: &&String| MODES.contains(&mode.as_str()) && looseness(mode) <= most;
        if let Some(wrong) = self.permissions.iter().find(|mode| !fits(mode)) {
            let known = MODES.join(", ");
            let own = &agent.permission_mode;
            add(
                "permissions",
                format!(
                    "holds `{wrong}`; a caller may choose of {known}, and none that is looser than `permission_mode: {own}`"
                ),
            );
        }
    }
}

/// Whether a text can be the value of an option of a CLI, and is nothing else.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@[]".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(agent: &Agent) -> String {
        let mut found = Found::default();
        agent.caller_may.check("x", agent, &mut found);
        found.texts().join("\n")
    }

    fn claude(may: CallerMay) -> Agent {
        Agent { caller_may: may, ..Agent::of(DriverKind::Claude) }
    }

    #[test]
    fn what_a_caller_may_choose_is_never_looser_than_what_is_configured() {
        let of = |modes: &[&str], own: &str| {
            let permissions = modes.iter().map(|&mode| mode.to_owned()).collect();
            let may = CallerMay { permissions, ..CallerMay::default() };
            faults(&Agent { permission_mode: own.to_owned(), ..claude(may) })
        };
        assert_eq!(of(&["plan", "default"], "acceptEdits"), "");
        assert_eq!(of(&["acceptEdits"], "bypassPermissions"), "");
        assert!(of(&["acceptEdits"], "default").contains("looser"));
        assert!(of(&["default"], "dontAsk").contains("looser"));
        assert!(of(&["bypassPermissions"], "bypassPermissions").contains("looser"));
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        let models = CallerMay { models: vec!["opus".to_owned()], ..CallerMay::default() };
        assert_eq!(faults(&claude(models.clone())), "");
        let args = vec!["--model".to_owned(), "haiku".to_owned()];
        assert!(faults(&Agent { args, ..claude(models.clone()) }).contains("`--model`"));
        let command = Agent { caller_may: models, ..Agent::of(DriverKind::Command) };
        assert!(faults(&command).contains("`claude` and `acp`"));
        let efforts = CallerMay { efforts: vec!["much".to_owned()], ..CallerMay::default() };
        assert!(faults(&claude(efforts)).contains("there are low, medium"));
    }

    #[test]
    fn a_ref_is_permitted_by_its_name_or_its_beginning() {
        let may = |refs: &[&str], name| {
            let refs = refs.iter().map(|&text| text.to_owned()).collect();
            CallerMay { refs, ..CallerMay::default() }.permits_ref(name)
        };
        assert!(may(&["main"], "main") && may(&["feature/*"], "feature/a") && may(&["*"], "v1"));
        assert!(!may(&[], "main") && !may(&["main"], "main2") && !may(&["feature/*"], "other"));
        assert!(!may(&["*"], "--upload-pack=evil") && !may(&["*"], "a..b"));
    }
}
