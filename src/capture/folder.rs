//! The folder of the rings: creates, recovers and removes them.
//!
//! ```text
//! {dir}/lock            held by the process that owns the folder
//! {dir}/ring-{uid}      a ring, locked by the process that writes into it
//! {dir}/new-{uid}       one that is being created; removed after a crash
//! {dir}/damaged-{uid}   a damaged ring, its data wiped; logged at each start until it is removed by hand
//! {dir}/sessions        the visits that the workers know: see `session::file`
//!
//! offset  size  field of a ring's file (little endian)
//!      0     8  magic
//!      8     4  version of the clicks in it, see `click::wire::Version`
//!     12     4  number of the worker that reads it
//!     16     8  bytes of data
//!     24     8  uid: random, in the file's name too
//!    128    16  head, clicks before it
//!    256    16  tail, clicks before it
//!    384    16  read, clicks before it
//!   4096     …  the data: see `ring`
//! ```
//! It must lie on a tmpfs: client addresses never reach a disk. It must be private ([`inspect`]). A tmpfs has no pages
//! behind a new file until it is written, and a full one answers that with `SIGBUS`. So a ring takes all its pages when
//! it is created, where a lack of pages is an error with a remedy.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{
    CaptureError,
    memory::{HEADER, Mapped},
    private,
};
use crate::{
    click::wire::Version,
    runtime::filesystem::{existing_ancestor, is_in_memory},
};

const MAGIC: [u8; 8] = *b"clkring\n";

/// Bytes of the header that are set when a ring is created.
const FIXED: usize = 32;

/// Checks a folder for rings without creating or locking anything: it is private, and on a tmpfs. A missing folder
/// passes if it would be created on a tmpfs.
///
/// # Errors
/// See [`CaptureError`].
pub fn inspect(dir: &Path) -> Result<(), CaptureError> {
    let io = |source| CaptureError::Io { dir: dir.display().to_string(), source };
    if !is_in_memory(existing_ancestor(dir)).map_err(io)? {
        return Err(CaptureError::NotMemory { dir: dir.display().to_string() });
    }
    private::check(dir)
}

/// A ring that an earlier process has left behind.
pub(super) struct LeftRing {
    pub uid: u64,
    pub version: Version,
    /// The number of the worker that read it.
    pub worker: u32,
    pub mapped: Mapped,
    /// Its file, locked unless `is_written`.
    pub file: File,
    /// Whether another process writes into it: a predecessor that still answers what it has accepted.
    pub is_written: bool,
}

/// The folder.
pub(super) struct Folder {
    dir: PathBuf,
    lock: File,
    /// Whether it was logged that memory cannot be locked.
    warned: AtomicBool,
}

impl Folder {
    /// Creates the folder if it is missing. Does not lock it.
    pub fn open(dir: &Path) -> Result<Self, CaptureError> {
        let io = |source| CaptureError::Io { dir: dir.display().to_string(), source };
        inspect(dir)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        // Again: another user may have created it meanwhile.
        inspect(dir)?;
        let lock = options().open(dir.join("lock")).map_err(io)?;
        Ok(Self { dir: dir.to_owned(), lock, warned: AtomicBool::new(false) })
    }

    /// Locks the folder: the rings that other processes have left in it are this one's now.
    pub fn lock(&self) -> Result<(), CaptureError> {
        let dir = || self.dir.display().to_string();
        self.lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => CaptureError::Locked { dir: dir() },
            TryLockError::Error(source) => CaptureError::Io { dir: dir(), source },
        })
    }

    /// Releases the folder for another process.
    pub fn unlock(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the folder of the rings stays locked until this process ends");
        }
    }

    /// Creates a ring for a worker: its uid, its memory, and its file, which is locked as long as it is open. `of` is
    /// the size of all rings that are being created, for the error message.
    pub fn make(&self, worker: u32, capacity: u64, of: u64) -> Result<(u64, Mapped, File), CaptureError> {
        let io = |source| CaptureError::Io { dir: self.dir.display().to_string(), source };
        let uid = getrandom::u64().map_err(|error| io(io::Error::other(error)))?;
        let new = self.dir.join(format!("new-{uid:016x}"));
        let made = write_ring(&new, uid, worker, capacity).and_then(|made| {
            fs::rename(&new, self.path("ring", uid))?;
            Ok(made)
        });
        match made {
            Ok((mapped, file)) => {
                self.warn_once(mapped.keep_private());
                Ok((uid, mapped, file))
            }
            Err(error) => {
                let _ = fs::remove_file(&new);
                Err(match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory | io::ErrorKind::QuotaExceeded => {
                        CaptureError::NoRoom { dir: self.dir.display().to_string(), bytes: of }
                    }
                    _ => io(error),
                })
            }
        }
    }

    /// The rings of other processes, except those that are `known`. Files that this release cannot read are logged;
    /// damaged ones are set aside. The folder must be locked.
    pub fn left_behind(&self, known: impl Fn(u64) -> bool) -> Result<Vec<LeftRing>, CaptureError> {
        let io = |source| CaptureError::Io { dir: self.dir.display().to_string(), source };
        let mut rings = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let Some((kind, uid)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
            let Ok(uid) = u64::from_str_radix(uid, 16) else { continue };
            let file = self.dir.join(&name).display().to_string();
            match kind {
                "new" => _ = fs::remove_file(&file),
                "damaged" => tracing::warn!(file, "marker of a damaged ring found; remove the file"),
                "ring" if known(uid) => {}
                "ring" => match read_ring(&self.path("ring", uid), uid) {
                    Ok(left) => {
                        self.warn_once(left.mapped.keep_left_private());
                        rings.push(left);
                    }
                    Err(Unreadable::Version(version)) => tracing::error!(
                        file,
                        version,
                        "a ring of another release was not read; start that release again, or remove the file"
                    ),
                    Err(Unreadable::Io(error)) => {
                        tracing::error!(file, %error, "cannot read a ring; its clicks stay there");
                    }
                    Err(Unreadable::Damaged) => {
                        tracing::error!(file, "the header of a ring is damaged; its clicks are lost");
                        self.set_aside(uid);
                    }
                },
                _ => {}
            }
        }
        Ok(rings)
    }

    pub fn remove(&self, uid: u64) {
        let file = self.path("ring", uid);
        if let Err(error) = fs::remove_file(&file) {
            tracing::warn!(file = %file.display(), %error, "cannot remove a ring whose clicks are all released");
        }
    }

    /// Returns the memory of a ring outside of these positions to the system, so that rings of several crashes in a row
    /// need no more than the clicks in them.
    pub fn punch_unused(&self, uid: u64, from: u64, to: u64, capacity: u64) {
        let (start, end) = (from % capacity, to % capacity);
        let unused = match to - from {
            0 => vec![(0, capacity)],
            used if used >= capacity => Vec::new(),
            _ if start < end => vec![(0, start), (end, capacity)],
            _ => vec![(end, start)],
        };
        let path = self.path("ring", uid);
        let punched = File::options().write(true).open(&path).and_then(|file| {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let punch = |(start, end): (u64, u64)| fallocate(&file, how, HEADER as u64 + start, end - start);
            Ok(unused.into_iter().filter(|(start, end)| start < end).try_for_each(punch)?)
        });
        if let Err(error) = punched {
            tracing::warn!(file = %path.display(), %error, "cannot return the unused memory of a ring");
        }
    }

    /// Renames a damaged ring, so that it is logged at each start, and wipes its data: it is of no use any more, and
    /// holds client addresses.
    pub fn set_aside(&self, uid: u64) {
        let file = self.path("damaged", uid);
        let wiped = File::options().write(true).open(self.path("ring", uid)).and_then(|ring| {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let bytes = ring.metadata()?.len().saturating_sub(HEADER as u64);
            if bytes > 0 { Ok(fallocate(&ring, how, HEADER as u64, bytes)?) } else { Ok(()) }
        });
        if let Err(error) = wiped {
            tracing::error!(file = %file.display(), %error, "cannot wipe a damaged ring, which holds client addresses; remove the file");
        }
        if let Err(error) = fs::rename(self.path("ring", uid), &file) {
            tracing::warn!(file = %file.display(), %error, "cannot set a damaged ring aside");
        }
    }

    fn path(&self, kind: &str, uid: u64) -> PathBuf {
        self.dir.join(format!("{kind}-{uid:016x}"))
    }

    fn warn_once(&self, kept_private: io::Result<()>) {
        if let Err(error) = kept_private
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                %error,
                "cannot lock the rings in memory, so that they may be swapped; set LimitMEMLOCK=infinity, or switch swap off"
            );
        }
    }
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn write_ring(path: &Path, uid: u64, worker: u32, capacity: u64) -> io::Result<(Mapped, File)> {
    let file = options().create_new(true).open(path)?;
    let bytes = HEADER as u64 + capacity;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // A ramfs, which is never full.
        Err(Errno::OPNOTSUPP) => file.set_len(bytes)?,
        done => done?,
    }
    file.write_all_at(&fixed(uid, Version::default(), worker, capacity), 0)?;
    let lock = lockable(path)?;
    lock.try_lock().map_err(io::Error::from)?;
    Ok((Mapped::new(&file)?, lock))
}

/// The file of a ring, to lock it: not the one that is mapped, which would keep a lock for as long as it is.
fn lockable(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn fixed(uid: u64, version: Version, worker: u32, capacity: u64) -> [u8; FIXED] {
    let mut header = [0; FIXED];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&version.number().to_le_bytes());
    header[12..16].copy_from_slice(&worker.to_le_bytes());
    header[16..24].copy_from_slice(&capacity.to_le_bytes());
    header[24..].copy_from_slice(&uid.to_le_bytes());
    header
}

/// Why a ring is not read.
enum Unreadable {
    Version(u32),
    Damaged,
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn read_ring(path: &Path, uid: u64) -> Result<LeftRing, Unreadable> {
    let file = File::options().read(true).write(true).open(path)?;
    let bytes = file.metadata()?.len();
    let mut header = [0; FIXED];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Unreadable::Damaged),
        done => done?,
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (version, worker) = (number(8), number(12));
    let version = match Version::from_number(version) {
        Some(version) => version,
        None if header[..8] == MAGIC => return Err(Unreadable::Version(version)),
        None => return Err(Unreadable::Damaged),
    };
    match bytes.checked_sub(HEADER as u64) {
        Some(capacity) if header == fixed(uid, version, worker, capacity) => match Mapped::new(&file) {
            Ok(mapped) => {
                let file = lockable(path)?;
                let is_written = match file.try_lock() {
                    Ok(()) => false,
                    Err(TryLockError::WouldBlock) => true,
                    Err(TryLockError::Error(error)) => return Err(Unreadable::Io(error)),
                };
                Ok(LeftRing { uid, version, worker, mapped, file, is_written })
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Unreadable::Damaged),
            Err(error) => Err(Unreadable::Io(error)),
        },
        _ => Err(Unreadable::Damaged),
    }
}
