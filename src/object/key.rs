//! The keys of objects, manifests and rollups, below the feed's prefix.
//!
//! ```text
//! dt=2026-11-23/hour=09/{feed}-{pop}-{spool}-{first event id}-{seq}.ndjson.gz     layout hive
//! {feed}-{pop}-{spool}/{seq}.ndjson.gz                                            layout sequence
//! _manifest/dt=2026-11-23/hour=09/{feed}-{pop}-{spool}-{largest seq}-{number}.json
//! _rollups/dt=2026-11-23/hour=09/{feed}-{pop}-{spool}-v{version}.ndjson.gz
//! _replay/{id}/dt=2026-11-23/hour=09/{feed}-{pop}-{spool}-{first event id}-{seq}.ndjson.gz
//! ```
//! `{spool}` is the identity of the spool that made the object, so that no two spools ever make the same key: not an
//! edge that was rebuilt under its name, nor two edges with one name.
//!
//! Engines that read folders as partitions skip those that begin with `_`. Names of feeds and edges may contain a `-`:
//! a key is parsed from its right end, and feed and edge stay together as one string, the *series*. A manifest has them
//! as separate fields. Parsing is total and strict: a key that parses renders to the same key.
//!
//! [`earlier`] parses the keys of the previous release, which have no identity, for objects that it left in the outbox.

pub mod earlier;

use crate::runtime::Hour;

/// Folders of what is no event, below the feed's prefix. Table engines skip names that begin with `_`.
pub const MANIFESTS: &str = "_manifest";
pub const ROLLUPS: &str = "_rollups";
/// Events that an operator sends again.
pub const REPLAYS: &str = "_replay";
/// Sample events of `clickedge feed test`.
pub const TESTS: &str = "_test";

/// Extensions of objects: format and compression.
const EXTENSIONS: [&str; 6] = ["ndjson.gz", "ndjson.zst", "ndjson", "json.gz", "json.zst", "json"];

const ID_LENGTH: usize = 36;

/// Characters of a spool's identity.
pub const SPOOL_LENGTH: usize = 8;

/// Who makes an object: the names that are part of its key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Maker<'a> {
    pub feed: &'a str,
    pub pop: &'a str,
    /// Identity of the spool.
    pub spool: &'a str,
}

impl<'a> Maker<'a> {
    /// Who made the object, the manifest or the rollup with this key for a feed. `None` for one of another feed, and
    /// for any other key.
    pub fn of(key: &'a str, feed: &'a str) -> Option<Self> {
        let object = ObjectKey::parse(key).map(|key| match key.place {
            KeyPlace::Hive { series, .. } | KeyPlace::Sequence { series } => (series, key.spool),
        });
        let manifest = || ManifestKey::parse(key).map(|key| (key.series, key.spool));
        let rollup = || RollupKey::parse(key).map(|key| (key.series, key.spool));
        let (series, spool) = object.or_else(manifest).or_else(rollup)?;
        let pop = series.strip_prefix(feed)?.strip_prefix('-')?;
        Some(Self { feed, pop, spool })
    }

    /// The key of an object in the layout `hive`. `first` is the id of its first event.
    pub fn hive_key(&self, hour: Hour, first: &str, seq: u64, extension: &str) -> String {
        format!("{}/{self}-{first}-{seq:08}.{extension}", hour.partition())
    }

    /// The key of an object in the layout `sequence`.
    pub fn sequence_key(&self, seq: u64, extension: &str) -> String {
        format!("{self}/{seq:012}.{extension}")
    }

    /// The key of a manifest. `seq` is the largest number of an object in it, `number` its own among the feed's
    /// manifests.
    pub fn manifest_key(&self, hour: Hour, seq: u64, number: u64) -> String {
        format!("{MANIFESTS}/{}/{self}-{seq:08}-{number:08}.json", hour.partition())
    }

    /// How the keys of an hour's manifests begin, whatever the spool.
    pub fn manifests_of_all_spools(&self, hour: Hour) -> String {
        format!("{MANIFESTS}/{}/{}-{}-", hour.partition(), self.feed, self.pop)
    }

    /// The key of a rollup.
    pub fn rollup_key(&self, hour: Hour, version: u32) -> String {
        format!("{ROLLUPS}/{}/{self}-v{version}.ndjson.gz", hour.partition())
    }
}

impl std::fmt::Display for Maker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.feed, self.pop, self.spool)
    }
}

/// The parts of an object's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ObjectKey<'a> {
    pub place: KeyPlace<'a>,
    /// Identity of the spool that made it.
    pub spool: &'a str,
    pub seq: u64,
    /// Such as `ndjson.gz`.
    pub extension: &'a str,
}

/// The part of an object's key that depends on the layout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyPlace<'a> {
    Hive {
        hour: Hour,
        /// `{feed}-{pop}`.
        series: &'a str,
        /// Event id of the first event.
        first: &'a str,
    },
    Sequence {
        /// `{feed}-{pop}`.
        series: &'a str,
    },
}

impl<'a> ObjectKey<'a> {
    /// Parses a key. `None` when it is not one of an object.
    pub fn parse(key: &'a str) -> Option<Self> {
        Self::parse_hive(key).or_else(|| Self::parse_sequence(key))
    }

    fn parse_hive(key: &'a str) -> Option<Self> {
        let (hour, name) = hour_and_name(key)?;
        let HiveName { before, first, seq, extension } = HiveName::parse(name)?;
        let (series, spool) = series_and_spool(before)?;
        Some(Self { place: KeyPlace::Hive { hour, series, first }, spool, seq, extension })
    }

    fn parse_sequence(key: &'a str) -> Option<Self> {
        let (folder, name) = key.split_once('/')?;
        let (series, spool) = sequence_folder(folder)?;
        let (seq, extension) = name.split_once('.')?;
        let seq = padded(seq, 12)?;
        let extension = EXTENSIONS.into_iter().find(|known| *known == extension)?;
        Some(Self { place: KeyPlace::Sequence { series }, spool, seq, extension })
    }

    /// What made it: `{feed}-{pop}-{spool}`.
    pub fn maker(&self) -> String {
        let (KeyPlace::Hive { series, .. } | KeyPlace::Sequence { series }) = self.place;
        format!("{series}-{}", self.spool)
    }

    /// The hour of its events, if the key has it.
    pub fn hour(&self) -> Option<Hour> {
        match self.place {
            KeyPlace::Hive { hour, .. } => Some(hour),
            KeyPlace::Sequence { .. } => None,
        }
    }
}

/// The part of a key below one of the folders.
pub fn below<'a>(folder: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(folder)?.strip_prefix('/')
}

/// Splits the name of a folder of the layout `sequence` into `{feed}-{pop}` and the identity of the spool.
pub fn sequence_folder(folder: &str) -> Option<(&str, &str)> {
    let (series, spool) = series_and_spool(folder)?;
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = series.bytes().all(is_part) && !series.starts_with('-') && !series.ends_with('-');
    is_name.then_some((series, spool))
}

/// Whether a text has the form of a spool's identity.
pub fn is_spool(text: &str) -> bool {
    text.len() == SPOOL_LENGTH && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The parts of a manifest's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ManifestKey<'a> {
    pub hour: Hour,
    /// `{feed}-{pop}`.
    pub series: &'a str,
    /// Identity of the spool that made it.
    pub spool: &'a str,
    /// The largest number of an object in it.
    pub seq: u64,
    /// Its number among all manifests of the feed and the spool.
    pub number: u64,
}

impl<'a> ManifestKey<'a> {
    /// Parses a key. `None` when it is not one of a manifest.
    pub fn parse(key: &'a str) -> Option<Self> {
        let (hour, name) = hour_and_name(below(MANIFESTS, key)?)?;
        let (rest, number) = name.strip_suffix(".json")?.rsplit_once('-')?;
        let (rest, seq) = rest.rsplit_once('-')?;
        let (series, spool) = series_and_spool(rest)?;
        Some(Self { hour, series, spool, seq: padded(seq, 8)?, number: padded(number, 8)? })
    }
}

/// The parts of a rollup's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RollupKey<'a> {
    pub hour: Hour,
    /// `{feed}-{pop}`.
    pub series: &'a str,
    /// Identity of the spool that made it.
    pub spool: &'a str,
    /// 1 for the first rollup of the hour.
    pub version: u32,
}

impl<'a> RollupKey<'a> {
    /// Parses a key. `None` when it is not one of a rollup.
    pub fn parse(key: &'a str) -> Option<Self> {
        let (hour, name) = hour_and_name(below(ROLLUPS, key)?)?;
        let (rest, version) = rest_and_version(name)?;
        let (series, spool) = series_and_spool(rest)?;
        Some(Self { hour, series, spool, version })
    }
}

/// The name of an object in the layout `hive`.
struct HiveName<'a> {
    /// All before the id of the first event.
    before: &'a str,
    first: &'a str,
    seq: u64,
    extension: &'a str,
}

impl<'a> HiveName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let extension = EXTENSIONS
            .into_iter()
            .find(|extension| name.strip_suffix(extension).is_some_and(|stem| stem.ends_with('.')))?;
        let (stem, extension) = name.split_at(name.len() - extension.len());
        let (stem, seq) = stem.strip_suffix('.')?.rsplit_once('-')?;
        let seq = padded(seq, 8)?;
        let (before, first) = stem.split_at_checked(stem.len().checked_sub(ID_LENGTH)?)?;
        let id = uuid::Uuid::try_parse(first).ok()?;
        let canonical = id.hyphenated().encode_lower(&mut [0; ID_LENGTH]) == first;
        canonical.then_some(Self { before: before.strip_suffix('-')?, first, seq, extension })
    }
}

/// Splits `dt=2026-11-23/hour=09/name`.
fn hour_and_name(key: &str) -> Option<(Hour, &str)> {
    let (partition, name) = key.rsplit_once('/')?;
    Some((Hour::of_partition(partition)?, name))
}

/// Splits the name of a rollup.
fn rest_and_version(name: &str) -> Option<(&str, u32)> {
    let (rest, digits) = name.strip_suffix(".ndjson.gz")?.rsplit_once("-v")?;
    let version = digits.parse().ok().filter(|version: &u32| *version > 0 && version.to_string() == digits)?;
    Some((rest, version))
}

/// Parses a number that was written with `{:0width}`.
fn padded(digits: &str, width: usize) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (format!("{number:0width$}") == digits).then_some(number)
}

/// Splits `{feed}-{pop}-{spool}` before the identity.
fn series_and_spool(text: &str) -> Option<(&str, &str)> {
    let (series, spool) = text.rsplit_once('-')?;
    Some((series_of(series)?, Some(spool).filter(|spool| is_spool(spool))?))
}

/// A feed and an edge, each of at least one character.
fn series_of(series: &str) -> Option<&str> {
    series.get(1..series.len().checked_sub(1)?)?.contains('-').then_some(series)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str =
        "dt=2026-11-23/hour=09/my-brand-fra-1-k3j9x0ab-01a2085b-d4e1-7645-b01b-77c6bdce7f10-00000042.ndjson.gz";

    #[test]
    fn an_object_key_is_parsed_from_its_right_end() {
        let key = ObjectKey::parse(KEY).unwrap();
        let KeyPlace::Hive { hour, series, first } = key.place else { panic!("{key:?}") };
        assert_eq!((hour.to_string().as_str(), key.hour()), ("2026-11-23T09", Some(hour)));
        assert_eq!((series, key.spool), ("my-brand-fra-1", "k3j9x0ab"));
        assert_eq!((first, key.seq), ("01a2085b-d4e1-7645-b01b-77c6bdce7f10", 42));
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
            ("-k3j9x0ab", ""),
            ("k3j9x0ab", "k3j9x0a"),
            ("k3j9x0ab", "k3j9x0aB"),
            ("k3j9x0ab", "k3j9x0ab0"),
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
        assert_eq!(ObjectKey::parse(&format!("_replay/r1/{KEY}")), None);
        assert_eq!(ManifestKey::parse(KEY), None);
    }

    #[test]
    fn a_key_of_a_sequence_has_series_spool_and_number() {
        const KEY: &str = "my-brand-fra-1-k3j9x0ab/000000000042.ndjson.gz";
        let key = ObjectKey::parse(KEY).unwrap();
        assert_eq!((key.place, key.spool), (KeyPlace::Sequence { series: "my-brand-fra-1" }, "k3j9x0ab"));
        assert_eq!((key.seq, key.extension, key.hour()), (42, "ndjson.gz", None));
        for (from, to) in [
            ("my-brand-fra-1-", ""),
            ("my-brand", "_my"),
            ("my-brand", "-my"),
            ("fra-1", "Fra"),
            ("k3j9x0ab", "k3j9x0a"),
            ("/", "/x/"),
            ("0042", "042"),
            ("0042", "00042"),
            (".ndjson.gz", ".csv"),
            (".ndjson.gz", ""),
        ] {
            assert_eq!(ObjectKey::parse(&KEY.replacen(from, to, 1)), None, "{from} -> {to}");
        }
    }

    #[test]
    fn a_manifest_key_has_hour_series_spool_and_both_numbers() {
        let text = "_manifest/dt=2026-11-23/hour=09/my-brand-fra-1-k3j9x0ab-123456789-00000017.json";
        let key = ManifestKey::parse(text).unwrap();
        assert_eq!(
            (key.hour.to_string().as_str(), key.series, key.spool),
            ("2026-11-23T09", "my-brand-fra-1", "k3j9x0ab")
        );
        assert_eq!((key.seq, key.number), (123_456_789, 17));
        for (from, to) in [("-00000017", ""), ("-k3j9x0ab", ""), ("00000017", "17"), ("_manifest/", "")] {
            assert_eq!(ManifestKey::parse(&text.replacen(from, to, 1)), None, "{from} -> {to}");
        }
    }

    #[test]
    fn a_rollup_key_has_hour_series_spool_and_version() {
        let key = "_rollups/dt=2026-11-23/hour=09/my-brand-fra-1-k3j9x0ab-v12.ndjson.gz";
        let parsed = RollupKey::parse(key).unwrap();
        assert_eq!(
            (parsed.hour.to_string().as_str(), parsed.series, parsed.version),
            ("2026-11-23T09", "my-brand-fra-1", 12)
        );
        let maker = Maker { feed: "my-brand", pop: "fra-1", spool: parsed.spool };
        assert_eq!(maker.rollup_key(parsed.hour, 12), key);
        for (from, to) in [
            ("v12", "v012"),
            ("v12", "v0"),
            ("v12", "12"),
            ("v12", "v+1"),
            ("-v", "v"),
            ("-k3j9x0ab", ""),
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

    /// The key that has these parts.
    fn render(key: &ObjectKey<'_>) -> String {
        let ObjectKey { place, spool, seq, extension } = *key;
        match place {
            KeyPlace::Hive { hour, series, first } => {
                let (feed, pop) = series.split_once('-').unwrap();
                Maker { feed, pop, spool }.hive_key(hour, first, seq, extension)
            }
            KeyPlace::Sequence { series } => {
                let (feed, pop) = series.split_once('-').unwrap();
                Maker { feed, pop, spool }.sequence_key(seq, extension)
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in ".*", part in 0..KEY.len(), cut in 0..KEY.len()) {
            let mangled = format!("{}{text}{}", &KEY[..part], &KEY[cut..]);
            for key in [&text, &mangled, &format!("a-fra1-k3j9x0ab/{text}"), &format!("{text}/000000000001.json")] {
                if let Some(parsed) = ObjectKey::parse(key) {
                    prop_assert_eq!(&render(&parsed), key);
                }
                let _ = ManifestKey::parse(key);
                let _ = ManifestKey::parse(&format!("_manifest/{key}"));
                let _ = RollupKey::parse(&format!("_rollups/{key}"));
                let _ = (earlier::kind_and_hour(key), earlier::seq_of(key));
                let _ = key.parse::<Hour>();
            }
        }

        #[test]
        fn rendered_keys_are_parsed_back(
            feed in name(), pop in name(), spool in "[0-9a-z]{8}", hour in 0..2_000_000_u64, seq: u64, number: u64,
            id: u128, extension in 0..6_usize, version in 1_u32..,
        ) {
            let hour = Hour::of_micros(hour * 3_600_000_000);
            let (first, series) = (uuid::Uuid::from_u128(id).to_string(), format!("{feed}-{pop}"));
            let (extension, spool, series) = (EXTENSIONS[extension], spool.as_str(), series.as_str());
            let maker = Maker { feed: &feed, pop: &pop, spool };
            let key = maker.hive_key(hour, &first, seq, extension);
            let place = KeyPlace::Hive { hour, series, first: &first };
            prop_assert_eq!(ObjectKey::parse(&key), Some(ObjectKey { place, spool, seq, extension }));
            let key = maker.sequence_key(seq, extension);
            let place = KeyPlace::Sequence { series };
            prop_assert_eq!(ObjectKey::parse(&key), Some(ObjectKey { place, spool, seq, extension }));
            let key = maker.manifest_key(hour, seq, number);
            prop_assert_eq!(ManifestKey::parse(&key), Some(ManifestKey { hour, series, spool, seq, number }));
            let key = maker.rollup_key(hour, version);
            prop_assert_eq!(RollupKey::parse(&key), Some(RollupKey { hour, series, spool, version }));
        }

        #[test]
        fn keys_of_a_sequence_sort_by_number(one in 0..1_000_000_000_000_u64, other in 0..1_000_000_000_000_u64) {
            let maker = Maker { feed: "all", pop: "fra1", spool: "k3j9x0ab" };
            let (one_key, other_key) = (maker.sequence_key(one, "ndjson.gz"), maker.sequence_key(other, "ndjson.gz"));
            prop_assert_eq!(one_key.cmp(&other_key), one.cmp(&other));
        }
    }
}
