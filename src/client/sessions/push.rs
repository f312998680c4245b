//! `pilothouse sessions push`: the server pushes a session's branch and opens the pull request.

use crate::client::complete;
use crate::client::exit;
use crate::client::failure::Failure;
use crate::client::local::{Server, escape};
use crate::client::names::find_session;
use crate::client::tasks::read_line;
use crate::client::terminal::{Screen, clean_line};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;

/// What is pushed, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct PushArgs {
    /// The session or its context: an id, the beginning or the end of one, or `last`
    #[arg(add = complete::sessions())]
    id: String,
    /// Push what is there without a question
    #[arg(short, long)]
    yes: bool,
    /// The title of the pull request
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Its text
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// The branch that it is for
    #[arg(long, value_name = "BRANCH")]
    base: Option<String>,
    /// Push alone, without a pull request
    #[arg(long, conflicts_with_all = ["title", "body", "base"])]
    no_request: bool,
    /// Print the answer of the server as JSON
    #[arg(long)]
    json: bool,
}

/// Shows what would be pushed, asks, and has it pushed; the exit code.
pub(super) async fn run(args: &PushArgs, server: &Server, screen: Screen) -> Result<u8, Failure> {
    let (server, session) = &find_session(server, &args.id).await?;
    let id = session.get("id").and_then(Value::as_str).unwrap_or(&args.id);
    let path = format!("/api/v1/sessions/{}/push", escape(id));
    let mut order = json!({});
    let texts = [("title", &args.title), ("body", &args.body), ("base", &args.base)];
    for (name, text) in texts {
        if let Some(text) = text {
            order[name] = text.as_str().into();
        }
    }
    if args.no_request {
        order["pullRequest"] = false.into();
    }
    let mut answer = server.post(&path, &order).await?;
    if answer["state"] == "ready" {
        if !args.yes {
            for line in describe(&answer) {
                eprintln!("{line}");
            }
            if !screen.asks {
                let words =
                    "nothing is pushed yet: look at these commits, then push them with `--yes`";
                return Err(Failure::new(exit::INPUT_REQUIRED, words));
            }
            let said = read_line("push this? [y/N] ")?.unwrap_or_default();
            if !matches!(said.to_lowercase().as_str(), "y" | "yes") {
                eprintln!("nothing is pushed");
                return Ok(exit::CANCELED);
            }
        }
        order["commit"] = answer["commit"].clone();
        answer = server.post(&path, &order).await?;
    }
    let mut out = std::io::stdout();
    match answer["text"].as_str().filter(|_| !args.json) {
        Some(text) => writeln!(out, "{}", clean_line(text))?,
        None => writeln!(out, "{answer}")?,
    }
    Ok(0)
}

/// A number of commits in words.
pub(in crate::client) fn count_commits(count: &Value) -> String {
    if *count == 1 { "1 commit".to_owned() } else { format!("{count} commits") }
}

/// What would be pushed.
fn describe(ready: &Value) -> Vec<String> {
    let text = |name: &str| clean_line(ready[name].as_str().unwrap_or_default());
    let commits = ready["commits"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut lines = vec![format!("{} on {}:", count_commits(&ready["count"]), text("branch"))];
    lines.extend(commits.map(clean_line));
    lines
}
