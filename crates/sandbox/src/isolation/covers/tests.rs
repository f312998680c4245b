use super::*;
use std::os::unix::fs::symlink;

struct Project(tempfile::TempDir);

impl Project {
    fn with<const N: usize>(files: [&str; N]) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        for file in files {
            let path = project.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn own(&self, name: &str, is_secret: bool) -> OwnFile {
        OwnFile { path: self.path(name), named_by: "`key`", is_secret, is_written: false }
    }

    /// Where covers are and what they are, in a shared workspace.
    fn covers(&self, own: &[OwnFile]) -> Vec<(String, How)> {
        let covered = cover("a", Some(self.0.path()), &Grants::default(), own).unwrap();
        let covers = covered.covers.into_iter();
        covers.map(|one| (one.place("/w").display().to_string(), one.how)).collect()
    }
}

fn pair(at: &str, how: How) -> (String, How) {
    (at.to_owned(), how)
}

#[test]
fn a_secret_is_empty_and_anything_else_is_read_only() {
    let project = Project::with([".env", "pilothouse.yaml"]);
    let own = [project.own(".env", true), project.own("pilothouse.yaml", false)];
    assert_eq!(
        project.covers(&own),
        [pair("/w/.env", How::Empty), pair("/w/pilothouse.yaml", How::ReadOnly)]
    );
}

#[test]
fn folders_between_are_kept_in_their_places() {
    let project = Project::with(["a/b/key"]);
    assert_eq!(
        project.covers(&[project.own("a/b/key", true)]),
        [pair("/w/a", How::Fixed), pair("/w/a/b", How::Fixed), pair("/w/a/b/key", How::Empty)]
    );
}

#[test]
fn what_lies_in_an_own_folder_never_makes_that_folder_writable() {
    let project = Project::with(["a/b/key"]);
    let own = [project.own("a", false), project.own("a/b/key", true)];
    assert_eq!(project.covers(&own), [pair("/w/a", How::ReadOnly), pair("/w/a/b/key", How::Empty)]);
    let own = [project.own("a", true), project.own("a/b/key", true)];
    assert_eq!(project.covers(&own), [pair("/w/a", How::Empty)]);
}

#[test]
fn a_folder_that_is_granted_for_reading_hides_secrets_alone() {
    let project = Project::with([".env", "pilothouse.yaml"]);
    let own = [project.own(".env", true), project.own("pilothouse.yaml", false)];
    let mut grants = Grants::default();
    grants.read.insert(project.0.path().to_owned(), "`isolation.read`");
    let covered = cover("a", None, &grants, &own).unwrap();
    let places: Vec<PathBuf> = covered.covers.iter().map(|one| one.place("/w")).collect();
    assert_eq!(places, [project.path(".env")]);
    assert!(covered.obstacle.unwrap().contains(".env"));
}

#[test]
fn a_file_that_is_missing_is_named_where_the_agent_could_make_it() {
    let project = Project::with(["file"]);
    let own = [project.own("pilothouse.yaml", false)];
    let covered = cover("a", Some(project.0.path()), &Grants::default(), &own).unwrap();
    assert_eq!(covered.missing, [project.path("pilothouse.yaml")]);
    assert_eq!(covered.obstacle, None);
}

#[test]
fn a_link_in_the_way_is_refused_where_the_agent_could_replace_it() {
    let project = Project::with(["real/config", "project/file"]);
    symlink(project.path("real"), project.path("project/conf")).unwrap();
    let own = [project.own("project/conf/config", false)];
    let shared = project.path("project");
    let refused = cover("a", Some(&shared), &Grants::default(), &own).unwrap_err();
    assert!(refused.to_string().contains("project/conf"), "{refused}");
    // From outside the same file is out of reach.
    let own = [project.own("real/config", false)];
    let covered = cover("a", Some(&shared), &Grants::default(), &own).unwrap();
    assert_eq!(covered, Covered::default());
}

#[test]
fn a_workspace_that_is_a_link_is_the_folder_that_it_leads_to() {
    let project = Project::with(["real/.env"]);
    symlink(project.path("real"), project.path("link")).unwrap();
    let own = [project.own("real/.env", true)];
    let covered = cover("a", Some(&project.path("link")), &Grants::default(), &own).unwrap();
    assert_eq!(covered.covers.len(), 1);
}

#[test]
fn what_the_server_writes_is_refused_in_a_folder_that_agents_reach() {
    let project = Project::with(["state/token"]);
    let state = OwnFile { is_written: true, ..project.own("state", true) };
    let refused = cover("a", Some(project.0.path()), &Grants::default(), &[state]).unwrap_err();
    let words = refused.to_string();
    assert!(words.contains("may change") && words.contains("workspace.path"), "{words}");
}
