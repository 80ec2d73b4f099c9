//! What a running edge holds at a moment, for people who look: the account, the feeds, the catalog, the certificates
//! and the databases. The status page and `/v1/status` show it.
//!
//! Everything is read from the counters of the stages, without a lock that a redirect takes. Counters move while they
//! are read: sums may differ by what is on its way.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;
use serde::Serialize;

pub use crate::{
    deliver::report::{Delivered, Failure},
    redirect::metrics::{RequestTotals, duration_bounds},
    spool::metrics::Damage,
};

use super::{Gauges, OperatorFiles, account::EventAccount, gauges::Metrics};
use crate::{
    capture::Capture,
    catalog::change::Position,
    config::{Feed, Sink},
    runtime::{UnixTime, clock},
    spool::metrics::SpoolUse,
    telemetry::drops::Drops,
    tls::Pair,
};

/// Most certificates that are listed, those that expire first.
pub const MOST_CERTIFICATES: usize = 100;

/// Most names that are listed of a certificate, and most workspaces of a feed.
pub const MOST_NAMES: usize = 10;

/// Losses by reason, without zeros.
pub type Losses = BTreeMap<&'static str, u64>;

/// What the edge holds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub account: AccountFacts,
    pub spool: SpoolFacts,
    pub feeds: Vec<FeedFacts>,
    pub catalog: CatalogFacts,
    pub certificates: CertificateFacts,
    pub databases: Vec<DatabaseFacts>,
}

/// Where every click and every event of this run is: `answered + recovered = journaled + inRings + dropped`, and for
/// events `routed + recovered = inRings + inJournal + inOutbox + delivered + dropped`.
#[derive(Clone, Debug, Serialize)]
pub struct AccountFacts {
    pub clicks: ClickAccount,
    pub events: EventSums,
}

/// Clicks of this run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClickAccount {
    pub answered: u64,
    pub recovered: u64,
    /// Those that the rings alone hold: unread, or enriched and not in the journal.
    pub in_rings: u64,
    pub enriched: u64,
    pub journaled: u64,
    pub dropped: Losses,
}

/// Events of all feeds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSums {
    pub routed: u64,
    pub recovered: u64,
    /// Made of clicks that the rings alone hold: the journal does not have them yet.
    pub in_rings: u64,
    /// In the journal, or in an open object.
    pub in_journal: u64,
    /// In finished objects.
    pub in_outbox: u64,
    pub delivered: u64,
    pub dropped: Losses,
}

/// The spool and its disk.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpoolFacts {
    pub journal_bytes: u64,
    pub journal_limit_bytes: u64,
    pub outbox_bytes: u64,
    pub outbox_limit_bytes: u64,
    /// Absent when the system does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskFacts>,
    /// Whether it waits because its disk is full.
    pub disk_full: bool,
    /// Damage that was found at the start; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
}

/// The disk of the spool.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskFacts {
    pub free_bytes: u64,
    pub capacity_bytes: u64,
}

/// State of a feed, the worst that holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// The sink rejects uploads: action required.
    Parked,
    /// Uploads fail, and are retried.
    Retrying,
    /// Events wait for a feed that is not configured.
    Unclaimed,
    /// Objects wait for their upload or are on their way.
    Delivering,
    /// No object waits.
    Idle,
    /// The feed is not configured any more, and nothing waits for it.
    Removed,
}

/// A feed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedFacts {
    pub name: String,
    pub state: FeedState,
    /// Kind of the sink; absent for a feed that is not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<&'static str>,
    /// Ids of its workspaces, the first [`MOST_NAMES`].
    pub workspaces: Vec<String>,
    /// Age of the oldest object that waits, in seconds; 0 when none waits.
    pub lag_secs: u64,
    pub waiting_objects: u64,
    pub waiting_bytes: u64,
    /// Events that are not delivered yet, wherever they are.
    pub pending: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
    pub dropped: Losses,
    /// Manifests and rollups that the sink did not accept, and that are retried.
    pub set_aside: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_object: Option<Delivered>,
    /// The last failure of this run, whether uploads succeed by now or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
}

/// The current catalog.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogFacts {
    pub links: usize,
    pub domains: usize,
    pub bytes: usize,
    /// Links that were changed since the snapshot or file.
    pub changed: usize,
    pub generation: u64,
    pub revision: u64,
    pub hash: String,
    pub loaded_at: UnixTime,
    /// Whether the private copy of the snapshot is damaged, and some links may be wrong.
    pub damaged: bool,
    /// Absent without a fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetFacts>,
}

/// How far the edge follows its fleet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetFacts {
    /// Seconds since the edge last had all that the bucket has.
    pub lag_secs: u64,
    /// Why it does not take what the bucket has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<&'static str>,
}

/// The certificates of all listeners.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CertificateFacts {
    pub loaded: usize,
    pub expired: usize,
    /// Those that expire first, at most [`MOST_CERTIFICATES`].
    pub first: Vec<CertificateExpiry>,
}

/// When a certificate expires.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateExpiry {
    /// The first [`MOST_NAMES`] DNS names.
    pub names: Vec<String>,
    pub expires_at: UnixTime,
    /// Whole days until then; negative once it has expired.
    pub days_left: i64,
}

/// A database that visitors are looked up in.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseFacts {
    pub name: &'static str,
    pub built_at: UnixTime,
    pub age_days: u64,
}

impl Gauges {
    /// What the edge holds now.
    pub fn facts(&self) -> Facts {
        let (files, capture, spool) = self.measured();
        Facts::new(self.metrics(), &files, capture, spool)
    }
}

impl Facts {
    fn new(metrics: &Metrics, files: &OperatorFiles, capture: &Capture, spool: SpoolUse) -> Self {
        let mut events = EventSums::default();
        let configured = files.config().feeds.iter().map(|feed| (feed.name.as_str(), feed));
        let configured: HashMap<_, _> = configured.collect();
        let feeds = metrics.accounts.all().into_iter().map(|(name, account)| {
            events.add(&account);
            let feed = configured.get(name.as_str()).copied();
            FeedFacts::new(name, &account, feed)
        });
        let feeds = feeds.filter(|feed| feed.state != FeedState::Removed).collect();
        events.hold_back(metrics.spool.journaled_events.load(Ordering::Relaxed));
        let (enriched, journaled) = (metrics.enrich.enriched.get(), metrics.spool.journaled.get());
        let clicks = ClickAccount {
            in_rings: capture.depth() + enriched.saturating_sub(journaled),
            answered: metrics.redirect.clicks_answered(),
            recovered: capture.recovered(),
            enriched,
            journaled,
            dropped: losses(&metrics.dropped),
        };
        Self {
            account: AccountFacts { clicks, events },
            spool: SpoolFacts::new(metrics, spool),
            feeds,
            catalog: CatalogFacts::new(metrics, files),
            certificates: CertificateFacts::new(files, clock::now()),
            databases: databases(files),
        }
    }
}

impl EventSums {
    fn add(&mut self, account: &EventAccount) {
        let EventAccount { pending, routed, metrics } = account;
        let delivered = metrics.delivered.get();
        let in_outbox = metrics.backlog.waiting_events(delivered).min(*pending);
        self.routed += routed;
        self.recovered += metrics.backlog.recovered.get();
        self.in_outbox += in_outbox;
        self.in_journal += pending - in_outbox;
        self.delivered += delivered;
        for (reason, count) in losses(&metrics.backlog.dropped) {
            *self.dropped.entry(reason).or_default() += count;
        }
    }

    /// Moves what the journal does not have yet to the rings. `journaled` of the events that were routed are in it.
    fn hold_back(&mut self, journaled: u64) {
        self.in_rings = self.routed.saturating_sub(journaled).min(self.in_journal);
        self.in_journal -= self.in_rings;
    }
}

impl SpoolFacts {
    fn new(metrics: &Metrics, spool: SpoolUse) -> Self {
        let damage = metrics.spool.damage();
        let disk = spool.disk.map(|(free_bytes, capacity_bytes)| DiskFacts { free_bytes, capacity_bytes });
        Self {
            journal_bytes: spool.journal,
            journal_limit_bytes: spool.journal_limit,
            outbox_bytes: spool.outbox,
            outbox_limit_bytes: spool.outbox_limit,
            disk,
            disk_full: metrics.spool.disk_full.get() != 0,
            damage: (damage != Damage::default()).then_some(damage),
        }
    }

    /// Whether less than a tenth of the disk is free.
    pub fn is_disk_filling(&self) -> bool {
        self.disk.is_some_and(|disk| disk.free_bytes < disk.capacity_bytes / 10)
    }
}

impl FeedFacts {
    fn new(name: String, account: &EventAccount, configured: Option<&Feed>) -> Self {
        let metrics = &*account.metrics;
        let (backlog, report) = (&*metrics.backlog, &*metrics.report);
        let waiting = backlog.waiting_objects();
        let state = match configured {
            None if waiting == 0 && account.pending == 0 => FeedState::Removed,
            None => FeedState::Unclaimed,
            Some(_) if metrics.parked.get() != 0 => FeedState::Parked,
            Some(_) if report.is_failing() => FeedState::Retrying,
            Some(_) if waiting > 0 => FeedState::Delivering,
            Some(_) => FeedState::Idle,
        };
        let oldest = UnixTime::of_gauge(metrics.oldest.get().unsigned_abs());
        Self {
            name,
            state,
            sink: configured.map(|feed| kind(&feed.sink)),
            workspaces: configured.map_or_else(Vec::new, |feed| first(&feed.workspaces)),
            lag_secs: oldest.filter(|_| waiting > 0).map_or(0, |oldest| oldest.secs_until(UnixTime::now())),
            waiting_objects: waiting,
            waiting_bytes: backlog.waiting_bytes(),
            pending: account.pending,
            delivered: metrics.delivered.get(),
            delivered_bytes: metrics.delivered_bytes.get(),
            dropped: losses(&backlog.dropped),
            set_aside: metrics.set_aside.get().unsigned_abs(),
            last_object: report.last_delivered(),
            last_error: report.last_failure(),
        }
    }

    /// Whether its uploads fail, or events wait that nothing delivers.
    pub fn is_in_trouble(&self) -> bool {
        matches!(self.state, FeedState::Parked | FeedState::Retrying | FeedState::Unclaimed)
    }
}

impl FeedState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Retrying => "retrying",
            Self::Unclaimed => "unclaimed",
            Self::Delivering => "delivering",
            Self::Idle => "idle",
            Self::Removed => "removed",
        }
    }
}

impl CatalogFacts {
    fn new(metrics: &Metrics, files: &OperatorFiles) -> Self {
        let (store, catalog) = (&files.catalog, files.catalog.load());
        let Position { generation, revision, hash } = catalog.position();
        let fleet = metrics.fleet.lag_secs();
        Self {
            links: catalog.links(),
            domains: catalog.domains(),
            bytes: catalog.memory_bytes(),
            changed: catalog.changed(),
            generation,
            revision,
            hash: hash.to_string(),
            loaded_at: UnixTime(store.loaded_at_secs()),
            damaged: store.is_damaged(),
            fleet: fleet.map(|lag_secs| FleetFacts { lag_secs, halted: metrics.fleet.halted() }),
        }
    }
}

impl CertificateFacts {
    fn new(files: &OperatorFiles, now: Timestamp) -> Self {
        // Listeners may share a folder.
        let mut seen = HashSet::new();
        let (mut all, mut expired) = (Vec::new(), 0);
        for store in files.all_certificates() {
            store.each(|pair| {
                if seen.insert(Arc::as_ptr(pair)) {
                    expired += usize::from(pair.inspected.not_after < now);
                    all.push(Arc::clone(pair));
                }
            });
        }
        all.sort_by_key(|pair| pair.inspected.not_after);
        let expiry = |pair: &Arc<Pair>| {
            let end = pair.inspected.not_after;
            CertificateExpiry {
                names: first(&pair.inspected.names),
                expires_at: UnixTime(end.as_second().max(0).unsigned_abs()),
                days_left: (end.as_second() - now.as_second()).div_euclid(86_400),
            }
        };
        let first = all.iter().take(MOST_CERTIFICATES).map(expiry);
        Self { loaded: all.len(), expired, first: first.collect() }
    }
}

fn databases(files: &OperatorFiles) -> Vec<DatabaseFacts> {
    let built = [("geoip", files.geo.built_at_secs()), ("asn", files.sources.networks.load().asn_built_secs())];
    let known = built.into_iter().filter_map(|(name, secs)| Some((name, UnixTime::of_gauge(secs)?)));
    let facts = |(name, built_at): (_, UnixTime)| {
        let age_days = built_at.secs_until(UnixTime::now()) / 86_400;
        DatabaseFacts { name, built_at, age_days }
    };
    known.map(facts).collect()
}

fn losses(drops: &Drops) -> Losses {
    drops.by_reason().filter(|(_, count)| *count > 0).collect()
}

fn first(names: &[String]) -> Vec<String> {
    names.iter().take(MOST_NAMES).cloned().collect()
}

fn kind(sink: &Sink) -> &'static str {
    match sink {
        Sink::Dir(_) => "dir",
        Sink::S3(_) => "s3",
        Sink::Webhook(_) => "webhook",
        Sink::Nats(_) => "nats",
        Sink::Custom(_) => "custom",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::drops::DropReason;

    #[test]
    fn events_are_where_the_counters_put_them() {
        let metrics = Metrics::new();
        let feed = metrics.feed("brand");
        metrics.open_accounts();
        metrics.enrich.routed("brand").inc_by(100);
        let backlog = &feed.backlog;
        // An earlier run left 10 in the journal and 20 in the outbox.
        backlog.recovered.inc_by(10);
        backlog.recover_finished(20);
        backlog.spooled.inc_by(60);
        backlog.drop_events(DropReason::SpoolQuota, 5);
        backlog.drop_finished(DropReason::Removed, 4);
        feed.delivered.inc_by(50);
        let mut sums = EventSums::default();
        for (_, account) in metrics.accounts.all() {
            sums.add(&account);
        }
        // A full disk: the last 15 of the routed events are not in the journal.
        sums.hold_back(85);
        let EventSums { routed, recovered, in_rings, in_journal, in_outbox, delivered, dropped } = sums;
        assert_eq!((routed, recovered, delivered, in_outbox), (100, 30, 50, 20 + 60 - 4 - 50));
        assert_eq!(in_rings, 15);
        let dropped: u64 = dropped.values().sum();
        assert_eq!(routed + recovered, in_rings + in_journal + in_outbox + delivered + dropped);
    }
}
