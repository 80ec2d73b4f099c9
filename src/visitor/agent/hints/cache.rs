//! A cache of overlaid facts: parsing the hints of every click would cost more than everything else about the agent.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use ahash::RandomState;
use hashbrown::{Equivalent, HashMap};

use super::{Hints, MAX_HINT_BYTES, overlay};
use crate::visitor::agent::AgentFacts;

/// Combinations of agents and hints that are cached; a few MiB a worker when full.
pub(super) const ENTRIES: usize = 16_384;

/// A cache in front of [`overlay`], one per worker, so without locks. A hit allocates nothing, and neither does a click
/// without hints. When full, it is emptied.
///
/// An agent is identified by the address of its facts, which the entry keeps alive: no other facts can get that
/// address.
#[derive(Default)]
pub struct HintCache(HashMap<Key, Arc<AgentFacts>, RandomState>);

impl HintCache {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The facts of an agent string, `known`, with the `hints` of the request laid over them.
    pub fn hinted(&mut self, known: Arc<AgentFacts>, hints: &Hints<'_>) -> Arc<AgentFacts> {
        if known.bot.is_some() || hints.is_empty() {
            return known;
        }
        // No other owner: the facts of the string itself are not cached.
        if Arc::strong_count(&known) == 1 || hints.texts().iter().any(|text| text.len() > MAX_HINT_BYTES) {
            return Arc::new(overlay(&known, hints));
        }
        if let Some(hinted) = self.0.get(&KeyRef { known: &known, hints: *hints }) {
            return Arc::clone(hinted);
        }
        let hinted = overlay(&known, hints);
        let hinted = if hinted == *known { Arc::clone(&known) } else { Arc::new(hinted) };
        if self.0.len() == ENTRIES {
            self.0.clear();
        }
        self.0.insert(Key::new(known, hints), Arc::clone(&hinted));
        hinted
    }
}

struct Key {
    known: Arc<AgentFacts>,
    /// The texts of the hints, one after the other.
    bytes: Box<[u8]>,
    lengths: [u16; 5],
    mobile: Option<bool>,
}

impl Key {
    fn new(known: Arc<AgentFacts>, hints: &Hints<'_>) -> Self {
        let texts = hints.texts();
        // None is longer than `MAX_HINT_BYTES`.
        let lengths = texts.map(|text| text.len() as u16);
        Self { known, bytes: texts.concat().into(), lengths, mobile: hints.mobile }
    }

    fn key_ref(&self) -> KeyRef<'_> {
        let mut rest = &*self.bytes;
        let [brands, platform, platform_version, form_factors, requested_with] = self.lengths.map(|length| {
            let (text, tail) = rest.split_at(usize::from(length));
            rest = tail;
            text
        });
        let mobile = self.mobile;
        let hints = Hints { brands, platform, platform_version, form_factors, requested_with, mobile };
        KeyRef { known: &self.known, hints }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.key_ref() == other.key_ref()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key_ref().hash(state);
    }
}

/// A key that owns nothing.
struct KeyRef<'a> {
    known: &'a Arc<AgentFacts>,
    hints: Hints<'a>,
}

impl PartialEq for KeyRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.known, other.known) && self.hints == other.hints
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(self.known).hash(state);
        self.hints.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.key_ref()
    }
}
