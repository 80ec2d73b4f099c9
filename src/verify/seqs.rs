//! A set of object numbers, stored as runs: any number of them without gaps takes the space of one run.

use std::{collections::BTreeMap, ops::RangeInclusive};

/// Numbers, as runs from a first to a last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seqs(BTreeMap<u64, u64>);

impl Seqs {
    /// Adds a number. Returns false if the set had it.
    pub fn insert(&mut self, seq: u64) -> bool {
        let before = self.0.range(..=seq).next_back().map(|(&first, &last)| (first, last));
        if before.is_some_and(|(_, last)| last >= seq) {
            return false;
        }
        let first = match before {
            Some((first, last)) if last + 1 == seq => first,
            _ => seq,
        };
        let last = seq.checked_add(1).and_then(|next| self.0.remove(&next)).unwrap_or(seq);
        self.0.insert(first, last);
        true
    }

    pub fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(&first, _)| first)
    }

    pub fn last(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, &last)| last)
    }

    /// The missing numbers between the first and the last.
    pub fn gaps(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let starts = self.0.keys().skip(1);
        self.0.values().zip(starts).map(|(&last, &next)| last + 1..=next - 1)
    }

    /// Whether the number is missing between the first and the last.
    pub fn lacks(&self, seq: u64) -> bool {
        let below = self.0.range(..=seq).next_back();
        below.is_some_and(|(_, &last)| last < seq) && self.last().is_some_and(|last| seq < last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_number_needs_no_special_case() {
        let mut seqs = Seqs::default();
        assert!(seqs.insert(u64::MAX) && seqs.insert(u64::MAX - 1) && !seqs.insert(u64::MAX));
        assert!(seqs.insert(0));
        assert_eq!(seqs.gaps().collect::<Vec<_>>(), [1..=u64::MAX - 2]);
    }

    proptest! {
        #[test]
        fn runs_equal_a_set_in_any_order(numbers in prop::collection::vec(0..40_u64, 0..40)) {
            let (mut seqs, mut model) = (Seqs::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(seqs.insert(number), model.insert(number));
            }
            prop_assert_eq!((seqs.first(), seqs.last()), (model.first().copied(), model.last().copied()));
            let missing: Vec<_> = match (model.first(), model.last()) {
                (Some(&first), Some(&last)) => (first..=last).filter(|number| !model.contains(number)).collect(),
                _ => Vec::new(),
            };
            prop_assert_eq!(&seqs.gaps().flatten().collect::<Vec<_>>(), &missing);
            prop_assert_eq!((0..45).filter(|&number| seqs.lacks(number)).collect::<Vec<_>>(), missing);
        }
    }
}
