//! External merge sort: orders more records than fit into memory.
//!
//! Records lie behind each other in one arena, and an index of their keys is sorted. When both hold the budget, they
//! are written as a sorted run to a file without a name (`runs`); at the end all runs are merged. Fewer records than
//! the budget never touch the disk.

mod runs;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use runs::unnamed_file;
use runs::{Merge, Runs};

/// What records are ordered by. No two records have the same `item`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SortKey {
    pub domain: u32,
    pub hash: u64,
    /// The order of input.
    pub item: u64,
}

/// Takes records in any order.
pub struct Sorter {
    held: Held,
    spill: Option<Spill>,
}

/// Where records go that do not fit.
struct Spill {
    dir: PathBuf,
    budget: usize,
    /// Made with the first run.
    runs: Option<Runs>,
}

impl Sorter {
    /// Never spills.
    pub fn in_memory() -> Self {
        Self { held: Held::default(), spill: None }
    }

    /// Writes a sorted run to a file in `dir` whenever `budget` bytes are held. The file has no name, so that nothing
    /// is left of it, however the process ends.
    pub fn spilling(dir: &Path, budget: usize) -> Self {
        // Memory that is reserved and not yet written to is not in use. Growing would hold it twice.
        let held = Held { bytes: Vec::with_capacity(budget), slots: Vec::with_capacity(budget / size_of::<Slot>()) };
        Self { held, spill: Some(Spill { dir: dir.into(), budget, runs: None }) }
    }

    /// Adds a record. `line` travels along.
    ///
    /// # Errors
    /// When a run cannot be written, or the record is over 4 GiB. The sorter is of no use then.
    pub fn push(&mut self, key: SortKey, line: u64, record: &[u8]) -> io::Result<()> {
        let length = u32::try_from(record.len()).map_err(|_| io::Error::other("a record is over 4 GiB"))?;
        if let Some(spill) = &mut self.spill
            && self.held.size() + Held::cost(record.len()) > spill.budget
        {
            spill.write(&mut self.held)?;
        }
        self.held.push(key, line, length, record);
        Ok(())
    }

    /// Sorts what was added.
    ///
    /// # Errors
    /// When runs cannot be written or read.
    pub fn finish(mut self) -> io::Result<Sorted> {
        if let Some(mut spill) = self.spill
            && spill.runs.is_some()
        {
            spill.write(&mut self.held)?;
            drop(self.held);
            let runs = spill.runs.map(|runs| runs.merge(&spill.dir, spill.budget)).transpose()?;
            return Ok(Sorted(runs.map_or_else(|| Order::Held(Held::default(), 0), Order::Merged)));
        }
        self.held.sort();
        Ok(Sorted(Order::Held(self.held, 0)))
    }
}

impl Spill {
    /// Writes what is held as one run, and empties it.
    fn write(&mut self, held: &mut Held) -> io::Result<()> {
        if held.slots.is_empty() {
            return Ok(());
        }
        let runs = match &mut self.runs {
            Some(runs) => runs,
            None => self.runs.insert(Runs::create(&self.dir)?),
        };
        held.sort();
        let mut run = runs.begin();
        for at in 0..held.slots.len() {
            let (key, line, record) = held.at(at);
            run.push(key, line, record)?;
        }
        run.end()?;
        held.slots.clear();
        held.bytes.clear();
        Ok(())
    }
}

/// Records in the order of their keys.
pub struct Sorted(Order);

enum Order {
    /// All of them are in memory; with the number of those handed out.
    Held(Held, usize),
    Merged(Merge),
}

impl Sorted {
    /// The next record, its key and its line.
    ///
    /// # Errors
    /// When a run cannot be read.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend what it reads next")]
    pub fn next(&mut self) -> io::Result<Option<(SortKey, u64, &[u8])>> {
        match &mut self.0 {
            Order::Held(held, next) if *next < held.slots.len() => {
                *next += 1;
                Ok(Some(held.at(*next - 1)))
            }
            Order::Held(..) => Ok(None),
            Order::Merged(merge) => merge.next(),
        }
    }
}

/// Records in memory.
#[derive(Default)]
struct Held {
    /// Of each record its line, its length and its bytes.
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

struct Slot {
    key: SortKey,
    /// Where it begins in `bytes`.
    start: usize,
}

impl Held {
    const HEAD: usize = 12;

    fn cost(length: usize) -> usize {
        size_of::<Slot>() + Self::HEAD + length
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    fn push(&mut self, key: SortKey, line: u64, length: u32, record: &[u8]) {
        self.slots.push(Slot { key, start: self.bytes.len() });
        self.bytes.extend_from_slice(&line.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(record);
    }

    fn sort(&mut self) {
        self.slots.sort_unstable_by_key(|slot| slot.key);
    }

    fn at(&self, at: usize) -> (SortKey, u64, &[u8]) {
        let Slot { key, start } = self.slots[at];
        let record = &self.bytes[start..];
        let length = runs::number(&record[8..12]) as usize;
        (key, runs::number(&record[..8]), &record[Self::HEAD..Self::HEAD + length])
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use proptest::prelude::*;

    use super::*;

    type Record = (SortKey, u64, Vec<u8>);

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let record = (0..4_u32, 0..9_u64, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..80));
        proptest::collection::vec(record, 0..300).prop_map(|records| {
            let key = |item, domain, hash| SortKey { domain, hash, item };
            let records = records.into_iter().enumerate();
            records
                .map(|(item, (domain, hash, line, record))| (key(item as u64, domain, hash), line, record))
                .collect()
        })
    }

    fn sort(mut sorter: Sorter, records: &[Record]) -> io::Result<Vec<Record>> {
        for (key, line, record) in records {
            sorter.push(*key, *line, record)?;
        }
        let mut sorted = sorter.finish()?;
        let mut all = Vec::new();
        while let Some((key, line, record)) = sorted.next()? {
            all.push((key, line, record.into()));
        }
        assert!(sorted.next()?.is_none());
        Ok(all)
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    proptest! {
        /// The smallest budget makes a run of each record, so that runs are merged in passes.
        #[test]
        fn records_come_out_in_order_whatever_the_budget(records in records(), budget in 0..20_000_usize) {
            let dir = tempfile::tempdir().unwrap();
            let mut expected = records.clone();
            expected.sort_by_key(|(key, ..)| *key);
            prop_assert_eq!(&sort(Sorter::in_memory(), &records).unwrap(), &expected);
            prop_assert_eq!(&sort(Sorter::spilling(dir.path(), budget), &records).unwrap(), &expected);
            prop_assert_eq!(&sort(Sorter::spilling(dir.path(), 0), &records).unwrap(), &expected);
            prop_assert_eq!(files(dir.path()), 0);
        }
    }

    fn numbered(count: u64, length: usize) -> Vec<Record> {
        (0..count).map(|item| (SortKey { domain: 0, hash: !item, item }, item, vec![item as u8; length])).collect()
    }

    #[test]
    fn a_record_that_is_larger_than_every_buffer_is_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let records = numbered(3, 3 << 20);
        let sorted = sort(Sorter::spilling(dir.path(), 1), &records).unwrap();
        assert!(sorted.iter().eq(records.iter().rev()));
    }

    #[test]
    fn records_within_the_budget_need_no_folder() {
        let records = numbered(100, 10);
        assert_eq!(sort(Sorter::spilling(Path::new("/nonexistent"), 1 << 20), &records).unwrap().len(), 100);
        let error = sort(Sorter::spilling(Path::new("/nonexistent"), 1 << 10), &records).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::spilling(dir.path(), 1 << 10);
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        sorter.spill.as_mut().unwrap().runs = Some(Runs::new(full));
        let error = sort(sorter, &numbered(100, 100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(files(dir.path()), 0);
    }
}
