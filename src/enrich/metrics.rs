//! Metrics of enrichment.

use prometheus::{IntCounter, IntCounterVec};

use crate::{
    telemetry::{drops::Drops, metrics::Registry},
    visitor::signature::SignatureResult,
};

/// Metrics of enrichment.
pub struct EnrichMetrics {
    /// Clicks that workers turned into an event and handed to the spool.
    pub enriched: IntCounter,
    /// Clicks among them that no feed takes: only their tally is kept.
    pub unfed: IntCounter,
    /// Clicks that became no event.
    pub dropped: Drops,
    routed: IntCounterVec,
    signatures: [IntCounter; SignatureResult::ALL.len()],
}

impl EnrichMetrics {
    /// Registers the metrics, at zero. `dropped` is where all stages count lost clicks.
    pub fn new(registry: &Registry, dropped: Drops) -> Self {
        let signatures = registry.counters(
            "signed_agents_total",
            "Clicks of bots that sign their requests, by what came of the signature.",
            &["result"],
        );
        Self {
            enriched: registry
                .counter("clicks_enriched_total", "Clicks that became an event for a feed, or are only counted."),
            unfed: registry.counter(
                "clicks_unfed_total",
                "Enriched clicks that no feed takes, counted for the statistics only.",
            ),
            dropped,
            routed: registry.counters("events_routed_total", "Events routed to the feed.", &["feed"]),
            signatures: SignatureResult::ALL.map(|result| signatures.with_label_values(&[result.name()])),
        }
    }

    /// Counts what came of a signature.
    pub fn signature(&self, result: SignatureResult) {
        self.signatures[result as usize].inc();
    }

    /// Events made for a feed.
    pub fn routed(&self, feed: &str) -> IntCounter {
        self.routed.with_label_values(&[feed])
    }
}
