//! How the server pushes what sessions have done, and what opens pull requests there.

use super::defaults::section;
use super::validate::Found;
use super::{AskPolicy, Config, GitCredential};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

section! {
    /// The push of a session's branch, by the server.
    #[derive(Debug, Eq)]
    pub struct WorkspacePush {
        /// Whether a person is asked before it.
        pub policy: AskPolicy = AskPolicy::Ask,
        /// Whether a task that changed something ends with it.
        pub at_end: bool,
        /// Whether a pull request is opened, where `egress.git` says what opens it.
        pub request: bool = true,
        /// The message of the commit of what was left uncommitted.
        pub message: String = "{summary}".to_owned(),
        /// The title of the pull request.
        pub title: String = "{summary}".to_owned(),
        /// Its text.
        pub body: String = "{answer}\n\nTask {task} of {agent}, session {session}. {link}".to_owned(),
    }
}

/// What opens pull requests, by its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// GitHub, of its own or of a company.
    Github,
    /// GitLab: merge requests.
    Gitlab,
    /// Gitea, and Forgejo, which has the same API.
    Gitea,
}

impl GitCredential {
    /// The address of the forge's API.
    pub fn api_address(&self, kind: ForgeKind) -> String {
        let host = self.host.to_lowercase();
        let usual = match kind {
            ForgeKind::Github if host == "github.com" => "https://api.github.com".to_owned(),
            ForgeKind::Github => format!("https://{host}/api/v3"),
            ForgeKind::Gitlab => format!("https://{host}/api/v4"),
            ForgeKind::Gitea => format!("https://{host}/api/v1"),
        };
        let address = self.api.clone().unwrap_or(usual);
        address.trim_end_matches('/').to_owned()
    }
}

impl Config {
    /// Looks for forges that could not be asked.
    pub(super) fn check_forges(&self, found: &mut Found) {
        for entry in &self.egress.git {
            let Some(api) = &entry.api else { continue };
            if entry.forge.is_none() {
                let text = "`egress.git` has an entry with `api` and without `forge`; say which it is: github, gitlab or gitea";
                found.add(&["egress.git"], text.to_owned());
            }
            if !is_protected(api) {
                let text = "`egress.git` has an `api` that the token could not be sent to; give an https address without a user, a query or a fragment";
                found.add(&["egress.git"], text.to_owned());
            }
        }
    }
}

/// Whether a credential can be sent to this address: by https, or within this machine.
fn is_protected(api: &str) -> bool {
    let is_plain = !api.contains(['@', '?', '#']) && !api.contains(char::is_control);
    let host = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
    let is_loopback = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
        address.is_ok_and(|address| address.is_loopback())
    };
    let is_https = api.strip_prefix("https://").is_some_and(|rest| !host(rest).is_empty());
    is_plain
        && (is_https || api.strip_prefix("http://").is_some_and(|rest| is_loopback(&host(rest))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_by_https_or_within_this_machine() {
        for fits in
            ["https://api.github.com", "https://git.example.com/api/v1", "http://127.0.0.1:80/x"]
        {
            assert!(is_protected(fits), "{fits}");
        }
        for wrong in [
            "http://git.example.com",
            "https://",
            "https://user:secret@git.example.com",
            "https://git.example.com/?a=b",
            "ftp://git.example.com",
            "http://127.0.0.1.example.com/",
        ] {
            assert!(!is_protected(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_api_of_a_forge_is_found_by_its_host() {
        let entry = |host: &str, api: Option<&str>| GitCredential {
            host: host.to_owned(),
            path: String::new(),
            user: String::new(),
            token: String::new(),
            forge: None,
            api: api.map(ToOwned::to_owned),
        };
        let of = |host, kind| entry(host, None).api_address(kind);
        assert_eq!(of("GitHub.com", ForgeKind::Github), "https://api.github.com");
        assert_eq!(of("git.acme.test", ForgeKind::Github), "https://git.acme.test/api/v3");
        assert_eq!(of("gitlab.com", ForgeKind::Gitlab), "https://gitlab.com/api/v4");
        assert_eq!(of("codeberg.org", ForgeKind::Gitea), "https://codeberg.org/api/v1");
        let own = entry("git.acme.test", Some("https://git.acme.test:8443/api/v1/"));
        assert_eq!(own.api_address(ForgeKind::Gitea), "https://git.acme.test:8443/api/v1");
    }
}
