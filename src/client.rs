//! The commands that only speak to a server, whether it runs on this machine or on another.

pub(crate) mod card;
pub(crate) mod complete;
pub(crate) mod failure;
mod follow;
pub(crate) mod grants;
mod link;
mod list;
pub(crate) mod local;
mod markdown;
mod names;
pub(crate) mod operate;
mod outcome;
pub(crate) mod program;
pub(crate) mod report;
mod results;
pub(crate) mod send;
pub(crate) mod sessions;
mod table;
pub(crate) mod tasks;
pub(crate) mod terminal;
pub(crate) mod token;
pub(crate) mod usage;
pub(crate) mod watch;

/// Exit codes: how a task ended, and after `sysexits.h` what kept us from it.
pub mod exit {
    /// The agent failed; also: a check found problems.
    pub const FAILED: u8 = 1;
    /// The command line, or a request that the server refused, is wrong.
    pub const USAGE: u8 = 2;
    /// The task was canceled.
    pub const CANCELED: u8 = 3;
    /// The agent waits for an answer.
    pub const INPUT_REQUIRED: u8 = 4;
    /// The agent rejected the task.
    pub const REJECTED: u8 = 5;
    /// The agent waits for credentials.
    pub const AUTH_REQUIRED: u8 = 6;
    /// The server refuses for now: there is too much to do (`EX_TEMPFAIL`).
    pub const REFUSED_FOR_NOW: u8 = 75;
    /// The server does not take the token, or wants one (`EX_NOPERM`).
    pub const NOT_AUTHORISED: u8 = 77;
    /// Left by Ctrl-C (128 and the number of the signal).
    pub const INTERRUPTED: u8 = 130;
    /// Something outside failed (`EX_UNAVAILABLE`).
    pub const UNAVAILABLE: u8 = 69;
    /// The configuration cannot be used (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
}
