//! Changes inputs at random: one that was valid stays nearly so.

use fastrand::Rng;

/// Longest input.
const MAX_BYTES: usize = 64 * 1024;

/// Bytes that mean something to some parser.
const BYTES: &[u8] = b"\0\t\n\x0b\r \"#%&'+,-./0:;<=>?@[\\]{}~\x7f\x80\xc3\xff";

/// An input of the corpus with one to eight changes. `words` are texts that mean something to this parser.
pub fn mutated(random: &mut Rng, corpus: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = pick(random, corpus).clone();
    for _ in 0..random.usize(1..=8) {
        change(random, &mut bytes, corpus, words);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(random: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]]) {
    let at = random.usize(..=bytes.len());
    let end = (at + random.usize(..16)).min(bytes.len());
    match random.u8(..11) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 if at < bytes.len() => bytes[at] = *pick(random, BYTES),
        3 => bytes.insert(at, *pick(random, BYTES)),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let part = bytes[at..end].to_vec();
            let times = 1 << random.u32(..6);
            bytes.splice(at..at, part.repeat(times));
        }
        6 | 7 if !words.is_empty() => drop(bytes.splice(at..at, pick(random, words).iter().copied())),
        8 if !words.is_empty() => drop(bytes.splice(at..end, pick(random, words).iter().copied())),
        9 => {
            let other = pick(random, corpus);
            let from = random.usize(..=other.len());
            let to = (from + random.usize(..64)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        10 if random.u8(..8) == 0 => bytes.truncate(at),
        _ => {}
    }
}

fn pick<'a, T>(random: &mut Rng, of: &'a [T]) -> &'a T {
    &of[random.usize(..of.len())]
}
