//! Start: loads what the operator provides, opens spool and rings, and starts the stages from the right.

use std::sync::Arc;

use super::{
    Pipeline, StartError,
    gauges::{Gauges, Metrics},
    reload::{self, Reloader},
};
use crate::{
    capture::Capture,
    catalog::CatalogStore,
    config::{self, Config},
    deliver::Deliver,
    enrich::{Enrich, Router, Shared},
    quality,
    redirect::{Redirector, TrustedProxies},
    runtime::{PanicWatch, clock},
    session::Sessions,
    spool::{FeedSpec, Opened, rollups},
    stats::{
        Live,
        book::{Book, FileBook},
    },
    visitor::{
        Sources,
        bot::{CrawlerLists, CrawlerStore, CrawlersError},
        geo::GeoStore,
    },
};

/// What was loaded from operator files, shared by the stages.
pub(super) struct Loaded {
    pub catalog: Arc<CatalogStore>,
    pub geo: Arc<GeoStore>,
    pub quality: Arc<quality::State>,
    pub sources: Arc<Sources>,
    pub crawlers: Arc<CrawlerStore>,
}

impl Pipeline {
    /// Loads the catalog, the databases and the lists, opens the spool and the rings, and starts workers and delivery.
    ///
    /// # Errors
    /// See [`StartError`]. No stage runs then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let mut metrics = Metrics::new();
        let panics = PanicWatch::default();
        let loaded = Loaded::open(config)?;
        let trusted = TrustedProxies::new(&config.client_address)?;
        let counts = config.stats.enabled.then(|| Live::new(&config.spool.dir));
        let opened = open_spool(config, counts.as_ref(), &loaded.catalog, &metrics)?;
        metrics.open_accounts();
        let outbox = opened.outbox();
        let (capture, inlets) =
            Capture::open(&config.capture, config.listener_threads(), config.workers(), opened.known())?;
        metrics.capture.recovered.inc_by(capture.recovered());
        // After the rings: their folder is locked now.
        let (dir, now) = (&config.capture.dir, clock::unix_micros());
        let sessions = Arc::new(Sessions::open(dir, &config.enrich, now, &metrics.session)?);
        let feeds = config.feeds.iter().map(|feed| metrics.feed(&feed.name)).collect();
        let deliver = Deliver::start(&config.feeds, &outbox, feeds, &panics)?;
        let receipts = capture.receipts();
        let (spool, batches) = opened.start(move |mark| receipts.release(mark), deliver.intake(), &panics)?;
        let shared = shared(config, &loaded, &sessions, &metrics);
        let enrich = Enrich::start(shared, inlets, &batches, &panics)?;
        let redirector = Redirector::new(
            &config.redirect,
            Arc::clone(&loaded.catalog),
            capture.clone(),
            trusted,
            Arc::clone(&metrics.redirect),
            &loaded.quality,
            Arc::clone(&loaded.sources),
        );
        let reloader = Reloader::new(config, &loaded, &sessions, &metrics.registry);
        let catalog = Arc::clone(&loaded.catalog);
        let gauges = Gauges::new(metrics, loaded, sessions, capture.clone(), outbox, spool.journal_bytes());
        Ok(Self { redirector, gauges, reloader, catalog, counts, panics, capture, enrich, spool, deliver })
    }
}

impl Loaded {
    fn open(config: &Config) -> Result<Self, StartError> {
        let (catalog, report) = CatalogStore::open(&config.catalog)?;
        reload::log_catalog(&catalog, &report);
        Ok(Self {
            catalog: Arc::new(catalog),
            geo: Arc::new(GeoStore::open(config.enrich.geoip_file.as_deref())?),
            quality: Arc::new(quality::State::open(&config.quality)?),
            sources: Arc::new(Sources::open(&config.enrich)?),
            crawlers: Arc::new(open_crawlers(&config.enrich)?),
        })
    }
}

fn open_crawlers(config: &config::Enrich) -> Result<CrawlerStore, CrawlersError> {
    let (file, people) = (config.crawlers_file.clone(), config.not_crawlers.clone());
    let store = CrawlerStore::open(move || CrawlerLists::read(file.as_deref(), &people))?;
    reload::log_crawlers(&store);
    Ok(store)
}

fn open_spool(
    config: &Config,
    counts: Option<&Live>,
    catalog: &Arc<CatalogStore>,
    metrics: &Metrics,
) -> Result<Opened, StartError> {
    let book = counts.map(|live| -> Box<dyn Book> { Box::new(FileBook::new(live.clone(), (&config.stats).into())) });
    let pop = &config.edge.pop;
    let specs = config.feeds.iter().map(|feed| FeedSpec::new(feed, pop, metrics.spool.feed(&feed.name))).collect();
    let mut opened = Opened::open(&config.spool, pop, specs, book, Arc::clone(&metrics.spool))?;
    if let Some(counts) = counts {
        let catalog = Arc::clone(catalog);
        let owner = Arc::new(move |domain: &str, slashtag: &str| catalog.workspace_of(domain, slashtag));
        opened.count_from(rollups::Source::new(counts.clone(), owner));
    }
    Ok(opened)
}

fn shared(config: &Config, loaded: &Loaded, sessions: &Arc<Sessions>, metrics: &Metrics) -> Shared {
    Shared {
        geo: Arc::clone(&loaded.geo),
        sources: Arc::clone(&loaded.sources),
        sessions: Arc::clone(sessions),
        crawlers: Arc::clone(&loaded.crawlers),
        router: Router::new(&config.feeds),
        pop: config.edge.pop.clone(),
        config: config.enrich.clone(),
        metrics: Arc::clone(&metrics.enrich),
        stats: Arc::clone(&metrics.stats),
        quality: Arc::clone(&loaded.quality),
        feeds: config.feeds.iter().map(|feed| metrics.enrich.routed(&feed.name)).collect(),
        counts: config.stats.enabled,
    }
}
