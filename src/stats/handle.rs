//! A read handle on the counts of a running edge: their file, and the time up to which they are complete.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::store::{Counted, Reader, StoreError};

/// Name of the store in the spool's folder.
const FILE: &str = "stats.sqlite";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct StatsHandle {
    file: Arc<Path>,
    complete_until: Arc<AtomicU64>,
}

impl StatsHandle {
    /// The counts of a spool, from its folder.
    pub fn new(spool: &Path) -> Self {
        Self { file: spool.join(FILE).into(), complete_until: Arc::default() }
    }

    /// Path of the store.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Sets the watermark: all events are counted that were on the disk at this time, microseconds since the Unix
    /// epoch. A commit stores its own time; without clicks there are no commits.
    pub fn set_complete_until(&self, micros: u64) {
        self.complete_until.fetch_max(micros, Ordering::Release);
    }

    /// The watermark: time up to which all events on the disk are counted, microseconds since the Unix epoch.
    pub fn complete_until(&self, counted: Option<Counted>) -> u64 {
        counted.map_or(0, |counted| counted.at).max(self.complete_until.load(Ordering::Acquire))
    }

    /// Opens a connection that reads. Each call opens a new one, because a damaged store may have been replaced.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.file)
    }
}
