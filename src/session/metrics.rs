//! Metrics of the sessions.

use prometheus::{IntCounter, IntGauge};

use super::Sessions;
use crate::telemetry::metrics::Registry;

/// Metrics of the sessions.
pub struct SessionMetrics {
    visitors: IntGauge,
    limit: IntGauge,
    restored: IntGauge,
    evictions: IntCounter,
}

impl SessionMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        Self {
            visitors: registry
                .gauge("session_visitors", "Visitors in the session table, including those whose visit has ended."),
            limit: registry.gauge(
                "session_visitors_limit",
                "Visitors that the session table is made for: enrich.session_visitors, rounded up.",
            ),
            restored: registry
                .gauge("session_restored", "Visits of an earlier process that had not ended at the start."),
            evictions: registry.counter(
                "session_evictions_total",
                "Visitors evicted during their visit because the session table is full; raise enrich.session_visitors.",
            ),
        }
    }

    /// Sets the gauges.
    pub fn update(&self, sessions: &Sessions) {
        self.visitors.set(sessions.visitors() as i64);
        self.limit.set(sessions.visitors_limit() as i64);
        self.restored.set(sessions.restored() as i64);
        self.evictions.inc_by(sessions.evictions().saturating_sub(self.evictions.get()));
    }
}
