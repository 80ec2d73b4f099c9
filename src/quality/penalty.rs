//! Penalties for visitors who flood a link: set by the workers, read by the redirect.
//!
//! A fixed table of [`CELLS`] numbers, written and read without a lock. A cell holds half of the visitor's hash and
//! the second at which the penalty ends; a newer penalty replaces the one in its cell, so memory is bounded, and of two
//! visitors who share a cell the later one is blocked. The hash is keyed: the key is random, lives in this process only
//! and is never stored, and so is the hash.

use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;

/// Penalties that are remembered at most.
pub const CELLS: usize = 1 << 16;

/// The visitors that are blocked for a while.
pub struct Penalties {
    cells: Box<[AtomicU64]>,
    keyed: RandomState,
    secs: AtomicU64,
}

impl Penalties {
    /// None yet. A penalty lasts for `secs`.
    pub fn new(secs: u64) -> Self {
        Self { cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(), keyed: RandomState::new(), secs: secs.into() }
    }

    /// Makes penalties from now on last for so long. One that would last longer than that ends at once.
    pub fn set_secs(&self, secs: u64) {
        self.secs.store(secs, Ordering::Relaxed);
    }

    /// Blocks the visitor at this address (its bytes for hashing) with this agent for a while from `now` on, in
    /// seconds since the Unix epoch.
    pub fn add(&self, address: &[u8], agent: &[u8], now: u64) {
        let hash = self.keyed.hash_one((address, agent));
        self.cell(hash)
            .store(hash << 32 | (now + self.secs.load(Ordering::Relaxed)) & 0xffff_ffff, Ordering::Relaxed);
    }

    /// Whether the visitor is blocked.
    pub fn has(&self, address: &[u8], agent: &[u8], now: u64) -> bool {
        let hash = self.keyed.hash_one((address, agent));
        let cell = self.cell(hash).load(Ordering::Relaxed);
        let until = cell & 0xffff_ffff;
        // A clock that went back far must not make a penalty longer.
        cell >> 32 == hash & 0xffff_ffff && now < until && until - now <= self.secs.load(Ordering::Relaxed)
    }

    fn cell(&self, hash: u64) -> &AtomicU64 {
        &self.cells[(hash >> 32) as usize % CELLS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_is_for_one_visitor_and_ends() {
        let penalties = Penalties::new(60);
        let now = 1_795_424_462;
        assert!(!penalties.has(b"1", b"a", now));
        penalties.add(b"1", b"a", now);
        assert!(penalties.has(b"1", b"a", now) && penalties.has(b"1", b"a", now + 59));
        assert!(!penalties.has(b"1", b"a", now + 60));
        assert!(!penalties.has(b"1", b"a", now - 1), "a clock that went back");
        assert!(!penalties.has(b"1", b"b", now) && !penalties.has(b"2", b"a", now));
    }

    #[test]
    fn as_many_as_there_are_cells_are_remembered_and_no_more() {
        let penalties = Penalties::new(60);
        for n in 0..200_000_u32 {
            penalties.add(&n.to_le_bytes(), b"", 1_000);
        }
        let blocked = (0..200_000_u32).filter(|n| penalties.has(&n.to_le_bytes(), b"", 1_000)).count();
        assert!((CELLS / 2..=CELLS).contains(&blocked), "{blocked}");
        assert!(penalties.has(&199_999_u32.to_le_bytes(), b"", 1_000), "the latest always is");
    }
}
