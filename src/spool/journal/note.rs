//! The note on the open segment, `{dir}/journal.note`: how long it is, and how many events it holds.
//!
//! A segment says that of the one before it; of the last segment, only this note does. It is written after each group
//! and never synced: it outlives the process, not the power, and costs no time. After a loss of power it may be older
//! than the journal or damaged, and then says less.
//! ```text
//! 3d1f5e0a {"segment":7,"bytes":81920,"events":184}                 CRC32C of the rest in hex, JSON, spaces
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use super::segment::Extent;
use crate::spool::disk::{Disk, DiskFile};

/// Each note has the same length, so that it replaces the one before. Three numbers of 20 digits fit.
const JSON_BYTES: usize = 118;

/// The note's file, open to be written.
#[derive(Default)]
pub struct NoteFile(Option<Box<dyn DiskFile>>);

impl NoteFile {
    /// Replaces the note. A failure is no more than an older note.
    pub fn write(&mut self, disk: &dyn Disk, path: &Path, extent: Extent) {
        let mut write = || -> io::Result<()> {
            let json = format!("{:<JSON_BYTES$}\n", serde_json::to_string(&extent)?);
            let text = format!("{:08x} {json}", crc_fast::crc32_iscsi(json.as_bytes()));
            let mut file = match self.0.take() {
                Some(file) => file,
                None => disk.create(path)?,
            };
            file.overwrite(text.as_bytes())?;
            self.0 = Some(file);
            Ok(())
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "extent of the open journal segment not noted");
        }
    }
}

/// Path of the note, next to the folder of the segments.
pub fn note_path(journal: &Path) -> PathBuf {
    journal.with_extension("note")
}

/// Reads the note. `None` if it is missing or damaged.
pub fn read_note(disk: &dyn Disk, journal: &Path) -> Option<Extent> {
    let bytes = disk.read(&note_path(journal)).ok()?;
    let (crc, json) = bytes.split_at_checked(9)?;
    let whole = crc == format!("{:08x} ", crc_fast::crc32_iscsi(json)).as_bytes();
    whole.then(|| serde_json::from_slice(json).ok())?
}
