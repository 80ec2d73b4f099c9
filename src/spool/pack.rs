//! The packer: makes finished objects of the events in the journal, in rounds.
//!
//! A feed is due when its oldest event has waited long enough, or when its events are enough for a whole object (see
//! [`pending`]). A round
//! - builds objects of the events that the due feeds have in the journal, hour by hour, in `build/`; events that are
//!   too few for an object stay in the journal;
//! - syncs them, all at once if they are many;
//! - commits the [state](super::state), which names the objects and states how far each feed is packed ([`round`]);
//! - moves the objects into the outbox, and frees the segments that are no longer needed.
//!
//! The commit is atomic. Before it, the round can be discarded or repeated; after it, what a crash leaves undone is
//! done by the next start.
//!
//! A round has one file open at a time, and syncs at most 16 files, or the whole file system once. So many small feeds
//! cost no more than a large one, and memory does not depend on the size of objects.

mod build;
mod change;
mod drop_log;
mod housekeeping;
pub mod pending;
pub mod round;
pub mod schedule;
pub mod source;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use drop_log::DropLog;
use pending::{Pending, Remainders};
use schedule::Schedule;
use source::RollupSource;

use super::{
    aggregate::Aggregator,
    change::Limits,
    disk::Disk,
    feed::FeedSpec,
    journal::{News, Run, Synced, reader::Recovered},
    metrics::SpoolMetrics,
    outbox::Outbox,
    record::Records,
    state::{Position, State},
    time,
};
use crate::{
    object::Object,
    runtime::{Hour, clock, retry::RetryUntil},
};

/// Least time between two rounds.
const ROUND_GAP: Duration = Duration::from_millis(250);

/// Runs in memory, about 100 MB, before all feeds are packed early. From half of it on, runs become loose.
const MAX_RUNS: usize = 2_000_000;

/// Interval of removing delivered objects that are no longer kept.
const PURGE_EVERY: Duration = Duration::from_secs(30);

/// Interval of noting the trusted time.
const NOTE_EVERY: Duration = Duration::from_secs(600);

/// What the packer needs.
pub struct Setup {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub outbox: Arc<Outbox>,
    pub feeds: Vec<FeedSpec>,
    /// The spool's identity.
    pub identity: String,
    pub state: State,
    pub records: Records,
    pub schedule: Schedule,
    /// Where the counts of rollups come from. `None` for no rollups.
    pub rollups: Option<RollupSource>,
    /// The segments of the journal: number and bytes.
    pub segments: BTreeMap<u64, u64>,
    /// Bytes of the journal.
    pub journal_size: Arc<AtomicU64>,
    pub limits: Arc<Limits>,
    pub retry: RetryUntil,
    pub metrics: Arc<SpoolMetrics>,
    /// True when the journal has ended and all of its clicks are released in the rings.
    pub journal_ended: Arc<AtomicBool>,
    pub delivery: Box<dyn Delivery>,
    /// Counts clicks between two rounds. `None` if clicks are not counted.
    pub aggregator: Option<Aggregator>,
}

/// Where finished objects go.
pub trait Delivery: Send {
    /// Takes a finished object of a feed, by its number. That of a feed that is not configured stays in the outbox.
    fn finished(&mut self, feed: u16, object: Object);

    /// Gives up the objects of a feed that is not configured, so that they can be dropped. False while an upload of one
    /// of them is under way.
    fn give_up(&mut self, feed: u16) -> bool;
}

/// A test that only collects objects.
#[cfg(test)]
impl<F: FnMut(usize, Object) + Send> Delivery for F {
    fn finished(&mut self, feed: u16, object: Object) {
        self(usize::from(feed), object);
    }

    fn give_up(&mut self, _: u16) -> bool {
        true
    }
}

/// The packer's thread.
pub struct Packer {
    setup: Setup,
    feeds: Vec<Pending>,
    /// Position up to which the journal was received.
    known: Position,
    runs: usize,
    /// For segments that an earlier process has written, the feeds that their frames name.
    numbers: HashMap<u64, Vec<Option<u16>>>,
    /// Consecutive failures to read the journal.
    unreadable: u32,
    drops: DropLog,
    purged: Instant,
    noted: Instant,
}

impl Packer {
    /// `recovered` is what an earlier process has left in the journal.
    pub fn new(setup: Setup, recovered: Recovered) -> Self {
        let known = setup.segments.last_key_value().map_or((0, 0), |(number, bytes)| (*number, *bytes));
        let feeds = setup.feeds.iter().map(|_| Pending::default()).collect();
        let mut packer = Self {
            setup,
            feeds,
            known,
            runs: 0,
            numbers: recovered.feeds,
            unreadable: 0,
            drops: DropLog::default(),
            purged: Instant::now(),
            noted: Instant::now(),
        };
        for (feed, run) in recovered.runs {
            packer.setup.feeds[usize::from(feed)].metrics.recovered.inc_by(run.events);
            packer.note(feed, run);
        }
        // Their waiting time continues: a process that is killed again and again must still pack them.
        let (now, unix) = (clock::monotonic(), clock::unix_micros());
        for ((feed, hour), micros) in recovered.oldest {
            if let Some(waiting) = packer.feeds[usize::from(feed)].hours.get_mut(&hour) {
                let age = Duration::from_micros(unix.saturating_sub(micros));
                waiting.since = now.checked_sub(age).unwrap_or(now);
            }
        }
        if let Some(aggregator) = &mut packer.setup.aggregator {
            aggregator.begin(recovered.spans, recovered.oldest_tally);
        }
        packer
    }

    /// Packs until the journal has ended, and then the rest, unless the deadline of the stop has passed. What is not
    /// packed by then waits in the journal for the next start.
    pub fn run(mut self, journal: &Receiver<News>) {
        let mut next_round = Instant::now();
        loop {
            match journal.recv_deadline(next_round) {
                Ok(news) => self.take(news),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.tick() {
                        return tracing::error!(%error, "events not packed; they wait in the journal for the next start");
                    }
                    next_round = Instant::now() + ROUND_GAP;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if !self.setup.retry.has_passed() {
            let all = self.waiting();
            if let Err(error) = self.pack(&all, Remainders::Pack) {
                tracing::error!(%error, "events not packed; they wait in the journal for the next start");
            }
            self.count_all();
        }
        let rest = self.drops.rest();
        self.log_drops(rest);
        let is_empty = self.waiting().is_empty()
            && self.setup.aggregator.as_ref().is_none_or(|aggregator| aggregator.first_segment().is_none());
        // Otherwise the last segment records which clicks in the rings the next start skips.
        if is_empty && self.setup.journal_ended.load(Ordering::Acquire) {
            self.free(u64::MAX);
        } else {
            self.free_unneeded();
        }
    }

    /// Takes note of events that are on the disk, or changes the feeds.
    pub(in crate::spool) fn take(&mut self, news: News) {
        let Synced { runs, span, batches } = match news {
            News::Synced(synced) => synced,
            News::Feeds(change) => return self.change(change),
        };
        self.known = (span.segment, span.end);
        self.setup.segments.insert(span.segment, span.end);
        for (feed, run) in runs {
            self.note(feed, run);
        }
        if let Some(aggregator) = &mut self.setup.aggregator {
            aggregator.note(span, &batches);
        }
    }

    /// Counts all clicks that wait.
    pub(in crate::spool) fn count_all(&mut self) {
        let retry = self.setup.retry.clone();
        if let Some(aggregator) = &mut self.setup.aggregator {
            aggregator.count_all(|| retry.has_passed());
        }
    }

    fn note(&mut self, feed: u16, run: Run) {
        let loose = self.is_loose();
        if self.feeds[usize::from(feed)].note(run, loose) {
            self.runs += 1;
        }
    }

    /// Whether runs are merged although other events lie between them.
    fn is_loose(&self) -> bool {
        self.runs > MAX_RUNS / 2
    }

    fn tick(&mut self) -> io::Result<()> {
        // Nothing of the journal waits to be taken now; something may when the objects are made.
        let seen = clock::trusted_micros();
        if self.setup.metrics.disk_full.get() > 0 {
            // The journal waits for space.
            self.setup.outbox.make_room();
        }
        self.take_replays();
        self.drop_asked();
        let now = clock::monotonic();
        let size = self.setup.journal_size.load(Ordering::Acquire);
        let pressed = self.runs > MAX_RUNS || size > self.setup.limits.journal_max_bytes() / 4 * 3;
        let (due, remainders) =
            if pressed { (self.waiting(), Remainders::Pack) } else { (self.due(now), Remainders::Stay) };
        if !due.is_empty()
            || self.setup.schedule.manifests.any_due(&self.setup.feeds, &|feed, hour| self.waits(feed, hour), now)
            || !self.rollups_due().is_empty()
        {
            self.pack(&due, remainders)?;
        }
        if let Some(aggregator) = &mut self.setup.aggregator {
            aggregator.count_if_due(seen);
        }
        self.free_unneeded();
        let due = self.drops.due(now);
        self.log_drops(due);
        if now.duration_since(self.purged) >= PURGE_EVERY {
            self.purged = now;
            self.setup.outbox.purge_delivered();
            self.forget_old_hours();
        }
        if now.duration_since(self.noted) >= NOTE_EVERY {
            self.noted = now;
            time::note(&*self.setup.disk, &self.setup.dir);
        }
        Ok(())
    }

    fn due(&self, now: Instant) -> Vec<u16> {
        let feeds = (0_u16..).zip(self.feeds.iter().zip(&self.setup.feeds));
        feeds.filter(|(_, (pending, spec))| pending.is_due(spec, now)).map(|(number, _)| number).collect()
    }

    /// Whether the journal holds events of a feed and an hour.
    fn waits(&self, feed: u16, hour: Hour) -> bool {
        self.feeds[usize::from(feed)].hours.contains_key(&hour)
    }

    /// The feeds that have events in the journal.
    pub(in crate::spool) fn waiting(&self) -> Vec<u16> {
        let waiting = (0_u16..).zip(&self.feeds).filter(|(_, pending)| !pending.hours.is_empty());
        waiting.map(|(number, _)| number).collect()
    }

    /// Clicks that wait to be counted.
    #[cfg(test)]
    pub(in crate::spool) fn uncounted(&self) -> u64 {
        self.setup.aggregator.as_ref().map_or(0, Aggregator::waiting)
    }
}
