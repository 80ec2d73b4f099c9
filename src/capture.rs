//! Capture: from the answered request to a raw click that survives this process, without a lock, a system call, an
//! allocation or a wait.
//!
//! A [`RawClick`](crate::click::RawClick) holds everything the event needs of the request and of the link *as it is now*: what changes later
//! (the catalog, the configuration) does not change it. It is written straight into a ring, which is a file on a tmpfs
//! that this process has mapped ([`folder`], `memory`). So from the moment that [`push`](Capture::push) returns, the
//! click is there for the next process, whatever becomes of this one; and it stays there until somebody says that it is
//! safe elsewhere ([`Receipts`]).
//!
//! ```text
//!  listener thread ─┬─ring─► worker 0      one ring for each pair, so that each has one writer
//!                   └─ring─► worker 1      and one reader, and nobody takes turns ([`ring`])
//!  listener thread ─┬─ring─► worker 0
//!                   └─ring─► worker 1
//!  rings left by a process that died ─► the same workers, read first
//! ```
//! Clicks of one client address always go to the same worker, so that it sees all of a visitor's clicks and needs to
//! share nothing. Threads that nobody has foreseen get rings of their own with their first click (`claims`).
//!
//! The client address lives in the raw click and nowhere else ([`ClientAddr`](crate::click::ClientAddr)); it is wiped when the click is released.
//!
//! A full ring never delays the redirect: the click is refused, and the caller counts it as dropped.

mod claims;
pub mod folder;
mod inlet;
mod memory;
pub mod metrics;
mod receipts;
mod ring;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use claims::Set;
pub use folder::CaptureError;
use folder::{Folder, Left};
pub use inlet::Inlet;
use inlet::Source;
pub use receipts::{Mark, Receipts};
use receipts::{Releasing, Ring};
pub use ring::Pushed;
use ring::{Consumer, Memory, Producer};

use crate::{
    click::{
        Facts,
        wire::{self, Version},
    },
    config,
};

/// Bytes of a ring at least.
const LEAST: u64 = 1 << 20;

/// The rings between the redirect and the workers. Cheap to clone.
#[derive(Clone)]
pub struct Capture {
    shared: Arc<Shared>,
}

impl Capture {
    /// Makes rings for so many threads that capture and so many workers, and takes over those that an earlier process
    /// has left: they are read first, and by the same workers if there are as many. `known` tells of each ring, by its uid, up to where its
    /// clicks are safe already; they are not read again.
    ///
    /// # Errors
    /// When the folder is in use, not in memory, or has no room.
    pub fn open(
        config: &config::Capture,
        producers: usize,
        workers: usize,
        known: &HashMap<u64, u64>,
    ) -> Result<(Self, Vec<Inlet>), CaptureError> {
        let (producers, workers) = (producers.max(1), workers.max(1));
        let rings = (producers * workers) as u64;
        let mut shared = Shared {
            folder: Folder::open(&config.dir)?,
            capacity: (config.ring_bytes / rings / 4_096 * 4_096).max(LEAST),
            recovered: 0,
            rings: Mutex::default(),
            free: Mutex::default(),
            arrivals: Arrivals::new(workers),
            complained: AtomicBool::new(false),
        };
        let left = shared.take_over(known)?;
        let live = shared.fill(producers)?;
        let shared = Arc::new(shared);
        let ends = left.into_iter().zip(live).enumerate();
        let inlets = ends.map(|(worker, (left, live))| Inlet::new(Arc::clone(&shared), worker, left, live)).collect();
        Ok((Self { shared }, inlets))
    }

    /// Hands a click to the worker that owns its client address. When this says that it is captured, it survives this
    /// process; otherwise it is gone, and the caller counts it.
    pub fn push(&self, facts: &Facts<'_>) -> Pushed {
        let worker = facts.client.shard(self.shared.arrivals.queues.len());
        let pushed = claims::with_producer(&self.shared, worker, |producer| {
            producer.push(wire::encoded_len(facts), |place| wire::encode_into(facts, place))
        });
        pushed.unwrap_or(Pushed::Full)
    }

    /// What tells the rings that clicks are safe.
    pub fn receipts(&self) -> Receipts {
        Receipts { shared: Arc::clone(&self.shared) }
    }

    /// Clicks that are captured and that no worker has read.
    pub fn depth(&self) -> u64 {
        locked(&self.shared.rings).values().map(|ring| ring.depth()).sum()
    }

    /// Bytes of all rings of this process.
    pub fn capacity_bytes(&self) -> u64 {
        locked(&self.shared.rings).values().filter(|ring| !ring.is_left()).map(|ring| ring.capacity()).sum()
    }

    /// Bytes that clicks hold in all rings, until they are released.
    pub fn held_bytes(&self) -> u64 {
        locked(&self.shared.rings).values().map(|ring| ring.held()).sum()
    }

    /// Clicks that were found in rings left behind.
    pub fn recovered(&self) -> u64 {
        self.shared.recovered
    }

    /// Removes the rings whose every click is released, and leaves the others for the next start. Call it at the end of
    /// a stop, when nothing is captured and nothing read any more.
    pub fn close(&self) {
        let mut rings = locked(&self.shared.rings);
        for (uid, ring) in rings.extract_if(|_, ring| ring.is_released()) {
            self.shared.dispose(uid, &ring);
        }
        if !rings.is_empty() {
            let clicks: u64 = rings.values().map(|ring| ring.depth()).sum();
            tracing::info!(rings = rings.len(), unread = clicks, "rings wait for the next start");
        }
        self.shared.folder.unlock();
    }
}

/// What all clones, inlets and receipts share.
struct Shared {
    folder: Folder,
    /// Bytes of each ring.
    capacity: u64,
    recovered: u64,
    /// All rings, by uid. Locked for a receipt, not for a click.
    rings: Mutex<HashMap<u64, Arc<Ring>>>,
    /// Sets that no thread has claimed.
    free: Mutex<Vec<Set>>,
    arrivals: Arrivals,
    /// Somebody has been told that a thread gets no rings.
    complained: AtomicBool,
}

impl Shared {
    /// Takes over what an earlier process has left. Returns the workers' ends, worker by worker.
    fn take_over(&mut self, known: &HashMap<u64, u64>) -> Result<Vec<Vec<Source>>, CaptureError> {
        let mut left = self.ends();
        for Left { uid, version, worker, mapped } in self.folder.left_behind()? {
            let memory = Arc::new(mapped);
            let name = format!("{uid:016x}");
            let known = known.get(&uid).copied().unwrap_or(0);
            let Some((consumer, releaser, found)) = ring::take_over(Arc::clone(&memory), known) else {
                tracing::error!(ring = name, "a ring's cursors are damaged; its clicks are lost");
                self.folder.set_aside(uid);
                continue;
            };
            if let Some(lost) = found.lost {
                tracing::error!(ring = name, found = found.clicks, lost, "a ring is damaged, and clicks are lost");
            }
            self.recovered += found.clicks;
            if found.lost.is_none() {
                self.folder.give_back(uid, releaser.head(), found.end, memory.capacity());
            }
            let ring = Arc::new(Ring::left(memory, releaser, found));
            if found.clicks == 0 {
                self.dispose(uid, &ring);
            } else {
                tracing::info!(ring = name, clicks = found.clicks, "clicks of an earlier process are recovered");
                locked(&self.rings).insert(uid, ring);
                let workers = left.len();
                left[worker as usize % workers].push(Source::new(uid, version, consumer));
            }
        }
        Ok(left)
    }

    fn ends(&self) -> Vec<Vec<Source>> {
        self.arrivals.queues.iter().map(|_| Vec::new()).collect()
    }

    /// Makes sets for so many threads. Returns the workers' ends, worker by worker.
    fn fill(&self, producers: usize) -> Result<Vec<Vec<Source>>, CaptureError> {
        let mut live = self.ends();
        for _ in 0..producers {
            match self.make_set(producers) {
                Ok((set, sources)) => {
                    locked(&self.free).push(set);
                    live.iter_mut().zip(sources).for_each(|(live, source)| live.push(source));
                }
                Err(error) => {
                    for source in live.iter().flatten() {
                        self.folder.remove(source.uid);
                    }
                    return Err(error);
                }
            }
        }
        Ok(live)
    }

    /// Makes the rings of one thread, of `sets` that are being made: all of them, or none.
    fn make_set(&self, sets: usize) -> Result<(Set, Vec<Source>), CaptureError> {
        let workers = self.arrivals.queues.len();
        let bytes = (memory::HEADER as u64 + self.capacity) * (workers * sets) as u64;
        let mut made = Vec::new();
        for worker in 0..workers {
            match self.folder.make(worker as u32, self.capacity, bytes) {
                Ok((uid, memory)) => made.push((uid, Arc::new(memory))),
                Err(error) => {
                    for (uid, _) in made {
                        self.folder.remove(uid);
                    }
                    return Err(error);
                }
            }
        }
        let mut rings = locked(&self.rings);
        let set = made.iter().map(|(_, memory)| Producer::new(Arc::clone(memory))).collect();
        let sources = made.into_iter().map(|(uid, memory)| {
            rings.insert(uid, Arc::new(Ring::new(Arc::clone(&memory))));
            Source::new(uid, Version::default(), Consumer::new(memory))
        });
        Ok((set, sources.collect()))
    }

    /// A set for a thread that has none: a free one, or a new one.
    fn claim(&self) -> Option<Set> {
        if let Some(set) = locked(&self.free).pop() {
            return Some(set);
        }
        match self.make_set(1) {
            Ok((set, sources)) => {
                self.arrivals.add(sources);
                Some(set)
            }
            Err(error) => {
                if !self.complained.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "a thread gets no rings; its clicks are lost and counted as ring_full");
                }
                None
            }
        }
    }

    fn give_back(&self, set: Set) {
        locked(&self.free).push(set);
    }

    /// Releases something of a ring, which goes if it was left behind and is now done with.
    fn settle(&self, uid: u64, how: impl FnOnce(&mut Releasing)) {
        let Some(ring) = locked(&self.rings).get(&uid).cloned() else { return };
        ring.settle(how);
        if ring.is_left() && ring.is_released() && locked(&self.rings).remove(&uid).is_some() {
            self.dispose(uid, &ring);
        }
    }

    fn dispose(&self, uid: u64, ring: &Ring) {
        if ring.is_damaged() {
            self.folder.set_aside(uid);
        } else {
            self.folder.remove(uid);
        }
    }
}

/// Rings on their way to the workers: those of threads that nobody had foreseen.
struct Arrivals {
    /// How many there were. Looked at for each click, and hardly ever changed.
    count: AtomicU64,
    queues: Box<[Mutex<Vec<Source>>]>,
}

impl Arrivals {
    fn new(workers: usize) -> Self {
        Self { count: AtomicU64::new(0), queues: (0..workers).map(|_| Mutex::default()).collect() }
    }

    /// One for each worker.
    fn add(&self, sources: Vec<Source>) {
        for (queue, source) in self.queues.iter().zip(sources) {
            locked(queue).push(source);
        }
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Moves a worker's arrivals to where it keeps its rings.
    fn take(&self, worker: usize, seen: &mut u64, to: &mut Vec<Source>) {
        let count = self.count.load(Ordering::Acquire);
        if count != *seen {
            *seen = count;
            to.append(&mut locked(&self.queues[worker]));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
