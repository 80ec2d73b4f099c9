//! Texts that many links share, each kept once.

use ahash::RandomState;
use hashbrown::{HashTable, hash_table::Entry};

/// Numbered texts; number 0 is the empty text.
pub struct Interned {
    texts: String,
    /// Where each ends.
    ends: Vec<u64>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Default for Interned {
    fn default() -> Self {
        let mut interned =
            Self { texts: String::new(), ends: Vec::new(), numbers: HashTable::new(), hasher: RandomState::new() };
        interned.number("");
        interned
    }
}

impl Interned {
    /// The number of a text.
    pub fn number(&mut self, text: &str) -> u32 {
        let Self { texts, ends, numbers, hasher } = self;
        let known = |number: u32| slice(texts, ends, number);
        let entry = numbers.entry(
            hasher.hash_one(text),
            |number| known(*number) == text,
            |number| hasher.hash_one(known(*number)),
        );
        match entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let number = ends.len() as u32;
                entry.insert(number);
                texts.push_str(text);
                ends.push(texts.len() as u64);
                number
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// All texts behind each other.
    pub fn texts(&self) -> &str {
        &self.texts
    }

    /// Where each text ends in [`texts`](Self::texts).
    pub fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// The text of a number.
    pub fn text(&self, number: u32) -> &str {
        slice(&self.texts, &self.ends, number)
    }
}

fn slice<'t>(texts: &'t str, ends: &[u64], number: u32) -> &'t str {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &texts[start as usize..ends[number] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number() {
        let mut interned = Interned::default();
        let numbers: Vec<_> = ["a", "", "bé", "a", "bé"].map(|text| interned.number(text)).into();
        assert_eq!(numbers, [1, 0, 2, 1, 2]);
        assert_eq!((interned.text(0), interned.text(1), interned.text(2)), ("", "a", "bé"));
        assert_eq!((interned.len(), interned.texts()), (3, "abé"));
    }
}
