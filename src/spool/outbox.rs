//! The outbox: finished objects that wait for delivery, as plain files that an operator can read, count, or copy.
//!
//! ```text
//! {dir}/outbox/{feed}/{key}                                  waits for delivery
//! {dir}/delivered/{hour of the delivery}/{feed}/{key}        delivered, kept for `spool.retain_secs`
//! {dir}/quarantine/{feed}/{key}                              damaged
//! {dir}/quarantine/{feed}/_unrendered/{id}.json              an event that cannot be rendered for the feed
//! ```
//! Delivered objects are kept so that an operator can replay them. They are removed, oldest hour first, when they are
//! old or the spool needs the space.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    change::Limits,
    disk::{Disk, FileEntry},
};
use crate::{
    object::{
        ManifestKey, Object, ObjectKey, ObjectKind, RollupKey, Summary, key::earlier, reader::summarize_stream,
    },
    runtime::{Hour, clock},
};

/// The finished objects of a spool.
pub struct Outbox {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: Arc<Limits>,
    bytes: AtomicU64,
    /// Bytes of delivered objects that are kept, by hour of the delivery.
    delivered: Mutex<BTreeMap<Hour, u64>>,
    /// Recorded summaries of objects that an earlier process has made, or that nothing delivers, by feed and key.
    summaries: Mutex<HashMap<(String, String), Summary>>,
}

impl Outbox {
    /// Opens the outbox, and measures the objects that wait and those that are kept.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, limits: Arc<Limits>) -> io::Result<Self> {
        let bytes = disk.files_below(&dir.join("outbox"))?.iter().map(|file| on_disk(file.bytes)).sum();
        let mut delivered = BTreeMap::new();
        for file in disk.files_below(&dir.join("delivered"))? {
            if let Some(hour) = hour_below(&dir.join("delivered"), &file.path) {
                *delivered.entry(hour).or_default() += on_disk(file.bytes);
            }
        }
        Ok(Self {
            disk,
            dir: dir.into(),
            limits,
            bytes: AtomicU64::new(bytes),
            delivered: Mutex::new(delivered),
            summaries: Mutex::default(),
        })
    }

    /// Disk space of all objects that wait, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Limit of [`Outbox::bytes`].
    pub fn max_bytes(&self) -> u64 {
        self.limits.max_bytes()
    }

    /// Whether the limit is reached.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.max_bytes()
    }

    /// Path of an object.
    pub fn path(&self, feed: &str, key: &str) -> PathBuf {
        self.dir.join("outbox").join(feed).join(key)
    }

    /// Moves a finished file in. It can be repeated.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take_in(&self, from: &Path, feed: &str, object: &Object) -> io::Result<()> {
        match self.move_to(from, &object.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.disk.exists(&object.path)? => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.bytes.fetch_add(on_disk(object.bytes), Ordering::Relaxed);
        tracing::debug!(feed, key = object.key, bytes = object.bytes, "object finished");
        Ok(())
    }

    /// Number of events in an object that nothing delivers, like [`Self::events_in`], and keeps what was read: a feed
    /// that is configured later gets the object with its summary.
    pub(super) fn recall(&self, feed: &str, key: &str) -> u64 {
        let place = (feed.to_owned(), key.to_owned());
        if !self.summaries.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&place)
            && matches!(ObjectKind::of(key), Some(ObjectKind::Events | ObjectKind::Replay))
            && let Ok(bytes) = self.disk.read(&self.path(feed, key))
            && let Ok(summary) = summarize_stream(&bytes[..], key, |_, _| {})
        {
            self.restore_summary(feed, key, summary);
        }
        self.summaries.lock().unwrap_or_else(PoisonError::into_inner).get(&place).map_or(0, |summary| summary.events)
    }

    /// Sets the recorded summary of an object.
    pub fn restore_summary(&self, feed: &str, key: &str, summary: Summary) {
        self.summaries.lock().unwrap_or_else(PoisonError::into_inner).insert((feed.into(), key.into()), summary);
    }

    /// Number of events in an object that waits: as recorded, otherwise as it holds; 0 if it cannot be read.
    pub(super) fn events_in(&self, feed: &str, key: &str) -> u64 {
        let summaries = self.summaries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(summary) = summaries.get(&(feed.to_owned(), key.to_owned())) {
            return summary.events;
        }
        drop(summaries);
        let has_events = matches!(ObjectKind::of(key), Some(ObjectKind::Events | ObjectKind::Replay));
        let read = || summarize_stream(&self.disk.read(&self.path(feed, key))?[..], key, |_, _| {});
        if has_events { read().map_or(0, |summary| summary.events) } else { 0 }
    }

    /// Feeds and keys of all objects that wait.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keys(&self) -> io::Result<BTreeSet<(String, String)>> {
        let outbox = self.dir.join("outbox");
        let files = self.disk.files_below(&outbox)?;
        Ok(files.iter().filter_map(|file| feed_and_key(&outbox, &file.path)).collect())
    }

    /// The objects of a feed that wait, in an order in which they may be delivered. Other files are ignored.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn waiting(&self, feed: &str) -> io::Result<Vec<Object>> {
        let dir = self.dir.join("outbox").join(feed);
        let mut summaries = self.summaries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut objects = Vec::new();
        for FileEntry { path, bytes, modified } in self.disk.files_below(&dir)? {
            let key = path.strip_prefix(&dir).unwrap_or(&path).to_string_lossy().into_owned();
            let Some(kind) = ObjectKind::of(&key) else {
                tracing::warn!(path = %path.display(), "unknown file in the outbox ignored");
                continue;
            };
            let summary = summaries.remove(&(feed.to_owned(), key.clone()));
            objects.push(Object { key, path, bytes, kind, summary, finished_at: modified });
        }
        Ok(in_order(objects))
    }

    /// Removes a delivered object. After a loss of power it may reappear, and is sent again under the same key.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&self, object: &Object) -> io::Result<()> {
        let outbox = self.dir.join("outbox");
        let place = feed_and_key(&outbox, &object.path).filter(|_| self.limits.retain_secs() > 0);
        match place.filter(|_| object.kind == ObjectKind::Events) {
            None => self.disk.remove(&object.path)?,
            Some((feed, key)) => {
                // Not by the trusted time, which may lag: it would be removed too early.
                let hour = Hour::of_micros(clock::unix_micros());
                let kept = self.dir.join("delivered").join(hour.to_string()).join(feed).join(key);
                if self.move_to(&object.path, &kept).is_ok() {
                    let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
                    *delivered.entry(hour).or_default() += on_disk(object.bytes);
                } else {
                    // A full disk has no space for a folder, either.
                    self.disk.remove(&object.path)?;
                }
            }
        }
        self.forget(object);
        self.disk.tidy(object.path.parent(), &outbox);
        Ok(())
    }

    /// Removes delivered objects that are old, or for which there is no space.
    pub fn purge_delivered(&self) {
        let now = clock::trusted_micros() / 1_000_000;
        loop {
            let delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
            let kept: u64 = delivered.values().sum();
            let Some((&hour, _)) = delivered.first_key_value() else { return };
            drop(delivered);
            let old = (hour.since_epoch() + 1) * 3_600 + self.limits.retain_secs() <= now;
            if !old && self.bytes() + kept <= self.max_bytes() {
                return;
            }
            self.remove_delivered(hour);
        }
    }

    /// Removes the oldest hour of delivered objects, because the disk is full.
    pub fn make_room(&self) {
        let oldest = self.delivered.lock().unwrap_or_else(PoisonError::into_inner).keys().next().copied();
        if let Some(hour) = oldest {
            self.remove_delivered(hour);
        }
    }

    fn remove_delivered(&self, hour: Hour) {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).remove(&hour);
        let root = self.dir.join("delivered");
        let removed = self.disk.files_below(&root.join(hour.to_string())).and_then(|files| {
            files.iter().try_for_each(|file| {
                self.disk.remove(&file.path)?;
                self.disk.tidy(file.path.parent(), &root);
                Ok(())
            })
        });
        match removed {
            Ok(()) => tracing::info!(%hour, "kept objects removed"),
            Err(error) => tracing::warn!(%hour, %error, "cannot remove kept objects"),
        }
    }

    /// Stops counting an object that was removed in another way.
    pub fn forget(&self, object: &Object) {
        self.bytes.fetch_sub(on_disk(object.bytes).min(self.bytes()), Ordering::Relaxed);
    }

    /// Moves a damaged object aside, so that it delays no other. The operator must inspect it. Returns its new path.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn quarantine(&self, feed: &str, object: &Object) -> io::Result<PathBuf> {
        let aside = self.dir.join("quarantine").join(feed).join(&object.key);
        self.move_to(&object.path, &aside)?;
        self.forget(object);
        self.disk.tidy(object.path.parent(), &self.dir.join("outbox"));
        Ok(aside)
    }

    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()> {
        let dir = to.parent().unwrap_or(&self.dir);
        // Delivery removes empty folders: this one may vanish before the move.
        for _ in 0..3 {
            self.disk.make_dir(dir)?;
            match self.disk.rename(from, to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        self.disk.rename(from, to)
    }
}

/// Objects of events by their numbers; each manifest after those that it lists, and after the manifest before it, which
/// may be of another hour and list later ones.
fn in_order(mut objects: Vec<Object>) -> Vec<Object> {
    let number_of = |object: &Object| ManifestKey::parse(&object.key).map(|key| key.number);
    objects.sort_by_cached_key(number_of);
    let (mut listed, mut placed) = (None, Vec::with_capacity(objects.len()));
    for object in objects {
        let (mut seq, number) = (seq_of(&object.key), number_of(&object));
        if number.is_some() {
            listed = seq.max(listed);
            seq = listed;
        }
        placed.push(((seq, object.kind == ObjectKind::Manifest, number, object.key.clone()), object));
    }
    placed.sort_by(|(place, _), (other, _)| place.cmp(other));
    placed.into_iter().map(|(_, object)| object).collect()
}

/// Disk space of a file with this many bytes: small files take more than they hold.
fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(4_096)
}

/// The number of an object of events in its key, or the largest one in a manifest.
pub fn seq_of(key: &str) -> Option<u64> {
    let events = ObjectKey::parse(key).map(|key| key.seq);
    let manifest = || ManifestKey::parse(key).map(|key| key.seq);
    events.or_else(manifest).or_else(|| earlier::seq_of(key))
}

/// The hour of the clicks in an object, if its key has it: those of the layout `sequence` do not.
pub fn hour_of(key: &str) -> Option<Hour> {
    if let Some(key) = ObjectKey::parse(key) {
        return key.hour();
    }
    let manifest = ManifestKey::parse(key).map(|key| key.hour);
    let rollup = || RollupKey::parse(key).map(|key| key.hour);
    manifest.or_else(rollup).or_else(|| earlier::kind_and_hour(key).map(|(_, hour)| hour))
}

/// Splits the path of an object below the folder of the outbox.
pub(super) fn feed_and_key(outbox: &Path, path: &Path) -> Option<(String, String)> {
    let below = path.strip_prefix(outbox).ok()?.to_str()?;
    below.split_once('/').map(|(feed, key)| (feed.to_owned(), key.to_owned()))
}

fn hour_below(dir: &Path, path: &Path) -> Option<Hour> {
    path.strip_prefix(dir).ok()?.iter().next()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{object::Maker, spool::disk::RealDisk};

    #[test]
    fn manifests_that_wait_go_by_their_numbers_and_none_before_what_it_lists() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        let (maker, hour) = (Maker { feed: "all", pop: "fra1", spool: "k3j9x0ab" }, Hour::of_micros);
        let (nine, ten) = (hour(500_000 * 3_600_000_000), hour(500_001 * 3_600_000_000));
        let order = [
            maker.sequence_key(4, "ndjson"),
            maker.manifest_key(nine, 4, 7),
            maker.sequence_key(5, "ndjson"),
            maker.sequence_key(6, "ndjson"),
            maker.manifest_key(ten, 6, 8),
            // Closes its hour, and lists nothing new.
            maker.manifest_key(nine, 4, 9),
            maker.manifest_key(ten, 6, 10),
            maker.sequence_key(7, "ndjson"),
        ];
        for key in &order {
            let path = dir.join("outbox/all").join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let disk = Arc::new(RealDisk::new(dir).unwrap());
        let config = crate::config::Spool { retain_secs: 0, ..Default::default() };
        let waiting = Outbox::open(disk, dir, Arc::new(Limits::new(&config))).unwrap().waiting("all").unwrap();
        assert_eq!(waiting.into_iter().map(|object| object.key).collect::<Vec<_>>(), order);
    }
}
