//! The current catalog, and how it is replaced.

mod changes;
mod health;
mod local;
mod show;

pub use changes::{ApplyError, InstallError, Prepared};
pub use local::LocalChanges;

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use super::{
    Catalog, Lookup, Report,
    change_log::{ChangeLog, Identity, Logged},
    limits::{Excess, History},
    snapshot::{
        file::{self, FileError, FileId, PRIVATE},
        header::Header,
    },
    source,
};
use crate::{
    config,
    link::key::{self, Host},
    runtime::{Class, Classified, clock},
};

/// Why a catalog file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read. Correct the path or the permissions.
    #[error("cannot read the catalog {file}: {source}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    /// Too many lines are bad: a half-written or foreign file.
    #[error(
        "the catalog {file} is rejected: {bad} of {lines} lines are bad, more than catalog.max_bad_ratio = {allowed} \
         allows{first}"
    )]
    TooManyBadLines { file: String, bad: u64, lines: u64, allowed: f64, first: String },
    /// The file is cut: it is still being written, or was not written to its end.
    #[error(
        "the catalog {file} is rejected as truncated: line {line}, the last one, ends within a link or an array; write \
         the whole file next to it, then rename it"
    )]
    Truncated { file: String, line: u64 },
    /// The new file has far fewer links than the largest catalog of the last day.
    #[error(
        "the catalog {file} is rejected: it has {new} links where the largest of the last 24 hours had {largest}, less \
         than catalog.max_shrink_ratio = {allowed} allows; if the file is right, take it with `clickedge reload --accept`, or raise the ratio"
    )]
    Shrunk { file: String, largest: usize, new: usize, allowed: f64 },
    /// The file is a snapshot, and is rejected.
    #[error(transparent)]
    Snapshot(#[from] FileError),
    /// The file is a snapshot that was made before the current one.
    #[error(
        "the catalog {file} is rejected: its generation is {new}, and that of the current one {old}; build a newer one, or \
         go back with `clickedge reload --accept`"
    )]
    Older { file: String, new: u64, old: u64 },
    /// The new file has far more links than the current catalog.
    #[error(
        "the catalog {file} is rejected: it has {new} links where the current one has {current}, more than \
         catalog.max_growth_ratio = {allowed} allows; if the file is right, take it with `clickedge reload --accept`, or raise the ratio"
    )]
    Grown { file: String, current: usize, new: usize, allowed: f64 },
    /// The file lacks changes of the API that a former snapshot contained.
    #[error(
        "the catalog {file} is rejected: it lacks changes of the API, up to number {folded}, that the current snapshot \
         contains; build it with {current} as another input, or go without these changes with `clickedge reload --accept`"
    )]
    Lacks { file: String, folded: u64, current: String },
    /// The changes of the API cannot be made again on the file.
    #[error(
        "the catalog {file} is rejected: the change log in catalog.state_dir cannot be read, so that the changes of the API \
         would be lost: {source}; restart the edge when the log can be read"
    )]
    Changes {
        file: String,
        #[source]
        source: io::Error,
    },
}

impl Classified for LoadError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } | Self::Changes { source, .. } => Class::of_read(source),
            Self::Snapshot(error) => error.class(),
            Self::TooManyBadLines { .. }
            | Self::Truncated { .. }
            | Self::Shrunk { .. }
            | Self::Lacks { .. }
            | Self::Older { .. }
            | Self::Grown { .. } => Class::Data,
        }
    }
}

/// The current catalog, and how to replace it.
pub struct CatalogStore {
    pub(super) current: ArcSwap<Catalog>,
    pub(super) config: ArcSwap<config::Catalog>,
    loaded_at_secs: AtomicU64,
    /// Locked by anyone who replaces the catalog.
    pub(super) turn: Mutex<Turn>,
    /// Whether the next catalog is taken whatever its size and generation.
    accept: AtomicBool,
    /// Gets each catalog that may have other links with a limit of clicks.
    pub(super) on_limits: OnceLock<OnLimits>,
    /// The private copy that is damaged.
    damaged: ArcSwapOption<FileId>,
}

/// The changes that a catalog contains: those of a log up to a number.
#[derive(Clone, Copy, Default)]
struct Contained {
    log: Identity,
    revision: u64,
}

type OnLimits = Box<dyn Fn(&Catalog) + Send + Sync>;

/// What the one needs who replaces the catalog.
#[derive(Default)]
pub(super) struct Turn {
    /// The sizes of earlier catalogs.
    history: History,
    /// Where changes are kept, once changes can be made.
    pub log: Option<ChangeLog>,
}

impl CatalogStore {
    /// A store around a catalog that is already compiled.
    pub fn of(catalog: Catalog, config: &config::Catalog) -> Self {
        Self {
            current: ArcSwap::from_pointee(catalog),
            config: ArcSwap::from_pointee(config.clone()),
            loaded_at_secs: AtomicU64::new(clock::unix_secs()),
            turn: Mutex::default(),
            accept: AtomicBool::new(false),
            on_limits: OnceLock::new(),
            damaged: ArcSwapOption::empty(),
        }
    }

    pub(super) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the file again, and checks its size against the current catalog and those of the last day.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn read(&self) -> Result<(Catalog, Report), LoadError> {
        self.read_with(&self.config.load())
    }

    /// Like [`read`](Self::read), as configured here.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn read_with(&self, config: &config::Catalog) -> Result<(Catalog, Report), LoadError> {
        self.read_at(clock::monotonic(), config)
    }

    /// Takes catalogs of any size and generation from now on, or no longer: an operator has said that the file is
    /// right.
    pub fn set_accept(&self, accept: bool) {
        self.accept.store(accept, Ordering::Relaxed);
    }

    /// Takes another configuration from now on.
    pub fn configure(&self, config: &config::Catalog) {
        self.config.store(Arc::new(config.clone()));
    }

    /// Makes this the current catalog: every look-up from now on sees it, and those under way keep the former one. No
    /// redirect waits, and the size is not checked. Changes of the log in `catalog.state_dir` that it does not contain
    /// are made to it; without that folder, changes that were made since the former one are dropped with it. If the log
    /// cannot be read any more, the former one stays, and an error is logged.
    ///
    /// Waits for others who replace or change the catalog, and frees the former one: call it from a thread that may
    /// wait.
    pub fn publish(&self, new: Catalog) {
        self.publish_at(clock::monotonic(), new);
        self.limits_have_changed();
    }

    pub(super) fn read_at(&self, now: Instant, config: &config::Catalog) -> Result<(Catalog, Report), LoadError> {
        let is_accepted = self.accept.load(Ordering::Relaxed);
        let path = config.source();
        // Before it replaces the private copy. What is no file can be read only once.
        let header = path.is_file().then(|| file::header(&path).ok()).flatten();
        if let Some(header) = header.as_ref().filter(|_| !is_accepted) {
            self.check_header(now, header, config)?;
        }
        let (catalog, report) = source::load_file_unless(config, self.damaged_file(), self.is_start())?;
        let changed = self.with_changes(catalog.clone(), config);
        let new = changed.map_err(|source| LoadError::Changes { file: name(config), source })?.links();
        if is_accepted || header.is_some() {
            return Ok((catalog, report));
        }
        self.check_changes(Contained::default(), config)?;
        self.check_links(now, new, config)?;
        Ok((catalog, report))
    }

    /// Checks a snapshot by its header against the current catalog.
    fn check_header(&self, now: Instant, header: &Header, config: &config::Catalog) -> Result<(), LoadError> {
        let current = Guard::into_inner(self.load());
        let (new, old) = (header.position.generation, current.base.header().position.generation);
        if new < old {
            return Err(LoadError::Older { file: name(config), new, old });
        }
        let contained = Contained { log: header.log, revision: header.position.revision };
        let has_all = self.check_changes(contained, config)?;
        let changed = if has_all { 0 } else { current.links() as i64 - current.base_len() as i64 };
        let links = usize::try_from(header.links as i64 + changed).unwrap_or_default();
        self.check_links(now, links, config)
    }

    /// Checks that a catalog has the changes that are no longer in the log. Returns whether it has those of the log as
    /// well.
    fn check_changes(&self, contained: Contained, config: &config::Catalog) -> Result<bool, LoadError> {
        let logged = self.turn().log.as_ref().map(ChangeLog::read).transpose();
        let logged = logged.map_err(|source| LoadError::Changes { file: name(config), source })?.unwrap_or_default();
        let is_numbered = config.fleet.is_some() || contained.log == logged.identity;
        let revision = if is_numbered { contained.revision } else { 0 };
        if config.fleet.is_none() && revision < logged.folded {
            let current = config.state_dir.as_deref().unwrap_or(Path::new("")).join(PRIVATE).display().to_string();
            return Err(LoadError::Lacks { file: name(config), folded: logged.folded, current });
        }
        Ok(revision >= logged.revision)
    }

    fn check_links(&self, now: Instant, new: usize, config: &config::Catalog) -> Result<(), LoadError> {
        self.check_size(now, new, config).map_err(|excess| {
            let (file, shrink, growth) = (name(config), config.max_shrink_ratio, config.max_growth_ratio);
            match excess {
                Excess::Shrunk { largest } => LoadError::Shrunk { file, largest, new, allowed: shrink },
                Excess::Grown { current } => LoadError::Grown { file, current, new, allowed: growth },
            }
        })
    }

    /// What a catalog becomes with the changes of the log, once that is open.
    fn with_changes(&self, mut catalog: Catalog, config: &config::Catalog) -> io::Result<Catalog> {
        if let Some(logged) = self.turn().log.as_ref().map(ChangeLog::read).transpose()? {
            catalog.make_again(&logged, config);
        }
        Ok(catalog)
    }

    /// Whether nothing was loaded yet.
    fn is_start(&self) -> bool {
        self.load().base.is_empty() && self.load().overlay.is_empty() && self.turn().log.is_none()
    }

    /// Checks the number of links of another catalog.
    pub(super) fn check_size(&self, now: Instant, new: usize, config: &config::Catalog) -> Result<(), Excess> {
        self.turn().history.check(now, self.load().links(), new, config)
    }

    pub(super) fn publish_at(&self, now: Instant, new: Catalog) {
        if let Err(error) = self.publish_in(&mut self.turn(), now, new) {
            let remedy = "restart the edge when the change log in catalog.state_dir can be read";
            tracing::error!(%error, remedy, "the change log cannot be read; the former catalog stays active");
        }
    }

    /// Fails when the change log cannot be read. Nothing has changed then.
    pub(super) fn publish_in(&self, turn: &mut Turn, now: Instant, mut new: Catalog) -> io::Result<()> {
        let mut logged = turn.log.as_ref().map_or_else(|| Ok(Logged::default()), ChangeLog::read)?;
        let config = self.config.load();
        let contained = new.contained(logged.identity, &config);
        new.make_again(&logged, &config);
        logged.entries.retain(|entry| entry.revision > contained);
        let is_lacking = new.lacks(&logged, &config);
        if let Some(log) = turn.log.as_mut().filter(|log| logged.entries.len() < log.len() || is_lacking)
            && let Err(error) = log.fold(&logged.entries, logged.revision.max(contained), contained)
        {
            tracing::warn!(%error, "the change log keeps changes that the snapshot contains");
        }
        turn.history.add(now, self.load().links());
        self.current.store(Arc::new(new));
        self.loaded_at_secs.store(clock::unix_secs(), Ordering::Relaxed);
        Ok(())
    }

    /// The names of the slashtag of a raw path: as the catalog writes it, if it has the link, and in normal form.
    ///
    /// # Errors
    /// When no link can have this path: see [`key::slashtag`].
    pub fn slashtag_names(&self, host: &Host, path: &[u8]) -> Result<[String; 2], key::BadKey> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let catalog = self.load();
        let normal = match catalog.domains.find(host.as_str()) {
            Some(number) => Catalog::slashtag(&catalog.domains.all[number as usize], path)?,
            None => key::slashtag(path)?,
        };
        let normal = text(&normal);
        let written = match catalog.find(host, path)? {
            Lookup::Found(link, _) | Lookup::Preview(link) => text(link.slashtag()),
            Lookup::NotBranded | Lookup::Unknown(_) => normal.clone(),
        };
        Ok([written, normal])
    }

    /// The name of the domain that a host leads to, if it is one of the catalog: that of its events and counts.
    pub fn domain_of(&self, host: &Host) -> Option<Box<str>> {
        let catalog = self.load();
        catalog.domains.find(host.as_str()).map(|number| catalog.domains.all[number as usize].host.clone())
    }

    /// The workspace that owns a link, by its domain and its slashtag as the catalog writes it.
    pub fn workspace_of(&self, domain: &str, slashtag: &str) -> Option<Box<str>> {
        let host = Host::parse(domain.as_bytes()).ok()?;
        match self.load().find(&host, slashtag.as_bytes()).ok()? {
            Lookup::Found(link, _) => Some(link.workspace().into()),
            Lookup::NotBranded | Lookup::Unknown(_) | Lookup::Preview(_) => None,
        }
    }

    /// The current catalog. Hold it for one request, not across an await.
    pub fn load(&self) -> Guard<Arc<Catalog>> {
        self.current.load()
    }

    /// Returns the hosts of all domains, once for each catalog.
    pub fn new_hosts(self: Arc<Self>) -> impl FnMut() -> Option<BTreeSet<Box<str>>> + Send {
        let mut seen = Weak::new();
        move || {
            let current = self.load();
            // As long as it is referred to, no other catalog is at its place.
            let is_new = !std::ptr::eq(seen.as_ptr(), Arc::as_ptr(&current));
            is_new.then(|| {
                seen = Arc::downgrade(&current);
                current.hosts().map(Into::into).collect()
            })
        }
    }

    /// When the current catalog was loaded, in seconds since the Unix epoch.
    pub fn loaded_at_secs(&self) -> u64 {
        self.loaded_at_secs.load(Ordering::Relaxed)
    }
}

fn name(config: &config::Catalog) -> String {
    config.source().display().to_string()
}
