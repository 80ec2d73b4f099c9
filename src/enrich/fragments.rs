//! JSON that the catalog has rendered: creators, tags, domains and scripts. Each text is checked once and kept.
//!
//! The keys of the cache are the catalog's, not a visitor's, so that its hash needs no secret.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::stats::tally::{IdList, Ids};

const CACHED_FRAGMENTS: usize = 8_192;
/// Most texts of one cache in a click.
const PER_CLICK: usize = 2;

/// JSON that the catalog has rendered, checked once for each text.
pub struct Fragments {
    /// Places of the texts.
    known: HashMap<Box<[u8]>, usize>,
    all: Vec<Fragment>,
    /// Extracts the ids from a text.
    ids: fn(&str) -> serde_json::Result<IdList>,
}

struct Fragment {
    json: Box<RawValue>,
    /// The ids in it that clicks are counted by.
    ids: IdList,
}

impl Fragments {
    pub fn new(ids: fn(&str) -> serde_json::Result<IdList>) -> Self {
        Self { known: HashMap::default(), all: Vec::new(), ids }
    }

    /// Makes room for the texts of a click. Places of earlier clicks are invalid from here on.
    pub fn begin(&mut self) {
        if self.all.len() + PER_CLICK > CACHED_FRAGMENTS {
            self.known.clear();
            self.all.clear();
        }
    }

    /// The place of a text; `None` for an empty one.
    pub fn place(&mut self, text: &[u8]) -> serde_json::Result<Option<usize>> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(place) = self.known.get(text) {
            return Ok(Some(*place));
        }
        let json: Box<RawValue> = serde_json::from_slice(text)?;
        self.all.push(Fragment { ids: (self.ids)(json.get())?, json });
        self.known.insert(text.into(), self.all.len() - 1);
        Ok(Some(self.all.len() - 1))
    }

    pub fn json(&self, place: Option<usize>) -> Option<&RawValue> {
        Some(&*self.all.get(place?)?.json)
    }

    pub fn ids(&self, place: Option<usize>) -> Ids<'_> {
        place.and_then(|place| self.all.get(place)).map(|known| known.ids.ids()).unwrap_or_default()
    }
}

/// The id in the event's `route.creator`, if it has one.
pub fn id_of_creator(json: &str) -> serde_json::Result<IdList> {
    #[derive(Deserialize)]
    struct Creator {
        id: Option<String>,
    }
    Ok(IdList::new(serde_json::from_str::<Creator>(json)?.id.as_deref()))
}

/// The ids in the event's `route.tags`: its keys.
pub fn ids_of_tags(json: &str) -> serde_json::Result<IdList> {
    let tags: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
    Ok(IdList::new(tags.keys().map(String::as_str)))
}
