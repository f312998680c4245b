//! `pilothouse grants`: what was allowed beyond one call, and how it is revoked. `pilothouse defer`: an ask for later.

use super::complete;
use super::failure::Failure;
use super::list::{ListArgs, read_list};
use super::local::{Server, body, escape};
use super::names::find_ask;
use super::outcome::ago;
use super::table::table;
use super::tasks::{Ask, print_json};
use super::terminal::{Screen, clean_line};
use clap::{Args, Subcommand};
use pilothouse_a2a::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;

/// What to do with what is allowed.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum GrantsCommand {
    /// What agents may do without asking again, because you allowed it
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Have the agent ask again from now on
    Revoke {
        /// The grant, by its id, as `list` shows it
        #[arg(add = complete::grants())]
        id: String,
    },
}

/// Be asked later.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeferArgs {
    /// The ask, its task or its context: an id, the beginning or the end of one, or `last`; none for the only open ask
    #[arg(add = complete::asks())]
    id: Option<String>,
    /// For how long, like `2h`; as long as the server allows where nothing is said
    #[arg(long = "for", value_name = "TIME")]
    length: Option<String>,
}

/// Carries out the command; the exit code.
pub(crate) async fn run(
    command: GrantsCommand,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let mut out = std::io::stdout();
    match command {
        GrantsCommand::List { list } => {
            let all = read_list(server, ("/api/v1/grants", "grants"), list.limit as usize).await?;
            if list.json {
                print_json(&mut out, &all.entries)?;
            } else {
                let (now, with_callers) = (Timestamp::now(), server.lists_callers());
                write!(out, "{}", render(&all.entries, now, screen.width, with_callers))?;
            }
        }
        GrantsCommand::Revoke { id } => {
            let path = format!("/api/v1/grants/{}", escape(&id));
            server.call(Method::DELETE, &path, None).await?;
            writeln!(out, "revoked: {}", clean_line(&id))?;
        }
    }
    Ok(0)
}

/// Defers an ask; the exit code.
pub(crate) async fn defer(args: DeferArgs, server: &Server) -> Result<u8, Failure> {
    let found = find_ask(server, args.id.as_deref()).await?;
    let id = found.listed.as_ref().and_then(|ask| ask.get("askId")?.as_str());
    let id = id.ok_or_else(|| Failure::usage("that task asks nothing that can be deferred"))?;
    let mut action = json!({"decision": "defer"});
    if let Some(length) = args.length {
        action["for"] = length.into();
    }
    let reply = server.open(&format!("/api/v1/asks/{}", escape(id)), &action).await?;
    let reply = body(reply).await.map_err(|error| Failure::usage(error.to_string()))?;
    let reply: Value = serde_json::from_slice(&reply).unwrap_or_default();
    let until = reply["ask"]["deferral"]["until"].as_str().unwrap_or("later");
    println!("deferred until {}; it can be answered at any time", clean_line(until));
    let ask = Ask::of_data(&reply["ask"]);
    for line in ask.how_to_answer(found.task.as_str(), found.server.options(), Timestamp::now()) {
        println!("{line}");
    }
    Ok(0)
}

/// Grants as a table.
fn render(grants: &[Value], now: Timestamp, width: Option<usize>, with_callers: bool) -> String {
    if grants.is_empty() {
        return "nothing is allowed beyond single calls\n".to_owned();
    }
    let rows: Vec<Vec<String>> = grants
        .iter()
        .map(|grant| {
            let text =
                |name: &str| clean_line(grant.get(name).and_then(Value::as_str).unwrap_or("-"));
            let count = |name: &str| grant.get(name).and_then(Value::as_u64).unwrap_or_default();
            let left = format!("{} of {}", count("left"), count("uses"));
            let given = ago(Timestamp::parse(&text("created")), now);
            let caller = if with_callers { text("caller") } else { String::new() };
            vec![text("shortId"), text("agent"), caller, left, text("until"), given, text("words")]
        })
        .collect();
    table(&["GRANT", "AGENT", "CALLER", "LEFT", "UNTIL", "GIVEN", "WHAT"], &rows, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_tells_what_may_be_done_how_often_and_until_when() {
        let grants = [json!({
            "id": "0192", "shortId": "k7m3p2", "agent": "claude", "left": 19, "uses": 20,
            "until": "2026-01-01T01:00:00.000Z", "created": "2026-01-01T00:00:00.000Z",
            "words": "Bash commands that begin with `npm test`, in this session, at most 20 times, for 1h",
        })];
        let now = Timestamp::parse("2026-01-01T00:02:00Z").unwrap();
        insta::assert_snapshot!(render(&grants, now, None, false), @r"
GRANT   AGENT   LEFT      UNTIL                     GIVEN      WHAT
k7m3p2  claude  19 of 20  2026-01-01T01:00:00.000Z  2 min ago  Bash commands that begin with `npm test`, in this session, at most 20 times, for 1h
");
        assert_eq!(render(&[], now, None, false), "nothing is allowed beyond single calls\n");
    }
}
