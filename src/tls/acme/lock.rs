//! The lock of a shared folder: one edge orders at a time.
//!
//! It is a file that names its owner and its end, so that the lock of an edge that has died opens by itself. It saves
//! orders; nothing breaks if two edges have it, as can happen where their clocks differ by minutes.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Seconds that it holds. An order takes less.
const HOLDS: u64 = 300;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    text: String,
}

impl Lock {
    /// Takes the lock; `None` while another has it. `owner` has no space and is unique to the process.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn take(path: &Path, owner: &str, now: u64) -> io::Result<Option<Self>> {
        let text = format!("{owner} {}", now + HOLDS);
        for _ in 0..2 {
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            match made {
                Ok(mut file) => {
                    let lock = Self { path: path.to_owned(), text };
                    file.write_all(lock.text.as_bytes())?;
                    return Ok(Some(lock));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let former = match fs::read_to_string(path) {
                Ok(former) => former,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let end = end(&former).unwrap_or_else(|| modified(path, now));
            // One that ends far ahead was taken by a clock that was wrong.
            if now < end && end <= now + 2 * HOLDS {
                return Ok(None);
            }
            // Of several that see it end, one can move it away.
            let aside = path.with_extension(owner);
            if fs::rename(path, &aside).is_ok() {
                _ = fs::remove_file(&aside);
            }
        }
        Ok(None)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Another may have taken it over meanwhile.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            _ = fs::remove_file(&self.path);
        }
    }
}

fn end(text: &str) -> Option<u64> {
    text.split_once(' ')?.1.parse().ok()
}

/// When a lock ends whose owner has not written it yet.
fn modified(path: &Path, now: u64) -> u64 {
    let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(now, |at| at.as_secs()) + HOLDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_it_lets_go_or_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = |owner, now| Lock::take(&path, owner, now).unwrap();
        let first = take("one", 1_000).unwrap();
        assert!(take("two", 1_000).is_none() && take("two", 1_000 + HOLDS - 1).is_none());
        drop(first);
        let dead = take("two", 1_001).unwrap();
        let third = take("three", 1_001 + HOLDS).unwrap();
        drop(dead);
        assert!(take("four", 1_001 + HOLDS).is_none(), "the former owner does not open it");
        drop(third);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(&path, "").unwrap();
        let now = crate::runtime::clock::unix_secs();
        assert!(take("five", now).is_none(), "it is being written");
        assert!(take("five", now + HOLDS + 1).is_some(), "its owner has died");
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_hold_it_for_years() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::mem::forget(Lock::take(&path, "one", 1_000_000).unwrap());
        assert!(Lock::take(&path, "two", 1_000).unwrap().is_some());
    }
}
