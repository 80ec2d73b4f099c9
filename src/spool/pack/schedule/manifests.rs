//! The schedule of manifests: which objects no manifest lists yet, and when the next manifest is due.
//!
//! A manifest follows soon after its hour has ended and held-back events are packed, and again when objects come late;
//! before that, every [`FeedSpec::manifest_every`] while objects are added.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    time::Instant,
};

use sha2::{Digest, Sha256};

use crate::{
    object::{
        ObjectKind,
        digest::hex,
        manifest::{Entry, Manifest},
    },
    runtime::{Hour, clock},
    spool::{
        disk::Disk,
        feed::FeedSpec,
        record::{LATE, Record, Records},
    },
};

/// See the module.
#[derive(Default)]
pub struct ManifestSchedule {
    /// Since when there are objects that no manifest lists, by feed and hour.
    unlisted: HashMap<(u16, Hour), Instant>,
    /// Version of the last manifest.
    versions: HashMap<(u16, Hour), u32>,
}

/// A manifest that is to be written.
pub struct BuiltManifest {
    pub feed: u16,
    pub record: Record,
    pub text: Vec<u8>,
}

impl ManifestSchedule {
    /// Takes note of an object, a manifest or a rollup that was made.
    pub(super) fn note(&mut self, feed: u16, record: &Record, now: Instant) {
        let place = (feed, record.hour);
        match record.kind() {
            ObjectKind::Events => _ = self.unlisted.entry(place).or_insert(now),
            ObjectKind::Manifest => {
                self.versions.insert(place, record.manifest.unwrap_or_default());
                self.unlisted.remove(&place);
            }
            ObjectKind::Rollup | ObjectKind::Replay | ObjectKind::Test => {}
        }
    }

    /// Forgets an hour.
    pub(super) fn forget(&mut self, hour: Hour) {
        self.unlisted.retain(|(_, of), _| *of != hour);
        self.versions.retain(|(_, of), _| *of != hour);
    }

    /// Whether a manifest is due.
    pub fn any_due(&self, feeds: &[FeedSpec], now: Instant) -> bool {
        self.due(feeds, now).next().is_some()
    }

    /// Builds the manifests that are due. They list the objects of this round, too, which are not recorded yet.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn build(
        &self,
        feeds: &[FeedSpec],
        disk: &dyn Disk,
        records: &Records,
        round: &[(u16, Record)],
        now: Instant,
    ) -> io::Result<Vec<BuiltManifest>> {
        let mut by_hour: BTreeMap<Hour, Vec<u16>> = BTreeMap::new();
        for (feed, hour) in self.due(feeds, now) {
            by_hour.entry(hour).or_default().push(feed);
        }
        let mut built = Vec::new();
        for (hour, of) in by_hour {
            let specs: HashMap<&str, &FeedSpec> =
                of.iter().map(|feed| &feeds[usize::from(*feed)]).map(|spec| (spec.name.as_str(), spec)).collect();
            // Records are read once for all feeds.
            let mut entries: HashMap<String, Vec<Entry>> = HashMap::new();
            let new = round.iter().map(|(_, record)| record.clone()).filter(|record| record.hour == hour);
            for record in records.read(disk, hour)?.into_iter().chain(new) {
                let spec = specs.get(record.feed.as_str());
                if record.kind() == ObjectKind::Events
                    && spec.is_some_and(|spec| record.belongs_to(&spec.name, &spec.pop))
                {
                    entries.entry(record.feed.clone()).or_default().push(entry(record));
                }
            }
            for feed in of {
                let spec = &feeds[usize::from(feed)];
                let version = self.versions.get(&(feed, hour)).map_or(1, |version| version + 1);
                let entries = entries.remove(&spec.name).unwrap_or_default();
                let manifest = Manifest::new(&spec.name, &spec.pop, hour, version, clock::unix_micros(), entries);
                let text = manifest.to_json()?;
                built.push(BuiltManifest { feed, record: record_of(&manifest, &text), text });
            }
        }
        Ok(built)
    }

    /// Hours with objects that a manifest is still to list.
    pub(super) fn open_hours(&self, feeds: &[FeedSpec]) -> BTreeSet<Hour> {
        let has_manifests = |feed: u16| feeds[usize::from(feed)].manifest_every.is_some();
        self.unlisted.keys().filter(|(feed, _)| has_manifests(*feed)).map(|(_, hour)| *hour).collect()
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

fn record_of(manifest: &Manifest, text: &[u8]) -> Record {
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
