//! Records: what is known of each object that was made, for the manifest and the rollup of its hour.
//!
//! ```text
//! {dir}/records/2026-11-23T09.{part}.records    a line for each object, manifest and rollup of that hour, of all feeds
//! line                                          CRC32C of the JSON in hex, a space, JSON ([`Record`])
//! ```
//! The records of the last round are also in the spool's state: they are written here after the round was committed,
//! and once more by the next start. Each process writes parts of its own, and begins another part when a sync has
//! failed, because the bytes of that file may not be on the disk.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use crate::{
    object::{Maker, ObjectKind, Summary},
    runtime::Hour,
};

/// Time that late objects are collected for, before the next version of a manifest or a rollup includes them.
pub const LATE: Duration = Duration::from_secs(60);

/// Hours for which records are kept. A manifest of objects that come later lists those alone.
pub const KEPT_HOURS: u64 = 48;

/// A position in the journal: the number of a segment, and an offset in it.
pub type Position = (u64, u64);

/// An object, a manifest or a rollup that was made.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    pub feed: String,
    /// The hour of the clicks.
    pub hour: Hour,
    pub key: String,
    /// The object's number within its feed; for a manifest, that of the last object that it lists.
    pub seq: u64,
    pub events: u64,
    pub bytes: u64,
    pub sha256: String,
    pub first: String,
    pub last: String,
    /// The version of a manifest. Its `events` are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<u32>,
    /// Whether a manifest is the last one of its hour.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// The version of a rollup. Its `seq` and its `events` are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollup: Option<u32>,
    /// The round that made it. Absent until the round is committed, and in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Committed>,
}

/// What a record knows of its round, so that a state that is lost can be rebuilt from records.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Committed {
    /// Number of the round.
    pub round: u64,
    /// Number of the round's records: with fewer, a crash has cut their list, and none of its objects was moved.
    pub records: u64,
    /// Position up to which the feed is packed, for objects of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Position>,
}

impl Record {
    /// What the object holds.
    pub fn kind(&self) -> ObjectKind {
        match (self.manifest, self.rollup) {
            (Some(_), _) => ObjectKind::Manifest,
            (None, Some(_)) => ObjectKind::Rollup,
            (None, None) => ObjectKind::Events,
        }
    }

    /// Name of the file in `build/`. No two records have the same: a file there may be of a round that the state does
    /// not know.
    pub fn build_name(&self) -> String {
        let end = match (self.manifest, self.rollup) {
            (Some(version), _) => format!(".{version}.manifest"),
            (None, Some(version)) => format!(".{version}.rollup"),
            (None, None) => String::new(),
        };
        format!("{}.{}.{:08}{end}", self.feed, self.hour, self.seq)
    }

    /// The names under which the object was made, of which that of the edge may have changed since. `None` for one of
    /// the previous release.
    pub fn maker(&self) -> Option<Maker<'_>> {
        Maker::of(&self.key, &self.feed)
    }

    /// The summary of the object's content.
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
    /// The part that this process writes.
    part: u32,
}

impl Records {
    /// Opens the records of a spool.
    ///
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

    /// The records of an hour. Lines that a crash has cut are left out: the state has them.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(&self, disk: &dyn Disk, hour: Hour) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut seen = HashSet::new();
        for path in self.parts(disk, hour)? {
            for line in disk.read(&path)?.split(|byte| *byte == b'\n') {
                if let Some(record) = parse(line)
                    && seen.insert((record.feed.clone(), record.key.clone()))
                {
                    records.push(record);
                }
            }
        }
        Ok(records)
    }

    /// Adds records, each to its hour, and syncs them.
    ///
    /// # Errors
    /// Those of the file system. It can be repeated: duplicates are ignored.
    pub fn add(&mut self, disk: &dyn Disk, records: &[Record]) -> io::Result<()> {
        let mut by_hour: HashMap<Hour, Vec<u8>> = HashMap::new();
        for record in records {
            // Ends a line that a crash has cut.
            let text = by_hour.entry(record.hour).or_insert_with(|| vec![b'\n']);
            let json = serde_json::to_string(record)?;
            writeln!(text, "{:08x} {json}", crc_fast::crc32_iscsi(json.as_bytes()))?;
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

    /// Removes the records of a round, if any. After a crash it can be repeated.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_round(&self, disk: &dyn Disk, round: u64) -> io::Result<()> {
        let of_round = |line: &[u8]| {
            parse(line).and_then(|record| record.committed).is_some_and(|committed| committed.round == round)
        };
        for hour in self.hours(disk)? {
            for path in self.parts(disk, hour)? {
                let bytes = disk.read(&path)?;
                let lines = bytes.split(|byte| *byte == b'\n');
                if !lines.clone().any(of_round) {
                    continue;
                }
                let kept: Vec<_> = lines.filter(|line| !of_round(line)).collect();
                let copy = path.with_extension("kept");
                let mut file = disk.create(&copy)?;
                file.write_all(&kept.join(&b'\n'))?;
                file.sync()?;
                disk.rename(&copy, &path)?;
            }
        }
        disk.sync_dir(&self.dir)
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

/// Parses a line. `None` when it is cut or damaged.
fn parse(line: &[u8]) -> Option<Record> {
    let (crc, json) = line.split_at_checked(9)?;
    let whole = crc == format!("{:08x} ", crc_fast::crc32_iscsi(json)).as_bytes();
    whole.then(|| serde_json::from_slice(json).ok())?
}

fn hour_and_part(path: &Path) -> Option<(Hour, u32)> {
    let (hour, part) = path.file_name()?.to_str()?.strip_suffix(".records")?.split_once('.')?;
    Some((hour.parse().ok()?, part.parse().ok()?))
}
