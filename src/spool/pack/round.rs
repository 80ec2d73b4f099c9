//! A round of packing: builds objects, commits the state, and moves the objects into the outbox.

use std::{io, path::Path, sync::Arc};

use super::{Packer, Setup};
use crate::{
    object::{Object, ObjectKind},
    runtime::{clock, failpoint::fail_point},
    spool::{
        disk::Disk,
        outbox::Outbox,
        record::{Committed, Record, Records},
        state::State,
    },
    telemetry::drops::DropReason,
};

/// What a round has built, and what it has to drop.
#[derive(Default)]
pub(super) struct Round {
    /// How many of the due feeds it packs, from the first on.
    pub feeds: usize,
    pub records: Vec<(u16, Record)>,
    /// Events that are counted as dropped once the round is committed.
    pub dropped: Vec<(u16, DropReason, u64)>,
    /// For each feed, compressed bytes for each byte in the journal.
    pub ratios: Vec<(u16, f64)>,
}

/// The journal cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub(super) struct UnreadableSegment {
    pub path: String,
    pub source: io::Error,
}

impl UnreadableSegment {
    /// Whether it is the cause of an error.
    fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

impl Packer {
    /// Packs these feeds in one round, with the manifests and rollups that are due.
    ///
    /// # Errors
    /// When the disk has not taken it by the deadline.
    pub(in crate::spool) fn pack(&mut self, due: &[u16]) -> io::Result<()> {
        let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
        let mut due = due;
        let round = retry.retry("pack objects", &*metrics, || {
            self.build(due).inspect_err(|error| {
                self.remove_builds();
                self.unreadable += u32::from(UnreadableSegment::is_cause_of(error));
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                    self.setup.outbox.make_room();
                    // Half of the feeds may fit, and their segments make room for the rest.
                    due = &due[..due.len().div_ceil(2)];
                }
            })
        })?;
        self.unreadable = 0;
        self.commit(&due[..round.feeds], round)
    }

    fn commit(&mut self, due: &[u16], round: Round) -> io::Result<()> {
        let Round { records, dropped, ratios, .. } = round;
        if due.is_empty() && records.is_empty() {
            return Ok(());
        }
        let mut state = self.setup.state.clone();
        state.round += 1;
        for feed in due {
            let name = &self.setup.feeds[usize::from(*feed)].name;
            let feed = state.feeds.entry(name.clone()).or_default();
            feed.packed = self.known.max(feed.packed);
        }
        for (feed, record) in records.iter().filter(|(_, record)| record.kind() == ObjectKind::Events) {
            let name = &self.setup.feeds[usize::from(*feed)].name;
            state.feeds.entry(name.clone()).or_default().seq = record.seq + 1;
        }
        state.objects = committed(&state, &records);
        let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
        let Setup { disk, dir, records: known, .. } = &mut self.setup;
        retry.retry("commit objects", &*metrics, || state.commit(&**disk, dir))?;
        fail_point("sealed");
        // From here on the round is committed.
        retry.retry("record objects", &*metrics, || known.add(&**disk, &state.objects))?;
        self.setup.state = state;
        for feed in due {
            let pending = &mut self.feeds[usize::from(*feed)];
            self.runs -= pending.runs.len();
            pending.runs = Vec::new();
            (pending.events, pending.bytes, pending.since) = (0, 0, None);
        }
        for (feed, ratio) in ratios {
            self.feeds[usize::from(feed)].ratio = ratio;
        }
        for (feed, reason, events) in dropped {
            self.drop_events(feed, reason, events);
        }
        for (feed, record) in records {
            self.hand_over(feed, &record)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, feed: u16, record: &Record) -> io::Result<()> {
        let Setup { dir, outbox, metrics, retry, feeds, schedule, .. } = &mut self.setup;
        let spec = &feeds[usize::from(feed)];
        schedule.note(feed, record, clock::monotonic());
        let object = object_of(outbox, record);
        let from = dir.join("build").join(record.build_name());
        retry.retry("move an object", &**metrics, || outbox.take_in(&from, &spec.name, &object))?;
        fail_point("renamed");
        spec.metrics.spooled.inc_by(record.events);
        if !spec.configured {
            metrics.unclaimed(&spec.name).inc();
        }
        (self.setup.finished)(usize::from(feed), object);
        Ok(())
    }

    fn drop_events(&mut self, feed: u16, reason: DropReason, events: u64) {
        let spec = &self.setup.feeds[usize::from(feed)];
        spec.metrics.drop_events(reason, events);
        // A full quota recurs with every round: logged once, counted each time.
        if reason != DropReason::SpoolQuota || !std::mem::replace(&mut self.quota_warned, true) {
            tracing::error!(feed = spec.name, events, ?reason, "events dropped");
        }
        self.quota_warned &= self.setup.outbox.is_full();
    }
}

/// The records of a round with what they know of it. `state` is that of the round.
fn committed(state: &State, records: &[(u16, Record)]) -> Vec<Record> {
    let committed = |record: &Record| {
        let feed = state.feeds.get(&record.feed).filter(|_| record.kind() == ObjectKind::Events);
        Some(Committed { round: state.round, records: records.len() as u64, packed: feed.map(|feed| feed.packed) })
    };
    records.iter().map(|(_, record)| Record { committed: committed(record), ..record.clone() }).collect()
}

/// The object of a record, as it waits in the outbox.
fn object_of(outbox: &Outbox, record: &Record) -> Object {
    Object {
        key: record.key.clone(),
        path: outbox.path(&record.feed, &record.key),
        bytes: record.bytes,
        kind: record.kind(),
        summary: Some(record.summary()),
        finished_at: clock::unix_secs(),
    }
}

/// Moves the objects of the last round that a crash has left in `build/` into the outbox, and removes other files
/// there.
///
/// # Errors
/// Those of the file system.
pub(in crate::spool) fn finish_last_round(
    disk: &dyn Disk,
    dir: &Path,
    outbox: &Outbox,
    state: &State,
    records: &mut Records,
) -> io::Result<()> {
    // First: no object is in the outbox without a record.
    records.add(disk, &state.objects)?;
    let build = dir.join("build");
    for record in &state.objects {
        let from = build.join(record.build_name());
        if disk.exists(&from)? {
            outbox.take_in(&from, &record.feed, &object_of(outbox, record))?;
        }
    }
    for file in disk.files_below(&build)? {
        disk.remove(&file.path)?;
    }
    Ok(())
}
