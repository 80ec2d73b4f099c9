//! Reload: takes up the configuration file and all operator files again, together or not at all.
//!
//! ```text
//! read and check the configuration ─► read all files ─► look at the machine ─► prepare each part ─┬─► publish all
//!                                                                                               └─► an error: nothing
//! ```
//! A part of the process that can change while it runs is a [`LivePart`]; it names the keys that it takes up. Every
//! other key waits for a restart, and is reported with the remedy. Folders of certificates are watched by themselves: a
//! pair that is renewed is used at once, and one that is rejected keeps its previous version.

mod metrics;
mod report;

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    files::{CERTIFICATES, Loaded, OperatorFiles},
    preflight::{self, Rejection},
};
use crate::{
    config::{self, Config, Diagnostic, Problem, Severity, changed_keys, diagnostics::locate, is_at_or_below},
    files::{Description, Warning, registry::Staged, stamp},
    runtime::{Class, Classified, systemd},
    telemetry::metrics::Registry,
};
use metrics::CONFIG;
pub(super) use metrics::ReloadMetrics;
pub use report::{LastReload, MOST_NOTICES, NeedsRestart, Notice, ReloadError, Reloaded};

/// Keys that the operator files take up, and this module.
const OF_FILES: &[&str] = &[
    "admin.tls.certificate_file",
    "admin.tls.key_file",
    "admin.tokens_file",
    "catalog.domains",
    "catalog.file",
    "catalog.forward_parameters",
    "catalog.loops",
    "catalog.max_bad_ratio",
    "catalog.max_growth_ratio",
    "catalog.max_shrink_ratio",
    "enrich.anonymizer_networks_file",
    "enrich.asn_file",
    "enrich.crawlers_file",
    "enrich.geoip_file",
    "enrich.hosting_networks_file",
    "enrich.not_crawlers",
    "enrich.search_engines_file",
    "enrich.signed_agents_file",
    "enrich.socials_file",
    "enrich.spammers_file",
    "enrich.ai_assistants_file",
    "quality",
    "reload",
    "telemetry.otlp.headers_file",
    "tls.watch_secs",
];

/// Without a secret, keys are random from the start on.
const SESSION_KEY: &str = "enrich.session_key_file";

/// What [`LivePart::prepare`] returns: makes the change, and cannot fail.
pub type Apply<'l> = Box<dyn FnOnce() + 'l>;

/// A part of the process that takes up another configuration while it runs.
pub trait LivePart: Send + Sync {
    /// The keys that it takes up, with everything below them.
    fn keys(&self) -> &[&'static str];

    /// Prepares everything that can fail, and changes nothing. The operator files of the new configuration have been
    /// read; their values are published before the result is called.
    ///
    /// # Errors
    /// When the new configuration cannot be taken up.
    fn prepare<'l>(&'l self, new: &'l Config, files: &'l OperatorFiles) -> Result<Apply<'l>, PartError>;
}

/// Why a part cannot take up a configuration.
#[derive(Debug)]
pub struct PartError {
    pub class: Class,
    /// The key that it is about.
    pub key: String,
    /// The rest of a sentence that begins with the key.
    pub message: String,
    pub remedy: &'static str,
}

/// Reloads a running pipeline, and what is around it. Cheap to clone.
#[derive(Clone)]
pub struct Reloader(Arc<Shared>);

struct Shared {
    /// Those of the running configuration.
    files: Arc<ArcSwap<OperatorFiles>>,
    /// One reload at a time: the later one publishes last.
    turn: Mutex<Turn>,
    /// Whether another process takes over, which has read everything already.
    held: AtomicBool,
    metrics: ReloadMetrics,
    last: Mutex<Option<LastReload>>,
}

struct Turn {
    /// The configuration of the start.
    started: Config,
    parts: Vec<Box<dyn LivePart>>,
    /// What is watched since the last reload, and its fingerprints: when it was read, and at the last look.
    watched: Vec<PathBuf>,
    read: u64,
    seen: Option<u64>,
}

impl Reloader {
    /// For files that were all read without an error just now.
    pub(super) fn new(files: Arc<OperatorFiles>, registry: &Registry) -> Self {
        let watched = files.watched();
        let turn = Turn {
            started: files.config().clone(),
            parts: Vec::new(),
            read: fingerprint(&watched),
            watched,
            seen: None,
        };
        let metrics = ReloadMetrics::new(&names(&files), registry);
        let files = Arc::new(ArcSwap::from(files));
        Self(Arc::new(Shared {
            files,
            turn: Mutex::new(turn),
            held: AtomicBool::new(false),
            metrics,
            last: Mutex::default(),
        }))
    }

    /// Adds a part that takes up changes of the configuration.
    pub fn add(&self, part: impl LivePart + 'static) {
        self.turn().parts.push(Box::new(part));
    }

    /// The files of the running configuration.
    pub(super) fn files(&self) -> Arc<ArcSwap<OperatorFiles>> {
        Arc::clone(&self.0.files)
    }

    /// Time between two looks at watched files; `None` when nothing is watched.
    pub fn watch_interval(&self) -> Option<Duration> {
        let secs = self.0.files.load().config().tls.watch_secs;
        (secs > 0).then(|| Duration::from_secs(secs))
    }

    /// Rejects reloads, while another process takes over.
    pub fn hold(&self) {
        // A reload that is under way is over then.
        let _turn = self.turn();
        self.0.held.store(true, Ordering::Release);
        self.0.files.load().catalog().close_log();
    }

    /// Takes reloads again.
    pub fn release(&self) {
        if let Err(error) = self.0.files.load().catalog().open_log() {
            tracing::error!(%error, "no changes of links can be made: the change log cannot be opened");
        }
        self.0.held.store(false, Ordering::Release);
    }

    /// Looks at the watched files: reloads everything if one of them has changed and none changes any more (with
    /// `reload.watch`), else reads certificates again if a folder of them has changed.
    pub fn watch(&self) {
        if self.0.held.load(Ordering::Acquire) {
            return;
        }
        let files = self.0.files.load_full();
        if files.config().reload.watch && self.turn().has_changed() {
            _ = self.reload();
        } else if files.has_changed_certificates() {
            let _turn = self.turn();
            self.read_certificates(&files);
        }
    }

    /// Reads the configuration and all files again, and takes them up, or changes nothing. Not for a thread that runs
    /// asynchronous tasks. systemd is notified.
    ///
    /// # Errors
    /// When anything is wrong: the previous version of everything stays active.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.reload_and(false)
    }

    /// Like [`reload`](Self::reload). `accept` takes a catalog of any size and generation.
    ///
    /// # Errors
    /// When anything is wrong: the previous version of everything stays active.
    pub fn reload_and(&self, accept: bool) -> Result<Reloaded, ReloadError> {
        let mut turn = self.turn();
        if self.0.held.load(Ordering::Acquire) {
            tracing::error!("reload rejected: an upgrade is under way");
            return Err(ReloadError::Busy);
        }
        systemd::reloading();
        let current = self.0.files.load_full();
        let mut results = BTreeMap::new();
        current.catalog().set_accept(accept);
        let reloaded = self.take_up(&mut turn, &current, &mut results);
        current.catalog().set_accept(false);
        match &reloaded {
            Ok(reloaded) => {
                results.entry(CONFIG).or_insert(true);
                self.0.metrics.set_restart_keys(reloaded.needs_restart.len());
                reloaded.log();
            }
            Err(ReloadError::Rejected(_) | ReloadError::Busy) => {}
            Err(error @ ReloadError::Config(_)) => {
                results.insert(CONFIG, false);
                error.notices().iter().for_each(Notice::log_failure);
            }
        }
        self.0.metrics.finished(&results);
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastReload::new(&reloaded));
        systemd::ready();
        reloaded
    }

    /// What came of the last reload. `None` before the first.
    pub fn last(&self) -> Option<LastReload> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `results` are those of each resource that has one.
    fn take_up(
        &self,
        turn: &mut Turn,
        current: &OperatorFiles,
        results: &mut BTreeMap<&'static str, bool>,
    ) -> Result<Reloaded, ReloadError> {
        turn.begin();
        let (config, mut warnings) = match current.config_file() {
            Some(file) => config::diagnostics::inspect(file)?,
            None => (current.config().clone(), Vec::new()),
        };
        let files = Arc::new(current.following(&config));
        turn.watch(files.watched());
        let changed = changed_keys(current.config(), &config);
        let (mut staged, mut loaded) = (Vec::new(), Loaded::default());
        for read in files.registry.read(|_| true) {
            match read.result {
                Ok(value) => staged.push((read.name, read.file, value)),
                Err(error) => {
                    let (resource, key, class, remedy) =
                        (read.name, &error.key, error.class().name(), error.remedy());
                    tracing::error!(
                        resource, key, class, %error, remedy,
                        "reload failed; the previous version of everything stays active"
                    );
                    results.insert(resource, false);
                    loaded.errors.push(error);
                }
            }
        }
        let of_files = loaded.errors.len();
        let mut findings = preflight::inspect(&config, loaded);
        let mut prepared = Vec::new();
        for part in &turn.parts {
            // It may open sockets, which are only worth it when they are used.
            if findings.class.is_none() {
                match part.prepare(&config, &files) {
                    Ok(apply) => prepared.push(apply),
                    Err(PartError { class, key, message, remedy }) => findings.error(class, &key, message, remedy),
                }
            }
        }
        if let Some(class) = findings.class {
            files.discard();
            let errors = findings.problems.into_iter().filter(|problem| problem.severity == Severity::Error);
            let errors = places(errors.collect(), &files);
            for error in &errors[of_files..] {
                results.insert(CONFIG, false);
                Notice::from(error).log_failure();
            }
            // A catalog or configuration that was repaired is not what is wrong now, although nothing of it is taken
            // up. Several files may have one name.
            let read = staged.iter().map(|(name, ..)| *name).chain([CONFIG]);
            let sound = read.filter(|name| !results.contains_key(name));
            self.0.metrics.readable(&sound.collect::<Vec<_>>());
            return Err(Rejection::new(class, errors).into());
        }

        files.take_over(current.config());
        let mut notices = Vec::new();
        self.0.metrics.name(&names(&files));
        for (resource, file, value) in staged {
            publish(resource, &file, value, results, &mut notices);
        }
        files.commit();
        for apply in prepared {
            apply();
        }
        self.0.files.store(Arc::clone(&files));
        let mut problems = findings.problems;
        problems.extend(preflight::of_catalog(&config, &files));
        warnings.extend(places(problems, &files));
        if !changed.is_empty() {
            for Diagnostic { line, message, remedy, .. } in &warnings {
                tracing::warn!(config_line = line, remedy, "{message}");
            }
        }
        notices.extend(warnings.iter().map(Notice::from));
        let takes_up = |key: &String| turn.takes_up(key, &config);
        Ok(Reloaded {
            applied: changed.into_iter().filter(takes_up).collect(),
            needs_restart: turn.needs_restart(&config),
            warnings: notices,
        })
    }

    /// Reads certificates only, each pair and folder by itself.
    fn read_certificates(&self, files: &OperatorFiles) {
        let mut results = BTreeMap::new();
        for read in files.registry.read(|resource| resource == CERTIFICATES) {
            match read.result {
                Ok(staged) => publish(read.name, &read.file, staged, &mut results, &mut Vec::new()),
                Err(error) => {
                    results.insert(read.name, false);
                    let (resource, key, class, remedy) =
                        (read.name, &error.key, error.class().name(), error.remedy());
                    tracing::error!(
                        resource, key, class, %error, remedy,
                        "reload failed; the previous version stays active"
                    );
                }
            }
        }
        files.commit();
        self.0.metrics.finished(&results);
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Whether the watched files are others than those that were read, and the same as at the last look: what is being
    /// written is left to its end.
    fn has_changed(&mut self) -> bool {
        let now = fingerprint(&self.watched);
        if now == self.read {
            self.seen = None;
            return false;
        }
        self.seen.replace(now) == Some(now)
    }

    /// Files are about to be read: what changes from here on is a change.
    fn begin(&mut self) {
        (self.read, self.seen) = (fingerprint(&self.watched), None);
    }

    /// Watches these from now on.
    fn watch(&mut self, files: Vec<PathBuf>) {
        if files != self.watched {
            self.watched = files;
            self.begin();
        }
    }

    fn takes_up(&self, key: &str, config: &Config) -> bool {
        let of_parts = self.parts.iter().flat_map(|part| part.keys());
        let mut known = OF_FILES.iter().chain(of_parts);
        key == SESSION_KEY && config.enrich.session_key_file.is_some()
            || known.any(|known| is_at_or_below(key, known))
    }

    /// The keys that have other values than at the start, and are read there only.
    fn needs_restart(&self, config: &Config) -> Vec<NeedsRestart> {
        let changed = changed_keys(&self.started, config);
        changed.into_iter().filter(|key| !self.takes_up(key, config)).map(NeedsRestart::new).collect()
    }
}

/// Makes a value the current one, and reports it.
fn publish(
    resource: &'static str,
    file: &str,
    value: Staged<'_>,
    results: &mut BTreeMap<&'static str, bool>,
    notices: &mut Vec<Notice>,
) {
    let Description { summary, warnings, rejected } = value.publish();
    *results.entry(resource).or_insert(true) &= rejected.is_empty();
    tracing::info!(resource, file, summary, "reloaded");
    let mut notice = |line, message| {
        notices.push(Notice { file: file.to_owned(), line, message, remedy: String::new() });
    };
    for Warning { message, .. } in rejected {
        tracing::error!(resource, file, "{message}");
        notice(None, message);
    }
    for Warning { line, message } in warnings {
        let line = (line > 0).then_some(line);
        tracing::warn!(resource, file, line, "{message}");
        notice(line, message);
    }
}

/// Problems with their places in the configuration file.
fn places(problems: Vec<Problem>, files: &OperatorFiles) -> Vec<Diagnostic> {
    locate(problems, files.config_file().unwrap_or(Path::new("")))
}

fn names(files: &OperatorFiles) -> Vec<&'static str> {
    files.registry.names().into_iter().chain(files.config_file().map(|_| CONFIG)).collect()
}

/// A number that changes with the files.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        (file, stamp(file)).hash(&mut hasher);
    }
    hasher.finish()
}
