//! Metrics of the delivery, feed by feed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::report::FeedReport;
use crate::{spool::metrics::BacklogMetrics, telemetry::metrics::Registry};

/// What came of one upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UploadResult {
    /// Acknowledged by the sink.
    Stored,
    /// An object with this key was there already: an earlier upload whose answer was lost.
    Present,
    /// Failed in a way that may pass.
    Retried,
    /// Rejected in a way that an operator must fix: access, bucket, credentials.
    Refused,
}

impl UploadResult {
    const ALL: [Self; 4] = [Self::Stored, Self::Present, Self::Retried, Self::Refused];

    fn label(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Present => "present",
            Self::Retried => "retried",
            Self::Refused => "refused",
        }
    }
}

/// The series of all feeds.
pub struct DeliverMetrics {
    delivered: IntCounterVec,
    delivered_bytes: IntCounterVec,
    uploads: IntCounterVec,
    parked: IntGaugeVec,
    set_aside: IntGaugeVec,
    retries_requested: IntCounterVec,
    oldest: IntGaugeVec,
    upload_limit: IntGaugeVec,
    reports: Mutex<BTreeMap<String, Arc<FeedReport>>>,
}

/// The metrics of one feed.
pub struct FeedMetrics {
    pub delivered: IntCounter,
    pub delivered_bytes: IntCounter,
    /// 1 while the feed is parked: the sink rejects uploads in a way that an operator must fix.
    pub parked: IntGauge,
    /// Manifests and rollups that the sink did not accept, and that are tried again next to the events.
    pub set_aside: IntGauge,
    /// How often an operator has asked to retry now.
    pub retries_requested: IntCounter,
    /// When the oldest waiting object was finished, in seconds since the Unix epoch; 0 without one.
    pub oldest: IntGauge,
    /// Uploads that may run at a time.
    pub upload_limit: IntGauge,
    /// What waits for the feed in the spool.
    pub backlog: Arc<BacklogMetrics>,
    /// What the last uploads came to.
    pub report: Arc<FeedReport>,
    uploads: [IntCounter; UploadResult::ALL.len()],
}

impl DeliverMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        let counters = |name: &str, help: &str| registry.counters(name, help, &["feed"]);
        let gauges = |name: &str, help: &str| registry.gauges(name, help, "feed");
        Self {
            delivered: counters("events_delivered_total", "Events that the sink has acknowledged."),
            delivered_bytes: counters("delivered_bytes_total", "Bytes that the sink has acknowledged."),
            uploads: registry.counters("uploads_total", "Uploads by result.", &["feed", "result"]),
            parked: gauges("feed_parked", "1 while the feed is parked: its sink rejects uploads; action required."),
            set_aside: gauges(
                "feed_set_aside",
                "Manifests and rollups that the sink did not accept; they are retried and delay no events.",
            ),
            retries_requested: counters(
                "feed_retries_requested_total",
                "Requests of an operator to retry the feed now.",
            ),
            oldest: gauges(
                "outbox_oldest_timestamp_seconds",
                "When the oldest waiting object was finished; 0 without one.",
            ),
            upload_limit: gauges(
                "feed_upload_limit",
                "Uploads that may run at a time; fewer while the sink asks to slow down.",
            ),
            reports: Mutex::default(),
        }
    }

    /// The metrics of a feed. `backlog` is what the spool holds of it.
    pub fn feed(&self, name: &str, backlog: Arc<BacklogMetrics>) -> FeedMetrics {
        let label = &[name];
        FeedMetrics {
            delivered: self.delivered.with_label_values(label),
            delivered_bytes: self.delivered_bytes.with_label_values(label),
            parked: self.parked.with_label_values(label),
            set_aside: self.set_aside.with_label_values(label),
            retries_requested: self.retries_requested.with_label_values(label),
            oldest: self.oldest.with_label_values(label),
            upload_limit: self.upload_limit.with_label_values(label),
            backlog,
            report: self.report(name),
            uploads: UploadResult::ALL.map(|result| self.uploads.with_label_values(&[name, result.label()])),
        }
    }

    /// The report of a feed, made at first use.
    fn report(&self, name: &str) -> Arc<FeedReport> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(reports.entry(name.to_owned()).or_default())
    }
}

impl FeedMetrics {
    /// Counts an upload.
    pub fn upload(&self, result: UploadResult) {
        self.uploads[result as usize].inc();
    }
}
