//! The source of rollups: the store of counts, and the owners of links.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    runtime::{Hour, clock},
    spool::record::LATE,
    stats::{
        StatsHandle,
        store::{Reader, Snapshot, StoreError},
    },
};

/// Time until packed events that are not counted yet are checked again.
const RETRY: Duration = Duration::from_secs(1);

/// Times [`RETRY`], after the store could not be read.
const RETRIES_AFTER_ERROR: u32 = 30;

/// Time limit of reading the counts of a round.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns the workspace that owns a link, by domain and slashtag: see [`crate::stats::store::Owner`].
pub type LinkOwner = Arc<dyn Fn(&str, &str) -> Option<Box<str>> + Send + Sync>;

/// See the module.
pub struct RollupSource {
    stats: StatsHandle,
    owner: LinkOwner,
    late: Duration,
    retry: Duration,
    /// Since when the store has all counts, microseconds since the Unix epoch, as last read.
    since: Cell<u64>,
    not_before: Cell<Option<Instant>>,
}

impl RollupSource {
    /// Rollups of these counts.
    pub fn new(stats: StatsHandle, owner: LinkOwner) -> Self {
        Self { stats, owner, late: LATE, retry: RETRY, since: Cell::new(0), not_before: Cell::new(None) }
    }

    /// Waits neither for late objects nor between two attempts.
    #[cfg(test)]
    pub(in crate::spool) fn without_delays(self) -> Self {
        Self { late: Duration::ZERO, retry: Duration::ZERO, ..self }
    }

    pub(super) fn owner(&self) -> &dyn Fn(&str, &str) -> Option<Box<str>> {
        &*self.owner
    }

    pub(super) fn late(&self) -> Duration {
        self.late
    }

    pub(super) fn reader(&self) -> Result<Reader, StoreError> {
        self.stats.reader()
    }

    pub(super) fn snapshot<'a>(&self, reader: &'a mut Reader) -> Result<Snapshot<'a>, StoreError> {
        let snapshot = reader.snapshot(LIMIT)?;
        self.since.set(snapshot.since());
        Ok(snapshot)
    }

    /// Whether the store has all counts of an hour: it was begun before.
    pub(super) fn is_complete(&self, hour: Hour) -> bool {
        hour.since_epoch().saturating_mul(3_600_000_000) >= self.since.get()
    }

    /// Pauses rollups for a while.
    pub(super) fn retry_later(&self, failed: bool) {
        let times = if failed { RETRIES_AFTER_ERROR } else { 1 };
        self.not_before.set(Some(clock::monotonic() + self.retry * times));
    }

    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.not_before.get().is_some_and(|then| now < then)
    }
}
