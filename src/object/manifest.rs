//! The manifest: the second public contract with customers (`conf/manifest.schema.json`).
//!
//! A manifest lists the objects that one edge has made of one feed for one hour, with counts, sizes and checksums, so
//! that a customer can prove that no event is missing. It is cumulative: each version of an hour lists all objects of
//! the version before it, and those that came late. Only what comes after the edge has forgotten a closed hour, two
//! days later, is a list of its own, which begins with version 1 again. Its key ends with the largest object number
//! in it and its own number, so that a new version is a new object, and no object is ever overwritten.
//!
//! Three things prove what a manifest alone cannot, for each spool of each feed:
//! - the numbers of objects have no gap: 1, 2, 3, ... over all hours, so every object is listed in a manifest;
//! - manifests are a chain: each has a number without a gap over all hours, and the SHA-256 of the one before it, so
//!   none can be changed or removed later without a trace, by the operator included;
//! - the last manifest of an hour is `closed`: it was written after the hour and all waiting times had ended. Objects
//!   that come later still make one more version.
//!
//! The rules are those of the event: additive changes only, times are RFC 3339 in UTC with `Z`. Readers ignore unknown
//! fields, so that manifests of later versions stay readable. [`super::key`] has the keys.

use serde::{Deserialize, Serialize};

use super::{KeyPlace, Maker, ManifestKey, ObjectKey, key::is_spool};
use crate::runtime::{Class, Classified, Hour};

/// The value of `schema` in every manifest of this major version.
pub const SCHEMA: &str = "manifest/1";

/// The JSON schema of [`Manifest`], as shipped in `conf/`.
pub const JSON_SCHEMA: &str = include_str!("../../conf/manifest.schema.json");

/// One version of an hour's manifest of one feed at one edge.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// Always [`SCHEMA`].
    pub schema: String,
    pub feed: String,
    /// The edge that made the objects.
    pub pop: String,
    /// Identity of the spool that made them. An edge that is rebuilt has a new one.
    pub spool: String,
    /// The hour of the clicks, not that of their delivery.
    pub hour: Hour,
    /// 1 for the first manifest of the hour, larger for each later one. 1 again after a closed one begins another list,
    /// of objects that came after the edge had forgotten the hour.
    pub version: u32,
    /// Number among all manifests of this feed and spool, over all hours: 1, 2, 3, ... without a gap.
    pub number: u64,
    /// The manifest with the number before this one, of whatever hour. `None` in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Whether the hour and all waiting times had ended when this version was made. A late object makes a further
    /// version, which is closed, too.
    #[serde(default)]
    pub closed: bool,
    /// Time when this version was made, RFC 3339 UTC.
    pub written: String,
    /// All objects of the hour so far, by number.
    pub objects: Vec<Entry>,
    /// Events in all of them.
    pub events: u64,
    /// Bytes of all of them, as stored.
    pub bytes: u64,
}

/// The manifest before another one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Previous {
    /// Below the feed's prefix.
    pub key: String,
    /// SHA-256 of the manifest as stored, in lower-case hex.
    pub sha256: String,
}

impl Previous {
    /// Its number, from its key.
    pub fn number(&self) -> Option<u64> {
        ManifestKey::parse(&self.key).map(|key| key.number)
    }

    /// Its hour, from its key.
    pub fn hour(&self) -> Option<Hour> {
        ManifestKey::parse(&self.key).map(|key| key.hour)
    }

    /// The identity of its spool, from its key.
    pub fn spool(&self) -> Option<&str> {
        ManifestKey::parse(&self.key).map(|key| key.spool)
    }

    /// Whether a feed has made it in this spool, under whatever name of the edge.
    pub fn is_of(&self, feed: &str, spool: &str) -> bool {
        self.number().is_some() && Maker::of(&self.key, feed).is_some_and(|maker| maker.spool == spool)
    }
}

/// One object.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Below the feed's prefix, like the manifest's own key.
    pub key: String,
    /// The object's number among all of the feed's objects of the spool.
    pub seq: u64,
    pub events: u64,
    /// Size as stored, compressed.
    pub bytes: u64,
    /// SHA-256 of the object as stored, in lower-case hex.
    pub sha256: String,
    /// Event id of the first event.
    pub first: String,
    /// Event id of the last event.
    pub last: String,
}

/// Why a manifest is rejected.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum ManifestError {
    #[error("invalid JSON: {0}")]
    Json(String),
    #[error("schema `{0}`")]
    Schema(String),
    #[error("{what} {found} instead of {expected}")]
    Contradiction { what: &'static str, expected: String, found: String },
}

impl Classified for ManifestError {
    fn class(&self) -> Class {
        Class::Data
    }
}

impl Manifest {
    /// The first manifest of a chain, of these objects, written at `micros` since the Unix epoch.
    pub fn new(maker: Maker<'_>, hour: Hour, version: u32, micros: u64, mut objects: Vec<Entry>) -> Self {
        let Maker { feed, pop, spool } = maker;
        objects.sort_by_key(|entry| entry.seq);
        let written = jiff::Timestamp::from_microsecond(micros as i64).unwrap_or_default();
        Self {
            schema: SCHEMA.into(),
            feed: feed.into(),
            pop: pop.into(),
            spool: spool.into(),
            hour,
            version,
            number: 1,
            previous: None,
            closed: false,
            written: format!("{written:.6}"),
            events: objects.iter().map(|entry| entry.events).sum(),
            bytes: objects.iter().map(|entry| entry.bytes).sum(),
            objects,
        }
    }

    /// Its key, below the feed's prefix.
    pub fn key(&self) -> String {
        self.maker().manifest_key(self.hour, self.last_seq(), self.number)
    }

    fn maker(&self) -> Maker<'_> {
        Maker { feed: &self.feed, pop: &self.pop, spool: &self.spool }
    }

    /// The largest number of an object in it.
    pub fn last_seq(&self) -> u64 {
        self.objects.iter().map(|entry| entry.seq).max().unwrap_or_default()
    }

    /// The stored form.
    ///
    /// # Errors
    /// Never for a manifest.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Parses a manifest and checks that it is consistent.
    ///
    /// # Errors
    /// When it is not a manifest, or inconsistent.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| ManifestError::Json(error.to_string()))?;
        if manifest.schema != SCHEMA {
            return Err(ManifestError::Schema(manifest.schema));
        }
        manifest.check_consistency()?;
        Ok(manifest)
    }

    fn check_consistency(&self) -> Result<(), ManifestError> {
        let agree = |what, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected == found { Ok(()) } else { Err(ManifestError::Contradiction { what, expected, found }) }
        };
        // Numbers from outside: a sum that overflows is inconsistent, too.
        let sum = |field: fn(&Entry) -> u64| self.objects.iter().map(field).fold(0, u64::saturating_add);
        if self.version == 0 {
            return agree("version", &"1 or more", &0);
        }
        if !is_spool(&self.spool) {
            return agree("spool", &"8 letters and digits", &self.spool);
        }
        match &self.previous {
            None => agree("number", &1, &self.number)?,
            Some(previous) if !previous.is_of(&self.feed, &self.spool) => {
                return agree("previous", &"the key of a manifest of the same feed and spool", &previous.key);
            }
            Some(previous) => {
                agree("number", &(previous.number().unwrap_or_default().saturating_add(1)), &self.number)?;
            }
        }
        agree("events", &sum(|entry| entry.events), &self.events)?;
        agree("bytes", &sum(|entry| entry.bytes), &self.bytes)?;
        for entry in &self.objects {
            let key = match ObjectKey::parse(&entry.key) {
                Some(ObjectKey { place: KeyPlace::Sequence { .. }, extension, .. }) => {
                    self.maker().sequence_key(entry.seq, extension)
                }
                parsed => {
                    let extension = parsed.map_or("ndjson.gz", |key| key.extension);
                    self.maker().hive_key(self.hour, &entry.first, entry.seq, extension)
                }
            };
            agree("key", &key, &entry.key)?;
        }
        for pair in self.objects.windows(2) {
            if pair[0].seq >= pair[1].seq {
                return agree("seq", &format!("more than {}", pair[0].seq), &pair[1].seq);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const FIRST: &str = "01a2085b-d4e1-7645-b01b-77c6bdce7f10";
    const MAKER: Maker<'_> = Maker { feed: "brand", pop: "fra1", spool: "k3j9x0ab" };

    fn manifest() -> Manifest {
        let hour = Hour::of_micros(1_795_424_462_000_042);
        let entry = |seq, events, bytes| Entry {
            key: if seq == 7 {
                MAKER.sequence_key(seq, "ndjson.gz")
            } else {
                MAKER.hive_key(hour, FIRST, seq, "ndjson.gz")
            },
            seq,
            events,
            bytes,
            sha256: "0".repeat(64),
            first: FIRST.into(),
            last: FIRST.into(),
        };
        let previous = Previous { key: MAKER.manifest_key(hour, 3, 4), sha256: "1".repeat(64) };
        let entries = vec![entry(7, 2, 30), entry(3, 1, 12)];
        Manifest {
            number: 5,
            previous: Some(previous),
            closed: true,
            ..Manifest::new(MAKER, hour, 2, 1_795_424_462_000_042, entries)
        }
    }

    #[test]
    fn a_manifest_has_sums_and_a_key_with_its_largest_number() {
        let manifest = manifest();
        assert_eq!((manifest.events, manifest.bytes), (3, 42));
        assert_eq!(manifest.objects[0].seq, 3);
        assert_eq!(manifest.written, "2026-11-23T09:01:02.000042Z");
        assert_eq!(manifest.key(), "_manifest/dt=2026-11-23/hour=09/brand-fra1-k3j9x0ab-00000007-00000005.json");
        assert_eq!(Manifest::parse(&manifest.to_json().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn a_rendered_manifest_fits_the_schema() {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let value: Value = serde_json::from_slice(&manifest().to_json().unwrap()).unwrap();
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        for (pointer, wrong) in [
            ("/hour", json!("2026-11-23 09")),
            ("/objects/0/sha256", json!("AB")),
            ("/objects/0/seq", json!(0)),
            ("/spool", json!("K3J9X0AB")),
            ("/previous/sha256", json!("")),
        ] {
            let mut value = value.clone();
            *value.pointer_mut(pointer).unwrap() = wrong;
            assert!(!validator.is_valid(&value), "{pointer}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut value = serde_json::to_value(manifest()).unwrap();
        value["colour"] = json!("red");
        value["objects"][0]["smell"] = json!(1);
        assert_eq!(Manifest::parse(value.to_string().as_bytes()).unwrap(), manifest());
    }

    #[test]
    fn an_inconsistent_manifest_is_rejected() {
        for (pointer, wrong) in [
            ("/schema", json!("manifest/2")),
            ("/events", json!(4)),
            ("/bytes", json!(41)),
            ("/objects/0/bytes", json!(u64::MAX)),
            ("/objects/0/seq", json!(4)),
            ("/objects/0/first", json!("01a2085b-d4e1-7645-b01b-77c6bdce7f11")),
            ("/hour", json!("2026-11-23T10")),
            ("/hour", json!("2026-11-23")),
            ("/pop", json!("fra2")),
            ("/spool", json!("k3j9x0ac")),
            ("/spool", json!("k3j9")),
            ("/number", json!(4)),
            ("/previous", Value::Null),
            ("/previous/key", json!("_manifest/dt=2026-11-23/hour=09/bran-fra1-k3j9x0ab-00000003-00000004.json")),
            ("/previous/key", json!("_manifest/dt=2026-11-23/hour=09/brand-fra1-k3j9x0ac-00000003-00000004.json")),
            ("/previous/key", json!("../secret")),
            ("/version", json!(-1)),
            ("/version", json!(0)),
        ] {
            let mut value = serde_json::to_value(manifest()).unwrap();
            *value.pointer_mut(pointer).unwrap() = wrong;
            assert!(Manifest::parse(value.to_string().as_bytes()).is_err(), "{pointer}");
        }
        let mut twice = manifest();
        twice.objects[1] = twice.objects[0].clone();
        twice = Manifest { events: 2, bytes: 24, ..twice };
        assert!(Manifest::parse(&twice.to_json().unwrap()).is_err());
    }
}
