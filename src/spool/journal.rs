//! The journal: events on the disk, in the order in which the workers made them, until every feed has them in an
//! object.
//!
//! ```text
//! {dir}/journal/{number}.journal        segments ([`segment`]) of frames (crate::enrich::frame)
//! {dir}/journal.note                    extent of the open segment ([`note`])
//! ```
//! One thread owns it. It gathers batches, which workers have framed, into a group. Every [`Limits::sync_interval`] it
//! writes the group, syncs it with one fsync for all, and only then releases the clicks in the rings. So a click is in
//! a ring, in the journal, or in both. Each frame names its click's ring and position: after a crash, clicks that the
//! journal holds are skipped in the rings ([`reader`]).
//!
//! A write or an fsync that failed is never repeated: the segment is abandoned at the end of the last group that was
//! synced, and the group is written again into the next segment, whose header states where the abandoned one ends
//! (`cuts`). While the disk does not take it, the group waits, the workers wait for the journal, and the rings fill up.

pub mod frames;
pub mod note;
pub mod reader;
pub mod segment;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use note::{NoteFile, note_path};
pub use segment::{Extent, Header, Run, Span, Synced, segment_number, segment_path};

use super::{
    change::{FeedChange, Input, Limits},
    disk::{Disk, DiskFile},
    metrics::SpoolMetrics,
};
use crate::{
    capture::RingPosition,
    enrich::{Batch, frame},
    runtime::{Hour, failpoint::fail_point, retry::RetryUntil},
};

/// A group is committed early when it has grown to this many bytes.
const GROUP_BYTES: u64 = 4 << 20;

/// Groups that may wait for the packer with their tallies in memory, a few hundred kB each. The packer reads those of
/// later ones from the disk.
const YOUNG_GROUPS: usize = 32;

/// A segment that has grown to this many bytes is closed, and the next one is begun.
const SEGMENT_BYTES: u64 = 64 << 20;

/// What the journal needs.
pub struct Setup {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    /// The names of feeds by number.
    pub feeds: Arc<[String]>,
    /// Number of the first segment. No segment with this number or above exists.
    pub first: u64,
    /// The last segment of an earlier process, as it was recovered.
    pub before: Option<Extent>,
    pub limits: Arc<Limits>,
    /// Bytes of all segments. The packer subtracts those that it removes.
    pub size: Arc<AtomicU64>,
    pub retry: RetryUntil,
    pub metrics: Arc<SpoolMetrics>,
    /// Becomes true when all events are on the disk, their clicks are released, and no more will come.
    pub ended: Arc<AtomicBool>,
    /// Called with the position in a ring up to which the journal holds its clicks.
    pub release: Box<dyn FnMut(RingPosition) + Send>,
}

/// What the journal passes on, in its order.
pub enum News {
    Synced(Synced),
    Feeds(FeedChange),
}

/// The journal's writer.
pub struct Journal {
    setup: Setup,
    segment: Option<Segment>,
    next: u64,
    cuts: Vec<(u64, u64)>,
    /// Abandoned segments without events that could not be removed yet: number and bytes.
    empty: Vec<(u64, u64)>,
    /// The last segment that holds events.
    before: Option<Extent>,
    note: NoteFile,
    group: Group,
    packer: Sender<News>,
}

struct Segment {
    number: u64,
    file: Box<dyn DiskFile>,
    /// Bytes that are synced.
    bytes: u64,
    /// Bytes of the header.
    header: u64,
    events: u64,
}

/// Events that are committed together.
#[derive(Default)]
struct Group {
    batches: Vec<Batch>,
    /// Bytes of all their frames.
    bytes: u64,
    events: u64,
    /// Events for feeds: one for each feed that takes the click.
    routed: u64,
    /// Clicks that have a tally.
    tallies: u64,
    /// Offsets are relative to the start of the group.
    runs: Vec<(u16, Run)>,
    /// The last run of each feed.
    last: HashMap<u16, usize>,
    ring_positions: HashMap<u64, u64>,
    began: Option<Instant>,
}

impl Journal {
    pub fn new(setup: Setup, packer: Sender<News>) -> Self {
        let (next, before) = (setup.first, setup.before);
        let (cuts, empty, note, group) = (Vec::new(), Vec::new(), NoteFile::default(), Group::default());
        Self { setup, segment: None, next, cuts, empty, before, note, group, packer }
    }

    /// Writes batches until all senders are dropped. When the disk has not taken a group by the deadline, its clicks
    /// stay in the rings.
    pub fn run(mut self, inputs: &Receiver<Input>) {
        loop {
            let input = match self.group.began {
                Some(began) => inputs.recv_deadline(began + self.setup.limits.sync_interval()),
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let ended = matches!(input, Err(RecvTimeoutError::Disconnected));
            let done = match input {
                Ok(Input::Events(batch)) => {
                    if self.add(batch) {
                        self.commit()
                    } else {
                        Ok(())
                    }
                }
                Ok(Input::Feeds(change)) => self.change(change),
                Err(_) => self.commit(),
            };
            if let Err(error) = done {
                tracing::error!(%error, "journal not written; its clicks wait in memory for the next start");
                // The workers hand over their events, and no click is released.
                return for _ in inputs {};
            }
            if ended {
                return self.setup.ended.store(true, Ordering::Release);
            }
        }
    }

    /// Adds a batch to the group. True when the group is large.
    pub(super) fn add(&mut self, batch: Batch) -> bool {
        self.group.add(batch);
        self.group.bytes >= GROUP_BYTES
    }

    /// Writes and syncs the group, and releases its clicks.
    ///
    /// # Errors
    /// When the disk has not taken it by the deadline.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let clicks = self.group.events;
        if clicks > 0 {
            let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
            retry.retry("write the journal", &*metrics, || self.write())?;
            self.setup.metrics.journaled.inc_by(clicks);
            self.setup.metrics.journaled_events.fetch_add(self.group.routed, Ordering::Relaxed);
            fail_point("journal_synced");
        }
        for (ring, end) in std::mem::take(&mut self.group).ring_positions {
            (self.setup.release)(RingPosition { ring, end });
        }
        Ok(())
    }

    /// Passes a change of feeds on to the packer, after the events before it. Those after it are in a segment whose
    /// header has the new names.
    ///
    /// # Errors
    /// When the disk has not taken the events before it by the deadline.
    pub(super) fn change(&mut self, change: FeedChange) -> io::Result<()> {
        self.commit()?;
        if change.names.len() > self.setup.feeds.len() {
            self.setup.feeds = Arc::clone(&change.names);
            self.segment = None;
        }
        // The packer ends after the journal.
        let _ = self.packer.send(News::Feeds(change));
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let size = self.setup.size.load(Ordering::Acquire);
        if size + self.group.bytes > self.setup.limits.journal_max_bytes() {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the journal has reached spool.journal_max_bytes",
            ));
        }
        let limit = SEGMENT_BYTES.min(self.setup.limits.journal_max_bytes() / 8);
        if self.segment.as_ref().is_some_and(|segment| segment.bytes >= limit) {
            self.segment = None;
        }
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.begin()?,
        };
        let base = segment.bytes;
        let frames = self.group.batches.iter().map(|batch| &*batch.frames);
        if let Err(error) = append(&mut *segment.file, frames) {
            self.abandon(segment, &error);
            return Err(error);
        }
        self.setup.size.fetch_add(self.group.bytes, Ordering::AcqRel);
        segment.bytes += self.group.bytes;
        segment.events += self.group.events;
        let extent = Extent { segment: segment.number, bytes: segment.bytes, events: segment.events };
        self.before = Some(extent);
        // Before the packer knows the segment, and may free the one that is noted.
        self.note.write(&*self.setup.disk, &note_path(&self.setup.dir), extent);
        let span = Span { segment: segment.number, start: base, end: segment.bytes, tallies: self.group.tallies };
        let runs = self.group.take_runs(segment.number, base);
        let mut batches = std::mem::take(&mut self.group.batches);
        if self.packer.len() >= YOUNG_GROUPS {
            batches.clear();
        }
        batches.iter_mut().for_each(Batch::free_frames);
        // The packer ends after the journal.
        let _ = self.packer.send(News::Synced(Synced { runs, span, batches }));
        self.segment = Some(segment);
        Ok(())
    }

    /// Abandons a segment at the end of what is synced.
    fn abandon(&mut self, mut segment: Segment, error: &io::Error) {
        let (number, valid) = (segment.number, segment.bytes);
        self.cuts.push((number, valid));
        if valid > segment.header {
            // A full disk needs the space. If this fails, too, the next header's cut marks the end.
            let _ = segment.file.cut(valid);
            tracing::error!(%error, segment = number, valid, "journal segment abandoned");
        } else {
            self.empty.push((number, segment.header));
            self.remove_empty();
        }
    }

    /// Removes abandoned segments that hold no event: no other part of the spool knows them, and what follows would
    /// seem to be lost if one of them stayed.
    fn remove_empty(&mut self) {
        let Setup { disk, dir, size, .. } = &self.setup;
        self.empty.retain(|(number, bytes)| {
            let removed = disk.remove(&segment_path(dir, *number)).is_ok();
            if removed {
                size.fetch_sub(*bytes, Ordering::AcqRel);
            }
            !removed
        });
    }

    /// Begins the next segment. When this returns, its header is on the disk.
    fn begin(&mut self) -> io::Result<Segment> {
        self.remove_empty();
        let number = self.next;
        let path = segment_path(&self.setup.dir, number);
        let header = Header { feeds: self.setup.feeds.to_vec(), cuts: self.cuts.clone(), before: self.before };
        let json = serde_json::to_vec(&header)?;
        let mut bytes = Vec::new();
        // Twice: without a header, the feeds of the segment's events are unknown.
        frame::write_header(&mut bytes, &json);
        frame::write_header(&mut bytes, &json);
        let begun = self.setup.disk.create(&path).and_then(|mut file| {
            append(&mut *file, [&*bytes])?;
            self.setup.disk.sync_dir(&self.setup.dir)?;
            Ok(file)
        });
        match begun {
            Ok(file) => {
                self.next += 1;
                self.cuts.clear();
                self.setup.size.fetch_add(bytes.len() as u64, Ordering::AcqRel);
                let header = bytes.len() as u64;
                Ok(Segment { number, file, bytes: header, header, events: 0 })
            }
            Err(error) => {
                // It holds no event. If it remains, the next attempt empties it.
                let _ = self.setup.disk.remove(&path);
                Err(error)
            }
        }
    }
}

fn append<'a>(file: &mut dyn DiskFile, parts: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    for part in parts {
        file.write_all(part)?;
    }
    fail_point("journal_written");
    file.sync()
}

impl Group {
    fn add(&mut self, batch: Batch) {
        self.began.get_or_insert_with(Instant::now);
        self.events += batch.entries().len() as u64;
        for entry in batch.entries() {
            self.tallies += u64::from(!batch.tally_of(entry).is_empty());
            let (start, end) = (self.bytes + u64::from(entry.frame.0), self.bytes + u64::from(entry.frame.1));
            let hour = Hour::of_micros(entry.micros);
            self.routed += batch.feeds_of(entry).len() as u64;
            for feed in batch.feeds_of(entry) {
                self.note(*feed, Run { segment: 0, start, end, hour, events: 1 });
            }
        }
        for position in &batch.ring_positions {
            self.ring_positions.insert(position.ring, position.end);
        }
        self.bytes += batch.frames.len() as u64;
        self.batches.push(batch);
    }

    fn note(&mut self, feed: u16, run: Run) {
        if let Some(last) = self.last.get(&feed).and_then(|at| self.runs.get_mut(*at))
            && last.1.extend(&run, false)
        {
            return;
        }
        self.last.insert(feed, self.runs.len());
        self.runs.push((feed, run));
    }

    fn take_runs(&mut self, segment: u64, base: u64) -> Vec<(u16, Run)> {
        let mut runs = std::mem::take(&mut self.runs);
        for (_, run) in &mut runs {
            run.segment = segment;
            run.start += base;
            run.end += base;
        }
        runs
    }
}
