//! The keys of objects, manifests and rollups.
//!
//! ```text
//! dt=2026-11-23/hour=09/{feed}-{pop}-{first event id}-{seq}.ndjson.gz
//! _manifest/dt=2026-11-23/hour=09/{feed}-{pop}-{seq}.json
//! _rollups/dt=2026-11-23/hour=09/{feed}-{pop}-v{version}.ndjson.gz
//! ```
//! Engines that read folders as partitions skip those that begin with `_`. Names of feeds and edges may contain a `-`:
//! a key is parsed from its right end, and feed and edge stay together as one string, the *series*. A manifest has them
//! as separate fields. Parsing is total and strict: a key that parses renders to the same key.

use crate::runtime::Hour;

/// Extensions of objects: format and compression.
const EXTENSIONS: [&str; 6] = ["ndjson.gz", "ndjson.zst", "ndjson", "json.gz", "json.zst", "json"];

const ID_LENGTH: usize = 36;

/// The key of an object, below the feed's prefix. `first` is the id of its first event.
pub fn object_key(hour: Hour, feed: &str, pop: &str, first: &str, seq: u64, extension: &str) -> String {
    format!("{}/{feed}-{pop}-{first}-{seq:08}.{extension}", hour.partition())
}

/// The key of a manifest, below the feed's prefix. `seq` is the largest number of an object in it.
pub fn manifest_key(hour: Hour, feed: &str, pop: &str, seq: u64) -> String {
    format!("_manifest/{}/{feed}-{pop}-{seq:08}.json", hour.partition())
}

/// The key of a rollup, below the feed's prefix.
pub fn rollup_key(hour: Hour, feed: &str, pop: &str, version: u32) -> String {
    format!("_rollups/{}/{feed}-{pop}-v{version}.ndjson.gz", hour.partition())
}

/// The parts of an object's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ObjectKey<'a> {
    pub hour: Hour,
    /// `{feed}-{pop}`.
    pub series: &'a str,
    /// Event id of the first event.
    pub first: &'a str,
    pub seq: u64,
    /// Such as `ndjson.gz`.
    pub extension: &'a str,
}

impl<'a> ObjectKey<'a> {
    /// Parses a key. `None` when it is not one of an object.
    pub fn parse(key: &'a str) -> Option<Self> {
        let (hour, name) = hour_and_name(key)?;
        let extension = EXTENSIONS
            .into_iter()
            .find(|extension| name.strip_suffix(extension).is_some_and(|stem| stem.ends_with('.')))?;
        let (stem, extension) = name.split_at(name.len() - extension.len());
        let (stem, seq) = stem.strip_suffix('.')?.rsplit_once('-')?;
        let seq = seq_of(seq)?;
        let (series, first) = stem.split_at_checked(stem.len().checked_sub(ID_LENGTH)?)?;
        let series = series_of(series.strip_suffix('-')?)?;
        let id = uuid::Uuid::try_parse(first).ok()?;
        let canonical = id.hyphenated().encode_lower(&mut [0; ID_LENGTH]) == first;
        canonical.then_some(Self { hour, series, first, seq, extension })
    }
}

/// The parts of a manifest's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ManifestKey<'a> {
    pub hour: Hour,
    /// `{feed}-{pop}`.
    pub series: &'a str,
    /// The largest number of an object in it.
    pub seq: u64,
}

impl<'a> ManifestKey<'a> {
    /// Parses a key. `None` when it is not one of a manifest.
    pub fn parse(key: &'a str) -> Option<Self> {
        let (hour, name) = hour_and_name(key.strip_prefix("_manifest/")?)?;
        let (series, seq) = name.strip_suffix(".json")?.rsplit_once('-')?;
        Some(Self { hour, series: series_of(series)?, seq: seq_of(seq)? })
    }
}

/// The parts of a rollup's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RollupKey<'a> {
    pub hour: Hour,
    /// `{feed}-{pop}`.
    pub series: &'a str,
    /// 1 for the first rollup of the hour.
    pub version: u32,
}

impl<'a> RollupKey<'a> {
    /// Parses a key. `None` when it is not one of a rollup.
    pub fn parse(key: &'a str) -> Option<Self> {
        let (hour, name) = hour_and_name(key.strip_prefix("_rollups/")?)?;
        let (series, digits) = name.strip_suffix(".ndjson.gz")?.rsplit_once("-v")?;
        let version = digits.parse().ok().filter(|version: &u32| *version > 0 && version.to_string() == digits)?;
        Some(Self { hour, series: series_of(series)?, version })
    }
}

/// Splits `dt=2026-11-23/hour=09/name`.
fn hour_and_name(key: &str) -> Option<(Hour, &str)> {
    let (partition, name) = key.rsplit_once('/')?;
    Some((Hour::of_partition(partition)?, name))
}

/// Parses a number that was written with `{:08}`.
fn seq_of(digits: &str) -> Option<u64> {
    let seq = digits.parse().ok()?;
    (format!("{seq:08}") == digits).then_some(seq)
}

/// A feed and an edge, each of at least one character.
fn series_of(series: &str) -> Option<&str> {
    series.get(1..series.len().checked_sub(1)?)?.contains('-').then_some(series)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "dt=2026-11-23/hour=09/my-brand-fra-1-01a2085b-d4e1-7645-b01b-77c6bdce7f10-00000042.ndjson.gz";

    #[test]
    fn an_object_key_is_parsed_from_its_right_end() {
        let key = ObjectKey::parse(KEY).unwrap();
        assert_eq!(key.hour.to_string(), "2026-11-23T09");
        assert_eq!(key.series, "my-brand-fra-1");
        assert_eq!((key.first, key.seq), ("01a2085b-d4e1-7645-b01b-77c6bdce7f10", 42));
        assert_eq!(key.extension, "ndjson.gz");
    }

    #[test]
    fn text_that_is_not_exactly_a_key_is_rejected() {
        for (from, to) in [
            ("dt=", "DT="),
            ("11-23", "11-31"),
            ("hour=09", "hour=9"),
            ("hour=09", "hour=24"),
            ("hour=09/", "hour=09/x/"),
            ("my-brand-fra-1-", ""),
            ("my-brand-fra-1", "-my"),
            ("my-brand-fra-1", "brand"),
            ("01a2085b", "01A2085B"),
            ("01a2085b-", "01a2085b"),
            ("00000042", "42"),
            ("00000042", "000000042"),
            ("00000042", "+0000042"),
            (".gz", ".br"),
            (".ndjson.gz", ".xjson"),
            (".ndjson.gz", "ndjson"),
        ] {
            assert_eq!(ObjectKey::parse(&KEY.replacen(from, to, 1)), None, "{from} -> {to}");
        }
        assert_eq!(ObjectKey::parse(&format!("replay/r1/{KEY}")), None);
        assert_eq!(ManifestKey::parse(KEY), None);
    }

    #[test]
    fn a_manifest_key_has_hour_series_and_number() {
        let key = ManifestKey::parse("_manifest/dt=2026-11-23/hour=09/my-brand-fra-1-123456789.json").unwrap();
        assert_eq!(
            (key.hour.to_string().as_str(), key.series, key.seq),
            ("2026-11-23T09", "my-brand-fra-1", 123_456_789)
        );
    }

    #[test]
    fn a_rollup_key_has_hour_series_and_version() {
        let key = "_rollups/dt=2026-11-23/hour=09/my-brand-fra-1-v12.ndjson.gz";
        let parsed = RollupKey::parse(key).unwrap();
        assert_eq!(
            (parsed.hour.to_string().as_str(), parsed.series, parsed.version),
            ("2026-11-23T09", "my-brand-fra-1", 12)
        );
        assert_eq!(rollup_key(parsed.hour, "my-brand", "fra-1", 12), key);
        for (from, to) in [
            ("v12", "v012"),
            ("v12", "v0"),
            ("v12", "12"),
            ("v12", "v+1"),
            ("-v", "v"),
            (".gz", ""),
            ("_rollups/", ""),
        ] {
            assert_eq!(RollupKey::parse(&key.replacen(from, to, 1)), None, "{from} -> {to}");
        }
        assert_eq!((ObjectKey::parse(key), ManifestKey::parse(key)), (None, None));
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?"
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in ".*", part in 0..KEY.len(), cut in 0..KEY.len()) {
            let mangled = format!("{}{text}{}", &KEY[..part], &KEY[cut..]);
            for key in [&text, &mangled, &format!("_manifest/{mangled}")] {
                if let Some(parsed) = ObjectKey::parse(key) {
                    let (feed, pop) = parsed.series.split_once('-').unwrap();
                    let again = object_key(parsed.hour, feed, pop, parsed.first, parsed.seq, parsed.extension);
                    prop_assert_eq!(&again, key);
                }
                let _ = ManifestKey::parse(key);
                let _ = RollupKey::parse(&format!("_rollups/{key}"));
                let _ = key.parse::<Hour>();
            }
        }

        #[test]
        fn rendered_keys_are_parsed_back(
            feed in name(), pop in name(), hour in 0..2_000_000_u64, seq: u64, id: u128, extension in 0..6_usize,
        ) {
            let hour = Hour::of_micros(hour * 3_600_000_000);
            let (first, series) = (uuid::Uuid::from_u128(id).to_string(), format!("{feed}-{pop}"));
            let extension = EXTENSIONS[extension];
            let key = object_key(hour, &feed, &pop, &first, seq, extension);
            let parsed = ObjectKey { hour, series: &series, first: &first, seq, extension };
            prop_assert_eq!(ObjectKey::parse(&key), Some(parsed));
            let key = manifest_key(hour, &feed, &pop, seq);
            prop_assert_eq!(ManifestKey::parse(&key), Some(ManifestKey { hour, series: &series, seq }));
        }
    }
}
