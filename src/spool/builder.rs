//! Starts a spool, in three steps, each a type of its own:
//!
//! ```text
//! SpoolBuilder    what is configured          ── open ──►  locks the folder, recovers what an earlier process left
//! RecoveredSpool  what was recovered          ── start ─►  starts the journal's thread and the packer's
//! Spool           the running threads         ── drain ─►  packs the rest
//! ```
//! Between the second and the third, the rings are opened: the spool reports the clicks that its journal already holds.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{
    aggregate::Aggregator,
    change::{Input, Limits},
    disk::{Disk, RealDisk},
    error::SpoolError,
    feed::FeedSpec,
    identity,
    journal::{
        self, Journal, News,
        reader::{Recovered, read_journal},
    },
    metrics::SpoolMetrics,
    outbox::{self, Outbox},
    pack::{self, Delivery, Packer, round::finish_last_round, schedule::Schedule, source::RollupSource},
    record::{Record, Records},
    recovery::repair,
    running::Spool,
    state::{
        Generations, State,
        rebuild::{self, Rebuilt},
    },
    time, unclaimed,
};
use crate::{
    capture::RingPosition,
    config,
    runtime::{PanicWatch, clock, retry::RetryUntil},
    stats::count_store::CountStore,
};

/// Batches that wait for the journal before the workers do.
const WAITING_BATCHES: usize = 32;

/// A spool that is not open yet.
pub struct SpoolBuilder<'a> {
    config: &'a config::Spool,
    pop: &'a str,
    feeds: Vec<FeedSpec>,
    counts: Option<Box<dyn CountStore>>,
    metrics: Arc<SpoolMetrics>,
}

impl<'a> SpoolBuilder<'a> {
    /// The spool of an edge with these feeds.
    pub fn new(config: &'a config::Spool, pop: &'a str, feeds: Vec<FeedSpec>, metrics: Arc<SpoolMetrics>) -> Self {
        Self { config, pop, feeds, counts: None, metrics }
    }

    /// Counts clicks in this store. Without one, no clicks are counted.
    #[must_use]
    pub fn counts(mut self, counts: Option<Box<dyn CountStore>>) -> Self {
        self.counts = counts;
        self
    }

    /// Opens and locks the spool on the real disk, and recovers what an earlier process has left.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another process has locked it.
    pub fn open(self) -> Result<RecoveredSpool, SpoolError> {
        let dir = self.config.dir.clone();
        let io = |source| SpoolError::Io { dir: dir.display().to_string(), source };
        make_private(&dir).map_err(io)?;
        let lock = File::create(dir.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(SpoolError::Locked { dir: dir.display().to_string() });
            }
            Err(fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        let disk = Arc::new(RealDisk::new(&dir).map_err(io)?);
        self.recover(disk, lock).map_err(io)
    }

    /// Recovers a spool on any disk.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn recover(self, disk: Arc<dyn Disk>, lock: File) -> io::Result<RecoveredSpool> {
        let Self { config, pop, mut feeds, counts, metrics } = self;
        let dir = config.dir.clone();
        for part in ["journal", "build", "outbox", "records", "replay", "drop"] {
            disk.make_dir(&dir.join(part))?;
        }
        disk.sync_dir(&dir)?;
        time::resume(&*disk, &dir);
        let mut records = Records::open(&*disk, &dir)?;
        let restored = restore_state(&*disk, &dir, &records, &metrics)?;
        let mut state = restored.state.clone();
        let limits = Arc::new(Limits::new(config));
        let outbox = Arc::new(Outbox::open(Arc::clone(&disk), &dir, Arc::clone(&limits))?);
        finish_last_round(&*disk, &dir, &outbox, &state, &mut records)?;

        let waiting = outbox.keys()?;
        let unused = state.feeds.is_empty() && waiting.is_empty() && records.hours(&*disk)?.is_empty();
        let unused = unused || restored.has_unknown_numbers();
        let known = waiting.iter().map(|(feed, key)| (feed.as_str(), key.as_str()));
        let identity = identity::read_or_make(&*disk, &dir, pop, &records, known, unused)?;

        let mut numbers: HashMap<String, u16> = feeds.iter().map(|feed| feed.name.clone()).zip(0..).collect();
        let mut aggregator = counts.map(|counts| {
            Aggregator::new(counts, dir.join("journal"), Arc::clone(&disk), Arc::clone(&metrics.stats))
        });
        // A store that fails is asked again later: until then, the whole journal waits to be counted.
        let counted = aggregator.as_mut().map(Aggregator::counted);
        let mut recovered = read_journal(&*disk, &dir, &state, counted.map(Option::unwrap_or_default), |name| {
            *numbers.entry(name.to_owned()).or_insert_with(|| {
                tracing::warn!(feed = name, "the journal has events of a feed that is not configured");
                let recipe = state.feeds.get(name).and_then(|feed| feed.recipe.clone()).unwrap_or_default();
                metrics.unclaim(name);
                feeds.push(FeedSpec::unconfigured(name, pop, recipe, metrics.feed(name)));
                feeds.len() as u16 - 1
            })
        })?;
        if counted == Some(None) {
            // Segments of any number may have been counted. None is as large as this one, also if the last start had
            // the same trouble: no segment is written in a microsecond.
            recovered.next = recovered.next.max(clock::unix_micros());
            if recovered.segments.is_empty()
                && state == State::default()
                && let Some(aggregator) = &mut aggregator
            {
                // The spool is new, too.
                aggregator.mark_complete();
            }
        }
        report_doubts(&restored, &recovered, &feeds);
        repair(&*disk, &dir, &recovered)?;
        let damaged: u64 = recovered.damages.iter().map(|damage| damage.end - damage.start).sum();
        metrics.journal_damaged.inc_by(damaged + recovered.losses.iter().map(|loss| loss.bytes).sum::<u64>());
        metrics.journal_lost.inc_by(recovered.losses.iter().map(|loss| loss.events).sum());
        // Those of another spool are not continued.
        let ours = |record: &Record| record.maker().is_some_and(|maker| maker.spool == identity);
        let schedule = Schedule::load(&*disk, &records, ours, |feed| numbers.get(feed).copied())?;
        for (number, last) in schedule.manifests.last() {
            let feed = state.feeds.entry(feeds[usize::from(number)].name.clone()).or_default();
            feed.continue_chain(last, &identity);
        }
        if state.note_recipes(&feeds)
            && let Err(error) = state.commit(&*disk, &dir)
        {
            // The next round commits it.
            tracing::warn!(%error, "state of the spool not written yet");
        }
        restore_summaries(&*disk, &outbox, &records)?;
        unclaimed::report(&*disk, &dir, &outbox, &feeds, &metrics)?;
        let segments = recovered.segments.len();
        if segments > 0 {
            let events = recovered.runs.iter().map(|(_, run)| run.events).sum::<u64>();
            tracing::info!(segments, events, "journal recovered");
        }
        Ok(RecoveredSpool {
            dir,
            limits,
            disk,
            outbox,
            feeds,
            identity,
            state,
            schedule,
            records,
            recovered,
            aggregator,
            rollups: None,
            metrics,
            lock,
        })
    }
}

/// A spool that is open, locked and recovered, and does not run yet.
pub struct RecoveredSpool {
    dir: PathBuf,
    limits: Arc<Limits>,
    disk: Arc<dyn Disk>,
    outbox: Arc<Outbox>,
    feeds: Vec<FeedSpec>,
    identity: String,
    state: State,
    schedule: Schedule,
    records: Records,
    recovered: Recovered,
    aggregator: Option<Aggregator>,
    rollups: Option<RollupSource>,
    metrics: Arc<SpoolMetrics>,
    lock: File,
}

impl RecoveredSpool {
    /// Makes rollups from these counts. Without a source there are no rollups.
    pub fn rollups_from(&mut self, source: RollupSource) {
        self.rollups = Some(source);
    }

    /// The finished objects.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// The names of all feeds by number: first the configured ones in their order, then those that only the journal
    /// names.
    pub fn feed_names(&self) -> Vec<String> {
        self.feeds.iter().map(|feed| feed.name.clone()).collect()
    }

    /// The limits, which can be changed while the spool runs.
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    /// The spool's identity, which is part of the keys of its objects.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The position in each ring up to which the journal holds its clicks.
    pub fn ring_positions(&self) -> &HashMap<u64, u64> {
        &self.recovered.known
    }

    /// Starts the threads, and returns the sender for batches. `release` gets the position in a ring up to which the
    /// journal holds its clicks.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(
        self,
        release: impl FnMut(RingPosition) + Send + 'static,
        delivery: impl Delivery + 'static,
        panics: &PanicWatch,
    ) -> io::Result<(Spool, Sender<Input>)> {
        let (inputs, from_workers) = bounded(WAITING_BATCHES);
        let SpoolParts { journal, packer, from_journal, retry, size, lock } =
            self.assemble(Box::new(release), Box::new(delivery));
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let guard = panics.guard();
            std::thread::Builder::new().name(name.into()).spawn(move || {
                let _guard = guard;
                run();
            })
        };
        let packer = spawn("pack", Box::new(move || packer.run(&from_journal)))?;
        let journal = spawn("journal", Box::new(move || journal.run(&from_workers)))?;
        Ok((Spool { journal, packer, retry, size, lock }, inputs))
    }

    pub(super) fn assemble(
        self,
        release: Box<dyn FnMut(RingPosition) + Send>,
        delivery: Box<dyn Delivery>,
    ) -> SpoolParts {
        // The size of the journal bounds what waits in it.
        let (to_packer, from_journal) = unbounded();
        let (retry, ended) = (RetryUntil::default(), Arc::new(AtomicBool::new(false)));
        let size = Arc::new(AtomicU64::new(self.recovered.segments.iter().map(|(_, bytes)| bytes).sum()));
        let journal = journal::Setup {
            dir: self.dir.join("journal"),
            disk: Arc::clone(&self.disk),
            feeds: self.feeds.iter().map(|feed| feed.name.clone()).collect(),
            first: self.recovered.next,
            before: self.recovered.last,
            limits: Arc::clone(&self.limits),
            size: Arc::clone(&size),
            retry: retry.clone(),
            metrics: Arc::clone(&self.metrics),
            ended: Arc::clone(&ended),
            release,
        };
        let packer = pack::Setup {
            records: self.records,
            dir: self.dir,
            disk: self.disk,
            outbox: self.outbox,
            feeds: self.feeds,
            identity: self.identity,
            state: self.state,
            schedule: self.schedule,
            rollups: self.rollups,
            segments: self.recovered.segments.iter().copied().collect(),
            aggregator: self.aggregator,
            journal_size: Arc::clone(&size),
            limits: self.limits,
            retry: retry.clone(),
            metrics: self.metrics,
            journal_ended: ended,
            delivery,
        };
        let packer = Packer::new(packer, self.recovered);
        SpoolParts { journal: Journal::new(journal, to_packer), packer, from_journal, retry, size, lock: self.lock }
    }
}

/// The parts of a spool before its threads start.
pub(super) struct SpoolParts {
    pub journal: Journal,
    pub packer: Packer,
    pub from_journal: Receiver<News>,
    pub retry: RetryUntil,
    pub size: Arc<AtomicU64>,
    pub lock: File,
}

/// Reads the state of the last process, or rebuilds it. It fails only with the disk: a damaged state is moved aside.
fn restore_state(disk: &dyn Disk, dir: &Path, records: &Records, metrics: &SpoolMetrics) -> io::Result<Rebuilt> {
    let found = Generations::read(disk, dir);
    let is_new = found.newest.is_none() && found.damaged.is_empty() && is_unused(disk, dir)?;
    for (path, reason) in found.damaged {
        metrics.state_damaged.inc();
        let file = path.display();
        match rebuild::set_aside(disk, dir, &path).as_ref().map(|aside| aside.display()) {
            Ok(aside) => tracing::error!(%file, reason, %aside, "damaged state of the spool moved aside"),
            Err(error) => tracing::error!(%file, reason, %error, "cannot move a damaged state of the spool aside"),
        }
    }
    let known = found.newest.as_ref().map(|state| state.round);
    let mut restored = rebuild::rebuild(disk, dir, records, found.newest.as_ref())?;
    if restored.has_unknown_numbers() {
        // The spool gets a new identity, under which no number was used.
        restored.state.feeds.values_mut().for_each(|feed| (feed.seq, feed.manifest) = (1, None));
    }
    restored.roll_back(disk, records)?;
    if restored.is_changed && !is_new {
        let round = restored.state.round;
        tracing::warn!(known, round, "state of the spool was missing or old; rebuilt from records and keys");
    }
    if restored.is_changed || !found.is_current {
        // From now on a missing state means that it was lost. If this fails, the first round commits it.
        if let Err(error) = restored.state.commit(disk, dir) {
            tracing::warn!(%error, "restored state of the spool not written yet");
        }
    }
    Ok(restored)
}

/// Whether no process has used the spool before.
fn is_unused(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    for part in ["journal", "records", "outbox", "delivered"] {
        if !disk.files_below(&dir.join(part))?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reports which events may be delivered twice, if what was delivered is not known any more.
fn report_doubts(restored: &Rebuilt, recovered: &Recovered, feeds: &[FeedSpec]) {
    let mut doubtful: BTreeMap<&str, u64> = BTreeMap::new();
    for (number, run) in &recovered.runs {
        let spec = &feeds[usize::from(*number)];
        if restored.is_doubtful(&spec.name) {
            spec.metrics.doubtful.inc_by(run.events);
            *doubtful.entry(&spec.name).or_default() += run.events;
        }
    }
    if !doubtful.is_empty() {
        let events: u64 = doubtful.values().sum();
        let feeds = doubtful.iter().map(|(feed, events)| format!("{feed}: {events}")).collect::<Vec<_>>().join(", ");
        tracing::error!(
            events,
            feeds,
            "state and records of the spool are lost; these events of the journal may be delivered twice, with the \
             same ids; ask consumers to deduplicate by id"
        );
    }
}

/// Gives the outbox the recorded summaries of the objects that wait in it.
fn restore_summaries(disk: &dyn Disk, outbox: &Outbox, records: &Records) -> io::Result<()> {
    let waiting = outbox.keys()?;
    let mut hours: BTreeSet<_> = waiting.iter().filter_map(|(_, key)| outbox::hour_of(key)).collect();
    if waiting.iter().any(|(_, key)| outbox::hour_of(key).is_none()) {
        // Keys of a sequence do not have the hour.
        hours.extend(records.hours(disk)?);
    }
    for hour in hours {
        for record in records.read(disk, hour)? {
            if waiting.contains(&(record.feed.clone(), record.key.clone())) {
                outbox.restore_summary(&record.feed, &record.key, record.summary());
            }
        }
    }
    Ok(())
}

/// Makes a folder, and those above it, that only this service can read.
fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
