//! No sandbox: an agent runs with the server's rights. What it still has is an environment of its own and a
//! supervisor.

use super::filter::Network;
use super::sandbox::Sandbox;
use super::users::Identity;
use super::{Around, Backend, Grants, Places};
use crate::isolation::BackendKind;
use crate::supervisor::{Confined, Spec};
use crate::workspace::{Folder, Workspaces};

/// Nothing is around the sessions.
pub(super) struct NoSandbox;

impl Backend for NoSandbox {
    fn kind(&self) -> BackendKind {
        BackendKind::None
    }

    fn places(&self, folder: &Folder) -> Places {
        Places::real(folder)
    }

    fn network(&self) -> Network {
        Network::Shared
    }

    fn identify(&self, _: &Workspaces, _: &Grants) -> Identity {
        Identity::Server
    }

    fn confine(&self, spec: Spec, around: &Around<'_>) -> Confined {
        let mut sandbox = Sandbox::default();
        if let Some(group) = around.group {
            sandbox.group(group);
        }
        sandbox.descriptor_limit(around.descriptors);
        Confined { spec, sandbox: sandbox.into_bytes(), inner: None, user: None }
    }
}
