//! The numbers of counting.
//!
//! `stats_tallied + stats_recovered = stats_counted + stats_pending + stats_lost{reason}`, where `stats_tallied` is
//! `clicks_enriched` as long as clicks are counted at all.

use prometheus::{IntCounter, IntGauge};

use super::Maker;

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

/// See the module.
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
    pub(super) fn new(make: &Maker) -> Self {
        let lost = make.counters("stats_lost_total", "Clicks that became an event and are not counted.", &["reason"]);
        Self {
            tallied: make.counter("stats_tallied_total", "Clicks that are to be counted."),
            recovered: make
                .counter("stats_recovered_total", "Clicks in the journal that an earlier process has not counted."),
            counted: make.counter("stats_counted_total", "Clicks that are counted, in the store."),
            failing: make.gauge("stats_failing", "1 while the store of counts cannot be written; 0 is well."),
            pending: make
                .gauge("stats_pending", "Clicks that are on their way to the store, in the journal at most."),
            lost: Lost::ALL.map(|reason| lost.with_label_values(&[reason.label()])),
        }
    }

    /// Counts clicks that will not be counted.
    pub fn lose(&self, reason: Lost, clicks: u64) {
        self.lost[reason as usize].inc_by(clicks);
    }

    /// Clicks on their way.
    pub fn pending(&self) -> u64 {
        let lost: u64 = self.lost.iter().map(IntCounter::get).sum();
        (self.tallied.get() + self.recovered.get()).saturating_sub(self.counted.get() + lost)
    }

    pub(super) fn update(&self) {
        self.pending.set(self.pending() as i64);
    }
}
