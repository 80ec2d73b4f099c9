//! The file of the sessions: `{capture.dir}/sessions`, on a tmpfs, mapped by the process that owns the folder.
//!
//! ```text
//! word 0     magic
//! word 1     version of all that follows, CRC32C of magic, version and buckets
//! word 2     buckets
//! word 16-   the keys: see `keys`; words 20 and 21 are the trusted time (`clock::trusted`): limit and uptime
//! word 512-  the buckets: see `table`
//! ```
//! Words have 64 bits, in the byte order of this machine, which the file never leaves. All its memory is allocated when
//! it is created: a full tmpfs answers a later store with `SIGBUS`.
//!
//! A file that is damaged, or of another version, is overwritten with zeros and replaced by an empty one: every visitor
//! is then new, and clicks are answered as before. With another number of visitors in the configuration a file of the
//! new size is created, filled from the old one, and renamed into its place.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{
    keys::{Keyring, Schedule},
    table::{HEADER, Memory, VisitTable, words},
};
use crate::{
    config::Secret,
    runtime::{
        Class, Classified, Words,
        clock::{
            self,
            trusted::{Note, TrustedTime},
        },
        filesystem::is_in_memory,
    },
};

const VERSION: u32 = 1;

const MAGIC: u64 = u64::from_le_bytes(*b"clksess\n");

/// The words of the keys.
const KEYS: std::ops::Range<usize> = 16..40;

/// The first word of the trusted time.
const TIME: usize = 20;

/// Why the sessions could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("cannot open the file of the sessions in {dir}: {source}; let this user read and write the folder")]
    Io {
        dir: String,
        #[source]
        source: io::Error,
    },
    /// Keys would reach the disk.
    #[error(
        "{dir} is not on a tmpfs, and the keys of the sessions must not reach a disk; set capture.dir to a folder below \
         /run or /dev/shm"
    )]
    NotMemory { dir: String },
    #[error(
        "{dir} has no room for sessions of {bytes} bytes; lower enrich.session_visitors, or give its tmpfs a larger size"
    )]
    NoRoom { dir: String, bytes: u64 },
    #[error("the system provides no random bytes for a key of the sessions: {0}; check getrandom(2) in the sandbox")]
    Random(#[from] getrandom::Error),
}

impl Classified for SessionError {
    fn class(&self) -> Class {
        match self {
            Self::Io { .. } | Self::NoRoom { .. } | Self::Random(_) => Class::Io,
            Self::NotMemory { .. } => Class::Config,
        }
    }
}

/// What is needed to open the file.
pub(super) struct Opening<'a> {
    pub dir: &'a Path,
    pub buckets: u64,
    pub schedule: Schedule,
    pub secret: Option<Arc<Secret>>,
    /// The time of day.
    pub now: u64,
}

type Opened = (Keyring<Arc<Words>>, VisitTable<Arc<Words>>);

impl Opening<'_> {
    /// Takes over what an earlier process has left, or begins with an empty table.
    pub fn open(self) -> Result<Opened, SessionError> {
        self.try_open().map_err(|error| {
            let dir = self.dir.display().to_string();
            match error {
                OpenFailure::Random(error) => error.into(),
                OpenFailure::NotMemory => SessionError::NotMemory { dir },
                OpenFailure::Io(source) => match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory | io::ErrorKind::QuotaExceeded => {
                        SessionError::NoRoom { dir, bytes: words(self.buckets) * 8 }
                    }
                    _ => SessionError::Io { dir, source },
                },
            }
        })
    }

    fn try_open(&self) -> Result<Opened, OpenFailure> {
        if !is_in_memory(self.dir)? {
            return Err(OpenFailure::NotMemory);
        }
        discard(&self.new_path())?;
        let path = self.path();
        let (memory, buckets) = match read(&path) {
            Ok(found) => found,
            Err(Unusable::Missing) => return self.begin(),
            Err(Unusable::Io(error)) => return Err(error.into()),
            Err(Unusable::Because(reason)) => return self.begin_again(reason),
        };
        let Some(keyring) = self.take_over(&memory) else {
            return self.begin_again("its key is damaged");
        };
        keep_private(&memory);
        let table = VisitTable::new(Arc::clone(&memory), buckets, keyring.keys().places());
        if buckets == self.buckets {
            return Ok((keyring, table));
        }
        let new = self.make()?;
        KEYS.for_each(|word| new.store(word, memory.load(word)));
        let Some(keyring) = self.take_over(&new) else {
            return self.begin_again("its key is damaged");
        };
        let resized = VisitTable::new(Arc::clone(&new), self.buckets, keyring.keys().places());
        table.copy_to(&resized);
        fs::rename(self.new_path(), &path)?;
        // The old file has no name any more; its content is wiped, too.
        (0..memory.len()).for_each(|word| memory.store(word, 0));
        tracing::info!(file = %path.display(), visitors = resized.used(), "session table resized");
        Ok((keyring, resized))
    }

    fn take_over(&self, memory: &Arc<Words>) -> Option<Keyring<Arc<Words>>> {
        let now = trusted_time(memory, self.now).read(self.now, clock::up_micros());
        Keyring::take_over(Arc::clone(memory), self.schedule, self.secret.clone(), now)
    }

    fn begin_again(&self, reason: &str) -> Result<Opened, OpenFailure> {
        let path = self.path();
        tracing::warn!(file = %path.display(), reason, "session file discarded; every visitor begins a new visit");
        discard(&path)?;
        discard(&self.new_path())?;
        self.begin()
    }

    fn begin(&self) -> Result<Opened, OpenFailure> {
        let memory = self.make()?;
        let keyring = Keyring::begin(Arc::clone(&memory), self.schedule, self.secret.clone(), self.now)?;
        let table = VisitTable::new(memory, self.buckets, keyring.keys().places());
        fs::rename(self.new_path(), self.path())?;
        Ok((keyring, table))
    }

    /// Creates a file with a header and nothing else, under a name that the next start removes after a crash.
    fn make(&self) -> Result<Arc<Words>, OpenFailure> {
        let path = self.new_path();
        let made = write(&path, self.buckets);
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        let memory = Arc::new(made?);
        keep_private(&memory);
        Ok(memory)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("sessions")
    }

    fn new_path(&self) -> PathBuf {
        self.dir.join("sessions.new")
    }
}

/// The trusted time that an earlier process has noted, or the time of day. The file is as old as the machine's uptime
/// at most, so all time since the note is known to have passed.
pub(super) fn trusted_time(memory: &Words, wall: u64) -> TrustedTime {
    let note = Note { limit: memory.load(TIME), up: memory.load(TIME + 1) };
    if note.is_plausible() { TrustedTime::resume(note) } else { TrustedTime::new(wall, clock::up_micros()) }
}

/// Notes the trusted time for the next process. One that dies in between has noted less time than has passed.
pub(super) fn note_time(memory: &Words, note: Note) {
    memory.store(TIME + 1, note.up);
    memory.store(TIME, note.limit);
}

fn keep_private(memory: &Words) {
    if let Err(error) = memory.keep_private() {
        tracing::warn!(
            %error,
            "sessions not locked in memory and may be swapped; set LimitMEMLOCK=infinity, or switch swap off"
        );
    }
}

impl Memory for Arc<Words> {
    fn load(&self, at: usize) -> u64 {
        Words::load(self, at)
    }

    fn store(&self, at: usize, value: u64) {
        Words::store(self, at, value);
    }
}

enum OpenFailure {
    Io(io::Error),
    Random(getrandom::Error),
    NotMemory,
}

impl From<io::Error> for OpenFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<getrandom::Error> for OpenFailure {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

/// Why a file cannot be taken over.
enum Unusable {
    Missing,
    Because(&'static str),
    Io(io::Error),
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

fn head(buckets: u64) -> [u64; 3] {
    let mut text = [0; 20];
    text[..8].copy_from_slice(&MAGIC.to_le_bytes());
    text[8..12].copy_from_slice(&VERSION.to_le_bytes());
    text[12..].copy_from_slice(&buckets.to_le_bytes());
    [MAGIC, u64::from(VERSION) | u64::from(crc_fast::crc32_iscsi(&text)) << 32, buckets]
}

fn write(path: &Path, buckets: u64) -> io::Result<Words> {
    let file = options().create_new(true).open(path)?;
    let bytes = words(buckets) * 8;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // A ramfs has no limit and no fallocate.
        Err(Errno::OPNOTSUPP) => file.set_len(bytes)?,
        done => done?,
    }
    let memory = Words::new(&file)?;
    (0..).zip(head(buckets)).for_each(|(at, word)| memory.store(at, word));
    Ok(memory)
}

fn read(path: &Path) -> Result<(Arc<Words>, u64), Unusable> {
    let file = options().open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::Missing,
        _ => Unusable::Io(error),
    })?;
    let bytes = file.metadata().map_err(Unusable::Io)?.len();
    if bytes < HEADER as u64 * 8 || !bytes.is_multiple_of(8) {
        return Err(Unusable::Because("it is truncated"));
    }
    let memory = Words::new(&file).map_err(Unusable::Io)?;
    let found = [0, 1, 2].map(|at| memory.load(at));
    let [magic, version, buckets] = found;
    if magic == MAGIC && version as u32 != VERSION {
        return Err(Unusable::Because("it was written by another release"));
    }
    if found != head(buckets) {
        return Err(Unusable::Because("its header is damaged"));
    }
    let whole = buckets > 0 && buckets < 1 << 40 && words(buckets) * 8 == bytes;
    if whole { Ok((Arc::new(memory), buckets)) } else { Err(Unusable::Because("it is truncated")) }
}

/// Overwrites a file with zeros, as there are keys in it, and removes it.
fn discard(path: &Path) -> io::Result<()> {
    let mut file = match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let found = file.metadata()?;
    // No more than is allocated: a sparse file may claim any length.
    let mut left = found.len().min(found.blocks() * 512);
    let zeros = [0; 1 << 14];
    while left > 0 {
        let some = left.min(zeros.len() as u64);
        file.write_all(&zeros[..some as usize])?;
        left -= some;
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests;
