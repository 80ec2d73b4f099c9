//! The spool: local durable storage between enrichment and delivery.
//!
//! ```text
//! {dir}/lock                                     held by the process that owns the spool
//! {dir}/open/{feed}/{key}                        objects that still grow
//! {dir}/outbox/{feed}/{key}                      finished objects, byte for byte what the sink will hold
//! {dir}/quarantine/{feed}/{key}                  finished objects that were found damaged
//! {dir}/seq/{feed}                               number of the feed's next object
//! {key} = dt=2026-11-23/hour=09/{feed}-{pop}-{first event id}-{seq}.ndjson.gz
//! ```
//! One thread owns all of it. It takes batches from the workers, adds each event to the open object of its feed and
//! event-time hour, and finishes an object when it is large or old enough: fsync, rename into the outbox, fsync of
//! the folder. The rename is the commit. An object's key, and with it everything that delivery needs to know, is
//! decided before its first byte is written; so nothing that happens later makes a second object of the same events.
//!
//! A disk that is full or fails does not lose an event: the spool waits and tries again, the workers wait for it, and
//! the queues in memory fill up to their bound, where drops are counted. Objects that an earlier process left open
//! are finished at the start with every whole event in them ([`recovery`]).

pub mod count;
pub mod object;
pub mod outbox;
pub mod patient;
pub mod recovery;

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use hashbrown::HashMap;

use object::OpenObject;
pub use outbox::{Object, Outbox};
use patient::Deadline;

use crate::{
    capture::EventId,
    config,
    enrich::{Batch, Entry},
    telemetry::metrics::{DropReason, FeedMetrics, Metrics},
};

/// Batches that wait for the spool before the workers do.
const WAITING_BATCHES: usize = 32;

const HOUR_MICROS: u64 = 3_600_000_000;

/// Why the spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("cannot use the spool {dir}: {source}")]
    Io {
        dir: String,
        #[source]
        source: io::Error,
    },
    /// Two processes would deliver each other's objects.
    #[error("the spool {dir} is in use by another process; give each process a spool.dir of its own")]
    Locked { dir: String },
}

/// What the spool knows of a feed.
pub struct FeedSpec {
    pub name: String,
    pub pop: String,
    pub compression: config::Compression,
    pub max_age: Duration,
    pub max_bytes: u64,
    pub metrics: Arc<FeedMetrics>,
}

/// The running spool.
pub struct Spool {
    thread: JoinHandle<()>,
    deadline: Deadline,
    lock: File,
}

/// A spool that is open, locked and recovered, but does not run yet.
pub struct Opened {
    outbox: Arc<Outbox>,
    feeds: Vec<FeedSpec>,
    metrics: Arc<Metrics>,
    lock: File,
}

impl Opened {
    /// Opens the spool and finishes what an earlier process left open.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another process holds it.
    pub fn open(config: &config::Spool, feeds: Vec<FeedSpec>, metrics: Arc<Metrics>) -> Result<Self, SpoolError> {
        let dir = config.dir.display().to_string();
        let io = |source| SpoolError::Io { dir: dir.clone(), source };
        make_private(&config.dir).map_err(io)?;
        let lock = File::create(config.dir.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(SpoolError::Locked { dir }),
            Err(fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        let outbox = Arc::new(Outbox::open(&config.dir, config.max_bytes).map_err(io)?);
        recovery::finish_open_objects(&outbox, &feeds).map_err(io)?;
        for feed in outbox.feeds_on_disk().map_err(io)? {
            if !feeds.iter().any(|known| known.name == feed) {
                tracing::warn!(feed, "objects of a feed that is not configured stay in the spool");
            }
        }
        Ok(Self { outbox, feeds, metrics, lock })
    }

    /// Where finished objects lie.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Starts the thread. Batches go into the sender; `finished` is told of each finished object and its feed.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(self, finished: impl FnMut(usize, Object) + Send + 'static) -> io::Result<(Spool, Sender<Batch>)> {
        let (sender, batches) = bounded(WAITING_BATCHES);
        let deadline = Deadline::default();
        let objects = Objects {
            open: HashMap::new(),
            outbox: self.outbox,
            feeds: self.feeds,
            metrics: self.metrics,
            deadline: deadline.clone(),
            finished: Box::new(finished),
            quota_warned: false,
        };
        let thread = std::thread::Builder::new().name("spool".into()).spawn(move || objects.run(&batches))?;
        Ok((Spool { thread, deadline, lock: self.lock }, sender))
    }
}

impl Spool {
    /// From `deadline` on, what cannot be written is given up and counted.
    pub fn lose_patience_at(&self, deadline: Instant) {
        self.deadline.set(deadline);
    }

    /// Waits until everything is in finished objects, the senders being gone. Returns the lock: drop it when nobody
    /// touches the outbox any more.
    pub fn drain(self) -> File {
        if self.thread.join().is_err() {
            tracing::error!("the spool thread has failed; events are lost");
        }
        self.lock
    }
}

/// The spool thread's state.
struct Objects {
    open: HashMap<(u16, u64), OpenObject>,
    outbox: Arc<Outbox>,
    feeds: Vec<FeedSpec>,
    metrics: Arc<Metrics>,
    deadline: Deadline,
    finished: Box<dyn FnMut(usize, Object) + Send>,
    quota_warned: bool,
}

impl Objects {
    fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            let batch = match self.next_due() {
                Some(due) => batches.recv_deadline(due),
                None => batches.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match batch {
                Ok(batch) => self.take(&batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.finish_where(|object, now| object.due() <= now);
        }
        self.finish_where(|_, _| true);
    }

    fn next_due(&self) -> Option<Instant> {
        self.open.values().map(OpenObject::due).min()
    }

    fn take(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            let event = &batch.text[entry.start as usize..entry.end as usize];
            if let Err((reason, error)) = self.add(entry, event) {
                self.give_up(entry.feed, reason, 1, &error);
            }
        }
    }

    fn add(&mut self, entry: &Entry, event: &[u8]) -> Result<(), (DropReason, io::Error)> {
        // Beyond the quota only feeds with more than their share lose events: the backlog of one whose sink refuses
        // costs no other feed anything.
        let share = self.outbox.max_bytes() / self.feeds.len() as u64;
        if self.outbox.is_full() && self.feeds[usize::from(entry.feed)].metrics.waiting_bytes() >= share {
            return Err((DropReason::SpoolQuota, io::ErrorKind::QuotaExceeded.into()));
        }
        let broken = |error| (DropReason::SpoolWrite, error);
        let place = (entry.feed, entry.micros / HOUR_MICROS);
        if !self.open.contains_key(&place) {
            let object = self.open_object(place, entry.id).map_err(broken)?;
            self.open.insert(place, object);
        }
        let Some(object) = self.open.get_mut(&place) else {
            return Ok(());
        };
        object.append(event).map_err(broken)?;
        if object.bytes() >= self.feeds[usize::from(entry.feed)].max_bytes
            && let Some(object) = self.open.remove(&place)
        {
            self.finish(entry.feed, object);
        }
        Ok(())
    }

    fn open_object(&self, (feed, hour): (u16, u64), first: EventId) -> io::Result<OpenObject> {
        let feed = &self.feeds[usize::from(feed)];
        self.deadline.insist("open an object", &self.metrics, || {
            OpenObject::create(&self.outbox, feed, hour, first, &self.deadline, &self.metrics)
        })
    }

    fn finish_where(&mut self, due: impl Fn(&OpenObject, Instant) -> bool) {
        let now = Instant::now();
        let places: Vec<_> =
            self.open.iter().filter(|(_, object)| due(object, now)).map(|(&place, _)| place).collect();
        for place in places {
            if let Some(object) = self.open.remove(&place) {
                self.finish(place.0, object);
            }
        }
    }

    fn finish(&mut self, feed: u16, object: OpenObject) {
        let (events, path) = (object.events(), object.path().to_owned());
        let sealed = match object.seal() {
            Ok(sealed) => sealed,
            Err(error) => {
                // What reached the disk must not come back at the next start, as it is counted as lost.
                let _ = fs::remove_file(path);
                return self.give_up(feed, DropReason::SpoolWrite, events, &error);
            }
        };
        let committed = self.deadline.insist("finish an object", &self.metrics, || self.outbox.commit(&sealed));
        match committed {
            Ok(object) => {
                self.feeds[usize::from(feed)].metrics.spooled.inc_by(events);
                (self.finished)(usize::from(feed), object);
            }
            Err(error) => tracing::error!(key = sealed.key, %error, "a whole object waits for the next start"),
        }
    }

    fn give_up(&mut self, feed: u16, reason: DropReason, events: u64, error: &io::Error) {
        let feed = &self.feeds[usize::from(feed)];
        feed.metrics.drop_events(reason, events);
        // The quota is met once for each event while it lasts: one line tells, the metric counts.
        if reason != DropReason::SpoolQuota || !std::mem::replace(&mut self.quota_warned, true) {
            tracing::error!(feed = feed.name, events, %error, ?reason, "events are lost");
        }
        self.quota_warned &= self.outbox.is_full();
    }
}

/// Makes a folder, and those above it, that only this service can read.
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
