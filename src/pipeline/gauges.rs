//! Gauges: the metrics of all stages, and what is measured when they are read.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

use super::{
    account::{Account, FeedAccounts},
    files::OperatorFiles,
};
use crate::{
    capture::{Capture, metrics::CaptureMetrics},
    catalog::metrics::CatalogMetrics,
    config::admin::Degraded,
    deliver::metrics::{DeliverMetrics, FeedMetrics},
    enrich::metrics::EnrichMetrics,
    fleet::FleetMetrics,
    redirect::metrics::{RedirectMetrics, RequestTotals},
    runtime::clock,
    session::{Sessions, metrics::SessionMetrics},
    spool::{Outbox, metrics::SpoolMetrics},
    stats::metrics::StatsMetrics,
    telemetry::{drops::Drops, metrics::Registry},
    tls::metrics::CertificateMetrics,
    visitor::metrics::DatabaseMetrics,
};

/// The metrics of all stages, in one registry.
pub(super) struct Metrics {
    pub registry: Registry,
    pub dropped: Drops,
    pub redirect: Arc<RedirectMetrics>,
    pub capture: CaptureMetrics,
    pub enrich: Arc<EnrichMetrics>,
    pub session: SessionMetrics,
    pub stats: Arc<StatsMetrics>,
    pub spool: Arc<SpoolMetrics>,
    pub deliver: DeliverMetrics,
    pub catalog: CatalogMetrics,
    pub fleet: Arc<FleetMetrics>,
    pub databases: DatabaseMetrics,
    pub certificates: CertificateMetrics,
    pub accounts: FeedAccounts,
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let dropped = Drops::of_clicks(&registry);
        let stats = Arc::new(StatsMetrics::new(&registry));
        Self {
            redirect: Arc::new(RedirectMetrics::new(&registry, dropped.clone())),
            capture: CaptureMetrics::new(&registry),
            enrich: Arc::new(EnrichMetrics::new(&registry, dropped.clone())),
            session: SessionMetrics::new(&registry),
            spool: Arc::new(SpoolMetrics::new(&registry, Arc::clone(&stats))),
            stats,
            deliver: DeliverMetrics::new(&registry),
            catalog: CatalogMetrics::new(&registry),
            fleet: Arc::new(FleetMetrics::new(&registry)),
            databases: DatabaseMetrics::new(&registry),
            certificates: CertificateMetrics::new(&registry),
            accounts: FeedAccounts::new(&registry),
            dropped,
            registry,
        }
    }

    /// The metrics of a feed's delivery.
    pub fn feed(&self, name: &str) -> Arc<FeedMetrics> {
        Arc::new(self.deliver.feed(name, self.spool.feed(name)))
    }

    /// Adds the accounts of all feeds that the spool knows by now.
    pub fn open_accounts(&self) {
        for (name, _) in self.spool.feeds() {
            self.accounts.add(&name, self.enrich.routed(&name), self.feed(&name));
        }
    }

    /// The account of now, with so many clicks of earlier processes.
    pub fn account(&self, recovered: u64) -> Account {
        Account {
            answered: self.redirect.clicks_answered(),
            recovered,
            enriched: self.enrich.enriched.get(),
            clicks_dropped: self.dropped.total(),
            delivered: self.accounts.delivered(),
            pending: self.accounts.pending(),
            events_dropped: self.accounts.dropped(),
        }
    }
}

/// The metrics of a running pipeline. Cheap to clone.
#[derive(Clone)]
pub struct Gauges(Arc<Measured>);

/// Metrics, and the parts that are measured when metrics are read.
struct Measured {
    metrics: Metrics,
    files: Arc<ArcSwap<OperatorFiles>>,
    sessions: Arc<Sessions>,
    capture: Capture,
    outbox: Arc<Outbox>,
    journal_bytes: Arc<AtomicU64>,
}

impl Gauges {
    pub(super) fn new(
        metrics: Metrics,
        files: Arc<ArcSwap<OperatorFiles>>,
        sessions: Arc<Sessions>,
        capture: Capture,
        outbox: Arc<Outbox>,
        journal_bytes: Arc<AtomicU64>,
    ) -> Self {
        Self(Arc::new(Measured { metrics, files, sessions, capture, outbox, journal_bytes }))
    }

    /// The metrics of all stages.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Where metrics are registered.
    pub(super) fn registry(&self) -> Registry {
        self.0.metrics.registry.clone()
    }

    /// All metrics in the Prometheus text format.
    pub fn text(&self) -> String {
        let Measured { metrics, files, sessions, capture, outbox, journal_bytes } = &*self.0;
        let files = files.load();
        metrics.capture.update(capture);
        metrics.catalog.update(&files.catalog);
        metrics.fleet.update();
        metrics.databases.update(&files.geo, &files.sources);
        metrics.certificates.update(&files.all_certificates(), clock::now());
        metrics.session.update(sessions);
        metrics.spool.update(journal_bytes.load(Ordering::Relaxed), outbox.bytes());
        metrics.stats.update();
        metrics.accounts.update();
        metrics.registry.text()
    }

    /// What is wrong, although clicks are answered.
    pub fn degraded(&self) -> Vec<Degraded> {
        let Measured { metrics, capture, .. } = &*self.0;
        let states =
            [(Degraded::SpoolStalled, metrics.spool.is_stalled()), (Degraded::RingsFull, capture.is_nearly_full())];
        states.into_iter().filter_map(|(state, is)| is.then_some(state)).collect()
    }

    /// The files of the running configuration, and the rings.
    pub(super) fn measured(&self) -> (Arc<OperatorFiles>, &Capture) {
        (self.0.files.load_full(), &self.0.capture)
    }

    /// Requests so far.
    pub fn requests(&self) -> RequestTotals {
        self.0.metrics.redirect.totals()
    }

    /// Name of the edge.
    pub fn pop(&self) -> String {
        self.0.files.load().config().edge.pop.clone()
    }

    /// The account of now.
    pub fn account(&self) -> Account {
        self.0.metrics.account(self.0.capture.recovered())
    }
}

/// All metrics, with a value for each label: what the manual lists.
#[cfg(test)]
pub(crate) fn exposition(more: impl FnOnce(&Registry)) -> String {
    let metrics = Metrics::new();
    metrics.feed("brand");
    metrics.spool.unclaim("brand");
    metrics.spool.update(0, 0);
    metrics.open_accounts();
    metrics.accounts.update();
    super::reload::ReloadMetrics::new(&["catalog"], &metrics.registry);
    more(&metrics.registry);
    metrics.registry.text()
}
