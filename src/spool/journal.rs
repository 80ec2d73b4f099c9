//! The journal: events on the disk, in the order in which the workers made them, until every feed has its part.
//!
//! ```text
//! {dir}/journal/{number}.journal        segments; their frames are described in `frame`
//! ```
//! One thread owns it. It gathers events into a group, and every [`Setup::sync_interval`] it writes the group, brings it
//! to the disk with one fsync for all, and only then lets go of the clicks in the rings. So a click is in a ring, in
//! the journal, or in both, and each frame says which click of which ring it is: after a crash, what the journal
//! holds is skipped in the rings.
//!
//! A write or an fsync that failed is never repeated: the segment is abandoned at the last group that reached the
//! disk, and the group is written anew into the next segment, whose header says where the abandoned one ends (`cuts`).
//! While the disk does not take it, the group waits, the workers wait for the journal, and the rings fill up.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, DiskFile},
    frame,
    metrics::SpoolMetrics,
};
use crate::{
    capture::RingPosition,
    enrich::Batch,
    runtime::{Hour, failpoint::fail_point, retry::RetryUntil},
};

/// A group is committed early when it has grown to this many bytes.
const GROUP_BYTES: usize = 4 << 20;

/// A segment is followed by the next one when it has grown to this many bytes.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Events of one feed and hour that lie one behind the other in a segment. Events of others may lie between them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    pub segment: u64,
    pub start: u64,
    pub end: u64,
    /// The hour of the clicks.
    pub hour: Hour,
    pub events: u64,
}

/// A part of a segment in which events with tallies lie, among others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    pub segment: u64,
    pub start: u64,
    pub end: u64,
    /// How many have a tally.
    pub tallies: u64,
}

/// Events that have reached the disk.
pub struct Synced {
    /// By feed.
    pub runs: Vec<(u16, Run)>,
    /// All of them; its end is the segment's length with them.
    pub span: Span,
}

/// What a segment's header says.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Header {
    /// The feeds that frames name by their position here.
    pub feeds: Vec<String>,
    /// Earlier segments that were abandoned, and up to which offset they count.
    pub cuts: Vec<(u64, u64)>,
}

/// What the journal is made with.
pub struct Setup {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    /// In the order of the configuration.
    pub feeds: Vec<String>,
    /// Number of the first segment; none of it or above may be there.
    pub first: u64,
    pub max_bytes: u64,
    pub sync_interval: Duration,
    /// Bytes of all segments, which whoever removes them subtracts from.
    pub size: Arc<AtomicU64>,
    pub retry: RetryUntil,
    pub metrics: Arc<SpoolMetrics>,
    /// Becomes true when everything is on the disk and let go of in the rings, and nothing more will come.
    pub ended: Arc<AtomicBool>,
    /// Is told what the journal holds of the rings.
    pub release: Box<dyn FnMut(RingPosition) + Send>,
}

pub struct Journal {
    setup: Setup,
    segment: Option<Segment>,
    next: u64,
    cuts: Vec<(u64, u64)>,
    group: Group,
    synced: Sender<Synced>,
}

struct Segment {
    number: u64,
    file: Box<dyn DiskFile>,
    /// Bytes that have reached the disk.
    bytes: u64,
    /// Bytes of its header.
    header: u64,
}

/// Events that are committed together.
#[derive(Default)]
struct Group {
    frames: Vec<u8>,
    clicks: u64,
    /// Clicks that have a tally.
    tallies: u64,
    /// Offsets count from the group's beginning.
    runs: Vec<(u16, Run)>,
    /// The last run of each feed.
    last: HashMap<u16, usize>,
    ring_positions: HashMap<u64, u64>,
    began: Option<Instant>,
}

/// Path of a segment.
pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.journal"))
}

/// The number of a segment, by its path.
pub fn segment_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".journal")?.parse().ok()
}

impl Journal {
    pub fn new(setup: Setup, synced: Sender<Synced>) -> Self {
        let next = setup.first;
        Self { setup, segment: None, next, cuts: Vec::new(), group: Group::default(), synced }
    }

    /// Takes batches until their senders are gone. When the disk has not taken a group until the deadline, its clicks
    /// stay in the rings.
    pub fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            let batch = match self.group.began {
                Some(began) => batches.recv_deadline(began + self.setup.sync_interval),
                None => batches.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let ended = matches!(batch, Err(RecvTimeoutError::Disconnected));
            let due = batch.map_or(true, |batch| self.add(&batch));
            if (due || ended)
                && let Err(error) = self.commit()
            {
                tracing::error!(%error, "the journal cannot be written; its clicks wait in memory for the next start");
                // The workers hand over what they have, and nothing is released.
                return for _ in batches {};
            }
            if ended {
                return self.setup.ended.store(true, Ordering::Release);
            }
        }
    }

    /// Adds a batch to the group. True when the group is large.
    pub(super) fn add(&mut self, batch: &Batch) -> bool {
        self.group.add(batch);
        self.group.frames.len() >= GROUP_BYTES
    }

    /// Brings the group to the disk and lets go of its clicks.
    ///
    /// # Errors
    /// When the disk has not taken it until the deadline.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let clicks = std::mem::take(&mut self.group.clicks);
        if !self.group.frames.is_empty() {
            let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
            retry.retry("write the journal", &*metrics, || self.write())?;
            self.setup.metrics.journaled.inc_by(clicks);
            fail_point("journal_synced");
        }
        for (ring, end) in self.group.ring_positions.drain() {
            (self.setup.release)(RingPosition { ring, end });
        }
        self.group.began = None;
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let size = self.setup.size.load(Ordering::Acquire);
        if size + self.group.frames.len() as u64 > self.setup.max_bytes {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the journal is as large as it may be"));
        }
        let limit = SEGMENT_BYTES.min(self.setup.max_bytes / 8);
        if self.segment.as_ref().is_some_and(|segment| segment.bytes >= limit) {
            self.segment = None;
        }
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.begin()?,
        };
        let base = segment.bytes;
        if let Err(error) = append(&mut *segment.file, &self.group.frames) {
            self.abandon(segment, &error);
            return Err(error);
        }
        let grown = self.group.frames.len() as u64;
        self.setup.size.fetch_add(grown, Ordering::AcqRel);
        segment.bytes += grown;
        let tallies = std::mem::take(&mut self.group.tallies);
        let span = Span { segment: segment.number, start: base, end: segment.bytes, tallies };
        let runs = self.group.take_runs(segment.number, base);
        // The packer ends after the journal.
        let _ = self.synced.send(Synced { runs, span });
        self.segment = Some(segment);
        Ok(())
    }

    /// Leaves a segment at the end of what has reached the disk.
    fn abandon(&mut self, mut segment: Segment, error: &io::Error) {
        let (number, valid) = (segment.number, segment.bytes);
        self.cuts.push((number, valid));
        if valid > segment.header {
            // On a full disk its room is wanted; if this fails, too, the cut says what counts.
            let _ = segment.file.cut(valid);
            tracing::error!(%error, segment = number, valid, "a segment of the journal is abandoned");
        } else if self.setup.disk.remove(&segment_path(&self.setup.dir, number)).is_ok() {
            // It holds no event, and nobody else knows it.
            self.setup.size.fetch_sub(segment.header, Ordering::AcqRel);
        }
    }

    /// Begins the next segment: what is on the disk when this returns is its header alone.
    fn begin(&mut self) -> io::Result<Segment> {
        let number = self.next;
        let path = segment_path(&self.setup.dir, number);
        let header = Header { feeds: self.setup.feeds.clone(), cuts: self.cuts.clone() };
        let json = serde_json::to_vec(&header)?;
        let mut bytes = Vec::new();
        // Twice: without it, nobody knows which feeds the segment's events go to.
        frame::write_header(&mut bytes, &json);
        frame::write_header(&mut bytes, &json);
        let begun = self.setup.disk.create(&path).and_then(|mut file| {
            append(&mut *file, &bytes)?;
            self.setup.disk.sync_dir(&self.setup.dir)?;
            Ok(file)
        });
        match begun {
            Ok(file) => {
                self.next += 1;
                self.cuts.clear();
                self.setup.size.fetch_add(bytes.len() as u64, Ordering::AcqRel);
                let header = bytes.len() as u64;
                Ok(Segment { number, file, bytes: header, header })
            }
            Err(error) => {
                // It holds no event. The next try empties it, if it is there.
                let _ = self.setup.disk.remove(&path);
                Err(error)
            }
        }
    }
}

fn append(file: &mut dyn DiskFile, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    fail_point("journal_written");
    file.sync()
}

impl Group {
    fn add(&mut self, batch: &Batch) {
        self.began.get_or_insert_with(Instant::now);
        self.clicks += batch.entries.len() as u64;
        for entry in &batch.entries {
            let start = self.frames.len() as u64;
            frame::write_event(&mut self.frames, batch, entry);
            self.tallies += u64::from(!batch.tally_of(entry).is_empty());
            let (end, hour) = (self.frames.len() as u64, Hour::of_micros(entry.micros));
            for feed in batch.feeds_of(entry) {
                self.note(*feed, Run { segment: 0, start, end, hour, events: 1 });
            }
        }
        for position in &batch.ring_positions {
            self.ring_positions.insert(position.ring, position.end);
        }
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
        self.frames.clear();
        self.last.clear();
        let mut runs = std::mem::take(&mut self.runs);
        for (_, run) in &mut runs {
            run.segment = segment;
            run.start += base;
            run.end += base;
        }
        runs
    }
}

impl Span {
    /// Adds a later part of the same segment. False when it is of another.
    pub fn extend(&mut self, next: &Self) -> bool {
        let same = self.segment == next.segment;
        if same {
            self.end = next.end;
            self.tallies += next.tallies;
        }
        same
    }
}

impl Run {
    /// Adds a run that follows directly, or, if it may be `loose`, one with other feeds' events between them. False when
    /// it is neither.
    pub fn extend(&mut self, next: &Run, loose: bool) -> bool {
        let near = self.end == next.start || (loose && self.end < next.start);
        let follows = self.segment == next.segment && near && self.hour == next.hour;
        if follows {
            self.end = next.end;
            self.events += next.events;
        }
        follows
    }
}
