//! Brings the catalog of this edge to where the head of the bucket is, and never half of the way.
//!
//! Deltas that follow what the edge has are applied, verified by the hashes that they carry. Another generation, or a
//! catalog that the deltas do not fit, is fetched as the snapshot, and the deltas after it. Whatever fails, the edge
//! keeps the catalog that it has.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::{JoinSet, spawn_blocking};

use super::{
    bucket::{Bucket, BucketError, Looked},
    canary::{self, Report, Window},
    delta::{Delta, Mark},
    error::{Halt, SyncError},
    head::{DeltaRef, Head, SnapshotRef},
    malformed::Malformed,
    metrics::FleetMetrics,
    store::{Requests, Store, StoreError},
};
use crate::{
    catalog::change::{Entry, Position},
    config,
    runtime::clock,
};

/// Deltas that are applied at a time.
const CHUNK: usize = 64;

/// Deltas that are read at a time.
const AT_A_TIME: usize = 8;

/// Deltas that an edge walks back from one to the one before. One that is further behind takes the snapshot.
const MOST_WALKED: usize = 100_000;

/// Begin of the names of files that are being read.
const FETCHED: &str = "fetched-";

/// Time after which a snapshot that was rejected is read again: it is large, and the same still.
const REJECTED_AGAIN: Duration = Duration::from_secs(600);

/// Time after which a snapshot is read again that was damaged on its way: it may be whole in the bucket.
const DAMAGED_AGAIN: Duration = Duration::from_secs(30);

/// Time after which a snapshot whose copy is damaged is read again, if that has failed.
const REPAIRED_AGAIN: Duration = Duration::from_secs(60);

/// Follows the head of a bucket.
pub struct Replica {
    pub bucket: Arc<Bucket>,
    pub store: Arc<dyn Store>,
    pub metrics: Arc<FleetMetrics>,
    /// The folder in which snapshots are stored while they are read.
    dir: PathBuf,
    config: config::Fleet,
    known: Option<Known>,
    /// Key of a snapshot that this edge does not take, why, and when it is read again.
    halted: Option<(String, Halt, Instant)>,
    /// When a damaged copy may be taken again.
    repair_from: Instant,
    requests: Box<dyn Fn() -> Requests + Send>,
    window: Window,
    observed: Option<Observed>,
}

/// The head that was read last.
#[derive(Clone)]
pub struct Known {
    pub etag: String,
    pub head: Arc<Head>,
}

/// A snapshot that this edge observes as the canary.
struct Observed {
    report: Report,
    since: Instant,
    counts: Requests,
    /// Whether the bucket has the report.
    is_stored: bool,
}

impl Replica {
    pub fn new(
        config: &config::Fleet,
        bucket: Bucket,
        store: Arc<dyn Store>,
        dir: PathBuf,
        metrics: Arc<FleetMetrics>,
        requests: Box<dyn Fn() -> Requests + Send>,
    ) -> Self {
        metrics.at(store.position());
        remove_leftovers(&dir);
        Self {
            bucket: Arc::new(bucket),
            store,
            metrics,
            dir,
            config: config.clone(),
            known: None,
            halted: None,
            repair_from: Instant::now(),
            requests,
            window: Window::new(Duration::from_secs(config.hold_until_canary_secs)),
            observed: None,
        }
    }

    /// The head that is known, if the catalog of this edge is there.
    pub fn current(&self) -> Option<Known> {
        self.known.clone().filter(|known| known.head.position == self.store.position())
    }

    /// This edge has moved the head itself.
    pub fn moved(&mut self, known: Known) {
        self.metrics.head_at(known.head.position);
        self.known = Some(known);
    }

    /// Looks at the head, and takes what is new. Returns whether the head has moved.
    ///
    /// # Errors
    /// The catalog is as it was, or somewhere on the way to the head.
    pub async fn sync(&mut self) -> Result<bool, SyncError> {
        if self.config.canary {
            self.window.add(Instant::now(), (self.requests)());
        }
        let result = match self.look().await {
            Ok(moved) => self.follow().await.map(|()| moved),
            Err(error) => Err(error),
        };
        self.metrics.at(self.store.position());
        match &result {
            Ok(moved) => {
                self.metrics.current();
                let counter = if *moved { &self.metrics.moved } else { &self.metrics.unchanged };
                counter.inc();
                self.metrics.halt(None);
            }
            Err(error) => {
                self.metrics.failed.inc();
                if let Some(reason) = error.reason() {
                    self.metrics.halt(Some(reason));
                }
            }
        }
        if self.config.canary && result.is_ok() {
            self.observe().await?;
        }
        result
    }

    async fn look(&mut self) -> Result<bool, SyncError> {
        let seen = self.known.as_ref().map(|known| known.etag.as_str());
        match self.bucket.head(seen).await? {
            Looked::Unchanged => Ok(false),
            Looked::Missing => Err(SyncError::NoHead),
            Looked::Found { etag, head } => {
                let seen = self.known.as_ref().map(|known| known.head.position).into_iter();
                for here in seen.chain([self.store.position()]) {
                    if (head.position.generation, head.position.revision) < (here.generation, here.revision) {
                        return Err(SyncError::Halted(Halt::WentBack { head: head.position, here }));
                    }
                }
                self.metrics.head_at(head.position);
                self.known = Some(Known { etag, head });
                Ok(true)
            }
        }
    }

    /// Takes what the known head has and this edge lacks.
    async fn follow(&mut self) -> Result<(), SyncError> {
        let Some(Known { head, .. }) = self.known.clone() else { return Ok(()) };
        let (here, since) = (self.store.position(), head.snapshot.position);
        // A snapshot of another generation replaces it anyway.
        if here.generation == since.generation
            && self.store.is_damaged()
            && Instant::now() >= self.repair_from
            && let Err(error) = self.repair(&head).await
        {
            self.repair_from = Instant::now() + REPAIRED_AGAIN;
            tracing::error!(%error, "the damaged snapshot cannot be taken again; it stays in use, changes are followed");
        }
        if here == head.position {
            return Ok(());
        }
        if here.generation == since.generation && here.revision >= since.revision {
            match self.deltas(&head).await {
                Err(SyncError::Halted(Halt::Diverged(reason))) if self.former_halt(&head).is_none() => {
                    tracing::warn!(reason, "the catalog is not what the fleet has; taking the snapshot again");
                }
                result => return result,
            }
        } else if here.generation > 0 {
            self.await_canary(since).await?;
        }
        if let Some(halt) = self.former_halt(&head) {
            return Err(SyncError::Halted(halt));
        }
        let result = match self.snapshot(&head).await {
            Ok(()) => self.deltas(&head).await,
            Err(error) => Err(error),
        };
        self.halted = match &result {
            Err(SyncError::Halted(halt)) => {
                let again = if matches!(halt, Halt::Damaged(_)) { DAMAGED_AGAIN } else { REJECTED_AGAIN };
                Some((head.snapshot.key.clone(), halt.clone(), Instant::now() + again))
            }
            _ => None,
        };
        result
    }

    /// Why the snapshot of this head was not taken a short while ago.
    fn former_halt(&self, head: &Head) -> Option<Halt> {
        let (key, halt, again) = self.halted.as_ref()?;
        (*key == head.snapshot.key && Instant::now() < *again).then(|| halt.clone())
    }

    async fn snapshot(&mut self, head: &Head) -> Result<(), SyncError> {
        let snapshot = &head.snapshot;
        let (at, accept) = (snapshot.position, snapshot.accept);
        self.fetch(snapshot, move |store, file| store.install(file, at, accept)).await?;
        let installed = self.store.position();
        if installed != snapshot.position {
            let (got, wanted) = (show(installed), show(snapshot.position));
            let reason = format!("the snapshot {} leads to {got}, and the head says {wanted}", snapshot.key);
            return Err(SyncError::Halted(Halt::Rejected(reason)));
        }
        self.metrics.at(installed);
        self.metrics.snapshots_installed.inc();
        tracing::info!(
            generation = installed.generation,
            revision = installed.revision,
            links = snapshot.links,
            "snapshot of the fleet installed"
        );
        if self.config.canary {
            self.begin_to_observe(installed);
        }
        Ok(())
    }

    /// Takes the snapshot again, whose copy on the disk of this edge is damaged.
    async fn repair(&self, head: &Head) -> Result<(), SyncError> {
        let at = head.snapshot.position;
        self.fetch(&head.snapshot, move |store, file| store.repair(file, at)).await?;
        tracing::info!(generation = at.generation, "the snapshot was taken again from the bucket");
        Ok(())
    }

    /// Reads a snapshot into a file, and passes it on.
    async fn fetch(
        &self,
        snapshot: &SnapshotRef,
        take: impl FnOnce(&dyn Store, &Path) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), SyncError> {
        let digits: String = snapshot.position.hash.to_string().chars().take(16).collect();
        let file = self.dir.join(format!("{FETCHED}{}-{digits}", snapshot.position.generation));
        let taken = match self.bucket.download(snapshot, &file).await {
            Ok(()) => {
                let (store, file) = (Arc::clone(&self.store), file.clone());
                blocking(move || take(&*store, &file)).await.and_then(|taken| taken.map_err(SyncError::from))
            }
            Err(BucketError::Malformed(error)) => Err(SyncError::Halted(Halt::Damaged(error.to_string()))),
            Err(error) => Err(error.into()),
        };
        // What stays is replaced by the next.
        _ = std::fs::remove_file(&file);
        taken
    }

    /// Applies the deltas up to the head.
    async fn deltas(&mut self, head: &Head) -> Result<(), SyncError> {
        let here = self.store.position();
        let mut todo: VecDeque<_> = head.recent.iter().filter(|delta| delta.to > here.revision).cloned().collect();
        self.walk_back(&mut todo, here.revision).await?;
        while !todo.is_empty() {
            let chunk: Vec<_> = todo.drain(..todo.len().min(CHUNK)).collect();
            self.apply(read_all(&self.bucket, chunk).await?).await?;
        }
        let here = self.store.position();
        if here == head.position {
            return Ok(());
        }
        let (here, there) = (show(here), show(head.position));
        Err(SyncError::Halted(Halt::Diverged(format!("the deltas lead to {here}, and the head says {there}"))))
    }

    /// Adds the deltas before those that the head names, back to `revision`.
    async fn walk_back(&self, todo: &mut VecDeque<DeltaRef>, revision: u64) -> Result<(), SyncError> {
        while let Some(first) = todo.front().filter(|first| first.from > revision) {
            if todo.len() > MOST_WALKED {
                return Err(SyncError::Halted(Halt::Diverged(format!("more than {MOST_WALKED} deltas behind"))));
            }
            let (delta, from) = (self.bucket.delta(&first.key).await?, first.from);
            let Some(key) = delta.previous else {
                let reason = format!("the deltas begin after change {from}, and this edge has change {revision}");
                return Err(SyncError::Halted(Halt::Diverged(reason)));
            };
            let before = self.bucket.delta(&key).await?;
            if before.to.revision != from {
                return Err(chain_broken(&key, before.to, from).into());
            }
            todo.push_front(DeltaRef { key, from: before.from.revision, to: before.to.revision });
        }
        Ok(())
    }

    async fn apply(&mut self, deltas: Vec<(String, Delta)>) -> Result<(), SyncError> {
        let here = self.store.position();
        let mut at: Option<Mark> = None;
        for (key, delta) in &deltas {
            match at {
                Some(at) if at != delta.from => return Err(chain_broken(key, at, delta.from.revision).into()),
                None if delta.from.revision == here.revision && delta.from.hash != here.hash => {
                    let reason = format!("the delta {key} follows another state than {}", show(here));
                    return Err(SyncError::Halted(Halt::Diverged(reason)));
                }
                _ => at = Some(delta.to),
            }
        }
        let Some(to) = at else { return Ok(()) };
        let to = Position { generation: here.generation, revision: to.revision, hash: to.hash };
        let number = deltas.len() as u64;
        let entries = deltas.into_iter().flat_map(|(_, delta)| delta.entries).collect();
        self.apply_entries(entries, to).await?;
        self.metrics.deltas_applied.inc_by(number);
        Ok(())
    }

    /// Applies changes to the catalog of this edge.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn apply_entries(&self, entries: Vec<Entry>, to: Position) -> Result<(), SyncError> {
        let store = Arc::clone(&self.store);
        let applied: Result<(), StoreError> = blocking(move || store.apply(&entries, to)).await?;
        self.metrics.at(self.store.position());
        Ok(applied?)
    }

    /// Applies a delta that came with a message, if it follows what this edge has. Returns whether this edge has what
    /// the message announces.
    pub async fn take(&mut self, to: Position, delta: Option<Delta>) -> bool {
        let here = self.store.position();
        if (to.generation, to.revision) <= (here.generation, here.revision) {
            return true;
        }
        let follows = |delta: &Delta| {
            to.generation == here.generation && delta.from == Mark::from(here) && delta.to == Mark::from(to)
        };
        let Some(delta) = delta.filter(follows) else { return false };
        let applied = self.apply_entries(delta.entries, to).await.is_ok();
        if applied {
            self.metrics.head_at(to);
            self.metrics.announced.inc();
            self.metrics.deltas_applied.inc();
            self.metrics.current();
        }
        applied
    }

    /// Whether a chain of deltas that ends with the head has this one.
    pub async fn has(&self, head: &Head, key: &str, from: u64) -> Result<bool, SyncError> {
        let mut recent: VecDeque<_> = head.recent.iter().cloned().collect();
        self.walk_back(&mut recent, from).await?;
        Ok(recent.iter().any(|delta| delta.key == key))
    }

    /// Returns if the snapshot may be taken.
    async fn await_canary(&self, snapshot: Position) -> Result<(), SyncError> {
        // A fold changes nothing that a canary could find.
        let is_same = self.store.position().hash == snapshot.hash;
        if self.config.canary || self.config.hold_until_canary_secs == 0 || is_same {
            return Ok(());
        }
        let generation = snapshot.generation;
        let report = match self.bucket.note(canary::KEY).await? {
            Some(bytes) => Some(Report::parse(&bytes)?).filter(|report| report.is_about(snapshot)),
            None => None,
        };
        Err(SyncError::Halted(match report {
            Some(Report { state: canary::State::Ok, .. }) => return Ok(()),
            Some(Report { state: canary::State::Failed, before, after, .. }) => {
                Halt::CanaryFailed { generation, before: before.unwrap_or_default(), after }
            }
            Some(Report { state: canary::State::Observing, .. }) | None => Halt::Canary { generation },
        }))
    }

    fn begin_to_observe(&mut self, snapshot: Position) {
        let counts = (self.requests)();
        let report = Report::begin(snapshot, clock::unix_secs(), self.window.share(counts));
        self.window.clear();
        self.observed = Some(Observed { report, since: Instant::now(), counts, is_stored: false });
    }

    /// Reports what this edge, as the canary, has found by now.
    async fn observe(&mut self) -> Result<(), SyncError> {
        let Some(known) = &self.known else { return Ok(()) };
        let snapshot = known.head.snapshot.position;
        if self.store.position().generation != snapshot.generation {
            return Ok(());
        }
        if self.observed.as_ref().is_none_or(|observed| !observed.report.is_about(snapshot)) {
            // Installed by an earlier process.
            let stored = match self.bucket.note(canary::KEY).await? {
                Some(bytes) => Report::parse(&bytes).ok().filter(|report| report.is_about(snapshot)),
                None => None,
            };
            let is_stored = stored.is_some();
            let report = stored.unwrap_or_else(|| Report::begin(snapshot, clock::unix_secs(), None));
            let counts = (self.requests)();
            self.observed = Some(Observed { report, since: Instant::now(), counts, is_stored });
        }
        let Some(observed) = &mut self.observed else { return Ok(()) };
        let span = Duration::from_secs(self.config.hold_until_canary_secs);
        if observed.report.state == canary::State::Observing && observed.since.elapsed() >= span {
            let after = canary::share(observed.counts, (self.requests)());
            let report = observed.report.clone().concluded(after, self.config.canary_max_unknown_ratio_jump);
            let Report { generation, state, before, after, .. } = report;
            if state == canary::State::Failed {
                let remedy = "publish a corrected snapshot; the other edges keep the former";
                tracing::error!(generation, before, after, remedy, "requests for unknown slashtags have jumped");
            } else {
                tracing::info!(generation, before, after, "the canary has found the snapshot good");
            }
            (observed.report, observed.is_stored) = (report, false);
        }
        if !observed.is_stored {
            self.bucket.put_note(canary::KEY, observed.report.to_bytes()).await?;
            observed.is_stored = true;
        }
        if let Report { state: canary::State::Failed, generation, before, after, .. } = observed.report {
            let halt = Halt::CanaryFailed { generation, before: before.unwrap_or_default(), after };
            self.metrics.halt(Some(halt.reason()));
        }
        Ok(())
    }
}

/// Removes what an earlier process has read and not installed.
fn remove_leftovers(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for file in entries.filter_map(Result::ok) {
        if file.file_name().as_encoded_bytes().starts_with(FETCHED.as_bytes()) {
            // What stays takes room, and is tried again at the next start.
            _ = std::fs::remove_file(file.path());
        }
    }
}

/// Reads deltas, several at a time, in their order.
async fn read_all(bucket: &Arc<Bucket>, refs: Vec<DeltaRef>) -> Result<Vec<(String, Delta)>, SyncError> {
    let mut waiting = refs.into_iter().enumerate();
    let mut reading: JoinSet<(usize, String, Result<Delta, BucketError>)> = JoinSet::new();
    let mut read = Vec::new();
    loop {
        while reading.len() < AT_A_TIME
            && let Some((i, delta)) = waiting.next()
        {
            let bucket = Arc::clone(bucket);
            reading.spawn(async move {
                let found = bucket.delta(&delta.key).await.and_then(|found| match found {
                    found if (found.from.revision, found.to.revision) == (delta.from, delta.to) => Ok(found),
                    found => {
                        let (from, to) = (found.from.revision, found.to.revision);
                        let reason = format!(
                            "it has the changes {from} to {to}, and the head says {} to {}",
                            delta.from, delta.to
                        );
                        Err(Malformed::new(&delta.key, reason).into())
                    }
                });
                (i, delta.key, found)
            });
        }
        match reading.join_next().await {
            Some(Ok((i, key, found))) => read.push((i, key, found?)),
            Some(Err(failure)) => return Err(SyncError::Internal(failure.to_string())),
            None => break,
        }
    }
    read.sort_unstable_by_key(|(i, ..)| *i);
    Ok(read.into_iter().map(|(_, key, delta)| (key, delta)).collect())
}

/// Runs what waits for the disk outside of the event loop, which keeps connections alive.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SyncError> {
    spawn_blocking(work).await.map_err(|failure| SyncError::Internal(failure.to_string()))
}

pub(super) fn chain_broken(key: &str, at: Mark, from: u64) -> Malformed {
    let reason = format!("the chain of deltas is broken: change {} is followed by those after {from}", at.revision);
    Malformed::new(key, reason)
}

fn show(position: Position) -> String {
    let digits: String = position.hash.to_string().chars().take(16).collect();
    format!("generation {}, change {}, hash {digits}", position.generation, position.revision)
}
