//! What lies in a spool, for an operator: read from outside, while a process runs on it or none does.
//!
//! Nothing is changed, and nothing is locked. A running process packs and delivers meanwhile. So whoever looks begins
//! again when a round was committed amid the look, and what was seen is what there was between two rounds: each event
//! in one place. Only when rounds follow too fast for five looks, some events may be seen twice; none is missed,
//! as the journal is read first. An object that vanishes after it was seen was delivered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    disk::{Disk, Found, ReadAt},
    frame::{Frames, Piece},
    journal::{Run, segment_path},
    outbox::hour_of,
    record::Records,
    recovery::{Damage, read_journal},
    state::State,
};
use crate::{
    click::EventId,
    object::{
        ObjectKey, ObjectKind,
        reader::{summarize, summarize_stream},
    },
    runtime::{Hour, clock},
};

/// How often a look is taken while the spool changes under it.
const TRIES: u32 = 5;

/// What lies in a spool.
#[derive(Debug, Default, Serialize)]
pub struct Survey {
    pub dir: PathBuf,
    pub journal: JournalSurvey,
    pub feeds: BTreeMap<String, FeedSurvey>,
    /// What was found damaged and was moved aside.
    pub quarantined_files: u64,
}

/// The journal, of all feeds.
#[derive(Debug, Default, Serialize)]
pub struct JournalSurvey {
    pub segments: u64,
    pub bytes: u64,
    pub damages: Vec<Damage>,
}

/// What lies there of one feed.
#[derive(Debug, Default, Serialize)]
pub struct FeedSurvey {
    /// Events in the journal that no object holds yet.
    pub journal_events: u64,
    /// Objects that wait for delivery, manifests and replays among them.
    pub objects: u64,
    pub object_bytes: u64,
    pub object_events: u64,
    /// Objects among them that cannot be read.
    pub unreadable_objects: u64,
    /// Age of the oldest of all that, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_secs: Option<u64>,
    /// Delivered objects that are kept for a replay.
    pub kept_objects: u64,
    pub kept_bytes: u64,
}

impl FeedSurvey {
    fn seen(&mut self, age: u64) {
        self.oldest_secs = Some(self.oldest_secs.map_or(age, |oldest| oldest.max(age)));
    }
}

/// Looks into a spool.
///
/// # Errors
/// Those of the file system, and that its state is damaged.
pub fn survey(disk: &dyn Disk, dir: &Path) -> io::Result<Survey> {
    between_rounds(disk, dir, |state| try_survey(disk, dir, state))
}

/// Takes a look that no round of packing comes into, if there is time enough between two of them.
fn between_rounds<T>(disk: &dyn Disk, dir: &Path, look: impl Fn(&State) -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        let state = State::load(disk, dir)?;
        match look(&state) {
            Err(error) if tries < TRIES && error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) if tries < TRIES && State::load(disk, dir)?.round != state.round => {}
            seen => return seen,
        }
    }
}

fn try_survey(disk: &dyn Disk, dir: &Path, state: &State) -> io::Result<Survey> {
    let mut survey = Survey { dir: dir.into(), ..Survey::default() };
    let now = clock::unix_secs();
    let mut names: Vec<String> = Vec::new();
    let recovered = read_journal(disk, dir, state, None, |name| number_of(&mut names, name))?;
    for name in state.feeds.keys() {
        survey.feeds.entry(name.clone()).or_default();
    }
    for (feed, run) in &recovered.runs {
        let feed = survey.feeds.entry(names[usize::from(*feed)].clone()).or_default();
        feed.journal_events += run.events;
    }
    for (feed, micros) in &recovered.oldest {
        let feed = survey.feeds.entry(names[usize::from(*feed)].clone()).or_default();
        feed.seen(now.saturating_sub(micros / 1_000_000));
    }
    survey.journal = JournalSurvey {
        segments: recovered.segments.len() as u64,
        bytes: recovered.segments.iter().map(|(_, bytes)| bytes).sum(),
        damages: recovered.damages,
    };
    let records = Records::open(disk, dir)?;
    let mut known: BTreeMap<Hour, BTreeMap<String, u64>> = BTreeMap::new();
    for Waiting { feed, key, file } in waiting(disk, dir, state)? {
        let hour = hour_of(&key);
        if let Some(hour) = hour
            && !known.contains_key(&hour)
        {
            let of_hour = records.read(disk, hour)?.into_iter().chain(state.objects.iter().cloned());
            known.insert(hour, of_hour.map(|record| (record.key, record.events)).collect());
        }
        let recorded = hour.and_then(|hour| known.get(&hour)?.get(&key).copied());
        let events = recorded.map_or_else(|| summarize(&file.path).map(|summary| summary.events), Ok);
        if events.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        let feed = survey.feeds.entry(feed).or_default();
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
            let feed = survey.feeds.entry(feed.to_owned()).or_default();
            feed.kept_objects += 1;
            feed.kept_bytes += file.bytes;
        }
    }
    survey.quarantined_files = disk.files_below(&dir.join("quarantine"))?.len() as u64;
    Ok(survey)
}

/// An object that waits for delivery.
struct Waiting {
    feed: String,
    key: String,
    file: Found,
}

/// Objects that wait in the outbox, and those of the last round on their way there: a process may have died after it
/// had committed them, and the next start moves them.
fn waiting(disk: &dyn Disk, dir: &Path, state: &State) -> io::Result<Vec<Waiting>> {
    let (outbox, build) = (dir.join("outbox"), dir.join("build"));
    // First: what is moved in between is seen twice, and told apart by its key.
    let mut built: BTreeMap<PathBuf, Found> =
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

fn number_of(names: &mut Vec<String>, name: &str) -> u16 {
    let known = names.iter().position(|known| known == name);
    known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    }) as u16
}

/// Where events are taken from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The journal and the outbox: what is not delivered.
    Waiting,
    /// What was delivered and is kept.
    Kept,
}

/// What came of a look at events.
#[derive(Debug, Default)]
pub struct Seen {
    pub events: u64,
    /// Objects that are not whole, and why. Nothing of them was shown: where the damage is, nobody can tell.
    pub damaged: Vec<(PathBuf, io::Error)>,
    /// Objects that were taken away before they were read: delivered, or no longer kept.
    pub gone: u64,
}

/// Shows the events of a feed that are of this time, milliseconds since the Unix epoch: those of objects before those
/// of the journal.
///
/// # Errors
/// Those of the file system, and of whoever looks at the events.
pub fn events(
    disk: &dyn Disk,
    dir: &Path,
    feed: &str,
    part: Part,
    time: &Range<u64>,
    mut see: impl FnMut(EventId, &[u8]) -> io::Result<()>,
) -> io::Result<Seen> {
    let (objects, journal) = match part {
        Part::Waiting => between_rounds(disk, dir, |state| {
            let journal = open_runs(disk, dir, state, feed)?;
            let waiting = waiting(disk, dir, state)?.into_iter().filter(|object| object.feed == feed);
            let objects = waiting.filter_map(|object| ObjectFile::new(&object.key, object.file.path));
            Ok((in_order(objects), journal))
        })?,
        Part::Kept => (kept(disk, dir, feed)?, Vec::new()),
    };
    let mut seen = Seen::default();
    let mut count = 0;
    let mut see = |id: EventId, event: &[u8]| {
        if time.contains(&id.millis()) {
            count += 1;
            return see(id, event);
        }
        Ok(())
    };
    for object in objects.into_iter().filter(|object| object.may_hold(time)) {
        // Its checksum stands at its end: it is read twice, so that nothing is shown that is not what it was.
        match object.read(&mut |_, _| Ok(())).and_then(|()| object.read(&mut see)) {
            Ok(()) => {}
            Err(ReadError::Damaged(error)) => seen.damaged.push((object.path, error)),
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => seen.gone += 1,
            Err(ReadError::Io(error)) => return Err(error),
        }
    }
    for (file, runs, named) in journal {
        for run in runs {
            let mut frames = Frames::new(&*file, run.start, run.end);
            while let Some((_, _, piece)) = frames.read()? {
                // Events of other feeds and hours lie in a loose run, too.
                if let Piece::Event(event) = piece
                    && event.feeds().any(|feed| named.contains(&feed))
                    && Hour::of_micros(event.micros) == run.hour
                {
                    see(event.id, event.event)?;
                }
            }
        }
    }
    seen.events = count;
    Ok(seen)
}

/// A segment of the journal, held open, what one feed has in it, and how its frames name that feed.
type OpenSegment = (Box<dyn ReadAt>, Vec<Run>, Vec<u16>);

/// What a feed has in the journal. The segments are held open: they can be read when they have been removed.
fn open_runs(disk: &dyn Disk, dir: &Path, state: &State, feed: &str) -> io::Result<Vec<OpenSegment>> {
    let mut names = Vec::new();
    let recovered = read_journal(disk, dir, state, None, |name| number_of(&mut names, name))?;
    let ours = |number: u16| names.get(usize::from(number)).is_some_and(|name| name == feed);
    let runs: Vec<Run> = recovered.runs.iter().filter(|(number, _)| ours(*number)).map(|(_, run)| *run).collect();
    let of_segments = runs.chunk_by(|a, b| a.segment == b.segment);
    let open = |runs: &[Run]| {
        let segment = runs[0].segment;
        let named = (0..).zip(recovered.feeds.get(&segment).into_iter().flatten());
        let named = named.filter(|(_, number)| number.is_some_and(ours)).map(|(place, _)| place).collect();
        Ok((disk.open(&segment_path(&dir.join("journal"), segment))?, runs.to_vec(), named))
    };
    of_segments.map(open).collect()
}

/// Whether anything of a feed is or was in a spool.
///
/// # Errors
/// Those of the file system.
pub fn knows(disk: &dyn Disk, dir: &Path, feed: &str) -> io::Result<bool> {
    Ok(survey(disk, dir)?.feeds.contains_key(feed))
}

/// An object of events.
#[derive(Debug)]
pub struct ObjectFile {
    pub path: PathBuf,
    hour: Hour,
    seq: u64,
    /// The end of its key, which tells how it is compressed.
    name: String,
}

/// Why an object was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it is no whole object: {0}")]
    Damaged(io::Error),
    #[error(transparent)]
    Io(io::Error),
}

impl ReadError {
    /// What a decompressor finds wrong has no number of the system.
    pub fn of(error: io::Error) -> Self {
        if error.raw_os_error().is_some() { Self::Io(error) } else { Self::Damaged(error) }
    }
}

impl ObjectFile {
    /// `None` when the key is none of an object of events.
    fn new(key: &str, path: PathBuf) -> Option<Self> {
        let ObjectKey { hour, seq, .. } = ObjectKey::parse(key)?;
        let name = key.rsplit_once('/').map_or(key, |(_, name)| name).to_owned();
        Some(Self { path, hour, seq, name })
    }

    /// Whether events of this time, milliseconds since the Unix epoch, may be in it.
    pub fn may_hold(&self, time: &Range<u64>) -> bool {
        let hour = |hour: u64| hour.saturating_mul(3_600_000);
        let (start, end) = (hour(self.hour.since_epoch()), hour(self.hour.since_epoch() + 1));
        start < time.end && time.start < end
    }

    /// Shows its events.
    ///
    /// # Errors
    /// When it is not whole, and those of whoever looks at the events.
    pub fn read(&self, see: &mut impl FnMut(EventId, &[u8]) -> io::Result<()>) -> Result<(), ReadError> {
        let mut failed = None;
        let file = File::open(&self.path).map_err(ReadError::Io)?;
        let summary = summarize_stream(file, &self.name, |id, event| {
            if let Some(id) = EventId::parse(id)
                && failed.is_none()
            {
                failed = see(id, event).err();
            }
        });
        match (failed, summary) {
            (Some(error), _) => Err(ReadError::Io(error)),
            (None, Err(error)) => Err(ReadError::of(error)),
            (None, Ok(_)) => Ok(()),
        }
    }
}

/// The delivered objects of a feed that are kept, by hour and number. One that was sent twice after a loss of power is
/// in the list once.
///
/// # Errors
/// Those of the file system.
pub fn kept(disk: &dyn Disk, dir: &Path, feed: &str) -> io::Result<Vec<ObjectFile>> {
    let kept = dir.join("delivered");
    let objects = disk.files_below(&kept)?.into_iter().filter_map(|file| {
        let below = file.path.strip_prefix(&kept).ok()?.to_str()?;
        let (name, key) = below.split_once('/')?.1.split_once('/')?;
        if name == feed { ObjectFile::new(key, file.path.clone()) } else { None }
    });
    Ok(in_order(objects))
}

/// The objects of a feed below a folder, as a bucket's prefix holds them, by hour and number. `names` are those of all
/// feeds: when one is the beginning of another, they tell whose an object is.
///
/// # Errors
/// Those of the file system.
pub fn objects_below(disk: &dyn Disk, root: &Path, feed: &str, names: &[&str]) -> io::Result<Vec<ObjectFile>> {
    let begins = |series: &str, name: &str| series.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    let ours = |series: &str| {
        let longer = |name: &&&str| name.len() > feed.len() && begins(series, name);
        begins(series, feed) && names.iter().find(longer).is_none()
    };
    let objects = disk.files_below(root)?.into_iter().filter_map(|file| {
        let key = file.path.strip_prefix(root).ok()?.to_str()?;
        if ours(ObjectKey::parse(key)?.series) { ObjectFile::new(key, file.path.clone()) } else { None }
    });
    Ok(in_order(objects))
}

fn in_order(objects: impl Iterator<Item = ObjectFile>) -> Vec<ObjectFile> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by(|a, b| (a.hour, a.seq, &a.name).cmp(&(b.hour, b.seq, &b.name)));
    objects.dedup_by(|a, b| (a.hour, &a.name) == (b.hour, &b.name));
    objects
}
