//! Every link and domain this edge knows, as one immutable value behind an atomic swap.
//!
//! ```text
//! NDJSON ─► source ─┬► compile ─► snapshot ─┐                   ┌─► look-ups
//! records ───────────┘                      │                   │
//! snapshot file ─► private copy, mapped ────┼─► Catalog (ArcSwap)┤
//! changes ─► change log ─► overlay ─────────┘                   └─► lists, hash, revision
//! ```
//! A [`Catalog`] is a [`Snapshot`] of links, the domains, and an [`Overlay`] of links that were changed since. It never
//! changes: a change or a reload makes another one, and [`CatalogStore`] swaps it in. A reader takes the current one
//! with [`CatalogStore::load`], which takes no lock, and sees all of a change or nothing of it. A file that is broken,
//! unfinished, or of a suspicious size ([`limits`]) is rejected, and the current catalog stays active.
//!
//! A destination is kept as the header value that the redirect answers with: a slice of the snapshot, shared and never
//! copied.
//!
//! A noun next to the flow: imports no stage.

pub mod build;
pub mod change;
mod change_log;
mod check;
pub mod compile;
mod created;
pub mod diff;
pub mod domain;
pub mod entity;
mod interned;
mod json;
pub mod limits;
mod link_view;
mod live;
pub mod loops;
pub mod metrics;
pub mod overlay;
mod packed;
mod policy;
mod record;
pub mod records;
pub mod snapshot;
pub mod sorter;
pub mod source;
pub mod state_hash;
mod store;
pub mod tokens;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use http::HeaderValue;
use smallvec::SmallVec;

pub use check::Damage;
pub use compile::{Problem, Report, Warning};
pub use domain::Domain;
use domain::Domains;
pub use link_view::Link;
use overlay::{Overlay, Slot};
pub use record::State;
pub use records::{BadRecord, CatalogBuilder, RecordsError};
use snapshot::{BadSnapshot, Snapshot};
pub use store::{ApplyError, CatalogStore, InstallError, LoadError, LocalChanges, Prepared};

use crate::{
    config,
    link::{
        Case, Forward, ForwardPath,
        key::{self, Host},
    },
};
use change::Position;

/// An immutable set of links and domains. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    base: Arc<Snapshot>,
    overlay: Overlay,
    domains: Arc<Domains>,
    position: Position,
    /// The last change of the log that was made again.
    applied: u64,
    /// Number of links.
    links: u64,
    /// What happens to the query where a link does not say.
    forward: Forward,
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
        let config = config::Catalog::default();
        Self::of(Arc::new(Snapshot::none()), Arc::default(), &config)
    }

    /// The links of a snapshot, and its domains.
    fn of(base: Arc<Snapshot>, domains: Arc<Domains>, config: &config::Catalog) -> Self {
        let (position, links) = (base.header().position, base.header().links);
        let forward = config.forward_parameters;
        Self { base, overlay: Overlay::default(), domains, position, applied: 0, links, forward }
    }

    /// The catalog of a snapshot.
    ///
    /// # Errors
    /// When a domain of it is invalid in this version of the program.
    pub fn open(snapshot: Snapshot, config: &config::Catalog) -> Result<Self, BadSnapshot> {
        let domains = snapshot.domains(config)?;
        Ok(Self::of(Arc::new(snapshot), Arc::new(domains), config))
    }

    /// The same without the links at these places of its snapshot, which lead back to themselves. For one that is not
    /// in use yet.
    fn without(self, places: &[u64], config: &config::Catalog) -> Result<Self, BadSnapshot> {
        let flags: Vec<u64> = places.iter().filter_map(|place| self.base.flags_place(*place)).collect();
        let Self { base, domains, .. } = self;
        let Some(base) = Arc::into_inner(base) else { return Err(BadSnapshot::Header) };
        let (bytes, header) = base.into_parts();
        let mut bytes = Vec::from(bytes);
        for place in flags {
            bytes[place as usize] |= record::Flags::LOOPS;
        }
        let snapshot = Snapshot::open(bytes.into(), header)?;
        Ok(Self::of(Arc::new(snapshot), domains, config))
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
        if !self.overlay.is_empty()
            && let Some(Slot { link, .. }) = self.overlay.get(domain, slashtag)
        {
            return Link::at(self, link.as_ref()?, 0);
        }
        let (place, record) = self.base.find_record(domain, slashtag)?;
        Link::of(self, &self.base, place, record)
    }

    /// The value of `Strict-Transport-Security` for answers of this host over TLS. The host is asked for only if a
    /// domain has such a value.
    pub fn hsts(&self, host: impl FnOnce() -> Option<Host>) -> Option<&HeaderValue> {
        if !self.domains.have_hsts() {
            return None;
        }
        let domain = self.domains.find(host()?.as_str())?;
        self.domains.all[domain as usize].hsts.as_ref()
    }

    /// The links that may have only so many clicks.
    pub fn limited(&self) -> impl Iterator<Item = Link<'_>> {
        let base = self.base.limited().filter_map(|place| self.base_link(place)).filter(|link| self.is_current(link));
        let changed = self.overlay.iter().filter_map(|(_, _, slot)| Link::at(self, slot.link.as_ref()?, 0));
        base.chain(changed.filter(|link| link.record().flags.has(record::Flags::IS_LIMITED)))
    }

    /// A link of the snapshot, whether or not it was changed since.
    fn base_link(&self, place: u64) -> Option<Link<'_>> {
        Link::at(self, &self.base, place)
    }

    /// All links of the snapshot, whether or not they were changed since.
    fn base_links(&self) -> impl Iterator<Item = Link<'_>> {
        self.base.places(self.base.all()).filter_map(|place| self.base_link(place))
    }

    /// Whether a link of the snapshot was not changed since.
    fn is_current(&self, link: &Link<'_>) -> bool {
        self.overlay.is_empty() || self.overlay.get(link.profile().domain, link.record().key).is_none()
    }

    /// All links.
    pub fn all_links(&self) -> impl Iterator<Item = Link<'_>> {
        let changed = self.overlay.iter().filter_map(|(_, _, slot)| Link::at(self, slot.link.as_ref()?, 0));
        self.base_links().filter(|link| self.is_current(link)).chain(changed)
    }

    /// Which state this is.
    pub fn position(&self) -> Position {
        self.position
    }

    fn set_revision(&mut self, revision: u64) {
        self.position.revision = revision;
        self.applied = revision;
    }

    /// Number of links that were changed, added or deleted since the snapshot.
    pub fn changed(&self) -> usize {
        self.overlay.len()
    }

    /// Number of links of the snapshot, those that were changed or deleted since among them.
    pub fn base_len(&self) -> usize {
        self.base.header().links as usize
    }

    /// Number of links.
    pub fn links(&self) -> usize {
        self.links as usize
    }

    /// Whether a link belongs to this workspace.
    pub fn has_workspace(&self, id: &str) -> bool {
        let mut changed = self.overlay.iter().filter_map(|(_, _, slot)| slot.link.as_ref());
        self.base.workspaces().any(|workspace| workspace == id)
            || changed.any(|link| link.workspaces().any(|workspace| workspace == id))
    }

    /// Number of domains.
    pub fn domains(&self) -> usize {
        self.domains.count()
    }

    /// The hosts of all domains, their aliases among them, without wildcards.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.domains.hosts()
    }

    /// Bytes in memory or mapped, without the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        let domains = self.domains.all.iter().map(|domain| domain.memory_bytes()).sum::<usize>();
        self.base.len() + self.overlay.memory_bytes() + domains
    }
}
