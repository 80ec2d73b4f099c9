//! Start: loads what the operator provides, opens spool and rings, and starts the stages from the right.

use std::sync::Arc;

use super::{
    OperatorFiles, Pipeline, StartError,
    gauges::{Gauges, Metrics},
    preflight,
    reload::Reloader,
};
use crate::{
    capture::Capture,
    catalog::CatalogStore,
    config::Config,
    deliver::Deliver,
    enrich::{Enrich, Router, Shared},
    redirect::{Redirector, TrustedProxies},
    runtime::{PanicWatch, clock},
    session::Sessions,
    spool::{FeedSpec, RecoveredSpool, SpoolBuilder, pack::source::RollupSource},
    stats::{
        StatsHandle,
        count_store::{CountStore, FileCountStore},
    },
    visitor,
};

impl Pipeline {
    /// Reads the operator files, opens the spool and the rings, and starts workers and delivery.
    ///
    /// # Errors
    /// See [`StartError`]. No stage runs then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let files = OperatorFiles::new(config)?;
        preflight::examine(config, &files).into_result()?;
        Self::start_with(config, files)
    }

    /// Like [`start`](Self::start), with operator files that were read already, with success.
    ///
    /// # Errors
    /// See [`StartError`]. No stage runs then.
    pub fn start_with(config: &Config, files: OperatorFiles) -> Result<Self, StartError> {
        visitor::warm_up()?;
        let mut metrics = Metrics::new();
        let panics = PanicWatch::default();
        let files = Arc::new(files);
        let trusted = TrustedProxies::new(&config.client_address)?;
        let counts = config.stats.enabled.then(|| StatsHandle::new(&config.spool.dir));
        let recovered = open_spool(config, counts.as_ref(), &files.catalog, &metrics)?;
        metrics.open_accounts();
        let outbox = recovered.outbox();
        let (capture, inlets) =
            Capture::open(&config.capture, config.listener_threads(), config.workers(), recovered.ring_positions())?;
        metrics.capture.recovered.inc_by(capture.recovered());
        // After the rings: their folder is locked now.
        let (dir, now) = (&config.capture.dir, clock::unix_micros());
        let sessions = Arc::new(Sessions::open(dir, &config.enrich, files.secret.first(), now)?);
        files.secret.connect(&sessions);
        let feeds = config.feeds.iter().map(|feed| metrics.feed(&feed.name)).collect();
        let names = (config.edge.pop.as_str(), recovered.identity());
        let deliver = Deliver::start(&config.feeds, names, &outbox, feeds, &files.webhook_secrets, &panics)?;
        let acks = capture.acks();
        let (spool, batches) = recovered.start(move |position| acks.ack(position), deliver.intake(), &panics)?;
        let shared = shared(config, &files, &sessions, &metrics);
        let enrich = Enrich::start(shared, inlets, &batches, &panics)?;
        let redirector = Redirector::new(
            &config.redirect,
            Arc::clone(&files.catalog),
            capture.clone(),
            trusted,
            Arc::clone(&metrics.redirect),
            &files.quality,
            Arc::clone(&files.sources),
        );
        let reloader = Reloader::new(Arc::clone(&files), &metrics.registry);
        let catalog = Arc::clone(&files.catalog);
        let gauges = Gauges::new(metrics, reloader.files(), sessions, capture.clone(), outbox, spool.journal_bytes());
        Ok(Self { redirector, gauges, reloader, catalog, counts, panics, capture, enrich, spool, deliver })
    }
}

fn open_spool(
    config: &Config,
    counts: Option<&StatsHandle>,
    catalog: &Arc<CatalogStore>,
    metrics: &Metrics,
) -> Result<RecoveredSpool, StartError> {
    let count_store = counts
        .map(|stats| -> Box<dyn CountStore> { Box::new(FileCountStore::new(stats.clone(), (&config.stats).into())) });
    let pop = &config.edge.pop;
    let specs = config.feeds.iter().map(|feed| FeedSpec::new(feed, pop, metrics.spool.feed(&feed.name))).collect();
    let builder = SpoolBuilder::new(&config.spool, pop, specs, Arc::clone(&metrics.spool));
    let mut recovered = builder.counts(count_store).open()?;
    if let Some(counts) = counts {
        let catalog = Arc::clone(catalog);
        let owner = Arc::new(move |domain: &str, slashtag: &str| catalog.workspace_of(domain, slashtag));
        recovered.rollups_from(RollupSource::new(counts.clone(), owner));
    }
    Ok(recovered)
}

fn shared(config: &Config, files: &OperatorFiles, sessions: &Arc<Sessions>, metrics: &Metrics) -> Shared {
    Shared {
        geo: Arc::clone(&files.geo),
        sources: Arc::clone(&files.sources),
        sessions: Arc::clone(sessions),
        crawlers: Arc::clone(&files.crawlers),
        router: Router::new(&config.feeds),
        pop: config.edge.pop.clone(),
        config: config.enrich.clone(),
        metrics: Arc::clone(&metrics.enrich),
        stats: Arc::clone(&metrics.stats),
        quality: Arc::clone(&files.quality),
        feeds: config.feeds.iter().map(|feed| metrics.enrich.routed(&feed.name)).collect(),
        counts: config.stats.enabled,
    }
}
