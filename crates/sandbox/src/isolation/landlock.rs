//! Rules of the kernel on the agent's own process: no privileges are needed to put them up, so this is the
//! sandbox inside of containers and pods.
//!
//! # Pitfalls
//!
//! Landlock does not restrict what `/proc` shows of other processes, nor `stat`, `chmod` and their like:
//! `docs/isolation.md` has what that means.
//!
//! Agents find files by their real paths. Where they have users of their own, the folders above sessions let these
//! pass (`Users::identify_by_paths`).
//!
//! It rules TCP by port alone, at whatever address the port is. So it lets no connection through, and the supervisor
//! makes those to our proxy (`launcher/connect.rs`). Where the kernel does not notify it, the proxy's port is open at
//! every address: the probe finds that out, and `net.egress` and `net.loopback` are not promised. The proxy asks for
//! the session's own credentials either way, because loopback is everybody's.

use super::filter::{Connecting, Network, filter};
use super::kernel::Kernel;
use super::sandbox::{Place, Ports, Rules, Sandbox};
use super::users::{Identity, Users};
use super::{Around, Backend, Grants, Places};
use crate::isolation::{BackendKind, Uids};
use crate::supervisor::{Confined, FIRST_ALONG, OWN_PROGRAM, Spec};
use crate::workspace::{Folder, Workspaces};
use std::path::Path;

/// Further files of the system that agents read by this backend, because the root is the machine's own.
const ALSO: [&str; 6] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];

const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// What is around every session.
pub(super) struct Landlock {
    kernel: Kernel,
    users: Users,
}

impl Landlock {
    /// With what this kernel offers, and these numbers of users where the server is root.
    pub(super) fn new(kernel: Kernel, uids: Uids) -> Self {
        Self { kernel, users: Users::find(uids) }
    }
}

impl Backend for Landlock {
    fn kind(&self) -> BackendKind {
        BackendKind::Landlock
    }

    fn places(&self, folder: &Folder) -> Places {
        Places::real(folder)
    }

    fn network(&self) -> Network {
        Network::Shared
    }

    fn identify(&self, workspaces: &Workspaces, grants: &Grants) -> Identity {
        self.users.identify_by_paths(workspaces, grants)
    }

    fn confine(&self, spec: Spec, around: &Around<'_>) -> Confined {
        let places = |paths: &[&str]| -> Vec<Place> {
            let paths = paths.iter();
            paths.filter_map(|path| Place::of(Path::new(path))).collect()
        };
        let mut rules = Rules {
            devices: places(&DEVICES),
            ports: if self.kernel.notifies { Ports::None } else { Ports::One(around.port) },
            ..Rules::default()
        };
        rules.read.extend(places(&ALSO));
        rules.read.extend(around.grants.system.iter().filter_map(|path| Place::of(path)));
        let read = around.grants.read.keys();
        rules.read.extend(read.filter_map(|path| Place::of(path)));
        if spec.program == OWN_PROGRAM {
            let along = format!("/proc/self/fd/{FIRST_ALONG}");
            rules.read.push(Place::file(along));
        }
        let write = around.grants.write.keys();
        rules.write.extend(write.filter_map(|path| Place::of(path)));
        rules.write.extend([
            Place::folder(around.folder.workspace_text()),
            Place::folder(around.folder.home_text()),
        ]);
        let mut sandbox = Sandbox::default();
        if let Some(group) = around.group {
            sandbox.group(group);
        }
        sandbox.file_limit(around.file);
        // The paths of the rules are opened by the server's user, so what an agent has closed to itself stops none.
        sandbox.no_new_privileges();
        sandbox.landlock(self.kernel.landlock, &rules);
        match (around.user, self.users.group()) {
            (None, _) => sandbox.no_capabilities(),
            (Some(user), None) => sandbox.become_user(user),
            (Some(user), Some(group)) => sandbox.become_user_in(user, group),
        };
        if self.kernel.notifies {
            let filter = filter(Network::Shared, Connecting::Supervisor);
            sandbox.connecting_filter(around.port, &filter);
        } else {
            sandbox.filter(&filter(Network::Shared, Connecting::Process));
        }
        sandbox.descriptor_limit(around.descriptors);
        Confined { spec, sandbox: sandbox.into_bytes(), inner: None, user: around.user }
    }
}
