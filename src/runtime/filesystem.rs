//! What kind of file system a folder is on.

use std::{io, path::Path};

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
