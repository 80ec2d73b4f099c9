//! The files of the click limits, and what a start makes of them.
//!
//! ```text
//! {capture.dir}/click-limits  the table, on a tmpfs, mapped by the process, and by its successor while it takes over
//! {spool.dir}/click-limits    a copy for the time after the machine has restarted
//!
//! offset  size  field of the copy (little endian)
//!      0     8  magic
//!      8     4  version of all that follows
//!     12     4  CRC32C of what follows
//!     16     8  counted clicks
//!     24    16  for each link: the words of its slot
//! ```
//! Counting never waits for a disk: a mapped file on one would stall a click while its page is written back.
//!
//! A process holds a shared lock on the table. One that gets it exclusively is alone: it makes a new table of what the
//! old one and the copy have, of each link the higher count, and leaves out links that were neither clicked nor in the
//! catalog for [`KEPT_DAYS`]. A successor maps the table as it is. What is damaged is renamed and reported, and the
//! counts of the other file are used.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::table::{Count, Table};

const NAME: &str = "click-limits";

const MAGIC: [u8; 8] = *b"clklimc\n";

const VERSION: u32 = 1;

const HEADER: usize = 24;

const SLOT: usize = 16;

/// For how many days the count of a link is kept that is neither clicked nor in the catalog.
const KEPT_DAYS: u16 = 31;

/// How often a file that another process replaces is opened again.
const ATTEMPTS: usize = 100;

/// Where the files are.
#[derive(Clone)]
pub(super) struct Places {
    table: PathBuf,
    copy: PathBuf,
}

/// The counts that a start finds.
#[derive(Default)]
pub(super) struct Counts {
    pub counted: u64,
    pub links: HashMap<u64, Count>,
}

impl Places {
    pub fn new(rings: &Path, spool: &Path) -> Self {
        Self { table: rings.join(NAME), copy: spool.join(NAME) }
    }

    /// Opens the table, or makes it. `catalog` are the links that have a limit now.
    pub fn open(&self, catalog: &[u64], today: u16) -> io::Result<Table> {
        for _ in 0..ATTEMPTS {
            let file = options().create(true).truncate(false).open(&self.table)?;
            let is_alone = match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => {
                    // Held only by a process that starts.
                    file.lock_shared()?;
                    false
                }
                Err(TryLockError::Error(error)) => return Err(error),
            };
            if !is_still(&self.table, &file)? {
                continue;
            }
            if is_alone {
                return self.make(&file, catalog, today);
            }
            match Table::open(file)? {
                Ok(table) => {
                    for link in catalog {
                        table.touch(*link, today);
                    }
                    return Ok(table);
                }
                Err(reason) => set_aside(&self.table, reason)?,
            }
        }
        Err(io::Error::other("other processes replace the file again and again"))
    }

    /// A table that ends with this process, with the counts of the copy.
    pub fn anonymous(&self, catalog: &[u64], today: u16) -> io::Result<Table> {
        let counts = self.read_copy().unwrap_or_default().forget(catalog, today);
        counts.into_table(memfd_create(NAME, MemfdFlags::CLOEXEC)?.into(), catalog.len())
    }

    /// Writes the copy, unless a process has written a later one. `false` when another process is about to.
    pub fn save(&self, table: &Table) -> io::Result<bool> {
        let temporary = self.copy.with_extension("new");
        let mut file = options().create(true).truncate(false).open(&temporary)?;
        match file.try_lock() {
            Ok(()) if is_still(&temporary, &file)? => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let counted = table.counted();
        if self.read_copy().is_ok_and(|copy| copy.counted > counted) {
            fs::remove_file(&temporary)?;
            return Ok(true);
        }
        let mut write = || {
            file.set_len(0)?;
            file.write_all(&copy_of(table, counted))?;
            file.sync_all()?;
            fs::rename(&temporary, &self.copy)?;
            self.copy.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        write().inspect_err(|_| _ = fs::remove_file(&temporary)).map(|()| true)
    }

    /// The counts as of now, without changing or locking anything: for a look from outside.
    pub fn read(&self) -> io::Result<Counts> {
        let mut counts = self.read_copy().unwrap_or_default();
        match options().open(&self.table) {
            Ok(file) => {
                if let Ok(table) = Table::open(file)? {
                    counts.add(&table);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(counts)
    }

    /// With the exclusive lock on `former`.
    fn make(&self, former: &File, catalog: &[u64], today: u16) -> io::Result<Table> {
        let mut counts = match self.read_copy() {
            Ok(counts) => counts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Counts::default(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                set_aside(&self.copy, &error.to_string())?;
                Counts::default()
            }
            Err(error) => {
                tracing::warn!(file = %self.copy.display(), %error, "copy of the click limits not read");
                Counts::default()
            }
        };
        if former.metadata()?.len() > 0 {
            match Table::open(former.try_clone()?)? {
                Ok(table) => counts.add(&table),
                Err(reason) => set_aside(&self.table, reason)?,
            }
        }
        let temporary = self.table.with_extension("new");
        let file = options().create(true).truncate(true).open(&temporary)?;
        file.lock_shared()?;
        let made = counts.forget(catalog, today).into_table(file, catalog.len());
        let made = made.and_then(|table| fs::rename(&temporary, &self.table).map(|()| table));
        made.inspect_err(|_| _ = fs::remove_file(&temporary))
    }

    fn read_copy(&self) -> io::Result<Counts> {
        let bytes = fs::read(&self.copy)?;
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if bytes.len() < HEADER || !(bytes.len() - HEADER).is_multiple_of(SLOT) {
            return Err(invalid("it is truncated"));
        }
        let (version, check) = (word(8) as u32, (word(8) >> 32) as u32);
        if bytes[..8] == MAGIC && version != VERSION {
            return Err(invalid("it was written by another release"));
        }
        if bytes[..8] != MAGIC || check != crc_fast::crc32_iscsi(&bytes[16..]) {
            return Err(invalid("it is damaged"));
        }
        let links = (HEADER..bytes.len()).step_by(SLOT).map(|at| (word(at), Count::unpack(word(at + 8))));
        Ok(Counts { counted: word(16), links: links.collect() })
    }
}

impl Counts {
    fn add(&mut self, table: &Table) {
        self.counted = self.counted.max(table.counted());
        for (link, count) in table.entries() {
            let known = self.links.entry(link).or_default();
            *known = known.join(count);
        }
    }

    /// Notes what the catalog has, and leaves out what it has not had for long.
    fn forget(mut self, catalog: &[u64], today: u16) -> Self {
        for link in catalog {
            self.links.entry(*link).and_modify(|count| count.day = count.day.max(today));
        }
        self.links.retain(|link, count| *link != 0 && today.saturating_sub(count.day) <= KEPT_DAYS);
        self
    }

    fn into_table(self, file: File, catalog: usize) -> io::Result<Table> {
        let table = Table::create(file, catalog.max(self.links.len()) as u64, self.counted)?;
        let lost = self.links.into_iter().filter(|(link, count)| table.restore(*link, *count).is_err()).count();
        if lost > 0 {
            tracing::warn!(links = lost, "click limits not restored: the table is full");
        }
        Ok(table)
    }
}

fn copy_of(table: &Table, counted: u64) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    for (link, count) in table.entries() {
        bytes.extend_from_slice(&link.to_le_bytes());
        bytes.extend_from_slice(&count.pack().to_le_bytes());
    }
    bytes[16..HEADER].copy_from_slice(&counted.to_le_bytes());
    let check = crc_fast::crc32_iscsi(&bytes[16..]);
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// Renames a file that cannot be used.
fn set_aside(path: &Path, reason: &str) -> io::Result<()> {
    let kept = path.with_extension("damaged");
    fs::rename(path, &kept)?;
    tracing::warn!(
        file = %path.display(),
        kept_as = %kept.display(),
        reason,
        "click limits set aside; the counts are taken from the other file, if it has them"
    );
    Ok(())
}

fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct Folders {
        rings: TempDir,
        spool: TempDir,
    }

    impl Folders {
        fn new() -> Self {
            Self { rings: tempfile::tempdir_in("/dev/shm").unwrap(), spool: tempfile::tempdir().unwrap() }
        }

        fn places(&self) -> Places {
            Places::new(self.rings.path(), self.spool.path())
        }

        fn files(&self) -> Vec<String> {
            let names = [&self.rings, &self.spool].into_iter().flat_map(|dir| {
                dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap())
            });
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        }
    }

    #[test]
    fn counts_outlive_the_process_and_the_tmpfs() {
        let folders = Folders::new();
        let places = folders.places();
        let table = places.open(&[], 1).unwrap();
        assert_eq!((table.take(7, 2, 1), table.take(8, 5, 1)), (Ok(true), Ok(true)));
        assert!(places.save(&table).unwrap());
        table.take(7, 2, 1).unwrap();
        drop(table);
        let table = places.open(&[], 1).unwrap();
        assert_eq!((table.clicks(7), table.clicks(8), table.counted()), (2, 1, 3), "of the table");
        drop(table);
        fs::remove_file(&places.table).unwrap();
        let table = places.open(&[], 1).unwrap();
        assert_eq!((table.clicks(7), table.clicks(8), table.counted()), (1, 1, 2), "of the copy");
        assert_eq!(folders.files(), [NAME, NAME]);
    }

    #[test]
    fn a_successor_shares_the_table_and_never_makes_another() {
        let folders = Folders::new();
        let predecessor = folders.places().open(&[7], 1).unwrap();
        let successor = folders.places().open(&[7, 8], 100).unwrap();
        assert_eq!((predecessor.take(7, 2, 1), successor.take(7, 2, 1)), (Ok(true), Ok(true)));
        assert_eq!((predecessor.take(7, 2, 1), successor.take(7, 2, 1)), (Ok(false), Ok(false)));
        drop(predecessor);
        let third = folders.places().open(&[], 100).unwrap();
        assert_eq!((third.take(7, 3, 1), successor.take(7, 3, 1)), (Ok(true), Ok(false)));
    }

    #[test]
    fn a_link_that_is_neither_clicked_nor_in_the_catalog_is_forgotten_after_a_month() {
        let folders = Folders::new();
        let places = folders.places();
        let table = places.open(&[], 100).unwrap();
        for link in [7, 8, 9] {
            table.take(link, 1, 100).unwrap();
        }
        table.take(9, 1, 101).unwrap();
        drop(table);
        let table = places.open(&[7], 100 + KEPT_DAYS + 1).unwrap();
        assert_eq!([7, 8, 9].map(|link| table.clicks(link)), [1, 0, 1]);
        assert_eq!(table.used(), 2, "and its slot is free");
    }

    #[test]
    fn a_damaged_table_is_set_aside_and_replaced_by_the_copy() {
        for damage in [b"foreign".to_vec(), vec![0; 1 << 19]] {
            let folders = Folders::new();
            let places = folders.places();
            let table = places.open(&[], 1).unwrap();
            table.take(7, 2, 1).unwrap();
            places.save(&table).unwrap();
            drop(table);
            fs::write(&places.table, damage).unwrap();
            let table = places.open(&[], 1).unwrap();
            assert_eq!(table.clicks(7), 1);
            assert_eq!(folders.files(), [NAME, NAME, "click-limits.damaged"]);
        }
    }

    #[test]
    fn a_damaged_copy_is_set_aside_and_the_table_stays() {
        let folders = Folders::new();
        let places = folders.places();
        let table = places.open(&[], 1).unwrap();
        table.take(7, 2, 1).unwrap();
        places.save(&table).unwrap();
        drop(table);
        let good = fs::read(&places.copy).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&places.copy, &bad).unwrap();
            assert!(places.read_copy().is_err(), "byte {at}");
        }
        fs::write(&places.copy, &good[..good.len() - 1]).unwrap();
        let table = places.open(&[], 1).unwrap();
        assert_eq!(table.clicks(7), 1);
        assert!(places.save(&table).unwrap());
        assert_eq!(fs::read(&places.copy).unwrap(), good);
    }

    #[test]
    fn an_earlier_copy_never_replaces_a_later_one() {
        let folders = Folders::new();
        let places = folders.places();
        let (one, other) = (places.open(&[], 1).unwrap(), Folders::new().places().open(&[], 1).unwrap());
        one.take(7, 9, 1).unwrap();
        one.take(7, 9, 1).unwrap();
        other.take(7, 9, 1).unwrap();
        assert!(places.save(&one).unwrap() && places.save(&other).unwrap());
        assert_eq!(places.read_copy().unwrap().links[&7].clicks, 2);
        assert_eq!(folders.files(), [NAME, NAME]);
    }

    #[test]
    fn counts_are_read_from_outside_while_a_process_counts() {
        let folders = Folders::new();
        let places = folders.places();
        assert!(places.read().unwrap().links.is_empty());
        let table = places.open(&[], 1).unwrap();
        table.take(7, 2, 1).unwrap();
        assert_eq!(places.read().unwrap().links[&7].clicks, 1);
        places.save(&table).unwrap();
        fs::remove_file(&places.table).unwrap();
        assert_eq!(places.read().unwrap().links[&7].clicks, 1);
        assert!(places.anonymous(&[], 1).unwrap().take(7, 1, 1) == Ok(false));
    }
}
