//! The trusted time that this process leaves to the next one, in `{dir}/time`: see [`clock::trusted`].

use std::{
    io::{self, Write},
    path::Path,
};

use super::disk::Disk;
use crate::runtime::clock;

/// Continues with the trusted time of an earlier process, and notes it again.
pub(super) fn resume(disk: &dyn Disk, dir: &Path) {
    let noted = disk.read(&dir.join("time")).ok();
    clock::resume_trusted(noted.and_then(|bytes| serde_json::from_slice(&bytes).ok()));
    note(disk, dir);
}

/// Notes the trusted time. A failure is no more than an older note.
pub(super) fn note(disk: &dyn Disk, dir: &Path) {
    let write = || -> io::Result<()> {
        let copy = dir.join("time.tmp");
        let mut file = disk.create(&copy)?;
        file.write_all(&serde_json::to_vec(&clock::trusted_note())?)?;
        file.sync()?;
        disk.rename(&copy, &dir.join("time"))
    };
    if let Err(error) = write() {
        tracing::debug!(%error, "trusted time not noted");
    }
}
