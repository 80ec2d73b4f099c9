//! The schedule of what follows objects: manifests and rollups of their hours. Built from
//! [records](crate::spool::record) at the start of a process, and kept up to date by every round.

pub mod manifests;
pub mod rollups;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    time::Instant,
};

use manifests::ManifestSchedule;
use rollups::RollupSchedule;

use crate::{
    object::ObjectKind,
    runtime::{Hour, clock},
    spool::{
        disk::Disk,
        feed::FeedSpec,
        record::{KEPT_HOURS, Record, Records},
    },
};

/// See the module.
#[derive(Default)]
pub struct Schedule {
    pub manifests: ManifestSchedule,
    pub rollups: RollupSchedule,
    /// All hours that have records.
    known: BTreeSet<Hour>,
    /// Number and hour of the last object, by feed. These hours are not forgotten: a state that is lost is rebuilt from
    /// their records.
    last: HashMap<String, (u64, Hour)>,
    /// By the name of a feed that has no number, what is needed when it gets one.
    unnumbered: HashMap<String, Vec<Record>>,
}

impl Schedule {
    /// Reads what an earlier process has recorded. Those that are not `ours` are of another edge; `number_of` returns
    /// the number of a feed, by its name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn load(
        disk: &dyn Disk,
        records: &Records,
        ours: impl Fn(&Record) -> bool,
        number_of: impl Fn(&str) -> Option<u16>,
    ) -> io::Result<Self> {
        let mut schedule = Self::default();
        for hour in records.hours(disk)? {
            schedule.known.insert(hour);
            for record in records.read(disk, hour)? {
                schedule.note_last(&record);
                if !ours(&record) {
                    continue;
                }
                match number_of(&record.feed) {
                    Some(feed) => schedule.note(feed, &record, clock::monotonic()),
                    None => schedule.keep(record),
                }
            }
        }
        Ok(schedule)
    }

    /// Continues the hours and versions of a feed that gets its number now.
    pub fn adopt(&mut self, name: &str, feed: u16) {
        for record in self.unnumbered.remove(name).unwrap_or_default() {
            self.note(feed, &record, clock::monotonic());
        }
    }

    /// Keeps the last record of each hour and kind.
    fn keep(&mut self, record: Record) {
        let kept = self.unnumbered.entry(record.feed.clone()).or_default();
        let pop = |record: &Record| record.maker().map(|maker| maker.pop.to_owned());
        kept.retain(|other| other.hour != record.hour || other.kind() != record.kind() || pop(other) != pop(&record));
        kept.push(record);
    }

    /// Takes note of an object, a manifest or a rollup that was made.
    pub fn note(&mut self, feed: u16, record: &Record, now: Instant) {
        self.note_last(record);
        self.known.insert(record.hour);
        self.manifests.note(feed, record, now);
        self.rollups.note(feed, record, now);
    }

    /// Hours that ended more than [`KEPT_HOURS`] ago, all of whose objects are listed, without those of the last object
    /// and the last manifest of a feed.
    pub fn old(&self, feeds: &[FeedSpec], now: Hour) -> Vec<Hour> {
        let mut open = self.manifests.open_hours(feeds);
        open.extend(self.last.values().map(|(_, hour)| *hour));
        open.extend(self.manifests.last().filter_map(|(_, last)| last.hour()));
        let old = |hour: &&Hour| hour.since_epoch() + KEPT_HOURS < now.since_epoch() && !open.contains(hour);
        self.known.iter().filter(old).copied().collect()
    }

    fn note_last(&mut self, record: &Record) {
        if record.kind() != ObjectKind::Events {
            return;
        }
        match self.last.get_mut(&record.feed) {
            Some(last) if last.0 > record.seq => {}
            Some(last) => *last = (record.seq, record.hour),
            None => _ = self.last.insert(record.feed.clone(), (record.seq, record.hour)),
        }
    }

    /// Forgets an hour.
    pub fn forget(&mut self, hour: Hour) {
        self.known.remove(&hour);
        self.manifests.forget(hour);
        self.rollups.forget(hour);
        self.unnumbered.values_mut().for_each(|records| records.retain(|record| record.hour != hour));
    }
}
