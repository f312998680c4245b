//! What the kernel offers for a wall, told by a program that asks it.

use crate::process::{Ended, Launcher};
use crate::supervisor::{ABI, Confined, LAUNCHER_PROGRAM, Spec};

/// The bit of the answer that says that supervisors can connect for agents; below it is Landlock's version.
const NOTIFIES: u32 = 64;

/// What there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    /// The version of Landlock; 0 where there is none.
    pub(super) landlock: u32,
    /// Whether a supervisor can be notified of `connect` and read where its agent wants to.
    pub(super) notifies: bool,
}

impl Kernel {
    /// Asks where this launcher is; nothing is there where no answer comes.
    pub(super) async fn ask(launcher: &Launcher) -> Self {
        let spec = Spec {
            program: LAUNCHER_PROGRAM.to_owned(),
            args: vec![ABI.to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
        };
        let Ok(mut process) = launcher.spawn(&Confined::from(spec)).await else {
            return Self::default();
        };
        match process.control.ended().await {
            Ended::Code(code) => {
                let code = u32::try_from(code).unwrap_or(0);
                Self { landlock: code % NOTIFIES, notifies: code & NOTIFIES != 0 }
            }
            Ended::Signal(_) | Ended::Unclear => Self::default(),
        }
    }
}
