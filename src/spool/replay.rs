//! Replays events that were delivered before, for the operator: a time range of a feed, in new objects under new keys.
//!
//! The objects are made in `{spool}/replay/.making-{id}/`. One rename moves all of them, or none, to
//! `{spool}/replay/{feed}/_replay/{id}/`. There, the process that owns the spool, or the next one, takes them up. Their
//! keys are `_replay/{id}/dt=2026-11-23/hour=09/{feed}-{pop}-{spool}-{first}-{seq}.ndjson.gz`, whatever the layout of
//! the feed. No manifest lists them. The events keep their ids. They are rendered as
//! the feed asks for it now: what it leaves out since then is left out.

use std::{
    fs, io,
    ops::Range,
    os::unix::fs::{MetadataExt, lchown},
    path::{Path, PathBuf},
};

use super::{
    disk::{Disk, DiskFile},
    feed,
    stored::{ReadError, StoredObject},
};
use crate::{
    click::EventId,
    config,
    event::Rendering,
    object::{
        Maker,
        key::REPLAYS,
        writer::{ObjectWriter, extension},
    },
    runtime::{Class, Classified, Hour},
};

/// What is replayed, and how.
pub struct Replay<'a> {
    pub spool: &'a Path,
    pub pop: &'a str,
    /// Identity of the spool.
    pub identity: &'a str,
    pub feed: &'a config::Feed,
    /// Unique name of the replay, such as `20261124T091500Z`.
    pub id: &'a str,
    /// Time range of the clicks, in milliseconds since the Unix epoch.
    pub time: Range<u64>,
}

/// Result of a replay.
#[derive(Debug, Default, serde::Serialize)]
pub struct Replayed {
    pub id: String,
    pub events: u64,
    pub keys: Vec<String>,
}

/// Why no event is replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{path}: {source}; move it away, or leave out its hour")]
    Object {
        path: PathBuf,
        #[source]
        source: ReadError,
    },
    #[error("cannot make objects in the spool: {0}")]
    Io(#[from] io::Error),
}

impl Classified for ReplayError {
    fn class(&self) -> Class {
        match self {
            Self::Object { source, .. } => source.class(),
            Self::Io(error) => Class::of_io(error),
        }
    }
}

struct ReplayWriter<'a> {
    disk: &'a dyn Disk,
    replay: &'a Replay<'a>,
    dir: PathBuf,
    rendering: Rendering,
    /// The event as the feed asks for it.
    buffer: Vec<u8>,
    open: Option<(Hour, ObjectWriter<Box<dyn DiskFile>>)>,
    keys: Vec<String>,
    events: u64,
}

impl Replay<'_> {
    /// Replays the events of these objects, which are sorted by hour.
    ///
    /// # Errors
    /// When an object is damaged, or the spool cannot be written. Then no event is replayed.
    pub fn run(&self, disk: &dyn Disk, objects: &[StoredObject]) -> Result<Replayed, ReplayError> {
        let dir = self.spool.join("replay").join(format!(".making-{}", self.id));
        let mut writer = ReplayWriter {
            disk,
            replay: self,
            dir,
            rendering: feed::rendering(self.feed),
            buffer: Vec::new(),
            open: None,
            keys: Vec::new(),
            events: 0,
        };
        let written = writer.write(objects).and_then(|()| Ok(writer.hand_over()?));
        if written.is_err() || writer.events == 0 {
            let _ = fs::remove_dir_all(&writer.dir);
        }
        written?;
        Ok(Replayed { id: self.id.to_owned(), events: writer.events, keys: writer.keys })
    }
}

impl ReplayWriter<'_> {
    fn write(&mut self, objects: &[StoredObject]) -> Result<(), ReplayError> {
        self.make_dir(&self.dir)?;
        let time = self.replay.time.clone();
        for object in objects.iter().filter(|object| object.may_hold(&time)) {
            let mut failed = None;
            let read = object.read(&mut |id, event| {
                let added = if time.contains(&id.millis()) { self.add(id, event) } else { Ok(()) };
                added.map_err(|error| {
                    let kind = error.kind();
                    failed = Some(error);
                    kind.into()
                })
            });
            if let Some(error) = failed {
                return Err(error.into());
            }
            read.map_err(|source| ReplayError::Object { path: object.path.clone(), source })?;
        }
        Ok(self.finish()?)
    }

    fn add(&mut self, id: EventId, event: &[u8]) -> io::Result<()> {
        let hour = Hour::of_micros(id.millis() * 1_000);
        let feed = self.replay.feed;
        if self.open.as_ref().is_some_and(|(of, writer)| *of != hour || writer.is_full()) {
            self.finish()?;
        }
        let (_, writer) = if let Some(open) = &mut self.open {
            open
        } else {
            let file = self.disk.create(&self.unnamed())?;
            let writer = ObjectWriter::new(file, feed.format, feed.compression)?.limited_to(feed.max_bytes, None);
            self.open.insert((hour, writer))
        };
        let Some(rendered) = self.rendering.apply(event, &mut self.buffer) else {
            let what = format!("event {id} cannot be rendered for the feed; leave out its time");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        self.events += 1;
        writer.add(id, rendered)
    }

    /// Path of the open object. Its key follows from its first event.
    fn unnamed(&self) -> PathBuf {
        self.dir.join("object")
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some((hour, writer)) = self.open.take() else { return Ok(()) };
        let Replay { feed, pop, identity, id, .. } = self.replay;
        let first = writer.first().map(|id| id.to_string()).unwrap_or_default();
        let number = self.keys.len() as u64 + 1;
        let end = extension(feed.format, feed.compression);
        let below = Maker { feed: &feed.name, pop, spool: identity }.hive_key(hour, &first, number, end);
        let key = format!("{REPLAYS}/{id}/{below}");
        writer.finish(feed::envelope_key(feed).as_ref().unwrap_or(&key))?.file.sync()?;
        let path = self.dir.join(below);
        self.make_dir(path.parent().unwrap_or(&self.dir))?;
        self.disk.rename(&self.unnamed(), &path)?;
        self.give_to_owner(&path);
        self.keys.push(key);
        Ok(())
    }

    fn hand_over(&self) -> io::Result<()> {
        if self.events == 0 {
            return Ok(());
        }
        let replay = self.replay;
        let ready = replay.spool.join("replay").join(&replay.feed.name).join(REPLAYS);
        // A running process removes empty folders: this one may vanish before the move.
        for _ in 0..3 {
            self.make_dir(&ready)?;
            match self.disk.rename(&self.dir, &ready.join(replay.id)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.and_then(|()| self.disk.sync_all()),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Makes a folder and those above it.
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.make_dir(dir)?;
        let top = self.replay.spool.join("replay");
        dir.ancestors().take_while(|folder| folder.starts_with(&top)).for_each(|folder| self.give_to_owner(folder));
        Ok(())
    }

    /// Changes the owner to that of the spool: root may run this, and the service runs as another user. Without root,
    /// it has that owner already. A symbolic link is changed itself, not its target.
    fn give_to_owner(&self, path: &Path) {
        if let Ok(owner) = fs::metadata(self.replay.spool) {
            let _ = lchown(path, Some(owner.uid()), Some(owner.gid()));
        }
    }
}
