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

use memmap2::{Advice, MmapRaw};

/// A mapped file of words. Any thread may load and store any word at any time.
pub struct Words {
    map: MmapRaw,
}

impl Words {
    /// Maps a whole file, of a multiple of eight bytes.
    pub fn new(file: &File) -> io::Result<Self> {
        let map = MmapRaw::map_raw(file)?;
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

    #[allow(clippy::cast_ptr_alignment, reason = "a page is aligned, and so are the words in it")]
    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.len(), "a word of the file");
        // SAFETY: the word is within the mapping, which begins at a page, never changes its length and lives as long as
        // `self`. Its bytes are only ever touched through this function.
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
}
