//! Registry of metrics, and their text for `/metrics`.
//!
//! Each stage registers its own metrics and keeps the handles. Labels are bounded: reasons are enums, and feeds come
//! from the configuration. No metric is labelled with a link or an address. Only the certificates that expire first
//! have a series by name.

use prometheus::{
    Counter, Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder, core::Collector, proto::MetricFamily,
};

/// All metrics of a pipeline. Cheap to clone; clones are the same registry.
///
/// Names are constants of the stages, and each stage is made once in a pipeline. A metric that cannot be made or
/// registered is a mistake in the code that every test meets at once, so it panics.
#[derive(Clone)]
pub struct Registry {
    /// Metrics whose names begin with `clickedge_`.
    own: prometheus::Registry,
    /// Metrics under names that every program uses, such as `process_open_fds`.
    standard: prometheus::Registry,
}

#[allow(clippy::expect_used, reason = "constant names: wrong ones fail in every test")]
impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        let own = prometheus::Registry::new_custom(Some("clickedge".into()), None).expect("the prefix is valid");
        Self { own, standard: prometheus::Registry::new() }
    }

    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        added(&self.own, made)
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

    /// A new gauge with a fraction.
    pub fn fractional_gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(name, help))
    }

    /// A new gauge whose name has no prefix: one that every program has.
    pub fn standard_gauge(&self, name: &str, help: &str) -> IntGauge {
        added(&self.standard, IntGauge::new(name, help))
    }

    /// A new counter with a fraction, whose name has no prefix: one that every program has.
    pub fn standard_counter(&self, name: &str, help: &str) -> Counter {
        added(&self.standard, Counter::new(name, help))
    }

    /// New histograms with these upper bounds, one for each value of the label.
    pub fn histograms(&self, name: &str, help: &str, label: &str, buckets: &[f64]) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label]))
    }

    /// A new histogram with these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }

    /// All metrics, and those that libraries and an embedding program have registered for the whole process.
    pub fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.own.gather();
        families.extend(self.standard.gather());
        // An embedding program may have metrics of the process, too: a name that comes twice is no valid text.
        let others: Vec<_> = prometheus::gather()
            .into_iter()
            .filter(|other| !families.iter().any(|family| family.name() == other.name()))
            .collect();
        families.extend(others);
        families
    }

    /// All metrics in the Prometheus text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.families(), &mut text) {
            tracing::warn!(%error, "cannot render the metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

#[allow(clippy::expect_used, reason = "constant names: wrong ones fail in every test")]
fn added<C: Collector + Clone + 'static>(registry: &prometheus::Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("the metric's name is valid");
    registry.register(Box::new(collector.clone())).expect("the metric's name is unique");
    collector
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
