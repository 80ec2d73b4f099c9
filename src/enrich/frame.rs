//! Frames: how an event stands in a [`Batch`](super::Batch), and byte by byte the same in a segment of the journal.
//!
//! ```text
//! offset  size  field (little endian)
//!      0     4  magic: FF 43 45 F2 for an event; FF 43 45 F0 for the header of a segment, as JSON
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
//! UTF-8 never contains the byte FF, so nothing that a visitor sends looks like a frame. Journals before the tallies
//! have F1 in the magic, and are not read.

use crc_fast::{CrcAlgorithm, Digest};

use crate::{capture::RingPosition, click::EventId};

/// Bytes before the body.
pub const HEAD: usize = 12;

/// Longest body; a length beyond it is damage. The header of 65,535 feeds with the longest names fits.
pub const MAX_BODY: usize = 8 << 20;

/// Begins the frame of an event.
pub const EVENT: [u8; 4] = [0xff, 0x43, 0x45, 0xf2];

/// Begins the header of a segment.
pub const HEADER: [u8; 4] = [0xff, 0x43, 0x45, 0xf0];

/// Bytes of an event's body before its feeds.
const FIXED: usize = 44;

/// What the frame of an event begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Ring and position of the click.
    pub ring_position: RingPosition,
    /// When the click was answered, microseconds since the Unix epoch.
    pub micros: u64,
    pub id: EventId,
}

/// An event as the journal holds it.
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

    /// The event of a body whose checksum is right. `None` for one that clickedge never writes.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
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

/// Appends the beginning of an event's frame that at most so many feeds take. Tally and event follow it, and
/// [`end_event`]. Returns where the tally begins.
pub fn begin_event(out: &mut Vec<u8>, feeds: usize) -> usize {
    out.resize(out.len() + HEAD + FIXED + 2 * feeds, 0);
    out.len()
}

/// Completes the frame that begins at `start`, and whose tally begins at `tally`, its event at `event`. Both move up
/// when fewer feeds take the event.
pub fn end_event(
    out: &mut Vec<u8>,
    (start, mut tally, event): (usize, usize, usize),
    origin: &Origin,
    feeds: &[u16],
) {
    let tally_bytes = event - tally;
    let first = start + HEAD + FIXED;
    let unused = tally - first - 2 * feeds.len();
    if unused > 0 {
        out.drain(tally - unused..tally);
        tally -= unused;
    }
    out[start..start + 4].copy_from_slice(&EVENT);
    let fixed = &mut out[start + HEAD..first];
    fixed[..8].copy_from_slice(&origin.ring_position.ring.to_le_bytes());
    fixed[8..16].copy_from_slice(&origin.ring_position.end.to_le_bytes());
    fixed[16..24].copy_from_slice(&origin.micros.to_le_bytes());
    fixed[24..40].copy_from_slice(origin.id.as_bytes());
    fixed[40..42].copy_from_slice(&(feeds.len() as u16).to_le_bytes());
    fixed[42..].copy_from_slice(&(tally_bytes as u16).to_le_bytes());
    for (to, feed) in out[first..tally].chunks_exact_mut(2).zip(feeds) {
        to.copy_from_slice(&feed.to_le_bytes());
    }
    seal(&mut out[start..]);
}

/// Appends a segment's header.
pub fn write_header(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&HEADER);
    out.extend_from_slice(&[0; HEAD - HEADER.len()]);
    out.extend_from_slice(json);
    seal(&mut out[start..]);
}

/// Writes length and checksum of a frame.
fn seal(frame: &mut [u8]) {
    let length = ((frame.len() - HEAD) as u32).to_le_bytes();
    let crc = checksum(length, &frame[HEAD..]);
    frame[4..8].copy_from_slice(&length);
    frame[8..HEAD].copy_from_slice(&crc.to_le_bytes());
}

/// CRC32C (of iSCSI, RFC 3720) of the length of a body and the body.
pub fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&length);
    digest.update(body);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_feeds_than_expected_leave_no_gap() {
        let ring_position = RingPosition { ring: 7, end: 4_096 };
        let origin = Origin { ring_position, micros: 1_795_435_200_000_000, id: EventId::at(1_795_435_200_000_000) };
        for (expected, feeds) in [(3, &[1, 4, 9][..]), (3, &[4]), (2, &[]), (0, &[])] {
            let mut out = b"an earlier frame".to_vec();
            let start = out.len();
            let tally = begin_event(&mut out, expected);
            out.extend_from_slice(b"tally");
            let event = out.len();
            out.extend_from_slice(b"{}");
            end_event(&mut out, (start, tally, event), &origin, feeds);
            let (head, body) = out[start..].split_at(HEAD);
            assert_eq!(head[4..8], (body.len() as u32).to_le_bytes());
            assert_eq!(head[8..], checksum((body.len() as u32).to_le_bytes(), body).to_le_bytes());
            let frame = Frame::parse(body).unwrap();
            assert_eq!((frame.ring_position, frame.micros, frame.id), (ring_position, origin.micros, origin.id));
            assert_eq!(frame.feeds().collect::<Vec<_>>(), feeds);
            assert_eq!((frame.tally, frame.event), (&b"tally"[..], &b"{}"[..]));
        }
    }
}
