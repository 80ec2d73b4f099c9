//! A delta: an object with changes that follow each other, and the states before and after them.
//!
//! NDJSON: a line that says what it is, then one [`Entry`] a line. It carries the hash of the state that it follows, so
//! that it applies to nothing else, and the key of the delta before it.

use serde::{Deserialize, Serialize};

use super::malformed::{Malformed, key_problem};
use crate::catalog::{
    change::{Entry, Position},
    state_hash::StateHash,
};

/// Most bytes of a delta.
pub const MOST_BYTES: usize = 64 << 20;

/// Changes that follow each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delta {
    /// The generation in which it was written.
    pub generation: u64,
    /// The state that it follows.
    pub from: Mark,
    /// The state that results.
    pub to: Mark,
    /// Key of the delta before it; `None` for the first of a generation.
    pub previous: Option<String>,
    /// The changes; at least one.
    pub entries: Vec<Entry>,
}

/// A state of a catalog, without its generation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    pub revision: u64,
    pub hash: StateHash,
}

impl From<Position> for Mark {
    fn from(position: Position) -> Self {
        Self { revision: position.revision, hash: position.hash }
    }
}

/// The first line.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: Kind,
    generation: u64,
    from: Mark,
    to: Mark,
    previous: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Delta,
}

impl Delta {
    /// The key under which it is stored. The nonce keeps two writers apart, of which only one will be the next.
    pub fn key(&self, nonce: &str) -> String {
        format!("deltas/{}/{:020}-{nonce}.ndjson", self.generation, self.from.revision.saturating_add(1))
    }

    /// The state that results.
    pub fn to_position(&self) -> Position {
        Position { generation: self.generation, revision: self.to.revision, hash: self.to.hash }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { generation, from, to, previous, .. } = self;
        let header =
            Header { kind: Kind::Delta, generation: *generation, from: *from, to: *to, previous: previous.clone() };
        let mut bytes = Vec::new();
        line(&mut bytes, &header);
        for entry in &self.entries {
            line(&mut bytes, entry);
        }
        bytes
    }

    /// Reads the delta that is stored under `key`.
    ///
    /// # Errors
    /// When it has another form, is cut, or contradicts itself.
    pub fn parse(key: &str, bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.last() != Some(&b'\n') {
            return Err(Malformed::new(key, "it is cut: the last line has no end"));
        }
        let mut lines = bytes[..bytes.len() - 1].split(|byte| *byte == b'\n').zip(1..);
        let (header, _) = lines.next().unwrap_or_default();
        let header: Header =
            serde_json::from_slice(header).map_err(|error| Malformed::at(key, 1, error.to_string()))?;
        let Header { kind: Kind::Delta, generation, from, to, previous } = header;
        if let Some(problem) = previous.as_ref().and_then(|previous| key_problem(previous, "deltas/")) {
            return Err(Malformed::at(key, 1, format!("previous {problem}")));
        }
        if from.revision >= to.revision {
            let reason = format!("to.revision is {}, not after from.revision {}", to.revision, from.revision);
            return Err(Malformed::at(key, 1, reason));
        }
        let mut entries = Vec::new();
        let mut next = from.revision + 1;
        for (text, number) in lines {
            let entry: Entry =
                serde_json::from_slice(text).map_err(|error| Malformed::at(key, number, error.to_string()))?;
            if entry.revision != next {
                let reason = format!("revision is {}, and has to be {next}", entry.revision);
                return Err(Malformed::at(key, number, reason));
            }
            next = next.wrapping_add(1);
            entries.push(entry);
        }
        let last = next.wrapping_sub(1);
        if last != to.revision {
            return Err(Malformed::new(key, format!("it ends with change {last}, not {}", to.revision)));
        }
        Ok(Self { generation, from, to, previous, entries })
    }
}

fn line(bytes: &mut Vec<u8>, value: &impl Serialize) {
    // Strings and numbers always have a form in JSON; writing into memory does not fail.
    _ = serde_json::to_writer(&mut *bytes, value);
    bytes.push(b'\n');
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{catalog::change::Operation, fleet::head::tests::position};

    const KEY: &str = "deltas/3/00000000000000000011-a.ndjson";

    /// A delta of `count` changes after a revision.
    pub fn delta(generation: u64, after: u64, count: u64, previous: Option<String>) -> Delta {
        let entry = |revision| {
            let operation = match revision % 4 {
                0 => Operation::PutLink { link: format!("{{\"slashtag\":\"a\\n{revision}\"}}") },
                1 => Operation::DeleteLink { domain: "go.example.com".into(), slashtag: "ü".into() },
                2 => Operation::PutDomain { domain: "{}".into() },
                _ => Operation::DeleteDomain { domain: "go.example.com".into() },
            };
            Entry { revision, operation }
        };
        Delta {
            generation,
            from: position(generation, after).into(),
            to: position(generation, after + count).into(),
            previous,
            entries: (after + 1..=after + count).map(entry).collect(),
        }
    }

    #[test]
    fn a_key_sorts_by_the_first_change() {
        assert_eq!(delta(3, 10, 1, None).key("a"), KEY);
        assert!(delta(3, 99, 1, None).key("f") < delta(3, 100, 1, None).key("0"));
    }

    #[test]
    fn a_malformed_delta_names_the_line_and_the_field() {
        let sound = String::from_utf8(delta(3, 10, 3, Some("deltas/3/x".into())).to_bytes()).unwrap();
        assert_eq!(Delta::parse(KEY, sound.as_bytes()).unwrap(), delta(3, 10, 3, Some("deltas/3/x".into())));
        for (from, to, line, reason) in [
            ("\"kind\":\"delta\"", "\"kind\":\"head\"", 1, "head"),
            ("\"revision\":13,\"hash\"", "\"revision\":10,\"hash\"", 1, "to.revision is 10"),
            ("\"revision\":13,\"hash\"", "\"revision\":14,\"hash\"", 0, "ends with change 13, not 14"),
            ("deltas/3/x", "../x", 1, "previous"),
            ("\"hash\":\"", "\"hash\":\"0", 1, "64 hexadecimal digits"),
            ("{\"revision\":12", "{\"revision\":13", 3, "revision is 13, and has to be 12"),
            ("\"op\":\"deleteDomain\"", "\"op\":\"drop\"", 2, "drop"),
        ] {
            assert!(sound.contains(from), "{from} is not in {sound}");
            let error = Delta::parse(KEY, sound.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!((error.key.as_str(), error.line), (KEY, line), "{error}");
            assert!(error.reason.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_delta_is_read_as_it_was_written(after in prop_oneof![0..1_000_u64, u64::MAX - 9..=u64::MAX - 9], count in 1..9_u64) {
            let delta = delta(1, after, count, None);
            prop_assert_eq!(Delta::parse(KEY, &delta.to_bytes()).unwrap(), delta);
        }

        #[test]
        fn a_cut_delta_is_rejected(cut in 0..2_000_usize) {
            let bytes = delta(3, 10, 5, None).to_bytes();
            prop_assert!(Delta::parse(KEY, &bytes[..cut % bytes.len()]).is_err());
        }

        #[test]
        fn a_damaged_delta_is_no_panic(at in 0..2_000_usize, byte: u8) {
            let mut bytes = delta(3, 10, 5, None).to_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(delta) = Delta::parse(KEY, &bytes) {
                prop_assert_eq!(delta.entries.len() as u64, delta.to.revision - delta.from.revision);
            }
        }
    }
}
