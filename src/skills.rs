//! Skills that lie in folders as `*/SKILL.md`, read once for the card: name and description of their
//! front matter. The rest of such a file is for the agent and is not read here.

use crate::plain_file;
use pilothouse_a2a::card::AgentSkill;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Skills of one agent at most; a card is read by machines that put it into prompts.
const SKILLS: usize = 256;
/// Entries of one folder that are looked at.
const ENTRIES: usize = 4096;
/// Bytes of a file in which its front matter must end.
const FRONT_MATTER: u64 = 16 * 1024;
/// The file of a skill.
const FILE: &str = "SKILL.md";

/// What is used of the front matter.
#[derive(Debug, Deserialize)]
struct FrontMatter {
    name: Option<String>,
    description: Option<String>,
    #[serde(rename = "user-invocable")]
    user_invocable: Option<bool>,
}

/// What lies in folders of skills.
#[derive(Debug, Default)]
pub struct FoundSkills {
    /// The skills, by folder and then by name.
    pub skills: Vec<AgentSkill>,
    /// Ids of those that people cannot call by their names.
    pub hidden: BTreeSet<String>,
    /// What was left out.
    pub left_out: Vec<LeftOut>,
}

/// What was left out, and why.
#[derive(Debug)]
pub struct LeftOut {
    /// Its folder's name, where it is about a single skill.
    pub id: Option<String>,
    /// Its place.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl LeftOut {
    /// As the operator should know it.
    pub fn note(&self) -> String {
        match self.id {
            Some(_) => format!("{} is left out of the card: {}", self.path.display(), self.reason),
            None => format!("{}: {}", self.path.display(), self.reason),
        }
    }
}

/// The skills in these folders. A folder below is a skill's id; where two have the same, the first is taken.
pub fn read(folders: &[PathBuf]) -> FoundSkills {
    let mut found = FoundSkills::default();
    let mut known = BTreeSet::new();
    for folder in folders {
        let entries = match entries(folder) {
            Ok(entries) => entries,
            Err(error) => {
                found.left_out.push(LeftOut {
                    id: None,
                    path: folder.clone(),
                    reason: format!("no skills from there: {error}; correct `skills_from`"),
                });
                continue;
            }
        };
        for entry in entries {
            let file = entry.join(FILE);
            // A path that is no plain file could keep the start waiting.
            if !file.is_file() {
                continue;
            }
            if found.skills.len() == SKILLS {
                let reason = format!(
                    "there are more than {SKILLS} skills; those from here on are left out of the card"
                );
                found.left_out.push(LeftOut { id: None, path: file, reason });
                return found;
            }
            let id = entry.file_name().map(|name| name.to_string_lossy().into_owned());
            match skill(&entry, &file) {
                Ok((skill, hidden)) if known.insert(skill.id.clone()) => {
                    if hidden {
                        found.hidden.insert(skill.id.clone());
                    }
                    found.skills.push(skill);
                }
                Ok((skill, _)) => {
                    let reason = format!("there is a skill `{}` already", skill.id);
                    found.left_out.push(LeftOut { id, path: file, reason });
                }
                Err(reason) => found.left_out.push(LeftOut { id, path: file, reason }),
            }
        }
    }
    found
}

/// What lies in a folder, sorted. One level alone is read, so links cannot lead in circles.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.take(ENTRIES);
    let mut entries: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    Ok(entries)
}

/// A skill, and whether people cannot call it by its name.
fn skill(folder: &Path, file: &Path) -> Result<(AgentSkill, bool), String> {
    let id = folder
        .file_name()
        .and_then(|name| name.to_str())
        .filter(|name| !name.chars().any(char::is_control));
    let id = id.ok_or("the name of its folder is not plain text")?;
    let mut text = Vec::new();
    plain_file::open(file)
        .and_then(|file| file.take(FRONT_MATTER).read_to_end(&mut text))
        .map_err(|error| error.to_string())?;
    // The bytes may end within a character of the body.
    let text = String::from_utf8_lossy(&text);
    let front = front_matter(&text).ok_or_else(|| {
        format!("it does not begin with front matter between `---` lines of {FRONT_MATTER} bytes at most")
    })?;
    let front: FrontMatter = serde_saphyr::from_str(front).map_err(|error| {
        format!("its front matter is no YAML: {}", one_line(&error.to_string()))
    })?;
    let required = |name: &str, value: Option<String>| {
        let value = value.map(|value| one_line(&value));
        let value = value.filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("its front matter has no `{name}`"))
    };
    let skill = AgentSkill {
        id: id.to_owned(),
        name: required("name", front.name)?,
        description: required("description", front.description)?,
        tags: vec!["skill".to_owned()],
        ..AgentSkill::default()
    };
    Ok((skill, front.user_invocable == Some(false)))
}

/// The folders with a skill in this one, which may be one itself; sorted.
pub fn skill_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if folder.join(FILE).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    Ok(entries(folder)?.into_iter().filter(|entry| entry.join(FILE).is_file()).collect())
}

/// The name that a Markdown file gives itself in its front matter.
pub fn front_name(file: &Path) -> Option<String> {
    let mut text = Vec::new();
    plain_file::open(file).ok()?.take(FRONT_MATTER).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let front: FrontMatter = serde_saphyr::from_str(front_matter(&text)?).ok()?;
    front.name.map(|name| one_line(&name)).filter(|name| !name.is_empty())
}

/// What stands between the first two lines of three dashes.
fn front_matter(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first, rest) = text.split_once('\n')?;
    if first.trim_end() != "---" {
        return None;
    }
    let mut length = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some(&rest[..length]);
        }
        length += line.len();
    }
    None
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn folder(skills: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in skills {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(FILE), text).unwrap();
        }
        folder
    }

    fn read_all(folders: &[PathBuf]) -> (Vec<AgentSkill>, Vec<String>) {
        let found = read(folders);
        (found.skills, found.left_out.iter().map(LeftOut::note).collect())
    }

    fn read_one(folder: &TempDir) -> (Vec<AgentSkill>, Vec<String>) {
        read_all(&[folder.path().to_owned()])
    }

    #[test]
    fn a_skill_has_its_folders_name_as_id_and_the_rest_from_its_front_matter() {
        let text = "---\nname: Release notes\ndescription: >\n  Writes what\n  has changed.\nmetadata:\n  author: us\n---\n# How\n---\n";
        let (skills, notes) = read_one(&folder(&[("release", text)]));
        let expected = AgentSkill {
            id: "release".into(),
            name: "Release notes".into(),
            description: "Writes what has changed.".into(),
            tags: vec!["skill".into()],
            ..AgentSkill::default()
        };
        assert_eq!((skills, notes), (vec![expected], Vec::new()));
    }

    #[test]
    fn skills_stand_in_the_order_of_their_folders_names() {
        let text = "---\r\nname: n\r\ndescription: d\r\n---\r\n";
        let (skills, _) = read_one(&folder(&[("c", text), ("a", text), ("b", text)]));
        let ids: Vec<_> = skills.iter().map(|skill| &*skill.id).collect();
        assert_eq!(ids, ["a", "b", "c"]);
    }

    #[test]
    fn a_file_without_name_or_description_is_left_out_and_named() {
        let folder = folder(&[
            ("a", "---\nname: n\n---\n"),
            ("b", "---\ndescription: d\n---\n"),
            ("c", "no front matter"),
            ("d", "---\nname: [\n---\n"),
            ("e", "---\nname: n\ndescription: never ended"),
        ]);
        let (skills, notes) = read_one(&folder);
        assert!(skills.is_empty());
        assert_eq!(notes.len(), 5, "{notes:#?}");
        assert!(notes[0].ends_with(
            "a/SKILL.md is left out of the card: its front matter has no `description`"
        ));
        assert!(notes[1].ends_with("its front matter has no `name`"));
    }

    #[test]
    fn the_first_of_two_skills_with_one_id_is_taken() {
        let first = folder(&[("x", "---\nname: first\ndescription: d\n---\n")]);
        let second = folder(&[("x", "---\nname: second\ndescription: d\n---\n")]);
        let (skills, notes) = read_all(&[first.path().to_owned(), second.path().to_owned()]);
        assert_eq!((skills.len(), &*skills[0].name, notes.len()), (1, "first", 1));
    }

    #[test]
    fn links_in_circles_and_files_without_folders_are_passed_over() {
        let folder = folder(&[("good", "---\nname: n\ndescription: d\n---\n")]);
        std::os::unix::fs::symlink(".", folder.path().join("circle")).unwrap();
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        fs::write(
            folder.path().join(FILE),
            "---\nname: x\ndescription: of the folder above\n---\n",
        )
        .unwrap();
        let (skills, notes) = read_one(&folder);
        let ids: Vec<_> = skills.iter().map(|skill| &*skill.id).collect();
        // `circle/SKILL.md` is the file above by another name; nothing below it is followed.
        assert_eq!((ids, notes), (vec!["circle", "good"], Vec::new()));
    }

    #[test]
    fn there_are_not_more_skills_than_a_card_may_hold() {
        let names: Vec<String> = (0..=SKILLS).map(|number| format!("{number:04}")).collect();
        let text = "---\nname: n\ndescription: d\n---\n";
        let skills: Vec<_> = names.iter().map(|name| (&**name, text)).collect();
        let (skills, notes) = read_one(&folder(&skills));
        assert_eq!((skills.len(), notes.len()), (SKILLS, 1));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let (skills, notes) = read_all(&[PathBuf::from("not/there")]);
        assert!(skills.is_empty() && notes[0].contains("not/there"), "{notes:?}");
    }
}
