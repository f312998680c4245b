//! A shared workspace that is a worktree of a git repository elsewhere (`git worktree add`).
//!
//! Its `.git` is a file that names the repository. Agents may write that file, so nothing is ever granted by it: it is
//! read once, at the start, and the operator is told the lines that grant what it names.

use std::fs;
use std::path::{Path, PathBuf};

/// Longer than any path.
const LONGEST: u64 = 8 * 1024;

/// The repository of a worktree.
#[derive(Debug, PartialEq, Eq)]
struct Repository {
    /// What all worktrees share: objects, refs, hooks and configuration.
    common: PathBuf,
    /// What this worktree has of its own there: HEAD and index.
    own: PathBuf,
    /// The folder of the branch that is checked out, below `refs/heads`, where that is not `refs/heads` itself.
    branches: Option<PathBuf>,
}

/// What a shared workspace needs that these paths do not grant already, as the lines that grant it.
pub fn describe_missing_grants(shared: &Path, granted: &[PathBuf]) -> Option<String> {
    let repository = find(shared)?;
    if granted.iter().any(|path| repository.common.starts_with(path)) {
        return None;
    }
    let changed = repository.changed();
    let changed: Vec<_> = changed.iter().map(|path| path.display().to_string()).collect();
    let note = format!(
        "{} is a worktree of {}, which is not granted, so git does not work in it. If you know that repository, grant it: \
         `isolation.read: [{}]`, and to have agents commit `isolation.write: [{}]`. Hooks, configuration and other refs stay \
         read-only",
        shared.display(),
        repository.common.display(),
        repository.common.display(),
        changed.join(", ")
    );
    Some(match repository.branches {
        Some(_) => note,
        None => format!(
            "{note}, so commits need a detached HEAD (`git worktree add --detach`) or a branch in a folder of its own \
             (`git worktree add -b agents/NAME`)"
        ),
    })
}

/// The folders by which a project in this folder may be known: itself, the top of the repository that it lies in, and
/// the main one of its worktrees.
pub fn find_projects(folder: &Path) -> Vec<PathBuf> {
    let top = folder.ancestors().find(|above| above.join(".git").symlink_metadata().is_ok());
    let main =
        top.and_then(find).and_then(|repository| Some(repository.common.parent()?.to_owned()));
    let mut projects: Vec<_> =
        [folder].into_iter().chain(top).map(Path::to_owned).chain(main).collect();
    projects.dedup();
    projects
}

impl Repository {
    /// What a commit changes.
    fn changed(&self) -> Vec<PathBuf> {
        let mut changed = vec![self.common.join("objects"), self.own.clone()];
        if let Some(folder) = &self.branches {
            changed.push(self.common.join("refs/heads").join(folder));
            changed.push(self.common.join("logs/refs/heads").join(folder));
        }
        changed
    }
}

/// The repository of this worktree, where that knows the worktree too: otherwise anything could be named there.
fn find(worktree: &Path) -> Option<Repository> {
    let link = worktree.join(".git");
    let named = read(&link)?.strip_prefix("gitdir:").map(|path| path.trim().to_owned())?;
    let own = worktree.join(named).canonicalize().ok()?;
    let back = own.join(read(&own.join("gitdir"))?);
    if back.canonicalize().ok()? != link.canonicalize().ok()? {
        return None;
    }
    let common = own.join(read(&own.join("commondir"))?).canonicalize().ok()?;
    let is_repository = common.join("objects").is_dir() && common.join("HEAD").is_file();
    if !is_repository || own.parent() != Some(common.join("worktrees").as_path()) {
        return None;
    }
    let head = read(&own.join("HEAD"))?;
    let branch = head.strip_prefix("ref: refs/heads/").map(PathBuf::from);
    let branches = branch.and_then(|branch| Some(branch.parent()?.to_owned()));
    let branches = branches.filter(|folder| {
        let is_plain = |part| matches!(part, std::path::Component::Normal(_));
        folder.components().count() > 0 && folder.components().all(is_plain)
    });
    Some(Repository { common, own, branches })
}

/// The line of a short regular file.
fn read(path: &Path) -> Option<String> {
    let found = path.symlink_metadata().ok()?;
    let is_short = found.is_file() && found.len() < LONGEST;
    is_short.then(|| fs::read_to_string(path).ok()).flatten().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn git(folder: &Path, args: &[&str]) {
        let names =
            ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
        let mut git = Command::new("git");
        git.current_dir(folder).args(args).envs(names.map(|name| (name, "t")));
        let run = git.env("GIT_CONFIG_GLOBAL", "/dev/null").output();
        let run = run.unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }

    /// A repository `main` with a worktree `tree`.
    fn repository(branch: &[&str]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        git(&top, &["init", "-q", "main"]);
        git(&top.join("main"), &["commit", "-q", "--allow-empty", "-m", "first"]);
        let add = [&["worktree", "add", "-q"][..], branch, &["../tree"][..]].concat();
        git(&top.join("main"), &add);
        (folder, top.join("main/.git"), top.join("tree"))
    }

    #[test]
    fn a_worktree_names_what_grants_its_repository_until_it_is_granted() {
        let (_folder, common, tree) = repository(&["-b", "agents/fix"]);
        let told = describe_missing_grants(&tree, &[]).unwrap();
        let common_path = common.display();
        assert!(told.contains(&format!("isolation.read: [{common_path}]")), "{told}");
        let write = [
            common.join("objects"),
            common.join("worktrees/tree"),
            common.join("refs/heads/agents"),
            common.join("logs/refs/heads/agents"),
        ];
        for path in &write {
            assert!(told.contains(&path.display().to_string()), "{told}");
        }
        assert_eq!(describe_missing_grants(&tree, &[common]), None);
    }

    #[test]
    fn a_project_is_known_by_its_folder_its_repository_and_the_main_one() {
        let (_folder, common, tree) = repository(&["--detach"]);
        let (below, main) = (tree.join("below"), common.parent().unwrap().to_owned());
        fs::create_dir(&below).unwrap();
        assert_eq!(find_projects(&main), std::slice::from_ref(&main));
        assert_eq!(find_projects(&below), [below.clone(), tree, main]);
    }

    #[test]
    fn a_branch_beside_others_is_not_made_writable() {
        let (_folder, common, tree) = repository(&["-b", "fix"]);
        let told = describe_missing_grants(&tree, &[]).unwrap();
        assert!(told.contains("--detach") && !told.contains("refs/heads"), "{told}");
        assert!(!told.contains(&common.join("config").display().to_string()), "{told}");
    }

    #[test]
    fn a_file_that_an_agent_could_have_written_names_nothing_that_does_not_know_the_worktree() {
        let (folder, common, tree) = repository(&["--detach"]);
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(".git"), format!("gitdir: {}", common.display())).unwrap();
        assert_eq!(describe_missing_grants(&other, &[]), None);
        fs::copy(tree.join(".git"), other.join(".git")).unwrap();
        assert_eq!(describe_missing_grants(&other, &[]), None);
        assert!(describe_missing_grants(&tree, &[]).is_some());
    }
}
