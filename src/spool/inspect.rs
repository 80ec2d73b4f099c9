//! What a spool holds, for the operator: read from outside, whether a process runs on it or not.
//!
//! Nothing is changed, and nothing is locked. A running process packs and delivers meanwhile. So a read is repeated if
//! a round was committed during it, and the result is the state between two rounds: each event in one place. Only if
//! rounds follow too fast for five attempts, some events may be seen twice. None is missed, because the journal is read
//! first. An object that vanishes after it was seen was delivered.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    disk::{Disk, FileEntry},
    identity,
    journal::reader::{Damage, read_journal},
    outbox::hour_of,
    record::{Record, Records},
    state::{Generations, State},
};
use crate::{
    object::{ObjectKind, reader::summarize},
    runtime::{Hour, clock},
};

/// Attempts to read the spool while rounds are committed.
const TRIES: u32 = 5;

/// What a spool holds.
#[derive(Debug, Default, Serialize)]
pub struct Overview {
    pub dir: PathBuf,
    /// The spool's identity, which is part of the keys of its objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    pub journal: JournalOverview,
    pub feeds: BTreeMap<String, FeedOverview>,
    /// Damaged files that were moved aside.
    pub quarantined_files: u64,
    /// Damaged files of the state, which the next start moves aside and rebuilds.
    pub damaged_states: u64,
}

/// The journal, of all feeds.
#[derive(Debug, Default, Serialize)]
pub struct JournalOverview {
    pub segments: u64,
    pub bytes: u64,
    pub damages: Vec<Damage>,
    /// Events that segments are known to have held, and do not hold any more. Some may be packed already.
    pub lost_events: u64,
}

/// What a spool holds of one feed.
#[derive(Debug, Default, Serialize)]
pub struct FeedOverview {
    /// Events in the journal that are not packed.
    pub journal_events: u64,
    /// Objects that wait for delivery, including manifests and replays.
    pub objects: u64,
    pub object_bytes: u64,
    pub object_events: u64,
    /// Objects among these that cannot be read.
    pub unreadable_objects: u64,
    /// Age of the oldest event or object that waits, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_secs: Option<u64>,
    /// Delivered objects that are kept for replays.
    pub kept_objects: u64,
    pub kept_bytes: u64,
    /// Objects wait, and the configuration does not have the feed.
    pub unclaimed: bool,
}

impl FeedOverview {
    fn seen(&mut self, age: u64) {
        self.oldest_secs = Some(self.oldest_secs.map_or(age, |oldest| oldest.max(age)));
    }
}

/// Reads what a spool holds.
///
/// # Errors
/// Those of the file system.
pub fn overview(disk: &dyn Disk, dir: &Path) -> io::Result<Overview> {
    between_rounds(disk, dir, |state| try_overview(disk, dir, state))
}

/// Repeats a read until no round was committed during it, at most [`TRIES`] times.
pub(super) fn between_rounds<T>(
    disk: &dyn Disk,
    dir: &Path,
    read: impl Fn(&State) -> io::Result<T>,
) -> io::Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        let state = State::load(disk, dir)?;
        match read(&state) {
            Err(error) if tries < TRIES && error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) if tries < TRIES && State::load(disk, dir)?.round != state.round => {}
            seen => return seen,
        }
    }
}

fn try_overview(disk: &dyn Disk, dir: &Path, state: &State) -> io::Result<Overview> {
    let mut overview = Overview { dir: dir.into(), identity: identity::read(disk, dir)?, ..Overview::default() };
    let now = clock::unix_secs();
    let mut names: Vec<String> = Vec::new();
    let recovered = read_journal(disk, dir, state, None, |name| number_of(&mut names, name))?;
    for name in state.feeds.keys() {
        overview.feeds.entry(name.clone()).or_default();
    }
    for (feed, run) in &recovered.runs {
        let feed = overview.feeds.entry(names[usize::from(*feed)].clone()).or_default();
        feed.journal_events += run.events;
    }
    for ((feed, _), micros) in &recovered.oldest {
        let feed = overview.feeds.entry(names[usize::from(*feed)].clone()).or_default();
        feed.seen(now.saturating_sub(micros / 1_000_000));
    }
    overview.journal = JournalOverview {
        segments: recovered.segments.len() as u64,
        bytes: recovered.segments.iter().map(|(_, bytes)| bytes).sum(),
        damages: recovered.damages,
        lost_events: recovered.losses.iter().map(|loss| loss.events).sum(),
    };
    let records = Records::open(disk, dir)?;
    let waiting = waiting(disk, dir, state)?;
    let mut hours: BTreeSet<Hour> = waiting.iter().filter_map(|waiting| hour_of(&waiting.key)).collect();
    if waiting.iter().any(|waiting| hour_of(&waiting.key).is_none()) {
        // Keys of a sequence do not have the hour.
        hours.extend(records.hours(disk)?);
    }
    let of_feed = |record: &Record| ((record.feed.clone(), record.key.clone()), record.events);
    let mut known: BTreeMap<(String, String), u64> = state.objects.iter().map(of_feed).collect();
    for hour in hours {
        known.extend(records.read(disk, hour)?.iter().map(of_feed));
    }
    for Waiting { feed, key, file } in waiting {
        let place = (feed, key);
        let recorded = known.get(&place).copied();
        let feed = place.0;
        let events = recorded.map_or_else(|| summarize(&file.path).map(|summary| summary.events), Ok);
        if events.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        let feed = overview.feeds.entry(feed).or_default();
        feed.objects += 1;
        feed.object_bytes += file.bytes;
        feed.seen(now.saturating_sub(file.modified));
        match events {
            Ok(events) => feed.object_events += events,
            Err(_) => feed.unreadable_objects += 1,
        }
    }
    let kept = dir.join("delivered");
    for file in disk.files_below(&kept)? {
        let below = file.path.strip_prefix(&kept).unwrap_or(&file.path).to_string_lossy().into_owned();
        if let Some((_, rest)) = below.split_once('/')
            && let Some((feed, _)) = rest.split_once('/')
        {
            let feed = overview.feeds.entry(feed.to_owned()).or_default();
            feed.kept_objects += 1;
            feed.kept_bytes += file.bytes;
        }
    }
    overview.quarantined_files = disk.files_below(&dir.join("quarantine"))?.len() as u64;
    overview.damaged_states = Generations::read(disk, dir).damaged.len() as u64;
    Ok(overview)
}

/// An object that waits for delivery.
pub(super) struct Waiting {
    pub feed: String,
    pub key: String,
    pub file: FileEntry,
}

/// Objects that wait in the outbox, and those of the last round on their way there: if a process died after it had
/// committed them, the next start moves them.
pub(super) fn waiting(disk: &dyn Disk, dir: &Path, state: &State) -> io::Result<Vec<Waiting>> {
    let (outbox, build) = (dir.join("outbox"), dir.join("build"));
    // First: an object that is moved in between is seen twice, and recognized by its key.
    let mut built: BTreeMap<PathBuf, FileEntry> =
        disk.files_below(&build)?.into_iter().map(|file| (file.path.clone(), file)).collect();
    let mut waiting = Vec::new();
    let mut keys = BTreeSet::new();
    for file in disk.files_below(&outbox)? {
        let below = file.path.strip_prefix(&outbox).unwrap_or(&file.path).to_string_lossy().into_owned();
        if let Some((feed, key)) = below.split_once('/')
            && ObjectKind::of(key).is_some()
        {
            keys.insert(below.clone());
            waiting.push(Waiting { feed: feed.to_owned(), key: key.to_owned(), file });
        }
    }
    for record in &state.objects {
        if let Some(file) = built.remove(&build.join(record.build_name()))
            && !keys.contains(&format!("{}/{}", record.feed, record.key))
        {
            waiting.push(Waiting { feed: record.feed.clone(), key: record.key.clone(), file });
        }
    }
    Ok(waiting)
}

/// The index of a feed in a list of names, which grows with every new name.
pub(super) fn number_of(names: &mut Vec<String>, name: &str) -> u16 {
    let known = names.iter().position(|known| known == name);
    known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    }) as u16
}

/// Whether a spool holds or held anything of a feed.
///
/// # Errors
/// As [`overview`].
pub fn knows(disk: &dyn Disk, dir: &Path, feed: &str) -> io::Result<bool> {
    Ok(overview(disk, dir)?.feeds.contains_key(feed))
}
