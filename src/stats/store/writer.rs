//! The connection that writes counts.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{
    Position, Reader, Retention, StoreError, VERSION, retention,
    sql::{ADD, SINCE, SUMMED, connect, mark, signed, unsigned},
};
use crate::{
    runtime::{Hour, clock},
    stats::counts::Delta,
};

/// Identifies files of clickedge: "clke".
const APPLICATION: i64 = 0x636c_6b65;

/// Pages that the writer keeps in memory, in KiB.
const CACHE_KIB: i64 = 16 << 10;

/// Size to which the write-ahead log is truncated after it was copied into the file.
const LOG_BYTES: i64 = 64 << 20;

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

/// The only connection that writes.
pub struct Store {
    connection: Connection,
    file: PathBuf,
}

impl Store {
    /// Opens the store. Creates it if it is missing, readable by this user only.
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

    /// The position up to which the journal is counted. `None` when nothing was counted yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counted(&self) -> Result<Option<Position>, StoreError> {
        let read = self.connection.prepare_cached("SELECT segment, place FROM counted").and_then(|mut statement| {
            statement.query_row([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))).optional()
        });
        read.map_err(|error| self.error(&error))
    }

    /// Adds counts and moves the position, both or neither. When it returns, they survive a loss of power.
    ///
    /// # Errors
    /// When the store fails. Nothing is changed then, unless the disk has reported a wrong result.
    pub fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError> {
        let committed = self.try_commit(delta, counted, clock::trusted_micros());
        committed.map_err(|error| self.error(&error))
    }

    /// Opens a connection that reads, for another thread.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.file)
    }

    /// Marks the store as complete: nothing was counted before it was made, because it is as old as the spool.
    /// Otherwise only hours that began later than the store are complete: see
    /// [`Snapshot::since`](super::Snapshot::since).
    ///
    /// # Errors
    /// When the store fails. Nothing is changed then.
    pub fn mark_complete(&mut self) -> Result<(), StoreError> {
        mark(&self.connection, SINCE, 0).map_err(|error| self.error(&error))
    }

    /// Takes one step of [retention](Retention). True if there is another one to take.
    ///
    /// # Errors
    /// When the store fails. Nothing is changed then.
    pub fn retain(&mut self, retention: Retention, now: Hour) -> Result<bool, StoreError> {
        let stepped = retention::step(&mut self.connection, retention, now.since_epoch() / 24, retention::ROWS);
        stepped.map_err(|error| self.error(&error))
    }

    fn try_commit(&mut self, delta: &Delta, (segment, place): Position, now: u64) -> rusqlite::Result<()> {
        // In the order of the tree, each page is changed once, and its neighbours are in the cache.
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
            _ => return Err(self.damaged("it is another kind of database")),
        }
        let tune = || {
            self.connection.pragma_update(None, "journal_mode", "wal")?;
            self.connection.pragma_update(None, "synchronous", "full")?;
            self.connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
            self.connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            // Reads one page.
            self.connection.query_row("SELECT COUNT(*) FROM marks", [], |row| row.get::<_, i64>(0))
        };
        match tune().map_err(|error| self.error(&error))? {
            0 => Err(self.damaged("its marks are missing")),
            _ => Ok(()),
        }
    }

    fn is_empty(&self) -> rusqlite::Result<bool> {
        self.connection.query_row("SELECT COUNT(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
    }

    fn create(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        mark(&transaction, SINCE, clock::trusted_micros())?;
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

/// Creates the file if it is missing. `SQLite` gives its log the mode of the file.
fn make_private(file: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        // Its name must be as durable as its first commit.
        Ok(_) => File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(file, Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
