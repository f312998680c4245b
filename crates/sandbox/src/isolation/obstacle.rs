//! Why a program could not be run though it lies there: what it is run by is not granted, or is missing.
//!
//! The kernel says "no such file" of a script whose interpreter it does not find, and of a program whose loader it
//! does not find. So the way from the program to what runs it is followed, as it was for the grants.

use super::Grants;
use super::bubblewrap::WORKSPACE;
use super::grants::{LINKS, interpreter, normal, parse_interpreter};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What programs say of a path that they miss or may not use.
const MISSING: [&str; 4] = ["No such file", "ENOENT", "Permission denied", "Read-only file system"];

/// What keeps a program from being run, and who can do what about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Readable after the error.
    pub reason: String,
    /// What can be done.
    pub hint: String,
}

impl Obstacle {
    /// Something is there, and the sandbox does not have it.
    fn ungranted(path: &Path, program: &Path) -> Self {
        Self {
            reason: format!("{} is not granted in the sandbox", runs(path, program)),
            hint: format!(
                "the operator must name it, and the libraries that it needs, in `isolation.read`: [{}]",
                path.display()
            ),
        }
    }

    /// Something is missing on this machine.
    fn missing(path: &Path, program: &Path) -> Self {
        Self {
            reason: format!("{} is not on this machine", runs(path, program)),
            hint: "the operator must install it, or correct what names it".to_owned(),
        }
    }

    /// Nothing that a part leads to is granted by it, because agents may change that part.
    fn changeable(part: &Path) -> Self {
        Self {
            reason: format!(
                "agents may change {}, so what it leads to (an interpreter, the target of a link) is not granted by it",
                part.display()
            ),
            hint: "the operator must name what it leads to in `isolation.read`, or move it to a folder that agents \
                   only read"
                .to_owned(),
        }
    }

    /// The program and its interpreter are there.
    pub fn loader(is_sandboxed: bool) -> Self {
        let place = if is_sandboxed { "in the sandbox" } else { "on this machine" };
        Self {
            reason: format!("it is there, so its loader (a dynamic linker) or its format is not {place}"),
            hint: match is_sandboxed {
                true => {
                    "the operator must name the loader and its libraries in `isolation.read`, or install a program \
                         that this machine runs"
                }
                false => "the operator must install a program that this machine runs",
            }
            .to_owned(),
        }
    }

    /// A program is that of an image.
    pub fn of_image(image: &str, program: &Path) -> Self {
        Self {
            reason: format!(
                "the image {image} does not have {}, or not what runs it",
                program.display()
            ),
            hint: "the operator must put it into the image (`isolation.container.image`), or name what this machine \
                   has of it in `isolation.read`"
                .to_owned(),
        }
    }

    /// What is to be done where a program says that an absolute path is missing or closed, which may well be so in the
    /// sandbox alone. Whether it exists outside is not looked up: the words are the agent's, who must not learn that.
    pub fn explain_missing_path(words: &str) -> Option<String> {
        let paths_of = |text: &str| -> Vec<String> {
            let words = text.split(|one: char| one.is_whitespace() || "'\"`,;".contains(one));
            let paths = words.filter(|word| word.len() > 1 && word.starts_with('/'));
            paths.map(|path| path.trim_end_matches([':', '.', ')']).to_owned()).collect()
        };
        // The path stands next to the words, before them where one is there: further ahead may be the program's own.
        let path = words.lines().find_map(|line| {
            let at = MISSING.iter().filter_map(|word| line.find(word)).min()?;
            let (before, after) = line.split_at(at);
            paths_of(before).pop().or_else(|| paths_of(after).into_iter().next())
        })?;
        if Path::new(&path).starts_with(WORKSPACE) {
            return Some(format!(
                "{path} is not in the folder of the session, where an agent begins and relative names are looked for; name \
                 a file by its absolute path, which the operator grants by `isolation.read`"
            ));
        }
        Some(format!(
            "the sandbox shows the workspace, HOME and the system's programs; if {path} exists on this machine, the \
             operator can grant it by `isolation.read` or `isolation.write`"
        ))
    }

    /// What is to be done where a command was not found in a sandbox.
    pub const COMMAND: &str = "the sandbox has the programs of the system (in a container those of its image) and what \
                               is granted; the operator can grant more by `isolation.read`";
}

fn runs(path: &Path, program: &Path) -> String {
    if path == program {
        return path.display().to_string();
    }
    format!("{}, by which {} is run,", path.display(), program.display())
}

impl Grants {
    /// What keeps this program from being run: the first part of the way from it to its last interpreter that is not
    /// granted or not there. `path` is the agent's PATH. Agents may change `part`, so nothing is looked at behind it.
    /// None where the whole way is there.
    pub fn find_obstacle(
        &self,
        program: &Path,
        path: &str,
        part: Option<&Path>,
    ) -> Option<Obstacle> {
        let mut at = program.to_owned();
        for _ in 0..LINKS {
            if part == Some(&at) {
                return match interpreter_of_text(&at, path) {
                    Some(next) if self.reaches(&next) => None,
                    Some(next) => Some(Obstacle::ungranted(&next, program)),
                    None => Some(Obstacle::changeable(&at)),
                };
            }
            if at.symlink_metadata().is_err() {
                return Some(Obstacle::missing(&at, program));
            }
            if !self.reaches(&at) {
                return Some(Obstacle::ungranted(&at, program));
            }
            at = match fs::read_link(&at) {
                Ok(target) => normal(&at.parent().unwrap_or(Path::new("/")).join(target)),
                Err(_) => interpreter(&at, path).filter(|next| *next != at)?,
            };
        }
        None
    }

    /// Whether an agent reaches this path.
    pub fn reaches(&self, path: &Path) -> bool {
        let folders = self
            .system
            .iter()
            .chain(self.read.keys())
            .chain(self.write.keys())
            .chain(self.aliases.keys());
        let is_link = || self.links.iter().any(|(link, _)| link == path);
        folders.into_iter().any(|folder| path.starts_with(folder)) || is_link()
    }
}

/// The interpreter of a script that agents may change. What they put in its place, or into the way to it, is not
/// followed: only text that they can read themselves is told.
fn interpreter_of_text(script: &Path, path: &str) -> Option<PathBuf> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(CWD, script, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
    let file = File::from(file);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    parse_interpreter(file, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A script, a link to it, and a folder with its interpreter.
    fn installed() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap();
        fs::create_dir(folder.join("tools")).unwrap();
        fs::write(folder.join("tools/run"), "\x7fELF").unwrap();
        let script = format!("#!{}\n", folder.join("tools/run").display());
        fs::write(folder.join("bot"), script).unwrap();
        symlink("bot", folder.join("link")).unwrap();
        (root, folder)
    }

    fn granting(paths: &[PathBuf]) -> Grants {
        Grants::configured(paths, &[])
    }

    #[test]
    fn the_first_part_of_the_way_that_is_not_granted_is_named() {
        let (_root, at) = installed();
        let [link, bot, run] = ["link", "bot", "tools/run"].map(|name| at.join(name));
        let find = |grants: Vec<PathBuf>| granting(&grants).find_obstacle(&link, "", None);
        assert_eq!(find(vec![]), Some(Obstacle::ungranted(&link, &link)));
        assert_eq!(find(vec![link.clone()]), Some(Obstacle::ungranted(&bot, &link)));
        assert_eq!(find(vec![link.clone(), bot.clone()]), Some(Obstacle::ungranted(&run, &link)));
        assert_eq!(find(vec![link.clone(), bot, at.join("tools")]), None);
        fs::remove_file(&run).unwrap();
        assert_eq!(find(vec![at]), Some(Obstacle::missing(&run, &link)));
    }

    #[test]
    fn of_a_part_that_agents_may_change_no_more_than_its_own_text_is_told() {
        let (_root, at) = installed();
        let [link, bot, run] = ["link", "bot", "tools/run"].map(|name| at.join(name));
        let find = |part: &Path| granting(&[at.join("bot")]).find_obstacle(part, "", Some(part));
        assert_eq!(find(&bot), Some(Obstacle::ungranted(&run, &bot)));
        // A link may lead to what agents must not read.
        assert_eq!(find(&link), Some(Obstacle::changeable(&link)));
    }

    #[test]
    fn a_path_that_a_program_misses_is_named_with_the_key_that_grants_it() {
        for words in [
            "python3: can't open file '/srv/shop/agent.py': [Errno 2] No such file or directory",
            "starting\ncat: /srv/shop/agent.py: No such file or directory",
            "Error: ENOENT: No such file or directory, open '/srv/shop/agent.py'",
        ] {
            let hint = Obstacle::explain_missing_path(words).unwrap();
            assert!(hint.contains("if /srv/shop/agent.py exists"), "{hint}");
        }
        let words = "/usr/bin/python3: can't open file '/workspace/agent.py': [Errno 2] No such file or directory";
        let hint = Obstacle::explain_missing_path(words).unwrap();
        assert!(
            hint.starts_with("/workspace/agent.py is not in the folder of the session"),
            "{hint}"
        );
        for words in ["no key", "cat: notes.txt: No such file or directory", "GET /v1: 404"] {
            assert_eq!(Obstacle::explain_missing_path(words), None);
        }
    }
}
