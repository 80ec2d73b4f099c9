//! Metrics of the rings.

use prometheus::{Gauge, IntCounter, IntGauge};

use super::Capture;
use crate::telemetry::metrics::Registry;

/// Metrics of the rings.
pub struct CaptureMetrics {
    recovered: IntCounter,
    unread: IntGauge,
    held_bytes: IntGauge,
    capacity_bytes: IntGauge,
    fullest: Gauge,
}

impl CaptureMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        Self {
            recovered: registry.counter("clicks_recovered_total", "Clicks found in the rings of an earlier process."),
            unread: registry.gauge("ring_clicks", "Clicks in the rings that no worker has read."),
            held_bytes: registry.gauge(
                "ring_held_bytes",
                "Bytes of the rings that clicks hold: unread, or on their way into the journal.",
            ),
            capacity_bytes: registry.gauge("ring_capacity_bytes", "Bytes of the rings."),
            fullest: registry.fractional_gauge(
                "ring_fullest_ratio",
                "Share of the fullest ring that clicks hold, 0 to 1: a full ring drops clicks, however empty others are.",
            ),
        }
    }

    /// Sets the metrics.
    pub fn update(&self, capture: &Capture) {
        self.recovered.inc_by(capture.recovered().saturating_sub(self.recovered.get()));
        self.unread.set(capture.depth() as i64);
        self.held_bytes.set(capture.held_bytes() as i64);
        self.capacity_bytes.set(capture.capacity_bytes() as i64);
        self.fullest.set(capture.fullest());
    }
}
