//! One link as it lies in the catalog's blob.
//!
//! ```text
//! offset  size  field (little endian; records start at multiples of 8)
//!      0     4  domain, number
//!      4     4  creator, fragment number (0: absent)
//!      8     4  tags, fragment number (0: absent)
//!     12     4  scripts, fragment number (0: absent)
//!     16     4  workspace, number
//!     20     2  status of the answer
//!     22     1  state          23  1  query forwarding
//!     24     2  length of the key (slashtag in normal form)
//!     26     2  length of the slashtag as written (0: the same as the key)
//!     28     2  length of the id
//!     30     2  length of createdAt (0: absent)
//!     32     4  length of the destination
//!     36     4  policy, number (0: absent)
//!     40        key, slashtag, id, createdAt, destination
//! ```

use bytes::Bytes;

use super::{Catalog, Domain};
use crate::link::{Forward, Policy};

const HEAD: usize = 40;
const STATE: usize = 22;
const ALIGN: usize = 8;

/// Whether a link is answered with its destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Active,
    /// Switched off: answered as if it did not exist.
    Disabled,
    /// Expired: answered with 410.
    Expired,
}

/// The fields of a record.
pub struct Parts<'a> {
    pub domain: u32,
    pub creator: u32,
    pub tags: u32,
    pub scripts: u32,
    pub workspace: u32,
    pub status: u16,
    pub state: State,
    pub forward: Forward,
    pub policy: u32,
    pub key: &'a [u8],
    pub slashtag: &'a str,
    pub id: &'a str,
    pub created_at: &'a str,
    pub destination: &'a str,
}

/// Appends a record. `None` when the blob is full (32 GiB) or a field is too long for its length.
pub fn append(blob: &mut Vec<u8>, parts: &Parts<'_>) -> Option<u32> {
    let slashtag = if parts.slashtag.as_bytes() == parts.key { "" } else { parts.slashtag };
    let short = |text: &[u8]| u16::try_from(text.len()).ok();
    let lengths = [
        short(parts.key)?,
        short(slashtag.as_bytes())?,
        short(parts.id.as_bytes())?,
        short(parts.created_at.as_bytes())?,
    ];
    let destination = u32::try_from(parts.destination.len()).ok()?;
    blob.resize(blob.len().next_multiple_of(ALIGN), 0);
    let offset = u32::try_from(blob.len() / ALIGN).ok()?;
    for number in [parts.domain, parts.creator, parts.tags, parts.scripts, parts.workspace] {
        blob.extend_from_slice(&number.to_le_bytes());
    }
    blob.extend_from_slice(&parts.status.to_le_bytes());
    blob.push(parts.state as u8);
    blob.push(parts.forward as u8);
    for length in lengths {
        blob.extend_from_slice(&length.to_le_bytes());
    }
    blob.extend_from_slice(&destination.to_le_bytes());
    blob.extend_from_slice(&parts.policy.to_le_bytes());
    for text in [parts.key, slashtag.as_bytes(), parts.id.as_bytes(), parts.created_at.as_bytes()] {
        blob.extend_from_slice(text);
    }
    blob.extend_from_slice(parts.destination.as_bytes());
    Some(offset)
}

/// Switches the link of the record at `offset` off.
pub fn disable(blob: &mut [u8], offset: u32) {
    blob[offset as usize * ALIGN + STATE] = State::Disabled as u8;
}

/// Domain number and slashtag in normal form of the record at `offset`.
pub fn key(blob: &[u8], offset: u32) -> (u32, &[u8]) {
    let record = &blob[offset as usize * ALIGN..];
    (u32_at(record, 0), &record[HEAD..HEAD + usize::from(u16_at(record, 24))])
}

/// A link of a catalog. Reading a field costs a few loads; nothing is copied, and texts are bytes where the redirect
/// only passes them on. All of them are UTF-8.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    catalog: &'a Catalog,
    start: usize,
    record: &'a [u8],
}

impl<'a> Link<'a> {
    pub(super) fn at(catalog: &'a Catalog, offset: u32) -> Self {
        let start = offset as usize * ALIGN;
        Self { catalog, start, record: &catalog.blob[start..] }
    }

    /// Its place in the blob.
    pub(super) fn offset(&self) -> u32 {
        (self.start / ALIGN) as u32
    }

    /// HTTP status of the answer: 301, 302, 303, 307 or 308.
    pub fn status(&self) -> u16 {
        u16_at(self.record, 20)
    }

    pub fn state(&self) -> State {
        match self.record[STATE] {
            0 => State::Active,
            1 => State::Disabled,
            _ => State::Expired,
        }
    }

    /// What happens to the query of the short link.
    pub fn forward(&self) -> Forward {
        match self.record[23] {
            0 => Forward::Off,
            1 => Forward::Incoming,
            2 => Forward::Destination,
            3 => Forward::Both,
            _ => Forward::Utm,
        }
    }

    /// What the link says beyond its destination; most say nothing.
    pub fn policy(&self) -> Option<&'a Policy> {
        match u32_at(self.record, 36) {
            0 => None,
            number => self.catalog.policies.get(number as usize - 1),
        }
    }

    /// The event's `route.slashtag`, as the catalog writes it.
    pub fn slashtag(&self) -> &'a [u8] {
        let key = self.length(24);
        match self.length(26) {
            0 => self.bytes(0, key),
            length => self.bytes(key, length),
        }
    }

    /// The event's `route.id`.
    pub fn id(&self) -> &'a [u8] {
        self.bytes(self.length(24) + self.length(26), self.length(28))
    }

    /// The event's `route.createdAt`; empty when the catalog has none.
    pub fn created_at(&self) -> &'a [u8] {
        self.bytes(self.length(24) + self.length(26) + self.length(28), self.length(30))
    }

    /// The destination as the catalog has it: an absolute URL in ASCII.
    pub fn destination(&self) -> &'a str {
        let (start, length) = self.destination_range();
        std::str::from_utf8(self.bytes(start, length)).unwrap_or_default()
    }

    /// The destination as a slice of the catalog's memory, to answer with.
    pub fn destination_bytes(&self) -> Bytes {
        let (start, length) = self.destination_range();
        let start = self.start + HEAD + start;
        self.catalog.blob.slice(start..start + length)
    }

    /// The event's `route.domain`.
    pub fn domain_json(&self) -> &'a str {
        &self.domain().json
    }

    /// The event's `route.creator`; empty if absent.
    pub fn creator_json(&self) -> &'a str {
        self.fragment(4)
    }

    /// The event's `route.tags`; empty if absent.
    pub fn tags_json(&self) -> &'a str {
        self.fragment(8)
    }

    /// The event's `route.scripts`; empty if absent.
    pub fn scripts_json(&self) -> &'a str {
        self.fragment(12)
    }

    /// Id of the workspace that owns the link; empty if absent.
    pub fn workspace(&self) -> &'a str {
        &self.catalog.workspaces[u32_at(self.record, 16) as usize]
    }

    /// The branded host.
    pub fn host(&self) -> &'a str {
        &self.domain().host
    }

    /// The domain that it belongs to.
    pub fn domain(&self) -> &'a Domain {
        &self.catalog.domains.all[u32_at(self.record, 0) as usize]
    }

    fn fragment(&self, at: usize) -> &'a str {
        &self.catalog.fragments[u32_at(self.record, at) as usize]
    }

    fn length(&self, at: usize) -> usize {
        usize::from(u16_at(self.record, at))
    }

    fn destination_range(&self) -> (usize, usize) {
        let start = self.length(24) + self.length(26) + self.length(28) + self.length(30);
        (start, u32_at(self.record, 32) as usize)
    }

    fn bytes(&self, start: usize, length: usize) -> &'a [u8] {
        &self.record[HEAD + start..HEAD + start + length]
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
