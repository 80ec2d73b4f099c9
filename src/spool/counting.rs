//! Counting: the second reader of the journal. It reads the tallies of all events once, in the order in which they lie
//! there, and adds them up in the book, together with how far it has read. A crash before that commit leaves the tallies
//! for the next start, which begins where the book says; a crash after it finds them counted.
//!
//! The packer's thread does it between two rounds, a bounded part at a time. Counts never cost an event: a book that fails
//! is left alone for a while, and tried again; what waits for it keeps its segments of the journal, but no more of them than
//! half of the bytes that the journal may have. What is beyond is given up, told and counted.
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
    frame::{Frames, Piece},
    journal::{Span, segment_path},
    state::Position,
};
use crate::{
    runtime::{clock, failpoint::fail_point},
    stats::{
        Delta, Referrers,
        book::Book,
        metrics::{Lost, StatsMetrics},
        store::StoreError,
        tally::Tally,
    },
};

/// A tally is counted when it has waited for this long.
const MAX_AGE: Duration = Duration::from_secs(2);

/// Tallies that are counted without waiting, and the most that are counted at a time: the packer waits meanwhile.
const PART: u64 = if cfg!(test) { 3 } else { 200_000 };

/// Keys of a part.
const MAX_KEYS: usize = 250_000;

/// How long a book that has failed is left alone.
const PAUSE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });

/// How often the journal is tried to be read before what cannot be read is given up.
const READ_TRIES: u32 = 10;

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read the journal: {0}")]
    Journal(#[from] io::Error),
}

/// See the module.
pub struct Counting {
    book: Box<dyn Book>,
    journal: PathBuf,
    disk: Arc<dyn Disk>,
    metrics: Arc<StatsMetrics>,
    /// What waits, in the order of the journal.
    spans: VecDeque<Span>,
    tallies: u64,
    since: Option<Instant>,
    referrers: Referrers,
    /// What the book says. `None` while it must be asked: at the start, and after it has failed.
    counted: Option<Position>,
    /// A book that has failed is not asked before.
    wait_until: Option<Instant>,
    unreadable: u32,
}

/// What a part has come to.
struct Part {
    delta: Delta,
    /// How far it has read.
    end: Position,
    /// Tallies that are in the book with it.
    counted: u64,
    /// Spans that it has read to their ends, and tallies that were not found there any more.
    spans: usize,
    damaged: u64,
    /// Of the span in which it ends: tallies that it has read, and up to where.
    begun: (u64, u64),
}

impl Counting {
    /// `journal` is the folder of the segments.
    pub fn new(book: Box<dyn Book>, journal: PathBuf, disk: Arc<dyn Disk>, metrics: Arc<StatsMetrics>) -> Self {
        Self {
            book,
            journal,
            disk,
            metrics,
            spans: VecDeque::new(),
            tallies: 0,
            since: None,
            referrers: Referrers::default(),
            counted: None,
            wait_until: None,
            unreadable: 0,
        }
    }

    /// How far an earlier process has counted, if the book tells.
    pub fn counted(&mut self) -> Option<Position> {
        self.ask().inspect_err(|error| self.fail(error)).ok()
    }

    /// Says that nothing was counted before the book was begun.
    pub fn begin_whole(&mut self) {
        if let Err(error) = self.book.begin_whole() {
            self.fail(&error.into());
        }
    }

    /// Takes what an earlier process has left, of which the oldest was clicked at `oldest`.
    pub fn begin(&mut self, spans: Vec<Span>, oldest: Option<u64>) {
        for span in spans {
            self.metrics.recovered.inc_by(span.tallies);
            self.note(span);
        }
        // They have waited already: a process that dies again and again must still come to count them.
        if let Some(micros) = oldest {
            let (now, age) = (clock::monotonic(), clock::unix_micros().saturating_sub(micros));
            self.since = Some(now.checked_sub(Duration::from_micros(age)).unwrap_or(now));
        }
    }

    /// Notes what has reached the disk.
    pub fn note(&mut self, span: Span) {
        if span.tallies == 0 {
            return;
        }
        self.tallies += span.tallies;
        self.since.get_or_insert_with(clock::monotonic);
        if self.spans.back_mut().is_none_or(|last| !last.extend(&span)) {
            self.spans.push_back(span);
        }
    }

    /// The oldest segment that it needs.
    pub fn needs(&self) -> Option<u64> {
        self.spans.front().map(|span| span.segment)
    }

    /// Counts a part, if it is due.
    pub fn count_if_due(&mut self) {
        let now = clock::monotonic();
        let old = self.since.is_some_and(|since| now.duration_since(since) >= MAX_AGE);
        if self.tallies == 0 {
            self.book.idle(clock::unix_micros());
        } else if (old || self.tallies >= PART) && self.wait_until.is_none_or(|until| until <= now) {
            self.count_part();
        }
    }

    /// Clicks that wait.
    #[cfg(test)]
    pub fn waiting(&self) -> u64 {
        self.tallies
    }

    /// Counts all that waits, unless the book fails or `passed` says that it is late.
    pub fn count_all(&mut self, passed: impl Fn() -> bool) {
        while !self.spans.is_empty() && !passed() && self.count_part() {}
        if self.tallies > 0 {
            tracing::error!(clicks = self.tallies, "clicks wait in the journal to be counted after the next start");
        }
    }

    /// Counts a part. False when it could not.
    fn count_part(&mut self) -> bool {
        match self.read().and_then(|part| self.commit(&part)) {
            Ok(()) => {
                if self.wait_until.take().is_some() {
                    self.metrics.failing.set(0);
                    tracing::info!("clicks are counted again");
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
            tracing::error!(%error, "clicks cannot be counted, and wait in the journal; events go on");
        }
        self.metrics.failing.set(1);
        self.wait_until = Some(clock::monotonic() + PAUSE);
        if matches!(error, CountError::Store(_)) {
            self.counted = None;
        }
    }

    /// What the book says.
    fn ask(&mut self) -> Result<Position, CountError> {
        match self.counted {
            Some(counted) => Ok(counted),
            None => Ok(*self.counted.insert(self.book.counted()?.unwrap_or_default())),
        }
    }

    fn read(&mut self) -> Result<Part, CountError> {
        let counted = self.ask()?;
        let mut part =
            Part { delta: Delta::default(), end: counted, counted: 0, spans: 0, damaged: 0, begun: (0, 0) };
        for span in &self.spans {
            let file = match self.disk.open(&segment_path(&self.journal, span.segment)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::error!(
                        segment = span.segment,
                        "a segment of the journal was taken away before it was counted"
                    );
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
                        tracing::error!(segment = span.segment, start, end, %error, "the journal cannot be read there");
                        continue;
                    }
                };
                match Tally::parse(event.tally) {
                    Some(_) if (span.segment, start) < counted => {}
                    Some(tally) => tally.fold(event.micros, &mut part.delta, &mut self.referrers),
                    // Whole, but of a version that we do not know.
                    None => continue,
                }
                part.counted += 1;
                part.begun = (part.begun.0 + 1, end);
                part.end = part.end.max((span.segment, end));
                if part.counted >= PART || part.delta.len() >= MAX_KEYS {
                    return Ok(part);
                }
            }
            part.close(span);
        }
        Ok(part)
    }

    fn commit(&mut self, part: &Part) -> Result<(), CountError> {
        fail_point("counting");
        self.book.commit(&part.delta, part.end)?;
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
            tracing::error!(clicks = part.damaged, "clicks are not counted: the journal is damaged where they stood");
        }
        Ok(())
    }

    /// Gives up what keeps more than `most` bytes of the journal that nobody else needs; others need the segments from
    /// `others` on.
    pub fn give_up_beyond(&mut self, most: u64, segments: &BTreeMap<u64, u64>, others: u64) {
        while let Some(first) = self.needs()
            && first < others
            && segments.range(first..others).map(|(_, bytes)| bytes).sum::<u64>() > most
            && let Some(span) = self.spans.pop_front()
        {
            self.tallies -= span.tallies;
            self.metrics.lose(Lost::JournalFull, span.tallies);
            let (segment, clicks) = (span.segment, span.tallies);
            tracing::error!(segment, clicks, "clicks are not counted: their events would have filled the journal");
        }
    }
}

impl Part {
    /// A span is read to its end.
    fn close(&mut self, span: &Span) {
        self.damaged += span.tallies.saturating_sub(self.begun.0);
        self.begun = (0, 0);
        self.spans += 1;
        self.end = self.end.max((span.segment, span.end));
    }
}
