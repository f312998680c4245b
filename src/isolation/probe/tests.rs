//! The attacks are real: where there is no wall, those that need one to be stopped succeed.

use super::super::none::NoWall;
use super::*;
use crate::config::{self, Config, DriverKind};
use std::collections::BTreeSet;

/// What works for any user on any machine as long as there is no wall. What is left out depends on who runs
/// the tests (ptrace of a process that cannot be dumped, the host's disks) or on the kernel and its modules.
const REAL: &[&str] = &[];

async fn unconfined() -> Vec<Outcome> {
    let root = tempfile::tempdir().unwrap();
    let launcher = Launcher::start().unwrap();
    let config = Config {
        state_dir: root.path().join("state"),
        ..Config::default()
    };
    let agent = config::Agent::of(DriverKind::Command);
    let workspaces = Workspaces::new(&config, root.path(), &agent, &config.workspace).unwrap();
    let grants = Grants::default();
    let limits = SessionLimits::default();
    let probe = Probe {
        backend: &NoWall,
        launcher: &launcher,
        workspaces: &workspaces,
        state: root.path(),
        grants: &grants,
        groups: Err("not asked for"),
        limits: &limits,
        port: 0,
    };
    let canaries = Canaries::new(root.path()).unwrap();
    let session = Session::new(&workspaces).unwrap();
    probe.aimed(&canaries, &session).await.unwrap()
}

#[tokio::test]
async fn without_a_wall_the_attacks_succeed() {
    let outcomes = unconfined().await;
    let succeeded: BTreeSet<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.result == Try::Succeeded)
        .map(|outcome| outcome.name.as_str())
        .collect();
    let stopped: Vec<_> = REAL
        .iter()
        .filter(|name| !succeeded.contains(*name))
        .collect();
    assert!(stopped.is_empty(), "{stopped:?} in {outcomes:#?}");
    assert_eq!(succeeded, BTreeSet::new());
}
