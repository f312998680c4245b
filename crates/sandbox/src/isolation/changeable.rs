//! The folders that agents may change, and which grants they leave possible.
//!
//! # How it works
//!
//! In a folder that it may change, an agent can put a symbolic link in the place of anything. Whoever mounts such a
//! path afterwards, or makes a rule on it, gives the next process what the link leads to. So nothing in such a folder
//! is granted by its own path, and nothing that is reached through it. An agent whose own folder it lies in needs no
//! grant: it reaches all of that folder. Behind bubblewrap its workspace has another path, so a symbolic link inside of
//! the sandbox ([`Grants::aliases`]) leads from the one to the other. What remains is left out, and the start says so.
//!
//! What of the system every agent reads is no exception: where agents may replace a part of the way to it, it is
//! reached through their folder or left out.
//!
//! All of this is decided at the start, from the configuration and from what agents cannot change. No such path is
//! looked at again later, so there is nothing that changes between a check and its use.

use super::covers::Exposed;
use super::grants::{is_system, system};
use super::trail::Trail;
use super::{At, Grants};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What names a grant that every agent gets.
const SYSTEM_KEY: &str = "a file of the system";

/// The folders that agents may change, of all agents that are configured.
#[derive(Debug, Default)]
pub struct Changeable {
    roots: Vec<Root>,
}

/// A folder in which agents may change files. The folder itself stays.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    /// Where it really lies.
    real: PathBuf,
    /// The key that names it.
    key: &'static str,
    /// Whether agents may change no more than what lies in the folders of sessions.
    has_sessions: bool,
}

/// A grant that is not given, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What was to be granted.
    pub path: PathBuf,
    /// What names it.
    key: &'static str,
    root: Root,
    /// Whether it lies there; else the way to it leads through there.
    pub lies_there: bool,
}

/// What is granted of what was wanted.
#[derive(Debug, Default)]
pub struct Settled {
    /// What agents get.
    pub grants: Grants,
    /// What they do not get.
    pub left_out: Vec<LeftOut>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, key, root: Root { real, key: root_key, .. }, lies_there } = self;
        let (path, real) = (path.display(), real.display());
        if *lies_there {
            write!(
                to,
                "{path} ({key}) is not granted, because it lies in {real}, where agents may put a link in its place \
                 ({root_key}); grant {real} itself, or move {path}"
            )
        } else {
            write!(
                to,
                "{path} ({key}) is not granted, because the way to it leads through {real}, where agents may put a \
                 link in its place ({root_key}); name the place where it really lies"
            )
        }
    }
}

impl Root {
    fn new(path: &Path, key: &'static str, has_sessions: bool) -> Self {
        Self { real: Trail::of(path).real, key, has_sessions }
    }

    /// Whether agents may replace what lies at a path that has no link in it.
    fn holds(&self, step: &Path) -> bool {
        let Ok(below) = step.strip_prefix(&self.real) else { return false };
        let mut names = below.iter();
        if self.has_sessions {
            let is_session = |name: &std::ffi::OsStr| {
                name.to_str().is_some_and(|name| uuid::Uuid::try_parse(name).is_ok())
            };
            return names.next().is_some_and(is_session) && names.next().is_some();
        }
        names.next().is_some()
    }
}

impl Changeable {
    /// A workspace that all sessions of an agent share.
    pub fn add_shared(&mut self, path: &Path) {
        self.add(Root::new(path, "`workspace.path`", false));
    }

    /// A folder with a folder for each session.
    pub fn add_sessions(&mut self, path: &Path, key: &'static str) {
        self.add(Root::new(path, key, true));
    }

    /// What is granted for writing.
    pub fn add_granted(&mut self, paths: &[PathBuf]) {
        for path in paths {
            self.add(Root::new(path, "`isolation.write`", false));
        }
    }

    fn add(&mut self, root: Root) {
        if !self.roots.contains(&root) {
            self.roots.push(root);
        }
    }

    fn root_on(&self, trail: &Trail) -> Option<&Root> {
        self.roots.iter().find(|root| trail.steps.iter().any(|step| root.holds(step)))
    }

    /// Whether agents may replace what lies at this path: the link itself, where one lies there.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return self.root_on(&Trail::of(path)).is_some();
        };
        let folder = Trail::of(folder);
        let entry = folder.real.join(name);
        self.root_on(&folder).is_some() || self.roots.iter().any(|root| root.holds(&entry))
    }

    /// Whether agents may change the file at this path, or put another one there.
    pub fn is_changeable(&self, path: &Path) -> bool {
        self.holds(path) || self.root_on(&Trail::of(path)).is_some()
    }

    /// The folders of a PATH whose programs agents cannot replace: only these may be started outside of a sandbox.
    pub fn trusted_path(&self, path: &str) -> String {
        let folders = std::env::split_paths(path)
            .filter(|folder| folder.is_absolute() && !self.holds(&folder.join("program")));
        let joined = std::env::join_paths(folders).unwrap_or_default();
        joined.to_string_lossy().into_owned()
    }

    /// Checks that neither the folders of these sessions nor the system's can be replaced.
    ///
    /// # Errors
    ///
    /// When their workspace, or the folder that holds their workspaces, lies in a folder that agents may change; and
    /// when a folder that every agent reads, or a part of the way to it, lies in their workspace.
    pub fn check_workspace(
        &self,
        agent: &str,
        path: &Path,
        is_shared: bool,
    ) -> Result<(), Exposed> {
        let trail = Trail::of(path);
        if let Some(root) = self.root_on(&trail) {
            return Err(Exposed::replaceable(agent, path, &root.real, root.key));
        }
        let is_within = |step: &PathBuf| step.starts_with(&trail.real) && *step != trail.real;
        let depends = |path: &PathBuf| {
            let is_link_there = || Trail::of(path).steps.iter().any(is_within);
            path.exists() && (is_within(path) || is_system(path) && is_link_there())
        };
        match system().find(depends).filter(|_| is_shared) {
            Some(within) => Err(Exposed::above_system(agent, path, &within)),
            None => Ok(()),
        }
    }

    /// What can be granted of what is wanted, for agents with this shared workspace.
    pub fn settle(&self, shared: Option<&Path>, wanted: &Grants) -> Settled {
        let own = shared.map(|path| (path, Trail::of(path).real));
        let mut settled = Settled::default();
        let Settled { grants, left_out } = &mut settled;
        grants.links.clone_from(&wanted.links);
        grants.covers.clone_from(&wanted.covers);
        let write = wanted.write.iter().map(|(path, key)| (path, *key, true));
        let read = wanted.read.iter().map(|(path, key)| (path, *key, false));
        let system = wanted.system.iter().map(|path| (path, SYSTEM_KEY, false));
        let mut all: Vec<_> = write
            .chain(read)
            .chain(system)
            .map(|(path, key, is_write)| {
                let trail = Trail::of(path);
                let root = self.root_on(&trail);
                (root, !is_write, path, key, trail.real)
            })
            .collect();
        let reached = |path: &Path| wanted.write.keys().any(|folder| path.starts_with(folder));
        // What agents cannot replace comes first: what lies in it needs no grant of its own.
        all.sort_by_key(|(root, is_read, ..)| (root.is_some(), *is_read));
        let mut readable: Vec<PathBuf> = Vec::new();
        for (root, is_read, path, key, real) in all {
            if let Some((shared, own)) = &own
                && let Ok(below) = real.strip_prefix(own)
            {
                let (alias, at) = match [*shared, own].into_iter().find(|own| path.starts_with(own))
                {
                    Some(own) => (own.to_owned(), PathBuf::new()),
                    None => (path.clone(), below.to_owned()),
                };
                grants.aliases.insert(alias, At::Workspace(at));
                continue;
            }
            let is_system = key == SYSTEM_KEY;
            match root {
                None if is_system => {
                    grants.system.insert(path.clone());
                }
                // It is there at its own path, or nothing is.
                Some(_) if is_system && (reached(path) || !path.exists()) => {}
                None if is_read => {
                    readable.push(real);
                    grants.read.insert(path.clone(), key);
                }
                None => {
                    grants.write.insert(real, key);
                }
                Some(root) => {
                    let is_within = grants.write.keys().any(|folder| real.starts_with(folder))
                        || is_read && readable.iter().any(|folder| real.starts_with(folder));
                    if !is_within {
                        let (path, root) = (path.clone(), root.clone());
                        let lies_there = root.holds(&real);
                        left_out.push(LeftOut { path, key, root, lies_there });
                    } else if real != *path {
                        grants.aliases.insert(path.clone(), At::Path(real));
                    }
                }
            }
        }
        // A link to the program leads there already.
        let links = &grants.links;
        grants.aliases.retain(|path, _| !links.iter().any(|(link, _)| link == path));
        drop_inner(&mut grants.aliases);
        settled
    }
}

/// Drops each alias that is found through another one.
fn drop_inner(aliases: &mut BTreeMap<PathBuf, At>) {
    let mut outer: Option<PathBuf> = None;
    aliases.retain(|path, _| {
        if outer.as_ref().is_some_and(|outer| path.starts_with(outer)) {
            return false;
        }
        outer = Some(path.clone());
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Project(tempfile::TempDir);

    impl Project {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            for folder in ["project/bin", "project/docs", "outside/secret", "granted/sub"] {
                fs::create_dir_all(root.path().join(folder)).unwrap();
            }
            Self(root)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn changeable(&self) -> Changeable {
            let mut changeable = Changeable::default();
            changeable.add_shared(&self.path("project"));
            changeable.add_granted(&[self.path("granted")]);
            changeable
        }

        /// What is settled of this grant for reading, where the project is shared or not.
        fn read(&self, name: &str, is_own: bool) -> Settled {
            let mut wanted = Grants::configured(&[self.path(name)], &[]);
            if is_own {
                wanted = wanted.with(&Grants::configured(&[], &[self.path("granted")]));
            }
            let shared = is_own.then(|| self.path("project"));
            self.changeable().settle(shared.as_deref(), &wanted)
        }
    }

    #[test]
    fn what_lies_in_an_agents_own_folder_is_found_by_an_alias_and_not_granted() {
        let project = Project::new();
        let settled = project.read("project/bin", true);
        assert_eq!((settled.grants.read.len(), settled.left_out.len()), (0, 0));
        let alias = (project.path("project"), At::Workspace(PathBuf::new()));
        assert_eq!(settled.grants.aliases, BTreeMap::from([alias]));
        // What is granted for writing lies at its own path.
        let settled = project.read("granted/sub", true);
        assert_eq!((settled.grants.read.len(), settled.left_out.len()), (0, 0));
        assert!(settled.grants.aliases.is_empty());
    }

    #[test]
    fn a_way_through_a_link_of_the_operators_is_an_alias_of_its_own() {
        let project = Project::new();
        symlink(project.path("project"), project.path("link")).unwrap();
        let settled = project.read("link/bin", true);
        let alias = (project.path("link/bin"), At::Workspace(PathBuf::from("bin")));
        assert_eq!(settled.grants.aliases, BTreeMap::from([alias]));
    }

    #[test]
    fn a_link_to_a_program_is_no_alias_besides() {
        let project = Project::new();
        fs::write(project.path("project/tool"), "#!/bin/sh\n").unwrap();
        symlink(project.path("project/tool"), project.path("link")).unwrap();
        let (changeable, shared) = (project.changeable(), project.path("project"));
        let mut wanted = Grants::configured(&[project.path("link")], &[]);
        assert!(wanted.program(&project.path("link"), "", &changeable).is_some());
        let settled = changeable.settle(Some(&shared), &wanted);
        let alias = (shared, At::Workspace(PathBuf::new()));
        assert_eq!(settled.grants.aliases, BTreeMap::from([alias]));
        assert_eq!(settled.grants.links.len(), 1);
    }

    #[test]
    fn a_link_that_agents_may_replace_leads_no_grant_out_of_their_folder() {
        let project = Project::new();
        symlink(project.path("outside/secret"), project.path("project/link")).unwrap();
        symlink("../../outside/secret", project.path("project/bin/up")).unwrap();
        for name in ["project/link", "project/bin/up/../secret", "project/docs/../../outside"] {
            let settled = project.read(name, true);
            assert!(settled.grants.read.is_empty(), "{name}");
            let words = settled.left_out[0].to_string();
            assert!(
                words.contains("(`isolation.read`)") && words.contains("leads through"),
                "{words}"
            );
        }
    }

    #[test]
    fn what_other_agents_may_replace_is_left_out_and_their_folder_itself_is_granted() {
        let project = Project::new();
        let settled = project.read("project/docs", false);
        assert!(settled.grants.read.is_empty());
        let words = settled.left_out[0].to_string();
        let itself = format!("grant {} itself", project.path("project").display());
        assert!(words.contains(&itself), "{words}");
        let settled = project.read("project", false);
        assert!(settled.left_out.is_empty());
        assert!(settled.grants.read.contains_key(&project.path("project")));
    }

    #[test]
    fn a_folder_beside_those_of_sessions_is_granted_and_one_inside_of_theirs_is_not() {
        let project = Project::new();
        let mut changeable = Changeable::default();
        changeable.add_sessions(&project.path("project"), "`workspace.path`");
        assert!(!changeable.holds(&project.path("project/docs")));
        let session = project.path("project").join(uuid::Uuid::now_v7().to_string());
        assert!(!changeable.holds(&session) && changeable.holds(&session.join("file")));
    }

    #[test]
    fn programs_outside_of_a_sandbox_come_from_folders_that_no_agent_may_change() {
        let project = Project::new();
        symlink(project.path("project/bin"), project.path("link")).unwrap();
        let folders = ["project/bin", "project", "granted", "link", "outside"];
        let path = std::env::join_paths(folders.map(|name| project.path(name))).unwrap();
        let trusted = project.changeable().trusted_path(path.to_str().unwrap());
        assert_eq!(trusted, project.path("outside").to_str().unwrap());
    }

    #[test]
    fn a_workspace_in_a_folder_that_other_agents_may_change_is_refused() {
        let project = Project::new();
        let changeable = project.changeable();
        assert!(changeable.check_workspace("b", &project.path("project"), true).is_ok());
        let docs = project.path("project/docs");
        let refused = changeable.check_workspace("b", &docs, false).unwrap_err();
        assert!(refused.to_string().contains("`workspace.path`"), "{refused}");
    }

    #[test]
    fn what_of_the_system_agents_may_replace_is_reached_through_their_folder_or_left_out() {
        let settle = |write: &[PathBuf]| {
            let mut changeable = Changeable::default();
            changeable.add_granted(write);
            changeable.settle(None, &Grants::configured(&[], write))
        };
        let [usr, certs] = ["/usr", "/etc/ssl/certs"].map(PathBuf::from);
        assert!(settle(&[]).grants.system.contains(&certs));
        let settled = settle(&["/etc".into(), usr.clone()]);
        let (system, aliases) = (&settled.grants.system, &settled.grants.aliases);
        assert!(system.contains(&usr) && !system.contains(&certs));
        // On most machines this is a link to a folder of `/usr`.
        let lib = Path::new("/lib");
        assert_ne!(system.contains(lib), aliases.contains_key(lib));
        assert!(settled.left_out.is_empty(), "{:?}", settled.left_out);
    }

    #[test]
    fn a_file_of_the_system_that_leads_through_the_folder_of_another_agent_is_left_out() {
        let project = Project::new();
        let (link, outside) = (project.path("link"), project.path("outside"));
        symlink(project.path("project/docs"), &link).unwrap();
        let system = [link, outside.clone(), project.path("project/missing")].into();
        let wanted = Grants { system, ..Grants::default() };
        let settled = project.changeable().settle(None, &wanted);
        assert_eq!(settled.grants.system, [outside].into());
        assert_eq!(settled.left_out.len(), 1);
        let words = settled.left_out[0].to_string();
        assert!(words.contains("link (a file of the system) is not granted"), "{words}");
    }

    #[test]
    fn a_shared_workspace_above_a_folder_of_the_systems_is_refused() {
        let refused = Changeable::default().check_workspace("a", Path::new("/"), true).unwrap_err();
        assert!(refused.to_string().contains("contains /usr"), "{refused}");
    }
}
