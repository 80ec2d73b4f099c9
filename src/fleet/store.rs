//! What a fleet needs of the catalog of its edge.

use std::path::Path;

use crate::catalog::change::{Accepted, Change, Entry, Position, Refused};

/// The catalog of an edge, as far as a fleet changes it. Calls may take as long as the disk does.
pub trait Store: Send + Sync + 'static {
    /// The current state.
    fn position(&self) -> Position;

    /// Checks changes against the current catalog and numbers them. Changes nothing.
    fn prepare(&self, changes: &[Change]) -> Preparation;

    /// Makes changes that were accepted elsewhere, all or nothing. Those up to the current revision are skipped; the
    /// others have to follow it, and to result in the hash of `to`.
    ///
    /// # Errors
    /// Nothing has changed.
    fn apply(&self, entries: &[Entry], to: Position) -> Result<(), StoreError>;

    /// Makes a snapshot the current catalog, without any change of before. The file is the caller's, and does not say
    /// which generation it is nor the number of its last change: both are those of `at`. With `accept`, of any size.
    ///
    /// # Errors
    /// Nothing has changed.
    fn install(&self, file: &Path, at: Position, accept: bool) -> Result<(), StoreError>;

    /// Whether the copy of the snapshot on the disk of this edge is damaged.
    fn is_damaged(&self) -> bool {
        false
    }

    /// Takes the current snapshot again, with the changes since. The file is as for [`install`](Self::install).
    ///
    /// # Errors
    /// Nothing has changed.
    fn repair(&self, file: &Path, at: Position) -> Result<(), StoreError> {
        self.install(file, at, true)
    }
}

/// Changes that were checked and not made.
pub struct Preparation {
    /// What would become of each.
    pub outcomes: Vec<Result<Accepted, Refused>>,
    /// Those that change something.
    pub entries: Vec<Entry>,
    /// The state that they were checked against.
    pub from: Position,
    /// The state that they would result in.
    pub to: Position,
}

/// Counts of requests for branded links since the start of the process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Requests {
    pub all: u64,
    /// Those for slashtags that no link has.
    pub unknown: u64,
}

/// Why a catalog stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The changes do not fit the catalog: it is not what the fleet takes it for.
    #[error("{0}")]
    Diverged(String),
    /// The snapshot cannot be used.
    #[error("{0}")]
    Rejected(String),
    /// The snapshot has far fewer links than the current catalog.
    #[error("{0}")]
    Shrunk(String),
    /// The snapshot has far more links than the current catalog.
    #[error("{0}")]
    Grown(String),
    /// The disk fails.
    #[error("{0}")]
    Disk(String),
}
