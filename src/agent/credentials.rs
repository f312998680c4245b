//! Credentials of Claude Code that cannot be where it runs, and what to set instead.

use super::Error;
use crate::config::{self, Config, DriverKind};
use crate::plain_file;
use pilothouse_sandbox::isolation::BackendKind;
use std::collections::BTreeMap;
use std::path::Path;

/// A service of models that finds its credentials in the operator's own HOME.
struct Cloud {
    switch: &'static str,
    /// The switch that says that a gateway signs.
    skip: &'static str,
    /// Any of these is enough.
    enough: &'static [&'static str],
    note: &'static str,
}

const CLOUDS: [Cloud; 3] = [
    Cloud {
        switch: "CLAUDE_CODE_USE_BEDROCK",
        skip: "CLAUDE_CODE_SKIP_BEDROCK_AUTH",
        enough: &[
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_ACCESS_KEY_ID",
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
        ],
        note: "profiles (AWS_PROFILE) and sign-ins lie in ~/.aws of your own HOME. Set AWS_BEARER_TOKEN_BEDROCK, or what \
               `aws configure export-credentials --format env` prints, or name files by AWS_CONFIG_FILE and \
               AWS_SHARED_CREDENTIALS_FILE",
    },
    Cloud {
        switch: "CLAUDE_CODE_USE_VERTEX",
        skip: "CLAUDE_CODE_SKIP_VERTEX_AUTH",
        enough: &["GOOGLE_APPLICATION_CREDENTIALS"],
        note: "Google's default credentials lie in ~/.config/gcloud of your own HOME, and a metadata server is not \
               reached. Set GOOGLE_APPLICATION_CREDENTIALS to that application_default_credentials.json, or to the key \
               of a service account",
    },
    Cloud {
        switch: "CLAUDE_CODE_USE_FOUNDRY",
        skip: "CLAUDE_CODE_SKIP_FOUNDRY_AUTH",
        enough: &[
            "ANTHROPIC_FOUNDRY_API_KEY",
            "ANTHROPIC_FOUNDRY_AUTH_TOKEN",
            "AZURE_CLIENT_SECRET",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "AZURE_FEDERATED_TOKEN_FILE",
        ],
        note: "a sign-in by `az login` lies in ~/.azure of your own HOME. Set ANTHROPIC_FOUNDRY_API_KEY, or AZURE_TENANT_ID, \
               AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
    },
];

/// What the operator should know of credentials that are not in a session, by what its environment holds.
pub(super) fn notes(key: &str, env: &BTreeMap<String, String>) -> Vec<String> {
    let is_set = |name: &str| env.get(name).is_some_and(|value| !value.is_empty());
    let is_on =
        |name: &str| env.get(name).is_some_and(|value| matches!(value.trim(), "1" | "true"));
    let clouds = CLOUDS.iter().filter(|cloud| {
        is_on(cloud.switch) && !is_on(cloud.skip) && !cloud.enough.iter().any(|&name| is_set(name))
    });
    clouds
        .map(|cloud| {
            format!("`{key}` has {} and no credential for it: {}", cloud.switch, cloud.note)
        })
        .collect()
}

/// Refuses a command for keys in Claude Code's own settings. Inside of a sandbox it has none of the credentials that
/// it asks with, and no key but the session's own is taken there.
pub(super) fn check_settings(
    config: &Config,
    key: &str,
    agent: &config::Agent,
    shared: Option<&Path>,
) -> Result<Option<String>, Error> {
    if agent.driver != DriverKind::Claude || config.isolation.backend == BackendKind::None {
        return Ok(None);
    }
    let seed = agent.defaults_dir.iter().map(|folder| folder.join("settings.json"));
    let seed = seed.filter(|path| has_helper_in(path)).map(|path| path.display().to_string());
    let mut words = agent.args.iter();
    let mut given = None;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--settings=") {
            Some(value) => Some(value),
            None if word == "--settings" => words.next().map(String::as_str),
            None => None,
        };
        if value.is_some_and(|value| has_helper(value) || has_helper_in(Path::new(value))) {
            given = Some("--settings".to_owned());
        }
    }
    if let Some(place) = seed.chain(given).next() {
        return Err(Error::KeyHelper { agent: key.to_owned(), place });
    }
    // Agents may write this file, so it keeps no server from starting.
    let of_project = shared.map(|folder| folder.join(".claude/settings.json"));
    Ok(of_project.filter(|path| has_helper_in(path)).map(|path| {
        format!(
            "`apiKeyHelper` of {} has no effect in the sandbox; set `agents.{key}.key_command` instead",
            path.display()
        )
    }))
}

fn has_helper_in(path: &Path) -> bool {
    plain_file::read(path, 1024 * 1024)
        .is_ok_and(|text| has_helper(&String::from_utf8_lossy(&text)))
}

fn has_helper(settings: &str) -> bool {
    let settings = serde_json::from_str::<serde_json::Value>(settings);
    settings.is_ok_and(|settings| {
        settings
            .get("apiKeyHelper")
            .and_then(|value| value.as_str())
            .is_some_and(|text| !text.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Vec<String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        notes("claude", &pairs.iter().map(owned).collect())
    }

    #[test]
    fn credentials_that_lie_in_the_operators_home_are_named_with_what_to_set() {
        for (switch, beside, words) in [
            ("CLAUDE_CODE_USE_BEDROCK", ("AWS_PROFILE", "work"), "AWS_SHARED_CREDENTIALS_FILE"),
            ("CLAUDE_CODE_USE_VERTEX", ("CLOUD_ML_REGION", "x"), "GOOGLE_APPLICATION_CREDENTIALS"),
            (
                "CLAUDE_CODE_USE_FOUNDRY",
                ("ANTHROPIC_FOUNDRY_RESOURCE", "x"),
                "ANTHROPIC_FOUNDRY_API_KEY",
            ),
        ] {
            let notes = of(&[(switch, "1"), beside]);
            assert!(notes.len() == 1 && notes[0].contains(words), "{notes:?}");
        }
        assert!(of(&[("CLAUDE_CODE_USE_BEDROCK", "1"), ("AWS_ACCESS_KEY_ID", "x")]).is_empty());
        let gateway = [("CLAUDE_CODE_USE_VERTEX", "1"), ("CLAUDE_CODE_SKIP_VERTEX_AUTH", "1")];
        assert!(of(&gateway).is_empty());
    }

    #[test]
    fn a_command_for_keys_in_the_settings_is_refused_with_the_key_that_works() {
        let folder = tempfile::tempdir().unwrap();
        let settings = r#"{"apiKeyHelper": "/opt/get-key"}"#;
        std::fs::write(folder.path().join("settings.json"), settings).unwrap();
        let config = Config::default();
        let plain = config::Agent::of(DriverKind::Claude);
        let seeded =
            config::Agent { defaults_dir: Some(folder.path().to_owned()), ..plain.clone() };
        let given = config::Agent {
            args: vec!["--settings".to_owned(), settings.to_owned()],
            ..plain.clone()
        };
        for agent in [&seeded, &given] {
            let error = check_settings(&config, "claude", agent, None).unwrap_err().to_string();
            assert!(error.contains("agents.claude.key_command"), "{error}");
        }
        assert!(check_settings(&config, "claude", &plain, None).unwrap().is_none());
        let project = folder.path().join(".claude");
        std::fs::create_dir(&project).unwrap();
        std::fs::write(project.join("settings.json"), settings).unwrap();
        let note = check_settings(&config, "claude", &plain, Some(folder.path())).unwrap();
        assert!(note.unwrap().contains("key_command"));
    }
}
