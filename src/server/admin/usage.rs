//! `/api/v1/usage`: what turns have cost, by day, agent, caller and session, and what is left of the ceilings.

use super::super::{Doors, json_response};
use super::{carry_out, failed, store_failed};
use crate::access::{Caller, Denied};
use crate::config::{Budget, Config, TokenScope};
use crate::store::{Account, CallerFilter, UsageOf, Used};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::Error;
use pilothouse_a2a::time::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Days of a report where the caller names none, today included.
const USUAL_DAYS: i64 = 30;

/// The days that a report is about, since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days {
    from: i64,
    to: i64,
}

impl Days {
    /// Reads `from` and `to`, days as `YYYY-MM-DD`.
    fn read(query: &str, today: i64) -> Result<Self, Error> {
        let mut days = Self { from: 0, to: today };
        let mut from = None;
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let day = || {
                let time = Timestamp::parse(value);
                let time =
                    time.ok_or_else(|| Error::invalid(name, "must be a day like 2027-01-31"))?;
                Ok::<_, Error>(time.as_millisecond().div_euclid(DAY_MS))
            };
            match name {
                "from" => from = Some(day()?),
                "to" => days.to = day()?,
                _ => {}
            }
        }
        days.from = from.unwrap_or(days.to - USUAL_DAYS + 1);
        Ok(days)
    }
}

/// `GET /api/v1/usage`: of the caller; of all callers where an admin asks and names none.
pub(in super::super) async fn usage(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = doors.config.limits.response.as_usize();
    carry_out(
        &doors,
        request,
        ("GetUsage", most),
        async move |doors, client, request: Request<Bytes>| {
            let today = Timestamp::now().as_millisecond().div_euclid(DAY_MS);
            let query = request.uri().query().unwrap_or_default();
            let days = Days::read(query, today).map_err(|error| Box::new(failed(&error)))?;
            let caller = &client.caller;
            let callers =
                callers(caller, query).map_err(|denied| Box::new(failed(&denied.into())))?;
            let report = doors.store.usage_report(&callers, days.from, days.to);
            let report = report.await.map_err(store_failed)?;
            let config = doors.reloading.current().await;
            let budgets = budgets(&doors, &config, caller, today).await?;
            let of_days = report.days.iter().map(|row| {
                let day = row.name.parse().unwrap_or_default();
                UsageOf { name: name_day(day), usage: row.usage }
            });
            let of_days: Vec<_> = of_days.collect();
            let body = json!({
                "from": name_day(days.from),
                "to": name_day(days.to),
                "total": total(&of_days),
                "days": list("day", &of_days),
                "agents": list("agent", &report.agents),
                "callers": list("caller", &report.callers),
                "sessions": list("session", &report.sessions),
                "budgets": budgets,
            });
            Ok(json_response(StatusCode::OK, body.to_string()))
        },
    )
    .await
}

/// Whose usage is shown. That of others is of all agents, so it asks for an admin's token that is for all agents.
fn callers(caller: &Caller, query: &str) -> Result<CallerFilter, Denied> {
    let may_see_all = caller.require(TokenScope::Admin);
    match may_see_all.is_ok() && !query.contains("caller=") {
        true => Ok(CallerFilter::All),
        false if caller.lists_own() => Ok(caller.listed.clone()),
        false => may_see_all.map(|()| caller.listed.clone()),
    }
}

fn name_day(day: i64) -> String {
    let time = Timestamp::from_millisecond(day.saturating_mul(DAY_MS)).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}

/// Millionths of a dollar as dollars.
fn dollars(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "sums of money have fewer digits")]
    let micros = micros as f64;
    micros / 1e6
}

fn total(days: &[UsageOf]) -> Value {
    let used = days.iter().fold(Used::default(), |sum, day| sum.plus(day.usage.used));
    let turns: u64 = days.iter().map(|day| day.usage.turns).sum();
    json!({"turns": turns, "costUsd": dollars(used.cost), "tokens": used.tokens})
}

fn list(name: &str, rows: &[UsageOf]) -> Value {
    let row = |row: &UsageOf| {
        let used = row.usage.used;
        let mut shown =
            json!({name: row.name, "costUsd": dollars(used.cost), "tokens": used.tokens});
        // Turns of sessions are not counted.
        if name != "session" {
            shown["turns"] = row.usage.turns.into();
        }
        shown
    };
    rows.iter().map(row).collect()
}

/// The ceilings of a day, how much of each is used, and what is left; that of all callers is for admins.
async fn budgets(
    doors: &Doors,
    config: &Config,
    caller: &Caller,
    today: i64,
) -> Result<Value, Box<Response>> {
    let own = match &caller.listed {
        CallerFilter::One(name) => name.clone(),
        CallerFilter::All => caller.name.clone(),
    };
    let accounts = vec![Account::Caller(own, today), Account::Day(today)];
    let used = doors.store.usage(accounts).await.map_err(store_failed)?;
    let agents =
        config.agents.iter().map(|(name, agent)| (format!("agents.{name}."), agent.budgets));
    let all = std::iter::once((String::new(), config.budgets)).chain(agents);
    let may_see_all = caller.require(TokenScope::Admin).is_ok();
    let mut shown = Vec::new();
    for (prefix, budgets) in all {
        let of_caller = ("caller", budgets.caller, used[0]);
        let of_all = ("day", budgets.day, used[1]);
        for (kind, budget, used) in [of_caller, of_all] {
            if budget != Budget::default() && (kind == "caller" || may_see_all) {
                shown.push(show(&format!("{prefix}budgets.{kind}"), budget, used));
            }
        }
    }
    Ok(shown.into())
}

fn show(key: &str, budget: Budget, used: Used) -> Value {
    let mut shown = json!({"key": key});
    if let Some(cost) = budget.cost_usd {
        let left = dollars(cost.micros().saturating_sub(used.cost));
        let limit = dollars(cost.micros());
        shown["costUsd"] = json!({"limit": limit, "used": dollars(used.cost), "left": left});
    }
    if let Some(limit) = budget.tokens {
        let left = limit.saturating_sub(used.tokens);
        shown["tokens"] = json!({"limit": limit, "used": used.tokens, "left": left});
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_about_the_last_thirty_days_unless_it_is_said() {
        let read = |query| Days::read(query, 100);
        assert_eq!(read("").unwrap(), Days { from: 71, to: 100 });
        assert_eq!(read("from=1970-01-11&to=1970-01-21").unwrap(), Days { from: 10, to: 20 });
        assert_eq!(read("to=1970-02-10&x=y").unwrap(), Days { from: 11, to: 40 });
        assert!(read("from=yesterday").is_err());
        assert_eq!(name_day(10), "1970-01-11");
    }
}
