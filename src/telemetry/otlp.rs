//! Metrics as a request of the OpenTelemetry protocol: OTLP over HTTP, in JSON, compressed with gzip.
//!
//! The names, labels and values are those of `/metrics`. Counters and histograms are cumulative since the start of the
//! process: an export that is lost costs nothing but its moment.
//!
//! The JSON is that of `opentelemetry-proto` 1: names in lower camel case, 64-bit integers as strings.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};
use serde_json::{Value, json};

/// Aggregation since the start.
const CUMULATIVE: u8 = 2;

/// Who exports, and since when.
#[derive(Clone, Debug)]
pub struct Exporting {
    /// Name of the edge.
    pub pop: String,
    /// Nanoseconds since the Unix epoch.
    pub started_at: u64,
}

impl Exporting {
    /// The body of an `ExportMetricsServiceRequest`, with the values of `now`, in nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// Never, as long as there is memory.
    pub fn body(&self, families: &[MetricFamily], now: u64) -> io::Result<Vec<u8>> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        serde_json::to_writer(&mut gzip, &self.request(families, now))?;
        gzip.flush()?;
        gzip.finish()
    }

    fn request(&self, families: &[MetricFamily], now: u64) -> Value {
        let moment = Moment { started_at: self.started_at.to_string(), now: now.to_string() };
        let metrics: Vec<Value> = families.iter().filter_map(|family| moment.metric(family)).collect();
        let version = env!("CARGO_PKG_VERSION");
        json!({
            "resourceMetrics": [{
                "resource": {
                    "attributes": [
                        attribute("service.name", "clickedge"),
                        attribute("service.version", version),
                        attribute("service.instance.id", &self.pop),
                    ],
                },
                "scopeMetrics": [{"scope": {"name": "clickedge", "version": version}, "metrics": metrics}],
            }],
        })
    }
}

/// The times of all data points of a request.
struct Moment {
    started_at: String,
    now: String,
}

impl Moment {
    /// `None` for a kind that no metric here has.
    fn metric(&self, family: &MetricFamily) -> Option<Value> {
        let points = |value: fn(&Metric) -> f64| -> Vec<Value> {
            family.get_metric().iter().filter_map(|metric| self.number(metric, value(metric))).collect()
        };
        let (kind, data) = match family.get_field_type() {
            MetricType::COUNTER => {
                let points = points(|metric| metric.get_counter().get_value());
                ("sum", json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true}))
            }
            MetricType::GAUGE => ("gauge", json!({"dataPoints": points(|metric| metric.get_gauge().get_value())})),
            MetricType::HISTOGRAM => {
                let points: Vec<_> = family.get_metric().iter().map(|metric| self.histogram(metric)).collect();
                ("histogram", json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE}))
            }
            MetricType::SUMMARY | MetricType::UNTYPED => return None,
        };
        Some(json!({"name": family.name(), "description": family.help(), kind: data}))
    }

    /// `None` for what is no number, which JSON does not have.
    fn number(&self, metric: &Metric, value: f64) -> Option<Value> {
        value.is_finite().then(|| {
            json!({
                "attributes": attributes(metric),
                "startTimeUnixNano": self.started_at,
                "timeUnixNano": self.now,
                "asDouble": value,
            })
        })
    }

    fn histogram(&self, metric: &Metric) -> Value {
        let histogram = metric.get_histogram();
        let (bounds, counts) = buckets(histogram);
        json!({
            "attributes": attributes(metric),
            "startTimeUnixNano": self.started_at,
            "timeUnixNano": self.now,
            "count": histogram.get_sample_count().to_string(),
            "sum": histogram.get_sample_sum(),
            "explicitBounds": bounds,
            "bucketCounts": counts,
        })
    }
}

/// The bounds, and how many values are in each bucket: up to its bound, and above the last one.
fn buckets(histogram: &Histogram) -> (Vec<f64>, Vec<String>) {
    let mut before = 0;
    let mut since =
        |cumulative: u64| cumulative.saturating_sub(std::mem::replace(&mut before, cumulative)).to_string();
    let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let (bounds, mut counts): (Vec<_>, Vec<_>) =
        finite.map(|bucket| (bucket.upper_bound(), since(bucket.cumulative_count()))).unzip();
    counts.push(since(histogram.get_sample_count()));
    (bounds, counts)
}

fn attributes(metric: &Metric) -> Vec<Value> {
    metric.get_label().iter().map(|label| attribute(label.name(), label.value())).collect()
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::telemetry::metrics::Registry;

    #[test]
    fn each_kind_of_metric_is_exported_with_its_labels() {
        let registry = Registry::new();
        registry.counters("clicks_total", "Clicks.", &["reason"]).with_label_values(&["none"]).inc_by(3);
        registry.gauge("ready", "Ready.").set(1);
        let histogram = registry.histograms("lag_seconds", "Lag.", "feed", &[1.0, 10.0]);
        for seconds in [0.5, 0.7, 5.0, 50.0] {
            histogram.with_label_values(&["brand"]).observe(seconds);
        }
        let exporting = Exporting { pop: "fra1".into(), started_at: 5 };
        let body = exporting.body(&registry.families(), 7).unwrap();
        let mut text = String::new();
        GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
        let request: Value = serde_json::from_str(&text).unwrap();
        let attributes = &request["resourceMetrics"][0]["resource"]["attributes"];
        assert!(attributes.as_array().unwrap().contains(&attribute("service.instance.id", "fra1")), "{attributes}");
        let metrics = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
        let of = |name: &str| metrics.iter().find(|metric| metric["name"] == name).unwrap();
        let times = json!({"startTimeUnixNano": "5", "timeUnixNano": "7"});
        let point = |labels: Value, more: Value| {
            let mut point = json!({"attributes": labels});
            for part in [&times, &more] {
                point.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            }
            point
        };
        let labels = |name: &str, value: &str| json!([attribute(name, value)]);
        assert_eq!(
            *of("clickedge_clicks_total"),
            json!({
                "name": "clickedge_clicks_total",
                "description": "Clicks.",
                "sum": {
                    "dataPoints": [point(labels("reason", "none"), json!({"asDouble": 3.0}))],
                    "aggregationTemporality": 2,
                    "isMonotonic": true,
                },
            })
        );
        let ready = json!([point(json!([]), json!({"asDouble": 1.0}))]);
        assert_eq!(of("clickedge_ready")["gauge"]["dataPoints"], ready);
        let more = json!({
            "count": "4", "sum": 56.2, "explicitBounds": [1.0, 10.0], "bucketCounts": ["2", "1", "1"],
        });
        assert_eq!(
            of("clickedge_lag_seconds")["histogram"],
            json!({"dataPoints": [point(labels("feed", "brand"), more)], "aggregationTemporality": 2})
        );
    }
}
