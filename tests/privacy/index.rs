//! Finds many needles in one pass.
//!
//! An Aho-Corasick automaton of a million needles takes longer to build than all else here. So: the first bytes of each
//! needle lead to all that begin alike, and a table of bits spares nearly every look at those.

use std::collections::HashMap;

use ahash::RandomState;

/// Needles that begin with the same bytes.
type Alike<const N: usize> = HashMap<[u8; N], Vec<u32>, RandomState>;

/// The shortest needle.
const SHORT: usize = 4;
/// Needles of at least this length are distinguished by it.
const LONG: usize = 8;

const BITS: u32 = 25;

pub struct Index {
    long: Alike<LONG>,
    short: Alike<SHORT>,
    /// Beginnings that are known, by their hash.
    begins: Vec<u64>,
}

impl Index {
    pub fn new<'a>(needles: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut index = Self { long: Alike::default(), short: Alike::default(), begins: vec![0; 1 << (BITS - 6)] };
        for (number, needle) in needles.enumerate() {
            let bit = match (needle.first_chunk::<LONG>(), needle.first_chunk::<SHORT>()) {
                (Some(begin), _) => {
                    index.long.entry(*begin).or_default().push(number as u32);
                    bit_of_long(*begin)
                }
                (None, Some(begin)) => {
                    index.short.entry(*begin).or_default().push(number as u32);
                    bit_of_short(*begin)
                }
                (None, None) => panic!("a needle of less than {SHORT} bytes"),
            };
            index.begins[bit / 64] |= 1 << (bit % 64);
        }
        index
    }

    /// Calls `may_be` with each place, and each needle that may stand there: it begins alike.
    pub fn scan(&self, bytes: &[u8], mut may_be: impl FnMut(usize, u32)) {
        let known = |bit: usize| self.begins[bit / 64] >> (bit % 64) & 1 == 1;
        for at in 0..bytes.len() {
            let rest = &bytes[at..];
            if let Some(begin) = rest.first_chunk::<LONG>().filter(|begin| known(bit_of_long(**begin))) {
                self.long.get(begin).into_iter().flatten().for_each(|number| may_be(at, *number));
            }
            if let Some(begin) = rest.first_chunk::<SHORT>().filter(|begin| known(bit_of_short(**begin))) {
                self.short.get(begin).into_iter().flatten().for_each(|number| may_be(at, *number));
            }
        }
    }
}

fn bit_of_long(begin: [u8; LONG]) -> usize {
    (u64::from_le_bytes(begin).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

fn bit_of_short(begin: [u8; SHORT]) -> usize {
    // Another factor, so that the two kinds do not share their bits.
    (u64::from(u32::from_le_bytes(begin)).wrapping_mul(0xd1b5_4a32_d192_ed03) >> (64 - BITS)) as usize
}
