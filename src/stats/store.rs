//! The store of counts: one `SQLite` file, which one thread writes and others read.
//!
//! ```text
//! hours    (hour, kind, scope, name) -> counts    the last days, hour by hour
//! days     (day, kind, scope, name)  -> counts    what is older, summed up
//! counted  how far the journal is counted
//! marks    since when everything is counted; up to where hours were summed into days
//! ```
//! Time comes first in both keys. So what is counted now lies together at the end of the tree, however many things
//! there are; what is old goes from its beginning; and a query seeks once an hour. A domain's rows have a workspace as
//! their scope: an index of those alone finds them by the domain's name.
//!
//! A commit adds counts and moves the position in one transaction, which is on the disk when it returns
//! (`synchronous=FULL`): after a crash the counts are those of exactly the journal up to the position. A reader sees
//! one moment of the store for as long as it looks ([`Snapshot`]), and neither waits for the other (WAL).
//!
//! Damage is met when the page that has it is read, and is an error of its own, [`StoreError::Damaged`]. A check of all
//! pages at the start would read the whole file, and still miss a wrong number.

pub mod reader;
mod retention;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

pub use reader::{Counted, Covered, Order, Reader, Row, Scope, Snapshot, Step};
pub use retention::Retention;

use super::Delta;
use crate::runtime::{Hour, clock};

/// A place in the journal: a segment's number, and an offset in it.
pub type Position = (u64, u64);

/// Tells our files from others: "clke".
const APPLICATION: i64 = 0x636c_6b65;

/// The layout of the tables. Another one needs another number.
const VERSION: i64 = 1;

/// Pages that the writer keeps in memory, in KiB.
const CACHE_KIB: i64 = 16 << 10;

/// What the log of changes keeps on the disk after it was copied into the file.
const LOG_BYTES: i64 = 64 << 20;

/// How long a connection waits for another one that opens or recovers the file.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE hours (
        hour INTEGER, kind INTEGER, scope TEXT, name TEXT,
        clicks INTEGER NOT NULL, humans INTEGER NOT NULL, bots INTEGER NOT NULL, sessions INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (hour, kind, scope, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX hours_domain ON hours (hour, name) WHERE kind = 2;
    CREATE TABLE days (
        day INTEGER, kind INTEGER, scope TEXT, name TEXT,
        clicks INTEGER NOT NULL, humans INTEGER NOT NULL, bots INTEGER NOT NULL, sessions INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (day, kind, scope, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX days_domain ON days (day, name) WHERE kind = 2;
    CREATE TABLE counted (
        only INTEGER PRIMARY KEY CHECK (only = 1), segment INTEGER NOT NULL, place INTEGER NOT NULL, at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// What an upsert does to a row that is there. The same for hours and days.
const ADD: &str = "
    clicks = clicks + excluded.clicks, humans = humans + excluded.humans, bots = bots + excluded.bots,
    sessions = sessions + excluded.sessions, first = MIN(first, excluded.first), last = MAX(last, excluded.last)";

/// Since when everything is counted, microseconds since the Unix epoch.
const SINCE: &str = "since";
/// The hour before which hours are summed into days: the first of a day.
const SUMMED: &str = "summed";

/// Why the store did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Move the file aside, with its `-wal` and `-shm`, and begin another one.
    #[error("the store of counts {file} is damaged: {reason}")]
    Damaged { file: PathBuf, reason: String },
    /// Nothing is wrong with it, but this program is too old.
    #[error("the store of counts {file} has layout {found}, and this version knows {VERSION}; start a later version")]
    Version { file: PathBuf, found: i64 },
    /// The disk is full. Nothing was changed; try again when there is room.
    #[error("no room for the store of counts {file}")]
    Full { file: PathBuf },
    /// The query took longer than it may.
    #[error("the query took too long")]
    TooLong,
    /// The file system, or a defect. Nothing was changed; try again.
    #[error("cannot use the store of counts {file}: {reason}")]
    Failed { file: PathBuf, reason: String },
}

impl StoreError {
    /// Whether only a new store helps.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    fn of(file: &Path, error: &rusqlite::Error) -> Self {
        let (file, reason) = (file.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { file, reason },
            Some(ErrorCode::DiskFull) => Self::Full { file },
            Some(ErrorCode::OperationInterrupted) => Self::TooLong,
            _ => Self::Failed { file, reason },
        }
    }

    fn io(file: &Path, error: &io::Error) -> Self {
        let file = file.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { file },
            _ => Self::Failed { file, reason: error.to_string() },
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

/// The connection that writes. There is one.
pub struct Store {
    connection: Connection,
    file: PathBuf,
}

impl Store {
    /// Opens the store, and makes one where there is none, readable by this user alone.
    ///
    /// # Errors
    /// When the file is damaged, of a later version, or cannot be used.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        make_private(file).map_err(|error| StoreError::io(file, &error))?;
        let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut store = Self { connection, file: file.to_owned() };
        store.set_up()?;
        Ok(store)
    }

    /// Up to where the journal is counted. `None` when nothing was counted yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counted(&self) -> Result<Option<Position>, StoreError> {
        let read = self.connection.prepare_cached("SELECT segment, place FROM counted").and_then(|mut statement| {
            statement.query_row([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))).optional()
        });
        read.map_err(|error| self.error(&error))
    }

    /// Adds counts and moves the position, both or neither; when it returns they survive a loss of power.
    ///
    /// # Errors
    /// When the store did not take them. Nothing is changed then, unless the disk has lied.
    pub fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError> {
        let committed = self.try_commit(delta, counted, clock::unix_micros());
        committed.map_err(|error| self.error(&error))
    }

    /// A connection that reads, for another thread.
    ///
    /// # Errors
    /// When the file cannot be opened once more.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.file)
    }

    /// Says that nothing was counted elsewhere before this store was made: that it is as old as the spool. Without it,
    /// only hours that began later than the store are complete: see [`Snapshot::since`].
    ///
    /// # Errors
    /// When the store did not take it.
    pub fn has_counted_all(&mut self) -> Result<(), StoreError> {
        mark(&self.connection, SINCE, 0).map_err(|error| self.error(&error))
    }

    fn try_commit(&mut self, delta: &Delta, (segment, place): Position, now: u64) -> rusqlite::Result<()> {
        // In the order of the tree: each page is changed once, and neighbours are found in the cache.
        let mut rows: Vec<_> = delta.iter().filter(|(_, counts)| counts.clicks > 0).collect();
        rows.sort_unstable_by_key(|(place, _)| *place);
        let transaction = self.connection.transaction()?;
        {
            let mut upsert = transaction.prepare_cached(&format!(
                "INSERT INTO hours VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO UPDATE SET {ADD}"
            ))?;
            for ((hour, key), counts) in rows {
                upsert.execute(params![
                    signed(hour.since_epoch()),
                    key.kind as u8,
                    &*key.scope,
                    &*key.name,
                    signed(counts.clicks),
                    signed(counts.humans),
                    signed(counts.bots),
                    signed(counts.sessions),
                    signed(counts.first),
                    signed(counts.last),
                ])?;
            }
            let place = params![signed(segment), signed(place), signed(now)];
            transaction.prepare_cached("INSERT OR REPLACE INTO counted VALUES (1, ?1, ?2, ?3)")?.execute(place)?;
        }
        transaction.commit()
    }

    fn set_up(&mut self) -> Result<(), StoreError> {
        let pragma = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let application = pragma("application_id").map_err(|error| self.error(&error))?;
        let version = pragma("user_version").map_err(|error| self.error(&error))?;
        match (application, version) {
            (0, 0) if self.is_empty().map_err(|error| self.error(&error))? => {
                self.create().map_err(|error| self.error(&error))?;
            }
            (APPLICATION, VERSION) => {}
            (APPLICATION, found) => return Err(StoreError::Version { file: self.file.clone(), found }),
            _ => return Err(self.damaged("it is no store of counts")),
        }
        let tune = || {
            self.connection.pragma_update(None, "journal_mode", "wal")?;
            self.connection.pragma_update(None, "synchronous", "full")?;
            self.connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
            self.connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            // What is there, at the cost of a page.
            self.connection.query_row("SELECT COUNT(*) FROM marks", [], |row| row.get::<_, i64>(0))
        };
        match tune().map_err(|error| self.error(&error))? {
            0 => Err(self.damaged("it has lost its marks")),
            _ => Ok(()),
        }
    }

    fn is_empty(&self) -> rusqlite::Result<bool> {
        self.connection.query_row("SELECT COUNT(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
    }

    fn create(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        mark(&transaction, SINCE, clock::unix_micros())?;
        mark(&transaction, SUMMED, 0)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::of(&self.file, error)
    }

    fn damaged(&self, reason: &str) -> StoreError {
        StoreError::Damaged { file: self.file.clone(), reason: reason.into() }
    }
}

fn connect(file: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        // The file is believed as little as any other: no code in it runs, and a page must be what it says.
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    };
    open().map_err(|error| StoreError::of(file, &error))
}

/// Makes the file if there is none. `SQLite` gives its log the mode of the file.
fn make_private(file: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        // Its name must survive what its first commit survives.
        Ok(_) => File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(file, Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}

fn mark(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO marks VALUES (?1, ?2)")?;
    statement.execute(params![name, signed(value)]).map(drop)
}

fn marked(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT value FROM marks WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?.map_or(0, unsigned))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The hour of a number of hours since the Unix epoch.
fn hour(since_epoch: u64) -> Hour {
    Hour::of_micros(since_epoch.saturating_mul(3_600_000_000))
}

#[cfg(test)]
mod tests;
