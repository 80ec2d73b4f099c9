//! All links and domains of a catalog as one run of bytes, in memory or mapped from a file.
//!
//! ```text
//! header      see [`header`]; only in files
//! records     links by domain, then by hash of the slashtag ([`super::record`])
//! buckets     where each bucket of records begins; 5 bytes each, and the end
//! profiles    what many links share; 24 bytes each
//! texts       rendered JSON and names, by number: the end of each, 8 bytes, and the texts behind
//! policies    likewise, JSON
//! domains     one JSON object a line ([`DomainLine`])
//! limited     places of the links that may have only so many clicks; 8 bytes each
//! workspaces  numbers of their texts; 4 bytes each
//! ```
//! Numbers are little endian. A domain has as many buckets as links, and the hash of a slashtag says which is its own
//! (SipHash-1-3 with a key of the snapshot, so that no one can choose slashtags that share a bucket). A look-up reads
//! where a bucket begins and ends, and then the one or two records between them, which lie side by side: two cache
//! misses, and 5 bytes a link. `bench/README.md` compares it with a perfect hash and other tables.
//!
//! Opening reads the domains, and nothing of the links: that of two million takes 6 ms (a test build). A policy is
//! parsed when its link is first asked for.

pub mod file;
pub mod header;
pub mod write;

use std::{hash::Hasher, hint::black_box, ops::Range};

use bytes::Bytes;
use once_cell::race::OnceBox;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::{
    domain::Domains,
    packed::{Reader, unpacked},
    policy,
    record::{self, Hashed, Profile, Record},
    state_hash::ItemHash,
};
use crate::{
    config,
    link::{Case, Policy},
};
use header::Header;

/// The size of the place of a bucket.
const PLACE: usize = 5;

/// A key of the hash that chooses buckets.
pub type HashKey = [u8; 16];

/// An immutable set of links, and the lines of their domains.
pub struct Snapshot {
    bytes: Bytes,
    header: Header,
    /// First bucket and number of buckets of each domain, by number.
    buckets: Vec<(u64, u64)>,
    /// By number, from 1.
    policies: Box<[OnceBox<Option<Policy>>]>,
}

/// A domain in a snapshot.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct DomainLine {
    pub host: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Its line in the catalog file, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<String>,
    /// By which slashtags were brought into normal form.
    pub case: Case,
    #[serde(rename = "pathDepth")]
    pub path_depth: u16,
    pub links: u64,
    pub buckets: u64,
}

/// Why bytes are no snapshot, or none of this version.
#[derive(Debug, thiserror::Error)]
pub enum BadSnapshot {
    #[error("it is no snapshot; `clickedge catalog build` makes one")]
    Foreign,
    #[error("it is of version {0}, and this build reads version {version}; build it again", version = header::VERSION)]
    Version(u32),
    #[error("its header is damaged; copy or build it again")]
    Header,
    #[error("it has {found} bytes of {expected}: it is truncated; copy it again")]
    Length { expected: u64, found: u64 },
    #[error("its checksum is wrong: it is damaged; copy or build it again")]
    Checksum,
    #[error("it is another snapshot than the current one")]
    Another,
    #[error("the domain {host:?} in it is invalid: {reason}; build it again with this version")]
    Domain { host: String, reason: String },
}

impl Snapshot {
    /// Opens a snapshot. Neither its checksum nor its records are read.
    ///
    /// # Errors
    /// When it is no snapshot, or damaged where that shows.
    pub(super) fn open(bytes: Bytes, header: Header) -> Result<Self, BadSnapshot> {
        if header.sections.iter().any(|section| section.end > bytes.len() as u64 || section.start > section.end) {
            return Err(BadSnapshot::Header);
        }
        let policies = header.policies.max(1) as usize;
        let mut snapshot =
            Self { bytes, header, buckets: Vec::new(), policies: (1..policies).map(|_| OnceBox::new()).collect() };
        let mut first = 0;
        let lines = snapshot.domain_lines().collect::<Result<Vec<_>, _>>()?;
        snapshot.buckets.reserve_exact(lines.len());
        for line in lines {
            snapshot.buckets.push((first, line.buckets));
            first += line.buckets;
        }
        Ok(snapshot)
    }

    /// A snapshot without links and domains.
    pub(super) fn none() -> Self {
        Self { bytes: Bytes::new(), header: Header::default(), buckets: Vec::new(), policies: Box::default() }
    }

    /// Counts and hashes.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes, in memory or mapped.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes again, to change them before they are in use.
    pub(super) fn into_parts(self) -> (Bytes, Header) {
        (self.bytes, self.header)
    }

    fn domain_lines(&self) -> impl Iterator<Item = Result<DomainLine, BadSnapshot>> {
        let lines = self.section(header::DOMAINS).split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|_| BadSnapshot::Header))
    }

    /// The domains, by number.
    ///
    /// # Errors
    /// When one is invalid in this version of the program.
    pub(super) fn domains(&self, config: &config::Catalog) -> Result<Domains, BadSnapshot> {
        let mut domains = Domains::default();
        for line in self.domain_lines() {
            let DomainLine { host, id, line, case, path_depth, .. } = line?;
            let number = match &line {
                Some(line) => domains.add(line, config),
                None => domains.of_link(&host, id.as_deref(), config),
            };
            let number = number.map_err(|reason| BadSnapshot::Domain { host, reason })?;
            let domain = domains.edit(number);
            (domain.case, domain.path_depth) = (case, path_depth);
        }
        Ok(domains)
    }

    /// Number of links of a domain.
    pub(super) fn links_of(&self, domain: u32) -> u64 {
        self.domain_lines().nth(domain as usize).and_then(Result::ok).map_or(0, |line| line.links)
    }

    /// Where the link of a domain and a slashtag in normal form begins.
    pub(super) fn find(&self, domain: u32, slashtag: &[u8]) -> Option<u64> {
        self.find_record(domain, slashtag).map(|(place, _)| place)
    }

    /// The link of a domain and a slashtag in normal form, and where it begins.
    pub(super) fn find_record(&self, domain: u32, slashtag: &[u8]) -> Option<(u64, Record<'_>)> {
        // One without links has no bucket, and at its place there is one of the next domain.
        let &(first, buckets) = self.buckets.get(domain as usize).filter(|(_, buckets)| *buckets > 0)?;
        let Range { start, end } = self.bucket(first + bucket(hash(&self.header.key, slashtag), buckets))?;
        let records = self.records().get(start as usize..end as usize)?;
        // Most links begin in one cache line and end in the next: both are loaded at once, not one after the other.
        black_box(records.get(64).copied());
        let mut reader = Reader(records);
        while !reader.0.is_empty() {
            let place = records.len() - reader.0.len();
            let (key, rest) = (reader.text()?, reader.text()?);
            if key == slashtag {
                return Some((start + place as u64, Record::of(key, rest)?));
            }
        }
        None
    }

    /// The hash of a slashtag, by which the links of a domain are sorted.
    pub(super) fn hash(&self, slashtag: &[u8]) -> u64 {
        hash(&self.header.key, slashtag)
    }

    /// Where the links of a domain begin whose hash is not below this one, and where the links of the domain end. Some
    /// with a smaller hash may come first.
    pub(super) fn links_from(&self, domain: u32, hash: u64) -> Range<u64> {
        let range = || {
            let &(first, buckets) = self.buckets.get(domain as usize)?;
            let end = self.bucket((first + buckets).checked_sub(1)?)?.end;
            Some(self.bucket(first + bucket(hash, buckets))?.start..end)
        };
        range().unwrap_or(0..0)
    }

    fn bucket(&self, number: u64) -> Option<Range<u64>> {
        let at = usize::try_from(number).ok()?.checked_mul(PLACE)?;
        let mut places = Reader(self.section(header::BUCKETS).get(at..)?);
        Some(unpacked(places.array::<PLACE>()?)..unpacked(places.array::<PLACE>()?))
    }

    fn records(&self) -> &[u8] {
        self.section(header::RECORDS)
    }

    /// The record at a place.
    pub(super) fn record(&self, place: u64) -> Option<Record<'_>> {
        Record::read(self.records().get(place as usize..)?)
    }

    /// The places of all records within these bounds, in their order.
    pub(super) fn places(&self, bounds: Range<u64>) -> impl Iterator<Item = u64> {
        let mut next = bounds.start;
        std::iter::from_fn(move || {
            let place = next;
            let (_, length) = extent(self.records().get(place as usize..bounds.end as usize)?)?;
            next += length as u64;
            Some(place)
        })
    }

    /// The bounds of all records.
    pub(super) fn all(&self) -> Range<u64> {
        0..self.records().len() as u64
    }

    /// Where the flags of a record lie.
    pub(super) fn flags_place(&self, place: u64) -> Option<u64> {
        let within = record::flags_at(self.records().get(place as usize..)?)?;
        Some(self.header.sections[header::RECORDS].start + place + within as u64)
    }

    /// A slice of memory that holds these bytes of it: nothing is copied.
    pub(super) fn slice(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.bytes.slice_ref(part) }
    }

    pub(super) fn profile(&self, number: u32) -> Option<Profile> {
        let at = number as usize * Profile::SIZE;
        self.section(header::PROFILES).get(at..)?.first_chunk().map(Profile::from_bytes)
    }

    /// A text by its number; empty where it is missing.
    pub(super) fn text(&self, number: u32) -> &str {
        std::str::from_utf8(self.text_bytes(number)).unwrap_or_default()
    }

    /// The bytes of a text.
    pub(super) fn text_bytes(&self, number: u32) -> &[u8] {
        numbered(self.section(header::TEXTS), self.header.texts, number)
    }

    /// The policy of a link as JSON; empty without one.
    pub(super) fn policy_text(&self, number: u32) -> &str {
        let text = numbered(self.section(header::POLICIES), self.header.policies, number);
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// The policy of a link by its number, from 1. The first who asks has it parsed.
    pub(super) fn policy(&self, number: u32) -> Option<&Policy> {
        let cell = self.policies.get((number as usize).checked_sub(1)?)?;
        let policy = cell.get_or_init(|| {
            let policy = policy::parse(self.policy_text(number));
            Box::new(policy.inspect_err(|reason| tracing::error!(reason, "a policy of the snapshot is invalid")).ok())
        });
        // What cannot be read must not open what it may have closed.
        Some(policy.as_ref().unwrap_or_else(|| NEVER.get_or_init(|| Box::new(never()))))
    }

    /// Places of the links that may have only so many clicks.
    pub(super) fn limited(&self) -> impl Iterator<Item = u64> {
        let (places, _) = self.section(header::LIMITED).as_chunks();
        places.iter().map(|place| u64::from_le_bytes(*place))
    }

    /// Ids of all workspaces that have links.
    pub(super) fn workspaces(&self) -> impl Iterator<Item = &str> {
        let (numbers, _) = self.section(header::WORKSPACES).as_chunks();
        numbers.iter().map(|number| self.text(u32::from_le_bytes(*number)))
    }

    /// The hash of a link, whose domain has this host.
    pub(super) fn item_hash(&self, record: &Record<'_>, profile: Profile, host: &str) -> ItemHash {
        Hashed {
            host,
            record,
            profile,
            creator: self.text(profile.creator),
            tags: self.text(profile.tags),
            scripts: self.text(profile.scripts),
            workspace: self.text(profile.workspace),
            policy: self.policy_text(record.policy),
        }
        .hash()
    }

    fn section(&self, which: usize) -> &[u8] {
        let Range { start, end } = &self.header.sections[which];
        self.bytes.get(*start as usize..*end as usize).unwrap_or_default()
    }
}

static NEVER: OnceBox<Policy> = OnceBox::new();

fn never() -> Policy {
    Policy { active_until: Some(0), ..Policy::default() }
}

/// Key and length of the record at the beginning of `bytes`.
fn extent(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let mut reader = Reader(bytes);
    let key = reader.text()?;
    reader.text()?;
    Some((key, bytes.len() - reader.0.len()))
}

fn numbered(section: &[u8], count: u64, number: u32) -> &[u8] {
    let text = || {
        let ends = (count as usize).checked_mul(8)?;
        let end = |number: usize| {
            let at = number.checked_mul(8)?;
            section.get(at..ends)?.first_chunk().map(|end| u64::from_le_bytes(*end) as usize)
        };
        let start = if number == 0 { 0 } else { end(number as usize - 1)? };
        section.get(ends..)?.get(start..end(number as usize)?)
    };
    text().unwrap_or_default()
}

/// The hash of a slashtag.
pub(super) fn hash(key: &HashKey, slashtag: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(slashtag);
    hasher.finish()
}

/// Which of `buckets` a hash belongs to. Ascends with the hash.
pub(super) fn bucket(hash: u64, buckets: u64) -> u64 {
    ((u128::from(hash) * u128::from(buckets)) >> 64) as u64
}
