//! Rings that are mapped into memory. Here, in [`crate::runtime::words`] and in [`crate::runtime::mapped_file`] is the
//! only unsafe code of the project.
//!
//! **Why nothing is lost when the process dies.** The mapping is shared, so a store goes into the page of the tmpfs
//! file itself: there is no copy that would have to be written back, and the page belongs to the file, which
//! outlives the process. `SIGKILL` stops each thread between two instructions: what was executed has happened, what
//! was not has not. A click therefore needs one instant at which it begins to exist, and that is the store of
//! [`Cell::Tail`]: with release ordering no store that comes before it, the click's own bytes above all, can become
//! visible after it. A reader that loads the cell with acquire ordering, a worker or the next process, sees all of the
//! click or none of it. (A loss of power takes the tmpfs along. That is outside of this promise.)
//!
//! **Why this is sound.** Cells are only ever touched as atomics. Data are touched through raw pointers, in ranges that
//! are checked against the length of *this* mapping, which is private and never changes. Two threads never touch the
//! same range at once: [`super::ring`] has one producer that writes where nothing is published, one consumer that
//! reads what is published and not released, and writes into what it has read and not yet passed on, and one releaser
//! that writes behind the consumer. Only those three types use the trait; a test with loom goes through their
//! interleavings.
//!
//! **What a foreign writer can do.** The files are readable and writable for this user only. A process of this user
//! that writes into a ring all the same can damage clicks, but cannot lead us out of the mapping: cursors and lengths
//! that are read from it are checked before use, and the bytes of a click are copied out before they are parsed, so
//! that they cannot change between check and use. (It could also truncate the file, which is a `SIGBUS`; but then it
//! could as well send a signal.)
#![allow(unsafe_code, reason = "shared memory needs it; see the header")]

use std::{
    fs::File,
    io, ptr, slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use memmap2::{Advice, MmapRaw};
use rustix::mm::{MlockFlags, mlock_with};

use super::ring::{Cell, Memory};

/// Bytes before the data: one page.
pub(super) const HEADER: usize = 4_096;

/// A mapped ring.
pub(super) struct Mapped {
    map: MmapRaw,
    /// Bytes of data. Never read from the file, which another process might change.
    capacity: usize,
}

impl Mapped {
    /// Maps a whole file: a header and a multiple of eight bytes.
    pub fn new(file: &File) -> io::Result<Self> {
        let map = MmapRaw::map_raw(file)?;
        match map.len().checked_sub(HEADER) {
            Some(capacity) if capacity > 0 && capacity % 8 == 0 => Ok(Self { map, capacity }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Keeps client addresses out of core dumps and, if the system allows it, out of swap. Also brings the pages in, so
    /// that the first clicks meet no page fault.
    pub fn keep_private(&self) -> io::Result<()> {
        self.map.advise(Advice::DontDump)?;
        self.map.lock().inspect_err(|_| _ = self.map.advise(Advice::PopulateWrite))
    }

    /// The same for a ring that an earlier process has left behind: only pages that are touched are brought in.
    pub fn keep_left_private(&self) -> io::Result<()> {
        self.map.advise(Advice::DontDump)?;
        // SAFETY: the range is the mapping, which lives as long as `self`; locking changes none of its bytes.
        Ok(unsafe { mlock_with(self.map.as_mut_ptr().cast(), self.map.len(), MlockFlags::ONFAULT) }?)
    }

    #[allow(clippy::cast_ptr_alignment, reason = "a page is aligned, and so are the cells in it")]
    fn cell(&self, cell: Cell) -> &AtomicU64 {
        // Each thread's cells on lines of their own; two lines, as processors fetch them in pairs.
        let offset = match cell {
            Cell::Head => 128,
            Cell::Released => 136,
            Cell::Tail => 256,
            Cell::Pushed => 264,
            Cell::Read => 384,
            Cell::Clicks => 392,
        };
        // SAFETY: the offset is a multiple of 8 within the header, which `new` has found mapped, and the mapping lives
        // as long as `self`. These bytes are only ever touched through this function.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(offset).cast()) }
    }

    /// The start of `len` bytes of data.
    fn place(&self, at: u64, len: usize) -> *mut u8 {
        let at = at as usize;
        assert!(at <= self.capacity && len <= self.capacity - at, "a range within the ring");
        // SAFETY: header, `at` and `len` are within the mapping.
        unsafe { self.map.as_mut_ptr().add(HEADER + at) }
    }
}

impl Memory for Arc<Mapped> {
    fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    fn load(&self, cell: Cell) -> u64 {
        self.cell(cell).load(Ordering::Acquire)
    }

    fn store(&self, cell: Cell, value: u64) {
        self.cell(cell).store(value, Ordering::Release);
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        let place = self.place(at, into.len());
        // SAFETY: `place` is valid for this many bytes and does not overlap with private memory. No thread writes
        // there: only the consumer and the releaser read, behind the tail and before the head, and the consumer writes
        // there only before the releaser knows.
        unsafe { ptr::copy_nonoverlapping(place, into.as_mut_ptr(), into.len()) }
    }

    fn write(&self, at: u64, len: usize, fill: impl FnOnce(&mut [u8])) {
        let place = self.place(at, len);
        // SAFETY: `place` is valid for this many bytes, which are initialised as every byte of a file is. No other
        // thread touches them meanwhile: the producer writes where nothing is published, the consumer what it has not
        // yet passed on for release, the releaser behind the consumer.
        fill(unsafe { slice::from_raw_parts_mut(place, len) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(bytes: u64) -> (File, io::Result<Mapped>) {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(bytes).unwrap();
        let mapped = Mapped::new(&file);
        (file, mapped)
    }

    #[test]
    fn what_one_mapping_stores_another_loads() {
        let (file, one) = mapped(HEADER as u64 + 64);
        let (one, other) = (Arc::new(one.unwrap()), Arc::new(Mapped::new(&file).unwrap()));
        let cells = [Cell::Head, Cell::Released, Cell::Tail, Cell::Pushed, Cell::Read, Cell::Clicks];
        for (value, cell) in (1..).zip(cells) {
            one.store(cell, value);
        }
        for (value, cell) in (1..).zip(cells) {
            assert_eq!(other.load(cell), value);
        }
        one.write(56, 8, |bytes| bytes.copy_from_slice(b"the last"));
        let mut bytes = [0; 8];
        other.read(56, &mut bytes);
        assert_eq!((&bytes, other.capacity()), (b"the last", 64));
    }

    #[test]
    fn a_range_that_leaves_the_ring_panics() {
        let ring = Arc::new(mapped(HEADER as u64 + 64).1.unwrap());
        for (at, len) in [(0, 65), (57, 8), (64, 1), (65, 0), (u64::MAX, 2), (8, usize::MAX)] {
            let write = std::panic::AssertUnwindSafe(|| ring.write(at, len, |_| ()));
            assert!(std::panic::catch_unwind(write).is_err(), "{at} {len}");
        }
        ring.write(64, 0, |_| ());
    }

    #[test]
    fn a_file_that_is_no_ring_is_rejected() {
        for bytes in [0, 1, HEADER as u64 - 1, HEADER as u64, HEADER as u64 + 63] {
            assert!(mapped(bytes).1.is_err(), "{bytes}");
        }
    }
}
