//! Gauges: the metrics of all stages, and what is measured when they are read.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use http::HeaderMap;
use prometheus::{IntGaugeVec, proto::MetricFamily};

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
    files::Reloadable,
    fleet::FleetMetrics,
    redirect::metrics::{RedirectMetrics, RequestTotals},
    runtime::{clock, filesystem},
    session::{Sessions, metrics::SessionMetrics},
    spool::{
        Outbox,
        change::Limits,
        metrics::{SpoolMetrics, SpoolUse},
    },
    stats::metrics::StatsMetrics,
    telemetry::{drops::Drops, metrics::Registry, process::ProcessMetrics},
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
    pub process: ProcessMetrics,
    degraded: IntGaugeVec,
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
            process: ProcessMetrics::new(&registry),
            degraded: registry.gauges(
                "degraded",
                "1 while clicks are answered and may be lost if this state lasts, by state, as in admin.not_ready_when.",
                "state",
            ),
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
pub struct Gauges(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    measured: Measured,
    /// Held while the metrics are read: some gauges are replaced as a whole.
    reading: Mutex<()>,
}

/// The parts that are measured when metrics are read.
pub(super) struct Measured {
    pub files: Arc<ArcSwap<OperatorFiles>>,
    pub sessions: Arc<Sessions>,
    pub capture: Capture,
    pub outbox: Arc<Outbox>,
    pub journal_bytes: Arc<AtomicU64>,
    pub limits: Arc<Limits>,
    /// The folder of the spool.
    pub spool: PathBuf,
    /// Name of the edge.
    pub pop: String,
}

impl Gauges {
    pub(super) fn new(metrics: Metrics, measured: Measured) -> Self {
        Self(Arc::new(Inner { metrics, measured, reading: Mutex::default() }))
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
        let _reading = self.measure();
        self.0.metrics.registry.text()
    }

    /// All metrics.
    pub fn families(&self) -> Vec<MetricFamily> {
        let _reading = self.measure();
        self.0.metrics.registry.families()
    }

    /// Sets all gauges. They stay as they are until what is returned is dropped.
    fn measure(&self) -> MutexGuard<'_, ()> {
        let reading = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { metrics, measured, .. } = &*self.0;
        let Measured { files, sessions, capture, .. } = measured;
        let files = files.load();
        metrics.capture.update(capture);
        metrics.catalog.update(&files.catalog);
        metrics.fleet.update();
        metrics.databases.update(&files.geo, &files.sources);
        metrics.certificates.update(&files.all_certificates(), clock::now());
        metrics.session.update(sessions);
        metrics.spool.update(measured.spool_use());
        metrics.stats.update();
        metrics.accounts.update();
        metrics.process.update();
        for (state, is) in self.states() {
            metrics.degraded.with_label_values(&[state.name()]).set(is.into());
        }
        reading
    }

    /// The HTTP headers with which metrics are exported: one store, whatever is reloaded.
    pub(super) fn otlp_headers(&self) -> Arc<Reloadable<HeaderMap>> {
        Arc::clone(self.0.measured.files.load().otlp_headers())
    }

    /// What is wrong, although clicks are answered.
    pub fn degraded(&self) -> Vec<Degraded> {
        self.states().into_iter().filter_map(|(state, is)| is.then_some(state)).collect()
    }

    /// What a starting edge of a fleet waits for, if it has no catalog yet.
    pub fn awaits_catalog(&self) -> Option<String> {
        let Inner { metrics, measured, .. } = &*self.0;
        let is_empty = measured.files.load().catalog().load().position().generation == 0;
        metrics.fleet.lag_secs().filter(|_| is_empty)?;
        Some(match metrics.fleet.halted() {
            Some(reason) => format!("no catalog yet: that of the fleet is not taken ({reason})"),
            None => "no catalog yet: waiting for that of the fleet".to_owned(),
        })
    }

    fn states(&self) -> [(Degraded, bool); 2] {
        let Inner { metrics, measured, .. } = &*self.0;
        [
            (Degraded::SpoolStalled, metrics.spool.is_stalled()),
            (Degraded::RingsFull, measured.capture.is_nearly_full()),
        ]
    }

    /// The files of the running configuration, the rings, and what the spool uses.
    pub(super) fn measured(&self) -> (Arc<OperatorFiles>, &Capture, SpoolUse) {
        let measured = &self.0.measured;
        (measured.files.load_full(), &measured.capture, measured.spool_use())
    }

    /// Requests so far.
    pub fn requests(&self) -> RequestTotals {
        self.0.metrics.redirect.totals()
    }

    /// Name of the edge.
    pub fn pop(&self) -> String {
        self.0.measured.pop.clone()
    }

    /// The account of now.
    pub fn account(&self) -> Account {
        self.0.metrics.account(self.0.measured.capture.recovered())
    }
}

impl Measured {
    fn spool_use(&self) -> SpoolUse {
        SpoolUse {
            journal: self.journal_bytes.load(Ordering::Relaxed),
            journal_limit: self.limits.journal_max_bytes(),
            outbox: self.outbox.bytes(),
            outbox_limit: self.limits.max_bytes(),
            disk: filesystem::free_and_capacity_bytes(&self.spool).ok(),
        }
    }
}

/// All metrics, with a value for each label: what the manual lists.
#[cfg(test)]
pub(crate) fn exposition(more: impl FnOnce(&Registry)) -> String {
    use crate::catalog::{Catalog, CatalogStore};

    let metrics = Metrics::new();
    metrics.feed("brand");
    metrics.spool.unclaim("brand");
    metrics.catalog.update(&CatalogStore::of(Catalog::empty(), &crate::config::Catalog::default()));
    metrics.spool.update(SpoolUse::default());
    metrics.certificates.expires("go.brand.com", 0);
    metrics.degraded.with_label_values(&["spool_stalled"]);
    metrics.open_accounts();
    metrics.accounts.update();
    super::reload::ReloadMetrics::new(&["catalog"], &metrics.registry);
    more(&metrics.registry);
    metrics.registry.text()
}
