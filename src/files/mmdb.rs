//! Databases of addresses in the format of `MaxMind` (`.mmdb`): how they are opened, and when they are called old.
//!
//! Beside the flow; imports no stage. They are read into memory, never mapped: a mapped file that somebody replaces in
//! place kills the process.

use std::path::Path;

use maxminddb::{MaxMindDbError, Reader};

/// An older database is complained of: `MaxMind` and DB-IP publish one at least each month, and their licences ask
/// for its use.
pub const OLD_DAYS: u64 = 60;

/// Why a database was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be read, or is no such database.
    #[error("cannot read the {what} database {file}: {source}")]
    Read {
        what: &'static str,
        file: String,
        #[source]
        source: MaxMindDbError,
    },
    /// It is a database of another kind.
    #[error("the {what} database {file} is of type {found}; {needed} is needed")]
    WrongType { what: &'static str, file: String, found: String, needed: &'static str },
}

/// What is expected of a database.
pub struct DatabaseKind {
    /// What it is to the operator: `GeoIP`.
    pub what: &'static str,
    /// Its type must contain one of these.
    pub types: &'static [&'static str],
    /// The same in words, for the message.
    pub needed: &'static str,
}

impl DatabaseKind {
    /// Reads a database, whole and once: a file that is cut or scrambled is found now, not at some click.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub fn open(&self, file: &Path) -> Result<Reader<Vec<u8>>, DatabaseError> {
        let reader = Reader::open_readfile(file).map_err(|source| self.unread(file, source))?;
        let found = &reader.metadata().database_type;
        if !self.types.iter().any(|kind| found.contains(kind)) {
            let (what, file, found) = (self.what, file.display().to_string(), found.clone());
            return Err(DatabaseError::WrongType { what, file, found, needed: self.needed });
        }
        reader.verify().map_err(|source| self.unread(file, source))?;
        Ok(reader)
    }

    /// The database cannot be read.
    pub fn unread(&self, file: &Path, source: MaxMindDbError) -> DatabaseError {
        DatabaseError::Read { what: self.what, file: file.display().to_string(), source }
    }
}

/// A warning about a database that is old. `built_secs` and `now_secs` are in seconds since the Unix epoch.
pub fn age_warning(built_secs: u64, now_secs: u64) -> Option<String> {
    let days = days_too_old(built_secs, now_secs)?;
    Some(format!("the database is {days} days old (limit {OLD_DAYS}); put a newer one in its place and send SIGHUP"))
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
