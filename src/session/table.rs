//! The table of visits: memory of a fixed size, without pointers.
//!
//! ```text
//! bucket:  8 slots of 32 bytes
//! slot:    word 0  the individual: 128 bits of the keyed hash
//!          word 1
//!          word 2  when the visit began, see `Moment`
//!          word 3  when its last click was, and in bit 0 under which of the two keys; 0 when the slot is empty
//! ```
//! The individual's first word selects the bucket, and the individual is in any slot of that bucket.
//!
//! **Eviction.** A new visitor takes an empty slot of its bucket, else that of the visitor who has been idle for the
//! longest. If the visit of that visitor has not ended, it counts as evicted: its next click begins a new visit. There
//! are eight slots for each [`VISITORS`] that are to be remembered, as buckets do not fill evenly: when so many are on
//! a visit at the same time, three in a hundred are evicted; with three quarters of them, six in a thousand.
//!
//! **Crashes.** The process may die between any two stores. Word 3 is stored last when a slot is taken, and cleared
//! first when more than that word changes. So a slot is complete, or empty. What is lost with an empty one is the
//! visitor of the click at hand, and that click is still in its ring: the next process sees it again.
//!
//! **Threads.** All workers share the table. A slot is read and written with the lock of its bucket held, one of many,
//! in this process's own memory: a lock ends with its owner. All clicks of a visitor come to one worker, so two workers
//! hardly ever want the same lock at a time. No worker holds two.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::click::{EventId, Visit};

/// Visitors for which there is a bucket of eight slots.
pub(super) const VISITORS: u64 = 5;

/// Words before the first bucket.
pub(super) const HEADER: usize = 512;

const WAYS: usize = 8;
const SLOT: usize = 4;
const BUCKET: usize = WAYS * SLOT;

/// Locks: far more than workers.
const LOCKS: usize = 1_024;

/// Memory in words that outlives the process. Loads acquire, stores release, so that they stay in order.
pub(super) trait Memory {
    fn load(&self, at: usize) -> u64;
    fn store(&self, at: usize, value: u64);
}

/// Buckets for this many visitors.
pub(super) fn buckets(visitors: usize) -> u64 {
    (visitors as u64).div_ceil(VISITORS).max(1)
}

/// Words of a table.
pub(super) fn words(buckets: u64) -> u64 {
    HEADER as u64 + buckets * BUCKET as u64
}

/// A visitor, hashed with one of the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Individual {
    pub hash: [u64; 2],
    /// Which of the two keys, 0 or 1.
    pub place: u64,
}

/// When a click was answered, and a part of its id: 52 bits of microseconds since the Unix epoch (until 2112) and 11
/// bits that are random in the id, so that a click that is seen again differs from another one of the same microsecond.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Moment(u64);

impl Moment {
    const PLACE: u64 = 1;

    /// Zero would be an empty slot, and larger values do not fit.
    const MICROS: std::ops::RangeInclusive<u64> = 1..=(1 << 52) - 1;

    pub fn of(micros: u64, id: &EventId) -> Self {
        let id = u64::from(u16::from_le_bytes([id.as_bytes()[14], id.as_bytes()[15]]));
        Self(Self::at(micros).0 | id & 0xffe)
    }

    /// Of a click of which only the time is known.
    fn at(micros: u64) -> Self {
        Self(micros.clamp(*Self::MICROS.start(), *Self::MICROS.end()) << 12)
    }

    pub fn micros(self) -> u64 {
        self.0 >> 12
    }
}

/// What a slot holds besides the individual.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Known {
    began: Moment,
    last: Moment,
}

/// The new content of a slot after a click, and whether the click is the first of a visit.
fn decide(known: Option<Known>, click: Moment, idle: u64) -> (Known, bool) {
    let Some(Known { began, last }) = known else { return (Known { began: click, last: click }, true) };
    if began == click || last == click {
        // It is seen again: the process died before its event was in the journal.
        return (Known { began, last }, began == click);
    }
    let (now, before) = (click.micros(), last.micros());
    if now.saturating_sub(before) > idle {
        return (Known { began: click, last: click }, true);
    }
    // A click that arrives after a later one changes nothing; a clock that went back ends no visit.
    let overtaken = before > now && before - now <= idle;
    (Known { began, last: if overtaken { last } else { click } }, false)
}

pub(super) struct VisitTable<M> {
    memory: M,
    buckets: u64,
    locks: Box<[Mutex<()>]>,
    /// Slots that are not empty.
    used: AtomicU64,
    /// Visitors that others have displaced during their visit.
    evicted: AtomicU64,
}

impl<M: Memory> VisitTable<M> {
    /// A table over memory that holds one, or zeros. Visitors under wiped keys are wiped, and so is what a process that
    /// died during a store has left.
    pub fn new(memory: M, buckets: u64, places: [bool; 2]) -> Self {
        let locks = (0..LOCKS).map(|_| Mutex::default()).collect();
        let table = Self { memory, buckets, locks, used: AtomicU64::new(0), evicted: AtomicU64::new(0) };
        for at in (0..buckets).flat_map(slots) {
            match table.memory.load(at + 3) {
                0 => table.wipe(at),
                last if !places[(last & Moment::PLACE) as usize] => table.wipe(at),
                _ => _ = table.used.fetch_add(1, Ordering::Relaxed),
            }
        }
        table
    }

    /// Records a click and returns the visit that it belongs to. `before` is its visitor under the previous key, while
    /// there is one.
    pub fn click(
        &self,
        click: Moment,
        idle: u64,
        who: Individual,
        before: impl FnOnce() -> Option<Individual>,
    ) -> Visit {
        let guard = self.lock(who);
        if let Some(at) = self.find(who) {
            let known = self.known(at);
            let (next, first) = decide(Some(known), click, idle);
            self.change(at, known, next, who.place);
            return Visit { started: next.began.micros(), first };
        }
        let Some(before) = before() else {
            self.insert(who, decide(None, click, idle).0, click, idle);
            return Visit { started: click.micros(), first: true };
        };
        drop(guard);
        let known = self.look_up(before);
        let (next, first) = decide(known, click, idle);
        self.put(who, next, click, idle);
        if known.is_some() {
            self.forget(before);
        }
        Visit { started: next.began.micros(), first }
    }

    /// Records a click whose visit was decided already, by a process that died.
    pub fn remember(&self, click: Moment, idle: u64, who: Individual, before: Option<Individual>, visit: Visit) {
        let known = self.look_up(who).or_else(|| self.look_up(before?));
        let later = |known: Known| known.last.micros() >= click.micros() || known.began.micros() > click.micros();
        if !known.is_some_and(later) {
            let began = if visit.first { click } else { Moment::at(visit.started) };
            self.put(who, Known { began, last: click }, click, idle);
            if let Some(before) = before {
                self.forget(before);
            }
        }
    }

    /// Whether a visitor is remembered. Takes no lock: while a slot changes its visitor, either may be found.
    pub fn knows(&self, who: Individual) -> bool {
        self.find(who).is_some()
    }

    /// Visitors that are remembered, among them those whose visits have ended.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Visitors that there are buckets for.
    pub fn limit(&self) -> u64 {
        self.buckets * VISITORS
    }

    /// Visitors that were evicted during a visit.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Visitors whose last click was at `since` or later.
    pub fn clicked_since(&self, since: u64) -> u64 {
        let last = |at| Moment(self.memory.load(at + 3)).micros();
        (0..self.buckets).flat_map(slots).filter(|&at| last(at) >= since.max(1)).count() as u64
    }

    /// Wipes all visitors under one key.
    pub fn sweep(&self, place: u64) {
        for bucket in 0..self.buckets {
            let _guard = self.lock_bucket(bucket);
            for at in slots(bucket) {
                let last = self.memory.load(at + 3);
                if last != 0 && last & Moment::PLACE == place {
                    self.wipe(at);
                    self.used.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Copies all visitors into an empty table of another size.
    pub fn copy_to<N: Memory>(&self, other: &VisitTable<N>) {
        for at in (0..self.buckets).flat_map(slots) {
            let [one, two, began, last] = [0, 1, 2, 3].map(|word| self.memory.load(at + word));
            if last != 0 {
                let who = Individual { hash: [one, two], place: last & Moment::PLACE };
                let last = Moment(last & !Moment::PLACE);
                let oldest = slots(other.bucket(who)).map(|at| other.memory.load(at + 3)).min();
                if oldest.is_some_and(|oldest| Moment(oldest).micros() > last.micros()) {
                    continue;
                }
                other.put(who, Known { began: Moment(began), last }, last, 0);
            }
        }
    }

    fn look_up(&self, who: Individual) -> Option<Known> {
        let _guard = self.lock(who);
        self.find(who).map(|at| self.known(at))
    }

    fn put(&self, who: Individual, known: Known, click: Moment, idle: u64) {
        let _guard = self.lock(who);
        match self.find(who) {
            Some(at) => self.change(at, self.known(at), known, who.place),
            None => self.insert(who, known, click, idle),
        }
    }

    fn forget(&self, who: Individual) {
        let _guard = self.lock(who);
        if let Some(at) = self.find(who) {
            self.wipe(at);
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    // The functions below are called with the lock of the bucket held, except for one look at a visitor.

    fn find(&self, who: Individual) -> Option<usize> {
        slots(self.bucket(who)).find(|&at| {
            let is_here = self.memory.load(at) == who.hash[0] && self.memory.load(at + 1) == who.hash[1];
            let last = if is_here { self.memory.load(at + 3) } else { 0 };
            last != 0 && last & Moment::PLACE == who.place
        })
    }

    fn known(&self, at: usize) -> Known {
        let last = Moment(self.memory.load(at + 3) & !Moment::PLACE);
        Known { began: Moment(self.memory.load(at + 2)), last }
    }

    /// Changes a slot whose visitor stays.
    fn change(&self, at: usize, from: Known, to: Known, place: u64) {
        if from.began != to.began {
            self.memory.store(at + 3, 0);
            self.memory.store(at + 2, to.began.0);
        }
        if from != to {
            self.memory.store(at + 3, to.last.0 | place);
        }
    }

    fn insert(&self, who: Individual, known: Known, click: Moment, idle: u64) {
        let last = |at: usize| self.memory.load(at + 3);
        // An empty slot, with time zero, has been idle for the longest.
        let Some(at) = slots(self.bucket(who)).min_by_key(|&at| last(at)) else { return };
        match last(at) {
            0 => _ = self.used.fetch_add(1, Ordering::Relaxed),
            displaced => {
                if click.micros().saturating_sub(Moment(displaced).micros()) <= idle {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                }
                self.memory.store(at + 3, 0);
            }
        }
        self.memory.store(at, who.hash[0]);
        self.memory.store(at + 1, who.hash[1]);
        self.memory.store(at + 2, known.began.0);
        self.memory.store(at + 3, known.last.0 | who.place);
    }

    fn wipe(&self, at: usize) {
        for word in [3, 0, 1, 2] {
            if self.memory.load(at + word) != 0 {
                self.memory.store(at + word, 0);
            }
        }
    }

    fn bucket(&self, who: Individual) -> u64 {
        ((u128::from(who.hash[0]) * u128::from(self.buckets)) >> 64) as u64
    }

    fn lock(&self, who: Individual) -> MutexGuard<'_, ()> {
        self.lock_bucket(self.bucket(who))
    }

    fn lock_bucket(&self, bucket: u64) -> MutexGuard<'_, ()> {
        self.locks[bucket as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first words of a bucket's slots.
fn slots(bucket: u64) -> impl Iterator<Item = usize> {
    let start = HEADER + bucket as usize * BUCKET;
    (start..start + BUCKET).step_by(SLOT)
}

#[cfg(test)]
impl<M> VisitTable<M> {
    pub fn memory(&self) -> &M {
        &self.memory
    }
}
