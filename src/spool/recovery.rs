//! What an earlier process left behind in the journal: found again at the start, frame by frame, in constant memory
//! but for the list of runs.
//!
//! A frame that is not whole is skipped, and nothing but it: reading goes on at the next byte that a frame begins
//! with. What was skipped is copied into `quarantine/journal/` and told. The end of the last segment is often torn:
//! the process died while it wrote. Those events were not let go of in the rings, so they are made again.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    disk::{Disk, DiskFile, ReadAt},
    frame::{Frames, Piece},
    journal::{Header, Run, Span, segment_number, segment_path},
    state::{Position, State},
};
use crate::runtime::{Hour, retry::PAUSE};

/// Bytes of one damaged range that are kept; what follows is gone.
const KEPT_BYTES: u64 = 16 << 20;

/// Runs that are listed one by one. Of more, those of one feed, segment and hour become one, so that a backlog of any
/// size needs little memory.
pub const EXACT_RUNS: usize = 500_000;

/// How often the journal is tried to be read before what cannot be read is given up.
const READ_TRIES: u32 = 10;

/// Extension of a segment that is written anew.
const AGAIN: &str = "again";

/// What the journal holds.
#[derive(Default)]
pub struct Recovered {
    /// Events that no object holds, by feed.
    pub runs: Vec<(u16, Run)>,
    /// Events that are not counted.
    pub spans: Vec<Span>,
    /// Time of the oldest of these, in microseconds since the Unix epoch.
    pub oldest_tally: Option<u64>,
    /// Segments, oldest first: number and bytes.
    pub segments: Vec<(u64, u64)>,
    /// Of each ring that the events came from, the position behind the last of them.
    pub known: HashMap<u64, u64>,
    /// Number that the next segment may have.
    pub next: u64,
    /// Of each feed, the time of the oldest of those events, in microseconds since the Unix epoch.
    pub oldest: HashMap<u16, u64>,
    /// Of each segment, which feeds its frames name. `None` for feeds whose events are all packed.
    pub feeds: HashMap<u64, Vec<Option<u16>>>,
    /// Ranges that hold no frame.
    pub damages: Vec<Damage>,
}

/// A range of a segment that holds no frame.
#[derive(Debug, Serialize)]
pub struct Damage {
    pub segment: PathBuf,
    pub start: u64,
    pub end: u64,
    /// It is the end of its segment: the process died while it wrote.
    pub torn: bool,
}

/// Reads all segments, and changes nothing. `counted` is how far they are counted, if anybody counts; `number_of` turns
/// the name of a feed into its number.
///
/// # Errors
/// Those of the file system. Damage is none.
pub fn read_journal(
    disk: &dyn Disk,
    spool: &Path,
    state: &State,
    counted: Option<Position>,
    mut number_of: impl FnMut(&str) -> u16,
) -> io::Result<Recovered> {
    let dir = spool.join("journal");
    let mut recovered = Recovered::default();
    let mut segments = Vec::new();
    for file in disk.files_below(&dir)? {
        match segment_number(&file.path) {
            Some(number) if file.path.parent() == Some(&*dir) => segments.push((number, file)),
            _ if file.path.extension().is_some_and(|extension| extension == AGAIN) => {}
            _ => tracing::warn!(path = %file.path.display(), "a foreign file in the journal is left alone"),
        }
    }
    segments.sort_by_key(|(number, _)| *number);
    let cuts = read_cuts(disk, &segments)?;
    let last = segments.last().map(|(number, _)| *number);
    for (number, file) in &segments {
        if recovered.next > 0 {
            let between = recovered.next..*number;
            // An abandoned segment without an event was removed.
            let abandoned = cuts.keys().filter(|number| between.contains(number)).count() as u64;
            let missing = between.end.saturating_sub(between.start + abandoned);
            if missing > 0 {
                tracing::error!(?between, missing, "segments of the journal are missing; their events are lost");
            }
        }
        recovered.next = number + 1;
        let valid = cuts.get(number).copied().unwrap_or(u64::MAX).min(file.bytes);
        recovered.segments.push((*number, file.bytes));
        let mut reader =
            Reader { recovered: &mut recovered, state, counted, number_of: &mut number_of, segment: *number };
        let damages = match disk.open(&file.path) {
            Ok(opened) => reader.read(&*opened, valid),
            // A running process has packed it meanwhile: somebody looks in from outside.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let segment = &file.path;
        let told = damages.into_iter().filter(|(start, end)| start < end);
        recovered.damages.extend(told.map(|(start, end)| Damage {
            segment: segment.clone(),
            start,
            end,
            torn: end == valid && last == Some(*number),
        }));
    }
    // No number comes twice, even if all segments are gone: feeds are packed, and clicks counted, up to a place in one.
    let packed = state.feeds.values().map(|feed| feed.packed).chain(counted).map(|position| position.0).max();
    recovered.next = recovered.next.max(packed.unwrap_or(0) + 1);
    Ok(recovered)
}

/// Tells and keeps what is damaged, and makes sure that what was found is on the disk.
///
/// # Errors
/// Those of the file system.
pub fn mend(disk: &dyn Disk, spool: &Path, recovered: &Recovered) -> io::Result<()> {
    for damage in &recovered.damages {
        let Damage { segment, start, end, torn } = damage;
        let segment = segment.display();
        if *torn {
            tracing::warn!(%segment, start, end, "the end of the journal is torn");
        } else {
            tracing::error!(%segment, start, end, "a part of the journal is damaged; its events are lost");
        }
        quarantine(disk, spool, damage);
    }
    let dir = spool.join("journal");
    for file in disk.files_below(&dir)? {
        if file.path.extension().is_some_and(|extension| extension == AGAIN) {
            disk.remove(&file.path)?;
        }
    }
    match recovered.segments.last() {
        Some((last, _)) => write_again(disk, &dir, &segment_path(&dir, *last)),
        None => Ok(()),
    }
}

/// Writes the last segment anew. Its end was written, but perhaps never synced; or a sync of it failed, and then the
/// kernel shows what is not on the disk, and calls the next sync a success.
fn write_again(disk: &dyn Disk, dir: &Path, segment: &Path) -> io::Result<()> {
    let copy = segment.with_extension(AGAIN);
    let from = disk.open(segment)?;
    let written = disk.create(&copy).and_then(|mut to| {
        copy_range(&*from, &mut *to, 0, from.bytes()?)?;
        to.sync()?;
        disk.rename(&copy, segment)?;
        disk.sync_dir(dir)
    });
    written.or_else(|error| {
        tracing::warn!(%error, segment = %segment.display(), "cannot write the end of the journal again");
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

/// Which segments were abandoned, and up to which offset they count: their successors' headers say so.
fn read_cuts(disk: &dyn Disk, segments: &[(u64, super::disk::Found)]) -> io::Result<HashMap<u64, u64>> {
    let mut cuts = HashMap::new();
    for (_, file) in segments {
        let opened = match disk.open(&file.path) {
            Ok(opened) => opened,
            // Somebody looks in from outside.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut frames = Frames::new(&*opened, 0, file.bytes);
        // There are two; what is damaged or cannot be read of them is told later.
        let (mut seen, mut tries) = (0, 0);
        while seen < 2 && tries < READ_TRIES {
            match frames.read() {
                Ok(Some((_, _, Piece::Header(json)))) => {
                    seen += 1;
                    if let Ok(header) = serde_json::from_slice::<Header>(json) {
                        cuts.extend(header.cuts);
                        break;
                    }
                }
                Ok(Some(_)) => seen += 1,
                Ok(None) => break,
                Err(_) => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
    Ok(cuts)
}

struct Reader<'a, F> {
    recovered: &'a mut Recovered,
    state: &'a State,
    counted: Option<Position>,
    number_of: &'a mut F,
    segment: u64,
}

impl<F: FnMut(&str) -> u16> Reader<'_, F> {
    /// Reads a segment and returns the ranges that hold no frame.
    fn read(&mut self, file: &dyn ReadAt, valid: u64) -> Vec<(u64, u64)> {
        let mut damages: Vec<(u64, u64)> = Vec::new();
        let mut feeds: Vec<Feed> = Vec::new();
        // The last run of each feed.
        let mut last: HashMap<u16, usize> = HashMap::new();
        let mut frames = Frames::new(file, 0, valid);
        let mut tries = 0;
        loop {
            let (start, end, piece) = match frames.read() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(_) if tries < READ_TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(error) => {
                    let (start, end) = frames.skip_unreadable();
                    tracing::error!(segment = self.segment, start, end, %error, "the journal cannot be read there");
                    (start, end, Piece::Damage)
                }
            };
            let event = match piece {
                Piece::Event(event) if event.feeds().all(|feed| usize::from(feed) < feeds.len()) => event,
                Piece::Header(json) => {
                    if let Ok(header) = serde_json::from_slice::<Header>(json) {
                        feeds = header.feeds.into_iter().map(|name| self.feed(name)).collect();
                    }
                    continue;
                }
                _ => {
                    match damages.last_mut() {
                        Some(damage) if damage.1 == start => damage.1 = end,
                        _ => damages.push((start, end)),
                    }
                    continue;
                }
            };
            let known = self.recovered.known.entry(event.ring_position.ring).or_default();
            *known = event.ring_position.end.max(*known);
            if !event.tally.is_empty() && self.counted.is_some_and(|counted| counted <= (self.segment, start)) {
                let oldest = self.recovered.oldest_tally.get_or_insert(event.micros);
                *oldest = event.micros.min(*oldest);
                let span = Span { segment: self.segment, start, end, tallies: 1 };
                if self.recovered.spans.last_mut().is_none_or(|last| !last.extend(&span)) {
                    self.recovered.spans.push(span);
                }
            }
            for feed in event.feeds() {
                let feed = &mut feeds[usize::from(feed)];
                if (self.segment, start) < feed.packed {
                    continue;
                }
                let number = *feed.number.get_or_insert_with(|| (self.number_of)(&feed.name));
                let oldest = self.recovered.oldest.entry(number).or_insert(event.micros);
                *oldest = event.micros.min(*oldest);
                let hour = Hour::of_micros(event.micros);
                let run = Run { segment: self.segment, start, end, hour, events: 1 };
                let loose = self.recovered.runs.len() > EXACT_RUNS;
                if let Some(at) = last.get(&number)
                    && self.recovered.runs[*at].1.extend(&run, loose)
                {
                    continue;
                }
                last.insert(number, self.recovered.runs.len());
                self.recovered.runs.push((number, run));
            }
        }
        self.recovered.feeds.insert(self.segment, feeds.into_iter().map(|feed| feed.number).collect());
        damages
    }

    fn feed(&self, name: String) -> Feed {
        let packed = self.state.feeds.get(&name).map_or((0, 0), |feed| feed.packed);
        Feed { name, packed, number: None }
    }
}

/// A feed that a segment's frames name.
struct Feed {
    name: String,
    packed: Position,
    /// Known once there is an event that is not packed.
    number: Option<u16>,
}

/// Keeps a copy of what cannot be read; if that fails, the segment is all there is.
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
        tracing::warn!(%error, segment = %segment.display(), "cannot keep a copy of the damage");
    }
}
