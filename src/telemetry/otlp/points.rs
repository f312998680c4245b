//! The metrics as messages of OTLP. There is one registry: its text for Prometheus is read here, so that both ways say the
//! same.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// A line of the text: a series at this moment.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: &'a str,
}

/// The message for this text, and how many points are in it; times are in nanoseconds since 1970-01-01 UTC.
pub(super) fn message(
    text: &str,
    resource: &[(String, String)],
    (start, now): (u64, u64),
) -> (ExportMetricsServiceRequest, u64) {
    let mut metrics: Vec<Metric> = Vec::new();
    let mut name = "";
    let mut count = 0;
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("# ") {
            let mut words = told.splitn(3, ' ');
            let (what, of, word) = (words.next(), words.next(), words.next().unwrap_or(""));
            let Some(of) = of else { continue };
            if of != name {
                name = of;
                metrics.push(Metric { name: convention(of), ..Metric::default() });
            }
            let Some(metric) = metrics.last_mut() else { continue };
            match (what, word) {
                (Some("HELP"), _) => word.trim_end_matches('.').clone_into(&mut metric.description),
                (Some("UNIT"), "seconds") => {
                    metric.name = convention(of.trim_end_matches("_seconds"));
                    "s".clone_into(&mut metric.unit);
                }
                (Some("TYPE"), "counter") => {
                    metric.data = Some(Data::Sum(Sum {
                        data_points: Vec::new(),
                        aggregation_temporality: AggregationTemporality::Cumulative.into(),
                        is_monotonic: true,
                    }));
                }
                (Some("TYPE"), "gauge") => metric.data = Some(Data::Gauge(Gauge::default())),
                (Some("TYPE"), "histogram") => {
                    metric.data = Some(Data::Histogram(Histogram {
                        data_points: Vec::new(),
                        aggregation_temporality: AggregationTemporality::Cumulative.into(),
                    }));
                }
                _ => {}
            }
        } else if let Some(metric) = metrics.last_mut()
            && let Some(sample) = Sample::read(line)
        {
            count += u64::from(sample.add_to(metric, (start, now)));
        }
    }
    metrics.iter_mut().filter_map(|metric| metric.data.as_mut()).for_each(separate_buckets);
    let scope = InstrumentationScope {
        name: "pilothouse".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let attributes = resource.iter().map(|(name, value)| attribute(name, value)).collect();
    let of_resource = ResourceMetrics {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(scope),
            metrics,
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    };
    (ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }, count)
}

impl<'a> Sample<'a> {
    /// `name{label="value",...} number`; values of our labels have no quotes in them.
    fn read(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        let labels = labels.split("\",").filter_map(|pair| {
            let (name, value) = pair.split_once("=\"")?;
            Some((name, value.trim_end_matches('"').to_owned()))
        });
        Some(Self { name, labels: labels.collect(), value })
    }

    /// Adds it to the points of its metric; whether it is a new point.
    fn add_to(self, metric: &mut Metric, (start, now): (u64, u64)) -> bool {
        let number = || match self.value.parse() {
            Ok(whole) => Some(Number::AsInt(whole)),
            Err(_) => self.value.parse().ok().map(Number::AsDouble),
        };
        let attributes = |labels: &[(&str, String)]| -> Vec<KeyValue> {
            let labels = labels.iter().filter(|(name, _)| *name != "le");
            labels.map(|(name, value)| attribute(&convention(name), value)).collect()
        };
        match &mut metric.data {
            Some(Data::Sum(Sum { data_points, .. }) | Data::Gauge(Gauge { data_points })) => {
                data_points.push(NumberDataPoint {
                    attributes: attributes(&self.labels),
                    start_time_unix_nano: start,
                    time_unix_nano: now,
                    value: number(),
                    ..NumberDataPoint::default()
                });
                true
            }
            Some(Data::Histogram(histogram)) => {
                let attributes = attributes(&self.labels);
                let points = &mut histogram.data_points;
                let is_new = points.last().is_none_or(|point| point.attributes != attributes);
                if is_new {
                    points.push(HistogramDataPoint {
                        attributes,
                        start_time_unix_nano: start,
                        time_unix_nano: now,
                        ..HistogramDataPoint::default()
                    });
                }
                let Some(point) = points.last_mut() else { return false };
                if self.name.ends_with("_sum") {
                    point.sum = self.value.parse().ok();
                } else if self.name.ends_with("_count") {
                    point.count = self.value.parse().unwrap_or(0);
                } else if self.name.ends_with("_bucket") {
                    point.bucket_counts.push(self.value.parse().unwrap_or(0));
                    let bound = self.labels.iter().find(|(name, _)| *name == "le");
                    let bound = bound.and_then(|(_, bound)| bound.parse::<f64>().ok());
                    point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
                }
                is_new
            }
            Some(Data::ExponentialHistogram(_) | Data::Summary(_)) | None => false,
        }
    }
}

/// In the text each bucket has those below it; here it has its own alone.
fn separate_buckets(data: &mut Data) {
    let Data::Histogram(histogram) = data else { return };
    for point in &mut histogram.data_points {
        let mut below = 0;
        for bucket in &mut point.bucket_counts {
            let all = std::mem::replace(&mut below, *bucket);
            *bucket = bucket.saturating_sub(all);
        }
    }
}

/// A name of the conventions for generative AI as these write it.
fn convention(name: &str) -> String {
    match name.strip_prefix("gen_ai_") {
        Some(rest) => format!("gen_ai.{}", rest.replace('_', ".")),
        None => name.to_owned(),
    }
}

fn attribute(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_for_prometheus_becomes_sums_gauges_and_histograms() {
        let text = "# HELP pilothouse_turns Turns.\n# TYPE pilothouse_turns counter\n\
            pilothouse_turns_total{agent=\"a\",outcome=\"completed\"} 3\n\
            # HELP gen_ai_client_operation_duration_seconds How long.\n\
            # TYPE gen_ai_client_operation_duration_seconds histogram\n\
            # UNIT gen_ai_client_operation_duration_seconds seconds\n\
            gen_ai_client_operation_duration_seconds_sum{gen_ai_agent_name=\"a\"} 1.5\n\
            gen_ai_client_operation_duration_seconds_count{gen_ai_agent_name=\"a\"} 3\n\
            gen_ai_client_operation_duration_seconds_bucket{le=\"0.1\",gen_ai_agent_name=\"a\"} 1\n\
            gen_ai_client_operation_duration_seconds_bucket{le=\"1.0\",gen_ai_agent_name=\"a\"} 3\n\
            gen_ai_client_operation_duration_seconds_bucket{le=\"+Inf\",gen_ai_agent_name=\"a\"} 3\n\
            # TYPE pilothouse_processes gauge\npilothouse_processes 2\n# EOF\n";
        let (mut message, count) = message(text, &[], (1, 2));
        assert_eq!(count, 3);
        let metrics = message.resource_metrics.remove(0).scope_metrics.remove(0).metrics;
        let names: Vec<_> = metrics.iter().map(|metric| &*metric.name).collect();
        let expected =
            ["pilothouse_turns", "gen_ai.client.operation.duration", "pilothouse_processes"];
        assert_eq!(names[..3], expected);
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert_eq!(sum.data_points[0].value, Some(Number::AsInt(3)));
        assert_eq!(sum.data_points[0].attributes.len(), 2);
        let Some(Data::Histogram(histogram)) = &metrics[1].data else { panic!("{metrics:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (3, Some(1.5)));
        assert_eq!(
            (&*point.bucket_counts, &*point.explicit_bounds),
            (&[1, 2, 0][..], &[0.1, 1.0][..])
        );
        assert_eq!(point.attributes[0].key, "gen_ai.agent.name");
        assert_eq!(metrics[1].unit, "s");
    }
}
