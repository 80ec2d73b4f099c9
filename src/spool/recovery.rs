//! Repairs the journal at the start of a process, after [`reader`](super::journal::reader) has read it.
//!
//! - Damaged ranges are reported and copied into `quarantine/journal/`.
//! - Segments that hold less than they are known to have held are reported.
//! - The last segment is written again, so that all events that were read are on the disk.

use std::{io, path::Path};

use super::{
    disk::{Disk, DiskFile, ReadAt},
    journal::{
        reader::{COPY, Damage, Loss, Recovered},
        segment_path,
    },
};

/// Bytes of one damaged range that are copied. The rest is discarded with its segment.
const KEPT_BYTES: u64 = 16 << 20;

/// Reports and copies damaged ranges, and makes sure that all events that were read are on the disk.
///
/// # Errors
/// Those of the file system.
pub fn repair(disk: &dyn Disk, spool: &Path, recovered: &Recovered) -> io::Result<()> {
    for damage in &recovered.damages {
        let Damage { segment, start, end, torn } = damage;
        let segment = segment.display();
        if *torn {
            tracing::warn!(%segment, start, end, "end of the journal is torn");
        } else {
            tracing::error!(%segment, start, end, "part of the journal is damaged; its events are lost");
        }
        quarantine(disk, spool, damage);
    }
    for Loss { segment, bytes, events } in &recovered.losses {
        tracing::error!(
            segment,
            bytes,
            events,
            "journal segment holds less than it did; those of its events that were not packed are lost"
        );
    }
    let dir = spool.join("journal");
    for file in disk.files_below(&dir)? {
        if file.path.extension().is_some_and(|extension| extension == COPY) {
            disk.remove(&file.path)?;
        }
    }
    match recovered.segments.last() {
        Some((last, _)) => rewrite(disk, &dir, &segment_path(&dir, *last)),
        None => Ok(()),
    }
}

/// Writes the last segment again. Its end was written, but perhaps never synced. Or a sync of it failed: then the
/// kernel returns bytes that are not on the disk, and reports the next sync as a success.
fn rewrite(disk: &dyn Disk, dir: &Path, segment: &Path) -> io::Result<()> {
    let copy = segment.with_extension(COPY);
    let from = disk.open(segment)?;
    let written = disk.create(&copy).and_then(|mut to| {
        copy_range(&*from, &mut *to, 0, from.bytes()?)?;
        to.sync()?;
        disk.rename(&copy, segment)?;
        disk.sync_dir(dir)
    });
    written.or_else(|error| {
        let path = segment.display();
        tracing::warn!(%error, segment = %path, "cannot rewrite the last journal segment; syncing it instead");
        let _ = disk.remove(&copy);
        disk.append(segment)?.sync()
    })
}

fn copy_range(from: &dyn ReadAt, to: &mut dyn DiskFile, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    while at < end {
        let want = buffer.len().min((end - at) as usize);
        match from.read_at(&mut buffer[..want], at)? {
            0 => break,
            read => {
                to.write_all(&buffer[..read])?;
                at += read as u64;
            }
        }
    }
    Ok(())
}

/// Copies a damaged range. If that fails, only the segment has it, until it is removed.
fn quarantine(disk: &dyn Disk, spool: &Path, Damage { segment, start, end, .. }: &Damage) {
    let copy = || -> io::Result<()> {
        let dir = spool.join("quarantine").join("journal");
        disk.make_dir(&dir)?;
        let name = segment.file_stem().unwrap_or_default().to_string_lossy();
        let mut to = disk.create(&dir.join(format!("{name}-{start}")))?;
        let from = disk.open(segment)?;
        copy_range(&*from, &mut *to, *start, (*end).min(start + KEPT_BYTES))?;
        to.sync()
    };
    if let Err(error) = copy() {
        tracing::warn!(%error, segment = %segment.display(), "cannot copy the damage into quarantine");
    }
}
