//! Reload: reads the operator files again. What cannot be read leaves the previous version active.
//!
//! Each configured resource has its two series of `reloads_total` from the start: a rate over a series that appears with
//! the first failure would miss that failure.

use std::{error::Error, path::PathBuf, sync::Arc};

use prometheus::IntCounter;

use super::start::Loaded;
use crate::{
    catalog::{CatalogStore, Report},
    config::{self, Config},
    files::Reloadable,
    runtime::clock,
    session::Sessions,
    telemetry::metrics::Registry,
    visitor::bot::CrawlerStore,
};

/// Reads all operator files of a running pipeline again. Cheap to clone.
#[derive(Clone)]
pub struct Reloader(Arc<[Resource]>);

/// Something that is read from operator files: its name in logs and metrics, and the way to read it again.
struct Resource {
    name: &'static str,
    read: Read,
    ok: IntCounter,
    failed: IntCounter,
}

/// Reads a resource again, publishes it and logs what it holds.
type Read = Box<dyn Fn() -> Result<(), Failure> + Send + Sync>;

type Failure = Box<dyn Error + Send + Sync>;

impl Reloader {
    /// The resources that are configured.
    pub(super) fn new(config: &Config, loaded: &Loaded, sessions: &Arc<Sessions>, registry: &Registry) -> Self {
        let reloads = registry.counters("reloads_total", "Reloads by resource and result.", &["what", "result"]);
        let resource = |(name, read): (&'static str, Read)| {
            let counter = |result| reloads.with_label_values(&[name, result]);
            Resource { name, read, ok: counter("ok"), failed: counter("failed") }
        };
        let mut all = vec![catalog(&loaded.catalog)];
        all.extend(databases(&config.enrich, loaded));
        all.extend(lists(config, loaded));
        all.extend(config.enrich.session_key_file.is_some().then(|| session_key(sessions)));
        Self(all.into_iter().map(resource).collect())
    }

    /// Reads everything again, one resource after the other. A failure of one does not affect the others.
    pub fn reload(&self) {
        for Resource { name, read, ok, failed } in &*self.0 {
            match read() {
                Ok(()) => ok.inc(),
                Err(error) => {
                    tracing::error!(resource = name, %error, "reload failed; the previous version stays active");
                    failed.inc();
                }
            }
        }
    }
}

fn catalog(store: &Arc<CatalogStore>) -> (&'static str, Read) {
    let store = Arc::clone(store);
    let read = move || {
        let report = store.reload()?;
        log_catalog(&store, &report);
        Ok(())
    };
    ("catalog", Box::new(read))
}

fn databases(config: &config::Enrich, loaded: &Loaded) -> Vec<(&'static str, Read)> {
    let mut all: Vec<(&'static str, Read)> = Vec::new();
    if config.geoip_file.is_some() {
        let geo = Arc::clone(&loaded.geo);
        let read = move || {
            geo.reload()?;
            tracing::info!(resource = "geoip", built = geo.built_at_secs(), "reloaded");
            Ok(())
        };
        all.push(("geoip", Box::new(read)));
    }
    let any = |files: &[&Option<PathBuf>]| files.iter().any(|file| file.is_some());
    if any(&[&config.search_engines_file, &config.socials_file, &config.ai_assistants_file]) {
        let sources = Arc::clone(&loaded.sources);
        all.push(list("referrers", move || read_again(&sources.places, |places| places.len())));
    }
    if any(&[&config.spammers_file]) {
        let sources = Arc::clone(&loaded.sources);
        all.push(list("spammers", move || read_again(&sources.spammers, |spammers| spammers.len())));
    }
    if any(&[&config.asn_file, &config.hosting_networks_file, &config.anonymizer_networks_file]) {
        let sources = Arc::clone(&loaded.sources);
        all.push(list("networks", move || read_again(&sources.networks, |networks| networks.len())));
    }
    all
}

fn lists(config: &Config, loaded: &Loaded) -> Vec<(&'static str, Read)> {
    let mut all: Vec<(&'static str, Read)> = Vec::new();
    if config.enrich.crawlers_file.is_some() {
        let crawlers = Arc::clone(&loaded.crawlers);
        let read = move || {
            crawlers.reload()?;
            log_crawlers(&crawlers);
            Ok(())
        };
        all.push(("crawlers", Box::new(read)));
    }
    if config.quality.blocked_domains_file.is_some() {
        let quality = Arc::clone(&loaded.quality);
        let read = move || Ok(quality.destinations.reload_domains().transpose()?.unwrap_or_default());
        all.push(list("blocked_domains", read));
    }
    if config.quality.blocked_urls_file.is_some() {
        let quality = Arc::clone(&loaded.quality);
        let read = move || Ok(quality.destinations.reload_urls().transpose()?.unwrap_or_default());
        all.push(list("blocked_urls", read));
    }
    all
}

fn session_key(sessions: &Arc<Sessions>) -> (&'static str, Read) {
    let sessions = Arc::clone(sessions);
    let read = move || {
        sessions.reload(clock::unix_micros())?;
        tracing::info!(resource = "session_key", "reloaded");
        Ok(())
    };
    ("session_key", Box::new(read))
}

/// A list. `read` returns how many entries it has now.
fn list(
    name: &'static str,
    read: impl Fn() -> Result<usize, Failure> + Send + Sync + 'static,
) -> (&'static str, Read) {
    let read = move || {
        let entries = read()?;
        tracing::info!(resource = name, entries, "reloaded");
        Ok(())
    };
    (name, Box::new(read))
}

fn read_again<T, E>(value: &Reloadable<T, E>, entries: impl Fn(&T) -> usize) -> Result<usize, Failure>
where
    E: Error + Send + Sync + 'static,
{
    value.reload()?;
    Ok(entries(&value.load()))
}

/// Logs what a new catalog holds, and what of it was skipped.
pub(super) fn log_catalog(store: &CatalogStore, report: &Report) {
    let catalog = store.load();
    let file = store.file().display();
    for problem in &report.problems {
        tracing::warn!(%file, line = problem.line, reason = problem.reason, "link skipped");
    }
    for warning in &report.warnings {
        tracing::warn!(%file, "{warning}");
    }
    let (links, domains, bytes) = (catalog.links(), catalog.domains(), catalog.memory_bytes());
    tracing::info!(%file, links, domains, skipped = report.bad, bytes, "catalog loaded");
}

/// Logs what a new crawler list holds, and what of it was skipped.
pub(super) fn log_crawlers(store: &CrawlerStore) {
    let lists = store.load();
    let Some(list) = lists.community() else {
        return;
    };
    let file = list.file().display();
    for bad in list.bad() {
        let (entry, pattern, reason) = (bad.entry, &bad.pattern, &bad.reason);
        tracing::warn!(%file, entry, pattern, reason, "entry of the crawler list skipped; fix or remove it");
    }
    tracing::info!(%file, entries = list.len(), skipped = list.bad().len(), "crawler list loaded");
}
