//! `pilothouse usage`: what turns have cost, and what is left of the ceilings.

use super::failure::Failure;
use super::local::{Server, escape};
use super::table::table;
use super::tasks::print_json;
use super::terminal::Screen;
use clap::Args;
use reqwest::Method;
use serde_json::Value;
use std::io::Write;

/// Which days, and by what they are told apart.
#[derive(Debug, Clone, Args)]
pub(crate) struct UsageArgs {
    /// What the sums are of
    #[arg(long, value_enum, default_value_t = By::Day)]
    by: By,
    /// The first day, like 2027-01-31 [default: 30 days back]
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The last day [default: today]
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// Print all of it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Day,
    Agent,
    Caller,
    Session,
}

impl By {
    /// The list of the answer, and the member that names each row.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Day => ("days", "day"),
            Self::Agent => ("agents", "agent"),
            Self::Caller => ("callers", "caller"),
            Self::Session => ("sessions", "session"),
        }
    }
}

/// Reads and prints the report.
pub(crate) async fn run(args: UsageArgs, server: &Server, screen: Screen) -> Result<u8, Failure> {
    let days = [("from", &args.from), ("to", &args.to)];
    let days = days.into_iter().filter_map(|(name, day)| Some((name, day.as_ref()?)));
    let query: Vec<_> = days.map(|(name, day)| format!("{name}={}", escape(day))).collect();
    let path = format!("/api/v1/usage?{}", query.join("&"));
    let report = server.call(Method::GET, &path, None).await?;
    let mut out = std::io::stdout();
    if args.json {
        print_json(&mut out, &report)?;
    } else {
        write!(out, "{}", render(&report, args.by, screen.width))?;
    }
    Ok(0)
}

fn render(report: &Value, by: By, width: Option<usize>) -> String {
    let (list, name) = by.names();
    let row = |first: String, row: &Value| {
        let turns = row["turns"].as_u64().map_or_else(|| "-".to_owned(), |turns| turns.to_string());
        let cost = format!("{:.2}", row["costUsd"].as_f64().unwrap_or_default());
        vec![first, turns, row["tokens"].to_string(), cost]
    };
    let rows = report[list].as_array().into_iter().flatten();
    let mut rows: Vec<_> =
        rows.map(|each| row(each[name].as_str().unwrap_or_default().to_owned(), each)).collect();
    if by != By::Session {
        rows.push(row("total".to_owned(), &report["total"]));
    }
    let mut text = table(&[&name.to_uppercase(), "TURNS", "TOKENS", "USD"], &rows, width);
    for budget in report["budgets"].as_array().into_iter().flatten() {
        let key = budget["key"].as_str().unwrap_or_default();
        for (member, unit) in [("costUsd", "USD"), ("tokens", "tokens")] {
            let of = &budget[member];
            if of.is_object() {
                text.push_str(&format!(
                    "{key}: {} of {} {unit} used today, {} left\n",
                    of["used"], of["limit"], of["left"]
                ));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_is_a_table_with_its_total_and_what_is_left_of_the_ceilings() {
        let report = json!({
            "total": {"turns": 3, "costUsd": 1.5, "tokens": 42},
            "days": [{"day": "2027-01-31", "turns": 3, "costUsd": 1.5, "tokens": 42}],
            "budgets": [{"key": "budgets.caller", "tokens": {"limit": 50, "used": 42, "left": 8}}],
        });
        insta::assert_snapshot!(render(&report, By::Day, None), @r"
        DAY         TURNS  TOKENS  USD
        2027-01-31  3      42      1.50
        total       3      42      1.50
        budgets.caller: 42 of 50 tokens used today, 8 left
        ");
    }
}
