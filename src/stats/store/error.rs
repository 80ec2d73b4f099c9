//! Why the store of counts fails.

use std::{io, path::PathBuf};

use super::VERSION;
use crate::runtime::{Class, Classified};

/// Why the store of counts fails.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Remedy: move the file aside, with its `-wal` and `-shm`, and begin a new one.
    #[error("the store of counts {file} is damaged: {reason}")]
    Damaged { file: PathBuf, reason: String },
    /// A later version of clickedge made it.
    #[error("the store of counts {file} has layout {found}, and this version knows {VERSION}; start a later version")]
    Version { file: PathBuf, found: i64 },
    /// The disk is full. Nothing was changed; retry later.
    #[error("no space for the store of counts {file}")]
    Full { file: PathBuf },
    /// The query reached its time limit.
    #[error("the query took too long")]
    TooLong,
    /// The file system failed, or an internal error. Nothing was changed; retry later.
    #[error("cannot use the store of counts {file}: {reason}")]
    Failed { file: PathBuf, reason: String },
}

impl StoreError {
    /// Whether the only remedy is a new store.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl Classified for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::Damaged { .. } | Self::Version { .. } => Class::Data,
            Self::Full { .. } | Self::TooLong | Self::Failed { .. } => Class::Io,
        }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Damaged { .. } => io::ErrorKind::InvalidData,
            StoreError::Full { .. } => io::ErrorKind::StorageFull,
            StoreError::TooLong => io::ErrorKind::TimedOut,
            StoreError::Version { .. } | StoreError::Failed { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
