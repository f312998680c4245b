//! `pilothouse sessions pull`: a session's branch, in the repository that the person stands in.
//!
//! The server sends a bundle, and the person's own git fetches from it: only that branch, and only forwards.

use crate::client::exit;
use crate::client::failure::Failure;
use crate::client::local::{Server, escape};
use crate::client::names::find_session;
use crate::client::terminal::clean_line;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Bytes of a bundle that are taken, whatever the server sends.
const LARGEST: u64 = 10 << 30;

/// A file that is gone when this is.
struct BundleFile(PathBuf);

impl Drop for BundleFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Brings the branch over; the exit code.
pub(super) async fn run(id: &str, server: &Server) -> Result<u8, Failure> {
    let (server, session) = &find_session(server, id).await?;
    let text = |path: &str| session.pointer(path).and_then(Value::as_str);
    let branch = text("/checkout/branch").filter(|branch| is_own(branch));
    let branch = branch.ok_or_else(|| Failure::usage("the session is no clone of a repository"))?;
    let folder = ask_git(&["rev-parse", "--absolute-git-dir"])
        .ok_or_else(|| Failure::usage("this is no git repository; go to yours, and try again"))?;
    let file = PathBuf::from(folder).join(format!("{}.bundle", branch.replace('/', "-")));
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&file);
    let file = BundleFile(file);
    let failed = |error| {
        Failure::new(exit::UNAVAILABLE, format!("cannot write {}: {error}", file.0.display()))
    };
    let mut opened: File = opened.map_err(failed)?;
    let path = format!("/api/v1/sessions/{}/bundle", escape(text("/id").unwrap_or(id)));
    let mut response = server.open(&path, &json!({})).await?;
    let mut left = LARGEST;
    while let Some(piece) = response.chunk().await.map_err(|error| server.unreachable(&error))? {
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
            let words = format!("the bundle of {branch} is larger than {} GiB", LARGEST >> 30);
            Failure::new(exit::UNAVAILABLE, words)
        })?;
        opened.write_all(&piece).map_err(failed)?;
    }
    let refspec = format!("refs/heads/{branch}:refs/heads/{branch}");
    let mut git = Command::new("git");
    git.args([
        "-c",
        "fetch.fsckObjects=true",
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
    ]);
    let status = git.arg(&file.0).arg(refspec).status();
    let status = status
        .map_err(|error| Failure::new(exit::UNAVAILABLE, format!("cannot start git: {error}")))?;
    if !status.success() {
        // The bundle is here; what git refuses is up to this repository.
        return Err(Failure::usage(format!("git did not fetch the branch {branch}")));
    }
    writeln!(std::io::stdout(), "{branch}")?;
    // The server need not keep the session for what is here now.
    if let Some(commit) = ask_git(&["rev-parse", &format!("refs/heads/{branch}")]) {
        let path = format!("/api/v1/sessions/{}/saved", escape(text("/id").unwrap_or(id)));
        if let Err(failure) = server.open(&path, &json!({"commit": commit})).await {
            let why = clean_line(&failure.message);
            eprintln!("pilothouse: the server was not told that these commits are saved: {why}");
        }
    }
    Ok(0)
}

/// Whether a branch has the form of a session's own: the server names it, and git takes it as an argument.
fn is_own(branch: &str) -> bool {
    let name = branch.strip_prefix("pilothouse/");
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What git prints; none where it fails.
fn ask_git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
