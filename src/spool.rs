//! The spool: local durable storage between enrichment and delivery.
//!
//! ```text
//! workers ─► journal ─► packer ─► outbox ─► (delivery)
//!
//! {dir}/lock                         held by the process that owns the spool
//! {dir}/journal/{number}.journal     events that no object holds yet, and some that do            (journal, frame)
//! {dir}/state                        how far each feed is packed, the objects of the last round   (state)
//! {dir}/build/                       the objects of the round under way                           (pack, format)
//! {dir}/outbox/{feed}/{key}          finished objects, byte for byte what the sink will hold      (outbox)
//! {dir}/delivered/{hour}/{feed}/…    what was delivered, for a while                              (outbox)
//! {dir}/records/{hour}.{part}.records  what is known of each object, for manifests and rollups  (record, hours, rollups)
//! {dir}/replay/{feed}/{key}          objects that an operator wants to be sent again              (pack)
//! {dir}/quarantine/                  what was found damaged                                       (recovery)
//! {dir}/stats.sqlite                 what was counted, and how far the journal is counted         (counting, crate::stats)
//! ```
//! Two threads own it. The journal's thread brings events to the disk, a hundred milliseconds' worth at a time, and
//! then lets go of the clicks in the rings. The packer's thread makes objects of them, feed by feed, and counts them.
//!
//! What holds, whatever fails and whenever it does:
//! - an event is in a ring or in the journal, until it is in an object, until that object was acknowledged;
//! - the boundaries of an object, and with them its key, are decided and durable before it is sent, so that whatever
//!   is repeated is repeated under the same key;
//! - a disk that is full or fails delays events and loses none: the rings fill up to their bound, where drops are
//!   counted.

pub mod counting;
pub mod disk;
pub mod frame;
pub mod hours;
pub mod journal;
pub mod metrics;
pub mod outbox;
pub mod pack;
pub mod record;
pub mod recovery;
pub mod replay;
pub mod rollups;
pub mod state;
pub mod survey;

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use counting::Counting;
use disk::{Disk, RealDisk};
use hours::Hours;
use journal::{Journal, Synced};
use metrics::{BacklogMetrics, SpoolMetrics};
pub use outbox::Outbox;
use pack::Packer;
use record::Records;
use recovery::Recovered;
use state::State;

use crate::{
    capture::RingPosition,
    config::{self, Format},
    enrich::Batch,
    object::Object,
    runtime::{PanicWatch, clock, retry::RetryUntil},
    stats::{book::Book, rollup::Workspaces},
};

/// Batches that wait for the journal before the workers do.
const WAITING_BATCHES: usize = 32;

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
    pub format: Format,
    pub compression: config::Compression,
    pub max_age: Duration,
    pub max_bytes: u64,
    pub min_bytes: u64,
    /// At least `max_age`.
    pub hold_back: Duration,
    /// `None` for no manifests.
    pub manifest_every: Option<Duration>,
    /// Whose counts are delivered. `None` for no rollups.
    pub rollups: Option<Workspaces>,
    /// False for a feed that only an earlier configuration knew: its objects are made, and stay.
    pub configured: bool,
    pub metrics: Arc<BacklogMetrics>,
}

impl FeedSpec {
    /// A feed of the configuration.
    pub fn new(feed: &config::Feed, pop: &str, metrics: Arc<BacklogMetrics>) -> Self {
        Self {
            name: feed.name.clone(),
            pop: pop.to_owned(),
            format: feed.format,
            compression: feed.compression,
            max_age: Duration::from_secs(feed.max_age_secs),
            max_bytes: feed.max_bytes,
            min_bytes: feed.min_bytes,
            hold_back: Duration::from_secs(feed.hold_back_secs.max(feed.max_age_secs)),
            manifest_every: (feed.manifest_secs > 0).then(|| Duration::from_secs(feed.manifest_secs)),
            rollups: feed.rollups.then(|| Workspaces::new(&feed.workspaces)),
            configured: true,
            metrics,
        }
    }

    /// A feed that the configuration does not know any more.
    fn forgotten(name: &str, pop: &str, metrics: Arc<BacklogMetrics>) -> Self {
        Self {
            name: name.to_owned(),
            pop: pop.to_owned(),
            format: Format::default(),
            compression: config::Compression::default(),
            max_age: Duration::ZERO,
            max_bytes: 16 << 20,
            min_bytes: 0,
            hold_back: Duration::ZERO,
            manifest_every: None,
            rollups: None,
            configured: false,
            metrics,
        }
    }
}

/// A spool that is open, locked and recovered, but does not run yet.
pub struct Opened {
    dir: PathBuf,
    config: config::Spool,
    disk: Arc<dyn Disk>,
    outbox: Arc<Outbox>,
    feeds: Vec<FeedSpec>,
    state: State,
    hours: Hours,
    records: Records,
    recovered: Recovered,
    counting: Option<Counting>,
    rollups: Option<rollups::Source>,
    metrics: Arc<SpoolMetrics>,
    lock: File,
}

impl Opened {
    /// Opens the spool of a real disk and finds out what an earlier process has left. `book` is where clicks are
    /// counted, if they are.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another process holds it.
    pub fn open(
        config: &config::Spool,
        pop: &str,
        feeds: Vec<FeedSpec>,
        book: Option<Box<dyn Book>>,
        metrics: Arc<SpoolMetrics>,
    ) -> Result<Self, SpoolError> {
        let dir = config.dir.display().to_string();
        let io = |source| SpoolError::Io { dir: dir.clone(), source };
        make_private(&config.dir).map_err(io)?;
        let lock = File::create(config.dir.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(SpoolError::Locked { dir }),
            Err(fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        let disk = Arc::new(RealDisk::new(&config.dir).map_err(io)?);
        Self::recover(config, pop, feeds, book, metrics, disk, lock).map_err(io)
    }

    /// The same, with any disk and any book.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn recover(
        config: &config::Spool,
        pop: &str,
        mut feeds: Vec<FeedSpec>,
        book: Option<Box<dyn Book>>,
        metrics: Arc<SpoolMetrics>,
        disk: Arc<dyn Disk>,
        lock: File,
    ) -> io::Result<Self> {
        let dir = config.dir.clone();
        for part in ["journal", "build", "outbox", "records", "replay"] {
            disk.make_dir(&dir.join(part))?;
        }
        disk.sync_dir(&dir)?;
        let mut state = State::load(&*disk, &dir)?;
        let mut records = Records::open(&*disk, &dir)?;
        let outbox = Arc::new(Outbox::open(Arc::clone(&disk), &dir, config.max_bytes, config.retain_secs)?);
        pack::finish_last_round(&*disk, &dir, &outbox, &state, &mut records)?;

        let mut numbers: HashMap<String, u16> = feeds.iter().map(|feed| feed.name.clone()).zip(0..).collect();
        let mut counting =
            book.map(|book| Counting::new(book, dir.join("journal"), Arc::clone(&disk), Arc::clone(&metrics.stats)));
        // A book that does not tell is asked again later: until then, everything waits to be counted.
        let counted = counting.as_mut().map(Counting::counted);
        let mut recovered =
            recovery::read_journal(&*disk, &dir, &state, counted.map(Option::unwrap_or_default), |name| {
                *numbers.entry(name.to_owned()).or_insert_with(|| {
                    tracing::warn!(feed = name, "the journal holds events of a feed that is not configured");
                    feeds.push(FeedSpec::forgotten(name, pop, metrics.feed(name)));
                    feeds.len() as u16 - 1
                })
            })?;
        if counted == Some(None) && recovered.segments.is_empty() {
            // It may have counted segments of any number. None is as large as this one.
            recovered.next = recovered.next.max(clock::unix_secs());
            if state == State::default()
                && let Some(counting) = &mut counting
            {
                // The spool is new, too.
                counting.begin_whole();
            }
        }
        recovery::mend(&*disk, &dir, &recovered)?;
        metrics.journal_damaged.inc_by(recovered.damages.iter().map(|damage| damage.end - damage.start).sum());
        let hours = Hours::load(&*disk, &records, |record| {
            // Objects of another edge's name are none of ours any more.
            let number = numbers.get(&record.feed).copied()?;
            hours::is_of(record, &feeds[usize::from(number)]).then_some(number)
        })?;
        // Without a state the numbers go on all the same.
        for (number, seq) in hours.last_seqs() {
            let feed = state.feeds.entry(feeds[usize::from(number)].name.clone()).or_default();
            feed.seq = feed.seq.max(seq + 1);
        }
        recall(&*disk, &outbox, &records)?;
        let (segments, events) =
            (recovered.segments.len(), recovered.runs.iter().map(|(_, run)| run.events).sum::<u64>());
        if segments > 0 {
            tracing::info!(segments, events, "found a journal");
        }
        let config = config.clone();
        let rollups = None;
        Ok(Self {
            dir,
            config,
            disk,
            outbox,
            feeds,
            state,
            hours,
            records,
            recovered,
            counting,
            rollups,
            metrics,
            lock,
        })
    }

    /// Says where the counts come from. Without it there are no rollups.
    pub fn count_from(&mut self, source: rollups::Source) {
        self.rollups = Some(source);
    }

    /// Where finished objects lie.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Of each ring, the position up to which the journal holds its clicks.
    pub fn known(&self) -> &HashMap<u64, u64> {
        &self.recovered.known
    }

    /// Starts the threads. Batches go into the sender; `release` is told what the journal holds of the rings, and
    /// `finished` of each finished object and its feed.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(
        self,
        release: impl FnMut(RingPosition) + Send + 'static,
        finished: impl FnMut(usize, Object) + Send + 'static,
        panics: &PanicWatch,
    ) -> io::Result<(Spool, Sender<Batch>)> {
        let (batches, from_workers) = bounded(WAITING_BATCHES);
        let Assembled { journal, packer, from_journal, retry, size, lock } =
            self.assemble(Box::new(release), Box::new(finished));
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let guard = panics.guard();
            std::thread::Builder::new().name(name.into()).spawn(move || {
                let _guard = guard;
                run();
            })
        };
        let packer = spawn("pack", Box::new(move || packer.run(&from_journal)))?;
        let journal = spawn("journal", Box::new(move || journal.run(&from_workers)))?;
        Ok((Spool { journal, packer, retry, size, lock }, batches))
    }

    fn assemble(
        self,
        release: Box<dyn FnMut(RingPosition) + Send>,
        mut finished: Box<dyn FnMut(usize, Object) + Send>,
    ) -> Assembled {
        let Self {
            dir,
            config,
            disk,
            outbox,
            feeds,
            state,
            hours,
            records,
            recovered,
            counting,
            rollups,
            metrics,
            lock,
        } = self;
        // What waits in it is bounded by the size of the journal.
        let (synced, from_journal) = unbounded();
        let (retry, ended) = (RetryUntil::default(), Arc::new(AtomicBool::new(false)));
        let size = Arc::new(AtomicU64::new(recovered.segments.iter().map(|(_, bytes)| bytes).sum()));
        let configured = feeds.iter().filter(|feed| feed.configured).count();
        let journal = journal::Setup {
            dir: dir.join("journal"),
            disk: Arc::clone(&disk),
            feeds: feeds.iter().take(configured).map(|feed| feed.name.clone()).collect(),
            first: recovered.next,
            max_bytes: config.journal_max_bytes,
            sync_interval: Duration::from_millis(config.sync_interval_millis),
            size: Arc::clone(&size),
            retry: retry.clone(),
            metrics: Arc::clone(&metrics),
            ended: Arc::clone(&ended),
            release,
        };
        let packer = pack::Setup {
            records,
            dir,
            disk,
            outbox,
            feeds,
            state,
            hours,
            rollups,
            segments: recovered.segments.iter().copied().collect(),
            counting,
            journal_size: Arc::clone(&size),
            journal_max_bytes: config.journal_max_bytes,
            retry: retry.clone(),
            metrics,
            journal_ended: ended,
            finished: Box::new(move |feed, object| {
                if feed < configured {
                    finished(feed, object);
                }
            }),
        };
        let packer = Packer::new(packer, recovered);
        Assembled { journal: Journal::new(journal, synced), packer, from_journal, retry, size, lock }
    }
}

/// The parts of a spool, before its threads start.
struct Assembled {
    journal: Journal,
    packer: Packer,
    from_journal: Receiver<Synced>,
    retry: RetryUntil,
    size: Arc<AtomicU64>,
    lock: File,
}

/// Tells the outbox what is recorded of the objects that wait in it.
fn recall(disk: &dyn Disk, outbox: &Outbox, records: &Records) -> io::Result<()> {
    let waiting = outbox.keys()?;
    let hours: std::collections::BTreeSet<_> = waiting.iter().filter_map(|(_, key)| outbox::hour_of(key)).collect();
    for hour in hours {
        for record in records.read(disk, hour)? {
            if waiting.contains(&(record.feed.clone(), record.key.clone())) {
                outbox.know(&record.feed, &record.key, record.summary());
            }
        }
    }
    Ok(())
}

/// The running spool.
pub struct Spool {
    journal: JoinHandle<()>,
    packer: JoinHandle<()>,
    retry: RetryUntil,
    size: Arc<AtomicU64>,
    lock: File,
}

impl Spool {
    /// From `deadline` on, what cannot be written is left for the next start.
    pub fn set_deadline(&self, deadline: Instant) {
        self.retry.set_deadline(deadline);
    }

    /// Bytes of the journal, now and later.
    pub fn journal_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.size)
    }

    /// Waits until everything is in finished objects, the senders being gone. Returns the lock: drop it when nobody
    /// touches the outbox any more.
    pub fn drain(self) -> File {
        for (thread, name) in [(self.journal, "journal"), (self.packer, "packer")] {
            if thread.join().is_err() {
                tracing::error!(name, "a thread of the spool has failed; what it held waits for the next start");
            }
        }
        self.lock
    }
}

/// Makes a folder, and those above it, that only this service can read.
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests;
