//! Every link and domain this edge knows, as one immutable index behind an atomic swap.
//!
//! A [`Catalog`] is compiled from an NDJSON file (one branded link a line, [`source`]) and never changes. A reader
//! takes the current one with [`CatalogStore::load`], which takes no lock; a reload compiles a new one in the
//! background and swaps it in, or keeps the old one and says why.
//!
//! Layout: all links lie one after the other in one blob ([`record`]); the index is a table of 4-byte offsets into
//! it, hashed over domain and slashtag. What many links share (domain, creator with workspace, tags, scripts) is
//! rendered to the event's JSON once and referred to by number. A destination is kept as the header value that the
//! redirect answers with: a slice of the blob, shared and never copied.
//!
//! The catalog stands beside the flow and imports no stage.

pub mod compile;
pub mod entity;
pub mod metrics;
pub mod record;
pub mod source;

#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ahash::RandomState;
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use hashbrown::{HashMap, HashTable};

pub use compile::{Problem, Report};
pub use record::{Link, State};

use crate::{
    config,
    link::{
        Case,
        key::{self, Host},
    },
    runtime::clock,
};

/// An immutable set of links and domains.
pub struct Catalog {
    blob: Bytes,
    index: HashTable<u32>,
    domains: Vec<Domain>,
    domains_by_host: HashMap<Box<str>, u32, RandomState>,
    /// Rendered JSON that links refer to by number; number 0 stands for none.
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
}

/// What a host and a path lead to.
pub enum Lookup<'a> {
    /// The host is no branded domain.
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
    /// When the path can be no link's: see [`key::slashtag`]. Asked only on a branded domain.
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

    /// Bytes in memory, without the allocator's own.
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

/// Why a catalog file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read. Mend the path or the permissions.
    #[error("cannot read the catalog {file}: {source}")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
    },
    /// Too many lines are bad: a half-written or foreign file.
    #[error(
        "the catalog {file} is refused: {bad} of {lines} lines are bad, more than max_bad_ratio = {allowed} allows{first}"
    )]
    TooManyBadLines { file: String, bad: u64, lines: u64, allowed: f64, first: String },
    /// The new file has far fewer links than the catalog in service.
    #[error(
        "the catalog {file} is refused: it has {new} links where {old} are in service, more than \
         max_shrink_ratio = {allowed} lets it shrink; restart to load it all the same"
    )]
    Shrunk { file: String, old: usize, new: usize, allowed: f64 },
}

/// The catalog in service, and the way to put another in its place.
pub struct CatalogStore {
    current: ArcSwap<Catalog>,
    config: config::Catalog,
    loaded_at_secs: AtomicU64,
}

impl CatalogStore {
    /// A store around a catalog that is already compiled.
    pub fn of(catalog: Catalog, config: &config::Catalog) -> Self {
        Self {
            current: ArcSwap::from_pointee(catalog),
            config: config.clone(),
            loaded_at_secs: AtomicU64::new(clock::unix_secs()),
        }
    }

    /// Reads and compiles the file, and compares it with the current catalog. Changes nothing.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn read(&self) -> Result<(Catalog, Report), LoadError> {
        let (new, report) = source::load_file(&self.config)?;
        let old = self.load().links();
        let allowed = self.config.max_shrink_ratio;
        if (new.links() as f64) < old as f64 * (1.0 - allowed) {
            let file = self.config.file.display().to_string();
            return Err(LoadError::Shrunk { file, old, new: new.links(), allowed });
        }
        Ok((new, report))
    }

    /// Makes another catalog the current one.
    pub fn publish(&self, catalog: Catalog) {
        self.current.store(Arc::new(catalog));
        self.loaded_at_secs.store(clock::unix_secs(), Ordering::Relaxed);
    }

    /// The names that the slashtag of a raw path has: as the catalog writes it, if it has the link, and in normal form.
    ///
    /// # Errors
    /// When the path can be no link's: see [`key::slashtag`].
    pub fn slashtag_names(&self, host: &Host, path: &[u8]) -> Result<[String; 2], key::BadKey> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut normal = key::slashtag(path)?;
        let policy = self.config.domains.get(host.as_str()).map(|domain| domain.case).unwrap_or_default();
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

    /// Whose a link is, by its domain and its slashtag as the catalog writes it.
    pub fn workspace_of(&self, domain: &str, slashtag: &str) -> Option<Box<str>> {
        let host = Host::parse(domain.as_bytes()).ok()?;
        match self.load().find(&host, slashtag.as_bytes()).ok()? {
            Lookup::Found(link) => Some(link.workspace().into()),
            Lookup::NotBranded | Lookup::Unknown => None,
        }
    }

    /// The catalog in service. Hold it for one request, not across an await.
    pub fn load(&self) -> Guard<Arc<Catalog>> {
        self.current.load()
    }

    /// When the catalog in service was loaded, in seconds since the Unix epoch.
    pub fn loaded_at_secs(&self) -> u64 {
        self.loaded_at_secs.load(Ordering::Relaxed)
    }

    /// The file that is loaded.
    pub fn file(&self) -> &Path {
        &self.config.file
    }
}
