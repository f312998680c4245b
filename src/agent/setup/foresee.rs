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

/// Commands of package managers. Which registry they ask is configured in many places, so they are named instead of a
/// host.
const MANAGERS: [(&str, &str); 9] = [
    ("npm install", "npm"),
    ("npm i ", "npm"),
    ("npm ci", "npm"),
    ("npx ", "npm"),
    ("pnpm ", "pnpm"),
    ("yarn ", "yarn"),
    ("pip install", "pip"),
    ("uvx ", "uv"),
    ("cargo install", "cargo"),
];

/// The command of GitHub, and the host that it asks for.
const GITHUB: (&str, &str) = ("gh ", "api.github.com");

/// Commands that need a container engine, and what they are called.
const ENGINES: [(&str, &str); 6] = [
    ("docker ", "docker"),
    ("docker-compose ", "docker"),
    ("podman ", "podman"),
    ("nerdctl ", "nerdctl"),
    ("kind create ", "kind"),
    ("minikube ", "minikube"),
];

/// Words before an argument that names a repository of GitHub as `OWNER/NAME`.
const MARKETPLACE: &str = "plugin marketplace add ";

/// What is asked for: hosts, and registries of package managers.
#[derive(Debug, Default, PartialEq, Eq)]
struct ForeseenNeeds {
    hosts: BTreeSet<String>,
    managers: BTreeSet<&'static str>,
    engines: BTreeSet<&'static str>,
}

/// What a script asks for while it runs, and what that which it configures asks for later.
#[derive(Debug, Default, PartialEq, Eq)]
struct ForeseenHosts {
    now: ForeseenNeeds,
    later: ForeseenNeeds,
}

/// A line for each list of hosts that is too short, ready to be copied into the configuration.
pub(super) fn describe_hosts(
    config: &Config,
    (key, agent): (&str, &config::Agent),
    policy: &Policy,
) -> Vec<String> {
    let script = agent.setup.script.as_deref();
    let mut wanted = script.map(read_script).unwrap_or_default().now;
    let sources = agent.setup.sources.values().filter_map(config::DeclaredSource::kind);
    for source in sources.filter(|source| !has_route(source, policy)) {
        wanted.add_source(source);
    }
    describe(config, (key, agent), policy, wanted, "set-up")
}

/// The same for the session script of an agent.
pub(in crate::agent) fn describe_script(
    config: &Config,
    (key, agent): (&str, &config::Agent),
    script: Option<&Path>,
    reach: &Reach,
) -> Vec<String> {
    let ForeseenHosts { now, later } = script.map(read_script).unwrap_or_default();
    let mut notes = describe(config, (key, agent), &reach.setup, now, "session script");
    let missing = find_missing(&reach.policy, later.hosts);
    if config.isolation.backend != BackendKind::None && !missing.is_empty() {
        let all = join(config.egress.allow.iter().cloned().chain(missing.iter().cloned()));
        notes.push(format!(
            "what the session script of `{key}` configures asks for {}, which its sessions may not reach; to allow that, \
             add to the configuration: egress: {{allow: [{all}]}}",
            join(missing)
        ));
    }
    if config.isolation.backend != BackendKind::None && config.egress.allow.is_empty() {
        notes.extend(later.managers.iter().map(|manager| {
            format!(
                "what the session script of `{key}` configures runs {manager}: add the host of its package registry to \
                 `egress.allow`"
            )
        }));
    }
    notes
}

fn describe(
    config: &Config,
    (key, agent): (&str, &config::Agent),
    policy: &Policy,
    wanted: ForeseenNeeds,
    what: &str,
) -> Vec<String> {
    if config.isolation.backend == BackendKind::None {
        return Vec::new();
    }
    let mut notes = Vec::new();
    if !wanted.engines.is_empty() {
        notes.push(format!(
            "the {what} of `{key}` runs {}, and no sandbox gives an agent a container engine (whoever has its socket is root on \
             its machine): have the engine run elsewhere, and let the agent reach what runs there by `egress.allow`",
            join(wanted.engines.iter().map(|name| (*name).to_owned()))
        ));
    }
    let missing = find_missing(policy, wanted.hosts);
    if !missing.is_empty() {
        let all = join(agent.egress.setup.iter().cloned().chain(missing.iter().cloned()));
        notes.push(format!(
            "the {what} of `{key}` asks for {}, which it may not reach; to allow that, add to the configuration: \
             agents: {{{key}: {{egress: {{setup: [{all}]}}}}}}",
            join(missing)
        ));
    }
    // What is allowed already may be the registry.
    if agent.egress.setup.is_empty() {
        notes.extend(wanted.managers.iter().map(|manager| {
            format!(
                "the {what} of `{key}` runs {manager}: add the host of its package registry to `agents.{key}.egress.setup`"
            )
        }));
    }
    notes
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

impl ForeseenNeeds {
    fn add_source(&mut self, source: SourceKind<'_>) {
        match source {
            SourceKind::Git(url, _) => self.hosts.extend(host_of(url)),
            SourceKind::Archive(url) | SourceKind::Url(url) => self.hosts.extend(hosts_of_url(url)),
            SourceKind::Npm(_) => drop(self.managers.insert("npm")),
        }
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
        let ForeseenNeeds { hosts, managers, engines } = match line.contains("mcp add") {
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
        managers
            .extend(MANAGERS.iter().filter(|(command, _)| begins(command)).map(|(_, name)| *name));
        engines
            .extend(ENGINES.iter().filter(|(command, _)| begins(command)).map(|(_, name)| *name));
        hosts.extend(begins(GITHUB.0).then(|| GITHUB.1.to_owned()));
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
        assert_eq!(list(&found.now.hosts), "127.0.0.1:81 github.com raw.githubusercontent.com");
        assert_eq!(list(&found.later.hosts), "mcp.example.com:8443");
        assert_eq!(
            [found.now.managers, found.later.managers],
            [["npm"], ["npm"]].map(BTreeSet::from)
        );
    }

    #[test]
    fn commands_that_need_a_container_engine_are_foreseen() {
        let found = hosts_of_script(
            "echo a kind word && cd x; kind create cluster\n# docker run\nsudo docker run x\necho mankind go",
        );
        assert_eq!(found.now.engines, BTreeSet::from(["docker", "kind"]));
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
