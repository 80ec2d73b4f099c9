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

pub mod change;
pub mod compile;
pub mod domain;
pub mod entity;
pub mod limits;
pub mod loops;
pub mod metrics;
mod policy;
pub mod record;
pub mod source;
pub mod state_hash;
pub mod tokens;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
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
use hashbrown::HashTable;
use http::HeaderValue;
use smallvec::SmallVec;

pub use compile::{Problem, Report, Warning};
pub use domain::Domain;
use domain::Domains;
use limits::{Excess, History};
pub use record::{Link, State};

use crate::{
    config,
    link::{
        Case, ForwardPath, Policy,
        key::{self, Host},
    },
    runtime::{Class, Classified, clock},
};

/// An immutable set of links and domains.
pub struct Catalog {
    blob: Bytes,
    index: HashTable<u32>,
    domains: Domains,
    policies: Vec<Policy>,
    /// The links that may have only so many clicks.
    limited: Vec<u32>,
    /// Whether any domain has a policy of HSTS.
    has_hsts: bool,
    /// Rendered JSON that links refer to by number; number 0 is empty.
    fragments: Vec<Box<str>>,
    workspaces: Vec<Box<str>>,
    hasher: RandomState,
}

/// What a host and a path lead to.
pub enum Lookup<'a, 'p> {
    /// The host is not a branded domain.
    NotBranded,
    /// The domain has no such link.
    Unknown(&'a Domain),
    /// A link, and what the path has behind its slashtag; empty for most.
    Found(Link<'a>, &'p [u8]),
    /// A link, whose address is asked for with the domain's suffix for previews.
    Preview(Link<'a>),
}

impl Catalog {
    /// A catalog without links.
    pub fn empty() -> Self {
        compile::Compiler::new(&config::Catalog::default()).finish().0
    }

    /// Looks a click up. `path` is the raw request path.
    ///
    /// # Errors
    /// When no link can have this path: see [`key::slashtag`]. Checked on branded domains only. A path that is too long
    /// is that of an unknown link.
    pub fn find<'p>(&self, host: &Host, path: &'p [u8]) -> Result<Lookup<'_, 'p>, key::BadKey> {
        let Some(number) = self.domains.find(host.as_str()) else {
            return Ok(Lookup::NotBranded);
        };
        let domain = &self.domains.all[number as usize];
        let slashtag = match Self::slashtag(domain, path) {
            Err(key::BadKey::TooLong) => {
                return Ok(self.above(number, domain, path).unwrap_or(Lookup::Unknown(domain)));
            }
            slashtag => slashtag?,
        };
        if let Some(link) = self.link(number, &slashtag) {
            return Ok(Lookup::Found(link, b""));
        }
        Ok(self.find_otherwise(number, path, &slashtag))
    }

    /// What a path means that is no slashtag.
    #[cold]
    fn find_otherwise<'p>(&self, number: u32, path: &'p [u8], slashtag: &[u8]) -> Lookup<'_, 'p> {
        let domain = &self.domains.all[number as usize];
        if let Some(found) = self.above(number, domain, path) {
            return found;
        }
        let Some(policy) = domain.policy() else { return Lookup::Unknown(domain) };
        if let Some(suffix) = &policy.preview_suffix
            && let Some(link) = slashtag.strip_suffix(suffix.as_bytes()).and_then(|tag| self.link(number, tag))
        {
            return Lookup::Preview(link);
        }
        if policy.trim_punctuation
            && let Some(link) = key::without_punctuation(slashtag).and_then(|tag| self.link(number, tag))
        {
            return Lookup::Found(link, b"");
        }
        Lookup::Unknown(domain)
    }

    /// The link with the longest slashtag above a path, of those that forward a path.
    fn above<'p>(&self, number: u32, domain: &Domain, path: &'p [u8]) -> Option<Lookup<'_, 'p>> {
        if domain.path_depth == 0 {
            return None;
        }
        let inner = path.strip_prefix(b"/").unwrap_or(path);
        let slashes = memchr::memchr_iter(b'/', inner).take(usize::from(domain.path_depth));
        let slashes = slashes.collect::<SmallVec<[_; 16]>>();
        let parts = slashes.into_iter().rev().map(|at| (&inner[..at], &inner[at + 1..]));
        // Last the link of the domain itself.
        parts.chain([(&b""[..], inner)]).find_map(|(slashtag, rest)| {
            let link = self.link(number, &Self::slashtag(domain, slashtag).ok()?)?;
            match link.policy()?.forward_path {
                ForwardPath::Reject => None,
                ForwardPath::Append => Some(Lookup::Found(link, rest)),
                ForwardPath::Ignore => Some(Lookup::Found(link, b"")),
            }
        })
    }

    fn slashtag<'p>(domain: &Domain, path: &'p [u8]) -> Result<Cow<'p, [u8]>, key::BadKey> {
        let slashtag = key::slashtag(path)?;
        Ok(if domain.case == Case::Insensitive { key::fold_case(slashtag) } else { slashtag })
    }

    fn link(&self, domain: u32, slashtag: &[u8]) -> Option<Link<'_>> {
        let hash = self.hasher.hash_one((domain, slashtag));
        let found = self.index.find(hash, |&offset| record::key(&self.blob, offset) == (domain, slashtag));
        found.map(|&offset| Link::at(self, offset))
    }

    /// The value of `Strict-Transport-Security` for answers of this host over TLS. The host is asked for only if a
    /// domain has such a value.
    pub fn hsts(&self, host: impl FnOnce() -> Option<Host>) -> Option<&HeaderValue> {
        if !self.has_hsts {
            return None;
        }
        let domain = self.domains.find(host()?.as_str())?;
        self.domains.all[domain as usize].hsts.as_ref()
    }

    /// The links that may have only so many clicks.
    pub fn limited(&self) -> impl Iterator<Item = Link<'_>> {
        self.limited.iter().map(|offset| Link::at(self, *offset))
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
        self.domains.all.len()
    }

    /// The hosts of all domains, their aliases among them, without wildcards.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.domains.hosts()
    }

    /// Bytes in memory, without the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        let shared = |texts: &[Box<str>]| texts.iter().map(|text| text.len() + size_of::<Box<str>>()).sum::<usize>();
        self.blob.len()
            + self.index.allocation_size()
            + shared(&self.fragments)
            + shared(&self.workspaces)
            + self.domains.all.iter().map(Domain::memory_bytes).sum::<usize>()
            + self.policies.len() * size_of::<Policy>()
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
