//! Descriptors: how many this process may open, and bounds of the configuration that fit in them.

use crate::config::Config;
use pilothouse_sandbox::isolation::BackendKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// For the store, logs, webhooks, and connections of sessions that have not shown a credential yet.
const OTHERS: u64 = 256;

/// Of one agent process: control socket, three pipes, its listener, its process, what its start needs, and the
/// folders that are open while the size of its session's is measured.
const PER_PROCESS: u64 = 20;

/// Of one connection through the proxy: to the agent, and to where it leads.
const PER_EGRESS: u64 = 2;

/// An agent cannot work with fewer connections through the proxy, so there are fewer agents instead.
const LEAST_EGRESS: u64 = 8;

/// The hard limit of this process.
pub fn hard_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit of this process to its hard limit.
pub fn raise() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Lowers the bounds of a configuration until they fit in so many descriptors; says what was lowered.
///
/// The limit of agents is lowered without a word to half of this: the kernel lets nobody send a descriptor while more
/// than the sender may open are in flight, of all processes of the user together. So agents cannot leave so many in
/// flight that the server, of the same user, could send none.
pub fn fit(config: &mut Config, most: u64) -> Option<String> {
    let files = &mut config.isolation.limits.files;
    *files = (most / 2).min(*files);
    let has_egress = config.isolation.backend != BackendKind::None;
    let needs = |connections: usize, processes: usize, egress: usize| {
        let of_process = PER_PROCESS + if has_egress { egress as u64 * PER_EGRESS } else { 0 };
        OTHERS + connections as u64 + processes as u64 * of_process
    };
    let (connections, processes, egress) =
        (config.limits.connections, config.processes.max, config.egress.connections);
    let needed = needs(connections, processes, egress);
    if needed <= most {
        return None;
    }
    let room = most - OTHERS.min(most / 2);
    let at_most =
        |value: usize, bound: u64| value.min(usize::try_from(bound).unwrap_or(value)).max(1);
    let least = LEAST_EGRESS.min(egress as u64) * PER_EGRESS;
    let of_process = PER_PROCESS + if has_egress { least } else { 0 };
    config.limits.connections = at_most(connections, room / 2);
    let of_caller = config.limits.connections_per_caller;
    config.limits.connections_per_caller = at_most(of_caller, room / 4);
    config.processes.max = at_most(processes, room / 2 / of_process);
    if has_egress {
        let (open, live) = (config.limits.connections as u64, config.processes.max as u64);
        let rest = room.saturating_sub(open + live * PER_PROCESS);
        config.egress.connections = at_most(egress, rest / live / PER_EGRESS);
    }
    let changes = [
        ("limits.connections", connections, config.limits.connections),
        ("limits.connections_per_caller", of_caller, config.limits.connections_per_caller),
        ("processes.max", processes, config.processes.max),
        ("egress.connections", egress, config.egress.connections),
    ];
    let changes = changes.iter().filter(|(_, before, after)| before != after);
    let changes: Vec<_> =
        changes.map(|(key, before, after)| format!("`{key}` {before} to {after}")).collect();
    Some(format!(
        "bounds are lowered to the {most} descriptors that this process may open: {}; they need {needed} (`ulimit -Hn`, \
         LimitNOFILE=, --ulimit nofile)",
        changes.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(config: &Config) -> u64 {
        let (processes, egress) = (config.processes.max as u64, config.egress.connections as u64);
        config.limits.connections as u64 + processes * (PER_PROCESS + egress * PER_EGRESS)
    }

    #[test]
    fn bounds_that_fit_are_left_alone() {
        let mut config = Config::default();
        assert_eq!(fit(&mut config, OTHERS + needed(&Config::default())), None);
        assert_eq!(config, Config::default());
    }

    #[test]
    fn bounds_are_lowered_until_they_fit_and_none_vanishes() {
        for most in [128, 256, 512, 1024, 4096, 20_000, 35_000] {
            let mut config = Config::default();
            assert!(fit(&mut config, most).is_some(), "{most}");
            assert!(needed(&config) + OTHERS.min(most / 2) <= most, "{most}: {}", needed(&config));
            let bounds =
                [config.limits.connections, config.processes.max, config.egress.connections];
            assert!(bounds.iter().all(|bound| *bound > 0), "{most}: {bounds:?}");
        }
    }

    #[test]
    fn agents_may_open_half_of_what_the_server_may_at_most() {
        for (most, left) in [(20_000, 8192), (10_000, 5000)] {
            let mut config = Config::default();
            fit(&mut config, most);
            assert_eq!(config.isolation.limits.files, left);
        }
    }

    #[test]
    fn what_was_lowered_is_said_with_its_keys() {
        let mut config = Config::default();
        insta::assert_snapshot!(fit(&mut config, 1024).unwrap(), @"bounds are lowered to the 1024 descriptors that this process may open: `limits.connections` 1024 to 384, `limits.connections_per_caller` 512 to 192, `processes.max` 64 to 10, `egress.connections` 256 to 9; they need 35328 (`ulimit -Hn`, LimitNOFILE=, --ulimit nofile)");
    }
}
