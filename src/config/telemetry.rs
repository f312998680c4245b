//! Traces of tasks: by which names, and how much of them waits for a collector.

use super::defaults::{KIB, MIB, seconds, section};
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
        /// What is sent of the work of Claude Code; unset: as `CLAUDE_CODE_ENABLE_TELEMETRY` says.
        pub claude: Option<ClaudeTelemetry>,
        /// Bytes of Claude Code's own telemetry that wait for the collector, of all sessions.
        pub claude_bytes: Bytes = Bytes::new(8 * MIB),
    }
}

/// What is sent of the work of Claude Code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClaudeTelemetry {
    /// The spans that the server derives.
    Derived,
    /// Its own spans, metrics and events; of the derived ones those that it has no word for.
    Native,
    /// All of both.
    Both,
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

/// What is sent to the operator's collector, and how: what the standard variables say. It holds secrets and shows none.
pub struct Exporter {
    /// Who takes spans.
    pub traces: Option<OtlpTarget>,
    /// Who takes metrics.
    pub metrics: Option<OtlpTarget>,
    /// Who takes events.
    pub logs: Option<OtlpTarget>,
    /// Between two messages with the metrics.
    pub metric_interval: Duration,
    /// Which traces are sent.
    pub sampler: Sampler,
    /// The name of the service, where it has one of its own.
    pub service: Option<String>,
    /// Further attributes of the service.
    pub resource: Vec<(String, String)>,
    /// Whether what people and agents said is sent.
    pub content: bool,
    /// What is sent of the work of Claude Code, where the configuration says nothing.
    pub claude: ClaudeTelemetry,
}

/// Who takes one kind of telemetry. It holds secrets and shows none.
#[derive(Clone)]
pub struct OtlpTarget {
    /// The address.
    pub endpoint: String,
    /// What goes with each request.
    pub headers: HashMap<String, String>,
    /// For one batch, with all tries.
    pub timeout: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Whether it is spoken to by gRPC.
    pub is_grpc: bool,
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
    /// What the variables say; none where they name no collector. Where they ask for what cannot be done, the second is
    /// a sentence for the operator, and what else they ask for is done.
    pub fn read(variables: &BTreeMap<String, String>) -> (Option<Self>, Option<String>) {
        let get = |name: &str| read_variable(variables, name);
        if get("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
            return (None, None);
        }
        let mut told = None;
        let [mut traces, metrics, logs] = ["TRACES", "METRICS", "LOGS"].map(|signal| {
            let target = OtlpTarget::read(variables, signal);
            target.unwrap_or_else(|error| {
                told.get_or_insert(error);
                None
            })
        });
        let sampler = read_sampler(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"));
        let sampler = sampler.unwrap_or_else(|error| {
            if traces.take().is_some() {
                told.get_or_insert(error);
            }
            Sampler { ratio: 0.0, follows_parent: false }
        });
        if traces.is_none() && metrics.is_none() && logs.is_none() {
            return (None, told);
        }
        let asked = get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
        let interval = get("OTEL_METRIC_EXPORT_INTERVAL").and_then(|text| text.parse().ok());
        let exporter = Self {
            traces,
            metrics,
            logs,
            metric_interval: Duration::from_millis(interval.unwrap_or(60_000).max(1000)),
            sampler,
            service: get("OTEL_SERVICE_NAME").map(ToOwned::to_owned),
            resource: pairs(get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()).collect(),
            content: asked.is_some_and(|word| {
                let word = word.to_ascii_lowercase();
                matches!(word.as_str(), "true" | "span_only" | "span_and_event")
            }),
            claude: match get("CLAUDE_CODE_ENABLE_TELEMETRY") {
                Some("1" | "true") => ClaudeTelemetry::Native,
                _ => ClaudeTelemetry::Derived,
            },
        };
        (Some(exporter), told)
    }
}

impl OtlpTarget {
    /// What the variables say of a signal; none where they name no collector for it.
    fn read(variables: &BTreeMap<String, String>, signal: &str) -> Result<Option<Self>, String> {
        let get = |name: &str| read_variable(variables, name);
        // What is said of the signal counts before what is said of all.
        let of_signal = |what: &str| {
            let own = get(&format!("OTEL_EXPORTER_OTLP_{signal}_{what}"));
            own.or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{what}")))
        };
        let (what, service) = match signal {
            "TRACES" => ("spans", "trace.v1.TraceService"),
            "METRICS" => ("metrics", "metrics.v1.MetricsService"),
            _ => ("events", "logs.v1.LogsService"),
        };
        if get(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|exporter| exporter != "otlp") {
            return Ok(None);
        }
        let own = get(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
        let Some(named) = own.or_else(|| get(ENDPOINT)) else { return Ok(None) };
        if !named.starts_with("http://") && !named.starts_with("https://") {
            return Err(format!(
                "{what} are not sent: OTEL_EXPORTER_OTLP_ENDPOINT must begin with http:// or https://"
            ));
        }
        let base = named.trim_end_matches('/');
        let (is_grpc, endpoint) = match (of_signal("PROTOCOL"), own) {
            (Some("grpc"), _) => {
                (true, format!("{base}/opentelemetry.proto.collector.{service}/Export"))
            }
            (None | Some("http/protobuf"), Some(own)) => (false, own.to_owned()),
            (None | Some("http/protobuf"), None) => {
                (false, format!("{base}/v1/{}", signal.to_ascii_lowercase()))
            }
            (Some(_), _) => {
                return Err(format!(
                    "{what} are not sent: OTEL_EXPORTER_OTLP_PROTOCOL must be `http/protobuf` (the collector's port is \
                     mostly 4318) or `grpc` (mostly 4317)"
                ));
            }
        };
        let gzip = match of_signal("COMPRESSION") {
            None | Some("none") => false,
            Some("gzip") => true,
            Some(_) => {
                return Err(format!(
                    "{what} are not sent: OTEL_EXPORTER_OTLP_COMPRESSION must be `gzip` or `none`"
                ));
            }
        };
        let timeout = of_signal("TIMEOUT").and_then(|text| text.parse().ok());
        Ok(Some(Self {
            endpoint,
            headers: pairs(of_signal("HEADERS").unwrap_or_default()).collect(),
            timeout: Duration::from_millis(timeout.unwrap_or(10_000).clamp(1, 60_000)),
            gzip,
            is_grpc,
        }))
    }
}

/// A variable that is set to more than blanks.
fn read_variable<'a>(variables: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
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

    fn read(variables: &[(&str, &str)]) -> (Option<Exporter>, Option<String>) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Exporter::read(&variables.iter().map(owned).collect())
    }

    #[test]
    fn spans_are_sent_where_the_standard_variables_name_a_collector() {
        let off: [&[(&str, &str)]; 4] = [
            &[],
            &[(ENDPOINT, " ")],
            &[(ENDPOINT, "http://127.0.0.1:4318"), ("OTEL_SDK_DISABLED", "true")],
            &[
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318"),
                ("OTEL_TRACES_EXPORTER", "none"),
            ],
        ];
        assert!(off.iter().all(|variables| read(variables).0.is_none()));
        let exporter = read(&[
            (ENDPOINT, "http://127.0.0.1:4318/base/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc, x-a=b=c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
            ("OTEL_SERVICE_NAME", "mine"),
        ]);
        let exporter = exporter.0.unwrap();
        let traces = exporter.traces.unwrap();
        assert_eq!(traces.endpoint, "http://127.0.0.1:4318/base/v1/traces");
        assert_eq!(traces.headers["authorization"], "Basic abc");
        assert_eq!(traces.headers["x-a"], "b=c");
        assert_eq!((traces.timeout.as_millis(), traces.gzip), (2500, true));
        let others = [exporter.metrics, exporter.logs].map(|target| target.unwrap().endpoint);
        assert_eq!(others, ["metrics", "logs"].map(|name| traces.endpoint.replace("traces", name)));
        assert_eq!(exporter.service.as_deref(), Some("mine"));
        assert_eq!(exporter.resource[0].1, "test");
        assert!(!exporter.content);
        assert_eq!(exporter.claude, ClaudeTelemetry::Derived);
        let native = [(ENDPOINT, "http://a"), ("CLAUDE_CODE_ENABLE_TELEMETRY", "1")];
        assert_eq!(read(&native).0.unwrap().claude, ClaudeTelemetry::Native);
        // An address of traces is used as it is.
        let own = [(ENDPOINT, "http://a"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b/x")];
        let exporter = read(&own).0.unwrap();
        assert_eq!(exporter.traces.unwrap().endpoint, "http://b/x");
        assert_eq!(exporter.metrics.unwrap().endpoint, "http://a/v1/metrics");
        // Traces alone, where the operator says that alone.
        let traces = read(&own[1..]).0.unwrap();
        assert!(traces.metrics.is_none() && traces.logs.is_none());
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
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ] {
            let (exporter, told) = read(&[(ENDPOINT, "http://127.0.0.1:4318"), variable]);
            let told = told.unwrap();
            assert!(told.starts_with("spans are not sent: "), "{told}");
            assert!(exporter.is_none_or(|exporter| exporter.traces.is_none()), "{told}");
        }
        assert!(read(&[(ENDPOINT, "127.0.0.1:4318")]).1.is_some());
        // The rest goes on.
        let mixed = [
            (ENDPOINT, "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ];
        let (exporter, told) = read(&mixed);
        let traces = exporter.unwrap().traces.unwrap();
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert_eq!(traces.endpoint, format!("http://127.0.0.1:4318{path}"));
        assert!(told.unwrap().starts_with("metrics are not sent: "));
    }
}
