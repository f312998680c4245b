//! `sessions review`: the patch of a session in an editor, and the comments in it as one message.

use super::super::failure::Failure;
use super::super::local::Server;
use super::super::names::find_session;
use super::super::results::fetch;
use super::super::send::{InputArgs, converse};
use super::super::terminal::Screen;
use super::files::DiffArgs;
use clap::Args;
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::message::{Message, Part, Role};
use pilothouse_a2a::operation::SendMessageRequest;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Whose patch is reviewed.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReviewArgs {
    #[command(flatten)]
    diff: DiffArgs,
    /// What to say of all of it
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    message: String,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    input: InputArgs,
}

/// What stands above the patch in the editor.
const HEAD: &str = "\
# Write comments on lines of their own that begin with `>`, below the line that they are about.
# Without a comment, and without --message, nothing is sent.
";

/// Opens the editor and sends the comments; the exit code of the outcome.
pub(super) async fn run(
    args: &ReviewArgs,
    server: &Server,
    screen: Screen,
    editor: Option<&str>,
) -> Result<u8, Failure> {
    let (server, session) = find_session(server, args.diff.id()).await?;
    let patch = fetch(&server, &args.diff.path(&session)).await?;
    let patch = String::from_utf8_lossy(&patch).into_owned();
    let edited = edit(&format!("{HEAD}{patch}"), editor.unwrap_or("vi"))?;
    let comments = read_comments(&edited);
    if comments.is_empty() && args.message.trim().is_empty() {
        return Err(Failure::usage("there is no comment, so nothing was sent"));
    }
    let review = json!({"review": {"text": args.message, "comments": comments}});
    let mut message = Message::new(Role::User, vec![Part::data(review)]);
    let context = session.get("contextId").and_then(Value::as_str).unwrap_or_default();
    message.context_id = Some(ContextId::new(context));
    let request = SendMessageRequest { tenant: None, message, configuration: None, metadata: None };
    let client = server.client().await?;
    converse(&client, request, (args.input.restrict(screen), args.json), &server).await
}

/// The text as the user has left it.
fn edit(text: &str, editor: &str) -> Result<String, Failure> {
    let failed = |what: &dyn std::fmt::Display| {
        Failure::usage(format!("the editor `{editor}` failed: {what}; set VISUAL or EDITOR"))
    };
    let (path, mut file) = make_private_file()?;
    file.write_all(text.as_bytes())?;
    // As git does it: the variable may hold options.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&path);
    let status = command.status().map_err(|error| failed(&error));
    let edited = std::fs::read_to_string(&path);
    let _ = std::fs::remove_file(&path);
    let status = status?;
    if !status.success() {
        return Err(failed(&status));
    }
    edited.map_err(|error| failed(&error))
}

/// A new file that only this user reads.
fn make_private_file() -> Result<(PathBuf, File), Failure> {
    let name = format!("pilothouse-review-{}.diff", uuid::Uuid::new_v4());
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let file =
        file.map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
    Ok((path, file))
}

/// Where a line of a patch is in its files.
#[derive(Debug, Default)]
struct PatchCursor {
    old_file: String,
    new_file: String,
    /// The next line of each file.
    old: u64,
    new: u64,
    /// The last line of the patch.
    line: String,
    is_in_hunk: bool,
}

/// The comments in an edited patch.
fn read_comments(text: &str) -> Vec<Value> {
    let (mut cursor, mut comments) = (PatchCursor::default(), Vec::<Value>::new());
    let mut goes_on = false;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix('>') {
            let words = words.strip_prefix(' ').unwrap_or(words);
            match comments.last_mut() {
                Some(last) if goes_on => {
                    let text = last["text"].as_str().unwrap_or_default();
                    last["text"] = format!("{text}\n{words}").into();
                }
                _ => comments.extend(cursor.comment(words)),
            }
            goes_on = true;
        } else {
            goes_on = false;
            cursor.read(line);
        }
    }
    comments.retain(|comment| !comment["text"].as_str().unwrap_or_default().trim().is_empty());
    comments
}

impl PatchCursor {
    fn read(&mut self, line: &str) {
        line.clone_into(&mut self.line);
        if line.starts_with("diff --git ") {
            (self.is_in_hunk, self.old, self.new) = (false, 0, 0);
            let named = line.rsplit_once(" b/").map(|(_, name)| name.to_owned());
            self.new_file = named.unwrap_or_default();
            self.old_file.clone_from(&self.new_file);
        } else if let Some(numbers) = line.strip_prefix("@@ -") {
            let mut starts = numbers.split(" +").map(|part| {
                let digits = part.split(|c: char| !c.is_ascii_digit()).next();
                digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
            });
            (self.old, self.new) = (starts.next().unwrap_or(0), starts.next().unwrap_or(0));
            self.is_in_hunk = true;
        } else if self.is_in_hunk {
            match line.as_bytes().first() {
                Some(b'-') => self.old += 1,
                Some(b'+') => self.new += 1,
                Some(b' ') | None => (self.old, self.new) = (self.old + 1, self.new + 1),
                Some(_) => {}
            }
        } else if let Some(name) = line.strip_prefix("--- a/") {
            name.clone_into(&mut self.old_file);
        } else if let Some(name) = line.strip_prefix("+++ b/") {
            name.clone_into(&mut self.new_file);
        }
    }

    /// A comment on the last line; none before the first file.
    fn comment(&self, words: &str) -> Option<Value> {
        if self.new_file.is_empty() && self.old_file.is_empty() {
            return None;
        }
        let is_old = self.is_in_hunk && self.line.starts_with('-');
        let is_line = self.is_in_hunk && !self.line.starts_with("@@");
        let (side, file, next) = match is_old {
            true => ("old", &self.old_file, self.old),
            false => ("new", &self.new_file, self.new),
        };
        let mut comment = json!({"file": file, "side": side, "text": words});
        if is_line && next > 1 {
            comment["lines"] = json!([next - 1, next - 1]);
            comment["hunk"] = self.line.as_str().into();
        }
        Some(comment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_about_the_line_above_them() {
        let text = "\
# a word before
> nothing yet
diff --git a/a.txt b/a.txt
index 1..2 100644
--- a/a.txt
+++ b/a.txt
@@ -1,3 +1,3 @@
 one
-two
> why?
> it was right
+2
> a number
 three
diff --git a/b b/b
new file mode 100644
> needs a test
--- /dev/null
+++ b/b
@@ -0,0 +1 @@
+x
>
";
        let expected = json!([
            {"file": "a.txt", "side": "old", "text": "why?\nit was right", "lines": [2, 2], "hunk": "-two"},
            {"file": "a.txt", "side": "new", "text": "a number", "lines": [2, 2], "hunk": "+2"},
            {"file": "b", "side": "new", "text": "needs a test"},
        ]);
        assert_eq!(Value::from(read_comments(text)), expected);
    }
}
