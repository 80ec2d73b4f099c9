//! The disk as the spool sees it: a trait, so that tests can use a model of a disk that fails and loses its power.
//!
//! The spool relies on these guarantees, and on no others:
//! - a file's bytes survive a loss of power once [`DiskFile::sync`] or [`Disk::sync_all`] has returned;
//! - a new name survives it once its folder was synced;
//! - a rename is atomic: afterwards the file has one of the two names. Syncing either folder makes it durable, together
//!   with every earlier rename out of that folder (metadata journals of ext4 and XFS, trees of btrfs);
//! - a sync that failed has lost the bytes that it should have written, and no later sync restores them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// A disk.
pub trait Disk: Send + Sync {
    /// Creates an empty file that only this service can read. An existing file is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to append to, and creates it if it is missing.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to read.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>>;

    /// All files below a folder. Empty if the folder does not exist.
    fn files_below(&self, dir: &Path) -> io::Result<Vec<FileEntry>>;

    /// Makes a folder, and those above it.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file. The target folder exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and those above it, below `top`, while they are empty.
    fn tidy(&self, dir: Option<&Path>, top: &Path);

    /// Syncs the names in a folder.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Syncs all files, at about the cost of a single one.
    fn sync_all(&self) -> io::Result<()>;

    /// Whether a file exists.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.open(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The content of a small file.
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
    /// Syncs the bytes.
    fn sync(&mut self) -> io::Result<()>;

    /// Replaces the beginning of the file, without a sync. Only for a file that nothing else is written to.
    fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Truncates the file to `bytes`.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

/// A file that is read.
pub trait ReadAt: Send {
    /// Reads from an offset; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Its length.
    fn bytes(&self) -> io::Result<u64>;
}

/// A file in a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileEntry {
    pub path: PathBuf,
    pub bytes: u64,
    /// Time of the last write, in seconds since the Unix epoch.
    pub modified: u64,
}

/// The real disk below one folder.
pub struct RealDisk {
    /// Kept open so that [`Disk::sync_all`] reports every write-back that has failed since the start.
    root: File,
}

impl RealDisk {
    /// The disk of this folder.
    ///
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

    fn files_below(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
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
                // A file that vanishes meanwhile was delivered.
                let Ok(metadata) = entry.metadata() else { continue };
                let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                found.push(FileEntry {
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

    fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, 0)
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
