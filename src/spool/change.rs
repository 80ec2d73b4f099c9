//! Changes of a running spool: its feeds ([`FeedChange`]) and its limits ([`Limits`]).
//!
//! A feed gets a number when it is first named, and keeps it as long as the process runs, configured or not: events on
//! their way to the journal, segments and runs name it by that number. So numbers are only ever added.
//!
//! A change of feeds takes the way of the events, and what it says holds from there on:
//! - the journal commits the events before it, and begins the next segment with a header that has the new names;
//! - the packer notes what the feeds ask for in the state, and replaces their specs between two rounds;
//! - then [`FeedChange::applied`] is called, which changes deliveries, and at last the routing: the first event of a
//!   new feed finds everything prepared.
//!
//! Whenever the process dies, each segment names the feeds that its events go to, and the state has what these ask for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::FeedSpec;
use crate::{config, enrich::Batch};

/// A change of the feeds of a running spool.
pub struct FeedChange {
    /// The names of all feeds by number, those included that are not configured. It begins with the names before.
    pub names: Arc<[String]>,
    /// The feeds that are added or have changed. With their numbers there is no gap.
    pub specs: BTreeMap<u16, FeedSpec>,
    /// Feeds that are no longer configured.
    pub removed: Vec<u16>,
    /// Called between two rounds, when no object is on its way to its feed.
    pub applied: Box<dyn FnOnce() + Send>,
}

/// What the journal takes.
pub enum Input {
    Events(Batch),
    Feeds(FeedChange),
}

impl From<Batch> for Input {
    fn from(batch: Batch) -> Self {
        Self::Events(batch)
    }
}

/// Limits of a running spool, see [`config::Spool`]. They can be changed at any time.
pub struct Limits {
    max_bytes: AtomicU64,
    journal_max_bytes: AtomicU64,
    sync_interval_millis: AtomicU64,
    retain_secs: AtomicU64,
}

impl Limits {
    /// The configured limits.
    pub fn new(config: &config::Spool) -> Self {
        let config::Spool { max_bytes, journal_max_bytes, sync_interval_millis, retain_secs, .. } = *config;
        Self {
            max_bytes: max_bytes.into(),
            journal_max_bytes: journal_max_bytes.into(),
            sync_interval_millis: sync_interval_millis.into(),
            retain_secs: retain_secs.into(),
        }
    }

    /// Replaces all limits.
    pub fn set(&self, config: &config::Spool) {
        self.max_bytes.store(config.max_bytes, Ordering::Relaxed);
        self.journal_max_bytes.store(config.journal_max_bytes, Ordering::Relaxed);
        self.sync_interval_millis.store(config.sync_interval_millis, Ordering::Relaxed);
        self.retain_secs.store(config.retain_secs, Ordering::Relaxed);
    }

    /// Bytes of finished objects.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the journal.
    pub fn journal_max_bytes(&self) -> u64 {
        self.journal_max_bytes.load(Ordering::Relaxed)
    }

    /// Time between two syncs of the journal.
    pub fn sync_interval(&self) -> Duration {
        Duration::from_millis(self.sync_interval_millis.load(Ordering::Relaxed))
    }

    /// Seconds that delivered objects are kept.
    pub fn retain_secs(&self) -> u64 {
        self.retain_secs.load(Ordering::Relaxed)
    }
}
