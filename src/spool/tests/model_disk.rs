//! A disk in memory that loses its power, loses writes whose sync has failed, runs full, and stops at any operation.
//!
//! Names and bytes are kept twice: as the process sees them, and as they are on the disk. Changes of names reach the
//! disk in their order, as on a file system with a metadata journal. Bytes reach it when they are synced, or at random,
//! in any part.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use crate::{
    runtime::retry::RetryUntil,
    spool::disk::{Disk, DiskFile, FileEntry, ReadAt},
};

/// A fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// This many operations fail, as on a full or broken disk.
    Fails(io::ErrorKind, u32),
    /// The process dies.
    Dies,
}

#[derive(Clone, Default)]
pub struct ModelDisk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Changes of names that have not reached the disk.
    changes: Vec<Change>,
    fault: Option<(u32, Fault)>,
    dead: Option<RetryUntil>,
    gone: bool,
}

#[derive(Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// A sync has failed: its bytes never reach the disk, and the next sync reports success.
    lost: bool,
}

enum Change {
    Set(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl ModelDisk {
    /// Injects a fault after `after` more operations.
    pub fn plan(&self, after: u32, fault: Fault, retry: RetryUntil) {
        let mut inner = self.0.lock().unwrap();
        inner.fault = Some((after, fault));
        inner.dead = Some(retry);
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.fault = None;
        inner.gone = false;
        inner.dead = None;
    }

    /// The power fails: of the bytes that were not synced, a random part is on the disk.
    pub fn lose_power(&self, luck: &mut fastrand::Rng) {
        let mut inner = self.0.lock().unwrap();
        let reached = luck.usize(0..=inner.changes.len());
        inner.apply(reached);
        inner.changes.clear();
        inner.names = inner.durable.clone();
        for inode in &mut inner.inodes {
            if !inode.lost && inode.bytes.len() > inode.durable.len() {
                let length = luck.usize(inode.durable.len()..=inode.bytes.len());
                let mut tail = inode.bytes[inode.durable.len()..length].to_vec();
                match luck.u8(0..3) {
                    0 => tail.fill(0),
                    1 if !tail.is_empty() => {
                        let at = luck.usize(..tail.len());
                        tail[at] = luck.u8(..);
                    }
                    _ => {}
                }
                inode.durable.extend(tail);
            }
            inode.bytes = inode.durable.clone();
            inode.lost = false;
        }
    }

    /// All files, as the process sees them.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let inner = self.0.lock().unwrap();
        inner.names.iter().map(|(path, inode)| (path.clone(), inner.inodes[*inode].bytes.clone())).collect()
    }

    /// Changes a file from outside.
    pub fn scribble(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.0.lock().unwrap();
        let inode = inner.names[path];
        change(&mut inner.inodes[inode].bytes);
        inner.inodes[inode].durable = inner.inodes[inode].bytes.clone();
    }

    /// An operation of another user of this disk.
    pub fn touch(&self) -> io::Result<()> {
        self.step().map(drop)
    }

    fn step(&self) -> io::Result<std::sync::MutexGuard<'_, Inner>> {
        let mut inner = self.0.lock().unwrap();
        if inner.gone {
            return Err(io::Error::other("dead"));
        }
        if let Some((after, fault)) = inner.fault.take() {
            match (after, fault) {
                (1.., fault) => inner.fault = Some((after - 1, fault)),
                (0, Fault::Fails(kind, times)) => {
                    if times > 1 {
                        inner.fault = Some((0, Fault::Fails(kind, times - 1)));
                    }
                    return Err(kind.into());
                }
                (0, Fault::Dies) => {
                    inner.gone = true;
                    if let Some(retry) = &inner.dead {
                        retry.set_deadline(Instant::now());
                    }
                    return Err(io::Error::other("dead"));
                }
            }
        }
        Ok(inner)
    }
}

impl Inner {
    fn apply(&mut self, changes: usize) {
        for change in self.changes.drain(..changes) {
            match change {
                Change::Set(path, inode) => _ = self.durable.insert(path, inode),
                Change::Remove(path) => _ = self.durable.remove(&path),
                Change::Rename(from, to) => {
                    if let Some(inode) = self.durable.remove(&from) {
                        self.durable.insert(to, inode);
                    }
                }
            }
        }
    }

    fn sync_inode(&mut self, inode: usize) {
        let inode = &mut self.inodes[inode];
        if !inode.lost {
            inode.durable = inode.bytes.clone();
        }
    }
}

impl Disk for ModelDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.step()?;
        let inode = inner.inodes.len();
        inner.inodes.push(Inode::default());
        inner.names.insert(path.into(), inode);
        inner.changes.push(Change::Set(path.into(), inode));
        Ok(Box::new(File(self.clone(), inode)))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let known = self.step()?.names.get(path).copied();
        match known {
            Some(inode) => Ok(Box::new(File(self.clone(), inode))),
            None => self.create(path),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        let inner = self.step()?;
        let inode = inner.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        drop(inner);
        Ok(Box::new(File(self.clone(), inode)))
    }

    fn files_below(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        let inner = self.step()?;
        let below = inner.names.iter().filter(|(path, _)| path.starts_with(dir));
        let found = below.map(|(path, inode)| FileEntry {
            path: path.clone(),
            bytes: inner.inodes[*inode].bytes.len() as u64,
            modified: 0,
        });
        Ok(found.collect())
    }

    fn make_dir(&self, _: &Path) -> io::Result<()> {
        self.step().map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        let inode = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.into(), inode);
        inner.changes.push(Change::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        inner.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        inner.changes.push(Change::Remove(path.into()));
        Ok(())
    }

    fn tidy(&self, _: Option<&Path>, _: &Path) {}

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        let touches = |change: &Change| match change {
            Change::Set(path, _) | Change::Remove(path) => path.parent() == Some(dir),
            Change::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        };
        let last = inner.changes.iter().rposition(touches).map_or(0, |at| at + 1);
        inner.apply(last);
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut inner = self.step()?;
        let all = inner.changes.len();
        inner.apply(all);
        for inode in 0..inner.inodes.len() {
            inner.sync_inode(inode);
        }
        Ok(())
    }
}

struct File(ModelDisk, usize);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A disk that runs full takes a part of the bytes.
        match self.0.step() {
            Ok(mut inner) => {
                inner.inodes[self.1].bytes.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Err(error) => {
                let mut inner = self.0.0.lock().unwrap();
                inner.inodes[self.1].bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        match self.0.step() {
            Ok(mut inner) => {
                inner.sync_inode(self.1);
                Ok(())
            }
            Err(error) => {
                let mut inner = self.0.0.lock().unwrap();
                // A process that dies in the middle leaves the bytes where they are.
                inner.inodes[self.1].lost |= !inner.gone;
                Err(error)
            }
        }
    }

    fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.0.step()?;
        let file = &mut inner.inodes[self.1].bytes;
        file.drain(..bytes.len().min(file.len()));
        file.splice(..0, bytes.iter().copied());
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.0.step()?.inodes[self.1].bytes.truncate(bytes as usize);
        Ok(())
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.0.step()?;
        let bytes = inner.inodes[self.1].bytes.get(offset as usize..).unwrap_or_default();
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.step()?.inodes[self.1].bytes.len() as u64)
    }
}
