//! A file that is mapped into memory as words: shared with the next process, and kept out of core dumps and swap.
//!
//! **Why this is sound.** Words are only ever touched as atomics, at places that are checked against the length of this
//! mapping, which is private and never changes. What the words mean, and who writes when, is for the user to define.
//! A foreign process of the same user can change words, but cannot lead a reader out of the mapping.
#![allow(unsafe_code, reason = "shared memory needs it; see the header")]

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::{Advice, MmapOptions, MmapRaw};

/// A mapped file of words. Any thread may load and store any word at any time.
pub struct Words {
    map: MmapRaw,
}

impl Words {
    /// Maps a whole file, of a multiple of eight bytes.
    pub fn new(file: &File) -> io::Result<Self> {
        Self::of(MmapRaw::map_raw(file)?)
    }

    /// Maps a part of a file, which it must have. Offset and length are in bytes, and multiples of eight.
    pub fn part(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        if !offset.is_multiple_of(8) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Self::of(MmapOptions::new().offset(offset).len(length).map_raw(file)?)
    }

    fn of(map: MmapRaw) -> io::Result<Self> {
        if map.len().is_multiple_of(8) { Ok(Self { map }) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.map.len() / 8
    }

    /// Keeps the words out of core dumps and, if the system allows it, out of swap, and brings the pages in.
    pub fn keep_private(&self) -> io::Result<()> {
        self.map.advise(Advice::DontDump)?;
        self.map.lock().inspect_err(|_| _ = self.map.advise(Advice::PopulateWrite))
    }

    /// With acquire ordering.
    pub fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    /// With release ordering.
    pub fn store(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }

    /// Replaces `current` by `new`, with acquire and release ordering.
    ///
    /// # Errors
    /// The word that is there instead of `current`.
    pub fn compare_exchange(&self, at: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.word(at).compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Adds to a word, and returns what it was. Orders nothing else.
    pub fn fetch_add(&self, at: usize, value: u64) -> u64 {
        self.word(at).fetch_add(value, Ordering::Relaxed)
    }

    #[allow(clippy::cast_ptr_alignment, reason = "a page is aligned, and so are the words in it")]
    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.len(), "a word of the file");
        // SAFETY: the word is within the mapping, which begins at a page, or at a multiple of eight bytes in it, never
        // changes its length and lives as long as `self`. Its bytes are only ever touched through this function.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(at)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shared_and_end_with_their_file() {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(24).unwrap();
        let (one, other) = (Words::new(&file).unwrap(), Words::new(&file).unwrap());
        one.store(2, 7);
        assert_eq!((other.load(2), other.load(0), other.len()), (7, 0, 3));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| other.load(3))).is_err());
        file.set_len(25).unwrap();
        assert!(Words::new(&file).is_err());
    }

    #[test]
    fn a_part_of_a_file_is_the_same_memory_as_the_whole() {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(3 << 12).unwrap();
        let (whole, part) = (Words::new(&file).unwrap(), Words::part(&file, (1 << 12) + 8, 1 << 12).unwrap());
        part.store(0, 7);
        assert_eq!((whole.load(513), part.len()), (7, 512));
        assert_eq!(whole.compare_exchange(513, 6, 1), Err(7));
        assert_eq!(whole.compare_exchange(513, 7, 8), Ok(7));
        assert_eq!((whole.fetch_add(513, 2), part.load(0)), (8, 10));
        assert!(Words::part(&file, 4, 8).is_err());
    }
}
