//! The inlet: a worker's end of the rings.

use std::sync::Arc;

use zeroize::Zeroize;

use super::{
    RingPosition, Shared,
    memory::Mapped,
    ring::{Consumer, Popped},
};
use crate::click::{
    RawClick, Visit,
    wire::{ADDRESS, MICROS, VISIT, Version},
};

/// How often a click may be passed over in favour of older ones: more often than there are clicks in all rings. It
/// bounds how long a click from a wrong clock waits.
const MAX_PASSED: u32 = 1 << 17;

/// The consumer's end of one ring.
pub(super) struct RingReader {
    pub uid: u64,
    /// The version of its clicks.
    version: Version,
    consumer: Consumer<Arc<Mapped>>,
    /// When the next click was answered, if it is known.
    next: Option<u64>,
    /// How often the next click was passed over.
    passed: u32,
}

impl RingReader {
    pub fn new(uid: u64, version: Version, consumer: Consumer<Arc<Mapped>>) -> Self {
        Self { uid, version, consumer, next: None, passed: 0 }
    }
}

/// The clicks of one worker, from as many rings as there are threads that capture. Those that an earlier process has
/// left behind come first. Within each of the two groups the oldest click comes first, so that a worker sees the clicks
/// of one visitor in their order, whichever threads answered them.
pub struct Inlet {
    shared: Arc<Shared>,
    worker: usize,
    left: Vec<RingReader>,
    live: Vec<RingReader>,
    /// Arrivals that were taken, of those that the shared part counts.
    arrived: u64,
    /// Copy of the click that was returned last, so that it cannot change between check and use.
    click: Vec<u8>,
    /// The version of that click.
    version: Version,
    damaged: u64,
}

impl Inlet {
    pub(super) fn new(shared: Arc<Shared>, worker: usize, left: Vec<RingReader>, live: Vec<RingReader>) -> Self {
        Self { shared, worker, left, live, arrived: 0, click: Vec::new(), version: Version::default(), damaged: 0 }
    }

    /// The next click, and the position to acknowledge when this click, and every one before it from the same ring, is
    /// safe. Until then the click stays in its ring.
    pub fn pop(&mut self) -> Option<(RawClick<'_>, RingPosition)> {
        let position = self.advance()?;
        Some((RawClick::parse(&self.click, self.version)?, position))
    }

    /// Notes the visit of the click that was returned last, with this position, in its ring. Call it before the
    /// position is acknowledged.
    pub fn note(&mut self, position: RingPosition, visit: Visit) {
        let mut readers = self.left.iter_mut().chain(&mut self.live);
        let found = readers.find(|reader| reader.uid == position.ring && reader.consumer.position() == position.end);
        if let Some(reader) = found {
            reader.consumer.note(VISIT.start, visit.encode());
        }
    }

    /// Clicks that could not be read, and are lost, since the last call.
    pub fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    fn advance(&mut self) -> Option<RingPosition> {
        self.wipe();
        if !self.left.is_empty() {
            // Taken out, because one of them and the rest of the inlet change together.
            let mut left = std::mem::take(&mut self.left);
            let position = self.pop_oldest(&mut left);
            if position.is_some() {
                self.left = left;
                return position;
            }
        }
        self.shared.arrivals.take(self.worker, &mut self.arrived, &mut self.live);
        let mut live = std::mem::take(&mut self.live);
        let position = self.pop_oldest(&mut live);
        self.live = live;
        position
    }

    fn pop_oldest(&mut self, readers: &mut [RingReader]) -> Option<RingPosition> {
        while let Some(at) = oldest(readers) {
            let position = self.pop_from(&mut readers[at]);
            if position.is_some() {
                return position;
            }
        }
        None
    }

    /// The next click of one ring, into `click`.
    fn pop_from(&mut self, reader: &mut RingReader) -> Option<RingPosition> {
        (reader.next, reader.passed) = (None, 0);
        self.version = reader.version;
        loop {
            let from = reader.consumer.position();
            let lost = match reader.consumer.pop(&mut self.click) {
                Popped::Empty => return None,
                Popped::Record(end) if RawClick::parse(&self.click, self.version).is_some() => {
                    return Some(RingPosition { ring: reader.uid, end });
                }
                Popped::Record(_) => 1,
                Popped::Damaged(lost) => lost,
            };
            self.wipe();
            self.damaged += lost;
            let ring = format!("{:016x}", reader.uid);
            tracing::error!(ring, clicks = lost, "a ring is damaged; clicks are lost");
            let to = reader.consumer.position();
            self.shared.ack(reader.uid, |releasing| releasing.skip(from, to));
        }
    }

    fn wipe(&mut self) {
        if let Some(address) = self.click.get_mut(ADDRESS) {
            address.zeroize();
        }
    }
}

/// The ring with the oldest click.
fn oldest(readers: &mut [RingReader]) -> Option<usize> {
    // Until nothing new appears: a visitor may have clicked through a ring that was empty when it was polled, and then
    // through one that was polled later.
    let poll = |reader: &mut RingReader| {
        let new = reader.next.is_none();
        if new {
            reader.next = reader.consumer.peek(MICROS.start).map(u64::from_le_bytes);
        }
        new && reader.next.is_some()
    };
    while readers.iter_mut().filter_map(|reader| poll(reader).then_some(())).count() > 0 {}
    let waiting = || readers.iter().enumerate().filter_map(|(at, reader)| Some((at, reader.next?, reader.passed)));
    let (at, ..) = waiting()
        .find(|&(_, _, passed)| passed >= MAX_PASSED)
        .or_else(|| waiting().min_by_key(|&(_, micros, _)| micros))?;
    for reader in readers.iter_mut().filter(|reader| reader.next.is_some()) {
        reader.passed += 1;
    }
    Some(at)
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.click.zeroize();
    }
}
