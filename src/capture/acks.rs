//! Acknowledgements: a click that is safe elsewhere is released from its ring.

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex, OnceLock},
};

use super::{
    Shared, locked,
    memory::Mapped,
    ring::{Cell, Found, Memory, Releaser},
};

/// A position in a ring: behind the click that it came with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RingPosition {
    /// Uid of the ring.
    pub ring: u64,
    /// Position behind the click.
    pub end: u64,
}

/// Acknowledges clicks, from any thread that knows that they are safe.
#[derive(Clone)]
pub struct Acks {
    pub(super) shared: Arc<Shared>,
}

impl Acks {
    /// Everything in this ring up to this position is safe: addresses are wiped, and the room is free again. A ring
    /// that an earlier process has left behind is removed when its last click is acknowledged.
    pub fn ack(&self, position: RingPosition) {
        self.shared.ack(position.ring, |releasing| releasing.releaser.release(position.end));
    }
}

/// A ring as all but its producer and its consumer see it.
pub(super) struct Ring {
    memory: Arc<Mapped>,
    releasing: Mutex<Releasing>,
    /// What was found, of a ring that an earlier process has left behind.
    left: OnceLock<Found>,
    /// The clicks before those of a predecessor that still writes into it, or did.
    followed: Option<u64>,
    /// Locked by the process that writes into it.
    file: File,
}

pub(super) struct Releasing {
    releaser: Releaser<Arc<Mapped>>,
    /// Ranges that are read and hold no click, so that no acknowledgement comes for them.
    skipped: Vec<(u64, u64)>,
}

impl Ring {
    pub fn new(memory: Arc<Mapped>, file: File) -> Self {
        let releaser = Releaser::new(Arc::clone(&memory));
        Self::of(memory, releaser, file)
    }

    pub fn left(memory: Arc<Mapped>, releaser: Releaser<Arc<Mapped>>, file: File, found: Found) -> Self {
        Self { left: OnceLock::from(found), ..Self::of(memory, releaser, file) }
    }

    /// A ring of a predecessor that still writes into it. `before` are the clicks that were read.
    pub fn followed(memory: Arc<Mapped>, releaser: Releaser<Arc<Mapped>>, file: File, before: u64) -> Self {
        Self { followed: Some(before), ..Self::of(memory, releaser, file) }
    }

    fn of(memory: Arc<Mapped>, releaser: Releaser<Arc<Mapped>>, file: File) -> Self {
        let releasing = Mutex::new(Releasing { releaser, skipped: Vec::new() });
        Self { memory, releasing, left: OnceLock::new(), followed: None, file }
    }

    /// Returns when the process that writes into it has ended.
    pub fn await_producer(&self) -> io::Result<()> {
        self.file.lock()
    }

    /// Clicks of a predecessor, so far.
    pub fn clicks_of_predecessor(&self) -> u64 {
        self.followed.map_or(0, |before| self.memory.load(Cell::Pushed).saturating_sub(before))
    }

    /// Notes that the predecessor has ended: no click follows.
    pub fn end_following(&self) {
        let (clicks, end) = (self.clicks_of_predecessor(), self.memory.load(Cell::Tail));
        _ = self.left.set(Found { clicks, end, lost: None });
    }

    /// Clicks that no worker has read.
    pub fn depth(&self) -> u64 {
        let clicks = self.memory.load(Cell::Clicks);
        self.memory.load(Cell::Pushed).saturating_sub(clicks)
    }

    /// Bytes that are not released.
    pub fn held(&self) -> u64 {
        let head = locked(&self.releasing).releaser.head();
        let end = self.left.get().map_or_else(|| self.memory.load(Cell::Tail), |found| found.end);
        end.saturating_sub(head)
    }

    pub fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    pub fn is_left(&self) -> bool {
        self.left.get().is_some()
    }

    /// Whether the clicks in it are those of this process.
    pub fn is_own(&self) -> bool {
        !self.is_left() && self.followed.is_none()
    }

    /// Whether a predecessor may still write into it.
    pub fn is_followed(&self) -> bool {
        !self.is_left() && self.followed.is_some()
    }

    /// Whether a part of it could not be read.
    pub fn is_damaged(&self) -> bool {
        self.left.get().is_some_and(|found| found.lost.is_some())
    }

    /// Whether every click is released.
    pub fn is_released(&self) -> bool {
        self.held() == 0
    }

    /// Runs `act`, then releases the skipped ranges that follow.
    pub fn ack(&self, act: impl FnOnce(&mut Releasing)) {
        let mut releasing = locked(&self.releasing);
        act(&mut releasing);
        releasing.release_skipped();
    }
}

impl Releasing {
    /// Notes a range that no acknowledgement will come for.
    pub fn skip(&mut self, from: u64, to: u64) {
        self.skipped.push((from, to));
    }

    fn release_skipped(&mut self) {
        while let Some(&(_, to)) = self.skipped.iter().find(|(from, _)| *from == self.releaser.head()) {
            self.releaser.release(to);
            if self.releaser.head() != to {
                break;
            }
        }
        let head = self.releaser.head();
        self.skipped.retain(|&(from, _)| from >= head);
    }
}
