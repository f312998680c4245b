//! Tokens as they are made: the one of the state folder, and those of the store.

use super::digest;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A token and how it came about.
#[derive(Debug)]
pub enum Token {
    /// The configuration names it.
    Configured(String),
    /// It stood in the state folder.
    Kept(String),
    /// It was made just now; kept in this file, or nowhere.
    Made(String, Option<std::path::PathBuf>),
}

impl Token {
    /// The token itself.
    pub fn secret(&self) -> &str {
        match self {
            Self::Configured(token) | Self::Kept(token) | Self::Made(token, _) => token,
        }
    }

    /// The token of the configuration, else the one kept in `file`, else a new one that is kept there.
    pub fn find(configured: Option<&str>, file: Option<&Path>) -> io::Result<Self> {
        if let Some(token) = configured {
            return Ok(Self::Configured(token.to_owned()));
        }
        if let Some(file) = file
            && let Ok(kept) = std::fs::read_to_string(file)
            && !kept.trim().is_empty()
        {
            return Ok(Self::Kept(kept.trim().to_owned()));
        }
        let token = random_hex::<24>()?;
        if let Some(file) = file {
            let mut kept = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(file)?;
            // An empty file left by somebody else may be open to others.
            kept.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            kept.write_all(format!("{token}\n").as_bytes())?;
        }
        Ok(Self::Made(token, file.map(Path::to_path_buf)))
    }
}

/// Random bytes as hexadecimal digits.
fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut random = [0u8; BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A new secret of a link, and its hash.
pub fn new_link() -> io::Result<(String, [u8; 32])> {
    let secret = random_hex::<24>()?;
    let hash = digest(&secret);
    Ok((secret, hash))
}

/// A new token of the store: its id of so many digits, itself, and its hash.
pub fn new_secret(digits: usize) -> io::Result<(String, String, [u8; 32])> {
    let mut id = random_hex::<16>()?;
    id.truncate(digits);
    let token = format!("ph_{}", random_hex::<24>()?);
    let hash = digest(&token);
    Ok((id, token, hash))
}
