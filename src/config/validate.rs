//! What cannot be: values that are right one by one and wrong together.

mod identity;
mod tokens;

use super::environment::{preset, preset_names};
use super::error::Problem;
use super::guess::nearest;
use super::tree::to_json;
use super::{Agent, Budget, Budgets, Config, DriverKind, Input};
use ipnet::IpNet;
use pilothouse_a2a::rest::RESERVED;
use pilothouse_agents::acp::preset::PRESETS;
use pilothouse_agents::claude;
use rustix::fs::Access;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;

/// The caller who holds `auth.token`.
pub const OWNER: &str = "owner";

/// The caller of a server that asks for no token.
pub const ANYBODY: &str = "anybody";

/// Descriptors that an agent's process needs at least.
const FEWEST_FILES: u64 = 64;

/// Shorter tokens are taken on loopback alone.
const SHORTEST_TOKEN: usize = 8;

/// Numbers that are nothing but a mistake when they are 0, and what would follow.
const AT_LEAST_ONE: [(&str, &str); 37] = [
    ("processes.max", "no agent could ever run"),
    ("workspace.shared_turns", "no turn could ever begin"),
    ("limits.body", "every request would be refused"),
    ("limits.prompt", "every message would be refused"),
    ("egress.own_requests", "agents could keep each other from their models"),
    ("limits.prompts", "every long message would be refused"),
    ("limits.parts", "every message would be refused"),
    ("limits.items", "every request would be refused"),
    ("limits.line", "no agent could say a word"),
    ("limits.line_values", "no agent could say a word"),
    ("limits.answer", "no agent could answer"),
    ("limits.turn_events", "no turn could show what it does"),
    ("log.max_size", "no line could be logged"),
    ("log.audit_queue", "no entry could be written; set `audit: off` if you mean it"),
    ("limits.responses_waiting", "every answer would be refused"),
    ("limits.connections", "nobody could connect"),
    ("limits.connections_per_address", "nobody could connect"),
    ("limits.connections_per_caller", "nobody could connect"),
    ("limits.requests", "every request would be refused"),
    ("limits.http2_streams_unknown", "every request would be refused"),
    ("limits.wrong_tokens", "wrong tokens would have no bound"),
    ("limits.rate_keys", "no caller could be counted"),
    ("asks.per_turn", "no agent would ever be heard"),
    ("asks.per_session", "no agent could ask"),
    ("asks.bytes", "no agent could ask"),
    ("asks.total", "no agent could ask"),
    ("asks.grant_uses", "nothing could be allowed for a session"),
    ("asks.pattern_uses", "no ask could propose anything"),
    ("limits.http2_streams", "no HTTP/2 request could be made"),
    (
        "limits.disk_checks",
        "no folders could be measured; set `isolation.limits.disk: null` if you mean it",
    ),
    ("limits.fetches", "no session could begin as a clone of a repository"),
    ("limits.gits", "no clone could be looked at, and none removed"),
    ("limits.store_readers", "nothing could be read"),
    ("limits.http2_resets", "one canceled HTTP/2 request would end its connection"),
    (
        "push.per_task",
        "no task could have a push notification config; set `push.enabled: false` if you mean it",
    ),
    (
        "push.pending",
        "no push notification could be taken; set `push.enabled: false` if you mean it",
    ),
    (
        "push.concurrent",
        "no push notification could be sent; set `push.enabled: false` if you mean it",
    ),
];

impl Config {
    /// Whether the address that is listened on is reachable from this machine alone.
    pub fn is_loopback(&self) -> bool {
        let host = self.server.host.trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Why this machine does not let the server write its logs, a sentence each; only the server asks.
    pub fn find_unwritable(&self) -> Vec<String> {
        let audit =
            self.audit_path().map(|path| ("audit", path, "a file, `auto`, `stderr` or `off`"));
        let log = self.log.path.as_deref().map(|path| ("log.path", path, "a file"));
        let named = audit.into_iter().chain(log);
        let unwritable =
            named.filter_map(|(key, path, what)| Some((key, why_not_writable(path)?, what)));
        unwritable.map(|(key, why, what)| format!("`{key}` {why}; name {what}")).collect()
    }

    /// The file of the state folder that `audit: auto` means: where standard error is a terminal, a person reads it.
    pub fn rotated_audit(&self) -> Option<PathBuf> {
        let has_folder = self.store.path != Path::new("memory");
        let is_read = self.audit == "auto" && std::io::stderr().is_terminal();
        (is_read && has_folder).then(|| self.state_dir.join("audit.jsonl"))
    }

    /// The audit log's file, where one is named.
    pub fn audit_path(&self) -> Option<&Path> {
        (!matches!(self.audit.as_str(), "auto" | "stderr" | "off")).then(|| Path::new(&self.audit))
    }

    /// The agents that may serve at the root address, best first: the named one; for `auto`
    /// `claude`, then `demo`.
    pub fn candidates(&self) -> Vec<&str> {
        let names = match self.agent.as_str() {
            "auto" => vec!["claude", "demo"],
            name => vec![name],
        };
        names.into_iter().filter(|&name| self.agents.contains_key(name)).collect()
    }

    /// Refuses combinations that cannot work.
    ///
    /// # Errors
    /// Every contradiction that was found, without the origins of its values, which `load` knows.
    pub fn validate(&self) -> Result<(), Vec<Problem>> {
        let mut found = Found::default();
        self.check_server(&mut found);
        self.check_bounds(&mut found);
        self.check_uids(&mut found);
        if let Err(error) = EnvFilter::builder().parse(&self.log.level) {
            let text =
                format!("`log.level` is `{}`: {error}; write `info` or `debug`", self.log.level);
            found.add(&["log.level"], text);
        }
        if self.agent != "auto" && !self.agents.contains_key(&self.agent) {
            let names: Vec<&str> = self.agents.keys().map(String::as_str).collect();
            let guess = guess_among(&names, &self.agent);
            found.add(
                &["agent"],
                format!("`agent` names `{}`, which is not among `agents`: {guess}", self.agent),
            );
        }
        self.check_workspaces(&mut found);
        self.check_forges(&mut found);
        self.budgets.check("budgets", &mut found);
        for (name, agent) in &self.agents {
            agent.check(name, &mut found);
            agent.caller_may.check(name, agent, &mut found);
            agent.budgets.check(&format!("agents.{name}.budgets"), &mut found);
            for problem in agent.setup.problems(name, agent) {
                found.add(&[&format!("agents.{name}.setup")], problem);
            }
        }
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }

    /// The numbers must be numbers of users, and none of them root's.
    fn check_uids(&self, found: &mut Found) {
        let uids = self.isolation.uids;
        let end = u64::from(uids.first) + u64::from(uids.count);
        if uids.first == 0 || end > u64::from(u32::MAX) {
            found.add(
                &["isolation.uids.first", "isolation.uids.count"],
                format!(
                    "`isolation.uids` are {} numbers from {} on: they must be above 0, which is root, and below {}, \
                     which is no user",
                    uids.count,
                    uids.first,
                    u32::MAX
                ),
            );
        }
    }

    fn check_server(&self, found: &mut Found) {
        if !self.auth.required && !self.auth.insecure && !self.is_loopback() {
            found.add(
                &["auth.required", "server.host"],
                format!(
                    "`auth.required` is false and `server.host` is {}: anyone who reaches this machine could run \
                     commands on it; listen on 127.0.0.1, ask for a token, or set `auth.insecure` (--insecure) if you mean it",
                    self.server.host,
                ),
            );
        }
        if self.auth.token.as_deref().is_some_and(|token| token.trim().is_empty()) {
            found.add(
                &["auth.token"],
                "`auth.token` is empty; leave it out and a random one is made".to_owned(),
            );
        }
        self.check_tokens(found);
        self.check_tls(found);
        self.check_oidc(found);
        self.check_notifications(found);
        let is_caller =
            |name: &str| [OWNER, ANYBODY].contains(&name) || self.auth.tokens.contains_key(name);
        for name in self.auth.priorities.keys().filter(|name| !is_caller(name)) {
            let names = self.auth.tokens.keys().map(String::as_str).chain([OWNER]);
            let guess = nearest(name, names.collect::<Vec<_>>().into_iter())
                .map(|guess| format!("; did you mean `{guess}`?"));
            found.add(
                &["auth.priorities"],
                format!(
                    "`auth.priorities` names the caller `{name}`, who has no token in `auth.tokens`{}",
                    guess.unwrap_or_default()
                ),
            );
        }
        if self.server.host.trim().is_empty() {
            found.add(
                &["server.host"],
                "`server.host` is empty; write 127.0.0.1 or 0.0.0.0".to_owned(),
            );
        }
        if let Some(url) = &self.server.public_url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            found.add(
                &["server.public_url"],
                format!("`server.public_url` must begin with http:// or https://, not be `{url}`"),
            );
        }
        if self.card.signing.key.is_some() && self.server.public_url.is_none() {
            found.add(
                &["card.signing.key", "server.public_url"],
                "`card.signing.key` signs the address on the card, so that address must be configured: set \
                 `server.public_url`, like `server.public_url: https://agents.example.com`"
                    .to_owned(),
            );
        }
        let lists = [
            ("server.trusted_proxies", &self.server.trusted_proxies),
            ("push.allow", &self.push.allow),
            ("egress.inner", &self.egress.inner),
        ];
        for (key, list) in lists {
            for text in list.iter().filter(|text| network(text).is_none()) {
                found.add(
                    &[key],
                    format!("`{key}` holds `{text}`, which is no network; write one like 10.1.0.0/16, fd00::/8 or 127.0.0.1"),
                );
            }
        }
        let audit =
            self.audit_path().map(|path| ("audit", path, "a file, `auto`, `stderr` or `off`"));
        let log = self.log.path.as_deref().map(|path| ("log.path", path, "a file"));
        for (key, path, what) in audit.into_iter().chain(log) {
            if path.as_os_str().is_empty() {
                found.add(&[key], format!("`{key}` is empty; name {what}"));
            }
        }
        if self.store.path == PathBuf::new() {
            found.add(&["store.path"], "`store.path` is empty; name a file or `memory`".to_owned());
        }
    }

    fn check_bounds(&self, found: &mut Found) {
        let limits = &self.limits;
        let files = self.isolation.limits.files;
        if files < FEWEST_FILES {
            found.add(
                &["isolation.limits.files"],
                format!(
                    "`isolation.limits.files` is {files}, with which no agent could work; make it at least {FEWEST_FILES}"
                ),
            );
        }
        let values = to_json(self);
        for (key, consequence) in AT_LEAST_ONE {
            let value = key.split('.').fold(&values, |value, name| &value[name]);
            if *value == 0 || value == "0" {
                found.add(&[key], format!("`{key}` is 0: {consequence}; make it at least 1"));
            }
        }
        let ordered = [
            ("limits.prompt", limits.prompt, "limits.body", limits.body),
            ("limits.line", limits.line, "limits.answer", limits.answer),
            ("limits.line", limits.line, "limits.lines", limits.lines),
            ("limits.line", limits.line, "limits.longest_line", limits.longest_line),
            ("limits.inline_answer", limits.inline_answer, "limits.response", limits.response),
            ("limits.event", limits.event, "limits.response", limits.response),
            ("asks.bytes", self.asks.bytes, "asks.total", self.asks.total),
        ];
        for (small, value, large, bound) in ordered {
            if value > bound && bound.get() > 0 {
                found.add(&[small, large], format!("`{small}` ({value}) is larger than `{large}` ({bound}); raise `{large}` or lower `{small}`"));
            }
        }
        if limits.responses.get() < limits.response.get().saturating_mul(2) {
            found.add(
                &["limits.responses", "limits.response"],
                format!(
                    "`limits.responses` ({}) is less than twice `limits.response` ({}), and one caller has half of it; \
                     raise `limits.responses` or lower `limits.response`",
                    limits.responses, limits.response
                ),
            );
        }
        if !(16 * 1024..=500_000).contains(&limits.event.get()) {
            found.add(
                &["limits.event"],
                format!(
                    "`limits.event` is {}; clients take events from 16KiB to 500kB",
                    limits.event
                ),
            );
        }
        if self.streams.line.get() < 8 * 1024 {
            let line = self.streams.line;
            let words =
                format!("`streams.line` is {line}, in which no event fits; 8KiB is the least");
            found.add(&["streams.line"], words);
        }
    }
}

impl Agent {
    fn check(&self, name: &str, found: &mut Found) {
        let key = |field: &str| format!("agents.{name}.{field}");
        let is_plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if RESERVED.contains(&name) {
            found.add(
                &["agents"],
                format!("an agent cannot be called `{name}`: that is an address of the server"),
            );
        } else if name == "auto" {
            found.add(
                &["agents"],
                "an agent cannot be called `auto`: `agent: auto` has a meaning of its own"
                    .to_owned(),
            );
        } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !name.chars().all(is_plain)
        {
            found.add(&["agents"], format!("an agent cannot be called `{name}`: it is part of an address, so use a-z, 0-9, `-` and `_`"));
        }
        if self.driver == DriverKind::Command
            && self.program.as_deref().is_none_or(|program| program.trim().is_empty())
        {
            found.add(
                &[&key("program")],
                format!(
                    "`{}` is missing: the driver `command` needs a program to run",
                    key("program")
                ),
            );
        }
        if self.warm > 0 && matches!(self.driver, DriverKind::Command | DriverKind::Demo) {
            found.add(
                &[&key("warm"), &key("driver")],
                format!(
                    "`{}` is {}, but only the drivers `claude` and `acp` keep a process between turns that could be \
                     started ahead; make it 0",
                    key("warm"),
                    self.warm
                ),
            );
        }
        let modes = claude::PERMISSION_MODES;
        let mode = self.permission_mode.as_str();
        if self.driver == DriverKind::Claude && !modes.contains(&mode) {
            let (key, known) = (key("permission_mode"), modes.join(", "));
            let text =
                format!("`{key}` is `{mode}`, which is no permission mode: there are {known}");
            found.add(&[&key], text);
        }
        self.check_commands(&key, found);
        self.check_protocol(&key, found);
        if self.terminator.is_some() && self.input == Input::Stdin {
            found.add(
                &[&key("terminator"), &key("input")],
                format!("`{}` has no use with `{}: stdin`: it stands between arguments and message; leave one out", key("terminator"), key("input")),
            );
        }
        for name in self.env.presets.iter().filter(|name| preset(name).is_none()) {
            let known: Vec<&str> = preset_names().collect();
            let guess = guess_among(&known, name);
            found.add(
                &[&key("env.presets")],
                format!("`{}` names `{name}`, which is not a preset: {guess}", key("env.presets")),
            );
        }
        let mut ids = BTreeSet::new();
        for skill in self.skills.iter().filter(|skill| !ids.insert(&skill.id)) {
            found.add(
                &[&key("skills")],
                format!(
                    "`{}` has two skills with the id `{}`; ids are unique on a card",
                    key("skills"),
                    skill.id
                ),
            );
        }
    }
}

impl Agent {
    /// What callers may run by its name.
    fn check_commands(&self, key: &dyn Fn(&str) -> String, found: &mut Found) {
        if !self.commands.is_empty() && self.driver != DriverKind::Claude {
            found.add(
                &[&key("commands"), &key("driver")],
                format!("`{}` has a meaning with `driver: claude` alone", key("commands")),
            );
        }
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_alphanumeric())
                && !name.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        for name in self.commands.iter().filter(|name| !is_name(name)) {
            found.add(
                &[&key("commands")],
                format!(
                    "`{}` names `{}`, which is not a command's name: write it without the slash, in one word",
                    key("commands"),
                    name.escape_debug()
                ),
            );
        }
    }

    /// What only the driver `acp` knows.
    fn check_protocol(&self, key: &dyn Fn(&str) -> String, found: &mut Found) {
        let own = [
            ("preset", self.preset.is_some()),
            ("auth_method", self.auth_method.is_some()),
            ("mode", self.mode.is_some()),
        ];
        if self.driver != DriverKind::Acp {
            for (field, _) in own.into_iter().filter(|(_, is_set)| *is_set) {
                found.add(
                    &[&key(field), &key("driver")],
                    format!("`{}` has a meaning with `driver: acp` alone", key(field)),
                );
            }
            return;
        }
        let known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        if let Some(name) = self.preset.as_deref().filter(|name| !known.contains(name)) {
            let guess = guess_among(&known, name);
            found.add(
                &[&key("preset")],
                format!("`{}` names `{name}`, which is not a preset: {guess}", key("preset")),
            );
        } else if self.program.as_deref().is_none_or(|program| program.trim().is_empty()) {
            found.add(
                &[&key("program")],
                format!(
                    "`{}` is missing: the driver `acp` needs a program, or a `preset` ({})",
                    key("program"),
                    known.join(", ")
                ),
            );
        }
    }
}

impl Budgets {
    /// Each section with its name.
    pub fn each(&self) -> [(&'static str, Budget); 4] {
        [("task", self.task), ("session", self.session), ("caller", self.caller), ("day", self.day)]
    }

    fn check(&self, section: &str, found: &mut Found) {
        for (kind, budget) in self.each() {
            let zeros = [
                ("cost_usd", budget.cost_usd.is_some_and(|cost| cost.micros() == 0)),
                ("tokens", budget.tokens == Some(0)),
            ];
            for (measure, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
                let key = format!("{section}.{kind}.{measure}");
                found.add(
                    &[&key],
                    format!(
                        "`{key}` is 0: nothing could ever run; leave it out for no ceiling, or make it more than 0"
                    ),
                );
            }
        }
    }
}

/// What a name was meant to be, or else all that are known.
fn guess_among(known: &[&str], name: &str) -> String {
    nearest(name, known.iter().copied()).map_or_else(
        || format!("there are {}", known.join(", ")),
        |guess| format!("did you mean `{guess}`?"),
    )
}

/// Why no file can be written at a path, as far as that is seen without making it.
fn why_not_writable(path: &Path) -> Option<String> {
    let shown = path.display();
    if path.is_dir() {
        return Some(format!("is the directory {shown}"));
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return None,
    };
    let needed = if path.exists() { path } else { parent };
    let access = rustix::fs::access(needed, Access::WRITE_OK);
    access
        .err()
        .map(|error| format!("is {shown}, which cannot be written ({}: {error})", needed.display()))
}

/// A network in CIDR notation, or one address.
pub fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[derive(Default)]
pub(super) struct Found(Vec<Problem>);

impl Found {
    pub(super) fn add(&mut self, keys: &[&str], text: String) {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        self.0.push(Problem { keys, text, origins: Vec::new() });
    }

    /// What was found.
    #[cfg(test)]
    pub(super) fn texts(&self) -> Vec<&str> {
        self.0.iter().map(|problem| &*problem.text).collect()
    }
}

#[cfg(test)]
mod tests;
