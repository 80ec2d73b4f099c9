//! Exports events, for the operator: those that wait, or those that were delivered and are kept.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    disk::{Disk, ReadAt},
    inspect::{between_rounds, number_of, waiting},
    journal::{
        Run,
        frames::{Frames, Piece},
        reader::read_journal,
        segment_path,
    },
    state::State,
    stored::{ReadError, StoredObject, in_order, kept},
};
use crate::{click::EventId, runtime::Hour};

/// The part of a spool that events are read from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The journal and the outbox: events that are not delivered.
    Waiting,
    /// Delivered objects that are kept.
    Kept,
}

/// Result of an export.
#[derive(Debug, Default)]
pub struct Exported {
    pub events: u64,
    /// Objects that are damaged, and why. None of their events is exported, because any of them may be damaged.
    pub damaged: Vec<(PathBuf, io::Error)>,
    /// Objects that were removed before they were read: delivered, or no longer kept.
    pub gone: u64,
}

/// Calls `visit` with the events of a feed in a time range, milliseconds since the Unix epoch: those of objects first,
/// then those of the journal.
///
/// # Errors
/// Those of the file system and of `visit`.
pub fn events(
    disk: &dyn Disk,
    dir: &Path,
    feed: &str,
    part: Part,
    time: &Range<u64>,
    mut visit: impl FnMut(EventId, &[u8]) -> io::Result<()>,
) -> io::Result<Exported> {
    let (objects, journal) = match part {
        Part::Waiting => between_rounds(disk, dir, |state| {
            let journal = open_runs(disk, dir, state, feed)?;
            let waiting = waiting(disk, dir, state)?.into_iter().filter(|object| object.feed == feed);
            let objects = waiting.filter_map(|object| StoredObject::new(&object.key, object.file.path));
            Ok((in_order(objects), journal))
        })?,
        Part::Kept => (kept(disk, dir, feed)?, Vec::new()),
    };
    let mut exported = Exported::default();
    let mut count = 0;
    let mut visit_in_range = |id: EventId, event: &[u8]| {
        if time.contains(&id.millis()) {
            count += 1;
            return visit(id, event);
        }
        Ok(())
    };
    for object in objects.into_iter().filter(|object| object.may_hold(time)) {
        // Read twice: the checksum is at the end, and no event of a damaged object may be exported.
        match object.read(&mut |_, _| Ok(())).and_then(|()| object.read(&mut visit_in_range)) {
            Ok(()) => {}
            Err(ReadError::Damaged(error)) => exported.damaged.push((object.path, error)),
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => exported.gone += 1,
            Err(ReadError::Io(error)) => return Err(error),
        }
    }
    for (file, runs, named) in journal {
        for run in runs {
            let mut frames = Frames::new(&*file, run.start, run.end);
            while let Some((_, _, piece)) = frames.read()? {
                // A loose run has events of other feeds and hours, too.
                if let Piece::Event(event) = piece
                    && event.feeds().any(|feed| named.contains(&feed))
                    && Hour::of_micros(event.micros) == run.hour
                {
                    visit_in_range(event.id, event.event)?;
                }
            }
        }
    }
    exported.events = count;
    Ok(exported)
}

/// An open segment of the journal, the runs of one feed in it, and the indices by which its frames name that feed.
type OpenSegment = (Box<dyn ReadAt>, Vec<Run>, Vec<u16>);

/// The runs of a feed in the journal. The segments are kept open, so that they can be read even if they are removed.
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
