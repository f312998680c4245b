//! The folder of a revision while it is made: what is put there, within bounds, and the digest of all of it.

use crate::config::CopyLimits;
use crate::plain_file;
use pilothouse_sandbox::workspace::Allowance;
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names that are no part of what a folder declares.
const LEFT_OUT: [&str; 2] = [".git", ".DS_Store"];

/// A folder in the making; what is put there counts for its digest.
pub(super) struct RevisionTree {
    root: PathBuf,
    allowance: Allowance,
    seen: Sha256,
    /// Names and values of what no file may hold.
    secrets: Vec<(String, String)>,
}

/// Bytes that a value has at least before a file that holds it is taken for a leak.
const SHORTEST_SECRET: usize = 8;

impl RevisionTree {
    /// An empty folder at this path, with nothing of an earlier try in it.
    pub(super) fn begin(root: &Path, limits: &CopyLimits) -> io::Result<Self> {
        match fs::remove_dir_all(root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make_folder(root)?;
        Ok(Self::over(root, limits))
    }

    /// A folder that is there already, to which more is added.
    pub(super) fn over(root: &Path, limits: &CopyLimits) -> Self {
        Self {
            root: root.to_owned(),
            allowance: Allowance::new(limits.plain()),
            seen: Sha256::new(),
            secrets: Vec::new(),
        }
    }

    /// Refuses files that hold one of these values.
    pub(super) fn refuse(&mut self, secrets: &[(String, String)]) {
        let long = secrets.iter().filter(|(_, value)| value.len() >= SHORTEST_SECRET);
        self.secrets = long.cloned().collect();
    }

    /// Copies what a sandbox has left in a HOME there. Links stay links and are not followed: they are the agents'.
    /// What works only while its process lives is left out.
    pub(super) fn copy_home(&mut self, from: &Path, place: &str) -> io::Result<()> {
        self.copy_entries(from, place, 0)
    }

    fn copy_entries(&mut self, from: &Path, place: &str, depth: usize) -> io::Result<()> {
        self.allowance.check_depth(depth)?;
        make_folder(&self.root.join(place))?;
        for entry in fs::read_dir(from).map_err(|error| named(from, &error))? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(io::Error::other(format!(
                    "{} holds a name that is not UTF-8",
                    from.display()
                )));
            };
            self.refuse_secret("a name", place, name.as_bytes())?;
            let above = place;
            let place = format!("{place}/{name}");
            self.allowance.take_entry()?;
            if kind.is_dir() {
                self.copy_entries(&path, &place, depth + 1)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path)?;
                self.refuse_secret("a link", above, target.as_os_str().as_encoded_bytes())?;
                std::os::unix::fs::symlink(target, self.root.join(&place))?;
            } else if kind.is_file() {
                let mut file = plain_file::open(&path).map_err(|error| named(&path, &error))?;
                let mode = file.metadata()?.mode() & 0o777 | 0o600;
                self.put(&place, &mut file, mode)?;
            }
        }
        Ok(())
    }

    /// Refuses a name or a link in this folder that holds a secret.
    fn refuse_secret(&self, what: &str, folder: &str, text: &[u8]) -> io::Result<()> {
        match SecretSearch::new(&self.secrets).find(text) {
            Some(name) => Err(io::Error::other(format!(
                "{what} in {folder} holds the value of {name} (`setup.secrets`)"
            ))),
            None => Ok(()),
        }
    }

    /// The digest of all that was put there, and of these words.
    pub(super) fn digest(&self, words: &str) -> String {
        let mut seen = self.seen.clone();
        seen.update(words);
        let digest = format!("{:x}", seen.finalize());
        digest[..16].to_owned()
    }

    /// Whether there is something at this place already.
    pub(super) fn has(&self, place: &str) -> bool {
        self.root.join(place).symlink_metadata().is_ok()
    }

    /// The path of a place.
    #[cfg(test)]
    fn path(&self, place: &str) -> PathBuf {
        self.root.join(place)
    }

    /// Puts a file with this text there.
    pub(super) fn write(&mut self, place: &str, text: &[u8]) -> io::Result<()> {
        self.put(place, &mut &*text, 0o644)
    }

    /// Copies a file or a folder there. Links are followed where they lead to something in the same folder.
    pub(super) fn copy(&mut self, from: &Path, place: &str) -> io::Result<()> {
        let whole = fs::canonicalize(from)?;
        self.copy_below(&whole, &whole, place, 0)
    }

    fn copy_below(
        &mut self,
        from: &Path,
        whole: &Path,
        place: &str,
        depth: usize,
    ) -> io::Result<()> {
        let real = fs::canonicalize(from).map_err(|error| named(from, &error))?;
        if !real.starts_with(whole) {
            let words =
                format!("{} is a link that leads out of {}", from.display(), whole.display());
            return Err(io::Error::other(words));
        }
        let found = fs::metadata(&real)?;
        if !found.is_dir() {
            if !found.is_file() {
                return Err(io::Error::other(format!("{} is no file", from.display())));
            }
            let is_program = found.mode() & 0o111 != 0;
            let mut file = plain_file::open(&real).map_err(|error| named(from, &error))?;
            return self.put(place, &mut file, if is_program { 0o755 } else { 0o644 });
        }
        self.allowance.check_depth(depth)?;
        make_folder(&self.root.join(place))?;
        let entries = fs::read_dir(&real).map_err(|error| named(from, &error))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else {
                let words = format!("{} holds a name that is not UTF-8", from.display());
                return Err(io::Error::other(words));
            };
            // A mounted map of Kubernetes keeps its versions in `..data` and `..TIME`, beside links into them.
            if !name.starts_with("..") && !LEFT_OUT.contains(&name) {
                self.allowance.take_entry()?;
                names.push(name.to_owned());
            }
        }
        names.sort();
        for name in names {
            self.copy_below(&from.join(&name), whole, &format!("{place}/{name}"), depth + 1)?;
        }
        Ok(())
    }

    fn put(&mut self, place: &str, from: &mut dyn Read, mode: u32) -> io::Result<()> {
        let path = self.root.join(place);
        path.parent().map_or(Ok(()), make_folder)?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path)?;
        self.seen.update((place.len() as u64).to_le_bytes());
        self.seen.update(place);
        self.seen.update([u8::from(mode & 0o111 != 0)]);
        let mut content = Sha256::new();
        let mut chunk = vec![0; 64 * 1024];
        let mut leaks = SecretSearch::new(&self.secrets);
        loop {
            let length = from.read(&mut chunk)?;
            if length == 0 {
                break;
            }
            self.allowance.take_bytes(length as u64)?;
            if let Some(name) = leaks.find(&chunk[..length]) {
                let words = format!("{place} holds the value of {name} (`setup.secrets`)");
                return Err(io::Error::other(words));
            }
            content.update(&chunk[..length]);
            file.write_all(&chunk[..length])?;
        }
        self.seen.update(content.finalize());
        // Whatever the server's umask is: agents may have users of their own.
        file.set_permissions(fs::Permissions::from_mode(mode))
    }
}

/// Looks for secrets in a file that is read piece by piece.
struct SecretSearch<'a> {
    secrets: &'a [(String, String)],
    /// The end of the last piece, in which one may have begun.
    kept: Vec<u8>,
    longest: usize,
}

impl<'a> SecretSearch<'a> {
    fn new(secrets: &'a [(String, String)]) -> Self {
        let longest = secrets.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        Self { secrets, kept: Vec::new(), longest }
    }

    /// The name of a secret that has come to its end in this piece.
    fn find(&mut self, piece: &[u8]) -> Option<&'a str> {
        if self.secrets.is_empty() {
            return None;
        }
        self.kept.extend_from_slice(piece);
        let holds = |value: &str| memchr::memmem::find(&self.kept, value.as_bytes()).is_some();
        let found = self.secrets.iter().find(|(_, value)| holds(value));
        self.kept.drain(..self.kept.len().saturating_sub(self.longest - 1));
        found.map(|(name, _)| name.as_str())
    }
}

/// Makes a folder, and those above it, that agents can read whoever they are.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), make_folder)?;
    match DirBuilder::new().mode(0o755).create(path) {
        // Another process builds, too.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(root: &Path) -> RevisionTree {
        RevisionTree::begin(&root.join("made"), &CopyLimits::default()).unwrap()
    }

    #[test]
    fn the_same_files_have_the_same_digest_and_a_change_has_another() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir_all(from.join("below")).unwrap();
        fs::write(from.join("below/a"), "a").unwrap();
        fs::write(from.join("b"), "b").unwrap();
        let digest = || {
            let mut tree = tree(root.path());
            tree.copy(&from, "skills/one").unwrap();
            tree.digest("")
        };
        let first = digest();
        assert_eq!(digest(), first);
        fs::set_permissions(from.join("b"), fs::Permissions::from_mode(0o755)).unwrap();
        let second = digest();
        assert_ne!(second, first);
        fs::write(from.join("below/a"), "c").unwrap();
        assert_ne!(digest(), second);
        assert_eq!(fs::read(root.path().join("made/skills/one/below/a")).unwrap(), b"c");
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused_and_one_within_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(root.path().join("secret"), "s").unwrap();
        fs::write(from.join("real"), "r").unwrap();
        symlink("real", from.join("link")).unwrap();
        let mut made = tree(root.path());
        made.copy(&from, "in").unwrap();
        assert_eq!(fs::read(made.path("in/link")).unwrap(), b"r");
        symlink("../secret", from.join("out")).unwrap();
        let error = tree(root.path()).copy(&from, "in").unwrap_err().to_string();
        assert!(error.contains("leads out of"), "{error}");
    }

    #[test]
    fn links_of_a_home_stay_links_and_pipes_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::write(from.join("key"), "k").unwrap();
        fs::set_permissions(from.join("key"), fs::Permissions::from_mode(0o400)).unwrap();
        symlink("/etc/passwd", from.join("bin/out")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, from.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
        let mut made = tree(root.path());
        made.copy_home(&from, "home").unwrap();
        assert_eq!(fs::read_link(made.path("home/bin/out")).unwrap(), Path::new("/etc/passwd"));
        assert!(!made.has("home/pipe"));
        let mode = fs::metadata(made.path("home/key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_holds_a_secret_is_refused_with_its_name_also_over_the_end_of_a_piece() {
        let secrets = [("TOKEN".to_owned(), "s3cret-of-the-set-up".to_owned())];
        let text = format!("{}{}", "x".repeat(64 * 1024 - 5), secrets[0].1);
        let root = tempfile::tempdir().unwrap();
        let mut made = tree(root.path());
        made.refuse(&secrets);
        made.write("home/fine", b"s3cret-of-the-set").unwrap();
        let error = made.write("home/.npmrc", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "home/.npmrc holds the value of TOKEN (`setup.secrets`)");
    }

    #[test]
    fn a_name_and_a_link_that_hold_a_secret_are_refused_without_it() {
        let secrets = [("TOKEN".to_owned(), "s3cret-of-the-set-up".to_owned())];
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        for (name, target, what) in [
            ("of s3cret-of-the-set-up", "x", "a name"),
            ("plain", "https://s3cret-of-the-set-up@example.com", "a link"),
        ] {
            fs::create_dir_all(from.join(".cache")).unwrap();
            symlink(target, from.join(".cache").join(name)).unwrap();
            let mut made = tree(root.path());
            made.refuse(&secrets);
            let error = made.copy_home(&from, "home").unwrap_err().to_string();
            let expected =
                format!("{what} in home/.cache holds the value of TOKEN (`setup.secrets`)");
            assert_eq!(error, expected);
            fs::remove_dir_all(&from).unwrap();
        }
    }

    #[test]
    fn a_folder_that_several_make_at_once_is_there_for_all_of_them() {
        let root = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..50 {
                        start.wait();
                        make_folder(&root.path().join(format!("{round}/a/b"))).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_too_much_is_refused_with_the_key_that_bounds_it() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir_all(from.join("a/b/c")).unwrap();
        fs::write(from.join("file"), "four").unwrap();
        let limits = [
            (CopyLimits { entries: 1, ..CopyLimits::default() }, "sessions.copy.entries"),
            (CopyLimits { depth: 2, ..CopyLimits::default() }, "sessions.copy.depth"),
            (
                CopyLimits { size: crate::config::Bytes::new(3), ..CopyLimits::default() },
                "sessions.copy.size",
            ),
        ];
        for (limits, key) in limits {
            let mut tree = RevisionTree::begin(&root.path().join("made"), &limits).unwrap();
            let error = tree.copy(&from, "in").unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
