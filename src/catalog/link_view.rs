//! A link of a catalog, to read.

use bytes::Bytes;

use super::{
    Catalog, Domain,
    created::Created,
    json,
    record::{Flags, Profile, Record, State},
    snapshot::Snapshot,
    state_hash::ItemHash,
};
use crate::link::{Forward, Policy};

/// A link of a catalog. Its record is read once; texts are slices of the snapshot, bytes where the redirect only passes
/// them on. All of them are UTF-8.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    catalog: &'a Catalog,
    snapshot: &'a Snapshot,
    place: u64,
    record: Record<'a>,
    profile: Profile,
    domain: &'a Domain,
}

impl<'a> Link<'a> {
    pub(super) fn at(catalog: &'a Catalog, snapshot: &'a Snapshot, place: u64) -> Option<Self> {
        Self::of(catalog, snapshot, place, snapshot.record(place)?)
    }

    pub(super) fn of(catalog: &'a Catalog, snapshot: &'a Snapshot, place: u64, record: Record<'a>) -> Option<Self> {
        let profile = snapshot.profile(record.profile)?;
        let domain = catalog.domains.all.get(profile.domain as usize)?;
        Some(Self { catalog, snapshot, place, record, profile, domain })
    }

    /// Its place in its snapshot.
    pub(super) fn place(&self) -> u64 {
        self.place
    }

    pub(super) fn record(&self) -> &Record<'a> {
        &self.record
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// The text of its policy; empty without one.
    pub(super) fn policy_text(&self) -> &'a str {
        self.snapshot.policy_text(self.record.policy)
    }

    /// The hash of all that it says.
    pub fn hash(&self) -> ItemHash {
        self.snapshot.item_hash(&self.record, self.profile, self.host())
    }

    /// In the form of the catalog file. Compiled again, it gives the same link.
    pub fn to_json(&self) -> String {
        json::of(self).to_string()
    }

    /// HTTP status of the answer: 301, 302, 303, 307 or 308.
    pub fn status(&self) -> u16 {
        match self.profile.status {
            0 => self.domain.for_links.status.unwrap_or(302),
            status => status,
        }
    }

    pub fn state(&self) -> State {
        if self.record.flags.has(Flags::LOOPS) { State::Disabled } else { self.record.flags.state() }
    }

    /// What happens to the query of the short link.
    pub fn forward(&self) -> Forward {
        self.profile.forward.unwrap_or(self.catalog.forward)
    }

    /// What the link says beyond its destination; most say nothing.
    pub fn policy(&self) -> Option<&'a Policy> {
        match self.record.policy {
            0 => None,
            number => self.snapshot.policy(number),
        }
    }

    /// The event's `route.slashtag`, as the catalog writes it.
    pub fn slashtag(&self) -> &'a [u8] {
        self.record.slashtag
    }

    /// The event's `route.id`.
    pub fn id(&self) -> &'a [u8] {
        self.record.id
    }

    /// The event's `route.createdAt`; empty when the catalog has none.
    pub fn created_at(&self) -> Created<'a> {
        self.record.created
    }

    /// The destination as the catalog has it: an absolute URL in ASCII.
    pub fn destination(&self) -> &'a str {
        std::str::from_utf8(self.record.destination).unwrap_or_default()
    }

    /// The destination as a slice of the catalog's memory, to answer with.
    pub fn destination_bytes(&self) -> Bytes {
        self.snapshot.slice(self.record.destination)
    }

    /// The event's `route.domain`.
    pub fn domain_json(&self) -> &'a str {
        &self.domain.json
    }

    /// The event's `route.creator`; empty if absent.
    pub fn creator_json(&self) -> &'a [u8] {
        self.snapshot.text_bytes(self.profile.creator)
    }

    /// The event's `route.tags`; empty if absent.
    pub fn tags_json(&self) -> &'a [u8] {
        self.snapshot.text_bytes(self.profile.tags)
    }

    /// The event's `route.scripts`; empty if absent.
    pub fn scripts_json(&self) -> &'a [u8] {
        self.snapshot.text_bytes(self.profile.scripts)
    }

    /// Id of the workspace that owns the link; empty if absent.
    pub fn workspace(&self) -> &'a str {
        self.snapshot.text(self.profile.workspace)
    }

    /// The bytes of [`workspace`](Self::workspace).
    pub fn workspace_bytes(&self) -> &'a [u8] {
        self.snapshot.text_bytes(self.profile.workspace)
    }

    /// The branded host.
    pub fn host(&self) -> &'a str {
        &self.domain.host
    }

    /// The domain that it belongs to.
    pub fn domain(&self) -> &'a Domain {
        self.domain
    }
}
