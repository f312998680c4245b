//! `sessions files`, `get` and `archive`: what lies in the workspace of a session.

use super::super::complete;
use super::super::failure::Failure;
use super::super::list::{ListArgs, read_list};
use super::super::local::{Server, escape};
use super::super::names::find_session;
use super::super::outcome::ago;
use super::super::results::{self, fetch};
use super::super::table::table;
use super::super::tasks::print_json;
use super::super::terminal::{Screen, clean, clean_line};
use clap::{Args, ValueEnum};
use pilothouse_a2a::time::Timestamp;
use serde_json::Value;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Whose files, and how they are printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct FilesArgs {
    /// The session or its context: an id, the beginning or the end of one, or `last`
    #[arg(add = complete::sessions())]
    id: String,
    #[command(flatten)]
    list: ListArgs,
}

/// Which file, and where it is written.
#[derive(Debug, Clone, Args)]
pub(crate) struct GetArgs {
    /// The session or its context: an id, the beginning or the end of one, or `last`
    #[arg(add = complete::sessions())]
    id: String,
    /// Where the file is below the workspace
    path: String,
    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Whose workspace, and where the archive is written.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArchiveArgs {
    /// The session or its context: an id, the beginning or the end of one, or `last`
    #[arg(add = complete::sessions())]
    id: String,
    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Whose patch, and from when.
#[derive(Debug, Clone, Args)]
pub(crate) struct DiffArgs {
    /// The session or its context: an id, the beginning or the end of one, or `last`
    #[arg(add = complete::sessions())]
    id: String,
    /// From the beginning of the session, or of its last turn that changed files
    #[arg(long, value_enum, default_value_t = From::Base)]
    from: From,
}

/// Where a patch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    Base,
    Turn,
}

impl DiffArgs {
    /// The session, as it was named.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where the patch of this session is.
    pub(super) fn path(&self, session: &Value) -> String {
        let from = match self.from {
            From::Base => "base",
            From::Turn => "turn",
        };
        address(session, &self.id, &format!("diff?from={from}"))
    }

    async fn fetch(&self, server: &Server) -> Result<Vec<u8>, Failure> {
        let (server, session) = find_session(server, &self.id).await?;
        fetch(&server, &self.path(&session)).await
    }
}

/// Prints the patch.
pub(super) async fn diff(args: &DiffArgs, server: &Server) -> Result<(), Failure> {
    let patch = args.fetch(server).await?;
    let mut out = io::stdout();
    if out.is_terminal() {
        // What agents write does not command a terminal.
        write!(out, "{}", clean(&String::from_utf8_lossy(&patch)))?;
    } else {
        out.write_all(&patch)?;
    }
    Ok(())
}

/// Applies the patch here.
pub(super) async fn apply(args: &DiffArgs, server: &Server) -> Result<(), Failure> {
    results::apply(&args.fetch(server).await?, Path::new("."))
}

/// Lists what is in the workspace.
pub(super) async fn list(args: &FilesArgs, server: &Server, screen: Screen) -> Result<(), Failure> {
    let (server, session) = find_session(server, &args.id).await?;
    let path = address(&session, &args.id, "files");
    let files = read_list(&server, (&path, "files"), args.list.limit as usize).await?;
    let mut out = io::stdout();
    if args.list.json {
        print_json(&mut out, &files.entries)?;
    } else {
        write!(out, "{}", render(&files.entries, Timestamp::now(), screen.width))?;
    }
    files.tell_left_out();
    Ok(())
}

/// Reads one file.
pub(super) async fn get(args: &GetArgs, server: &Server) -> Result<(), Failure> {
    let path = args.path.split('/').map(escape).collect::<Vec<_>>().join("/");
    let (server, session) = find_session(server, &args.id).await?;
    let path = address(&session, &args.id, &format!("files/{path}"));
    download(&server, &path, args.output.as_deref()).await
}

/// Reads all of the workspace as a tar archive.
pub(super) async fn archive(args: &ArchiveArgs, server: &Server) -> Result<(), Failure> {
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::usage(
            "an archive is no text for a terminal; name a file with `--output FILE`",
        ));
    }
    let (server, session) = find_session(server, &args.id).await?;
    let path = address(&session, &args.id, "archive");
    download(&server, &path, args.output.as_deref()).await
}

/// The path of something of a session.
fn address(session: &Value, id: &str, what: &str) -> String {
    let id = session.get("id").and_then(Value::as_str).unwrap_or(id);
    format!("/api/v1/sessions/{}/{what}", escape(id))
}

/// Writes the answer as it comes; where it breaks off, nothing is left under the name of the file.
async fn download(server: &Server, path: &str, to: Option<&Path>) -> Result<(), Failure> {
    let mut answer = server.download(path).await?;
    let mut out: Box<dyn Write> = match to {
        Some(to) => Box::new(File::create(to).map_err(|error| not_written(to, &error))?),
        None => Box::new(io::stdout()),
    };
    let copied = async {
        while let Some(chunk) = answer.chunk().await.map_err(|error| server.unreachable(&error))? {
            out.write_all(&chunk)?;
        }
        Ok::<_, Failure>(out.flush()?)
    };
    let copied = copied.await;
    if let (Err(_), Some(to)) = (&copied, to) {
        let _ = std::fs::remove_file(to);
    }
    copied
}

/// A file that cannot be written here.
fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}

fn render(files: &[Value], now: Timestamp, width: Option<usize>) -> String {
    if files.is_empty() {
        return "no files\n".to_owned();
    }
    let rows: Vec<Vec<String>> = files
        .iter()
        .map(|file| {
            let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or("-");
            let bytes = file.get("bytes").and_then(Value::as_u64).unwrap_or_default();
            let size = if text("kind") == "file" { bytes.to_string() } else { "-".to_owned() };
            let changed = ago(Timestamp::parse(text("modified")), now);
            vec![text("kind").to_owned(), size, changed, clean_line(text("path"))]
        })
        .collect();
    table(&["KIND", "BYTES", "CHANGED", "PATH"], &rows, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_a_table_in_which_a_name_is_one_line() {
        let files = [
            json!({"path": "a", "kind": "folder", "bytes": 0, "modified": "2026-01-01T00:00:00.000Z"}),
            json!({"path": "a/b\nc", "kind": "file", "bytes": 12, "modified": "2026-01-01T00:01:00.000Z"}),
        ];
        let now = Timestamp::parse("2026-01-01T00:02:00Z").unwrap();
        let table = render(&files, now, None);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.lines().any(|line| line.starts_with("file") && line.contains("12")));
    }
}
