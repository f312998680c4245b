//! Which hosts a set-up will ask for, as far as its sources and its scripts say it, so that the start can name the line
//! of the configuration that allows them.

use crate::agent::Reach;
use crate::config::{self, Config, SourceKind};
use crate::plain_file;
use pilothouse_egress::{Policy, Route};
use pilothouse_sandbox::isolation::BackendKind;
use reqwest::Url;
use std::collections::BTreeSet;
use std::path::Path;

/// Bytes of a script that is looked at.
const LONGEST: u64 = 1024 * 1024;

/// Commands, and the hosts that they ask for.
const COMMANDS: [(&str, &[&str]); 10] = [
    ("npm install", &["registry.npmjs.org"]),
    ("npm i ", &["registry.npmjs.org"]),
    ("npm ci", &["registry.npmjs.org"]),
    ("npx ", &["registry.npmjs.org"]),
    ("pnpm ", &["registry.npmjs.org"]),
    ("yarn ", &["registry.yarnpkg.com"]),
    ("pip install", &["pypi.org", "files.pythonhosted.org"]),
    ("uvx ", &["pypi.org", "files.pythonhosted.org"]),
    ("cargo install", &["index.crates.io", "static.crates.io"]),
    ("gh ", &["api.github.com"]),
];

/// Words before an argument that names a repository of GitHub as `OWNER/NAME`.
const MARKETPLACE: &str = "plugin marketplace add ";

/// The hosts that a script asks for while it runs, and those that what it configures asks for later.
#[derive(Debug, Default, PartialEq, Eq)]
struct ForeseenHosts {
    now: BTreeSet<String>,
    later: BTreeSet<String>,
}

/// A line for each list of hosts that is too short, ready to be copied into the configuration.
pub(super) fn describe_hosts(
    config: &Config,
    (key, agent): (&str, &config::Agent),
    policy: &Policy,
) -> Vec<String> {
    let mut notes = Vec::new();
    let sources = agent.setup.sources.values().filter_map(config::DeclaredSource::kind);
    let mut wanted: BTreeSet<String> =
        sources.filter(|source| !has_route(source, policy)).flat_map(hosts_of_source).collect();
    if let Some(script) = &agent.setup.script {
        wanted.extend(read_script(script).now);
    }
    notes.extend(describe(config, (key, agent), policy, wanted, "set-up"));
    notes
}

/// The same for the session script of an agent.
pub(in crate::agent) fn describe_script(
    config: &Config,
    (key, agent): (&str, &config::Agent),
    script: Option<&Path>,
    reach: &Reach,
) -> Vec<String> {
    let ForeseenHosts { now, later } = script.map(read_script).unwrap_or_default();
    let mut notes = Vec::new();
    notes.extend(describe(config, (key, agent), &reach.setup, now, "session script"));
    let missing = find_missing(&reach.policy, later);
    if config.isolation.backend != BackendKind::None && !missing.is_empty() {
        let all = join(config.egress.allow.iter().cloned().chain(missing.iter().cloned()));
        notes.push(format!(
            "what the session script of `{key}` configures asks for {}, which its sessions may not reach; to allow that, \
             add to the configuration: egress: {{allow: [{all}]}}",
            join(missing)
        ));
    }
    notes
}

fn describe(
    config: &Config,
    (key, agent): (&str, &config::Agent),
    policy: &Policy,
    wanted: BTreeSet<String>,
    what: &str,
) -> Option<String> {
    let missing = find_missing(policy, wanted);
    if config.isolation.backend == BackendKind::None || missing.is_empty() {
        return None;
    }
    let all = join(agent.egress.setup.iter().cloned().chain(missing.iter().cloned()));
    Some(format!(
        "the {what} of `{key}` asks for {}, which it may not reach; to allow that, add to the configuration: \
         agents: {{{key}: {{egress: {{setup: [{all}]}}}}}}",
        join(missing)
    ))
}

fn join(hosts: impl IntoIterator<Item = String>) -> String {
    hosts.into_iter().collect::<Vec<_>>().join(", ")
}

/// The hosts that no rule permits.
fn find_missing(policy: &Policy, mut hosts: BTreeSet<String>) -> BTreeSet<String> {
    hosts.retain(|host| {
        let address = match host.contains(':') {
            true => host.clone(),
            false => format!("{host}:443"),
        };
        !policy.permits_address(&address)
    });
    hosts
}

/// Whether a source is reached by a route with a credential of the operator's.
fn has_route(source: &SourceKind<'_>, policy: &Policy) -> bool {
    let SourceKind::Git(url, _) = source else { return false };
    policy
        .routes
        .iter()
        .any(|route| matches!(route, Route::Git(route) if route.header_for(url).is_some()))
}

/// A host, with its port where a rule without a port would not permit it.
fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.to_owned();
    Some(match url.port_or_known_default() {
        Some(port @ (80 | 443)) if url.port().is_none() => {
            if port == 80 {
                format!("{host}:80")
            } else {
                host
            }
        }
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

/// An address with those that it is known to redirect to.
fn hosts_of_url(url: &str) -> Vec<String> {
    let mut hosts: Vec<String> = host_of(url).into_iter().collect();
    if hosts.iter().any(|host| host == "github.com") {
        if url.contains("/archive/") {
            hosts.push("codeload.github.com".to_owned());
        }
        if url.contains("/releases/") {
            hosts.push("release-assets.githubusercontent.com".to_owned());
        }
    }
    hosts
}

fn hosts_of_source(source: SourceKind<'_>) -> Vec<String> {
    match source {
        SourceKind::Git(url, _) => host_of(url).into_iter().collect(),
        SourceKind::Archive(url) | SourceKind::Url(url) => hosts_of_url(url),
        SourceKind::Npm(_) => vec!["registry.npmjs.org".to_owned()],
    }
}

fn read_script(path: &Path) -> ForeseenHosts {
    let text = plain_file::read(path, LONGEST).unwrap_or_default();
    hosts_of_script(&String::from_utf8_lossy(&text))
}

/// What can be seen from the words of a script; what stands in a heredoc counts as well.
fn hosts_of_script(script: &str) -> ForeseenHosts {
    let mut found = ForeseenHosts::default();
    let lines = script.replace("\\\n", " ");
    for line in lines.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let hosts = match line.contains("mcp add") {
            true => &mut found.later,
            false => &mut found.now,
        };
        for (at, _) in line.match_indices("http") {
            let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '`');
            let url = line[at..].split(is_end).next().unwrap_or_default();
            if url.starts_with("http://") || url.starts_with("https://") {
                hosts.extend(hosts_of_url(url));
            }
        }
        let words = format!("{line} ");
        let begins = |command: &str| {
            words.match_indices(command).any(|(at, _)| {
                let before = words[..at].chars().next_back();
                before.is_none_or(|c| c.is_whitespace() || matches!(c, ';' | '(' | '&' | '|'))
            })
        };
        for (_, of_command) in COMMANDS.iter().filter(|(command, _)| begins(command)) {
            hosts.extend(of_command.iter().map(|&host| host.to_owned()));
        }
        if let Some((_, rest)) = words.split_once(MARKETPLACE) {
            let name = rest.split_whitespace().next().unwrap_or_default();
            let parts: Vec<&str> = name.split('/').collect();
            if let [owner, _] = parts[..]
                && !owner.is_empty()
                && !owner.starts_with(['.', '$', '"', '~'])
            {
                hosts.insert("github.com".to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_a_script_are_foreseen_from_its_words() {
        let found = hosts_of_script(
            "#!/bin/sh\n# curl https://comment.example\ncurl -fsSL https://raw.githubusercontent.com/a/b/CLAUDE.md \\\n  -o CLAUDE.md\n\
             claude plugin marketplace add acme/market\nclaude plugin marketplace add ./here\n\
             claude mcp add docs --transport http https://mcp.example.com:8443/mcp\n\
             claude mcp add browser -- npx playwright\ncd x && npm ci\ngit clone \"http://127.0.0.1:81/r\"\nweigh 3\n",
        );
        let list = |hosts: &BTreeSet<String>| hosts.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(
            list(&found.now),
            "127.0.0.1:81 github.com raw.githubusercontent.com registry.npmjs.org"
        );
        assert_eq!(list(&found.later), "mcp.example.com:8443 registry.npmjs.org");
    }

    #[test]
    fn hosts_that_an_address_redirects_to_are_foreseen_where_they_are_known() {
        assert_eq!(
            hosts_of_url("https://github.com/a/b/archive/v1.tar.gz"),
            ["github.com", "codeload.github.com"]
        );
        assert_eq!(host_of("http://example.com/x").unwrap(), "example.com:80");
        assert_eq!(host_of("https://example.com/x").unwrap(), "example.com");
    }
}
