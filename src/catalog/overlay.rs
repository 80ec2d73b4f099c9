//! Changed and deleted links, over the links of a snapshot.
//!
//! A persistent map: a change makes a new one, which shares all but a few nodes with the one before, so that requests
//! go on with theirs. A changed link lies in a snapshot of its own.

use std::sync::Arc;

use ahash::RandomState;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use smallvec::SmallVec;

use super::snapshot::Snapshot;

/// Changes of links.
#[derive(Clone)]
pub struct Overlay {
    links: HashTrieMapSync<Key, Slot, RandomState>,
    /// Their keys by domain and hash of the slashtag, in the order of lists.
    order: RedBlackTreeMapSync<(u32, u64), Key>,
    /// Bytes of the changed links.
    bytes: usize,
}

/// Number of the domain, and slashtag in normal form.
type Key = SmallVec<[u8; 32]>;

/// What became of a link.
#[derive(Clone)]
pub struct Slot {
    /// The number of its last change.
    pub revision: u64,
    /// The link at the beginning of a snapshot; `None` once it is deleted.
    pub link: Option<Arc<Snapshot>>,
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            links: HashTrieMapSync::new_with_hasher_and_ptr_kind(RandomState::new()),
            order: RedBlackTreeMapSync::default(),
            bytes: 0,
        }
    }
}

impl Overlay {
    /// Whether no link has changed.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Links that were changed, added or deleted.
    pub fn len(&self) -> usize {
        self.links.size()
    }

    /// What became of a link; `None` if it has not changed.
    pub fn get(&self, domain: u32, slashtag: &[u8]) -> Option<&Slot> {
        self.links.get(&key(domain, slashtag))
    }

    /// Changes a link, whose slashtag has this hash.
    pub fn set(&mut self, domain: u32, (slashtag, hash): (&[u8], u64), slot: Slot) {
        let key = key(domain, slashtag);
        let before = self.links.get(&key).map_or(0, Slot::bytes);
        self.bytes = self.bytes + slot.bytes() - before;
        self.order.insert_mut((domain, hash), key.clone());
        self.links.insert_mut(key, slot);
    }

    /// The changed links of a domain whose hash is at least `from`, in the order of their hashes.
    pub fn of_domain(&self, domain: u32, from: u64) -> impl Iterator<Item = (u64, &[u8], &Slot)> {
        let keys = self.order.range((domain, from)..=(domain, u64::MAX));
        keys.filter_map(|((_, hash), key)| Some((*hash, &key[4..], self.links.get(key)?)))
    }

    /// All changed links: the number of their domain, their slashtag in normal form, and what became of them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8], &Slot)> {
        self.links.iter().map(|(key, slot)| {
            let (domain, slashtag) = key.split_at(4);
            (u32::from_le_bytes([domain[0], domain[1], domain[2], domain[3]]), slashtag, slot)
        })
    }

    /// Bytes of memory, roughly.
    pub fn memory_bytes(&self) -> usize {
        self.bytes + 200 * self.len()
    }
}

impl Slot {
    fn bytes(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.len() + size_of::<Snapshot>())
    }
}

fn key(domain: u32, slashtag: &[u8]) -> Key {
    let mut key = Key::from_slice(&domain.to_le_bytes());
    key.extend_from_slice(slashtag);
    key
}
