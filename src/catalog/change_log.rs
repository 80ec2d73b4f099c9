//! The change log: changes that were accepted, on disk before they are answered.
//!
//! One line a change: the CRC-32C of the JSON in eight hexadecimal digits, a space, the JSON of an [`Entry`]. A line
//! that was cut by a crash is the last one, was not answered, and is removed when the log is opened.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::change::Entry;

/// Name of the log in the state folder.
pub const NAME: &str = "changes.log";

/// An open change log.
#[derive(Debug)]
pub struct ChangeLog {
    path: PathBuf,
    file: File,
    /// Length of what is whole.
    bytes: u64,
    entries: usize,
    /// A write has failed, and what it left could not be removed.
    is_broken: bool,
    /// Keeps other processes away from the folder.
    _lock: File,
}

impl ChangeLog {
    /// Opens the log of a state folder, or begins one.
    ///
    /// # Errors
    /// When it cannot be read or written, another process has it open, or it holds a damaged line that is not the last
    /// one.
    pub fn open(state_dir: &Path) -> io::Result<(Self, Vec<Entry>)> {
        fs::create_dir_all(state_dir)?;
        let lock = File::create(state_dir.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let reason = format!("another process uses {}: give each edge a folder of its own", state_dir.display());
            io::Error::new(io::ErrorKind::ResourceBusy, reason)
        })?;
        let path = state_dir.join(NAME);
        let file = File::options().read(true).append(true).create(true).open(&path)?;
        let (entries, bytes) = read(&file, &path)?;
        let length = file.metadata()?.len();
        if length > bytes {
            tracing::warn!(file = %path.display(), bytes = length - bytes, "the end of the change log was cut by a crash");
            file.set_len(bytes)?;
            file.sync_all()?;
        }
        Ok((Self { path, file, bytes, entries: entries.len(), is_broken: false, _lock: lock }, entries))
    }

    /// The changes in the log of a state folder, which another process may have open.
    ///
    /// # Errors
    /// When it is there and cannot be read, or is damaged.
    pub fn peek(state_dir: &Path) -> io::Result<Vec<Entry>> {
        let path = state_dir.join(NAME);
        match File::open(&path) {
            Ok(file) => read(&file, &path).map(|(entries, _)| entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
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
    pub fn read(&self) -> io::Result<Vec<Entry>> {
        read(&File::open(&self.path)?, &self.path).map(|(entries, _)| entries)
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

    /// Replaces the whole log.
    ///
    /// # Errors
    /// When it cannot be written. The log is as before then.
    pub fn replace(&mut self, entries: &[Entry]) -> io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        let text = render(entries)?;
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        self.file = File::options().read(true).append(true).open(&self.path)?;
        (self.bytes, self.entries, self.is_broken) = (text.len() as u64, entries.len(), false);
        Ok(())
    }
}

/// The changes, and the length of the lines that are whole.
fn read(file: &File, path: &Path) -> io::Result<(Vec<Entry>, u64)> {
    let (mut entries, mut whole, mut line) = (Vec::new(), 0, Vec::new());
    let mut input = BufReader::new(file);
    loop {
        line.clear();
        let length = input.read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok((entries, whole));
        }
        match parse(&line) {
            Some(entry) => entries.push(entry),
            None if input.fill_buf()?.is_empty() => return Ok((entries, whole)),
            None => {
                let reason = format!(
                    "line {} of the change log {} is damaged; restore the file, or move it away to go on without its \
                     changes",
                    entries.len() + 1,
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }
        whole += length as u64;
    }
}

fn parse(line: &[u8]) -> Option<Entry> {
    let (checksum, json) = line.strip_suffix(b"\n")?.split_first_chunk::<9>()?;
    let expected = u32::from_str_radix(std::str::from_utf8(checksum).ok()?.trim_end(), 16).ok()?;
    (crc(json) == expected).then(|| serde_json::from_slice(json).ok()).flatten()
}

fn render(entries: &[Entry]) -> io::Result<String> {
    let mut text = String::new();
    for entry in entries {
        let json = serde_json::to_string(entry)?;
        _ = writeln!(text, "{:08x} {json}", crc(json.as_bytes()));
    }
    Ok(text)
}

fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
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
        let (mut log, entries) = ChangeLog::open(dir.path()).unwrap();
        assert_eq!(entries, []);
        log.append(&[entry(1), entry(2)]).unwrap();
        log.append(&[entry(3)]).unwrap();
        drop(log);
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for cut in 1..20 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (mut log, entries) = ChangeLog::open(dir.path()).unwrap();
            assert_eq!(entries, [entry(1), entry(2)], "{cut}");
            log.append(&[entry(9)]).unwrap();
            assert_eq!(log.read().unwrap(), [entry(1), entry(2), entry(9)]);
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = ChangeLog::open(dir.path()).unwrap();
        log.append(&[entry(1), entry(2)]).unwrap();
        drop(log);
        let path = dir.path().join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes[30] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(ChangeLog::open(dir.path()).unwrap_err().to_string().contains("line 1 of the change log"));
    }

    #[test]
    fn a_log_is_replaced_whole_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = ChangeLog::open(dir.path()).unwrap();
        log.append(&[entry(1), entry(2)]).unwrap();
        log.replace(&[entry(2)]).unwrap();
        log.append(&[entry(3)]).unwrap();
        assert!(ChangeLog::open(dir.path()).is_err(), "one process has it");
        assert_eq!((log.len(), ChangeLog::peek(dir.path()).unwrap()), (2, vec![entry(2), entry(3)]));
    }
}
