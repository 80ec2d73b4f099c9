//! Metrics of the delivery, feed by feed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{error::UploadResult, report::FeedReport};
use crate::{
    click::EventId,
    object::{Object, ObjectKind},
    runtime::clock,
    spool::metrics::BacklogMetrics,
    telemetry::metrics::Registry,
};

/// Bounds of the delivery lag in seconds: from an object of a second to a day without the store.
const LAG: [f64; 12] = [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

/// Bounds of the time of an upload, in seconds.
const UPLOAD: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// Bounds of the size of an object, in bytes: from 1 KiB to 1 GiB, each four times the one before.
const SIZE: [f64; 11] = [
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

/// The series of all feeds.
pub struct DeliverMetrics {
    delivered: IntCounterVec,
    delivered_bytes: IntCounterVec,
    uploads: IntCounterVec,
    parked: IntGaugeVec,
    set_aside: IntGaugeVec,
    retries_requested: IntCounterVec,
    oldest: IntGaugeVec,
    oldest_age: IntGaugeVec,
    uploading: IntGaugeVec,
    upload_limit: IntGaugeVec,
    clock_skew: IntGaugeVec,
    lag: HistogramVec,
    upload_duration: HistogramVec,
    size: Histogram,
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
    /// Uploads of events that are under way.
    pub uploading: IntGauge,
    /// Uploads that may run at a time.
    pub upload_limit: IntGauge,
    /// What waits for the feed in the spool.
    pub backlog: Arc<BacklogMetrics>,
    /// What the answers of the sink say of the clock.
    pub clock_skew: ClockSkew,
    oldest_age: IntGauge,
    lag: Histogram,
    upload_duration: Histogram,
    size: Histogram,
    /// What the last uploads came to.
    pub report: Arc<FeedReport>,
    uploads: [IntCounter; UploadResult::ALL.len()],
}

/// Compares the clock of this edge with that of a sink, by the `Date` of its answers. Without metrics, notes nothing.
#[derive(Clone, Debug, Default)]
pub struct ClockSkew(Option<(Arc<str>, IntGauge)>);

/// Seconds from which on a difference of the clocks is logged. Stores reject signatures from 15 minutes on.
const CLOCK_OFF: u64 = 30;

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
            oldest_age: gauges(
                "feed_oldest_waiting_seconds",
                "Seconds since the oldest waiting object was finished; 0 without one.",
            ),
            uploading: gauges("feed_uploads", "Uploads of events that are under way."),
            clock_skew: gauges(
                "feed_clock_skew_seconds",
                "Seconds that the clock of this edge is ahead of the sink's, by the date of its last answer; 0 without one.",
            ),
            lag: registry.histograms(
                "delivery_lag_seconds",
                "Time from the first click of an object to the sink's acknowledgement of the object, in seconds.",
                "feed",
                &LAG,
            ),
            upload_duration: registry.histograms(
                "upload_duration_seconds",
                "Time of an upload that the sink has acknowledged, in seconds.",
                "feed",
                &UPLOAD,
            ),
            size: registry.histogram(
                "upload_size_bytes",
                "Size of an object that a sink has acknowledged, of all feeds.",
                SIZE.to_vec(),
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
            uploading: self.uploading.with_label_values(label),
            clock_skew: ClockSkew(Some((name.into(), self.clock_skew.with_label_values(label)))),
            oldest_age: self.oldest_age.with_label_values(label),
            lag: self.lag.with_label_values(label),
            upload_duration: self.upload_duration.with_label_values(label),
            size: self.size.clone(),
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

    /// Measures an object that the sink has acknowledged, after an upload that took so long.
    pub fn acknowledged(&self, object: &Object, took: Duration) {
        self.upload_duration.observe(took.as_secs_f64());
        self.size.observe(object.bytes as f64);
        // Replays are late on purpose, and manifests and rollups have no clicks.
        let first = object.summary.as_ref().filter(|_| object.kind == ObjectKind::Events);
        if let Some(first) = first.and_then(|summary| EventId::parse(&summary.first)) {
            let lag = (clock::unix_micros() / 1_000).saturating_sub(first.millis());
            self.lag.observe(Duration::from_millis(lag).as_secs_f64());
        }
    }

    /// Sets the gauges that change with time.
    pub fn update(&self) {
        let oldest = self.oldest.get();
        let age = if oldest == 0 { 0 } else { clock::unix_secs() as i64 - oldest };
        self.oldest_age.set(age.max(0));
    }
}

impl ClockSkew {
    /// Notes the `Date` of an answer, if it has one.
    pub fn note(&self, date: Option<&str>) {
        if let (Some((feed, skew)), Some(date)) = (&self.0, date)
            && let Ok(date) = jiff::fmt::rfc2822::parse(date)
        {
            let seconds = clock::now().as_second() - date.timestamp().as_second();
            if seconds.unsigned_abs() > CLOCK_OFF && skew.get().unsigned_abs() <= CLOCK_OFF {
                let remedy = "synchronize the clock of this machine (NTP)";
                tracing::warn!(%feed, ahead_secs = seconds, remedy, "the clock is off: a sink has another time");
            }
            skew.set(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{object::Summary, spool::metrics::SpoolMetrics, stats::metrics::StatsMetrics};

    fn metrics() -> (Registry, FeedMetrics) {
        let registry = Registry::new();
        let spool = SpoolMetrics::new(&registry, Arc::new(StatsMetrics::new(&registry)));
        let metrics = DeliverMetrics::new(&registry).feed("brand", spool.feed("brand"));
        (registry, metrics)
    }

    fn value(registry: &Registry, name: &str) -> f64 {
        let text = registry.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("clickedge_{name}"))?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    #[test]
    fn the_lag_is_that_of_the_first_click_of_an_object_of_events() {
        let (registry, metrics) = metrics();
        let first = EventId::at(clock::unix_micros() - 40_000_000).to_string();
        let summary = Some(Summary { events: 3, last: first.clone(), first, sha256: String::new() });
        for kind in [ObjectKind::Events, ObjectKind::Replay, ObjectKind::Manifest, ObjectKind::Rollup] {
            let summary = summary.clone();
            let object = Object { key: "k".into(), path: "k".into(), bytes: 5_000, kind, summary, finished_at: 7 };
            metrics.acknowledged(&object, Duration::from_millis(200));
        }
        let of = |name: &str| value(&registry, name);
        assert!((of("delivery_lag_seconds_count{feed=\"brand\"}") - 1.0).abs() < 0.1);
        assert!((40.0..60.0).contains(&of("delivery_lag_seconds_sum{feed=\"brand\"}")));
        assert!((of("upload_duration_seconds_count{feed=\"brand\"}") - 4.0).abs() < 0.1);
        assert!((of("upload_size_bytes_sum") - 20_000.0).abs() < 0.1);
    }

    #[test]
    fn the_age_of_the_oldest_object_grows_until_it_is_delivered() {
        let (registry, metrics) = metrics();
        metrics.oldest.set(clock::unix_secs() as i64 - 90);
        metrics.update();
        assert!((90.0..110.0).contains(&value(&registry, "feed_oldest_waiting_seconds{feed=\"brand\"}")));
        metrics.oldest.set(0);
        metrics.update();
        assert!(value(&registry, "feed_oldest_waiting_seconds{feed=\"brand\"}").abs() < 0.1);
    }

    #[test]
    fn the_skew_is_that_of_the_last_answer_with_a_date() {
        let (registry, metrics) = metrics();
        let skew = || value(&registry, "feed_clock_skew_seconds{feed=\"brand\"}");
        let date = clock::now() - jiff::SignedDuration::from_secs(300);
        metrics.clock_skew.note(Some(&date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()));
        for later in [None, Some(""), Some("yesterday")] {
            metrics.clock_skew.note(later);
        }
        assert!((300.0..320.0).contains(&skew()), "{}", skew());
        ClockSkew::default().note(Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        metrics.clock_skew.note(Some("Fri, 31 Dec 2100 23:59:59 GMT"));
        assert!(skew() < -1e9, "behind");
    }
}
