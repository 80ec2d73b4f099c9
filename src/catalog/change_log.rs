//! The change log: changes that were accepted, on disk before they are answered.
//!
//! The first line names the log ([`Head`]); then follows one line a change. Each is the CRC-32C of the JSON in eight
//! hexadecimal digits, a space, the JSON. A line that was cut by a crash is the last one and has no line feed; it was
//! not answered, and is removed when the log is opened.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::change::Entry;
use crate::runtime::priority;

/// Name of the log in the state folder.
pub const NAME: &str = "changes.log";

/// Entries below which a log is not written again.
const SUPERSEDED: usize = 10_000;

/// Which log it is: revisions of one mean nothing to another.
pub type Identity = [u8; 16];

/// The first line of a log.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Head {
    log: Identity,
    /// The highest number of a change that the log had once: numbers are never given twice.
    revision: u64,
    /// Changes up to this one were removed from the log, because the snapshot of that time contained them.
    #[serde(default)]
    folded: u64,
    /// Whether the changes are those of a fleet, whose bucket numbers them.
    #[serde(default)]
    fleet: bool,
}

/// What a log holds.
#[derive(Debug, Default)]
pub struct Logged {
    /// Zeros without a log.
    pub identity: Identity,
    /// The number of the last change, also of one that is no longer in the log.
    pub revision: u64,
    /// Changes up to this one are no longer in the log, because a snapshot contained them.
    pub folded: u64,
    /// Whether the changes are those of a fleet.
    pub fleet: bool,
    pub entries: Vec<Entry>,
}

/// An open change log.
#[derive(Debug)]
pub struct ChangeLog {
    path: PathBuf,
    file: File,
    /// Length of what is whole.
    bytes: u64,
    entries: usize,
    head: Head,
    /// So many entries make the log worth writing again without those that are superseded.
    rewrite_at: usize,
    /// A write has failed, and what it left could not be removed.
    is_broken: bool,
    /// Keeps other processes away from the folder.
    _lock: File,
}

impl ChangeLog {
    /// Opens the log of a state folder, or begins one, for the changes of one edge or of a fleet.
    ///
    /// # Errors
    /// When it cannot be read or written, another process has it open, it holds a damaged line that is not the last
    /// one, or changes of one edge that a fleet would lose.
    pub fn open(state_dir: &Path, fleet: bool) -> io::Result<(Self, Logged)> {
        fs::create_dir_all(state_dir).map_err(unusable(state_dir))?;
        let lock = state_dir.join("lock");
        let lock = File::create(&lock).map_err(unusable(&lock))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let reason = format!("another process uses {}: give each edge a folder of its own", state_dir.display());
            io::Error::new(io::ErrorKind::ResourceBusy, reason)
        })?;
        let path = state_dir.join(NAME);
        let file = File::options().read(true).append(true).create(true).open(&path).map_err(unusable(&path))?;
        let Read { mut head, entries, mut bytes } = read(&file, &path)?;
        let length = file.metadata()?.len();
        if length > bytes {
            tracing::warn!(file = %path.display(), bytes = length - bytes, "the end of the change log was cut by a crash");
            file.set_len(bytes).and_then(|()| file.sync_all()).map_err(unusable(&path))?;
        }
        if bytes == 0 {
            (head, bytes) = begin(&file, state_dir, fleet).map_err(unusable(&path))?;
        }
        let (count, rewrite_at) = (entries.len(), SUPERSEDED.max(2 * entries.len()));
        let mut log = Self { path, file, bytes, entries: count, head, rewrite_at, is_broken: false, _lock: lock };
        if head.fleet != fleet {
            log.give_to(fleet, &entries)?;
        }
        let head = log.head;
        Ok((log, logged(head, entries)))
    }

    /// The changes in the log of a state folder, which another process may have open.
    ///
    /// # Errors
    /// When it is there and cannot be read, or is damaged.
    pub fn peek(state_dir: &Path) -> io::Result<Logged> {
        let path = state_dir.join(NAME);
        match File::open(&path) {
            Ok(file) => read(&file, &path).map(|Read { head, entries, .. }| logged(head, entries)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Logged::default()),
            Err(error) => Err(unusable(&path)(error)),
        }
    }

    /// Number of changes in the log.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// All changes of the log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self) -> io::Result<Logged> {
        let file = File::open(&self.path).map_err(unusable(&self.path))?;
        read(&file, &self.path).map(|Read { head, entries, .. }| logged(head, entries))
    }

    /// Whether the log has grown so far that it is worth writing again.
    pub fn is_long(&self) -> bool {
        self.entries > self.rewrite_at
    }

    /// Appends changes, and returns when they are on disk.
    ///
    /// # Errors
    /// When they cannot be written. The log is as before then.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("an earlier write has failed; restart the edge when the disk works again"));
        }
        let text = render(entries)?;
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // After a failed sync it is unknown what is on disk.
            self.is_broken = self.file.set_len(self.bytes).and_then(|()| self.file.sync_all()).is_err();
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.entries += entries.len();
        Ok(())
    }

    /// Makes it the log of a fleet, or of one edge.
    fn give_to(&mut self, fleet: bool, entries: &[Entry]) -> io::Result<()> {
        if fleet && !entries.is_empty() {
            let (count, file) = (entries.len(), self.path.display());
            let reason = format!(
                "{file} has {count} changes of this edge alone, which its fleet would lose: build a snapshot with them \
                 (`clickedge catalog build --changes`), publish it, and then move the file away"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        self.head.fleet = fleet;
        self.replace(entries, self.head.revision)
    }

    /// Removes changes that a snapshot contains: those up to `folded`. It goes on from `revision`.
    ///
    /// # Errors
    /// See [`replace`](Self::replace).
    pub fn fold(&mut self, entries: &[Entry], revision: u64, folded: u64) -> io::Result<()> {
        self.head.folded = folded;
        self.replace(entries, revision)
    }

    /// Replaces the whole log. It goes on from `revision`, or from its last entry.
    ///
    /// # Errors
    /// When it cannot be written. The log is as before then, or takes no changes any more.
    pub fn replace(&mut self, entries: &[Entry], revision: u64) -> io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        let head = Head { revision, ..self.head };
        let text = line(&head)? + &render(entries)?;
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Before the rename: what follows it must not leave this process with a file that has no name.
        let file = File::options().read(true).append(true).open(&temporary)?;
        fs::rename(&temporary, &self.path)?;
        (self.file, self.bytes, self.entries) = (file, text.len() as u64, entries.len());
        (self.head, self.rewrite_at) = (head, SUPERSEDED.max(2 * entries.len()));
        // Until it is known that the name is on disk.
        self.is_broken = true;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        self.is_broken = false;
        Ok(())
    }
}

/// The error of a file or folder, with its name and the remedy.
fn unusable(path: &Path) -> impl Fn(io::Error) -> io::Error + use<'_> {
    |error| {
        let reason =
            format!("{}: {error}; correct the path, free space there, or let this user write there", path.display());
        io::Error::new(error.kind(), reason)
    }
}

/// Begins a log with an identity of its own.
fn begin(mut file: &File, state_dir: &Path, fleet: bool) -> io::Result<(Head, u64)> {
    let mut log = [0; 16];
    getrandom::fill(&mut log).map_err(io::Error::other)?;
    let head = Head { log, fleet, ..Head::default() };
    let text = line(&head)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a head would be taken for damage at the next start.
        _ = file.set_len(0);
    }
    written?;
    File::open(state_dir)?.sync_all()?;
    Ok((head, text.len() as u64))
}

/// A log as it was read.
struct Read {
    head: Head,
    entries: Vec<Entry>,
    /// Length of the lines that are whole.
    bytes: u64,
}

fn logged(head: Head, entries: Vec<Entry>) -> Logged {
    let revision = entries.last().map_or(0, |entry| entry.revision).max(head.revision);
    Logged { identity: head.log, revision, folded: head.folded, fleet: head.fleet, entries }
}

fn read(file: &File, path: &Path) -> io::Result<Read> {
    let damaged = |number: u64| {
        let reason = format!(
            "line {number} of the change log {} is damaged; restore the file, or move it away to go on without its changes",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, reason)
    };
    let mut start = file;
    start.rewind()?;
    let (mut input, mut line, mut number) = (BufReader::new(file), Vec::new(), 0);
    let mut read = Read { head: Head::default(), entries: Vec::new(), bytes: 0 };
    loop {
        line.clear();
        let length = input.read_until(b'\n', &mut line)?;
        // What a crash leaves of a line has no end, or zeros where blocks were not written.
        let is_cut = line.last() != Some(&b'\n') || line.contains(&0);
        if length == 0 || is_cut && input.fill_buf()?.is_empty() {
            return Ok(read);
        }
        number += 1;
        if number == 1 {
            read.head = parse(&line).ok_or_else(|| damaged(1))?;
        } else {
            read.entries.push(parse(&line).ok_or_else(|| damaged(number))?);
        }
        read.bytes += length as u64;
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (checksum, json) = line.strip_suffix(b"\n")?.split_first_chunk::<9>()?;
    let expected = u32::from_str_radix(std::str::from_utf8(checksum).ok()?.trim_end(), 16).ok()?;
    (crc_fast::crc32_iscsi(json) == expected).then(|| serde_json::from_slice(json).ok()).flatten()
}

fn render(entries: &[Entry]) -> io::Result<String> {
    let lines = entries.iter().map(|entry| {
        priority::give_way();
        line(entry)
    });
    lines.collect()
}

fn line(value: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(value)?;
    Ok(format!("{:08x} {json}\n", crc_fast::crc32_iscsi(json.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::change::Operation;

    fn entry(revision: u64) -> Entry {
        let (domain, slashtag) = ("go.brand.com".into(), format!("s{revision}\n"));
        Entry { revision, operation: Operation::DeleteLink { domain, slashtag } }
    }

    #[test]
    fn changes_are_read_again_and_a_cut_line_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, logged) = ChangeLog::open(dir.path(), false).unwrap();
        assert_eq!((logged.entries, logged.revision), (Vec::new(), 0));
        log.append(&[entry(1), entry(2)]).unwrap();
        log.append(&[entry(3)]).unwrap();
        drop(log);
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for cut in 1..20 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (mut log, again) = ChangeLog::open(dir.path(), false).unwrap();
            assert_eq!((again.entries, again.identity), (vec![entry(1), entry(2)], logged.identity), "{cut}");
            log.append(&[entry(9)]).unwrap();
            assert_eq!(log.read().unwrap().entries, [entry(1), entry(2), entry(9)]);
        }
    }

    #[test]
    fn a_log_whose_first_line_was_cut_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        drop(ChangeLog::open(dir.path(), false).unwrap());
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for cut in [&whole[..20], &[0; 90], b""] {
            fs::write(&path, cut).unwrap();
            let (mut log, _) = ChangeLog::open(dir.path(), false).unwrap();
            log.append(&[entry(1)]).unwrap();
            drop(log);
            assert_eq!(ChangeLog::open(dir.path(), false).unwrap().1.entries, [entry(1)]);
        }
    }

    #[test]
    fn changes_of_one_edge_are_not_taken_for_those_of_a_fleet() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = ChangeLog::open(dir.path(), false).unwrap();
        log.append(&[entry(1)]).unwrap();
        drop(log);
        let error = ChangeLog::open(dir.path(), true).unwrap_err().to_string();
        assert!(error.contains("1 changes of this edge alone") && error.contains("--changes"), "{error}");
        let (mut log, logged) = ChangeLog::open(dir.path(), false).unwrap();
        assert_eq!((logged.entries, logged.folded), (vec![entry(1)], 0));
        log.fold(&[], 1, 1).unwrap();
        drop(log);
        let (log, logged) = ChangeLog::open(dir.path(), true).unwrap();
        assert!(logged.fleet && logged.folded == 1 && logged.revision == 1);
        drop(log);
        assert!(ChangeLog::peek(dir.path()).unwrap().fleet, "it is on disk");
    }

    #[test]
    fn a_damaged_line_is_an_error_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = ChangeLog::open(dir.path(), false).unwrap();
        log.append(&[entry(1), entry(2)]).unwrap();
        drop(log);
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for (at, line) in [(30, "line 1"), (whole.len() - 90, "line 2"), (whole.len() - 3, "line 3")] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            let error = ChangeLog::open(dir.path(), false).unwrap_err().to_string();
            assert!(error.contains(&format!("{line} of the change log")), "{error}");
        }
    }

    #[test]
    fn a_log_is_replaced_whole_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = ChangeLog::open(dir.path(), false).unwrap();
        log.append(&[entry(1), entry(2)]).unwrap();
        log.replace(&[entry(2)], 2).unwrap();
        log.append(&[entry(3)]).unwrap();
        assert!(ChangeLog::open(dir.path(), false).is_err(), "one process has it");
        assert_eq!((log.len(), ChangeLog::peek(dir.path()).unwrap().entries), (2, vec![entry(2), entry(3)]));
        log.replace(&[], 3).unwrap();
        drop(log);
        assert_eq!(ChangeLog::open(dir.path(), false).unwrap().1.revision, 3, "numbers are never given twice");
    }
}
