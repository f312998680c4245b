//! Keys that have a new name: the old one works for one version, with a warning.

use super::node::{Node, walk};
use super::tree::variable_of;

/// Old and new name, both in one section; `*` is the name of an agent. Lines older than the last version go.
pub(super) const RENAMED: &[(&str, &str)] = &[];

/// The text of a file with the new names, and a warning for each.
pub(super) fn rename_keys(
    text: &str,
    tree: &Node,
    table: &[(&str, &str)],
) -> (String, Vec<(usize, String)>) {
    let mut lines: Vec<String> = text.split('\n').map(ToOwned::to_owned).collect();
    let mut warnings = Vec::new();
    let mut found = Vec::new();
    walk(tree, &mut Vec::new(), &mut |path, key, _| {
        let new = table.iter().find_map(|(old, new)| new_name(&path.join("."), '.', old, new));
        let at = (usize::try_from(key.line()).ok(), usize::try_from(key.column()).ok());
        if let (Some(new), (Some(line), Some(column))) = (new, at) {
            found.push((line, column, path.join("."), new));
        }
    });
    // From the right, so that places further to the left stay what they are.
    found.sort_by_key(|(line, column, ..)| std::cmp::Reverse((*line, *column)));
    for (line, column, old, new) in found {
        let leaf = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        if let Some(words) = lines.get_mut(line - 1) {
            let start = words.char_indices().nth(column - 1).map_or(words.len(), |(at, _)| at);
            let end =
                start + words[start..].find(&leaf(&old)).map_or(0, |at| at + leaf(&old).len());
            let key = words[start..end].replace(&leaf(&old), &leaf(&new));
            words.replace_range(start..end, &key);
            warnings.push((line, warning(&old, &new)));
        }
    }
    warnings.reverse();
    (lines.join("\n"), warnings)
}

/// The new name of a variable that sets a key by its old one, and a warning.
pub(super) fn rename_variable(name: &str, table: &[(&str, &str)]) -> Option<(String, String)> {
    let pattern = |key: &str| variable_of(&key.replace('*', "0AGENT0")).replace("0AGENT0", "*");
    table.iter().find_map(|(old, new)| {
        let new = new_name(name, '\0', &pattern(old), &pattern(new))?;
        let warning = warning(name, &new);
        Some((new, warning))
    })
}

fn warning(old: &str, new: &str) -> String {
    format!("`{old}` has a new name, `{new}`; the next version will not know the old one")
}

/// The new name of what has this old one; the part at `*` stays, and has no `separator` in it.
fn new_name(name: &str, separator: char, old: &str, new: &str) -> Option<String> {
    let Some((before, after)) = old.split_once('*') else {
        return (name == old).then(|| new.to_owned());
    };
    let agent = name.strip_prefix(before)?.strip_suffix(after)?;
    (!agent.is_empty() && !agent.contains(separator)).then(|| new.replacen('*', agent, 1))
}

#[cfg(test)]
mod tests {
    use super::super::tree::to_json;
    use super::super::yaml::Source;
    use super::*;
    use std::path::Path;

    const TABLE: &[(&str, &str)] =
        &[("limits.size", "limits.body"), ("agents.*.tools", "agents.*.allowed_tools")];

    fn renamed(text: &str) -> (String, Vec<(usize, String)>) {
        let tree = Source { path: Path::new("a.yaml"), text }.tree().unwrap();
        rename_keys(text, &tree, TABLE)
    }

    #[test]
    fn a_key_is_read_by_its_old_name_with_a_warning_that_names_line_and_new_name() {
        let (text, warnings) = renamed("# size: 1\nlimits:\n  size: 4MiB # size\n");
        assert_eq!(text, "# size: 1\nlimits:\n  body: 4MiB # size\n");
        let words = "`limits.size` has a new name, `limits.body`; the next version will not know the old one";
        assert_eq!(warnings, [(3, words.to_owned())]);
    }

    #[test]
    fn keys_of_each_agent_are_renamed_and_the_same_word_elsewhere_is_not() {
        let (text, warnings) =
            renamed("agents: {a: {tools: [size], size: 1}, 'é': {\"tools\": []}}\nsize: 2");
        let wanted =
            "agents: {a: {allowed_tools: [size], size: 1}, 'é': {\"allowed_tools\": []}}\nsize: 2";
        assert_eq!((text.as_str(), warnings.len()), (wanted, 2));
    }

    #[test]
    fn a_variable_sets_a_key_by_its_old_name() {
        let new = |name: &str| rename_variable(name, TABLE).map(|(new, _)| new);
        assert_eq!(new("PILOTHOUSE_LIMITS_SIZE").as_deref(), Some("PILOTHOUSE_LIMITS_BODY"));
        let tools = new("PILOTHOUSE_AGENTS_MY_AGENT_TOOLS");
        assert_eq!(tools.as_deref(), Some("PILOTHOUSE_AGENTS_MY_AGENT_ALLOWED_TOOLS"));
        assert_eq!(new("PILOTHOUSE_LIMITS_BODY"), None);
    }

    #[test]
    fn a_key_keeps_its_section() {
        let section = |key: &str| key.rsplit_once('.').map(|(section, _)| section.to_owned());
        assert!(RENAMED.iter().all(|(old, new)| section(old) == section(new)));
    }

    #[test]
    fn every_key_of_an_older_version_is_a_key_today_or_has_a_new_name() {
        let keys = include_str!("../../tests/it/upgrades/keys-fa4c159.txt").lines();
        let today = to_json(&super::super::Config::default());
        let unknown = keys.filter(|line| !line.starts_with('#')).filter(|key| {
            let path = format!("/{}", key.replace('*', "claude").replace('.', "/"));
            today.pointer(&path).is_none() && RENAMED.iter().all(|(old, _)| old != key)
        });
        assert_eq!(unknown.collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn the_example_file_of_an_older_version_is_read() {
        let text = include_str!("../../tests/it/upgrades/keys-fa4c159.yaml");
        let mut layers = super::super::layers::Layers::default();
        layers.file(Path::new("pilothouse.yaml"), text).unwrap();
        layers.validate(&layers.config()).unwrap();
    }
}
