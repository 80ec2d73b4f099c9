//! The wiring: from the configuration to running stages, and the order in which they stop.
//!
//! Stages start from the right, so that each finds the next one running, and stop from the left, so that each hands
//! on everything that it has: the listeners first (not here), then the workers, the spool, the delivery.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    capture::{Capture, CaptureError},
    catalog::{CatalogStore, LoadError, Report},
    config::{self, Config},
    deliver::Deliver,
    enrich::{Enrich, Router, Shared},
    files::{list::ListError, mmdb::DatabaseError},
    quality,
    redirect::{Redirector, TrustedProxies},
    runtime::{PanicWatch, clock},
    session::{SessionError, Sessions},
    spool::{FeedSpec, Opened, Outbox, Spool, SpoolError, rollups},
    stats::{
        Live,
        book::{Book, FileBook},
    },
    telemetry::metrics::{Account, Metrics, Reload},
    visitor::{
        SourceError, Sources,
        bot::{CrawlerStore, CrawlersError, Lists},
        geo::GeoStore,
    },
};

/// Why the pipeline did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Catalog(#[from] LoadError),
    #[error(transparent)]
    GeoIp(#[from] DatabaseError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Crawlers(#[from] CrawlersError),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Sessions(#[from] SessionError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    List(#[from] ListError),
    #[error("client_address.header is no header name")]
    Header(#[from] http::header::InvalidHeaderName),
    #[error("cannot start a stage: {0}")]
    Io(#[from] io::Error),
}

/// Everything between the listeners and the sinks, running.
pub struct Pipeline {
    redirector: Redirector,
    monitor: Monitor,
    enrich: Enrich,
    spool: Spool,
    deliver: Deliver,
}

impl Pipeline {
    /// Loads the catalog, the databases and the lists, opens the spool and the rings, and starts workers and delivery.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing runs then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new());
        let panics = PanicWatch::default();
        let (catalog, report) = CatalogStore::open(&config.catalog)?;
        tell(&catalog, &report);
        let catalog = Arc::new(catalog);
        let geo = Arc::new(GeoStore::open(config.enrich.geoip_file.as_deref())?);
        let quality = Arc::new(quality::State::open(&config.quality)?);
        let sources = Arc::new(Sources::open(&config.enrich)?);
        let crawlers = Arc::new(open_crawlers(&config.enrich)?);
        let trusted = TrustedProxies::new(&config.client_address)?;
        let counts = config.stats.enabled.then(|| Live::new(&config.spool.dir));
        let book = counts.clone().map(|live| {
            let book: Box<dyn Book> = Box::new(FileBook::new(live, (&config.stats).into()));
            book
        });
        let specs = feed_specs(config, &metrics);
        let mut opened = Opened::open(&config.spool, &config.edge.pop, specs, book, Arc::clone(&metrics))?;
        if let Some(counts) = &counts {
            let catalog = Arc::clone(&catalog);
            let owner = Arc::new(move |domain: &str, slashtag: &str| catalog.workspace_of(domain, slashtag));
            opened.count_from(rollups::Source::new(counts.clone(), owner));
        }
        let outbox = opened.outbox();
        let (capture, inlets) =
            Capture::open(&config.capture, config.listener_threads(), config.workers(), opened.known())?;
        metrics.clicks_recovered.inc_by(capture.recovered());
        // After the rings: their folder is locked now.
        let sessions = Arc::new(Sessions::open(&config.capture.dir, &config.enrich, clock::unix_micros(), &metrics)?);
        let deliver = Deliver::start(&config.feeds, &outbox, &metrics, &panics)?;
        let receipts = capture.receipts();
        let (spool, batches) = opened.start(move |mark| receipts.release(mark), deliver.intake(), &panics)?;
        let shared = Shared {
            geo: Arc::clone(&geo),
            sources: Arc::clone(&sources),
            sessions: Arc::clone(&sessions),
            crawlers: Arc::clone(&crawlers),
            router: Router::new(&config.feeds),
            pop: config.edge.pop.clone(),
            config: config.enrich.clone(),
            metrics: Arc::clone(&metrics),
            quality: Arc::clone(&quality),
            feeds: config.feeds.iter().map(|feed| metrics.feed(&feed.name)).collect(),
            counts: config.stats.enabled,
        };
        let enrich = Enrich::start(shared, inlets, &batches, &panics)?;
        let redirector = Redirector::new(
            &config.redirect,
            Arc::clone(&catalog),
            capture.clone(),
            trusted,
            Arc::clone(&metrics),
            &quality,
            Arc::clone(&sources),
        );
        let journal_bytes = spool.journal_bytes();
        let monitor = Monitor {
            metrics,
            catalog,
            geo,
            quality,
            sources,
            sessions,
            crawlers,
            capture,
            outbox,
            journal_bytes,
            counts,
            panics,
        };
        Ok(Self { redirector, monitor, enrich, spool, deliver })
    }

    /// The redirect stage, for a proxy's `request_filter`.
    pub fn redirector(&self) -> Redirector {
        self.redirector.clone()
    }

    /// The pipeline as seen from outside: metrics and reload.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Stops. Call it when no redirector is called any more. Every captured click becomes part of a finished object;
    /// what cannot be delivered within `timeout` stays in the outbox for the next start.
    pub fn drain(self, timeout: Duration) -> Account {
        let deadline = Instant::now() + timeout;
        // Set first: workers that wait for a spool that cannot write must come to an end, too.
        self.spool.set_deadline(deadline);
        self.enrich.drain();
        let lock = self.spool.drain();
        self.deliver.drain(deadline);
        self.monitor.capture.close();
        drop(lock);
        self.monitor.metrics.account()
    }
}

fn feed_specs(config: &Config, metrics: &Metrics) -> Vec<FeedSpec> {
    let spec = |feed: &crate::config::Feed| FeedSpec::new(feed, &config.edge.pop, metrics.feed(&feed.name));
    config.feeds.iter().map(spec).collect()
}

/// A running pipeline as seen from outside. Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    metrics: Arc<Metrics>,
    catalog: Arc<CatalogStore>,
    geo: Arc<GeoStore>,
    quality: Arc<quality::State>,
    sources: Arc<Sources>,
    sessions: Arc<Sessions>,
    crawlers: Arc<CrawlerStore>,
    capture: Capture,
    outbox: Arc<Outbox>,
    journal_bytes: Arc<AtomicU64>,
    counts: Option<Live>,
    panics: PanicWatch,
}

impl Monitor {
    /// All metrics in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let catalog = self.catalog.load();
        let metrics = &self.metrics;
        metrics.ring_clicks.set(self.capture.depth() as i64);
        metrics.ring_held.set(self.capture.held_bytes() as i64);
        metrics.ring_capacity.set(self.capture.capacity_bytes() as i64);
        metrics.catalog_links.set(catalog.links() as i64);
        metrics.catalog_domains.set(catalog.domains() as i64);
        metrics.catalog_bytes.set(catalog.memory_bytes() as i64);
        metrics.catalog_loaded.set(self.catalog.loaded_at_secs() as i64);
        metrics.geoip_built.set(self.geo.built_at_secs() as i64);
        metrics.asn_built.set(self.sources.networks.load().asn_built_secs() as i64);
        metrics.session_visitors.set(self.sessions.visitors() as i64);
        metrics.journal_bytes.set(self.journal_bytes.load(Ordering::Relaxed) as i64);
        metrics.spool_bytes.set(self.outbox.bytes() as i64);
        metrics.text()
    }

    /// Where the counts lie. `None` when nothing is counted.
    pub fn counts(&self) -> Option<Live> {
        self.counts.clone()
    }

    /// The catalog.
    pub fn catalog(&self) -> Arc<CatalogStore> {
        Arc::clone(&self.catalog)
    }

    /// Whether a thread has failed, which is a defect. Clicks are answered and captured until the rings are
    /// full; nothing is lost if another process takes over before.
    pub fn has_failed(&self) -> bool {
        self.panics.has_panicked()
    }

    /// Reads the catalog, the databases, the lists and the sessions' secret again. What cannot be read leaves the old one
    /// in service.
    pub fn reload(&self) {
        let catalog = self.catalog.reload();
        self.metrics.reloaded(Reload::Catalog, catalog.is_ok());
        match catalog {
            Ok(report) => tell(&self.catalog, &report),
            Err(error) => tracing::error!(%error, "the catalog was not reloaded; the old one serves on"),
        }
        match self.geo.reload() {
            Ok(false) => {}
            Ok(true) => {
                self.metrics.reloaded(Reload::GeoIp, true);
                tracing::info!(built = self.geo.built_at_secs(), "GeoIP database reloaded");
            }
            Err(error) => {
                self.metrics.reloaded(Reload::GeoIp, false);
                tracing::error!(%error, "the GeoIP database was not reloaded; the old one serves on");
            }
        }
        self.sources.reload(&self.metrics);
        self.reload_crawlers();
        self.tell_list(Reload::BlockedDomains, self.quality.destinations.reload_domains());
        self.tell_list(Reload::BlockedUrls, self.quality.destinations.reload_urls());
        match self.sessions.reload(clock::unix_micros()) {
            Ok(false) => {}
            Ok(true) => {
                self.metrics.reloaded(Reload::SessionKey, true);
                tracing::info!("secret of the sessions reloaded");
            }
            Err(error) => {
                self.metrics.reloaded(Reload::SessionKey, false);
                tracing::error!(%error, "the secret of the sessions was not reloaded; the old one serves on");
            }
        }
    }

    fn tell_list(&self, what: Reload, result: Option<Result<usize, ListError>>) {
        let Some(result) = result else { return };
        self.metrics.reloaded(what, result.is_ok());
        match result {
            Ok(entries) => tracing::info!(?what, entries, "block list reloaded"),
            Err(error) => tracing::error!(%error, "a block list was not reloaded; the old one serves on"),
        }
    }

    fn reload_crawlers(&self) {
        if self.crawlers.load().community().is_none() {
            return;
        }
        let reloaded = self.crawlers.reload();
        self.metrics.reloaded(Reload::Crawlers, reloaded.is_ok());
        match reloaded {
            Ok(()) => tell_crawlers(&self.crawlers),
            Err(error) => tracing::error!(%error, "the crawler list was not reloaded; the old one serves on"),
        }
    }
}

fn open_crawlers(config: &config::Enrich) -> Result<CrawlerStore, CrawlersError> {
    let (file, people) = (config.crawlers_file.clone(), config.not_crawlers.clone());
    let store = CrawlerStore::open(move || Lists::read(file.as_deref(), &people))?;
    tell_crawlers(&store);
    Ok(store)
}

fn tell_crawlers(store: &CrawlerStore) {
    let lists = store.load();
    let Some(list) = lists.community() else {
        return;
    };
    let file = list.file().display();
    for bad in list.bad() {
        let (entry, pattern, reason) = (bad.entry, &bad.pattern, &bad.reason);
        tracing::warn!(%file, entry, pattern, reason, "an entry of the crawler list was skipped: mend or remove it");
    }
    tracing::info!(%file, entries = list.len(), skipped = list.bad().len(), "crawler list loaded");
}

fn tell(store: &CatalogStore, report: &Report) {
    let catalog = store.load();
    let file = store.file().display();
    for problem in &report.problems {
        tracing::warn!(%file, line = problem.line, reason = problem.reason, "a link was skipped");
    }
    let (links, domains, bytes) = (catalog.links(), catalog.domains(), catalog.memory_bytes());
    tracing::info!(%file, links, domains, skipped = report.bad, bytes, "catalog loaded");
}
