//! Where the counts of a running edge lie, and how fresh they are: all that a reader needs of whoever counts.

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
pub struct Live {
    file: Arc<Path>,
    caught_up: Arc<AtomicU64>,
}

impl Live {
    /// The counts of the spool in this folder.
    pub fn new(spool: &Path) -> Self {
        Self { file: spool.join(FILE).into(), caught_up: Arc::default() }
    }

    /// The store.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Says that all which the journal has on the disk at this time, microseconds since the Unix epoch, is counted. A
    /// commit says so by itself; while there are no clicks there are no commits.
    pub fn caught_up(&self, micros: u64) {
        self.caught_up.fetch_max(micros, Ordering::Release);
    }

    /// Up to when everything is counted that was on the disk, microseconds since the Unix epoch.
    pub fn counted_until(&self, counted: Option<Counted>) -> u64 {
        counted.map_or(0, |counted| counted.at).max(self.caught_up.load(Ordering::Acquire))
    }

    /// A connection that reads. A new one each time: the store may have been put in the place of a damaged one.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.file)
    }
}
