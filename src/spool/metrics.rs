//! Metrics of the spool: the journal, the outbox, and whether the disk can be written.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::{
    runtime::retry::StallObserver,
    stats::metrics::StatsMetrics,
    telemetry::{
        drops::{DropReason, Drops},
        metrics::Registry,
    },
};

/// Metrics of the spool.
pub struct SpoolMetrics {
    /// Clicks whose events the journal has brought to the disk.
    pub journaled: IntCounter,
    /// Bytes of the journal that were damaged at the start.
    pub journal_damaged: IntCounter,
    /// 1 while the spool waits because its disk is full.
    pub disk_full: IntGauge,
    /// What becomes of the tallies in the journal.
    pub stats: Arc<StatsMetrics>,
    journal_bytes: IntGauge,
    outbox_bytes: IntGauge,
    stalled: IntGauge,
    feeds: FeedSeries,
    by_name: Mutex<BTreeMap<String, Arc<BacklogMetrics>>>,
}

/// The series of all feeds.
struct FeedSeries {
    recovered: IntCounterVec,
    spooled: IntCounterVec,
    dropped: IntCounterVec,
    objects: IntGaugeVec,
    bytes: IntGaugeVec,
}

/// What the spool holds of one feed. Delivery, which takes objects out of the outbox, keeps it up to date.
pub struct BacklogMetrics {
    /// Events found in the journal or the outbox that an earlier run left there.
    pub recovered: IntCounter,
    /// Events in finished objects.
    pub spooled: IntCounter,
    /// Events that will not be delivered.
    pub dropped: Drops,
    objects: IntGauge,
    bytes: IntGauge,
}

impl SpoolMetrics {
    /// Registers the metrics, at zero. `stats` counts the tallies in the journal.
    pub fn new(registry: &Registry, stats: Arc<StatsMetrics>) -> Self {
        let counters = |name: &str, help: &str| registry.counters(name, help, &["feed"]);
        Self {
            journaled: registry.counter("clicks_journaled_total", "Clicks whose events have reached the disk."),
            journal_damaged: registry.counter(
                "journal_damaged_bytes_total",
                "Damaged bytes that were found in the journal at the start, a torn end included.",
            ),
            disk_full: registry.gauge("spool_disk_full", "1 while the spool waits because its disk is full."),
            stats,
            journal_bytes: registry.gauge("journal_bytes", "Bytes of the journal."),
            outbox_bytes: registry.gauge("spool_bytes", "Bytes of finished objects in the outbox."),
            stalled: registry.gauge("spool_stalled", "Spool threads that retry a failed write; 0 is healthy."),
            feeds: FeedSeries {
                recovered: counters(
                    "events_recovered_total",
                    "Events that an earlier run left in the journal or the outbox.",
                ),
                spooled: counters("events_spooled_total", "Events in finished objects."),
                dropped: registry.counters(
                    "events_dropped_total",
                    "Events that are not delivered, by reason.",
                    &["feed", "reason"],
                ),
                objects: registry.gauges("outbox_objects", "Finished objects that wait for delivery.", "feed"),
                bytes: registry.gauges("outbox_bytes", "Bytes of the objects that wait for delivery.", "feed"),
            },
            by_name: Mutex::default(),
        }
    }

    /// The metrics of one feed, made at first use.
    pub fn feed(&self, name: &str) -> Arc<BacklogMetrics> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.entry(name.to_owned()).or_insert_with(|| Arc::new(self.feeds.of(name))).clone()
    }

    /// All feeds, those that only the journal names included.
    pub fn feeds(&self) -> Vec<(String, Arc<BacklogMetrics>)> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.iter().map(|(name, feed)| (name.clone(), Arc::clone(feed))).collect()
    }

    /// Sets the gauges.
    pub fn update(&self, journal_bytes: u64, outbox_bytes: u64) {
        self.journal_bytes.set(journal_bytes as i64);
        self.outbox_bytes.set(outbox_bytes as i64);
    }
}

impl StallObserver for SpoolMetrics {
    fn stalled(&self) {
        self.stalled.inc();
    }

    fn disk_full(&self) {
        self.disk_full.set(1);
    }

    fn resumed(&self) {
        self.stalled.dec();
        self.disk_full.set(0);
    }
}

impl FeedSeries {
    fn of(&self, feed: &str) -> BacklogMetrics {
        let label = &[feed];
        BacklogMetrics {
            recovered: self.recovered.with_label_values(label),
            spooled: self.spooled.with_label_values(label),
            dropped: Drops::of_feed(&self.dropped, feed),
            objects: self.objects.with_label_values(label),
            bytes: self.bytes.with_label_values(label),
        }
    }
}

impl BacklogMetrics {
    /// Counts `events` that will not be delivered.
    pub fn drop_events(&self, reason: DropReason, events: u64) {
        self.dropped.add(reason, events);
    }

    /// Adds a finished object that waits for delivery.
    pub fn add_object(&self, bytes: u64) {
        self.objects.inc();
        self.bytes.add(bytes as i64);
    }

    /// Removes an object that was delivered, or is missing.
    pub fn remove_object(&self, bytes: u64) {
        self.objects.dec();
        self.bytes.sub(bytes as i64);
    }

    /// Number of the objects that wait.
    pub fn waiting_objects(&self) -> u64 {
        self.objects.get().max(0) as u64
    }

    /// Bytes of the objects that wait.
    pub fn waiting_bytes(&self) -> u64 {
        self.bytes.get().max(0) as u64
    }
}
