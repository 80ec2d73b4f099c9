//! Segments of the journal: their paths, their headers, and the parts of them that others remember.
//!
//! A [`Run`] is what one feed has in a segment, a [`Span`] what is to be counted there. Both are ranges that are read
//! again later, so a backlog of any size is a short list in memory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{enrich::Batch, runtime::Hour};

/// Path of a segment.
pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.journal"))
}

/// The number of a segment, by its path.
pub fn segment_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".journal")?.parse().ok()
}

/// The header of a segment.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Header {
    /// The names of feeds. Frames name a feed by its index in this list.
    pub feeds: Vec<String>,
    /// Earlier segments that were abandoned, each with the offset up to which it is valid.
    pub cuts: Vec<(u64, u64)>,
    /// The segment before this one that holds events, as it was when this one was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Extent>,
}

/// How long a segment was and how many events it held at some time. A segment that is found with less was damaged.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Extent {
    pub segment: u64,
    pub bytes: u64,
    pub events: u64,
}

/// Consecutive events of one feed and hour in a segment. Events of other feeds may lie between them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    pub segment: u64,
    pub start: u64,
    pub end: u64,
    /// The hour of the clicks.
    pub hour: Hour,
    pub events: u64,
}

/// A part of a segment that has events with tallies, among others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    pub segment: u64,
    pub start: u64,
    pub end: u64,
    /// Events that have a tally.
    pub tallies: u64,
}

/// Events that are on the disk.
pub struct Synced {
    /// By feed.
    pub runs: Vec<(u16, Run)>,
    /// The range of all of them. Its end is the new length of the segment.
    pub span: Span,
    /// All of them, without their frames, so that counting need not read them. Empty when many groups wait for the
    /// packer.
    pub batches: Vec<Batch>,
}

impl Span {
    /// Adds a later part of the same segment. False for a part of another segment.
    pub fn extend(&mut self, next: &Self) -> bool {
        let same = self.segment == next.segment;
        if same {
            self.end = next.end;
            self.tallies += next.tallies;
        }
        same
    }
}

impl Run {
    /// Adds a run that follows directly or, if it may be `loose`, one with other feeds' events between them. False for
    /// any other run.
    pub fn extend(&mut self, next: &Run, loose: bool) -> bool {
        let near = self.end == next.start || (loose && self.end < next.start);
        let follows = self.segment == next.segment && near && self.hour == next.hour;
        if follows {
            self.end = next.end;
            self.events += next.events;
        }
        follows
    }
}
