//! What an agent must be able to read in order to run: its program, the interpreter of that, PATH,
//! certificates, and what the operator named.

use super::{At, Changeable, Cover};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Folders of the system's programs and libraries, as far as they are there.
const SYSTEM: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
];

/// What programs read below `/etc`, as far as it is there. Nothing that tells of this machine, its users
/// or its network, and nothing that only its administrator may read.
const ETC: [&str; 34] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "gitconfig",
    "host.conf",
    "inputrc",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "maven",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "perl",
    "pki/ca-trust",
    "pki/tls",
    "profile",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// Variables that name files which an agent is meant to read.
const FILE_VARIABLES: [&str; 12] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "OPENCODE_CONFIG",
];

/// What names a grant: a key of the configuration.
const READ_KEY: &str = "`isolation.read`";
/// The same: the program, and what it was installed with.
const PROGRAM: &str = "the agent's program";

/// The same: a folder of PATH.
const PATH: &str = "PATH";

/// Links that are followed from a program to its file.
pub(super) const LINKS: usize = 16;

/// The first line of a script is not longer.
const SHEBANG: u64 = 256;

/// What an agent may read and write beside its session's folders and the system's programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// What of the system every agent reads, by its own path.
    pub system: BTreeSet<PathBuf>,
    /// Files and folders, by their own paths, and what names each.
    pub read: BTreeMap<PathBuf, &'static str>,
    /// Folders, files and devices, by their own paths, and what names each.
    pub write: BTreeMap<PathBuf, &'static str>,
    /// Paths that lead inside of the sandbox to what agents reach anyway, at another path.
    pub aliases: BTreeMap<PathBuf, At>,
    /// Links and where they point.
    pub links: BTreeSet<(PathBuf, PathBuf)>,
    /// What is put over the server's own files in all of these, and in the workspace.
    pub covers: BTreeSet<Cover>,
}

impl Grants {
    /// What everybody may, as it is configured.
    pub fn configured(read: &[PathBuf], write: &[PathBuf]) -> Self {
        let mut grants = Self { system: system().collect(), ..Self::default() };
        for path in read {
            grants.read(path, READ_KEY);
        }
        for path in write {
            if path.is_absolute() && path.exists() {
                grants.write.insert(path.clone(), "`isolation.write`");
            }
        }
        grants
    }

    /// The same for a root of another machine's, where nothing is there by itself.
    pub fn mounted(read: &[PathBuf], write: &[PathBuf]) -> Self {
        let mut grants = Self { system: BTreeSet::new(), ..Self::configured(&[], write) };
        for path in read {
            grants.mount(path, READ_KEY);
        }
        grants
    }

    /// A file or folder, if it is there: also one of the system's, which an image does not have.
    fn mount(&mut self, path: &Path, key: &'static str) {
        if path.is_absolute() && path.exists() {
            self.read.insert(path.to_owned(), key);
        }
    }

    /// A file or folder, if it is there and not the system's anyway.
    fn read(&mut self, path: &Path, key: &'static str) {
        if !is_system(path) {
            self.mount(path, key);
        }
    }

    /// The session script; `contained` where no file of this machine's system is there.
    pub fn script(&mut self, script: &Path, contained: bool) {
        let key = "the session script";
        if contained { self.mount(script, key) } else { self.read(script, key) }
    }

    /// The folder with what the agent is set up with.
    pub fn setup(&mut self, folder: &Path) {
        self.mount(folder, "`agents.*.setup`");
    }

    /// A program: the links to it, its file, what it was installed with, and its interpreter. What agents may change
    /// decides none of this: the first part that they may change is the last one that is looked at, and is returned.
    pub fn program(
        &mut self,
        program: &Path,
        path: &str,
        changeable: &Changeable,
    ) -> Option<PathBuf> {
        let mut at = program.to_owned();
        for _ in 0..LINKS {
            if changeable.holds(&at) {
                self.read(&at, PROGRAM);
                return Some(at);
            }
            if let Some(root) = installation(&at) {
                self.read(&root, PROGRAM);
            }
            let Ok(target) = fs::read_link(&at) else {
                return self.file(&at, path, changeable);
            };
            let target = normal(&at.parent().unwrap_or(Path::new("/")).join(target));
            if !is_system(&at) && installation(&at).is_none() {
                self.links.insert((at, target.clone()));
            }
            at = target;
        }
        None
    }

    /// The file of a program, which agents cannot change.
    fn file(&mut self, at: &Path, path: &str, changeable: &Changeable) -> Option<PathBuf> {
        if installation(at).is_none() {
            self.read(at, PROGRAM);
            self.beside(at);
        }
        // Through links of folders in the way it may really lie elsewhere.
        if let Ok(real) = fs::canonicalize(at)
            && real != at
        {
            self.read(&installation(&real).unwrap_or(real), PROGRAM);
        }
        let interpreter = interpreter(at, path).filter(|interpreter| interpreter != at)?;
        self.program(&interpreter, path, changeable)
    }

    /// What an interpreter outside of the system brings: the libraries beside its `bin`, or, behind the shim
    /// of a version manager, the versions.
    fn beside(&mut self, program: &Path) {
        let Some(folder) = program.parent() else {
            return;
        };
        let Some(prefix) = folder.parent().filter(|_| !is_system(program)) else {
            return;
        };
        if folder.ends_with("shims") {
            self.read(prefix, PROGRAM);
        } else if folder.ends_with("bin") && prefix != Path::new("/") {
            for name in ["lib", "lib64", "libexec"] {
                self.read(&prefix.join(name), PROGRAM);
            }
        }
    }

    /// The folders of PATH, which hold nothing but programs; never a HOME itself, nor what anybody may write.
    pub fn path(&mut self, path: &str, home: Option<&Path>) {
        for folder in std::env::split_paths(path) {
            let is_home = home.is_some_and(|home| home.starts_with(&folder));
            if !is_home && folder.is_dir() && !is_public(&folder) && folder != Path::new("/") {
                self.read(&folder, PATH);
            }
        }
    }

    /// Files that variables name for the agent to read.
    pub fn variables(&mut self, env: &[(String, String)]) {
        for (name, value) in env {
            if let Some(variable) = FILE_VARIABLES.into_iter().find(|variable| variable == name) {
                self.read(Path::new(value), variable);
            }
        }
    }

    /// Files that its arguments name.
    pub fn arguments(&mut self, args: &[String]) {
        for argument in args {
            let path = Path::new(argument);
            if path.is_absolute() && path.is_file() {
                self.read(path, "an argument");
            }
        }
    }

    /// What an agent cannot do without: all but the folders of PATH, where its program may be found elsewhere.
    pub(super) fn needed(&self) -> impl Iterator<Item = &Path> {
        let read = self.read.iter().filter(|(_, key)| **key != PATH);
        let links = self.links.iter().map(|(link, _)| link);
        read.map(|(path, _)| path).chain(self.write.keys()).chain(links).map(PathBuf::as_path)
    }

    /// These and those.
    pub fn with(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.system.extend(other.system.iter().cloned());
        all.read.extend(other.read.clone());
        all.write.extend(other.write.clone());
        all.aliases.extend(other.aliases.clone());
        all.links.extend(other.links.iter().cloned());
        all.covers.extend(other.covers.iter().cloned());
        all
    }
}

/// The system's programs, libraries and files, whether they are there or not.
pub(super) fn system() -> impl Iterator<Item = PathBuf> {
    SYSTEM.iter().map(PathBuf::from).chain(etc())
}

/// What programs read below `/etc`, whether it is there or not.
pub(super) fn etc() -> impl Iterator<Item = PathBuf> {
    ETC.iter().map(|name| Path::new("/etc").join(name))
}

/// Whether the system's programs and libraries lie there.
pub(super) fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// Whether anybody may write there.
fn is_public(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

/// The outermost `node_modules` that a path lies in: packages read each other there.
fn installation(path: &Path) -> Option<PathBuf> {
    let mut root = PathBuf::new();
    for part in path.components() {
        root.push(part);
        if part == Component::Normal("node_modules".as_ref()) {
            return Some(root);
        }
    }
    None
}

/// A path without `.` and `..`, as text.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// The program that a script's first line names.
pub(super) fn interpreter(script: &Path, path: &str) -> Option<PathBuf> {
    parse_interpreter(fs::File::open(script).ok()?, path)
}

/// The same of a script that was opened.
pub(super) fn parse_interpreter(script: fs::File, path: &str) -> Option<PathBuf> {
    let mut head = Vec::new();
    script.take(SHEBANG).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace().filter(|word| *word != "-S");
    let first = Path::new(words.next()?);
    if first.file_name()? != "env" {
        return Some(first.to_owned());
    }
    let name = words.next()?;
    std::env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn read(grants: &Grants) -> BTreeSet<PathBuf> {
        grants.read.keys().cloned().collect()
    }

    #[test]
    fn what_agents_may_change_decides_no_grant() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name);
        for folder in ["project", "bin", "secret"] {
            fs::create_dir(path(folder)).unwrap();
        }
        let mut changeable = Changeable::default();
        changeable.add_shared(&path("project"));
        // Its first line, and where the links lead, are up to agents.
        let script = format!("#!{}\n", path("secret/interpreter").display());
        fs::write(path("project/bot"), script).unwrap();
        symlink(path("secret"), path("project/link")).unwrap();
        symlink(path("project/bot"), path("bin/linked")).unwrap();
        for (program, part) in [
            ("project/bot", "project/bot"),
            ("project/link", "project/link"),
            ("bin/linked", "project/bot"),
        ] {
            let mut grants = Grants::default();
            assert_eq!(grants.program(&path(program), "", &changeable), Some(path(part)));
            assert_eq!(read(&grants), BTreeSet::from([path(part)]));
        }
    }

    #[test]
    fn a_program_of_npm_brings_all_that_it_was_installed_with() {
        let root = tempfile::tempdir().unwrap();
        let modules = root.path().join("lib/node_modules");
        let bin = root.path().join("bin");
        fs::create_dir_all(modules.join("tool")).unwrap();
        fs::create_dir(&bin).unwrap();
        fs::write(modules.join("tool/main.js"), "#!/usr/bin/env runner\n").unwrap();
        fs::write(bin.join("runner"), "\x7fELF").unwrap();
        symlink("../lib/node_modules/tool/main.js", bin.join("tool")).unwrap();
        let mut grants = Grants::default();
        grants.program(&bin.join("tool"), bin.to_str().unwrap(), &Changeable::default());
        assert_eq!(
            read(&grants),
            BTreeSet::from([modules.clone(), bin.join("runner"), root.path().join("lib")])
        );
        let link = (bin.join("tool"), modules.join("tool/main.js"));
        assert_eq!(grants.links, BTreeSet::from([link]));
    }

    #[test]
    fn a_program_in_a_folder_of_other_things_is_granted_alone() {
        let root = tempfile::tempdir().unwrap();
        let bot = root.path().join("bot.sh");
        fs::write(&bot, "#!/bin/sh\n").unwrap();
        fs::write(root.path().join(".env"), "SECRET=1").unwrap();
        let mut grants = Grants::default();
        grants.program(&bot, "/usr/bin", &Changeable::default());
        assert_eq!(read(&grants), BTreeSet::from([bot]));
    }

    #[test]
    fn an_interpreter_brings_the_libraries_beside_it_and_a_shim_its_versions() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["py/bin", "py/lib", "py/share", "env/shims"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        fs::write(path("py/bin/python3"), "\x7fELF").unwrap();
        fs::write(path("env/shims/python3"), "\x7fELF").unwrap();
        let mut grants = Grants::default();
        grants.program(&path("py/bin/python3"), "", &Changeable::default());
        assert_eq!(read(&grants), BTreeSet::from([path("py/bin/python3"), path("py/lib")]));
        grants.program(&path("env/shims/python3"), "", &Changeable::default());
        assert!(grants.read.contains_key(&path("env")));
    }

    #[test]
    fn a_folder_of_path_that_anybody_may_write_or_that_is_a_home_is_not_granted() {
        let root = tempfile::tempdir().unwrap();
        let (open, home) = (root.path().join("open"), root.path().join("home"));
        fs::create_dir(&open).unwrap();
        fs::create_dir_all(home.join("bin")).unwrap();
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        let path = format!("{}:{}:{}/bin:/usr/bin", open.display(), home.display(), home.display());
        let mut grants = Grants::default();
        grants.path(&path, Some(&home));
        assert_eq!(read(&grants), BTreeSet::from([home.join("bin")]));
    }
}
