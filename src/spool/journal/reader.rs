//! Reads the whole journal: at the start of a process, and for the operator's tools.
//!
//! Memory is constant but for the lists of runs and spans. A frame that is damaged is skipped, and no other: reading
//! continues at the next byte that a frame may begin with. Each range that was skipped is reported as a [`Damage`]. The
//! end of the last segment is often torn, because the process died while it wrote. The clicks of those events are still
//! in the rings, so the events are made again.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    frames::{Frames, Piece},
    note::read_note,
    segment::{Extent, Header, Run, Span, segment_number},
};
use crate::{
    runtime::{Hour, retry::PAUSE},
    spool::{
        disk::{Disk, FileEntry, ReadAt},
        state::{Position, State},
    },
};

/// Extension of a copy of a segment, while [`crate::spool::recovery`] writes it.
pub const COPY: &str = "again";

/// Runs that are listed one by one. Beyond that, runs of the same feed, segment and hour are merged, so that a backlog
/// of any size needs little memory.
pub const EXACT_RUNS: usize = 500_000;

/// Attempts to read the journal before an unreadable part is skipped.
const READ_TRIES: u32 = 10;

/// What the journal holds for the next process.
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
    /// For each ring that events came from, the position after the last of them.
    pub known: HashMap<u64, u64>,
    /// Number of the next segment.
    pub next: u64,
    /// For each feed and hour, the time of the oldest event in `runs`, in microseconds since the Unix epoch.
    pub oldest: HashMap<(u16, Hour), u64>,
    /// For each segment, the feeds that its frames name. `None` for a feed whose events are all packed.
    pub feeds: HashMap<u64, Vec<Option<u16>>>,
    /// Ranges that hold no valid frame.
    pub damages: Vec<Damage>,
    /// Segments that hold less than they held, as far as that is known.
    pub losses: Vec<Loss>,
    /// The last segment, as it was read.
    pub last: Option<Extent>,
}

/// What a segment is known to have held and does not hold any more. Some of these events may have been packed before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Loss {
    pub segment: u64,
    /// Bytes behind its end. Damage before its end is a [`Damage`].
    pub bytes: u64,
    pub events: u64,
}

/// A range of a segment that holds no valid frame.
#[derive(Debug, Serialize)]
pub struct Damage {
    pub segment: PathBuf,
    pub start: u64,
    pub end: u64,
    /// The range is the end of the last segment: the process died while it wrote.
    pub torn: bool,
}

/// Reads all segments, and changes nothing. `counted` is how far they are counted, if clicks are counted; `number_of`
/// maps the name of a feed to its number.
///
/// # Errors
/// Those of the file system. Damage is not an error.
pub fn read_journal(
    disk: &dyn Disk,
    spool: &Path,
    state: &State,
    counted: Option<Position>,
    mut number_of: impl FnMut(&str) -> u16,
) -> io::Result<Recovered> {
    let dir = spool.join("journal");
    // First: a running process goes on writing.
    let noted = read_note(disk, &dir);
    let mut recovered = Recovered::default();
    let mut segments = Vec::new();
    for file in disk.files_below(&dir)? {
        match segment_number(&file.path) {
            Some(number) if file.path.parent() == Some(&*dir) => segments.push((number, file)),
            _ if file.path.extension().is_some_and(|extension| extension == COPY) => {}
            _ => tracing::warn!(path = %file.path.display(), "unknown file in the journal ignored"),
        }
    }
    segments.sort_by_key(|(number, _)| *number);
    let (cuts, mut extents) = read_headers(disk, &segments)?;
    if let Some(extent) = noted {
        let known = extents.entry(extent.segment).or_insert(extent);
        *known = if known.bytes > extent.bytes { *known } else { extent };
    }
    let last = segments.last().map(|(number, _)| *number);
    for (number, file) in &segments {
        if recovered.next > 0 {
            let between = recovered.next..*number;
            // Abandoned segments without events were removed.
            let abandoned = cuts.keys().filter(|number| between.contains(number)).count() as u64;
            let missing = between.end.saturating_sub(between.start + abandoned);
            if missing > 0 {
                tracing::error!(?between, missing, "journal segments are missing; their events are lost");
            }
            let known = extents.values().filter(|extent| between.contains(&extent.segment));
            recovered.losses.extend(known.map(|extent| extent.beyond(0, 0)));
        }
        recovered.next = number + 1;
        let valid = cuts.get(number).copied().unwrap_or(u64::MAX).min(file.bytes);
        recovered.segments.push((*number, file.bytes));
        let mut reader =
            SegmentReader { recovered: &mut recovered, state, counted, number_of: &mut number_of, segment: *number };
        let (damages, events) = match disk.open(&file.path) {
            Ok(opened) => reader.read(&*opened, valid),
            // Read from outside, while a running process has packed and removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        recovered.last = Some(Extent { segment: *number, bytes: file.bytes, events });
        let less = extents.get(number).map(|extent| extent.beyond(valid, events));
        recovered.losses.extend(less.filter(|loss| loss.bytes + loss.events > 0));
        let segment = &file.path;
        let damages = damages.into_iter().filter(|(start, end)| start < end);
        recovered.damages.extend(damages.map(|(start, end)| Damage {
            segment: segment.clone(),
            start,
            end,
            torn: end == valid && last == Some(*number),
        }));
    }
    if let Some(extent) = noted.filter(|extent| last.is_none_or(|last| extent.segment > last)) {
        tracing::error!(segment = extent.segment, "last journal segment is missing; its events are lost");
        recovered.losses.push(extent.beyond(0, 0));
        recovered.next = recovered.next.max(extent.segment + 1);
    }
    // A number is never used twice, even if all segments are removed: packed and counted positions refer to it.
    let packed = state.feeds.values().map(|feed| feed.packed).chain(counted).map(|position| position.0).max();
    recovered.next = recovered.next.max(packed.unwrap_or(0) + 1);
    Ok(recovered)
}

impl Extent {
    /// What is missing behind these bytes and events.
    fn beyond(&self, bytes: u64, events: u64) -> Loss {
        let Self { segment, bytes: all, events: held } = *self;
        Loss { segment, bytes: all.saturating_sub(bytes), events: held.saturating_sub(events) }
    }
}

/// What the headers of segments know of earlier ones: the abandoned segments, each with the offset up to which it is
/// valid, and the extents.
type Headers = (HashMap<u64, u64>, HashMap<u64, Extent>);

fn read_headers(disk: &dyn Disk, segments: &[(u64, FileEntry)]) -> io::Result<Headers> {
    let (mut cuts, mut extents) = (HashMap::new(), HashMap::new());
    for (_, file) in segments {
        let opened = match disk.open(&file.path) {
            Ok(opened) => opened,
            // Read from outside: see above.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut frames = Frames::new(&*opened, 0, file.bytes);
        // There are two copies. Damage in them is reported when the segment is read.
        let (mut seen, mut tries) = (0, 0);
        while seen < 2 && tries < READ_TRIES {
            match frames.read() {
                Ok(Some((_, _, Piece::Header(json)))) => {
                    seen += 1;
                    if let Ok(header) = serde_json::from_slice::<Header>(json) {
                        cuts.extend(header.cuts);
                        extents.extend(header.before.map(|extent| (extent.segment, extent)));
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
    Ok((cuts, extents))
}

/// Reads one segment into what is recovered.
struct SegmentReader<'a, F> {
    recovered: &'a mut Recovered,
    state: &'a State,
    counted: Option<Position>,
    number_of: &'a mut F,
    segment: u64,
}

impl<F: FnMut(&str) -> u16> SegmentReader<'_, F> {
    /// Reads a segment. Returns the ranges that hold no valid frame, and the number of events.
    fn read(&mut self, file: &dyn ReadAt, valid: u64) -> (Vec<(u64, u64)>, u64) {
        let mut events = 0;
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
                    tracing::error!(segment = self.segment, start, end, %error, "unreadable part of the journal");
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
            events += 1;
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
                let hour = Hour::of_micros(event.micros);
                let oldest = self.recovered.oldest.entry((number, hour)).or_insert(event.micros);
                *oldest = event.micros.min(*oldest);
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
        (damages, events)
    }

    fn feed(&self, name: String) -> Feed {
        let packed = self.state.feeds.get(&name).map_or((0, 0), |feed| feed.packed);
        Feed { name, packed, number: None }
    }
}

/// A feed that the frames of a segment name.
struct Feed {
    name: String,
    packed: Position,
    /// Set by the first event that is not packed.
    number: Option<u16>,
}
