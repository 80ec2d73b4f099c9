//! A hash of everything that a catalog says, which two catalogs share if and only if they say the same.
//!
//! Each link and each domain has a hash of its fields (BLAKE3, 256 bits); the catalog's is their sum modulo 2^256. It
//! does not depend on the order or the layout of links, and a change costs one subtraction and one addition, however
//! many links there are. It finds accidents and bugs. Who may write to the bucket can write any links, and needs no
//! collision: against others, files carry a checksum.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The hash of a catalog's links and domains.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct StateHash([u64; 4]);

impl StateHash {
    /// From the 32 bytes of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Self(words)
    }

    /// 32 bytes, little endian.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// With one link or domain more.
    pub fn add(&mut self, item: ItemHash) {
        let mut carry = false;
        for (word, other) in self.0.iter_mut().zip(Self::from_bytes(item.0).0) {
            let (sum, first) = word.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, first || second);
        }
    }

    /// With one link or domain less.
    pub fn remove(&mut self, item: ItemHash) {
        let mut borrow = false;
        for (word, other) in self.0.iter_mut().zip(Self::from_bytes(item.0).0) {
            let (rest, first) = word.overflowing_sub(other);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (rest, first || second);
        }
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`StateHash`].
#[derive(Debug, thiserror::Error)]
#[error("a hash of a catalog has 64 hexadecimal digits")]
pub struct BadStateHash;

impl FromStr for StateHash {
    type Err = BadStateHash;

    fn from_str(text: &str) -> Result<Self, BadStateHash> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| BadStateHash)?;
        Ok(Self::from_bytes(*hash.as_bytes()))
    }
}

impl Serialize for StateHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The hash of one link or domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ItemHash(pub(super) [u8; 32]);

impl ItemHash {
    /// Of its fields, in a fixed order. `kind` distinguishes links and domains.
    pub(super) fn of<'f>(kind: u8, fields: impl IntoIterator<Item = &'f [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        for field in fields {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// A strong entity tag (RFC 9110, 8.8.3), with its quotes.
    pub fn etag(self) -> String {
        format!("\"{:016x}\"", self.0[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(seed: u64) -> ItemHash {
        ItemHash::of(0, [&seed.to_le_bytes()[..]])
    }

    proptest! {
        #[test]
        fn a_hash_knows_what_is_there_and_not_in_which_order(mut seeds in proptest::collection::vec(0..9_u64, 0..20)) {
            let hash = |seeds: &[u64]| {
                let mut hash = StateHash::default();
                for seed in seeds {
                    hash.add(item(*seed));
                }
                hash
            };
            let forwards = hash(&seeds);
            seeds.reverse();
            prop_assert_eq!(hash(&seeds), forwards);
            let mut more = forwards;
            more.add(item(9));
            prop_assert_ne!(more, forwards);
            more.remove(item(9));
            prop_assert_eq!(more, forwards);
            prop_assert_eq!(forwards.to_string().parse::<StateHash>().unwrap(), forwards);
        }
    }

    #[test]
    fn sums_carry_and_differences_borrow_over_all_words() {
        let mut hash = StateHash::default();
        hash.remove(ItemHash([1; 32]));
        hash.add(ItemHash([0; 32]));
        assert_ne!(hash, StateHash::default());
        hash.add(ItemHash([1; 32]));
        assert_eq!(hash, StateHash::default());
    }

    #[test]
    fn fields_keep_their_borders() {
        assert_ne!(ItemHash::of(0, [&b"ab"[..], b"c"]), ItemHash::of(0, [&b"a"[..], b"bc"]));
        assert_ne!(ItemHash::of(0, [&b"a"[..]]), ItemHash::of(1, [&b"a"[..]]));
        assert_eq!(item(1).etag().len(), 18);
    }
}
