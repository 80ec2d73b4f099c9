//! Objects of events that are stored somewhere: in the outbox, kept after delivery, or in a folder with a copy of a
//! bucket. The source of exports and replays.

use std::{
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    disk::Disk,
    outbox::{hour_of, seq_of},
};
use crate::{
    click::EventId,
    object::{KeyPlace, ObjectKey, ObjectKind, reader::summarize_stream},
    runtime::{Class, Classified, Hour},
};

/// An object of events.
#[derive(Debug)]
pub struct StoredObject {
    pub path: PathBuf,
    /// `None` in the layout `sequence`, whose keys do not have it.
    hour: Option<Hour>,
    seq: u64,
    /// Its extension is that of the compression.
    key: String,
}

/// Why an object was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("not a whole object: {0}")]
    Damaged(io::Error),
    #[error(transparent)]
    Io(io::Error),
}

impl Classified for ReadError {
    fn class(&self) -> Class {
        match self {
            Self::Damaged(_) => Class::Data,
            Self::Io(_) => Class::NoInput,
        }
    }
}

impl ReadError {
    /// An error without a number of the operating system comes from a decompressor or a parser: the object is damaged.
    pub fn of(error: io::Error) -> Self {
        if error.raw_os_error().is_some() { Self::Io(error) } else { Self::Damaged(error) }
    }
}

impl StoredObject {
    /// `None` when the key is not one of an object of events.
    pub(super) fn new(key: &str, path: PathBuf) -> Option<Self> {
        let is_events = ObjectKind::of(key) == Some(ObjectKind::Events);
        let seq = seq_of(key).filter(|_| is_events)?;
        Some(Self { path, hour: hour_of(key), seq, key: key.to_owned() })
    }

    /// Whether it may have events of this time range, milliseconds since the Unix epoch.
    pub fn may_hold(&self, time: &Range<u64>) -> bool {
        let start_of = |hour: u64| hour.saturating_mul(3_600_000);
        self.hour.is_none_or(|hour| {
            let (start, end) = (start_of(hour.since_epoch()), start_of(hour.since_epoch() + 1));
            start < time.end && time.start < end
        })
    }

    /// Calls `visit` with each event.
    ///
    /// # Errors
    /// When it is damaged or cannot be read, and those of `visit`.
    pub fn read(&self, visit: &mut impl FnMut(EventId, &[u8]) -> io::Result<()>) -> Result<(), ReadError> {
        let mut failed = None;
        let file = File::open(&self.path).map_err(ReadError::Io)?;
        let summary = summarize_stream(file, &self.key, |id, event| {
            if let Some(id) = EventId::parse(id)
                && failed.is_none()
            {
                failed = visit(id, event).err();
            }
        });
        match (failed, summary) {
            (Some(error), _) => Err(ReadError::Io(error)),
            (None, Err(error)) => Err(ReadError::of(error)),
            (None, Ok(_)) => Ok(()),
        }
    }
}

/// The delivered objects of a feed that are kept, by hour and number. An object that was sent twice after a loss of
/// power is listed once.
///
/// # Errors
/// Those of the file system.
pub fn kept(disk: &dyn Disk, dir: &Path, feed: &str) -> io::Result<Vec<StoredObject>> {
    let kept = dir.join("delivered");
    let objects = disk.files_below(&kept)?.into_iter().filter_map(|file| {
        let below = file.path.strip_prefix(&kept).ok()?.to_str()?;
        let (name, key) = below.split_once('/')?.1.split_once('/')?;
        if name == feed { StoredObject::new(key, file.path.clone()) } else { None }
    });
    Ok(in_order(objects))
}

/// The objects of a feed below a folder, which has the layout of a bucket's prefix, by hour and number. `names` are
/// those of all feeds: where one name is a prefix of another, they decide which feed an object belongs to. Objects of
/// the layout `sequence` belong to the feed, as no other one shares its prefix.
///
/// # Errors
/// Those of the file system.
pub fn objects_below(disk: &dyn Disk, root: &Path, feed: &str, names: &[&str]) -> io::Result<Vec<StoredObject>> {
    let begins = |series: &str, name: &str| series.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    let ours = |series: &str| {
        let longer = |name: &&&str| name.len() > feed.len() && begins(series, name);
        begins(series, feed) && names.iter().find(longer).is_none()
    };
    let objects = disk.files_below(root)?.into_iter().filter_map(|file| {
        let key = file.path.strip_prefix(root).ok()?.to_str()?;
        let is_ours = match ObjectKey::parse(key)?.place {
            KeyPlace::Hive { series, .. } | KeyPlace::Sequence { series } => ours(series),
        };
        if is_ours { StoredObject::new(key, file.path.clone()) } else { None }
    });
    Ok(in_order(objects))
}

pub(super) fn in_order(objects: impl Iterator<Item = StoredObject>) -> Vec<StoredObject> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by(|a, b| (a.hour, a.seq, &a.key).cmp(&(b.hour, b.seq, &b.key)));
    objects.dedup_by(|a, b| a.key == b.key);
    objects
}
