//! The store: counts on the disk, in one SQLite file.
//!
//! What is counted and how far the journal has been counted are committed together, in one transaction that survives a
//! loss of power.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::{Counts, Delta, Kind};
use crate::manifest::Hour;

/// How far the journal is counted: a segment's number, and an offset in it.
pub type Position = (u64, u64);

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is no store, or a broken one: trying again does not help.
    #[error("the store of counts is damaged: {0}")]
    Damaged(#[source] rusqlite::Error),
    /// The disk, or somebody else who holds it.
    #[error("the store of counts cannot be used: {0}")]
    Failed(#[source] rusqlite::Error),
}

impl StoreError {
    /// Whether only a new store helps.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Failed(error),
        }
    }
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS counts (
        kind INTEGER, scope TEXT, name TEXT, hour INTEGER,
        clicks INTEGER, humans INTEGER, bots INTEGER, sessions INTEGER, first INTEGER, last INTEGER,
        PRIMARY KEY (kind, scope, name, hour)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS counted (one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER, offset INTEGER);
";

const ADD: &str = "
    INSERT INTO counts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT DO UPDATE SET
        clicks = clicks + excluded.clicks, humans = humans + excluded.humans, bots = bots + excluded.bots,
        sessions = sessions + excluded.sessions, first = min(first, excluded.first), last = max(last, excluded.last)
";

/// The writing side: one process, one thread.
pub struct Store {
    connection: Connection,
    file: PathBuf,
}

impl Store {
    /// Opens a store, or makes it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection, file: file.into() })
    }

    /// How far the journal is counted.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn counted(&self) -> Result<Option<Position>, StoreError> {
        let row = self.connection.query_row("SELECT segment, offset FROM counted", [], |row| {
            Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
        });
        Ok(row.optional()?)
    }

    /// Adds counts, and notes that the journal is counted up to here: both, or none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        {
            let mut add = transaction.prepare_cached(ADD)?;
            for ((hour, key), counts) in delta {
                add.execute(params![
                    key.kind as u8,
                    &*key.scope,
                    &*key.name,
                    hour.since_epoch() as i64,
                    counts.clicks as i64,
                    counts.humans as i64,
                    counts.bots as i64,
                    counts.sessions as i64,
                    counts.first as i64,
                    counts.last as i64,
                ])?;
            }
            let position = params![counted.0 as i64, counted.1 as i64];
            transaction.execute("INSERT OR REPLACE INTO counted VALUES (1, ?1, ?2)", position)?;
        }
        Ok(transaction.commit()?)
    }

    /// A reading side, for another thread.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.file)
    }
}

/// The reading side. It never waits for the writing one, and sees whole commits.
pub struct Reader(Connection);

impl Reader {
    /// # Errors
    /// See [`StoreError`].
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        Ok(Self(Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?))
    }

    /// What was counted of a thing, from the hour `from` up to the one before `until`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn total(&self, kind: Kind, scope: &str, name: &str, from: Hour, until: Hour) -> Result<Counts, StoreError> {
        let query = "
            SELECT total(clicks), total(humans), total(bots), total(sessions), min(first), max(last) FROM counts
            WHERE kind = ?1 AND scope = ?2 AND name = ?3 AND hour >= ?4 AND hour < ?5";
        let hours = (from.since_epoch() as i64, until.since_epoch() as i64);
        let counts =
            self.0.prepare_cached(query)?.query_row(params![kind as u8, scope, name, hours.0, hours.1], |row| {
                let sum = |column| row.get::<_, f64>(column).map(|sum| sum as u64);
                let time = |column| row.get::<_, Option<i64>>(column).map(|time| time.unwrap_or_default() as u64);
                Ok(Counts {
                    clicks: sum(0)?,
                    humans: sum(1)?,
                    bots: sum(2)?,
                    sessions: sum(3)?,
                    first: time(4)?,
                    last: time(5)?,
                })
            })?;
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Key;

    #[test]
    fn what_is_committed_is_found_with_its_position() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stats.sqlite");
        let hour = |n: u64| Hour::of_micros(n * 3_600_000_000);
        let key = |hour| (hour, Key { kind: Kind::Tag, scope: "w".into(), name: "t".into() });
        let one = |at| Counts { clicks: 1, humans: 1, bots: 0, sessions: 0, first: at, last: at };
        let mut store = Store::open(&file).unwrap();
        assert_eq!(store.counted().unwrap(), None);
        store.commit(&Delta::from_iter([(key(hour(5)), one(50)), (key(hour(6)), one(60))]), (1, 100)).unwrap();
        store.commit(&Delta::from_iter([(key(hour(5)), one(40))]), (2, 50)).unwrap();
        drop(store);
        let store = Store::open(&file).unwrap();
        assert_eq!(store.counted().unwrap(), Some((2, 50)));
        let reader = store.reader().unwrap();
        let total = |from, until| reader.total(Kind::Tag, "w", "t", hour(from), hour(until)).unwrap();
        assert_eq!(total(5, 6), Counts { clicks: 2, humans: 2, bots: 0, sessions: 0, first: 40, last: 50 });
        assert_eq!(total(0, 99).clicks, 3);
        assert_eq!(total(6, 6), Counts::default());
        assert_eq!(reader.total(Kind::Tag, "v", "t", hour(0), hour(99)).unwrap(), Counts::default());
    }
}
