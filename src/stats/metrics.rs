//! Metrics of counting.
//!
//! `stats_tallied + stats_recovered = stats_counted + stats_pending + stats_lost{reason}`, where `stats_tallied` is
//! `clicks_enriched` as long as clicks are counted at all.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::metrics::Registry;

/// Why a click that became an event was not counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// The store could not be written for so long that its part of the journal was given up.
    JournalFull,
    /// The journal was damaged where its tally was.
    Damaged,
}

impl Lost {
    const ALL: [Self; 2] = [Self::JournalFull, Self::Damaged];

    fn label(self) -> &'static str {
        match self {
            Self::JournalFull => "journal_full",
            Self::Damaged => "damaged",
        }
    }
}

/// Metrics of counting.
pub struct StatsMetrics {
    /// Clicks that workers handed to the spool with a tally.
    pub tallied: IntCounter,
    /// Tallies in the journal that an earlier process has not counted.
    pub recovered: IntCounter,
    /// Clicks that are in the store.
    pub counted: IntCounter,
    /// 1 while the store cannot be written, and clicks wait for it.
    pub failing: IntGauge,
    pending: IntGauge,
    lost: [IntCounter; Lost::ALL.len()],
}

impl StatsMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        let lost =
            registry.counters("stats_lost_total", "Clicks that became an event and are not counted.", &["reason"]);
        Self {
            tallied: registry.counter("stats_tallied_total", "Clicks to be counted."),
            recovered: registry
                .counter("stats_recovered_total", "Clicks in the journal that an earlier process has not counted."),
            counted: registry.counter("stats_counted_total", "Clicks counted in the store."),
            failing: registry.gauge("stats_failing", "1 while the store of counts cannot be written; 0 is healthy."),
            pending: registry.gauge("stats_pending", "Clicks in the journal that are not in the store yet."),
            lost: Lost::ALL.map(|reason| lost.with_label_values(&[reason.label()])),
        }
    }

    /// Counts clicks that will not be counted.
    pub fn lose(&self, reason: Lost, clicks: u64) {
        self.lost[reason as usize].inc_by(clicks);
    }

    /// Clicks that were lost for a reason.
    pub fn lost(&self, reason: Lost) -> u64 {
        self.lost[reason as usize].get()
    }

    /// Clicks on their way to the store.
    pub fn pending(&self) -> u64 {
        let lost: u64 = self.lost.iter().map(IntCounter::get).sum();
        (self.tallied.get() + self.recovered.get()).saturating_sub(self.counted.get() + lost)
    }

    /// Sets the gauges.
    pub fn update(&self) {
        self.pending.set(self.pending() as i64);
    }
}
