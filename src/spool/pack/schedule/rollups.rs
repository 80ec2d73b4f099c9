//! The schedule of rollups: when the counts of an hour are delivered.
//!
//! A rollup follows soon after its hour has ended and held-back events are packed, as the last manifest does, and again
//! when objects come late. The aggregator and the packer read the journal independently, so a rollup also waits until
//! all packed events of its feed are counted. It is part of a round like any object, and durable before it is named
//! anywhere.
//!
//! Late clicks are corrected for two days. After that the records of an hour may be forgotten, and with them its last
//! version number, which must not be used twice. A store that was begun again lacks earlier counts: for hours that
//! began before it there are no more versions, and the last one stands.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use crate::{
    object::ObjectKind,
    runtime::{Hour, clock},
    spool::{
        feed::FeedSpec,
        pack::source::RollupSource,
        record::{KEPT_HOURS, Record},
    },
};

/// Hours with objects whose counts are not delivered yet, and the versions that are.
#[derive(Default)]
pub struct RollupSchedule {
    /// Since when, by feed and hour.
    since: HashMap<(u16, Hour), Instant>,
    /// Version of the last rollup.
    versions: HashMap<(u16, Hour), u32>,
}

impl RollupSchedule {
    /// Takes note of an object, a manifest or a rollup that was made.
    pub(super) fn note(&mut self, feed: u16, record: &Record, now: Instant) {
        let place = (feed, record.hour);
        match record.kind() {
            ObjectKind::Events => _ = self.since.entry(place).or_insert(now),
            ObjectKind::Rollup => {
                self.versions.insert(place, record.rollup.unwrap_or_default());
                self.since.remove(&place);
            }
            ObjectKind::Manifest | ObjectKind::Replay | ObjectKind::Test => {}
        }
    }

    /// Forgets an hour.
    pub(super) fn forget(&mut self, hour: Hour) {
        self.since.retain(|(_, of), _| *of != hour);
        self.versions.retain(|(_, of), _| *of != hour);
    }

    /// The version of the next rollup.
    pub fn next_version(&self, feed: u16, hour: Hour) -> u32 {
        self.versions.get(&(feed, hour)).map_or(1, |version| version + 1)
    }

    /// Feeds that are due, by hour.
    pub fn due(&self, feeds: &[FeedSpec], source: &RollupSource, now: Instant) -> BTreeMap<Hour, Vec<u16>> {
        let mut due: BTreeMap<Hour, Vec<u16>> = BTreeMap::new();
        if source.is_paused(now) {
            return due;
        }
        // A clock that jumps ahead ends no hour.
        let unix = clock::unix_micros().min(clock::trusted_micros()) / 1_000_000;
        for ((feed, hour), since) in &self.since {
            let spec = &feeds[usize::from(*feed)];
            let end = (hour.since_epoch() + 1) * 3_600;
            let complete_at = end + spec.hold_back.as_secs() + source.late().as_secs();
            if spec.rollups.is_some()
                && now.duration_since(*since) >= source.late()
                && (complete_at..end + (KEPT_HOURS - 1) * 3_600).contains(&unix)
                && source.is_complete(*hour)
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
