//! A round of packing: builds objects, commits the state, and moves the objects into the outbox.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use super::{
    Packer, Setup,
    drop_log::Drop,
    pending::{Remainders, Waiting},
};
use crate::{
    object::{Object, ObjectKind, manifest::Previous},
    runtime::{Hour, clock, failpoint::fail_point},
    spool::{
        disk::Disk,
        outbox::Outbox,
        record::{Committed, Record, Records},
        state::{Position, State},
    },
    telemetry::drops::DropReason,
};

/// What a round has built, and what it has to drop.
#[derive(Default)]
pub(super) struct Round {
    /// The feeds that it packs: the due ones, from the first on.
    pub packed: Vec<Packed>,
    pub records: Vec<(u16, Record)>,
    /// Events that are counted as dropped once the round is committed.
    pub dropped: Vec<(u16, DropReason, u64)>,
    pub ratios: Vec<(u16, Ratios)>,
}

/// How far a round packs a feed.
pub(super) struct Packed {
    pub feed: u16,
    /// All of the feed's events before this position are in objects or dropped, and none of those after it.
    pub up_to: Position,
    /// Events that no longer wait.
    pub events: u64,
    /// The events of an hour that are too few for an object. They stay in the journal, and so do those of later hours.
    pub stays: Option<(Hour, Waiting)>,
}

/// How far the events of a feed can be compressed.
pub(super) struct Ratios {
    /// Compressed bytes for each byte in the journal.
    pub of_journal: f64,
    /// Compressed bytes for each byte of text, if an object was large enough to say.
    pub of_text: Option<f64>,
}

impl Round {
    /// The position up to which a feed is packed once the round is committed. `None` if the round does not pack it.
    pub fn packed_up_to(&self, feed: u16) -> Option<Position> {
        self.packed.iter().find(|packed| packed.feed == feed).map(|packed| packed.up_to)
    }
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
    pub(in crate::spool) fn pack(&mut self, due: &[u16], remainders: Remainders) -> io::Result<()> {
        let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
        let mut due = due;
        let round = retry.retry("pack objects", &*metrics, || {
            self.build(due, remainders).inspect_err(|error| {
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
        self.commit(round)
    }

    fn commit(&mut self, round: Round) -> io::Result<()> {
        let Round { packed, records, dropped, ratios } = round;
        for (feed, Ratios { of_journal, of_text }) in ratios {
            let pending = &mut self.feeds[usize::from(feed)];
            (pending.ratio, pending.text_ratio) = (of_journal, of_text);
        }
        if records.is_empty() && packed.iter().all(|packed| packed.events == 0) {
            return Ok(());
        }
        let mut state = self.setup.state.clone();
        state.round += 1;
        for Packed { feed, up_to, .. } in &packed {
            let name = &self.setup.feeds[usize::from(*feed)].name;
            let of_feed = state.feeds.entry(name.clone()).or_default();
            of_feed.packed = of_feed.packed.max(*up_to);
        }
        for (feed, record) in &records {
            let feed = state.feeds.entry(self.setup.feeds[usize::from(*feed)].name.clone()).or_default();
            match record.kind() {
                ObjectKind::Events => feed.seq = record.seq + 1,
                ObjectKind::Manifest => {
                    feed.manifest = Some(Previous { key: record.key.clone(), sha256: record.sha256.clone() });
                }
                ObjectKind::Rollup | ObjectKind::Replay | ObjectKind::Test => {}
            }
        }
        state.objects = committed(&state, &records);
        let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
        let Setup { disk, dir, records: known, .. } = &mut self.setup;
        retry.retry("commit objects", &*metrics, || state.commit(&**disk, dir))?;
        fail_point("sealed");
        // From here on the round is committed.
        retry.retry("record objects", &*metrics, || known.add(&**disk, &state.objects))?;
        self.setup.state = state;
        for Packed { feed, stays, .. } in packed {
            let pending = &mut self.feeds[usize::from(feed)];
            let runs =
                |hours: &BTreeMap<Hour, Waiting>| hours.values().map(|waiting| waiting.runs.len()).sum::<usize>();
            let before = runs(&pending.hours);
            pending.hours = match stays {
                Some((hour, rest)) => {
                    let mut later = pending.hours.split_off(&hour);
                    later.insert(hour, rest);
                    later
                }
                None => BTreeMap::new(),
            };
            self.runs = self.runs - before + runs(&pending.hours);
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
        spec.metrics.add_object(object.bytes);
        if !spec.configured {
            outbox.restore_summary(&spec.name, &record.key, record.summary());
        }
        self.setup.delivery.finished(feed, object);
        Ok(())
    }

    fn drop_events(&mut self, feed: u16, reason: DropReason, events: u64) {
        let spec = &self.setup.feeds[usize::from(feed)];
        spec.metrics.drop_events(reason, events);
        // A full quota recurs with every round.
        self.drops.add(feed, reason.label(), events);
        let due = self.drops.due(clock::monotonic());
        self.log_drops(due);
    }

    /// Logs what was dropped since the last lines.
    pub(super) fn log_drops(&self, drops: Vec<Drop>) {
        for Drop { feed, reason, events } in drops {
            tracing::error!(feed = self.setup.feeds[usize::from(feed)].name, reason, events, "events dropped");
        }
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
