//! What a task has left, put where the user wants it: artifacts into a folder, a patch into a checkout.

use super::failure::Failure;
use super::link::link_file;
use super::local::Server;
use super::program::program;
use super::terminal::{Screen, clean_line};
use clap::Args;
use pilothouse_a2a::message::{Part, PartContent};
use pilothouse_a2a::task::{Artifact, Task};
use rustix::fs::{Access, access};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes of a result that are fetched: 1 GiB.
const LARGEST: usize = 1 << 30;

/// The file that the answer of a task becomes.
const ANSWER: &str = "answer.txt";

/// What is done with what a task has left.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ResultArgs {
    /// Write the artifacts of the task into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Apply the patch of the turn to the git checkout here; it must have no changes of its own
    #[arg(long)]
    apply: bool,
}

impl ResultArgs {
    /// Looks at what can be wrong before anything is sent.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.apply {
            find_clean_checkout(Path::new("."))?;
        }
        self.out.as_deref().map_or(Ok(()), check_folder)
    }

    /// Carries it out for a task that has come to its end, or asks.
    pub(super) async fn keep(
        &self,
        task: &Task,
        server: &Server,
        screen: Screen,
    ) -> Result<(), Failure> {
        for line in self.tell_open(task, server.options()) {
            eprintln!("{line}");
        }
        // What a task has so far would stand in the way of the whole.
        if let Some(folder) = self.out.as_ref().filter(|_| !task.status.state.is_interrupted()) {
            let mut first = None;
            for artifact in &task.artifacts {
                let failure = save(artifact, (folder, screen.links), server).await;
                first = first.or(failure);
            }
            if let Some(failure) = first {
                return Err(failure);
            }
        }
        if self.apply && !task.status.state.is_interrupted() {
            let patches = task.artifacts.iter().filter(|one| one.name.as_deref() == Some("patch"));
            let turn = patches.flat_map(|patch| &patch.parts).find(|part| is_of_turn(part));
            match turn {
                Some(part) => apply(&bytes_of(part, server).await?, Path::new("."))?,
                None => eprintln!("nothing to apply: the task has left no patch"),
            }
        }
        Ok(())
    }

    /// What is not there yet because the agent asks first, and how to get it after the answer.
    fn tell_open(&self, task: &Task, options: &str) -> Vec<String> {
        if !task.status.state.is_interrupted() {
            return Vec::new();
        }
        let quoted = |id: &str| shell_words::quote(&clean_line(id)).into_owned();
        let context = quoted(task.context_id.as_str());
        let mut lines = Vec::new();
        if self.apply {
            lines.push(format!(
                "nothing was applied yet: answer with --apply, or after the answer: {} sessions apply{options} {context}",
                program()
            ));
        }
        if let Some(folder) = &self.out {
            lines.push(format!(
                "the artifacts are not complete yet: answer with --out {}",
                quoted(&folder.display().to_string())
            ));
        }
        lines
    }
}

fn is_of_turn(part: &Part) -> bool {
    let from = part.metadata.as_ref().and_then(|metadata| metadata.get("from"));
    from.as_ref().and_then(Value::as_str) == Some("turn")
}

// === a folder ===

/// Looks whether the results can be written into this folder, which may have to be made, before anything is spent.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    let shown = clean_line(&folder.display().to_string());
    let failed = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot write into {shown}, which `--out` names: {why}"))
    };
    let answer = folder.join(ANSWER);
    if std::fs::symlink_metadata(&answer).is_ok() {
        return Err(exists_already(&answer));
    }
    // An empty name stands for the working folder, as the parent of a name does.
    let above = folder.ancestors().map(|path| match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    });
    let mut there = above.filter(|path| std::fs::symlink_metadata(path).is_ok());
    let there = there.next().unwrap_or(Path::new("/"));
    if !std::fs::metadata(there).map_err(|error| failed(&error))?.is_dir() {
        return Err(failed(&format_args!("{} is no folder", there.display())));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(&error))
}

fn exists_already(path: &Path) -> Failure {
    let shown = clean_line(&path.display().to_string());
    Failure::usage(format!(
        "{shown} exists already, and `--out` replaces nothing; remove it or name another folder"
    ))
}

/// Writes each part of an artifact into a file of its own. A part that cannot be had is named and leaves no file; the first
/// such failure is returned.
async fn save(
    artifact: &Artifact,
    (folder, with_links): (&Path, bool),
    server: &Server,
) -> Option<Failure> {
    let mut first: Option<Failure> = None;
    for (at, part) in artifact.parts.iter().enumerate() {
        let name = file_name(artifact, part, at);
        if has_whole(artifact, at, &name) {
            continue;
        }
        let Some(path) = place_in(folder, &name) else {
            eprintln!(
                "the artifact {} is not written: its name leads out of {} or belongs to a git repository",
                clean_line(&name),
                folder.display()
            );
            continue;
        };
        match write_part(part, &path, server).await {
            Ok(()) => eprintln!("wrote {}", link_file(&path, with_links)),
            Err(failure) => {
                let message = format!("{} was not written: {}", path.display(), failure.message);
                let failure = Failure { message: clean_line(&message), ..failure };
                match first {
                    Some(_) => eprintln!("pilothouse: {}", failure.message),
                    None => first = Some(failure),
                }
            }
        }
    }
    first
}

/// Writes a part into a file that is not there yet.
async fn write_part(part: &Part, path: &Path, server: &Server) -> Result<(), Failure> {
    let address = match &part.content {
        PartContent::Url(address) if is_result(address) => address,
        PartContent::Text(_) | PartContent::Raw(_) | PartContent::Data(_) | PartContent::Url(_) => {
            return write_new(path, &bytes_of(part, server).await?);
        }
    };
    let copied = copy(server, address, &mut create(path)?).await;
    if copied.is_err() {
        // A piece of a file would look like the whole.
        let _ = std::fs::remove_file(path);
    }
    copied
}

/// Whether a part is the beginning of what a later one of the same name has the address of.
fn has_whole(artifact: &Artifact, at: usize, name: &str) -> bool {
    let mut later = artifact.parts.iter().enumerate().skip(at + 1);
    later.any(|(at, part)| match &part.content {
        PartContent::Url(address) => is_result(address) && file_name(artifact, part, at) == name,
        PartContent::Text(_) | PartContent::Raw(_) | PartContent::Data(_) => false,
    })
}

/// Writes a file that is not there yet, with its folders: an agent chooses the names, so nothing is replaced.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let shown = clean_line(&path.display().to_string());
    let failed = |error: io::Error| Failure::usage(format!("cannot write {shown}: {error}"));
    create(path)?.write_all(bytes).map_err(failed)
}

/// A file that is not there yet, with its folders.
fn create(path: &Path) -> Result<std::fs::File, Failure> {
    let shown = clean_line(&path.display().to_string());
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists_already(path),
        _ => Failure::usage(format!("cannot write {shown}: {error}")),
    };
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)
}

/// What the part is called; a text or data without a name of its own has that of its artifact.
fn file_name(artifact: &Artifact, part: &Part, at: usize) -> String {
    if let Some(name) = part.filename.as_deref().filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    let name = artifact.name.as_deref().filter(|name| !name.is_empty());
    let name = name.unwrap_or(artifact.artifact_id.as_str());
    let number = if at == 0 { String::new() } else { format!("-{at}") };
    let end = match part.content {
        PartContent::Text(_) => ".txt",
        PartContent::Data(_) => ".json",
        PartContent::Raw(_) | PartContent::Url(_) => "",
    };
    format!("{name}{number}{end}")
}

/// Where a file of this name lies in the folder; none where the name leads out of it, also by a link that is there, or
/// into the folder of a git repository, whose files name programs that git runs.
fn place_in(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut path = folder.to_owned();
    let mut names = Path::new(name).components().peekable();
    names.peek()?;
    for part in names {
        let Component::Normal(part) = part else { return None };
        // A folder with a `HEAD` can be a repository by itself.
        if part.eq_ignore_ascii_case(".git") || part.eq_ignore_ascii_case("HEAD") {
            return None;
        }
        path.push(part);
        if std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return None;
        }
    }
    (!name.contains('\0')).then_some(path)
}

/// The bytes of a part; those behind an address of the server's own are fetched.
async fn bytes_of(part: &Part, server: &Server) -> Result<Vec<u8>, Failure> {
    match &part.content {
        PartContent::Text(text) => Ok(text.clone().into_bytes()),
        PartContent::Data(data) => Ok(data.to_string().into_bytes()),
        PartContent::Raw(bytes) => Ok(bytes.clone()),
        PartContent::Url(address) if is_result(address) => fetch(server, address).await,
        PartContent::Url(address) => Ok(format!("{address}\n").into_bytes()),
    }
}

/// Whether an address is that of a file of a session or a task of the server itself. An agent may write any address.
fn is_result(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let is_below = ["/api/v1/sessions/", "/api/v1/tasks/"].iter().any(|top| path.starts_with(top));
    let leaves = path.replace("%2e", ".").split(['/', '\\']).any(|name| name == "..");
    is_below && !leaves
}

/// Reads what is at an address of the server's own API.
pub(super) async fn fetch(server: &Server, address: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    copy(server, address, &mut bytes).await?;
    Ok(bytes)
}

/// Copies what is at an address of the server's own API.
async fn copy(server: &Server, address: &str, out: &mut impl Write) -> Result<(), Failure> {
    let mut answer = server.download(address).await?;
    let mut left = LARGEST;
    while let Some(chunk) = answer.chunk().await.map_err(|error| server.unreachable(&error))? {
        left = left.checked_sub(chunk.len()).ok_or_else(|| {
            let address = clean_line(address);
            Failure::usage(format!(
                "{address} is larger than 1 GiB, which is the most that is fetched; get it with `pilothouse sessions get`"
            ))
        })?;
        out.write_all(&chunk)?;
    }
    Ok(())
}

// === a checkout ===

/// Applies a patch to the checkout that this folder is in, and to its index: all of it or nothing. The user's own
/// git does it, and refuses names outside of the checkout.
pub(super) fn apply(patch: &[u8], folder: &Path) -> Result<(), Failure> {
    let checkout = find_clean_checkout(folder)?;
    if patch.is_empty() {
        eprintln!("nothing to apply: the patch is empty");
        return Ok(());
    }
    let mut git = git(&checkout, &["apply", "--index", "--whitespace=nowarn", "-"]);
    let mut child = git.stdin(Stdio::piped()).spawn().map_err(|error| no_git(&error))?;
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(patch));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::usage(format!(
            "the patch does not apply to {}, and nothing was changed:\n{}",
            checkout.display(),
            words.trim()
        )));
    }
    written?;
    eprintln!("applied to {}; `git diff --cached` shows it", checkout.display());
    Ok(())
}

/// The top of the checkout that this folder is in, where all that git knows there is committed.
fn find_clean_checkout(folder: &Path) -> Result<PathBuf, Failure> {
    let read = |args: &[&str]| -> Result<Option<String>, Failure> {
        let output = git(folder, args).output().map_err(|error| no_git(&error))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(output.status.success().then_some(text))
    };
    let top = read(&["rev-parse", "--show-toplevel"])?.filter(|top| !top.is_empty());
    let top = top.ok_or_else(|| {
        Failure::usage("a patch is applied to a git checkout, and this folder is in none")
    })?;
    match read(&["status", "--porcelain", "--untracked-files=no"])? {
        Some(changed) if changed.is_empty() => Ok(PathBuf::from(top)),
        _ => Err(Failure::usage(format!(
            "the checkout {top} has changes that are not committed, and a patch could be lost among them; commit or stash them first"
        ))),
    }
}

fn git(folder: &Path, args: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(args).current_dir(folder).stdin(Stdio::null());
    git.stdout(Stdio::piped()).stderr(Stdio::piped());
    git
}

fn no_git(error: &io::Error) -> Failure {
    Failure::usage(format!("cannot run git: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_a2a::task::{TaskState, TaskStatus};

    #[test]
    fn no_name_of_an_artifact_leads_out_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", root.path().join("link")).unwrap();
        for wrong in ["../x", "/etc/passwd", "a/../../x", "..", "", "link", "link/etc/x", "a\0b"] {
            assert_eq!(place_in(root.path(), wrong), None, "{wrong}");
        }
        assert_eq!(place_in(root.path(), "a/b.png"), Some(root.path().join("a/b.png")));
        for wrong in [".git", ".git/config", "a/.GIT/hooks/post-checkout", "./.Git/x", "a/HEAD"] {
            assert_eq!(place_in(root.path(), wrong), None, "{wrong}");
        }
        assert!(place_in(root.path(), ".gitignore").is_some());
        // A dot within a path is no name.
        assert_eq!(place_in(root.path(), "a/./b"), Some(root.path().join("a/b")));
    }

    #[tokio::test]
    async fn an_artifact_that_cannot_be_had_is_named_and_the_others_are_written() {
        let root = tempfile::tempdir().unwrap();
        let lost = Part::url("/api/v1/tasks/t/results/lost.png").named("lost.png");
        let parts = vec![lost, Part::raw(b"x".to_vec()).named("there.png")];
        let artifact = Artifact::new("a".into(), "a", parts);
        let failure = save(&artifact, (root.path(), false), &Server::default()).await.unwrap();
        let named = root.path().join("lost.png");
        assert!(failure.message.starts_with(&*named.to_string_lossy()), "{}", failure.message);
        assert!(!named.exists());
        assert_eq!(std::fs::read(root.path().join("there.png")).unwrap(), b"x");
    }

    #[test]
    fn an_artifact_replaces_no_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        write_new(&path, b"first").unwrap();
        let refused = write_new(&path, b"second").unwrap_err();
        assert!(refused.message.contains("exists already"), "{}", refused.message);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_folder_that_cannot_take_the_results_is_refused_before_anything_is_sent() {
        let root = tempfile::tempdir().unwrap();
        let check = |name: &str| {
            let out = Some(root.path().join(name));
            ResultArgs { out, apply: false }.check().map_err(|failure| failure.code)
        };
        std::fs::write(root.path().join("file"), "").unwrap();
        std::fs::create_dir(root.path().join("used")).unwrap();
        std::fs::write(root.path().join("used/answer.txt"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", root.path().join("link")).unwrap();
        assert_eq!(check("new/below"), Ok(()));
        for wrong in ["file", "file/below", "used", "link"] {
            assert_eq!(check(wrong), Err(2), "{wrong}");
        }
        assert!(!root.path().join("new").exists());
    }

    #[test]
    fn only_addresses_of_sessions_and_tasks_are_fetched() {
        assert!(is_result("/api/v1/sessions/a/files/b.png") && is_result("/api/v1/tasks/a/x?y=.."));
        for other in [
            "/api/v1/tokens",
            "/api/v1/sessions",
            "/api/v1/tasks/../tokens",
            "/api/v1/sessions/%2E%2e/tokens",
            "https://a.test/api/v1/tasks/a",
        ] {
            assert!(!is_result(other), "{other}");
        }
    }

    #[test]
    fn parts_without_names_have_that_of_their_artifact() {
        let artifact = Artifact::new("id".into(), "notes", vec![Part::text("a"), Part::text("b")]);
        let names: Vec<_> =
            (0..2).map(|at| file_name(&artifact, &artifact.parts[at], at)).collect();
        assert_eq!(names, ["notes.txt", "notes-1.txt"]);
        let data = Part::data(serde_json::json!({}));
        assert_eq!(file_name(&artifact, &data, 0), "notes.json");
        assert_eq!(file_name(&artifact, &Part::raw(vec![]).named("x.png"), 0), "x.png");
    }

    #[test]
    fn the_beginning_of_an_answer_gives_way_to_the_address_of_the_whole() {
        let whole = Part::url("/api/v1/tasks/t/answer").named("answer.txt");
        let artifact = Artifact::new("t-answer".into(), "answer", vec![Part::text("beg"), whole]);
        assert!(has_whole(&artifact, 0, "answer.txt"));
        assert!(!has_whole(&artifact, 1, "answer.txt") && !has_whole(&artifact, 0, "other"));
    }

    #[test]
    fn what_an_ask_holds_back_is_told_with_the_commands_that_get_it() {
        let told = |state, results: &ResultArgs| {
            let status = TaskStatus { state, message: None, timestamp: None };
            let task = Task::new("t-1".into(), "c-1".into(), status);
            results.tell_open(&task, " --url http://x").join("\n")
        };
        let both = ResultArgs { out: Some("results".into()), apply: true };
        insta::assert_snapshot!(told(TaskState::InputRequired, &both), @r"
        nothing was applied yet: answer with --apply, or after the answer: pilothouse sessions apply --url http://x c-1
        the artifacts are not complete yet: answer with --out results
        ");
        assert_eq!(told(TaskState::Completed, &both), "");
        assert_eq!(told(TaskState::InputRequired, &ResultArgs::default()), "");
    }
}
