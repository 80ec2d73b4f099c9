//! The outbox: finished objects that wait for delivery, as plain files that an operator can look at, count, or copy.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    make_private,
    object::{Sealed, seq_of},
};
use crate::clock;

/// The folders of a spool.
pub struct Outbox {
    dir: PathBuf,
    max_bytes: u64,
    bytes: AtomicU64,
    seqs: Mutex<HashMap<String, u64>>,
}

/// A finished object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it goes in the sink, below the sink's prefix.
    pub key: String,
    /// Where it lies.
    pub path: PathBuf,
    pub bytes: u64,
    /// `None` when an earlier process finished it: then only its content tells.
    pub events: Option<u64>,
    /// When it was finished, in seconds since the Unix epoch.
    pub finished_at: u64,
}

impl Outbox {
    /// Makes the folders where they are missing and measures what is in them.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        for part in ["open", "outbox", "seq"] {
            make_private(&dir.join(part))?;
        }
        let outbox = Self { dir: dir.into(), max_bytes, bytes: AtomicU64::new(0), seqs: Mutex::default() };
        let found = files(&outbox.dir.join("outbox"))?;
        let bytes = found.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
        outbox.bytes.store(bytes, Ordering::Relaxed);
        Ok(outbox)
    }

    /// Bytes of all objects that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may wait.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Whether as much waits as may wait.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.max_bytes
    }

    /// Moves a sealed object in. When it returns, the object survives a loss of power. Doing it again does no harm.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn commit(&self, sealed: &Sealed) -> io::Result<Object> {
        let path = self.dir.join("outbox").join(&sealed.feed).join(&sealed.key);
        let dir = path.parent().unwrap_or(&self.dir);
        // Delivery removes empty folders: ours may vanish between the making and the move.
        for last in [false, false, true] {
            fs::create_dir_all(dir)?;
            match fs::rename(&sealed.path, &path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !last => {}
                Err(error) => return Err(error),
            }
        }
        sync_up_to(dir, &self.dir)?;
        self.bytes.fetch_add(sealed.bytes, Ordering::Relaxed);
        remove_empty(sealed.path.parent(), &self.dir.join("open"));
        Ok(Object {
            key: sealed.key.clone(),
            path,
            bytes: sealed.bytes,
            events: Some(sealed.events),
            finished_at: clock::unix_secs(),
        })
    }

    /// The objects of a feed that wait, oldest number first. Files that are no objects of ours stay where they are.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn waiting(&self, feed: &str) -> io::Result<Vec<Object>> {
        let dir = self.dir.join("outbox").join(feed);
        let mut objects = Vec::new();
        for file in files(&dir)? {
            let path = file.path();
            let (Ok(key), Ok(metadata)) = (path.strip_prefix(&dir), file.metadata()) else {
                continue;
            };
            if seq_of(&key.to_string_lossy()).is_none() {
                tracing::warn!(path = %path.display(), "a foreign file in the outbox is left alone");
                continue;
            }
            let finished_at =
                metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            objects.push(Object {
                key: key.to_string_lossy().into_owned(),
                bytes: metadata.len(),
                events: None,
                finished_at: finished_at.map_or(0, |age| age.as_secs()),
                path,
            });
        }
        objects.sort_by_cached_key(|object| (seq_of(&object.key), object.key.clone()));
        Ok(objects)
    }

    /// Takes a delivered object out. When it returns, the object does not come back after a loss of power.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&self, object: &Object) -> io::Result<()> {
        fs::remove_file(&object.path)?;
        self.forget(object);
        if let Some(dir) = object.path.parent() {
            File::open(dir)?.sync_all()?;
            remove_empty(Some(dir), &self.dir.join("outbox"));
        }
        Ok(())
    }

    /// Names of the feeds that have objects here, open or finished.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn feeds_on_disk(&self) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for part in ["open", "outbox"] {
            for entry in fs::read_dir(self.dir.join(part))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() && !files(&entry.path())?.is_empty() {
                    names.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        Ok(names)
    }

    /// Counts an object no more that somebody else took out.
    pub fn forget(&self, object: &Object) {
        self.bytes.fetch_sub(object.bytes.min(self.bytes()), Ordering::Relaxed);
    }

    /// Moves a damaged object aside, so that it delays no other; somebody must look at it. Returns where it went.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn quarantine(&self, feed: &str, object: &Object) -> io::Result<PathBuf> {
        let aside = self.dir.join("quarantine").join(feed).join(&object.key);
        let dir = aside.parent().unwrap_or(&self.dir);
        fs::create_dir_all(dir)?;
        fs::rename(&object.path, &aside)?;
        sync_up_to(dir, &self.dir)?;
        self.forget(object);
        remove_empty(object.path.parent(), &self.dir.join("outbox"));
        Ok(aside)
    }

    /// Path of an object that still grows.
    pub fn open_path(&self, feed: &str, key: &str) -> PathBuf {
        self.dir.join("open").join(feed).join(key)
    }

    /// Objects of a feed that an earlier process left open: path and key.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn left_open(&self, feed: &str) -> io::Result<Vec<(PathBuf, String)>> {
        let dir = self.dir.join("open").join(feed);
        let paths = files(&dir)?.into_iter().map(|file| file.path());
        Ok(paths
            .filter_map(|path| {
                path.strip_prefix(&dir)
                    .ok()
                    .map(|key| key.to_string_lossy().into_owned())
                    .map(|key| (path.clone(), key))
            })
            .collect())
    }

    /// The number of the feed's next object, so noted on the disk that no later process gives it again.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn reserve_seq(&self, feed: &str) -> io::Result<u64> {
        let file = self.dir.join("seq").join(feed);
        let known = self.seqs.lock().unwrap_or_else(PoisonError::into_inner).get(feed).copied();
        let seq = match known {
            Some(seq) => seq,
            None => match fs::read_to_string(&file) {
                Ok(text) => text.trim().parse().map_err(io::Error::other)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => 1,
                Err(error) => return Err(error),
            },
        };
        let temporary = file.with_extension("tmp");
        let mut writer = File::create(&temporary)?;
        writeln!(writer, "{}", seq + 1)?;
        writer.sync_all()?;
        fs::rename(&temporary, &file)?;
        Ok(seq)
    }

    /// Notes that a reserved number is in use.
    pub fn use_seq(&self, feed: &str, seq: u64) {
        self.seqs.lock().unwrap_or_else(PoisonError::into_inner).insert(feed.into(), seq + 1);
    }
}

/// All files below a folder; none when there is no such folder.
fn files(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry);
            }
        }
    }
    Ok(found)
}

/// Brings the entries of `dir` and of the folders above it, up to `top`, to the disk.
fn sync_up_to(dir: &Path, top: &Path) -> io::Result<()> {
    for folder in dir.ancestors().take_while(|folder| folder.starts_with(top)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Removes `dir` and the folders above it, below `top`, as long as they are empty.
fn remove_empty(dir: Option<&Path>, top: &Path) {
    let Some(dir) = dir else {
        return;
    };
    for folder in dir.ancestors().take_while(|folder| folder.starts_with(top) && *folder != top) {
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(outbox: &Outbox, seq: u64) -> Sealed {
        let key = format!("dt=2026-11-23/hour=09/f-p-id-{seq:08}.ndjson.gz");
        let path = outbox.open_path("f", &key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"12345").unwrap();
        Sealed { feed: "f".into(), key, path, bytes: 5, events: 1 }
    }

    #[test]
    fn what_is_committed_waits_in_order_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path(), 12).unwrap();
        for seq in [10, 9, 2] {
            outbox.commit(&sealed(&outbox, seq)).unwrap();
        }
        assert!(outbox.is_full());
        let waiting = outbox.waiting("f").unwrap();
        assert_eq!(waiting.iter().map(|object| seq_of(&object.key).unwrap()).collect::<Vec<_>>(), [2, 9, 10]);
        assert!(outbox.waiting("other").unwrap().is_empty());
        assert_eq!(Outbox::open(dir.path(), 12).unwrap().bytes(), 15);
        for object in &waiting {
            outbox.remove(object).unwrap();
        }
        assert_eq!(outbox.bytes(), 0);
        assert_eq!(fs::read_dir(dir.path().join("outbox")).unwrap().count(), 0, "empty folders go too");
    }

    #[test]
    fn a_commit_can_be_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path(), 100).unwrap();
        let sealed = sealed(&outbox, 1);
        outbox.commit(&sealed).unwrap();
        outbox.commit(&sealed).unwrap();
        assert_eq!(outbox.waiting("f").unwrap().len(), 1);
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_are_not_skipped_by_a_failed_try() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path(), 100).unwrap();
        assert_eq!(outbox.reserve_seq("f").unwrap(), 1);
        outbox.use_seq("f", 1);
        assert_eq!(outbox.reserve_seq("f").unwrap(), 2);
        assert_eq!(outbox.reserve_seq("g").unwrap(), 1);
        outbox.use_seq("f", 2);
        let outbox = Outbox::open(dir.path(), 100).unwrap();
        assert_eq!(outbox.reserve_seq("f").unwrap(), 3);
    }
}
