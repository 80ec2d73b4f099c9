//! The head: the one object that says what the catalog of a fleet is now. It is replaced by compare-and-set.
//!
//! It names the snapshot that the current generation began with, and the last deltas, so that an edge that is a little
//! behind knows at once what it lacks. Older deltas are found from one to the one before it.

use serde::{Deserialize, Serialize};

use super::{
    delta::Delta,
    malformed::{DELTAS, HEAD, Malformed, SNAPSHOTS, key_problem},
};
use crate::catalog::change::Position;

/// Key of the head, below the prefix of the fleet.
pub const KEY: &str = HEAD;

/// Most bytes of a head.
pub const MOST_BYTES: usize = 256 << 10;

/// Deltas that a head names.
const RECENT: usize = 64;

/// What the catalog of a fleet is now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    kind: Kind,
    /// The current state.
    pub position: Position,
    /// The snapshot that the generation began with.
    pub snapshot: SnapshotRef,
    /// Key of the last delta; `None` while there are no changes since the snapshot.
    pub last: Option<String>,
    /// The last deltas, from old to new.
    pub recent: Vec<DeltaRef>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Head,
}

/// A snapshot in the bucket.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRef {
    pub key: String,
    pub bytes: u64,
    /// BLAKE3 of the file, in 64 hexadecimal digits.
    pub blake3: String,
    /// The state that it has.
    pub position: Position,
    /// Number of its links.
    pub links: u64,
    /// Whether an operator has confirmed its size, so that edges do not compare it with the former.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A delta in the bucket, and the numbers of its changes: those after `from` up to `to`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaRef {
    pub key: String,
    pub from: u64,
    pub to: u64,
}

impl Head {
    /// The head of a catalog that begins with this snapshot.
    pub fn of(snapshot: SnapshotRef) -> Self {
        Self { kind: Kind::Head, position: snapshot.position, snapshot, last: None, recent: Vec::new() }
    }

    /// This head after one more delta, which is stored under `key`.
    pub fn with(&self, key: &str, delta: &Delta) -> Self {
        let mut head = self.clone();
        head.position = delta.to_position();
        head.position.generation = self.position.generation;
        head.last = Some(key.to_owned());
        head.recent.push(DeltaRef { key: key.to_owned(), from: delta.from.revision, to: delta.to.revision });
        let surplus = head.recent.len().saturating_sub(RECENT);
        head.recent.drain(..surplus);
        head
    }

    /// The head of the next generation: another snapshot of a state that this head has passed, and the deltas since, or
    /// the last of them. `None` where a delta crosses the snapshot's revision.
    pub fn folded(&self, snapshot: SnapshotRef) -> Option<Self> {
        let since = snapshot.position.revision;
        let recent: Vec<_> = self.recent.iter().filter(|delta| delta.to > since).cloned().collect();
        let fits = match recent.first() {
            Some(first) => first.from >= since,
            None => self.position.revision == since,
        };
        fits.then(|| {
            let generation = snapshot.position.generation;
            let position = Position { generation, ..self.position };
            let last = recent.last().map(|delta| delta.key.clone());
            Self { kind: Kind::Head, position, snapshot, last, recent }
        })
    }

    /// Whether it names this delta.
    pub fn names(&self, key: &str) -> bool {
        self.recent.iter().any(|delta| delta.key == key)
    }

    /// Its bytes: one JSON object, and a line end.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and numbers always have a form in JSON.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a head.
    ///
    /// # Errors
    /// When it has another form, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MOST_BYTES {
            return Err(Malformed::new(KEY, format!("it has {} bytes, more than {MOST_BYTES}", bytes.len())));
        }
        let head: Self = serde_json::from_slice(bytes).map_err(|error| Malformed::new(KEY, error.to_string()))?;
        head.check().map_err(|reason| Malformed::new(KEY, reason))?;
        Ok(head)
    }

    fn check(&self) -> Result<(), String> {
        let Self { position, snapshot, last, recent, .. } = self;
        key_problem(&snapshot.key, SNAPSHOTS).map_or(Ok(()), |problem| Err(format!("snapshot.key {problem}")))?;
        if blake3::Hash::from_hex(&snapshot.blake3).is_err() {
            return Err(format!("snapshot.blake3 is {:?}, not 64 hexadecimal digits", snapshot.blake3));
        }
        if position.generation != snapshot.position.generation {
            let (own, of_snapshot) = (position.generation, snapshot.position.generation);
            return Err(format!("position.generation is {own}, that of the snapshot {of_snapshot}"));
        }
        if position.generation == 0 {
            return Err("position.generation is 0; the first is 1".into());
        }
        if position.revision < snapshot.position.revision {
            let (own, of_snapshot) = (position.revision, snapshot.position.revision);
            return Err(format!("position.revision is {own}, before that of the snapshot, {of_snapshot}"));
        }
        if recent.len() > RECENT {
            return Err(format!("recent names {} deltas, more than {RECENT}", recent.len()));
        }
        if last.as_ref() != recent.last().map(|delta| &delta.key) {
            return Err("last is not the last key of recent".into());
        }
        let mut since = None;
        for (i, delta) in recent.iter().enumerate() {
            if let Some(problem) = key_problem(&delta.key, DELTAS) {
                return Err(format!("recent[{i}].key {problem}"));
            }
            if delta.from >= delta.to || since.is_some_and(|since| since != delta.from) {
                return Err(format!("recent[{i}] has changes {} to {}, which do not follow", delta.from, delta.to));
            }
            since = Some(delta.to);
        }
        let end = since.unwrap_or(snapshot.position.revision);
        if end != position.revision {
            return Err(format!("position.revision is {}, and the deltas end with {end}", position.revision));
        }
        if recent.is_empty() && *position != snapshot.position {
            return Err("position is not that of the snapshot, and recent is empty".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::fixture::{delta, position, snapshot};

    fn head(deltas: u64) -> Head {
        let mut head = Head::of(snapshot(3, 10));
        for i in 0..deltas {
            let delta = delta(3, 10 + 2 * i, 2, head.last.clone());
            head = head.with(&delta.key("a"), &delta);
        }
        head
    }

    #[test]
    fn a_head_names_the_last_deltas_only() {
        let head = head(100);
        assert_eq!((head.recent.len(), head.position.revision), (RECENT, 210));
        assert_eq!(head.recent[0].from, 10 + 2 * 36);
        assert!(head.names(head.last.as_ref().unwrap()) && !head.names("deltas/3/a"));
        assert_eq!(Head::parse(&head.to_bytes()).unwrap(), head);
    }

    #[test]
    fn a_fold_keeps_the_deltas_since() {
        let head = head(100);
        let folded = head.folded(snapshot(4, 200)).unwrap();
        assert_eq!((folded.recent.len(), folded.position), (5, position(4, 210)));
        assert_eq!(Head::parse(&folded.to_bytes()).unwrap(), folded);
        let whole = head.folded(snapshot(4, 210)).unwrap();
        assert_eq!(whole, Head::of(snapshot(4, 210)));
        assert_eq!(head.folded(snapshot(4, 201)), None, "within a delta");
        let far = head.folded(snapshot(4, 20)).unwrap();
        assert_eq!((&far.recent, far.position), (&head.recent, position(4, 210)), "further back than the head knows");
        assert_eq!(Head::parse(&far.to_bytes()).unwrap(), far);
    }

    #[test]
    fn a_head_that_contradicts_itself_is_rejected() {
        let rejected = |field: &str, change: fn(&mut Head)| {
            let mut head = head(3);
            change(&mut head);
            let error = Head::parse(&head.to_bytes()).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("head.json"), "{field}: {error}");
        };
        rejected("snapshot.key", |head| head.snapshot.key = "snapshots/../x".into());
        rejected("snapshot.key", |head| head.snapshot.key = "other/x".into());
        rejected("snapshot.blake3", |head| head.snapshot.blake3 = "abc".into());
        rejected("position.generation", |head| head.position.generation = 4);
        rejected("position.revision", |head| head.position.revision = 17);
        rejected("before that of the snapshot", |head| head.snapshot.position.revision = 90);
        rejected("last", |head| head.last = None);
        rejected("recent[0].key", |head| head.recent[0].key = "deltas/a b".into());
        rejected("recent[1]", |head| head.recent[1].from = 13);
        rejected("position.revision", |head| {
            head.last = None;
            head.recent.clear();
        });
        for text in ["", "{}", "null", "[]", "{\"kind\":\"delta\"}", "<html></html>"] {
            assert!(Head::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Head::parse(&vec![b' '; MOST_BYTES + 1]).unwrap_err().reason.contains("bytes"));
    }

    proptest! {
        #[test]
        fn a_damaged_head_is_an_error_or_means_the_same_kind_of_thing(at in 0..2_000_usize, byte: u8, cut: bool) {
            let mut bytes = head(4).to_bytes();
            let at = at % bytes.len();
            if cut {
                bytes.truncate(at);
                let complete = bytes.ends_with(b"}") && at + 1 == head(4).to_bytes().len();
                prop_assert_eq!(Head::parse(&bytes).is_ok(), complete);
            } else {
                bytes[at] = byte;
                if let Ok(head) = Head::parse(&bytes) {
                    prop_assert_eq!(Head::parse(&head.to_bytes()).unwrap(), head);
                }
            }
        }
    }
}
