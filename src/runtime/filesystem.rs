//! What kind of file system a folder is on, and what kind of file a path names.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Opens a file that an operator names, for reading. A named pipe would wait for a writer, and a device may have no
/// end.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // So that opening a pipe does not wait.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let kind = file.metadata()?.file_type();
    let what = match kind {
        kind if kind.is_file() => return Ok(file),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        _ => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, and must be a regular file")))
}

/// Reads a file that an operator names as a whole, see [`open_regular`].
///
/// # Errors
/// When it cannot be read, or is no regular file.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, mut bytes) = (open_regular(path)?, Vec::new());
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(bytes)
}

/// Whether a folder is in memory: on a tmpfs or a ramfs.
///
/// # Errors
/// When there is no such folder, or this user may not look.
pub fn is_in_memory(dir: &Path) -> io::Result<bool> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(dir)?.f_type;
    #[allow(clippy::unnecessary_cast, reason = "its type differs between systems")]
    Ok(matches!(kind as i64, TMPFS | RAMFS))
}

/// Bytes of the file system that holds a folder, used ones included.
///
/// # Errors
/// When there is no such folder, or this user may not look.
pub fn capacity_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Bytes of the file system that holds a folder: those that its user may still write, and all.
///
/// # Errors
/// When there is no such folder, or this user may not look.
pub fn free_and_capacity_bytes(dir: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// The folder itself, or the closest one above it that exists.
pub fn existing_ancestor(dir: &Path) -> &Path {
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_rejected_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read_regular(&path).unwrap(), b"text");
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for (path, part) in [(&*pipe, "a named pipe"), (dir.path(), "a folder"), (Path::new("/dev/zero"), "a device")]
        {
            let error = read_regular(path).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("regular file"), "{error}");
        }
        assert_eq!(read_regular(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_tmpfs_is_in_memory_and_proc_is_not() {
        assert!(is_in_memory(Path::new("/dev/shm")).unwrap());
        assert!(!is_in_memory(Path::new("/proc")).unwrap());
        assert!(is_in_memory(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn the_closest_existing_folder_is_found() {
        assert_eq!(existing_ancestor(Path::new("/dev/shm/no/such")), Path::new("/dev/shm"));
        assert!(capacity_bytes(Path::new("/dev/shm")).unwrap() > 0);
    }

    #[test]
    fn a_file_system_has_no_more_room_than_bytes() {
        let (free, capacity) = free_and_capacity_bytes(Path::new("/dev/shm")).unwrap();
        assert!(free <= capacity && capacity == capacity_bytes(Path::new("/dev/shm")).unwrap());
        assert!(free_and_capacity_bytes(Path::new("/nowhere/at/all")).is_err());
    }
}
