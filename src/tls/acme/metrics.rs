//! Metrics of certificates that the edge obtains. None is labelled with a name: there may be thousands.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::metrics::Registry;

/// Orders and their results. All at zero while certificates are not obtained.
pub struct AcmeMetrics {
    pub issued: IntCounter,
    pub rejected: IntCounter,
    pub unreachable: IntCounter,
    pub failed: IntCounter,
    pub certificates: IntGauge,
    pub missing: IntGauge,
    pub failing: IntGauge,
    pub next: IntGauge,
}

impl AcmeMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        let orders = registry.counters(
            "acme_orders_total",
            "Orders of certificates that this edge made, by result.",
            &["result"],
        );
        Self {
            issued: orders.with_label_values(&["issued"]),
            rejected: orders.with_label_values(&["rejected"]),
            unreachable: orders.with_label_values(&["unreachable"]),
            failed: orders.with_label_values(&["failed"]),
            certificates: registry.gauge("acme_certificates", "Certificates that the edge has obtained and uses."),
            missing: registry.gauge("acme_names_missing", "Names that are to have a certificate and have none yet."),
            failing: registry.gauge("acme_names_failing", "Names whose last order failed."),
            next: registry.gauge(
                "acme_next_order_timestamp_seconds",
                "When the next certificate is ordered or renewed; 0 without any.",
            ),
        }
    }
}
