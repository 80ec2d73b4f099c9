//! The header of a snapshot file, 1,024 bytes.
//!
//! ```text
//! offset  size  field (little endian)
//!      0     8  `clickcat`
//!      8     4  version
//!     16     8  generation
//!     24     8  revision of the last change that it contains
//!     32    32  hash of all links and domains ([`StateHash`])
//!     64     8  links           72  8  active links
//!     80     8  domains         88  8  when it was made, in seconds since the Unix epoch
//!     96    16  key of the hash of slashtags
//!    112     8  number of texts   120  8  number of policies
//!    128    32  BLAKE3 of everything behind the header
//!    160   ...  start and end of each section
//!    960    16  log whose revision that is; zeros for a snapshot that has none, or is of a fleet
//!    992    32  BLAKE3 of the bytes before
//! ```

use std::ops::Range;

use super::{BadSnapshot, HashKey};
use crate::catalog::{change::Position, change_log::Identity, state_hash::StateHash};

/// Size of the header, in bytes.
pub const SIZE: usize = 1_024;

/// The version that this build writes and reads.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"clickcat";

const SECTIONS_AT: usize = 160;

const LOG_AT: usize = 960;

const HASH_AT: usize = SIZE - 32;

pub const RECORDS: usize = 0;
pub const BUCKETS: usize = 1;
pub const PROFILES: usize = 2;
pub const TEXTS: usize = 3;
pub const POLICIES: usize = 4;
pub const DOMAINS: usize = 5;
pub const LIMITED: usize = 6;
pub const WORKSPACES: usize = 7;
pub const SECTIONS: usize = 8;

/// What a snapshot says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Header {
    pub position: Position,
    pub links: u64,
    /// Links that are answered with their destination.
    pub active: u64,
    pub domains: u64,
    /// When it was made, in seconds since the Unix epoch.
    pub made_secs: u64,
    /// Key of the hash that sorts slashtags.
    pub key: HashKey,
    /// Number of texts, and of policies; number 0 is empty.
    pub texts: u64,
    pub policies: u64,
    /// The log whose changes it contains, and whose revision that is; zeros without one.
    pub log: Identity,
    /// BLAKE3 of everything behind the header.
    pub checksum: [u8; 32],
    /// Where each section lies, in bytes.
    pub sections: [Range<u64>; SECTIONS],
}

impl Header {
    /// Whether bytes begin like those of a snapshot.
    pub fn is_magic(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.sections.iter().map(|section| section.end).max().unwrap_or_default().max(SIZE as u64)
    }

    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, MAGIC);
        put(8, &VERSION.to_le_bytes());
        let Position { generation, revision, hash } = self.position;
        put(32, &hash.to_bytes());
        let numbers = [
            (16, generation),
            (24, revision),
            (64, self.links),
            (72, self.active),
            (80, self.domains),
            (88, self.made_secs),
            (112, self.texts),
            (120, self.policies),
        ];
        for (at, number) in numbers {
            put(at, &number.to_le_bytes());
        }
        put(96, &self.key);
        put(LOG_AT, &self.log);
        put(128, &self.checksum);
        for (number, section) in self.sections.iter().enumerate() {
            put(SECTIONS_AT + 16 * number, &section.start.to_le_bytes());
            put(SECTIONS_AT + 16 * number + 8, &section.end.to_le_bytes());
        }
        let hash = blake3::hash(&bytes[..HASH_AT]);
        bytes[HASH_AT..].copy_from_slice(hash.as_bytes());
        bytes
    }

    /// Reads the header of a file.
    ///
    /// # Errors
    /// When it is of no snapshot, of another version, truncated or damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, BadSnapshot> {
        if !Self::is_magic(bytes) {
            return Err(BadSnapshot::Foreign);
        }
        let Some(bytes) = bytes.first_chunk::<SIZE>() else {
            return Err(BadSnapshot::Length { expected: SIZE as u64, found: bytes.len() as u64 });
        };
        let version = u32::from_le_bytes(part(bytes, 8));
        if version != VERSION {
            return Err(BadSnapshot::Version(version));
        }
        if *blake3::hash(&bytes[..HASH_AT]).as_bytes() != part(bytes, HASH_AT) {
            return Err(BadSnapshot::Header);
        }
        let number = |at: usize| u64::from_le_bytes(part(bytes, at));
        Ok(Self {
            position: Position {
                generation: number(16),
                revision: number(24),
                hash: StateHash::from_bytes(part(bytes, 32)),
            },
            links: number(64),
            active: number(72),
            domains: number(80),
            made_secs: number(88),
            key: part(bytes, 96),
            log: part(bytes, LOG_AT),
            texts: number(112),
            policies: number(120),
            checksum: part(bytes, 128),
            sections: std::array::from_fn(|section| {
                let at = SECTIONS_AT + 16 * section;
                number(at)..number(at + 8)
            }),
        })
    }
}

fn part<const N: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    bytes[at..].first_chunk().copied().unwrap_or([0; N])
}
