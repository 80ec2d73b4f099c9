//! Counts the clicks of links that may have only so many (`maxClicks`).
//!
//! A count is exact on one edge: over all threads, over restarts and crashes, and while one process takes over from
//! another (`table`). It never waits for a disk: the table is on the tmpfs of the rings, and a thread copies it into
//! the folder of the spool some seconds later (`file`), so that only a machine that loses its power loses the clicks
//! of those seconds.
//!
//! A click that is counted and whose answer then does not reach the visitor stays counted.

mod file;
mod table;

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use prometheus::IntCounter;

use crate::{
    runtime::{PanicWatch, clock},
    telemetry::metrics::Registry,
};
use file::{Counts, Places};
use table::Table;

/// How often the table is looked after.
const TICK: Duration = Duration::from_secs(1);

/// Part of the time that may be spent on copies: a large table is copied less often.
const SHARE: u32 = 20;

const DAY_SECS: u64 = 86_400;

/// A link, as the counts know it: a hash of its domain and id.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LinkKey(u64);

impl LinkKey {
    /// The link with this id on this domain.
    pub fn new(host: &str, id: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        // No host contains a zero.
        hasher.update(host.as_bytes()).update(&[0]).update(id);
        let hash = hasher.finalize();
        let word = u64::from_le_bytes(std::array::from_fn(|at| hash.as_bytes()[at]));
        // Zero is an empty slot.
        Self(word.max(1))
    }
}

/// Metrics of the click limits.
#[derive(Clone)]
pub struct ClickLimitMetrics {
    uncounted: IntCounter,
}

impl ClickLimitMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        let help = "Clicks on links with maxClicks that were answered without being counted, as the table was full.";
        Self { uncounted: registry.counter("click_limits_uncounted_total", help) }
    }
}

/// The counts. Any thread counts without a lock. Dropped, it writes the last copy.
pub struct ClickLimits {
    /// `None` when there was no memory for it.
    table: Option<Arc<Table>>,
    /// Counts that are only looked at, in place of a table.
    looked_at: Option<UsedClicks>,
    metrics: ClickLimitMetrics,
    /// `None` when there is nothing to keep.
    keeper: Option<KeeperThread>,
}

/// The thread that lets the table grow, and copies it.
struct KeeperThread {
    keeper: Arc<Mutex<Keeper>>,
    /// Ends the thread when it is dropped.
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl ClickLimits {
    /// Takes over the counts of an earlier process, or shares those of one that hands over. `rings` is the folder of
    /// the rings, `spool` that of the spool; both exist. `links` are those that have a limit now.
    ///
    /// Whatever is wrong with the files is logged: links are redirected nevertheless, and limits count as far as they
    /// can.
    pub fn open(
        (rings, spool): (&Path, &Path),
        links: impl Iterator<Item = LinkKey>,
        metrics: ClickLimitMetrics,
        panics: &PanicWatch,
    ) -> Self {
        let links: Vec<u64> = links.map(|link| link.0).collect();
        let places = Places::new(rings, spool);
        let day = day(clock::trusted_micros() / 1_000_000);
        let table = match places.open(&links, day) {
            Ok(table) => Some(Arc::new(table)),
            Err(error) => {
                tracing::warn!(
                    %error, rings = %rings.display(),
                    "click limits not opened; clicks are counted until this process ends"
                );
                let table = places.anonymous(&links, day);
                let log = |error: &io::Error| tracing::error!(%error, "no memory for click limits; none holds");
                table.inspect_err(log).ok().map(Arc::new)
            }
        };
        let mut limits = Self { table, looked_at: None, metrics, keeper: None };
        limits.prepare_for(links.into_iter().map(LinkKey));
        limits.keeper = limits.table.clone().and_then(|table| keep(table, places, panics));
        limits
    }

    /// Counts that are never changed.
    pub fn looked_at(used: UsedClicks) -> Self {
        let metrics = ClickLimitMetrics::new(&Registry::new());
        Self { table: None, looked_at: Some(used), metrics, keeper: None }
    }

    /// Prepares for the links that have a limit in another catalog: there is room for them, and their counts are kept.
    pub fn prepare_for(&self, links: impl Iterator<Item = LinkKey>) {
        let Some(table) = &self.table else { return };
        let day = day(clock::trusted_micros() / 1_000_000);
        let count = links.inspect(|link| table.touch(link.0, day)).count();
        if let Err(error) = table.reserve(count as u64) {
            tracing::warn!(%error, links = count, "no room for all click limits; enlarge the tmpfs of capture.dir");
        }
    }

    /// Counts a click of a link that may have `max` of them. Whether it is one of these. A click that finds no room is,
    /// and is counted in a metric.
    pub fn take(&self, link: LinkKey, max: u64) -> bool {
        if let Some(used) = &self.looked_at {
            return used.of(link) < max;
        }
        let taken = self.table.as_ref().map(|table| table.take(link.0, max, day(clock::coarse_secs())));
        match taken {
            Some(Ok(is_within)) => is_within,
            Some(Err(full)) => {
                if full.is_first {
                    tracing::warn!("no room for another click limit; such clicks are answered without being counted");
                }
                self.metrics.uncounted.inc();
                true
            }
            None => {
                self.metrics.uncounted.inc();
                true
            }
        }
    }

    /// Writes the copy now: this process ends.
    pub fn save(&self) {
        if let Some(KeeperThread { keeper, .. }) = &self.keeper
            && let Err(error) = lock(keeper).save()
        {
            tracing::warn!(%error, "last copy of the click limits not written; the counts last until the machine restarts");
        }
    }

    /// The clicks of a link that were counted.
    pub fn used(&self, link: LinkKey) -> u64 {
        let looked_at = || self.looked_at.as_ref().map_or(0, |used| used.of(link));
        self.table.as_ref().map_or_else(looked_at, |table| table.clicks(link.0))
    }
}

impl Drop for ClickLimits {
    fn drop(&mut self) {
        self.save();
        if let Some(KeeperThread { end, thread, .. }) = self.keeper.take() {
            drop(end);
            _ = thread.join();
        }
    }
}

/// The counts of an edge, running or not, as they are on its files: for a look from outside.
#[derive(Default)]
pub struct UsedClicks(Counts);

impl UsedClicks {
    /// Reads the counts. Changes and locks nothing.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn read(rings: &Path, spool: &Path) -> io::Result<Self> {
        Places::new(rings, spool).read().map(Self)
    }

    /// The clicks of a link that were counted.
    pub fn of(&self, link: LinkKey) -> u64 {
        self.0.links.get(&link.0).map_or(0, |count| count.clicks)
    }
}

/// Starts the thread that lets the table grow, and copies it.
fn keep(table: Arc<Table>, places: Places, panics: &PanicWatch) -> Option<KeeperThread> {
    let (end, ended) = mpsc::channel::<()>();
    let guard = panics.guard();
    let keeper = Keeper { table, places, saved: None, next: clock::monotonic(), is_failing: false };
    let keeper = Arc::new(Mutex::new(keeper));
    let kept = Arc::clone(&keeper);
    let run = move || {
        let _guard = guard;
        while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            lock(&kept).tick();
        }
    };
    let started = thread::Builder::new().name("click-limits".into()).spawn(run);
    let log = |error: &io::Error| tracing::warn!(%error, "no thread for click limits; a reboot loses the counts");
    started.inspect_err(log).ok().map(|thread| KeeperThread { keeper, end, thread })
}

fn lock(keeper: &Mutex<Keeper>) -> MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeper {
    table: Arc<Table>,
    places: Places,
    /// How many clicks the copy has.
    saved: Option<u64>,
    /// When the next copy is due.
    next: Instant,
    is_failing: bool,
}

impl Keeper {
    fn tick(&mut self) {
        let grown = self.table.reserve(0);
        let saved = if clock::monotonic() < self.next { Ok(()) } else { self.save() };
        let is_failing = grown.is_err() || saved.is_err();
        for (result, consequence) in [
            (grown, "the table cannot grow: enlarge the tmpfs of capture.dir, or limits cease to hold"),
            (
                saved,
                "no copy was written: after a restart of the machine, the clicks since the last one are not counted",
            ),
        ] {
            // The first failure of a row.
            if let Err(error) = result
                && !self.is_failing
            {
                tracing::warn!(%error, consequence, "click limits not kept");
            }
        }
        self.is_failing = is_failing;
    }

    fn save(&mut self) -> io::Result<()> {
        let (began, counted) = (clock::monotonic(), self.table.counted());
        if self.saved != Some(counted) && self.places.save(&self.table)? {
            self.saved = Some(counted);
            self.next = clock::monotonic() + began.elapsed() * SHARE;
        }
        Ok(())
    }
}

fn day(secs: u64) -> u16 {
    u16::try_from(secs / DAY_SECS).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dirs: (&Path, &Path), links: &[LinkKey]) -> ClickLimits {
        let metrics = ClickLimitMetrics::new(&Registry::new());
        ClickLimits::open(dirs, links.iter().copied(), metrics, &PanicWatch::default())
    }

    #[test]
    fn a_link_is_known_by_its_domain_and_id() {
        let key = LinkKey::new("go.brand.com", b"1");
        assert_eq!(key, LinkKey::new("go.brand.com", b"1"));
        assert_ne!(key, LinkKey::new("go.brand.com", b"2"));
        assert_ne!(key, LinkKey::new("go.brand.co", b"m1"));
    }

    #[test]
    fn the_last_clicks_of_a_process_are_in_its_copy() {
        let (rings, spool) = (tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir().unwrap());
        let (link, dirs) = (LinkKey::new("go.brand.com", b"1"), (rings.path(), spool.path()));
        let limits = open(dirs, &[link]);
        assert!(limits.take(link, 2) && limits.take(link, 2) && !limits.take(link, 2));
        assert_eq!(UsedClicks::read(rings.path(), spool.path()).unwrap().of(link), 2);
        drop(limits);
        std::fs::remove_file(rings.path().join("click-limits")).unwrap();
        assert_eq!(UsedClicks::read(rings.path(), spool.path()).unwrap().of(link), 2);
        assert_eq!(open(dirs, &[]).used(link), 2);
    }

    #[test]
    fn links_are_answered_when_nothing_can_be_written() {
        let spool = tempfile::tempdir().unwrap();
        let limits = open((Path::new("/proc/none"), spool.path()), &[]);
        let link = LinkKey::new("go.brand.com", b"1");
        assert!(limits.take(link, 1) && !limits.take(link, 1));
        drop(limits);
        let limits = open((Path::new("/proc/none"), Path::new("/proc/none")), &[]);
        assert!(limits.take(link, 1) && !limits.take(link, 1));
    }
}
