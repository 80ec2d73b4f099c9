//! Checks that the folder of the rings is private: rings hold client addresses.
//!
//! On a shared tmpfs, such as `/dev/shm`, another user may have created the folder first, or may have planted a
//! symbolic link where it is expected. So a folder that exists, and the rings in it, must belong to the user of this
//! process and be closed to all others. What passes cannot be replaced by another user afterwards.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::CaptureError;

/// Where systemd keeps the runtime directories of dynamic users, closed to all but root. `/run/clickedge` is then a
/// symbolic link to a folder in it, the only link that is accepted.
const SYSTEMD_PRIVATE: &str = "/run/private";

/// Permissions of group and others.
const SHARED: u32 = 0o077;

/// Checks the folder and the files in it that are opened. A missing folder passes.
pub(super) fn check(dir: &Path) -> Result<(), CaptureError> {
    let io = |source| CaptureError::Io { dir: dir.display().to_string(), source };
    let Some(dir) = without_link(dir)? else { return Ok(()) };
    check_one(&dir, &fs::symlink_metadata(&dir).map_err(io)?)?;
    for entry in fs::read_dir(&dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "lock" || name.starts_with("ring-") || name.starts_with("sessions") || name == "tickets" {
            match entry.metadata() {
                Ok(metadata) => check_one(&entry.path(), &metadata)?,
                // Another process removes its rings while `check` runs.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(error)),
            }
        }
    }
    Ok(())
}

/// The folder behind systemd's link, else the folder itself. `None` if it is missing.
fn without_link(dir: &Path) -> Result<Option<PathBuf>, CaptureError> {
    let io = |source| CaptureError::Io { dir: dir.display().to_string(), source };
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(error)),
        Ok(metadata) if !metadata.is_symlink() => Ok(Some(dir.to_owned())),
        Ok(_) => match fs::canonicalize(dir) {
            Ok(target) if target.starts_with(SYSTEMD_PRIVATE) => Ok(Some(target)),
            // Another user than that of the service: nothing can be said of what lies behind the link.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(io(error)),
            _ => Err(CaptureError::Symlink { path: dir.display().to_string() }),
        },
    }
}

fn check_one(path: &Path, metadata: &fs::Metadata) -> Result<(), CaptureError> {
    let (name, owner, user) = (path.display().to_string(), metadata.uid(), rustix::process::geteuid().as_raw());
    if metadata.is_symlink() {
        return Err(CaptureError::Symlink { path: name });
    }
    if owner != user {
        return Err(CaptureError::Owner { path: name, owner, user });
    }
    if metadata.mode() & SHARED != 0 {
        let private = if metadata.is_dir() { "0700" } else { "0600" };
        return Err(CaptureError::Shared { path: name, mode: metadata.mode() & 0o7777, private });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::runtime::{Class, Classified};

    /// A private folder with a ring, in a folder of its own.
    fn rings() -> (TempDir, PathBuf) {
        let outer = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = outer.path().join("rings");
        fs::create_dir(&dir).unwrap();
        set_mode(&dir, 0o700);
        for file in ["lock", "ring-00", "sessions"] {
            fs::write(dir.join(file), "").unwrap();
            set_mode(&dir.join(file), 0o600);
        }
        (outer, dir)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn error(dir: &Path) -> String {
        let error = check(dir).unwrap_err();
        assert_eq!(error.class(), Class::Config);
        error.to_string()
    }

    #[test]
    fn a_missing_folder_and_a_private_one_pass() {
        let (outer, dir) = rings();
        check(&outer.path().join("missing")).unwrap();
        check(&dir).unwrap();
        fs::write(dir.join("notes"), "not a ring").unwrap();
        set_mode(&dir.join("notes"), 0o644);
        check(&dir).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_enter_is_rejected_with_its_mode() {
        let (_outer, dir) = rings();
        for mode in [0o777, 0o750, 0o701, 0o1777] {
            set_mode(&dir, mode);
            let error = error(&dir);
            for part in [&format!("mode {mode:04o}"), &format!("chmod 0700 {}", dir.display()), "client addresses"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn a_symbolic_link_is_rejected_wherever_it_leads() {
        let (outer, dir) = rings();
        for target in [dir.clone(), outer.path().join("missing")] {
            let link = outer.path().join("link");
            symlink(&target, &link).unwrap();
            assert!(error(&link).contains("is a symbolic link"), "{}", target.display());
            fs::remove_file(link).unwrap();
        }
    }

    #[test]
    fn a_ring_that_others_may_read_or_that_is_a_link_is_rejected() {
        let (_outer, dir) = rings();
        set_mode(&dir.join("ring-00"), 0o640);
        assert!(error(&dir).contains("chmod 0600"));
        set_mode(&dir.join("ring-00"), 0o600);
        symlink("/etc/hostname", dir.join("ring-01")).unwrap();
        assert!(error(&dir).contains("ring-01 is a symbolic link"));
    }

    #[test]
    fn a_folder_or_a_ring_of_another_user_is_rejected() {
        let (_outer, dir) = rings();
        // Only root may give a file to another user.
        if chown(&dir, Some(65_534), None).is_err() {
            return;
        }
        let text = error(&dir);
        let user = rustix::process::geteuid().as_raw();
        assert!(text.contains("owned by user 65534") && text.contains("run clickedge as their owner"), "{text}");
        chown(&dir, Some(user), None).unwrap();
        chown(dir.join("ring-00"), Some(65_534), None).unwrap();
        assert!(error(&dir).contains("ring-00 is owned by user 65534"));
    }
}
