//! Metrics of the sessions.

use prometheus::{IntCounter, IntGauge};

use super::Sessions;
use crate::telemetry::metrics::Registry;

/// See the module.
pub struct SessionMetrics {
    visitors: IntGauge,
    /// Visits that an earlier process has noted, and that continue.
    pub restored: IntGauge,
    /// Visitors forgotten during their visit.
    pub evictions: IntCounter,
}

impl SessionMetrics {
    pub fn new(registry: &Registry) -> Self {
        Self {
            visitors: registry
                .gauge("session_visitors", "Visitors that are remembered, some with a visit that has ended."),
            restored: registry
                .gauge("session_restored", "Visits of an earlier process that had not ended at the start."),
            evictions: registry.counter(
                "session_evictions_total",
                "Visitors forgotten during their visit to make room for others: raise enrich.session_visitors.",
            ),
        }
    }

    /// Sets the gauges.
    pub fn update(&self, sessions: &Sessions) {
        self.visitors.set(sessions.visitors() as i64);
    }
}
