//! Reads the [frames](crate::enrich::frame) of a segment, and recovers those of a damaged one.
//!
//! A segment begins with its header, twice.

use std::io;

use crate::{
    enrich::frame::{EVENT, Frame, HEAD, HEADER, MAX_BODY, checksum},
    spool::disk::ReadAt,
};

/// Smallest part that is skipped where the disk cannot read.
const BLOCK: u64 = 4_096;

/// Bytes that are read at a time, unless a frame is longer.
const CHUNK: usize = 256 * 1024;

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
    /// Bytes of it that were read.
    filled: usize,
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
        Self { file, buffer: Vec::new(), filled: 0, base: start, at: 0, end }
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
        let bytes = &self.bytes()[at..];
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
        let bad = self.base + self.filled as u64;
        self.base = ((bad / BLOCK + 1) * BLOCK).min(self.end);
        (self.filled, self.at) = (0, 0);
        (start, self.base)
    }

    /// Skips to the next byte that a frame may begin with, or to the end of the buffer.
    fn skip_damage(&mut self) -> io::Result<()> {
        self.need(HEAD + 1)?;
        let rest = &self.bytes()[self.at..];
        let skip = memchr::memmem::find(rest.get(1..).unwrap_or_default(), &EVENT[..3]).map(|found| found + 1);
        // The last two bytes may be the beginning of a magic.
        let known = self.base + self.filled as u64;
        let all = if known >= self.end { rest.len() } else { rest.len().saturating_sub(2).max(1) };
        self.at += skip.unwrap_or(all);
        Ok(())
    }

    /// Reads until `bytes` from here are in the buffer. False if the range ends before.
    fn need(&mut self, bytes: usize) -> io::Result<bool> {
        if self.filled - self.at >= bytes {
            return Ok(true);
        }
        self.buffer.copy_within(self.at..self.filled, 0);
        self.base += self.at as u64;
        self.filled -= self.at;
        self.at = 0;
        let want = bytes.max(CHUNK).min((self.end - self.base) as usize);
        // What is there is not cleared again: most of it is overwritten.
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        while self.filled < want {
            match self.file.read_at(&mut self.buffer[self.filled..want], self.base + self.filled as u64) {
                Ok(0) => {
                    // The file is shorter than expected.
                    self.end = self.base + self.filled as u64;
                    break;
                }
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.filled >= bytes)
    }

    /// What was read.
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}
