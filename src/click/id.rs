//! The event id: a version 7 UUID, decided at capture and the same after any replay.
//!
//! 48 bits of milliseconds, 12 bits of the fraction of that millisecond (RFC 9562, method 3) and 62 random bits: ids
//! sort by time to a quarter of a microsecond, and two edges would have to draw the same 62 bits within one such
//! quarter to collide. The random bits come from a per-thread generator that the operating system seeds; they
//! make ids distinct and protect nothing.

use std::{cell::RefCell, fmt, str};

/// Identity of a click event.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EventId([u8; 16]);

thread_local! {
    static RANDOM: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::with_seed(seed()));
}

fn seed() -> u64 {
    // The fallback is the generator's own seed: process, thread and time.
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

impl EventId {
    /// A new id for a click that was answered at `micros` since the Unix epoch.
    pub fn at(micros: u64) -> Self {
        let (millis, rest) = (micros / 1_000, micros % 1_000);
        let random = RANDOM.with_borrow_mut(|random| random.u64(..));
        let high = (millis << 16) | 0x7000 | (rest * 4096 / 1_000);
        let low = (random >> 2) | (0b10 << 62);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        Self(bytes)
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads an id as [`EventId::encode`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(id.into_bytes()))
    }

    /// When the click was answered, in milliseconds since the Unix epoch.
    pub fn millis(&self) -> u64 {
        self.0[..6].iter().fold(0, |millis, byte| millis << 8 | u64::from(*byte))
    }

    /// The id as 36 characters, written into `buffer`.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; 36]) -> &'a str {
        uuid::Uuid::from_bytes(self.0).hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 36]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_sort_by_time_and_are_version_7() {
        let ids: Vec<_> = (0..2_000).map(|micros| EventId::at(1_795_000_000_000_000 + micros).to_string()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        let parsed = uuid::Uuid::parse_str(&ids[0]).ok();
        assert_eq!(parsed.map(|id| id.get_version_num()), Some(7));
        assert_eq!(
            EventId::parse(&ids[0]).map(|id| (id.to_string(), id.millis())),
            Some((ids[0].clone(), 1_795_000_000_000))
        );
        assert_eq!(parsed.map(|id| id.get_variant()), Some(uuid::Variant::RFC4122));
    }

    #[test]
    fn ids_of_one_microsecond_differ_between_threads() {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| (0..1_000).map(|_| EventId::at(7)).collect::<Vec<_>>())).collect();
        let ids: HashSet<_> =
            threads.into_iter().flat_map(|t| t.join().unwrap_or_default()).map(|id| id.to_string()).collect();
        assert_eq!(ids.len(), 4_000);
    }
}
