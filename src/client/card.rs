//! `pilothouse card`: fetch an agent's card as each kind of client does, and check it.

mod signature;

use super::exit;
use super::failure::{Failure, causes, root_cause};
use super::local::{AgentArgs, Server, body, http};
use super::report::Report;
use super::tasks::print_json;
use super::terminal::{Screen, clean_line};
use clap::Args;
use pilothouse_a2a::card::GRPC;
use pilothouse_a2a::client::{ClientError, ClientTls, FetchedCard, card as fetch};
use reqwest::Url;
use serde_json::{Value, json};
use signature::Signature;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

/// How long an interface may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Interfaces of a card that are tried.
const TRIED: usize = 8;

/// Which card.
#[derive(Debug, Clone, Args)]
pub(crate) struct CardArgs {
    /// Address of the agent or of its card (else the local server)
    #[arg(value_name = "URL", conflicts_with = "url")]
    place: Option<String>,
    /// Print the checks and the card as JSON
    #[arg(long)]
    json: bool,
    /// Public keys that the card's signature is checked with (a JSON Web Key Set), instead of those at
    /// the address in the signature
    #[arg(long, value_name = "URL|FILE")]
    jwks: Option<String>,
    /// A card without a valid signature is a problem (exit code 1)
    #[arg(long)]
    require_signature: bool,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

impl CardArgs {
    /// The agent that is meant, with the address wherever it stands.
    pub(crate) fn agent(&self) -> AgentArgs {
        let mut agent = self.agent.clone();
        agent.server.url = self.place.clone().or(agent.server.url);
        agent
    }
}

/// Fetches and checks; 1 when something is wrong.
pub(crate) async fn run(args: CardArgs, server: &Server, screen: Screen) -> Result<u8, Failure> {
    // Cards are public; a token would only go where it is not needed.
    let base = server.base();
    let get = |version| fetch(&base, None, version, &server.tls);
    let plain = get(None).await.map_err(|error| server.failure(&error))?;
    let mut report = Report::default();
    report.good("fetched", &plain.url);
    check(&plain.card, &mut report);
    let signature = Signature::check(&plain, args.jwks.as_deref(), &server.tls).await?;
    signature.tell(args.require_signature, &mut report);
    for version in ["1.0", "0.3"] {
        check_version(&plain.card, version, get(Some(version)).await, &mut report);
    }
    let places: BTreeSet<_> =
        interfaces(&plain.card).into_iter().map(|(url, binding, _)| (url, binding)).collect();
    for (url, binding) in places.iter().take(TRIED) {
        check_reachable(url, binding, &server.tls, &mut report).await?;
    }
    let mut out = std::io::stdout();
    if args.json {
        let good = report.is_good();
        print_json(
            &mut out,
            &json!({
                "url": plain.url, "ok": good, "signature": signature.json(), "checks": report.json(),
                "card": plain.card,
            }),
        )?;
    } else {
        write!(out, "{}\n{}", summary(&plain.card), report.lines(screen.styled, screen.width))?;
    }
    Ok(if report.is_good() { 0 } else { exit::FAILED })
}

/// Who the agent is and what it can do, in a few lines.
fn summary(card: &Value) -> String {
    let mut out =
        format!("{} {}\n", text(card, "name"), text(card, "version")).trim_start().to_owned();
    out.push_str(&format!("{}\n", text(card, "description")));
    for (url, binding, version) in interfaces(card) {
        out.push_str(&format!("  {binding} {version} at {}\n", clean_line(&url)));
    }
    for skill in list(card, "skills") {
        out.push_str(&format!("  skill {}: {}\n", text(skill, "id"), text(skill, "name")));
    }
    let can = |name: &str| {
        card.pointer(&format!("/capabilities/{name}")).and_then(Value::as_bool) == Some(true)
    };
    let abilities: Vec<&str> =
        [("streaming", "streaming"), ("pushNotifications", "push notifications")]
            .into_iter()
            .filter_map(|(name, words)| can(name).then_some(words))
            .collect();
    out.push_str(&format!(
        "  can: {}\n",
        if abilities.is_empty() { "answer".to_owned() } else { abilities.join(", ") }
    ));
    let schemes: Vec<String> = card
        .get("securitySchemes")
        .and_then(Value::as_object)
        .map(|schemes| schemes.keys().map(|name| clean_line(name)).collect())
        .unwrap_or_default();
    out.push_str(&format!(
        "  asks for: {}\n",
        if schemes.is_empty() { "nothing".to_owned() } else { schemes.join(", ") }
    ));
    out
}

/// What every card must have, in whichever shape.
fn check(card: &Value, report: &mut Report) {
    let required = [
        "name",
        "description",
        "version",
        "capabilities",
        "defaultInputModes",
        "defaultOutputModes",
        "skills",
    ];
    let missing: Vec<&str> =
        required.into_iter().filter(|name| is_empty(card.get(*name), name)).collect();
    if missing.is_empty() {
        report.good("required fields", "all there");
    } else {
        report.bad(
            "required fields",
            format!("missing or empty: {}", missing.join(", ")),
            "the agent must add them",
        );
    }
    let places = interfaces(card);
    if places.is_empty() {
        report.bad(
            "interfaces",
            "none",
            "the agent must list `supportedInterfaces` (v1.0) or `url` (v0.3)",
        );
    }
    for (url, binding, version) in &places {
        let name = format!("interface {binding} {version}");
        if !is_absolute(url, binding) {
            report.bad(&name, format!("`{url}` is not absolute"), "give scheme and host");
        } else if !matches!(
            version.split('.').take(2).collect::<Vec<_>>()[..],
            ["1", "0"] | ["0", "1" | "2" | "3"]
        ) {
            report.bad(&name, format!("`{version}` is no version of A2A"), "1.0 or 0.3");
        } else {
            report.good(&name, url);
        }
    }
    let skills = list(card, "skills");
    let lacking = |skill: &&Value| {
        ["id", "name", "description"].iter().any(|name| text(skill, name).is_empty())
    };
    match (skills.len(), skills.iter().filter(lacking).count()) {
        (0, _) => report.bad("skills", "none", "name at least one"),
        (count, 0) => report.good("skills", count.to_string()),
        (_, lacking) => {
            report.bad("skills", format!("{lacking} without id, name or description"), "add them");
        }
    }
}

/// What a client of one version gets.
fn check_version(
    plain: &Value,
    version: &str,
    fetched: Result<FetchedCard, ClientError>,
    report: &mut Report,
) {
    let name = format!("A2A-Version {version}");
    let card = match fetched {
        Ok(fetched) => fetched.card,
        Err(error) => {
            let fix = "serve the card whatever version is asked for";
            return report.bad(&name, causes(Some(&error)), fix);
        }
    };
    let offered = interfaces(plain).iter().any(|(_, _, spoken)| spoken.starts_with(version));
    let fits = match version {
        "1.0" => list(&card, "supportedInterfaces")
            .iter()
            .any(|one| text(one, "protocolVersion").starts_with(version)),
        _ => !text(&card, "url").is_empty() && text(&card, "protocolVersion").starts_with(version),
    };
    match (fits, offered) {
        (true, _) => report.good(&name, "a client of this version can read it"),
        (false, true) => report.bad(
            &name,
            "offered, but its card is not of that shape",
            "serve the card of the version asked for",
        ),
        (false, false) => report.note(&name, "not offered"),
    }
}

/// Whether somebody answers there. Nothing is asked that would start work, and no token is sent.
async fn check_reachable(
    place: &str,
    binding: &str,
    tls: &ClientTls,
    report: &mut Report,
) -> Result<(), Failure> {
    let name = format!("reachable {binding}");
    if binding == GRPC {
        let bare = place.split_once("://").map_or(place, |(_, rest)| rest).trim_end_matches('/');
        let connected = tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(bare)).await;
        match connected {
            Ok(Ok(_)) => report.good(&name, place),
            Ok(Err(error)) => report.bad(
                &name,
                format!("{place}: {error}"),
                "correct the address, or start the server",
            ),
            Err(_) => report.bad(
                &name,
                format!("{place}: no answer in {} s", PATIENCE.as_secs()),
                "correct the address",
            ),
        }
        return Ok(());
    }
    let Ok(url) = Url::parse(place) else {
        return Ok(());
    };
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "00000000-0000-0000-0000-000000000000"}});
    let request = http(&url, PATIENCE, tls)?
        .post(url)
        .header("content-type", "application/json")
        .header("a2a-version", "1.0")
        .body(question.to_string());
    let answer = match request.send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            body(response).await.map(|body| (status, body))
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok((401 | 403, _)) => report.good(&name, format!("{place} (wants credentials)")),
        Ok((status, body)) if is_json_rpc(&body) || (binding != "JSONRPC" && status < 500) => {
            report.good(&name, place);
        }
        Ok((status, _)) => {
            report.bad(
                &name,
                format!("{place} answers with HTTP status {status}"),
                "correct the address in the card",
            );
        }
        Err(error) => {
            report.bad(
                &name,
                format!("{place}: {}", root_cause(&error)),
                "correct the address in the card, or start the server",
            );
        }
    }
    Ok(())
}

fn is_json_rpc(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body)
        .is_ok_and(|value| value.get("jsonrpc").is_some_and(|version| version == "2.0"))
}

/// The interfaces of either shape, each once: address, binding, version.
fn interfaces(card: &Value) -> Vec<(String, String, String)> {
    let mut found: Vec<(String, String, String)> = list(card, "supportedInterfaces")
        .iter()
        .map(|one| (raw(one, "url"), text(one, "protocolBinding"), text(one, "protocolVersion")))
        .collect();
    if found.is_empty() && card.get("url").is_some() {
        let transport = text(card, "preferredTransport");
        let transport = if transport.is_empty() { "JSONRPC".to_owned() } else { transport };
        let version = text(card, "protocolVersion");
        found.push((raw(card, "url"), transport, version.clone()));
        for one in list(card, "additionalInterfaces") {
            found.push((raw(one, "url"), text(one, "transport"), version.clone()));
        }
    }
    let mut each = Vec::new();
    for one in found {
        if !each.contains(&one) {
            each.push(one);
        }
    }
    each
}

fn is_absolute(url: &str, binding: &str) -> bool {
    let http = Url::parse(url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    // A gRPC address is `host:port`.
    http || (binding == GRPC
        && url
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()))
}

/// Whether a required member says nothing. Capabilities may be an empty object.
fn is_empty(value: Option<&Value>, name: &str) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Array(items)) => items.is_empty() && name != "skills",
        Some(Value::Object(_) | Value::Bool(_) | Value::Number(_)) => false,
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn raw(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn text(value: &Value, name: &str) -> String {
    clean_line(&raw(value, name))
}

#[cfg(test)]
mod tests;
