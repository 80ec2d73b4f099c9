//! Packing: from the journal to finished objects, in rounds.
//!
//! A feed is due when its oldest event has waited long enough, or there is enough of it for a whole object. A round
//! takes everything that the due feeds have in the journal and makes of it, hour by hour, objects in `build/`; brings
//! them to the disk, all at once when they are many; commits the [state](super::state), which names them and says how
//! far each feed is packed; moves them into the outbox; and frees the segments that nobody needs any more. Until the
//! commit nothing has happened, and the round can be given up or done again; after it everything has, and what a
//! crash leaves undone the next start does.
//!
//! A round opens one file at a time, and syncs at the most 16 files or everything once. So many small feeds
//! cost no more than a large one, and the size of objects costs no memory.

mod build;
mod rollups;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use build::Unreadable;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    FeedSpec,
    counting::Counting,
    disk::Disk,
    hours::Hours,
    journal::{Run, Synced, segment_path},
    metrics::SpoolMetrics,
    outbox::{Outbox, hour_of},
    record::{Record, Records},
    recovery::Recovered,
    rollups::Source,
    state::{Position, State},
};
use crate::{
    object::{Object, ObjectKind},
    runtime::{Hour, clock, failpoint::fail_point, retry::RetryUntil},
    telemetry::drops::DropReason,
};

/// Least time between two rounds.
const ROUND_GAP: Duration = Duration::from_millis(250);

/// What a feed's events are guessed to shrink to, until there is an object that tells.
const FIRST_RATIO: f64 = 0.15;

/// Runs that are remembered before feeds are packed early: about 100 MB. They become loose at half of it.
const MAX_RUNS: usize = 2_000_000;

/// Time between two looks at what was delivered and kept.
const PURGE_EVERY: Duration = Duration::from_secs(30);

/// What the packer is made with.
pub struct Setup {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub outbox: Arc<Outbox>,
    pub feeds: Vec<FeedSpec>,
    pub state: State,
    pub records: Records,
    pub hours: Hours,
    /// Where the counts of rollups come from. `None` for no rollups.
    pub rollups: Option<Source>,
    /// Segments that are there: number and bytes.
    pub segments: BTreeMap<u64, u64>,
    /// Bytes of the journal, and how many there may be.
    pub journal_size: Arc<AtomicU64>,
    pub journal_max_bytes: u64,
    pub retry: RetryUntil,
    pub metrics: Arc<SpoolMetrics>,
    /// Is true when the journal has ended and nothing in it is still to be let go of in the rings.
    pub journal_ended: Arc<AtomicBool>,
    /// Is told of each finished object and its feed.
    pub finished: Box<dyn FnMut(usize, Object) + Send>,
    /// Counts between two rounds, if anybody counts.
    pub counting: Option<Counting>,
}

pub struct Packer {
    setup: Setup,
    feeds: Vec<Pending>,
    /// Up to where the journal is known.
    known: Position,
    runs: usize,
    /// Of segments that an earlier process has written, which feeds their frames name.
    numbers: HashMap<u64, Vec<Option<u16>>>,
    /// How often the journal could not be read, in a row.
    unreadable: u32,
    quota_warned: bool,
    purged: Instant,
}

/// What waits in the journal for one feed.
struct Pending {
    runs: Vec<Run>,
    events: u64,
    bytes: u64,
    since: Option<Instant>,
    /// Compressed bytes for each byte in the journal, of the last object.
    ratio: f64,
}

/// What a round has made, and what it found missing.
#[derive(Default)]
struct Round {
    /// How many of the due feeds it holds.
    feeds: usize,
    records: Vec<(u16, Record)>,
    /// Events that are counted as dropped once the round is committed.
    dropped: Vec<(u16, DropReason, u64)>,
    ratios: Vec<(u16, f64)>,
}

impl Packer {
    /// `recovered` is what an earlier process has left in the journal.
    pub fn new(setup: Setup, recovered: Recovered) -> Self {
        let empty = || Pending { runs: Vec::new(), events: 0, bytes: 0, since: None, ratio: FIRST_RATIO };
        let known = setup.segments.last_key_value().map_or((0, 0), |(number, bytes)| (*number, *bytes));
        let feeds = setup.feeds.iter().map(|_| empty()).collect();
        let mut packer = Self {
            setup,
            feeds,
            known,
            runs: 0,
            numbers: recovered.feeds,
            unreadable: 0,
            quota_warned: false,
            purged: Instant::now(),
        };
        for (feed, run) in recovered.runs {
            packer.setup.feeds[usize::from(feed)].metrics.recovered.inc_by(run.events);
            packer.note(feed, run);
        }
        // They have waited already: a process that dies again and again must still come to pack them.
        let (now, unix) = (clock::monotonic(), clock::unix_micros());
        for (feed, micros) in recovered.oldest {
            let age = Duration::from_micros(unix.saturating_sub(micros));
            packer.feeds[usize::from(feed)].since = Some(now.checked_sub(age).unwrap_or(now));
        }
        if let Some(counting) = &mut packer.setup.counting {
            counting.begin(recovered.spans, recovered.oldest_tally);
        }
        packer
    }

    /// Packs until the journal has ended, and then the rest. What the disk has not taken until the deadline waits in
    /// the journal for the next start.
    pub fn run(mut self, journal: &Receiver<Synced>) {
        let mut next_round = Instant::now();
        loop {
            match journal.recv_deadline(next_round) {
                Ok(synced) => self.take(synced),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.look_around() {
                        return tracing::error!(%error, "events wait in the journal for the next start");
                    }
                    next_round = Instant::now() + ROUND_GAP;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let all = self.waiting();
        let packed = self.pack(&all);
        self.count_all();
        match packed {
            // Otherwise the last segment tells the next start what it need not read in the rings.
            Ok(()) if self.setup.journal_ended.load(Ordering::Acquire) => self.free(u64::MAX),
            Ok(()) => self.free_unneeded(),
            Err(error) => tracing::error!(%error, "events wait in the journal for the next start"),
        }
    }

    /// Notes events that have reached the disk.
    pub(super) fn take(&mut self, synced: Synced) {
        let Synced { runs, span } = synced;
        self.known = (span.segment, span.end);
        self.setup.segments.insert(span.segment, span.end);
        for (feed, run) in runs {
            self.note(feed, run);
        }
        if let Some(counting) = &mut self.setup.counting {
            counting.note(span);
        }
    }

    /// Counts what is left.
    pub(super) fn count_all(&mut self) {
        let retry = self.setup.retry.clone();
        if let Some(counting) = &mut self.setup.counting {
            counting.count_all(|| retry.has_passed());
        }
    }

    fn note(&mut self, feed: u16, run: Run) {
        let loose = self.runs > MAX_RUNS / 2;
        let pending = &mut self.feeds[usize::from(feed)];
        pending.events += run.events;
        pending.bytes += run.end - run.start;
        pending.since.get_or_insert_with(clock::monotonic);
        if pending.runs.last_mut().is_none_or(|last| !last.extend(&run, loose)) {
            pending.runs.push(run);
            self.runs += 1;
        }
    }

    fn look_around(&mut self) -> io::Result<()> {
        if self.setup.metrics.disk_full.get() > 0 {
            // The journal waits for room.
            self.setup.outbox.make_room();
        }
        self.take_replays();
        let now = clock::monotonic();
        let due = self.due(now);
        if !due.is_empty() || self.setup.hours.any_due(&self.setup.feeds, now) || !self.rollups_due().is_empty() {
            self.pack(&due)?;
        }
        if let Some(counting) = &mut self.setup.counting {
            counting.count_if_due();
        }
        self.free_unneeded();
        if now.duration_since(self.purged) >= PURGE_EVERY {
            self.purged = now;
            self.setup.outbox.purge_delivered();
            self.forget_old_hours();
        }
        Ok(())
    }

    fn due(&self, now: Instant) -> Vec<u16> {
        let size = self.setup.journal_size.load(Ordering::Acquire);
        let pressed = self.runs > MAX_RUNS || size > self.setup.journal_max_bytes / 4 * 3;
        let due = |(pending, spec): (&Pending, &FeedSpec)| {
            let Some(since) = pending.since else { return false };
            let (age, bytes) = (now.duration_since(since), pending.bytes as f64 * pending.ratio);
            // A tenth less: the guess may be too low, and a second object would be a small one.
            let large = bytes >= spec.max_bytes as f64 * 0.9;
            let old = age >= spec.max_age && (bytes >= spec.min_bytes as f64 || age >= spec.hold_back);
            large || old || pressed
        };
        let feeds = (0_u16..).zip(self.feeds.iter().zip(&self.setup.feeds));
        feeds.filter(|(_, feed)| due(*feed)).map(|(number, _)| number).collect()
    }

    /// The feeds that have events in the journal.
    pub(super) fn waiting(&self) -> Vec<u16> {
        let waiting = (0_u16..).zip(&self.feeds).filter(|(_, pending)| !pending.runs.is_empty());
        waiting.map(|(number, _)| number).collect()
    }

    /// Makes a round with these feeds, and with the manifests and rollups that are due.
    ///
    /// # Errors
    /// When the disk has not taken it until the deadline.
    pub(super) fn pack(&mut self, due: &[u16]) -> io::Result<()> {
        let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
        let mut due = due;
        let round = retry.retry("pack objects", &*metrics, || {
            self.build(due).inspect_err(|error| {
                self.remove_builds();
                self.unreadable += u32::from(Unreadable::is(error));
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                    self.setup.outbox.make_room();
                    // A part may fit, and frees what the rest needs.
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
            state.feeds.entry(name.clone()).or_default().packed = self.known;
        }
        for (feed, record) in records.iter().filter(|(_, record)| record.kind() == ObjectKind::Events) {
            let name = &self.setup.feeds[usize::from(*feed)].name;
            state.feeds.entry(name.clone()).or_default().seq = record.seq + 1;
        }
        state.objects = records.iter().map(|(_, record)| record.clone()).collect();
        let (retry, metrics) = (self.setup.retry.clone(), Arc::clone(&self.setup.metrics));
        let Setup { disk, dir, records: known, .. } = &mut self.setup;
        retry.retry("commit objects", &*metrics, || state.commit(&**disk, dir))?;
        fail_point("sealed");
        // From here on it has happened.
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
            self.give_up(feed, reason, events);
        }
        for (feed, record) in records {
            self.hand_over(feed, &record)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, feed: u16, record: &Record) -> io::Result<()> {
        let Setup { dir, outbox, metrics, retry, feeds, hours, .. } = &mut self.setup;
        let spec = &feeds[usize::from(feed)];
        hours.note(feed, record, clock::monotonic());
        let object = object_of(outbox, record);
        let from = dir.join("build").join(record.build_name());
        retry.retry("move an object", &**metrics, || outbox.take_in(&from, &spec.name, &object))?;
        fail_point("renamed");
        spec.metrics.spooled.inc_by(record.events);
        (self.setup.finished)(usize::from(feed), object);
        Ok(())
    }

    fn give_up(&mut self, feed: u16, reason: DropReason, events: u64) {
        let spec = &self.setup.feeds[usize::from(feed)];
        spec.metrics.drop_events(reason, events);
        // The quota is met again and again while it lasts: one line tells, the metric counts.
        if reason != DropReason::SpoolQuota || !std::mem::replace(&mut self.quota_warned, true) {
            tracing::error!(feed = spec.name, events, ?reason, "events are lost");
        }
        self.quota_warned &= self.setup.outbox.is_full();
    }

    /// Clicks that wait to be counted.
    #[cfg(test)]
    pub(super) fn uncounted(&self) -> u64 {
        self.setup.counting.as_ref().map_or(0, Counting::waiting)
    }

    /// Removes the segments that nobody needs any more, but for the open one.
    pub(super) fn free_unneeded(&mut self) {
        self.free(self.known.0);
    }

    /// Removes the segments before `open` that nobody needs any more, oldest first.
    pub(super) fn free(&mut self, open: u64) {
        let needed = self.feeds.iter().filter_map(|pending| pending.runs.first()).map(|run| run.segment).min();
        let mut needed = needed.unwrap_or(u64::MAX).min(open);
        if let Some(counting) = &mut self.setup.counting {
            counting.give_up_beyond(self.setup.journal_max_bytes / 2, &self.setup.segments, needed);
            needed = counting.needs().unwrap_or(u64::MAX).min(needed);
        }
        while let Some((&number, &bytes)) = self.setup.segments.first_key_value()
            && number < needed
        {
            let path = segment_path(&self.setup.dir.join("journal"), number);
            match self.setup.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return tracing::warn!(%error, path = %path.display(), "cannot remove a segment of the journal");
                }
                _ => {}
            }
            self.setup.segments.remove(&number);
            self.setup.journal_size.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// Moves objects that an operator wants to be sent again into the outbox.
    fn take_replays(&mut self) {
        let ready = self.setup.dir.join("replay");
        // What is sent again must not take the room of what comes in.
        if self.setup.outbox.bytes() > self.setup.outbox.max_bytes() / 2 {
            return;
        }
        for file in self.setup.disk.files_below(&ready).unwrap_or_default() {
            let Ok(below) = file.path.strip_prefix(&ready) else { continue };
            let below = below.to_string_lossy();
            let Some((name, key)) = below.split_once('/') else { continue };
            let feed = self.setup.feeds.iter().position(|spec| spec.configured && spec.name == name);
            let Some(feed) = feed.filter(|_| ObjectKind::of(key) == Some(ObjectKind::Replay)) else {
                continue;
            };
            let object = Object {
                key: key.to_owned(),
                path: self.setup.outbox.path(name, key),
                bytes: file.bytes,
                kind: ObjectKind::Replay,
                summary: None,
                finished_at: clock::unix_secs(),
            };
            match self.setup.outbox.take_in(&file.path, name, &object) {
                Ok(()) => (self.setup.finished)(feed, object),
                Err(error) => tracing::warn!(%error, key, "cannot take an object that is to be sent again"),
            }
            self.setup.disk.tidy(file.path.parent(), &ready);
        }
    }

    /// Forgets the records of hours that are over, listed and delivered.
    fn forget_old_hours(&mut self) {
        let old = self.setup.hours.old(&self.setup.feeds, Hour::of_micros(clock::unix_micros()));
        if old.is_empty() {
            return;
        }
        let Ok(keys) = self.setup.outbox.keys() else { return };
        let unpacked: BTreeSet<Hour> = self.feeds.iter().flat_map(|feed| &feed.runs).map(|run| run.hour).collect();
        let waiting: BTreeSet<Hour> = keys.iter().filter_map(|(_, key)| hour_of(key)).collect();
        for hour in old {
            if waiting.contains(&hour)
                || unpacked.contains(&hour)
                || self.setup.state.objects.iter().any(|object| object.hour == hour)
            {
                continue;
            }
            match self.setup.records.remove(&*self.setup.disk, hour) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%hour, %error, "cannot remove the records of an hour");
                }
                _ => self.setup.hours.forget(hour),
            }
        }
    }
}

/// The object of a record, as it waits in the outbox.
pub fn object_of(outbox: &Outbox, record: &Record) -> Object {
    Object {
        key: record.key.clone(),
        path: outbox.path(&record.feed, &record.key),
        bytes: record.bytes,
        kind: record.kind(),
        summary: Some(record.summary()),
        finished_at: clock::unix_secs(),
    }
}

/// Moves the objects of the last round into the outbox that a crash has left in `build/`, and removes what nobody
/// knows.
///
/// # Errors
/// Those of the file system.
pub fn finish_last_round(
    disk: &dyn Disk,
    dir: &Path,
    outbox: &Outbox,
    state: &State,
    records: &mut Records,
) -> io::Result<()> {
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
    records.add(disk, &state.objects)
}
