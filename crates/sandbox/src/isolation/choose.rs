//! Which sandbox: the strongest that gives what is required; if there is none, what is missing and why.

use super::bubblewrap::Bubblewrap;
use super::container::Containers;
use super::kernel::Kernel;
use super::landlock::Landlock;
use super::none::NoSandbox;
use super::probe::{Limited, Probe, WHOLE};
use super::promises::ATTACKS_OF_ROOT;
use super::settings::SandboxSettings;
use super::users::Identity;
use super::{
    Backend, BackendKind, Findings, Grants, Groups, Guarantee, Isolation, Network, Promise,
    SharedIsolation, When,
};
use crate::process::Launcher;
use crate::workspace::Workspaces;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where `bwrap` is looked for beside PATH.
const USUAL: &str = "/usr/bin:/usr/local/bin:/bin";

/// No sandbox gives what is required.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct Error {
    words: String,
    causes: Vec<String>,
    findings: Vec<Value>,
}

impl Error {
    fn of(refused: &[Refused], required: &[Guarantee], findings: Vec<Value>) -> Self {
        let causes = refused.iter().map(Refused::summarize).collect();
        Self { words: explain(refused, required), causes, findings }
    }

    /// Why the strongest sandbox cannot be had, in one line.
    pub fn first_cause(&self) -> &str {
        self.causes.first().map_or(&self.words, String::as_str)
    }

    /// What was found out about each backend that was tried.
    pub fn findings_json(&self) -> Value {
        Value::Array(self.findings.clone())
    }
}

/// A backend, tried out.
struct Candidate {
    backend: Box<dyn Backend>,
    findings: Findings,
    /// Who the processes of each agent are.
    identities: BTreeMap<Arc<str>, Identity>,
}

/// One that cannot serve, and why.
struct Refused {
    kind: BackendKind,
    /// Guarantees that it does not give, each with the cause; or what keeps it from working at all.
    missing: Vec<(Guarantee, String)>,
    cause: Option<String>,
    /// Why an agent is root, where one is and something is missing for that alone.
    why_root: Option<String>,
    /// What is missing whoever agents are.
    missing_anyway: Vec<Guarantee>,
}

impl Refused {
    /// Why it cannot serve, in one line.
    fn summarize(&self) -> String {
        let missing = || list(&self.missing.iter().map(|(lost, _)| *lost).collect::<Vec<_>>());
        let cause = self.cause.clone().unwrap_or_else(|| format!("it does not give {}", missing()));
        format!("{}: {cause}", self.kind.as_str())
    }

    /// Whether a backend gives what is required; where it does not, what is missing and why.
    fn judge(
        (kind, network): (BackendKind, Network),
        required: &[Guarantee],
        findings: &Findings,
        why_root: Option<&str>,
    ) -> Option<Self> {
        let explain = |guarantee: Guarantee| {
            let why = findings.why_not(guarantee)?;
            let given = Promise::of(guarantee).backends.given(kind);
            let reason = given.explain(&findings.succeeded(guarantee, network));
            Some(match reason.filter(|reason| *reason != why) {
                Some(reason) => format!("{reason} ({why})"),
                None => why.to_owned(),
            })
        };
        let missing: Vec<_> =
            required.iter().filter_map(|&one| Some((one, explain(one)?))).collect();
        // The attacks on each that is missing which succeeded: those that root alone can make, and all.
        let count = |guarantee: Guarantee| {
            let succeeded = findings.succeeded(guarantee, network);
            let of_root = succeeded.iter().filter(|name| ATTACKS_OF_ROOT.contains(name)).count();
            (of_root, succeeded.len())
        };
        let counts: Vec<_> = missing.iter().map(|(one, _)| (*one, count(*one))).collect();
        let why_root = why_root.filter(|_| counts.iter().any(|(_, (of_root, _))| *of_root > 0));
        let why_root = why_root.map(ToOwned::to_owned);
        let anyway = counts.iter().filter(|(_, (of_root, all))| *of_root == 0 || of_root < all);
        let missing_anyway = anyway.map(|(one, _)| *one).collect();
        let is_refused = !missing.is_empty();
        is_refused.then_some(Self { kind, missing, cause: None, why_root, missing_anyway })
    }
}

/// What agents need of a sandbox, as the start has found it out.
pub struct Needs<'a> {
    /// Where the session works that the attacks are made from, unless some agent is root.
    pub workspaces: &'a Workspaces,
    /// What every agent is granted.
    pub grants: &'a Grants,
    /// Why a sandbox without covers cannot serve, if it cannot.
    pub uncovered: Option<&'a str>,
    /// Each agent that is served.
    pub agents: Vec<AgentNeeds<'a>>,
}

/// What one agent needs of a sandbox.
pub struct AgentNeeds<'a> {
    /// Its key in the configuration.
    pub key: &'a Arc<str>,
    /// Where its sessions work.
    pub workspaces: &'a Workspaces,
    /// What it was granted.
    pub grants: &'a Grants,
}

/// Takes the strongest sandbox that gives what is required. A program of `environment`'s PATH may be started outside of
/// a sandbox.
///
/// # Errors
///
/// When none does: what is missing, why, what to do, and which key accepts less.
pub async fn choose(
    settings: &SandboxSettings,
    launcher: &Launcher,
    kernel: Kernel,
    needs: &Needs<'_>,
    environment: &BTreeMap<String, String>,
    port: u16,
    when: When,
) -> Result<Isolation, Error> {
    let kinds: &[BackendKind] = match settings.backend {
        BackendKind::Auto => &[BackendKind::Bubblewrap, BackendKind::Landlock],
        BackendKind::Bubblewrap => &[BackendKind::Bubblewrap],
        BackendKind::Landlock => &[BackendKind::Landlock],
        BackendKind::Container => &[BackendKind::Container],
        BackendKind::None => &[BackendKind::None],
    };
    let required = &*settings.require;
    let in_container = settings.backend == BackendKind::Container;
    let groups = if in_container {
        Err("the engine makes the control groups".to_owned())
    } else {
        Groups::find(&settings.limits, launcher.pid())
    };
    let (mut refused, mut found) = (Vec::new(), Vec::new());
    for &kind in kinds {
        let made = match needs.uncovered.filter(|_| kind == BackendKind::Landlock) {
            Some(why) => Err(why.to_owned()),
            None => make(kind, settings, environment, launcher, kernel).await,
        };
        let candidate = match made {
            Ok(backend) => {
                let identify =
                    |agent: &AgentNeeds<'_>| backend.identify(agent.workspaces, agent.grants);
                let agents = needs.agents.iter();
                let identities: BTreeMap<_, _> =
                    agents.map(|agent| (agent.key.clone(), identify(agent))).collect();
                // Where an agent is root, others may have users of their own: what root can do is what counts. It
                // could do nothing in the workspace of another user.
                let root = needs.agents.iter().find_map(|agent| {
                    let identity = &identities[agent.key];
                    identity.why_root().map(|_| (identity.clone(), agent.workspaces))
                });
                let (identity, workspaces) = root.unwrap_or_else(|| {
                    (backend.identify(needs.workspaces, needs.grants), needs.workspaces)
                });
                let probe = Probe {
                    identity,
                    backend: &*backend,
                    is_aimed: kind != BackendKind::None,
                    launcher,
                    workspaces,
                    state: &settings.state_dir,
                    grants: needs.grants,
                    groups: match (&groups, in_container) {
                        (Ok(groups), _) => Limited::Here(groups),
                        (Err(_), true) => Limited::ByEngine,
                        (Err(why), false) => Limited::No(why),
                    },
                    limits: &settings.limits,
                    when,
                    deadline: WHOLE,
                };
                let found = probe.run().await;
                backend.clear().await;
                match found {
                    Ok(findings) => Ok(Candidate { backend, findings, identities }),
                    Err(failed) => Err(advise(kind, &failed.to_string())),
                }
            }
            Err(cause) => Err(cause),
        };
        match candidate {
            Err(cause) => refused.push(Refused {
                kind,
                missing: Vec::new(),
                cause: Some(cause),
                why_root: None,
                missing_anyway: Vec::new(),
            }),
            Ok(Candidate { backend, findings, identities }) => {
                let why_root = identities.values().find_map(Identity::why_root);
                let place = (kind, backend.network());
                let Some(lacking) = Refused::judge(place, required, &findings, why_root) else {
                    return Ok(Isolation(Arc::new(SharedIsolation {
                        backend,
                        findings,
                        identities,
                        groups: groups.ok(),
                        tmp: settings.limits.tmp,
                        shm: settings.limits.shm,
                        file: settings.limits.disk,
                        descriptors: settings.limits.files,
                        port,
                    })));
                };
                found.push(findings.json(kind));
                refused.push(lacking);
            }
        }
    }
    Err(Error::of(&refused, required, found))
}

async fn make(
    kind: BackendKind,
    settings: &SandboxSettings,
    environment: &BTreeMap<String, String>,
    launcher: &Launcher,
    kernel: Kernel,
) -> Result<Box<dyn Backend>, String> {
    match kind {
        BackendKind::None | BackendKind::Auto => Ok(Box::new(NoSandbox)),
        BackendKind::Landlock if kernel.landlock == 0 => Err(
            "this kernel has no Landlock, or a filter of system calls hides it; it came with Linux 5.13 and is \
             switched on by `lsm=landlock,...` on the kernel's command line"
                .to_owned(),
        ),
        BackendKind::Landlock => Ok(Box::new(Landlock::new(kernel, settings.uids))),
        BackendKind::Bubblewrap => {
            let path = environment.get("PATH").map_or("", String::as_str);
            let program = find_bwrap(path).ok_or(
                "the program `bwrap` is not there; install the package bubblewrap (0.8 or newer)",
            )?;
            let folder = settings.state_dir.join("inside");
            let backend = Bubblewrap::new(program, &folder, kernel.landlock, settings.uids)
                .map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
            Ok(Box::new(backend))
        }
        BackendKind::Container => {
            let backend = Containers::new(settings, environment, launcher).await?;
            Ok(Box::new(backend))
        }
    }
}

fn find_bwrap(path: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .chain(std::env::split_paths(USUAL))
        .map(|folder| folder.join("bwrap"))
        .find(|candidate| candidate.is_absolute() && candidate.is_file())
}

/// What is behind the words of a program that could not make its namespaces.
fn advise(kind: BackendKind, words: &str) -> String {
    if kind != BackendKind::Bubblewrap {
        return words.to_owned();
    }
    let number = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let advice = if number("/proc/sys/user/max_user_namespaces") == Some(0) {
        "user namespaces are off: set `sysctl user.max_user_namespaces` above 0"
    } else if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        "user namespaces are for root alone: set `sysctl kernel.unprivileged_userns_clone=1`"
    } else if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        "AppArmor keeps user namespaces from programs without a profile: install the profile in deploy/apparmor \
         (in a release: apparmor), whose first lines say how, or set \
         `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    } else if Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() {
        "inside a container the engine's filter keeps new namespaces away; landlock works there"
    } else if words.contains("Unknown option") {
        "install a newer bubblewrap (0.8 or newer)"
    } else {
        "something keeps new namespaces away: a filter of system calls, or a security module"
    };
    format!("{words}; {advice}")
}

/// The whole story, for the operator.
fn explain(refused: &[Refused], required: &[Guarantee]) -> String {
    let mut text = "no isolation gives what `isolation.require` asks for:\n".to_owned();
    for one in refused {
        let kind = one.kind.as_str();
        if let Some(cause) = &one.cause {
            let _ = writeln!(text, "  {kind}: {cause}");
        }
        for (guarantee, why) in &one.missing {
            let _ = writeln!(text, "  {kind}: does not give `{guarantee}`: {why}");
        }
        if let Some(why) = &one.why_root {
            let _ = writeln!(
                text,
                "  {kind}: agents are root ({why}); change that, or run the server as an ordinary user; then {}",
                match &*one.missing_anyway {
                    [] => "it lacks nothing that is required".to_owned(),
                    anyway =>
                        format!("it lacks only {}: {}", list(anyway), accept(required, anyway)),
                }
            );
        }
    }
    // The one that lacks least.
    let nearest =
        refused.iter().filter(|one| one.cause.is_none()).min_by_key(|one| one.missing.len());
    if let Some(one) = nearest {
        let lost: Vec<Guarantee> = one.missing.iter().map(|(lost, _)| *lost).collect();
        let _ = writeln!(
            text,
            "to accept less, without {}, by {}: {}",
            list(&lost),
            one.kind.as_str(),
            accept(required, &lost),
        );
    }
    text.push_str("to run without a sandbox: `isolation.backend: none` (--isolation none)");
    text
}

fn list(guarantees: &[Guarantee]) -> String {
    guarantees.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ")
}

/// The line of the configuration that does without these guarantees.
fn accept(required: &[Guarantee], lost: &[Guarantee]) -> String {
    let left: Vec<_> = required.iter().copied().filter(|wanted| !lost.contains(wanted)).collect();
    format!("`isolation.require: [{}]`", list(&left))
}

#[cfg(test)]
mod tests {
    use super::super::findings::{Outcome, states};
    use super::*;

    /// What the operator is told of a sandbox in which these attacks on `fs.write` succeed.
    fn told(kind: BackendKind, succeeding: &[&str]) -> String {
        let network = match kind {
            BackendKind::Landlock => Network::Shared,
            _ => Network::Own,
        };
        let attacks = Promise::of(Guarantee::FsWrite).attacks();
        let outcomes: Vec<Outcome> = attacks
            .map(|attack| Outcome::of(attack.name, !succeeding.contains(&attack.name)))
            .collect();
        let findings = Findings { states: states(&outcomes, kind, network), outcomes };
        let required = [Guarantee::FsWrite];
        let why_root = Some("`isolation.uids.count` is 0");
        let refused = Refused::judge((kind, network), &required, &findings, why_root).unwrap();
        let text = explain(&[refused], &required);
        let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_reason_of_a_missing_guarantee_is_that_of_the_attacks_that_succeeded() {
        insta::assert_snapshot!(told(BackendKind::Landlock, &["files.truncate"]), @"landlock: does not give `fs.write`: Landlock rules the truncation of files since its version 3 (Linux 6.2), and no modes: an agent that is root may change those of devices; where the server is root, agents have users of their own unless something that they were granted, or a folder above it, is for root alone (attacks succeeded: files.truncate)");
        insta::assert_snapshot!(told(BackendKind::Landlock, &["files.truncate", "own.write"]), @"landlock: does not give `fs.write`: attacks succeeded: files.truncate, own.write");
        insta::assert_snapshot!(told(BackendKind::Container, &["own.write"]), @"container: does not give `fs.write`: attacks succeeded: own.write");
    }

    #[test]
    fn that_agents_are_root_is_told_where_an_attack_of_root_succeeded() {
        insta::assert_snapshot!(told(BackendKind::Bubblewrap, &["files.unlink"]), @"bubblewrap: does not give `fs.write`: attacks succeeded: files.unlink");
        insta::assert_snapshot!(told(BackendKind::Bubblewrap, &["files.devices"]), @r"
        bubblewrap: does not give `fs.write`: attacks succeeded: files.devices
        bubblewrap: agents are root (`isolation.uids.count` is 0); change that, or run the server as an ordinary user; then it lacks nothing that is required
        ");
    }
}
