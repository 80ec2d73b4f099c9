//! The operator files of an edge: which there are, how each is read, and who gets what it holds.
//!
//! This is the one list. Start reads it, `clickedge check` reads it, `SIGHUP` reads it again, the metrics have a series
//! for each of its names, and the exit code is the class of the first error in its order.

mod certificates;
mod receivers;

pub(super) use certificates::CERTIFICATES;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use crate::{
    catalog::{Catalog, CatalogStore, Report},
    config::{self, Config, Secret, SecretError, Sink},
    deliver::webhook::signature::SecretStore,
    files::{Description, FileResource, Registry, ResourceError, Warning, mmdb},
    quality::{
        self, QualityError,
        blocklist::{Domains, Urls},
    },
    runtime::{Class, Classified, clock},
    session::Sessions,
    tls::{CertificateStore, Folder, Tickets},
    visitor::{
        Sources,
        bot::{CrawlerLists, CrawlerStore},
        geo::{Database, GeoStore},
        network::Networks,
        referrer::{Places, Spammers},
        signature::SignedAgents,
    },
};

/// What operator files hold, in the stores that the stages read, and the list of the files.
pub struct OperatorFiles {
    pub(super) catalog: Arc<CatalogStore>,
    pub(super) geo: Arc<GeoStore>,
    pub(super) quality: Arc<quality::State>,
    pub(super) sources: Arc<Sources>,
    pub(super) crawlers: Arc<CrawlerStore>,
    pub(super) secret: Arc<SecretSlot>,
    certificates: Vec<Arc<CertificateStore>>,
    /// The folders of certificates, each once.
    folders: Vec<Arc<Folder>>,
    tickets: Arc<Tickets>,
    /// The secrets of each feed; empty where the sink is no webhook.
    pub(super) webhook_secrets: Vec<Arc<SecretStore>>,
    pub(super) registry: Registry,
}

/// What came of reading all files.
#[derive(Debug, Default)]
pub struct Loaded {
    pub errors: Vec<ResourceError>,
    pub warnings: Vec<FileWarning>,
}

/// A warning about one of the files.
#[derive(Debug)]
pub struct FileWarning {
    /// Key of the configuration that names the file.
    pub key: String,
    pub file: String,
    pub warning: Warning,
}

/// The secret of the sessions on its way to them: it is read before they are opened.
#[derive(Default)]
pub(super) struct SecretSlot {
    first: Mutex<Option<Arc<Secret>>>,
    sessions: OnceLock<Arc<Sessions>>,
}

impl OperatorFiles {
    /// The files that a configuration names. Reads none of them: every store is empty.
    ///
    /// # Errors
    /// When what is built in does not compile, which is an internal error.
    pub fn new(config: &Config) -> Result<Self, QualityError> {
        let mut files = Self {
            catalog: Arc::new(CatalogStore::of(Catalog::empty(), &config.catalog)),
            geo: Arc::default(),
            quality: Arc::new(quality::State::new(&config.quality)?),
            sources: Arc::default(),
            crawlers: Arc::default(),
            secret: Arc::default(),
            certificates: config.listeners.iter().map(|of| Arc::new(CertificateStore::new(of.tls.len()))).collect(),
            folders: Vec::new(),
            tickets: Arc::default(),
            webhook_secrets: config.feeds.iter().map(|_| Arc::default()).collect(),
            registry: Registry::default(),
        };
        files.add_catalog();
        files.add_databases(&config.enrich);
        files.add_visitor_lists(&config.enrich);
        files.add_block_lists(&config.quality);
        files.add_secret(&config.enrich);
        files.add_certificates(&config.listeners);
        files.add_certificate_folders(&config.listeners);
        files.add_ticket_secret(&config.tls);
        files.add_credentials(&config.feeds);
        files.add_receivers(&config.feeds);
        Ok(files)
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<CatalogStore> {
        &self.catalog
    }

    /// Watches the configuration file as well: a change is reported as "restart required", with its keys.
    pub fn watch_config(&mut self, file: &Path, running: &Config) {
        let (path, running) = (file.to_owned(), running.clone());
        self.registry.add(FileResource {
            name: "config",
            files: named("--config", file),
            load: Box::new(move || {
                let new = config::load(&path)?;
                Ok::<_, config::ConfigError>(config::changed_keys(&running, &new))
            }),
            describe: |keys: &Vec<String>| {
                let mut description = Description::of("configuration");
                if !keys.is_empty() {
                    let changed = format!("restart required: changed keys {}", keys.join(", "));
                    description.warnings.push(Warning::of_file(changed));
                }
                description
            },
            publish: Box::new(|_| {}),
        });
    }

    /// Reads all files, and publishes what they hold. An error of one does not keep the others from being read.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        for read in self.registry.read(|_| true) {
            match read.result {
                Ok(staged) => {
                    let Description { summary, warnings, rejected } = staged.publish();
                    tracing::info!(resource = read.name, file = read.file, summary, "loaded");
                    let warning = |warning| FileWarning { key: read.key.clone(), file: read.file.clone(), warning };
                    loaded.warnings.extend(rejected.into_iter().chain(warnings).map(warning));
                }
                Err(error) => loaded.errors.push(error),
            }
        }
        self.commit();
        loaded
    }

    fn add_catalog(&mut self) {
        let (reads, publishes) = (Arc::clone(&self.catalog), Arc::clone(&self.catalog));
        self.registry.add(FileResource {
            name: "catalog",
            files: named("catalog.file", self.catalog.file()),
            load: Box::new(move || reads.read()),
            describe: describe_catalog,
            publish: Box::new(move |(catalog, _): (Catalog, Report)| publishes.publish(catalog)),
        });
    }

    fn add_databases(&mut self, config: &config::Enrich) {
        if let Some(file) = config.geoip_file.clone() {
            let geo = Arc::clone(&self.geo);
            self.registry.add(FileResource {
                name: "geoip",
                files: named("enrich.geoip_file", &file),
                load: Box::new(move || Database::read(&file)),
                describe: |database: &Database| {
                    let mut description = describe_database("GeoIP", "GeoIP database", database.built_at_secs());
                    description.warnings.extend(database.warning().map(Warning::of_file));
                    description
                },
                publish: Box::new(move |database| geo.publish(database)),
            });
        }
        let files = configured(&[
            ("enrich.asn_file", &config.asn_file),
            ("enrich.hosting_networks_file", &config.hosting_networks_file),
            ("enrich.anonymizer_networks_file", &config.anonymizer_networks_file),
        ]);
        if !files.is_empty() {
            let (config, sources) = (config.clone(), Arc::clone(&self.sources));
            self.registry.add(FileResource {
                name: "networks",
                files,
                load: Box::new(move || Networks::read(&config)),
                describe: |networks: &Networks| {
                    describe_database("ASN", &format!("{} networks", networks.len()), networks.asn_built_secs())
                },
                publish: Box::new(move |networks| sources.networks.publish(networks)),
            });
        }
    }

    fn add_visitor_lists(&mut self, config: &config::Enrich) {
        let files = configured(&[
            ("enrich.search_engines_file", &config.search_engines_file),
            ("enrich.socials_file", &config.socials_file),
            ("enrich.ai_assistants_file", &config.ai_assistants_file),
        ]);
        if !files.is_empty() {
            let (config, sources) = (config.clone(), Arc::clone(&self.sources));
            self.registry.add(FileResource {
                name: "referrers",
                files,
                load: Box::new(move || Places::read(&config)),
                describe: |places: &Places| describe_list("referrers", places.len()),
                publish: Box::new(move |places| sources.places.publish(places)),
            });
        }
        if let Some(file) = config.spammers_file.clone() {
            let sources = Arc::clone(&self.sources);
            self.registry.add(FileResource {
                name: "spammers",
                files: named("enrich.spammers_file", &file),
                load: Box::new(move || Spammers::read(Some(&file))),
                describe: |spammers: &Spammers| describe_list("spammers", spammers.len()),
                publish: Box::new(move |spammers| sources.spammers.publish(spammers)),
            });
        }
        if let Some(file) = config.signed_agents_file.clone() {
            let sources = Arc::clone(&self.sources);
            self.registry.add(FileResource {
                name: "signed_agents",
                files: named("enrich.signed_agents_file", &file),
                load: Box::new(move || SignedAgents::read(&file)),
                describe: |agents: &SignedAgents| {
                    let mut description = describe_list("signed agents", agents.len());
                    description.warnings.extend(agents.warnings().iter().map(Warning::of_file));
                    description
                },
                publish: Box::new(move |agents| sources.signed_agents.publish(agents)),
            });
        }
        if config.crawlers_file.is_some() || !config.not_crawlers.is_empty() {
            let (file, allowed) = (config.crawlers_file.clone(), config.not_crawlers.clone());
            let crawlers = Arc::clone(&self.crawlers);
            let (key, path) = match &file {
                Some(file) => ("enrich.crawlers_file", file.clone()),
                None => ("enrich.not_crawlers", PathBuf::new()),
            };
            self.registry.add(FileResource {
                name: "crawlers",
                files: named(key, &path),
                load: Box::new(move || CrawlerLists::read(file.as_deref(), &allowed)),
                describe: describe_crawlers,
                publish: Box::new(move |lists| crawlers.publish(lists)),
            });
        }
    }

    fn add_block_lists(&mut self, config: &config::Quality) {
        if let Some(file) = config.blocked_domains_file.clone() {
            let quality = Arc::clone(&self.quality);
            self.registry.add(FileResource {
                name: "blocked_domains",
                files: named("quality.blocked_domains_file", &file),
                load: Box::new(move || Domains::read(&file)),
                describe: |domains: &Domains| describe_list("blocked domains", domains.len()),
                publish: Box::new(move |domains| quality.destinations.domains.publish(domains)),
            });
        }
        if let Some(file) = config.blocked_urls_file.clone() {
            let quality = Arc::clone(&self.quality);
            self.registry.add(FileResource {
                name: "blocked_urls",
                files: named("quality.blocked_urls_file", &file),
                load: Box::new(move || Urls::read(&file)),
                describe: |urls: &Urls| describe_list("blocked URLs", urls.len()),
                publish: Box::new(move |urls| quality.destinations.urls.publish(urls)),
            });
        }
    }

    fn add_secret(&mut self, config: &config::Enrich) {
        let Some(file) = config.session_key_file.clone() else { return };
        let slot = Arc::clone(&self.secret);
        self.registry.add(FileResource {
            name: "session_key",
            files: named("enrich.session_key_file", &file),
            load: Box::new(move || {
                let is_open = config::secret::is_open_to_all(&file);
                Ok::<_, SecretError>((Secret::read(&file)?, is_open))
            }),
            describe: |(_, is_open): &(Secret, bool)| {
                let mut description = Description::of("session secret");
                if *is_open {
                    let warning = "the session secret is readable by every user of this machine: chmod 0600";
                    description.warnings.push(Warning::of_file(warning));
                }
                description
            },
            publish: Box::new(move |(secret, _)| slot.publish(secret)),
        });
    }

    /// The credentials of sinks. Their clients read them themselves, whenever they need new ones.
    fn add_credentials(&mut self, feeds: &[config::Feed]) {
        for (i, feed) in feeds.iter().enumerate() {
            let (sink, file) = match &feed.sink {
                Sink::S3(s3) => ("s3", &s3.credentials_file),
                Sink::Nats(nats) => ("nats", &nats.credentials_file),
                Sink::Dir(_) | Sink::Webhook(_) => continue,
            };
            let Some(file) = file.clone() else { continue };
            self.registry.add(FileResource {
                name: "credentials",
                files: named(&format!("feeds[{i}].sink.{sink}.credentials_file"), &file),
                load: Box::new(move || read_credentials(&file)),
                describe: |is_open: &bool| {
                    let warning = "the credentials are readable by every user of this machine: chmod 0600";
                    Description::of("credentials").warn(is_open.then(|| Warning::of_file(warning)))
                },
                publish: Box::new(|_| {}),
            });
        }
    }
}

impl SecretSlot {
    /// Where the secret goes from now on, and the one that was read first.
    pub fn first(&self) -> Option<Arc<Secret>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn connect(&self, sessions: &Arc<Sessions>) {
        _ = self.sessions.set(Arc::clone(sessions));
        // The sessions own it from here on, and wipe it when another replaces it.
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn publish(&self, secret: Secret) {
        let secret = Arc::new(secret);
        match self.sessions.get() {
            Some(sessions) => sessions.set_secret(secret, clock::unix_micros()),
            None => *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret),
        }
    }
}

/// Credentials that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the credentials {}: {source}", file.display())]
struct CredentialsError {
    file: PathBuf,
    source: std::io::Error,
}

impl Classified for CredentialsError {
    fn class(&self) -> Class {
        Class::of_read(&self.source)
    }
}

/// Only looks whether they can be read: the secret keys in them are the client's business.
fn read_credentials(file: &Path) -> Result<bool, CredentialsError> {
    let failed = |source| CredentialsError { file: file.to_owned(), source };
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    std::fs::File::open(file).map_err(failed)?;
    Ok(config::secret::is_open_to_all(file))
}

fn named(key: &str, file: &Path) -> Vec<(String, PathBuf)> {
    vec![(key.to_owned(), file.to_owned())]
}

fn configured(files: &[(&str, &Option<PathBuf>)]) -> Vec<(String, PathBuf)> {
    files.iter().filter_map(|(key, file)| Some(((*key).to_owned(), file.as_ref()?.clone()))).collect()
}

fn describe_catalog((catalog, report): &(Catalog, Report)) -> Description {
    let (links, domains, bytes) = (catalog.links(), catalog.domains(), catalog.memory_bytes());
    let summary = format!("{links} links, {domains} domains, {bytes} bytes, {} lines skipped", report.bad);
    let skipped = report
        .problems
        .iter()
        .map(|problem| Warning { line: problem.line, message: format!("{}; link skipped", problem.reason) });
    let warnings = report.warnings.iter().map(|warning| Warning::of_file(warning.to_string()));
    Description::of(summary).warn(skipped).warn(warnings)
}

/// A list without an entry is legal, and probably a file that is still being written.
fn describe_list(noun: &str, entries: usize) -> Description {
    let warning = (entries == 0).then(|| Warning::of_file("the list is empty"));
    Description::of(format!("{entries} {noun}")).warn(warning)
}

fn describe_database(what: &str, summary: &str, built_secs: u64) -> Description {
    let warnings = if built_secs == 0 { None } else { mmdb::age_warning(what, built_secs, clock::unix_secs()) };
    Description::of(summary).warn(warnings.map(Warning::of_file))
}

fn describe_crawlers(lists: &CrawlerLists) -> Description {
    let Some(list) = lists.community() else { return Description::of("no crawler list") };
    let skipped = list.bad().iter().map(|bad| Warning::of_file(format!("{bad}; skipped, fix or remove it")));
    Description::of(format!("{} crawlers", list.len())).warn(skipped)
}
