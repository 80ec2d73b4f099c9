//! Registry of metrics, and their text for `/metrics`.
//!
//! Each stage registers its own metrics and keeps the handles. Labels are bounded: reasons are enums, and feeds come
//! from the configuration. No metric is labelled with a link, a host or an address.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, TextEncoder,
    core::Collector,
};

/// All metrics of a pipeline. Cheap to clone; clones are the same registry.
///
/// Names are constants of the stages, and each stage is made once in a pipeline. A metric that cannot be made or
/// registered is a mistake in the code that every test meets at once, so it panics.
#[derive(Clone)]
pub struct Registry(prometheus::Registry);

#[allow(clippy::expect_used, reason = "constant names: wrong ones fail in every test")]
impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self(prometheus::Registry::new_custom(Some("clickedge".into()), None).expect("the prefix is valid"))
    }

    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("the metric's name is valid");
        self.0.register(Box::new(collector.clone())).expect("the metric's name is unique");
        collector
    }

    /// A new counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    /// A new gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    /// New counters, one for each value of the labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// New gauges, one for each value of the label.
    pub fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), &[label]))
    }

    /// New gauges, one for each value of the labels.
    pub fn gauges_of(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A new histogram with these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }

    /// All metrics, and Pingora's own, in the Prometheus text format.
    pub fn text(&self) -> String {
        let mut families = self.0.gather();
        families.extend(prometheus::gather());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!(%error, "cannot render the metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_prefix_and_labels() {
        let registry = Registry::new();
        registry.gauge("outbox_bytes", "Bytes.").set(7);
        registry.counters("clicks_total", "Clicks.", &["reason"]).with_label_values(&["none"]).inc();
        let text = registry.clone().text();
        assert!(text.contains("# HELP clickedge_outbox_bytes Bytes.\n"), "{text}");
        assert!(text.contains("clickedge_outbox_bytes 7\n"), "{text}");
        assert!(text.contains("clickedge_clicks_total{reason=\"none\"} 1\n"), "{text}");
    }
}
