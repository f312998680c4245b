//! Programs on PATH that only lead to others: shims of version managers, and programs whose libraries lie beside their
//! folder. Agents read the folders of PATH, and what these lead to only where it is granted.

use pilothouse_sandbox::isolation::Grants;
use std::collections::BTreeMap;
use std::path::Path;

/// Version managers by the end of their folder, and the variable that says where it is. Their own default lies in
/// HOME, which is another one in a session.
const MANAGERS: [(&str, Option<&str>); 6] = [
    (".pyenv/shims", None),
    (".rbenv/shims", None),
    (".nodenv/shims", None),
    (".goenv/shims", None),
    (".asdf/shims", Some("ASDF_DATA_DIR")),
    ("mise/shims", Some("MISE_DATA_DIR")),
];

/// What the folders of this PATH lead to and an agent with these grants cannot read.
pub(super) fn notes(
    key: &str,
    path: &str,
    env: &BTreeMap<String, String>,
    grants: &Grants,
) -> Vec<String> {
    let folders: Vec<_> = std::env::split_paths(path).filter(|folder| folder.is_dir()).collect();
    folders.iter().filter_map(|folder| note(key, folder, env, grants)).collect()
}

fn note(
    key: &str,
    folder: &Path,
    env: &BTreeMap<String, String>,
    grants: &Grants,
) -> Option<String> {
    let prefix = folder.parent().filter(|_| grants.reaches(folder))?;
    let manager = MANAGERS.iter().find(|(end, _)| folder.ends_with(end));
    let variable = manager.and_then(|(_, variable)| *variable);
    let variable = variable.filter(|name| !env.contains_key(*name));
    let is_granted = grants.reaches(prefix);
    let (folder_text, prefix_text) = (folder.display(), prefix.display());
    let grant = format!("name it in `isolation.read`: [{prefix_text}]");
    let set = variable
        .map(|name| format!("set `agents.{key}.env.set: {{{name}: {prefix_text}}}`"))
        .into_iter();
    if folder.ends_with("shims") {
        let steps: Vec<_> = (!is_granted).then_some(grant).into_iter().chain(set).collect();
        return (!steps.is_empty()).then(|| {
            format!(
                "programs in {folder_text} (on PATH) are shims that lead to {prefix_text}, and agents of `{key}` cannot run \
                 them: {}; or put the folder of one version on the server's PATH",
                steps.join(", and ")
            )
        });
    }
    let has_libraries = ["lib", "lib64", "libexec"].iter().any(|name| {
        let libraries = prefix.join(name);
        libraries.is_dir() && !grants.reaches(&libraries)
    });
    (folder.ends_with("bin") && has_libraries && prefix.parent().is_some()).then(|| {
        format!(
            "programs in {folder_text} (on PATH) may need libraries in {prefix_text}, which agents of `{key}` do not read; if \
             they do, {grant}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    /// A folder with these folders in it, and a PATH of the first of them.
    fn installed(folders: &[&str]) -> (tempfile::TempDir, PathBuf, String) {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().canonicalize().unwrap();
        for folder in folders {
            fs::create_dir_all(top.join(folder)).unwrap();
        }
        let path = top.join(folders[0]).display().to_string();
        (root, top, path)
    }

    fn notes_of(path: &str, read: &[PathBuf], variables: &[(&str, &str)]) -> Vec<String> {
        let mut grants = Grants::configured(read, &[]);
        grants.path(path, None);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        notes("bot", path, &variables.iter().map(owned).collect(), &grants)
    }

    #[test]
    fn shims_on_path_are_named_with_the_folder_to_grant_until_it_is_granted() {
        let (_root, top, path) = installed(&[".pyenv/shims", ".pyenv/versions"]);
        let notes = notes_of(&path, &[], &[]);
        let grant = format!("`isolation.read`: [{}]", top.join(".pyenv").display());
        assert!(notes.len() == 1 && notes[0].contains(&grant), "{notes:?}");
        assert!(notes_of(&path, &[top.join(".pyenv")], &[]).is_empty());
    }

    #[test]
    fn a_manager_that_looks_into_home_needs_its_variable_too() {
        let (_root, top, path) = installed(&["mise/shims"]);
        let granted = [top.join("mise")];
        let notes = notes_of(&path, &granted, &[]);
        let set = format!("`agents.bot.env.set: {{MISE_DATA_DIR: {}}}`", granted[0].display());
        assert!(notes.len() == 1 && notes[0].contains(&set), "{notes:?}");
        assert!(!notes[0].contains("isolation.read"), "{notes:?}");
        assert!(notes_of(&path, &granted, &[("MISE_DATA_DIR", "x")]).is_empty());
    }

    #[test]
    fn libraries_beside_a_folder_of_path_are_named() {
        let (_root, top, path) = installed(&["node/v22/bin", "node/v22/lib"]);
        let notes = notes_of(&path, &[], &[]);
        let grant = format!("[{}]", top.join("node/v22").display());
        assert!(notes.len() == 1 && notes[0].contains(&grant), "{notes:?}");
        assert!(notes_of(&path, &[top.join("node")], &[]).is_empty());
        let (_root, _, alone) = installed(&["tools/bin"]);
        assert!(notes_of(&alone, &[], &[]).is_empty());
        assert!(notes_of("/usr/bin:/bin", &[], &[]).is_empty());
    }
}
