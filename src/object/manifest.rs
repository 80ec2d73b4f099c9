//! The manifest: the second public contract with customers (`conf/manifest.schema.json`).
//!
//! A manifest lists the objects that one edge has made of one feed for one hour, with counts, sizes and checksums, so
//! that a customer can prove that no event is missing. It is cumulative: each version of an hour lists all objects of
//! the version before it, and those that came late. Its key ends with the largest object number in it, so that a new
//! version is a new object, and no object is ever overwritten.
//!
//! The numbers of a feed's objects at an edge have no gap: 1, 2, 3, ... over all hours. That proves what a manifest
//! alone cannot: that every object is listed in a manifest.
//!
//! The rules are those of the event: additive changes only, times are RFC 3339 in UTC with `Z`. Readers ignore unknown
//! fields, so that manifests of later versions stay readable. [`super::key`] has the keys.

use serde::{Deserialize, Serialize};

use super::{ObjectKey, manifest_key, object_key};
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
    /// The hour of the clicks, not that of their delivery.
    pub hour: Hour,
    /// 1 for the first manifest of the hour, larger for each later one.
    pub version: u32,
    /// Time when this version was made, RFC 3339 UTC.
    pub written: String,
    /// All objects of the hour so far, by number.
    pub objects: Vec<Entry>,
    /// Events in all of them.
    pub events: u64,
    /// Bytes of all of them, as stored.
    pub bytes: u64,
}

/// One object.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Below the feed's prefix, like the manifest's own key.
    pub key: String,
    /// The object's number among all of the feed's objects at the edge.
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
    /// A manifest of these objects, written at `micros` since the Unix epoch.
    pub fn new(feed: &str, pop: &str, hour: Hour, version: u32, micros: u64, mut objects: Vec<Entry>) -> Self {
        objects.sort_by_key(|entry| entry.seq);
        let written = jiff::Timestamp::from_microsecond(micros as i64).unwrap_or_default();
        Self {
            schema: SCHEMA.into(),
            feed: feed.into(),
            pop: pop.into(),
            hour,
            version,
            written: format!("{written:.6}"),
            events: objects.iter().map(|entry| entry.events).sum(),
            bytes: objects.iter().map(|entry| entry.bytes).sum(),
            objects,
        }
    }

    /// Its key, below the feed's prefix.
    pub fn key(&self) -> String {
        manifest_key(self.hour, &self.feed, &self.pop, self.last_seq())
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
        agree("events", &sum(|entry| entry.events), &self.events)?;
        agree("bytes", &sum(|entry| entry.bytes), &self.bytes)?;
        for entry in &self.objects {
            let extension = ObjectKey::parse(&entry.key).map_or("ndjson.gz", |key| key.extension);
            let key = object_key(self.hour, &self.feed, &self.pop, &entry.first, entry.seq, extension);
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

    fn manifest() -> Manifest {
        let hour = Hour::of_micros(1_795_424_462_000_042);
        let entry = |seq, events, bytes| Entry {
            key: object_key(hour, "brand", "fra1", FIRST, seq, "ndjson.gz"),
            seq,
            events,
            bytes,
            sha256: "0".repeat(64),
            first: FIRST.into(),
            last: FIRST.into(),
        };
        Manifest::new("brand", "fra1", hour, 2, 1_795_424_462_000_042, vec![entry(7, 2, 30), entry(3, 1, 12)])
    }

    #[test]
    fn a_manifest_has_sums_and_a_key_with_its_largest_number() {
        let manifest = manifest();
        assert_eq!((manifest.events, manifest.bytes), (3, 42));
        assert_eq!(manifest.objects[0].seq, 3);
        assert_eq!(manifest.written, "2026-11-23T09:01:02.000042Z");
        assert_eq!(manifest.key(), "_manifest/dt=2026-11-23/hour=09/brand-fra1-00000007.json");
        assert_eq!(Manifest::parse(&manifest.to_json().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn a_rendered_manifest_fits_the_schema() {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let value: Value = serde_json::from_slice(&manifest().to_json().unwrap()).unwrap();
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        for (pointer, wrong) in
            [("/hour", json!("2026-11-23 09")), ("/objects/0/sha256", json!("AB")), ("/objects/0/seq", json!(0))]
        {
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
