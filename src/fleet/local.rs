//! The catalog of this edge as a [`Store`].

use std::path::Path;

use super::store::{Preparation, Store, StoreError};
use crate::catalog::{
    ApplyError, CatalogStore, InstallError, Prepared,
    change::{Change, Entry, Position},
    snapshot::file::{self, FileError},
};

impl Store for CatalogStore {
    fn position(&self) -> Position {
        Self::position(self)
    }

    fn prepare(&self, changes: &[Change]) -> Preparation {
        let Prepared { outcomes, entries, from, to, .. } = Self::prepare(self, changes);
        Preparation { outcomes, entries, from, to }
    }

    fn apply(&self, entries: &[Entry], to: Position) -> Result<(), StoreError> {
        Self::apply(self, entries, to).map_err(|error| match error {
            ApplyError::Gap { .. } | ApplyError::Hash { .. } | ApplyError::Refused { .. } => {
                StoreError::Diverged(error.to_string())
            }
            ApplyError::Log(_) => StoreError::Disk(error.to_string()),
        })
    }

    fn install(&self, file: &Path, at: Position, accept: bool) -> Result<(), StoreError> {
        place(file, at)?;
        Self::replace(self, file, accept).map(drop).map_err(failed)
    }

    fn is_damaged(&self) -> bool {
        Self::is_damaged(self)
    }

    fn repair(&self, file: &Path, at: Position) -> Result<(), StoreError> {
        place(file, at)?;
        Self::repair(self, file).map_err(failed)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn failed(error: InstallError) -> StoreError {
    match error {
        InstallError::Shrunk { .. } => StoreError::Shrunk(error.to_string()),
        InstallError::Grown { .. } => StoreError::Grown(error.to_string()),
        InstallError::File(FileError::Bad { .. }) | InstallError::Older { .. } => {
            StoreError::Rejected(error.to_string())
        }
        InstallError::File(FileError::Io { .. } | FileError::Write { .. })
        | InstallError::NoFolder
        | InstallError::Log(_) => StoreError::Disk(error.to_string()),
    }
}

/// Writes into the header of a snapshot which state it has. Its checksum does not cover the header.
fn place(path: &Path, at: Position) -> Result<(), StoreError> {
    let failed = |error: FileError| match error {
        FileError::Bad { .. } => StoreError::Rejected(error.to_string()),
        FileError::Io { .. } | FileError::Write { .. } => StoreError::Disk(error.to_string()),
    };
    let found = file::header(path).map_err(failed)?.position.hash;
    if found != at.hash {
        return Err(StoreError::Rejected(format!("the snapshot has the hash {found}, expected {}", at.hash)));
    }
    file::renumber(path, at.generation, at.revision).map(drop).map_err(failed)
}
