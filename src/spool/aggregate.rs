//! The aggregator: counts the tally of each event of the journal once, in the order of the journal, and adds it to the
//! store of counts, together with the position up to which it has counted. After a crash before that commit, the next
//! start begins at the position in the store; after a crash behind it, the tallies are counted.
//!
//! It adds up tallies as the journal hands them over, in memory. What an earlier process has left, what came while the
//! packer was busy, and what a failed commit has spent is read from the journal.
//!
//! The packer's thread runs it between two rounds, a bounded part at a time. Counts never cost an event: a store that
//! fails is retried after a pause. Clicks that wait for it keep their segments of the journal, up to half of
//! `spool.journal_max_bytes`; beyond that they are given up, logged and counted as lost.
//!
//! Memory is bounded: a part has at most `MAX_KEYS` keys, and what waits is one [`Span`] a segment.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    disk::Disk,
    journal::{
        Span,
        frames::{Frames, Piece},
        segment_path,
    },
    state::Position,
};
use crate::{
    enrich::Batch,
    runtime::{Class, Classified, clock, failpoint::fail_point},
    stats::{
        Fold, Referrers,
        count_store::CountStore,
        metrics::{Lost, StatsMetrics},
        store::StoreError,
        tally::Tally,
    },
};

/// Time after which a waiting tally is counted.
const MAX_AGE: Duration = Duration::from_secs(2);

/// The same while many clicks come: [`MANY`] in that time. A commit of five times as many clicks changes each row once,
/// and many clicks have rows in common.
const MAX_AGE_OF_MANY: Duration = Duration::from_secs(10);

/// See [`MAX_AGE_OF_MANY`].
const MANY: u64 = 10_000;

/// Tallies that are counted without waiting, and the most that are counted at a time, because the packer waits
/// meanwhile.
const PART: u64 = if cfg!(test) { 3 } else { 200_000 };

/// Keys of a part.
const MAX_KEYS: usize = 250_000;

/// Pause after the store has failed.
const RETRY_PAUSE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });

/// Attempts to read the journal before an unreadable part is skipped.
const READ_TRIES: u32 = 10;

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read the journal: {0}")]
    Journal(#[from] io::Error),
}

impl Classified for CountError {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Journal(error) => Class::of_io(error),
        }
    }
}

/// See the module.
pub struct Aggregator {
    store: Box<dyn CountStore>,
    journal: PathBuf,
    disk: Arc<dyn Disk>,
    metrics: Arc<StatsMetrics>,
    /// What waits, in the order of the journal.
    spans: VecDeque<Span>,
    /// The sum of all that waits, if it was added up as it came.
    young: Option<Part>,
    tallies: u64,
    since: Option<Instant>,
    referrers: Referrers,
    /// Position up to which the store has counted. `None` while it must be read: at the start, and after a failure.
    counted: Option<Position>,
    /// The store has failed, and is not used before.
    wait_until: Option<Instant>,
    unreadable: u32,
}

/// Tallies that are counted with one commit.
struct Part {
    fold: Fold,
    /// Position up to which it has read.
    end: Position,
    /// Tallies that the store has with it.
    counted: u64,
    /// Spans that it has read to their ends.
    spans: usize,
    /// Tallies of these spans that are missing from the journal.
    damaged: u64,
    /// In the span in which it ends: tallies that it has read, and the offset up to which it has read.
    begun: (u64, u64),
}

impl Aggregator {
    /// `journal` is the folder of the segments.
    pub fn new(
        store: Box<dyn CountStore>,
        journal: PathBuf,
        disk: Arc<dyn Disk>,
        metrics: Arc<StatsMetrics>,
    ) -> Self {
        Self {
            store,
            journal,
            disk,
            metrics,
            spans: VecDeque::new(),
            young: None,
            tallies: 0,
            since: None,
            referrers: Referrers::default(),
            counted: None,
            wait_until: None,
            unreadable: 0,
        }
    }

    /// The position up to which an earlier process has counted. `None` if the store fails.
    pub fn counted(&mut self) -> Option<Position> {
        self.position().inspect_err(|error| self.fail(error)).ok()
    }

    /// Marks the store as complete: no clicks were counted before it was begun.
    pub fn mark_complete(&mut self) {
        if let Err(error) = self.store.mark_complete() {
            self.fail(&error.into());
        }
    }

    /// Takes over the spans that an earlier process has left. `oldest` is the time of the oldest click.
    pub fn begin(&mut self, spans: Vec<Span>, oldest: Option<u64>) {
        for span in spans {
            self.metrics.recovered.inc_by(span.tallies);
            self.note(span, &[]);
        }
        // Their waiting time continues: a process that is killed again and again must still count them.
        if let Some(micros) = oldest {
            let (now, age) = (clock::monotonic(), clock::unix_micros().saturating_sub(micros));
            self.since = Some(now.checked_sub(Duration::from_micros(age)).unwrap_or(now));
        }
    }

    /// Takes note of events that are on the disk. `batches` holds all of them, or nothing.
    pub fn note(&mut self, span: Span, batches: &[Batch]) {
        if span.tallies == 0 {
            return;
        }
        if self.spans.is_empty() {
            // Where the store is unknown, it is read again, and then the journal.
            self.young = self.counted.map(Part::after);
        }
        self.young = self.young.take().filter(|_| !batches.is_empty());
        if let Some(part) = &mut self.young {
            for (batch, entry) in
                batches.iter().flat_map(|batch| batch.entries().iter().map(move |entry| (batch, entry)))
            {
                let is_tally = part.fold.add(batch.tally_of(entry), entry.micros, &mut self.referrers);
                part.counted += u64::from(is_tally);
            }
            part.end = (span.segment, span.end);
        }
        self.tallies += span.tallies;
        self.since.get_or_insert_with(clock::monotonic);
        if self.spans.back_mut().is_none_or(|last| !last.extend(&span)) {
            self.spans.push_back(span);
        }
    }

    /// The oldest segment that has clicks to count.
    pub fn first_segment(&self) -> Option<u64> {
        self.spans.front().map(|span| span.segment)
    }

    /// Counts a part, if it is due. Everything that was on the disk at `seen`, microseconds since the Unix epoch, has
    /// been noted.
    pub fn count_if_due(&mut self, seen: u64) {
        let now = clock::monotonic();
        let max_age = if self.tallies < MANY { MAX_AGE } else { MAX_AGE_OF_MANY };
        let old = self.since.is_some_and(|since| now.duration_since(since) >= max_age);
        let large =
            self.tallies >= PART || self.young.as_ref().is_some_and(|part| part.fold.delta().len() >= MAX_KEYS);
        if (old || large) && self.wait_until.is_none_or(|until| until <= now) {
            self.count_part();
        }
        if self.tallies == 0 {
            self.store.idle(seen);
        }
    }

    /// Clicks that wait to be counted.
    #[cfg(test)]
    pub fn waiting(&self) -> u64 {
        self.tallies
    }

    /// Counts all clicks that wait, until the store fails or `passed` returns true.
    pub fn count_all(&mut self, passed: impl Fn() -> bool) {
        while !self.spans.is_empty() && !passed() && self.count_part() {}
        if self.tallies > 0 {
            tracing::error!(clicks = self.tallies, "clicks not counted; they wait in the journal for the next start");
        }
    }

    /// Counts a part. False if that failed.
    fn count_part(&mut self) -> bool {
        let part = match self.young.take() {
            Some(part) => Ok(part.of(&self.spans)),
            None => self.read(),
        };
        match part.and_then(|part| self.commit(&part)) {
            Ok(()) => {
                if self.wait_until.take().is_some() {
                    self.metrics.failing.set(0);
                    tracing::info!("store of counts recovered; clicks are counted again");
                }
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn fail(&mut self, error: &CountError) {
        if self.wait_until.is_none() {
            tracing::error!(%error, "clicks not counted; they wait in the journal while delivery continues");
        }
        self.metrics.failing.set(1);
        self.wait_until = Some(clock::monotonic() + RETRY_PAUSE);
        if matches!(error, CountError::Store(_)) {
            self.counted = None;
        }
    }

    /// The position up to which the store has counted.
    fn position(&mut self) -> Result<Position, CountError> {
        match self.counted {
            Some(counted) => Ok(counted),
            None => Ok(*self.counted.insert(self.store.counted()?.unwrap_or_default())),
        }
    }

    fn read(&mut self) -> Result<Part, CountError> {
        let counted = self.position()?;
        let mut part = Part::after(counted);
        for span in &self.spans {
            let file = match self.disk.open(&segment_path(&self.journal, span.segment)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::error!(segment = span.segment, "journal segment is missing; its clicks are not counted");
                    part.close(span);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut frames = Frames::new(&*file, span.start, span.end);
            loop {
                let (start, end, event) = match frames.read() {
                    Ok(Some((start, end, Piece::Event(event)))) if !event.tally.is_empty() => (start, end, event),
                    Ok(Some(_)) => continue,
                    Ok(None) => break,
                    Err(error) if self.unreadable < READ_TRIES => {
                        self.unreadable += 1;
                        return Err(error.into());
                    }
                    Err(error) => {
                        let (start, end) = frames.skip_unreadable();
                        let segment = span.segment;
                        tracing::error!(segment, start, end, %error, "unreadable part of the journal is not counted");
                        continue;
                    }
                };
                let is_tally = if (span.segment, start) < counted {
                    Tally::parse(event.tally).is_some()
                } else {
                    part.fold.add(event.tally, event.micros, &mut self.referrers)
                };
                // A valid frame without a tally is of an unknown version.
                if !is_tally {
                    continue;
                }
                part.counted += 1;
                part.begun = (part.begun.0 + 1, end);
                part.end = part.end.max((span.segment, end));
                if part.counted >= PART || part.fold.delta().len() >= MAX_KEYS {
                    return Ok(part);
                }
            }
            part.close(span);
        }
        Ok(part)
    }

    fn commit(&mut self, part: &Part) -> Result<(), CountError> {
        fail_point("counting");
        self.store.commit(part.fold.delta(), part.end)?;
        fail_point("counted");
        (self.counted, self.unreadable) = (Some(part.end), 0);
        self.spans.drain(..part.spans);
        if let Some(span) = self.spans.front_mut().filter(|_| part.begun.0 > 0) {
            (span.start, span.tallies) = (part.begun.1, span.tallies.saturating_sub(part.begun.0));
        }
        self.spans.pop_front_if(|span| span.tallies == 0);
        self.tallies = self.spans.iter().map(|span| span.tallies).sum();
        self.since = self.since.filter(|_| self.tallies > 0);
        self.metrics.counted.inc_by(part.counted);
        self.metrics.lose(Lost::Damaged, part.damaged);
        if part.damaged > 0 {
            tracing::error!(clicks = part.damaged, "clicks not counted: their part of the journal is damaged");
        }
        Ok(())
    }

    /// Gives up clicks that keep more than `most` bytes of the journal. Only the segments before `others` count: those
    /// from there on have events that are not packed.
    pub fn give_up_beyond(&mut self, most: u64, segments: &BTreeMap<u64, u64>, others: u64) {
        while let Some(first) = self.first_segment()
            && first < others
            && segments.range(first..others).map(|(_, bytes)| bytes).sum::<u64>() > most
            && let Some(span) = self.spans.pop_front()
        {
            self.young = None;
            self.tallies -= span.tallies;
            self.metrics.lose(Lost::JournalFull, span.tallies);
            let (segment, clicks) = (span.segment, span.tallies);
            tracing::error!(segment, clicks, "clicks not counted: the store fails, and they would fill the journal");
        }
    }
}

impl Part {
    /// Nothing yet, behind this position.
    fn after(counted: Position) -> Self {
        Self { fold: Fold::default(), end: counted, counted: 0, spans: 0, damaged: 0, begun: (0, 0) }
    }

    /// A part that was added up as these spans came.
    fn of(self, spans: &VecDeque<Span>) -> Self {
        let tallies = spans.iter().map(|span| span.tallies).sum::<u64>();
        Self { spans: spans.len(), damaged: tallies.saturating_sub(self.counted), ..self }
    }

    /// A span is read to its end.
    fn close(&mut self, span: &Span) {
        self.damaged += span.tallies.saturating_sub(self.begun.0);
        self.begun = (0, 0);
        self.spans += 1;
        self.end = self.end.max((span.segment, span.end));
    }
}
