//! The keys of the previous release, which have no identity of a spool. What it left in an outbox is delivered under
//! them; no object is made under them any more.
//!
//! ```text
//! dt=2026-11-23/hour=09/{feed}-{pop}-{first event id}-{seq}.ndjson.gz
//! _manifest/dt=2026-11-23/hour=09/{feed}-{pop}-{seq}.json
//! _rollups/dt=2026-11-23/hour=09/{feed}-{pop}-v{version}.ndjson.gz
//! replay/{id}/dt=2026-11-23/hour=09/{feed}-{pop}-{first event id}-{seq}.ndjson.gz
//! ```

use super::{HiveName, MANIFESTS, ROLLUPS, below, hour_and_name, padded, rest_and_version, series_of};
use crate::{object::ObjectKind, runtime::Hour};

/// The kind of an object, and the hour of its clicks.
pub fn kind_and_hour(key: &str) -> Option<(ObjectKind, Hour)> {
    if let Some(rest) = key.strip_prefix("replay/") {
        return Some((ObjectKind::Replay, events(rest.split_once('/')?.1)?.0));
    }
    if let Some(rest) = below(MANIFESTS, key) {
        return Some((ObjectKind::Manifest, manifest(rest)?.0));
    }
    if let Some(rest) = below(ROLLUPS, key) {
        let (hour, name) = hour_and_name(rest)?;
        series_of(rest_and_version(name)?.0)?;
        return Some((ObjectKind::Rollup, hour));
    }
    Some((ObjectKind::Events, events(key)?.0))
}

/// The number of an object of events, or the largest one in a manifest.
pub fn seq_of(key: &str) -> Option<u64> {
    match below(MANIFESTS, key) {
        Some(rest) => manifest(rest).map(|(_, seq)| seq),
        None => events(key).map(|(_, seq)| seq),
    }
}

fn events(key: &str) -> Option<(Hour, u64)> {
    let (hour, name) = hour_and_name(key)?;
    let HiveName { before, seq, .. } = HiveName::parse(name)?;
    series_of(before).map(|_| (hour, seq))
}

fn manifest(key: &str) -> Option<(Hour, u64)> {
    let (hour, name) = hour_and_name(key)?;
    let (series, seq) = name.strip_suffix(".json")?.rsplit_once('-')?;
    series_of(series)?;
    Some((hour, padded(seq, 8)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKey;

    #[test]
    fn keys_without_an_identity_have_kind_hour_and_number() {
        let object = "dt=2026-11-23/hour=09/my-brand-fra-1-01a2085b-d4e1-7645-b01b-77c6bdce7f10-00000042.ndjson.gz";
        for (key, kind, seq) in [
            (object, ObjectKind::Events, Some(42)),
            ("_manifest/dt=2026-11-23/hour=09/my-brand-fra-1-00000007.json", ObjectKind::Manifest, Some(7)),
            ("_rollups/dt=2026-11-23/hour=09/my-brand-fra-1-v2.ndjson.gz", ObjectKind::Rollup, None),
            (&format!("replay/r1/{object}"), ObjectKind::Replay, None),
        ] {
            let (of, hour) = kind_and_hour(key).unwrap();
            assert_eq!((of, hour.to_string().as_str(), seq_of(key)), (kind, "2026-11-23T09", seq), "{key}");
            assert_eq!((ObjectKey::parse(key), ObjectKind::of(key)), (None, Some(kind)), "{key}");
        }
    }
}
