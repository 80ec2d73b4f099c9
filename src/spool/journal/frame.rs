//! Frames: the format of events in a journal segment, and how they are recovered from a damaged one.
//!
//! ```text
//! offset  size  field (little endian)
//!      0     4  magic: FF 43 45 F2 for an event; FF 43 45 F0 for the header of the segment, as JSON
//!      4     4  length of the body
//!      8     4  CRC32C of length and body
//!     12        the body of an event:
//!            8    ring that the click came from
//!            8    position after the click in that ring
//!            8    time of the click, microseconds since the Unix epoch
//!           16    event id
//!            2    number of feeds
//!            2    length of the tally
//!          2*n    feeds, as indices into the header's list
//!                 the tally (crate::stats::tally); empty if clicks are not counted
//!                 the event as JSON; empty if no feed takes it
//! ```
//! A segment begins with its header, twice. UTF-8 never contains the byte FF, so nothing that a visitor sends looks
//! like a frame. Journals before the tallies have F1 in the magic, and are not read.

use std::io;

use crate::{
    capture::RingPosition,
    click::EventId,
    enrich::{Batch, Entry},
    spool::disk::ReadAt,
};

/// Bytes before the body.
pub const HEAD: usize = 12;

/// Longest body; a length beyond it is damage. The header of 65,535 feeds with the longest names fits.
pub const MAX_BODY: usize = 8 << 20;

const EVENT: [u8; 4] = [0xff, 0x43, 0x45, 0xf2];
const HEADER: [u8; 4] = [0xff, 0x43, 0x45, 0xf0];
const FIXED: usize = 44;

/// Smallest part that is skipped where the disk cannot read.
const BLOCK: u64 = 4_096;

/// Bytes that are read at a time, unless a frame is longer.
const CHUNK: usize = 256 * 1024;

/// An event in the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Ring and position of the click.
    pub ring_position: RingPosition,
    /// When the click was answered, microseconds since the Unix epoch.
    pub micros: u64,
    pub id: EventId,
    feeds: &'a [u8],
    /// What the event counts for. Empty if clicks are not counted.
    pub tally: &'a [u8],
    /// JSON, without a line feed. Empty if no feed takes it.
    pub event: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Feeds, as indices into the segment's list.
    pub fn feeds(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.feeds.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    }

    fn parse(body: &'a [u8]) -> Option<Self> {
        let fixed = body.get(..FIXED)?;
        let number = |at: usize| fixed[at..].first_chunk().copied().map_or(0, u64::from_le_bytes);
        let short = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
        let (feeds, rest) = body[FIXED..].split_at_checked(2 * short(40))?;
        let (tally, event) = rest.split_at_checked(short(42))?;
        let id = EventId::from_bytes(fixed[24..].first_chunk().copied()?);
        Some(Self {
            ring_position: RingPosition { ring: number(0), end: number(8) },
            micros: number(16),
            id,
            feeds,
            tally,
            event,
        })
    }
}

/// Appends an event's frame.
pub fn write_event(out: &mut Vec<u8>, batch: &Batch, entry: &Entry) {
    let (feeds, tally) = (batch.feeds_of(entry), batch.tally_of(entry));
    let start = begin(out, EVENT);
    out.extend_from_slice(&entry.ring_position.ring.to_le_bytes());
    out.extend_from_slice(&entry.ring_position.end.to_le_bytes());
    out.extend_from_slice(&entry.micros.to_le_bytes());
    out.extend_from_slice(entry.id.as_bytes());
    out.extend_from_slice(&(feeds.len() as u16).to_le_bytes());
    out.extend_from_slice(&(tally.len() as u16).to_le_bytes());
    for feed in feeds {
        out.extend_from_slice(&feed.to_le_bytes());
    }
    out.extend_from_slice(tally);
    out.extend_from_slice(batch.event_of(entry));
    end(out, start);
}

/// Appends a segment's header.
pub fn write_header(out: &mut Vec<u8>, json: &[u8]) {
    let start = begin(out, HEADER);
    out.extend_from_slice(json);
    end(out, start);
}

fn begin(out: &mut Vec<u8>, magic: [u8; 4]) -> usize {
    let start = out.len();
    out.extend_from_slice(&magic);
    out.extend_from_slice(&[0; 8]);
    start
}

fn end(out: &mut [u8], start: usize) {
    let length = ((out.len() - start - HEAD) as u32).to_le_bytes();
    let crc = checksum(length, &out[start + HEAD..]);
    out[start + 4..start + 8].copy_from_slice(&length);
    out[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), body)
}

/// A part of a segment.
pub enum Piece<'a> {
    Header(&'a [u8]),
    Event(Frame<'a>),
    /// Bytes that are not a frame.
    Damage,
}

/// Reads a segment, or a part of one, piece by piece, in constant memory.
pub struct Frames<'a> {
    file: &'a dyn ReadAt,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    base: u64,
    at: usize,
    end: u64,
}

enum Look {
    Frame(usize),
    Damage,
    /// This many bytes from here must be in the buffer.
    More(usize),
}

impl<'a> Frames<'a> {
    /// The pieces from `start` to `end`, both of which are boundaries of frames.
    pub fn new(file: &'a dyn ReadAt, start: u64, end: u64) -> Self {
        Self { file, buffer: Vec::new(), base: start, at: 0, end }
    }

    /// Offset of the next piece.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The next piece and its range. `None` at the end. Adjacent damage may come in several pieces.
    ///
    /// # Errors
    /// When the file cannot be read. It can be called again.
    pub fn read(&mut self) -> io::Result<Option<(u64, u64, Piece<'_>)>> {
        let offset = self.offset();
        if offset >= self.end {
            return Ok(None);
        }
        self.need(HEAD)?;
        let length = loop {
            match self.look(self.at) {
                Look::Frame(length) => break Some(length),
                Look::More(more) if self.need(more)? => {}
                Look::Damage | Look::More(_) => break None,
            }
        };
        let Some(length) = length else {
            self.skip_damage()?;
            return Ok(Some((offset, self.offset(), Piece::Damage)));
        };
        let start = self.at;
        self.at += length;
        let (head, body) = self.buffer[start..self.at].split_at(HEAD);
        let piece = if head.starts_with(&HEADER) {
            Piece::Header(body)
        } else {
            // A body with a valid checksum that is too short: clickedge never writes one.
            Frame::parse(body).map_or(Piece::Damage, Piece::Event)
        };
        Ok(Some((offset, offset + length as u64, piece)))
    }

    fn look(&self, at: usize) -> Look {
        let bytes = &self.buffer[at..];
        let Some(head) = bytes.first_chunk::<HEAD>() else {
            return Look::More(HEAD);
        };
        if !head.starts_with(&EVENT) && !head.starts_with(&HEADER) {
            return Look::Damage;
        }
        let length = [head[4], head[5], head[6], head[7]];
        let crc = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        let body = u32::from_le_bytes(length) as usize;
        if body > MAX_BODY {
            return Look::Damage;
        }
        match bytes.get(HEAD..HEAD + body) {
            None => Look::More(HEAD + body),
            Some(body) if checksum(length, body) == crc => Look::Frame(HEAD + body.len()),
            Some(_) => Look::Damage,
        }
    }

    /// Skips a part that the disk cannot read. Returns its range, which [`Frames::read`] does not report.
    pub fn skip_unreadable(&mut self) -> (u64, u64) {
        let start = self.offset();
        let bad = self.base + self.buffer.len() as u64;
        self.base = ((bad / BLOCK + 1) * BLOCK).min(self.end);
        (self.buffer, self.at) = (Vec::new(), 0);
        (start, self.base)
    }

    /// Skips to the next byte that a frame may begin with, or to the end of the buffer.
    fn skip_damage(&mut self) -> io::Result<()> {
        self.need(HEAD + 1)?;
        let rest = &self.buffer[self.at..];
        let skip = memchr::memmem::find(rest.get(1..).unwrap_or_default(), &EVENT[..3]).map(|found| found + 1);
        // The last two bytes may be the beginning of a magic.
        let known = self.base + self.buffer.len() as u64;
        let all = if known >= self.end { rest.len() } else { rest.len().saturating_sub(2).max(1) };
        self.at += skip.unwrap_or(all);
        Ok(())
    }

    /// Reads until `bytes` from here are in the buffer. False if the range ends before.
    fn need(&mut self, bytes: usize) -> io::Result<bool> {
        if self.buffer.len() - self.at >= bytes {
            return Ok(true);
        }
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let want = bytes.max(CHUNK).min((self.end - self.base) as usize);
        let mut filled = self.buffer.len();
        self.buffer.resize(want.max(filled), 0);
        while filled < want {
            match self.file.read_at(&mut self.buffer[filled..], self.base + filled as u64) {
                Ok(0) => {
                    // The file is shorter than expected.
                    self.end = self.base + filled as u64;
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(filled);
                    return Err(error);
                }
            }
        }
        self.buffer.truncate(filled);
        Ok(filled >= bytes)
    }
}
