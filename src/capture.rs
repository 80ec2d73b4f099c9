//! Capture: from the answered request to a raw click that survives this process, without a lock, a system call, an
//! allocation or a wait.
//!
//! A [`RawClick`](crate::click::RawClick) holds everything that the event needs of the request and of the link *as it
//! is now*: what changes later (the catalog, the configuration) does not change it. It is written straight into a ring,
//! which is a file on a tmpfs that this process has mapped ([`folder`], `memory`). From the moment that
//! [`push`](Capture::push) returns, the click is there for the next process, whatever happens to this one; and it stays
//! there until it is acknowledged as safe elsewhere ([`Acks`]).
//!
//! ```text
//!  listener thread ─┬─ring─► worker 0      one ring for each pair, so that each has one producer
//!                   └─ring─► worker 1      and one consumer, without contention (`ring`)
//!  listener thread ─┬─ring─► worker 0
//!                   └─ring─► worker 1
//!  rings left behind by a process that died ─► the same workers, read first
//! ```
//! Clicks of one client address always go to the same worker, so that it sees all of a visitor's clicks and shares no
//! state with other workers. Threads that were not planned for get rings of their own with their first click
//! (`leases`).
//!
//! The client address lives in the raw click and nowhere else ([`ClientAddr`](crate::click::ClientAddr)); it is wiped
//! when the click is released.
//!
//! A full ring never delays the redirect: the click is not captured, and the caller counts it as dropped.
//!
//! Transport only: what a click consists of is defined in [`click`](crate::click).

mod acks;
mod error;
pub mod folder;
mod inlet;
mod leases;
mod memory;
pub mod metrics;
mod private;
mod ring;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub use acks::{Acks, RingPosition};
use acks::{Releasing, Ring};
pub use error::CaptureError;
use folder::{Folder, LeftRing};
pub use inlet::Inlet;
use inlet::RingReader;
use leases::Producers;
pub use ring::Pushed;
use ring::{Consumer, Memory, Producer};

use crate::{
    click::{
        Facts,
        wire::{self, Version},
    },
    config,
};

/// Minimum size of a ring, in bytes.
const MIN_CAPACITY: u64 = 1 << 20;

/// The rings between the redirect and the workers. Cheap to clone.
#[derive(Clone)]
pub struct Capture {
    shared: Arc<Shared>,
}

impl Capture {
    /// Creates rings for `producers` threads that capture and for `workers`, and takes over those that an earlier
    /// process has left behind: they are read first, and by the same workers if there are as many. `known` has, by the
    /// uid of a ring, the position up to which its clicks are safe already; they are not read again.
    ///
    /// # Errors
    /// When the folder is in use, not in memory, not private, or has no room.
    pub fn open(
        config: &config::Capture,
        producers: usize,
        workers: usize,
        known: &HashMap<u64, u64>,
    ) -> Result<(Self, Vec<Inlet>), CaptureError> {
        let shared = Shared::new(config, producers, workers)?;
        shared.folder.lock()?;
        // First, because it returns memory.
        let left = shared.take_over(known)?;
        let (capture, inlets) = shared.with_inlets(producers, left)?;
        capture.shared.await_producers();
        Ok((capture, inlets))
    }

    /// Creates rings like [`open`](Self::open), next to those of a predecessor that still runs. What the predecessor
    /// has comes with [`inherit`](Self::inherit).
    ///
    /// # Errors
    /// When the folder is not in memory, not private, or has no room.
    pub fn join(
        config: &config::Capture,
        producers: usize,
        workers: usize,
    ) -> Result<(Self, Vec<Inlet>), CaptureError> {
        let shared = Shared::new(config, producers, workers)?;
        let left = shared.readers();
        shared.with_inlets(producers, left)
    }

    /// Takes over the rings of a predecessor that has released the folder, and may still answer the requests that it
    /// has accepted: their clicks are read until it ends.
    ///
    /// # Errors
    /// When the folder is in use by yet another process, or cannot be read.
    pub fn inherit(&self, known: &HashMap<u64, u64>) -> Result<(), CaptureError> {
        self.shared.folder.lock()?;
        self.take_over_others(known)
    }

    /// Takes over the rings of a successor that has died before it could read them.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn take_back(&self) -> Result<(), CaptureError> {
        self.take_over_others(&HashMap::new())
    }

    fn take_over_others(&self, known: &HashMap<u64, u64>) -> Result<(), CaptureError> {
        let left = self.shared.take_over(known)?;
        self.shared.arrivals.add(left);
        self.shared.await_producers();
        Ok(())
    }

    /// Releases the folder for a successor, which reads all rings from now on. No worker may read them any more. Clicks
    /// are still captured.
    pub fn release(&self) {
        self.shared.folder.unlock();
    }

    /// Passes a click to the worker that owns its client address. A click that is [`Captured`](Pushed::Captured)
    /// survives this process; any other is lost, and the caller counts it.
    pub fn push(&self, facts: &Facts<'_>) -> Pushed {
        let worker = facts.client.shard(self.shared.arrivals.queues.len());
        let pushed = leases::with_producer(&self.shared, worker, |producer| {
            producer.push(wire::encoded_len(facts), |place| wire::encode_into(facts, place))
        });
        pushed.unwrap_or(Pushed::Full)
    }

    /// Acknowledges clicks that are safe elsewhere.
    pub fn acks(&self) -> Acks {
        Acks { shared: Arc::clone(&self.shared) }
    }

    /// Clicks that are captured and not read by a worker.
    pub fn depth(&self) -> u64 {
        locked(&self.shared.rings).values().map(|ring| ring.depth()).sum()
    }

    /// Bytes of all rings of this process.
    pub fn capacity_bytes(&self) -> u64 {
        locked(&self.shared.rings).values().filter(|ring| ring.is_own()).map(|ring| ring.capacity()).sum()
    }

    /// Bytes that clicks hold in all rings, until they are released.
    pub fn held_bytes(&self) -> u64 {
        locked(&self.shared.rings).values().map(|ring| ring.held()).sum()
    }

    /// Share of the fullest ring of this process that clicks hold, from 0 to 1. A ring that is full drops clicks,
    /// however empty the others are.
    pub fn fullest(&self) -> f64 {
        let rings = locked(&self.shared.rings);
        let share = |ring: &Arc<Ring>| ring.held() as f64 / ring.capacity().max(1) as f64;
        rings.values().filter(|ring| ring.is_own()).map(share).fold(0.0, f64::max)
    }

    /// Whether a ring of this process is nine tenths full, or more.
    pub fn is_nearly_full(&self) -> bool {
        self.fullest() >= 0.9
    }

    /// Clicks found in rings that an earlier process has left behind, those of a predecessor that still runs included.
    pub fn recovered(&self) -> u64 {
        let rings = locked(&self.shared.rings);
        let followed: u64 = rings.values().map(|ring| ring.clicks_of_predecessor()).sum();
        self.shared.recovered.load(Ordering::Relaxed) + followed
    }

    /// Removes the rings whose clicks are all released, and leaves the others for the next start. Call it at the end of
    /// a stop, when no click is captured or read any more.
    pub fn close(&self) {
        let mut rings = locked(&self.shared.rings);
        for (uid, ring) in rings.extract_if(|_, ring| ring.is_released() && !ring.is_followed()) {
            self.shared.dispose(uid, &ring);
        }
        if !rings.is_empty() {
            let clicks: u64 = rings.values().map(|ring| ring.depth()).sum();
            tracing::info!(rings = rings.len(), unread = clicks, "rings with clicks stay for the next start");
        }
        self.shared.folder.unlock();
    }
}

/// State that all clones, inlets and acknowledgements share.
struct Shared {
    folder: Folder,
    /// Bytes of each ring.
    capacity: u64,
    /// Clicks of earlier processes, without those of rings that are followed.
    recovered: AtomicU64,
    /// All rings, by uid. Locked for an acknowledgement, not for a click.
    rings: Mutex<HashMap<u64, Arc<Ring>>>,
    /// Producers that no thread has leased.
    free: Mutex<Vec<Producers>>,
    arrivals: Arrivals,
    /// Rings into which a predecessor writes, until a thread waits for its end.
    followed: Mutex<Vec<(u64, Arc<Ring>)>>,
    /// Whether it was logged that a thread gets no rings.
    reported: AtomicBool,
}

impl Shared {
    fn new(config: &config::Capture, producers: usize, workers: usize) -> Result<Self, CaptureError> {
        let (producers, workers) = (producers.max(1), workers.max(1));
        let rings = (producers * workers) as u64;
        Ok(Self {
            folder: Folder::open(&config.dir)?,
            capacity: (config.ring_bytes / rings / 4_096 * 4_096).max(MIN_CAPACITY),
            recovered: AtomicU64::new(0),
            rings: Mutex::default(),
            free: Mutex::default(),
            arrivals: Arrivals::new(workers),
            followed: Mutex::default(),
            reported: AtomicBool::new(false),
        })
    }

    /// Creates the rings of `producers` threads, and an inlet for each worker, with what is left for it.
    fn with_inlets(
        self,
        producers: usize,
        left: Vec<Vec<RingReader>>,
    ) -> Result<(Capture, Vec<Inlet>), CaptureError> {
        let live = self.fill(producers.max(1))?;
        let shared = Arc::new(self);
        let ends = left.into_iter().zip(live).enumerate();
        let inlets = ends.map(|(worker, (left, live))| Inlet::new(Arc::clone(&shared), worker, left, live)).collect();
        Ok((Capture { shared }, inlets))
    }

    /// Takes over the rings of other processes. Returns the readers of each worker for those that were left behind;
    /// those into which a predecessor still writes arrive like rings of new threads.
    fn take_over(&self, known: &HashMap<u64, u64>) -> Result<Vec<Vec<RingReader>>, CaptureError> {
        let (mut left, mut followed) = (self.readers(), self.readers());
        let workers = left.len();
        for other in self.others()? {
            let (uid, worker) = (other.uid, other.worker as usize % workers);
            let known = known.get(&uid).copied().unwrap_or(0);
            if other.is_written {
                followed[worker].extend(self.follow(other, known));
            } else {
                left[worker].extend(self.recover(other, known));
            }
        }
        self.arrivals.add(followed);
        Ok(left)
    }

    /// Takes over a ring that was left behind. `None` if there is nothing to read in it.
    fn recover(&self, ring: LeftRing, known: u64) -> Option<RingReader> {
        let LeftRing { uid, version, mapped, file, .. } = ring;
        let (memory, name) = (Arc::new(mapped), format!("{uid:016x}"));
        let Some((consumer, releaser, found)) = ring::take_over(Arc::clone(&memory), known) else {
            self.lose(uid);
            return None;
        };
        if let Some(lost) = found.lost {
            tracing::error!(ring = name, found = found.clicks, lost, "a ring is damaged; clicks are lost");
        }
        self.recovered.fetch_add(found.clicks, Ordering::Relaxed);
        if found.lost.is_none() {
            self.folder.punch_unused(uid, releaser.head(), found.end, memory.capacity());
        }
        let ring = Arc::new(Ring::left(memory, releaser, file, found));
        if found.clicks == 0 {
            self.dispose(uid, &ring);
            return None;
        }
        tracing::info!(ring = name, clicks = found.clicks, "recovered clicks of an earlier process");
        locked(&self.rings).insert(uid, ring);
        Some(RingReader::new(uid, version, consumer))
    }

    /// Takes over the reader's end of a ring into which a predecessor writes.
    fn follow(&self, ring: LeftRing, known: u64) -> Option<RingReader> {
        let LeftRing { uid, version, mapped, file, .. } = ring;
        let memory = Arc::new(mapped);
        let Some((consumer, releaser, before)) = ring::follow(Arc::clone(&memory), known) else {
            self.lose(uid);
            return None;
        };
        let ring = Arc::new(Ring::followed(memory, releaser, file, before));
        locked(&self.rings).insert(uid, Arc::clone(&ring));
        locked(&self.followed).push((uid, ring));
        Some(RingReader::new(uid, version, consumer))
    }

    /// Waits on a thread of its own until the processes that write into followed rings have ended.
    fn await_producers(self: &Arc<Self>) {
        let followed = std::mem::take(&mut *locked(&self.followed));
        if followed.is_empty() {
            return;
        }
        let shared = Arc::downgrade(self);
        let wait = move || {
            for (uid, ring) in followed {
                if let Err(error) = ring.await_producer() {
                    tracing::warn!(%error, "the rings of a predecessor stay until the next start");
                } else if let Some(shared) = shared.upgrade() {
                    shared.end_following(uid, &ring);
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("predecessor".into()).spawn(wait) {
            tracing::warn!(%error, "the rings of a predecessor stay until the next start");
        }
    }

    /// The process that wrote into a ring has ended: it is removed once its clicks are safe.
    fn end_following(&self, uid: u64, ring: &Ring) {
        ring.end_following();
        if ring.is_released() && locked(&self.rings).remove(&uid).is_some() {
            self.recovered.fetch_add(ring.clicks_of_predecessor(), Ordering::Relaxed);
            self.dispose(uid, ring);
        }
    }

    /// The rings in the folder that this process does not know yet.
    fn others(&self) -> Result<Vec<LeftRing>, CaptureError> {
        self.folder.left_behind(|uid| locked(&self.rings).contains_key(&uid))
    }

    fn lose(&self, uid: u64) {
        tracing::error!(ring = format!("{uid:016x}"), "the cursors of a ring are damaged; its clicks are lost");
        self.folder.set_aside(uid);
    }

    fn readers(&self) -> Vec<Vec<RingReader>> {
        self.arrivals.queues.iter().map(|_| Vec::new()).collect()
    }

    /// Creates the rings of `producers` threads. Returns the readers of each worker.
    fn fill(&self, producers: usize) -> Result<Vec<Vec<RingReader>>, CaptureError> {
        let mut live = self.readers();
        for _ in 0..producers {
            match self.make_producers(producers) {
                Ok((producers, readers)) => {
                    locked(&self.free).push(producers);
                    live.iter_mut().zip(readers).for_each(|(live, reader)| live.push(reader));
                }
                Err(error) => {
                    for reader in live.iter().flatten() {
                        self.folder.remove(reader.uid);
                    }
                    return Err(error);
                }
            }
        }
        Ok(live)
    }

    /// Creates the rings of one thread, of `threads` that are being prepared: all of them, or none.
    fn make_producers(&self, threads: usize) -> Result<(Producers, Vec<RingReader>), CaptureError> {
        let workers = self.arrivals.queues.len();
        let bytes = (memory::HEADER as u64 + self.capacity) * (workers * threads) as u64;
        let mut made = Vec::new();
        for worker in 0..workers {
            match self.folder.make(worker as u32, self.capacity, bytes) {
                Ok((uid, memory, file)) => made.push((uid, Arc::new(memory), file)),
                Err(error) => {
                    for (uid, ..) in made {
                        self.folder.remove(uid);
                    }
                    return Err(error);
                }
            }
        }
        let mut rings = locked(&self.rings);
        let producers = made.iter().map(|(_, memory, _)| Producer::new(Arc::clone(memory))).collect();
        let readers = made.into_iter().map(|(uid, memory, file)| {
            rings.insert(uid, Arc::new(Ring::new(Arc::clone(&memory), file)));
            RingReader::new(uid, Version::default(), Consumer::new(memory))
        });
        Ok((producers, readers.collect()))
    }

    /// Producers for a thread that has none yet: free ones, or new ones.
    fn lease(&self) -> Option<Producers> {
        if let Some(producers) = locked(&self.free).pop() {
            return Some(producers);
        }
        match self.make_producers(1) {
            Ok((producers, readers)) => {
                self.arrivals.add(readers.into_iter().map(|reader| vec![reader]).collect());
                Some(producers)
            }
            Err(error) => {
                if !self.reported.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "cannot create rings for a thread; its clicks are dropped and counted as ring_full");
                }
                None
            }
        }
    }

    fn end_lease(&self, producers: Producers) {
        locked(&self.free).push(producers);
    }

    /// Releases a part of a ring. A ring that was left behind is removed once all of it is released.
    fn ack(&self, uid: u64, act: impl FnOnce(&mut Releasing)) {
        let Some(ring) = locked(&self.rings).get(&uid).cloned() else { return };
        ring.ack(act);
        if ring.is_left() && ring.is_released() && locked(&self.rings).remove(&uid).is_some() {
            self.recovered.fetch_add(ring.clicks_of_predecessor(), Ordering::Relaxed);
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

/// Rings on their way to the workers: those of threads that were not planned for.
struct Arrivals {
    /// How many there were. Read for each click, and hardly ever changed.
    count: AtomicU64,
    queues: Box<[Mutex<Vec<RingReader>>]>,
}

impl Arrivals {
    fn new(workers: usize) -> Self {
        Self { count: AtomicU64::new(0), queues: (0..workers).map(|_| Mutex::default()).collect() }
    }

    /// Adds those of each worker.
    fn add(&self, readers: Vec<Vec<RingReader>>) {
        for (queue, mut readers) in self.queues.iter().zip(readers) {
            locked(queue).append(&mut readers);
        }
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Moves a worker's arrivals to its other rings.
    fn take(&self, worker: usize, seen: &mut u64, to: &mut Vec<RingReader>) {
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
