//! The operator files of an edge: which there are, how each is read, and who gets what it holds.
//!
//! This is the one list. Start reads it, `clickedge check` reads it, a reload reads it again, the metrics have a series
//! for each of its names, and the exit code is the class of the first error in its order.

mod certificates;
mod headers;
mod receivers;
mod tokens;
mod visitors;

pub(super) use certificates::CERTIFICATES;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use http::HeaderMap;

use crate::{
    catalog::{Catalog, CatalogStore, Report, tokens::TokenStore},
    config::{self, Config, Secret, SecretError, Sink},
    deliver::secrets::SecretStore,
    files::{Description, FileResource, Registry, Reloadable, ResourceError, Warning, mmdb},
    quality::{
        self, QualityError,
        blocklist::{Domains, Urls},
    },
    runtime::{Class, Classified, clock, filesystem::open_regular},
    session::{Sessions, StickyKey},
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
    /// The tokens of the API that changes links.
    pub(super) tokens: Arc<TokenStore>,
    certificates: Vec<Arc<CertificateStore>>,
    admin_certificate: Arc<CertificateStore>,
    /// The folders of certificates, each once.
    folders: Vec<Arc<Folder>>,
    tickets: Arc<Tickets>,
    /// HTTP headers of the export of metrics.
    otlp_headers: Arc<Reloadable<HeaderMap>>,
    /// The secrets of each feed; empty where the sink is no webhook.
    pub(super) webhook_secrets: Vec<Arc<SecretStore>>,
    pub(super) registry: Registry,
    /// Whether the program provides the catalog, which then has no file.
    has_own_catalog: bool,
    config: Config,
    /// Where the configuration was read from.
    config_file: Option<PathBuf>,
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
    sticky: OnceLock<Arc<StickyKey>>,
}

impl OperatorFiles {
    /// The files that a configuration names. Reads none of them: every store is empty.
    ///
    /// # Errors
    /// When what is built in does not compile, which is an internal error.
    pub fn new(config: &Config) -> Result<Self, QualityError> {
        Self::with_catalog(config, None)
    }

    /// Like [`new`](Self::new), with a catalog of the program's own in place of the file.
    pub(super) fn with_catalog(config: &Config, own: Option<Catalog>) -> Result<Self, QualityError> {
        let has_own_catalog = own.is_some();
        let catalog = own.unwrap_or_else(Catalog::empty);
        let files = Self {
            catalog: Arc::new(CatalogStore::of(catalog, &config.catalog)),
            geo: Arc::default(),
            quality: Arc::new(quality::State::new(&config.quality)?),
            sources: Arc::default(),
            crawlers: Arc::default(),
            secret: Arc::default(),
            tokens: Arc::default(),
            certificates: config.listeners.iter().map(|of| Arc::new(CertificateStore::new(of.tls.len()))).collect(),
            admin_certificate: Arc::new(CertificateStore::new(usize::from(config.admin.tls.is_some()))),
            folders: Vec::new(),
            tickets: Arc::default(),
            otlp_headers: Arc::default(),
            webhook_secrets: config.feeds.iter().map(|_| Arc::default()).collect(),
            registry: Registry::default(),
            has_own_catalog,
            config: config.clone(),
            config_file: None,
        };
        Ok(files.with_registry(&[]))
    }

    /// The files that another configuration of the same edge names, for the same stores. Reads none of them, and
    /// changes nothing before [`take_over`](Self::take_over).
    pub(super) fn following(&self, config: &Config) -> Self {
        let certificates = |new: &config::Listener| {
            let known = self.config.listeners.iter().position(|old| old.address == new.address);
            known
                .map_or_else(|| Arc::new(CertificateStore::new(new.tls.len())), |i| Arc::clone(&self.certificates[i]))
        };
        let webhook_secrets = |new: &config::Feed| {
            let known = self.config.feeds.iter().position(|old| old.name == new.name);
            known.map_or_else(Arc::default, |i| Arc::clone(&self.webhook_secrets[i]))
        };
        let files = Self {
            catalog: Arc::clone(&self.catalog),
            geo: Arc::clone(&self.geo),
            quality: Arc::clone(&self.quality),
            sources: Arc::clone(&self.sources),
            crawlers: Arc::clone(&self.crawlers),
            secret: Arc::clone(&self.secret),
            tokens: Arc::clone(&self.tokens),
            certificates: config.listeners.iter().map(certificates).collect(),
            admin_certificate: Arc::clone(&self.admin_certificate),
            folders: Vec::new(),
            tickets: Arc::clone(&self.tickets),
            otlp_headers: Arc::clone(&self.otlp_headers),
            webhook_secrets: config.feeds.iter().map(webhook_secrets).collect(),
            registry: Registry::default(),
            has_own_catalog: self.has_own_catalog,
            config: config.clone(),
            config_file: self.config_file.clone(),
        };
        files.with_registry(&self.folders)
    }

    fn with_registry(mut self, known: &[Arc<Folder>]) -> Self {
        let config = self.config.clone();
        if !self.has_own_catalog {
            self.add_catalog(&config.catalog);
        }
        self.add_databases(&config.enrich);
        self.add_visitor_lists(&config.enrich);
        self.add_block_lists(&config.quality);
        self.add_secret(&config.enrich);
        self.add_tokens(&config.admin);
        self.add_certificates(&config.listeners);
        self.add_admin_certificate(&config.admin);
        self.add_certificate_folders(&config.listeners, known);
        self.add_ticket_secret(&config.tls);
        self.add_otlp_headers(&config.telemetry);
        self.add_credentials(&config.feeds);
        self.add_receivers(&config.feeds);
        self
    }

    /// Makes the stores those of this configuration. What it no longer names is forgotten; what it names is to be
    /// published next.
    pub(super) fn take_over(&self, former: &Config) {
        let (new, old) = (&self.config, former);
        let gone = |files: fn(&Config) -> Vec<&Option<PathBuf>>| {
            let any = |config| files(config).into_iter().any(Option::is_some);
            any(old) && !any(new)
        };
        if gone(|c| vec![&c.enrich.geoip_file]) {
            self.geo.clear();
        }
        if gone(|c| {
            let enrich = &c.enrich;
            vec![&enrich.asn_file, &enrich.hosting_networks_file, &enrich.anonymizer_networks_file]
        }) {
            self.sources.networks.publish(Networks::default());
        }
        if gone(|c| vec![&c.enrich.search_engines_file, &c.enrich.socials_file, &c.enrich.ai_assistants_file]) {
            self.sources.places.publish(Places::default());
        }
        if gone(|c| vec![&c.enrich.spammers_file]) {
            self.sources.spammers.publish(Spammers::default());
        }
        if gone(|c| vec![&c.enrich.signed_agents_file]) {
            self.sources.signed_agents.publish(SignedAgents::default());
        }
        if new.enrich.crawlers_file.is_none() && new.enrich.not_crawlers.is_empty() {
            self.crawlers.publish(CrawlerLists::default());
        }
        if gone(|c| vec![&c.quality.blocked_domains_file]) {
            self.quality.destinations.domains.publish(Domains::default());
        }
        if gone(|c| vec![&c.quality.blocked_urls_file]) {
            self.quality.destinations.urls.publish(Urls::default());
        }
        let has_headers =
            |config: &Config| config.telemetry.otlp.as_ref().is_some_and(|otlp| otlp.headers_file.is_some());
        if has_headers(old) && !has_headers(new) {
            self.otlp_headers.publish(HeaderMap::new());
        }
        if gone(|c| vec![&c.admin.tokens_file]) {
            self.tokens.publish(None);
        }
        self.quality.configure(&new.quality);
        self.catalog.configure(&new.catalog);
        for (store, listener) in self.certificates.iter().zip(&new.listeners) {
            store.resize(listener.tls.len(), listener.certificates_dir.is_some());
        }
        self.admin_certificate.resize(usize::from(new.admin.tls.is_some()), false);
    }

    /// The configuration that names the files.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<CatalogStore> {
        &self.catalog
    }

    /// The state of the detectors of abuse.
    pub fn quality(&self) -> &Arc<quality::State> {
        &self.quality
    }

    /// The configuration was read from this file, which a reload reads again.
    pub fn watch_config(&mut self, file: &Path, _: &Config) {
        self.config_file = Some(file.to_owned());
    }

    pub(super) fn config_file(&self) -> Option<&Path> {
        self.config_file.as_deref()
    }

    /// Every file that is watched. Folders are watched by themselves.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        let files = self.registry.files().filter(|path| !path.is_dir());
        self.config_file.iter().map(PathBuf::as_path).chain(files).map(Path::to_owned).collect()
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

    fn add_catalog(&mut self, config: &config::Catalog) {
        let (reads, publishes, config) = (Arc::clone(&self.catalog), Arc::clone(&self.catalog), config.clone());
        self.registry.add(FileResource {
            name: "catalog",
            // An edge of a fleet has no file of the operator.
            files: named(if config.fleet.is_some() { "catalog.fleet" } else { "catalog.file" }, &config.source()),
            load: Box::new(move || reads.read_with(&config)),
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
                Sink::Dir(_) | Sink::Webhook(_) | Sink::Custom(_) => continue,
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

    /// The key of variants follows the secret from now on.
    pub fn connect_sticky(&self, sticky: &Arc<StickyKey>) {
        _ = self.sticky.set(Arc::clone(sticky));
    }

    pub fn connect(&self, sessions: &Arc<Sessions>) {
        _ = self.sessions.set(Arc::clone(sessions));
        // The sessions own it from here on, and wipe it when another replaces it.
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn publish(&self, secret: Secret) {
        let secret = Arc::new(secret);
        if let Some(sticky) = self.sticky.get() {
            sticky.set_secret(&secret);
        }
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
    open_regular(file).map_err(failed)?;
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
        .map(|problem| Warning { line: problem.line, message: format!("{}; line skipped", problem.reason) });
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
