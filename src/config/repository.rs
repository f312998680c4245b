//! The repository that each session has a clone of, and who agents are to git.

use super::defaults::section;
use super::error::Error;
use super::layers::Layers;
use super::origin::Origin;
use super::validate::Found;
use super::{AgentWorkspace, Config, Workspace, WorkspaceMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// The option that names a repository.
const FLAG: &str = "--repo";

section! {
    /// What each session has a clone of.
    #[derive(Debug, Eq)]
    pub struct Repository {
        /// An https address, or a path on this machine.
        pub url: Option<String>,
        /// Branch, tag or commit; what is checked out there when unset.
        #[serde(rename = "ref")]
        pub reference: Option<String>,
        /// Ignored folders of a repository on this machine that each clone reads by a link.
        pub share: Vec<String>,
    }
}

section! {
    /// Who agents are to git.
    #[derive(Debug, Eq)]
    pub struct Git {
        /// The name; that on the agent's card when unset.
        pub name: Option<String>,
        /// The address.
        pub email: String = "agent@pilothouse.invalid".to_owned(),
    }
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositorySource {
    /// At an address, which git reaches by this scheme.
    Remote {
        /// `https` or `http`.
        scheme: &'static str,
    },
    /// On this machine.
    Local(PathBuf),
}

impl RepositorySource {
    /// Reads an address or a path.
    ///
    /// # Errors
    ///
    /// Why it is neither, readable after its key.
    pub fn parse(url: &str) -> Result<Self, String> {
        let is_plain = !url.is_empty() && !url.starts_with('-') && !url.contains(char::is_control);
        if !is_plain {
            return Err("is neither an https address nor a path".to_owned());
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            let first = url.split('/').next().unwrap_or_default();
            return match first.contains(':') {
                true => Err(format!("is `{url}`, {SSH}")),
                false => Ok(Self::Local(PathBuf::from(url))),
            };
        };
        let host = rest.split('/').next().unwrap_or_default();
        match scheme {
            "http" | "https" if host.contains('@') => Err(
                "holds a user or a token, which `config show` and sessions would see; put it into `egress.git` (host, token)"
                    .to_owned(),
            ),
            "http" | "https" if rest.contains(['?', '#']) => {
                Err("holds `?` or `#`; the ref has a key of its own (`ref`)".to_owned())
            }
            "https" => Ok(Self::Remote { scheme: "https" }),
            "http" => Ok(Self::Remote { scheme: "http" }),
            "file" => Ok(Self::Local(PathBuf::from(rest))),
            "ssh" | "git+ssh" => Err(format!("is `{url}`, {SSH}")),
            _ => Err(format!("has the scheme `{scheme}`; use https, or a path on this machine")),
        }
    }
}

/// Why there is no ssh, and what to do.
const SSH: &str = "which is reached by ssh, and the server has no key for that; use its https address and put a token into \
                   `egress.git`";

impl Repository {
    /// Changes a path of this machine.
    pub(super) fn map_path(
        &mut self,
        change: impl FnOnce(&mut PathBuf) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(url) = &mut self.url else { return Ok(()) };
        if let Ok(RepositorySource::Local(mut path)) = RepositorySource::parse(url) {
            change(&mut path)?;
            *url = path.to_string_lossy().into_owned();
        }
        Ok(())
    }
}

impl Workspace {
    /// The workspace of an agent: what it says itself, and the rest from here.
    pub fn of(&self, agent: &AgentWorkspace) -> Self {
        let own = &agent.repository;
        Self {
            mode: agent.mode.unwrap_or(self.mode),
            path: agent.path.clone().unwrap_or_else(|| self.path.clone()),
            shared_turns: agent.shared_turns.unwrap_or(self.shared_turns),
            template: agent.template.clone().or_else(|| self.template.clone()),
            repository: match own.url {
                Some(_) => own.clone(),
                None => Repository {
                    url: self.repository.url.clone(),
                    reference: own.reference.clone().or(self.repository.reference.clone()),
                    share: match own.share.is_empty() {
                        true => self.repository.share.clone(),
                        false => own.share.clone(),
                    },
                },
            },
            push: agent.push.clone().unwrap_or_else(|| self.push.clone()),
        }
    }

    /// What cannot work, and the key below this workspace's to blame.
    fn find_fault(&self) -> Option<(&'static str, String)> {
        match self.mode {
            WorkspaceMode::Session | WorkspaceMode::Shared => None,
            WorkspaceMode::Copy => self.template.is_none().then(|| {
                (
                    "template",
                    "is needed by `mode: copy`; name the folder that sessions begin as copies of"
                        .to_owned(),
                )
            }),
            WorkspaceMode::Repository => {
                let Repository { url, reference, share } = &self.repository;
                let Some(url) = url else {
                    let advice = "is needed by `mode: repository`; write an https address or a path, or start with `--repo PATH`";
                    return Some(("repository.url", advice.to_owned()));
                };
                let source = match RepositorySource::parse(url) {
                    Err(why) => return Some(("repository.url", why)),
                    Ok(source) => source,
                };
                let unshared = share.iter().find_map(|path| why_not_shared(path, &source));
                if let Some(why) = unshared {
                    return Some(("repository.share", why));
                }
                let reference = reference.as_deref().filter(|name| !is_reference(name))?;
                Some((
                    "repository.ref",
                    format!("is `{reference}`, which is no branch, tag or commit"),
                ))
            }
        }
    }
}

/// Why a folder is not shared with clones.
fn why_not_shared(path: &str, source: &RepositorySource) -> Option<String> {
    let is_step = |part| matches!(part, Component::Normal(_));
    let parts: Vec<_> = Path::new(path).components().collect();
    let name = parts.last().map(|part| part.as_os_str().to_string_lossy()).unwrap_or_default();
    if matches!(source, RepositorySource::Remote { .. }) {
        return Some(format!(
            "names `{path}`, and a repository at an address has no ignored folders; leave it out"
        ));
    }
    if parts.is_empty() || !parts.into_iter().all(is_step) || path.contains(char::is_control) {
        return Some(format!("names `{path}`, which is no path within the repository"));
    }
    name.starts_with(".env").then(|| {
        format!("names `{path}`, which holds secrets; pass variables by `agents.*.env.pass`")
    })
}

/// Whether git could have a branch, tag or commit of this name (git-check-ref-format).
pub(super) fn is_reference(name: &str) -> bool {
    let is_step =
        |step: &str| !step.is_empty() && !step.starts_with('.') && !step.ends_with(".lock");
    !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains([' ', '~', '^', ':', '?', '*', '[', '\\', '"', '\''])
        && !name.contains(char::is_control)
        && name.split('/').all(is_step)
}

impl Config {
    /// Looks for workspaces that could not be made.
    pub(super) fn check_workspaces(&self, found: &mut Found) {
        let own = self.agents.iter().map(|(name, agent)| {
            (format!("agents.{name}.workspace"), self.workspace.of(&agent.workspace))
        });
        let mut told: Vec<(&str, String)> = Vec::new();
        for (section, workspace) in
            [("workspace".to_owned(), self.workspace.clone())].into_iter().chain(own)
        {
            // Agents that say nothing of their own have the fault of all.
            if let Some((key, text)) = workspace.find_fault().filter(|fault| !told.contains(fault))
            {
                let key_name = format!("{section}.{key}");
                found.add(&[&key_name], format!("`{key_name}` {text}"));
                told.push((key, text));
            }
        }
        for (key, text) in
            [("git.name", self.git.name.as_deref()), ("git.email", Some(&*self.git.email))]
        {
            // Git drops these, and takes nothing that is left empty.
            let is_usable =
                |text: &str| !text.trim().is_empty() && !text.contains(['<', '>', '\n', '\0']);
            if !text.is_none_or(is_usable) {
                found.add(
                    &[key],
                    format!("`{key}` is empty or holds `<`, `>` or the end of a line; correct it"),
                );
            }
        }
    }
}

/// What `--repo PATH|URL[#REF]` says.
pub(super) fn lay_over(option: &str, layers: &mut Layers) -> Result<(), Error> {
    let (url, reference) = match option.rsplit_once('#') {
        Some((url, reference)) if !Path::new(option).is_dir() => (url, Some(reference)),
        Some(_) | None => (option, None),
    };
    let mut set = |key: &str, text: &str| {
        layers.set_text(&key.split('.').collect::<Vec<_>>(), text, Origin::Flag(FLAG))
    };
    set("workspace.mode", "repository")?;
    set("workspace.repository.url", url)?;
    reference.map_or(Ok(()), |reference| set("workspace.repository.ref", reference))
}

/// The first forerunner's variable for the folder that Claude works in.
const FORERUNNERS_FOLDER: &str = "CLAUDE_CODE_WORKSPACE_DIR";

/// Fills in where sessions work, as far as that follows from what lies there: a folder with files in it that the
/// forerunner's variable names is the one to work in, and nothing is made in a repository unasked.
pub(super) fn place(layers: &mut Layers, cwd: &Path) {
    let workspace = layers.config().workspace;
    let says_nothing = |layers: &Layers, key: &str| layers.origin(key) == Origin::Default;
    let origin = layers.origin("workspace.path");
    let is_forerunners = matches!(&origin, Origin::Environment(name) | Origin::EnvFile(name) if name == FORERUNNERS_FOLDER);
    if is_forerunners
        && says_nothing(layers, "workspace.mode")
        && holds_files(&cwd.join(&workspace.path))
    {
        layers.set("workspace.mode", "shared".into(), origin);
        return;
    }
    let is_unplaced = says_nothing(layers, "workspace.path")
        && workspace.mode != WorkspaceMode::Shared
        && cwd.is_absolute()
        && !cwd.join(&workspace.path).exists();
    let Some(top) =
        cwd.ancestors().find(|above| above.join(".git").exists()).filter(|_| is_unplaced)
    else {
        return;
    };
    let folder = layers.config().state_dir.join("workspaces").to_string_lossy().into_owned();
    let origin = Origin::Derived(format!("nothing is made in the repository {}", top.display()));
    layers.set("workspace.path", folder.into(), origin);
}

/// Whether there is anything in a folder but folders of sessions, and what belongs to the disk.
fn holds_files(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| {
        let is_ours = name.starts_with(".pilothouse-") || uuid::Uuid::try_parse(&name).is_ok();
        !is_ours && name != "lost+found"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, Loaded, load};

    /// What is loaded in this folder, with these variables.
    fn loaded(cwd: &Path, variables: &[(&str, &str)]) -> Loaded {
        let mut environment = Environment::from([("HOME", "/nonexistent")]);
        for (name, value) in variables {
            environment.variables.insert((*name).to_owned(), (*value).to_owned());
        }
        load(&Flags::default(), &environment, cwd).unwrap()
    }

    #[test]
    fn in_a_repository_sessions_work_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let cwd = folder.path();
        assert_eq!(loaded(cwd, &[]).config.workspace.path, cwd.join("workspace"));
        std::fs::create_dir(cwd.join(".git")).unwrap();
        let inside = cwd.join("src");
        std::fs::create_dir(&inside).unwrap();
        for place in [cwd, &inside] {
            let expected = Path::new("/nonexistent/.local/state/pilothouse/workspaces");
            assert_eq!(loaded(place, &[]).config.workspace.path, expected);
        }
        // A folder that is there was made by an earlier start, or by hand.
        std::fs::create_dir(cwd.join("workspace")).unwrap();
        assert_eq!(loaded(cwd, &[]).config.workspace.path, cwd.join("workspace"));
    }

    #[test]
    fn a_folder_with_files_that_the_forerunners_variable_names_is_the_one_to_work_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let mode = |more: &[(&str, &str)]| {
            let variables = [&[(FORERUNNERS_FOLDER, path)], more].concat();
            loaded(Path::new("/nonexistent"), &variables).config.workspace.mode
        };
        std::fs::create_dir(folder.path().join(uuid::Uuid::now_v7().to_string())).unwrap();
        std::fs::create_dir(folder.path().join("lost+found")).unwrap();
        assert_eq!(mode(&[]), WorkspaceMode::Session);
        std::fs::write(folder.path().join("main.c"), "").unwrap();
        assert_eq!(mode(&[]), WorkspaceMode::Shared);
        assert_eq!(mode(&[("PILOTHOUSE_WORKSPACE_MODE", "session")]), WorkspaceMode::Session);
    }

    #[test]
    fn a_repository_is_an_https_address_or_a_path_and_never_holds_a_secret() {
        let local = |path: &str| Ok(RepositorySource::Local(path.into()));
        assert_eq!(RepositorySource::parse("../shop"), local("../shop"));
        assert_eq!(RepositorySource::parse("file:///srv/shop.git"), local("/srv/shop.git"));
        let remote = RepositorySource::Remote { scheme: "https" };
        assert_eq!(RepositorySource::parse("https://git.example.com/a/b"), Ok(remote));
        for (url, told) in [
            ("git@example.com:a/b", "`egress.git`"),
            ("ssh://git@example.com/a/b", "`egress.git`"),
            ("https://user:secret@example.com/a", "`egress.git`"),
            ("ext::sh -c true", "ssh"),
            ("git://example.com/a", "scheme `git`"),
            ("--upload-pack=evil", "neither"),
            ("", "neither"),
        ] {
            let error = RepositorySource::parse(url).unwrap_err();
            assert!(error.contains(told) && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn a_ref_is_a_name_that_git_could_have_given() {
        for name in ["main", "feature/a.b", "v1.2", "0123abcd", "releases/2026-11"] {
            assert!(is_reference(name), "{name}");
        }
        for name in ["", "-b", "a..b", "a b", "a:b", "HEAD@{1}", "a^{commit}", "a/", ".a", "a.lock"]
        {
            assert!(!is_reference(name), "{name}");
        }
    }

    #[test]
    fn only_folders_within_a_repository_on_this_machine_are_shared_and_no_secrets() {
        let local = RepositorySource::Local("/srv/shop".into());
        let remote = RepositorySource::Remote { scheme: "https" };
        for path in ["node_modules", "web/node_modules", ".venv"] {
            assert_eq!(why_not_shared(path, &local), None);
            assert!(why_not_shared(path, &remote).is_some());
        }
        for path in ["", ".", "../other", "/etc", ".env", "web/.env.local"] {
            assert!(why_not_shared(path, &local).is_some(), "{path}");
        }
    }

    #[test]
    fn an_agent_with_a_repository_of_its_own_has_no_ref_of_the_others() {
        let repository = |url: Option<&str>, reference: Option<&str>| Repository {
            url: url.map(ToOwned::to_owned),
            reference: reference.map(ToOwned::to_owned),
            share: Vec::new(),
        };
        let all =
            Workspace { repository: repository(Some("/a"), Some("main")), ..Workspace::default() };
        let of = |own| {
            all.of(&AgentWorkspace { repository: own, ..AgentWorkspace::default() }).repository
        };
        assert_eq!(of(repository(None, None)), all.repository);
        assert_eq!(of(repository(None, Some("next"))), repository(Some("/a"), Some("next")));
        assert_eq!(of(repository(Some("/b"), None)), repository(Some("/b"), None));
    }
}
