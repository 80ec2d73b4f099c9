//! Receipts: what says that a click is safe elsewhere, so that its ring can forget it.

use std::sync::{Arc, Mutex};

use super::{
    Shared, locked,
    memory::Mapped,
    ring::{Cell, Found, Memory, Releaser},
};

/// A place in a ring: behind the click that it came with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// Uid of the ring.
    pub ring: u64,
    /// Position behind the click.
    pub end: u64,
}

/// Releases clicks, from whichever thread knows that they are safe.
#[derive(Clone)]
pub struct Receipts {
    pub(super) shared: Arc<Shared>,
}

impl Receipts {
    /// Everything in the mark's ring up to the mark is safe: addresses are wiped, and the room is free again. A ring
    /// that an earlier process has left goes when its last click is released.
    pub fn release(&self, mark: Mark) {
        self.shared.settle(mark.ring, |releasing| releasing.releaser.release(mark.end));
    }
}

/// A ring as everybody but its producer and its consumer sees it.
pub(super) struct Ring {
    memory: Arc<Mapped>,
    releasing: Mutex<Releasing>,
    /// What was found, of a ring that an earlier process has left.
    left: Option<Found>,
}

pub(super) struct Releasing {
    releaser: Releaser<Arc<Mapped>>,
    /// Ranges that are read and hold no click, so that no mark comes for them.
    spoilt: Vec<(u64, u64)>,
}

impl Ring {
    pub fn new(memory: Arc<Mapped>) -> Self {
        let releaser = Releaser::new(Arc::clone(&memory));
        Self { memory, releasing: Mutex::new(Releasing { releaser, spoilt: Vec::new() }), left: None }
    }

    pub fn left(memory: Arc<Mapped>, releaser: Releaser<Arc<Mapped>>, found: Found) -> Self {
        Self { memory, releasing: Mutex::new(Releasing { releaser, spoilt: Vec::new() }), left: Some(found) }
    }

    /// Clicks that nobody has read.
    pub fn depth(&self) -> u64 {
        let clicks = self.memory.load(Cell::Clicks);
        self.memory.load(Cell::Pushed).saturating_sub(clicks)
    }

    /// Bytes that are not released.
    pub fn held(&self) -> u64 {
        let head = locked(&self.releasing).releaser.head();
        let end = self.left.map_or_else(|| self.memory.load(Cell::Tail), |found| found.end);
        end.saturating_sub(head)
    }

    pub fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    pub fn is_left(&self) -> bool {
        self.left.is_some()
    }

    /// Whether a part of it could not be read.
    pub fn is_damaged(&self) -> bool {
        self.left.is_some_and(|found| found.lost.is_some())
    }

    /// Whether every click is released.
    pub fn is_released(&self) -> bool {
        self.held() == 0
    }

    pub fn settle(&self, how: impl FnOnce(&mut Releasing)) {
        let mut releasing = locked(&self.releasing);
        how(&mut releasing);
        releasing.pass_spoilt();
    }
}

impl Releasing {
    /// Notes a range that no mark will come for.
    pub fn spoil(&mut self, from: u64, to: u64) {
        self.spoilt.push((from, to));
    }

    fn pass_spoilt(&mut self) {
        while let Some(&(_, to)) = self.spoilt.iter().find(|(from, _)| *from == self.releaser.head()) {
            self.releaser.release(to);
            if self.releaser.head() != to {
                break;
            }
        }
        let head = self.releaser.head();
        self.spoilt.retain(|&(from, _)| from >= head);
    }
}
