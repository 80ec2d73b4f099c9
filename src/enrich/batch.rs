//! Batches of events, from a worker to the spool.

use super::frame::{Origin, begin_event, end_event};
use crate::capture::RingPosition;

/// Events on their way from a worker to the spool.
#[derive(Default)]
pub struct Batch {
    /// [Frames](super::frame), one after the other: what the journal writes.
    pub frames: Vec<u8>,
    /// The tallies in them once more, side by side: counting reads a tenth of the memory.
    tallies: Vec<u8>,
    entries: Vec<Entry>,
    /// The feeds of all entries.
    feeds: Vec<u16>,
    /// How far each ring has been read with this batch, including clicks that became no event.
    pub ring_positions: Vec<RingPosition>,
}

/// One event.
#[derive(Clone, Copy)]
pub struct Entry {
    /// When the click was answered, microseconds since the Unix epoch.
    pub micros: u64,
    /// The range of its frame in [`Batch::frames`].
    pub frame: (u32, u32),
    /// See [`Batch::tally_of`].
    tally: (u32, u32),
    /// Range of its feeds: see [`Batch::feeds_of`].
    feeds: (u32, u32),
}

/// A frame that is begun.
#[derive(Clone, Copy)]
pub struct Begun {
    start: usize,
    tally: usize,
}

impl Batch {
    /// A batch with space for so many bytes of frames.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { frames: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Begins the frame of an event that at most so many feeds take. The caller appends the tally, and then the event,
    /// to [`Batch::frames`], and calls [`Batch::end`] or [`Batch::discard`].
    pub fn begin(&mut self, feeds: usize) -> Begun {
        let start = self.frames.len();
        Begun { start, tally: begin_event(&mut self.frames, feeds) }
    }

    /// Adds the event whose frame was begun, and whose text was appended from `event` on.
    pub fn end(&mut self, begun: Begun, event: usize, origin: &Origin, feeds: &[u16]) {
        let Begun { start, tally } = begun;
        let first = self.feeds.len() as u32;
        self.feeds.extend_from_slice(feeds);
        let first_tally = self.tallies.len() as u32;
        self.tallies.extend_from_slice(&self.frames[tally..event]);
        end_event(&mut self.frames, (start, tally, event), origin, feeds);
        self.entries.push(Entry {
            micros: origin.micros,
            frame: (start as u32, self.frames.len() as u32),
            tally: (first_tally, self.tallies.len() as u32),
            feeds: (first, self.feeds.len() as u32),
        });
    }

    /// Removes the frame that was begun.
    pub fn discard(&mut self, begun: Begun) {
        self.frames.truncate(begun.start);
    }

    /// Whether it holds neither events nor positions of rings.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.ring_positions.is_empty()
    }

    /// Records that a ring has been read up to here.
    pub fn read(&mut self, ring_position: RingPosition) {
        match self.ring_positions.iter_mut().find(|known| known.ring == ring_position.ring) {
            Some(known) => known.end = ring_position.end,
            None => self.ring_positions.push(ring_position),
        }
    }

    /// Gives up the frames, which are written.
    pub fn free_frames(&mut self) {
        self.frames = Vec::new();
    }

    /// The events, in their order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tally of an entry; empty when clicks are not counted.
    pub fn tally_of(&self, entry: &Entry) -> &[u8] {
        &self.tallies[entry.tally.0 as usize..entry.tally.1 as usize]
    }

    /// The feeds that an entry goes to.
    pub fn feeds_of(&self, entry: &Entry) -> &[u16] {
        &self.feeds[entry.feeds.0 as usize..entry.feeds.1 as usize]
    }
}
