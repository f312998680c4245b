//! A project that people trust, as the CLI's own file says it. In any other one the CLI ignores what the project's
//! settings allow.

use serde_json::{Map, Value, json};

/// The file below the agent's HOME: its folder and its name.
pub const STATE_FILE: (&str, &str) = (".claude", ".claude.json");

/// The state with these projects trusted; none where it says so already. What cannot be read is
/// left alone: the CLI may be writing it.
#[must_use]
pub fn trust_projects(state: &[u8], projects: &[String]) -> Option<Vec<u8>> {
    let mut state = read(state)?;
    let mut has_changed = false;
    let known = state.entry("projects").or_insert_with(|| Value::Object(Map::new()));
    if !known.is_object() {
        *known = Value::Object(Map::new());
    }
    for project in projects {
        let known = &mut known[project.as_str()];
        if !known.is_object() {
            *known = Value::Object(Map::new());
        }
        if known["hasTrustDialogAccepted"] != Value::Bool(true) {
            known["hasTrustDialogAccepted"] = Value::Bool(true);
            has_changed = true;
        }
    }
    has_changed.then(|| Value::Object(state).to_string().into_bytes())
}

/// Where the CLI keeps the ends of the keys that a person has allowed it to use.
const ALLOWED_KEYS: &str = "customApiKeyResponses";

/// Characters of a key by which the CLI knows it.
const END_OF_KEY: usize = 20;

/// The state of a CLI whose set-up is done and that may use the key of its environment, so that a person's terminal begins
/// with the conversation; none where it says so already. Whether a folder is trusted stays for the person to say.
#[must_use]
pub fn skip_setup(state: &[u8], key: Option<&str>) -> Option<Vec<u8>> {
    let mut state = read(state)?;
    let before = state.clone();
    state.insert("hasCompletedOnboarding".to_owned(), Value::Bool(true));
    state.entry("theme").or_insert_with(|| "dark".into());
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        let end = key.char_indices().rev().nth(END_OF_KEY - 1).map_or(0, |(at, _)| at);
        state.insert(ALLOWED_KEYS.to_owned(), json!({"approved": [&key[end..]], "rejected": []}));
    }
    (state != before).then(|| Value::Object(state).to_string().into_bytes())
}

/// The state without the ends of keys, which no agent may read; none where it has none.
#[must_use]
pub fn forget_keys(state: &[u8]) -> Option<Vec<u8>> {
    let mut state = read(state)?;
    state.remove(ALLOWED_KEYS)?;
    Some(Value::Object(state).to_string().into_bytes())
}

/// The state of a CLI: empty where it has none yet, none where it cannot be read.
fn read(state: &[u8]) -> Option<Map<String, Value>> {
    if state.is_empty() { Some(Map::new()) } else { serde_json::from_slice(state).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_becomes_trusted_and_nothing_else_of_the_state_changes() {
        let before = json!({ "userID": "u", "projects": { "/a": { "x": 1 }, "/b": {} } });
        let trusted = trust_projects(before.to_string().as_bytes(), &["/a".to_owned()]).unwrap();
        let after: Value = serde_json::from_slice(&trusted).unwrap();
        let project = json!({ "x": 1, "hasTrustDialogAccepted": true });
        assert_eq!(after, json!({ "userID": "u", "projects": { "/a": project, "/b": {} } }));
        assert_eq!(trust_projects(&trusted, &["/a".to_owned()]), None);
    }

    #[test]
    fn a_set_up_that_is_done_is_left_alone_and_no_project_becomes_trusted_by_it() {
        let before = json!({ "theme": "light", "projects": { "/a": {} } });
        let after = skip_setup(before.to_string().as_bytes(), None).unwrap();
        assert_eq!(skip_setup(&after, None), None);
        let after: Value = serde_json::from_slice(&after).unwrap();
        let known = json!({ "/a": {} });
        assert_eq!(
            after,
            json!({ "theme": "light", "projects": known, "hasCompletedOnboarding": true })
        );
    }

    #[test]
    fn the_end_of_a_key_is_there_for_a_person_alone() {
        let key = "sk-ant-0123456789-abcdefghij-xyz";
        let lent = skip_setup(br#"{"theme":"light"}"#, Some(key)).unwrap();
        assert_eq!(skip_setup(&lent, Some(key)), None);
        let state: Value = serde_json::from_slice(&lent).unwrap();
        assert_eq!(state[ALLOWED_KEYS]["approved"], json!(["56789-abcdefghij-xyz"]));
        let after: Value = serde_json::from_slice(&forget_keys(&lent).unwrap()).unwrap();
        assert_eq!(after, json!({"theme": "light", "hasCompletedOnboarding": true}));
        assert_eq!(forget_keys(after.to_string().as_bytes()), None);
        assert!(skip_setup(b"", Some("short")).is_some());
    }

    #[test]
    fn a_state_that_cannot_be_read_is_left_alone_and_a_missing_one_begins_anew() {
        for state in ["{", "[]", " "] {
            assert_eq!(trust_projects(state.as_bytes(), &["/a".to_owned()]), None, "{state}");
            assert_eq!(skip_setup(state.as_bytes(), None), None, "{state}");
        }
        for state in ["", r#"{"projects":[]}"#, r#"{"projects":{"/a":1}}"#] {
            let trusted = trust_projects(state.as_bytes(), &["/a".to_owned()]).unwrap();
            let after: Value = serde_json::from_slice(&trusted).unwrap();
            assert_eq!(after["projects"]["/a"]["hasTrustDialogAccepted"], true, "{state}");
        }
    }
}
