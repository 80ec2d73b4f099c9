//! The account: where every click and every event of this run is.
//!
//! It always balances:
//!
//! ```text
//! clicks_answered + clicks_recovered = clicks_enriched + ring_clicks + clicks_dropped{reason}
//! events_routed + events_recovered = events_pending + events_delivered + events_dropped{reason}   (for each feed)
//! clicks_enriched + stats_recovered = stats_counted + stats_pending + stats_lost{reason}          (with counts)
//! ```
//!
//! The counters are those of the stages; what is pending follows from them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use crate::{deliver::metrics::FeedMetrics, telemetry::metrics::Registry};

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

/// The events of all feeds, those that only the journal names included.
pub(super) struct FeedAccounts {
    pending: IntGaugeVec,
    feeds: Mutex<BTreeMap<String, FeedAccount>>,
}

/// The events of one feed, at a moment.
pub(super) struct EventAccount {
    pub pending: u64,
    pub routed: u64,
    pub metrics: Arc<FeedMetrics>,
}

struct FeedAccount {
    routed: IntCounter,
    metrics: Arc<FeedMetrics>,
    pending: IntGauge,
}

impl FeedAccounts {
    pub fn new(registry: &Registry) -> Self {
        let help = "Events not yet delivered: with a worker, in open objects, in the outbox.";
        Self { pending: registry.gauges("events_pending", help, "feed"), feeds: Mutex::default() }
    }

    /// Adds a feed: the events made for it, and what became of them. It stays when the feed is removed: its events may
    /// still be pending.
    pub fn add(&self, feed: &str, routed: IntCounter, metrics: Arc<FeedMetrics>) {
        let pending = self.pending.with_label_values(&[feed]);
        self.feeds().entry(feed.to_owned()).or_insert(FeedAccount { routed, metrics, pending });
    }

    /// Sets the gauges.
    pub fn update(&self) {
        for feed in self.feeds().values() {
            feed.pending.set(feed.pending() as i64);
            feed.metrics.update();
        }
    }

    /// The feeds, by name.
    pub fn all(&self) -> Vec<(String, EventAccount)> {
        let feeds = self.feeds();
        let account = |feed: &FeedAccount| EventAccount {
            pending: feed.pending(),
            routed: feed.routed.get(),
            metrics: Arc::clone(&feed.metrics),
        };
        feeds.iter().map(|(name, feed)| (name.clone(), account(feed))).collect()
    }

    pub fn delivered(&self) -> u64 {
        self.feeds().values().map(|feed| feed.metrics.delivered.get()).sum()
    }

    pub fn pending(&self) -> u64 {
        self.feeds().values().map(FeedAccount::pending).sum()
    }

    pub fn dropped(&self) -> u64 {
        self.feeds().values().map(|feed| feed.metrics.backlog.dropped.total()).sum()
    }

    fn feeds(&self) -> MutexGuard<'_, BTreeMap<String, FeedAccount>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeedAccount {
    /// Events on their way to the feed's sink: with a worker, in an open object, or in the outbox.
    fn pending(&self) -> u64 {
        let FeedMetrics { backlog, delivered, .. } = &*self.metrics;
        (self.routed.get() + backlog.recovered.get()).saturating_sub(delivered.get() + backlog.dropped.total())
    }
}

#[cfg(test)]
mod tests {
    use crate::{pipeline::gauges::Metrics, telemetry::drops::DropReason};

    #[test]
    fn the_account_of_a_feed_balances() {
        let metrics = Metrics::new();
        let feed = metrics.feed("brand");
        metrics.open_accounts();
        metrics.enrich.routed("brand").inc_by(10);
        feed.backlog.recovered.inc_by(2);
        feed.delivered.inc_by(5);
        feed.backlog.drop_events(DropReason::SpoolQuota, 3);
        let account = metrics.account(0);
        assert_eq!((account.delivered, account.pending, account.events_dropped), (5, 4, 3));
        metrics.accounts.update();
        let text = metrics.registry.text();
        assert!(text.contains("clickedge_events_pending{feed=\"brand\"} 4"), "{text}");
        assert!(text.contains("clickedge_events_dropped_total{feed=\"brand\",reason=\"spool_quota\"} 3"), "{text}");
    }
}
