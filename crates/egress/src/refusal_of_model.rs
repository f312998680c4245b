//! What a model's server says when it refuses a request: whether asking again helps, and when.

use hyper::{HeaderMap, StatusCode};
use std::time::Duration;

/// The longest wait that is believed; a longer one is an error of the server's.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// A refusal of a model's server because of a limit or of overload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelRefusal {
    /// The status: 429, 503 or 529.
    pub status: u16,
    /// `retry-after`: how long asking again is of no use.
    pub retry_after: Option<Duration>,
    /// When the account's limit is lifted, in seconds since 1970, where the account is at its limit.
    pub resets_at: Option<i64>,
    /// Whether it was said that asking again does not help (`x-should-retry: false`).
    pub is_final: bool,
}

impl ModelRefusal {
    /// The refusal in the head of an answer; none where it is no such refusal.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if !matches!(status.as_u16(), 429 | 503 | 529) {
            return None;
        }
        let text =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let seconds = |text: &str| text.parse::<u64>().ok().map(Duration::from_secs);
        let millis = |text: &str| text.parse::<u64>().ok().map(Duration::from_millis);
        let retry_after = text("retry-after-ms").and_then(millis);
        let retry_after = retry_after.or_else(|| text("retry-after").and_then(seconds));
        let is_rejected = text("anthropic-ratelimit-unified-status") == Some("rejected");
        let resets_at =
            text("anthropic-ratelimit-unified-reset").and_then(|text| text.parse().ok());
        Some(Self {
            status: status.as_u16(),
            retry_after: retry_after.map(|wait| wait.min(LONGEST)),
            resets_at: resets_at.filter(|_| is_rejected),
            is_final: text("x-should-retry") == Some("false"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, headers: &[(&'static str, &'static str)]) -> Option<ModelRefusal> {
        let headers = headers.iter().map(|&(name, value)| {
            (
                hyper::header::HeaderName::from_static(name),
                hyper::header::HeaderValue::from_static(value),
            )
        });
        ModelRefusal::of(StatusCode::from_u16(status).unwrap(), &headers.collect())
    }

    #[test]
    fn a_refusal_says_until_when_and_whether_asking_again_helps() {
        let limit = refusal(429, &[("retry-after", "3600"), ("x-should-retry", "false")]).unwrap();
        assert_eq!(limit.retry_after, Some(Duration::from_secs(3600)));
        assert!(limit.is_final && limit.resets_at.is_none());
        let reset = ("anthropic-ratelimit-unified-reset", "1796053836");
        let rejected = refusal(429, &[("anthropic-ratelimit-unified-status", "rejected"), reset]);
        assert_eq!(rejected.unwrap().resets_at, Some(1_796_053_836));
        assert_eq!(refusal(429, &[reset]).unwrap().resets_at, None);
        let precise = refusal(529, &[("retry-after-ms", "1500"), ("retry-after", "2")]).unwrap();
        assert_eq!(precise.retry_after, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn other_answers_and_nonsense_say_nothing() {
        assert_eq!(refusal(200, &[("retry-after", "1")]), None);
        assert_eq!(refusal(401, &[("x-should-retry", "false")]), None);
        let nonsense =
            refusal(429, &[("retry-after", "soon"), ("x-should-retry", "maybe")]).unwrap();
        assert_eq!(nonsense, ModelRefusal { status: 429, ..ModelRefusal::default() });
        let endless = refusal(429, &[("retry-after", "99999999999")]).unwrap();
        assert_eq!(endless.retry_after, Some(LONGEST));
    }
}
