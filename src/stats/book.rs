//! The book: the [store](super::store) behind whatever happens to its file.
//!
//! A store that fails is closed, and opened anew when somebody asks again. One that is damaged is moved aside,
//! `stats.damaged-1` and so on, and a new one begun: old counts are worth less than new ones.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Delta, Live,
    store::{Position, Retention, Store, StoreError},
};
use crate::runtime::Hour;

/// Microseconds between two looks at what is older than it is kept.
const TIDY_EVERY: u64 = 600_000_000;

/// Microseconds between two steps of removing it.
const STEP_EVERY: u64 = 1_000_000;

/// Where counts are kept. A trait, so that a model can stand in that fails and dies.
pub trait Book: Send {
    /// How far the journal is counted.
    fn counted(&mut self) -> Result<Option<Position>, StoreError>;

    /// Adds counts, and notes that the journal is counted up to here: both, or none. When it fails, nobody knows which:
    /// ask [`Book::counted`].
    fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError>;

    /// Says that nothing was counted elsewhere before this book was begun.
    fn begin_whole(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Says that everything was counted that was on the disk at this time, microseconds since the Unix epoch, and lets the
    /// book tidy itself up for a moment.
    fn idle(&mut self, micros: u64) {
        let _ = micros;
    }
}

/// The book of a store's file.
pub struct FileBook {
    live: Live,
    retention: Retention,
    store: Option<Store>,
    /// When it is tidied up again.
    tidy_at: u64,
}

impl FileBook {
    /// The file is made when it is first needed.
    pub fn new(live: Live, retention: Retention) -> Self {
        Self { live, retention, store: None, tidy_at: 0 }
    }

    fn with<T>(&mut self, f: impl Fn(&mut Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let done = self.opened().and_then(f);
        if let Err(error) = &done {
            self.store = None;
            if error.is_damage() {
                let moved = set_aside(self.live.file());
                let file = self.live.file().display();
                match moved.as_ref().map(|aside| aside.display()) {
                    Ok(aside) => tracing::error!(%error, %file, %aside, "counts are moved aside; new ones are begun"),
                    Err(problem) => tracing::error!(%error, %file, %problem, "damaged counts cannot be moved aside"),
                }
            }
        }
        done
    }

    fn opened(&mut self) -> Result<&mut Store, StoreError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open(self.live.file())?,
        };
        Ok(self.store.insert(store))
    }
}

impl Book for FileBook {
    fn counted(&mut self) -> Result<Option<Position>, StoreError> {
        match self.with(|store| store.counted()) {
            Err(error) if error.is_damage() => self.with(|store| store.counted()),
            other => other,
        }
    }

    fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError> {
        self.with(|store| store.commit(delta, counted))
    }

    fn begin_whole(&mut self) -> Result<(), StoreError> {
        self.with(Store::has_counted_all)
    }

    fn idle(&mut self, micros: u64) {
        self.live.caught_up(micros);
        if micros < self.tidy_at {
            return;
        }
        let (retention, now) = (self.retention, Hour::of_micros(micros));
        let more = self.with(|store| store.retain(retention, now)).unwrap_or_else(|error| {
            tracing::warn!(%error, "old counts cannot be summed up or removed");
            false
        });
        self.tidy_at = micros + if more { STEP_EVERY } else { TIDY_EVERY };
    }
}

/// Gives a store's file, and what SQLite keeps beside it, another name. Returns it.
fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    let aside = loop {
        let aside = file.with_extension(format!("damaged-{number}"));
        if !aside.try_exists()? {
            break aside;
        }
        number += 1;
    };
    // The file last: as long as it is there, a crash in between leaves a damaged store again.
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

    fn book_of(file: &Path) -> FileBook {
        let retention = Retention { hours_days: 40, days: 400 };
        FileBook::new(Live::new(file.parent().unwrap()), retention)
    }

    #[test]
    fn a_damaged_store_is_moved_aside_and_a_new_one_begun() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stats.sqlite");
        for number in 1..3 {
            fs::write(&file, vec![b'x'; 8_192]).unwrap();
            let mut book = book_of(&file);
            assert_eq!(book.counted().unwrap(), None);
            assert_eq!(fs::read(dir.path().join(format!("stats.damaged-{number}"))).unwrap(), vec![b'x'; 8_192]);
            book.commit(&Delta::default(), (number, 7)).unwrap();
            drop(book);
            assert_eq!(book_of(&file).counted().unwrap(), Some((number, 7)));
        }
    }

    #[test]
    fn damage_that_is_met_while_it_runs_costs_one_try() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stats.sqlite");
        let mut book = book_of(&file);
        book.commit(&Delta::default(), (1, 1)).unwrap();
        drop(book);
        let mut bytes = fs::read(&file).unwrap();
        bytes[1_000..].fill(0xee);
        fs::write(&file, bytes).unwrap();
        let mut book = book_of(&file);
        let tries = (0..3).position(|_| book.commit(&Delta::default(), (2, 2)).is_ok());
        assert!(tries.is_some_and(|tries| tries <= 1), "{tries:?}");
        assert_eq!(book.counted().unwrap(), Some((2, 2)));
        assert!(dir.path().join("stats.damaged-1").exists());
    }

    #[test]
    fn a_store_that_cannot_be_opened_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("not-yet");
        let mut book = book_of(&folder.join("stats.sqlite"));
        assert!(!book.counted().unwrap_err().is_damage());
        fs::create_dir(&folder).unwrap();
        assert_eq!(book.counted().unwrap(), None);
    }
}
