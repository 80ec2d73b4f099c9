//! Sorted runs behind each other in one file, and their merge.
//!
//! A record in the file is its domain (u32), hash (u64), item (u64), line (u64) and length (u32), little endian, and
//! its bytes.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    fs::{self, File},
    io::{self, BufWriter, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use super::SortKey;

const HEAD: usize = 32;
/// Runs that are merged at once: more would mean small reads all over the file.
const MOST: usize = 64;
const WRITE_BYTES: usize = 1 << 20;
/// Bytes that are read from a run at once.
const READ_BYTES: Range<usize> = 64 << 10..1 << 20;

/// Runs in a file.
pub struct Runs {
    file: File,
    /// The bytes of each.
    runs: Vec<Range<u64>>,
}

/// A run that is being written.
pub struct NewRun<'r> {
    file: BufWriter<&'r File>,
    range: Range<u64>,
    runs: &'r mut Vec<Range<u64>>,
}

impl Runs {
    /// Without any, in a new file in `dir` that has no name any more.
    pub fn create(dir: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!(".sort-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = dir.join(name);
            match File::options().read(true).write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    let file = file?;
                    fs::remove_file(path)?;
                    return Ok(Self::new(file));
                }
            }
        }
    }

    pub(super) fn new(file: File) -> Self {
        Self { file, runs: Vec::new() }
    }

    /// Begins the next run.
    pub fn begin(&mut self) -> NewRun<'_> {
        let start = self.runs.last().map_or(0, |run| run.end);
        NewRun { file: BufWriter::with_capacity(WRITE_BYTES, &self.file), range: start..start, runs: &mut self.runs }
    }

    /// The records of all runs, with buffers of `memory` bytes in all where that is enough.
    pub fn merge(mut self, dir: &Path, memory: usize) -> io::Result<Merge> {
        while self.runs.len() > MOST {
            let mut merged = Self::create(dir)?;
            for runs in self.runs.chunks(MOST) {
                let mut run = merged.begin();
                let mut merge = Merge::new(self.file.try_clone()?, runs, memory)?;
                while let Some((key, line, record)) = merge.next()? {
                    run.push(key, line, record)?;
                }
                run.end()?;
            }
            self = merged;
        }
        Merge::new(self.file, &self.runs, memory)
    }
}

impl NewRun<'_> {
    pub fn push(&mut self, key: SortKey, line: u64, record: &[u8]) -> io::Result<()> {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&key.domain.to_le_bytes());
        head[4..12].copy_from_slice(&key.hash.to_le_bytes());
        head[12..20].copy_from_slice(&key.item.to_le_bytes());
        head[20..28].copy_from_slice(&line.to_le_bytes());
        head[28..].copy_from_slice(&(record.len() as u32).to_le_bytes());
        self.file.write_all(&head)?;
        self.file.write_all(record)?;
        self.range.end += (HEAD + record.len()) as u64;
        Ok(())
    }

    /// All of its records are written.
    pub fn end(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.runs.push(self.range);
        Ok(())
    }
}

/// The records of several runs, in order.
pub struct Merge {
    file: File,
    readers: Vec<Reader>,
    /// The record that each reader stands at. The first is the one that was handed out last, if one was.
    heads: BinaryHeap<Reverse<(SortKey, usize)>>,
    is_handed_out: bool,
}

impl Merge {
    fn new(file: File, runs: &[Range<u64>], memory: usize) -> io::Result<Self> {
        let size = (memory / runs.len().max(1)).clamp(READ_BYTES.start, READ_BYTES.end);
        let mut readers: Vec<Reader> = runs.iter().map(|run| Reader::new(run.clone(), size)).collect();
        let mut heads = BinaryHeap::new();
        for (number, reader) in readers.iter_mut().enumerate() {
            heads.extend(reader.next(&file)?.map(|key| Reverse((key, number))));
        }
        Ok(Self { file, readers, heads, is_handed_out: false })
    }

    pub fn next(&mut self) -> io::Result<Option<(SortKey, u64, &[u8])>> {
        if self.is_handed_out
            && let Some(mut head) = self.heads.peek_mut()
        {
            let Reverse((key, number)) = &mut *head;
            match self.readers[*number].next(&self.file)? {
                Some(next) => *key = next,
                None => drop(PeekMut::pop(head)),
            }
        }
        self.is_handed_out = true;
        let Some(&Reverse((key, number))) = self.heads.peek() else { return Ok(None) };
        let (line, record) = self.readers[number].record();
        Ok(Some((key, line, record)))
    }
}

/// Reads a run.
struct Reader {
    /// Bytes of the run that are not in the buffer yet.
    rest: Range<u64>,
    buffer: Vec<u8>,
    /// The record that it stands at, in the buffer.
    record: Range<usize>,
    /// Bytes in the buffer.
    filled: usize,
}

impl Reader {
    fn new(run: Range<u64>, size: usize) -> Self {
        Self { rest: run, buffer: vec![0; size], record: 0..0, filled: 0 }
    }

    /// Goes to the next record. `None` at the end of the run.
    fn next(&mut self, file: &File) -> io::Result<Option<SortKey>> {
        self.record = self.record.end..self.record.end;
        if self.record.end == self.filled && self.rest.is_empty() {
            return Ok(None);
        }
        self.fill(HEAD, file)?;
        let length = number(&self.buffer[self.record.start + 28..][..4]) as usize;
        self.fill(HEAD + length, file)?;
        self.record.end = self.record.start + HEAD + length;
        let head = &self.buffer[self.record.start..];
        let (domain, hash, item) = (number(&head[..4]) as u32, number(&head[4..12]), number(&head[12..20]));
        Ok(Some(SortKey { domain, hash, item }))
    }

    /// Line and bytes of the record.
    fn record(&self) -> (u64, &[u8]) {
        let record = &self.buffer[self.record.clone()];
        (number(&record[20..28]), &record[HEAD..])
    }

    /// Sees to it that the buffer has the next `needed` bytes.
    fn fill(&mut self, needed: usize, file: &File) -> io::Result<()> {
        let start = self.record.start;
        if self.filled - start >= needed {
            return Ok(());
        }
        self.buffer.copy_within(start..self.filled, 0);
        (self.record, self.filled) = (0..0, self.filled - start);
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        let room = (self.buffer.len() - self.filled) as u64;
        let length = room.min(self.rest.end - self.rest.start);
        file.read_exact_at(&mut self.buffer[self.filled..self.filled + length as usize], self.rest.start)?;
        self.rest.start += length;
        self.filled += length as usize;
        if self.filled < needed { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// A number of up to 8 bytes, little endian.
pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
