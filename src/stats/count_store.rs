//! The store of counts as the spool uses it: a trait, and the implementation that keeps working when its
//! [file](super::store) fails.
//!
//! A store that fails is closed, and opened again by the next call. A damaged one is moved aside, to `stats.damaged-1`
//! and so on, and a new one is created: current counts take precedence over old ones.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    counts::Delta,
    handle::StatsHandle,
    store::{Position, Retention, Store, StoreError},
};
use crate::runtime::Hour;

/// Microseconds between two checks for counts that are older than they are kept.
const RETAIN_EVERY: u64 = 600_000_000;

/// Microseconds between two steps of summing up or removing them.
const STEP_EVERY: u64 = 1_000_000;

/// A durable store of counts. A trait, so that tests can use a model that fails.
pub trait CountStore: Send {
    /// The position up to which the journal is counted. `None` if nothing was counted yet.
    fn counted(&mut self) -> Result<Option<Position>, StoreError>;

    /// Adds counts and moves the position, both or neither. After an error it is unknown which:
    /// [`CountStore::counted`] returns it.
    fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError>;

    /// Marks the store as complete: nothing was counted before it was begun.
    fn mark_complete(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Reports that all events are counted that were on the disk at this time, microseconds since the Unix epoch. The
    /// store may use the moment for maintenance.
    fn idle(&mut self, micros: u64) {
        let _ = micros;
    }
}

/// The implementation: a store in a file.
pub struct FileCountStore {
    handle: StatsHandle,
    retention: Retention,
    store: Option<Store>,
    /// Time of the next maintenance, microseconds since the Unix epoch.
    retain_at: u64,
}

impl FileCountStore {
    /// The file is created by the first call that needs it.
    pub fn new(handle: StatsHandle, retention: Retention) -> Self {
        Self { handle, retention, store: None, retain_at: 0 }
    }

    fn with<T>(&mut self, f: impl Fn(&mut Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let done = self.opened().and_then(f);
        if let Err(error) = &done {
            self.store = None;
            if error.is_damage() {
                let moved = set_aside(self.handle.file());
                let file = self.handle.file().display();
                match moved.as_ref().map(|aside| aside.display()) {
                    Ok(aside) => {
                        tracing::error!(%error, %file, %aside, "damaged counts moved aside; counting begins again");
                    }
                    Err(problem) => tracing::error!(%error, %file, %problem, "cannot move damaged counts aside"),
                }
            }
        }
        done
    }

    fn opened(&mut self) -> Result<&mut Store, StoreError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open(self.handle.file())?,
        };
        Ok(self.store.insert(store))
    }
}

impl CountStore for FileCountStore {
    fn counted(&mut self) -> Result<Option<Position>, StoreError> {
        match self.with(|store| store.counted()) {
            Err(error) if error.is_damage() => self.with(|store| store.counted()),
            other => other,
        }
    }

    fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError> {
        self.with(|store| store.commit(delta, counted))
    }

    fn mark_complete(&mut self) -> Result<(), StoreError> {
        self.with(Store::mark_complete)
    }

    fn idle(&mut self, micros: u64) {
        self.handle.set_complete_until(micros);
        if micros < self.retain_at {
            return;
        }
        let (retention, now) = (self.retention, Hour::of_micros(micros));
        let more = self.with(|store| store.retain(retention, now)).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot sum up or remove old counts");
            false
        });
        self.retain_at = micros + if more { STEP_EVERY } else { RETAIN_EVERY };
    }
}

/// Renames a store's file and the files of SQLite next to it. Returns the new name.
fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    let aside = loop {
        let aside = file.with_extension(format!("damaged-{number}"));
        if !aside.try_exists()? {
            break aside;
        }
        number += 1;
    };
    // The file last: after a crash in between, the next call finds a damaged store again.
    for end in ["-wal", "-shm", ""] {
        let with_end = |path: &Path| {
            let mut name = OsString::from(path);
            name.push(end);
            PathBuf::from(name)
        };
        match fs::rename(with_end(file), with_end(&aside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_of(file: &Path) -> FileCountStore {
        let retention = Retention { hours_days: 40, days: 400 };
        FileCountStore::new(StatsHandle::new(file.parent().unwrap()), retention)
    }

    #[test]
    fn a_damaged_store_is_moved_aside_and_a_new_one_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stats.sqlite");
        for number in 1..3 {
            fs::write(&file, vec![b'x'; 8_192]).unwrap();
            let mut store = store_of(&file);
            assert_eq!(store.counted().unwrap(), None);
            assert_eq!(fs::read(dir.path().join(format!("stats.damaged-{number}"))).unwrap(), vec![b'x'; 8_192]);
            store.commit(&Delta::default(), (number, 7)).unwrap();
            drop(store);
            assert_eq!(store_of(&file).counted().unwrap(), Some((number, 7)));
        }
    }

    #[test]
    fn damage_found_while_running_fails_one_call_at_most() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stats.sqlite");
        let mut store = store_of(&file);
        store.commit(&Delta::default(), (1, 1)).unwrap();
        drop(store);
        let mut bytes = fs::read(&file).unwrap();
        bytes[1_000..].fill(0xee);
        fs::write(&file, bytes).unwrap();
        let mut store = store_of(&file);
        let failures = (0..3).position(|_| store.commit(&Delta::default(), (2, 2)).is_ok());
        assert!(failures.is_some_and(|failures| failures <= 1), "{failures:?}");
        assert_eq!(store.counted().unwrap(), Some((2, 2)));
        assert!(dir.path().join("stats.damaged-1").exists());
    }

    #[test]
    fn a_store_that_cannot_be_opened_is_opened_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("not-yet");
        let mut store = store_of(&folder.join("stats.sqlite"));
        assert!(!store.counted().unwrap_err().is_damage());
        fs::create_dir(&folder).unwrap();
        assert_eq!(store.counted().unwrap(), None);
    }
}
