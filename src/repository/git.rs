//! The server's own git: what it is told, and what it says.

use crate::config::Config;
use pilothouse_egress::GitRoute;
use pilothouse_sandbox::process::{Ended, Process};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

/// What is read of an answer of git's.
const PRINTED: u64 = 1 << 20;

/// What is kept of git's words on a failure.
const LAST_WORDS: usize = 2048;

/// Variables by which the server's own network is reached.
const NETWORK: [&str; 6] =
    ["http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"];

/// The pairs of variables by which git gets settings that are no arguments.
pub(super) fn git_config(settings: &[(String, String)]) -> Vec<(String, String)> {
    let mut env = vec![("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string())];
    for (number, (key, value)) in settings.iter().enumerate() {
        env.push((format!("GIT_CONFIG_KEY_{number}"), key.clone()));
        env.push((format!("GIT_CONFIG_VALUE_{number}"), value.clone()));
    }
    env
}

/// The environment of the server's git: nothing of this user's configuration, nobody who is asked, one protocol.
pub(super) fn own_environment(
    folder: &Path,
    scheme: &str,
    environment: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = [
        ("GIT_DIR", folder.to_string_lossy().into_owned()),
        ("GIT_CONFIG_GLOBAL", config_file(folder).to_string_lossy().into_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_ALLOW_PROTOCOL", scheme.to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("GIT_DEFAULT_REF_FORMAT", "files".to_owned()),
        ("LC_ALL", "C".to_owned()),
        ("HOME", "/nonexistent".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    for name in ["PATH"].into_iter().chain(NETWORK) {
        env.extend(given(name).map(|value| (name.to_owned(), value)));
    }
    for (name, ours) in [("SSL_CERT_FILE", "GIT_SSL_CAINFO"), ("SSL_CERT_DIR", "GIT_SSL_CAPATH")] {
        env.extend(given(name).map(|value| (ours.to_owned(), value)));
    }
    env
}

/// What the server's git does and does not do, and the credential that goes with this address.
pub(super) fn settings(config: &Config, url: &str) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        // Sessions of other users read it.
        ("core.sharedRepository", "0644"),
        // A clone may need what nothing here leads to any more.
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        // One pack for each fetch, so that its size is that of a file.
        ("fetch.unpackLimit", "1"),
        ("credential.helper", ""),
        // The credential is for this address alone.
        ("http.followRedirects", "false"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    let routes = config.egress.git.iter().filter_map(|entry| {
        let route =
            GitRoute::new(&entry.host, &entry.path, Some(&entry.user), &entry.token).ok()?;
        route.header_for(url)
    });
    if let Some((_, header)) = routes.max_by_key(|(steps, _)| *steps) {
        settings.push((format!("http.{url}.extraHeader"), header));
    }
    settings
}

/// The file beside a mirror that says which folders git may work in.
pub(super) fn config_file(folder: &Path) -> PathBuf {
    folder.with_extension("config")
}

/// A value of a configuration file of git's.
pub(super) fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Hears a git to its end: what it prints, and its last words.
pub(super) async fn hear(
    process: &mut Process,
    progress: &watch::Sender<String>,
) -> io::Result<(Ended, String, String)> {
    process.stdin = None;
    let mut printed = Vec::new();
    let (stdout, stderr) = (&mut process.stdout, &mut process.stderr);
    let reading = async {
        (&mut *stdout).take(PRINTED).read_to_end(&mut printed).await?;
        tokio::io::copy(stdout, &mut tokio::io::sink()).await
    };
    let (read, words) = tokio::join!(reading, hear_words(stderr, progress));
    read?;
    let ended = process.control.ended().await;
    Ok((ended, String::from_utf8_lossy(&printed).into_owned(), words?))
}

/// What git says to a person. Lines about how far it has come replace each other.
async fn hear_words(
    stderr: &mut (impl AsyncRead + Unpin),
    progress: &watch::Sender<String>,
) -> io::Result<String> {
    let (mut buffer, mut line, mut words) = ([0u8; 4096], Vec::new(), String::new());
    loop {
        let size = stderr.read(&mut buffer).await?;
        for &byte in &buffer[..size] {
            match byte {
                b'\r' | b'\n' => {
                    let said =
                        String::from_utf8_lossy(&std::mem::take(&mut line)).trim().to_owned();
                    if said.contains('%') {
                        progress.send_replace(said);
                    } else if !said.is_empty() {
                        if words.len() + said.len() > LAST_WORDS {
                            words.clear();
                        }
                        let between = if words.is_empty() { "" } else { "; " };
                        words += &format!("{between}{said}");
                    }
                }
                _ if line.len() < LAST_WORDS => line.push(byte),
                _ => {}
            }
        }
        if size == 0 {
            return Ok(words);
        }
    }
}

/// Removes what fetches left that were ended in the middle: half packs, and locks that nobody holds any more.
pub(super) fn remove_unfinished(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    while let Some(looked) = folders.pop() {
        for entry in fs::read_dir(&looked).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "lock")
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "could not remove a lock that an ended fetch left");
            }
        }
    }
    let entries = fs::read_dir(folder.join("objects/pack")).into_iter().flatten().flatten();
    let is_unfinished = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("tmp_");
    for entry in entries.filter(|entry| is_unfinished(&entry.file_name())) {
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "could not remove what an ended fetch left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::remove_unfinished;
    use std::fs;

    #[test]
    fn locks_and_half_packs_of_an_ended_fetch_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let left = ["packed-refs.lock", "refs/remotes/origin/HEAD.lock", "objects/pack/tmp_pack_a"];
        let kept = ["packed-refs", "refs/remotes/origin/HEAD", "objects/pack/pack-a.pack"];
        for name in left.iter().chain(&kept) {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), "").unwrap();
        }
        remove_unfinished(folder.path());
        assert!(left.iter().all(|name| !path(name).exists()));
        assert!(kept.iter().all(|name| path(name).exists()));
    }
}
