//! Start: loads what the operator provides, opens spool and rings, and starts the stages from the right.
//!
//! A successor cannot open the spool while its predecessor has it, and answers clicks nevertheless: it starts in two
//! steps, [`Intake::open`] and [`Intake::start`]. In between, clicks wait in its rings.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    OperatorFiles, Pipeline, StartError,
    builder::Provided,
    gauges::{Gauges, Measured, Metrics},
    live::{self, LiveFeeds, Stages},
    lookup::LiveLookup,
    reload::Reloader,
};
use crate::{
    capture::{Capture, Inlet},
    catalog::{Catalog, CatalogStore},
    config::Config,
    deliver::{Deliver, FeedSink},
    enrich::{Enrich, Shared},
    files::Reloadable,
    fleet::{self, Fleet},
    redirect::{
        self, Redirector, TrustedProxies,
        asker::Visitors,
        click_limits::{ClickLimitMetrics, ClickLimits, LinkKey},
        hook::Hooked,
        password::Passwords,
    },
    runtime::{PanicWatch, clock},
    session::{Sessions, StickyKey},
    spool::{FeedSpec, RecoveredSpool, SpoolBuilder, pack::source::RollupSource},
    stats::{
        StatsHandle,
        count_store::{CountStore, FileCountStore},
        unknown::UnknownSlashtags,
    },
    telemetry::metrics::Registry,
    tls, visitor,
};

/// Longest wait for a first catalog.
const FIRST_CATALOG: Duration = Duration::from_secs(60);

/// Time between two looks at whether to wait on.
const LOOK: Duration = Duration::from_millis(100);

impl Pipeline {
    /// Starts a pipeline from its configuration alone: the short form of [`builder`](Self::builder).
    ///
    /// # Errors
    /// See [`StartError`]. No stage runs then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::builder(config).start()
    }

    /// Waits for the first catalog of an edge of a fleet, which has none of its own, for a minute at most or until
    /// `stops` is true. Returns at once where there is a catalog.
    pub fn await_catalog(&self, mut stops: impl FnMut() -> bool) {
        let Some(fleet) = self.fleet.as_ref().filter(|_| self.catalog.load().position().generation == 0) else {
            return;
        };
        let until = Instant::now() + FIRST_CATALOG;
        while Instant::now() < until && !stops() {
            if fleet.wait_until_current(LOOK) {
                return;
            }
        }
        tracing::warn!("the edge has no catalog yet: it takes the fleet's as soon as it can");
    }

    /// Like [`start`](Self::start), with operator files that were read already, with success. An edge of a fleet may
    /// have no catalog yet, see [`await_catalog`](Self::await_catalog).
    ///
    /// # Errors
    /// See [`StartError`]. No stage runs then.
    pub(crate) fn start_with(config: &Config, files: OperatorFiles) -> Result<Self, StartError> {
        Self::start_provided(config, files, Provided::default())
    }

    pub(super) fn start_provided(
        config: &Config,
        files: OperatorFiles,
        provided: Provided,
    ) -> Result<Self, StartError> {
        let parts = Parts::new(config, files, provided)?;
        let spool = parts.open_spool()?;
        let (capture, inlets) =
            Capture::open(&config.capture, config.listener_threads(), config.workers(), spool.ring_positions())?;
        Intake::new(parts, capture, inlets)?.start_with(spool)
    }
}

/// Everything left of the rings, for a process that has a predecessor: it captures clicks, and does not read them yet.
pub struct Intake {
    parts: Parts,
    capture: Capture,
    inlets: Vec<Inlet>,
    redirector: Redirector,
    reloader: Reloader,
    visitors: Arc<Visitors>,
}

/// Makes room for the limits of the links of another catalog.
fn prepare_limits(limits: &ClickLimits, catalog: &Catalog) {
    limits.prepare_for(catalog.limited().map(|link| LinkKey::new(link.host(), link.id())));
}

/// What all stages share.
struct Parts {
    config: Config,
    files: Arc<OperatorFiles>,
    metrics: Metrics,
    counts: Option<StatsHandle>,
    unknown: Arc<UnknownSlashtags>,
    panics: PanicWatch,
    provided: Provided,
}

impl Intake {
    /// Creates rings next to those of a predecessor that runs. The operator files were read already, with success.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn open(config: &Config, files: OperatorFiles) -> Result<Self, StartError> {
        let parts = Parts::new(config, files, Provided::default())?;
        let (capture, inlets) = Capture::join(&config.capture, config.listener_threads(), config.workers())?;
        Self::new(parts, capture, inlets)
    }

    fn new(parts: Parts, capture: Capture, inlets: Vec<Inlet>) -> Result<Self, StartError> {
        parts.files.catalog.peek_log().map_err(StartError::Changes)?;
        let visitors = Arc::new(parts.files.visitors(&parts.config, sticky_key(&parts)?));
        let config = &parts.config;
        let limits = Arc::new(ClickLimits::open(
            (&config.capture.dir, &config.spool.dir),
            parts.files.catalog.load().limited().map(|link| LinkKey::new(link.host(), link.id())),
            ClickLimitMetrics::new(&parts.metrics.registry),
            &parts.panics,
        ));
        let hook = parts.provided.hook.clone().map(|hook| Hooked::new(hook, &parts.metrics.redirect)).transpose()?;
        let redirector = Redirector::new(
            &parts.config.redirect,
            TrustedProxies::new(&parts.config.client_address)?,
            &parts.files.quality,
            redirect::Parts {
                catalog: Arc::clone(&parts.files.catalog),
                capture: Some(capture.clone()),
                metrics: Arc::clone(&parts.metrics.redirect),
                visitors: Arc::clone(&visitors),
                limits: Arc::clone(&limits),
                unknown: Arc::clone(&parts.unknown),
                passwords: passwords()?,
                hook: hook.map(Arc::new),
            },
        );
        let reloader = Reloader::new(Arc::clone(&parts.files), &parts.metrics.registry);
        parts.files.catalog.on_limits(move |catalog| prepare_limits(&limits, catalog));
        Ok(Self { parts, capture, inlets, redirector, reloader, visitors })
    }

    /// The redirect stage.
    pub fn redirector(&self) -> Redirector {
        self.redirector.clone()
    }

    /// Takes up the configuration file and the operator files again.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Where parts around the pipeline register metrics of their own.
    pub fn registry(&self) -> Registry {
        self.parts.metrics.registry.clone()
    }

    /// The rings.
    pub fn capture(&self) -> Capture {
        self.capture.clone()
    }

    /// Reports a thread that has panicked, see [`Pipeline::panics`].
    pub fn panics(&self) -> PanicWatch {
        self.parts.panics.clone()
    }

    /// Opens the spool, which the predecessor has released, takes over its rings, and starts workers and delivery.
    ///
    /// # Errors
    /// See [`StartError`]. No stage runs then.
    pub fn start(self) -> Result<Pipeline, StartError> {
        let spool = self.parts.open_spool()?;
        self.capture.inherit(spool.ring_positions())?;
        let pipeline = self.start_with(spool)?;
        pipeline.await_catalog(|| false);
        Ok(pipeline)
    }

    fn start_with(self, recovered: RecoveredSpool) -> Result<Pipeline, StartError> {
        let Self { parts, capture, inlets, redirector, reloader, visitors } = self;
        parts.files.catalog.open_log().map_err(StartError::Changes)?;
        parts.files.catalog.verify_in_background(&parts.panics)?;
        let Parts { config, files, metrics, counts, unknown, panics, provided: Provided { sinks, .. } } = parts;
        metrics.open_accounts();
        let outbox = recovered.outbox();
        // After the rings: their folder is locked now.
        let (dir, now) = (&config.capture.dir, clock::unix_micros());
        let sessions = Arc::new(Sessions::open(dir, &config.enrich, files.secret.first(), now)?);
        files.secret.connect(&sessions);
        visitors.connect(&sessions);
        let feeds = (0..).zip(config.feeds.iter().zip(&files.webhook_secrets)).map(|(number, (feed, secrets))| {
            FeedSink::new(number, feed, metrics.feed(&feed.name), Arc::clone(secrets), &sinks)
        });
        let names = (config.edge.pop.as_str(), recovered.identity());
        let deliver = Deliver::start(feeds, names, &outbox, &panics)?;
        let (acks, limits, feeds) = (capture.acks(), recovered.limits(), recovered.feed_names());
        let (spool, inputs) = recovered.start(move |position| acks.ack(position), deliver.lanes(), &panics)?;
        let inputs = Arc::new(inputs);
        let shared = shared(&config, &files, &sessions, &metrics);
        let (routing, tap) = (Arc::clone(&shared.routing), Arc::clone(&shared.tap));
        let enrich = Enrich::start(shared, inlets, &inputs, &panics)?;
        let (catalog, tokens) = (Arc::clone(&files.catalog), Arc::clone(&files.tokens));
        let secrets = files.webhook_secrets.clone();
        let measured = Measured {
            files: reloader.files(),
            sessions,
            capture: capture.clone(),
            outbox,
            journal_bytes: spool.journal_bytes(),
            limits: Arc::clone(&limits),
            spool: config.spool.dir.clone(),
            pop: config.edge.pop.clone(),
        };
        let gauges = Gauges::new(metrics, measured);
        let policies = Arc::clone(&visitors.policies);
        let lookup = LiveLookup::new(reloader.files(), visitors);
        let stages = Stages {
            gauges: gauges.clone(),
            lanes: deliver.lanes(),
            routing,
            policies,
            limits,
            sinks,
            inputs: &inputs,
        };
        let live = LiveFeeds::new(&config, feeds, &secrets, stages);
        reloader.add(live.clone());
        let fleet = start_fleet(&config, &catalog, &gauges, &panics)?;
        Ok(Pipeline {
            redirector,
            gauges,
            reloader,
            live,
            lookup,
            tap,
            catalog,
            tokens,
            fleet,
            counts,
            unknown,
            panics,
            capture,
            enrich,
            spool,
            deliver,
        })
    }
}

/// Follows the bucket of a fleet.
fn start_fleet(
    config: &Config,
    catalog: &Arc<CatalogStore>,
    gauges: &Gauges,
    panics: &PanicWatch,
) -> Result<Option<Fleet>, StartError> {
    let (Some(of_fleet), Some(dir)) = (&config.catalog.fleet, &config.catalog.state_dir) else { return Ok(None) };
    let (metrics, redirect) = (gauges.metrics(), Arc::clone(&gauges.metrics().redirect));
    let requests = move || {
        let (all, unknown) = redirect.of_links();
        fleet::Requests { all, unknown }
    };
    let parts = fleet::Parts {
        store: Arc::clone(catalog) as Arc<dyn fleet::Store>,
        dir: dir.clone(),
        metrics: Arc::clone(&metrics.fleet),
        requests: Box::new(requests),
        panics: panics.clone(),
    };
    Ok(Some(Fleet::start(of_fleet, parts)?))
}

/// A quarter of the cores may compute hashes of passwords.
fn passwords() -> std::io::Result<Passwords> {
    const WAITING: usize = 64;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Passwords::start(cores.div_ceil(4), WAITING)
}

impl Parts {
    fn new(config: &Config, files: OperatorFiles, provided: Provided) -> Result<Self, StartError> {
        visitor::warm_up()?;
        Ok(Self {
            config: config.clone(),
            files: Arc::new(files),
            metrics: Metrics::new(),
            counts: config.stats.enabled.then(|| StatsHandle::new(&config.spool.dir)),
            unknown: Arc::new(UnknownSlashtags::new(clock::unix_secs())),
            panics: PanicWatch::default(),
            provided,
        })
    }

    fn open_spool(&self) -> Result<RecoveredSpool, StartError> {
        let Self { config, metrics, .. } = self;
        let count_store = |stats: &StatsHandle| -> Box<dyn CountStore> {
            Box::new(FileCountStore::new(stats.clone(), (&config.stats).into()))
        };
        let pop = &config.edge.pop;
        let spec = |feed| FeedSpec::new(feed, pop, metrics.spool.feed(&feed.name));
        let specs = config.feeds.iter().map(spec).collect();
        let builder = SpoolBuilder::new(&config.spool, pop, specs, Arc::clone(&metrics.spool));
        let mut recovered = builder.counts(self.counts.as_ref().map(count_store)).open()?;
        if let Some(counts) = &self.counts {
            let catalog: Arc<CatalogStore> = Arc::clone(&self.files.catalog);
            let owner = Arc::new(move |domain: &str, slashtag: &str| catalog.workspace_of(domain, slashtag));
            recovered.rollups_from(RollupSource::new(counts.clone(), owner));
        }
        Ok(recovered)
    }
}

/// The key of variants: from the configured secret, else from that of this machine.
fn sticky_key(parts: &Parts) -> Result<StickyKey, StartError> {
    Ok(match parts.files.secret.first() {
        Some(secret) => StickyKey::new(&secret),
        None => StickyKey::new(&tls::secret_of_this_machine(&parts.config.capture.dir)?),
    })
}

fn shared(config: &Config, files: &OperatorFiles, sessions: &Arc<Sessions>, metrics: &Metrics) -> Shared {
    Shared {
        geo: Arc::clone(&files.geo),
        sources: Arc::clone(&files.sources),
        sessions: Arc::clone(sessions),
        crawlers: Arc::clone(&files.crawlers),
        routing: Arc::new(Reloadable::new(live::routing((0..).zip(&config.feeds), &config.enrich, &metrics.enrich))),
        pop: config.edge.pop.clone(),
        metrics: Arc::clone(&metrics.enrich),
        stats: Arc::clone(&metrics.stats),
        quality: Arc::clone(&files.quality),
        counts: config.stats.enabled,
        tap: Arc::default(),
    }
}
