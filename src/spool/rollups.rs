//! Rollups: when the counts of an hour are delivered.
//!
//! A rollup follows soon after its hour has ended and what was held back is packed, as the last manifest does, and again
//! when objects come late. Two look into the same journal, whoever counts and the packer; so a rollup waits until all
//! that is packed of its feed is counted, too. It is part of a round like any object: what it holds is durable before
//! anybody knows of it.
//!
//! Late clicks are corrected for two days. After that the records of an hour may be forgotten, and with them the number
//! of its last version, which no other may have. A store that was begun anew lacks what was counted before: of hours
//! that began before it there are no more versions, and the last one stands.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{FeedSpec, hours::FORGOTTEN_HOURS, record::Record};
use crate::{
    object::ObjectKind,
    runtime::{Hour, clock},
    stats::{
        Live,
        store::{Reader, Snapshot, StoreError},
    },
};

/// Time that late objects are collected for, before the next version has their counts.
const LATE: Duration = Duration::from_secs(60);

/// Time until it is looked again whether what is packed is counted.
const RETRY: Duration = Duration::from_secs(1);

/// What a look into the store may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Tells whose a link is, by domain and slashtag: see [`crate::stats::store::reader::Owner`].
pub type Owner = Arc<dyn Fn(&str, &str) -> Option<Box<str>> + Send + Sync>;

/// Which hours have objects whose counts were not delivered, and the versions that were.
#[derive(Default)]
pub struct Unsent {
    since: HashMap<(u16, Hour), Instant>,
    versions: HashMap<(u16, Hour), u32>,
}

impl Unsent {
    /// Notes what was made.
    pub fn note(&mut self, feed: u16, record: &Record, now: Instant) {
        let place = (feed, record.hour);
        match record.kind() {
            ObjectKind::Events => _ = self.since.entry(place).or_insert(now),
            ObjectKind::Rollup => {
                self.versions.insert(place, record.rollup.unwrap_or_default());
                self.since.remove(&place);
            }
            ObjectKind::Manifest | ObjectKind::Replay => {}
        }
    }

    /// Forgets an hour.
    pub fn forget(&mut self, hour: Hour) {
        self.since.retain(|(_, of), _| *of != hour);
        self.versions.retain(|(_, of), _| *of != hour);
    }

    /// The version that is next.
    pub fn next_version(&self, feed: u16, hour: Hour) -> u32 {
        self.versions.get(&(feed, hour)).map_or(1, |version| version + 1)
    }

    /// Feeds that are due, by hour.
    pub fn due(&self, feeds: &[FeedSpec], source: &Source, now: Instant) -> BTreeMap<Hour, Vec<u16>> {
        let mut due: BTreeMap<Hour, Vec<u16>> = BTreeMap::new();
        if source.not_before.get().is_some_and(|then| now < then) {
            return due;
        }
        let unix = clock::unix_secs();
        for ((feed, hour), since) in &self.since {
            let spec = &feeds[usize::from(*feed)];
            let end = (hour.since_epoch() + 1) * 3_600;
            let complete_at = end + spec.hold_back.as_secs() + source.late.as_secs();
            if spec.rollups.is_some()
                && now.duration_since(*since) >= source.late
                && (complete_at..end + (FORGOTTEN_HOURS - 1) * 3_600).contains(&unix)
                && source.has_all_of(*hour)
            {
                due.entry(*hour).or_default().push(*feed);
            }
        }
        for feeds in due.values_mut() {
            feeds.sort_unstable();
        }
        due
    }
}

/// Where the counts come from.
pub struct Source {
    live: Live,
    pub(super) owner: Owner,
    late: Duration,
    retry: Duration,
    /// Since when the store has everything, microseconds since the Unix epoch, as it said last.
    since: Cell<u64>,
    not_before: Cell<Option<Instant>>,
}

impl Source {
    pub fn new(live: Live, owner: Owner) -> Self {
        Self { live, owner, late: LATE, retry: RETRY, since: Cell::new(0), not_before: Cell::new(None) }
    }

    /// Has patience with nobody.
    #[cfg(test)]
    fn impatient(self) -> Self {
        Self { late: Duration::ZERO, retry: Duration::ZERO, ..self }
    }

    pub(super) fn reader(&self) -> Result<Reader, StoreError> {
        self.live.reader()
    }

    pub(super) fn snapshot<'a>(&self, reader: &'a mut Reader) -> Result<Snapshot<'a>, StoreError> {
        let snapshot = reader.snapshot(LIMIT)?;
        self.since.set(snapshot.since());
        Ok(snapshot)
    }

    /// Whether nothing of an hour was counted before the store began.
    pub(super) fn has_all_of(&self, hour: Hour) -> bool {
        hour.since_epoch().saturating_mul(3_600_000_000) >= self.since.get()
    }

    /// Looks again a little later.
    pub(super) fn wait(&self, failed: bool) {
        let times = if failed { 30 } else { 1 };
        self.not_before.set(Some(clock::monotonic() + self.retry * times));
    }
}

#[cfg(test)]
mod tests;
