//! Records: what is known of each object that was made, so that its hour's manifest can list it, and its rollup follow.
//!
//! The files `{dir}/records/2026-11-23T09.{part}.records` have a line for each object, manifest and rollup of that hour,
//! of all feeds. The lines of the last round stand in the spool's state as well; they are written here after the round
//! was committed, and come from there again at the next start. Each process writes parts of its own, and begins
//! another one when a sync has failed: what such a file shows may not be on the disk. Each line is a CRC32C in hex, a
//! space, and JSON.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use crate::{
    object::{ObjectKind, reader::Summary},
    runtime::Hour,
};

/// An object, a manifest or a rollup that was made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    pub feed: String,
    /// The hour of the clicks.
    pub hour: Hour,
    pub key: String,
    /// The feed's number of this object; of a manifest, that of the last object that it lists.
    pub seq: u64,
    pub events: u64,
    pub bytes: u64,
    pub sha256: String,
    pub first: String,
    pub last: String,
    /// Of a manifest: its version. Its `events` are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<u32>,
    /// Of a rollup: its version. Its `seq` and its `events` are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollup: Option<u32>,
}

impl Record {
    pub fn kind(&self) -> ObjectKind {
        match (self.manifest, self.rollup) {
            (Some(_), _) => ObjectKind::Manifest,
            (None, Some(_)) => ObjectKind::Rollup,
            (None, None) => ObjectKind::Events,
        }
    }

    /// Name of the file in `build/`.
    pub fn build_name(&self) -> String {
        let end = match self.kind() {
            ObjectKind::Manifest => ".manifest",
            ObjectKind::Rollup => ".rollup",
            ObjectKind::Events | ObjectKind::Replay => "",
        };
        format!("{}.{}.{:08}{end}", self.feed, self.hour, self.seq)
    }

    pub fn summary(&self) -> Summary {
        Summary {
            events: self.events,
            first: self.first.clone(),
            last: self.last.clone(),
            sha256: self.sha256.clone(),
        }
    }
}

/// The files of a spool's records.
pub struct Records {
    dir: PathBuf,
    /// The part that is written.
    part: u32,
}

impl Records {
    /// # Errors
    /// Those of the file system.
    pub fn open(disk: &dyn Disk, spool: &Path) -> io::Result<Self> {
        let dir = spool.join("records");
        let parts = disk.files_below(&dir)?.iter().filter_map(|file| Some(hour_and_part(&file.path)?.1)).max();
        Ok(Self { dir, part: parts.map_or(0, |part| part + 1) })
    }

    /// Hours that have records, oldest first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn hours(&self, disk: &dyn Disk) -> io::Result<BTreeSet<Hour>> {
        let hours =
            disk.files_below(&self.dir)?.iter().filter_map(|file| Some(hour_and_part(&file.path)?.0)).collect();
        Ok(hours)
    }

    /// The records of an hour. Lines that a crash has cut are left out: they stand in the state.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(&self, disk: &dyn Disk, hour: Hour) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut seen = HashSet::new();
        for path in self.parts(disk, hour)? {
            for line in disk.read(&path)?.split(|byte| *byte == b'\n') {
                if let Some(record) = parse(line)
                    && seen.insert(record.key.clone())
                {
                    records.push(record);
                }
            }
        }
        Ok(records)
    }

    /// Adds records, each to its hour, and brings them to the disk.
    ///
    /// # Errors
    /// Those of the file system; doing it again does no harm.
    pub fn add(&mut self, disk: &dyn Disk, records: &[Record]) -> io::Result<()> {
        let mut by_hour: HashMap<Hour, Vec<u8>> = HashMap::new();
        for record in records {
            // What a crash has cut must not run into the new line.
            let text = by_hour.entry(record.hour).or_insert_with(|| vec![b'\n']);
            let json = serde_json::to_string(record)?;
            writeln!(text, "{:08x} {json}", crc32c::crc32c(json.as_bytes()))?;
        }
        if by_hour.is_empty() {
            return Ok(());
        }
        let part = self.part;
        let written = by_hour.into_iter().try_for_each(|(hour, text)| {
            let mut file = disk.append(&self.dir.join(format!("{hour}.{part}.records")))?;
            file.write_all(&text)?;
            file.sync()
        });
        written.and_then(|()| disk.sync_dir(&self.dir)).inspect_err(|_| self.part += 1)
    }

    /// Forgets an hour.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&self, disk: &dyn Disk, hour: Hour) -> io::Result<()> {
        self.parts(disk, hour)?.iter().try_for_each(|path| disk.remove(path))
    }

    fn parts(&self, disk: &dyn Disk, hour: Hour) -> io::Result<Vec<PathBuf>> {
        let mut parts: Vec<_> = disk
            .files_below(&self.dir)?
            .into_iter()
            .filter_map(|file| Some((hour_and_part(&file.path)?, file.path)))
            .filter(|((of, _), _)| *of == hour)
            .collect();
        parts.sort();
        Ok(parts.into_iter().map(|(_, path)| path).collect())
    }
}

/// Reads a line. `None` when it is not whole.
fn parse(line: &[u8]) -> Option<Record> {
    let (crc, json) = line.split_at_checked(9)?;
    let whole = crc == format!("{:08x} ", crc32c::crc32c(json)).as_bytes();
    whole.then(|| serde_json::from_slice(json).ok())?
}

fn hour_and_part(path: &Path) -> Option<(Hour, u32)> {
    let (hour, part) = path.file_name()?.to_str()?.strip_suffix(".records")?.split_once('.')?;
    Some((hour.parse().ok()?, part.parse().ok()?))
}
