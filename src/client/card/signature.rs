//! Whether a card is signed by whom it says, for `pilothouse card`.

use super::super::failure::{Failure, root_cause};
use super::super::local::{body, http};
use super::super::report::Report;
use super::PATIENCE;
use crate::signing::{Form, Keys, Verdict, key_places, verify};
use pilothouse_a2a::client::{ClientTls, FetchedCard};
use reqwest::Url;
use serde_json::{Value, json};
use std::io::Read;

/// Places of keys that are read.
const KEY_PLACES: usize = 4;
/// Bytes of a file of keys.
const KEY_FILE: u64 = 1 << 20;

/// What came of the signatures, and what kept keys from being read.
pub(super) struct Signature {
    pub(super) verdict: Verdict,
    pub(super) unread: Vec<String>,
}

/// A set of keys from an address or a file.
async fn read_keys(place: &str, tls: &ClientTls) -> Result<Keys, String> {
    let bytes = match Url::parse(place).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
    {
        Some(url) => {
            let request = http(&url, PATIENCE, tls).map_err(|failure| failure.message)?.get(url);
            let response = request.send().await.map_err(|error| root_cause(&error))?;
            if !response.status().is_success() {
                return Err(format!("HTTP status {}", response.status().as_u16()));
            }
            body(response).await.map_err(|error| root_cause(&error))?
        }
        None => {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(place).map_err(|error| error.to_string())?;
            file.take(KEY_FILE).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            bytes
        }
    };
    Keys::read(&bytes)
}

impl Signature {
    /// Checks the card's signatures with the keys that are named, else with those that lie where the card
    /// itself lies. A card must not be able to vouch for itself from anywhere else.
    pub(super) async fn check(
        card: &FetchedCard,
        named: Option<&str>,
        tls: &ClientTls,
    ) -> Result<Self, Failure> {
        let (mut keys, mut unread) = (Keys::default(), Vec::new());
        let places = key_places(&card.card);
        if let Some(named) = named {
            keys = read_keys(named, tls)
                .await
                .map_err(|error| Failure::usage(format!("--jwks: {named}: {error}")))?;
        } else {
            let origin = Url::parse(&card.url).map(|url| url.origin());
            let mut ours = 0;
            for place in places {
                let near = Url::parse(&place).is_ok_and(|url| Ok(url.origin()) == origin);
                if !near {
                    unread.push(format!(
                        "{place} is not where the card is; if you trust it, name it with --jwks"
                    ));
                    continue;
                }
                ours += 1;
                if ours > KEY_PLACES {
                    break;
                }
                match read_keys(&place, tls).await {
                    Ok(more) => keys.extend(more),
                    Err(error) => unread.push(format!("{place}: {error}")),
                }
            }
        }
        Ok(Self { verdict: verify(&card.card, &keys), unread })
    }

    /// The line of the report. A wrong signature is always a problem; none is one where it is required.
    pub(super) fn tell(&self, required: bool, report: &mut Report) {
        const NAME: &str = "signature";
        let unread = self.unread.join("; ");
        match &self.verdict {
            Verdict::Valid { alg, kid, form } => {
                let kid = kid.as_deref().unwrap_or("none");
                let over = match form {
                    Form::Exact => "",
                    Form::NonEmpty => "; it does not cover empty values",
                    Form::V0_3 => "; it covers the members of v0.3",
                };
                report.good(NAME, format!("valid ({alg}, kid {kid}){over}"));
            }
            Verdict::Invalid(reason) => {
                let fix = "do not trust this card; or name the right keys with --jwks";
                report.bad(NAME, format!("invalid: {reason}"), fix);
            }
            Verdict::NoKey(kids) => {
                let text = format!("not checked: no key for {}", kids.join(", "));
                match (required, unread.is_empty()) {
                    (true, true) => report.bad(NAME, text, "name the keys with --jwks"),
                    (true, false) => report.bad(NAME, text, unread),
                    (false, true) => report.note(NAME, text),
                    (false, false) => report.note(NAME, format!("{text} ({unread})")),
                }
            }
            Verdict::Unsigned if required => {
                report.bad(NAME, "unsigned", "the server's operator can sign it (`card.signing`)");
            }
            Verdict::Unsigned => report.note(NAME, "unsigned"),
        }
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        match &self.verdict {
            Verdict::Valid { alg, kid, form } => {
                json!({"status": "valid", "alg": alg, "kid": kid, "form": form.name().unwrap_or("whole")})
            }
            Verdict::Invalid(reason) => json!({"status": "invalid", "reason": reason}),
            Verdict::NoKey(kids) => {
                json!({"status": "unchecked", "kids": kids, "unread": self.unread})
            }
            Verdict::Unsigned => json!({"status": "unsigned"}),
        }
    }
}
