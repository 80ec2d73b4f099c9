//! Snapshots as files: written whole, copied with their checksum, mapped from a private copy.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Seek, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use bytes::Bytes;

use super::{
    BadSnapshot, Snapshot,
    header::{self, Header},
};
use crate::{
    catalog::change::Position,
    config,
    runtime::{
        Class, Classified,
        mapped_file::{self, PieceWriter},
    },
};

/// Name of the private copy in the state folder.
pub const PRIVATE: &str = config::catalog::PRIVATE_SNAPSHOT;

/// Bytes that are copied and hashed at once.
const CHUNK: usize = 1 << 20;

/// Permissions of the private copy: a process that has it mapped ends when another one cuts it.
const READ_ONLY: u32 = 0o400;

/// Why a snapshot file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read the snapshot {file}: {source}")]
    Io {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot write {file}: {source}; free space in its folder, which is `catalog.state_dir` of an edge, or let this \
         user write there"
    )]
    Write {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("the snapshot {file} is rejected: {source}")]
    Bad {
        file: String,
        #[source]
        source: BadSnapshot,
    },
}

impl Classified for FileError {
    fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } => Class::of_read(source),
            Self::Write { .. } => Class::Io,
            Self::Bad { .. } => Class::Data,
        }
    }
}

impl FileError {
    fn io(file: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        |source| Self::Io { file: file.display().to_string(), source }
    }

    fn write(file: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        |source| Self::Write { file: file.display().to_string(), source }
    }

    fn bad(file: &Path) -> impl FnOnce(BadSnapshot) -> Self + use<'_> {
        |source| Self::Bad { file: file.display().to_string(), source }
    }
}

/// Whether a file begins like a snapshot.
///
/// # Errors
/// When it cannot be read.
pub fn is_snapshot(file: &mut File) -> io::Result<bool> {
    let mut magic = Vec::new();
    file.take(8).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(Header::is_magic(&magic))
}

/// Reads the header of a snapshot file, and compares the length of the file with it.
///
/// # Errors
/// When it is no snapshot of this version, truncated, or its header is damaged.
pub fn header(path: &Path) -> Result<Header, FileError> {
    let mut file = File::open(path).map_err(FileError::io(path))?;
    header_of(&mut file, path)
}

fn header_of(file: &mut File, path: &Path) -> Result<Header, FileError> {
    let mut bytes = Vec::new();
    file.take(header::SIZE as u64).read_to_end(&mut bytes).map_err(FileError::io(path))?;
    let header = Header::read(&bytes).map_err(FileError::bad(path))?;
    let (expected, found) = (header.file_bytes(), file.metadata().map_err(FileError::io(path))?.len());
    if found < expected {
        return Err(FileError::bad(path)(BadSnapshot::Length { expected, found }));
    }
    Ok(header)
}

/// Reads a whole snapshot file and compares its checksum. `read` gets the number of bytes of each part.
///
/// # Errors
/// When it is no snapshot of this version, truncated or damaged.
pub fn verify(path: &Path, read: impl Fn(u64)) -> Result<Header, FileError> {
    let mut file = File::open(path).map_err(FileError::io(path))?;
    let header = header_of(&mut file, path)?;
    copy(&mut file, Counter(read), &header, [path, path])?;
    Ok(header)
}

struct Counter<F>(F);

impl<F: Fn(u64)> Write for Counter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a snapshot in memory, after its checksum was compared.
///
/// # Errors
/// See [`verify`].
pub fn read(path: &Path) -> Result<Snapshot, FileError> {
    let mut file = File::open(path).map_err(FileError::io(path))?;
    let header = header_of(&mut file, path)?;
    let mut memory = mapped_file::anonymous(header.file_bytes() as usize).map_err(FileError::io(path))?;
    let mut rest = &mut memory[..];
    rest.write_all(&header.to_bytes()).map_err(FileError::io(path))?;
    copy(&mut file, rest, &header, [path, path])?;
    let memory = memory.make_read_only().map_err(FileError::io(path))?;
    Snapshot::open(Bytes::from_owner(memory), header).map_err(FileError::bad(path))
}

/// Maps a private copy. Its checksum was compared when it was made.
///
/// # Errors
/// When it is no snapshot of this version, truncated, or its header is damaged.
pub fn map(path: &Path) -> Result<Snapshot, FileError> {
    let mut file = File::open(path).map_err(FileError::io(path))?;
    let header = header_of(&mut file, path)?;
    let bytes = mapped_file::map(&file).map_err(FileError::io(path))?;
    Snapshot::open(bytes, header).map_err(FileError::bad(path))
}

/// Which file it is, and when it was written: another one at its place is another file.
pub type FileId = (u64, u64, i64, i64);

/// Which file is at a path, if there is one.
pub fn id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|found| id_of(&found))
}

fn id_of(found: &fs::Metadata) -> FileId {
    (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())
}

/// Makes this snapshot the private copy of a state folder: copies it there with its checksum, unless it is there
/// already, maps it, and opens it. The copy is replaced once the new one is open. The former one stays in memory as
/// long as it is in use. One that is `damaged` is not taken for what its header says.
///
/// # Errors
/// When it is no snapshot of this version, truncated or damaged, cannot be opened, or the folder cannot be written. The
/// former copy is there then.
pub fn adopt<T>(
    path: &Path,
    state_dir: &Path,
    damaged: Option<FileId>,
    open: impl Fn(Snapshot) -> Result<T, BadSnapshot>,
) -> Result<T, FileError> {
    let (incoming, copy) = (state_dir.join("incoming.tmp"), state_dir.join(PRIVATE));
    let new = header(path)?;
    // A damaged copy cannot be made again of itself.
    let may_be_kept = path == copy || damaged.is_none() || id(&copy) != damaged;
    if may_be_kept && header(&copy).is_ok_and(|old| old == new) {
        // One of an earlier version may have other permissions. Without these it is as good.
        _ = fs::set_permissions(&copy, fs::Permissions::from_mode(READ_ONLY));
        let opened = map(&copy).and_then(|snapshot| open(snapshot).map_err(FileError::bad(&copy)));
        match opened {
            Err(FileError::Bad { .. }) if path != copy => {
                tracing::error!(file = %copy.display(), "the private copy of the snapshot is damaged; copying it again");
            }
            opened => return opened,
        }
    }
    fs::create_dir_all(state_dir).map_err(FileError::write(state_dir))?;
    let mut from = File::open(path).map_err(FileError::io(path))?;
    let header = header_of(&mut from, path)?;
    // It would be read-only as well.
    _ = fs::remove_file(&incoming);
    let to = File::options().write(true).create_new(true).mode(READ_ONLY).open(&incoming);
    let to = to.map_err(FileError::write(&incoming))?;
    let opened = write_copy(&mut from, &to, &header, [path, &incoming])
        .and_then(|()| map(&incoming))
        .and_then(|snapshot| open(snapshot).map_err(FileError::bad(path)));
    let renamed = opened.and_then(|opened| {
        fs::rename(&incoming, &copy).map_err(FileError::write(&copy))?;
        Ok(opened)
    });
    if renamed.is_err() {
        _ = fs::remove_file(&incoming);
    }
    let opened = renamed?;
    sync_dir(state_dir).map_err(FileError::write(&copy))?;
    Ok(opened)
}

/// Reads the private copy of a state folder from disk, slowly, and compares its checksum. The file is read and not its
/// map: a page that the disk cannot give back would end the process. `go_on` says whether the result is still wanted.
/// Returns which file is damaged, and how; `None` for one that is sound, or is not the one with this header.
pub fn inspect(state_dir: &Path, expected: &Header, go_on: impl Fn() -> bool) -> Option<(FileId, FileError)> {
    let path = state_dir.join(PRIVATE);
    let mut file = File::open(&path).ok()?;
    let id = id_of(&file.metadata().ok()?);
    let checked = header_of(&mut file, &path).and_then(|header| {
        // Another one was copied since, with its checksum.
        if header != *expected || !go_on() {
            return Ok(());
        }
        copy(&mut file, Slowly { last: Instant::now(), go_on: &go_on }, &header, [&path, &path])
    });
    checked.err().filter(|_| go_on()).map(|error| (id, error))
}

/// Takes what is read, and lets as much time pass as that took, so that the disk has time for others.
struct Slowly<'g> {
    last: Instant,
    go_on: &'g dyn Fn() -> bool,
}

impl Write for Slowly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !(self.go_on)() {
            return Err(io::Error::other("no longer wanted"));
        }
        thread::sleep(self.last.elapsed());
        self.last = Instant::now();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(in crate::catalog) fn write_copy(
    from: &mut File,
    to: &File,
    header: &Header,
    paths: [&Path; 2],
) -> Result<(), FileError> {
    let mut output = PieceWriter::new(to);
    output.write_all(&header.to_bytes()).map_err(FileError::write(paths[1]))?;
    copy(from, &mut output, header, paths)?;
    output.flush().and_then(|()| to.sync_all()).map_err(FileError::write(paths[1]))
}

/// Copies everything behind the header, which was read, and compares the checksum. `paths` are those of both files, for
/// an error.
fn copy(from: &mut File, mut to: impl Write, header: &Header, paths: [&Path; 2]) -> Result<(), FileError> {
    let length = header.file_bytes() - header::SIZE as u64;
    let mut is_written = true;
    let copied = hash(from.take(length), |chunk| to.write_all(chunk).inspect_err(|_| is_written = false));
    let checksum = match copied {
        Err(error) if !is_written => return Err(FileError::write(paths[1])(error)),
        copied => copied.map_err(FileError::io(paths[0]))?,
    };
    if checksum != header.checksum {
        return Err(FileError::bad(paths[0])(BadSnapshot::Checksum));
    }
    Ok(())
}

fn hash(mut from: impl Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<[u8; 32]> {
    let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; CHUNK]);
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Ok(*hasher.finalize().as_bytes());
        }
        hasher.update(&chunk[..length]);
        each(&chunk[..length])?;
    }
}

/// A snapshot file in the making: a temporary file next to its place, which is renamed when it is whole.
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    is_done: bool,
}

impl NewFile {
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there, and is no file"));
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all_at(&[0; header::SIZE], 0)?;
        Ok(Self { file, temporary, path: path.into(), is_done: false })
    }

    /// Where its sections are written, behind the header.
    ///
    /// # Errors
    /// Those of the file.
    pub fn sections(&mut self) -> io::Result<impl Write> {
        self.file.seek(io::SeekFrom::Start(header::SIZE as u64))?;
        Ok(BufWriter::with_capacity(CHUNK, &self.file))
    }

    /// Sets a bit of a byte.
    ///
    /// # Errors
    /// Those of the file.
    pub fn set_bits(&self, place: u64, bits: u8) -> io::Result<()> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, place)?;
        self.file.write_all_at(&[byte[0] | bits], place)
    }

    /// The sections as they are now.
    ///
    /// # Errors
    /// When they cannot be mapped, or are no snapshot.
    pub fn map(&self, header: Header) -> io::Result<Snapshot> {
        Snapshot::open(mapped_file::map(&self.file)?, header).map_err(io::Error::other)
    }

    /// Writes header and checksum, and puts the file into its place.
    ///
    /// # Errors
    /// Those of the file.
    pub fn finish(mut self, mut header: Header, position: Position, made_secs: u64) -> io::Result<Header> {
        header.position = Position { hash: header.position.hash, ..position };
        header.made_secs = made_secs;
        self.file.seek(io::SeekFrom::Start(header::SIZE as u64))?;
        header.checksum = hash(&self.file, |_| Ok(()))?;
        self.file.write_all_at(&header.to_bytes(), 0)?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.is_done = true;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(dir)?;
        Ok(header)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_done {
            _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Gives a snapshot file another generation and revision. Its content stays.
///
/// # Errors
/// When it is no snapshot, or cannot be written.
pub fn renumber(path: &Path, generation: u64, revision: u64) -> Result<Header, FileError> {
    let mut header = header(path)?;
    header.position = Position { generation, revision, ..header.position };
    let file = File::options().write(true).open(path).map_err(FileError::write(path))?;
    let written = file.write_all_at(&header.to_bytes(), 0).and_then(|()| file.sync_all());
    written.map_err(FileError::write(path))?;
    Ok(header)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
