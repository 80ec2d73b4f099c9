//! Every number an operator can see, in one place.
//!
//! The account: `clicks_answered + clicks_recovered = clicks_enriched + ring_clicks + clicks_dropped{reason}`, and for
//! each feed `events_routed + events_recovered = events_pending + events_delivered + events_dropped{reason}`. With counts,
//! `clicks_enriched + stats_recovered = stats_counted + stats_pending + stats_lost{reason}` ([`StatsMetrics`]). Labels are
//! bounded: reasons are enums and feeds come from the configuration; nothing is ever labelled with a link, a host or an
//! address.

mod stats;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub use stats::{Lost, StatsMetrics};

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

use crate::{event::Reason, runtime::retry::StallObserver};

/// Why a click never became an event, or an event was never delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropReason {
    /// The ring to the worker was full.
    RingFull,
    /// The click is larger than a ring can hold, or the event longer than an event may be.
    TooLarge,
    /// The ring or the journal was damaged where the click was.
    Damaged,
    /// No feed takes this workspace's clicks, and nobody counts them.
    NoFeed,
    /// A worker failed on this click: a defect, which the log tells.
    WorkerFailed,
    /// The outbox holds as much as `spool.max_bytes` allows.
    SpoolQuota,
    /// Somebody took the object out of the outbox.
    Removed,
}

impl DropReason {
    const ALL: [Self; 7] = [
        Self::RingFull,
        Self::TooLarge,
        Self::Damaged,
        Self::NoFeed,
        Self::WorkerFailed,
        Self::SpoolQuota,
        Self::Removed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::TooLarge => "too_large",
            Self::Damaged => "damaged",
            Self::NoFeed => "no_feed",
            Self::WorkerFailed => "worker_failed",
            Self::SpoolQuota => "spool_quota",
            Self::Removed => "removed",
        }
    }
}

/// What a request got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Redirect,
    NotFound,
    Gone,
    MethodNotAllowed,
    BadRequest,
    /// Refused, see `quality.block`.
    Blocked,
    /// Left to the next filter or the upstream.
    Passed,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Redirect,
        Self::NotFound,
        Self::Gone,
        Self::MethodNotAllowed,
        Self::BadRequest,
        Self::Blocked,
        Self::Passed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadRequest => "bad_request",
            Self::Blocked => "blocked",
            Self::Passed => "passed",
        }
    }
}

/// What came of one upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UploadResult {
    Stored,
    /// An object with this key was there already: an earlier upload whose answer was lost.
    Present,
    /// Failed in a way that time may mend.
    Retried,
    /// Refused in a way that somebody must mend: access, bucket, credentials.
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

/// What came of a reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reload {
    Catalog,
    GeoIp,
    BlockedDomains,
    BlockedUrls,
    SessionKey,
    Crawlers,
    /// The lists of search engines, social networks and AI assistants.
    Referrers,
    Spammers,
    /// The ASN database and the lists of networks.
    Networks,
}

impl Reload {
    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::GeoIp => "geoip",
            Self::BlockedDomains => "blocked_domains",
            Self::BlockedUrls => "blocked_urls",
            Self::SessionKey => "session_key",
            Self::Crawlers => "crawlers",
            Self::Referrers => "referrers",
            Self::Spammers => "spammers",
            Self::Networks => "networks",
        }
    }
}

/// The numbers. Updating one is a relaxed atomic addition.
pub struct Metrics {
    registry: Registry,
    requests: [IntCounter; Outcome::ALL.len()],
    duration: Histogram,
    blocked: [IntCounter; Reason::ALL.len()],
    answered: IntCounter,
    captured: IntCounter,
    dropped: [IntCounter; DropReason::ALL.len()],
    /// Clicks found in the rings that an earlier process left behind.
    pub clicks_recovered: IntCounter,
    /// Clicks that workers turned into an event and handed to the spool.
    pub clicks_enriched: IntCounter,
    /// Clicks among them that no feed takes: their tally is all that is kept.
    pub clicks_unfed: IntCounter,
    /// Clicks whose events the journal has brought to the disk.
    pub clicks_journaled: IntCounter,
    pub journal_bytes: IntGauge,
    pub journal_damaged: IntCounter,
    pub ring_clicks: IntGauge,
    pub ring_capacity: IntGauge,
    pub ring_held: IntGauge,
    pub catalog_links: IntGauge,
    pub catalog_domains: IntGauge,
    pub catalog_bytes: IntGauge,
    pub catalog_loaded: IntGauge,
    pub geoip_built: IntGauge,
    pub asn_built: IntGauge,
    pub spool_bytes: IntGauge,
    pub spool_stalled: IntGauge,
    pub disk_full: IntGauge,
    pub session_visitors: IntGauge,
    /// Visits that an earlier process has noted, and that go on.
    pub sessions_restored: IntGauge,
    /// Visitors who were forgotten during their visit.
    pub session_evictions: IntCounter,
    reloads: IntCounterVec,
    feeds: FeedVecs,
    pub stats: StatsMetrics,
}

/// Whether the spool waits for its disk.
impl StallObserver for Metrics {
    fn stalled(&self) {
        self.spool_stalled.inc();
    }

    fn disk_full(&self) {
        self.disk_full.set(1);
    }

    fn resumed(&self) {
        self.spool_stalled.dec();
        self.disk_full.set(0);
    }
}

/// The numbers of one feed.
pub struct FeedMetrics {
    /// Events that workers made for this feed.
    pub routed: IntCounter,
    /// Events found in the outbox that an earlier run left there.
    pub recovered: IntCounter,
    /// Events that stand in a finished object.
    pub spooled: IntCounter,
    pub delivered: IntCounter,
    pub delivered_bytes: IntCounter,
    outbox_objects: IntGauge,
    outbox_bytes: IntGauge,
    /// 1 while the sink refuses uploads in a way that somebody must mend.
    pub parked: IntGauge,
    /// When the oldest waiting object was finished, in seconds since the Unix epoch; 0 for none.
    pub oldest: IntGauge,
    /// Uploads that may be under way at a time.
    pub upload_limit: IntGauge,
    dropped: [IntCounter; DropReason::ALL.len()],
    uploads: [IntCounter; UploadResult::ALL.len()],
}

struct FeedVecs {
    routed: IntCounterVec,
    recovered: IntCounterVec,
    spooled: IntCounterVec,
    delivered: IntCounterVec,
    delivered_bytes: IntCounterVec,
    dropped: IntCounterVec,
    uploads: IntCounterVec,
    outbox_objects: IntGaugeVec,
    outbox_bytes: IntGaugeVec,
    pending: IntGaugeVec,
    parked: IntGaugeVec,
    oldest: IntGaugeVec,
    upload_limit: IntGaugeVec,
    by_name: std::sync::Mutex<HashMap<String, Arc<FeedMetrics>>>,
}

/// A registry under construction: it registers what it makes. Names are constants of this file, so a failure to
/// make or register one is a defect that every test meets at once.
struct Maker(Registry);

#[allow(clippy::expect_used, reason = "constant names: wrong ones fail in every test")]
impl Maker {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("the metric's name is valid");
        self.0.register(Box::new(collector.clone())).expect("the metric's name is unique");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), &[label]))
    }
}

impl Metrics {
    /// All numbers at zero, in a registry of their own.
    #[allow(clippy::expect_used, reason = "a constant name: a wrong one fails in every test")]
    pub fn new() -> Self {
        let registry = Registry::new_custom(Some("clickedge".into()), None).expect("the prefix is valid");
        let make = Maker(registry.clone());
        let requests = make.counters("requests_total", "Requests by what they got.", &["outcome"]);
        let dropped = make.counters("clicks_dropped_total", "Clicks that became no event, by reason.", &["reason"]);
        let blocked = make.counters("blocked_total", "Requests that were refused, by reason.", &["reason"]);
        // From 10 us to 1.3 s, doubling.
        let buckets = (0..18).map(|n| 1e-5 * f64::from(1 << n)).collect();
        let duration =
            HistogramOpts::new("request_duration_seconds", "From a read request header to a written answer.");
        Self {
            requests: Outcome::ALL.map(|outcome| requests.with_label_values(&[outcome.label()])),
            duration: make.add(Histogram::with_opts(duration.buckets(buckets))),
            blocked: Reason::ALL.map(|reason| blocked.with_label_values(&[reason.slug()])),
            answered: make.counter("clicks_answered_total", "Clicks that were answered with a redirect."),
            captured: make.counter("clicks_captured_total", "Answered clicks that a ring took."),
            dropped: DropReason::ALL.map(|reason| dropped.with_label_values(&[reason.label()])),
            clicks_recovered: make
                .counter("clicks_recovered_total", "Clicks found in the rings of a process that died."),
            clicks_enriched: make
                .counter("clicks_enriched_total", "Clicks that became an event for some feed, or are only counted."),
            clicks_unfed: make.counter(
                "clicks_unfed_total",
                "Enriched clicks that no feed takes: they are only counted, for the statistics.",
            ),
            clicks_journaled: make.counter("clicks_journaled_total", "Clicks whose events have reached the disk."),
            journal_damaged: make.counter(
                "journal_damaged_bytes_total",
                "Bytes of the journal that were found damaged at the start, a torn end included.",
            ),
            journal_bytes: make.gauge("journal_bytes", "Bytes of the journal."),
            ring_clicks: make.gauge("ring_clicks", "Clicks in the rings that no worker has read."),
            ring_held: make.gauge(
                "ring_held_bytes",
                "Bytes of the rings that clicks hold: unread, or on their way into the journal.",
            ),
            ring_capacity: make.gauge("ring_capacity_bytes", "Bytes of the rings."),
            catalog_links: make.gauge("catalog_links", "Links in service."),
            catalog_domains: make.gauge("catalog_domains", "Branded domains in service."),
            catalog_bytes: make.gauge("catalog_bytes", "Memory of the catalog in service."),
            catalog_loaded: make.gauge("catalog_loaded_timestamp_seconds", "When the catalog in service was loaded."),
            geoip_built: make.gauge(
                "geoip_build_timestamp_seconds",
                "When the GeoIP database in service was built; 0 without one.",
            ),
            asn_built: make
                .gauge("asn_build_timestamp_seconds", "When the ASN database in service was built; 0 without one."),
            spool_bytes: make.gauge("spool_bytes", "Bytes of finished objects in the outbox."),
            disk_full: make.gauge("spool_disk_full", "1 while the spool waits because its disk is full."),
            spool_stalled: make
                .gauge("spool_stalled", "Threads of the spool that cannot write and try again; 0 is well."),
            session_visitors: make
                .gauge("session_visitors", "Visitors that are remembered, some with a visit that has ended."),
            sessions_restored: make
                .gauge("session_restored", "Visits of an earlier process that had not ended at the start."),
            session_evictions: make.counter(
                "session_evictions_total",
                "Visitors forgotten during their visit, as others needed the room: raise enrich.session_visitors.",
            ),
            reloads: make.counters("reloads_total", "Reloads by what and result.", &["what", "result"]),
            feeds: FeedVecs::new(&make),
            stats: StatsMetrics::new(&make),
            registry,
        }
    }

    /// The numbers of one feed, made at first use.
    pub fn feed(&self, name: &str) -> Arc<FeedMetrics> {
        let mut by_name = self.feeds.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        by_name.entry(name.to_owned()).or_insert_with(|| Arc::new(self.feeds.of(name))).clone()
    }

    /// Counts a request that is left to somebody else.
    pub fn request(&self, outcome: Outcome) {
        self.requests[outcome as usize].inc();
    }

    /// Counts an answered request.
    pub fn answered(&self, outcome: Outcome, took: Duration) {
        self.request(outcome);
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a request that is refused.
    pub fn blocked(&self, reason: Reason) {
        self.blocked[reason as usize].inc();
    }

    /// Counts an answered click, and whether it was captured.
    pub fn click_answered(&self, captured: bool) {
        self.answered.inc();
        if captured {
            self.captured.inc();
        }
    }

    /// Counts a click that became no event.
    pub fn click_dropped(&self, reason: DropReason) {
        self.dropped[reason as usize].inc();
    }

    /// Counts a reload.
    pub fn reloaded(&self, what: Reload, ok: bool) {
        self.reloads.with_label_values(&[what.label(), if ok { "ok" } else { "failed" }]).inc();
    }

    /// All numbers, and Pingora's own, in the Prometheus text format.
    pub fn text(&self) -> String {
        for (name, feed) in &*self.feeds.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            self.feeds.pending.with_label_values(&[name.as_str()]).set(feed.pending() as i64);
        }
        self.stats.update();
        let mut families = self.registry.gather();
        families.extend(prometheus::gather());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!(%error, "cannot render the metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// The account in one line, for the log at a stop.
    pub fn account(&self) -> Account {
        let feeds = self.feeds.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sum = |of: fn(&FeedMetrics) -> u64| feeds.values().map(|feed| of(feed)).sum();
        Account {
            answered: self.answered.get(),
            recovered: self.clicks_recovered.get(),
            enriched: self.clicks_enriched.get(),
            clicks_dropped: self.dropped.iter().map(IntCounter::get).sum(),
            delivered: sum(|feed| feed.delivered.get()),
            pending: sum(FeedMetrics::pending),
            events_dropped: sum(FeedMetrics::all_dropped),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Where every click of this run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Account {
    pub answered: u64,
    /// Clicks of an earlier process, found in its rings.
    pub recovered: u64,
    pub enriched: u64,
    pub clicks_dropped: u64,
    pub delivered: u64,
    pub pending: u64,
    pub events_dropped: u64,
}

impl FeedMetrics {
    /// Events on their way to this feed's sink: with a worker, in an open object, or in the outbox.
    pub fn pending(&self) -> u64 {
        (self.routed.get() + self.recovered.get()).saturating_sub(self.delivered.get() + self.all_dropped())
    }

    /// Counts `events` that will not be delivered.
    pub fn drop_events(&self, reason: DropReason, events: u64) {
        self.dropped[reason as usize].inc_by(events);
    }

    /// Notes a finished object that waits for delivery.
    pub fn waits(&self, bytes: u64) {
        self.outbox_objects.inc();
        self.outbox_bytes.add(bytes as i64);
    }

    /// Bytes of the objects that wait.
    pub fn waiting_bytes(&self) -> u64 {
        self.outbox_bytes.get().max(0) as u64
    }

    /// Notes that an object was delivered, or is gone.
    pub fn waits_no_more(&self, bytes: u64) {
        self.outbox_objects.dec();
        self.outbox_bytes.sub(bytes as i64);
    }

    /// Counts an upload.
    pub fn upload(&self, result: UploadResult) {
        self.uploads[result as usize].inc();
    }

    fn all_dropped(&self) -> u64 {
        self.dropped.iter().map(IntCounter::get).sum()
    }
}

impl FeedVecs {
    fn new(make: &Maker) -> Self {
        let counters = |name: &str, help: &str| make.counters(name, help, &["feed"]);
        let gauges = |name: &str, help: &str| make.gauges(name, help, "feed");
        Self {
            routed: counters("events_routed_total", "Events made for the feed."),
            recovered: counters(
                "events_recovered_total",
                "Events that an earlier run left in the journal or the outbox.",
            ),
            spooled: counters("events_spooled_total", "Events in finished objects."),
            delivered: counters("events_delivered_total", "Events that the sink has acknowledged."),
            delivered_bytes: counters("delivered_bytes_total", "Bytes that the sink has acknowledged."),
            dropped: make.counters("events_dropped_total", "Events given up, by reason.", &["feed", "reason"]),
            uploads: make.counters("uploads_total", "Uploads by result.", &["feed", "result"]),
            outbox_objects: gauges("outbox_objects", "Finished objects that wait for delivery."),
            outbox_bytes: gauges("outbox_bytes", "Their bytes."),
            pending: gauges("events_pending", "Events on their way: with a worker, in open objects, in the outbox."),
            parked: gauges("feed_parked", "1 while the sink refuses uploads and somebody must mend it."),
            oldest: gauges(
                "outbox_oldest_timestamp_seconds",
                "When the oldest waiting object was finished; 0 for none.",
            ),
            upload_limit: gauges(
                "feed_upload_limit",
                "Uploads that may be under way at a time; fewer while the sink asks to slow down.",
            ),
            by_name: std::sync::Mutex::default(),
        }
    }

    fn of(&self, feed: &str) -> FeedMetrics {
        let label = &[feed];
        FeedMetrics {
            routed: self.routed.with_label_values(label),
            recovered: self.recovered.with_label_values(label),
            spooled: self.spooled.with_label_values(label),
            delivered: self.delivered.with_label_values(label),
            delivered_bytes: self.delivered_bytes.with_label_values(label),
            outbox_objects: self.outbox_objects.with_label_values(label),
            outbox_bytes: self.outbox_bytes.with_label_values(label),
            parked: self.parked.with_label_values(label),
            oldest: self.oldest.with_label_values(label),
            upload_limit: self.upload_limit.with_label_values(label),
            dropped: DropReason::ALL.map(|reason| self.dropped.with_label_values(&[feed, reason.label()])),
            uploads: UploadResult::ALL.map(|result| self.uploads.with_label_values(&[feed, result.label()])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_of_a_feed_balances() {
        let metrics = Metrics::new();
        let feed = metrics.feed("brand");
        feed.routed.inc_by(10);
        feed.recovered.inc_by(2);
        feed.delivered.inc_by(5);
        feed.drop_events(DropReason::SpoolQuota, 3);
        assert_eq!(feed.pending(), 4);
        let text = metrics.text();
        assert!(text.contains("clickedge_events_pending{feed=\"brand\"} 4"), "{text}");
        assert!(text.contains("clickedge_events_dropped_total{feed=\"brand\",reason=\"spool_quota\"} 3"), "{text}");
    }

    #[test]
    fn reasons_and_outcomes_are_counted_under_their_own_label() {
        let metrics = Metrics::new();
        for reason in DropReason::ALL {
            metrics.click_dropped(reason);
        }
        for outcome in Outcome::ALL {
            metrics.request(outcome);
        }
        let text = metrics.text();
        for reason in DropReason::ALL {
            assert!(text.contains(&format!("clicks_dropped_total{{reason=\"{}\"}} 1", reason.label())), "{text}");
        }
        for outcome in Outcome::ALL {
            assert!(text.contains(&format!("requests_total{{outcome=\"{}\"}} 1", outcome.label())), "{text}");
        }
    }
}
