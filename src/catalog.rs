//! Every link and domain this edge knows, as one immutable index behind an atomic swap.
//!
//! A [`Catalog`] is compiled from an NDJSON file (one branded link a line, [`source`]) and never changes. A reader
//! takes the current one with [`CatalogStore::load`], which takes no lock; a reload compiles a new one in the
//! background and swaps it in. A file that is broken, unfinished, or of a suspicious size ([`limits`]) is rejected, and
//! the current catalog stays active.
//!
//! Layout: all links lie one after the other in one blob ([`record`]); the index is a table of 4-byte offsets into
//! it, hashed over domain and slashtag. What many links share (domain, creator with workspace, tags, scripts) is
//! rendered to the event's JSON once and referred to by number. A destination is kept as the header value that the
//! redirect answers with: a slice of the blob, shared and never copied.
//!
//! A noun next to the flow: imports no stage.

pub mod compile;
pub mod entity;
pub mod limits;
pub mod metrics;
pub mod record;
pub mod source;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use ahash::RandomState;
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use hashbrown::{HashMap, HashTable};
use http::HeaderValue;

pub use compile::{Problem, Report, Warning};
use limits::{Excess, History};
pub use record::{Link, State};

use crate::{
    config,
    link::{
        Case,
        key::{self, Host},
    },
    runtime::{Class, Classified, clock},
};

/// An immutable set of links and domains.
pub struct Catalog {
    blob: Bytes,
    index: HashTable<u32>,
    domains: Vec<Domain>,
    domains_by_host: HashMap<Box<str>, u32, RandomState>,
    /// Whether any domain has a policy of HSTS.
    has_hsts: bool,
    /// Rendered JSON that links refer to by number; number 0 is empty.
    fragments: Vec<Box<str>>,
    workspaces: Vec<Box<str>>,
    hasher: RandomState,
}

/// A branded host.
pub struct Domain {
    host: Box<str>,
    /// The event's `route.domain`.
    json: Box<str>,
    case: Case,
    /// Value of `Strict-Transport-Security`, for answers over TLS.
    hsts: Option<HeaderValue>,
}

/// What a host and a path lead to.
pub enum Lookup<'a> {
    /// The host is not a branded domain.
    NotBranded,
    /// The domain has no such link.
    Unknown,
    Found(Link<'a>),
}

impl Catalog {
    /// A catalog without links.
    pub fn empty() -> Self {
        compile::Compiler::new(&config::Catalog::default()).finish().0
    }

    /// Looks a click up. `path` is the raw request path.
    ///
    /// # Errors
    /// When no link can have this path: see [`key::slashtag`]. Checked on branded domains only.
    pub fn find(&self, host: &Host, path: &[u8]) -> Result<Lookup<'_>, key::BadKey> {
        let Some(&domain) = self.domains_by_host.get(host.as_str()) else {
            return Ok(Lookup::NotBranded);
        };
        let mut slashtag = key::slashtag(path)?;
        if self.domains[domain as usize].case == Case::Insensitive {
            slashtag = key::fold_case(slashtag);
        }
        let hash = self.hasher.hash_one((domain, &*slashtag));
        let found = self.index.find(hash, |&offset| {
            let (its_domain, its_slashtag) = record::key(&self.blob, offset);
            its_domain == domain && its_slashtag == &*slashtag
        });
        Ok(found.map_or(Lookup::Unknown, |&offset| Lookup::Found(Link::at(self, offset))))
    }

    /// The value of `Strict-Transport-Security` for answers of this host over TLS. The host is asked for only if a
    /// domain has such a value.
    pub fn hsts(&self, host: impl FnOnce() -> Option<Host>) -> Option<&HeaderValue> {
        if !self.has_hsts {
            return None;
        }
        let domain = *self.domains_by_host.get(host()?.as_str())?;
        self.domains[domain as usize].hsts.as_ref()
    }

    /// Number of links.
    pub fn links(&self) -> usize {
        self.index.len()
    }

    /// Whether a link belongs to this workspace.
    pub fn has_workspace(&self, id: &str) -> bool {
        self.workspaces.iter().any(|workspace| &**workspace == id)
    }

    /// Number of domains.
    pub fn domains(&self) -> usize {
        self.domains.len()
    }

    /// The hosts of all domains.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|domain| &*domain.host)
    }

    /// Bytes in memory, without the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        let shared = |texts: &[Box<str>]| texts.iter().map(|text| text.len() + size_of::<Box<str>>()).sum::<usize>();
        self.blob.len()
            + self.index.allocation_size()
            + shared(&self.fragments)
            + shared(&self.workspaces)
            + self
                .domains
                .iter()
                .map(|domain| size_of::<Domain>() + domain.host.len() + domain.json.len())
                .sum::<usize>()
    }
}

/// Why a catalog file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read. Correct the path or the permissions.
    #[error("cannot read the catalog {file}: {source}")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
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
         than catalog.max_shrink_ratio = {allowed} allows; if the file is right, raise the ratio for this reload"
    )]
    Shrunk { file: String, largest: usize, new: usize, allowed: f64 },
    /// The new file has far more links than the current catalog.
    #[error(
        "the catalog {file} is rejected: it has {new} links where the current one has {current}, more than \
         catalog.max_growth_ratio = {allowed} allows; if the file is right, raise the ratio for this reload"
    )]
    Grown { file: String, current: usize, new: usize, allowed: f64 },
}

impl Classified for LoadError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::TooManyBadLines { .. } | Self::Truncated { .. } | Self::Shrunk { .. } | Self::Grown { .. } => {
                Class::Data
            }
        }
    }
}

/// The current catalog, and how to replace it.
pub struct CatalogStore {
    current: ArcSwap<Catalog>,
    config: ArcSwap<config::Catalog>,
    loaded_at_secs: AtomicU64,
    /// The sizes of earlier catalogs. Locked by reloads only.
    history: Mutex<History>,
}

impl CatalogStore {
    /// A store around a catalog that is already compiled.
    pub fn of(catalog: Catalog, config: &config::Catalog) -> Self {
        Self {
            current: ArcSwap::from_pointee(catalog),
            config: ArcSwap::from_pointee(config.clone()),
            loaded_at_secs: AtomicU64::new(clock::unix_secs()),
            history: Mutex::default(),
        }
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

    /// Takes another configuration from now on.
    pub fn configure(&self, config: &config::Catalog) {
        self.config.store(Arc::new(config.clone()));
    }

    /// Makes this the current catalog.
    pub fn publish(&self, new: Catalog) {
        self.publish_at(clock::monotonic(), new);
    }

    fn read_at(&self, now: Instant, config: &config::Catalog) -> Result<(Catalog, Report), LoadError> {
        let (catalog, report) = source::load_file(config)?;
        let (current, new) = (self.load().links(), catalog.links());
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.check(now, current, new, config).map_err(|excess| {
            let file = config.file.display().to_string();
            let (shrink, growth) = (config.max_shrink_ratio, config.max_growth_ratio);
            match excess {
                Excess::Shrunk { largest } => LoadError::Shrunk { file, largest, new, allowed: shrink },
                Excess::Grown { current } => LoadError::Grown { file, current, new, allowed: growth },
            }
        })?;
        Ok((catalog, report))
    }

    fn publish_at(&self, now: Instant, new: Catalog) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.add(now, self.load().links());
        self.current.store(Arc::new(new));
        self.loaded_at_secs.store(clock::unix_secs(), Ordering::Relaxed);
    }

    /// The names of the slashtag of a raw path: as the catalog writes it, if it has the link, and in normal form.
    ///
    /// # Errors
    /// When no link can have this path: see [`key::slashtag`].
    pub fn slashtag_names(&self, host: &Host, path: &[u8]) -> Result<[String; 2], key::BadKey> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut normal = key::slashtag(path)?;
        let policy = self.config.load().domains.get(host.as_str()).map(|domain| domain.case).unwrap_or_default();
        if policy == Case::Insensitive {
            normal = key::fold_case(normal);
        }
        let normal = text(&normal);
        let written = match self.load().find(host, path)? {
            Lookup::Found(link) => text(link.slashtag()),
            Lookup::NotBranded | Lookup::Unknown => normal.clone(),
        };
        Ok([written, normal])
    }

    /// The workspace that owns a link, by its domain and its slashtag as the catalog writes it.
    pub fn workspace_of(&self, domain: &str, slashtag: &str) -> Option<Box<str>> {
        let host = Host::parse(domain.as_bytes()).ok()?;
        match self.load().find(&host, slashtag.as_bytes()).ok()? {
            Lookup::Found(link) => Some(link.workspace().into()),
            Lookup::NotBranded | Lookup::Unknown => None,
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
