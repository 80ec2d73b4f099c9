//! Opens databases of addresses in the format of `MaxMind` (`.mmdb`), and warns of old ones.
//!
//! They are read into memory, never mapped: a mapped file that is overwritten in place kills the process.

use std::{io, path::Path};

use maxminddb::{MaxMindDbError, Reader};

use crate::runtime::{Class, Classified, filesystem::read_regular};

/// Age from which a warning is logged: `MaxMind` and DB-IP publish a database at least each month, and their licences
/// demand the latest.
pub const OLD_DAYS: u64 = 60;

/// Why a database was rejected.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It does not exist, or this user may not read it.
    #[error(
        "cannot read the {what} database {file}: {source}; put the file there, let this user read it, or correct the path"
    )]
    Read {
        what: &'static str,
        file: String,
        #[source]
        source: io::Error,
    },
    /// It was read, and is damaged or no database at all.
    #[error("the {what} database {file} is damaged: {source}; download it again")]
    Damaged {
        what: &'static str,
        file: String,
        #[source]
        source: MaxMindDbError,
    },
    /// It is a database of another type.
    #[error("the {what} database {file} is of type {found}; use {needed}")]
    WrongType { what: &'static str, file: String, found: String, needed: &'static str },
}

impl Classified for DatabaseError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::Damaged { .. } | Self::WrongType { .. } => Class::Data,
        }
    }
}

/// What is expected of a database.
pub struct DatabaseKind {
    /// Its name in messages: `GeoIP`.
    pub what: &'static str,
    /// Its type must contain one of these.
    pub types: &'static [&'static str],
    /// The types in words, for the message.
    pub needed: &'static str,
}

impl DatabaseKind {
    /// Reads a database as a whole and verifies it, so that a damaged file is detected now and not at some click.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub fn open(&self, file: &Path) -> Result<Reader<Vec<u8>>, DatabaseError> {
        let bytes = read_regular(file).map_err(|source| self.error(file, MaxMindDbError::Io(source)))?;
        let reader = Reader::from_source(bytes).map_err(|source| self.error(file, source))?;
        let found = &reader.metadata().database_type;
        if !self.types.iter().any(|kind| found.contains(kind)) {
            let (what, file, found) = (self.what, file.display().to_string(), found.clone());
            return Err(DatabaseError::WrongType { what, file, found, needed: self.needed });
        }
        reader.verify().map_err(|source| self.error(file, source))?;
        Ok(reader)
    }

    /// The error of a database that cannot be read.
    pub fn error(&self, file: &Path, source: MaxMindDbError) -> DatabaseError {
        let (what, file) = (self.what, file.display().to_string());
        match source {
            MaxMindDbError::Io(source) => DatabaseError::Read { what, file, source },
            source => DatabaseError::Damaged { what, file, source },
        }
    }
}

/// A warning about a database that is old. Times are in seconds since the Unix epoch.
pub fn age_warning(what: &str, built_secs: u64, now_secs: u64) -> Option<String> {
    let days = days_too_old(built_secs, now_secs)?;
    Some(format!("the {what} database is old ({days} days, limit {OLD_DAYS}); replace it and run `clickedge reload`"))
}

/// The age in days of a database that is too old.
fn days_too_old(built_secs: u64, now_secs: u64) -> Option<u64> {
    let days = now_secs.saturating_sub(built_secs) / 86_400;
    (days > OLD_DAYS).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_old_after_its_days() {
        let now = 1_800_000_000;
        assert_eq!(days_too_old(now - 61 * 86_400, now), Some(61));
        assert_eq!(days_too_old(now - 61 * 86_400 + 1, now), None);
        assert_eq!((days_too_old(now, now), days_too_old(now + 1, now)), (None, None));
    }
}
