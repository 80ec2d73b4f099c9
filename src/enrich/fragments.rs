//! JSON that the catalog has rendered: creators, tags, domains and scripts. Each text is checked once and kept.
//!
//! The keys of the cache are the catalog's, not a visitor's, so that its hash needs no secret.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::stats::tally::{IdList, Ids};

const CACHED_FRAGMENTS: usize = 8_192;

/// JSON that the catalog has rendered, checked once for each text.
pub struct Fragments {
    /// Places of the texts.
    known: HashMap<Box<[u8]>, usize>,
    all: Vec<Fragment>,
    /// Makes a fragment of a text.
    read: fn(Box<RawValue>) -> serde_json::Result<Fragment>,
}

/// JSON as it stands in the event.
pub struct Fragment {
    json: Box<RawValue>,
    /// The ids in it that clicks are counted by.
    ids: IdList,
}

impl Fragments {
    pub fn new(read: fn(Box<RawValue>) -> serde_json::Result<Fragment>) -> Self {
        Self { known: HashMap::default(), all: Vec::new(), read }
    }

    /// The place of a text; `None` for an empty one. Places of earlier texts are invalid from here on.
    pub fn place(&mut self, text: &[u8]) -> serde_json::Result<Option<usize>> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(place) = self.known.get(text) {
            return Ok(Some(*place));
        }
        if self.all.len() >= CACHED_FRAGMENTS {
            self.known.clear();
            self.all.clear();
        }
        self.all.push((self.read)(serde_json::from_slice(text)?)?);
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

/// The event's `route.domain`.
#[allow(clippy::unnecessary_wraps, reason = "one of the readers")]
pub fn domain(json: Box<RawValue>) -> serde_json::Result<Fragment> {
    Ok(Fragment { json, ids: IdList::default() })
}

/// The event's `route.creator`, and its id if it has one.
pub fn creator(json: Box<RawValue>) -> serde_json::Result<Fragment> {
    #[derive(Deserialize)]
    struct Creator {
        id: Option<String>,
    }
    let ids = IdList::new(serde_json::from_str::<Creator>(json.get())?.id.as_deref());
    Ok(Fragment { json, ids })
}

/// The event's `route.tags` or `route.scripts`, and the ids in it.
pub fn named(json: Box<RawValue>) -> serde_json::Result<Fragment> {
    #[derive(Deserialize, Serialize)]
    struct Named {
        id: String,
        name: String,
    }
    /// `{"t-1":{"value":"Print"}}`, as the previous release rendered it.
    #[derive(Deserialize)]
    struct Former {
        value: String,
    }
    let (json, all) = if json.get().starts_with('{') {
        let map: BTreeMap<String, Former> = serde_json::from_str(json.get())?;
        let all: Vec<_> = map.into_iter().map(|(id, Former { value })| Named { id, name: value }).collect();
        (to_raw_value(&all)?, all)
    } else {
        let all: Vec<Named> = serde_json::from_str(json.get())?;
        (json, all)
    };
    Ok(Fragment { json, ids: IdList::new(all.iter().map(|named| named.id.as_str())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Vec<String>) {
        let mut fragments = Fragments::new(named);
        let place = fragments.place(text.as_bytes()).unwrap();
        let ids = fragments.ids(place).iter().map(str::to_owned).collect();
        (fragments.json(place).unwrap().get().to_owned(), ids)
    }

    #[test]
    fn tags_of_both_releases_are_the_same_list() {
        let list = r#"[{"id":"t-1","name":"Print"},{"id":"t-2","name":"\"Radio\""}]"#;
        let expected = (list.to_owned(), vec!["t-1".to_owned(), "t-2".to_owned()]);
        assert_eq!(read(list), expected);
        assert_eq!(read(r#"{"t-1":{"value":"Print"},"t-2":{"value":"\"Radio\""}}"#), expected);
    }

    #[test]
    fn the_cache_is_bounded_and_the_last_text_is_in_it() {
        let mut fragments = Fragments::new(domain);
        for n in 0..2 * CACHED_FRAGMENTS + 5 {
            let text = format!(r#"{{"raw":"{n}.example"}}"#);
            let place = fragments.place(text.as_bytes()).unwrap();
            assert_eq!(fragments.json(place).unwrap().get(), text);
            assert!(fragments.all.len() <= CACHED_FRAGMENTS && fragments.known.len() == fragments.all.len());
        }
    }
}
