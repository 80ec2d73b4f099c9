//! The disk as the spool sees it: a trait, so that a model of a disk that fails and loses its power can stand in.
//!
//! What the spool relies on, and nothing else:
//! - a file's bytes survive a loss of power once [`DiskFile::sync`] or [`Disk::sync_all`] has returned;
//! - a new name does once its folder was synced;
//! - a rename is atomic: afterwards the file has one of the two names, and syncing either folder makes it last, and
//!   every earlier rename out of that folder with it (the metadata journals of ext4 and XFS, the trees of btrfs);
//! - a sync that failed has lost what it should have written, and no later one brings it back.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// A disk.
pub trait Disk: Send + Sync {
    /// A new, empty file that only this service can read; one of that name is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// A file to add to; made if it is missing.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// A file to read.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>>;

    /// All files below a folder; none when there is no such folder.
    fn files_below(&self, dir: &Path) -> io::Result<Vec<Found>>;

    /// Makes a folder, and those above it.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file another name, in a folder that exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and those above it, below `top`, as long as they are empty.
    fn tidy(&self, dir: Option<&Path>, top: &Path);

    /// Brings the names in a folder to the disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Brings everything to the disk, at about the cost of a single file.
    fn sync_all(&self) -> io::Result<()>;

    /// Whether there is such a file.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.open(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The whole of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; file.bytes()? as usize];
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(&mut bytes[read..], read as u64)? {
                0 => break,
                n => read += n,
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// A file that is written from its beginning to its end.
pub trait DiskFile: Write + Send {
    /// Brings the bytes to the disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives back what lies behind the first `bytes`.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

/// A file that is read.
pub trait ReadAt: Send {
    /// Reads from an offset; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Its length.
    fn bytes(&self) -> io::Result<u64>;
}

/// A file that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    pub path: PathBuf,
    pub bytes: u64,
    /// When it was written last, in seconds since the Unix epoch.
    pub modified: u64,
}

/// The real disk below one folder.
pub struct RealDisk {
    /// Held open so that a failed write-back since the start is reported to us ([`Disk::sync_all`]).
    root: File,
}

impl RealDisk {
    /// # Errors
    /// When the folder cannot be opened.
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: File::open(root)? })
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(File::open(path)?))
    }

    fn files_below(&self, dir: &Path) -> io::Result<Vec<Found>> {
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
                    continue;
                }
                // What vanishes meanwhile was delivered.
                let Ok(metadata) = entry.metadata() else { continue };
                let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                found.push(Found {
                    path: entry.path(),
                    bytes: metadata.len(),
                    modified: modified.map_or(0, |age| age.as_secs()),
                });
            }
        }
        Ok(found)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn tidy(&self, dir: Option<&Path>, top: &Path) {
        let folders = dir.into_iter().flat_map(Path::ancestors);
        for folder in folders.take_while(|folder| folder.starts_with(top) && *folder != top) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
