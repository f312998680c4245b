//! Traces of tasks: by which names, and how much of them waits for a collector.

use super::defaults::{KIB, seconds, section};
use super::secrets::{SHORTEST_SECRET, looks_like_credential};
use super::{Age, Bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

section! {
    /// Traces of tasks.
    #[derive(Debug)]
    pub struct Telemetry {
        /// The names of attributes.
        pub conventions: Conventions = Conventions::Latest,
        /// Turns and requests whose spans wait for the collector; further ones are counted and left out.
        pub queue: usize = 1000,
        /// How long a stop of the server waits for the collector.
        pub flush: Age = seconds(3),
        /// Bytes of one attribute that holds what people and agents said, where that is wanted.
        pub content: Bytes = Bytes::new(16 * KIB),
    }
}

/// Which names attributes have: those of the conventions change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Conventions {
    /// Those of the conventions for generative AI 0.1.
    Latest,
    /// Those that back ends know which read version 1.36 of the semantic conventions.
    Older,
}

/// Where spans are sent, and how: what the standard variables say. It holds secrets and shows none.
pub struct Exporter {
    /// The address that takes them.
    pub endpoint: String,
    /// What goes with each request.
    pub headers: HashMap<String, String>,
    /// For one batch, with all tries.
    pub timeout: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Which traces are sent.
    pub sampler: Sampler,
    /// The name of the service, where it has one of its own.
    pub service: Option<String>,
    /// Further attributes of the service.
    pub resource: Vec<(String, String)>,
    /// Whether what people and agents said is sent.
    pub content: bool,
    /// What is masked in it.
    pub secrets: Vec<String>,
}

/// Which traces are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// How many of them: 0 to 1.
    pub ratio: f64,
    /// Whether a caller that does not record its own trace has none here either.
    pub follows_parent: bool,
}

/// The variable that names the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

impl Exporter {
    /// What the variables say; none where they name no collector.
    ///
    /// # Errors
    ///
    /// A sentence for the operator, where they ask for what cannot be done.
    pub fn read(variables: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let get = |name: &str| variables.get(name).map(|value| value.trim());
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        // What is said of traces counts before what is said of all signals.
        let of_traces = |what: &str| {
            let own = get(&format!("OTEL_EXPORTER_OTLP_TRACES_{what}"));
            own.or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{what}")))
        };
        let is_off = get("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true"))
            || get("OTEL_TRACES_EXPORTER").is_some_and(|name| name != "otlp");
        let endpoint = match (get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), get(ENDPOINT)) {
            _ if is_off => return Ok(None),
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(endpoint)) => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
            (None, None) => return Ok(None),
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            let words = "spans are not sent: OTEL_EXPORTER_OTLP_ENDPOINT must begin with http:// or https://";
            return Err(words.to_owned());
        }
        match of_traces("PROTOCOL") {
            None | Some("http/protobuf") => {}
            Some(_) => {
                let words = "spans are not sent: of the protocols of OTLP the server speaks http/protobuf alone; set \
                             OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf and the collector's HTTP address (its port \
                             is mostly 4318) in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
                return Err(words.to_owned());
            }
        }
        let gzip = match of_traces("COMPRESSION") {
            None | Some("none") => false,
            Some("gzip") => true,
            Some(_) => {
                let words =
                    "spans are not sent: OTEL_EXPORTER_OTLP_COMPRESSION must be `gzip` or `none`";
                return Err(words.to_owned());
            }
        };
        let timeout = of_traces("TIMEOUT").and_then(|text| text.parse().ok());
        let secrets = variables.iter();
        let secrets = secrets
            .filter(|(name, value)| looks_like_credential(name) && value.len() >= SHORTEST_SECRET);
        let asked = get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
        Ok(Some(Self {
            endpoint,
            headers: pairs(of_traces("HEADERS").unwrap_or_default()).collect(),
            timeout: Duration::from_millis(timeout.unwrap_or(10_000).clamp(1, 60_000)),
            gzip,
            sampler: read_sampler(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))?,
            service: get("OTEL_SERVICE_NAME").map(ToOwned::to_owned),
            resource: pairs(get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()).collect(),
            content: asked.is_some_and(|word| {
                let word = word.to_ascii_lowercase();
                matches!(word.as_str(), "true" | "span_only" | "span_and_event")
            }),
            secrets: secrets.map(|(_, value)| value.clone()).collect(),
        }))
    }
}

/// Names and values of a list as the variables have it: `a=b,c=d`, values in the spelling of URLs.
fn pairs(list: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let each = list.split(',').filter_map(|pair| pair.split_once('='));
    each.map(|(name, value)| {
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8_lossy();
        (name.trim().to_owned(), value.into_owned())
    })
}

fn read_sampler(name: Option<&str>, argument: Option<&str>) -> Result<Sampler, String> {
    let ratio = argument.and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0).clamp(0.0, 1.0);
    let (ratio, follows_parent) = match name {
        None | Some("parentbased_always_on") => (1.0, true),
        Some("always_on") => (1.0, false),
        Some("always_off") => (0.0, false),
        Some("parentbased_always_off") => (0.0, true),
        Some("traceidratio") => (ratio, false),
        Some("parentbased_traceidratio") => (ratio, true),
        Some(_) => {
            let words = "spans are not sent: OTEL_TRACES_SAMPLER must be always_on, always_off, traceidratio, or one of \
                         these behind parentbased_";
            return Err(words.to_owned());
        }
    };
    Ok(Sampler { ratio, follows_parent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Exporter>, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Exporter::read(&variables.iter().map(owned).collect())
    }

    #[test]
    fn spans_are_sent_where_the_standard_variables_name_a_collector() {
        let off: [&[(&str, &str)]; 4] = [
            &[],
            &[(ENDPOINT, " ")],
            &[(ENDPOINT, "http://127.0.0.1:4318"), ("OTEL_SDK_DISABLED", "true")],
            &[(ENDPOINT, "http://127.0.0.1:4318"), ("OTEL_TRACES_EXPORTER", "none")],
        ];
        assert!(off.iter().all(|variables| read(variables).unwrap().is_none()));
        let exporter = read(&[
            (ENDPOINT, "http://127.0.0.1:4318/base/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc, x-a=b=c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("ANTHROPIC_API_KEY", "a-key-that-is-long"),
        ]);
        let exporter = exporter.unwrap().unwrap();
        assert_eq!(exporter.endpoint, "http://127.0.0.1:4318/base/v1/traces");
        assert_eq!(exporter.headers["authorization"], "Basic abc");
        assert_eq!(exporter.headers["x-a"], "b=c");
        assert_eq!((exporter.timeout.as_millis(), exporter.gzip), (2500, true));
        assert_eq!(exporter.service.as_deref(), Some("mine"));
        assert_eq!(exporter.resource[0].1, "test");
        assert!(exporter.secrets.iter().any(|secret| secret == "a-key-that-is-long"));
        assert!(!exporter.content);
        // An address of traces is used as it is.
        let own = [(ENDPOINT, "http://a"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b/x")];
        assert_eq!(read(&own).unwrap().unwrap().endpoint, "http://b/x");
    }

    #[test]
    fn the_samplers_are_those_of_the_standard() {
        let sampler = |name, argument| {
            let Sampler { ratio, follows_parent } = read_sampler(name, argument).unwrap();
            (ratio, follows_parent)
        };
        assert_eq!(sampler(None, None), (1.0, true));
        assert_eq!(sampler(Some("always_off"), None), (0.0, false));
        assert_eq!(sampler(Some("parentbased_traceidratio"), Some("0.25")), (0.25, true));
        assert!(read_sampler(Some("sometimes"), None).is_err());
    }

    #[test]
    fn what_cannot_be_done_is_told_with_what_to_do() {
        for variable in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ] {
            let told = read(&[(ENDPOINT, "http://127.0.0.1:4318"), variable]).err().unwrap();
            assert!(told.starts_with("spans are not sent: "), "{told}");
        }
        assert!(read(&[(ENDPOINT, "127.0.0.1:4318")]).is_err());
    }
}
