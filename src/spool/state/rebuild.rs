//! Restores the state at the start of a process, whatever is left of it.
//!
//! A state that is damaged, older than the spool, or missing never stops a start: redirects depend on no spool. What
//! was handed over is known from elsewhere, too:
//! - the newest generation of the state that is whole;
//! - records, which are on the disk before an object leaves `build/`. Each has the number of its round and the position
//!   up to which its feed was packed then, and those of a feed's last object are never forgotten. So any older state is
//!   brought up to date by them, and one that is missing is rebuilt;
//! - the keys of objects that wait, are kept, or are in quarantine: their numbers are not used again.
//!
//! A round whose records are not all there, and of which nothing has left `build/`, was committed at the moment of a
//! crash. Without its state it is rolled back: its events are still in the journal, and are packed again.
//!
//! Without any state and without records, numbers of objects are unknown, too. They continue from the time of day, as
//! large as none before: the first object would otherwise have the key of one that was delivered, and other events.
//! Events of the journal may have been delivered before. The edge starts all the same, because lost events cannot be
//! repaired and doubled ones can: consumers deduplicate by id. How many events of which feeds are affected is logged
//! and counted ([`Rebuilt::is_doubtful`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{FeedState, Generations, Position, State};
use crate::{
    object::{ObjectKind, manifest::Previous},
    spool::{
        disk::Disk,
        outbox::seq_of,
        record::{Record, Records},
    },
};

/// A state that was read or rebuilt.
#[derive(Debug)]
pub struct Rebuilt {
    pub state: State,
    /// Round whose records are to be removed: it was committed, but nothing of it has left `build/`.
    unfinished: Option<u64>,
    /// Whether it differs from what the newest generation says.
    pub is_changed: bool,
    /// Feeds of which no generation and no record says how far they are packed, although objects of theirs are known;
    /// `None` when this is so for every feed that is not in the state.
    doubtful: Option<BTreeSet<String>>,
}

impl Rebuilt {
    /// Whether events of this feed in the journal may have been delivered before.
    pub fn is_doubtful(&self, feed: &str) -> bool {
        match &self.doubtful {
            Some(feeds) => feeds.contains(feed),
            None => self.state.feeds.get(feed).is_none_or(|state| state.packed == Position::default()),
        }
    }

    /// Whether nothing says which numbers objects have had.
    pub fn has_unknown_numbers(&self) -> bool {
        self.doubtful.is_none()
    }

    /// Removes what was rolled back from the records.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn roll_back(&self, disk: &dyn Disk, records: &Records) -> io::Result<()> {
        let Some(round) = self.unfinished else { return Ok(()) };
        tracing::warn!(round, "round of packing rolled back; its events are packed again");
        records.remove_round(disk, round)
    }
}

/// Brings the newest generation up to date, or rebuilds a state without any. Changes nothing on the disk.
///
/// # Errors
/// Those of the file system.
pub fn rebuild(disk: &dyn Disk, dir: &Path, records: &Records, newest: Option<&State>) -> io::Result<Rebuilt> {
    let known = newest.map(|state| state.round);
    let mut survey = Survey::read(disk, records, None)?;
    let mut unfinished = None;
    if known.is_none_or(|known| survey.round > known) && survey.is_unfinished(disk, dir)? {
        unfinished = Some(survey.round);
        survey = Survey::read(disk, records, unfinished)?;
    }
    let mut state = newest.cloned().unwrap_or_default();
    for (name, found) in &survey.feeds {
        let feed = state.feeds.entry(name.clone()).or_default();
        feed.seq = feed.seq.max(found.seq);
        feed.packed = feed.packed.max(found.packed.unwrap_or_default());
        if let Some(last) = &found.manifest {
            feed.continue_chain(last, last.spool().unwrap_or_default());
        }
    }
    if survey.round > state.round {
        (state.round, state.objects) = (survey.round, survey.objects);
    }
    let mut doubtful = Some(BTreeSet::new());
    if newest.is_none() {
        add_keys(disk, dir, &mut state.feeds)?;
        let unknown = |name: &&String| survey.feeds.get(*name).is_none_or(|found| found.packed.is_none());
        doubtful = (survey.round > 0).then(|| state.feeds.keys().filter(unknown).cloned().collect());
    }
    let is_changed = newest != Some(&state);
    Ok(Rebuilt { state, unfinished, is_changed, doubtful })
}

/// Moves a damaged generation to `quarantine/`. Returns its new path.
///
/// # Errors
/// Those of the file system.
pub fn set_aside(disk: &dyn Disk, dir: &Path, damaged: &Path) -> io::Result<PathBuf> {
    let quarantine = dir.join("quarantine").join("state");
    disk.make_dir(&quarantine)?;
    let name = damaged.file_name().unwrap_or_default().to_string_lossy();
    let taken: BTreeSet<_> = disk.files_below(&quarantine)?.into_iter().map(|file| file.path).collect();
    let mut numbered = (1..=taken.len() + 1).map(|number| quarantine.join(format!("{name}-{number}")));
    let free = numbered.find(|path| !taken.contains(path));
    let aside = free.unwrap_or_else(|| quarantine.join(&*name));
    disk.rename(damaged, &aside)?;
    Ok(aside)
}

/// What all records together say.
#[derive(Default)]
struct Survey {
    /// The last round that has records; 0 if no record names its round.
    round: u64,
    objects: Vec<Record>,
    feeds: BTreeMap<String, Found>,
}

#[derive(Default)]
struct Found {
    packed: Option<Position>,
    seq: u64,
    /// The last manifest.
    manifest: Option<Previous>,
}

impl Survey {
    /// Reads all records but those of one round.
    fn read(disk: &dyn Disk, records: &Records, except: Option<u64>) -> io::Result<Self> {
        let mut survey = Self::default();
        for hour in records.hours(disk)? {
            for record in records.read(disk, hour)? {
                let round = record.committed.map(|committed| committed.round);
                if round.is_none() || round != except {
                    survey.add(record);
                }
            }
        }
        Ok(survey)
    }

    fn add(&mut self, record: Record) {
        if record.kind() == ObjectKind::Events {
            let feed = self.feed(&record.feed);
            feed.seq = feed.seq.max(record.seq + 1);
            feed.packed = feed.packed.max(record.committed.and_then(|committed| committed.packed));
        }
        if record.kind() == ObjectKind::Manifest {
            let made = Previous { key: record.key.clone(), sha256: record.sha256.clone() };
            let last = &mut self.feed(&record.feed).manifest;
            if last.as_ref().is_none_or(|last| last.number() < made.number()) {
                *last = Some(made);
            }
        }
        let round = record.committed.map_or(0, |committed| committed.round);
        if round > self.round {
            self.round = round;
            self.objects.clear();
        }
        if round > 0 && round == self.round {
            self.objects.push(record);
        }
    }

    fn feed(&mut self, name: &str) -> &mut Found {
        self.feeds.entry(name.to_owned()).or_insert(Found { packed: None, seq: 1, manifest: None })
    }

    /// Whether the last round has fewer records than it made, and all of its objects are still in `build/`.
    fn is_unfinished(&self, disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        let made = self.objects.first().and_then(|record| record.committed).map_or(0, |committed| committed.records);
        if self.objects.len() as u64 >= made {
            return Ok(false);
        }
        for record in &self.objects {
            if !disk.exists(&dir.join("build").join(record.build_name()))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Continues the numbers of objects behind those of all objects that are still here.
fn add_keys(disk: &dyn Disk, dir: &Path, feeds: &mut BTreeMap<String, FeedState>) -> io::Result<()> {
    // Below `delivered`, the hour of the delivery comes before the feed.
    for (folder, above) in [("outbox", 0), ("delivered", 1), ("quarantine", 0)] {
        let root = dir.join(folder);
        for file in disk.files_below(&root)? {
            let below = file.path.strip_prefix(&root).unwrap_or(&file.path).to_string_lossy().into_owned();
            let mut parts = below.splitn(above + 2, '/').skip(above);
            if let (Some(feed), Some(key)) = (parts.next(), parts.next())
                && ObjectKind::of(key) == Some(ObjectKind::Events)
                && let Some(seq) = seq_of(key)
            {
                let feed = feeds.entry(feed.to_owned()).or_default();
                feed.seq = feed.seq.max(seq + 1);
            }
        }
    }
    Ok(())
}

impl State {
    /// The state as the next start of a process would restore it, from outside.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn load(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        let generations = Generations::read(disk, dir);
        match generations.newest {
            Some(state) if generations.is_current => Ok(state),
            newest => Ok(rebuild(disk, dir, &Records::open(disk, dir)?, newest.as_ref())?.state),
        }
    }
}
