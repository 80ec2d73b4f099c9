//! The table of counts: a mapped file, which all threads of two processes may write at a time.
//!
//! ```text
//! word 0     magic
//! word 1     version of all that follows, CRC32C of magic and version
//! word 2     levels
//! word 3     links that have a slot
//! word 4     counted clicks since the table began, those before the last start included
//! word 512-  level 0, level 1 and so on: buckets of 16 slots
//!
//! slot:      word 0  the link; 0 when the slot is empty
//!            word 1  bits 48-63: the last day on which it was asked for or in the catalog, since 1970
//!                    bits 0-47: its clicks
//! ```
//! Words have 64 bits, in the byte order of this machine. Level 0 has [`LEAST`] slots, and each further level as many
//! as all before it: the table doubles, and no slot ever moves.
//!
//! **Each link has one slot.** A link goes to the first empty slot of its bucket, in the first level where that bucket
//! is not full. No slot is ever emptied, so each look for the link passes the same full buckets, and ends at the same
//! slot: the one that has it, or the empty one that only one thread can claim. A level that is added meanwhile comes
//! after these. So a count is exact, as each click is added to it by a single compare and exchange.
//!
//! **Growth.** The table grows when a quarter of the slots is taken, so that hardly any bucket of the last level is
//! ever full. A process allocates the level, and publishes it by its number; when two do so at a time, the second one
//! changes nothing. Pages are allocated first: a full tmpfs answers a later store with `SIGBUS`.

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use once_cell::sync::OnceCell;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use crate::runtime::Words;

const MAGIC: u64 = u64::from_le_bytes(*b"clklimit");

const VERSION: u32 = 1;

/// Words before level 0.
const HEADER: usize = 512;

const LEVELS: usize = 2;
const USED: usize = 3;
const COUNTED: usize = 4;

/// Slots of level 0, and of level 1.
const LEAST: u64 = 1 << 14;

/// Most levels: 67 million slots in 1 GiB.
const MAX_LEVELS: usize = 13;

const SLOT: usize = 2;
const WAYS: usize = 16;

/// Slots for each link that is expected: see the header.
const SPARE: u64 = 4;

const CLICKS: u64 = (1 << 48) - 1;

/// The table.
pub(super) struct Table {
    file: File,
    header: Words,
    /// Those that another process has added are mapped when they are needed.
    levels: [OnceCell<Words>; MAX_LEVELS],
    /// Whether a link found no slot: reported once.
    overflowed: AtomicBool,
}

/// What a slot holds besides the link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Count {
    /// Since 1970.
    pub day: u16,
    pub clicks: u64,
}

/// No slot is free for the link.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Full {
    /// Whether it is the first time.
    pub is_first: bool,
}

impl Count {
    pub fn unpack(word: u64) -> Self {
        Self { day: (word >> 48) as u16, clicks: word & CLICKS }
    }

    pub fn pack(self) -> u64 {
        u64::from(self.day) << 48 | self.clicks.min(CLICKS)
    }

    /// Of two counts of one link, as neither day nor clicks ever go back.
    pub fn join(self, other: Self) -> Self {
        Self { day: self.day.max(other.day), clicks: self.clicks.max(other.clicks) }
    }
}

impl Table {
    /// Writes an empty table into an empty file, with slots for so many links at least.
    pub fn create(file: File, links: u64, counted: u64) -> io::Result<Self> {
        let levels = levels_for(links);
        allocate(&file, bytes(levels))?;
        let header = Words::part(&file, 0, HEADER * 8)?;
        let words = [MAGIC, version(), levels as u64, 0, counted];
        words.into_iter().enumerate().for_each(|(at, word)| header.store(at, word));
        Ok(Self::of(file, header))
    }

    /// Maps a table. The inner error says why the file is not one.
    pub fn open(file: File) -> io::Result<Result<Self, &'static str>> {
        let length = file.metadata()?.len();
        if length < bytes(1) {
            return Ok(Err("it is truncated"));
        }
        let header = Words::part(&file, 0, HEADER * 8)?;
        if header.load(0) == MAGIC && header.load(1) as u32 != VERSION {
            return Ok(Err("it was written by another release"));
        }
        if (header.load(0), header.load(1)) != (MAGIC, version()) {
            return Ok(Err("its header is damaged"));
        }
        let levels = header.load(LEVELS);
        if levels == 0 || levels > MAX_LEVELS as u64 || length < bytes(levels as usize) {
            return Ok(Err("it is truncated"));
        }
        Ok(Ok(Self::of(file, header)))
    }

    fn of(file: File, header: Words) -> Self {
        Self { file, header, levels: Default::default(), overflowed: AtomicBool::new(false) }
    }

    /// Counts a click of a link that may have so many. Whether it is one of them.
    pub fn take(&self, link: u64, max: u64, today: u16) -> Result<bool, Full> {
        let Some((level, at)) = self.slot(link, true) else {
            return Err(Full { is_first: !self.overflowed.swap(true, Ordering::Relaxed) });
        };
        let mut word = level.load(at + 1);
        loop {
            let count = Count::unpack(word);
            let is_within = count.clicks < max.min(CLICKS);
            let new = Count { day: count.day.max(today), clicks: count.clicks + u64::from(is_within) };
            if new == count {
                return Ok(false);
            }
            match level.compare_exchange(at + 1, word, new.pack()) {
                Ok(_) => {
                    self.header.fetch_add(COUNTED, u64::from(is_within));
                    return Ok(is_within);
                }
                Err(found) => word = found,
            }
        }
    }

    /// The clicks of a link.
    pub fn clicks(&self, link: u64) -> u64 {
        self.slot(link, false).map_or(0, |(level, at)| Count::unpack(level.load(at + 1)).clicks)
    }

    /// Notes that the catalog has the link, if it has a slot.
    pub fn touch(&self, link: u64, today: u16) {
        if let Some((level, at)) = self.slot(link, false) {
            raise(level, at, Count { day: today, clicks: 0 });
        }
    }

    /// Adds a link that was counted before.
    pub fn restore(&self, link: u64, count: Count) -> Result<(), Full> {
        let (level, at) = self.slot(link, true).ok_or(Full { is_first: false })?;
        raise(level, at, count);
        Ok(())
    }

    /// All links that have a slot.
    pub fn entries(&self) -> impl Iterator<Item = (u64, Count)> {
        (0..self.levels()).filter_map(|level| self.level(level)).flat_map(|words| {
            let slots = (0..words.len()).step_by(SLOT).map(|at| (words.load(at), at));
            slots.filter(|(link, _)| *link != 0).map(|(link, at)| (link, Count::unpack(words.load(at + 1))))
        })
    }

    /// Links that have a slot.
    pub fn used(&self) -> u64 {
        self.header.load(USED)
    }

    /// Counted clicks: changes with each of them.
    pub fn counted(&self) -> u64 {
        self.header.load(COUNTED)
    }

    /// Makes room for so many links, and for as many as there are.
    ///
    /// # Errors
    /// When there is no memory, or the table has its largest size.
    pub fn reserve(&self, links: u64) -> io::Result<()> {
        let needed = levels_for(links.max(self.used()));
        loop {
            let levels = self.levels();
            if levels >= needed {
                return Ok(());
            }
            allocate(&self.file, bytes(levels + 1))?;
            // Another process may have published it.
            _ = self.header.compare_exchange(LEVELS, levels as u64, levels as u64 + 1);
        }
    }

    fn levels(&self) -> usize {
        (self.header.load(LEVELS) as usize).min(MAX_LEVELS)
    }

    /// `None` when there is no such level, or it cannot be mapped.
    fn level(&self, level: usize) -> Option<&Words> {
        if level >= self.levels() {
            return None;
        }
        let map = || Words::part(&self.file, bytes(level), (bytes(level + 1) - bytes(level)) as usize);
        self.levels[level].get_or_try_init(map).ok()
    }

    /// The slot of a link, an empty one if it may be claimed.
    fn slot(&self, link: u64, claim: bool) -> Option<(&Words, usize)> {
        for number in 0..MAX_LEVELS {
            let level = self.level(number)?;
            let buckets = level.len() / (WAYS * SLOT);
            // Other bits in each level: what shares a full bucket is spread in the next one.
            let bucket = link.rotate_right(13 * number as u32) as usize % buckets;
            for way in 0..WAYS {
                let at = (bucket * WAYS + way) * SLOT;
                let mut found = level.load(at);
                if found == 0 {
                    if !claim {
                        return None;
                    }
                    match level.compare_exchange(at, 0, link) {
                        Ok(_) => {
                            self.header.fetch_add(USED, 1);
                            return Some((level, at));
                        }
                        Err(other) => found = other,
                    }
                }
                if found == link {
                    return Some((level, at));
                }
            }
        }
        None
    }
}

fn raise(level: &Words, at: usize, count: Count) {
    let mut word = level.load(at + 1);
    while let joined = Count::unpack(word).join(count).pack()
        && joined != word
    {
        match level.compare_exchange(at + 1, word, joined) {
            Ok(_) => return,
            Err(found) => word = found,
        }
    }
}

fn version() -> u64 {
    let mut text = [0; 12];
    text[..8].copy_from_slice(&MAGIC.to_le_bytes());
    text[8..].copy_from_slice(&VERSION.to_le_bytes());
    u64::from(VERSION) | u64::from(crc_fast::crc32_iscsi(&text)) << 32
}

/// Levels with enough slots for so many links.
fn levels_for(links: u64) -> usize {
    let doublings = links.saturating_mul(SPARE).div_ceil(LEAST).checked_next_power_of_two().map_or(64, u64::ilog2);
    (doublings as usize + 1).min(MAX_LEVELS)
}

/// Bytes of the header and so many levels.
fn bytes(levels: usize) -> u64 {
    let slots = if levels == 0 { 0 } else { LEAST << (levels - 1) };
    HEADER as u64 * 8 + slots * SLOT as u64 * 8
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // A ramfs has no limit and no fallocate.
        Err(Errno::OPNOTSUPP) if file.metadata()?.len() < bytes => file.set_len(bytes),
        Err(Errno::OPNOTSUPP) => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Barrier, thread};

    use proptest::prelude::*;

    use super::*;

    fn table(links: u64) -> Table {
        Table::create(tempfile::tempfile_in("/dev/shm").unwrap(), links, 0).unwrap()
    }

    /// As a second process maps it.
    fn again(table: &Table) -> Table {
        Table::open(table.file.try_clone().unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_link_is_answered_as_often_as_it_may_be() {
        let table = table(0);
        let answered: Vec<_> = (0..5).map(|_| table.take(7, 3, 1).unwrap()).collect();
        assert_eq!(answered, [true, true, true, false, false]);
        assert_eq!((table.clicks(7), table.clicks(8), table.used(), table.counted()), (3, 0, 1, 3));
        assert_eq!(table.take(7, 4, 1), Ok(true), "a raised limit");
        assert_eq!(table.take(7, 2, 1), Ok(false), "a lowered limit");
        assert_eq!(table.take(7, 0, 1), Ok(false));
    }

    #[test]
    fn threads_of_two_processes_share_a_limit_exactly() {
        const LINKS: u64 = 50;
        const MAX: u64 = 997;
        let one = table(0);
        let other = again(&one);
        let barrier = Barrier::new(4);
        let clicks = |table: &Table| -> u64 {
            barrier.wait();
            (0..MAX * LINKS / 2).map(|n| u64::from(table.take(n % LINKS + 1, MAX, 1).unwrap())).sum()
        };
        let answered: u64 = thread::scope(|scope| {
            let clicks = &clicks;
            let threads = [&one, &other, &one, &other].map(|table| scope.spawn(move || clicks(table)));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(answered, MAX * LINKS);
        assert!((1..=LINKS).all(|link| one.clicks(link) == MAX && other.clicks(link) == MAX));
    }

    #[test]
    fn a_table_grows_while_two_processes_count_in_it() {
        const LINKS: u64 = 60_000;
        let one = table(0);
        let other = again(&one);
        let answered: u64 = thread::scope(|scope| {
            let threads = [&one, &other].map(|table| {
                scope.spawn(move || {
                    let mut answered = 0;
                    for link in (0..LINKS).map(mixed) {
                        table.reserve(0).unwrap();
                        answered += u64::from(table.take(link, 1, 1).unwrap());
                    }
                    answered
                })
            });
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((answered, one.used()), (LINKS, LINKS));
        assert!(one.levels() > 3 && one.levels() == other.levels());
        assert!((0..LINKS).map(mixed).all(|link| other.take(link, 1, 1) == Ok(false)));
        assert_eq!(one.entries().count() as u64, LINKS);
    }

    #[test]
    fn a_link_without_a_slot_is_reported_once_as_the_first() {
        let table = table(0);
        let full: Vec<_> = (0..64).filter_map(|n| table.take(1 | n << 40, 1, 1).err()).collect();
        assert_eq!(full.iter().filter(|full| full.is_first).count(), 1);
        assert_eq!(full.len(), 64 - WAYS);
    }

    #[test]
    fn only_a_whole_table_of_this_release_is_opened() {
        let reason = |change: &dyn Fn(&File)| {
            let table = table(0);
            change(&table.file);
            Table::open(table.file).unwrap().err()
        };
        let store = |at, word| move |file: &File| Words::new(file).unwrap().store(at, word);
        assert_eq!(reason(&|_| ()), None);
        assert_eq!(reason(&|file| file.set_len(100).unwrap()), Some("it is truncated"));
        assert_eq!(reason(&|file| file.set_len(bytes(1) - 8).unwrap()), Some("it is truncated"));
        assert_eq!(reason(&store(LEVELS, 2)), Some("it is truncated"));
        assert_eq!(reason(&store(LEVELS, 0)), Some("it is truncated"));
        assert_eq!(reason(&store(LEVELS, u64::MAX)), Some("it is truncated"));
        assert_eq!(reason(&store(0, 1)), Some("its header is damaged"));
        assert_eq!(reason(&store(1, 2)), Some("it was written by another release"));
        assert_eq!(reason(&store(1, 1)), Some("its header is damaged"));
    }

    #[test]
    fn room_is_made_for_the_links_of_a_catalog() {
        assert_eq!([0, 1, 4_096, 4_097, 8_192, 1_000_000].map(levels_for), [1, 1, 1, 2, 2, 9]);
        assert_eq!(levels_for(u64::MAX), MAX_LEVELS);
        let table = table(20_000);
        assert!((0..20_000).map(mixed).all(|link| table.take(link, 1, 1) == Ok(true)));
    }

    /// A bijection that spreads numbers.
    fn mixed(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    proptest! {
        #[test]
        fn a_table_agrees_with_a_map(
            steps in proptest::collection::vec((1..20u64, 0..6u64, 0..9u16, 0..4u8), 0..200)
        ) {
            let one = table(0);
            let tables = [again(&one), one];
            let mut model: HashMap<u64, Count> = HashMap::new();
            for (number, (link, max, day, step)) in steps.into_iter().enumerate() {
                let table = &tables[number % 2];
                match step {
                    0 => {
                        table.touch(link, day);
                        model.entry(link).and_modify(|count| count.day = count.day.max(day));
                    }
                    1 => {
                        let count = Count { day, clicks: max };
                        table.restore(link, count).unwrap();
                        let known = model.entry(link).or_default();
                        *known = known.join(count);
                    }
                    _ => {
                        let known = model.entry(link).or_default();
                        let is_within = known.clicks < max;
                        *known = Count { day: known.day.max(day), clicks: known.clicks + u64::from(is_within) };
                        prop_assert_eq!(table.take(link, max, day), Ok(is_within));
                    }
                }
            }
            prop_assert_eq!(tables[0].entries().collect::<HashMap<_, _>>(), model);
        }
    }
}
