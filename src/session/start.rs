//! Starting a process of a session behind its wall, and what is held as long as it lives.

use super::House;
use crate::agent::Agent;
use crate::isolation::{Group, Places};
use crate::process::{self, Prepared, Process};
use crate::supervisor::Spec;
use crate::workspace::Folder;

/// What belongs to a running process; given up with it.
pub(super) struct Held {
    /// Its control group; what is left in it is killed.
    _group: Option<Group>,
}

/// Starts a process of this agent, with paths as it finds them.
///
/// # Errors
///
/// When the program cannot be run, or its wall cannot be put up.
pub(super) async fn start(
    house: &House,
    agent: &Agent,
    folder: &Folder,
    prepared: Option<Prepared>,
    spec: impl FnOnce(&Places) -> Spec,
) -> Result<(Process, Held), process::Error> {
    let isolation = &house.isolation;
    let spec = spec(&isolation.places(folder));
    let walled = isolation.confine(spec, folder, &agent.grants)?;
    let process = match prepared {
        Some(prepared) => prepared.start(&walled.confined).await?,
        None => house.launcher.spawn(&walled.confined).await?,
    };
    let held = Held {
        _group: walled.group,
    };
    Ok((process, held))
}
