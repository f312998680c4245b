//! Starts a process confined, knows what that is worth, and ends it with all that it started.
//!
//! # How it works
//!
//! [`workspace`] makes the folders of a session. [`isolation`] makes of what is to be started something that starts
//! behind a sandbox, and says which guarantees hold, each because the attacks on it were tried. [`process`] starts it
//! through the launcher (`launcher/main.rs`, in the words of [`supervisor`]) and ends it. Nothing here knows the
//! protocol, the store, or the file in which all of this is configured.

pub mod disk;
pub mod isolation;
pub mod process;
pub mod supervisor;
pub mod workspace;
