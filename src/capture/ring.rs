//! The ring: one thread writes records of bytes, another reads them, a third releases them.
//!
//! ```text
//!          head            read              tail
//!   ─────────┼───────────────┼─────────────────┼──────────► positions, which only grow
//!   free     │ read, but not │ published, not  │ free, or being
//!            │ released      │ read            │ written
//!            releaser         consumer          producer
//!
//! position p lies at byte p % capacity of the data
//! record:  length u32 | stamp u32 | bytes | 0 to 7 bytes of padding     (little endian)
//! ```
//! A record is one run of bytes: one that would reach over the end of the data begins at their start instead, and a
//! record of length [`SKIP`] marks that. The stamp ties a length to its position: what an earlier lap has left there,
//! or a damaged length, is not taken for a record.
//!
//! Invariants: `head <= read <= tail <= head + capacity`, all at the edge of a record. Each cursor is stored by one
//! thread only. A record exists from the one store of `tail` on; its room is free again from the one store of `head`
//! on. Counts of clicks lie next to the cursors and are stored before them; they show the depth, and decide nothing.
//!
//! What is read from the memory is never trusted: it may come from a process that died, or from damage. The algorithm
//! accesses memory through [`Memory`] only, so that tests can replace it by loom's, or by one that dies during a step.

use std::ops::Range;

use crate::click::wire::ADDRESS;

/// Length of the record that means: the next one is at the start of the data.
const SKIP: u32 = u32::MAX;

/// Bytes of length and stamp, before each record.
const PREFIX: u64 = 8;

/// The numbers that the threads share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cell {
    /// Everything before is released. Stored by the releaser.
    Head,
    /// Clicks before the head. Stored by the releaser.
    Released,
    /// Everything before is published. Stored by the producer.
    Tail,
    /// Clicks before the tail. Stored by the producer.
    Pushed,
    /// Everything before is read. Stored by the consumer; of no meaning to the next process.
    Read,
    /// Clicks before that. Stored by the consumer.
    Clicks,
}

/// The memory of a ring. Loads acquire, stores release. Only the three ends below call it, each for its own region.
pub(super) trait Memory {
    /// Bytes of data, a multiple of 8.
    fn capacity(&self) -> u64;
    fn load(&self, cell: Cell) -> u64;
    fn store(&self, cell: Cell, value: u64);
    /// Copies data out.
    fn read(&self, at: u64, into: &mut [u8]);
    /// Lets `fill` write into `len` bytes of data.
    fn write(&self, at: u64, len: usize, fill: impl FnOnce(&mut [u8]));
}

/// The result of a push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Pushed {
    /// The click is captured: it survives this process.
    Captured,
    /// The ring has no room now.
    Full,
    /// A click of this size never fits.
    TooLarge,
}

/// The end that writes.
pub(super) struct Producer<M> {
    memory: M,
    capacity: u64,
    tail: u64,
    pushed: u64,
    /// The head as last loaded. Loading it again takes its cache line from the releaser, so it waits until needed.
    head: u64,
}

impl<M: Memory> Producer<M> {
    /// The producer of a new ring.
    pub fn new(memory: M) -> Self {
        Self { capacity: memory.capacity(), memory, tail: 0, pushed: 0, head: 0 }
    }

    /// Publishes a record of `len` bytes, which `fill` writes.
    pub fn push(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Pushed {
        let size = size(len as u64);
        if size > largest(self.capacity) {
            return Pushed::TooLarge;
        }
        let at = self.tail % self.capacity;
        let skipped = if size > self.capacity - at { self.capacity - at } else { 0 };
        let end = self.tail + skipped + size;
        if end.wrapping_sub(self.head) > self.capacity {
            self.head = self.memory.load(Cell::Head);
            if end.wrapping_sub(self.head) > self.capacity {
                return Pushed::Full;
            }
        }
        if skipped > 0 {
            self.memory.write(at, PREFIX as usize, |prefix| prefix.copy_from_slice(&prefix_of(self.tail, SKIP)));
        }
        let start = self.tail + skipped;
        self.memory.write(start % self.capacity, PREFIX as usize + len, |record| {
            let (prefix, bytes) = record.split_at_mut(PREFIX as usize);
            prefix.copy_from_slice(&prefix_of(start, len as u32));
            fill(bytes);
        });
        self.pushed += 1;
        self.tail = end;
        self.memory.store(Cell::Pushed, self.pushed);
        self.memory.store(Cell::Tail, end);
        Pushed::Captured
    }
}

/// The result of a pop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Popped {
    /// A record; it ends at this position.
    Record(u64),
    Empty,
    /// What came next is not a record. Everything published is skipped: about this many clicks.
    Damaged(u64),
}

/// The end that reads.
pub(super) struct Consumer<M> {
    memory: M,
    read: u64,
    clicks: u64,
    /// The tail as last loaded.
    tail: u64,
    /// There is no producer any more: the tail is the end.
    sealed: bool,
    /// The bytes of the record that was read last.
    last: Range<u64>,
}

impl<M: Memory> Consumer<M> {
    /// The consumer of a new ring.
    pub fn new(memory: M) -> Self {
        Self { memory, read: 0, clicks: 0, tail: 0, sealed: false, last: 0..0 }
    }

    /// Copies the next record into `buffer`, which it then fills exactly. The record's room stays taken until it is
    /// released.
    pub fn pop(&mut self, buffer: &mut Vec<u8>) -> Popped {
        if self.read == self.tail && !self.load_tail() {
            return Popped::Empty;
        }
        let Some(record) = record(&self.memory, self.read, self.tail) else {
            // The producer continues at the tail: what follows it is sound again.
            let lost =
                self.memory.load(Cell::Pushed).saturating_sub(self.clicks).min((self.tail - self.read) / PREFIX);
            self.step(self.tail, self.clicks + lost);
            return Popped::Damaged(lost);
        };
        buffer.resize(record.len as usize, 0);
        self.memory.read(record.at, buffer);
        self.last = record.at..record.at + record.len;
        self.step(record.end, self.clicks + 1);
        Popped::Record(record.end)
    }

    /// Writes into the record that was read last, for the next process. Call it before the record may be released.
    pub fn note(&mut self, at: usize, bytes: [u8; 8]) {
        let at = self.last.start + at as u64;
        if at + 8 <= self.last.end {
            self.memory.write(at, 8, |place| place.copy_from_slice(&bytes));
        }
    }

    /// Some bytes of the next record, which stays the next. Zeros if the record is too short or damaged; `None` if
    /// there is no next one.
    pub fn peek<const N: usize>(&mut self, at: usize) -> Option<[u8; N]> {
        if self.read == self.tail && !self.load_tail() {
            return None;
        }
        let mut bytes = [0; N];
        if let Some(record) = record(&self.memory, self.read, self.tail)
            && record.len >= (at + N) as u64
        {
            self.memory.read(record.at + at as u64, &mut bytes);
        }
        Some(bytes)
    }

    /// The position up to which everything is read.
    pub fn position(&self) -> u64 {
        self.read
    }

    /// Loads the tail. Returns whether there is something to read.
    fn load_tail(&mut self) -> bool {
        if self.sealed {
            return false;
        }
        let tail = self.memory.load(Cell::Tail);
        // An impossible tail is ignored; the producer's next store replaces it.
        let sound = tail.is_multiple_of(PREFIX)
            && tail.checked_sub(self.read).is_some_and(|bytes| bytes <= self.memory.capacity());
        if sound {
            self.tail = tail;
        }
        self.read != self.tail
    }

    fn step(&mut self, read: u64, clicks: u64) {
        (self.read, self.clicks) = (read, clicks);
        self.memory.store(Cell::Clicks, clicks);
        self.memory.store(Cell::Read, read);
    }
}

/// The end that frees.
pub(super) struct Releaser<M> {
    memory: M,
    head: u64,
    released: u64,
}

impl<M: Memory> Releaser<M> {
    /// The releaser of a new ring.
    pub fn new(memory: M) -> Self {
        Self { memory, head: 0, released: 0 }
    }

    /// Wipes the client addresses of all records up to `end` and frees their room. Positions that were released before,
    /// or never read, are left alone.
    pub fn release(&mut self, end: u64) {
        if end <= self.head || end > self.memory.load(Cell::Read) {
            return;
        }
        let mut position = self.head;
        while position < end {
            let Some(record) = record(&self.memory, position, end) else {
                // Where the addresses are is unknown now.
                self.wipe(position, end);
                break;
            };
            if record.len > ADDRESS.start as u64 {
                let len = record.len.min(ADDRESS.end as u64) as usize - ADDRESS.start;
                self.memory.write(record.at + ADDRESS.start as u64, len, |address| address.fill(0));
            }
            position = record.end;
            self.released += 1;
        }
        self.head = end;
        self.memory.store(Cell::Released, self.released);
        self.memory.store(Cell::Head, end);
    }

    /// Overwrites everything in between.
    fn wipe(&self, from: u64, to: u64) {
        let capacity = self.memory.capacity();
        let mut position = from;
        while position < to {
            let at = position % capacity;
            let len = (to - position).min(capacity - at);
            self.memory.write(at, len as usize, |bytes| bytes.fill(0));
            position += len;
        }
    }

    /// The position up to which everything is released.
    pub fn head(&self) -> u64 {
        self.head
    }
}

/// What was found in a ring that another process has left behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Found {
    /// Clicks that can be read.
    pub clicks: u64,
    /// The ring can be removed when everything up to here is released.
    pub end: u64,
    /// What follows is not a record: about this many clicks are lost.
    pub lost: Option<u64>,
}

/// Takes over a ring whose producer has died. What lies before `known` is released, and not read again. `None` when the
/// cursors are impossible.
pub(super) fn take_over<M: Memory + Clone>(memory: M, known: u64) -> Option<(Consumer<M>, Releaser<M>, Found)> {
    let survey = survey(&memory, known)?;
    let Survey { tail, before, clicks, end, .. } = survey;
    let lost = memory.load(Cell::Pushed).saturating_sub(before + clicks).min((tail - end) / PREFIX);
    let lost = (end < tail).then_some(lost);
    // The process that died may have counted a click that it did not publish.
    memory.store(Cell::Pushed, before + clicks);
    let (mut consumer, releaser) = ends(memory, &survey);
    (consumer.tail, consumer.sealed) = (end, true);
    Some((consumer, releaser, Found { clicks, end, lost }))
}

/// Takes over the reader's end of a ring into which another process still writes, and whose former reader has ended.
/// What lies before `known` is released, and not read again. Also returns the number of clicks before the one that is
/// read next. `None` when the cursors are impossible.
pub(super) fn follow<M: Memory + Clone>(memory: M, known: u64) -> Option<(Consumer<M>, Releaser<M>, u64)> {
    let survey = survey(&memory, known)?;
    let (consumer, releaser) = ends(memory, &survey);
    Some((consumer, releaser, survey.before))
}

/// Consumer and releaser at the first click that is not known.
fn ends<M: Memory + Clone>(memory: M, survey: &Survey) -> (Consumer<M>, Releaser<M>) {
    let Survey { head, read, released, before, .. } = *survey;
    let mut consumer =
        Consumer { memory: memory.clone(), read, clicks: before, tail: read, sealed: false, last: 0..0 };
    consumer.step(read, before);
    let mut releaser = Releaser { memory, head, released };
    // Released at once: the journal's knowledge of them may be removed before this process dies, too.
    releaser.release(read);
    (consumer, releaser)
}

/// What lies in a ring.
struct Survey {
    head: u64,
    tail: u64,
    /// Position of the first click that is not known.
    read: u64,
    /// Clicks that were released, and clicks before that position.
    released: u64,
    before: u64,
    /// Clicks from there on, and where they end.
    clicks: u64,
    end: u64,
}

fn survey<M: Memory>(memory: &M, known: u64) -> Option<Survey> {
    let (head, tail) = (memory.load(Cell::Head), memory.load(Cell::Tail));
    if tail.checked_sub(head)? > memory.capacity() || !head.is_multiple_of(PREFIX) || !tail.is_multiple_of(PREFIX) {
        return None;
    }
    let (mut end, mut read, mut passed, mut clicks) = (head, head, 0, 0);
    while let Some(record) = record(memory, end, tail) {
        if record.end <= known {
            (read, passed) = (record.end, passed + 1);
        } else {
            clicks += 1;
        }
        end = record.end;
    }
    // Counts may be damaged, too: a click takes room.
    let released = memory.load(Cell::Released).min(head / PREFIX);
    Some(Survey { head, tail, read, released, before: released + passed, clicks, end })
}

/// A record in the data.
struct Record {
    /// Offset of its bytes.
    at: u64,
    len: u64,
    /// Position behind it.
    end: u64,
}

/// The record at a position, or `None` when no record starts there that ends before `tail`.
fn record<M: Memory>(memory: &M, position: u64, tail: u64) -> Option<Record> {
    let capacity = memory.capacity();
    let at = position % capacity;
    let (position, at, len) = match prefix_at(memory, position, tail)? {
        SKIP => {
            let start = position.checked_add(capacity - at)?;
            (start, 0, prefix_at(memory, start, tail)?)
        }
        len => (position, at, len),
    };
    let (len, size) = (u64::from(len), size(len.into()));
    let end = position.checked_add(size)?;
    (size <= largest(capacity) && size <= capacity - at && end <= tail).then_some(Record {
        at: at + PREFIX,
        len,
        end,
    })
}

/// The length at a position, if it was written for this position.
fn prefix_at<M: Memory>(memory: &M, position: u64, tail: u64) -> Option<u32> {
    if !position.is_multiple_of(PREFIX) || tail.checked_sub(position)? < PREFIX {
        return None;
    }
    let mut prefix = [0; PREFIX as usize];
    memory.read(position % memory.capacity(), &mut prefix);
    let len = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
    (prefix == prefix_of(position, len)).then_some(len)
}

fn prefix_of(position: u64, len: u32) -> [u8; PREFIX as usize] {
    // The constant keeps a run of zeros from being a record.
    let stamp = len.rotate_left(16) ^ (position / PREFIX) as u32 ^ 0x9e37_79b9;
    (u64::from(stamp) << 32 | u64::from(len)).to_le_bytes()
}

/// Bytes that a record of `len` bytes takes.
fn size(len: u64) -> u64 {
    (PREFIX + len).next_multiple_of(8)
}

/// The largest record. A larger one might meet an empty ring, and yet no run of bytes that is long enough.
fn largest(capacity: u64) -> u64 {
    (capacity / 2).min(1 << 30)
}

#[cfg(test)]
mod tests;
