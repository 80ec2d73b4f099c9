//! The schedule of manifests: which objects no manifest lists yet, and when the next manifest is due.
//!
//! While objects are added, a manifest follows every [`FeedSpec::manifest_every`]. When the hour has ended and
//! held-back events are packed, the last one closes the hour, also if it lists nothing new; objects that come late make
//! a further one, which is closed, too.
//!
//! An edge whose name changes begins other manifests, and closes its hours under the name that their objects have.
//!
//! Each manifest names the one before it. The state of the spool holds the last one of each feed, so that the commit of
//! a round commits the chain, too; records have it once more.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    time::Instant,
};

use sha2::{Digest, Sha256};

use crate::{
    object::{
        Maker, ObjectKind,
        digest::hex,
        manifest::{Entry, Manifest, Previous},
    },
    runtime::{Hour, clock},
    spool::{
        feed::FeedSpec,
        pack::Setup,
        record::{LATE, Record},
    },
};

/// See the module.
#[derive(Default)]
pub struct ManifestSchedule {
    hours: HashMap<Place, HourOfFeed>,
    /// The last manifest of each feed, of whatever hour.
    last: HashMap<u16, Previous>,
}

/// What manifests are made of: the objects of one feed, hour and name of this edge.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Place {
    hour: Hour,
    feed: u16,
    pop: String,
}

/// What the manifests of a place list.
#[derive(Default)]
struct HourOfFeed {
    /// Since when there are objects that no manifest lists.
    unlisted: Option<Instant>,
    /// Version of the last manifest; 0 without one.
    version: u32,
    /// Whether it is the last one, unless objects come late.
    closed: bool,
}

/// A manifest that is to be written.
pub struct BuiltManifest {
    pub feed: u16,
    pub record: Record,
    pub text: Vec<u8>,
}

/// Whether the journal holds events of a feed and an hour.
pub type Waits<'a> = &'a dyn Fn(u16, Hour) -> bool;

impl ManifestSchedule {
    /// Takes note of an object, a manifest or a rollup that was made.
    pub(super) fn note(&mut self, feed: u16, record: &Record, now: Instant) {
        let Some(maker) = record.maker() else { return };
        let place = Place { hour: record.hour, feed, pop: maker.pop.to_owned() };
        match record.kind() {
            ObjectKind::Events => {
                let hour = self.hours.entry(place).or_default();
                hour.unlisted.get_or_insert(now);
            }
            ObjectKind::Manifest => {
                let version = record.manifest.unwrap_or_default();
                self.hours.insert(place, HourOfFeed { unlisted: None, version, closed: record.closed });
                let made = Previous { key: record.key.clone(), sha256: record.sha256.clone() };
                let last = self.last.entry(feed).or_insert_with(|| made.clone());
                if made.number() > last.number() {
                    *last = made;
                }
            }
            ObjectKind::Rollup | ObjectKind::Replay | ObjectKind::Test => {}
        }
    }

    /// The last manifest of each feed.
    pub fn last(&self) -> impl Iterator<Item = (u16, &Previous)> {
        self.last.iter().map(|(feed, last)| (*feed, last))
    }

    /// Forgets an hour.
    pub(super) fn forget(&mut self, hour: Hour) {
        self.hours.retain(|place, _| place.hour != hour);
    }

    /// Whether a manifest is due.
    pub fn any_due(&self, feeds: &[FeedSpec], waits: Waits<'_>, now: Instant) -> bool {
        self.due(feeds, waits, now).next().is_some()
    }

    /// Builds the manifests that are due, each linked to the one before it. They list the objects of this round, too,
    /// which are not recorded yet.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn build(
        &self,
        setup: &Setup,
        round: &[(u16, Record)],
        waits: Waits<'_>,
        now: Instant,
    ) -> io::Result<Vec<BuiltManifest>> {
        let Setup { feeds, identity, state, disk, records, .. } = setup;
        let mut due: Vec<&Place> = self.due(feeds, waits, now).collect();
        due.sort_unstable();
        let mut chains: HashMap<u16, Previous> = HashMap::new();
        let mut built = Vec::new();
        for of_hour in due.chunk_by(|one, other| one.hour == other.hour) {
            let hour = of_hour[0].hour;
            let of: HashSet<&str> =
                of_hour.iter().map(|place| feeds[usize::from(place.feed)].name.as_str()).collect();
            // Records are read once for all feeds.
            let mut entries: HashMap<(String, String), Vec<Entry>> = HashMap::new();
            let new = round.iter().map(|(_, record)| record.clone()).filter(|record| record.hour == hour);
            for record in records.read(&**disk, hour)?.into_iter().chain(new) {
                if record.kind() == ObjectKind::Events
                    && of.contains(record.feed.as_str())
                    && let Some(pop) = record.maker().filter(|maker| maker.spool == *identity).map(|maker| maker.pop)
                {
                    let place = (record.feed.clone(), pop.to_owned());
                    entries.entry(place).or_default().push(entry(record));
                }
            }
            for place in of_hour.iter().copied() {
                let (feed, spec) = (place.feed, &feeds[usize::from(place.feed)]);
                let version = self.hours.get(place).map_or(1, |hour| hour.version + 1);
                let entries = entries.remove(&(spec.name.clone(), place.pop.clone())).unwrap_or_default();
                let maker = Maker { pop: &place.pop, ..spec.maker(identity) };
                let known = || state.feeds.get(&spec.name)?.manifest.clone();
                let previous = chains.remove(&feed).or_else(known);
                let previous = previous.filter(|previous| previous.is_of(&spec.name, identity));
                let manifest = Manifest {
                    number: previous.as_ref().and_then(Previous::number).map_or(1, |number| number + 1),
                    previous,
                    closed: is_complete(feed, spec, hour, waits),
                    ..Manifest::new(maker, hour, version, clock::unix_micros(), entries)
                };
                let text = manifest.to_json()?;
                let record = record_of(&manifest, &text);
                chains.insert(feed, Previous { key: record.key.clone(), sha256: record.sha256.clone() });
                built.push(BuiltManifest { feed, record, text });
            }
        }
        Ok(built)
    }

    /// Hours whose last manifest is still to come.
    pub(super) fn open_hours(&self, feeds: &[FeedSpec]) -> BTreeSet<Hour> {
        let has_manifests = |feed: u16| feeds[usize::from(feed)].manifest_every.is_some();
        let open = self.hours.iter().filter(|(_, hour)| hour.unlisted.is_some() || !hour.closed);
        open.filter(|(place, _)| has_manifests(place.feed)).map(|(place, _)| place.hour).collect()
    }

    fn due(&self, feeds: &[FeedSpec], waits: Waits<'_>, now: Instant) -> impl Iterator<Item = &Place> {
        let due = move |Place { hour, feed, .. }: &Place, of: &HourOfFeed| {
            let spec = &feeds[usize::from(*feed)];
            let Some(every) = spec.manifest_every else { return false };
            let is_complete = is_complete(*feed, spec, *hour, waits);
            let age = of.unlisted.map(|since| now.duration_since(since));
            age.map_or(is_complete && !of.closed, |age| age >= every || (age >= LATE && is_complete))
        };
        self.hours.iter().filter(move |(place, hour)| due(place, hour)).map(|(place, _)| place)
    }
}

/// Whether no more events of an hour are expected: it ended, they were held back no longer, and none is in the journal.
fn is_complete(feed: u16, spec: &FeedSpec, hour: Hour, waits: Waits<'_>) -> bool {
    let end = (hour.since_epoch() + 1) * 3_600 + spec.hold_back.as_secs() + LATE.as_secs();
    // A clock that jumps ahead ends no hour.
    clock::passed_micros() / 1_000_000 >= end && !waits(feed, hour)
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
        bytes: text.len() as u64,
        sha256: hex(&Sha256::digest(text)),
        manifest: Some(manifest.version),
        closed: manifest.closed,
        ..Record::default()
    }
}
