//! Hours and their manifests: which objects of which hour no manifest lists yet, and when the next one is due.
//!
//! A manifest follows soon after its hour has ended and what was held back is packed, and again when objects come
//! late; before that, every [`FeedSpec::manifest_every`] while objects are added.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{
    FeedSpec,
    disk::Disk,
    record::{Record, Records},
    rollups::Unsent,
};
use crate::{
    object::{
        ManifestKey, ObjectKey, ObjectKind, RollupKey,
        digest::hex,
        manifest::{Entry, Manifest},
    },
    runtime::{Hour, clock},
};

/// Time that late objects are collected for, before the next version of a manifest lists them.
const LATE: Duration = Duration::from_secs(60);

/// Hours after which the records of an hour are forgotten. A manifest of later objects lists those alone.
pub const FORGOTTEN_HOURS: u64 = 48;

/// See the module.
#[derive(Default)]
pub struct Hours {
    /// Since when there are objects that no manifest lists.
    unlisted: HashMap<(u16, Hour), Instant>,
    /// Version of the last manifest.
    versions: HashMap<(u16, Hour), u32>,
    /// All hours that have records.
    known: BTreeSet<Hour>,
    /// The largest number of an object.
    seqs: HashMap<u16, u64>,
    /// What is to be counted to the customers.
    pub rollups: Unsent,
}

/// A manifest that is to be written: its feed, what is recorded of it, its text.
pub type Made = (u16, Record, Vec<u8>);

impl Hours {
    /// Reads what an earlier process has recorded. `number_of` tells the number of the feed that a record belongs to, if
    /// it belongs to one of ours.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn load(disk: &dyn Disk, records: &Records, number_of: impl Fn(&Record) -> Option<u16>) -> io::Result<Self> {
        let mut hours = Self::default();
        for hour in records.hours(disk)? {
            hours.known.insert(hour);
            for record in records.read(disk, hour)? {
                if let Some(feed) = number_of(&record) {
                    hours.note(feed, &record, clock::monotonic());
                }
            }
        }
        Ok(hours)
    }

    /// Notes an object, a manifest or a rollup that was made.
    pub fn note(&mut self, feed: u16, record: &Record, now: Instant) {
        let place = (feed, record.hour);
        let seq = self.seqs.entry(feed).or_default();
        *seq = record.seq.max(*seq);
        self.known.insert(record.hour);
        self.rollups.note(feed, record, now);
        match record.kind() {
            ObjectKind::Events => _ = self.unlisted.entry(place).or_insert(now),
            ObjectKind::Manifest => {
                self.versions.insert(place, record.manifest.unwrap_or_default());
                self.unlisted.remove(&place);
            }
            ObjectKind::Rollup | ObjectKind::Replay => {}
        }
    }

    /// The largest number of an object that is known of each feed.
    pub fn last_seqs(&self) -> impl Iterator<Item = (u16, u64)> {
        self.seqs.iter().map(|(feed, seq)| (*feed, *seq))
    }

    /// Whether a manifest is due.
    pub fn any_due(&self, feeds: &[FeedSpec], now: Instant) -> bool {
        self.due(feeds, now).next().is_some()
    }

    /// The manifests that are due, with the objects of this round, which are not recorded yet.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn manifests(
        &self,
        feeds: &[FeedSpec],
        disk: &dyn Disk,
        records: &Records,
        round: &[(u16, Record)],
        now: Instant,
    ) -> io::Result<Vec<Made>> {
        let mut by_hour: BTreeMap<Hour, Vec<u16>> = BTreeMap::new();
        for (feed, hour) in self.due(feeds, now) {
            by_hour.entry(hour).or_default().push(feed);
        }
        let mut made = Vec::new();
        for (hour, of) in by_hour {
            let specs: HashMap<&str, &FeedSpec> =
                of.iter().map(|feed| &feeds[usize::from(*feed)]).map(|spec| (spec.name.as_str(), spec)).collect();
            // Once for all feeds.
            let mut entries: HashMap<String, Vec<Entry>> = HashMap::new();
            let new = round.iter().map(|(_, record)| record.clone()).filter(|record| record.hour == hour);
            for record in records.read(disk, hour)?.into_iter().chain(new) {
                let spec = specs.get(record.feed.as_str());
                if record.kind() == ObjectKind::Events && spec.is_some_and(|spec| is_of(&record, spec)) {
                    entries.entry(record.feed.clone()).or_default().push(entry(record));
                }
            }
            for feed in of {
                let spec = &feeds[usize::from(feed)];
                let version = self.versions.get(&(feed, hour)).map_or(1, |version| version + 1);
                let entries = entries.remove(&spec.name).unwrap_or_default();
                let manifest = Manifest::new(&spec.name, &spec.pop, hour, version, clock::unix_micros(), entries);
                let text = manifest.to_json()?;
                made.push((feed, record(&manifest, &text), text));
            }
        }
        Ok(made)
    }

    /// Hours that were over long ago, all of whose objects are listed.
    pub fn old(&self, feeds: &[FeedSpec], now: Hour) -> Vec<Hour> {
        let open: BTreeSet<Hour> = self
            .unlisted
            .keys()
            .filter(|(feed, _)| feeds[usize::from(*feed)].manifest_every.is_some())
            .map(|(_, hour)| *hour)
            .collect();
        let old = |hour: &&Hour| hour.since_epoch() + FORGOTTEN_HOURS < now.since_epoch() && !open.contains(hour);
        self.known.iter().filter(old).copied().collect()
    }

    /// Forgets an hour.
    pub fn forget(&mut self, hour: Hour) {
        self.known.remove(&hour);
        self.unlisted.retain(|(_, of), _| *of != hour);
        self.versions.retain(|(_, of), _| *of != hour);
        self.rollups.forget(hour);
    }

    fn due(&self, feeds: &[FeedSpec], now: Instant) -> impl Iterator<Item = (u16, Hour)> {
        let unix = clock::unix_secs();
        let due = move |(feed, hour): &(u16, Hour), since: &Instant| {
            let spec = &feeds[usize::from(*feed)];
            let Some(every) = spec.manifest_every else { return false };
            let age = now.duration_since(*since);
            let complete_at = (hour.since_epoch() + 1) * 3_600 + spec.hold_back.as_secs() + LATE.as_secs();
            age >= every || (age >= LATE && unix >= complete_at)
        };
        self.unlisted.iter().filter(move |(place, since)| due(place, since)).map(|(place, _)| *place)
    }
}

/// Whether an object was made under the names that a feed and this edge have now.
pub fn is_of(record: &Record, spec: &FeedSpec) -> bool {
    let series = ObjectKey::parse(&record.key).map(|key| key.series);
    let series = series.or_else(|| ManifestKey::parse(&record.key).map(|key| key.series));
    let series = series.or_else(|| RollupKey::parse(&record.key).map(|key| key.series));
    series.and_then(|series| series.strip_prefix(spec.name.as_str())?.strip_prefix('-')) == Some(spec.pop.as_str())
}

fn entry(record: Record) -> Entry {
    Entry {
        key: record.key,
        seq: record.seq,
        events: record.events,
        bytes: record.bytes,
        sha256: record.sha256,
        first: record.first,
        last: record.last,
    }
}

fn record(manifest: &Manifest, text: &[u8]) -> Record {
    Record {
        feed: manifest.feed.clone(),
        hour: manifest.hour,
        key: manifest.key(),
        seq: manifest.last_seq(),
        events: 0,
        bytes: text.len() as u64,
        sha256: hex(&Sha256::digest(text)),
        first: String::new(),
        last: String::new(),
        manifest: Some(manifest.version),
        rollup: None,
    }
}
