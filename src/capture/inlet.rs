//! The inlet: one worker's end of the rings.

use std::sync::Arc;

use zeroize::Zeroize;

use super::{
    Mark, Shared,
    memory::Mapped,
    ring::{Consumer, Popped},
};
use crate::click::{
    RawClick, Visit,
    wire::{ADDRESS, MICROS, VISIT, Version},
};

/// How often a click may be passed over in favour of older ones: more often than there are clicks in all rings. A click
/// that comes from a clock that was wrong is not held back for longer.
const PASSED: u32 = 1 << 17;

/// One ring of an inlet.
pub(super) struct Source {
    pub uid: u64,
    /// How its clicks are written.
    version: Version,
    consumer: Consumer<Arc<Mapped>>,
    /// When the next click was answered, if it has been looked at.
    next: Option<u64>,
    /// How often that one was passed over.
    passed: u32,
}

impl Source {
    pub fn new(uid: u64, version: Version, consumer: Consumer<Arc<Mapped>>) -> Self {
        Self { uid, version, consumer, next: None, passed: 0 }
    }
}

/// The clicks of one worker, from as many rings as there are threads that capture. First come those that an earlier
/// process has left. Within each of the two groups the oldest click comes first, so that a worker sees the clicks of one
/// visitor in their order, whichever threads answered them.
pub struct Inlet {
    shared: Arc<Shared>,
    worker: usize,
    left: Vec<Source>,
    live: Vec<Source>,
    /// How many of the arrivals that the shared part counts were looked at.
    arrived: u64,
    /// The click that was handed out last: out of the ring, so that nothing changes it any more.
    click: Vec<u8>,
    /// How it is written.
    version: Version,
    damaged: u64,
}

impl Inlet {
    pub(super) fn new(shared: Arc<Shared>, worker: usize, left: Vec<Source>, live: Vec<Source>) -> Self {
        Self { shared, worker, left, live, arrived: 0, click: Vec::new(), version: Version::default(), damaged: 0 }
    }

    /// The next click, and the mark to release when this click, and every one before it from the same ring, is safe.
    /// Until then the click stays in its ring.
    pub fn pop(&mut self) -> Option<(RawClick<'_>, Mark)> {
        let mark = self.advance()?;
        Some((RawClick::parse(&self.click, self.version)?, mark))
    }

    /// Notes in its ring which visit the click belongs to that was handed out last, with this mark. Call it before the mark
    /// is released.
    pub fn note(&mut self, mark: Mark, visit: Visit) {
        let mut sources = self.left.iter_mut().chain(&mut self.live);
        if let Some(source) = sources.find(|source| source.uid == mark.ring && source.consumer.position() == mark.end)
        {
            source.consumer.note(VISIT.start, visit.encode());
        }
    }

    /// How many clicks were met that could not be read, since the last time this was asked. They are lost.
    pub fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    fn advance(&mut self) -> Option<Mark> {
        self.wipe();
        if !self.left.is_empty() {
            // Taken out, as one of them and the rest of the inlet are changed together.
            let mut left = std::mem::take(&mut self.left);
            let mark = self.pop_oldest(&mut left);
            if mark.is_some() {
                self.left = left;
                return mark;
            }
        }
        self.shared.arrivals.take(self.worker, &mut self.arrived, &mut self.live);
        let mut live = std::mem::take(&mut self.live);
        let mark = self.pop_oldest(&mut live);
        self.live = live;
        mark
    }

    fn pop_oldest(&mut self, sources: &mut [Source]) -> Option<Mark> {
        while let Some(at) = oldest(sources) {
            let mark = self.pop_from(&mut sources[at]);
            if mark.is_some() {
                return mark;
            }
        }
        None
    }

    /// The next click of one ring, into `click`.
    fn pop_from(&mut self, source: &mut Source) -> Option<Mark> {
        (source.next, source.passed) = (None, 0);
        self.version = source.version;
        loop {
            let from = source.consumer.position();
            let lost = match source.consumer.pop(&mut self.click) {
                Popped::Empty => return None,
                Popped::Record(end) if RawClick::parse(&self.click, self.version).is_some() => {
                    return Some(Mark { ring: source.uid, end });
                }
                Popped::Record(_) => 1,
                Popped::Damaged(lost) => lost,
            };
            self.wipe();
            self.damaged += lost;
            let ring = format!("{:016x}", source.uid);
            tracing::error!(ring, clicks = lost, "a ring is damaged, and clicks are lost");
            let to = source.consumer.position();
            self.shared.settle(source.uid, |releasing| releasing.spoil(from, to));
        }
    }

    fn wipe(&mut self) {
        if let Some(address) = self.click.get_mut(ADDRESS) {
            address.zeroize();
        }
    }
}

/// Which ring has the oldest click.
fn oldest(sources: &mut [Source]) -> Option<usize> {
    // Until there is nothing new: a visitor may have clicked by way of a ring that was empty when it was looked at, and
    // then by way of one that was looked at later.
    let look = |source: &mut Source| {
        let new = source.next.is_none();
        if new {
            source.next = source.consumer.peek(MICROS.start).map(u64::from_le_bytes);
        }
        new && source.next.is_some()
    };
    while sources.iter_mut().filter_map(|source| look(source).then_some(())).count() > 0 {}
    let waiting = || sources.iter().enumerate().filter_map(|(at, source)| Some((at, source.next?, source.passed)));
    let (at, ..) = waiting()
        .find(|&(_, _, passed)| passed >= PASSED)
        .or_else(|| waiting().min_by_key(|&(_, micros, _)| micros))?;
    for source in sources.iter_mut().filter(|source| source.next.is_some()) {
        source.passed += 1;
    }
    Some(at)
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.click.zeroize();
    }
}
