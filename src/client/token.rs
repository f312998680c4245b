//! `pilothouse token`: tokens of further callers, made and revoked while the server runs.

use super::complete;
use super::failure::Failure;
use super::list::{ListArgs, read_list};
use super::local::{Server, escape};
use super::outcome::ago;
use super::table::table;
use super::tasks::print_json;
use super::terminal::Screen;
use crate::config::{Age, TokenScope};
use clap::Subcommand;
use pilothouse_a2a::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;

/// What to do with tokens.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a caller; it is printed once
    Create {
        /// The caller's name: tokens of one name see the same tasks
        name: String,
        /// What it allows: some of send, read, answer, admin [default: send,read,answer]
        #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
        scopes: Vec<TokenScope>,
        /// The agents that it may be used with [default: all]
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        agents: Vec<String>,
        /// How long it holds: 90d, 12h, or a time like 2027-01-31 [default: until it is revoked]
        #[arg(long, value_name = "AGE|TIME")]
        expires: Option<String>,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// The tokens that were made so, oldest first
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Revoke a token: at once, also for what its holder has open
    Revoke {
        /// Its id, as `list` shows it
        #[arg(add = complete::tokens())]
        id: String,
    },
}

/// Carries out the command; the exit code.
pub(crate) async fn run(
    command: TokenCommand,
    server: &Server,
    screen: Screen,
) -> Result<u8, Failure> {
    let mut out = std::io::stdout();
    match command {
        TokenCommand::Create { name, scopes, agents, expires, json } => {
            let now = Timestamp::now();
            let mut wanted = json!({"caller": name, "agents": agents});
            if !scopes.is_empty() {
                wanted["scopes"] = json!(scopes);
            }
            if let Some(expires) = expires {
                wanted["expires"] = json!(end_of(&expires, now)?);
            }
            let made = server.call(Method::POST, "/api/v1/tokens", Some(&wanted)).await?;
            if json {
                print_json(&mut out, &made)?;
            } else {
                let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default();
                eprintln!(
                    "token {} for {}; it is shown this once, revoke it with `pilothouse token revoke{} {}`",
                    text("id"),
                    text("caller"),
                    server.options(),
                    text("id"),
                );
                writeln!(out, "{}", text("token"))?;
            }
        }
        TokenCommand::List { list } => {
            let tokens =
                read_list(server, ("/api/v1/tokens", "tokens"), list.limit as usize).await?;
            if list.json {
                print_json(&mut out, &tokens.entries)?;
            } else {
                write!(out, "{}", render(&tokens.entries, Timestamp::now(), screen.width))?;
            }
            tokens.tell_left_out();
        }
        TokenCommand::Revoke { id } => {
            let path = format!("/api/v1/tokens/{}", escape(&id));
            server.call(Method::DELETE, &path, None).await?;
            eprintln!("token {id} is revoked");
        }
    }
    Ok(0)
}

/// When a token ends that holds for an age, or until a time.
fn end_of(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(age) = text.parse::<Age>() {
        let age = i64::try_from(age.get().as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_millisecond(now.as_millisecond().saturating_add(age)));
    }
    Timestamp::parse(text).ok_or_else(|| {
        Failure::usage(format!("--expires {text}: no age like 90d, and no time like 2027-01-31"))
    })
}

fn render(tokens: &[Value], now: Timestamp, width: Option<usize>) -> String {
    let row = |token: &Value| {
        let text = |name: &str| token.get(name).and_then(Value::as_str).unwrap_or_default();
        let words = |name: &str| {
            let words = token.get(name).and_then(Value::as_array).into_iter().flatten();
            words.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let made = Timestamp::parse(text("created"));
        let agents = words("agents");
        vec![
            text("id").to_owned(),
            text("caller").to_owned(),
            words("scopes"),
            if agents.is_empty() { "all".to_owned() } else { agents },
            text("state").to_owned(),
            ago(made, now),
            text("expires").get(..10).unwrap_or("never").to_owned(),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    let head = ["ID", "CALLER", "SCOPES", "AGENTS", "STATE", "MADE", "EXPIRES"];
    table(&head, &rows, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_after_an_age_or_at_a_time() {
        let now = Timestamp::from_millisecond(1_000);
        let end = |text| end_of(text, now).map(|end| end.to_string()).ok();
        assert_eq!(end("1d").as_deref(), Some("1970-01-02T00:00:01.000Z"));
        assert_eq!(end("2027-01-31").as_deref(), Some("2027-01-31T00:00:00.000Z"));
        assert_eq!(end("soon"), None);
    }
}
