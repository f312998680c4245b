//! What the kernel offers for a sandbox, told by a program that asks it.

use crate::process::{Ended, Launcher};
use crate::supervisor::{ABI, Confined, LAUNCHER_PROGRAM, Spec};
use std::time::Duration;

/// The bit of the answer that says that supervisors can connect for agents; below it is Landlock's version.
const NOTIFIES: u32 = 64;

/// How long the answer may take: a start must not hang on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kernel {
    /// The version of Landlock; 0 where there is none.
    pub(super) landlock: u32,
    /// Whether a supervisor can be notified of `connect` and read where its agent wants to.
    pub(super) notifies: bool,
}

impl Kernel {
    /// Asks where this launcher is; nothing is there where no answer comes.
    pub async fn ask(launcher: &Launcher) -> Self {
        let spec = Spec {
            program: LAUNCHER_PROGRAM.to_owned(),
            args: vec![ABI.to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
        };
        let asking = async {
            let mut process = launcher.spawn(&Confined::from(spec)).await.ok()?;
            Some(process.control.ended().await)
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Some(Ended::Code(code))) => {
                let code = u32::try_from(code).unwrap_or(0);
                Self { landlock: code % NOTIFIES, notifies: code & NOTIFIES != 0 }
            }
            Ok(Some(Ended::Signal(_) | Ended::Unclear) | None) => Self::default(),
            Err(_) => {
                tracing::warn!(
                    "the kernel could not be asked for Landlock within {PATIENCE:?}; it counts as missing"
                );
                Self::default()
            }
        }
    }
}
