//! What the writer, the readers and retention share: connections, marks, and conversions.

use std::{io, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::error::StoreError;
use crate::runtime::Hour;

/// Time limit of waiting for another connection that opens or recovers the file.
const BUSY: Duration = Duration::from_secs(5);

/// What an upsert does to an existing row, of hours and of days.
pub const ADD: &str = "
    clicks = clicks + excluded.clicks, humans = humans + excluded.humans, bots = bots + excluded.bots,
    sessions = sessions + excluded.sessions, first = MIN(first, excluded.first), last = MAX(last, excluded.last)";

/// Mark: since when all clicks are counted, microseconds since the Unix epoch.
pub const SINCE: &str = "since";

/// Mark: the hour before which hours are summed into days, the first hour of a day.
pub const SUMMED: &str = "summed";

/// Opens a connection.
pub fn connect(file: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        // The file is not trusted: no code in its schema runs, and pages are checked.
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    };
    open().map_err(|error| StoreError::of(file, &error))
}

impl StoreError {
    pub(super) fn of(file: &Path, error: &rusqlite::Error) -> Self {
        let (file, reason) = (file.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { file, reason },
            Some(ErrorCode::DiskFull) => Self::Full { file },
            Some(ErrorCode::OperationInterrupted) => Self::TooLong,
            _ => Self::Failed { file, reason },
        }
    }

    pub(super) fn io(file: &Path, error: &io::Error) -> Self {
        let file = file.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { file },
            _ => Self::Failed { file, reason: error.to_string() },
        }
    }
}

/// Sets a mark.
pub fn mark(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO marks VALUES (?1, ?2)")?;
    statement.execute(params![name, signed(value)]).map(drop)
}

/// Reads a mark. 0 if it is missing.
pub fn marked(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT value FROM marks WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?.map_or(0, unsigned))
}

/// A number as `SQLite` stores it.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as `SQLite` has stored it.
pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The hour of a number of hours since the Unix epoch.
pub fn hour(since_epoch: u64) -> Hour {
    Hour::of_micros(since_epoch.saturating_mul(3_600_000_000))
}
