//! Files that are mapped into memory to be read, in huge pages where the system has them.
//!
//! Reads at random places of a gigabyte wait for the translation of addresses as well as for the memory. With pages of
//! 2 MiB most of the first wait is gone (`bench/README.md`). The page cache has a file in such pages if it was written
//! in pieces of that size ([`PieceWriter`]), or is read from disk for a map that was advised so. Other file systems and
//! kernels keep to small pages, and nothing else changes.

#![allow(unsafe_code, reason = "a mapped file needs it; see `map`")]

use std::{
    fs::File,
    io::{self, Write},
};

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapMut};

/// Maps a file that this process owns, and asks the kernel to read it ahead. The bytes stay as long as anyone has them,
/// also once the file is deleted or replaced.
///
/// The file must be one that no process writes to or truncates: a private copy that is only ever replaced by a rename.
///
/// # Errors
/// When it cannot be mapped.
pub fn map(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: as the caller ensures, the content does not change, and the file is not truncated.
    let map = unsafe { Mmap::map(file) }?;
    // Only advice: without it pages are small, and are read when they are first asked for.
    _ = map.advise(Advice::HugePage);
    _ = map.advise(Advice::WillNeed);
    Ok(Bytes::from_owner(map))
}

/// Memory of this many bytes, which are zero.
///
/// # Errors
/// When there is not as much.
pub fn anonymous(length: usize) -> io::Result<MmapMut> {
    let map = MmapMut::map_anon(length)?;
    _ = map.advise(Advice::HugePage);
    Ok(map)
}

/// Bytes that [`PieceWriter`] writes at once: two huge pages.
const PIECE: usize = 4 << 20;

/// Writes a file from its beginning in pieces of whole huge pages. The end of it is written by `flush`.
pub struct PieceWriter<W> {
    to: W,
    piece: Vec<u8>,
}

impl<W: Write> PieceWriter<W> {
    pub fn new(to: W) -> Self {
        Self { to, piece: Vec::with_capacity(PIECE) }
    }
}

impl<W: Write> Write for PieceWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.piece)?;
        self.piece.clear();
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes the length of each write.
    #[derive(Default)]
    struct Noted(Vec<usize>, Vec<u8>);

    impl Write for Noted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_begin_at_huge_pages_whatever_is_written() {
        let bytes: Vec<u8> = (0..2 * PIECE + 77).map(|n| (n % 251) as u8).collect();
        let mut noted = Noted::default();
        let mut writer = PieceWriter::new(&mut noted);
        writer.write_all(&bytes[..1_024]).unwrap();
        for chunk in bytes[1_024..].chunks(1 << 20) {
            writer.write_all(chunk).unwrap();
        }
        writer.flush().unwrap();
        assert_eq!(noted.0, [PIECE, PIECE, 77]);
        assert!(noted.1 == bytes);
    }

    #[test]
    fn memory_is_zero_and_can_be_written() {
        let mut memory = anonymous(10_000).unwrap();
        assert!(memory.len() == 10_000 && memory.iter().all(|byte| *byte == 0));
        memory[9_999] = 1;
        assert_eq!(memory.make_read_only().unwrap()[9_999], 1);
    }
}
