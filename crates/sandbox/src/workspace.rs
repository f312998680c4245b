//! The folders of a session: where it works, its own HOME, and the script that sets it up.

mod defaults;
mod files;
mod folder;
mod inside;
mod removal;
mod setup;
mod tree;
mod worktree;

pub use defaults::HomeDefaults;
pub use files::{
    Archive, EntryKind, FileEntry, FilePage, Look, LookBounds, OpenFile, SessionFiles,
    append_folder, encode_path,
};
pub use folder::Folder;
pub use removal::{LeftOvers, remove_folder, remove_left_over};
pub use setup::{InitFailed, hear_setup};
pub use tree::{Allowance, Size};
pub use worktree::{describe_missing_grants, find_projects};

use crate::disk::{self, off_worker};
use crate::process::tree::Tree;
use inside::Inside;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tree::{Copying, Deadline, Links, Measurement};

/// The bits of a folder's mode by which others may enter it.
const ENTERED_BY_OTHERS: u32 = 0o011;

/// Begins the name of a folder that is being made; it gets its own name when it is whole.
const UNFINISHED: &str = ".pilothouse-new-";

/// Where sessions work.
#[derive(Clone)]
pub struct Workspaces {
    shared: Arc<SharedWorkspaces>,
    defaults: Option<Arc<HomeDefaults>>,
}

struct SharedWorkspaces {
    settings: WorkspaceSettings,
    /// Folders above these two that were not there when the server started, so that it makes them, and the key that
    /// names them.
    missing: Vec<(PathBuf, &'static str)>,
}

/// Where the sessions of an agent work, and what they begin with.
pub struct WorkspaceSettings {
    /// Whether they all work in `root` itself.
    pub is_shared: bool,
    /// The folder above their workspaces.
    pub root: PathBuf,
    /// The folder above their HOMEs.
    pub homes: PathBuf,
    /// The folder whose files a new HOME begins with.
    pub defaults: Option<HomeDefaults>,
    /// The script that sets a new session up.
    pub script: Option<PathBuf>,
    /// The folder whose files a new workspace begins with.
    pub template: Option<PathBuf>,
    /// What may be copied at once.
    pub copy: CopyLimits,
    /// The group of agents that have users of their own.
    pub group: u32,
}

/// What may be copied at once.
#[derive(Debug, Clone, Copy)]
pub struct CopyLimits {
    /// Files and folders.
    pub entries: u64,
    /// Bytes of all files, without their holes.
    pub size: u64,
    /// Folders within folders.
    pub depth: usize,
}

#[cfg(test)]
impl WorkspaceSettings {
    /// A workspace for each session, below a folder of a test's own.
    pub(crate) fn tested(root: &Path) -> Self {
        Self {
            is_shared: false,
            root: root.join("workspace"),
            homes: root.join("state/sessions"),
            defaults: None,
            script: None,
            template: None,
            copy: CopyLimits { entries: 1000, size: 1 << 20, depth: 128 },
            group: 0x7000_0000,
        }
    }
}

/// Why the folders cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use the folder {path}: {source}; the operator must make it writable or set `{key}`"
)]
pub struct Error {
    path: String,
    key: &'static str,
    source: io::Error,
}

impl Workspaces {
    /// Those of an agent; what is missing is made later.
    pub fn new(mut settings: WorkspaceSettings) -> Self {
        let defaults = settings.defaults.take().map(Arc::new);
        let missing = find_missing(&settings.homes).map(|folder| (folder, "state_dir"));
        let root = (!settings.is_shared).then(|| find_missing(&settings.root));
        let above_root = root.into_iter().flatten().map(|folder| (folder, "workspace.path"));
        let missing = missing.chain(above_root).collect();
        Self { shared: Arc::new(SharedWorkspaces { settings, missing }), defaults }
    }

    /// The same folders, where new HOMEs begin with these files.
    #[must_use]
    pub fn with_defaults(&self, defaults: HomeDefaults) -> Self {
        Self { shared: self.shared.clone(), defaults: Some(Arc::new(defaults)) }
    }

    /// Makes the folders and checks them for writing. What is above sessions is for the server's user alone:
    /// agents choose the modes of what is below.
    pub fn check(&self) -> Result<(), Error> {
        writable(&self.shared.settings.root, "workspace.path")?;
        writable(&self.shared.settings.homes, "state_dir")?;
        // This one is ours, whoever made it; the root may be a folder of the operator's own, see `note`.
        close_to_others(&self.shared.settings.homes).map_err(|source| Error {
            path: self.shared.settings.homes.display().to_string(),
            key: "state_dir",
            source,
        })
    }

    /// The folders above sessions let the group of agents pass, and nobody else in addition; so do the folders above
    /// them that this start has made. Folders of the operator's stay as they are: those of another owner, and those
    /// that are open to others already.
    ///
    /// # Errors
    ///
    /// When one of them cannot be made or changed.
    pub fn let_agents_pass(&self) -> Result<(), Error> {
        let [homes, root] = self.above();
        make(root, "workspace.path")?;
        make(homes, "state_dir")?;
        let is_above = !self.shared.settings.is_shared;
        let folders = [(is_above.then_some(root), "workspace.path")]
            .into_iter()
            .chain([homes.parent(), Some(homes)].map(|folder| (folder, "state_dir")))
            .filter_map(|(folder, key)| Some((folder?, key)));
        let missing = self.shared.missing.iter().map(|(folder, key)| (folder.as_path(), *key));
        for (folder, key) in folders.chain(missing) {
            let_group_pass(folder, self.shared.settings.group).map_err(|source| Error {
                path: folder.display().to_string(),
                key,
                source,
            })?;
        }
        Ok(())
    }

    /// What the operator should know: other users of the machine may enter the folder above sessions.
    pub fn note(&self) -> Option<String> {
        let root = &self.shared.settings.root;
        let found = std::fs::metadata(root).ok()?;
        // Agents have passed it at an earlier start; they are no others.
        let others =
            if found.gid() == self.shared.settings.group { 0o001 } else { ENTERED_BY_OTHERS };
        let mode = found.mode();
        (!self.shared.settings.is_shared && mode & others != 0).then(|| {
            format!(
                "other users of this machine may enter {} (mode {:o}), so they reach files whose modes an agent opens \
                 to them: `chmod 700 {0}`, or set `workspace.path`",
                root.display(),
                mode & 0o7777
            )
        })
    }

    /// A session's folders, made where they are missing. Dropping this makes them all the same.
    ///
    /// A folder costs about 0.1 ms, so there are no more than needed: temporary files lie in HOME.
    pub async fn folder(&self, session: &str) -> Result<Folder, Error> {
        self.folder_from(session, self.shared.settings.template.clone()).await
    }

    /// The folders of a session that never has a turn, with an empty workspace.
    pub(crate) async fn empty_folder(&self, session: &str) -> Result<Folder, Error> {
        self.folder_from(session, None).await
    }

    async fn folder_from(&self, session: &str, template: Option<PathBuf>) -> Result<Folder, Error> {
        if self.defaults.is_none()
            && template.is_none()
            && let Ok(made) = disk::at_once(|| self.make_folder(session, None))
        {
            return made;
        }
        let (all, session) = (self.clone(), session.to_owned());
        match off_worker(move || all.make_folder(&session, template.as_deref())).await {
            Ok(made) => made,
            Err(source) => {
                let path = self.shared.settings.homes.display().to_string();
                Err(Error { path, key: "state_dir", source })
            }
        }
    }

    fn make_folder(&self, session: &str, template: Option<&Path>) -> Result<Folder, Error> {
        let workspace = self.shown(session);
        let home = self.shared.settings.homes.join(session);
        let has_new_home = match &self.defaults {
            Some(defaults) if !home.is_dir() => {
                self.make_home(session, defaults)?;
                true
            }
            Some(_) | None => make(&home, "state_dir")?,
        };
        let has_new_workspace = match template {
            Some(template) if !workspace.is_dir() => {
                let unfinished = self.shared.settings.root.join(format!("{UNFINISHED}{session}"));
                let how = (Links::Keep, "workspace.template", "workspace.path");
                self.copy_into(&workspace, template, &unfinished, &unfinished, how)?;
                true
            }
            Some(_) | None => make(&workspace, "workspace.path")?,
        };
        let is_shared = self.shared.settings.is_shared;
        let is_empty = self.defaults.is_none() && template.is_none();
        let is_all_new = has_new_home && has_new_workspace && is_empty;
        let is_new = has_new_home || has_new_workspace;
        Ok(Folder { workspace, home, is_new, is_all_new, is_shared })
    }

    /// A HOME with its defaults in it.
    fn make_home(&self, session: &str, defaults: &HomeDefaults) -> Result<(), Error> {
        let home = self.shared.settings.homes.join(session);
        let unfinished = self.shared.settings.homes.join(format!("{UNFINISHED}{session}"));
        let links = if defaults.keeps_links { Links::Keep } else { Links::Follow };
        let how = (links, defaults.key, "state_dir");
        let target = unfinished.join(defaults.below);
        self.copy_into(&home, &defaults.folder, &unfinished, &target, how)
    }

    /// A folder that begins with a copy of another one, which lies at `target` within it; it has its name when it is
    /// whole. The keys name what is copied, and where it is.
    fn copy_into(
        &self,
        folder: &Path,
        from: &Path,
        unfinished: &Path,
        target: &Path,
        (links, from_key, key): (Links, &'static str, &'static str),
    ) -> Result<(), Error> {
        let failed = |source| Error { path: folder.display().to_string(), key, source };
        let deadline = Deadline::at_stop(CancellationToken::new());
        tree::remove(unfinished, &deadline).map_err(failed)?;
        make(target, key)?;
        let copying = Copying {
            allowance: Allowance::new(self.shared.settings.copy),
            links,
            beside: None,
            deadline,
        };
        let open = |path: &Path| Ok(std::fs::File::open(path)?.into());
        let copied = open(from)
            .and_then(|from| copying.run(from, open(target)?))
            .map_err(|source| Error { path: from.display().to_string(), key: from_key, source });
        let made = copied.and_then(|()| std::fs::rename(unfinished, folder).map_err(failed));
        if made.is_err() {
            let _ = remove_folder(unfinished);
        }
        made
    }

    /// Copies another session's workspace into a new one's, and its transcript, whose place `pattern` tells.
    /// True where there was one. Dropping this ends it.
    ///
    /// # Errors
    ///
    /// When something cannot be read or written, or there is too much of it; then the new session's folders are
    /// removed.
    pub async fn fork(&self, from: &str, to: &Folder, pattern: Option<&str>) -> io::Result<bool> {
        let (all, from, to) = (self.clone(), from.to_owned(), to.clone());
        let pattern = pattern.map(ToOwned::to_owned);
        let stop = CancellationToken::new();
        let _ends = stop.clone().drop_guard();
        off_worker(move || all.copy_session(&from, &to, pattern.as_deref(), stop)).await?
    }

    /// The copy is whole, or nothing of the new session's folders is left.
    fn copy_session(
        &self,
        from: &str,
        to: &Folder,
        pattern: Option<&str>,
        stop: CancellationToken,
    ) -> io::Result<bool> {
        // The workspace may be shared; a HOME never is.
        let session = to.home.file_name().unwrap_or_default().to_string_lossy();
        let copied = match self.shared.settings.is_shared {
            false => self.copy_folders(from, &session, to, pattern, &stop),
            true => self.copy_transcript(from, to, pattern, &stop),
        };
        if copied.is_err()
            && let Err(error) = self.remove_half_made(&session)
        {
            tracing::warn!(session.id = %session, %error, "could not remove a half copied session");
        }
        copied
    }

    /// Meanwhile the new workspace has another name, so that a server that is killed leaves no half copy under
    /// the session's.
    fn copy_folders(
        &self,
        from: &str,
        session: &str,
        to: &Folder,
        pattern: Option<&str>,
        stop: &CancellationToken,
    ) -> io::Result<bool> {
        let source = tree::open(&self.shared.settings.root, from)?;
        let opened = source.try_clone()?;
        let unfinished = self.shared.settings.root.join(format!("{UNFINISHED}{session}"));
        let copy = unfinished.join("copy");
        DirBuilder::new().mode(0o700).create(&unfinished)?;
        std::fs::rename(&to.workspace, &copy)?;
        let copying = Copying {
            allowance: Allowance::new(self.shared.settings.copy),
            links: Links::Keep,
            beside: Some(unfinished.join("names")),
            deadline: Deadline::at_stop(stop.clone()),
        };
        copying.run(source, tree::open(&unfinished, "copy")?)?;
        if !tree::is_at(&opened, &self.shared.settings.root.join(from))? {
            return Err(io::Error::other("the session was removed while it was copied"));
        }
        let has_transcript = self.copy_transcript(from, to, pattern, stop)?;
        std::fs::rename(&copy, &to.workspace)?;
        std::fs::remove_dir(&unfinished)?;
        Ok(has_transcript)
    }

    fn copy_transcript(
        &self,
        from: &str,
        to: &Folder,
        pattern: Option<&str>,
        stop: &CancellationToken,
    ) -> io::Result<bool> {
        let Some((before, after)) = pattern.and_then(|pattern| pattern.split_once("*/")) else {
            return Ok(false);
        };
        let home = Inside::open(&self.shared.settings.homes.join(from))?;
        let Some((name, folder)) = home.below(before).ok().and_then(|place| place.find(after))
        else {
            return Ok(false);
        };
        let target = Inside::open(&to.home)?.make(&format!("{before}/{name}"))?;
        let mut allowance = Allowance::new(self.shared.settings.copy);
        folder.copy_file(after, &target, &mut allowance, &Deadline::at_stop(stop.clone()))?;
        Ok(true)
    }

    /// What a session's own folders take up on the disk, and the files without a name that processes of this
    /// tree hold open there. Dropping this ends it.
    pub async fn size(&self, session: &str, tree: Option<Tree>) -> io::Result<Size> {
        let (all, session) = (self.clone(), session.to_owned());
        let stop = CancellationToken::new();
        let _ends = stop.clone().drop_guard();
        off_worker(move || {
            let (mut measure, deadline) = (Measurement::default(), Deadline::soon(stop));
            for parent in all.parents() {
                match tree::open(parent, &session) {
                    Ok(folder) => {
                        let added = measure.add(folder, &deadline);
                        measure.miss_if_late(added)?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => measure.miss(error),
                }
            }
            for pid in tree.map(Tree::processes).unwrap_or_default() {
                let added = measure.add_open_files(pid, &deadline);
                measure.miss_if_late(added)?;
            }
            Ok(measure.size())
        })
        .await?
    }

    /// The folders that hold a folder for each session.
    fn parents(&self) -> impl Iterator<Item = &Path> {
        let root = (!self.shared.settings.is_shared).then_some(self.shared.settings.root.as_path());
        [self.shared.settings.homes.as_path()].into_iter().chain(root)
    }

    /// The folder that holds each HOME, and the one that sessions work in or that holds a folder for each.
    pub fn above(&self) -> [&Path; 2] {
        [&self.shared.settings.homes, &self.shared.settings.root]
    }

    /// The folder that a session works in, for people.
    pub fn shown(&self, session: &str) -> PathBuf {
        match self.shared.settings.is_shared {
            false => self.shared.settings.root.join(session),
            true => self.shared.settings.root.clone(),
        }
    }

    /// The folder that sessions work in, or that holds a folder for each.
    pub fn root(&self) -> &Path {
        &self.shared.settings.root
    }

    /// The one folder of all sessions, where they share one.
    pub fn shared(&self) -> Option<&Path> {
        (self.shared.settings.is_shared).then_some(self.shared.settings.root.as_path())
    }

    /// The session script, if there is one.
    pub fn script(&self) -> Option<&Path> {
        self.shared.settings.script.as_deref()
    }
}

/// The folders above this one that are not there.
fn find_missing(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let above = folder.ancestors().skip(1);
    above.take_while(|above| !above.as_os_str().is_empty() && !above.exists()).map(Path::to_owned)
}

/// Makes a folder for its owner alone; whether it is new.
fn make(folder: &Path, key: &'static str) -> Result<bool, Error> {
    let failed = |source| Error { path: folder.display().to_string(), key, source };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(failed)?;
            Ok(true)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Takes every right of others from a folder of ours.
fn close_to_others(folder: &Path) -> io::Result<()> {
    if std::fs::metadata(folder)?.mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

/// A group may pass a folder of ours that is open to nobody.
fn let_group_pass(folder: &Path, group: u32) -> io::Result<()> {
    let found = std::fs::metadata(folder)?;
    let mode = found.mode() & 0o7777;
    if found.uid() != rustix::process::geteuid().as_raw() || mode & 0o077 != 0 {
        return Ok(());
    }
    // First the group: whoever is in the old one gets nothing.
    std::os::unix::fs::chown(folder, None, Some(group))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode | 0o010))
}

fn writable(folder: &Path, key: &'static str) -> Result<(), Error> {
    make(folder, key)?;
    let probe = folder.join(format!(".pilothouse-{}", std::process::id()));
    std::fs::write(&probe, b"")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|source| Error { path: folder.display().to_string(), key, source })
}

/// The file or folder that a key names, with all links followed.
///
/// # Errors
///
/// When it is not there; the message names the key.
pub fn existing(path: &Path, key: &'static str) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(|source| Error {
        path: path.display().to_string(),
        key,
        source,
    })
}
