//! Metrics of the spool: the journal, the outbox, and whether the disk can be written.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use serde::Serialize;

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
    /// Events among these, counted once for each feed that takes them.
    pub journaled_events: AtomicU64,
    /// Bytes of the journal that were damaged at the start.
    pub journal_damaged: IntCounter,
    /// Events that segments of the journal held, and do not hold any more.
    pub journal_lost: IntCounter,
    /// Damaged files of the state that were found at the start.
    pub state_damaged: IntCounter,
    /// 1 while the spool waits because its disk is full.
    pub disk_full: IntGauge,
    /// What becomes of the tallies in the journal.
    pub stats: Arc<StatsMetrics>,
    journal_bytes: IntGauge,
    journal_limit: IntGauge,
    outbox_bytes: IntGauge,
    outbox_limit: IntGauge,
    disk_free: IntGauge,
    disk_capacity: IntGauge,
    stalled: IntGauge,
    unclaimed: IntGaugeVec,
    feeds: FeedSeries,
    by_name: Mutex<BTreeMap<String, Arc<BacklogMetrics>>>,
}

/// What a running spool uses, and what it may use, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpoolUse {
    pub journal: u64,
    pub journal_limit: u64,
    pub outbox: u64,
    pub outbox_limit: u64,
    /// Free bytes of its disk, and all; `None` if they cannot be seen.
    pub disk: Option<(u64, u64)>,
}

/// Damage of the spool that was found at the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    /// Files of the state that were moved aside; the state was rebuilt.
    pub state_files: u64,
    /// Events that are missing from the journal.
    pub journal_events: u64,
    /// Events that may be delivered twice.
    pub doubtful_events: u64,
}

/// The series of all feeds.
struct FeedSeries {
    recovered: IntCounterVec,
    doubtful: IntCounterVec,
    spooled: IntCounterVec,
    dropped: IntCounterVec,
    objects: IntGaugeVec,
    bytes: IntGaugeVec,
}

/// What the spool holds of one feed. The spool adds the objects that it finishes, delivery those that it finds at the
/// start; it removes those that it takes out of the outbox.
pub struct BacklogMetrics {
    /// Events found in the journal or the outbox that an earlier run left there.
    pub recovered: IntCounter,
    /// Events among these that may have been delivered before, because the state and the records were lost.
    pub doubtful: IntCounter,
    /// Events in finished objects.
    pub spooled: IntCounter,
    /// Events that will not be delivered.
    pub dropped: Drops,
    objects: IntGauge,
    bytes: IntGauge,
    /// Whether the feed is not configured.
    unclaimed: AtomicBool,
    /// Events among the recovered ones that were found in the outbox.
    found: AtomicU64,
    /// Events among the dropped ones whose object was finished.
    lost: AtomicU64,
}

impl SpoolMetrics {
    /// Registers the metrics, at zero. `stats` counts the tallies in the journal.
    pub fn new(registry: &Registry, stats: Arc<StatsMetrics>) -> Self {
        let counters = |name: &str, help: &str| registry.counters(name, help, &["feed"]);
        Self {
            journaled: registry.counter("clicks_journaled_total", "Clicks whose events have reached the disk."),
            journaled_events: AtomicU64::new(0),
            journal_damaged: registry.counter(
                "journal_damaged_bytes_total",
                "Damaged bytes that were found in the journal at the start, a torn end included.",
            ),
            journal_lost: registry.counter(
                "journal_damaged_events_total",
                "Events missing from damaged or emptied segments of the journal at the start; some may be packed already.",
            ),
            state_damaged: registry.counter(
                "spool_state_damaged_total",
                "Damaged files of the spool's state that were moved to quarantine at the start.",
            ),
            disk_full: registry.gauge("spool_disk_full", "1 while the spool waits because its disk is full."),
            stats,
            journal_bytes: registry.gauge("journal_bytes", "Bytes of the journal."),
            journal_limit: registry
                .gauge("journal_limit_bytes", "Most bytes of the journal: spool.journal_max_bytes."),
            outbox_bytes: registry.gauge("spool_bytes", "Bytes of finished objects in the outbox."),
            outbox_limit: registry
                .gauge("spool_limit_bytes", "Most bytes of finished objects in the outbox: spool.max_bytes."),
            disk_free: registry
                .gauge("spool_disk_free_bytes", "Bytes that can still be written to the disk of the spool."),
            disk_capacity: registry.gauge("spool_disk_capacity_bytes", "Bytes of the disk of the spool."),
            stalled: registry.gauge("spool_stalled", "Spool threads that retry a failed write; 0 is healthy."),
            unclaimed: registry.gauges(
                "outbox_unclaimed_objects",
                "Objects that wait for a feed that is not configured; configure it again, or drop them.",
                "feed",
            ),
            feeds: FeedSeries {
                recovered: counters(
                    "events_recovered_total",
                    "Events that an earlier run left in the journal or the outbox.",
                ),
                doubtful: counters(
                    "events_doubtful_total",
                    "Recovered events that may be delivered twice, because the state of the spool and its records were lost.",
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
        let made = || {
            self.unclaimed.with_label_values(&[name]).set(0);
            Arc::new(self.feeds.of(name))
        };
        by_name.entry(name.to_owned()).or_insert_with(made).clone()
    }

    /// Takes note that a feed is not configured: the objects that wait for it are unclaimed.
    pub fn unclaim(&self, feed: &str) {
        self.feed(feed).unclaimed.store(true, Ordering::Relaxed);
    }

    /// Takes note that a feed is configured again.
    pub fn claim(&self, feed: &str) {
        if self.feed(feed).unclaimed.swap(false, Ordering::Relaxed) {
            self.unclaimed.with_label_values(&[feed]).set(0);
        }
    }

    /// All feeds, those that only the journal names included.
    pub fn feeds(&self) -> Vec<(String, Arc<BacklogMetrics>)> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.iter().map(|(name, feed)| (name.clone(), Arc::clone(feed))).collect()
    }

    /// Damage that the start has found.
    pub fn damage(&self) -> Damage {
        Damage {
            state_files: self.state_damaged.get(),
            journal_events: self.journal_lost.get(),
            doubtful_events: self.feeds().iter().map(|(_, feed)| feed.doubtful.get()).sum(),
        }
    }

    /// Whether a thread of the spool retries a failed write.
    pub fn is_stalled(&self) -> bool {
        self.stalled.get() > 0
    }

    /// Sets the gauges.
    pub fn update(&self, spool: SpoolUse) {
        self.journal_bytes.set(spool.journal as i64);
        self.journal_limit.set(spool.journal_limit as i64);
        self.outbox_bytes.set(spool.outbox as i64);
        self.outbox_limit.set(spool.outbox_limit as i64);
        if let Some((free, capacity)) = spool.disk {
            self.disk_free.set(free as i64);
            self.disk_capacity.set(capacity as i64);
        }
        for (name, feed) in self.feeds() {
            if feed.is_unclaimed() {
                self.unclaimed.with_label_values(&[&name]).set(feed.objects.get());
            }
        }
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
            doubtful: self.doubtful.with_label_values(label),
            spooled: self.spooled.with_label_values(label),
            dropped: Drops::of_feed(&self.dropped, feed),
            objects: self.objects.with_label_values(label),
            bytes: self.bytes.with_label_values(label),
            unclaimed: AtomicBool::new(false),
            found: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }
}

impl BacklogMetrics {
    /// Counts `events` that will not be delivered.
    pub fn drop_events(&self, reason: DropReason, events: u64) {
        self.dropped.add(reason, events);
    }

    /// Counts `events` of a finished object that will not be delivered.
    pub fn drop_finished(&self, reason: DropReason, events: u64) {
        self.lost.fetch_add(events, Ordering::Relaxed);
        self.drop_events(reason, events);
    }

    /// Counts `events` that an earlier run left in the outbox.
    pub fn recover_finished(&self, events: u64) {
        self.found.fetch_add(events, Ordering::Relaxed);
        self.recovered.inc_by(events);
    }

    /// Events in finished objects that wait, of which `delivered` were delivered. Those of an object that an earlier
    /// run left and that has no record are known once its upload begins.
    pub fn waiting_events(&self, delivered: u64) -> u64 {
        let finished = self.spooled.get() + self.found.load(Ordering::Relaxed);
        finished.saturating_sub(delivered + self.lost.load(Ordering::Relaxed))
    }

    /// Whether the feed is not configured.
    pub fn is_unclaimed(&self) -> bool {
        self.unclaimed.load(Ordering::Relaxed)
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
