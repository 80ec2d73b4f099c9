//! The Unix socket of the admin listener: only the user of the service and root can open its file.
//!
//! A successor puts its own in the place of its predecessor's, whose connections are answered to their end. A stop
//! removes it; what a crash has left is replaced by the next start.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

/// Makes the socket.
///
/// # Errors
/// When its folder is missing or not writable, something else has its name, or another process answers at it that this
/// one does not succeed.
pub fn listen(path: &Path, succeeds: bool) -> io::Result<UnixListener> {
    if !succeeds && UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers at it"));
    }
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket has its name"));
    }
    // Under another name first: that of a predecessor stays until this one can be reached, by the right users only.
    let new = path.with_file_name(format!(".{}", std::process::id()));
    _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
        .and_then(|()| listener.set_nonblocking(true))
        .and_then(|()| fs::rename(&new, path))
        .inspect_err(|_| _ = fs::remove_file(&new))?;
    Ok(listener)
}

/// Removes the socket of this process, which no process has succeeded.
pub fn close(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_private_replaces_another_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let first = listen(&path, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen(&path, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let second = listen(&path, true).unwrap();
        drop(first);
        second.set_nonblocking(false).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        second.accept().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        close(&path);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_of_another_kind_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        fs::write(&path, "kept").unwrap();
        assert_eq!(listen(&path, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        close(&path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
        assert!(listen(&dir.path().join("missing/admin.sock"), false).is_err());
    }
}
