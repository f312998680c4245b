//! No wall: an agent runs with the server's rights. What it still has is an environment of its own and a
//! supervisor.

use super::filter::Network;
use super::wall::Wall;
use super::{Around, Backend, Places};
use crate::config::BackendKind;
use crate::supervisor::{Confined, Spec};
use crate::workspace::Folder;

/// Nothing is around the sessions.
pub(super) struct NoWall;

impl Backend for NoWall {
    fn kind(&self) -> BackendKind {
        BackendKind::None
    }

    fn places(&self, folder: &Folder) -> Places {
        Places::real(folder)
    }

    fn network(&self) -> Network {
        Network::Shared
    }

    fn confine(&self, spec: Spec, around: &Around<'_>) -> Confined {
        let mut wall = Wall::default();
        if let Some(group) = around.group {
            wall.group(group);
        }
        wall.descriptor_limit(around.descriptors);
        Confined { spec, wall: wall.into_bytes(), inner: None }
    }
}
